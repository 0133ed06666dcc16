"""Tool results as tables, so that a choice can be held against what else the run saw.

A table holds the rows of all calls of one tool: lists of records inside a result, or single records of several calls
(three quotes are three rows). Arguments of the call count as cells of its rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from agenther_live.relabel.reading.calls import Call, name_words, scalars
from agenther_live.relabel.reading.lexicon import CURRENCIES, HIGHER, LOWER, MONEY
from agenther_live.relabel.reading.mentions import fold, stem
from agenther_live.relabel.reading.pages import counts, says_more, was_limited

__all__ = [
    "Row",
    "Selection",
    "Table",
    "better",
    "column_polarity",
    "currency_code",
    "currency_of",
    "headline",
    "select",
    "tables",
]

Cell = str | int | float | bool
_CODES = {"€": "eur", "$": "usd", "£": "gbp", "euro": "eur", "dollar": "usd", "pound": "gbp"}


@dataclass(frozen=True, slots=True)
class Row:
    """One record: its cells by column, and the number of the call that it came from."""

    cells: Mapping[str, Cell]
    call: int


@dataclass(frozen=True, slots=True)
class Table:
    """All rows that one tool gave. `complete` is false where the tool itself said that there were more.

    `path` is where they stand in its results ('/suppliers'); '' for whole results.
    """

    tool: str
    rows: tuple[Row, ...]
    complete: bool
    path: str = ""


@dataclass(frozen=True, slots=True)
class Selection:
    """What an argument of a call chose, out of what the run had seen.

    `peers` are all rows seen that would have met the call's other arguments, the chosen one among them. `open` are
    values that were seen but of which the run never learned enough to compare them.
    """

    param: str
    value: Cell
    chosen: Row
    peers: tuple[Row, ...]
    open: tuple[Cell, ...]
    complete: bool

    @property
    def proven(self) -> bool:
        """Whether the run saw enough to call a row the best."""
        return self.complete and not self.open


def tables(calls: Iterable[Call]) -> list[Table]:
    """The tables of these calls, one for each tool and form of row."""
    rows: dict[tuple[str, str], list[Row]] = {}
    partial: set[str] = set()
    for call in calls:
        if not call.ok or not isinstance(call.result, dict | list):
            continue
        if "rows" not in call.cache:
            call.cache["rows"] = _rows_of(call)
        found, says_more = call.cache["rows"]
        for path, more in found:
            rows.setdefault((call.name, path), []).extend(more)
        if says_more:
            partial.add(call.name)
    return [Table(tool, tuple(_distinct(found)), tool not in partial, path) for (tool, path), found in rows.items()]


def _rows_of(call: Call) -> tuple[list[tuple[str, list[Row]]], bool]:
    """The rows of one call by their path, and whether its result says that there are more."""
    args = {key: value for key, value in call.args.items() if isinstance(value, str | int | float | bool)}
    lists = list(_lists(call.result, {}))
    found = [
        (path, [Row({**args, **outer, **_flat(record)}, call.number) for record in records])
        for path, outer, records in lists
    ]
    if isinstance(call.result, dict) and not lists and (cells := _flat(call.result)):
        found.append(("", [Row({**args, **cells}, call.number)]))
    most = max((len(records) for _, _, records in lists), default=0)
    return found, bool(most) and (says_more(call.result, most) or was_limited(call.args, most))


def _lists(
    value: Any, outer: Mapping[str, Cell], path: str = ""
) -> Iterable[tuple[str, Mapping[str, Cell], list[Any]]]:
    if isinstance(value, list):
        records = [item for item in value if isinstance(item, dict)]
        if records and len(records) == len(value):
            yield path, outer, records
        else:
            for item in value:
                if isinstance(item, list):
                    yield from _lists(item, outer, path)
    elif isinstance(value, dict):
        inner = list(value.values())
        if len(inner) >= 2 and all(isinstance(item, dict) for item in inner) and _alike(inner):
            yield path, outer, [{"id": key, **item} for key, item in value.items()]
            return
        here = {
            **outer,
            **{k: v for k, v in value.items() if isinstance(v, str | int | float | bool) and not counts(k)},
        }
        for key, item in value.items():
            if isinstance(item, list | dict):
                yield from _lists(item, here, f"{path}/{key}")


def _alike(records: Sequence[Mapping[str, Any]]) -> bool:
    return all(set(record) == set(records[0]) for record in records[1:]) and bool(records[0])


def _flat(record: Mapping[str, Any]) -> dict[str, Cell]:
    found: dict[str, Cell] = {}
    repeated: set[str] = set()
    for path, value in scalars(dict(record)):
        name = "_".join(path)
        if name in found:
            repeated.add(name)
        found[name] = value
    return {name: value for name, value in found.items() if name not in repeated}


def currency_of(row: Row) -> str | None:
    """The currency of a row's prices: what it says itself, else what its columns are named by; None: nobody knows."""
    telling, named = _about_money(tuple(row.cells))
    found = {currency_code(str(row.cells[column])) for column in telling} or named
    return next(iter(found)) if len(found) == 1 else None


