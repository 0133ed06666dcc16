"""The dialects: one row per canonical Sample, for each trainer in the form that it reads.

Every row of a dialect carries every key, never null, so that `datasets` infers one schema whatever shard comes
first: what may be empty or nested is a JSON string, and `messages` is made of objects with differing keys, which
`datasets` (4.7 or newer) takes as its `Json` type and gives back as they were. What each trainer reads is written
in docs/training.md; the words here follow its own documentation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any, get_args

from agenther_live.labels import Sample
from agenther_live.settings import ShardFormat
from agenther_live.shards.canonical import Call, RowRefused, Turn, tool_schemas, turns
from agenther_live.shards.sharegpt import conversation

__all__ = [
    "DIALECTS",
    "PROVENANCE",
    "SCHEMA_VERSION",
    "Dialect",
    "encode",
    "final_flag_agrees",
    "row",
    "trained",
    "trains_final_answer",
]

# Frozen: a change of keys or of their meaning is a new version, never an edit of this one.
SCHEMA_VERSION = 1

# Arrow reads a column of such strings as time, and then fails on the first that is none.
_LOOKS_LIKE_TIME = re.compile(r"\d{4}-\d\d")

PROVENANCE: Mapping[str, type] = {
    "schema_version": int,
    "sample_id": str,
    "content_hash": str,
    "trajectory_id": str,
    "goal_id": str,
    "kind": str,
    "goal": str,
    "original_goal": str,
    "agent": str,
    "policy_version": str,
    "failure_type": str,
    "severity": float,
    "weight": float,
    "confidence": float,
    "relabeler": str,
    "judges": str,
    "evidence": str,
    "outcome_rev": int,
    "created_at": float,
    "final_trained": bool,
}


def compact(value: Any) -> str:
    """Give JSON text without spaces, characters as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _plain(text: str | None) -> str:
    return f"@{text}" if text and _LOOKS_LIKE_TIME.match(text) else text or ""


def provenance(sample: Sample, made: Sequence[Turn]) -> dict[str, Any]:
    """Give the columns that say where a row comes from; the same in every dialect that has room for them.

    Nothing is null: text that is not known is '', `confidence` of a sample that no judge had to label is 1.0,
    `created_at` is epoch seconds (0 where unknown), and a version or agent that looks like a date has '@' before it.
    `final_trained` says whether the agent's last turn, an answer or a closing call, is trained with its stop token.
    """
    last = next(turn for turn in reversed(made) if turn.role == "assistant")
    created = sample.created_at.replace(tzinfo=UTC).timestamp() if sample.created_at else 0.0
    return {
        "schema_version": SCHEMA_VERSION,
        "sample_id": sample.sample_id,
        "content_hash": sample.content_hash,
        "trajectory_id": sample.trajectory_id,
        "goal_id": sample.goal_id or "",
        "kind": sample.kind,
        "goal": sample.goal,
        "original_goal": sample.original_goal,
        "agent": _plain(sample.agent),
        "policy_version": _plain(sample.policy_version),
        "failure_type": sample.failure_type or "",
        "severity": float(sample.severity),
        "weight": float(sample.weight),
        "confidence": 1.0 if sample.confidence is None else float(sample.confidence),
        "relabeler": sample.relabeler or "",
        "judges": compact(list(sample.judges)),
        "evidence": compact(list(sample.evidence)),
        "outcome_rev": sample.outcome_rev,
        "created_at": created,
        "final_trained": last.train,
    }


def _call(call: Call, *, as_text: bool) -> dict[str, Any]:
    arguments = compact(call.arguments) if as_text else call.arguments
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _chat(turn: Turn, *, as_text: bool, flag: str) -> dict[str, Any]:
    # `flag` stands on assistant messages alone. Besides saying what is trained it makes the objects of every
    # conversation differ in keys, from the first shard on: that is what turns the column into `Json`.
    # `tool_calls` is absent where there is none: some chat templates ask only whether the key is there.
    message: dict[str, Any] = {"role": turn.role, "content": turn.text}
    if turn.role == "assistant":
        if turn.calls:
            message["tool_calls"] = [_call(call, as_text=as_text) for call in turn.calls]
        message[flag] = turn.train
    elif turn.role == "tool":
        message |= {"tool_call_id": turn.call_id, "name": turn.name}
    return message


