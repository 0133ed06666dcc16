"""One JSON value to one trajectory with its evidence. Pure; `Unreadable` says why a record is none."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from pydantic import ValidationError

from agenther_live.errors import AgentHERError
from agenther_live.integrations.transcripts.adapter import FINISH, MAX_DEPTH, depth_of
from agenther_live.integrations.transcripts.chat import without_think
from agenther_live.integrations.transcripts.choose import choose
from agenther_live.integrations.transcripts.signs import prints_grade
from agenther_live.integrations.transcripts.steps import Derived, derive
from agenther_live.trajectory import Evidence, Message, Run, Trajectory

MAX_MESSAGES = 20_000
MAX_CALLS = 1_000  # of one message
# Of a record's `meta` only this is kept: the rest holds reference answers, scores and labels.
_META_KEPT = ("task_group",)
_LABELS: Mapping[str, bool | None] = {"success": True, "failure": False, "unknown": None}


class Unreadable(AgentHERError):
    """A record that cannot become a trajectory; the message never quotes the record."""


class Redacts(Protocol):
    """What redaction must offer, as `agenther_live.redact.Redactor` does."""

    def value(self, obj: Any) -> Any:
        """Give `obj` with secrets and personal data replaced, in the same shape."""
        ...


@dataclass(frozen=True, slots=True)
class Grade:
    """A record's own grade; both None: it has none."""

    success: bool | None = None
    score: float | None = None


def parse(data: bytes) -> dict[str, Any]:
    """Parse one line strictly: UTF-8, one JSON object, no NaN, no half surrogate pair, bounded depth and numbers.

    Raises:
        Unreadable: with the reason.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable(f"not UTF-8 (byte {error.start})") from None
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_int=_whole, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise Unreadable(f"not JSON: {error.msg} (column {error.colno})") from None
    except RecursionError:
        raise Unreadable(f"nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise Unreadable(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Unreadable(f"a JSON object is needed, this is {_kind(value)}")
    if depth_of(value) > MAX_DEPTH:
        raise Unreadable(f"nested deeper than {MAX_DEPTH} levels")
    return value


def trajectory_id(record: Mapping[str, Any]) -> str:
    """Give `imp_` and a hash of the whole record (keys sorted), so that importing again changes nothing.

    Raises:
        Unreadable: where the text cannot be UTF-8.
    """
    text = json.dumps(record, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    try:
        return "imp_" + hashlib.sha256(text.encode("utf-8")).hexdigest()[:32]
    except UnicodeEncodeError:
        raise Unreadable("a string holds half of a surrogate pair, which is no text") from None


def convert(
    record: Mapping[str, Any],
    *,
    agent: str | None,
    policy_version: str | None,
    redactor: Redacts | None,
    now: datetime,
) -> tuple[Trajectory, tuple[Evidence, ...]]:
    """Make the trajectory and its evidence.

    Raises:
        Unreadable: with the reason.
    """
    identity = trajectory_id(record)
    grade = _grade(record)
    kept = dict(record)
    kept["messages"] = _ungraded(record)
    if redactor is not None:
        kept = redactor.value(kept)
    source = _text(kept, "source")
    messages = _messages(kept["messages"])
    adapter = choose(source, messages)
    derived = derive(messages, adapter)
    meta = kept.get("meta")
    model = meta.get("agent_model") if isinstance(meta, dict) else None
    trajectory = Trajectory(
        trajectory_id=identity,
        agent=agent or _text(kept, "agent") or source or "import",
        goal=_text(kept, "goal") or next((m.text.strip() for m in messages if m.role == "user"), ""),
        final_answer=_final_answer(kept, derived, messages),
        status="finished",
        messages=messages,
        context_len=next((at for at, m in enumerate(messages) if m.role not in ("system", "developer")), 0),
        tools=_tools(kept),
        steps=derived.steps,
        runs=(
            Run(
                root_key=identity,
                status="finished",
                policy_version=policy_version,
                models=(model,) if isinstance(model, str) else (),
            ),
        ),
        policy_version=policy_version,
        source=source or "import",
        metadata=_metadata(kept) | {"format": adapter.name},
        flags=_flags(derived, dropped=len(kept["messages"]) < len(record["messages"])),
    )
    if grade == Grade():
        return trajectory, ()
    evidence = Evidence(
        evidence_id=f"{identity}:import",
        trajectory_id=identity,
        source="reward",
        key="import",
        success=grade.success,
        score=grade.score,
        at=now,
    )
    return trajectory, (evidence,)


def _ungraded(record: Mapping[str, Any]) -> list[Any]:
    """The messages without those that print the grade: the one the record names, and those whose text shows it."""
    messages = record.get("messages")
    if not isinstance(messages, list):
        raise Unreadable("'messages' must be a list of chat messages")
    if not messages:
        raise Unreadable("'messages' is empty")
    if len(messages) > MAX_MESSAGES:
        raise Unreadable(f"more than {MAX_MESSAGES} messages")
    meta = record.get("meta")
    named = meta.get("outcome_leak_message_index") if isinstance(meta, dict) else None
    if named is not None and (not isinstance(named, int) or isinstance(named, bool) or not 0 <= named < len(messages)):
        raise Unreadable("'meta.outcome_leak_message_index' points to no message")
    kept: list[Any] = []
    started = False
    for at, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if at == named or (started and role != "assistant" and _shows_grade(message)):
            continue
        started = started or role == "assistant"
        kept.append(message)
    if not kept:
        raise Unreadable("nothing is left without the message that prints the grade")
    return kept


def _shows_grade(message: Any) -> bool:
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, list):
        content = "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return isinstance(content, str) and prints_grade(content)


def _messages(items: list[Any]) -> tuple[Message, ...]:
    messages: list[Message] = []
    for at, item in enumerate(items):
        if not isinstance(item, dict):
            raise Unreadable(f"message {at} is {_kind(item)}, not an object")
        calls = item.get("tool_calls")
        if isinstance(calls, list) and len(calls) > MAX_CALLS:
            raise Unreadable(f"message {at} holds more than {MAX_CALLS} tool calls")
        try:
            messages.append(Message.model_validate(item))
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise Unreadable(f"message {at}, {where}: {first['msg']}") from None
    return tuple(messages)


def _tools(record: Mapping[str, Any]) -> tuple[dict[str, Any], ...] | None:
    tools = record.get("tools")
    if tools is None and isinstance(record.get("functions"), list):  # the form before `tools`
        tools = [{"type": "function", "function": item} for item in record["functions"]]
    if tools is None:
        return None
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise Unreadable("'tools' must be a list of tool schemas, or null")
    return tuple(tools)


def _final_answer(record: Mapping[str, Any], derived: Derived, messages: tuple[Message, ...]) -> str | None:
    """The record's own, null too; where it says nothing, what the last turn tells the user."""
    if "final_answer" not in record:
        return derived.spoken
    given = _text(record, "final_answer")
    if given is None:
        return None
    last = next((message.text for message in reversed(messages) if message.role == "assistant"), "")
    if given == last:  # a text agent's whole message: the answer is what it says to the user, not how it came to it
        return derived.spoken or derived.last_spoken or without_think(given)[1] or given
    closing = derived.steps[-1].actions[-1:] if derived.steps else ()
    if closing and closing[0].name.lower() in FINISH and given.strip() == closing[0].input.strip():
        return derived.spoken  # the arguments of a closing call: only the answer in them, if there is one
    return given


