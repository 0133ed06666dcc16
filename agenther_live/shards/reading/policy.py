"""Which policy a trainer made last: what it wrote beside the shards when it committed a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from agenther_live.errors import ShardError
from agenther_live.shards.stores.storage import CONSUMERS, consumer_name, open_source

__all__ = ["published_version"]


def published_version(
    root: str | Path, consumer: str, *, storage_options: Mapping[str, Any] | None = None
) -> str | None:
    """Give the policy version of a consumer's last committed checkpoint; None where it published none.

    Raises:
        ShardError: its note cannot be read.
        UsageError: the name is no consumer's, or the URL is not known.
    """
    source = open_source(root, storage_options)
    content = source.read(f"{CONSUMERS}/{consumer_name(consumer)}.json")
    if content is None:
        return None
    try:
        note = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ShardError(f"the note of consumer {consumer!r} in {source.name} cannot be read: {error}") from None
    version = note.get("policy_version") if isinstance(note, dict) else None
    return None if version is None else str(version)
