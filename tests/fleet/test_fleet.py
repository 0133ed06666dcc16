"""Many agents and workers around one PostgreSQL, some killed at random: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from agenther_live import Live
from agenther_live.shards.files.manifest import Manifest
from tests import forking
from tests.fleet import pods
from tests.postgresql import Server
from tests.whole import until

IDLE = """
SELECT (SELECT count(*) FROM store.state WHERE needs_settle OR merged_into IS NULL AND (
          stage IN ('waiting', 'queued') OR needs_sample OR (stage = 'errored' AND retry_at IS NOT NULL)))
     + (SELECT count(*) FROM store.sample_state WHERE state = 'pending')
     + (SELECT count(*) FROM store.shards WHERE state = 'writing')
"""


@dataclass
class Fleet:
    """Two pods with agents and a worker each, and two workers that relabel and publish into one folder."""

    folder: Path
    server: Server
    url: str
    seed: int
    running: dict[str, tuple[BaseProcess, Callable[..., None], tuple[Any, ...]]] = field(default_factory=dict)
    killed: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.notes = self.folder / "notes"
        self.shards = self.folder / "shards"
        for path in (self.notes, self.shards):
            path.mkdir()

    def home(self, name: str) -> Path:
        path = self.folder / name
        if not path.exists():
            path.mkdir()
            (path / "shards").symlink_to(self.shards)
        return path

    def start(self, name: str, what: Callable[..., None], *arguments: Any) -> None:
        self.running[name] = forking.start(what, *arguments), what, arguments

    def start_worker(self, name: str, *only: str, **settings: Any) -> None:
        self.start(name, pods.worker, str(self.home(name)), self.url, only, settings)

    def kill(self, name: str) -> None:
        process, what, arguments = self.running.pop(name)
        if process.is_alive():
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            self.killed["worker" if what is pods.worker else "agents"] += 1
            process.join()
            if what is pods.worker:
                (self.folder / name / "worker.json").unlink(missing_ok=True)
                self.start(name, what, *arguments)

    def leave(self, name: str) -> None:
        """Ask a worker to leave, and wait until it did."""
        until(lambda: (self.folder / name / "worker.json").exists(), seconds=60)  # it ticks
        process = self.running.pop(name)[0]
        process.terminate()
        process.join(60)
        assert process.exitcode == 0, (self.folder / name / "worker.log").read_text()

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        return self.server.ask(self.url, query)

    def acknowledged(self) -> list[list[str]]:
        return [line.split() for line in (self.notes / "acknowledged").read_text().splitlines()]

    def close(self) -> None:
        for process, _, _ in self.running.values():
            process.kill()
            process.join()


@pytest.fixture
def fleet(tmp_path: Path, postgresql: Server, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    url = postgresql.new()
    made = Fleet(tmp_path, postgresql, url, seed=getattr(request, "param", 0))
    try:
        yield made
    finally:
        made.close()
        postgresql.drop(url)


def work_and_kill(fleet: Fleet, *, processes: int, runs: int, kills: int, pause: float) -> None:
    for name in ("pod-0", "pod-1"):
        fleet.start_worker(name, "ingest")
    for name in ("central-0", "central-1"):
        fleet.start_worker(name, "relabel", "emit")
    workers = list(fleet.running)
    for index in range(processes):
        home = str(fleet.home(f"pod-{index % 2}"))
        fleet.start(f"agents-{index}", pods.agents, home, str(fleet.notes), f"a{index}", runs, pause)
    spawned = processes
    for _ in range(kills):
        time.sleep(fleet.chance.uniform(0.05, 0.4))
        name = fleet.chance.choice([*workers, *(one for one in fleet.running if one.startswith("agents"))])
        again = name.startswith("agents") and fleet.running[name][0].is_alive()
        fleet.kill(name)
        if again:  # a new process in its place, with work of its own
            home = fleet.folder / f"pod-{spawned % 2}"
            fleet.start(f"agents-{spawned}", pods.agents, str(home), str(fleet.notes), f"a{spawned}", runs, pause)
            spawned += 1
    for name, (process, what, _) in list(fleet.running.items()):
        if what is pods.agents:
            process.join(60)
            assert process.exitcode == 0
            del fleet.running[name]
    for name in ("pod-0", "pod-1"):  # they read their journals to the end before they leave
        fleet.leave(name)
    until(lambda: fleet.ask(IDLE) == [(0,)], seconds=60)
    for name in ("central-0", "central-1"):
        fleet.leave(name)


def nothing_is_lost(fleet: Fleet) -> None:
    told = fleet.acknowledged()
    said = {thread: kind for kind, thread in told if kind != "resumed"}
    resumed = {thread for kind, thread in told if kind == "resumed"}
    rows = fleet.ask(
        "SELECT t.thread_id, s.status, s.outcome, s.stage, t.n_runs FROM store.state AS s JOIN store.trajectories AS t "
        "ON t.trajectory_id = s.trajectory_id AND t.revision = s.revision WHERE s.merged_into IS NULL"
    )
    found = {row[0]: row[1:] for row in rows}
    assert len(found) == len(rows), "one trajectory a thread"
    assert said.keys() | resumed <= found.keys()
    for thread, kind in said.items():
        status, outcome, stage, n_runs = found[thread]
        if thread in resumed:
            assert (status, n_runs) == ("finished", 2), (thread, found[thread])
        elif kind == "failed" and outcome == "failure":
            assert stage in ("relabeled", "rejected"), (thread, found[thread])
        elif kind == "succeeded":  # feedback is a record of its own: a kill may come between the run and it
            assert (status, outcome) == ("finished", "success"), (thread, found[thread])
    assert {kind for kind, _ in told} == {"failed", "succeeded", "waits", "resumed"}


def nothing_is_done_twice(fleet: Fleet) -> None:
    twice = fleet.ask(
        "SELECT trajectory_id, count(*) FROM store.relabelings WHERE stage <> 'errored' "
        "GROUP BY trajectory_id, revision, outcome_rev HAVING count(*) > 1"
    )
    assert twice == []
    assert fleet.ask("SELECT count(*) FROM store.relabelings")[0][0] > 0
    entries = Manifest(fleet.shards).entries()
    assert [entry.seq for entry in entries] == sorted({entry.seq for entry in entries})
    emitted: Counter[tuple[str, str]] = Counter()
    for entry in entries:
        if not isinstance(getattr(entry, "path", None), str) or not entry.path.endswith(".jsonl"):
            continue
        for line in (fleet.shards / entry.path).read_text().splitlines():
            emitted[entry.format, row_id(json.loads(line))] += 1
    assert emitted
    assert set(emitted.values()) == {1}
    states = fleet.ask("SELECT state, count(*) FROM store.sample_state GROUP BY state")
    assert {state for state, _ in states} <= {"emitted", "withdrawn", "retracted"}
    with Live(fleet.home("pod-0"), buffer=fleet.url) as live:
        assert live.check_shards().bad == []


def row_id(row: dict[str, Any]) -> str:
    meta = row.get("agenther") or row.get("metadata") or row
    return str(meta.get("sample_id") or row["id"])


@pytest.mark.slow
def test_kills_among_eight_processes_and_four_workers_lose_and_double_nothing(fleet: Fleet) -> None:
    work_and_kill(fleet, processes=8, runs=6, kills=6, pause=0.1)
    assert fleet.killed["worker"]
    nothing_is_lost(fleet)
    nothing_is_done_twice(fleet)


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fleet", range(2), indirect=True)
def test_many_kills_lose_and_double_nothing(fleet: Fleet) -> None:
    work_and_kill(fleet, processes=8, runs=40, kills=60, pause=0.3)
    nothing_is_lost(fleet)
    nothing_is_done_twice(fleet)


@pytest.mark.parametrize("first", ["asks", "answers"])
def test_a_resume_in_another_pod_joins_in_either_order(fleet: Fleet, first: str) -> None:
    """The second pod's worker begins only after the first one's has left."""
    asks, answers = fleet.home("asks"), fleet.home("answers")
    fleet.start("one", pods.one_run, str(asks), {"thread": "t", "status": "interrupted", "waits_at": "c"})
    fleet.start("two", pods.one_run, str(answers), {"thread": "t", "resumes": "c", "start": 60.0, "goal": ""})
    for name in ("one", "two"):
        fleet.running.pop(name)[0].join()
    for name in (first, "answers" if first == "asks" else "asks"):
        fleet.start_worker(name, "ingest")
        fleet.leave(name)
    shown = "SELECT t.status, t.n_runs FROM trajectories AS t"
    assert fleet.ask(shown) == [("finished", 2)]
    assert [*(asks / "journal").iterdir(), *(answers / "journal").iterdir()] == []
