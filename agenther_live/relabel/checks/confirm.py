"""Whether the result of a write says that it was done. Not to deny it is not enough.

A tool may refuse in any language, in any field, or put a write off ("queued for approval", "dry run"). The judge
`rules` believes only what says so in words that it can read: a past participle, a status or a flag that affirms, or a
record in which every word is one that the run had said before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from agenther_live.relabel.checks.pretended import simulated, unchanged
from agenther_live.relabel.reading.calls import Call, name_words, scalars
from agenther_live.relabel.reading.lexicon import (
    AFFIRMING,
    DONE,
    NOT_REALLY,
    PUT_OFF,
    STATUS_FIELDS,
    TELLING_FIELDS,
    WRITING,
)
from agenther_live.relabel.reading.mentions import fold, number, stem, words
from agenther_live.relabel.templates.wording import past

__all__ = ["confirmed", "put_off", "says_another"]

# What a status says of a thing that somebody must still agree to, or that was not done in earnest.
_WAITS = frozenset(("approval", "await", "awaiting", "awaits", "draft", "review", "sandbox", "simulated", "simulation"))
_WAITS |= {"backordered", "preview", "waitlist", "waitlisted"}
_TELLING = TELLING_FIELDS | {"reason"}
_CODES = frozenset(("code", "status_code", "statuscode", "status", "http_status"))


def confirmed(call: Call, said: str) -> bool:
    """Whether a write that was not refused is known to be done; `said` is what the run had said before it, folded."""
    own = frozenset(past(part) for part in name_words(call.name) if part in WRITING)
    if simulated(call) or unchanged(call):
        return False
    if not isinstance(call.result, dict):
        return call.result is None and _affirms(call.observation or "", own)
    return _record(call.result, own, f" {said} {fold(' '.join(str(value) for _, value in call.given))} ")


def put_off(call: Call) -> str | None:
    """What the result of a call that worked says of its being put off ('pending_approval', 'dry_run'), or None.

    Only a status or a flag counts. That an order is 'pending' or 'queued' does not: it was placed. What was only tried,
    or was so already, counts too.
    """
    for path, value in scalars(call.result) if isinstance(call.result, dict) else ():
        name = fold(path[-1]) if path else ""
        parts = set(name_words(path[-1])) if path else set()
        if name in STATUS_FIELDS and len(path) <= 2 and isinstance(value, str) and _WAITS.intersection(words(value)):
            return value
        if value is True and (parts & {"dry", "draft", "simulated", "sandbox"} or {"pending", "approval"} <= parts):
            return name
    return simulated(call) or unchanged(call)


def says_another(call: Call) -> tuple[str, str] | None:
    """An argument that the record which came back gives otherwise ('priority' was low, and is normal), or None.

    Read are the record itself and the one inside it, where there is just one. What holds all of the other is the same
    ('Ann' and 'Ann Lee'); a status of the record itself speaks of the call.
    """
    if not isinstance(call.result, dict):
        return None
    records = [value for value in call.result.values() if isinstance(value, dict)]
    top = {key: value for key, value in call.result.items() if fold(key) not in STATUS_FIELDS | _TELLING}
    for record in (top, *(records if len(records) == 1 else ())):
        for key, told in record.items():
            given = call.args.get(key)
            if isinstance(given, bool) or isinstance(told, bool) or not isinstance(given, str | int | float):
                continue
            if isinstance(told, str | int | float) and not _alike(given, told):
                return key, f"{given} → {told}"
    return None


def _alike(given: str | int | float, told: str | int | float) -> bool:
    one, other = fold(str(given)), fold(str(told))
    numbers = number(str(given)), number(str(told))
    if None not in numbers:
        return numbers[0] == numbers[1]
    return not one or not other or one in other or other in one


def _affirms(text: str, own: frozenset[str]) -> bool:
    """Whether a text says in English that it was done, and nothing that takes it back."""
    spoken = words(text[:2000])
    if "?" in text or PUT_OFF.intersection(spoken):
        return False
    stems = {stem(word) for word in own}
    return any(word in DONE | own or (word.endswith("ed") and stem(word) in stems) for word in spoken)


def _record(result: Mapping[str, Any], own: frozenset[str], said: str) -> bool:
    affirmed = False
    strange = False
    for path, value in scalars(dict(result)):
        name, parts = fold(path[-1]) if path else "", set(name_words(path[-1])) if path else set()
        if isinstance(value, bool) or (value in (0, 1) and parts & AFFIRMING):
            if (not value and parts & (AFFIRMING | own)) or (value and parts & NOT_REALLY):
                return False
            affirmed |= bool(parts & (AFFIRMING | own))
            strange |= not value  # a no of which nobody knows what it denies
        elif isinstance(value, int | float):
            if name.replace(" ", "_") in _CODES:
                if not (value in (0, 1) or 200 <= value < 300) or value == 202:  # HTTP: taken in, not done yet
                    return False
                affirmed = True
        elif name in STATUS_FIELDS and len(path) <= 2:
            if not _affirms(value.replace("_", " "), own):
                return False
            affirmed = True
        elif parts & {"warning", "warnings"} and value.strip():
            return False
        elif name in _TELLING:
            if "?" in value or PUT_OFF.intersection(words(value[:2000])):
                return False
            affirmed |= _affirms(value, own)
        elif not re.search(r"\d", value) and not all(f" {word} " in said for word in words(value[:400])):
            strange = True
    return affirmed or not strange
