"""What the buffer asks of a database engine. `duckdb.py` answers today; `postgresql.py` will answer the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from sqlalchemy import ARRAY, BigInteger, ColumnElement, Connection, String, Table, bindparam, func, select
from sqlalchemy.sql import Executable

from agenther_live.buffer.query import Result

Rows = Sequence[tuple[Any, ...]]


def any_of(column: ColumnElement[Any], values: Iterable[Any]) -> ColumnElement[bool]:
    """Give `column IN values` with one array parameter, however many values there are."""
    kind = BigInteger() if isinstance(column.type, BigInteger) else String()
    given = bindparam(None, list(values), type_=ARRAY(kind), unique=True)
    return column.in_(select(func.unnest(given)))


class Transaction(Protocol):
    """One open transaction. It is committed where its block ends, and rolled back on any exception."""

    connection: Connection

    def rows(self, statement: Executable, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a statement and give its rows as plain tuples."""
        ...

    def locate(self, table: Table, where: ColumnElement[bool]) -> ColumnElement[bool]:
        """Give a condition that finds the rows of `where` quickly, for reading many columns of few rows."""
        ...

    def insert(self, table: Table, names: Sequence[str], rows: Rows) -> int:
        """Insert rows the engine's fast way; JSON columns take JSON text. Gives their number."""
        ...

    def update(self, table: Table, keys: Sequence[str], sets: Sequence[str], rows: Rows) -> list[Any]:
        """Set `sets` where all `keys` are equal; a row gives the keys, then the values.

        Gives the first key of each row that was found, so that a guard among the keys can be checked.
        """
        ...

    def batches(self, table: Table) -> Any:
        """Give all rows of a table as a `pyarrow.RecordBatchReader`, valid until the next statement."""
        ...

    def copy(self, table: Table, source: Transaction) -> None:
        """Insert all rows that another transaction sees in the table of that name."""
        ...


class Engine(Protocol):
    """A database that holds one buffer."""

    name: str

    def write(self) -> AbstractContextManager[Transaction]:
        """Open a transaction that may write; one at a time in a process."""
        ...

    def read(self) -> AbstractContextManager[Transaction]:
        """Open a transaction that writes nothing."""
        ...

    def hold(self) -> AbstractContextManager[None]:
        """Keep the database open over several transactions, which then cost less."""
        ...

    def exists(self) -> bool:
        """Whether the database is there at all."""
        ...

    def query(self, sql: str, parameters: Sequence[Any] | dict[str, Any] | None, *, seconds: float) -> Result:
        """Run a user's one reading statement, for at most so many seconds.

        Raises:
            QueryError: it cannot be run, it would write or read a private table, or it took too long.
        """
        ...
