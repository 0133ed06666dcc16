"""Which rows a text speaks of: those that an answer names, and those that a goal asks about."""

from __future__ import annotations

from collections.abc import Sequence

from agenther_live.relabel.reading.mentions import fold, phrases_in
from agenther_live.relabel.reading.rows import Row

__all__ = ["asked_rows", "named_rows"]


def named_rows(rows: Sequence[Row], text: str) -> list[Row]:
    """The rows that a text names, each by a cell of words that no other row of them has."""
    owners: dict[tuple[str, str], list[int]] = {}
    for place, row in enumerate(rows):
        for column, cell in row.cells.items():
            if isinstance(cell, str):
                owners.setdefault((column, cell), []).append(place)
    alone: dict[str, list[int]] = {}
    for (_, cell), places in owners.items():
        if len(places) == 1 and len(fold(cell)) > 2:
            alone.setdefault(fold(cell), []).extend(places)
    return [rows[place] for place in sorted({place for said in phrases_in(fold(text), alone) for place in alone[said]})]


def asked_rows(rows: Sequence[Row], goal: str) -> list[Row]:
    """The rows that have, in each column of which the goal says a cell, that cell."""
    kept, asked = list(rows), f" {fold(goal)} "
    for column in {name for row in rows for name, cell in row.cells.items() if isinstance(cell, str)}:
        said = {cell for row in rows if isinstance(cell := row.cells.get(column), str) and f" {fold(cell)} " in asked}
        kept = [row for row in kept if not said or row.cells.get(column) in said]
    return kept
