"""Records of another form than ours: another version's, a foreign writer's, one that was changed by hand.

What stands in a record decides in columns and keys of all that comes with it, so one whose fields are of another type
than expected would keep a whole batch out. Such fields are made what they should be, or left out; the facts within a
record of kind `f` are looked at where they are assembled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from agenther_live.trajectory import Status

__all__ = ["is_formed", "mended"]

_TEXT = frozenset((str, type(None)))
_NUMBER = frozenset((int, float))
_LIST = (list, type(None))
_SWITCH = (bool, type(None))
_STATUSES = frozenset(get_args(Status))
_FIRST, _BEHIND = -62_135_596_800, 253_402_300_800  # the years 1 to 9999, in seconds of the epoch
_NAMES = ("trajectory_id", "trajectory_root", "run_id", "thread_id")
_TEXTS: Mapping[str, tuple[str, ...]] = {
    "start": ("agent", "policy_version", "checkpoint_id", "subject", "tenant", "goal", "input_text"),
    "interrupt": ("checkpoint_id",),
    "end": ("error_type", "error_message", "answer"),
    "feedback": ("agent", "source"),
}
_OTHERS: Mapping[str, Mapping[str, tuple[type, ...]]] = {
    "f": {"f": _LIST},
    "start": {
        "conversational": _SWITCH,
        "metadata": (dict, type(None)),
        "input": _LIST,
        "tags": _LIST,
        "evaluators": _LIST,
    },
    "end": {"status": (str,), "out": _LIST},
}
_MOST_SHAPES = 1000
_shapes: set[tuple[Any, ...]] = set()  # kinds, names and types of fields that were found good: nearly all are the same


def is_formed(record: Mapping[str, Any]) -> bool:
    """Whether the fields of a record, or of its outline, have the types that our writer gives them."""
    at = record.get("at")
    if at is not None and not (type(at) in _NUMBER and _FIRST <= at < _BEHIND):
        return False
    kind = record.get("k")
    shape = (kind if type(kind) is str else None, *record, *map(type, record.values()))
    if shape not in _shapes:
        if not _has_types(record):
            return False
        if len(_shapes) < _MOST_SHAPES:
            _shapes.add(shape)
    if kind == "start":
        return _holds(record, "input", int) and _holds(record, "tags", str) and _holds(record, "evaluators", str)
    if kind == "end":
        return record.get("status", "abandoned") in _STATUSES and _holds(record, "out", int)
    return True


def _has_types(record: Mapping[str, Any]) -> bool:
    """Whether each field by itself is of its type, whatever is in it."""
    kind = record.get("k")
    if type(kind) is not str or not _TEXT.issuperset(
        type(record.get(name)) for name in (*_NAMES, *_TEXTS.get(kind, ()))
    ):
        return False
    return all(type(record[name]) in types for name, types in _OTHERS.get(kind, {}).items() if name in record)


def _holds(record: Mapping[str, Any], name: str, kind: type) -> bool:
    """Whether a list has things of one type in it, if any."""
    value = record.get(name)
    return not value or {kind}.issuperset(map(type, value))


def mended(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Give a whole record with fields of the expected types, as far as they can be had; None: it says nothing."""
    kind = record.get("k")
    if type(kind) is not str:
        return None
    if kind == "f" and type(record.get("f")) is not list:
        return None
    new = dict(record)
    at = new.get("at")
    if at is not None and not (type(at) in _NUMBER and _FIRST <= at < _BEHIND):
        del new["at"]
    for name in (*_NAMES, *_TEXTS.get(kind, ())):
        value = new.get(name)
        if type(value) in _NUMBER:
            new[name] = str(value)
        elif type(value) not in _TEXT:
            del new[name]
    if kind == "start":
        for name, item in (("input", int), ("tags", str), ("evaluators", str)):
            _leave(new, name, item)
        if type(new.get("conversational")) not in _SWITCH:
            del new["conversational"]
        if "metadata" in new and type(new["metadata"]) is not dict:
            del new["metadata"]
    elif kind == "end":
        _leave(new, "out", int)
        if type(new.get("status", "")) is not str or new.get("status", "abandoned") not in _STATUSES:
            new["status"] = "abandoned"  # it ended, and nobody knows how
    return new


def _leave(record: dict[str, Any], name: str, kind: type) -> None:
    """Leave what is of this type in a list; what is no list goes."""
    value = record.get(name)
    if type(value) is list:
        record[name] = [item for item in value if type(item) is kind]
    elif value is not None:
        del record[name]
