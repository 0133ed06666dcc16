"""Compaction of a DuckDB buffer, from outside: deleted rows leave their room in the file until it is copied."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agenther_live.buffer.engines import apart
from agenther_live.buffer.engines.duckdb import DuckDB
from agenther_live.errors import BufferError, BufferLocked, UsageError

if TYPE_CHECKING:
    from agenther_live.buffer.store import Buffer

__all__ = ["compact", "look"]


def compact(buffer: Buffer) -> tuple[int, int]:
    """Write the buffer's file anew without the room of deleted rows; give its size in bytes before and after.

    For whoever holds the home as its worker. Others that want the file wait, or are told that it is locked.

    Raises:
        UsageError: the buffer is no DuckDB file (PostgreSQL: VACUUM).
        BufferLocked: another process holds the file.
        BufferError: there is no room for the copy, or it failed; the old file stays as it was.
    """
    engine = buffer._engine
    if not isinstance(engine, DuckDB):
        raise UsageError("compaction is for DuckDB files; PostgreSQL gives room back by VACUUM, and by VACUUM FULL")
    buffer.cursors()  # a file of an older version is migrated first, a missing one made
    answer = _run("compact", engine.path, buffer.settings.lock_timeout_seconds)
    if "error" in answer:
        kind = BufferLocked if answer.get("locked") else BufferError
        raise kind(f"buffer {engine.path} cannot be compacted, and stays as it is: {answer['error']}")
    return int(answer["before"]), int(answer["after"])


def look(path: Path, *, seconds: float, deep: bool = False) -> dict[str, Any]:
    """Look into a buffer's file that may be broken; {"error": …, "locked": …} where it cannot be read."""
    return _run("look", path, seconds, *(["--deep"] if deep else []))


def _run(what: str, path: Path, seconds: float, *options: str) -> dict[str, Any]:
    command = [sys.executable, "-P", str(Path(apart.__file__).resolve()), what, str(path), str(seconds), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        answer: dict[str, Any] = json.loads(done.stdout)
    except ValueError:  # it did not come to an answer: the file made it crash
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"error": f"the process that opened it ended with {done.returncode}: {last}", "locked": False}
    return answer
