"""A new buffer on DuckDB: the whole schema in one go, at the newest revision.

Replaying every migration onto an empty file ends in the same schema (a test compares the two) and takes five times as
long. On PostgreSQL the migrations are replayed: its indexes stand in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Column, Connection, LargeBinary
from sqlalchemy.schema import CreateColumn, CreateSchema, CreateTable

from agenther_live.buffer import migrations
from agenther_live.buffer.schema import SCHEMA, metadata

__all__ = ["make_schema"]

# Ids and hashes of tables in which each stands in one row: they hardly compress, and what is compressed is slow to look
# through. DuckDB would try its ways on them at every checkpoint all the same, a quarter of what closing the file costs.
_KEYS = {"trajectory_id", "root_key", "run_id", "thread_id", "sample_id", "evidence_id", "to_trajectory", "to_run"}
_KEYS |= {"to_thread", "relabeling_id", "goal_id", "content_hash", "facts_hash", "runs_hash"}
_ONE_ROW = {"state", "trajectories", "run_heads", "run_facts", "evidence", "samples", "sample_state"}


def make_schema(connection: Connection) -> None:
    """Make every table of an empty DuckDB file, with its comments, and note the newest revision."""
    connection.execute(CreateSchema(SCHEMA, if_not_exists=True))  # begins SQLAlchemy's transaction
    driver: Any = connection.connection.driver_connection
    driver.execute(";\n".join(_statements(connection)))  # one call: the dialect looks at each statement it is given


def _statements(connection: Connection) -> Iterator[str]:
    for table in metadata.sorted_tables:
        text = str(CreateTable(table).compile(dialect=connection.dialect))
        for column in filter(_as_it_is, table.columns):
            said = str(CreateColumn(column).compile(dialect=connection.dialect))
            name, kind, *rest = said.split(" ", 2)
            plain = " ".join([name, kind, "USING COMPRESSION uncompressed", *rest])
            text = text.replace(f"\t{said}", f"\t{plain}", 1)
        yield text
        if table.comment:
            yield f"COMMENT ON TABLE {table.fullname} IS {_text(table.comment)}"
        for column in table.columns:
            if column.comment:
                yield f'COMMENT ON COLUMN {table.fullname}."{column.name}" IS {_text(column.comment)}'
    version = f"{SCHEMA}.{migrations.VERSION_TABLE}"
    yield f"CREATE TABLE {version} (version_num VARCHAR(32) NOT NULL)"
    yield f"INSERT INTO {version} VALUES ({_text(migrations.HEAD)})"


def _as_it_is(column: Column[Any]) -> bool:
    """Whether DuckDB is not to compress it: payloads are compressed already."""
    return isinstance(column.type, LargeBinary) or (column.table.name in _ONE_ROW and column.name in _KEYS)


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
