"""A name for a set of tool schemas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from agenther_live.ids import content_hash

__all__ = ["named", "tools_version"]


def named(tools: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Leave one schema per name, the last; one without a name is known by what it says."""
    return tuple({(tool.get("function") or {}).get("name") or repr(tool): tool for tool in tools}.values())


def tools_version(tools: Sequence[Mapping[str, Any]] | None) -> str | None:
    """Hash what an agent could call: 16 hex digits, equal for equal schemas in any order; None without tools.

    Every difference counts, in a description too: it changes what the model was told.
    """
    if not tools:
        return None
    try:
        data = orjson.dumps(tools)
    except TypeError:  # what only `content_hash` can write
        return _version(tools)
    return _version_of(data)


def _version(tools: Sequence[Mapping[str, Any]]) -> str:
    return content_hash(sorted(content_hash(tool) for tool in tools))[:16]


@lru_cache(maxsize=64)  # the runs of an agent have the same ones, of several kilobytes
def _version_of(data: bytes) -> str:
    return _version(orjson.loads(data))
