"""A buffer moves from DuckDB to PostgreSQL: all tables in one transaction, counted on both sides, or nothing at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from agenther_live.buffer.engines.engine import Transaction
from agenther_live.buffer.schema import metadata
from agenther_live.buffer.views import VIEWS
from agenther_live.errors import BufferError, UsageError

if TYPE_CHECKING:
    from agenther_live.buffer.store import Buffer

__all__ = ["migrate"]


def migrate(source: Buffer, target: Buffer, *, progress: Callable[[str], None] | None = None) -> dict[str, int]:
    """Copy every row of a buffer on DuckDB into an empty one on PostgreSQL; gives the rows of each table.

    The source stays as it is. Nobody may write to it meanwhile: the caller holds the home as its worker. What is
    broken off leaves the target empty, and can be begun again.

    Raises:
        UsageError: the engines are not these two, or the target is not empty.
        BufferError: a count differs, or an engine refuses; the target stays empty.
    """
    engines = source.engine_name, target.engine_name
    if engines != ("duckdb", "postgresql"):
        raise UsageError(f"a buffer moves from DuckDB to PostgreSQL, not from {engines[0]} to {engines[1]}")
    source.create()
    target.create()
    moved = {}
    with source.hold(), source.reading() as rows, target.writing() as into:
        into.lock(["migrate"])
        _refuse_unless_empty(into)
        for table in metadata.sorted_tables:
            if progress is not None:
                progress(table.name)
            if table.name == "meta":
                _copy_meta(rows, into)
                continue
            into.copy(table, rows)
            there, here = _count(rows, table), _count(into, table)
            if there != here:
                raise BufferError(f"table {table.name} has {there} rows, and {here} arrived; nothing was moved")
            moved[table.name] = here
    return moved


def _count(tx: Transaction, table: object) -> int:
    [(n,)] = tx.rows(select(func.count()).select_from(table))  # type: ignore[arg-type]
    return int(n)


def _refuse_unless_empty(tx: Transaction) -> None:
    for table in metadata.sorted_tables:
        if table.name != "meta" and (n := _count(tx, table)):
            raise UsageError(
                f"the target is not empty: table {table.name} has {n} rows; a home moves into a new database"
            )


def _copy_meta(source: Transaction, target: Transaction) -> None:
    meta = metadata.tables["store.meta"]
    known = {row[0] for row in target.rows(select(meta.c.key))}
    rows = [row for row in source.rows(select(meta.c.key, meta.c.value)) if row[0] not in known | {VIEWS}]
    target.insert(meta, ("key", "value"), rows)
