"""From segments back to runs: follow every writer's files, tell live writers from dead ones, survive damage.

The reader keeps no state of its own on disk. A `Cursor` per writer, stored by the caller in the transaction that
ingests a batch, says exactly what was delivered; a reader that finds its memory at odds with the given cursors
(another process read, or the transaction failed) rebuilds that memory from the files.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from agenther_live.collecting import seldom_collected
from agenther_live.journal.forms import is_formed, mended
from agenther_live.journal.framing import READABLE, decode_line, lines, payload, plain_json
from agenther_live.journal.segments import Segment, exclusively, is_locked, list_segments, make_private

__all__ = ["Batch", "Cursor", "Lag", "Reader", "RunFacts"]

_log = logging.getLogger("agenther_live.journal")
_CHUNK = 4 << 20
_FACTS = b'{"k":"f",'
_MAX_LINE = 64 << 20  # no record is that long: the file's framing is lost


class Cursor(NamedTuple):
    """How far one writer's segments were delivered; store all four numbers.

    Everything before (segment, offset) is done with, and may be deleted. Between it and (read_segment, read_offset)
    everything was delivered but the runs that were still open. Nothing from there on was. The first is the start of
    the oldest run not yet delivered, or equal to the second. Offsets are bytes, always at the start of a line. With the
    first two numbers alone nothing is lost either, but what lies behind an open run is delivered again.
    """

    segment: int
    offset: int
    read_segment: int = -1
    read_offset: int = 0

    @property
    def read(self) -> tuple[int, int]:
        """How far the writer's segments were read."""
        return max((self.segment, self.offset), (self.read_segment, self.read_offset))

    def normal(self) -> Cursor:
        """Give the cursor with all four numbers filled in."""
        return Cursor(self.segment, self.offset, *self.read)


class Lag(NamedTuple):
    """What was not delivered yet: bytes of whole and torn lines, and the age of the oldest in seconds."""

    bytes: int
    seconds: float


@dataclass(frozen=True)
class RunFacts:
    """One run's records, from `start` on, in the order they were written.

    `orphaned`: its writer is gone and no `end` came. A writer that was only thought gone (paused for minutes) may
    still write: such facts come later, as loose records with `r`.

    Most of a run are facts, a few hundred small objects that somebody reads once. So they stay JSON until then:
    `lines` holds each record's JSON, `outline` the records, those of facts without them (`f`).
    """

    root_key: str
    writer: str
    lines: list[bytes]
    outline: list[dict[str, Any]]
    ended: bool
    orphaned: bool = False

    @classmethod
    def of(cls, root_key: str, writer: str, records: Iterable[dict[str, Any]], *, orphaned: bool = False) -> RunFacts:
        """Give these records of a run; it ended if its last one is an `end`."""
        lines = [plain_json(record) for record in records]
        outline = [record for line in lines if (record := _outline(line)) is not None]
        ended = bool(outline) and outline[-1].get("k") == "end"
        return cls(root_key, writer, lines, outline, ended, orphaned)

    @property
    def records(self) -> list[dict[str, Any]]:
        """The records whole, read anew each time."""
        return [orjson.loads(line) for line in self.lines]


def _outline(data: bytes) -> dict[str, Any] | None:
    """Read a record but for its facts: they are most of all bytes, and are read where they are assembled.

    Our writer puts them last. What stands before them is an object by itself only if they are fields of the record.
    """
    if data.startswith(_FACTS) and data.endswith(b"]}") and (facts := data.find(b',"f":[')) > 0:
        with contextlib.suppress(ValueError):
            return orjson.loads(data[:facts] + b"}")  # type: ignore[no-any-return]
    try:
        record = orjson.loads(data)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


@dataclass(frozen=True)
class Batch:
    """What one `Reader.read` found.

    `loose` holds every other record (feedback, counters, late facts, replies), each with `_id` =
    "writer:segment:offset", the same at every delivery, so that ingest can ignore what it has. `damage` counts
    `bad_lines`, `odd_lines` (fields of another form than ours were mended or left out), `torn_tails`, `shrunk_files`,
    `damaged_files` (set aside), and `newer_files` and `unreadable_files` (left where they are, told once per reader).
    `more` says that `limit_bytes` ended it. `cursors` are the given ones, moved on.
    """

    runs: list[RunFacts] = field(default_factory=list)
    loose: list[dict[str, Any]] = field(default_factory=list)
    cursors: dict[str, Cursor] = field(default_factory=dict)
    damage: Counter[str] = field(default_factory=Counter)
    open_runs: int = 0
    more: bool = False


