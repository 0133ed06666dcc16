"""A clock that jumps, a WAL that was cut, and containers that are all pid 1."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from agenther_live import Live
from agenther_live.clock import utcnow
from agenther_live.doctor import examine, unwell
from agenther_live.journal import Reader
from agenther_live.scheduler import asking, emission, intake, notes, records, ticking
from agenther_live.shards.reading.stream import read_rows
from tests.faults.kit import WORK, journal_runs, trajectories
from tests.whole import AGENTHER, failed_orders, until

pytestmark = pytest.mark.faults
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("days", [400, -400])
def test_a_clock_that_jumps_loses_nothing_and_settles_what_waited(
    home: Path, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """The worker's clock; that of retention alone, at more dates, is in tests/test_retention.py."""
    goods = failed_orders(4)
    with Live(home, evaluators=[goods.judge], **WORK) as live:
        goods.work(live, goods.tasks[:2])
        live.tick()
        with monkeypatch.context() as jumped:
            for module in (asking, emission, intake, notes, records, ticking):
                jumped.setattr(module, "utcnow", lambda: utcnow() + timedelta(days=days))
            goods.work(live, goods.tasks[2:])
            for _ in range(3):
                (home / "upkeep.json").unlink(missing_ok=True)
                live.tick()
        live.run_until_idle()
        status = live.status()
        assert status["captured"] == status["failed"] == 4
        assert status["accepted"] + status["rejected"] == 4
        assert status["forgotten"] == 0
        rows = [row.sample_id for row in read_rows(live.home.shards)]
        assert len(rows) == len(set(rows)) == status["accepted"]
        assert live.check_shards().bad == []


@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_a_cut_wal_is_made_up_for_by_the_journal(home: Path, share: float) -> None:
    """The file opens without a word, older than it was; what is missing is in the journal, and comes in again."""
    live = Live(home, **WORK)
    names = [f"r{n}" for n in range(12)]
    journal_runs(live, names)
    live._writer.close()
    shutil.copytree(home, home.with_name("killed"))
    reader = Reader(live.home.journal)
    with live.buffer.hold():
        cursors = live.buffer.cursors()
        while (found := reader.read(cursors, limit_bytes=2000)).more or found.runs:
            live.buffer.ingest(found, now=datetime(2026, 3, 2))  # noqa: DTZ001
            cursors = found.cursors
        for name in ("buffer.duckdb", "buffer.duckdb.wal"):
            shutil.copyfile(home / name, home.with_name("killed") / name)
    wal = home.with_name("killed") / "buffer.duckdb.wal"
    os.truncate(wal, int(wal.stat().st_size * share))
    with Live(home.with_name("killed"), **WORK) as after:
        assert not unwell(examine(after.home, after.settings, after.buffer, now=utcnow()))
        before = trajectories(after)
        assert before < set(names)
        after.run_until_idle()
        assert trajectories(after) == set(names)
        said = after.buffer.sql("SELECT count(*), count(DISTINCT trajectory_id) FROM feedback").fetchall()
        assert said == [(len(names), len(names))]


IN_A_CONTAINER = """
import os, sys, time
from pathlib import Path
from agenther_live import Live
from tests.buffer.journal_facts import run
assert os.getpid() == 1, os.getpid()
home, name, role = sys.argv[1:]
live = Live(home)
live._writer.append(run(name).records)
live._writer.append(run(name + "-open").records[:2])
with live.home.held_by_worker() if role == "worker" else open(os.devnull):
    print("ready", flush=True)
    time.sleep(600)
"""


def test_two_containers_that_are_both_pid_1_are_told_apart(home: Path) -> None:
    allowed = subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True, check=False)
    if allowed.returncode:
        pytest.skip(f"no pid namespace can be made here: {allowed.stderr.decode().strip()}")
    command = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", IN_A_CONTAINER, str(home)]
    children = [
        subprocess.Popen([*command, name, role], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for name, role in (("a", "worker"), ("b", "agent"))
    ]
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        reader = Reader(home / "journal")
        found = reader.read({})
        assert sorted(one.root_key for one in found.runs) == ["a", "b"]
        assert found.open_runs == 2
        refused = subprocess.run(
            [*command[:4], str(AGENTHER), "tick", "--home", str(home)],
            capture_output=True, text=True, cwd=ROOT, check=False,
        )  # fmt: skip
        assert "has a worker already (pid 1)" in refused.stderr
        children[1].kill()
        children[1].wait()
        seen: list[tuple[str, bool]] = []

        def gone() -> bool:
            nonlocal found
            found = reader.read(found.cursors)
            seen.extend((one.root_key, one.orphaned) for one in found.runs)
            return bool(seen)

        until(gone)
        assert (seen, found.open_runs) == ([("b-open", True)], 1), "the other pid 1 lives"
        children[0].kill()
        children[0].wait()
    finally:
        for child in children:
            child.kill()
            child.communicate()
    with Live(home, **WORK) as live:
        live.run_until_idle()
        found_ids = trajectories(live)
    assert found_ids == {"a", "b", "a-open", "b-open"}
