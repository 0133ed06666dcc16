"""A last look for secrets in rows that are about to be published, or were."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agenther_live.redact import PLACEHOLDER, Redactor
from agenther_live.shards.rows.columns import PAIR_PROVENANCE

__all__ = ["secret_in"]

# Ids and hashes are no text of anybody's; schemas name secrets ("password") without holding any.
_UNREAD = frozenset(PAIR_PROVENANCE.keys() - {"goal", "original_goal"}) | {"tools", "train", "weights"}
_redactor = Redactor(None, b"check")


def secret_in(made: Mapping[str, Any]) -> str | None:
    """Give the kind of the first secret that stands in a row's text, or None; one that was redacted is none."""
    for name, value in made.items():
        if name in _UNREAD:
            continue
        clean = _redactor.value(value)
        if clean is not value:
            before = PLACEHOLDER.findall(json.dumps(value, ensure_ascii=False))
            for match in PLACEHOLDER.finditer(json.dumps(clean, ensure_ascii=False)):
                if match[0] not in before:
                    return match[0].strip("[]").rpartition(":")[0].partition(":")[2] or "secret"
            return "secret"
    return None