@dataclass
class _OpenRun:
    """A run whose end was not read yet, and where its `start` lies."""

    at: tuple[int, int]
    lines: list[bytes] = field(default_factory=list)
    outline: list[dict[str, Any]] = field(default_factory=list)

    def add(self, record: dict[str, Any], data: bytes) -> None:
        self.lines.append(data)
        self.outline.append(record)


class _Tail:
    """What a reader remembers of one writer: how far it read, and the runs that are open there."""

    def __init__(self, writer: str, cursor: Cursor) -> None:
        self.writer = writer
        self.segment, self.offset = cursor.segment, cursor.offset
        self.delivered = cursor.read
        self.open: dict[str, _OpenRun] = {}
        self.good_lines = 1 if cursor.offset else 0  # of this segment
        self.suspect = -1  # a bad line seen once while its writer lives

    @property
    def cursor(self) -> Cursor:
        here = max((self.segment, self.offset), self.delivered)
        return Cursor(*next((run.at for run in self.open.values()), here), *here)

    def enter(self, segment: int) -> None:
        """Go on with the next segment."""
        self.segment, self.offset, self.good_lines, self.suspect = segment, 0, 0, -1

    def take(self, offset: int, record: dict[str, Any], data: bytes, batch: Batch) -> None:
        """Put one record, read in outline from `data`, where it belongs: to its run, or among the loose ones."""
        fresh = (self.segment, offset) >= self.delivered
        root, kind = record.get("r"), record.get("k")
        if kind in ("segment", "heartbeat"):
            return
        if isinstance(root, str):
            run = self.open.get(root)
            if run is None and kind == "start":
                run = self.open[root] = _OpenRun((self.segment, offset))
                run.add(record, data)
                return
            if kind == "dropped":  # the writer gave the run up: what it wrote of it is no run
                self.open.pop(root, None)
                return
            if run is not None:
                run.add(record, data)
                if kind == "end":
                    del self.open[root]
                    if fresh:
                        batch.runs.append(RunFacts(root, self.writer, run.lines, run.outline, ended=True))
                return
        if fresh:
            if data.startswith(_FACTS):  # it was read in outline
                try:
                    record = orjson.loads(data)
                except ValueError:  # of facts that were not looked at yet
                    batch.damage["bad_lines"] += 1
                    return
            record["_id"] = f"{self.writer}:{self.segment}:{offset}"
            batch.loose.append(record)

    def give_up(self, batch: Batch) -> None:
        """Deliver the open runs of a writer that is gone."""
        for root, run in self.open.items():
            batch.runs.append(RunFacts(root, self.writer, run.lines, run.outline, ended=False, orphaned=True))
        self.open.clear()


