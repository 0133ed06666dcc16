"""Figures as people and tools write them: '4-6 days', 'two days', '$1,299.00', 'from 12 EUR', '3h 20m', '1.2k'.

A text is read whole or not at all: what has a word besides ('12 EUR plus 9 EUR fee') is no figure that can be compared.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from itertools import pairwise

from agenther_live.relabel.reading.lexicon import NUMBER_WORDS
from agenther_live.relabel.reading.mentions import find_mentions, stem

__all__ = ["Amount", "compare", "read_amount", "unit_of"]


@dataclass(frozen=True, slots=True)
class Amount:
    """From `low` to `high` (equal where it is one number), of one kind.

    Kinds are 'time' (hours), 'workday' (days), 'distance' (km), 'weight' (kg), 'money:eur', 'money' where nobody says
    the currency, 'moment' and 'local' (days of the calendar, in UTC or of no zone), 'clock' (hours of a day), '' where
    no unit is known, and any other unit by its own word.
    """

    low: float
    high: float
    kind: str

    @property
    def exact(self) -> bool:
        """Whether it is one number."""
        return self.low == self.high


_UNITS: dict[str, tuple[str, float]] = {
    **{
        word: (kind, factor)
        for words, kind, factor in (
            ("second sec", "time", 1 / 3600), ("minute min", "time", 1 / 60), ("hour hr h", "time", 1.0),
            ("day d", "time", 24.0), ("week wk", "time", 168.0), ("month", "month", 1.0), ("year yr", "month", 12.0),
            ("km kilometer kilometre", "distance", 1.0), ("mile mi", "distance", 1.609344),
            ("meter metre", "distance", 0.001), ("kg kilogram", "weight", 1.0), ("g gram", "weight", 0.001),
            ("lb pound_weight", "weight", 0.45359237), ("oz ounce", "weight", 0.028349523125),
            ("percent pct", "%", 1.0), ("star", "star", 1.0),
        )
        for word in words.split()
    },
    "%": ("%", 1.0),
}  # fmt: skip
_CURRENCIES = {
    **{"€": "eur", "eur": "eur", "euro": "eur", "$": "usd", "usd": "usd", "dollar": "usd", "£": "gbp", "gbp": "gbp"},
    **{"pound": "gbp", "chf": "chf", "¥": "jpy", "jpy": "jpy", "yen": "jpy"},
}
_NUMBER_WORDS = {word: float(value) for value, word in enumerate(NUMBER_WORDS[:13])}
_TOKEN = re.compile(r"\d+(?:[.,'\u00a0\u202f]\d+)*|[^\W\d_]+|[^\s\w]")
_LEAST = re.compile(r"^(?:starting (?:at|from)|starts at|from|at least|over|more than|min\.?|minimum)\s+(?=\S)")
_MOST = re.compile(r"^(?:up to|at most|no more than|under|less than|within|max\.?|maximum)\s+(?=\S)")
_AND_UP = re.compile(r"\s*(?:and up|or more|and more)$|(?<=\d)\s*\+")
_TO = frozenset(("-", "–", "—", "to"))
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}(?:[t ]\d{2}:\d{2}\S*)?$")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::\d{2})?\s*([ap]m)?(?:\s*([a-z]{1,5}|[+-]\d{2}:?\d{2}))?$")
_LONGEST = 60  # characters of a cell that may be a figure
_A_WEEKEND = 2.0


def unit_of(word: str) -> tuple[str, float] | None:
    """The kind and the factor of a unit's word ('hours' → 'time', 1), or None."""
    return _UNITS.get(word) or _UNITS.get(word.removesuffix("s"))


@lru_cache(maxsize=8192)
def read_amount(text: str) -> Amount | None:
    """What a text says in figures, or None where it says anything besides, or may be read in two ways."""
    text = text.strip().casefold() if len(text) <= _LONGEST else ""
    if not text:
        return None
    when = _moment(text)
    if when is not None:
        return when
    least, most = _LEAST.match(text), _MOST.match(text)
    begin = least or most
    core, up = _AND_UP.subn(" ", text[begin.end() if begin else 0 :])
    core = re.sub(r"^an?\b", "1", core) if unit_of(core.partition(" ")[2]) else core  # 'a day', and not 'A-12'
    found = _span(_TOKEN.findall(re.sub(r"(?<=\d)-(?=[a-z])", " ", core)))  # '2-day'
    if found is None or (most and up):
        return None
    if least or up:
        return replace(found, high=math.inf)
    return replace(found, low=0.0) if most else found


def compare(one: Amount, other: Amount) -> int | None:
    """-1 where the one is less, 1 where it is more, 0 where they are equal; None where that cannot be told.

    Of two ranges the one is less whose ends are both no more: '3-5 days' is less than '4-6 days', and nobody knows of
    '3-7 days' and '4-5 days'.
    """
    if one.kind != other.kind:
        joint = _in_one_kind(one, other)
        if joint is None:
            return None
        one, other = joint
    if (one.low, one.high) == (other.low, other.high):
        return 0
    if one.low <= other.low and one.high <= other.high:
        return -1
    return 1 if one.low >= other.low and one.high >= other.high else None


def _in_one_kind(one: Amount, other: Amount) -> tuple[Amount, Amount] | None:
    kinds = {one.kind, other.kind}
    if "money" in kinds and all(kind.partition(":")[0] == "money" and "/" not in kind for kind in kinds):
        return replace(one, kind="money"), replace(other, kind="money")
    if kinds == {"time", "workday"}:
        return _in_hours(one), _in_hours(other)
    return None


def _in_hours(amount: Amount) -> Amount:
    if amount.kind != "workday":
        return amount
    return Amount(amount.low * 24, (amount.high * 7 / 5 + _A_WEEKEND) * 24, "time")


