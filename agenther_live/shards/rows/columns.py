"""What the dialects share: provenance columns, and messages in OpenAI's chat form."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any

from agenther_live.labels import Sample
from agenther_live.shards.rows.canonical import Call, RowRefused, Turn

__all__ = [
    "PAIR_PROVENANCE",
    "PROVENANCE",
    "SCHEMA_VERSION",
    "chat",
    "compact",
    "openai_message",
    "openai_tools",
    "pair_provenance",
    "provenance",
    "swift_messages",
    "tool_call",
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
PAIR_PROVENANCE: Mapping[str, type] = {**PROVENANCE, "rejected_trajectory_id": str, "sources": str}


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


def pair_provenance(sample: Sample, made: Sequence[Turn]) -> dict[str, Any]:
    """Give those columns of a pair: its better run's, and besides whose response is the worse one.

    `sources` is a JSON list of the two samples it was made of, the better one first.
    """
    return {
        **provenance(sample, made),
        "rejected_trajectory_id": sample.rejected_trajectory_id or "",
        "sources": compact(list(sample.sources)),
    }


def tool_call(call: Call, *, as_text: bool) -> dict[str, Any]:
    """Give a call in OpenAI's form; arguments as JSON text, or as an object."""
    arguments = compact(call.arguments) if as_text else call.arguments
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def chat(turn: Turn, *, as_text: bool, flag: str) -> dict[str, Any]:
    """Give a turn as a chat message, with its train flag under the key `flag`."""
    # `flag` stands on assistant messages alone. Besides saying what is trained it makes the objects of every
    # conversation differ in keys, from the first shard on: that is what turns the column into `Json`.
    # `tool_calls` is absent where there is none: some chat templates ask only whether the key is there.
    message: dict[str, Any] = {"role": turn.role, "content": turn.text}
    if turn.role == "assistant":
        if turn.calls:
            message["tool_calls"] = [tool_call(call, as_text=as_text) for call in turn.calls]
        message[flag] = turn.train
    elif turn.role == "tool":
        message |= {"tool_call_id": turn.call_id, "name": turn.name}
    return message


def swift_messages(made: Sequence[Turn]) -> list[dict[str, Any]]:
    """Give turns as ms-swift's messages: a message per call, `loss` and `loss_scale` on each.

    Raises:
        RowRefused: a system message stands where it would not be read.
    """
    if any(turn.role == "system" for turn in made[1:]):
        raise RowRefused("system", "a system message stands inside the conversation")
    return [message for turn in made for message in _swift_turn(turn)]


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


def openai_message(turn: Turn, *, weight: bool) -> dict[str, Any]:
    """Give a turn as OpenAI's fine-tuning reads it; `weight` puts 0 or 1 on what the assistant says."""
    message: dict[str, Any] = {"role": turn.role}
    if turn.text or not turn.calls:
        message["content"] = turn.text
    if turn.role == "assistant":
        if turn.calls:
            message["tool_calls"] = [tool_call(call, as_text=True) for call in turn.calls]
        if weight:
            message["weight"] = int(turn.train)
    elif turn.role == "tool":
        message["tool_call_id"] = turn.call_id
    return message


def openai_tools(tools: list[dict[str, Any]], made: Sequence[Turn]) -> dict[str, Any]:
    """Give the keys that OpenAI wants beside messages that may call tools.

    Raises:
        RowRefused: tools are called, and their schemas are not known.
    """
    if tools:
        return {"tools": tools, "parallel_tool_calls": any(len(turn.calls) > 1 for turn in made)}
    if any(turn.calls for turn in made):
        raise RowRefused("tools", "tools are called, and their schemas are not known")
    return {}
