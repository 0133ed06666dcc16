"""Replies, read strictly: the whole reply is one JSON object with exactly the keys asked for, or it is no answer.

Nothing is searched for inside a reply: a verdict quoted from a hostile tool result must never be found.
"""

from __future__ import annotations

import hmac
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from agenther_live.relabel.models import Unanswered

__all__ = ["array", "boolean", "enum", "integer", "number", "obj", "read_reply", "string"]

_MAX_REPLY = 200_000
_SURROGATE = re.compile("[\ud800-\udfff]")


def string() -> dict[str, Any]:
    """A text."""
    return {"type": "string"}


def number() -> dict[str, Any]:
    """A finite number."""
    return {"type": "number"}


def integer() -> dict[str, Any]:
    """A whole number."""
    return {"type": "integer"}


def boolean() -> dict[str, Any]:
    """True or false."""
    return {"type": "boolean"}


def enum(*values: str) -> dict[str, Any]:
    """One of these words."""
    return {"type": "string", "enum": list(values)}


def array(items: Mapping[str, Any]) -> dict[str, Any]:
    """A list of such values."""
    return {"type": "array", "items": dict(items)}


def obj(**properties: Mapping[str, Any]) -> dict[str, Any]:
    """An object with exactly these keys (the strict form of OpenAI's structured outputs)."""
    return {
        "type": "object",
        "properties": {name: dict(value) for name, value in properties.items()},
        "required": list(properties),
        "additionalProperties": False,
    }


def read_reply(text: str, schema: Mapping[str, Any], marker: str) -> dict[str, Any]:
    """Read a reply against its schema.

    Keys named `confidence` must lie in [0, 1], and `marker` must be the one that the prompt gave.

    Raises:
        Unanswered: whatever else the reply is.
    """
    if len(text) > _MAX_REPLY:
        raise Unanswered(f"the reply has {len(text)} characters")
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        raise Unanswered(f"the reply is not one JSON value: {error}") from None
    _check(value, schema, "reply")
    if _SURROGATE.search(json.dumps(value, ensure_ascii=False)):
        raise Unanswered("the reply holds half a character")
    if not hmac.compare_digest(str(value["marker"]).encode(), marker.encode()):
        raise Unanswered("the reply does not carry the marker of its prompt")
    assert isinstance(value, dict)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _check(value: Any, schema: Mapping[str, Any], path: str) -> None:
    match schema["type"]:
        case "object":
            if not isinstance(value, dict) or set(value) != set(schema["properties"]):
                raise Unanswered(f"{path} must be an object with exactly the keys {', '.join(schema['properties'])}")
            for name, inner in schema["properties"].items():
                _check(value[name], inner, f"{path}.{name}")
                if name == "confidence" and not 0 <= value[name] <= 1:
                    raise Unanswered(f"{path}.confidence must lie between 0 and 1")
            return
        case "array":
            good = isinstance(value, list)
            for item in value if good else ():
                _check(item, schema["items"], f"{path}[]")
        case "string":
            good = isinstance(value, str) and value in schema.get("enum", (value,))
        case "boolean":
            good = isinstance(value, bool)
        case "integer":
            good = isinstance(value, int) and not isinstance(value, bool)
        case "number":
            good = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        case _:
            good = False
    if not good:
        raise Unanswered(f"{path} must be {schema['type']}")
