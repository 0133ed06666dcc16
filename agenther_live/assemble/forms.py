"""Facts of another form than ours, left out: what remains of their run is read all the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from agenther_live.assemble.sound import are_messages, are_objects

__all__ = ["formed"]

Item = Mapping[str, Any]
Test = Callable[[Any], bool]

_MOST = 2**31
_NEVER_NULL = ("args", "d", "keep")


def _is_number(value: Any) -> bool:
    return type(value) is int


def _is_time(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < _MOST * 1000


def _is_text(value: Any) -> bool:
    return type(value) is str


def _are_numbers(value: Any) -> bool:
    return type(value) is list and all(type(one) is int for one in value)


def _is_usage(value: Any) -> bool:
    return _are_numbers(value) and len(value) == 2 and all(0 <= one < _MOST for one in value)


def _are_tools(value: Any) -> bool:
    return (
        type(value) is list
        and are_objects(value)
        and all(type(tool.get("function", {})) in (dict, type(None)) for tool in value)
        and all(type((tool.get("function") or {}).get("name", "")) in (str, type(None)) for tool in value)
    )


def _is_message(value: Any) -> bool:
    try:
        if type(value) is not dict or not are_messages((value,)):
            return False
    except (AttributeError, KeyError, TypeError):
        return False
    content = value.get("content")
    if type(content) is list and any(type(part.get("text", "")) not in (str, type(None)) for part in content):
        return False
    return all(type(call["function"].get("arguments")) is str for call in value.get("tool_calls") or ())


# What an item needs to be read at all, and what may be in it.
_FORMS: Mapping[str, tuple[Mapping[str, Test], Mapping[str, Test]]] = {
    "msg": ({"m": _is_number, "msg": _is_message}, {"id": _is_text, "status": _is_text}),
    "tools": ({"x": _is_number, "tools": _are_tools}, {}),
    "graph": ({"s": _is_number, "p": _is_number, "up": _is_number, "name": _is_text}, {"n": _is_number}),
    "node": ({"p": _is_number, "s": _is_number, "name": _is_text, "ns": _is_text}, {}),
    "node_end": ({"p": _is_number}, {"out": _are_numbers}),
    "graph_end": ({"s": _is_number, "out": _are_numbers}, {}),
    "call": (
        {"c": _is_number, "s": _is_number, "p": _is_number, "add": _are_numbers},
        {"n": _is_number, "base": _is_number, "keep": _is_number, "x": _is_number, "model": _is_text, "d": _is_time},
    ),
    "reply": ({"c": _is_number, "m": _is_number}, {"model": _is_text, "usage": _is_usage, "d": _is_time}),
    "tool": (
        {"n": _is_number, "s": _is_number, "p": _is_number, "name": _is_text},
        {"up": _is_number, "id": _is_text, "args": _is_text, "d": _is_time},
    ),
    "tool_end": ({"n": _is_number}, {"m": _is_number, "text": _is_text, "d": _is_time}),
    "tool_error": ({"n": _is_number}, {"text": _is_text, "error": _is_text, "d": _is_time}),
}


def formed(records: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """Give a run's records without what is not of the form in which our writer puts it, and how many facts had such.

    A field that need not be there goes; a fact that cannot be read without a field goes as a whole.
    """
    given, odd = [], 0
    for record in records:
        if record.get("k") != "f":
            given.append(dict(record))
            continue
        items: list[dict[str, Any]] = []
        found = record.get("f")
        for item in found if type(found) is list else ():
            one = _formed(item)
            odd += one is None or one != item
            if one is not None:
                items.append(one)
        given.append({**record, "f": items})
    return given, odd


def _formed(item: Any) -> dict[str, Any] | None:
    if type(item) is not dict or type(item.get("t")) is not str:
        return None
    if item["t"] not in _FORMS:  # of a version to come: nobody reads it
        return item
    needed, may_be = _FORMS[item["t"]]
    one = dict(item)
    if item["t"] == "msg":
        one["msg"] = _with_text_arguments(item.get("msg"))
    if not all(name in one and test(one[name]) for name, test in needed.items()):
        return None
    for name, test in may_be.items():
        if name in one and not test(one[name]) and (one[name] is not None or name in _NEVER_NULL):
            del one[name]
    if one["t"] == "call" and one.get("base") and "keep" not in one:
        return None
    if one["t"] == "tool_error" and not one.get("control") and "error" not in one and "text" not in one:
        one["error"] = "error"
    return one


def _with_text_arguments(message: Any) -> Any:
    """Write arguments that came as an object as the text that they are elsewhere."""
    if type(message) is not dict or type(calls := message.get("tool_calls")) is not list:
        return message
    return {**message, "tool_calls": [_with_text(call) for call in calls]}


def _with_text(call: Any) -> Any:
    if type(call) is not dict or type(function := call.get("function")) is not dict:
        return call
    given = function.get("arguments", {})
    return call if type(given) is str else {**call, "function": {**function, "arguments": orjson.dumps(given).decode()}}
