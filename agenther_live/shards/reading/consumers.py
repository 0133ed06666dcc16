"""What a consumer leaves behind: the cursor in its checkpoint, and a note beside the shards of how far it has read.

`consumers/NAME.json` is what a retraction or a deletion asks when it has to say who has read a shard:
`{"consumer", "format", "seq", "at"}` and, where one was given, `"policy_version"`. `seq` is the highest number of a
shard of which a row was given, committed or not; shards of that format up to it have been read. `at` is epoch seconds.
It is written before the first row of a shard is given, and at each commit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from agenther_live.errors import ShardError, UsageError
from agenther_live.shards.reading.cursor import Cursor
from agenther_live.shards.stores.storage import CONSUMERS, Source, write_whole

__all__ = ["Checkpoints", "format_of", "read_cursor", "record", "record_reading", "write_cursor"]

PREFIX = "agenther-cursor"


class Checkpoints:
    """The cursors in a trainer's checkpoint folder, a file for each consumer and format."""

    def __init__(self, folder: str | Path) -> None:
        """Name the folder."""
        self._folder = Path(folder)

    def save(self, consumer: str, fmt: str, state: Mapping[str, Any]) -> None:
        """Write a cursor, whole or not at all.

        Raises:
            ShardError: the volume refuses.
        """
        write_whole(self._folder / self._name(consumer, fmt), orjson.dumps(state) + b"\n")

    def load(self, consumer: str, fmt: str) -> Mapping[str, Any]:
        """Read a cursor.

        Raises:
            ShardError: there is none, or it cannot be read.
        """
        path = self._folder / self._name(consumer, fmt)
        try:
            state = orjson.loads(path.read_bytes())
        except FileNotFoundError:
            there = sorted(found.name for found in self._folder.glob(f"{PREFIX}.*.json"))
            raise ShardError(
                f"{path} is not there: the checkpoint was never committed by consumer {consumer!r} for {fmt} "
                f"(it has {', '.join(there) or 'no cursor'}); an older checkpoint may have one"
            ) from None
        except (OSError, orjson.JSONDecodeError) as error:
            raise ShardError(f"{path} cannot be read: {error}") from None
        if not isinstance(state, dict):
            raise ShardError(f"{path} is no cursor")
        return state

    @staticmethod
    def _name(consumer: str, fmt: str) -> str:
        return f"{PREFIX}.{consumer}.{fmt}.json"


def record(source: Source, consumer: str, cursor: Cursor, policy_version: str | None = None) -> None:
    """Note beside the shards how far a consumer has read: what it was given before it went back stays given.

    Raises:
        ShardError: it cannot be written.
    """
    seq = max(cursor.seq, _seq(_note(source, consumer), cursor.format))
    note: dict[str, Any] = {"consumer": consumer, "format": cursor.format, "seq": seq, "at": time.time()}
    if policy_version is not None:
        note["policy_version"] = policy_version
    source.write(f"{CONSUMERS}/{consumer}.json", orjson.dumps(note) + b"\n")


def record_reading(source: Source, consumer: str, fmt: str, seq: int) -> None:
    """Note beside the shards that a consumer is given rows of a shard, where that is not noted yet.

    Raises:
        ShardError: it cannot be written.
    """
    note = _note(source, consumer)
    if _seq(note, fmt) < seq:
        note |= {"consumer": consumer, "format": fmt, "seq": seq, "at": time.time()}
        source.write(f"{CONSUMERS}/{consumer}.json", orjson.dumps(note) + b"\n")


def write_cursor(source: Source, consumer: str, state: Mapping[str, Any]) -> None:
    """Keep a cursor beside the shards, for who has no checkpoint to keep it in.

    Raises:
        ShardError: it cannot be written.
    """
    source.write(f"{CONSUMERS}/{consumer}.cursor", orjson.dumps(state) + b"\n")


def read_cursor(source: Source, consumer: str, fmt: str) -> Mapping[str, Any] | None:
    """Give the cursor that `write_cursor` kept, None where there is none.

    Raises:
        ShardError: it cannot be read.
        UsageError: it is of another format.
    """
    kept = source.read(f"{CONSUMERS}/{consumer}.cursor")
    if kept is None:
        return None
    try:
        state = orjson.loads(kept)
    except orjson.JSONDecodeError:
        state = None
    if not isinstance(state, dict):
        raise ShardError(f"{source.name}/{CONSUMERS}/{consumer}.cursor is no cursor; remove it to begin anew")
    if state.get("format") != fmt:
        raise UsageError(f"consumer {consumer!r} reads {state.get('format')}: give the reader of {fmt} another name")
    return state


def format_of(source: Source, consumer: str) -> str | None:
    """Give the format that a consumer reads, as far as it left a note."""
    fmt = _note(source, consumer).get("format")
    return str(fmt) if fmt else None


def _note(source: Source, consumer: str) -> dict[str, Any]:
    try:
        note = orjson.loads(source.read(f"{CONSUMERS}/{consumer}.json") or b"null")
    except orjson.JSONDecodeError:
        return {}
    return note if isinstance(note, dict) else {}


def _seq(note: Mapping[str, Any], fmt: str) -> int:
    seq = note.get("seq")
    return seq if note.get("format") == fmt and isinstance(seq, int) else 0
