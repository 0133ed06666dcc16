"""What a user's SQL gives on PostgreSQL, as Arrow: fetched in pieces, within a time and a size.

A driver that fetches all rows at once holds them twice, as Python values too, and a query without LIMIT over a large
buffer would end the process that asked. So the server keeps the result behind a cursor, and gives it by and by.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from psycopg import errors
from psycopg.types.string import TextLoader

from agenther_live.buffer.people.query import RESULT_BYTES, too_large
from agenther_live.buffer.people.statement import is_query
from agenther_live.errors import QueryError

__all__ = ["fetched", "stopped"]

_PIECE = 2_000  # rows; payloads may be wide


def fetched(connection: Any, statement: str, given: Any, *, seconds: float) -> pa.Table:
    """Run one checked statement in the open transaction of a psycopg connection; gives its rows.

    Raises:
        QueryError: the rows take more than `RESULT_BYTES`, or all of it took longer than `seconds`.
        psycopg.Error: the server refuses.
    """
    until = time.monotonic() + seconds
    if not is_query(statement):  # EXPLAIN and SHOW give few rows, and no cursor takes them
        with connection.cursor() as cursor:
            _allow(connection, until, seconds)
            with connection.pipeline():  # its protocol takes one statement at a time, whatever `check` thinks
                cursor.execute(statement, given)
                rows = cursor.fetchall()
            return _table(cursor.description or (), rows)
    connection.execute("SET LOCAL cursor_tuple_fraction = 1")  # all rows are wanted, not the first ones soon
    pieces: list[pa.Table] = []
    size = 0
    with connection.cursor(name="sql") as cursor:
        for kind in ("json", "jsonb"):  # as text, as in DuckDB
            cursor.adapters.register_loader(kind, TextLoader)
        _allow(connection, until, seconds)
        cursor.execute(statement, given)
        description = cursor.description or ()
        while True:
            _allow(connection, until, seconds)
            rows = cursor.fetchmany(_PIECE)
            if pieces and not rows:
                break
            pieces.append(_table(description, rows))
            size += pieces[-1].nbytes
            if size > RESULT_BYTES:
                raise too_large(sum(map(len, pieces)), size)
            if len(rows) < _PIECE:
                break
    return _joined(pieces)


def stopped(seconds: float) -> QueryError:
    """Say that a query's time was up."""
    return QueryError(
        f"stopped after {seconds:g} s (setting sql_seconds): narrow it by WHERE or LIMIT, or allow more time"
    )


def _allow(connection: Any, until: float, seconds: float) -> None:
    """Let the next statement take what is left of the time; the server counts each by itself."""
    left = until - time.monotonic()
    if left <= 0:
        raise errors.QueryCanceled(f"{seconds:g} s are over")
    connection.execute(f"SET LOCAL statement_timeout = {max(1, round(left * 1000))}")


_ARROW = {
    16: pa.bool_(), 17: pa.binary(), 20: pa.int64(), 21: pa.int32(), 23: pa.int32(), 25: pa.string(), 114: pa.string(),
    700: pa.float64(), 701: pa.float64(), 1043: pa.string(), 1082: pa.date32(), 1083: pa.time64("us"),
    1114: pa.timestamp("us"), 1186: pa.duration("us"), 3802: pa.string(),
}  # fmt: skip
_NUMERIC = 1700


def _table(description: Sequence[Any], rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    """Make an Arrow table of rows, with the types that DuckDB would give."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(description)
    arrays = [_arrow(one.type_code, list(values)) for one, values in zip(description, columns, strict=True)]
    return pa.table(arrays, names=[one.name for one in description])


def _arrow(kind: int, values: list[Any]) -> Any:
    if kind in _ARROW:
        return pa.array(values, type=_ARROW[kind])
    if kind == _NUMERIC:
        known = [value for value in values if value is not None]
        if all(value.is_finite() and value.as_tuple().exponent == 0 and abs(value) < 2**63 for value in known):
            return pa.array([None if value is None else int(value) for value in values], type=pa.int64())
        return pa.array([None if value is None else float(value) for value in values], type=pa.float64())
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return pa.array([None if value is None else str(value) for value in values], type=pa.string())


def _joined(pieces: list[pa.Table]) -> pa.Table:
    """Put pieces together; where a column's values decided its type, one that fits all of them is found."""
    columns = []
    for index, name in enumerate(pieces[0].column_names):
        parts = [piece.column(index) for piece in pieces]
        if len({part.type for part in parts}) == 1:
            columns.append(pa.chunked_array([chunk for part in parts for chunk in part.chunks], type=parts[0].type))
            continue
        try:
            tables = [pa.table([part], names=[name]) for part in parts]
            columns.append(pa.concat_tables(tables, promote_options="permissive").column(0))
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            texts = [None if value is None else str(value) for part in parts for value in part.to_pylist()]
            columns.append(pa.chunked_array([pa.array(texts, pa.string())]))
    return pa.table(columns, names=pieces[0].column_names)
