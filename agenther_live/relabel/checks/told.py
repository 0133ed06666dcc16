"""What a final answer tells of the rows that a run saw, where no call chose among them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agenther_live.relabel.checks.predicates import Bound, Superlative, holds, value_for
from agenther_live.relabel.reading.calls import Call
from agenther_live.relabel.reading.mentions import fold
from agenther_live.relabel.reading.rows import Row, currency_of, tables

__all__ = ["asked_rows", "names", "tells_another"]


def tells_another(
    each: Superlative, goal: str, answer: str, calls: Sequence[Call], limits: Iterable[Bound] = ()
) -> bool:
    """Whether the answer to "which is the cheapest?" names just one row, and the run saw a cheaper one.

    A word of the goal that a column knows ("the cheapest delivered order") leaves the other rows of that column out.
    That a row is the best is not proven by this: there may be others that nobody saw.
    """
    limits = list(limits)
    said = f" {fold(answer)} "
    for table in tables(call for call in calls if call.kind == "read"):
        named = [row for row in table.rows if names(row, table.rows, said)]
        if len(named) != 1 or len(table.rows) < 2:
            continue
        rivals = [
            row for row in asked_rows(table.rows, goal) if all(holds(limit, row) is not False for limit in limits)
        ]
        mine = value_for(named[0], each.topic, noun=each.noun)
        if mine is None or named[0] not in rivals or len({currency_of(row) for row in rivals} - {None}) > 1:
            continue
        values = [value_for(row, each.topic, noun=each.noun) for row in rivals]
        if any(value is not None and (value > mine if each.most else value < mine) for value in values):
            return True
    return False


def names(row: Row, rows: Sequence[Row], said: str) -> bool:
    """Whether a folded text names a row by a cell of words that no other row has."""
    for column, cell in row.cells.items():
        text = fold(cell) if isinstance(cell, str) else ""
        alone = (other is row or other.cells.get(column) != cell for other in rows)
        if len(text) > 2 and f" {text} " in said and all(alone):
            return True
    return False


def asked_rows(rows: Sequence[Row], goal: str) -> list[Row]:
    """The rows that have, in each column of which the goal says a cell, that cell."""
    kept, asked = list(rows), f" {fold(goal)} "
    for column in {name for row in rows for name, cell in row.cells.items() if isinstance(cell, str)}:
        said = {cell for row in rows if isinstance(cell := row.cells.get(column), str) and f" {fold(cell)} " in asked}
        kept = [row for row in kept if not said or row.cells.get(column) in said]
    return kept
