"""Publishing to an object store: the home's folder is written first, and the store is brought level with it.

For each line that the store's logs lack: retractions first, then each shard's file, then its line. No step renames or
appends, every step may be done again, and what is there already is compared and not written: a killed worker is made
up for by the next tick, with the same bytes. Shards are told apart by number and revision, so several workers with one
ledger may publish to one URL; two ledgers may not, and the second is refused at its first shard.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson

from agenther_live.errors import ShardError, StoreError
from agenther_live.shards.files.catalog import catalog
from agenther_live.shards.files.manifest import (
    MANIFEST,
    Entry,
    Manifest,
    live,
    read_entry,
    read_record,
)
from agenther_live.shards.reading.stream import split_lines
from agenther_live.shards.stores.objects import ObjectLog, ObjectStore
from agenther_live.shards.stores.storage import CONSUMERS, FolderSource, write_whole

__all__ = ["Mirror"]

logger = logging.getLogger("agenther_live")

CONSUMERS_SECONDS = 60.0
"""How often the notes of consumers are fetched from the store."""
PAUSE_SECONDS = 10.0
"""How long a worker leaves a store alone that failed."""
TELL_SECONDS = 60.0
"""How often it says so in the log."""


class Mirror:
    """One folder of shards and the store that it is published to."""

    def __init__(self, root: Path, store: ObjectStore, *, step: Callable[[str], None] = lambda _name: None) -> None:
        """Take both; nothing is asked yet. `step` is told the name of each step as it ends."""
        self._root = root
        self._store = store
        self._log = ObjectLog(store)
        self._source = FolderSource(root)
        self._step = step
        self._level: tuple[int, int] | None = None  # lines of both logs when the store was last level
        self._removed: set[str] = set()
        self._fetched = -CONSUMERS_SECONDS
        self._not_before = self._told = -TELL_SECONDS

    def sync(self) -> list[str]:
        """Publish what the store lacks; give the paths of the shards that it got.

        Costs nothing where the folder did not change since the last call.

        Raises:
            ShardError: the store holds other bytes than the folder, or the folder lacks a file that it lists.
            StoreError: the store cannot be reached; a later call goes on.
        """
        self._source.refresh()
        level = (len(self._source.entries), self._source.retractions)
        if level == self._level:
            self._fetch_consumers()
            return []
        self._log.refresh()
        self._retract()
        listed = list(self._publish())
        if listed or (self._level is None and self._log.entries):
            self._catalog()
        self._remove_replaced()
        self._level = level
        self._fetch_consumers()
        return [entry.path for entry in listed if entry.rows]

    def push(self) -> None:
        """Do the same for a worker that goes on whatever the store does: one that fails is left alone for a while.

        Raises:
            ShardError: the store holds other bytes than the folder, or the folder lacks a file that it lists.
        """
        if time.monotonic() < self._not_before:
            return
        try:
            self.sync()
        except StoreError as error:
            self._not_before = time.monotonic() + PAUSE_SECONDS
            if time.monotonic() - self._told >= TELL_SECONDS:
                self._told = time.monotonic()
                logger.warning("shards are not published to %s; trying again: %s", self._store.url, error)

    def _retract(self) -> None:
        for known in Manifest(self._root).retractions():
            missing = sorted(set(known.samples) - self._log.retracted)
            if missing:
                self._log.retract(
                    lambda number, known=known, missing=missing: orjson.dumps(  # type: ignore[misc]
                        {"v": 1, "seq": number, "samples": missing, "reason": known.reason, "at": known.at}
                    )
                )
                self._step("retracted")

    def _publish(self) -> Iterator[Entry]:
        there = {(entry.seq, entry.revision): entry.sha256 for entry in self._log.entries}
        pending = [
            (line, entry) for line, entry in self._lines() if there.get((entry.seq, entry.revision)) != entry.sha256
        ]
        replaced = {(entry.seq, entry.revision) for _, entry in pending} - {
            (entry.seq, entry.revision) for entry in live(entry for _, entry in pending)
        }
        for line, entry in pending:
            if (entry.seq, entry.revision) in there:
                raise ShardError(
                    f"shard {entry.seq} of {self._root} and that of {self._store.url} differ: another home publishes "
                    "there; give each home a URL of its own"
                )
            if entry.rows:
                content = self._source.content(entry)
                if content is None and (entry.seq, entry.revision) in replaced:
                    continue  # its rows were taken back before they got there; only what replaces it is published
                self._put(entry, content)
                self._step("put")
            self._log.list_shard(line, entry)
            self._step("listed")
            yield entry

    def _put(self, entry: Entry, content: bytes | None) -> None:
        if content is None:
            raise ShardError(f"shard {self._root / entry.path} is listed in the manifest, and is missing")
        split_lines(content, entry, str(self._root / entry.path))
        stands = self._store.create(entry.path, content)
        if stands != content:
            raise ShardError(
                f"{self._store.url}/{entry.path} holds other bytes than {self._root / entry.path}: another home "
                "publishes there; give each home a URL of its own"
            )

    def _lines(self) -> Iterator[tuple[bytes, Entry]]:
        """Give the manifest's whole lines as they stand there."""
        content = self._source.read(MANIFEST) or b""
        for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(keepends=True), 1):
            where = f"{self._root / MANIFEST}, line {number}"
            yield line, read_entry(read_record(line, where), where)

    def _catalog(self) -> None:
        """Put the files by which other tools find the live shards, for who copies the whole folder."""
        for name, text in catalog(live(self._log.entries)).items():
            self._store.put(name, text.encode())
        self._step("catalogued")

    def _remove_replaced(self) -> None:
        """Take away files that the folder took away too: what a person asked to be forgotten must go there as well."""
        now = {entry.path for entry in live(self._source.entries)}
        for entry in self._source.entries:
            if entry.path in now | self._removed or not entry.rows or (self._root / entry.path).exists():
                continue
            self._store.remove(entry.path)
            self._removed.add(entry.path)

    def _fetch_consumers(self) -> None:
        """Bring the notes of who has read what home, where a retraction looks for them."""
        if time.monotonic() - self._fetched < CONSUMERS_SECONDS:
            return
        self._fetched = time.monotonic()
        self._remove_replaced()
        for name in self._store.names(CONSUMERS):
            path = f"{CONSUMERS}/{name}"
            data = self._store.get(path) if name.endswith(".json") else None
            if data is not None and data != self._source.read(path):
                write_whole(self._root / path, data)
