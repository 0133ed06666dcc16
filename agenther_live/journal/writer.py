"""The writer of one process: facts in, lines in its own segment file out.

How it stays out of the agent's way:

- The caller writes inline with one write(2), which costs less than waking a thread. One lock, `_io`, is held
  around the write; what several threads bring meanwhile goes out in one write (group commit).
- A timer thread collects the facts of open runs, keeps the heartbeat, retries, and ends when nothing is left to do.
- Where the volume is slow, or the caller may not block (an event loop under guard), the caller leaves its lines to
  the timer and waits for at most half a second.
- What the volume refuses is cut back to the last whole line and kept in memory up to `max_queue_bytes`; beyond
  that whole runs are dropped and counted, never parts of one.

write(2) and not fsync: what was appended survives the death of the process, not that of the machine.
"""

from __future__ import annotations

import atexit
import collections
import contextlib
import logging
import math
import os
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from agenther_live.errors import HomeError, JournalError
from agenther_live.journal.appender import Appender
from agenther_live.journal.queue import Line, Queue, encode
from agenther_live.journal.segments import new_writer_id

__all__ = ["Drain", "Writer"]

Drain = Callable[[], Iterable[Mapping[str, Any]] | None]

_log = logging.getLogger("agenther_live.journal")
_SLOW_SECONDS = 0.5  # a write that took longer sends callers to the timer; also the longest that a caller waits
_HEALTHY_SECONDS = 5.0  # so long without trouble, and callers write for themselves again
_HEARTBEAT_SECONDS = 10.0
_COUNTERS_SECONDS = 1.0
_LINGER_SECONDS = 1.0  # so long after the last open run the timer still looks every `flush_seconds`
_RETRY_SECONDS = 1.0  # the longest pause between two tries of a volume that refuses


