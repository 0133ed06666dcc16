from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import stat
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agenther_live.errors import HomeError, JournalError
from agenther_live.journal import Reader, Writer
from tests import forking
from tests.journal import processes
from tests.journal.records import Records, read_all, roots, run, segments
from tests.journal.volumes import small_volume


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home" / "journal"


@pytest.fixture
def writer(folder: Path) -> Iterator[Writer]:
    writer = Writer(folder, flush_seconds=0.02)
    yield writer
    writer.close()


def counters(folder: Path) -> Counter[str]:
    total: Counter[str] = Counter()
    for record in read_all(folder).loose:
        if record["k"] == "counters":
            total.update(record["counts"])
    return total


def until(true: Any, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.005)


def test_records_are_in_the_file_on_return_and_private(writer: Writer, folder: Path) -> None:
    assert not folder.exists()
    records = run("r1")
    writer.append(records)
    batch = read_all(folder)
    assert [facts.records for facts in batch.runs] == [records]
    assert batch.runs[0].ended
    [path] = segments(folder)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(folder.parent.stat().st_mode) == 0o700


def test_many_threads_keep_every_record_and_each_run_in_order(writer: Writer, folder: Path) -> None:
    def work(name: int) -> None:
        for i in range(200):
            writer.append(run(f"{name}-{i}", 4))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    batch = read_all(folder)
    assert sorted(roots(batch)) == sorted(f"{a}-{b}" for a in range(6) for b in range(200))
    assert all([r.get("i") for r in facts.records] == [None, 0, 1, 2, 3, None] for facts in batch.runs)
    assert not batch.damage


def test_facts_of_open_runs_arrive_by_the_timer_and_stay_in_order(writer: Writer, folder: Path) -> None:
    """The run ends at a random moment of the timer's work; its facts must never come behind its end."""
    lock, noted, is_open = threading.Lock(), [], threading.Event()

    def take() -> Records:
        with lock:
            taken, noted[:] = noted[:], []
        return taken

    writer.register(lambda: take() if is_open.is_set() else None)
    for i in range(60):
        records = run(f"r{i}", 30)
        is_open.set()
        writer.wake()
        for record in records[:-1]:
            with lock:
                noted.append(record)
            time.sleep(0.0005)
        writer.append([*take(), records[-1]])
        is_open.clear()
    batch = read_all(folder)
    assert len(batch.runs) == 60
    assert not batch.loose
    assert all([r.get("i") for r in facts.records] == [None, *range(30), None] for facts in batch.runs)
    assert len({facts.records[0]["r"] for facts in batch.runs}) == 60


def test_open_facts_reach_the_file_without_an_end(writer: Writer, folder: Path) -> None:
    facts = [run("r", end=False)]
    writer.register(lambda: facts.pop() if facts else [])
    reader = Reader(folder)
    until(lambda: reader.read({}).open_runs == 1)


def test_the_first_record_after_idling_is_written_and_wakes_the_timer(folder: Path) -> None:
    writer = Writer(folder, flush_seconds=0.01, idle_seconds=0.05)
    noted: Records = []
    writer.register(lambda: [noted.pop()] if noted else None)
    for i in range(3):
        writer.append(run(f"a{i}"))
        until(lambda: writer._thread is None)  # the timer ends, the segment is sealed
        assert not writer._appender.is_open
        noted.append({"k": "note", "i": i})
        writer.wake()
        until(lambda: not noted)
    writer.close()
    batch = read_all(folder)
    assert roots(batch) == ["a0", "a1", "a2"]
    assert [record["i"] for record in batch.loose if record["k"] == "note"] == [0, 1, 2]


def test_segments_rotate(folder: Path) -> None:
    writer = Writer(folder, segment_bytes=2000)
    for i in range(20):
        writer.append(run(f"r{i}", text="y" * 100))
    assert len(segments(folder)) > 5
    assert roots(read_all(folder)) == [f"r{i}" for i in range(20)]
    writer.close()


def test_counters_are_written_as_increments(writer: Writer, folder: Path) -> None:
    writer.count("a")
    writer.count("b", 4)
    writer.close()
    writer.count("a", 2)
    writer.close()
    assert counters(folder) == {"a": 3, "b": 4}


def test_close_writes_what_is_open_and_append_goes_on_after_it(writer: Writer, folder: Path) -> None:
    facts = [run("open", end=False)]
    writer.register(lambda: facts.pop() if facts else None)
    writer.close()
    writer.close()
    writer.append(run("later"))
    batch = read_all(folder)
    assert roots(batch) == ["later"]  # while a segment of this writer is open, its runs may still go on
    assert batch.open_runs == 1
    writer.close()
    batch = read_all(folder)
    assert [(facts.root_key, facts.orphaned) for facts in batch.runs] == [("later", False), ("open", True)]


def test_on_flush_is_told_and_its_errors_stay_inside(folder: Path) -> None:
    calls = []

    def on_flush() -> None:
        calls.append(1)
        raise RuntimeError("mine")

    writer = Writer(folder, on_flush=on_flush)
    writer.append(run("a"))
    writer.append(run("b"))
    writer.close()
    assert len(calls) == 2
    assert counters(folder)["journal_errors"] == 2


