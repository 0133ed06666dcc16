"""Does a tokenizer's chat template take a row, and mark what is to be trained? For `shards check --tokenizer`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from agenther_live.errors import UsageError
from agenther_live.settings import ShardFormat

__all__ = ["RENDERED", "renderer"]

RENDERED: tuple[ShardFormat, ...] = ("trl_sft", "trl_dpo", "trl_dpo_step", "trl_kto", "goal_contrast", "axolotl_sft")
"""Formats whose trainers render rows with the tokenizer's own template; the others bring theirs."""

_MARKS = re.compile(r"\{%-?\s*generation\s*-?%\}")  # what tells a tokenizer which part the assistant says


def renderer(name: str) -> Callable[[ShardFormat, Mapping[str, Any]], list[str]]:
    """Load the tokenizer of a folder or of a Hugging Face model; give what says what is wrong with a row under it.

    Raises:
        UsageError: transformers is not installed, the tokenizer cannot be loaded, or has no chat template.
    """
    try:
        from transformers import AutoTokenizer  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UsageError("--tokenizer needs the package transformers: pip install 'agenther-live[trainers]'") from None
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(name)
    except Exception as error:  # files, network, foreign code: whatever it is, there is no tokenizer
        raise UsageError(f"--tokenizer {name}: cannot be loaded: {error}") from None
    if not tokenizer.chat_template:
        raise UsageError(f"--tokenizer {name}: it has no chat template")

    def render(fmt: ShardFormat, made: Mapping[str, Any]) -> list[str]:
        return list(_problems(tokenizer, made)) if fmt in RENDERED else []

    return render


def _problems(tokenizer: Any, made: Mapping[str, Any]) -> Iterator[str]:
    tools = json.loads(made["tools"]) or None
    marked = bool(_MARKS.search(str(tokenizer.chat_template)))
    for what, messages in _conversations(made):
        try:
            found = tokenizer.apply_chat_template(
                messages, tools=tools, return_dict=True, return_assistant_tokens_mask=marked
            )
        except Exception as error:  # templates raise whatever they like
            yield f"the chat template refuses {what}: {type(error).__name__}: {error}"
            continue
        yield from _mask(tokenizer, found, what)


def _conversations(made: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[Any]]]:
    if "messages" in made:
        yield "messages", made["messages"]
        return
    for name in ("completion", "chosen", "rejected"):
        if name in made:
            prompt = made.get("rejected_prompt", made["prompt"]) if name == "rejected" else made["prompt"]
            yield f"prompt + {name}", [*prompt, *made[name]]


def _mask(tokenizer: Any, found: Mapping[str, Any], what: str) -> Iterator[str]:
    """Where the template marks what the assistant says: some of it, not all, and its last token ends the turn."""
    mask = found.get("assistant_masks")
    if not mask or not isinstance(mask[0], int):
        return
    if not any(mask) or all(mask):
        yield f"the chat template marks {'all' if any(mask) else 'nothing'} of {what} as the assistant's"
        return
    last = len(mask) - 1 - mask[::-1].index(1)
    token = found["input_ids"][last]
    if token != tokenizer.eos_token_id and token not in tokenizer.all_special_ids:
        yield f"the chat template leaves the stop token of {what} out of what it marks as the assistant's"
