"""A name for a set of tool schemas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agenther_live.ids import content_hash

__all__ = ["tools_version"]


def tools_version(tools: Sequence[Mapping[str, Any]] | None) -> str | None:
    """Hash what an agent could call: 16 hex digits, equal for equal schemas in any order; None without tools.

    Every difference counts, in a description too: it changes what the model was told.
    """
    if not tools:
        return None
    return content_hash(sorted(content_hash(tool) for tool in tools))[:16]
