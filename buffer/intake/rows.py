"""Trajectories, samples and facts as rows: pure functions both ways.

The payload column holds a whole record as zstd-compressed JSON, exactly as it was set, so that it comes out equal;
the other columns are what people query.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import repeat
from typing import Any

import orjson
import zstandard
from pydantic_core import PydanticSerializationError

from agenther_live.assemble import Told
from agenther_live.buffer.engines.engine import Columns
from agenther_live.labels import Sample
from agenther_live.trajectory import Record, Trajectory

__all__ = ["MESSAGE", "RUN", "STEP", "TRAJECTORY", "json_text", "pack", "pack_record", "unpack"]


class _Zstd(threading.local):
    """A compressor and a decompressor of each thread: making one costs as much as a payload does."""

    def __init__(self) -> None:
        self.compress = zstandard.ZstdCompressor(level=1).compress
        self.decompress = zstandard.ZstdDecompressor().decompress


_zstd = _Zstd()

TRAJECTORY = (
    "trajectory_id",
    "revision",
    "thread_id",
    "agent",
    "policy_version",
    "goal",
    "final_answer",
    "error_type",
    "error_message",
    "n_runs",
    "n_steps",
    "n_errors",
    "started_at",
    "finished_at",
    "source",
    "subject",
    "tenant",
    "tags",
    "metadata",
    "flags",
    "ingested_at",
    "size",
    "payload",
)
RUN = (
    "trajectory_id",
    "revision",
    "idx",
    "root_key",
    "run_id",
    "policy_version",
    "status",
    "started_at",
    "finished_at",
    "error_type",
    "error_message",
    "models",
    "prompt_tokens",
    "completion_tokens",
    "tools_version",
)
MESSAGE = (
    "trajectory_id",
    "revision",
    "agent_path",
    "idx",
    "role",
    "content",
    "tool_calls",
    "tool_call_id",
    "name",
    "in_context",
)
STEP = (
    "trajectory_id",
    "revision",
    "idx",
    "action_idx",
    "agent_path",
    "node",
    "model",
    "thought",
    "action_name",
    "action_input",
    "observation",
    "is_error",
    "attempts",
    "call_id",
    "at",
)
SAMPLE = (
    "sample_id",
    "trajectory_id",
    "goal_id",
    "kind",
    "goal",
    "weight",
    "revision",
    "outcome_rev",
    "relabeling_id",
    "content_hash",
    "created_at",
    "size",
    "payload",
)


def json_text(value: Any) -> str:
    """Give a JSON-like value as text for a JSON column; what JSON cannot say is said as text."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # a number beyond 64 bits, half a character, an object
        return _odd_json_text(value)


def _odd_json_text(value: Any) -> str:
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:
        return orjson.dumps(storable(value), default=str).decode()


def storable(value: Any) -> Any:
    """Give JSON-like data without what no database takes: lone surrogates, numbers beyond 64 bits, NaN."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {storable(str(key)): storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def storable_trajectory(trajectory: Trajectory) -> Trajectory:
    """Give the trajectory itself, or where its text cannot be stored as it is, one that can."""
    try:
        trajectory.model_dump_json(exclude_unset=True)
        "".join(trajectory.nested).encode()  # names of fields pass pydantic unseen
    except (PydanticSerializationError, UnicodeEncodeError):
        return Trajectory.model_validate(storable(trajectory.model_dump(exclude_unset=True)))
    return trajectory


def pack(data: bytes) -> bytes:
    """Compress bytes for a payload column (zstd, level 1)."""
    return _zstd.compress(data)


def unpack(packed: bytes, size: int) -> bytes:
    """Give back what `pack` was given; `size` is its length in bytes."""
    return _zstd.decompress(packed, max_output_size=size)


def pack_record(record: Record) -> tuple[int, bytes]:
    """Give a record's (size, payload); only fields that were set are written, so that it comes back equal."""
    data = record.model_dump_json(exclude_unset=True).encode()
    return len(data), pack(data)


def trajectory_of(size: int, payload: bytes) -> Trajectory:
    """Read a trajectory's payload."""
    return Trajectory.model_validate_json(unpack(payload, size))


def sample_of(size: int, payload: bytes) -> Sample:
    """Read a sample's payload."""
    return Sample.model_validate_json(unpack(payload, size))