def _moment(text: str) -> Amount | None:
    """A date, a date with a time, or a time of the day."""
    if _ISO.match(text):
        try:
            at = datetime.fromisoformat(text.upper())
        except ValueError:
            return None
        kind = "local" if at.tzinfo is None else "moment"
        at = at if at.tzinfo is None else at.astimezone(UTC)
        days = at.toordinal() + (at.hour * 3600 + at.minute * 60 + at.second) / 86_400
        return Amount(days, days, kind)
    clock = _CLOCK.match(text)
    if clock is not None:
        hour = int(clock[1]) % 12 + (12 if clock[3] == "pm" else 0) if clock[3] else int(clock[1])
        hours = hour + int(clock[2]) / 60
        return Amount(hours, hours, f"clock{clock[4] or ''}")
    dates = find_mentions(text) if len(text) >= 8 else ()
    if len(dates) == 1 and dates[0].kind == "date" and dates[0].text == text and len(dates[0].norm) == 10:
        try:
            day = float(datetime.fromisoformat(dates[0].norm).toordinal())
        except ValueError:
            return None
        return Amount(day, day, "local")
    return None


def _span(tokens: list[str]) -> Amount | None:
    """One quantity, or two with a dash between them; the first takes its unit from the second."""
    joints = [place for place, token in enumerate(tokens) if token in _TO and 0 < place < len(tokens) - 1]
    if len(joints) > 1:
        return None
    if not joints:
        return _quantity(tokens)
    high = _quantity(tokens[joints[0] + 1 :])
    low = _quantity(tokens[: joints[0]])
    if low is not None and high is not None and low.kind in ("", "money") and high.kind != low.kind:
        factor = _factor(tokens[joints[0] + 1 :])
        low = None if factor is None else Amount(low.low * factor, low.high * factor, high.kind)
    if low is None or high is None or low.kind != high.kind or low.low > high.high:
        return None
    return Amount(low.low, high.high, high.kind)


def _factor(tokens: list[str]) -> float | None:
    units = [found for token in tokens if (found := unit_of(token)) is not None]
    return units[0][1] if len(units) == 1 else 1.0 if not units and "k" not in tokens else None


def _quantity(tokens: list[str]) -> Amount | None:
    """A number with its unit or currency, or a time in several units ('3 h 20 min')."""
    tokens = [token for token in tokens if token not in (".", "(", ")")]
    tokens, per = _per(tokens)
    numbers = [place for place, token in enumerate(tokens) if _figure(token) is not None]
    if not numbers:
        return None
    if len(numbers) > 1:
        return _in_parts(tokens, numbers) if not per else None
    value = _figure(tokens[numbers[0]])
    rest = tokens[: numbers[0]] + tokens[numbers[0] + 1 :]
    if value is None:
        return None
    if "k" in rest[:2]:
        rest.remove("k")
        value *= 1000
    money = {_CURRENCIES.get(word) or _CURRENCIES.get(word.removesuffix("s")) for word in rest}
    if rest and None not in money:
        ambiguous = re.fullmatch(r"\d{1,3}\.\d{3}", tokens[numbers[0]])  # a thousand, or three decimals?
        return Amount(value, value, f"money:{money.pop()}{per}") if len(money) == 1 and not ambiguous else None
    if numbers[0]:
        return None  # a word before the number
    if len(rest) == 2 and rest[0] in ("business", "working", "work") and stem(rest[1]) == "day":
        return Amount(value, value, f"workday{per}")
    if len(rest) > 1:
        return None
    kind, factor = unit_of(rest[0]) or (stem(rest[0]), 1.0) if rest else ("", 1.0)
    return Amount(value * factor, value * factor, kind + per)


def _per(tokens: list[str]) -> tuple[list[str], str]:
    """What a quantity is given for ('per night', '/ 5'), apart from the quantity itself."""
    for place, token in enumerate(tokens):
        if token in ("per", "/") and place and len(tokens) == place + 2:
            return tokens[:place], f"/{stem(tokens[-1])}"
        if token == "out" and tokens[place + 1 : place + 2] == ["of"] and len(tokens) == place + 3:
            return tokens[:place], f"/{tokens[-1]}"
    return tokens, ""


def _in_parts(tokens: list[str], numbers: list[int]) -> Amount | None:
    """A time in several units, from the largest to the smallest."""
    total, factors = 0.0, list[float]()
    for begin, end in pairwise([*numbers, len(tokens)]):
        value, units = _figure(tokens[begin]), [token for token in tokens[begin + 1 : end] if token not in (",", "and")]
        found = ("time", 1 / 60) if units == ["m"] and factors else unit_of(units[0]) if len(units) == 1 else None
        if value is None or found is None or found[0] != "time":
            return None
        factors.append(found[1])
        total += value * found[1]
    falling = all(one > other for one, other in pairwise(factors))
    return Amount(total, total, "time") if falling and not numbers[0] else None


def _figure(token: str) -> float | None:
    """The value of a number as it is written, with a dot or a comma; None where it could be two."""
    if token in _NUMBER_WORDS:
        return _NUMBER_WORDS[token]
    if not token[:1].isdigit():
        return None
    plain = re.sub(r"['\u00a0\u202f]", "", token)
    if re.fullmatch(r"\d+(?:\.\d+)?|\d{1,3}(?:,\d{3})+(?:\.\d+)?", plain):
        return float(plain.replace(",", ""))
    if re.fullmatch(r"\d{1,3}(?:\.\d{3})+,\d{1,2}|\d+,\d{1,2}", plain):
        return float(plain.replace(".", "").replace(",", "."))
    return None
