"""Whether plain data is surely a trajectory as it stands: what comes from outside is looked at, type by type.

A `False` says no more than "ask the model", which takes it, changes it or says what is wrong. So this may be stricter
than the model, and never more lenient.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, get_args

from agenther_live.trajectory import Message, Status

__all__ = ["are_messages", "are_objects", "are_texts", "is_sound", "is_sound_head"]

_ROLES = frozenset(get_args(Message.model_fields["role"].annotation))
_STATUSES = frozenset(get_args(Status))
_TEXT = (str, type(None))
_TIME = (datetime, type(None))
_ARGUMENTS = (str, dict)


def is_sound(fields: Mapping[str, Any]) -> bool:
    """Whether `Trajectory` would take these fields and change none."""
    try:
        return (
            is_sound_head(fields)
            and are_messages(fields["messages"])
            and all(map(are_messages, fields["nested"].values()))
            and are_texts((*fields["nested"], *fields["nested_tools"]))
            and are_objects(fields["tools"] or ())
            and all(map(are_objects, fields["nested_tools"].values()))
            and _steps(fields["steps"])
            and _seen(fields.get("seen"))
        )
    except (AttributeError, KeyError, TypeError):  # no mapping, absent, unhashable
        return False


def is_sound_head(fields: Mapping[str, Any]) -> bool:
    """Whether all but what was said and done is sound; may raise what other types than expected raise."""
    return (
        type(fields["trajectory_id"]) is str
        and type(fields["agent"]) is str
        and type(fields["goal"]) is str
        and type(fields["thread_id"]) in _TEXT
        and type(fields["final_answer"]) in _TEXT
        and type(fields["policy_version"]) in _TEXT
        and type(fields["error_type"]) in _TEXT
        and type(fields["error_message"]) in _TEXT
        and type(fields["subject"]) in _TEXT
        and type(fields["tenant"]) in _TEXT
        and fields["status"] in _STATUSES
        and type(fields["metadata"]) is dict
        and are_texts(fields["tags"])
        and are_texts(fields.get("evaluators") or ())
        and type(fields["context_len"]) is int
        and type(fields["revision"]) is int
        and type(fields["started_at"]) in _TIME
        and type(fields["finished_at"]) in _TIME
        and all(map(_is_run, fields["runs"]))
    )


def are_objects(values: Iterable[Any]) -> bool:
    """Whether all of them are JSON objects."""
    return all(type(value) is dict for value in values)


def are_texts(values: Iterable[Any]) -> bool:
    """Whether all of them are text."""
    for value in values:  # noqa: SIM110 a generator would treble the cost of the few that these are
        if type(value) is not str:
            return False
    return True


def are_messages(wires: Iterable[Any]) -> bool:
    """Whether all of them are messages, as `Message` takes them."""
    for wire in wires:
        content, calls = wire.get("content"), wire.get("tool_calls")
        if (
            wire.get("role") not in _ROLES
            or (type(content) not in _TEXT and not (type(content) is list and are_objects(content)))
            or type(wire.get("tool_call_id")) not in _TEXT
            or type(wire.get("name")) not in _TEXT
            or (calls is not None and not (type(calls) is list and _calls(calls)))
        ):
            return False
    return True


def _calls(calls: Iterable[Any]) -> bool:
    for call in calls:
        function = call["function"]
        if not (
            type(function["name"]) is str
            and type(function.get("arguments", "")) in _ARGUMENTS
            and type(call.get("id")) in _TEXT
            and type(call.get("type", "")) is str
        ):
            return False
    return True


def _steps(steps: Iterable[Mapping[str, Any]]) -> bool:
    for step in steps:
        if type(step["node"]) not in _TEXT or type(step["model"]) not in _TEXT:
            return False
        for action in step["actions"]:
            if not (
                type(action["name"]) is str
                and type(action["input"]) is str
                and type(action["observation"]) in _TEXT
                and type(action["call_id"]) in _TEXT
            ):
                return False
    return True


def _seen(seen: Mapping[str, Any] | None) -> bool:
    return seen is None or (
        are_messages(seen["messages"])
        and all(map(are_objects, seen["toolsets"]))
        and all(
            type(lane["path"]) is str
            and type(lane["tools"]) in (int, type(None))
            and all(type(place) is int for place in lane["messages"])
            and _steps(lane["steps"])
            for lane in seen["lanes"]
        )
        and are_texts(seen["spliced"])
    )


def _is_run(run: Mapping[str, Any]) -> bool:
    return (
        type(run["root_key"]) is str
        and type(run["run_id"]) in _TEXT
        and type(run["policy_version"]) in _TEXT
        and run["status"] in _STATUSES
        and type(run["error_type"]) in _TEXT
        and type(run["error_message"]) in _TEXT
        and are_texts(run["models"])
        and type(run["prompt_tokens"]) is int
        and type(run["completion_tokens"]) is int
    )
