"""Processes that die, fork and stop, for real."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agenther_live.journal import Reader
from agenther_live.journal.segments import is_locked
from tests import forking
from tests.journal import processes
from tests.journal.records import read_all, roots, segments

MANY = int(os.environ.get("AGENTHER_TEST_KILLS", "200"))


@pytest.mark.parametrize("kills", [20, pytest.param(MANY, marks=[pytest.mark.faults, pytest.mark.timeout(600)])])
def test_sigkill_loses_nothing_that_was_acknowledged(tmp_path: Path, kills: int) -> None:
    listens, says = forking.pipe()
    process = forking.start(processes.fork_and_kill_writers, tmp_path / "j", kills, says)
    assert listens.poll(60 + kills)
    acknowledged = listens.recv()
    process.join(10)
    reader = Reader(tmp_path / "j")
    batch = reader.read({}, limit_bytes=1 << 30)
    ended = [facts for facts in batch.runs if facts.ended]
    names = [facts.root_key for facts in ended]
    assert len(acknowledged) >= kills
    assert set(acknowledged) <= set(names)
    assert len(names) == len(set(names))
    assert all(len(facts.records) == 22 for facts in ended if facts.root_key[0].isdigit())
    assert {"parent", "parent-after"} <= set(names)
    orphans = [facts for facts in batch.runs if facts.orphaned and facts.root_key.endswith("-open")]
    assert len(orphans) >= kills / 2  # those whose process lived for a flush
    assert all(len(facts.records) == 3 for facts in orphans)
    assert set(batch.damage) <= {"torn_tails"}
    assert reader.collect(batch.cursors) >= kills
    assert segments(tmp_path / "j") == []


def test_fork_gives_a_child_its_own_segment_and_keeps_no_dead_owner_alive(tmp_path: Path) -> None:
    listens, says = forking.pipe()
    process = forking.start(processes.fork_with_an_open_run, tmp_path / "j", says)
    said = {}
    for _ in range(3):
        assert listens.poll(30)
        name, pid, writer = listens.recv()
        said[name] = (pid, writer)
    idle = said["idle"][0]
    try:
        assert len({writer for _, writer in said.values()}) == 3
        files = segments(tmp_path / "j")
        assert len(files) == 2  # the idle child made none
        [parents] = [path for path in files if path.name.startswith(said["parent"][1])]
        assert is_locked(parents)  # although the child that shared it has gone
        reader = Reader(tmp_path / "j")
        batch = reader.read({})
        assert roots(batch) == ["child"]
        assert batch.open_runs == 1
        assert [record["counts"] for record in batch.loose] == [{"in_child": 1}]
        process.kill()
        process.join()
        os.kill(idle, 0)  # the child lives on, and yet:
        assert not is_locked(parents)
        batch = reader.read(batch.cursors)
        assert [(facts.root_key, facts.orphaned) for facts in batch.runs] == [("parent-open", True)]
    finally:
        os.kill(idle, signal.SIGKILL)
        process.kill()


def test_liveness_is_the_lock(tmp_path: Path) -> None:
    listens, says = forking.pipe()
    process = forking.start(processes.hold_open_run, tmp_path / "j", says)
    assert listens.poll(30)
    reader = Reader(tmp_path / "j")
    assert process.pid is not None
    try:
        os.kill(process.pid, signal.SIGSTOP)
        batch = reader.read({})
        assert batch.open_runs == 1
        process.kill()
        process.join()
        batch = reader.read(batch.cursors)
        assert [facts.orphaned for facts in batch.runs] == [True]
    finally:
        process.kill()


def test_reading_while_many_processes_write(tmp_path: Path) -> None:
    writers = [forking.start(processes.write_runs, tmp_path / "j", str(i), 300) for i in range(3)]
    reader = Reader(tmp_path / "j")
    batch = reader.read({})
    names = roots(batch)
    while True:
        running = any(process.is_alive() for process in writers)
        batch = reader.read(batch.cursors)
        names += roots(batch)
        assert not batch.damage
        assert not [facts for facts in batch.runs if facts.orphaned]
        reader.collect(batch.cursors)
        if not running:
            break
    assert sorted(names) == sorted(f"{a}-{b}" for a in range(3) for b in range(300))
    assert segments(tmp_path / "j") == []


EXITING = """
import sys, threading, time
from pathlib import Path
from agenther_live.journal import Writer
from tests.journal.records import run
writer = Writer(Path(sys.argv[1]), flush_seconds=60)
noted = run("open", end=False)
writer.register(lambda: [noted.pop(0) for _ in range(len(noted))])
time.sleep(0.05)
noted += [{"k": "f", "r": "open", "late": True}]
writer.count("left")
threading.Thread(target=lambda: (time.sleep(0.2), writer.append(run("from-a-thread")))).start()
match sys.argv[2]:
    case "exit":
        sys.exit(3)
    case "raise":
        raise KeyboardInterrupt
"""


def test_interpreter_exit_writes_what_is_pending(tmp_path: Path) -> None:
    ways = ("return", "exit", "raise")
    running = [
        subprocess.Popen([sys.executable, "-c", EXITING, str(tmp_path / how), how], stderr=subprocess.DEVNULL)
        for how in ways
    ]
    assert [process.wait(60) for process in running] == [0, 3, -signal.SIGINT]
    for how in ways:
        batch = read_all(tmp_path / how)
        assert [(facts.root_key, len(facts.records), facts.orphaned) for facts in batch.runs] == [
            ("from-a-thread", 5, False),
            ("open", 5, True),
        ]
        assert batch.loose[0]["counts"] == {"left": 1}
