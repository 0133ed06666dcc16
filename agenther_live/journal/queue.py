"""Lines on their way to the file: in order, bounded, and dropped by whole runs only."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from agenther_live.journal.framing import encode_line

__all__ = ["Line", "Queue", "encode"]


class Line(NamedTuple):
    """An encoded record with what the queue must know of it: its run (if any) and kind."""

    root: str | None
    kind: str | None
    data: bytes


def encode(records: Iterable[Mapping[str, Any]]) -> list[Line]:
    """Encode records in their order."""
    return [Line(record.get("r"), record.get("k"), encode_line(record)) for record in records]


class Queue:
    """The one queue of a writer; every method is short, and none does I/O.

    Lines that a write is under way with (`begin`) stay until `end` says how many the file took. Where lines wait
    beyond `max_bytes`, the runs that came last are dropped whole: their waiting lines go, later ones are ignored, and
    if part of such a run may be in the file already, a `dropped` record tells readers to ignore it.
    """

    def __init__(self, max_bytes: int, count: Callable[[str, int], None]) -> None:
        """Make an empty queue; what it drops is told to `count(name, n)`."""
        self._max_bytes = max_bytes
        self._count = count
        self._lock = threading.Lock()
        self._lines: list[Line] = []
        self._bytes = 0
        self._in_flight = 0
        self._open: set[str] = set()
        self._dropped: set[str] = set()
        self._waiters: list[threading.Event] = []
        self._due: list[threading.Event] = []

    @property
    def size(self) -> int:
        """Bytes that wait, those under way included."""
        return self._bytes

    @property
    def has_open_runs(self) -> bool:
        """Tell whether a run that was begun here has not ended."""
        return bool(self._open)

    def put(self, lines: Sequence[Line]) -> None:
        """Take lines in behind all others, all of them or (of runs that were dropped) none."""
        with self._lock:
            if self._dropped:
                ended = {line.root for line in lines if line.kind == "end"}
                lines = [line for line in lines if line.root not in self._dropped]
                self._dropped -= ended
            for line in lines:
                root, kind, data = line
                self._lines.append(line)
                self._bytes += len(data)
                if root is not None:
                    if kind == "start":
                        self._open.add(root)
                    elif kind == "end":
                        self._open.discard(root)
            while self._bytes > self._max_bytes and len(self._lines) > self._in_flight and self._drop_last():
                pass

    def begin(self) -> list[bytes]:
        """Give the lines to write now, in order."""
        with self._lock:
            self._in_flight = len(self._lines)
            if self._waiters:
                self._due, self._waiters = self._due + self._waiters, []
            return [line.data for line in self._lines]

    def end(self, written: int) -> None:
        """Forget the first `written` lines, which the file has, and wake those who waited for this write."""
        with self._lock:
            if written == len(self._lines):  # as a rule
                self._lines, self._bytes = [], 0
            else:
                self._bytes -= sum([len(line.data) for line in self._lines[:written]])
                del self._lines[:written]
            self._in_flight = 0
            due, self._due = self._due, []
        for event in due:
            event.set()

    def waiter(self) -> threading.Event:
        """Make an event that is set when a write of what is queued by now has ended, well or not."""
        event = threading.Event()
        with self._lock:
            self._waiters.append(event)
        return event

    def _drop_last(self) -> bool:
        """Drop the newest run that waits, or the newest record where no run does; False if nothing can go."""
        waiting = self._lines[self._in_flight :]
        root = next((line.root for line in reversed(waiting) if line.root is not None), None)
        if root is None:
            if waiting[-1].kind == "dropped":
                return False
            self._bytes -= len(self._lines.pop().data)
            self._count("dropped_records", 1)
            return True
        kinds = {line.kind for line in waiting if line.root == root}
        self._bytes -= sum(len(line.data) for line in waiting if line.root == root)
        self._lines[self._in_flight :] = [line for line in waiting if line.root != root]
        if "start" not in kinds:
            mark = encode([{"k": "dropped", "r": root, "at": time.time()}])[0]._replace(root=None)
            self._lines.append(mark)
            self._bytes += len(mark.data)
        if "end" not in kinds:
            self._dropped.add(root)
        self._open.discard(root)
        self._count("dropped_runs", 1)
        return True
