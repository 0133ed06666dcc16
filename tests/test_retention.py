"""Retention: the oldest go by age, count and bytes, in small steps, and by a clock that cannot jump."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from agenther_live import Live, upkeep
from agenther_live.buffer.upkeep import retention
from agenther_live.erase import Place
from agenther_live.journal import Reader
from agenther_live.replies import Replies
from agenther_live.shards.reading.stream import read_rows
from agenther_live.upkeep import Upkeep
from tests.buffer.journal_facts import at, batch, feedback, run
from tests.buffer.labels_made import relabeled

DAY = 86_400.0


def rows(live: Live, query: str) -> list[tuple[Any, ...]]:
    with live.buffer.reading() as tx:
        return tx.rows(text(query))


def place(live: Live) -> Place:
    return Place(live.home, live.buffer, Reader(live.home.journal), Replies(live.home.replies))


def keep_up(live: Live, now: datetime, keeper: Upkeep | None = None) -> Upkeep:
    """One hourly turn of upkeep at this time."""
    keeper = keeper or Upkeep()
    (live.home.path / "upkeep.json").write_text(json.dumps({"at": (now - timedelta(hours=2)).isoformat()}))
    keeper.turn(place(live), now=now)
    return keeper


def ids(live: Live) -> list[str]:
    return [key for (key,) in live.buffer.sql("SELECT trajectory_id FROM trajectories ORDER BY ALL").fetchall()]


@pytest.fixture
def live(home: Path) -> Iterator[Live]:
    """A home in which a day's trajectory came in on each of ten days."""
    live = Live(home, history_days=5, held_out=0.0)
    with live.buffer.hold():
        for day in range(10):
            moment = at(day * DAY)
            live.buffer.ingest(batch([run(f"d{day}", thread=f"t{day}", start=day * DAY)], offset=day + 1), now=moment)
        live.buffer.settle(now=at(0))
        yield live


def test_the_clock_of_retention_follows_by_a_day_and_goes_back_at_once() -> None:
    assert retention.paced(at(0), None) == at(0)
    assert retention.paced(at(3600), at(0)) == at(3600)
    assert retention.paced(at(400 * DAY), at(0)) == at(DAY)
    assert retention.paced(at(-400 * DAY), at(0)) == at(-400 * DAY)


def test_what_is_too_old_goes_and_is_counted(live: Live) -> None:
    keep_up(live, at(9.5 * DAY))
    assert ids(live) == ["d5", "d6", "d7", "d8", "d9"]
    for table in ("state", "trajectories", "runs", "messages", "steps", "run_heads", "run_facts"):
        key = "root_key" if table == "run_facts" else "trajectory_id"
        assert rows(live, f"SELECT count(*) FROM store.{table} WHERE {key} < 'd5'") == [(0,)], table
    assert live.status()["forgotten"] == 5
    assert live.buffer.sql("SELECT action, trajectories FROM audit").fetchall() == [("forget", 5)]
    keep_up(live, at(9.5 * DAY))
    assert live.status()["forgotten"] == 5, "nothing goes twice"


def test_a_clock_that_jumps_takes_no_history_along(live: Live) -> None:
    keep_up(live, at(9.5 * DAY))
    keeper = keep_up(live, at(400 * DAY))
    assert ids(live) == ["d6", "d7", "d8", "d9"], "a day at most"
    keep_up(live, at(-400 * DAY), keeper)
    keep_up(live, at(9.6 * DAY), keeper)
    assert ids(live) == ["d6", "d7", "d8", "d9"]


@pytest.mark.parametrize("limit", ["history_trajectories", "history_bytes"])
def test_the_oldest_go_where_there_are_too_many_or_too_large(live: Live, limit: str) -> None:
    [(size,)] = rows(live, "SELECT sum(size) FROM store.trajectories WHERE trajectory_id > 'd6'")
    room = {"history_trajectories": 3, "history_bytes": int(size)}[limit]
    tight = Live(live.home.path, history_days=5000, held_out=0.0, **{limit: room})
    keep_up(tight, at(9.5 * DAY))
    assert ids(live) == ["d7", "d8", "d9"]