def _trl_sft(sample: Sample) -> dict[str, Any]:
    made = turns(sample)
    tools = tool_schemas(sample)
    return {
        "messages": [_chat(turn, as_text=False, flag="train") for turn in made],
        "tools": compact(tools or None),  # "null", which TRL parses to None; an empty list would print a tool prompt
        "train": [turn.train for turn in made],
        "weights": [float(turn.weight) for turn in made],
        **provenance(sample, made),
    }


def _axolotl_sft(sample: Sample) -> dict[str, Any]:
    made = turns(sample)
    return {
        "messages": [_chat(turn, as_text=True, flag="training") for turn in made],
        "tools": compact(tool_schemas(sample)),  # its loader accepts only a list
        **provenance(sample, made),
    }


def _swift_turn(turn: Turn) -> list[dict[str, Any]]:
    def message(role: str, content: str) -> dict[str, Any]:
        # `loss` is read on what the model says; a `loss_scale` that stands beside loss = false is not read.
        scale = turn.weight if turn.train else 1.0
        return {"role": role, "content": content, "loss": turn.train, "loss_scale": float(scale)}

    if turn.role == "tool":
        return [message("tool_response", turn.text)]
    said = [message(turn.role, turn.text)] if turn.text or not turn.calls else []
    return said + [
        message("tool_call", compact({"name": call.name, "arguments": call.arguments})) for call in turn.calls
    ]


def _swift_sft(sample: Sample) -> dict[str, Any]:
    made = turns(sample)
    if any(turn.role == "system" for turn in made[1:]):
        raise RowRefused("system", "a system message stands inside the conversation")
    tools = tool_schemas(sample)
    return {
        "messages": [message for turn in made for message in _swift_turn(turn)],
        "tools": compact(tools) if tools else "",
        **provenance(sample, made),
    }


def _sharegpt(sample: Sample) -> dict[str, Any]:
    made = turns(sample)
    tools = tool_schemas(sample)
    return {**conversation(made), "tools": compact(tools) if tools else "", **provenance(sample, made)}


def _openai_sft(sample: Sample) -> dict[str, Any]:
    # https://platform.openai.com/docs/api-reference/fine-tuning/chat-input: keys of the line and of each message are
    # fixed there, so provenance stays out (the manifest keeps the sample ids) and absent things are absent.
    messages = []
    for turn in turns(sample):
        message: dict[str, Any] = {"role": turn.role}
        if turn.text or not turn.calls:
            message["content"] = turn.text
        if turn.role == "assistant":
            if turn.calls:
                message["tool_calls"] = [_call(call, as_text=True) for call in turn.calls]
            message["weight"] = int(turn.train)
        elif turn.role == "tool":
            message["tool_call_id"] = turn.call_id
        messages.append(message)
    made: dict[str, Any] = {"messages": messages}
    if tools := tool_schemas(sample):
        made["tools"] = tools
        made["parallel_tool_calls"] = any(len(message.get("tool_calls", ())) > 1 for message in messages)
    elif any("tool_calls" in message for message in messages):
        raise RowRefused("tools", "tools are called, and their schemas are not known")
    return made


