"""The schema and the public SQL are one for two engines: both are made on a real PostgreSQL too."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, create_engine, text

from agenther_live.buffer import migrations
from agenther_live.buffer.schema import metadata
from agenther_live.buffer.views import make_views
from tests.buffer.test_views import ALSO, PROMISED
from tests.postgresql import Server


@pytest.fixture(scope="module")
def connection(postgresql: Server) -> Iterator[Connection]:
    url = postgresql.new(empty=True)
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            migrations.upgrade(connection)
            make_views(connection)
            yield connection
    finally:
        engine.dispose()
        postgresql.drop(url)


def test_the_schema_is_made(connection: Connection) -> None:
    assert migrations.revision_of(connection) == migrations.HEAD
    for table in metadata.tables.values():
        assert len(connection.execute(table.select()).all()) == (table.name == "meta")


@pytest.mark.parametrize("view", PROMISED)
def test_a_promised_view_has_its_columns(connection: Connection, view: str) -> None:
    assert set(PROMISED[view].split()) <= set(connection.execute(text(f"SELECT * FROM {view}")).keys())


@pytest.mark.parametrize("view", ALSO)
def test_every_other_view_can_be_read(connection: Connection, view: str) -> None:
    connection.execute(text(f"SELECT * FROM {view}")).all()


def test_ids_are_unique_where_many_may_write(connection: Connection) -> None:
    found = connection.execute(text("SELECT tablename FROM pg_indexes WHERE schemaname = 'store'")).scalars().all()
    assert {"state", "run_heads", "evidence", "samples", "shards", "llm_calls", "cursors"} <= set(found)