class Reader:
    """Follows a folder of segments. For one thread; cheap to make, quicker when kept."""

    def __init__(self, folder: Path, *, stale_seconds: float = 120.0) -> None:
        """Follow `folder`, which need not exist yet.

        Args:
            folder: directory of segments.
            stale_seconds: a writer that holds its lock but did not touch its file for so long, by this process's
                monotonic clock, counts as gone: a copy of the process that knows nothing of us keeps the lock.
        """
        self.folder = folder
        self._stale_seconds = stale_seconds
        self._tails: dict[str, _Tail] = {}
        self._seen: dict[str, tuple[tuple[int, int, int], float]] = {}
        self._refused: set[Path] = set()
        self._turn = 0

    def read(self, cursors: Mapping[str, Cursor], *, limit_bytes: int = 16 << 20) -> Batch:
        """Read what was written since `cursors`, about `limit_bytes` at most.

        Every run that ended, and every run of a writer that is gone, is in the batch once; so is every loose record.
        Store `batch.cursors` in the transaction that stores the rest. Where that failed, the next call gets the old
        cursors and delivers the same again.

        Args:
            cursors: as stored, by writer; a writer that is missing is read from its first segment.
            limit_bytes: of new lines; one line beyond it is possible.

        Raises:
            OSError: the folder cannot be read.
        """
        with seldom_collected():
            return self._read(cursors, limit_bytes)

    def _read(self, cursors: Mapping[str, Cursor], limit_bytes: int) -> Batch:
        batch = Batch(cursors=dict(cursors))
        writers, living = self._survey()
        self._turn += 1
        order = sorted(writers)
        split = self._turn % len(order) if order else 0  # so that one busy writer does not starve the others
        left = limit_bytes
        for writer in order[split:] + order[:split]:
            segments = writers[writer]
            cursor = cursors.get(writer) or Cursor(segments[0].n, 0)
            tail = self._tails.get(writer)
            if tail is None or tail.cursor != cursor.normal():
                tail = self._tails[writer] = _Tail(writer, cursor)
            left = self._follow(tail, segments, writer in living, left, batch)
            batch.cursors[writer] = tail.cursor
        for gone in self._tails.keys() - writers.keys():
            del self._tails[gone]
        open_runs = sum(len(tail.open) for tail in self._tails.values())
        return replace(batch, open_runs=open_runs, more=left <= 0)

    def lag(self, cursors: Mapping[str, Cursor]) -> Lag:
        """Measure what lies behind the cursors, without parsing it; its age is that of the first record there."""
        total, oldest = 0, None
        for writer, segments in list_segments(self.folder).items():
            number, offset = cursors[writer].read if writer in cursors else (-1, 0)
            for segment in segments:
                start = offset if segment.n == number else 0
                if segment.n < number or segment.size <= start:
                    continue
                total += segment.size - start
                if (at := _first_at(segment, start)) is not None:
                    oldest = at if oldest is None else min(at, oldest)
        return Lag(total, max(0.0, time.time() - oldest) if oldest is not None else 0.0)

    def collect(self, cursors: Mapping[str, Cursor]) -> int:
        """Delete the segments that no writer holds and that lie wholly before the stored cursors; give their number."""
        deleted = 0
        for writer, segments in list_segments(self.folder).items():
            cursor = cursors.get(writer)
            for segment in segments:
                here = (segment.n, segment.size)
                if segment.size and (cursor is None or here > (cursor.segment, cursor.offset)):
                    continue
                with exclusively(segment.path) as fd:
                    if fd is not None and os.fstat(fd).st_size == segment.size:
                        segment.path.unlink(missing_ok=True)
                        deleted += 1
        return deleted

    # ------------------------------------------------------------------ who lives

    def _survey(self) -> tuple[dict[str, list[Segment]], set[str]]:
        """List segments, and say whose writer lives.

        A writer locks the next segment before it lets go of the last one. So one whose newest segment is free, and
        still is the newest in a list made after that was asked, is gone; and all it ever wrote is in its files.
        """
        writers = list_segments(self.folder)
        living: set[str] = set()
        asked = set(writers)
        while asked:
            free = {writer for writer in asked if not _held(writers[writer])}
            living |= asked - free
            if not free:
                break
            again = list_segments(self.folder)
            asked = {w for w in free if w in again and again[w][-1].n != writers[w][-1].n}
            writers.update({writer: again[writer] for writer in asked})
        now = time.monotonic()
        for writer in tuple(living):
            last = writers[writer][-1]
            mark = (last.n, last.size, last.mtime_ns)
            seen = self._seen.get(writer)
            if seen is None or seen[0] != mark:
                self._seen[writer] = (mark, now)
            elif now - seen[1] > self._stale_seconds:
                living.discard(writer)
        for gone in self._seen.keys() - writers.keys():
            del self._seen[gone]
        return writers, living

    # ------------------------------------------------------------------ lines

    def _follow(self, tail: _Tail, segments: list[Segment], alive: bool, left: int, batch: Batch) -> int:
        """Read one writer's segments onward; give what is left of the limit."""
        for segment in segments:
            if segment.n < tail.segment:
                continue
            if segment.n > tail.segment:
                tail.enter(segment.n)
            if left <= 0:
                return left
            # Asked before it is read: a segment is final when nobody holds it, whatever follows it.
            growing = alive and (segment is segments[-1] or is_locked(segment.path))
            left, done = self._read_segment(tail, segment, growing, left, batch)
            if growing or not done:
                return left
        if not alive:
            tail.give_up(batch)
        return left

    def _read_segment(self, tail: _Tail, segment: Segment, growing: bool, left: int, batch: Batch) -> tuple[int, bool]:
        """Read one segment to its end: what is left of the limit, and whether the end was reached."""
        try:
            return self._read_file(tail, segment, growing, left, batch)
        except FileNotFoundError:  # deleted by another reader
            return left, True
        except OSError as error:  # one bad file must not keep the others waiting
            if segment.path not in self._refused:
                self._refused.add(segment.path)
                batch.damage["unreadable_files"] += 1
                _log.warning("journal segment %s cannot be read: %s", segment.path, error)
            return left, False

    def _read_file(self, tail: _Tail, segment: Segment, growing: bool, left: int, batch: Batch) -> tuple[int, bool]:
        fd = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(fd).st_size
            if tail.offset > size:
                batch.damage["shrunk_files"] += 1
                tail.offset = size
            want = min(_CHUNK, max(left, 4096))
            while left > 0:
                data = os.pread(fd, want, tail.offset)
                end = data.rfind(b"\n") + 1
                if not end:
                    if len(data) == want and want < _MAX_LINE:
                        want *= 2
                        continue
                    break
                before = max(tail.offset, tail.delivered[1] if tail.delivered[0] == tail.segment else 0)
                if not self._lines(tail, segment, data[:end], growing, batch):
                    return left, False
                left -= max(0, tail.offset - before)
                want = min(_CHUNK, max(left, 4096))
            else:
                return left, False
            if growing:
                return left, True
            if data:
                tail.offset += len(data)
                if (tail.segment, tail.offset) > tail.delivered:
                    batch.damage["torn_tails"] += 1
            if size and not tail.good_lines and tail.suspect != -1:
                self._set_aside(segment, batch)
            return left, True
        finally:
            os.close(fd)

    def _lines(self, tail: _Tail, segment: Segment, read: bytes, growing: bool, batch: Batch) -> bool:
        """Take the whole lines that were read; False where the file cannot be read on for now."""
        for start, end, line in lines(read, tail.offset):
            data = payload(line)
            record = None if data is None else _outline(data)
            if data is not None and record is not None and not is_formed(record):
                data, record = self._mend(segment, start, data, batch if (segment.n, start) >= tail.delivered else None)
            if data is None or record is None:
                if growing and tail.suspect != start:
                    # The writer may just have cut back a torn line that we saw the half of: look again.
                    tail.suspect, tail.offset = start, start
                    return True
                tail.suspect = start
                if (segment.n, start) >= tail.delivered:
                    batch.damage["bad_lines"] += 1
            else:
                if start == 0 and record.get("k") == "segment" and not _is_readable(record.get("v")):
                    if segment.path not in self._refused:
                        self._refused.add(segment.path)
                        batch.damage["newer_files"] += 1
                        _log.warning(
                            "journal segment %s has format %s: upgrade to read it", segment.path, record.get("v")
                        )
                    return False
                tail.good_lines += 1
                tail.take(start, record, data, batch)
            tail.offset = end
        return True

    def _mend(
        self, segment: Segment, offset: int, data: bytes, batch: Batch | None
    ) -> tuple[bytes | None, dict[str, Any] | None]:
        """Give a line of another form than ours as far as it can be read, and count it where it is delivered now."""
        with contextlib.suppress(ValueError):
            record = mended(orjson.loads(data))
            if record is not None:
                data = plain_json(record)
                if batch is not None:
                    batch.damage["odd_lines"] += 1
                    _log.warning(
                        "journal segment %s, byte %d: a %s record of another form", segment.path, offset, record["k"]
                    )
                return data, _outline(data)
        return None, None

    def _set_aside(self, segment: Segment, batch: Batch) -> None:
        """Move a file without one good line out of the way, for a person to look at."""
        folder = self.folder / "damaged"
        make_private(folder)
        with contextlib.suppress(FileNotFoundError):
            segment.path.rename(folder / f"{segment.path.name}.{time.time_ns()}")
            batch.damage["damaged_files"] += 1
            _log.warning("journal segment %s has no readable line: moved to %s", segment.path.name, folder)


def _is_readable(version: Any) -> bool:
    """Whether a segment's format is one that is read here; one that is no number is of a version to come."""
    return type(version) is int and version in READABLE


def _held(segments: list[Segment]) -> bool:
    """Tell whether a writer holds any of its segments: the newest, or another while it makes the newest."""
    return any(is_locked(segment.path) for segment in (*reversed(segments), segments[-1]))


def _first_at(segment: Segment, offset: int) -> float | None:
    """Read the time of the first record from `offset` on; the file's own time where the record has none."""
    with contextlib.suppress(OSError):
        fd = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            line = os.pread(fd, 1 << 20, offset).partition(b"\n")[0]
        finally:
            os.close(fd)
        at = (decode_line(line) or {}).get("at")
        return float(at) if isinstance(at, (int, float)) else segment.mtime_ns / 1e9
    return None