class Writer:
    """Appends facts to this process's journal segments; thread-safe, fork-safe, and silent unless `strict`.

    A forked child keeps the object and its drains, drops what the parent had queued (the parent writes it), and
    opens a segment of its own with its first record. `close` seals the segment; a later `append` opens the next.
    """

    def __init__(
        self,
        folder: Path,
        *,
        flush_seconds: float = 0.2,
        segment_bytes: int = 16 << 20,
        max_queue_bytes: int = 8 << 20,
        strict: bool = False,
        on_flush: Callable[[], None] | None = None,
        idle_seconds: float = 60.0,
    ) -> None:
        """Prepare a writer; the folder and file are made with the first record (at once where `strict`).

        Args:
            folder: directory of segments, made with mode 0700 if missing.
            flush_seconds: facts of open runs reach the file at most so much later.
            segment_bytes: a segment is sealed at this size.
            max_queue_bytes: lines kept in memory while the volume refuses them.
            strict: raise from `append` what would otherwise be logged once and counted.
            on_flush: called without locks after lines reached the file; must be quick.
            idle_seconds: without work for so long, the segment is sealed and the timer ends.

        Raises:
            HomeError: `strict`, and the folder cannot be made or written.
        """
        self.folder = folder
        self._flush_seconds = flush_seconds
        self._segment_bytes = segment_bytes
        self._max_queue_bytes = max_queue_bytes
        self._strict = strict
        self._on_flush = on_flush
        self._idle_seconds = idle_seconds
        self._drains: list[Drain] = []
        self._begin()
        _writers.add(self)
        if strict:
            try:
                self._appender.open()
            except OSError as error:
                raise HomeError(f"journal {folder} cannot be written: {error.strerror or error}") from error

    def _begin(self) -> None:
        """Begin with nothing queued, no file and a new name: at birth, and again in a forked child."""
        self.writer_id = new_writer_id()
        self._counts: collections.deque[tuple[str, int]] = collections.deque()
        self._queue = Queue(self._max_queue_bytes, self.count)
        self._appender = Appender(self.folder, self.writer_id, self._segment_bytes, self.count)
        # Re-entrant ones, because those alone may be waited for on an event loop under guard.
        self._io = threading.RLock()  # held around every use of the file
        self._order = threading.RLock()  # held while facts go from a drain to the queue
        self._starting = threading.Lock()
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()  # whose `put` a finalizer may call at any moment
        self._thread: threading.Thread | None = None
        # A garbage collection inside one of our calls may end an abandoned stream, and with it a run: its records
        # then arrive on a thread that is already in here, and are left for the call under way.
        self._inside: set[int] = set()
        self._deferred: collections.deque[list[Line]] = collections.deque()
        self._active = False  # a drain has open runs
        self._closing = False
        self._by_timer = False
        self._trouble_at = 0.0
        self._writing_since: float | None = None
        self._pause = self._flush_seconds
        self._retry_at = 0.0
        self._logged = False

    # ------------------------------------------------------------------ what the capture side calls

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Write records, in their order, in one write; they are in the file on return unless the volume refuses.

        Do not call it while holding a lock that a registered drain takes.

        Raises:
            HomeError: `strict`, and no segment can be opened (the records stay queued).
            JournalError: `strict`, and the write failed (the records stay queued).
        """
        me = threading.get_ident()
        try:
            lines = encode(records)
            if not lines:
                return
            if me in self._inside:
                self._deferred.append(lines)
                return
            try:
                self._inside.add(me)
                self._accept(lines)
                self._deliver()
            finally:
                self._inside.discard(me)
        except (HomeError, JournalError):
            raise
        except Exception as error:  # the agent's run matters more than its record
            self._trouble(error)

    def register(self, drain: Drain) -> None:
        """Let the timer call `drain` every `flush_seconds` for new facts of open runs.

        It gives the records not yet given, and None where no run is open (then the timer may sleep until `wake`).
        No `append` can slip in while it runs, so the facts of a run keep their order; it must be quick, and must give
        nothing of the parent's runs in a forked child.
        """
        self._drains.append(drain)
        self.wake()

    def wake(self) -> None:
        """Say that a run is open, so that the timer calls the drains; cheap enough for every start of a run."""
        if self._active and self._thread is not None:
            return
        self._active = True
        self._ensure_timer()
        self._ring()

    def count(self, name: str, n: int = 1) -> None:
        """Add to a counter; increments are written as a `counters` record about once a second and at close."""
        self._counts.append((name, n))
        if len(self._counts) == 1:
            self._ensure_timer()
            self._ring()

    def close(self, *, timeout: float = 5.0) -> None:
        """Write what is left (facts of open runs and counters too), seal the segment, stop the timer; idempotent.

        A volume that hangs is waited for `timeout` seconds; what it did not take is then lost, and said.

        Raises:
            HomeError, JournalError: `strict`, and something could not be written.
        """
        me = threading.get_ident()
        thread = self._thread
        deadline = time.monotonic() + timeout
        self._closing = True
        if thread is not None and thread.ident != me:
            self._ring()
            thread.join(timeout=timeout)
        try:
            self._inside.add(me)
            self._gather()
            self._gather_counts()
            if _acquire(self._io, max(deadline - time.monotonic(), _SLOW_SECONDS)):
                try:
                    self._pump()
                    self._appender.close()
                finally:
                    self._io.release()
        except (HomeError, JournalError):
            raise
        except Exception as error:
            self._trouble(error)
        finally:
            self._inside.discard(me)
            self._closing = False
            if self._queue.size:
                _log.warning("journal %s: %d bytes of facts are not written", self.folder, self._queue.size)

    # ------------------------------------------------------------------ writing, inline or by the timer

    def _accept(self, lines: list[Line]) -> None:
        """Queue lines behind what a drain is about to queue."""
        ordered = _acquire(self._order)
        try:
            self._queue.put(lines)
        finally:
            if ordered:
                self._order.release()

    def _deliver(self) -> None:
        """See that what is queued reaches the file, within bounded time."""
        if not self._by_timer:
            if _acquire(self._io):
                try:
                    written = time.monotonic() >= self._retry_at and self._pump()
                finally:
                    self._io.release()
                if written:
                    self._notify()
            else:
                self._hand_over("a write of another thread does not end")
        self._ensure_timer()
        if self._by_timer:
            since = self._writing_since
            if since is None or time.monotonic() - since < _SLOW_SECONDS:  # else it hangs: waiting is no use
                ended = self._queue.waiter()
                self._ring()
                with contextlib.suppress(Exception):  # an event loop under guard may not even wait
                    ended.wait(_SLOW_SECONDS)

    def _hand_over(self, why: str) -> None:
        """Leave writing to the timer until the volume has been healthy for a while."""
        if not self._by_timer:
            _log.info("journal %s: the timer thread writes for a while: %s", self.folder, why)
            self.count("journal_handovers")
        self._by_timer = True
        self._trouble_at = time.monotonic()

    def _pump(self) -> bool:
        """Write all that is queued; call with `_io` held. True if the file took it."""
        while self._deferred:
            self._queue.put(self._deferred.popleft())
        if not self._queue.size:
            return False
        started = self._writing_since = time.monotonic()
        try:
            self._appender.append(self._queue.begin(), self._queue.end)
        except OSError as error:
            self._retry_at = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, _RETRY_SECONDS)
            self._ring()
            self._trouble(error)
            return False
        except Exception as error:  # a guard that forbids blocking calls on this thread's event loop
            self._hand_over(f"{type(error).__name__}: {error}")
            return False
        finally:
            self._writing_since = None
        self._pause, self._retry_at = self._flush_seconds, 0.0
        ended = time.monotonic()
        if ended - started > _SLOW_SECONDS:
            self._hand_over(f"one write took {ended - started:.1f} s")
        elif self._by_timer and ended - self._trouble_at > _HEALTHY_SECONDS:
            self._by_timer = False
        return True

    # ------------------------------------------------------------------ the timer thread

    def _ring(self) -> None:
        """Wake the timer, unless it is it that calls."""
        if self._bell.empty() and not self._is_timer():
            self._bell.put(None)

    def _is_timer(self) -> bool:
        thread = self._thread
        return thread is not None and thread.ident == threading.get_ident()

    def _ensure_timer(self) -> None:
        if self._thread is None and not self._closing and _acquire(self._starting):
            try:
                if self._thread is None:
                    self._thread = thread = threading.Thread(target=self._run, name="agenther-journal", daemon=True)
                    try:
                        thread.start()
                    except Exception:  # the interpreter shuts down (`close` at exit writes the rest), or a guard
                        if not thread.is_alive():
                            self._thread = None
            finally:
                self._starting.release()

    def _run(self) -> None:
        """Gather, write, beat; end when there has been nothing to do for a while."""
        self._inside.add(threading.get_ident())
        try:
            self._tick_until_idle()
        finally:
            self._inside.discard(threading.get_ident())
            if self._thread is threading.current_thread():
                self._thread = None

    def _tick_until_idle(self) -> None:
        beat = counted = busy = time.monotonic()
        linger, lively = min(_LINGER_SECONDS, self._idle_seconds), -math.inf
        while not self._closing:
            hurry = self._active or self._by_timer or self._queue.size or self._counts or self._deferred
            with contextlib.suppress(queue.Empty):
                self._bell.get(timeout=self._flush_seconds if hurry else min(_HEARTBEAT_SECONDS, self._idle_seconds))
                while True:
                    self._bell.get_nowait()
            now = time.monotonic()
            try:
                self._active = False  # before the drains are asked: a `wake` from now on counts
                if self._gather():
                    self._active, lively = True, now
                elif now - lively < linger:  # the next run need not wake this thread
                    self._active = True
                if now - counted >= _COUNTERS_SECONDS and not self._queue.size:
                    self._gather_counts()
                    counted = now
                with self._io:
                    written = now >= self._retry_at and self._pump()
                    if now - beat >= _HEARTBEAT_SECONDS:
                        self._appender.beat()
                        beat = now
                if written:
                    self._notify()
                if written or hurry or self._active or self._queue.has_open_runs:
                    busy = now
                elif now - busy >= self._idle_seconds and self._retire():
                    return
            except Exception as error:
                self._trouble(error)

    def _retire(self) -> bool:
        """Seal the segment and let the timer end, unless work came in at this moment."""
        with self._starting, self._io:
            if not self._bell.empty() or self._active or self._queue.size or self._counts or self._deferred:
                return False
            self._appender.close()
            self._thread = None
            return True

    def _gather(self) -> bool:
        """Queue what the drains give; True if any of them has open runs."""
        active = False
        for drain in tuple(self._drains):
            try:
                with self._order:
                    records = drain()
                    if records is not None:
                        active = True
                        self._queue.put(encode(records))
            except Exception as error:
                self.count("drain_errors")
                self._trouble(error)
        return active

    def _gather_counts(self) -> None:
        """Queue the increments since the last time as one record."""
        counts: collections.Counter[str] = collections.Counter()
        with contextlib.suppress(IndexError):
            while True:
                name, n = self._counts.popleft()
                counts[name] += n
        if counts:
            self._queue.put(encode([{"k": "counters", "at": time.time(), "counts": dict(counts)}]))

    # ------------------------------------------------------------------ telling others

    def _notify(self) -> None:
        if self._on_flush is not None:
            try:
                self._on_flush()
            except Exception as error:
                self._trouble(error)

    def _trouble(self, error: Exception) -> None:
        """Count an error and log the first; raise it where `strict`, on the caller's thread."""
        self.count("journal_errors")
        if not self._logged:
            self._logged = True
            _log.warning(
                "journal %s: %s: %s; facts wait in memory, the agent goes on (said once)",
                self.folder,
                type(error).__name__,
                error,
            )
        if self._strict and not self._is_timer():
            kind = JournalError if self._appender.is_open else HomeError
            raise kind(f"journal {self.folder} cannot be written: {error}") from error


def _acquire(lock: Any, timeout: float = _SLOW_SECONDS) -> bool:
    """Take a lock within bounded time; False where that is not possible or not allowed on this thread."""
    try:
        return bool(lock.acquire(timeout=timeout))
    except Exception:  # an event loop under guard forbids waiting for a lock
        return False


_writers: weakref.WeakSet[Writer] = weakref.WeakSet()
_forking = threading.local()


def _before_fork() -> None:
    """Let no write be half done while the process is copied (one that hangs is not waited for)."""
    _forking.held = [writer for writer in tuple(_writers) if _acquire(writer._io)]


def _after_fork_in_parent() -> None:
    for writer in _forking.held:
        writer._io.release()
    _forking.held = []


def _after_fork_in_child() -> None:
    _forking.held = []
    for writer in tuple(_writers):
        # This closes the child's descriptor only: the lock belongs to the open file, which the parent still has.
        writer._appender.close()
        writer._begin()


def _close_all() -> None:
    for writer in tuple(_writers):
        with contextlib.suppress(Exception):
            writer.close()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
atexit.register(_close_all)
