"""From the messages of a row to tokens, each with the weight that the loss has on it.

The chat template says where an assistant's turn begins and ends, the row says which of those turns are trained. The
end-of-turn token belongs to the turn: a model that is never trained on it never stops.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# pyright: reportMissingImports=false
from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template
from trl.chat_template_utils import get_training_chat_template, has_generation_markers

from agenther_live.errors import ShardError

__all__ = ["Encoded", "Encoder", "loss_weights"]

FLAG = "train"  # our mark on assistant messages; it is no part of the conversation


@dataclass(frozen=True)
class Encoded:
    """A conversation in tokens. `weights` has a number for each token: 0 where no loss falls."""

    input_ids: list[int]
    weights: list[float]

    def cut(self, length: int | None, *, keep_end: bool = False) -> Encoded:
        """Give at most `length` tokens, from the start or from the end."""
        if length is None or len(self.input_ids) <= length:
            return self
        kept = slice(-length, None) if keep_end else slice(length)
        return Encoded(self.input_ids[kept], self.weights[kept])


def loss_weights(messages: Sequence[Mapping[str, Any]], weights: Sequence[float] | None = None) -> list[float]:
    """Give the loss weight of each message: that of the row on assistant messages marked `train`, else 0.

    An assistant message without a mark is trained, and without a weight has the weight 1.
    """
    scales = [1.0] * len(messages) if weights is None else weights
    return [
        float(scale) if message["role"] == "assistant" and message.get(FLAG, True) else 0.0
        for message, scale in zip(messages, scales, strict=True)
    ]


class Encoder:
    """Renders conversations with a tokenizer's chat template and says which tokens are trained.

    A template with `{% generation %}` markers is taken as it is; for the families that TRL knows its marked template
    is taken instead; with any other the turns are found by rendering the conversation up to each of them.

    Raises:
        ShardError: the tokenizer has no chat template, or is no fast one.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Choose the template."""
        if not tokenizer.is_fast:
            raise ShardError("the tokenizer is no fast one: it cannot say which characters a token stands for")
        template = tokenizer.chat_template
        if isinstance(template, dict):
            template = template.get("default")
        if not template:
            raise ShardError("the tokenizer has no chat template: set tokenizer.chat_template")
        self.tokenizer = tokenizer
        self.marked = has_generation_markers(template)
        if not self.marked:
            try:
                known = get_training_chat_template(tokenizer)
            except ValueError:  # a family that TRL has no template for
                known = None
            if known is not None:
                template, self.marked = known, True
        self.template: str = template

    def __call__(self, messages: Sequence[Mapping[str, Any]], tools: Any, weights: Sequence[float]) -> Encoded:
        """Encode a conversation; `weights` has a number for each message, `tools` is a list, JSON of one, or None.

        Raises:
            ShardError: where the template gives no turn for a message that is to be trained.
        """
        plain = [{key: value for key, value in message.items() if key != FLAG} for message in messages]
        schemas = json.loads(tools) if isinstance(tools, str) and tools else tools or None
        text, spans = self._marked(plain, schemas) if self.marked else self._by_prefix(plain, schemas)
        ends = str(self.tokenizer.eos_token or "")
        made = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        said = [weight for message, weight in zip(plain, weights, strict=True) if message["role"] == "assistant"]
        per_token = [0.0] * len(made["input_ids"])
        at = 0
        for (start, stop), weight in zip(spans, said, strict=True):
            if ends and not text[start:stop].rstrip().endswith(ends) and text.startswith(ends, stop):
                stop += len(ends)
            while at < len(per_token) and made["offset_mapping"][at][0] < stop:
                first, last = made["offset_mapping"][at]
                if first >= start and last > first:
                    per_token[at] = weight
                at += 1
        return Encoded(list(made["input_ids"]), per_token)

    def _render(self, messages: list[dict[str, Any]], tools: Any, *, ask: bool = False, mark: bool = False) -> Any:
        special: Any = self.tokenizer.special_tokens_map
        return render_jinja_template(
            [messages],
            tools=tools,
            chat_template=self.template,
            return_assistant_tokens_mask=mark,
            add_generation_prompt=ask,
            **special,
        )

    def _marked(self, messages: list[dict[str, Any]], tools: Any) -> tuple[str, list[tuple[int, int]]]:
        (text,), (spans,) = self._render(messages, tools, mark=True)
        turns = sum(message["role"] == "assistant" for message in messages)
        if len(spans) != turns:
            raise ShardError(f"the chat template marks {len(spans)} turns of {turns} assistant messages")
        return text, [(int(start), int(stop)) for start, stop in spans]

    def _by_prefix(self, messages: list[dict[str, Any]], tools: Any) -> tuple[str, list[tuple[int, int]]]:
        (text,), _ = self._render(messages, tools)
        spans = []
        for index, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            (before,), _ = self._render(messages[:index], tools, ask=True)
            (after,), _ = self._render(messages[: index + 1], tools)
            if not (text.startswith(before) and text.startswith(after) and len(before) < len(after)):
                raise ShardError(
                    "the chat template renders a turn differently when others follow it: give the tokenizer a "
                    "template with {% generation %} markers"
                )
            # What stands between the end of one turn and the next (a line break, mostly) is not for the model to say.
            spans.append((len(before), len(after.rstrip())))
        return text, spans
