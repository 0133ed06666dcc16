"""Collators: rows of shards in, padded tensors out, with the loss on what a row says is trained.

They take rows as they stand in the shards, so a trainer is given `remove_unused_columns=False`. All tensors are
(batch, length) unless said otherwise, padded on the right.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# pyright: reportMissingImports=false
import torch
from transformers import PreTrainedTokenizerBase

from agenther_live.errors import ShardError
from agenther_live.integrations.trl.masks import Encoded, Encoder, loss_weights

__all__ = ["GoalContrastCollator", "KTOCollator", "PreferenceCollator", "SFTCollator"]

logger = logging.getLogger("agenther_live")
Row = Mapping[str, Any]
Batch = dict[str, torch.Tensor]
IGNORED = -100  # the label that no loss falls on, in PyTorch and everything above it


@dataclass
class _Collator:
    """What all have: the tokenizer, and the cut. `keep_end` cuts at the start instead."""

    tokenizer: PreTrainedTokenizerBase
    max_length: int | None = None
    keep_end: bool = False
    encoder: Encoder = field(init=False, repr=False)
    _told: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        """Choose the template, and a token to pad with."""
        self.encoder = Encoder(self.tokenizer)
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token

    def _cut(self, made: Encoded) -> Encoded:
        cut = made.cut(self.max_length, keep_end=self.keep_end)
        if not self._told and any(made.weights) and not any(cut.weights):
            self._told = True
            logger.warning(
                "a row of %d tokens is cut to max_length = %d, and nothing that is trained is left of it; more such "
                "rows are not told of",
                len(made.input_ids),
                self.max_length,
            )
        return cut

    def _response(self, prompt: Sequence[Row], response: Sequence[Row], tools: Any) -> Encoded:
        """Encode a prompt and a response; the loss falls on the assistant's messages of the response alone."""
        weights = [0.0] * len(prompt) + loss_weights(response)
        return self._cut(self.encoder([*prompt, *response], tools, weights))

    def _tensors(self, made: Sequence[Encoded]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Give ids, attention and weights."""
        length = max(len(one.input_ids) for one in made)
        pad: Any = self.tokenizer.pad_token_id
        ids = torch.full((len(made), length), int(pad))
        attention = torch.zeros((len(made), length), dtype=torch.long)
        weights = torch.zeros((len(made), length))
        for at, one in enumerate(made):
            size = len(one.input_ids)
            ids[at, :size] = torch.tensor(one.input_ids)
            attention[at, :size] = 1
            weights[at, :size] = torch.tensor(one.weights)
        return ids, attention, weights


@dataclass
class SFTCollator(_Collator):
    """For `trl_sft` rows: `input_ids`, `attention_mask`, `labels` (-100 where nothing is trained), `token_weights`.

    `token_weights` are the message weights of the row, times its severity weight where `severity` is set; 0 where
    nothing is trained. `WeightedSFTTrainer` reads them. With `weighted` False they are left out, and TRL's own
    `SFTTrainer` takes the batch: the masks hold, the weights do not.
    """

    severity: bool = False
    weighted: bool = True

    def __call__(self, rows: Sequence[Row]) -> Batch:
        """Collate."""
        made = []
        for row in rows:
            weights = loss_weights(row["messages"], row.get("weights"))
            made.append(self._cut(self.encoder(row["messages"], row.get("tools"), weights)))
        ids, attention, weights = self._tensors(made)
        batch = {"input_ids": ids, "attention_mask": attention, "labels": ids.masked_fill(weights == 0, IGNORED)}
        if self.weighted:
            scale = torch.tensor([row_weight(row) if self.severity else 1.0 for row in rows])
            batch["token_weights"] = weights * scale[:, None]
        return batch


@dataclass
class PreferenceCollator(_Collator):
    """For `trl_dpo` and `trl_dpo_step` rows: the batch of TRL's `DPOTrainer`, (2 × batch, length), chosen first.

    `completion_mask` holds the assistant's tokens alone: no tool result is preferred to another. With `severity` there
    is `pair_weights` (batch,) too, which `WeightedDPOTrainer` reads and TRL's own trainer does not know.
    """

    severity: bool = False

    def __call__(self, rows: Sequence[Row]) -> Batch:
        """Collate."""
        made = [self._response(row["prompt"], row["chosen"], row.get("tools")) for row in rows]
        made += [self._response(self._rejected_prompt(row), row["rejected"], row.get("tools")) for row in rows]
        ids, attention, weights = self._tensors(made)
        batch = {"input_ids": ids, "attention_mask": attention, "completion_mask": (weights != 0).long()}
        if self.severity:
            batch["pair_weights"] = torch.tensor([row_weight(row) for row in rows])
        return batch

    def _rejected_prompt(self, row: Row) -> Sequence[Row]:
        return list(row["prompt"])


@dataclass
class GoalContrastCollator(PreferenceCollator):
    """For `goal_contrast` rows: the response under ĝ above the same response under g (arXiv 2603.21357, equation 2).

    TRL's `DPOTrainer` (loss `sigmoid`) then computes that equation as it is: −log σ(β(log π/π₀(τ|ĝ) − log π/π₀(τ|g))).
    It is ln 2 before the first step. The partition functions of the two goals do not cancel, so this is a loss that
    contrasts goals and no preference likelihood, and lowering π(τ|g) satisfies it too: give it an NLL term
    (`loss_type=["sigmoid", "sft"]`).
    """

    def _rejected_prompt(self, row: Row) -> Sequence[Row]:
        return list(row["rejected_prompt"])


@dataclass
class KTOCollator(_Collator):
    """For `trl_kto` rows: the batch of TRL's `KTOTrainer`, with the assistant's tokens alone in `completion_mask`.

    The KL term is estimated on each prompt with the completion of another row of the batch. TRL takes the row before;
    here it is the nearest one of another trajectory, since the two goals of one trajectory share their completion.
    """

    kl: bool = True

    def __call__(self, rows: Sequence[Row]) -> Batch:
        """Collate.

        Raises:
            ShardError: where all rows of the batch are of one trajectory, and a KL term is wanted.
        """
        batch = self._side(rows, [row["completion"] for row in rows], "")
        if self.kl:
            batch |= self._side(rows, [other["completion"] for other in others(rows)], "KL_")
        batch["label"] = torch.tensor([bool(row["label"]) for row in rows])
        return batch

    def _side(self, rows: Sequence[Row], completions: Sequence[Sequence[Row]], prefix: str) -> Batch:
        pairs = zip(rows, completions, strict=True)
        made = [self._response(row["prompt"], completion, row.get("tools")) for row, completion in pairs]
        ids, attention, weights = self._tensors(made)
        return {
            f"{prefix}input_ids": ids,
            f"{prefix}attention_mask": attention,
            f"{prefix}completion_mask": (weights != 0).long(),
        }


def row_weight(row: Row) -> float:
    """Give the severity weight w of a row; 1 where it has none."""
    return float(row.get("weight", 1.0))


def others(rows: Sequence[Row]) -> list[Row]:
    """Give for each row one of another trajectory: the nearest before it, going round.

    Raises:
        ShardError: where there is none.
    """
    found = []
    for at, row in enumerate(rows):
        before = [rows[at - step] for step in range(1, len(rows))]
        other = next((one for one in before if one.get("trajectory_id") != row.get("trajectory_id")), None)
        if other is None:
            raise ShardError(
                "a batch holds rows of one trajectory alone, and its KL term cannot be estimated: use larger batches, "
                "shuffle, or KTOCollator(kl=False) with a loss that has no KL term"
            )
        found.append(other)
    return found