def test_a_drain_that_raises_is_counted(writer: Writer, folder: Path) -> None:
    def drain() -> Records:
        raise ValueError("mine")

    writer.register(drain)
    writer.append(run("a"))
    writer.close()
    assert counters(folder)["drain_errors"] >= 1
    assert roots(read_all(folder)) == ["a"]


# ---------------------------------------------------------------------- volumes that refuse


def test_an_unwritable_folder_is_said_once_counted_and_bounded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    writer = Writer(tmp_path / "file" / "journal", max_queue_bytes=10_000, flush_seconds=0.01)
    with caplog.at_level(logging.WARNING):
        for i in range(200):
            writer.append(run(f"r{i}", text="z" * 200))
    assert len(caplog.records) == 1
    assert "journal" in caplog.text
    assert 0 < writer._queue.size <= 10_000
    assert writer._counts.count(("dropped_runs", 1)) > 150
    (tmp_path / "file").unlink()  # mended: what was kept arrives, whole runs only
    until(lambda: writer._queue.size == 0)
    writer.close()
    batch = read_all(tmp_path / "file" / "journal")
    assert 5 < len(batch.runs) < 50
    assert all(len(facts.records) == 5 for facts in batch.runs)
    assert counters(tmp_path / "file" / "journal")["dropped_runs"] == 200 - len(batch.runs)


def test_strict_raises(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError, match="cannot be written"):
        Writer(tmp_path / "file" / "journal", strict=True)
    writer = Writer(tmp_path / "journal", strict=True, segment_bytes=1)
    (tmp_path / "journal").rename(tmp_path / "gone")
    (tmp_path / "journal").write_text("")
    writer.append(run("a"))  # rotation fails, the last segment still takes it
    for path in (tmp_path / "gone").iterdir():
        path.unlink()
    with pytest.raises(HomeError):
        writer.append(run("b"))
    (tmp_path / "journal").unlink()
    time.sleep(0.25)
    writer.append(run("c"))
    writer.close()
    assert roots(read_all(tmp_path / "journal")) == ["b", "c"]


def test_a_full_disk_keeps_what_it_took_and_drops_whole_runs() -> None:
    with small_volume("256k") as volume:
        folder = volume / "journal"
        writer = Writer(folder, max_queue_bytes=50_000, flush_seconds=0.02)
        ballast = volume / "ballast"
        ballast.write_bytes(b"b" * 150_000)
        for i in range(100):  # each about 3.5 KB: some fit the disk, some the memory, the rest is dropped
            records = run(f"r{i}", 10, text="q" * 300)
            writer.append(records[:5])
            writer.append(records[5:])
        torn = segments(folder)[-1].read_bytes()
        assert torn.endswith(b"\n")
        reader, cursors = Reader(folder), {}
        early = reader.read(cursors)
        cursors = early.cursors
        assert len(early.runs) > 5
        assert not early.damage
        ballast.unlink()
        writer.append(run("after", 10))
        until(lambda: writer._queue.size == 0)
        late = reader.read(cursors)
        writer.close()
        everything = read_all(folder)
        assert roots(everything) == roots(early) + roots(late)
        assert roots(late)[-1] == "after"
        assert not everything.damage
        assert all(len(facts.records) == 12 for facts in everything.runs)
        names = roots(everything)[:-1]
        assert names == [f"r{i}" for i in range(len(names))]  # the newest were dropped
        assert counters(folder)["dropped_runs"] == 100 - len(names)
        assert everything.open_runs == 0


def test_a_short_write_is_cut_back_to_the_last_whole_line(folder: Path) -> None:
    process = forking.start(processes.write_under_a_file_size_limit, folder)
    process.join(30)
    assert process.exitcode == 0
    batch = read_all(folder)
    assert roots(batch) == [f"r{i}" for i in range(10)]
    assert all(len(facts.records) == 10 for facts in batch.runs)
    assert not batch.damage


def test_a_folder_deleted_under_the_writer_is_made_again(writer: Writer, folder: Path) -> None:
    writer.append(run("a"))
    for path in segments(folder):
        path.unlink()
    folder.rmdir()
    writer.append(run("b"))
    assert roots(read_all(folder)) == ["b"]
    writer.close()
    assert counters(folder)["segments_vanished"] == 1


# ---------------------------------------------------------------------- callers that must not wait


