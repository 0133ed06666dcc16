"""A user's SQL: what may run, what comes back, and errors that help."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib.util import find_spec
from typing import Any

import pyarrow as pa

from agenther_live.errors import QueryError

__all__ = ["Result", "explain"]

SHOWN_ROWS = 40


@dataclass(frozen=True)
class Result:
    """The rows of a query, held in memory; the buffer's file is closed again."""

    table: pa.Table

    @property
    def columns(self) -> list[str]:
        """The columns' names, in order."""
        return list(self.table.column_names)

    def __len__(self) -> int:
        """Count the rows."""
        return int(self.table.num_rows)

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Give the rows as tuples of Python values."""
        columns = [[_plain(value) for value in column.to_pylist()] for column in self.table.columns]
        return list(zip(*columns, strict=True)) if columns else []

    def dicts(self) -> list[dict[str, Any]]:
        """Give the rows as dicts. Of columns with one name, the last one counts."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.fetchall()]

    def arrow(self) -> pa.Table:
        """Give the rows as a PyArrow table."""
        return self.table

    def df(self) -> Any:
        """Give the rows as a `pandas.DataFrame`.

        Raises:
            QueryError: pandas is not installed.
        """
        if find_spec("pandas") is None:
            raise QueryError("pandas is not installed: pip install 'agenther-live[pandas]'")
        return self.table.to_pandas()

    def pl(self) -> Any:
        """Give the rows as a `polars.DataFrame`.

        Raises:
            QueryError: Polars is not installed.
        """
        try:
            import polars
        except ImportError:
            raise QueryError("polars is not installed: pip install 'agenther-live[polars]'") from None
        return polars.from_arrow(self.table)

    def show(self, max_rows: int = SHOWN_ROWS) -> None:
        """Print the rows as a table; of more than `max_rows`, the first and last."""
        import duckdb

        with duckdb.connect(":memory:") as connection:
            connection.from_arrow(self.table).show(max_rows=max_rows)


def _plain(value: Any) -> Any:
    # DuckDB sums integers into 128 bits, which Arrow can only carry as a decimal without fraction.
    if isinstance(value, Decimal) and value == value.to_integral_value() and value.as_tuple().exponent == 0:
        return int(value)
    return value


def whole_numbers(table: pa.Table) -> pa.Table:
    """Turn decimals without fraction into 64-bit integers where every value fits."""
    for index, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type) and field.type.scale == 0:
            try:
                column = table.column(index).cast(pa.int64())
            except pa.ArrowInvalid:
                continue
            table = table.set_column(index, field.name, column)
    return table


_MISSING = (
    re.compile(r"[Cc]olumn \"(?P<name>[^\"]+)\" not found"),
    re.compile(r"does not have a column named \"(?P<name>[^\"]+)\""),
    re.compile(r"Table with name (?P<name>\S+) does not exist"),
    re.compile(r"(?:[Cc]olumn|relation) \"(?P<name>[^\"]+)\" does not exist"),
)


def explain(message: str, catalog: Iterable[tuple[str, str]]) -> QueryError:
    """Make the error that a user sees of a database's message.

    `catalog` holds the public (view, column) pairs; the nearest name to a missing one is added as a hint.
    """
    text = _tidy(message)
    for pattern in _MISSING:
        found = pattern.search(message)
        if found:
            hint = _nearest(
                found["name"], list(catalog), of_view="able with name" in found[0] or "relation" in found[0]
            )
            return QueryError(f"{text} ({hint})")
    return QueryError(text)


def _tidy(message: str) -> str:
    """Keep the first line of the database's message: what follows is its own guess and a copy of the query."""
    first = message.strip().splitlines()[0] if message.strip() else "the query cannot be run"
    return re.sub(r"^(?:Binder|Catalog|Parser|Permission|Invalid Input|Conversion|Not implemented) Error: ", "", first)


def _nearest(name: str, catalog: Sequence[tuple[str, str]], *, of_view: bool) -> str:
    views = sorted({view for view, _ in catalog})
    if of_view:
        near = difflib.get_close_matches(name.lower(), views, n=1, cutoff=0.5)
        return f"did you mean {near[0]}?" if near else f"views: {', '.join(views)}"
    short = name.rsplit(".", 1)[-1].lower()
    near = difflib.get_close_matches(short, sorted({column for _, column in catalog}), n=1, cutoff=0.5)
    if not near:
        return "DESCRIBE <view> lists a view's columns"
    owners = [view for view, column in catalog if column == near[0]]
    return f"did you mean {near[0]}, of {', '.join(owners)}?"
