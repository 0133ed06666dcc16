"""How many rows there are of what a goal asks the number of, and which number an answer gives.

Strict on both sides: where a word of the question could be a condition that nobody understands, where the tool says
that there were more rows, or where two tables could be meant, nobody can tell.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from agenther_live.relabel.checks.predicates import Bound, holds
from agenther_live.relabel.checks.sets import HowMany
from agenther_live.relabel.reading.calls import Call, name_words
from agenther_live.relabel.reading.lexicon import GOAL_WORDS, OPENERS
from agenther_live.relabel.reading.mentions import content_words, fold, number, stem, words
from agenther_live.relabel.reading.pages import open_ended
from agenther_live.relabel.reading.rows import Row, Table, tables

__all__ = ["count_told", "rows_counted", "table_nouns"]

_PLAIN = frozenset(stem(word) for word in OPENERS | GOAL_WORDS | {"number"})
_NUMBER_WORDS = "zero one two three four five six seven eight nine ten eleven twelve"
_NUMBERS = {word: str(value) for value, word in enumerate(_NUMBER_WORDS.split())} | {"no": "0", "none": "0"}
_RANKING = frozenset((word,) for word in ("score", "relevance", "similarity", "rank")) | {
    (word, "score") for word in ("relevance", "similarity", "search", "match")
}
_PAGES = frozenset((10, 15, 20, 25, 30, 50, 100, 200, 250, 500, 1000))
_NEAR = 4  # words between a number and what it counts ('3 other suppliers')


def table_nouns(table: Table) -> frozenset[str]:
    """The stems of the words by which people may call the rows of a table: its key in the result, else the tool's."""
    key = name_words(table.path.rpartition("/")[2])
    return frozenset(stem(part) for part in key or name_words(table.tool)[1:])


def rows_counted(asked: HowMany, goal: str, bounds: Sequence[Bound], calls: Iterable[Call]) -> tuple[int, Table] | None:
    """How many rows are meant, and of which table; None where that cannot be told for sure.

    `bounds` are the goal's limits; those inside the question choose rows, and every row must say whether it keeps them.
    """
    served = [call for call in calls if call.ok]
    clause = goal[asked.start : asked.end]
    said = {stem(word) for word in asked.nouns} or set(content_words(goal))
    fitting = [table for table in tables(served) if table.rows and table_nouns(table) & said]
    if len(fitting) != 1 or not fitting[0].complete:
        return None
    [table] = fitting
    if any(tuple(name_words(column)) in _RANKING for row in table.rows for column in row.cells):
        return None  # the nearest of a search, and not all there are
    answered = {row.call for row in table.rows}
    if len(table.rows) in _PAGES or any(open_ended(call.result) for call in served if call.number in answered):
        return None  # so many are a page, more often than all; not every tool says so
    inside = [bound for bound in bounds if asked.start <= bound.start < asked.end]
    for bound in sorted(inside, key=lambda each: -each.start):
        clause = clause[: bound.start - asked.start] + " " + clause[bound.end - asked.start :]
    gave = {call.number: call for call in served if call.number in {row.call for row in table.rows}}
    cells = {stem(fold(cell)) for row in table.rows for cell in row.cells.values() if isinstance(cell, str)}
    # 'open' and 'new' say nothing in a request, but where a cell is just that word
    left = set(content_words(clause)) - table_nouns(table) - (_PLAIN - cells) - _shared(gave.values())
    left |= {stem(word) for word in words(clause) if stem(word) in cells} - table_nouns(table) - _shared(gave.values())
    left -= {stem(part) for part in name_words(table.tool)}
    rows: list[Row] = list(table.rows)
    for word in sorted(left):
        columns = {column for row in rows for column, cell in row.cells.items() if _says(column, cell, word)}
        if len(columns) != 1:
            return None
        column = columns.pop()
        rows = [row for row in rows if column in row.cells and _says(column, row.cells[column], word)]
    for bound in inside:
        answers = [holds(bound, row) for row in rows]
        if None in answers:
            return None
        rows = [row for row, kept in zip(rows, answers, strict=True) if kept]
    if len({gave[row.call].signature for row in rows}) > 1 and len(rows) > len({row.call for row in rows}):
        return None  # lists of different questions: what stands in two of them would count twice
    return len(rows), table


def _shared(calls: Collection[Call]) -> set[str]:
    """The words of what all of these calls were asked."""
    shared: set[str] = set()
    for key in {key for call in calls for key in call.args}:
        values = {str(call.args.get(key)) for call in calls}
        if len(values) == 1:
            shared.update(content_words(values.pop()), (stem(part) for part in name_words(key)))
    return shared


def _says(column: str, cell: object, word: str) -> bool:
    """Whether a cell says this word: a text that has it, or a yes under that name."""
    if isinstance(cell, bool):
        return cell and word in {stem(part) for part in name_words(column)}
    return isinstance(cell, str) and len(cell) <= 80 and word in content_words(cell)


def count_told(answer: str, n: int, nouns: frozenset[str]) -> bool | None:
    """Whether an answer gives this number of such things; None where it cannot be told which number it gives."""
    told = set()
    spoken = words(re.sub(r"(?<=\d),(?=\d{3})", "", answer))
    for place, word in enumerate(spoken):
        value = _NUMBERS.get(word) or (number(word) if word.isdigit() else None)
        if value is not None and any(stem(near) in nouns for near in spoken[place + 1 : place + 1 + _NEAR]):
            told.add(value)
    if str(n) in told:
        return True
    if len(told) == 1:
        return False
    return None
