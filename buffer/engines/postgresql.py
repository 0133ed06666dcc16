"""The PostgreSQL engine: many workers on many machines write at once.

- Bulk inserts are COPY, updates of many rows one UPDATE over arrays.
- Writing transactions are READ COMMITTED: a row that was waited for is seen as it stands then. Reading ones see one
  moment.
- What no row stands for yet is locked by name with advisory locks of the transaction. They and everything else last
  for one transaction at most, so that a pooler such as PgBouncer may hand connections around between transactions.
- No message carries the password; the parameters of statements are not in messages either.
"""

from __future__ import annotations

import hashlib
import os
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
import psycopg
import pyarrow as pa
from psycopg import errors
from psycopg.types.string import TextLoader
from sqlalchemy import URL, ColumnElement, Connection, Double, Select, String, Table, create_engine, event
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.sql import Executable

from agenther_live.buffer.engines.engine import Columns, Contended, Rows, Transaction, arrow_type
from agenther_live.buffer.engines.postgresql_results import fetched, stopped
from agenther_live.buffer.people.query import Result, explain
from agenther_live.buffer.people.statement import check, placed
from agenther_live.buffer.schema import SCHEMA
from agenther_live.errors import BufferError, BufferLocked

__all__ = ["PostgreSQL"]

CONNECT_SECONDS = 10
LOCK_SECONDS = 60
"""How long a statement waits for what another worker holds; a big batch takes seconds."""
_BATCH = 2_000  # rows; payloads may be wide
_KEYS = 128  # more names than these in one transaction lock out everybody: a server has room for some thousand
_EVERYBODY = "everybody"
_AGAIN = (errors.DeadlockDetected, errors.SerializationFailure, errors.UniqueViolation)
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]
_engines: weakref.WeakSet[PostgreSQL] = weakref.WeakSet()


class PostgreSQL:
    """One PostgreSQL database as a buffer engine. Safe to use from many threads, and after a fork."""

    name = "postgresql"
    shared = True
    read_only = False

    def __init__(self, url: URL) -> None:
        """Name the database; nothing is opened yet.

        Args:
            url: `postgresql+psycopg://user@host/database`; what is missing comes from libpq's own variables
                (PGPASSWORD, PGSERVICE, …).
        """
        self.where = url.render_as_string(hide_password=True)
        self._secret = str(url.password or "")
        self._superuser: bool | None = None
        self._engine = create_engine(
            url,
            pool_size=4,
            max_overflow=12,
            pool_pre_ping=True,
            pool_recycle=1800,
            hide_parameters=True,
            connect_args={
                "connect_timeout": CONNECT_SECONDS,
                "application_name": "agenther-live",
                "prepare_threshold": None,  # a pooler would not know them
            },
        )
        event.listen(self._engine, "before_cursor_execute", _without_nul, retval=True)
        _engines.add(self)
        weakref.finalize(self, self._engine.dispose)  # what the pool holds open goes with whoever used it

    def exists(self) -> bool:
        """Whether the database is there; one that is not is an error of the first call."""
        return True

    @contextmanager
    def write(self) -> Iterator[PostgreSQLTransaction]:
        """Open a writing transaction.

        Raises:
            Contended: another worker came between; nothing of the transaction stays.
            BufferLocked: another worker held what was needed for too long.
            BufferError: the database cannot be reached, or refused; nothing of the transaction stays.
        """
        with self._connected() as connection, connection.begin():
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
            yield PostgreSQLTransaction(connection, writes=True)

    @contextmanager
    def read(self, *, wide: bool = False) -> Iterator[PostgreSQLTransaction]:
        """Open a transaction that sees one moment and writes nothing.

        Raises:
            BufferError: the database cannot be reached, or refused.
        """
        with self._connected(read_only=True) as connection, connection.begin():
            yield PostgreSQLTransaction(connection, writes=False)

    @contextmanager
    def hold(self, *, wide: bool = False) -> Iterator[None]:
        """Do nothing: connections stay open by themselves, and keep nobody out."""
        yield

    @contextmanager
    def alone(self, name: str) -> Iterator[bool]:
        """Give whether nobody else, on any machine, is inside a block of this name.

        The lock is that of a transaction which does nothing else, so it goes with the process or the connection.
        """
        with self._connected() as connection, connection.begin():
            connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
            query = "SELECT pg_try_advisory_xact_lock(%s)"
            yield bool(connection.exec_driver_sql(query, (_number(f"alone:{name}"),)).scalar_one())

    def query(self, sql: str, parameters: Sequence[Any] | dict[str, Any] | None, *, seconds: float) -> Result:
        """Run one reading statement of a user and give its rows.

        Raises:
            QueryError: it cannot be run, would write or read a private table, took too long, or gave too much.
            BufferError: the database cannot be reached.
        """
        check(sql, private=SCHEMA)
        statement, given = placed(sql, parameters)
        with self._connected(read_only=True) as connection:
            driver: Any = connection.connection.driver_connection
            try:
                with driver.transaction(force_rollback=True):
                    self._give_up_rights(driver)
                    return Result(fetched(driver, statement, given, seconds=seconds))
            except errors.QueryCanceled:
                raise stopped(seconds) from None
            except (psycopg.Error, ValueError, OverflowError) as error:
                if isinstance(error, psycopg.OperationalError) and driver.broken:
                    raise
                message = str(error)
            raise explain(message, _public_columns(driver), statement)

    def _give_up_rights(self, driver: Any) -> None:
        """Let a superuser's SQL reach neither files nor programs of the server's machine."""
        if self._superuser is None:
            found = driver.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
            self._superuser = bool(found and found[0])
        if self._superuser:
            driver.execute("SET LOCAL ROLE pg_read_all_data")

    @contextmanager
    def _connected(self, *, read_only: bool = False) -> Iterator[Connection]:
        try:
            with self._engine.connect() as connection:
                if read_only:
                    connection = connection.execution_options(
                        isolation_level="REPEATABLE READ", postgresql_readonly=True
                    )
                yield connection
        except PoolTimeout:
            raise BufferLocked(f"buffer {self.where}: all connections of this process are in use") from None
        except DBAPIError as error:
            raise self._explained(error.orig or error) from error
        except psycopg.Error as error:
            raise self._explained(error) from error

    def _explained(self, error: BaseException) -> BufferError:
        lines = str(error).strip().splitlines() or ["unknown error"]
        told = lines[0].replace(self._secret, "***") if self._secret else lines[0]
        if isinstance(error, _AGAIN):
            return Contended(f"another worker came between: {told}")
        if isinstance(error, errors.LockNotAvailable):
            return BufferLocked(f"another worker holds what is needed here (tried for {LOCK_SECONDS} s)")
        if isinstance(error, psycopg.OperationalError) and getattr(error, "sqlstate", None) is None:
            return BufferError(f"buffer {self.where} cannot be reached: {told}")
        return BufferError(f"the buffer refused: {told}")


