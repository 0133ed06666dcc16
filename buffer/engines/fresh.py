"""A new buffer on DuckDB: the whole schema in one go, at the newest revision.

Replaying every migration onto an empty file ends in the same schema (a test compares the two) and takes five times as
long. On PostgreSQL the migrations are replayed: its indexes stand in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.schema import CreateSchema, CreateTable

from agenther_live.buffer import migrations
from agenther_live.buffer.schema import SCHEMA, metadata

__all__ = ["make_schema"]


def make_schema(connection: Connection) -> None:
    """Make every table of an empty DuckDB file, with its comments, and note the newest revision."""
    connection.execute(CreateSchema(SCHEMA, if_not_exists=True))  # begins SQLAlchemy's transaction
    driver: Any = connection.connection.driver_connection
    driver.execute(";\n".join(_statements(connection)))  # one call: the dialect looks at each statement it is given


def _statements(connection: Connection) -> Iterator[str]:
    for table in metadata.sorted_tables:
        yield str(CreateTable(table).compile(dialect=connection.dialect))
        if table.comment:
            yield f"COMMENT ON TABLE {table.fullname} IS {_text(table.comment)}"
        for column in table.columns:
            if column.comment:
                yield f'COMMENT ON COLUMN {table.fullname}."{column.name}" IS {_text(column.comment)}'
    version = f"{SCHEMA}.{migrations.VERSION_TABLE}"
    yield f"CREATE TABLE {version} (version_num VARCHAR(32) NOT NULL)"
    yield f"INSERT INTO {version} VALUES ({_text(migrations.HEAD)})"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