def _flags(derived: Derived, *, dropped: bool) -> tuple[str, ...]:
    if not dropped:
        return derived.flags
    # The last call had an answer where that was the grade: it is not open, its answer must not be seen.
    return (*(flag for flag in derived.flags if flag != "unanswered_call"), "grade_dropped")


def _metadata(record: Mapping[str, Any]) -> dict[str, Any]:
    given = record.get("metadata")
    if given is not None and not isinstance(given, dict):
        raise Unreadable("'metadata' must be an object")
    kept: dict[str, Any] = dict(given or {})
    kept |= {key: record[key] for key in ("task_id", "raw_id", "licence") if record.get(key) is not None}
    meta = record.get("meta")
    if isinstance(meta, dict):
        kept |= {key: meta[key] for key in _META_KEPT if meta.get(key) is not None}
    return kept


def _grade(record: Mapping[str, Any]) -> Grade:
    """Read `outcome`: `{"success": …, "reward": …}`, true or false, a number, 'success', 'failure', 'unknown', null."""
    outcome = record.get("outcome")
    if outcome is None:
        return Grade()
    if isinstance(outcome, bool):
        return Grade(success=outcome)
    if isinstance(outcome, int | float):
        return Grade(score=_score(outcome))
    if isinstance(outcome, str) and outcome in _LABELS:
        return Grade(success=_LABELS[outcome])
    if isinstance(outcome, dict):
        success, reward = outcome.get("success"), outcome.get("reward")
        numeric = reward is None or (isinstance(reward, int | float) and not isinstance(reward, bool))
        if (success is None or isinstance(success, bool)) and numeric:
            return Grade(success=success, score=None if reward is None else _score(reward))
    raise Unreadable("'outcome' must be {success, reward}, true, false, a number, 'success', 'failure' or null")


def _score(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        raise Unreadable("'outcome' holds a number out of range") from None


def _text(record: Mapping[str, Any], key: str) -> str | None:
    value = record.get(key)
    if value is not None and not isinstance(value, str):
        raise Unreadable(f"{key!r} must be text, this is {_kind(value)}")
    return value


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "a boolean"
    names: dict[type, str] = {list: "an array", dict: "an object", str: "a string", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


def _whole(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= (value := int(digits)) < 2**64:
        raise ValueError("a whole number out of range, beyond 64 bits")
    return value


def _finite(digits: str) -> float:
    if math.isinf(value := float(digits)):
        raise ValueError("a number out of range")
    return value
