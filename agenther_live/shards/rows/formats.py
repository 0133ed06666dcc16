"""The dialects: one row per canonical Sample, for each trainer in the form that it reads.

Every row of a dialect carries every key, never null, so that `datasets` infers one schema whatever shard comes
first: what may be empty or nested is a JSON string, and `messages` is made of objects with differing keys, which
`datasets` (4.7 or newer) takes as its `Json` type and gives back as they were. What each trainer reads is written
in docs/training.md; the words here follow its own documentation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from agenther_live.characters import whole
from agenther_live.labels import Sample, SampleKind
from agenther_live.settings import ShardFormat
from agenther_live.shards.rows.canonical import RowRefused, tool_schemas, turns
from agenther_live.shards.rows.columns import (
    PAIR_PROVENANCE,
    PROVENANCE,
    SCHEMA_VERSION,
    chat,
    compact,
    openai_message,
    openai_tools,
    provenance,
    swift_messages,
)
from agenther_live.shards.rows.preference import openai_dpo, swift_dpo, trl_dpo, trl_kto
from agenther_live.shards.rows.sharegpt import conversation

__all__ = [
    "DEMONSTRATIONS",
    "DIALECTS",
    "PROVENANCE",
    "SCHEMA_VERSION",
    "Dialect",
    "called",
    "conversation_of",
    "encode",
    "final_flag_agrees",
    "kinds_of",
    "row",
    "trained",
    "trains_final_answer",
]

DEMONSTRATIONS: frozenset[SampleKind] = frozenset(("hindsight", "success"))


def _trl_sft(sample: Sample) -> dict[str, Any]:
    made = turns(sample)
    tools = tool_schemas(sample)
    return {
        "messages": [chat(turn, as_text=False, flag="train") for turn in made],
        "tools": compact(tools or None),  # "null", which TRL parses to None; an empty list would print a tool prompt
        "train": [turn.train for turn in made],
        "weights": [float(turn.weight) for turn in made],
        **provenance(sample, made),
    }


def _axolotl_sft(sample: Sample) -> dict[str, Any]:
    made = turns(sample)
    return {
        "messages": [chat(turn, as_text=True, flag="training") for turn in made],
        "tools": compact(tool_schemas(sample)),  # its loader accepts only a list
        **provenance(sample, made),
    }


def _swift_sft(sample: Sample) -> dict[str, Any]:
    made = turns(sample)
    tools = tool_schemas(sample)
    return {"messages": swift_messages(made), "tools": compact(tools) if tools else "", **provenance(sample, made)}


def _sharegpt(sample: Sample) -> dict[str, Any]:
    made = turns(sample)
    tools = tool_schemas(sample)
    return {**conversation(made), "tools": compact(tools) if tools else "", **provenance(sample, made)}


def _openai_sft(sample: Sample) -> dict[str, Any]:
    # https://platform.openai.com/docs/api-reference/fine-tuning/chat-input: keys of the line and of each message are
    # fixed there, so provenance stays out (the manifest keeps the sample ids) and absent things are absent.
    made = turns(sample)
    messages = [openai_message(turn, weight=True) for turn in made]
    return {"messages": messages, **openai_tools(tool_schemas(sample), made)}


def _goal_contrast(sample: Sample) -> dict[str, Any]:
    """Make the paper's pair: one response, the prompt with ĝ, the rejected prompt with g (arXiv 2603.21357, eq. 2)."""
    if not sample.original_goal.strip() or sample.original_goal.strip() == sample.goal.strip():
        raise RowRefused("goal", "the failed goal is empty or the same as the hindsight goal")
    made = turns(sample)
    first = next(index for index, turn in enumerate(made) if turn.train)
    asks = [index for index, turn in enumerate(made[:first]) if turn.role == "user" and sample.goal in turn.text]
    if not asks:
        raise RowRefused("goal", "no user message before the first trained one states the hindsight goal")
    at = asks[-1]
    prompt = [chat(turn, as_text=False, flag="train") for turn in made[: at + 1]]
    failed = made[at].text.replace(sample.goal, sample.original_goal, 1)
    response = made[at + 1 :]
    chosen = [chat(turn, as_text=False, flag="train") for turn in response]
    tools = tool_schemas(sample)
    return {
        "prompt": prompt,
        "rejected_prompt": [*prompt[:-1], {"role": "user", "content": failed}],
        # One response. A trainer that does not know `rejected_prompt` sees chosen = rejected: a gradient of zero.
        "chosen": chosen,
        "rejected": chosen,
        "tools": compact(tools or None),
        "train": [turn.train for turn in response],
        "weights": [float(turn.weight) for turn in response],
        **provenance(sample, made),
    }


