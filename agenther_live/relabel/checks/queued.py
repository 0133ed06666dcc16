"""Writes that were only taken in: what came back says that they will be done, and nothing that they were.

'Queued' and 'pending' are said of a deed, and of the thing that it made: an order that was placed is pending, and so is
an order whose address was changed. So it counts what the tool does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from agenther_live.relabel.reading.calls import Call, name_words, scalars
from agenther_live.relabel.reading.lexicon import DONE, STATUS_FIELDS, TELLING_FIELDS, WRITING
from agenther_live.relabel.reading.mentions import content_words, fold, stem, words
from agenther_live.relabel.templates.wording import past

__all__ = ["only_queued", "says_queued"]

# Verbs that are done when the thing is on record, whatever becomes of it.
_RECORDING = frozenset(("add", "apply", "buy", "create", "file", "insert", "open", "order", "place", "purchase"))
_RECORDING |= {"register", "request", "run", "start", "submit", "subscribe", "trigger"}
# Those whose result shows the thing that was changed, with a status of its own.
_CHANGING = frozenset(("adjust", "append", "assign", "change", "configure", "edit", "modify", "reassign", "rename"))
_CHANGING |= {"replace", "set", "swap", "update", "upgrade"}
_PLANNING = frozenset(("book", "reschedule", "reserve", "schedule"))  # 'scheduled' is what they are for

_CODES = frozenset(("code", "status code", "statuscode", "status", "http status"))
_ACCEPTED = 202  # HTTP: taken in, and not done yet (RFC 9110, 15.3.3)
_TAKEN_IN = re.compile(
    r"\b(?:en)?queued\b|\bin (?:the )?queue\b|\b(?:accepted|received|submitted|taken) for \w+ing\b"
    r"|\b(?:is|are|being|will be|to be) processed\b|\b(?:is|are|still|now) (?:pending|in progress|processing)\b",
    re.IGNORECASE,
)
_WAITING = frozenset(("pending", "processing", "inprogress"))
_SAYING = frozenset(
    stem(word)
    for word in ("await", "initiate", "pending", "progress", "queue", "request", "schedule", "soon", "submit", "wait")
)
_HAPPENED = DONE - {
    "accepted",
    "approved",
    "confirmed",
    "ok",
    "okay",
    "processed",
    "registered",
    "scheduled",
    "submitted",
}
_HAPPENED |= {"cancelled", "canceled", "deployed", "finished", "live", "refunded", "transferred"}


def only_queued(call: Call, later: Iterable[Call] = ()) -> str | None:
    """What says that a write was taken in to be done later, where no later look says that it was; else None."""
    said = _taken_in(call) if call.ok and call.kind != "read" else None
    return None if said is None or any(_happened(look, call) for look in later) else said


def says_queued(text: str) -> bool:
    """Whether a goal or an answer speaks of a deed that is asked for, or waits."""
    return bool(_SAYING.intersection(content_words(text)) or _TAKEN_IN.search(text))


def _taken_in(call: Call) -> str | None:
    verbs = [part for part in name_words(call.name) if part in WRITING]
    if verbs and verbs[0] in _RECORDING:
        return None
    if not isinstance(call.result, dict):
        found = _TAKEN_IN.search((call.observation or "")[:400]) if call.result is None else None
        return found.group() if found else None
    for path, value in scalars(call.result):
        name = fold(path[-1]) if path else ""
        if len(path) > 2 or (isinstance(value, str) and len(value) > 400):
            continue
        if value is True and name in ("queued", "enqueued"):
            return name
        if value == _ACCEPTED and not isinstance(value, bool) and name in _CODES:
            return f"{name} {value}"
        if name in STATUS_FIELDS and isinstance(value, str) and _waits(words(value), verbs):
            return value
        if name in STATUS_FIELDS | TELLING_FIELDS and isinstance(value, str) and (found := _TAKEN_IN.search(value)):
            return found.group()
    return None


def _waits(said: list[str], verbs: list[str]) -> bool:
    """Whether the words of a status put a deed off, and say nothing of it besides."""
    verb = verbs[0] if verbs else ""
    if said == ["scheduled"]:
        return verb not in _PLANNING | _CHANGING
    return len(said) <= 2 and "".join(said) in _WAITING and verb not in _CHANGING


def _happened(look: Call, write: Call) -> bool:
    """Whether a later call shows that a deed was done: in a status, or in a text that is no record."""
    if not look.ok or look.number <= write.number:
        return False
    done = _HAPPENED | {past(part) for part in name_words(write.name) if part in WRITING}
    if not isinstance(look.result, dict | list):
        return bool(done.intersection(words((look.observation or "")[:2000])))
    told = ((path[-1] if path else "", value) for path, value in scalars(look.result))
    return any(
        fold(name) in STATUS_FIELDS and isinstance(value, str) and done.intersection(words(value))
        for name, value in told
    )
