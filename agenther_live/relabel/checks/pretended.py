"""Writes that worked and changed nothing: dry runs, previews, sandboxes, things that were so already, no rows met."""

from __future__ import annotations

import re
from typing import Any

from agenther_live.relabel.reading.calls import Call, name_words, scalars
from agenther_live.relabel.reading.lexicon import STATUS_FIELDS, TELLING_FIELDS, WRITING
from agenther_live.relabel.reading.mentions import fold, words
from agenther_live.relabel.templates.wording import past

__all__ = ["simulated", "unchanged"]

_NOT_IN_EARNEST = frozenset(("dry", "dryrun", "preview", "previewed", "sandbox", "simulate", "simulated", "simulation"))
_TRIAL_FLAGS = _NOT_IN_EARNEST | {"test"}
_EARNEST = frozenset(("commit", "committed", "execute", "livemode", "live", "live_mode"))
_MODES = frozenset(("mode", "environment", "env", "run_mode"))
_MODE_WORDS = _NOT_IN_EARNEST | {"test", "testing", "validate", "trial"}
_SAID = re.compile(
    r"\b(?:dry[- ]?run|simulat(?:ed|ion)|sandbox(?:ed)?|preview(?: only)?|test mode|would (?:be|have been))\b",
    re.IGNORECASE,
)
_ALREADY = re.compile(
    r"\balready (?:exist\w*|been|there|done|paid|sent|set|open|present|on file|in (?:place|use)|[a-z]+ed)\b"
    r"|\bno changes?\b|\bnothing (?:to|was|has been) (?:do|change|update)",
    re.IGNORECASE,
)
_COUNTS = frozenset(("affected", "changed", "deleted", "inserted", "modified", "removed", "updated"))
_NOTHING = re.compile(
    r"^\s*(?:update|delete|insert 0) 0\b|\b0 (?:row|record|item|document|file|message)s? (?:were |was )?[a-z]+ed\b",
    re.IGNORECASE,
)
_SAYING = STATUS_FIELDS | TELLING_FIELDS


def simulated(call: Call) -> str | None:
    """What says that a write was not done in earnest: a flag of the call or of its result, or its words; else None."""
    for key, value in call.args.items():
        if found := _flagged(key, value):
            return found
    if not isinstance(call.result, dict):
        found_in = _SAID.search((call.observation or "")[:400]) if call.result is None else None
        return found_in.group() if found_in else None
    for path, value in scalars(call.result):
        if path and not path[2:] and (found := _flagged(path[-1], value)):
            return found
    return _told(call.result, _SAID)


def unchanged(call: Call) -> str | None:
    """What says that a write found things as they were to be ('already exists', `created: false`), or none; or None."""
    own = {past(part) for part in name_words(call.name) if part in WRITING}
    if not isinstance(call.result, dict):
        text = (call.observation or "")[:400] if call.result is None else ""
        found = _ALREADY.search(text) or _NOTHING.search(text)
        return found.group() if found else None
    counted = {
        key: value
        for key, value in call.result.items()
        if isinstance(value, int) and not isinstance(value, bool) and set(name_words(key)) & (_COUNTS | own)
    }
    if counted and not any(counted.values()):
        return f"{next(iter(counted))}: 0"
    for key, value in call.result.items():
        parts = set(name_words(key))
        if (value is False and parts & own) or (value is True and {"already"} & parts):
            return f"{key}: {value}"
        if fold(key) in ("status", "state", "result") and isinstance(value, str) and words(value) == ["exists"]:
            return value
    return _told(call.result, _ALREADY)


def _flagged(key: str, value: Any) -> str | None:
    """Whether a flag, or the name of a mode, says that nothing is to be done."""
    parts, name = set(name_words(key)), "_".join(name_words(key))
    yes = value is True or (isinstance(value, str) and value.casefold() in ("true", "yes"))
    if yes and (parts & _TRIAL_FLAGS or {"validate", "only"} <= parts):
        return key
    if value is False and name in _EARNEST:
        return f"{key}: false"
    if name in _MODES and isinstance(value, str) and _MODE_WORDS.intersection(words(value.replace("-", " "))):
        return value
    return None


def _told(result: dict[str, Any], pattern: re.Pattern[str]) -> str | None:
    for key, value in result.items():
        if fold(key) in _SAYING and isinstance(value, str) and (found := pattern.search(value[:400])):
            return found.group()
    return None
