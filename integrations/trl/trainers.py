"""TRL's SFT and DPO trainers with a weight per example, and equation 2 of the paper.

With all weights 1 the loss is TRL's own, to the last bit that matters. `normalize` decides what a weight means. True
(the default): the loss is the weighted mean, Σ wℓ / Σ w over one optimizer step, so only the ratio of weights counts
and a batch of poor examples makes no smaller step. False: TRL's denominator stays, so w = 0.5 halves loss and gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

# pyright: reportMissingImports=false
import torch
from torch.nn import functional
from transformers import PreTrainedTokenizerBase
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from agenther_live.errors import UsageError
from agenther_live.integrations.trl.collators import GoalContrastCollator, PreferenceCollator, SFTCollator

__all__ = ["GoalContrastTrainer", "WeightedDPOTrainer", "WeightedSFTTrainer"]

Tensors = dict[str, Any]


class WeightedSFTTrainer(SFTTrainer):
    """TRL's `SFTTrainer` for `trl_sft` rows as they stand: per-message masks and weights, and a weight per example.

    Args:
        model: as in TRL.
        args: an `SFTConfig`; `max_length` is kept, packing and `loss_type="dft"` are refused.
        train_dataset: rows of the format `trl_sft`, a `Dataset` or an `IterableDataset`.
        processing_class: the tokenizer; its chat template is needed.
        severity: whether the row's severity weight w scales its loss.
        normalize: see the module.
        more: TRL's other arguments (`eval_dataset`, `peft_config`, `callbacks`, …).

    Raises:
        UsageError: an option that weights cannot go with.
        ShardError: as `Encoder`.
    """

    def __init__(
        self,
        model: Any,
        args: SFTConfig,
        train_dataset: Any,
        processing_class: PreTrainedTokenizerBase,
        *,
        severity: bool = False,
        normalize: bool = True,
        **more: Any,
    ) -> None:
        """Put the collator in its place."""
        if args.packing or args.padding_free or args.loss_type != "nll":
            raise UsageError("weights need packing = padding_free = False and loss_type = 'nll'")
        self.normalize = normalize
        args.remove_unused_columns = False
        given: Any = args.dataset_kwargs or {}
        args.dataset_kwargs = {**given, "skip_prepare_dataset": True}
        collator = SFTCollator(processing_class, max_length=args.max_length, severity=severity)
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            processing_class=processing_class,
            data_collator=more.pop("data_collator", collator),
            **more,
        )

    def get_batch_samples(
        self, epoch_iterator: Iterator[Tensors], num_batches: int, device: torch.device
    ) -> tuple[list[Tensors], Any]:
        """Take the batches of one optimizer step, and bring their weights to a mean of 1 over its trained tokens."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        if self.normalize and batches:
            self._normalize(batches, device)
        return batches, items

    def _normalize(self, batches: Sequence[Tensors], device: torch.device) -> None:
        # The first token of a row is predicted by nothing.
        sums = torch.zeros(2, device=device)
        for batch in batches:
            counted = batch["labels"][:, 1:] != -100
            sums += torch.stack((counted.sum(), batch["token_weights"][:, 1:][counted].sum())).to(device)
        if self.args.world_size > 1 and self.args.average_tokens_across_devices:
            gathered: Any = self.accelerator.gather(sums[None])
            sums = gathered.sum(0)
        tokens, total = sums.tolist()
        if total > 0:
            for batch in batches:
                batch["token_weights"] = batch["token_weights"] * (tokens / total)

    def compute_loss(
        self, model: Any, inputs: Tensors, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Let TRL compute its loss from log-probabilities that are scaled by the weights."""
        inputs = dict(inputs)
        if not model.training and self.normalize:
            self._normalize([inputs], inputs["labels"].device)
        weights = inputs.pop("token_weights")[:, 1:]
        return super().compute_loss(_scaled(model, weights), inputs, return_outputs, num_items_in_batch)


def _scaled(model: Any, weights: torch.Tensor) -> Any:
    """Give the model as a function whose log-probabilities (batch, length − 1) are multiplied by the weights."""

    def forward(**inputs: Any) -> Any:
        outputs = model(**inputs)
        if inputs.get("fused_lm_head"):
            found = outputs.log_probs
            outputs.log_probs = found * weights.to(found)[:, -found.shape[1] :]
        return outputs

    return forward


class WeightedDPOTrainer(DPOTrainer):
    """TRL's `DPOTrainer` for `trl_dpo` and `trl_dpo_step` rows: the assistant's tokens alone, a weight per pair.

    Losses are `sigmoid` and `sft` (an NLL term on the chosen response), set as in TRL:
    `DPOConfig(loss_type=["sigmoid", "sft"], loss_weights=[1.0, 0.2])`.

    Args:
        model: as in TRL; with `peft_config` the reference is the model without its adapter.
        args: a `DPOConfig`; `max_length`, `truncation_mode`, `beta` and the losses are kept.
        train_dataset: rows of a preference format.
        processing_class: the tokenizer; its chat template is needed.
        severity: whether the row's severity weight w scales the loss of its pair.
        normalize: see the module.
        more: TRL's other arguments.

    Raises:
        UsageError: a loss or an option that weights cannot go with.
        ShardError: as `Encoder`.
    """

    collator: type[PreferenceCollator] = PreferenceCollator

    def __init__(
        self,
        model: Any,
        args: DPOConfig,
        train_dataset: Any,
        processing_class: PreTrainedTokenizerBase,
        *,
        severity: bool = False,
        normalize: bool = True,
        **more: Any,
    ) -> None:
        """Put the collator in its place."""
        losses = [args.loss_type] if isinstance(args.loss_type, str) else args.loss_type
        if not set(losses) <= {"sigmoid", "sft"}:
            raise UsageError(f"loss_type = {losses}: weights go with 'sigmoid' and 'sft'")
        if args.precompute_ref_log_probs or args.ld_alpha is not None or args.use_weighting or args.label_smoothing:
            raise UsageError("weights go without precompute_ref_log_probs, ld_alpha, use_weighting, label_smoothing")
        if args.f_divergence_type != "reverse_kl":
            raise UsageError(f"f_divergence_type = {args.f_divergence_type!r}: weights go with 'reverse_kl'")
        self.normalize = normalize
        args.remove_unused_columns = False
        collator = self.collator(
            processing_class,
            max_length=args.max_length,
            keep_end=args.truncation_mode == "keep_end",
            severity=severity,
        )
        super().__init__(
            model=model,
            args=args,
            train_dataset=train_dataset,
            processing_class=processing_class,
            data_collator=more.pop("data_collator", collator),
            **more,
        )

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset  # the collator encodes; TRL's own preparation would mask nothing but the prompt

    def get_batch_samples(
        self, epoch_iterator: Iterator[Tensors], num_batches: int, device: torch.device
    ) -> tuple[list[Tensors], Any]:
        """Take the batches of one optimizer step, and bring their weights to a mean of 1 over its pairs."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        if self.normalize and batches and "pair_weights" in batches[0]:
            self._normalize(batches, device)
        return batches, items

    def _normalize(self, batches: Sequence[Tensors], device: torch.device) -> None:
        sums = torch.zeros(2, device=device)
        for batch in batches:
            given = batch["pair_weights"]
            sums += torch.stack((torch.tensor(float(len(given))), given.sum().cpu())).to(device)
        if self.args.world_size > 1:
            gathered: Any = self.accelerator.gather(sums[None])
            sums = gathered.sum(0)
        pairs, total = sums.tolist()
        if total > 0:
            for batch in batches:
                batch["pair_weights"] = batch["pair_weights"] * (pairs / total)

    def _compute_loss(self, model: Any, inputs: Tensors, return_outputs: bool) -> Any:
        inputs = dict(inputs)
        if not model.training and self.normalize and "pair_weights" in inputs:
            self._normalize([inputs], inputs["input_ids"].device)
        given = inputs.pop("pair_weights", None)
        completion = inputs["completion_mask"]
        labels = inputs["input_ids"].masked_fill(completion == 0, -100)
        outputs = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            labels=labels,
            use_cache=False,
            fused_lm_head=True,
            **({"output_router_logits": True} if self.aux_loss_enabled else {}),
        )
        log_probs = outputs.log_probs[:, -(labels.shape[1] - 1) :]
        chosen, rejected = log_probs.sum(1).chunk(2)
        before_chosen, before_rejected = self.compute_ref_log_probs(self.ref_model or model, inputs)
        weights = torch.ones_like(chosen) if given is None else given.to(chosen)
        margins = self.beta * ((chosen - before_chosen) - (rejected - before_rejected))
        loss = torch.zeros((), device=chosen.device)
        for kind, share in zip(self.loss_types, self.loss_weights, strict=True):
            if kind == "sigmoid":
                loss = loss + share * (weights * -functional.logsigmoid(margins)).mean()
            else:  # the mean over the batch's chosen tokens, as TRL has it
                tokens = completion[:, 1:].chunk(2)[0].sum()
                loss = loss + share * (weights * -chosen).sum() / tokens.clamp(min=1)
        if self.aux_loss_enabled:  # of a mixture of experts
            loss = loss + self.router_aux_loss_coef * outputs.aux_loss
        self._note(
            "train" if model.training else "eval",
            {
                "rewards/chosen": self.beta * (chosen - before_chosen),
                "rewards/rejected": self.beta * (rejected - before_rejected),
                "rewards/accuracies": (margins > 0).float(),
                "rewards/margins": margins,
                "logps/chosen": chosen,
                "logps/rejected": rejected,
            },
        )
        if return_outputs:
            with torch.no_grad():
                outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        return (loss, outputs) if return_outputs else loss

    def _note(self, mode: str, values: dict[str, torch.Tensor]) -> None:
        """Keep what TRL's trainer logs under the same names; its `log` takes the means."""
        for name, value in values.items():
            gathered: Any = self.accelerator.gather(value.detach())
            self._metrics[mode][name].append(gathered.mean().item())


class GoalContrastTrainer(WeightedDPOTrainer):
    """The paper's equation 2 on `goal_contrast` rows: one response, the prompt with ĝ against the prompt with g.

    Its loss is ln 2 before the first step (arXiv 2603.21357). Read `GoalContrastCollator` on why it wants an NLL term.
    """

    collator = GoalContrastCollator
