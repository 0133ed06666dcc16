"""Where shards are read from: a local folder, or an object store behind a URL. One small protocol for both."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Protocol

from agenther_live.errors import ShardError, UsageError
from agenther_live.shards.files.manifest import MANIFEST, RETRACTIONS, Entry, Manifest
from agenther_live.shards.files.writer import sync_folder
from agenther_live.shards.reading.stream import split_lines
from agenther_live.shards.stores.objects import ObjectLog, ObjectStore, is_url

__all__ = [
    "CONSUMERS",
    "FolderSource",
    "ObjectSource",
    "Shelf",
    "Source",
    "consumer_name",
    "open_source",
    "write_whole",
]

CONSUMERS = "consumers"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Source(Protocol):
    """A root of published shards as a reader sees it. `refresh` brings the two logs up to date."""

    @property
    def name(self) -> str:
        """Folder or URL."""
        ...

    @property
    def entries(self) -> Sequence[Entry]:
        """Every published shard known since the last `refresh`, in the order of publication."""
        ...

    @property
    def retracted(self) -> Set[str]:
        """Ids of all samples that are not to be trained on."""
        ...

    @property
    def retractions(self) -> int:
        """How many retractions were published."""
        ...

    def refresh(self) -> None:
        """Look for what was published or retracted since.

        Raises:
            ShardError: where a log is not as it must be.
            StoreError: where an object store cannot be reached.
        """
        ...

    def content(self, entry: Entry) -> bytes | None:
        """Give the bytes of a shard, unverified; None where it is gone."""
        ...

    def read(self, path: str) -> bytes | None:
        """Give a small file beside the shards, None where there is none."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Write a small file beside the shards, whole or not at all."""
        ...


class FolderSource:
    """A local folder: both logs are read again when their size or time changes."""

    def __init__(self, root: Path) -> None:
        """Name the folder; nothing is read yet."""
        self.root = root
        self.entries: Sequence[Entry] = ()
        self.retracted: Set[str] = frozenset()
        self.retractions = 0
        self._seen: dict[str, tuple[int, ...]] = {}

    @property
    def name(self) -> str:
        """The folder's path."""
        return str(self.root)

    def refresh(self) -> None:
        """Look for what was published or retracted since."""
        manifest = Manifest(self.root)
        # Retractions first: what they take away must be known before any shard that is listed later.
        if (seen := self._changed(RETRACTIONS)) is not None:
            found = manifest.retractions()
            self.retractions = len(found)
            self.retracted = {sample for known in found for sample in known.samples}
            self._seen[RETRACTIONS] = seen
        if (seen := self._changed(MANIFEST)) is not None:
            self.entries = manifest.entries()
            self._seen[MANIFEST] = seen

    def content(self, entry: Entry) -> bytes | None:
        """Give the bytes of a shard, unverified; None where it is gone."""
        return self.read(entry.path)

    def read(self, path: str) -> bytes | None:
        """Give a file below the root, None where there is none."""
        try:
            return (self.root / path).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ShardError(f"{self.root / path} cannot be read: {error.strerror or error}") from None

    def write(self, path: str, data: bytes) -> None:
        """Write a file below the root, whole or not at all."""
        write_whole(self.root / path, data)

    def _changed(self, name: str) -> tuple[int, ...] | None:
        """Give what tells this state of a file from others, None where it was read; kept once the reading succeeds."""
        try:
            found = (self.root / name).stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ShardError(f"{self.root / name} cannot be read: {error.strerror or error}") from None
        seen = (found.st_ino, found.st_size, found.st_mtime_ns)
        return None if self._seen.get(name) == seen else seen


class ObjectSource:
    """An object store: a look at it costs one request for each log and one for each new line."""

    def __init__(self, store: ObjectStore) -> None:
        """Take the store; nothing is asked yet."""
        self._store = store
        self._log = ObjectLog(store)

    @property
    def name(self) -> str:
        """The URL."""
        return self._store.url

    @property
    def entries(self) -> Sequence[Entry]:
        """Every published shard, in the order of publication."""
        return self._log.entries

    @property
    def retracted(self) -> Set[str]:
        """Ids of all samples that are not to be trained on."""
        return self._log.retracted

    @property
    def retractions(self) -> int:
        """How many retractions were published."""
        return len(self._log.retractions)

    def refresh(self) -> None:
        """Look for what was published or retracted since."""
        self._log.refresh()

    def content(self, entry: Entry) -> bytes | None:
        """Give the bytes of a shard, unverified; None where it is gone."""
        return self._store.get(entry.path)

    def read(self, path: str) -> bytes | None:
        """Give an object below the root, None where there is none."""
        return self._store.get(path)

    def write(self, path: str, data: bytes) -> None:
        """Put an object below the root."""
        self._store.put(path, data)


class Shelf:
    """The lines of shards, verified; those used last stay in memory, up to `max_bytes`."""

    def __init__(self, source: Source, *, max_bytes: int = 128 << 20) -> None:
        """Take the source; nothing is read yet."""
        self._source = source
        self._max_bytes = max_bytes
        self._kept: OrderedDict[tuple[int, int], tuple[int, list[bytes]]] = OrderedDict()
        self._size = 0

    def lines(self, entry: Entry) -> list[bytes] | None:
        """Give a shard's lines, newlines included; None where its file is gone.

        Raises:
            ShardError: where it has other bytes than the manifest says.
        """
        key = (entry.seq, entry.revision)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key][1]
        content = self._source.content(entry)
        if content is None:
            return None
        lines = split_lines(content, entry, f"{self._source.name}/{entry.path}")
        self._kept[key] = (len(content), lines)
        self._size += len(content)
        while self._size > self._max_bytes and len(self._kept) > 1:
            self._size -= self._kept.popitem(last=False)[1][0]
        return lines


def write_whole(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, its folder made where it is missing, and sync both.

    Raises:
        ShardError: where the volume refuses; what was there stays.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise ShardError(f"{path} cannot be written: {error.strerror or error}") from error


def open_source(root: str | Path, storage_options: Mapping[str, Any] | None = None) -> Source:
    """Open a folder, or any URL that fsspec knows (s3://bucket/path, memory://name, file:///path).

    Raises:
        UsageError: where the URL's file system is not installed or its options are wrong.
    """
    text = str(root)
    if text.startswith(("file://", "local://")):
        return FolderSource(Path(text.partition("://")[2]))
    if is_url(text):
        return ObjectSource(ObjectStore(text, storage_options))
    if storage_options:
        raise UsageError(f"storage_options belong to a URL; {text} is a local folder")
    return FolderSource(Path(root).expanduser())


def consumer_name(name: str) -> str:
    """Give the name back where it can be a file's.

    Raises:
        UsageError: where it cannot.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"consumer = {name!r}: 1 to 100 letters, digits, '.', '_', '-', not '.' first")
    return name