def test_what_waits_for_its_resume_or_stands_in_an_open_shard_stays(home: Path) -> None:
    live = Live(home, history_days=5, held_out=0.0)
    with live.buffer.hold():
        waiting = run("waits", thread="w", status="interrupted", waits_at="c")
        failed = [run(f"f{n}", thread=f"f{n}") for n in range(2)]
        said = [feedback(thread_id=f"f{n}", success=False) for n in range(2)]
        live.buffer.ingest(batch([waiting, *failed], said), now=at(0))
        live.buffer.settle(now=at(200))
        for claim in live.buffer.claim(10, now=at(200)):
            live.buffer.record(claim, relabeled(claim), now=at(200))
        [sample] = live.buffer.pending("trl_sft", 1)
        live.buffer.begin_shard("trl_sft", [sample.sample_id])
        with live.buffer.writing() as tx:
            done = retention.forget_some(tx, live.settings, moment=at(9 * DAY), now=at(9 * DAY), limit=100)
        assert (done.trajectories, done.more) == (1, False)
        assert ids(live) == sorted(["waits", sample.trajectory_id])


def test_rows_in_shards_stay_payloads_go_and_a_later_deletion_finds_them(home: Path) -> None:
    live = Live(home, history_days=5, held_out=0.0, shard_seconds=0, formats=["trl_sft"], interrupted_ttl_seconds=1e9)
    with live:
        runs = [run(f"f{n}", thread=f"f{n}", subject="ann") for n in range(2)]
        said = [feedback(thread_id=f"f{n}", success=False) for n in range(2)]
        live.buffer.ingest(batch(runs, said), now=at(0))
        live.buffer.settle(now=at(200))
        claims = live.buffer.claim(10, now=at(200))
        live.buffer.record_many([(claim, relabeled(claim)) for claim in claims], now=at(200))
        live.tick()
        assert len(list(read_rows(live.home.shards))) == 2
        assert len(live.buffer.sample(5)) == 2
        keep_up(live, at(9 * DAY))
        assert ids(live) == []
        assert rows(live, "SELECT count(*) FROM store.samples") == [(0,)]
        assert len(live.buffer.sample(5)) == 0, "a draw wants the payload"
        assert len(list(read_rows(live.home.shards))) == 2, "what was published stays"
        assert live.check_shards().bad == []
        live.buffer.ingest(batch(runs, said, offset=2), now=at(9 * DAY))  # an old log read once more
        live.buffer.settle(now=at(10 * DAY))
        claims = live.buffer.claim(10, now=at(10 * DAY))
        live.buffer.record_many([(claim, relabeled(claim)) for claim in claims], now=at(10 * DAY))
        live.tick()
        assert len(list(read_rows(live.home.shards))) == 2, "and is not published twice"
        keep_up(live, at(10 * DAY))
        receipt = live.delete(subject="ann", compact=False)
        assert (receipt.trajectories, len(receipt.shards)) == (2, 1)
        assert list(read_rows(live.home.shards)) == []
        assert rows(live, "SELECT count(*) FROM store.origins") == [(0,)]
        assert rows(live, "SELECT count(*) FROM store.sample_state") == [(0,)]


def test_many_go_in_steps_over_several_ticks(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live = Live(home, history_days=5, held_out=0.0)
    monkeypatch.setattr(upkeep, "TURN_SECONDS", 0.0)  # a tick has time for one step
    with live.buffer.hold():
        live.buffer.ingest(batch([run(f"r{n:03}", steps=0) for n in range(250)]), now=at(0))
        keeper = Upkeep(size=100)
        left = []
        keep_up(live, at(9 * DAY), keeper)
        while keeper.more:
            left.append(len(ids(live)))
            keeper.turn(place(live), now=at(9 * DAY))
        assert left[0] == 150
        assert left == sorted(set(left), reverse=True)
        assert ids(live) == []
        assert live.status()["forgotten"] == 250


def test_cursors_replies_and_logs_go_too(live: Live) -> None:
    live.buffer.sample(1, now=at(0))
    old = live.home.replies / "20260301T000000-1-aa.stored.jsonl"
    old.touch()
    live.buffer.ingest(batch(loose=[feedback(trajectory_id="nobody", success=True)], offset=11), now=at(0))
    assert set(live.buffer.cursors()) == {"w"}
    keep_up(live, at(9.5 * DAY))
    assert not old.exists()
    assert rows(live, "SELECT count(*) FROM store.draws") == [(0,)]
    assert rows(live, "SELECT count(*) FROM store.evidence") == [(0,)]
    assert live.buffer.cursors() == {}, "its writer has no segment any more, and was not heard of for a week"


def test_the_worker_keeps_up_by_itself(home: Path) -> None:
    with Live(home, history_trajectories=1, history_days=5000, held_out=0.0) as live:
        live.buffer.ingest(batch([run("a"), run("b", start=1)]), now=at(0))
        live.tick()
        assert len(ids(live)) == 2, "a home that has just begun has nothing old"
        (home / "upkeep.json").write_text('{"at": "2026-01-01T00:00:00"}')
        live.tick()
        assert len(ids(live)) == 1
