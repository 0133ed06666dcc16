"""The live shards of one format, as of the last look at a source, and their lines."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Set
from pathlib import Path

import orjson

from agenther_live.errors import ShardError, StoreError, UsageError
from agenther_live.settings import ShardFormat
from agenther_live.shards.files.manifest import Entry, live
from agenther_live.shards.reading.consumers import format_of
from agenther_live.shards.stores.storage import FolderSource, Shelf, Source

__all__ = ["Listing"]

logger = logging.getLogger("agenther_live")

TELL_SECONDS = 60.0
"""How often a store that cannot be reached is told of in the log."""


class Listing:
    """What is there to read. `patient`: a folder may be missing, and a store that was reached once may fail."""

    def __init__(
        self, source: Source, fmt: ShardFormat, consumer: str | None, *, patient: bool, poll_seconds: float
    ) -> None:
        """Take the arguments; nothing is read yet."""
        self.source = source
        self.shards: list[Entry] = []
        self._format = fmt
        self._consumer = consumer
        self._patient = patient
        self._poll_seconds = poll_seconds
        self._shelf = Shelf(source)
        self._looked: float | None = None
        self._told = -TELL_SECONDS

    @property
    def retracted(self) -> Set[str]:
        """Ids of the samples that are not to be given."""
        return self.source.retracted

    @property
    def due(self) -> bool:
        """Whether the last look is `poll_seconds` ago."""
        return self._looked is None or time.monotonic() - self._looked >= self._poll_seconds

    def look(self) -> bool:
        """Look for what was published or retracted; says whether that could be known.

        Raises:
            ShardError: a log is not as it must be.
            StoreError: the store cannot be reached, and never could or is not waited for.
            UsageError: at the first look: the folder is not there, or the consumer reads another format.
        """
        first = self._looked is None
        try:
            if first:
                self._first()
            self.source.refresh()
        except StoreError as error:
            if first or not self._patient:
                raise
            if time.monotonic() - self._told >= TELL_SECONDS:
                self._told = time.monotonic()
                logger.warning("%s; trying again", error)
            return False
        finally:
            self._looked = time.monotonic()
        self.shards = [entry for entry in live(self.source.entries) if entry.format == self._format]
        return True

    def lines(self, entry: Entry) -> list[bytes] | None:
        """Give a shard's lines, verified; None where it was replaced since it was listed, and its file taken away.

        Raises:
            ShardError: it has other bytes than the manifest says, or is missing although it is live.
        """
        lines = self._shelf.lines(entry)
        if lines is None:
            self.look()
            if entry in self.shards:
                raise ShardError(f"shard {self.source.name}/{entry.path} is listed in the manifest, and is missing")
        return lines

    def versions(self, entry: Entry, *, known: Collection[str]) -> list[str]:
        """Give the policy versions of a shard that are not known yet, in the order in which they appear in it."""
        told = entry.statistics.get("lineage", {}).get("policy_versions")
        if told is not None and len(fresh := [str(version) for version in told if version not in known]) < 2:
            return fresh
        # The manifest does not say in which order they came, the rows do.
        rows = (orjson.loads(line) for line in self.lines(entry) or ())
        found = dict.fromkeys(str(row.get("policy_version") or "") for row in rows)
        return [version for version in found if version and version not in known]

    def _first(self) -> None:
        source = self.source
        if not self._patient and isinstance(source, FolderSource) and not Path(source.root).is_dir():
            raise UsageError(f"{source.root}: there is no such folder of shards")
        other = None if self._consumer is None else format_of(source, self._consumer)
        if other not in (None, self._format):
            raise UsageError(
                f"consumer {self._consumer!r} reads {other}: give the reader of {self._format} another name"
            )
