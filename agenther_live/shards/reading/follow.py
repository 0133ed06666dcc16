"""Following the shards: every row once, in order, for as long as the trainer wants, and where it stands."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import orjson

from agenther_live.errors import ShardError, TooFewRows, UsageError
from agenther_live.settings import ShardFormat
from agenther_live.shards.files.manifest import Entry
from agenther_live.shards.reading.consumers import Checkpoints, read_cursor, record, record_reading, write_cursor
from agenther_live.shards.reading.cursor import Closed, Cursor, Event, Given, Repeated, Versioned, sample_key
from agenther_live.shards.reading.listing import Listing
from agenther_live.shards.reading.progress import Progress
from agenther_live.shards.reading.replay import Pool
from agenther_live.shards.reading.stream import row_id
from agenther_live.shards.stores.storage import Source, consumer_name, open_source

if TYPE_CHECKING:
    import datasets

__all__ = ["ShardStream", "StreamRow"]

logger = logging.getLogger("agenther_live")

SLICE_SECONDS = 0.1
"""How often a stream that waits looks whether it was asked to stop."""
MOST_OWED = 8
"""By so many rows at most the replay makes up for draws that hit nothing."""


@dataclass(frozen=True, slots=True)
class StreamRow:
    """One row with its place: the shard's number and its line there, and whether it was given before (`repeated`)."""

    seq: int
    index: int
    sample_id: str
    row: dict[str, Any]
    repeated: bool = False


