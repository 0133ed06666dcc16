"""What the buffer asks of a database engine; `duckdb.py` and `postgresql.py` answer.

DuckDB has one writer at a time, so that its transactions need not look out for each other. On PostgreSQL many workers
write at once (`shared`), and three things keep what was read true until it is written: rows that are about to move are
held (`held`), things that no row stands for yet, such as a thread, are locked by name (`lock`), and ids are unique by
index. Whoever still comes too late gets `Contended`, and does its transaction again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, ParamSpec, Protocol, TypeVar

import pyarrow as pa
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnElement,
    Connection,
    DateTime,
    Double,
    Integer,
    LargeBinary,
    Select,
    String,
    Table,
    bindparam,
    false,
    func,
    select,
)
from sqlalchemy.sql import Executable
from sqlalchemy.types import TypeEngine

from agenther_live.buffer.people.query import Result
from agenther_live.errors import BufferLocked

Rows = Sequence[tuple[Any, ...]]


class Columns:
    """Rows by the column, where they are many; whoever walks over it gets rows. What it holds may be kept packed."""

    __slots__ = ("_n", "_values")

    def __init__(self, names: Sequence[str]) -> None:
        """Begin with no rows; `names` are those of the columns."""
        self._values: list[list[Any]] = [[] for _ in names]
        self._n = 0

    def __len__(self) -> int:
        """Give the number of rows."""
        return self._n

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Give the rows."""
        return zip(*self._values, strict=True)

    def add(self, n: int, *columns: Iterable[Any]) -> None:
        """Append `n` rows: as many values to each column."""
        for known, new in zip(self._values, columns, strict=True):
            known.extend(new)
        self._n += n


P = ParamSpec("P")
T = TypeVar("T")
_TRIES = 8


class Contended(BufferLocked):
    """Another worker came between; nothing was written, and the same transaction may succeed when it is done again."""


def done_again(call: Callable[P, T]) -> Callable[P, T]:
    """Do a call, which is one transaction, again where another worker came between."""

    @wraps(call)
    def again(*arguments: P.args, **named: P.kwargs) -> T:
        for attempt in range(_TRIES):
            try:
                return call(*arguments, **named)
            except Contended:
                if attempt == _TRIES - 1:
                    raise
                time.sleep(random.uniform(0.01, 0.05) * 2**attempt)
        raise AssertionError("unreachable")

    return again


def any_of(column: ColumnElement[Any], values: Iterable[Any]) -> ColumnElement[bool]:
    """Give `column IN values` with one array parameter, however many values there are; what is false of none."""
    given = list(values)
    if not given:
        return false()
    kind = BigInteger() if isinstance(column.type, BigInteger) else String()
    return column.in_(select(func.unnest(bindparam(None, given, type_=ARRAY(kind), unique=True))))


def arrow_type(kind: TypeEngine[Any]) -> Any:
    """Give the Arrow type of a column; JSON is text."""
    if isinstance(kind, BigInteger):
        return pa.int64()
    if isinstance(kind, Integer):
        return pa.int32()
    if isinstance(kind, Double):
        return pa.float64()
    if isinstance(kind, Boolean):
        return pa.bool_()
    if isinstance(kind, DateTime):
        return pa.timestamp("us")
    if isinstance(kind, LargeBinary):
        return pa.large_binary()
    return pa.large_string()


class Transaction(Protocol):
    """One open transaction. It is committed where its block ends, and rolled back on any exception."""

    connection: Connection
    shared: bool
    """Whether others may write at the same time."""

    def rows(self, statement: Executable, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a statement and give its rows as plain tuples."""
        ...

    def locate(self, table: Table, where: ColumnElement[bool]) -> ColumnElement[bool]:
        """Give a condition that finds the rows of `where` quickly, for reading many columns of few rows."""
        ...

    def held(self, query: Select[*tuple[Any, ...]], *, skip: bool = False) -> Select[*tuple[Any, ...]]:
        """Make a query wait for its rows and keep them from others until the end; `skip` leaves out those others hold.

        What it gives is then as it stands, not as it stood when this transaction began.
        """
        ...

    def lock(self, keys: Iterable[str]) -> bool:
        """Wait for these names and keep them from others until the end; gives whether any was not held before.

        Raises:
            Contended: waiting could have been for ever, since others may wait for what is held here.
        """
        ...

    def insert(self, table: Table, names: Sequence[str], rows: Rows | Columns) -> int:
        """Insert rows the engine's fast way; JSON columns take JSON text. Gives their number."""
        ...

    def gather(self, table: Table, names: Sequence[str]) -> Columns:
        """Give something to gather rows in for `insert`, in the way that suits the engine."""
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
    where: str
    """The file, or the URL without its password."""
    shared: bool
    """Whether several workers may write at the same time."""

    @property
    def read_only(self) -> bool:
        """Whether this process can only read it."""
        ...

    def write(self) -> AbstractContextManager[Transaction]:
        """Open a transaction that may write; on an engine that is not shared, one at a time in a process."""
        ...

    def read(self, *, wide: bool = False) -> AbstractContextManager[Transaction]:
        """Open a transaction that writes nothing, and sees everything as of one moment; `wide`: that looks at much."""
        ...

    def hold(self, *, wide: bool = False) -> AbstractContextManager[None]:
        """Keep the database open over several transactions, which then cost less; `wide`: that look at much."""
        ...

    def alone(self, name: str) -> AbstractContextManager[bool]:
        """Give whether nobody else is inside a block of this name, on any machine; if so, the block is ours."""
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