@dataclass(frozen=True)
class Dialect:
    """One shard format. `columns` are the keys of every row with their types; those in `optional` may be absent.

    `kinds` are the samples that it is made of. `listed` says whether `datasets.load_dataset` is told of it; a format
    that is not has no room for ids either.
    """

    name: ShardFormat
    make: Callable[[Sample], dict[str, Any]]
    columns: Mapping[str, type]
    kinds: frozenset[SampleKind] = DEMONSTRATIONS
    optional: frozenset[str] = frozenset()
    listed: bool = True


_MESSAGES: Mapping[str, type] = {"messages": list, "tools": str}
_RESPONSE: Mapping[str, type] = {"train": list, "weights": list}
_PAIR: Mapping[str, type] = {
    **dict.fromkeys(("prompt", "chosen", "rejected"), list),
    "tools": str,
    **dict.fromkeys(("chosen_train", "chosen_weights", "rejected_train", "rejected_weights"), list),
    **PAIR_PROVENANCE,
}

DIALECTS: Mapping[ShardFormat, Dialect] = {
    dialect.name: dialect
    for dialect in (
        Dialect("trl_sft", _trl_sft, {**_MESSAGES, **_RESPONSE, **PROVENANCE}),
        Dialect("trl_dpo", trl_dpo, _PAIR, frozenset(("pair",))),
        Dialect("trl_dpo_step", trl_dpo, _PAIR, frozenset(("step",))),
        Dialect(
            "trl_kto",
            trl_kto,
            {"prompt": list, "completion": list, "label": bool, "tools": str, **_RESPONSE, **PROVENANCE},
            DEMONSTRATIONS | frozenset[SampleKind](("failure",)),
        ),
        Dialect(
            "sharegpt",
            _sharegpt,
            {"conversations": list, "system": str, "dropped_thoughts": int, "tools": str, **PROVENANCE},
        ),
        Dialect(
            "goal_contrast",
            _goal_contrast,
            {
                **dict.fromkeys(("prompt", "rejected_prompt", "chosen", "rejected"), list),
                "tools": str,
                **_RESPONSE,
                **PROVENANCE,
            },
            frozenset(("contrast", "hindsight")),
        ),
        Dialect("swift_sft", _swift_sft, {**_MESSAGES, **PROVENANCE}),
        Dialect(
            "swift_dpo",
            swift_dpo,
            {"messages": list, "rejected_messages": list, "tools": str, **PAIR_PROVENANCE},
            frozenset(("pair",)),
        ),
        Dialect("axolotl_sft", _axolotl_sft, {**_MESSAGES, **PROVENANCE}),
        Dialect(
            "openai_sft",
            _openai_sft,
            {"messages": list, "tools": list, "parallel_tool_calls": bool},
            optional=frozenset({"tools", "parallel_tool_calls"}),
            listed=False,
        ),
        Dialect(
            "openai_dpo",
            openai_dpo,
            {"input": dict, "preferred_output": list, "non_preferred_output": list},
            frozenset(("step",)),
            listed=False,
        ),
    )
}
assert set(DIALECTS) == set(get_args(ShardFormat))


def kinds_of(fmt: ShardFormat) -> frozenset[SampleKind]:
    """Give the kinds of samples that wait for a format.

    A contrast is a sample of its own, so that it can be taken back while the hindsight sample stays.
    """
    return frozenset(("contrast",)) if fmt == "goal_contrast" else DIALECTS[fmt].kinds


