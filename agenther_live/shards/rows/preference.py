"""The dialects of preference trainers: two responses to one prompt, or one response and whether it is wanted.

Trainers mask nothing but the prompt by themselves, so whole responses carry train flags for the collator of
`integrations.trl`: on what the agent said, never on what a tool or user did. A step has one message on either side and
needs none.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, TypeVar

from agenther_live.labels import Sample
from agenther_live.shards.rows.canonical import RowRefused, Turn, pair_turns, prompt_end, split_turns, tool_schemas
from agenther_live.shards.rows.columns import (
    chat,
    compact,
    openai_message,
    openai_tools,
    pair_provenance,
    provenance,
    swift_messages,
)

__all__ = ["apart", "openai_dpo", "swift_dpo", "trl_dpo", "trl_kto"]

T = TypeVar("T")


def _chat(made: Sequence[Turn]) -> list[dict[str, Any]]:
    return [chat(turn, as_text=False, flag="train") for turn in made]


def trl_dpo(sample: Sample) -> dict[str, Any]:
    """Make TRL's row: prompt, chosen and rejected as lists of messages, with train flag and weight per message."""
    made = pair_turns(sample)
    return {
        "prompt": _chat(made.prompt),
        "chosen": _chat(made.chosen),
        "rejected": _chat(made.rejected),
        "tools": compact(tool_schemas(sample) or None),
        "chosen_train": [turn.train for turn in made.chosen],
        "chosen_weights": [float(turn.weight) for turn in made.chosen],
        "rejected_train": [turn.train for turn in made.rejected],
        "rejected_weights": [float(turn.weight) for turn in made.rejected],
        **pair_provenance(sample, made.prompt + made.chosen),
    }


def trl_kto(sample: Sample) -> dict[str, Any]:
    """Make TRL's unpaired row: a demonstration is wanted (`label` true), a failure under its own goal is not."""
    prompt, completion = split_turns(sample, prompt_end(sample))
    return {
        "prompt": _chat(prompt),
        "completion": _chat(completion),
        "label": sample.kind != "failure",
        "tools": compact(tool_schemas(sample) or None),
        "train": [turn.train for turn in completion],
        "weights": [float(turn.weight) for turn in completion],
        **provenance(sample, prompt + completion),
    }


def swift_dpo(sample: Sample) -> dict[str, Any]:
    """Make ms-swift's row: both conversations whole, prompt and all."""
    made = pair_turns(sample)
    tools = tool_schemas(sample)
    return {
        "messages": swift_messages(made.prompt + made.chosen),
        "rejected_messages": swift_messages(made.prompt + made.rejected),
        "tools": compact(tools) if tools else "",
        **pair_provenance(sample, made.prompt + made.chosen),
    }


def openai_dpo(sample: Sample) -> dict[str, Any]:
    """Make OpenAI's row; its keys are fixed, so provenance stays out (the manifest keeps the sample ids).

    https://platform.openai.com/docs/api-reference/fine-tuning/preference-input: each output is one message.
    """
    made = pair_turns(sample)
    if len(made.chosen) != 1 or len(made.rejected) != 1:
        raise RowRefused("turns", "OpenAI compares single messages")
    said = made.prompt + made.chosen + made.rejected
    return {
        "input": {
            "messages": [openai_message(turn, weight=False) for turn in made.prompt],
            **openai_tools(tool_schemas(sample), said),
        },
        "preferred_output": [openai_message(made.chosen[0], weight=False)],
        "non_preferred_output": [openai_message(made.rejected[0], weight=False)],
    }


def apart(rows: Sequence[T], owners: Sequence[Hashable]) -> tuple[list[T], list[T]]:
    """Order rows so that no two of one owner are neighbours; the second result are those for which there is no room.

    The same rows always come in the same order. TRL's KTO estimates its KL term from the neighbour in the batch: both
    goals of one trajectory next to each other would be measured against themselves.
    """
    groups: dict[Hashable, list[T]] = {}
    for row, owner in zip(rows, owners, strict=True):
        groups.setdefault(owner, []).append(row)
    # Most rows first; of every second one the later row first, so that wanted and unwanted ones mix.
    queues = sorted(groups.values(), key=len, reverse=True)
    queues = [queue if at % 2 == 0 else queue[::-1] for at, queue in enumerate(queues)]
    ordered: list[T] = []
    # Every owner with rows left gives one in each round; the rounds only get shorter, and begin with the same owner.
    for turn in range(len(queues[0]) if queues else 0):
        giving = [queue for queue in queues if len(queue) > turn]
        if turn and len([queue for queue in queues if len(queue) >= turn]) == 1:
            return ordered, [row for queue in giving for row in queue[turn:]]
        ordered += [queue[turn] for queue in giving]
    return ordered, []
