"""Months and weekdays of a text, as the dates of a calendar: 'June 2026' is 2026-06, and 4 December 2026 a Friday."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

from agenther_live.relabel.reading.mentions import MONTHS, Mention, find_mentions

__all__ = ["Weekday", "falls_on", "month_of", "months_said", "weekdays_said", "whole_months"]

_MONTH = "|".join(sorted(MONTHS, key=len, reverse=True))
_OF_YEAR = re.compile(rf"\b({_MONTH})\b\.?,?\s{{1,3}}(?:of\s)?((?:19|20)\d{{2}})\b", re.IGNORECASE)
_TO = re.compile(
    rf"\b({_MONTH})\b\.?\s{{0,3}}(?:to|until|till|through|and|[-–])\s{{0,3}}(?={_OF_YEAR.pattern})", re.IGNORECASE
)
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WEEKDAY = re.compile(
    r"\b(mon(?:day)?|tue(?:s|sday)?|wed(?:nesday)?|thu(?:rs?|rsday)?|fri(?:day)?|sat(?:urday)?|sun(?:day)?)\b\.?",
    re.IGNORECASE,
)
_BESIDE = re.compile(r",?\s{1,3}(?:\(|the\s|on\s)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Weekday:
    """A weekday that stands beside a date: its place, which day it is (Monday is 0), and the date's normal form."""

    start: int
    end: int
    day: int
    date: str


def months_said(text: str) -> Iterator[tuple[int, str]]:
    """Months that a year belongs to, with their places; in 'from May to June 2026' it belongs to both."""
    for match in _OF_YEAR.finditer(text):
        yield match.start(), f"{match[2]}-{MONTHS[match[1].casefold()]:02d}"
    for match in _TO.finditer(text):
        if MONTHS[match[1].casefold()] < MONTHS[match[2].casefold()]:
            yield match.start(), f"{match[3]}-{MONTHS[match[1].casefold()]:02d}"


def month_of(word: str) -> int | None:
    """The number of a month by its name, or None."""
    return MONTHS.get(word.casefold())


def whole_months(dates: Collection[str]) -> frozenset[str]:
    """The months of which both the first day and the last one (or the first of the next) are among these dates."""
    found = set[str]()
    for each in dates:
        if len(each) == 10 and each[4] == "-" and each.endswith("-01"):
            begin = _day(each)
            following = None if begin is None else (begin + timedelta(days=31)).replace(day=1)
            if following and {f"{following}", f"{following - timedelta(days=1)}"} & set(dates):
                found.add(each[:7])
    return frozenset(found)


def weekdays_said(text: str) -> Iterator[Weekday]:
    """Weekdays right before a date ('Friday, 4 December', 'Fri 2026-12-04') or in brackets behind it."""
    if not _WEEKDAY.search(text):
        return
    dates = {each.start: each for each in find_mentions(text) if each.kind == "date"}
    ends: dict[int, Mention] = {each.end: each for each in dates.values()}
    for match in _WEEKDAY.finditer(text):
        beside = _BESIDE.match(text, match.end())
        one = dates.get(beside.end()) if beside else None
        if one is None and text[match.start() - 2 : match.start()] in (" (", ", "):
            one = ends.get(match.start() - 2)
        if one is not None:
            yield Weekday(match.start(), match.end(), _DAYS.index(match[1][:3].casefold()), one.norm)


def falls_on(day: int, when: str, known: Collection[str]) -> bool | None:
    """Whether a date is such a weekday; one without its year is looked for among `known` dates. None: nobody knows."""
    full = [when] if len(when) == 10 else [each for each in known if len(each) == 10 and each[5:] == when]
    days = {found.weekday() for each in full if (found := _day(each)) is not None}
    return None if not days else days == {day} if day in days else False


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