def row(fmt: ShardFormat, sample: Sample) -> dict[str, Any]:
    """Make a sample's row in one dialect.

    Raises:
        RowRefused: where the trainer would skip it, crash on it, or train on what is masked.
    """
    if sample.kind not in DIALECTS[fmt].kinds:
        raise RowRefused("kind", f"a {sample.kind} sample is nothing for {fmt}")
    return DIALECTS[fmt].make(sample)


def encode(made: Mapping[str, Any]) -> bytes:
    """Give a row as one line of JSON: UTF-8, keys in the dialect's order, always the same bytes for the same row.

    Half of a surrogate pair, which is no character, becomes U+FFFD.
    """
    text = json.dumps(made, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return whole(text).encode() + b"\n"


_FLAGS = {"swift_sft": "loss", "swift_dpo": "loss", "axolotl_sft": "training", "openai_sft": "weight"}


def conversation_of(fmt: ShardFormat, made: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give the messages of a row as the dialect has them: the prompt, and of a pair the better response."""
    if fmt == "sharegpt":
        return list(made["conversations"])
    if fmt == "openai_dpo":
        return [*made["input"]["messages"], *made["preferred_output"]]
    if fmt == "trl_kto":
        return [*made["prompt"], *made["completion"]]
    return [*made["prompt"], *made["chosen"]] if "prompt" in made else list(made["messages"])


def _trains(fmt: ShardFormat, made: Mapping[str, Any]) -> list[bool]:
    """Say for each message of `conversation_of` whether the trainer's loss falls on it."""
    messages = conversation_of(fmt, made)
    if fmt == "sharegpt":
        return [turn["from"] in ("gpt", "function_call") for turn in messages]
    if fmt == "openai_dpo":
        return [False] * len(made["input"]["messages"]) + [True] * len(made["preferred_output"])
    if "prompt" in made:
        return [False] * len(made["prompt"]) + list(made["chosen_train" if "chosen_train" in made else "train"])
    return [bool(message.get(_FLAGS.get(fmt, "train"), False)) for message in messages]


def trained(fmt: ShardFormat, made: Mapping[str, Any]) -> list[bool]:
    """Say for each message of a row whether the trainer's loss falls on it; the worse response of a pair comes last."""
    worse: list[bool] = []
    if fmt == "openai_dpo":
        worse = [True] * len(made["non_preferred_output"])
    elif fmt == "swift_dpo":
        worse = [bool(message.get("loss", False)) for message in made["rejected_messages"]]
    elif "rejected_train" in made:
        worse = list(made["rejected_train"])
    return _trains(fmt, made) + worse


def called(fmt: ShardFormat, made: Mapping[str, Any]) -> list[str]:
    """Give the names of the tools that the trained messages of a row call."""
    names: list[str] = []
    for message, flag in zip(conversation_of(fmt, made), _trains(fmt, made), strict=True):
        if not flag:
            continue
        if message.get("role") == "tool_call" or message.get("from") == "function_call":
            value = json.loads(message["content" if "content" in message else "value"])
            names += [call["name"] for call in (value if isinstance(value, list) else [value])]
        names += [call["function"]["name"] for call in message.get("tool_calls", ())]
    return names


def trains_final_answer(fmt: ShardFormat, made: Mapping[str, Any]) -> bool:
    """Say whether the loss falls on the agent's last turn, and so on the stop token behind it."""
    if "final_trained" in made:
        return bool(made["final_trained"])
    return next((flag for flag in reversed(_said(fmt, made))), False)


def _said(fmt: ShardFormat, made: Mapping[str, Any]) -> list[bool]:
    """Give the train flags of the assistant's messages."""
    said = ("assistant", "tool_call")
    flags = zip(conversation_of(fmt, made), _trains(fmt, made), strict=True)
    return [flag for message, flag in flags if message["role"] in said]


def final_flag_agrees(fmt: ShardFormat, made: Mapping[str, Any]) -> bool:
    """Say whether the column `final_trained` agrees with the row's messages, as far as they show it."""
    if fmt == "sharegpt":  # cut behind the last trained turn: a masked last turn no longer shows
        return True
    said = _said(fmt, made)
    return bool(said) and said[-1] == trains_final_answer(fmt, made)
