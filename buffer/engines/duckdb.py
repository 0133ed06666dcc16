"""The DuckDB engine: one file, opened for the length of a call, by one process at a time.

Rules of this file, each of them measured (DuckDB 1.5):

- A process that has the file open locks every other one out, readers too; so nothing stays open between calls,
  and a locked file is tried again for `lock_timeout_seconds`.
- All connections of a process must have one configuration. Ours is locked down, since users' SQL runs on it.
- COMMIT after a failed statement answers OK and discards the transaction: every exception rolls back.
- A child forked while the file was open would write into nothing: it is refused.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Table,
    create_engine,
    event,
    literal_column,
    select,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool
from sqlalchemy.sql import Executable
from sqlalchemy.types import TypeEngine

from agenther_live.buffer.engines.apart import STORAGE
from agenther_live.buffer.engines.engine import Columns, Rows, Transaction, any_of, arrow_type
from agenther_live.buffer.people.query import RESULT_BYTES, Result, check_names, explain, too_large, whole_numbers
from agenther_live.buffer.schema import SCHEMA
from agenther_live.errors import BufferError, BufferLocked, QueryError

__all__ = ["DuckDB"]

CONFIG = {
    "enable_external_access": False,  # SQL reads no file and no URL
    "lock_configuration": True,  # and cannot switch that back on
    "python_enable_replacements": False,  # an unknown table is an error, never a Python variable
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "memory_limit": "512MB",  # what needs more spills beside the file; agents may live in this process
    "threads": 1,  # see LARGE_BYTES
    "storage_compatibility_version": STORAGE,  # of a file that is made; one that is there stays as it is
}
LARGE_BYTES = 64 << 20
"""From this size of the file on, what looks at much of it (`wide`) runs on up to four threads. Below, and for what a
worker does with a few rows, waking them costs more than they save: a fifth of the CPU of a tick at 480,000 rows."""
_STAGED = "_staged"
_BATCH = 20_000  # rows; payloads may be wide
_PIECE = 2_000  # rows of messages or steps: with the facts of their runs, about a megabyte
_RETRY_SECONDS = 0.02
# A process that works without a pause leaves the file closed for three tries of those who wait, once it had it so long.
_TURN_SECONDS = 1.0
_REST_SECONDS = 3 * _RETRY_SECONDS

_HOLDER = re.compile(r"\(PID (\d+)\)")
_EXPLAIN = re.compile(r"\s*EXPLAIN\s+(?:ANALYZE\s+)?", re.IGNORECASE)
_OTHER_CONFIGURATION = "different configuration than existing connections"
_PASSING = ("Could not set lock", _OTHER_CONFIGURATION, "Unique file handle conflict")

# One writing transaction a process and file: two would meet as conflicts on commit.
_writers: dict[str, threading.RLock] = {}
_writers_guard = threading.Lock()
# One opening or closing at a time: one that meets another thread's last closing is refused, and where it was, DuckDB
# does not find the file open any more, so that whoever holds it is refused its own next connection.
_doors: dict[str, threading.Lock] = {}
_files: dict[str, _File] = {}
_engines: weakref.WeakSet[DuckDB] = weakref.WeakSet()


@dataclass
class _File:
    """A file in this process: how often it is open now, and how long it was since others last had a turn.

    `threads` and `read_only` hold while it is open: all connections must have one configuration.
    """

    path: Path
    threads: int = 1
    read_only: bool = False
    open: int = 0
    opened_at: float = 0.0  # time.monotonic(), of the first that is open now
    closed_at: float = 0.0
    had: float = 0.0  # seconds

    def enter(self, *, wide: bool) -> float:
        """Count one more opening; gives the seconds to wait before it. The first says how `wide` it is."""
        self.open += 1
        if self.open > 1:
            return 0.0
        self.threads = threads_for(self.path) if wide else 1
        self.read_only = cannot_be_written(self.path)
        now = time.monotonic()
        rest = max(0.0, _REST_SECONDS - (now - self.closed_at))
        if rest == 0.0:
            self.had = 0.0
        elif self.had >= _TURN_SECONDS:
            self.had = 0.0
            self.opened_at = now + rest
            return rest
        self.opened_at = now
        return 0.0

    def leave(self) -> None:
        """Count one less."""
        self.open -= 1
        if self.open == 0:
            self.closed_at = time.monotonic()
            self.had += self.closed_at - self.opened_at


def threads_for(path: Path) -> int:
    """Give the number of threads for a file of this size."""
    try:
        size = path.stat().st_size
    except OSError:
        size = 0
    return CONFIG["threads"] if size < LARGE_BYTES else min(4, os.cpu_count() or 1)  # type: ignore[return-value]


def cannot_be_written(path: Path) -> bool:
    """Tell whether this process can only read the file, or could not write the log that DuckDB keeps beside it."""
    place = path if path.exists() else path.parent
    return place.exists() and not (os.access(place, os.W_OK) and os.access(path.parent, os.W_OK))


class DuckDB:
    """One DuckDB file as a buffer engine. Safe to use from many threads."""

    name = "duckdb"
    shared = False

    def __init__(self, path: Path, *, lock_timeout_seconds: float) -> None:
        """Name the file; nothing is opened yet."""
        self.path = Path(os.path.abspath(path))
        self.where = str(self.path)
        self._timeout = lock_timeout_seconds
        self._forked = False
        # What a connection leaves open goes with it. To roll back first would mostly be an exception inside DuckDB, of
        # half a millisecond.
        self._engine = create_engine(
            "duckdb://",
            poolclass=NullPool,
            pool_reset_on_return=None,
            connect_args={"database": str(self.path)},
        )
        event.listen(self._engine, "do_connect", self._configure)
        _close_default_connection()
        with _writers_guard:
            self._writing = _writers.setdefault(str(self.path), threading.RLock())
            self._door = _doors.setdefault(str(self.path), threading.Lock())
            _engines.add(self)

    def _configure(self, _dialect: Any, _record: Any, _arguments: Any, named: dict[str, Any]) -> None:
        file = _files[str(self.path)]
        named["config"] = CONFIG | {"threads": file.threads}
        named["read_only"] = file.read_only

    @property
    def read_only(self) -> bool:
        """Whether the file, or the folder that it is in, cannot be written by this process."""
        return cannot_be_written(self.path)

    def exists(self) -> bool:
        """Whether the file is there."""
        return self.path.exists()

    def stamp(self) -> Hashable | None:
        """Give what differs once anybody wrote to the file, without opening it; None where there is none.

        A commit writes to the file's log, and the last to close the file brings the log into it.
        """
        found: list[tuple[int, ...]] = []
        for path in (self.path, self.path.with_name(f"{self.path.name}.wal")):
            try:
                about = path.stat()
            except FileNotFoundError:
                if path is self.path:
                    return None
            else:
                found.append((about.st_ino, about.st_size, about.st_mtime_ns))
        return tuple(found)

    @contextmanager
    def write(self) -> Iterator[DuckDBTransaction]:
        """Open the file for one writing transaction.

        Raises:
            BufferLocked: another process holds the file.
            BufferError: the database refused, and nothing of the transaction stays; or the file is read-only.
        """
        if self.read_only:
            raise BufferError(f"buffer {self.path} cannot be written: it is read-only here")
        with self._writing, self._connected() as connection, _boundary(), connection.begin():
            yield DuckDBTransaction(connection)

    @contextmanager
    def read(self, *, wide: bool = False) -> Iterator[DuckDBTransaction]:
        """Open the file for one consistent look; a `wide` one takes more threads.

        Raises:
            BufferLocked: another process holds the file.
            BufferError: the database refused.
        """
        with self._connected(wide=wide) as connection, _boundary():
            yield DuckDBTransaction(connection)

    @contextmanager
    def hold(self, *, wide: bool = False) -> Iterator[None]:
        """Keep the file open over several calls: each then costs no open, close and checkpoint."""
        with self._connected(wide=wide):
            yield

    @contextmanager
    def alone(self, name: str) -> Iterator[bool]:
        """Give True: one worker serves a home."""
        yield True

    def query(self, sql: str, parameters: Sequence[Any] | dict[str, Any] | None, *, seconds: float) -> Result:
        """Run one reading statement of a user and give its rows.

        Raises:
            QueryError: the statement cannot be run, would write or read a private table, or took too long.
            BufferLocked: another process holds the file.
        """
        with self._connected(wide=True) as connection:
            driver: Any = connection.connection.driver_connection
            try:
                _allow(driver, driver.extract_statements(sql))
                driver.execute("BEGIN TRANSACTION READ ONLY")
                try:
                    with _stopped_after(seconds, driver):
                        driver.execute(sql, parameters)
                        table = _fetched(driver)
                finally:
                    driver.execute("ROLLBACK")
                return Result(whole_numbers(table))
            except (duckdb.Error, OSError, pa.ArrowException, IndexError) as error:
                # What fails behind the first rows comes from Arrow's reader; IndexError is the parser's own, on PIVOT.
                message = str(error)
            raise explain(message, _public_columns(driver), sql)

    @contextmanager
    def _connected(self, *, wide: bool = False) -> Iterator[Connection]:
        key = str(self.path)
        with _writers_guard:  # counted before it is open: a fork in between must find it
            rest = _files.setdefault(key, _File(self.path)).enter(wide=wide)
        try:
            if rest:  # a sleep of nothing gives one's turn away
                time.sleep(rest)
            connection = self._connect()
            try:
                yield connection
            finally:
                with self._door:
                    connection.close()
        finally:
            with _writers_guard:
                _files[key].leave()

    def _connect(self) -> Connection:
        deadline = time.monotonic() + self._timeout
        while True:
            if self._forked:
                raise BufferError(
                    f"buffer {self.path} was open while this process was forked; start workers after the fork, "
                    "or use the spawn start method"
                )
            try:
                with self._door:
                    return self._open()
            except OSError as error:
                raise BufferError(f"buffer {self.path} cannot be opened: {error.strerror or error}") from error
            except DBAPIError as error:
                message = str(error.orig)
                if not any(known in message for known in _PASSING):
                    raise BufferError(f"buffer {self.path} cannot be opened: {_first_line(message)}") from error
                if time.monotonic() >= deadline:
                    raise BufferLocked(self._locked(message)) from None
            time.sleep(_RETRY_SECONDS)

    def _open(self) -> Connection:
        """Open the file; a new one is for its owner's eyes only."""
        new = not self.path.exists()
        if new:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        connection = self._engine.connect()
        if new:
            self.path.chmod(0o600)
        return connection

    def _locked(self, message: str) -> str:
        if _OTHER_CONFIGURATION in message:
            return (
                f"buffer {self.path} is open in this process by another duckdb.connect(); close it, or ask through "
                f"`buffer.sql(…)` (tried for {self._timeout:g} s)"
            )
        found = _HOLDER.search(message)
        holder = f"process {found[1]}" if found else "another process"
        return f"buffer {self.path} is held by {holder} (tried for {self._timeout:g} s); close it there and try again"