@lru_cache(maxsize=1024)
def _about_money(columns: tuple[str, ...]) -> tuple[tuple[str, ...], frozenset[str]]:
    """The columns that hold a currency, and the currencies that stand in the names of others."""
    telling = tuple(column for column in columns if "currency" in name_words(column))
    named = {part for column in columns for part in name_words(column) if part in CURRENCIES}
    return telling, frozenset(map(currency_code, named))


def currency_code(word: str) -> str:
    """A currency in one form: '€', 'Euros' and 'EUR' alike."""
    word = word.casefold().strip()
    return _CODES.get(word) or _CODES.get(word.removesuffix("s")) or word


def _distinct(rows: Iterable[Row]) -> Iterable[Row]:
    seen: dict[tuple[tuple[str, str], ...], Row] = {}
    for row in rows:
        seen[tuple(sorted((key, str(value)) for key, value in row.cells.items()))] = row
    return seen.values()


def same(left: Cell, right: Cell) -> bool:
    """Whether two cells mean the same: numbers by value, text without case and punctuation."""
    if isinstance(left, int | float) and isinstance(right, int | float):
        return float(left) == float(right)
    return fold(str(left)) == fold(str(right))


class _Seen:
    """Cells that were met, asked as `same` asks and at no more cost for many of them."""

    def __init__(self, cells: Iterable[Cell] = ()) -> None:
        self._numbers, self._texts, self._written = set[float](), set[str](), set[str]()
        for cell in cells:
            self.add(cell)

    def add(self, cell: Cell) -> None:
        written = fold(str(cell))
        self._written.add(written)
        if isinstance(cell, int | float):
            self._numbers.add(float(cell))
        else:
            self._texts.add(written)

    def __contains__(self, cell: Cell) -> bool:
        if isinstance(cell, int | float):
            return float(cell) in self._numbers or fold(str(cell)) in self._texts
        return fold(cell) in self._written


def column_polarity(column: str) -> int:
    """-1 where less is better (prices, days), +1 where more is (ratings), 0 where nobody can say."""
    parts = set(name_words(column))
    if parts & {"min", "max", "minimum", "maximum", "moq", "count", "number", "id"}:
        return 0
    if parts & HIGHER:
        return 1
    return -1 if parts & LOWER else 0


def is_money(column: str) -> bool:
    """Whether a column holds a price of some kind."""
    return bool(set(name_words(column)) & MONEY)


def headline(rows: Sequence[Row]) -> list[str]:
    """The columns by which these rows can be compared. Of several prices only the one that includes the others."""
    columns = (
        [
            column
            for column in rows[0].cells
            if column_polarity(column) and all(_numeric(row.cells.get(column)) for row in rows)
        ]
        if rows
        else []
    )
    prices = [column for column in columns if is_money(column)]
    if prices and len({currency_of(row) for row in rows} - {None}) > 1:
        columns, prices = [column for column in columns if column not in prices], []  # apples and oranges
    if len(prices) > 1:
        # `total` beats `goods_total`, that beats `price`, that beats `shipping_cost`: the one that includes the most
        keep = max(
            prices,
            key=lambda c: (
                name_words(c) == ["total"],
                "total" in name_words(c),
                "price" in name_words(c),
                _size(rows, c),
            ),
        )
        columns = [column for column in columns if column not in prices or column == keep]
    return columns


def _size(rows: Sequence[Row], column: str) -> float:
    return sum(float(row.cells[column]) for row in rows)


