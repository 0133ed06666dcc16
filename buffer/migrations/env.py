"""Alembic's environment: runs on the connection that `upgrade` hands over, in its transaction."""

from __future__ import annotations

from alembic import context

from agenther_live.buffer.migrations import VERSION_TABLE
from agenther_live.buffer.schema import SCHEMA, metadata

connection = context.config.attributes["connection"]
if connection.dialect.name == "duckdb":
    import duckdb_sqlalchemy.alembic_impl  # noqa: F401  registers Alembic's DuckDB implementation

context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    version_table_schema=SCHEMA,
    version_table_pk=False,
    include_schemas=True,
    transactional_ddl=False,  # the caller's transaction holds everything, or nothing
)
context.run_migrations()
