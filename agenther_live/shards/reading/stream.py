"""Reading published rows: in manifest order, bytes verified, retracted samples left out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from agenther_live.errors import ShardError
from agenther_live.settings import ShardFormat
from agenther_live.shards.files.manifest import Entry, Manifest, live

__all__ = ["PublishedRow", "read_rows", "row_id", "split_lines", "verified_lines"]


@dataclass(frozen=True)
class PublishedRow:
    """One row with its place: the shard's number, and its line in the file from 0."""

    seq: int
    index: int
    format: ShardFormat
    sample_id: str
    row: dict[str, Any]


def verified_lines(root: Path, entry: Entry) -> list[bytes]:
    """Read a shard's lines, newlines included, and compare them with the manifest.

    Raises:
        ShardError: where the file is missing, or its hash, size or number of rows is another.
    """
    path = root / entry.path
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ShardError(f"shard {path} cannot be read: {error.strerror or error}") from None
    return split_lines(content, entry, str(path))


def split_lines(content: bytes, entry: Entry, path: str) -> list[bytes]:
    """Split a shard's bytes into lines, newlines included, and compare them with the manifest.

    Raises:
        ShardError: where hash, size or number of rows is another; `path` is for the message.
    """
    if len(content) != entry.bytes or hashlib.sha256(content).hexdigest() != entry.sha256:
        raise ShardError(f"shard {path} has other bytes than the manifest says")
    if entry.files == "parquet":
        from agenther_live.shards.files.parquet import from_parquet  # loads Arrow, which JSONL can do without

        lines = from_parquet(entry.format, content)
    else:
        lines = content.splitlines(keepends=True)
    if len(lines) != entry.rows or not all(line.endswith(b"\n") for line in lines):
        raise ShardError(f"shard {path} has {len(lines)} rows, and the manifest says {entry.rows}")
    return lines


def row_id(entry: Entry, index: int, row: Mapping[str, Any]) -> str:
    """Give the sample id of a shard's row: in the row, or in the manifest for a format that has no room for it."""
    return entry.samples[index] if entry.samples else str(row["sample_id"])


def read_rows(root: Path, fmt: ShardFormat | None = None, *, after: int = 0) -> Iterator[PublishedRow]:
    """Give the rows of the live shards, of one format or all, from behind shard `after` on.

    Each sample of a format is given once, and none that was retracted before the call.

    Raises:
        ShardError: where a shard or the manifest is not as it must be.
    """
    manifest = Manifest(root)
    retracted = manifest.retracted()
    for entry in live(manifest.entries()):
        if entry.seq <= after or fmt not in (None, entry.format):
            continue
        for index, line in enumerate(verified_lines(root, entry)):
            made = orjson.loads(line)
            sample_id = row_id(entry, index, made)
            if sample_id not in retracted:
                yield PublishedRow(entry.seq, index, entry.format, sample_id, made)
