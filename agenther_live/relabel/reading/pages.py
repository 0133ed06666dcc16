"""Whether a tool gave all the rows there are, or one page of them: what may be called the cheapest depends on it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from agenther_live.relabel.reading.calls import name_words
from agenther_live.relabel.reading.mentions import fold

__all__ = ["counts", "open_ended", "says_more", "was_limited"]

_TOTAL_COUNT = ("total", "count", "total results", "total count", "n results", "num results", "n total")
# How tools say that there were more rows: in the record itself, or in one of these beside the rows.
_ABOUT_PAGES = frozenset(
    ("cursor", "cursors", "info", "links", "meta", "metadata", "page", "paging", "pageinfo", "pagination")
)
_COUNTING = frozenset(("count", "found", "hits", "matches", "pages", "remaining", "results", "total"))
_MORE = frozenset(("cursor", "more", "next", "truncated", "partial", "incomplete"))
_ALL = frozenset(("all", "complete", "last"))
_LIMITS = frozenset(("limit", "page_size", "per_page", "top_k", "max_results", "first", "num_results", "size"))
_OF = re.compile(r"\bof\s+(\d+)\b|\b(\d+)\s+(?:more|further|others?|additional)\b", re.IGNORECASE)


def counts(key: str) -> bool:
    """Whether a key names how many rows there are in all."""
    return fold(key) in _TOTAL_COUNT


def says_more(result: Any, rows: int, *, deeper: bool = True) -> bool:
    """Whether a result says that it is not all there is, in the record of the rows or in one about its pages."""
    if not isinstance(result, dict):
        return False
    pages = {"_".join(name_words(key)): value for key, value in result.items()}
    for key, value in pages.items():
        parts = set(key.split("_"))
        if isinstance(value, dict) and deeper and parts & _ABOUT_PAGES and says_more(value, rows, deeper=False):
            return True
        if parts & _MORE and not isinstance(value, dict | list) and value not in (None, False, "", 0):
            return True
        if isinstance(value, bool):
            if not value and parts & _ALL and not parts & {"name"}:
                return True
        elif isinstance(value, int):
            about = "pages" in parts and value > int(pages["page"] if isinstance(pages.get("page"), int) else 1)
            left = "remaining" in parts and value > 0
            if about or left or ("pages" not in parts and parts & _COUNTING and len(parts) <= 3 and value > rows):
                return True
            if key in _LIMITS and value == rows:
                return True
        elif isinstance(value, str) and len(value) <= 400:
            told = (int(number) for found in _OF.findall(value) for number in found if number and len(number) < 10)
            if any(number > rows for number in told) or re.search(r"\b(?:truncated|not shown|omitted)\b", value):
                return True
    return False


def open_ended(result: Any) -> bool:
    """Whether a record says which page it is, and nothing of how many there are or whether another follows."""
    keys = {part for key in result for part in name_words(str(key))} if isinstance(result, dict) else set()
    return bool(keys & {"page", "offset"}) and not keys & (_COUNTING | _MORE | _ALL)


def was_limited(args: Mapping[str, Any], rows: int) -> bool:
    """Whether a call asked for so many rows at most, or for a later page of them."""
    given = {
        "_".join(name_words(key)): value
        for key, value in args.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return any(key in _LIMITS and value == rows for key, value in given.items()) or any(
        given.get(key, 0) > least for key, least in (("offset", 0), ("skip", 0), ("page", 1))
    )