class PostgreSQLTransaction:
    """One open transaction on a PostgreSQL database."""

    shared = True

    def __init__(self, connection: Connection, *, writes: bool) -> None:
        """Wrap an open connection."""
        self.connection = connection
        self._writes = writes
        self._locked: set[int] = set()

    @property
    def _driver(self) -> Any:
        return self.connection.connection.driver_connection

    def rows(self, statement: Executable, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a statement and give its rows as plain tuples."""
        result = self.connection.execute(statement, parameters)
        return [tuple(row) for row in result] if result.returns_rows else []

    def locate(self, table: Table, where: ColumnElement[bool]) -> ColumnElement[bool]:
        """Give the condition itself: its columns have indexes."""
        return where

    def held(self, query: Select[*tuple[Any, ...]], *, skip: bool = False) -> Select[*tuple[Any, ...]]:
        """Take the rows of the first column's table for this transaction (FOR UPDATE), or skip those others have."""
        if not self._writes:
            return query
        return query.with_for_update(skip_locked=skip, of=next(iter(query.selected_columns)).table)

    def lock(self, keys: Iterable[str]) -> bool:
        """Take advisory locks; many at once lock out everybody instead.

        Numbers are taken in rising order, so that two transactions cannot wait for each other; what is asked for
        later, out of order, is only tried.
        """
        new = sorted({_number(key) for key in keys} - self._locked)
        if not new or _number(_EVERYBODY) in self._locked:
            return False
        if not self._locked:
            everybody = len(new) > _KEYS
            kind = "pg_advisory_xact_lock" + ("" if everybody else "_shared")
            self.connection.exec_driver_sql(f"SELECT {kind}(%s)", (_number(_EVERYBODY),))
            if everybody:
                self._locked.add(_number(_EVERYBODY))
                return True
        waits = [number for number in new if not self._locked or number > max(self._locked)]
        tries = [number for number in new if number not in set(waits)]
        query = "SELECT bool_and(pg_try_advisory_xact_lock(n)) FROM unnest(%s::bigint[]) AS n"
        if tries and not self.connection.exec_driver_sql(query, (tries,)).scalar_one():
            raise Contended("another worker takes in something about the same thread")
        if waits:
            for number in waits:
                self.connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (number,))
        self._locked.update(new)
        return True

    def insert(self, table: Table, names: Sequence[str], rows: Rows | Columns) -> int:
        """Insert rows by COPY."""
        if rows:
            self._copy_in(table, names, rows)
        return len(rows)

    def gather(self, table: Table, names: Sequence[str]) -> Columns:
        """Give columns to gather rows in for `insert`."""
        return Columns(names)

    def update(self, table: Table, keys: Sequence[str], sets: Sequence[str], rows: Rows) -> list[Any]:
        """Set `sets` where all `keys` are equal, and give the first key of each row found."""
        if not rows:
            return []
        columns = [table.c[name] for name in (*keys, *sets)]
        names = [f"k_{key}" for key in keys] + [f"v_{name}" for name in sets]
        arrays = [_array(column, values) for column, values in zip(columns, zip(*rows, strict=True), strict=True)]
        types = [column.type.compile(dialect=_DIALECT) for column in columns]
        given = ", ".join(f"%s::{kind}[]" for kind in types)
        values = ", ".join(f'"{name}" = s."v_{name}"' for name in sets)
        where = " AND ".join(f't."{key}" = s."k_{key}"' for key in keys)
        quoted = ", ".join(f'"{name}"' for name in names)
        with self._driver.cursor() as cursor:
            cursor.execute(
                f"UPDATE {table.fullname} AS t SET {values} FROM unnest({given}) AS s ({quoted}) "
                f'WHERE {where} RETURNING t."{keys[0]}"',
                arrays,
            )
            return [row[0] for row in cursor]

    def batches(self, table: Table) -> Any:
        """Give all rows of a table as a stream of record batches, by a cursor of the server."""
        schema = pa.schema([(column.name, arrow_type(column.type)) for column in table.columns])
        columns = ", ".join(f'"{column.name}"' for column in table.columns)
        cursor = self._driver.cursor(name=f"all_{table.name}")
        for kind in ("json", "jsonb"):
            cursor.adapters.register_loader(kind, TextLoader)
        cursor.execute(f"SELECT {columns} FROM {table.fullname}")

        def read() -> Iterator[Any]:
            with cursor:
                while rows := cursor.fetchmany(_BATCH):
                    arrays = [pa.array(v, type=f.type) for v, f in zip(zip(*rows, strict=True), schema, strict=True)]
                    yield pa.record_batch(arrays, schema=schema)

        return pa.RecordBatchReader.from_batches(schema, read())

    def copy(self, table: Table, source: Transaction) -> None:
        """Insert all rows that another transaction sees in the table of that name."""
        names = [column.name for column in table.columns]
        found = source.batches(table)
        rows = (row for batch in found for row in zip(*(column.to_pylist() for column in batch.columns), strict=True))
        self._copy_in(table, names, rows)

    def _copy_in(self, table: Table, names: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
        texts = [index for index, name in enumerate(names) if arrow_type(table.c[name].type) == pa.large_string()]
        json = {index for index in texts if not isinstance(table.c[names[index]].type, String)}
        columns = ", ".join(f'"{name}"' for name in names)
        with self._driver.cursor() as cursor, cursor.copy(f"COPY {table.fullname} ({columns}) FROM STDIN") as into:
            for row in rows:
                for index in texts:
                    value = row[index]
                    if value is not None and ("\x00" in value or (index in json and "\\u0000" in value)):
                        row = (*row[:index], _storable(value, json=index in json), *row[index + 1 :])
                into.write_row(row)


def _array(column: Any, values: Sequence[Any]) -> list[Any]:
    """Give a column's values as one array parameter, all of one type."""
    if isinstance(column.type, Double):
        return [None if value is None else float(value) for value in values]
    if arrow_type(column.type) == pa.large_string():
        json = not isinstance(column.type, String)
        return [None if value is None else _storable(value, json=json) for value in values]
    return list(values)


def _storable(value: str, *, json: bool = False) -> str:
    """Replace the one character that PostgreSQL's text and jsonb do not take, by the sign for such characters."""
    if json and "\\u0000" in value:
        return orjson.dumps(_replaced(orjson.loads(value))).decode()
    return value.replace("\x00", "\ufffd") if "\x00" in value else value


def _replaced(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, dict):
        return {_replaced(key): _replaced(item) for key, item in value.items()}
    return [_replaced(item) for item in value] if isinstance(value, list) else value


def _without_nul(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> Any:
    """Look for ids as they were stored: SQLAlchemy calls this before each statement."""
    if not many and isinstance(parameters, dict):
        parameters = {name: _replaced(value) for name, value in parameters.items()}
    return statement, parameters


def _number(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"agenther:{key}".encode(), digest_size=8).digest(), signed=True)


def _public_columns(driver: Any) -> list[tuple[str, str]]:
    with driver.transaction(force_rollback=True):
        found: list[tuple[str, str]] = driver.execute(
            "SELECT table_name, column_name FROM information_schema.columns "
            "WHERE table_schema = 'public' ORDER BY table_name, ordinal_position"
        ).fetchall()
    return found


def _after_fork() -> None:
    """Leave the parent's connections alone: two processes on one would mix up their answers."""
    for engine in list(_engines):
        engine._engine.dispose(close=False)


os.register_at_fork(after_in_child=_after_fork)
