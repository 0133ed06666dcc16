"""Shards in an object store: no rename and no append, so every line of a log is an object of its own.

`manifest/00000001.json`, `manifest/00000002.json`, … hold the lines of the manifest in the order of publication, and
`retractions/…` those of the retractions; each is created by a conditional put (If-None-Match: *), so that of two
writers that reach for one number one wins and the other takes the next. A shard's file is there before its line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from agenther_live.errors import AgentHERError, SettingsError, ShardError, StoreError
from agenther_live.shards.files.manifest import Entry, Retraction, read_entry, read_record, read_retraction

__all__ = ["ObjectLog", "ObjectStore", "is_url", "numbered"]

ItemT = TypeVar("ItemT")
EXCLUSIVE = frozenset({"s3", "s3a", "memory"})
"""File systems of fsspec that were seen to refuse a second creation."""


def is_url(root: str) -> bool:
    """Say whether this names an object store and not a folder."""
    return "://" in root


def numbered(log: str, number: int) -> str:
    """Name a line of a log: zero-padded, so that a listing shows them in order."""
    return f"{log}/{number:08d}.json"


class ObjectStore:
    """The five things that are asked of an object store, over fsspec. Paths are relative to the URL, with '/'."""

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        """Find the file system of the URL; nothing is asked of the store yet.

        Raises:
            SettingsError: where it is not installed, or refuses its options.
        """
        self.url = re.sub(r"//[^/@]*@", "//", url.rstrip("/"))  # for messages: it may hold a password
        try:
            from fsspec.core import url_to_fs

            self._fs, root = url_to_fs(url, **{"use_listings_cache": False, **(storage_options or {})})
        except ImportError as error:
            raise SettingsError(f"{url}: {error}; for S3 install agenther-live[s3]") from None
        except (TypeError, ValueError) as error:
            raise SettingsError(f"{url}: {error}") from None
        self._root = root.rstrip("/")
        if not self._root:
            raise SettingsError(f"{url} names no bucket: s3://bucket/path")
        self._protocols = {self._fs.protocol} if isinstance(self._fs.protocol, str) else set(self._fs.protocol)

    def get(self, path: str) -> bytes | None:
        """Give an object's bytes, None where there is none."""
        with self._boundary(path):
            try:
                return bytes(self._fs.cat_file(self._at(path)))
            except FileNotFoundError:
                return None

    def get_many(self, paths: list[str]) -> list[bytes]:
        """Give the bytes of objects that are there, in order; at once, where the store can."""
        with self._boundary(", ".join(paths[:1])):
            found = self._fs.cat([self._at(path) for path in paths]) if paths else {}
            if isinstance(found, bytes):  # fsspec gives a single one bare
                return [found]
            return [
                bytes(found[key]) for path in paths for key in (self._at(path), f"/{self._at(path)}") if key in found
            ]

    def put(self, path: str, data: bytes) -> None:
        """Write an object, replacing what is there."""
        with self._boundary(path):
            self._fs.pipe_file(self._at(path), data)

    def create(self, path: str, data: bytes) -> bytes:
        """Write an object that is not there yet; give what stands there now, ours or another's.

        A refusal alone does not say that another was first: the answer to an earlier try may have been lost. What
        counts is the bytes. A file system that may not know of exclusive creation is looked after likewise.
        """
        with self._boundary(path):
            try:
                self._fs.pipe_file(self._at(path), data, mode="create")
            except OSError as error:  # FileExistsError, or what a store makes of its 409 and 412
                try:
                    return bytes(self._fs.cat_file(self._at(path)))
                except FileNotFoundError:
                    raise error from None
            return data if EXCLUSIVE.intersection(self._protocols) else bytes(self._fs.cat_file(self._at(path)))

    def remove(self, path: str) -> None:
        """Take an object away; one that is not there is no error."""
        with self._boundary(path):
            try:
                self._fs.rm_file(self._at(path))
            except FileNotFoundError:
                return

    def names(self, folder: str) -> list[str]:
        """List the names right below a folder, sorted; [] where there is none."""
        with self._boundary(folder):
            self._fs.invalidate_cache()
            try:
                found = self._fs.ls(self._at(folder), detail=False)
            except FileNotFoundError:
                return []
            return sorted(path.rpartition("/")[2] for path in found)

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}"

    @contextmanager
    def _boundary(self, path: str) -> Iterator[None]:
        try:
            yield
        except AgentHERError:
            raise
        except Exception as error:  # each file system has errors of its own
            raise StoreError(f"{self.url}/{path}: {type(error).__name__}: {error}") from error


