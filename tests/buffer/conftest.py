import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from agenther_live.buffer.store import Buffer
from agenther_live.settings import Settings
from tests.buffer.journal_facts import at

MakeBuffer = Callable[..., Buffer]


def private(buffer: Buffer, query: str) -> list[tuple[object, ...]]:
    """Look into the private tables, which a user's SQL cannot."""
    with buffer.reading() as tx:
        return tx.rows(text(query))


@pytest.fixture(scope="session")
def empty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty buffer, made once: making one takes half a second."""
    home = tmp_path_factory.mktemp("empty")
    path = home / "buffer.duckdb"
    Buffer(path, settings=Settings(home=home)).create()
    return path


@pytest.fixture
def make_buffer(tmp_path: Path, empty_file: Path) -> MakeBuffer:
    """Make buffers on real files of their own."""
    made = 0

    def make(**settings: object) -> Buffer:
        nonlocal made
        path = tmp_path / f"buffer{made}.duckdb"
        made += 1
        shutil.copyfile(empty_file, path)
        given = {"home": tmp_path, "held_out": 0.0, "lock_timeout_seconds": 2.0, **settings}
        return Buffer(path, settings=Settings(**given), clock=lambda: at(1000))

    return make


@pytest.fixture
def buffer(make_buffer: MakeBuffer) -> Iterator[Buffer]:
    """A buffer whose file is held open, which spares most of a test's time."""
    made = make_buffer()
    with made.hold():
        yield made
