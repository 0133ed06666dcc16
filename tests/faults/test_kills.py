"""kill -9 of the worker in ingest, relabeling, emission and elsewhere: nothing is lost, doubled or torn."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest

from agenther_live import Live
from agenther_live.clock import utcnow
from agenther_live.doctor import examine, unwell
from agenther_live.shards.reading.stream import read_rows
from tests.faults.kills import Lane, run_all
from tests.faults.kit import WORK
from tests.whole import failed_orders

KILLS = int(os.environ.get("AGENTHER_TEST_KILLS", "200"))


def kill_workers(homes: list[Path], kills: int) -> None:
    lanes = [Lane(home, failed_orders(12), seed) for seed, home in enumerate(homes)]
    run_all(lanes, kills)
    hits = sum((lane.hits for lane in lanes), Counter[str]())
    spent = sum(lane.cpu_seconds for lane in lanes)
    sys.stdout.write(f"{kills} kills: {dict(hits)}; {spent:.0f} s CPU of those who were killed\n")
    assert hits.total() >= kills
    for part in ("ingest", "relabel", "emit"):
        assert hits[part] >= max(1, kills // 8), hits
        assert all(lane.board.committed(part) for lane in lanes), f"{part}: killed workers had committed something"
    for lane in lanes:
        nothing_is_wrong(lane)


def nothing_is_wrong(lane: Lane) -> None:
    said = lane.said
    with Live(lane.home, **WORK) as live, live.buffer.hold():
        assert live.buffer.sql("SELECT count(*) FROM relabelings").fetchall()[0][0] > 0
        live.run_until_idle()
        status = live.status()
        assert status["captured"] == status["failed"] == len(said) > 0
        assert status["accepted"] + status["rejected"] == len(said)
        assert status["dropped"] == status["journal_lag_bytes"] == 0
        threads = live.buffer.sql("SELECT thread_id, count(*) FROM trajectories GROUP BY ALL").fetchall()
        assert sorted(threads) == sorted((thread, 1) for thread in said)
        twice = live.buffer.sql(
            "SELECT trajectory_id, outcome_rev, attempt FROM relabelings GROUP BY ALL HAVING count(*) > 1"
        )
        assert twice.fetchall() == []
        rows = [row.sample_id for row in read_rows(live.home.shards)]
        assert len(rows) == len(set(rows))
        assert lane.published <= set(rows)
        emitted = live.buffer.sql("SELECT sample_id FROM samples WHERE state = 'emitted'").fetchall()
        assert sorted(rows) == sorted(key for (key,) in emitted)
        assert live.check_shards().bad == []
        assert not live.run_until_idle().busy
    with Live(lane.home, **WORK) as live:
        assert not unwell(examine(live.home, live.settings, live.buffer, now=utcnow()))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_kill_9_of_a_worker_loses_doubles_and_tears_nothing(home: Path) -> None:
    kill_workers([home], 12)  # 8 more, with a model over HTTP, are in tests/test_worker.py


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_kill_9_of_a_worker_very_often(home: Path, tmp_path: Path) -> None:
    """On as many homes at once as there are cores to spare."""
    homes = [home, *(tmp_path / f"home-{n}" for n in range(1, min(4, len(os.sched_getaffinity(0)))))]
    for other in homes[1:]:
        shutil.copytree(home, other)
    kill_workers(homes, KILLS)
