"""What a row says of a topic that goals speak of (price, time, rating, …), in figures that can be compared."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from agenther_live.relabel.reading.amounts import Amount, read_amount, unit_of
from agenther_live.relabel.reading.calls import name_words
from agenther_live.relabel.reading.lexicon import STOPWORDS
from agenther_live.relabel.reading.mentions import stem
from agenther_live.relabel.reading.rows import Row, currency_of, is_money

__all__ = ["Topic", "amount_for", "rank_for", "unread", "value_for"]

Topic = Literal["unit_price", "price", "time", "date", "rating", "distance", "stock", "other"]

_TOPIC_WORDS: dict[str, frozenset[str]] = {
    "time": frozenset(
        ["day", "days", "hour", "hours", "minute", "minutes", "week", "weeks", "duration", "delivery", "lead", "eta"]
    ),
    "rating": frozenset(["rating", "ratings", "stars", "score"]),
    "distance": frozenset(["distance", "km", "miles"]),
    "stock": frozenset(["stock", "available", "inventory"]),
}


def amount_for(row: Row, topic: Topic, *, noun: str = "", unit: str = "") -> Amount | None:
    """What a row says of a topic; None where it says nothing of it, nothing readable, or several things that differ.

    Numbers of columns come first, then figures in words ('4-6 days'). `unit` prefers the column that is named by it.
    """
    cells = {name: cell for name, cell in row.cells.items() if not isinstance(cell, bool)}
    numbers = {name: _numeric(row, name, cell) for name, cell in cells.items() if isinstance(cell, int | float)}
    if topic == "date" and not (noun and _named(numbers, noun)):
        return _moment(row, noun)
    about = _about("other" if topic == "date" else topic, tuple(numbers), noun, unit)
    if about:
        return _only({name: numbers[name] for name in about})
    texts = {
        name: found for name, cell in cells.items() if isinstance(cell, str) and (found := _written(row, name, cell))
    }
    return _only({name: texts[name] for name in _about(topic, tuple(texts), noun, unit)})


def rank_for(row: Row, topic: Topic, *, noun: str = "") -> Amount | None:
    """What a row is ranked by: as `amount_for`, and where a row has no price but that of a unit, by that."""
    found = amount_for(row, topic, noun=noun)
    if found is None and topic == "price" and not any(_is_price(name) and not _each(name) for name in row.cells):
        return amount_for(row, "unit_price")
    return found


def unread(row: Row, topic: Topic, *, noun: str = "") -> str | None:
    """The first cell that is about a topic in words that are no figure ('on request'), where the row says no more."""
    if amount_for(row, topic, noun=noun) is not None:
        return None
    texts = tuple(name for name, cell in row.cells.items() if isinstance(cell, str) and cell.strip())
    if topic == "date":
        named = [name for name in texts if noun and _named([name], noun)]
    else:
        named = _about(topic, texts, noun, "")
    return next(
        (str(row.cells[name]) for name in named if is_money(name) or re.search(r"\d", str(row.cells[name]))), None
    )


def value_for(row: Row, topic: Topic, *, noun: str = "", unit: str = "") -> float | None:
    """The one number that a row says of a topic, in `unit` where it is given; None where there is none, or a range."""
    found = amount_for(row, topic, noun=noun, unit=unit)
    if found is None or not found.exact:
        return None
    known = unit_of(unit) if unit and topic in ("time", "distance") else None
    if known is None or found.kind == "":
        return found.low
    return round(found.low / known[1], 9) if known[0] == found.kind else None


def _about(topic: Topic, names: tuple[str, ...], noun: str, unit: str) -> list[str]:
    """The columns among these that a topic is about, the nearest first."""
    if topic in ("price", "unit_price"):
        prices = [name for name in names if _is_price(name)]
        each = [name for name in prices if _each(name)]
        if topic == "unit_price":
            return each or [name for name in prices if name_words(name) == ["price"]]
        totals = [name for name in prices if tuple(name_words(name)) in _TOTALS]
        return totals or [name for name in prices if name not in each]
    if topic == "other":
        wanted = [stem(word) for word in noun.split() if word not in STOPWORDS]
        parts = {name: {stem(word) for word in name_words(name)} for name in names if wanted}
        first = [name for name in parts if wanted[0] in parts[name]]  # 'the lowest mileage car'
        short = [name for name in parts if any(len(part) > 3 and wanted[0].startswith(part) for part in parts[name])]
        return [name for name in parts if parts[name].issuperset(wanted)] or first or short  # 'temp' for a temperature
    found = [
        name for name in names if set(name_words(name)) & _TOPIC_WORDS.get(topic, frozenset()) and not is_money(name)
    ]
    return [name for name in found if unit and stem(unit) in {stem(word) for word in name_words(name)}] or found


def _is_price(name: str) -> bool:
    """Whether a column holds a price; 'total_pages' and 'total_results' do not."""
    return is_money(name) and not {"page", "pages", "results", "count", "items", "rows"} & set(name_words(name))


def _each(name: str) -> bool:
    return bool(set(name_words(name)) & {"unit", "each", "per"})


_TOTALS = (("total",), ("total", "price"), ("total", "cost"), ("total", "amount"), ("grand", "total"))
_UNIT_COLUMNS = frozenset(("unit", "units", "uom"))
_NO_UNITS = frozenset(("min", "max", "m", "s", "h", "d", "g", "star", "second", "sec"))  # 'min_days' is a minimum


def _numeric(row: Row, name: str, value: float) -> Amount:
    """A number of a column, in the unit that the column's name or another column of the row gives."""
    if is_money(name):
        currency = currency_of(row)
        return Amount(float(value), float(value), f"money:{currency}" if currency else "money")
    told = [str(cell) for other, cell in row.cells.items() if set(name_words(other)) & _UNIT_COLUMNS]
    units = [found for word in name_words(name) if word not in _NO_UNITS and (found := unit_of(word)) is not None]
    if not units and len(told) == 1 and not {"per", "unit"} & set(name_words(name)):
        units = [found for found in [unit_of(told[0].casefold().strip())] if found is not None]
    kind, factor = units[0] if len(units) == 1 else ("", 1.0)
    return Amount(float(value) * factor, float(value) * factor, kind)


def _written(row: Row, name: str, text: str) -> Amount | None:
    """A figure in words; one without a unit takes that of its column."""
    found = read_amount(text)
    if found is None or found.kind or not found.exact:
        return found
    return _numeric(row, name, found.low)


def _named(names: Iterable[str], noun: str) -> bool:
    return any(stem(noun) in {stem(word) for word in name_words(name)} for name in names)


def _moment(row: Row, noun: str) -> Amount | None:
    """When a row was: by the one column of dates, or the one that is named like the thing ('ordered_on')."""
    found = {
        name: at
        for name, cell in row.cells.items()
        if isinstance(cell, str) and (at := read_amount(cell)) is not None and _CALENDAR.match(at.kind)
    }
    own = {name: at for name, at in found.items() if noun and _named([name], noun)}
    begins = {name: at for name, at in found.items() if {"start", "starts", "begin", "begins"} & set(name_words(name))}
    return _only(own or begins or found)


_CALENDAR = re.compile(r"moment$|local$|clock")


def _only(cells: dict[str, Amount]) -> Amount | None:
    return next(iter(cells.values())) if len(set(cells.values())) == 1 else None
