"""A consistent copy of the buffer, table by table, as it stands in one reading transaction; the copy is compact."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from agenther_live.buffer.schema import meta, metadata
from agenther_live.errors import BufferError

if TYPE_CHECKING:
    from agenther_live.buffer.store import Buffer

__all__ = ["snapshot"]


def snapshot(source: Buffer, path: Path) -> int:
    """Copy everything into a new DuckDB file, whole or not at all; give its size in bytes.

    The bytes of the file itself are not copied: closing a second descriptor of a file gives up the locks that DuckDB
    holds on it (POSIX), and the file may carry the room of rows long gone.

    Raises:
        BufferError: the file exists already, or cannot be written.
    """
    path = Path(os.path.abspath(path.expanduser()))
    if path.exists():
        raise BufferError(f"{path} exists already: a snapshot wants a file of its own")
    part = path.with_name(path.name + ".part")
    copy = type(source)(part, settings=source.settings)
    try:
        part.unlink(missing_ok=True)
        copy.create()
        with copy.hold(), source.reading() as rows:
            for table in metadata.sorted_tables:
                if table is not meta:  # says which views the file has, and the copy has its own
                    with copy.writing() as into:
                        into.copy(table, rows)
        os.replace(part, path)
    except OSError as error:
        raise BufferError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        for left in (part, part.with_name(part.name + ".wal")):
            with suppress(OSError):
                left.unlink(missing_ok=True)
    return path.stat().st_size