class ShardStream:
    """The rows of one format, each sample once, in the order of the manifest; verified, without retracted ones.

    Args:
        root: the shards' folder, or a URL (s3://bucket/path, memory://name, …) that fsspec knows.
        fmt: the shard format.
        consumer: who reads; one name per trainer and format. Letters, digits, '.', '_', '-'. None: nobody that anything
            is noted of or committed for; which shards were read to their end is remembered then, and no single row.
        follow: wait for new shards for ever; `request_stop` or Ctrl-C ends it.
        max_staleness: rows of a policy version behind which more than so many others appeared are left out. Versions
            count in the order in which they first appear in the shards of this format; a row that names none is
            never stale. None: no limit.
        replay_ratio: share, in [0, 0.9], of all rows that are drawn again from live shards read to their end.
        poll_seconds: how often to look for what was published or retracted.
        seed: of the replay's draws: the same seed, state and shards give the same rows.
        storage_options: for the URL's file system.

    Raises:
        UsageError: an argument has a value that is not allowed, or the folder is not there and `follow` is off.
    """

    def __init__(
        self,
        root: str | Path,
        fmt: ShardFormat,
        *,
        consumer: str | None,
        follow: bool = False,
        max_staleness: int | None = 4,
        replay_ratio: float = 0.25,
        poll_seconds: float = 1.0,
        seed: int = 0,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        """Take the arguments; nothing is read yet."""
        if fmt not in get_args(ShardFormat):
            raise UsageError(f"format {fmt!r}: one of {', '.join(get_args(ShardFormat))}")
        if max_staleness is not None and max_staleness < 0:
            raise UsageError(f"max_staleness = {max_staleness}: 0 or more policy versions, or None")
        if not 0 <= replay_ratio <= 0.9:
            raise UsageError(f"replay_ratio = {replay_ratio}: a share from 0 to 0.9")
        if not poll_seconds > 0:
            raise UsageError(f"poll_seconds = {poll_seconds}: more than 0")
        self.format: ShardFormat = fmt
        self.consumer = None if consumer is None else consumer_name(consumer)
        self.follow = follow
        self._max_staleness = max_staleness
        self._gain = replay_ratio / (1 - replay_ratio)
        self._poll_seconds = poll_seconds
        self._seed = seed
        self._listing = Listing(
            open_source(root, storage_options), fmt, consumer, patient=follow, poll_seconds=poll_seconds
        )
        self._progress = Progress(Cursor(fmt))
        self._versioned: set[int] = set()
        self._pool: Pool | None = None  # what the replay draws from; None where it must be made anew
        self._noted = 0.0 if consumer is not None else math.inf  # up to this shard it is noted that rows were given
        self._refused = False  # the last such note
        self._stopped = False
        self._pid = os.getpid()

    # -- rows ------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Give the rows as the shards hold them."""
        return (found.row for found in self.rows())

    def rows(self, *, wait: bool | None = None) -> Iterator[StreamRow]:
        """Give the rows with their places. A row counts as handed out when it is given; leaving off is no loss.

        `wait` says whether to wait for more when all that is there was given; default: `follow`.

        Raises:
            ShardError: a shard or the manifest is not as it must be.
            StoreError: the object store cannot be reached; with `follow` only where it never could.
            UsageError: called in another process than the one that made the stream.
        """
        self._own_process()
        while not self._stopped:
            gave = yield from self._pass(forgetting=self.consumer is None)
            if not (self.follow if wait is None else wait):
                return
            if not gave:
                self.wait()

    def dataset(self) -> datasets.IterableDataset:
        """Give the rows as a Hugging Face `IterableDataset`, for a trainer that runs while shards come.

        It is read in this process alone, since the cursor lives here: use a DataLoader with num_workers=0; a worker
        process that reads it gets a UsageError. Each iteration goes on where the last one ended.

        Raises:
            UsageError: `datasets` is not installed (the extra `trainers`).
        """
        from agenther_live.shards.reading.tables import iterable_dataset

        return iterable_dataset(self, self.format)

    def take(self, min_rows: int = 1, timeout: float | None = None, *, max_rows: int | None = None) -> datasets.Dataset:
        """Give what is there as a finite `Dataset`, once there are `min_rows` new rows; repeated ones come on top.

        Args:
            min_rows: new rows that a round needs.
            timeout: seconds to wait for them; None waits for ever with `follow`, and not at all without.
            max_rows: new rows that a round takes at most; None takes all that are there.

        Raises:
            TooFewRows: the timeout passed with fewer. None was taken.
            UsageError: `datasets` is not installed (the extra `trainers`), or the numbers do not fit.
        """
        from agenther_live.shards.reading.tables import finite_dataset

        return finite_dataset(self.format, [found.row for found in self.take_rows(min_rows, timeout, max_rows)])

    def take_rows(
        self, min_rows: int = 1, timeout: float | None = None, max_rows: int | None = None
    ) -> list[StreamRow]:
        """Do what `take` does without `datasets`: give the rows as a list."""
        if min_rows < 0 or (max_rows is not None and max_rows < max(1, min_rows)):
            raise UsageError(f"min_rows = {min_rows}, max_rows = {max_rows}: from 0 on, and no more than the most")
        self._own_process()
        if timeout is None and not self.follow:
            timeout = 0.0
        deadline = None if timeout is None else time.monotonic() + timeout
        mark, found, fresh = self._progress.mark, list[StreamRow](), 0
        try:
            while True:
                for row in self._pass():
                    found.append(row)
                    fresh += not row.repeated
                    if fresh == max_rows:
                        return found
                if fresh >= min_rows:
                    return found
                left = self._poll_seconds if deadline is None else deadline - time.monotonic()
                if left <= 0 or self._stopped:
                    raise TooFewRows(
                        f"{fresh} new {self.format} rows in {self.source.name}, and a round needs {min_rows}"
                        + (f"; waited {timeout:g} s" if timeout else "")
                    )
                self.wait(min(left, self._poll_seconds))
        except BaseException:  # too few, a damaged shard, Ctrl-C: nobody got these rows
            self._progress.rewind(mark)
            self._versioned, self._pool = set(), None
            raise

    def wait(self, seconds: float | None = None) -> bool:
        """Sleep, `poll_seconds` by default, or until the stream is asked to stop; says whether it goes on."""
        until = time.monotonic() + (self._poll_seconds if seconds is None else seconds)
        while not self._stopped and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, SLICE_SECONDS))
        return not self._stopped

    def request_stop(self) -> None:
        """End the rows at the next one, also while the stream waits; from any thread or a signal handler."""
        self._stopped = True

    # -- where it stands -------------------------------------------------------------------------------

    @property
    def source(self) -> Source:
        """Where the shards are, and what was published there as of the last look."""
        return self._listing.source

    @property
    def handed_out(self) -> int:
        """How many rows this object gave, repeated ones too; `commit(rows=…)` counts by it."""
        return self._progress.handed_out

    @property
    def figures(self) -> dict[str, int]:
        """Counts over the whole life of the cursor: `fresh`, `repeated` and `stale` rows, shards `closed`."""
        cursor = self._cursor
        return {
            "fresh": cursor.fresh,
            "repeated": cursor.repeated,
            "stale": cursor.stale,
            "closed": len(cursor.closed),
        }

    def state_dict(self) -> dict[str, Any]:
        """Give where the stream stands, as of the last row handed out: JSON-ready, about eleven bytes a sample."""
        return self._cursor.dump()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from such a state.

        Raises:
            ShardError: it is no state of a stream of this format.
        """
        cursor = Cursor.load(state)
        if cursor.format != self.format:
            raise ShardError(f"this cursor is of {cursor.format} rows, and the stream gives {self.format}")
        self._progress = Progress(cursor)
        self._versioned, self._pool = set(), None
        if self.consumer is not None:
            self._noted = 0.0

    def commit(
        self, checkpoint_dir: str | Path | None, *, rows: int | None = None, policy_version: str | None = None
    ) -> None:
        """Write where the stream stands into a trainer's checkpoint, as the last of its files.

        A checkpoint counts from then on: a trainer that is killed goes on from the newest one that has a cursor.
        Beside the shards it is noted that this consumer has read so far.

        Args:
            checkpoint_dir: the checkpoint's folder. None: beside the shards, for a reader without checkpoints.
            rows: how many of the rows handed out by this object (since `restore`) were trained on; a trainer that
                reads ahead says so here. Default: all of them.
            policy_version: the version that this checkpoint is, if it has a name.

        Raises:
            ShardError: the folder cannot be written.
            UsageError: `rows` is less than was committed before, or more than was handed out; or nobody in particular
                reads.
        """
        consumer = self._name()
        state = self._progress.commit(self.handed_out if rows is None else rows)
        if checkpoint_dir is None:
            write_cursor(self.source, consumer, state)
        else:
            Checkpoints(checkpoint_dir).save(consumer, self.format, state)
        self._tell(lambda: record(self.source, consumer, self._cursor, policy_version))

    def restore(self, checkpoint_dir: str | Path | None) -> None:
        """Go on from where a checkpoint was when it was committed.

        None: from what was committed beside the shards, and from the beginning where nothing was.

        Raises:
            ShardError: it has no cursor of this consumer and format.
            UsageError: nobody in particular reads.
        """
        consumer = self._name()
        if checkpoint_dir is not None:
            self.load_state_dict(Checkpoints(checkpoint_dir).load(consumer, self.format))
        elif (kept := read_cursor(self.source, consumer, self.format)) is not None:
            self.load_state_dict(kept)

    # -- inside ----------------------------------------------------------------------------------------

    def _own_process(self) -> None:
        if os.getpid() != self._pid:
            raise UsageError(
                "a ShardStream is read in the process that made it, where its cursor lives: use num_workers=0, and "
                "one rank that reads"
            )

    def _name(self) -> str:
        if self.consumer is None:
            raise UsageError("a stream of nobody in particular commits nothing: give its reader a name (`consumer`)")
        return self.consumer

    def _pass(self, *, forgetting: bool = False) -> Generator[StreamRow, None, bool]:
        """Give what is there now; says whether anything was. `forgetting`: the rows of shards that were read."""
        gave = False
        if self._look():
            for entry in [entry for entry in self._listing.shards if entry.seq not in self._cursor.closed]:
                for row in self._shard(entry):
                    gave = True
                    yield row
                    if self._stopped:
                        return gave
                if forgetting:
                    self._progress.forget_rows()
        return gave

    def _shard(self, entry: Entry) -> Iterator[StreamRow]:
        lines = self._listing.lines(entry)
        if lines is None:
            return
        stale = 0
        for index, line in enumerate(lines):
            if self._listing.due:
                self._look()
            made = orjson.loads(line)
            sample_id = row_id(entry, index, made)
            key = sample_key(sample_id)
            if sample_id in self._listing.retracted or key in self._cursor.given:
                continue
            if self._too_old(made):
                stale += 1
                continue
            # What is owed is paid first: so a stream that is left off after any row goes on with the same rows.
            yield from self._repeats()
            if entry.seq > self._noted:
                self._note_reading(entry.seq)
            owed = self._cursor.owed + (self._gain if self._drawn_from() else 0.0)
            self._note(Given(entry.seq, key, min(owed, self._gain + MOST_OWED)))
            yield StreamRow(entry.seq, index, sample_id, made)
        self._note(Closed(entry.seq, stale))

    def _repeats(self) -> Iterator[StreamRow]:
        while self._cursor.owed >= 1:
            found = self._drawn_from().draw(
                self._cursor.draws, seed=self._seed, lines=self._listing.lines, usable=self._may_repeat
            )
            if found is None:
                return
            self._note(Repeated(self._cursor.draws + 1, self._cursor.owed - 1))
            entry, index, sample_id, row = found
            yield StreamRow(entry.seq, index, sample_id, row, repeated=True)

    def _drawn_from(self) -> Pool:
        if self._pool is None:
            read = [entry for entry in self._listing.shards if entry.seq in self._cursor.closed]
            self._pool = Pool(read if self._gain else [])
        return self._pool

    def _may_repeat(self, sample_id: str, row: Mapping[str, Any]) -> bool:
        return sample_id not in self._listing.retracted and not self._too_old(row)

    def _too_old(self, row: Mapping[str, Any]) -> bool:
        if self._max_staleness is None:
            return False
        return self._cursor.staleness(str(row.get("policy_version") or "")) > self._max_staleness

    def _look(self) -> bool:
        """Look for what was published or retracted; says whether that could be known."""
        if not self._listing.look():
            return False
        if not self._progress.belongs_to(self.source.entries):  # its numbers would hide rows never given
            raise ShardError(
                f"the cursor of consumer {self.consumer!r} is of other shards than those of {self.source.name}: begin "
                "anew there, without that checkpoint or under another name"
            )
        self._pool = None
        self._note_versions()
        return True

    def _note_versions(self) -> None:
        """Note policy versions ahead of the rows: a row is stale by what is published, not by what was read."""
        if self._max_staleness is None:
            return
        for entry in self._listing.shards:
            if entry.seq in self._versioned or entry.seq in self._cursor.closed:
                continue
            self._versioned.add(entry.seq)
            for version in self._listing.versions(entry, known=self._cursor.versions):
                self._note(Versioned(version))

    @property
    def _cursor(self) -> Cursor:
        return self._progress.cursor

    def _note(self, event: Event) -> None:
        self._progress.note(event)
        if isinstance(event, Closed):
            self._pool = None

    def _note_reading(self, seq: int) -> None:
        """Note that rows of a shard are given, before the first one is: whoever reads may never commit."""
        level = logging.DEBUG if self._refused else logging.WARNING  # shards that may only be read: said once
        self._refused = not self._tell(lambda: record_reading(self.source, self._name(), self.format, seq), level)
        self._noted = seq

    def _tell(self, note: Callable[[], None], level: int = logging.WARNING) -> bool:
        try:
            note()
        except ShardError as error:  # shards that may only be read; the checkpoint holds what counts
            logger.log(level, "it cannot be noted beside the shards that %s has read: %s", self.consumer, error)
            return False
        return True
