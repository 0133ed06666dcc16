"""The public views on a database: made of `views.sql`, and made anew when that file changed."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from agenther_live.buffer.schema import meta

__all__ = ["VIEWS", "are_current", "make_views", "views_sql"]

VIEWS = "views.sql"
"""The file, and the key of `meta` that says which text of it a buffer's views were made from."""

# Words of DuckDB's that people use in questions, for PostgreSQL.
COMPATIBLE = (
    "CREATE OR REPLACE FUNCTION round(x double precision, digits integer) RETURNS double precision "
    "LANGUAGE sql IMMUTABLE STRICT AS 'SELECT (trunc(v) + CASE WHEN abs(v - trunc(v)) >= 0.5 THEN sign(v) ELSE 0 END) "
    "/ f FROM (SELECT x * power(10::float8, digits) AS v, power(10::float8, digits) AS f) AS scaled'",
    "CREATE OR REPLACE FUNCTION epoch(x interval) RETURNS double precision "
    "LANGUAGE sql IMMUTABLE STRICT AS 'SELECT CAST(extract(epoch FROM x) AS double precision)'",
    "CREATE OR REPLACE FUNCTION median_of(x double precision[]) RETURNS double precision LANGUAGE sql IMMUTABLE AS "
    "'SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY v) FROM unnest(x) AS v'",
    "CREATE OR REPLACE AGGREGATE median(double precision) "
    "(SFUNC = array_append, STYPE = double precision[], FINALFUNC = median_of, INITCOND = '{}')",
)


def views_sql() -> str:
    """Give the text of `views.sql`, the public SQL."""
    return resources.files("agenther_live.buffer").joinpath(VIEWS).read_text("utf-8")


def are_current(connection: Connection) -> bool:
    """Say whether the public views were made from the text of this version."""
    made_from = connection.execute(select(meta.c.value).where(meta.c.key == VIEWS)).scalar()
    return bool(made_from == _digest(views_sql()))


def make_views(connection: Connection) -> None:
    """Make the public views anew where their text is not the one they were made from."""
    if are_current(connection):
        return
    script = views_sql()
    statements = [part.strip() for part in _without_comments(script).split(";\n") if part.strip()]
    made = [statement.split()[2] for statement in statements if statement.startswith("CREATE VIEW")]
    statements = [*(f"DROP VIEW IF EXISTS {name}" for name in reversed(made)), *statements]
    if connection.dialect.name == "postgresql":
        for statement in [*COMPATIBLE, *statements]:
            connection.exec_driver_sql(statement)
    else:  # one call: the dialect would look at each of hundreds
        driver: Any = connection.connection.driver_connection
        driver.execute(";\n".join(statements))
    connection.execute(delete(meta).where(meta.c.key == VIEWS))
    connection.execute(insert(meta).values(key=VIEWS, value=_digest(script)))


def _digest(script: str) -> str:
    return hashlib.sha256(script.encode()).hexdigest()


def _without_comments(script: str) -> str:
    return "\n".join(line for line in script.splitlines() if not line.startswith("--")) + "\n"
