"""Buffers for tests. What every engine must do alike is asked of DuckDB and of PostgreSQL: `ON_BOTH`."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from agenther_live.buffer.store import Buffer
from agenther_live.settings import Settings
from tests.buffer.journal_facts import at
from tests.postgresql import Server

MakeBuffer = Callable[..., Buffer]
ON_BOTH = (
    "test_erase",
    "test_calls",
    "test_ingest",
    "test_ledger",
    "test_retraction",
    "test_rows",
    "test_trust",
    "test_work",
)


def private(buffer: Buffer, query: str) -> list[tuple[object, ...]]:
    """Look into the private tables, which a user's SQL cannot."""
    with buffer.reading() as tx:
        return tx.rows(text(query))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Ask the tests of `ON_BOTH` of both engines, those that are marked of the one, and all others of DuckDB."""
    if "engine" in metafunc.fixturenames:
        both = metafunc.module.__name__.rpartition(".")[2] in ON_BOTH
        only = metafunc.definition.get_closest_marker("engine")
        names = only.args if only else ["duckdb", "postgresql"] if both else ["duckdb"]
        metafunc.parametrize("engine", names, indirect=True)


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """The engine that the test's buffers are on."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def empty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty buffer, made once: making one takes half a second."""
    home = tmp_path_factory.mktemp("empty")
    path = home / "buffer.duckdb"
    Buffer(path, settings=Settings(home=home)).create()
    return path


@pytest.fixture
def make_buffer(tmp_path: Path, empty_file: Path, engine: str, request: pytest.FixtureRequest) -> Iterator[MakeBuffer]:
    """Make buffers on real databases of their own."""
    made: list[str] = []

    def make(**settings: object) -> Buffer:
        given = {"home": tmp_path, "held_out": 0.0, "lock_timeout_seconds": 2.0, **settings}
        where = tmp_path / f"buffer{len(made)}.duckdb"
        if engine == "postgresql":
            server: Server = request.getfixturevalue("postgresql")
            made.append(server.lend())
            return Buffer(made[-1], settings=Settings(**given), clock=lambda: at(1000))
        shutil.copyfile(empty_file, where)
        made.append(str(where))
        return Buffer(where, settings=Settings(**given), clock=lambda: at(1000))

    yield make
    if engine == "postgresql":
        for url in made:
            request.getfixturevalue("postgresql").give_back(url)


@pytest.fixture
def buffer(make_buffer: MakeBuffer) -> Iterator[Buffer]:
    """A buffer whose file is held open, which spares most of a test's time."""
    made = make_buffer()
    with made.hold():
        yield made