def trajectory_row(told: Told, *, now: datetime) -> tuple[Any, ...]:
    """Give the row of `store.trajectories`, in the order of TRAJECTORY."""
    fields, data = told.fields, told.payload()
    steps = fields["steps"]
    return (
        fields["trajectory_id"],
        fields["revision"],
        fields["thread_id"],
        fields["agent"],
        fields["policy_version"],
        fields["goal"],
        fields["final_answer"],
        fields["error_type"],
        fields["error_message"],
        len(fields["runs"]),
        len({(step["agent_path"], step["idx"]) for step in steps}),
        sum(action["is_error"] for step in steps for action in step["actions"]),
        fields["started_at"],
        fields["finished_at"],
        told.source,
        fields["subject"],
        fields["tenant"],
        json_text(fields["tags"]) if fields["tags"] else None,
        json_text(fields["metadata"]) if fields["metadata"] else None,
        json_text(fields["flags"]) if fields["flags"] else None,
        now,
        len(data),
        pack(data),
    )


def run_rows(told: Told) -> Iterable[tuple[Any, ...]]:
    """Give the rows of `store.runs`, in the order of RUN."""
    head = (told.fields["trajectory_id"], told.fields["revision"])
    for index, run in enumerate(told.fields["runs"]):
        yield (
            *head,
            index,
            run["root_key"],
            run["run_id"],
            run["policy_version"],
            run["status"],
            run["started_at"],
            run["finished_at"],
            run["error_type"],
            run["error_message"],
            json_text(run["models"]) if run["models"] else None,
            run["prompt_tokens"],
            run["completion_tokens"],
            run["tools_version"],
        )


def put_messages(told: Told, into: Columns) -> None:
    """Add the rows of `store.messages`, in the order of MESSAGE."""
    fields = told.fields
    key, revision = fields["trajectory_id"], fields["revision"]
    for path, messages in (("", fields["messages"]), *fields["nested"].items()):
        n = len(messages)
        context_len = 0 if path else max(0, min(fields["context_len"], n))
        into.add(
            n,
            repeat(key, n),
            repeat(revision, n),
            repeat(path, n),
            range(n),
            [message["role"] for message in messages],
            [
                said if (said := message.get("content")) is None or isinstance(said, str) else json_text(said)
                for message in messages
            ],
            [_calls(calls) if (calls := message.get("tool_calls")) else None for message in messages],
            [message.get("tool_call_id") for message in messages],
            [message.get("name") for message in messages],
            [True] * context_len + [False] * (n - context_len),
        )


_CALL, _FUNCTION = ["id", "type", "function"], ["name", "arguments"]


def _calls(calls: Iterable[Mapping[str, Any]]) -> str:
    """Give a message's calls as JSON text; nearly all of them came in the form that they get."""
    for call in calls:
        if [*call] != _CALL or [*call["function"]] != _FUNCTION:
            return json_text([_call(call) for call in calls])
    return json_text(calls)


def _call(call: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give a call in one form and order of keys; one with keys of its own as it came."""
    function = call["function"]
    if [*call] == _CALL and [*function] == _FUNCTION:
        return call
    if not (call.keys() <= set(_CALL) and function.keys() <= set(_FUNCTION)):
        return call
    return {
        "id": call.get("id"),
        "type": call.get("type", "function"),
        "function": {"name": function["name"], "arguments": function.get("arguments", "{}")},
    }


_NO_ACTION = ({"name": None, "input": None, "observation": None, "is_error": False, "attempts": 0, "call_id": None},)


def put_steps(told: Told, into: Columns) -> None:
    """Add the rows of `store.steps`, in the order of STEP: one per action, one for a step without any."""
    fields = told.fields
    steps = fields["steps"]
    actions = [action for step in steps for action in step["actions"] or _NO_ACTION]
    n = len(actions)
    indices: Iterable[int] = repeat(0, n)
    if n > len(steps):  # some step has several
        indices = [index for step in steps for index in range(len(step["actions"]) or 1)]
        steps = [step for step in steps for _ in step["actions"] or _NO_ACTION]
    into.add(
        n,
        repeat(fields["trajectory_id"], n),
        repeat(fields["revision"], n),
        [step["idx"] for step in steps],
        indices,
        [step["agent_path"] for step in steps],
        [step["node"] for step in steps],
        [step["model"] for step in steps],
        [step["thought"] for step in steps],
        [action["name"] for action in actions],
        [action["input"] for action in actions],
        [action["observation"] for action in actions],
        [action["is_error"] for action in actions],
        [action["attempts"] for action in actions],
        [action["call_id"] for action in actions],
        [step["at"] for step in steps],
    )


def sample_row(sample: Sample, *, revision: int, relabeling_id: str | None, now: datetime) -> tuple[Any, ...]:
    """Give the row of `store.samples`, in the order of SAMPLE."""
    size, payload = pack_record(sample)
    return (
        sample.sample_id,
        sample.trajectory_id,
        sample.goal_id,
        sample.kind,
        sample.goal,
        sample.weight,
        revision,
        sample.outcome_rev,
        relabeling_id,
        sample.content_hash,
        now,
        size,
        payload,
    )