def test_a_volume_that_hangs_costs_a_bounded_wait_and_bounded_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(folder, flush_seconds=0.02, max_queue_bytes=20_000)
    writer.append(run("before"))
    hangs, real = threading.Event(), os.fstat

    def fstat(fd: int) -> os.stat_result:
        if writer._appender._file is not None and fd == writer._appender._file.fileno():
            hangs.wait(20)
        return real(fd)

    monkeypatch.setattr(os, "fstat", fstat)
    stuck = threading.Thread(target=writer.append, args=(run("stuck"),))
    stuck.start()
    started = time.monotonic()
    writer.append(run("waits"))
    first = time.monotonic() - started
    started = time.monotonic()
    for i in range(200):
        writer.append(run(f"r{i}", text="h" * 300))
    rest = time.monotonic() - started
    assert first < 1.5
    assert rest < 0.5  # nobody waits for a write that is known to hang
    assert writer._queue.size <= 20_000
    hangs.set()
    stuck.join()
    until(lambda: writer._queue.size == 0)
    writer.append(run("after"))
    writer.close()
    names = roots(read_all(folder))
    assert names[:3] == ["before", "stuck", "waits"]
    assert names[-1] == "after"
    counts = counters(folder)
    assert counts["dropped_runs"] == 204 - len(names)
    assert counts["journal_handovers"] == 1


def test_a_slow_volume_is_left_to_the_timer_until_it_is_healthy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agenther_live.journal.writer._HEALTHY_SECONDS", 0.3)
    writer = Writer(folder, flush_seconds=0.02)
    real, slow = os.fstat, [True]

    def fstat(fd: int) -> os.stat_result:
        if slow and writer._appender._file is not None and fd == writer._appender._file.fileno():
            slow.clear()
            time.sleep(0.6)
        return real(fd)

    monkeypatch.setattr(os, "fstat", fstat)
    writer.append(run("a"))
    assert writer._by_timer
    started = time.monotonic()
    writer.append(run("b"))
    assert time.monotonic() - started < 0.3
    assert roots(read_all(folder)) == ["a", "b"]  # the wait was for the write
    time.sleep(0.4)
    writer.append(run("c"))
    assert not writer._by_timer
    writer.close()
    assert roots(read_all(folder)) == ["a", "b", "c"]


def test_an_event_loop_that_forbids_blocking_calls_gets_its_records_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `langgraph dev` does: these calls raise on a thread whose event loop runs."""

    class BlockingError(Exception):
        pass

    def guard(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def guarded(*args: Any, **kwargs: Any) -> Any:
            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop()
                raise BlockingError(name)
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, guarded)

    for owner, name in ((os, "write"), (os, "mkdir"), (os, "stat"), (os, "unlink"), (os, "rename"), (time, "sleep")):
        guard(owner, name)
    guard(threading.Event, "wait")
    writer = Writer(folder, flush_seconds=0.02)

    async def agent(i: int) -> None:
        await asyncio.sleep(0)
        writer.append(run(f"r{i}"))

    async def agents() -> None:
        await asyncio.gather(*(agent(i) for i in range(50)))

    asyncio.run(agents())
    until(lambda: writer._queue.size == 0)
    assert sorted(roots(read_all(folder))) == sorted(f"r{i}" for i in range(50))
    writer.close()


def test_a_run_ended_by_the_garbage_collector_inside_a_write_does_not_deadlock(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(folder, flush_seconds=0.02)

    class Abandoned:
        def __init__(self, name: str) -> None:
            self.name, self.itself = name, self

        def __del__(self) -> None:
            writer.append(run(self.name))
            writer.count("abandoned")
            writer.wake()

    real = os.fstat

    def fstat(fd: int) -> os.stat_result:
        gc.collect()  # the worst moment: the file's lock is held
        return real(fd)

    monkeypatch.setattr(os, "fstat", fstat)
    gc.freeze()  # so that a collection is quick: it looks at what this test makes only
    try:
        for i in range(5):
            Abandoned(f"gone{i}")
            writer.append(run(f"r{i}"))
    finally:
        gc.unfreeze()
    monkeypatch.undo()
    writer.close()
    names = roots(read_all(folder))
    assert sorted(names) == sorted([f"gone{i}" for i in range(5)] + [f"r{i}" for i in range(5)])


def test_an_interrupt_inside_a_write_neither_loses_nor_doubles(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer(folder, flush_seconds=60)
    writer.append(run("a"))
    file = writer._appender._file
    assert file is not None
    real, fd = os.fstat, file.fileno()
    calls: list[int] = []

    def fstat(number: int) -> os.stat_result:
        if number == fd:
            calls.append(number)
            if len(calls) == 1:  # the lines are taken, nothing is written
                raise KeyboardInterrupt
        return real(number)

    monkeypatch.setattr(os, "fstat", fstat)
    with pytest.raises(KeyboardInterrupt):
        writer.append(run("b"))
    monkeypatch.undo()
    writer.append(run("c"))
    writer.close()
    assert roots(read_all(folder)) == ["a", "b", "c"]


def test_errors_of_the_volume_name_what_happened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer(tmp_path / "j", strict=True)
    real = os.fstat

    def fstat(fd: int) -> os.stat_result:
        if writer._appender._file is not None and fd == writer._appender._file.fileno():
            raise OSError(errno.EIO, "Input/output error")
        return real(fd)

    monkeypatch.setattr(os, "fstat", fstat)
    with pytest.raises(JournalError, match="Input/output error"):
        writer.append(run("a"))
    monkeypatch.undo()
    time.sleep(0.25)
    writer.append(run("b"))
    writer.close()
    assert roots(read_all(tmp_path / "j")) == ["a", "b"]
