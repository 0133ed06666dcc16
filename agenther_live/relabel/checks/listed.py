"""Lists in plain text ('Arrow: 14 EUR', one to a line, or a table), read far enough to see that a choice was beaten."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from agenther_live.relabel.checks.predicates import Superlative
from agenther_live.relabel.checks.topics import rank_for
from agenther_live.relabel.reading.amounts import Amount, compare, read_amount
from agenther_live.relabel.reading.calls import Call
from agenther_live.relabel.reading.mentions import content_words, fold
from agenther_live.relabel.reading.rows import Row

__all__ = ["lines_beat"]

_PRICE = re.compile(
    r"[$€£]\s?\d[\d.,]*\d|[$€£]\s?\d|(?<!\d)\d[\d.,]{0,24}\s?(?:[€£$]|(?:eur|usd|gbp|chf)\b)", re.IGNORECASE
)
_TIME = re.compile(
    r"(?<![\d.,:-])\d[\d.]*(?:\s?-\s?\d+)?\s?(?:business days?|days?|hours?|hrs?|h|minutes?|mins?)\b"
    r"(?:\s?\d+\s?(?:minutes?|mins?|m)\b)?",
    re.IGNORECASE,
)
_FIGURES = {"price": _PRICE, "unit_price": _PRICE, "time": _TIME}
_MOST_LINES = 400
_PLAIN_COLUMNS = 3  # of wider tables nobody knows here which rows were meant


def lines_beat(each: Superlative, goal: str, names: Iterable[str], calls: Sequence[Call]) -> bool:
    """Whether a line of a text beats the one line that has one of these names: all that is asked, and a better figure.

    A line counts where it has just one price (or time), and every word of the goal that the other line has.
    """
    pattern = _FIGURES.get(each.topic)
    asked = set(content_words(goal))
    names = [fold(name) for name in names if len(fold(name)) > 2]
    for call in calls:
        if not call.ok or call.result is not None or not call.observation or not names:
            continue
        if _row_beats(each, names, _table(call.observation)):
            return True
        lines = list(_read(call.observation, pattern)) if pattern is not None else []
        for name in names:
            mine = [(words, amount) for text, words, amount in lines if f" {name} " in text]
            if len(mine) != 1:
                continue
            needed = mine[0][0] & asked - set(content_words(name))
            for text, words, amount in lines:
                if (
                    f" {name} " not in text
                    and needed <= words
                    and compare(amount, mine[0][1]) == (1 if each.most else -1)
                ):
                    return True
    return False


def _row_beats(each: Superlative, names: Iterable[str], rows: Sequence[Row]) -> bool:
    """Whether a row of a written table beats the one that has one of these names, and is like it in all other words."""
    for name in names:
        mine = [row for row in rows if name in {fold(str(cell)) for cell in row.cells.values()}]
        own = rank_for(mine[0], each.topic, noun=each.noun) if len(mine) == 1 else None
        if own is None or len(mine[0].cells) > _PLAIN_COLUMNS:
            continue
        for row in rows:
            other = rank_for(row, each.topic, noun=each.noun)
            if other is not None and compare(other, own) == (1 if each.most else -1):
                return True
    return False


def _table(text: str) -> list[Row]:
    """The rows of a table in Markdown or with commas: a line of names, and lines of as many cells."""
    lines = [line.strip().strip("|") for line in text[:50_000].splitlines()[:_MOST_LINES] if line.strip()]
    mark = "|" if len(lines) > 2 and "|" in lines[0] else ","
    split = [[cell.strip() for cell in line.split(mark)] for line in lines if not set(line) <= set("|-: ")]
    if len(split) < 3 or len(split[0]) < 2 or any(len(cells) != len(split[0]) for cells in split):
        return []
    names = split[0]
    if any(not name or any(character.isdigit() for character in name) for name in names):
        return []
    return [Row({name: _cell(cell) for name, cell in zip(names, cells, strict=True)}, 0) for cells in split[1:]]


def _cell(text: str) -> str | float:
    return float(text) if re.fullmatch(r"-?\d+(?:\.\d+)?", text) else text


def _read(text: str, pattern: re.Pattern[str]) -> Iterator[tuple[str, set[str], Amount]]:
    """The lines that have just one such figure: folded, their words, and the figure."""
    for line in text[:50_000].splitlines()[:_MOST_LINES]:
        found = pattern.findall(line) if len(line) <= 400 else []
        amount = read_amount(found[0]) if len(found) == 1 else None
        if amount is not None:
            yield f" {fold(line)} ", set(content_words(line)), amount
