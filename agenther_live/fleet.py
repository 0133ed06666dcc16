"""What a worker needs to be one of many: which parts of the work it does, and how it leaves.

A tick has three parts. `ingest` takes the journal of its home into the buffer, so it runs beside the agents that write
it. `relabel` decides outcomes, relabels failures and makes samples; any number of workers do it, each on what it has
leased. `emit` publishes shards and does the upkeep; whoever has the lock does it, and all who may must see one folder
of shards.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from agenther_live.buffer.store import Buffer
from agenther_live.clock import utcnow
from agenther_live.collecting import seldom_collected
from agenther_live.errors import ShardError, UsageError
from agenther_live.home import Home
from agenther_live.journal import Batch, Cursor, Reader
from agenther_live.journal.segments import is_locked, list_segments
from agenther_live.shards.files.manifest import Manifest

__all__ = [
    "EVERYTHING",
    "Taken",
    "check_folder",
    "drain",
    "holds_shards",
    "parts_of",
    "says_something",
    "take_batch",
    "take_journal",
]

EVERYTHING = frozenset({"ingest", "relabel", "emit"})
_LOOK_SECONDS = 0.1
logger = logging.getLogger("agenther_live")


@dataclass
class Taken:
    """What was taken in: runs, and the journal's damage."""

    runs: int = 0
    damage: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: Taken) -> Taken:
        """Add up."""
        return Taken(self.runs + other.runs, self.damage + other.damage)


def parts_of(names: Iterable[str]) -> frozenset[str]:
    """Read the parts that a worker is to do; none named are all.

    Raises:
        UsageError: naming the one that is none.
    """
    found = frozenset(part for name in names for part in name.split(","))
    if wrong := sorted(found - EVERYTHING):
        raise UsageError(f"only = {wrong[0]!r}: ingest, relabel or emit")
    return found or EVERYTHING


def take_journal(buffer: Buffer, reader: Reader, *, stop: threading.Event | None = None) -> Taken:
    """Turn what the journal holds into trajectories; a segment goes when its facts are safe in the buffer."""
    taken, more = Taken(), True
    while more and not (stop is not None and stop.is_set()):
        with buffer.hold(), seldom_collected():  # per batch: between two, whoever waits for the file gets it
            cursors = buffer.cursors()
            batch = reader.read(cursors)
            taken += take_batch(buffer, batch, cursors)
            done, more = batch.cursors, batch.more
            del batch  # before the collector comes again
        reader.collect(done)
    return taken


def take_batch(buffer: Buffer, batch: Batch, cursors: Mapping[str, Cursor]) -> Taken:
    """Take in what a reader found behind these cursors, if it found anything."""
    if not says_something(batch, cursors):
        return Taken()
    # Others' cursors may have moved on meanwhile: only those of this journal are saved.
    moved = {writer: cursor for writer, cursor in batch.cursors.items() if cursors.get(writer) != cursor}
    return Taken(buffer.ingest(replace(batch, cursors=moved), now=utcnow()).runs, Counter(batch.damage))


def says_something(batch: Batch, cursors: Mapping[str, Cursor]) -> bool:
    """Whether a batch that was read behind these cursors holds anything that the buffer is to know."""
    moved = any(cursors.get(writer) != cursor for writer, cursor in batch.cursors.items())
    return bool(batch.runs or batch.loose or batch.damage or moved)


def drain(buffer: Buffer, home: Home, *, seconds: float) -> int:
    """Read the journal to its end before a worker leaves; gives the number of runs.

    A writer that still lives is waited for, for at most so many seconds: its agents are told to stop as we are. What
    is still open then stays in the journal.
    """
    deadline = time.monotonic() + seconds
    reader = Reader(home.journal)
    runs = 0
    while True:
        alone = not _alive(home)  # before the last read: who ended since then is read too
        runs += take_journal(buffer, reader).runs
        if alone or time.monotonic() >= deadline:
            break
        time.sleep(_LOOK_SECONDS)
    if not alone:
        logger.warning("left while agents still write to %s: what they add stays there", home.journal)
    return runs


def _alive(home: Home) -> Collection[str]:
    """Name the writers that may still write."""
    return [writer for writer, segments in list_segments(home.journal).items() if is_locked(segments[-1].path)]


def check_folder(buffer: Buffer, home: Home) -> None:
    """Refuse to publish into another folder than the buffer's shards are in.

    Raises:
        ShardError: the last published shard is not in this home's manifest.
    """
    if not holds_shards(buffer, home.shards):
        raise ShardError(
            f"{home.shards} does not hold shard {buffer.last_shard()}, which this buffer has published: every worker "
            "that emits must see one folder of shards (mount it there), and others work with --only ingest or --only "
            "relabel"
        )


def holds_shards(buffer: Buffer, root: Path) -> bool:
    """Whether this is the folder that the buffer's shards are in."""
    last = buffer.last_shard()
    return last is None or any(entry.seq == last for entry in Manifest(root).entries())
