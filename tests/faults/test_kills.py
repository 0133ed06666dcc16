"""kill -9 of the worker at random moments of ingest, relabeling and emission: nothing is lost, doubled or torn."""

from __future__ import annotations

import functools
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from agenther_live import Live
from agenther_live.clock import utcnow
from agenther_live.doctor import examine, unwell
from agenther_live.shards.stream import read_rows
from tests import forking
from tests.faults.kit import WORK
from tests.whole import TEMPLATE, Shop, failed_orders, until

KILLS = int(os.environ.get("AGENTHER_TEST_KILLS", "200"))


def _be_worker(home: str) -> None:
    """What a killed process runs; forked from one that has imported everything already."""
    Live(home, tick_seconds=0.01, batch=3, **WORK).work()


def _has_ticked(home: Path, since: int) -> bool:
    note = home / "worker.json"
    return note.exists() and note.stat().st_mtime_ns > since


@contextmanager
def _writing(shop: Shop, live: Live, most: int) -> Iterator[list[str]]:
    """An agent process that goes on while workers die; gives the threads that it has told the outcome of."""
    said: list[str] = []
    done = threading.Event()

    def write() -> None:
        for number in range(most):
            task = shop.tasks[number % len(shop.tasks)]
            again = replace(task, task_id=f"{task.task_id}-{number}")
            shop.work(live, [again])
            live.feedback(thread_id=again.task_id, success=False)
            said.append(again.task_id)
            if done.wait(0.3):
                return

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield said
    finally:
        done.set()
        thread.join()


def _kill_workers(home: Path, kills: int, seed: int) -> None:
    goods = failed_orders(12)
    rng = random.Random(seed)
    commits, moments = 0, 0
    with Live(home, **TEMPLATE) as live, _writing(goods, live, 4 + 2 * kills) as said:
        for number in range(kills):
            worker = forking.start(_be_worker, str(home))
            since = time.time_ns()
            if number % 4:  # one in four is killed while it begins
                until(functools.partial(_has_ticked, home, since), 300)
            time.sleep(rng.uniform(0.0, 0.3))
            assert worker.pid is not None
            os.kill(worker.pid, signal.SIGKILL)
            worker.join()
            assert worker.exitcode == -signal.SIGKILL, "it was at work when it was killed"
            moments += _has_ticked(home, since)
    with Live(home, **WORK) as live:
        commits = live.buffer.sql("SELECT count(*) FROM relabelings").fetchall()[0][0]
        assert commits > 0, "killed workers had committed something"
        assert moments > kills / 2
        live.run_until_idle()
        status = live.status()
        assert status["captured"] == status["failed"] == len(said)
        assert status["accepted"] + status["rejected"] == len(said)
        assert status["dropped"] == status["journal_lag_bytes"] == 0
        threads = live.buffer.sql("SELECT thread_id, count(*) FROM trajectories GROUP BY ALL").fetchall()
        assert sorted(threads) == sorted((thread, 1) for thread in said)
        twice = live.buffer.sql(
            "SELECT trajectory_id, outcome_rev, attempt FROM relabelings GROUP BY ALL HAVING count(*) > 1"
        )
        assert twice.fetchall() == []
        rows = [row.sample_id for row in read_rows(live.home.shards)]
        assert len(rows) == len(set(rows)) > 0
        emitted = live.buffer.sql("SELECT sample_id FROM samples WHERE state = 'emitted'").fetchall()
        assert sorted(rows) == sorted(key for (key,) in emitted)
        assert live.check_shards().bad == []
        assert not live.run_until_idle().busy
        assert not unwell(examine(live.home, live.settings, live.buffer, now=utcnow()))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_kill_9_of_a_worker_loses_doubles_and_tears_nothing(home: Path) -> None:
    _kill_workers(home, 12, seed=1)  # 8 more, with a model over HTTP, are in tests/test_worker.py


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_kill_9_of_a_worker_very_often(home: Path) -> None:
    _kill_workers(home, KILLS, seed=2)