def _numeric(value: Cell | None) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def better(left: Row, right: Row, columns: Sequence[str]) -> bool:
    """Whether `left` beats `right`: better in one of the columns, worse in none."""
    signs = [(column_polarity(column), float(left.cells[column]) - float(right.cells[column])) for column in columns]
    gains = [sign * difference for sign, difference in signs]
    return bool(gains) and all(gain >= 0 for gain in gains) and any(gain > 0 for gain in gains)


def select(call: Call, param: str, earlier: Sequence[Call]) -> Selection | None:
    """What the argument `param` of a call chose among the rows seen before it; None where no table holds the value.

    A value whose rows show that it could not have served (a smallest order above the quantity, too little stock, a
    refused call) is no alternative. One of which only a name was seen stays open.
    """
    value = call.args.get(param)
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    others = {key: item for key, item in call.args.items() if key != param and isinstance(item, str | int | float)}
    candidates = []
    for table in tables(earlier):
        column = _column(table, param, value)
        if column is None:
            continue
        fitting = [row for row in table.rows if column in row.cells and _consistent(row, others)]
        chosen = [row for row in fitting if same(row.cells[column], value)]
        if len(chosen) == 1:
            candidates.append((table, column, fitting, chosen[0]))
    if not candidates:
        return None
    best = max(candidates, key=lambda found: (len(headline(found[2])), len(_agreeing(found[3], others)), found[3].call))
    _, column, fitting, chosen_row = best
    impossible = _Seen(each for _, other, rows, _ in candidates for each in _impossible(rows, other, others))
    for cell in _refused(earlier, param, others):
        impossible.add(cell)
    peers = [row for row in fitting if row is chosen_row or row.cells[column] not in impossible]
    known = _Seen(row.cells[column] for row in peers)
    open_values: list[Cell] = []
    for _, other, rows, _ in candidates:
        for row in rows:
            cell = row.cells[other]
            if cell not in known and cell not in impossible:
                open_values.append(cell)
                known.add(cell)
    return Selection(
        param, value, chosen_row, tuple(peers), tuple(open_values), all(table.complete for table, *_ in candidates)
    )


def _column(table: Table, param: str, value: Cell) -> str | None:
    """The column that names the chosen thing: of the parameter's own name, else any that holds the value."""
    holding = {column for row in table.rows for column, cell in row.cells.items() if same(cell, value)}
    if param in holding:
        return param
    wanted = {stem(word) for word in name_words(param)}
    related = [column for column in sorted(holding) if {stem(word) for word in name_words(column)} & wanted]
    return related[0] if related else None


def _consistent(row: Row, others: Mapping[str, Any]) -> bool:
    return all(key not in row.cells or same(row.cells[key], item) for key, item in others.items())


def _agreeing(row: Row, others: Mapping[str, Any]) -> list[str]:
    return [key for key, item in others.items() if key in row.cells and same(row.cells[key], item)]


_QUANTITY = re.compile(r"^(?:quantity|qty|units|amount|count|n|number|pieces|seats|guests|nights)$")


def _impossible(rows: Sequence[Row], column: str, others: Mapping[str, Any]) -> list[Cell]:
    """Values whose own rows rule them out for the quantity asked."""
    quantities = [float(item) for key, item in others.items() if _QUANTITY.match(key) and _numeric(item)]
    asked = quantities[0] if len(quantities) == 1 else 1.0
    found = []
    for row in rows:
        for key, cell in row.cells.items():
            parts = set(name_words(key))
            if cell is False and parts & {"available", "stock"}:
                found.append(row.cells[column])
            if not _numeric(cell) or key in others:
                continue
            least = bool(parts & {"min", "minimum", "moq"}) and bool(
                parts & {"order", "quantity", "qty", "moq", "units"}
            )
            most = bool(parts & {"max", "maximum", "stock", "available", "inventory"}) and not parts & {"price", "days"}
            if (least and float(cell) > asked) or (most and float(cell) < asked):
                found.append(row.cells[column])
    return found


def _refused(earlier: Sequence[Call], param: str, others: Mapping[str, Any]) -> list[Cell]:
    """Values that a tool refused for good, for these other arguments."""
    return [
        call.args[param]
        for call in earlier
        if call.failed
        and not call.transient
        and isinstance(call.args.get(param), str | int | float)
        and all(key not in call.args or same(call.args[key], item) for key, item in others.items())
    ]