def _goal_contrast(sample: Sample) -> dict[str, Any]:
    """Make the paper's pair: one response, the prompt with ĝ, the rejected prompt with g (arXiv 2603.21357, eq. 2)."""
    if sample.kind != "hindsight":
        raise RowRefused("kind", "only a hindsight sample has two goals")
    if not sample.original_goal.strip() or sample.original_goal.strip() == sample.goal.strip():
        raise RowRefused("goal", "the failed goal is empty or the same as the hindsight goal")
    made = turns(sample)
    first = next(index for index, turn in enumerate(made) if turn.train)
    asks = [index for index, turn in enumerate(made[:first]) if turn.role == "user" and sample.goal in turn.text]
    if not asks:
        raise RowRefused("goal", "no user message before the first trained one states the hindsight goal")
    at = asks[-1]
    prompt = [_chat(turn, as_text=False, flag="train") for turn in made[: at + 1]]
    failed = made[at].text.replace(sample.goal, sample.original_goal, 1)
    response = made[at + 1 :]
    chosen = [_chat(turn, as_text=False, flag="train") for turn in response]
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

    `listed` says whether `datasets.load_dataset` is told of it; a format that is not has no room for ids either.
    """

    name: ShardFormat
    make: Callable[[Sample], dict[str, Any]]
    columns: Mapping[str, type]
    optional: frozenset[str] = frozenset()
    listed: bool = True


DIALECTS: Mapping[ShardFormat, Dialect] = {
    dialect.name: dialect
    for dialect in (
        Dialect(
            "trl_sft",
            _trl_sft,
            {"messages": list, "tools": str, "train": list, "weights": list, **PROVENANCE},
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
                "train": list,
                "weights": list,
                **PROVENANCE,
            },
        ),
        Dialect("swift_sft", _swift_sft, {"messages": list, "tools": str, **PROVENANCE}),
        Dialect("axolotl_sft", _axolotl_sft, {"messages": list, "tools": str, **PROVENANCE}),
        Dialect(
            "openai_sft",
            _openai_sft,
            {"messages": list, "tools": list, "parallel_tool_calls": bool},
            optional=frozenset({"tools", "parallel_tool_calls"}),
            listed=False,
        ),
    )
}
assert set(DIALECTS) == set(get_args(ShardFormat))


def row(fmt: ShardFormat, sample: Sample) -> dict[str, Any]:
    """Make a sample's row in one dialect.

    Raises:
        RowRefused: where the trainer would skip it, crash on it, or train on what is masked.
    """
    return DIALECTS[fmt].make(sample)


def encode(made: Mapping[str, Any]) -> bytes:
    """Give a row as one line of JSON: UTF-8, keys in the dialect's order, always the same bytes for the same row.

    Half of a surrogate pair, which is no character, becomes U+FFFD.
    """
    text = json.dumps(made, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return _whole(text).encode() + b"\n"


def _whole(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def trained(fmt: ShardFormat, made: Mapping[str, Any]) -> list[bool]:
    """Say for each message of a row whether the trainer's loss falls on it."""
    if fmt == "sharegpt":
        return [turn["from"] in ("gpt", "function_call") for turn in made["conversations"]]
    if fmt == "goal_contrast":
        return [False] * len(made["prompt"]) + list(made["train"])
    flag = {"swift_sft": "loss", "axolotl_sft": "training", "openai_sft": "weight", "trl_sft": "train"}[fmt]
    return [bool(message.get(flag, False)) for message in made["messages"]]


def trains_final_answer(fmt: ShardFormat, made: Mapping[str, Any]) -> bool:
    """Say whether the loss falls on the agent's last turn, and so on the stop token behind it."""
    if "final_trained" in made:
        return bool(made["final_trained"])
    return next((flag for flag in reversed(_said(fmt, made))), False)


def _said(fmt: ShardFormat, made: Mapping[str, Any]) -> list[bool]:
    """Give the train flags of the assistant's messages."""
    messages = [*made["prompt"], *made["chosen"]] if fmt == "goal_contrast" else made["messages"]
    said = ("assistant", "tool_call")
    flags = zip(messages, trained(fmt, made), strict=True)
    return [flag for message, flag in flags if message["role"] in said]


def final_flag_agrees(fmt: ShardFormat, made: Mapping[str, Any]) -> bool:
    """Say whether the column `final_trained` agrees with the row's messages, as far as they show it."""
    if fmt == "sharegpt":  # cut behind the last trained turn: a masked last turn no longer shows
        return True
    said = _said(fmt, made)
    return bool(said) and said[-1] == trains_final_answer(fmt, made)