class _Lines(Generic[ItemT]):
    """The known lines of one numbered log; lines never change, so each is read once."""

    def __init__(self, store: ObjectStore, log: str, parse: Callable[[Mapping[str, Any], str], ItemT]) -> None:
        self._store = store
        self._log = log
        self._parse = parse
        self.items: list[ItemT] = []

    def refresh(self) -> None:
        if not self.items:  # many at once; afterwards a look at the next number is enough
            names = [name for name in self._store.names(self._log) if name.endswith(".json")]
            wanted = [numbered(self._log, number) for number in range(1, len(names) + 1)]
            if [f"{self._log}/{name}" for name in names] != wanted:
                raise ShardError(f"{self._store.url}/{self._log}: lines are missing; {len(names)} are there")
            found = self._store.get_many(wanted)
            if len(found) != len(wanted):
                raise ShardError(f"{self._store.url}/{self._log}: lines vanished while they were read")
            self.items = [self._read(path, data) for path, data in zip(wanted, found, strict=True)]
        while (data := self._store.get(path := numbered(self._log, len(self.items) + 1))) is not None:
            self.items.append(self._read(path, data))

    def append(self, line: bytes) -> bool:
        """Write a line behind the last known one; False where another was there first (which is then known)."""
        path = numbered(self._log, len(self.items) + 1)
        stands = self._store.create(path, line)
        self.items.append(self._read(path, stands))
        return stands == line

    def _read(self, path: str, data: bytes) -> ItemT:
        where = f"{self._store.url}/{path}"
        return self._parse(read_record(data, where), where)


class ObjectLog:
    """Manifest and retractions of an object store, as far as they were read."""

    def __init__(self, store: ObjectStore) -> None:
        """Take the store; nothing is asked yet."""
        self._manifest = _Lines(store, "manifest", read_entry)
        self._retractions = _Lines(store, "retractions", read_retraction)
        self._retracted: set[str] = set()
        self._counted = 0

    @property
    def entries(self) -> list[Entry]:
        """Every published shard, in the order of publication."""
        return self._manifest.items

    @property
    def retractions(self) -> list[Retraction]:
        """Every retraction, in order."""
        return self._retractions.items

    @property
    def retracted(self) -> Set[str]:
        """Ids of all samples that were retracted."""
        for known in self._retractions.items[self._counted :]:
            self._retracted.update(known.samples)
        self._counted = len(self._retractions.items)
        return self._retracted

    def refresh(self) -> None:
        """Read what is new. Retractions first: they must be known before any shard that is listed later.

        Raises:
            ShardError: where a line is not as it must be.
            StoreError: where the store cannot be reached.
        """
        self._retractions.refresh()
        self._manifest.refresh()

    def list_shard(self, line: bytes, entry: Entry) -> None:
        """Publish a shard, whose file is there; one that is listed already is left as it is.

        Raises:
            ShardError: where other bytes stand under its number and revision.
        """
        while True:
            self._manifest.refresh()
            for known in self._manifest.items:
                if (known.seq, known.revision) == (entry.seq, entry.revision):
                    if known.sha256 != entry.sha256:
                        raise ShardError(f"shard {entry.seq}: another home publishes there, with other bytes")
                    return
            if self._manifest.append(line):
                return

    def retract(self, record: Callable[[int], bytes]) -> None:
        """Publish a retraction; `record` makes its line for the number it gets."""
        while True:
            self._retractions.refresh()
            if self._retractions.append(record(len(self._retractions.items) + 1)):
                return