class DuckDBTransaction:
    """One open transaction on a DuckDB file."""

    shared = False

    def __init__(self, connection: Connection) -> None:
        """Wrap an open connection."""
        self.connection = connection

    def rows(self, statement: Executable, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a statement and give its rows as plain tuples."""
        result = self.connection.execute(statement, parameters)
        return [tuple(row) for row in result.all()] if result.returns_rows else []

    def locate(self, table: Table, where: ColumnElement[bool]) -> ColumnElement[bool]:
        """Find the rows by narrow columns first: a join would read the wide ones of the whole table."""
        row_id = literal_column("rowid", BigInteger)
        found = [row[0] for row in self.connection.execute(select(row_id).select_from(table).where(where))]
        return any_of(row_id, found)

    def held(self, query: Select[*tuple[Any, ...]], *, skip: bool = False) -> Select[*tuple[Any, ...]]:
        """Give the query as it is: there is one writer at a time."""
        return query

    def lock(self, keys: Iterable[str]) -> bool:
        """Lock nothing: there is one writer at a time."""
        return False

    def insert(self, table: Table, names: Sequence[str], rows: Rows | Columns) -> int:
        """Insert rows through Arrow (13 µs a row in batches, against 300 by parameters).

        As a relation, which needs no view that is made, bound twice and dropped: that takes half a millisecond more. It
        gives values by place, so all columns are given, in the order that they have in the file.
        """
        if not rows:
            return 0
        driver: Any = self.connection.connection.driver_connection
        given = _arrow(names, [table.c[name].type for name in names], rows)
        there: list[str] = driver.table(table.fullname).columns
        absent = pa.nulls(len(given))
        columns = [given[name] if name in names else absent for name in there]
        columns += [given[name] for name in names if name not in there]  # refused, rather than left out
        whole = pa.table(columns, names=list(map(str, range(len(columns)))))
        driver.from_arrow(whole.__arrow_c_stream__()).insert_into(table.fullname)
        return len(rows)

    def gather(self, table: Table, names: Sequence[str]) -> Columns:
        """Give columns to gather rows in for `insert`; they become Arrow by and by."""
        return _Packed(names, [table.c[name].type for name in names])

    def update(self, table: Table, keys: Sequence[str], sets: Sequence[str], rows: Rows) -> list[Any]:
        """Set `sets` where all `keys` are equal, and give the first key of each row found."""
        if not rows:
            return []
        names = [f"k_{key}" for key in keys] + [f"v_{name}" for name in sets]
        types = [table.c[name].type for name in (*keys, *sets)]
        with self._staged(names, types, rows) as driver:
            values = ", ".join(f'"{name}" = s."v_{name}"' for name in sets)
            where = " AND ".join(f't."{key}" = s."k_{key}"' for key in keys)
            driver.execute(
                f'UPDATE {table.fullname} AS t SET {values} FROM {_STAGED} AS s WHERE {where} RETURNING t."{keys[0]}"'
            )
            return [row[0] for row in driver.fetchall()]

    def batches(self, table: Table) -> Any:
        """Give all rows of a table as a stream of record batches; all tables as of one moment."""
        if not self.connection.in_transaction():  # SQLAlchemy begins one at its own first statement only
            self.connection.begin()
        driver: Any = self.connection.connection.driver_connection
        columns = ", ".join(f'"{column.name}"' for column in table.columns)
        return driver.execute(f"SELECT {columns} FROM {table.fullname}").to_arrow_reader(_BATCH)

    def copy(self, table: Table, source: Transaction) -> None:
        """Insert all rows that another transaction sees in the table of that name."""
        driver: Any = self.connection.connection.driver_connection
        driver.register(_STAGED, source.batches(table))
        try:
            columns = ", ".join(f'"{column.name}"' for column in table.columns)
            driver.execute(f"INSERT INTO {table.fullname} ({columns}) SELECT {columns} FROM {_STAGED}")
        finally:
            driver.unregister(_STAGED)

    @contextmanager
    def _staged(self, names: Sequence[str], types: Sequence[TypeEngine[Any]], rows: Rows) -> Iterator[Any]:
        """Let DuckDB read the rows once, as `_STAGED`, and give the driver: SQLAlchemy would add half a millisecond.

        A bare stream, not the table: of that DuckDB's Python package would make a dataset and a scanner, for 1 ms.
        """
        driver: Any = self.connection.connection.driver_connection
        driver.register(_STAGED, _arrow(names, types, rows).__arrow_c_stream__())
        try:
            yield driver
        finally:
            driver.unregister(_STAGED)


class _Packed(Columns):
    """Rows that become Arrow every so many: values that were made a moment ago still lie in the processor's cache."""

    __slots__ = ("_batches", "_schema")

    def __init__(self, names: Sequence[str], types: Sequence[TypeEngine[Any]]) -> None:
        super().__init__(names)
        fields = [(name, arrow_type(kind)) for name, kind in zip(names, types, strict=True)]
        self._schema = pa.schema(fields)
        self._batches: list[Any] = []

    def add(self, n: int, *columns: Iterable[Any]) -> None:
        super().add(n, *columns)
        if len(self._values[0]) >= _PIECE:
            self._pack()

    def _pack(self) -> None:
        arrays = [pa.array(values, type=kind) for values, kind in zip(self._values, self._schema.types, strict=True)]
        self._batches.append(pa.record_batch(arrays, schema=self._schema))
        for values in self._values:
            values.clear()

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return zip(*(column.to_pylist() for column in self.table().columns), strict=True)

    def table(self) -> Any:
        """Give all rows."""
        if self._values[0]:
            self._pack()
        return pa.Table.from_batches(self._batches, schema=self._schema)


def _arrow(names: Sequence[str], types: Sequence[TypeEngine[Any]], rows: Rows | Columns) -> pa.Table:
    if isinstance(rows, _Packed):
        return rows.table()
    columns = zip(zip(*rows, strict=True), types, strict=True)
    return pa.table([pa.array(values, type=arrow_type(kind)) for values, kind in columns], names=list(names))


def _fetched(driver: Any) -> pa.Table:
    """Give the rows of what runs, piece by piece: one that is too large must not end the process that asked."""
    reader, pieces, size = driver.to_arrow_reader(_BATCH), [], 0
    for piece in reader:
        pieces.append(piece)
        size += piece.nbytes
        if size > RESULT_BYTES:
            raise too_large(sum(map(len, pieces)), size)
    return pa.Table.from_batches(pieces, schema=reader.schema)


def _allow(driver: Any, statements: Sequence[Any]) -> None:
    if len(statements) != 1:
        raise QueryError(f"give one SQL statement, not {len(statements)}")
    kind = statements[0].type.name
    if kind not in ("SELECT", "EXPLAIN"):
        raise QueryError(f"{kind} is refused: SQL here only reads (SELECT, DESCRIBE, SUMMARIZE, EXPLAIN)")
    query = statements[0].query
    if kind == "EXPLAIN":  # a plan shows no rows, but what is analyzed runs
        if (head := _EXPLAIN.match(query)) is None:  # behind comments: only DuckDB knows where
            raise QueryError("this EXPLAIN is refused: write it, or EXPLAIN ANALYZE, first and the question behind it")
        query = query[head.end() :]
    [(parsed,)] = driver.execute("SELECT json_serialize_sql(?)", [query]).fetchall()
    check_names(json.loads(parsed), private=SCHEMA)


@contextmanager
def _stopped_after(seconds: float, driver: Any) -> Iterator[None]:
    """Interrupt what the connection runs when its time is up; nothing that it runs later is touched."""
    turn = threading.Lock()
    done = stopped = False

    def stop() -> None:
        nonlocal stopped
        with turn:
            if not done:
                stopped = True
                driver.interrupt()

    timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (duckdb.InterruptException, OSError):  # the latter from Arrow's reader, behind the first rows
        if not stopped:
            raise
        raise QueryError(
            f"stopped after {seconds:g} s (setting sql_seconds): narrow it by WHERE or LIMIT, or allow more time"
        ) from None
    finally:
        with turn:
            done = True
        timer.cancel()


def _public_columns(driver: Any) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = driver.execute(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE schema_name = 'main' AND NOT internal ORDER BY ALL"
    ).fetchall()
    return found


def _first_line(message: str) -> str:
    return message.strip().splitlines()[0] if message.strip() else "unknown error"


@contextmanager
def _boundary() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise BufferError(f"the buffer refused: {_first_line(str(error.orig))}") from error
    except duckdb.Error as error:
        raise BufferError(f"the buffer refused: {_first_line(str(error))}") from error


@cache
def _close_default_connection() -> None:
    """Close the process's default connection, which the SQLAlchemy dialect opens once to read DuckDB's keywords.

    Its threads do not survive a fork, and a forked child would wait for them at its exit, for ever. One with something
    in it is a user's own.
    """
    default = duckdb.default_connection()
    own = "SELECT 1 FROM duckdb_tables() UNION ALL SELECT 1 FROM duckdb_views() WHERE NOT internal LIMIT 1"
    if default.execute(own).fetchone() is None:
        default.close()


def _after_fork() -> None:
    global _writers_guard
    _writers_guard = threading.Lock()
    for engine in list(_engines):
        key = str(engine.path)
        engine._forked = key in _files and _files[key].open > 0
        engine._writing = _writers[key] = threading.RLock()
        engine._door = _doors[key] = threading.Lock()


_register: Callable[..., None] = os.register_at_fork
_register(after_in_child=_after_fork)
