"""What is done to a DuckDB file in a process of its own: compaction, and a look at one that may be broken.

Run as a script, without the package: `apart.py compact FILE SECONDS` and `apart.py look FILE SECONDS [--deep]`. The
answer is one line of JSON. A file that crashes its reader takes only this process with it; and one whose owner has
another configuration of DuckDB can be read, which one process could not do.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import duckdb

FRESH = ".compact"
STORAGE = "v1.4.0"
"""DuckDB's storage version that files are written in, readable from DuckDB 1.4 on. By default DuckDB writes for 0.10,
and then a checkpoint reads what the file says of every stretch of every table: a third of a tick at 1,000,000
trajectories (docs/scale.md)."""
_LOCKED = "Could not set lock"
_CONFIG: dict[str, Any] = {"memory_limit": "768MB", "threads": 2}
LOOKS = {
    "revision": "SELECT version_num FROM store.schema_version",
    "shards": "SELECT seq, format, state, path FROM store.shards ORDER BY seq",
    "newest": "SELECT max(stage_at) FROM store.state",
    "undone": "SELECT a.audit_id FROM store.audit AS a WHERE a.action = 'delete' AND a.done_at IS NULL ORDER BY a.at",
    "key_ids": "SELECT DISTINCT key_id FROM store.tombstones",
    "calls": "SELECT call_key FROM store.llm_calls",
    "due": "SELECT count(*) FROM store.retractions WHERE done_at IS NULL",
    "storage": "SELECT tags['storage_version'] FROM duckdb_databases() WHERE database_name = current_database()",
}


def _opened(path: Path, seconds: float, *, read_only: bool) -> duckdb.DuckDBPyConnection:
    """Open the file, waiting so long for whoever holds it."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return duckdb.connect(path, read_only=read_only, config=dict(_CONFIG))
        except duckdb.IOException as error:
            if _LOCKED not in str(error) or time.monotonic() >= deadline:
                raise
        time.sleep(0.05)


def _wal(path: Path) -> Path:
    return path.with_name(path.name + ".wal")


def compact(path: Path, seconds: float) -> dict[str, Any]:
    """Copy the database into a new file and put that in the old one's place; give both sizes in bytes.

    The old file stays locked against writers until it is replaced, and nothing is changed in place: killed at any
    moment, this leaves the one file or the other, whole, and at most a copy that the next try removes.
    """
    fresh = path.with_name(path.name + FRESH)
    for left in (fresh, _wal(fresh)):
        left.unlink(missing_ok=True)
    before = path.stat().st_size
    if shutil.disk_usage(path.parent).free < before:
        raise OSError(28, f"compaction needs as much room as the file has ({before:,} bytes)", str(path.parent))
    connection = _held(path, seconds)
    try:
        connection.execute(f"ATTACH '{_quoted(fresh)}' AS fresh (STORAGE_VERSION '{STORAGE}')")
        connection.execute("COPY FROM DATABASE old TO fresh")
        _same(connection)
        connection.execute("DETACH fresh")
        fresh.chmod(path.stat().st_mode & 0o777)
        _sync(fresh)
        fresh.replace(path)  # whoever waits for the old file's lock opens the new one
        _sync(path.parent)
    finally:
        connection.close()
        for left in (fresh, _wal(fresh)):
            left.unlink(missing_ok=True)
    return {"before": before, "after": path.stat().st_size}


def _held(path: Path, seconds: float) -> duckdb.DuckDBPyConnection:
    """Open the file for reading, with writers locked out and nothing left in its WAL.

    A WAL beside the file would be taken for that of the new one.
    """
    deadline = time.monotonic() + seconds
    while True:
        with _opened(path, seconds, read_only=False) as writing:
            writing.execute("CHECKPOINT")
        connection = duckdb.connect(":memory:", config=dict(_CONFIG))
        connection.execute(f"SET temp_directory = '{_quoted(path.with_name(path.name + '.tmp'))}'")
        try:
            connection.execute(f"ATTACH '{_quoted(path)}' AS old (READ_ONLY)")
        except duckdb.IOException as error:  # a writer came between
            if _LOCKED not in str(error) or time.monotonic() >= deadline:
                raise
        else:
            if not _wal(path).exists():
                return connection
        connection.close()
        if time.monotonic() >= deadline:
            raise OSError(11, "somebody writes without a pause", str(path))


def _same(connection: duckdb.DuckDBPyConnection) -> None:
    tables = connection.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'old' ORDER BY ALL"
    ).fetchall()
    for schema, table in tables:
        counts = [
            connection.execute(f'SELECT count(*) FROM "{database}"."{schema}"."{table}"').fetchall()
            for database in ("old", "fresh")
        ]
        if counts[0] != counts[1]:
            raise OSError(5, f"the copy of {schema}.{table} is not whole")


def look(path: Path, seconds: float, *, deep: bool) -> dict[str, Any]:
    """Open the file for reading and say what is in it; `deep` reads every row of every table.

    A figure is None where the schema is too old to have it.
    """
    with _opened(path, seconds, read_only=True) as connection:
        found: dict[str, Any] = {}
        for name, query in LOOKS.items():
            try:
                rows = connection.execute(query).fetchall()
            except duckdb.CatalogException:
                found[name] = None
            else:
                found[name] = [row[0] if len(row) == 1 else list(row) for row in rows]
        if deep:
            tables = connection.execute("SELECT schema_name, table_name FROM duckdb_tables() ORDER BY ALL").fetchall()
            for schema, table in tables:
                connection.execute(f'SELECT bit_xor(hash(t)) FROM "{schema}"."{table}" AS t').fetchall()
            found["tables"] = len(tables)
    return found


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def main(arguments: list[str]) -> int:
    """Run one command; 0 and its answer, or 1 and {"error": …, "locked": …}."""
    what, path, seconds, *options = arguments
    try:
        if what == "compact":
            answer = compact(Path(path), float(seconds))
        else:
            answer = look(Path(path), float(seconds), deep="--deep" in options)
    except (duckdb.Error, OSError) as error:
        message = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        answer = {"error": message, "locked": _LOCKED in message}
    sys.stdout.write(json.dumps(answer, default=str) + "\n")
    return int("error" in answer)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
