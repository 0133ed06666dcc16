"""Half a character made whole where relabeling begins and ends: what Python holds in a text, and UTF-8 cannot.

The journal and the buffer hold no half of a surrogate pair. A trajectory made by hand, or what a relabeler, a judge or
a detector of one's own gives, may: hashes, records and shards would all fail on it.
"""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

from pydantic import BaseModel

from agenther_live.characters import is_whole, whole

__all__ = ["mended"]

T = TypeVar("T")


def mended(value: T) -> T:
    """A text, record, dataclass or tuple of such with all its texts whole; itself where they are."""
    return cast(T, _mended(value))


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, BaseModel):
        told = value.model_dump(exclude_unset=True)
        if is_whole(json.dumps(told, ensure_ascii=False, skipkeys=True, default=str)):
            return value
        return type(value).model_validate(_inside(told))
    if isinstance(value, tuple):
        items = tuple(map(_mended, value))
        return value if all(one is other for one, other in zip(items, value, strict=True)) else items
    if is_dataclass(value) and not isinstance(value, type):
        told = {each.name: getattr(value, each.name) for each in fields(value)}
        changed = {name: new for name, old in told.items() if (new := _mended(old)) is not old}
        return replace(value, **changed) if changed else value
    return value


def _inside(value: Any) -> Any:
    """JSON-like data, mended through and through, names of fields included."""
    if isinstance(value, dict):
        return {_mended(key): _inside(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_inside(item) for item in value]
    return _mended(value) if isinstance(value, str) else value
