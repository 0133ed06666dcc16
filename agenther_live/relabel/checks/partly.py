"""Writes of several things of which a part was not done: what says so, and whether an answer does."""

from __future__ import annotations

import re
from typing import Any

from agenther_live.relabel.reading.calls import Call, name_words
from agenther_live.relabel.reading.lexicon import STATUS_FIELDS
from agenther_live.relabel.reading.mentions import fold, words

__all__ = ["left_undone", "says_partly"]

_UNDONE = frozenset(("failed", "failure", "failures", "skipped", "rejected", "unprocessed", "bounced", "undelivered"))
_BAD = frozenset(("bounced", "conflict", "denied", "error", "failed", "failure", "locked", "rejected", "skipped"))
_OF = re.compile(
    r"\b(?:[a-z]+ed|sent|done)[: ]+(\d{1,9}) (?:out )?of (\d{1,9})\b|\b(\d{1,9}) (?:failed|skipped)\b", re.I
)
_SAYING = re.compile(
    r"\b(?:not|no|none|never|only|except|but|however|partly|partial\w*|some|rest|remaining|fail\w*|skip\w*|reject\w*|"
    r"error\w*|locked|bounced|unable|without)\b|n['’]t\b",
    re.IGNORECASE,
)


def left_undone(call: Call) -> str | None:
    """What the result of a write that worked says of things that it did not do, or None."""
    if isinstance(call.result, dict | list):
        return _within(call.result, 0)
    for found in _OF.finditer((call.observation or "")[:2000]):
        done, whole, failed = found.groups()
        if int(failed or 0) > 0 or (done is not None and int(done) < int(whole)):
            return found.group()
    return None


def says_partly(answer: str) -> bool:
    """Whether an answer says that something was not done; of what, is for judges."""
    return _SAYING.search(answer) is not None


def _within(value: Any, depth: int) -> str | None:
    if isinstance(value, list):
        inner = [each for each in value if isinstance(each, dict)] if depth < 4 else []
        return next((found for each in inner if (found := _of_one(each) or _within(each, depth + 1)) is not None), None)
    for key, item in value.items() if isinstance(value, dict) else ():
        if _UNDONE.intersection(name_words(str(key))) and item and not isinstance(item, bool):
            several = isinstance(item, list) or (isinstance(item, int | float) and item > 0)
            if several or (isinstance(item, str) and item.isdigit() and int(item) > 0):
                return f"{key}: {str(item)[:60]}"
        if isinstance(item, list | dict) and depth < 4 and (found := _within(item, depth + 1)) is not None:
            return found
    return None


def _of_one(record: dict[Any, Any]) -> str | None:
    """What one of several results says of its own failure."""
    for key, item in record.items():
        name = fold(str(key))
        if name in STATUS_FIELDS and isinstance(item, str) and _BAD.intersection(words(item)):
            return f"{key}: {item}"
        if (name in ("error", "errors") and item) or (name in ("ok", "success") and item is False):
            return f"{key}: {str(item)[:60]}"
    return None
