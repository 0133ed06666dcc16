"""Files that appear whole or not at all: temporary file, sync, rename, sync of the folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agenther_live.errors import ShardError
from agenther_live.settings import ShardFormat

__all__ = ["ShardFile", "ShardFiles", "file_sha256", "replace_file", "shard_path", "sync_folder", "write_shard"]

Step = Callable[[str], None]
ShardFiles = Literal["jsonl", "parquet"]
TEMPORARY = ".tmp"  # beside the format folders, so that a listing of those shows shards only


@dataclass(frozen=True)
class ShardFile:
    """A shard on disk. `path` is relative to the root of the shards, with '/'; `bytes` is its size."""

    seq: int
    format: ShardFormat
    path: str
    rows: int
    sha256: str
    bytes: int


def shard_path(fmt: ShardFormat, seq: int, revision: int = 0, files: ShardFiles = "jsonl") -> str:
    """Name a shard: zero-padded, so that names sort as they were made.

    A revision (the shard again, without rows that were retracted) sorts right behind what it replaces, and before
    the next shard.
    """
    return f"{fmt}/{seq:08d}.r{revision}.{files}" if revision else f"{fmt}/{seq:08d}.{files}"


def sync_folder(folder: Path) -> None:
    """Make a rename or a new file in `folder` survive a crash of the machine."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_folder(folder.parent)


def replace_file(root: Path, path: str, chunks: Iterable[bytes], *, step: Step | None = None) -> tuple[str, int]:
    """Write `root/path` whole, replacing what is there; give its SHA-256 and size.

    Raises:
        ShardError: where the volume refuses; nothing that was there is touched.
    """
    target = root / path
    digest, size = hashlib.sha256(), 0
    temporary = root / TEMPORARY / path.replace("/", "-")
    try:
        _make_folder(temporary.parent)
        _make_folder(target.parent)
        # A fixed name: what a killed writer left is overwritten by the next try, and never piles up.
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            for chunk in chunks:
                digest.update(chunk)
                size += len(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        if step:
            step("temporary")
        temporary.replace(target)
        sync_folder(target.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise ShardError(f"shard {target} cannot be written: {error.strerror or error}") from error
    return digest.hexdigest(), size


def write_shard(
    root: Path,
    seq: int,
    fmt: ShardFormat,
    lines: Iterable[bytes],
    *,
    revision: int = 0,
    files: ShardFiles = "jsonl",
    step: Step | None = None,
) -> ShardFile:
    """Write the encoded rows of one shard; the same rows give the same bytes.

    The file is not published by that: readers trust the manifest alone.

    Raises:
        ShardError: where the volume refuses.
    """
    kept = list(lines)
    path = shard_path(fmt, seq, revision, files)
    chunks = kept
    if files == "parquet":
        from agenther_live.shards.files.parquet import to_parquet  # loads Arrow, which JSONL can do without

        chunks = [to_parquet(fmt, kept)]
    sha256, size = replace_file(root, path, chunks, step=step)
    return ShardFile(seq, fmt, path, len(kept), sha256, size)


def file_sha256(path: Path) -> str:
    """Hash a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
