"""Workers that say where they are, and a killer that believes them: what was hit is known, not guessed.

A worker notes in a mapped file which part of its work it is in; the note outlives a SIGKILL. The killer waits until the
part that it wants has begun, and then for a random share of the time that this part took before.
"""

from __future__ import annotations

import functools
import mmap
import os
import random
import signal
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agenther_live import Live
from agenther_live.shards.reading.stream import read_rows
from tests import forking
from tests.faults.kit import WORK
from tests.whole import TEMPLATE, Shop

PARTS = ("elsewhere", "ingest", "relabel", "emit")
WANTED = ("ingest", "relabel", "emit", "elsewhere")
_ROW = struct.Struct("<QQd")  # how often it began, how often it was committed, how long it last took
_PATIENCE = 120.0


class Board:
    """The mapped file: the part that the worker is in, and of each part the figures of `_ROW`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        os.truncate(path, 1 + _ROW.size * len(PARTS))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._began = 0.0

    @property
    def part(self) -> str:
        return PARTS[self._map[0]]

    def began(self, part: str) -> int:
        return int(self._row(part)[0])

    def committed(self, part: str) -> int:
        return int(self._row(part)[1])

    def seconds(self, part: str) -> float:
        return float(self._row(part)[2])

    def elsewhere(self) -> None:
        """What the last worker died in is read; the next one begins."""
        self._map[0] = 0

    def enter(self, part: str) -> None:
        began, committed, seconds = self._row(part)
        self._began = time.monotonic()
        self._write(part, began + 1, committed, seconds)
        self._map[0] = PARTS.index(part)

    def leave(self, part: str, *, committed: bool) -> None:
        if self._map[0] != PARTS.index(part):
            return
        self._map[0] = 0
        began, before, _ = self._row(part)
        self._write(part, began, before + committed, time.monotonic() - self._began)

    def _row(self, part: str) -> tuple[Any, ...]:
        return _ROW.unpack_from(self._map, 1 + _ROW.size * PARTS.index(part))

    def _write(self, part: str, *row: Any) -> None:
        _ROW.pack_into(self._map, 1 + _ROW.size * PARTS.index(part), *row)


def be_worker(home: str, board_path: str) -> None:
    """Work until killed. The work is the real one; only its calls of the buffer are noted.

    Relabeling lasts from a claim to the record of what came of it, emission from a shard's begin to its publication.
    """
    board = Board(Path(board_path))
    live = Live(home, tick_seconds=0.01, batch=6, **WORK)
    buffer: Any = live.buffer

    def noted(name: str, part: str, *, begins: bool, ends: bool) -> None:
        call: Callable[..., Any] = getattr(buffer, name)

        @functools.wraps(call)
        def wrapped(*arguments: Any, **named: Any) -> Any:
            if begins and name != "claim":
                board.enter(part)
            result = call(*arguments, **named)
            if name == "claim" and result:
                board.enter(part)
            if ends:
                board.leave(part, committed=True)
            return result

        setattr(buffer, name, wrapped)

    noted("ingest", "ingest", begins=True, ends=True)
    noted("claim", "relabel", begins=True, ends=False)
    noted("record_many", "relabel", begins=False, ends=True)
    noted("begin_shard", "emit", begins=True, ends=False)
    noted("publish_shard", "emit", begins=False, ends=True)
    live.work()


@dataclass
class Lane:
    """One home, its agents, and the workers that die on it."""

    home: Path
    shop: Shop
    seed: int
    runs: int = 2  # of agents, for each worker that begins
    said: list[str] = field(default_factory=list)  # threads whose run and outcome the journal acknowledged
    hits: Counter[str] = field(default_factory=Counter)
    published: set[str] = field(default_factory=set)
    cpu_seconds: float = 0.0  # of its workers

    def __post_init__(self) -> None:
        self.board = Board(self.home.with_name(self.home.name + ".board"))

    def kills(self, count: int) -> Iterator[None]:
        """Begin and kill so many workers; each step of the iterator is a look at what goes on.

        A kill is meant for a part, and may come just after it: some more are made until an eighth has met each part.
        """
        chance = random.Random(self.seed)
        with self._agents(3 * count) as more:
            for number in range(3 * count):
                missed = [part for part in PARTS[1:] if self.hits[part] < max(1, count // 8)]
                if number >= count and not missed:
                    return
                wanted = WANTED[number % len(WANTED)] if number < count else missed[0]
                more.release(self.runs)
                before, limit = self.board.began(wanted), time.monotonic() + _PATIENCE
                worker = forking.start(be_worker, str(self.home), str(self.board.path))
                share = chance.random()
                while wanted != "elsewhere" and self.board.began(wanted) == before:
                    assert worker.is_alive(), "it was at work until it was killed"
                    assert time.monotonic() < limit, f"no worker came to {wanted}"
                    yield
                # Else it could be that each of a few workers died before anything was done.
                while wanted == "elsewhere" and not all(self.board.committed(part) for part in PARTS[1:]):
                    assert time.monotonic() < limit, "no worker got anything done"
                    yield
                due = time.monotonic() + share * (self.board.seconds(wanted) or 0.2)
                while time.monotonic() < due:
                    yield
                assert worker.pid is not None
                self.cpu_seconds += _cpu_seconds(worker.pid)
                os.kill(worker.pid, signal.SIGKILL)
                worker.join()
                assert worker.exitcode == -signal.SIGKILL, "it was at work until it was killed"
                self.hits[self.board.part] += 1
                self.board.elsewhere()
                self._look()
                yield

    def _look(self) -> None:
        """What trainers may read at this moment only grows, and holds nothing twice."""
        rows = [row.sample_id for row in read_rows(self.home / "shards")]
        assert len(rows) == len(set(rows))
        assert self.published <= set(rows)
        self.published = set(rows)

    @contextmanager
    def _agents(self, rounds: int) -> Iterator[threading.Semaphore]:
        """An agent process that goes on while workers die; each release lets it do one run more."""
        more, done = threading.Semaphore(0), threading.Event()

        def work() -> None:
            with Live(self.home, **TEMPLATE) as live:
                for number in range(self.runs * rounds):
                    more.acquire()
                    if done.is_set():
                        return
                    task = self.shop.tasks[number % len(self.shop.tasks)]
                    again = replace(task, task_id=f"{task.task_id}-{number}")
                    self.shop.work(live, [again])
                    live.feedback(thread_id=again.task_id, success=False)
                    self.said.append(again.task_id)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield more
        finally:
            done.set()
            more.release()
            thread.join()


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run_all(lanes: list[Lane], kills: int) -> None:
    """Kill workers of all lanes, in turns of this one thread."""
    share, rest = divmod(kills, len(lanes))
    going = [lane.kills(share + (index < rest)) for index, lane in enumerate(lanes)]
    try:
        while going:
            for one in list(going):
                if next(one, going) is going:
                    going.remove(one)
            time.sleep(0.001)
    finally:
        for one in going:
            one.close()
