"""Alembic migrations of the buffer's private schema, run by the package itself.

The views are no part of them: they are derived, and made anew whenever their text changes.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, text
from sqlalchemy.schema import CreateSchema

from agenther_live.buffer.schema import SCHEMA

__all__ = ["HEAD", "KNOWN", "revision_of", "upgrade"]

# Oldest first. A buffer at a revision that is not listed was written by a newer version.
KNOWN = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011")
HEAD = KNOWN[-1]
VERSION_TABLE = "schema_version"

_THERE = text("SELECT count(*) FROM information_schema.tables WHERE table_schema = :schema AND table_name = :table")


def revision_of(connection: Connection) -> str | None:
    """Give the revision that the schema is at; None where there is none."""
    if not connection.execute(_THERE, {"schema": SCHEMA, "table": VERSION_TABLE}).scalar_one():
        return None
    found = connection.execute(text(f"SELECT version_num FROM {SCHEMA}.{VERSION_TABLE}")).scalars().all()
    return str(found[0]) if found else None


def upgrade(connection: Connection, revision: str = HEAD) -> None:
    """Bring the schema to `revision`, in the transaction of this connection."""
    # Alembic takes a third of a second to load: only a new or an old buffer pays for it.
    from alembic import command
    from alembic.config import Config

    connection.execute(CreateSchema(SCHEMA, if_not_exists=True))
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
