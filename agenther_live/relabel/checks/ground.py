"""Grounding: every checkable word of a goal must be shown by what the run saw or did, in a field that it can belong to.

Necessary, not sufficient: it proves that a goal talks about this run, not that the run reached it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from agenther_live.relabel.reading.calls import Call, name_words, scalars
from agenther_live.relabel.reading.knowledge import Knowledge
from agenther_live.relabel.reading.lexicon import COUNT_WORDS, CURRENCIES, GERMAN, TIME_WORDS
from agenther_live.relabel.reading.mentions import Mention, find_mentions, number, stem, words
from agenther_live.relabel.reading.rows import is_money

__all__ = ["field_conflict", "field_in_text", "leaked", "ungrounded"]

_MONEY = re.compile(r"[$€£]|\b(?:eur|usd|gbp|chf|euros?|dollars?|pounds?)\b", re.IGNORECASE)
_TIME = re.compile(
    r"^\s*(?:-\s*)?(?:business |working )?(?:days?|hours?|hrs?|minutes?|mins?|weeks?|months?|years?)\b", re.IGNORECASE
)

_NOTHING: Mapping[int, Mention | None] = MappingProxyType({})
Field = Literal["money", "time", "count", "other"]


def ungrounded(
    goal: str, knowledge: Knowledge, excused: Iterable[int] = (), other: Mapping[int, Mention | None] = _NOTHING
) -> list[Mention]:
    """The mentions of a goal that no result and no argument shows.

    `excused` are positions that a predicate proved, `other` what mentions mean in other words (None: nothing).
    """
    proven = set(excused)
    return [
        mention
        for mention in find_mentions(goal)
        if mention.start not in proven
        and mention.norm not in CURRENCIES
        and not knowledge.shown(mention, "input", "seen")
        and not (
            mention.start in other
            and ((meant := other[mention.start]) is None or knowledge.shown(meant, "input", "seen"))
        )
        and not _by_words(mention, knowledge)
        and not (mention.kind == "name" and " " not in mention.norm and _german(goal))
    ]


def _german(goal: str) -> bool:
    """Whether a goal is in German, where a capital makes no name: every noun has one."""
    return len(GERMAN.intersection(words(goal))) >= 3


def _by_words(mention: Mention, knowledge: Knowledge) -> bool:
    """A name of several words may be shown word by word, in one message ('Yusuf Rossi' by two fields of a record)."""
    if mention.kind != "name":
        return False
    several = [part for part in re.split(r"\s+(?:and|&)\s+", mention.text) if part]
    if len(several) > 1:  # 'Ann Lee and Bob Ray' are two names, where they are no one firm
        return all(knowledge.shown(part, "input", "seen") for part in several)
    parts = mention.norm.split()
    if len(parts) < 2:
        return False
    places = [set(knowledge.shown(part, "input", "seen")) for part in parts]
    return bool(set.intersection(*places))


def leaked(
    goal: str, knowledge: Knowledge, excused: Iterable[int] = (), other: Mapping[int, Mention | None] = _NOTHING
) -> list[Mention]:
    """The mentions that a result revealed before anybody had said them: the goal must not hand them over."""
    proven = set(excused)
    found = []
    for mention in find_mentions(goal):
        meant = other.get(mention.start, mention)
        first = None if meant is None else knowledge.first(mention) or knowledge.first(meant)
        if mention.start in proven or mention.norm in CURRENCIES or first is None or first[1] != "seen":
            continue
        if mention.kind == "name" and " " in mention.norm:
            parts = [knowledge.first(part) for part in mention.norm.split()]
            if all(part is not None and part[1] != "seen" for part in parts):
                continue
        found.append(mention)
    return found


def field_conflict(goal: str, calls: Sequence[Call], excused: Iterable[int] = ()) -> Mention | None:
    """A number that stands in the goal as one thing (money, time, a count) and in all evidence as another."""
    proven = set(excused)
    for mention in find_mentions(goal):
        if mention.kind != "number" or mention.start in proven:
            continue
        wanted = field_in_text(goal, mention)
        shown = {kind for call in calls for kind in _fields(call).get(mention.norm, ())}
        if not shown or wanted in shown or "other" in shown:
            continue
        if wanted != "other":
            return mention
    return None


def _fields(call: Call) -> dict[str, set[Field]]:
    """The numbers of a call and its result, each with the fields in which it stands; looked up once a call."""
    if "fields" not in call.cache:
        fields: dict[str, set[Field]] = {}
        for path, value in (*call.given, *(scalars(call.result) if call.ok else ())):
            norm = number(str(value))
            if norm is not None:
                fields.setdefault(norm, set()).add(_field_of(path))
        call.cache["fields"] = fields
    found: dict[str, set[Field]] = call.cache["fields"]
    return found


def field_in_text(goal: str, mention: Mention) -> Field:
    """What a number of a text is, by the words around it."""
    before, behind = goal[max(0, mention.start - 5) : mention.start + 1], goal[mention.end : mention.end + 18]
    if _MONEY.search(before) or re.match(
        r"\s?(?:[$€£]|(?:eur|usd|gbp|chf|euros?|dollars?|pounds?)\b)", behind, re.IGNORECASE
    ):
        return "money"
    if _TIME.match(behind):
        return "time"
    return "count" if re.match(r"\s+(?!(?:in|to|from|and|or|for|at|on|by|of|with|within)\b)[a-z]", behind) else "other"


def _field_of(path: tuple[str, ...]) -> Field:
    last = path[-1] if path else ""
    parts = set(name_words(last))
    if is_money(last):
        return "money"
    if parts & TIME_WORDS:
        return "time"
    return "count" if {stem(part) for part in parts} & {stem(word) for word in COUNT_WORDS} else "other"
