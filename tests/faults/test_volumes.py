"""Volumes that are full, that vanish, and readers that sit on the file; each goes on where it stood."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from agenther_live import Live
from agenther_live.errors import BufferError, BufferLocked, ShardError
from agenther_live.journal import Writer
from agenther_live.shards.reading.stream import read_rows
from tests.buffer.journal_facts import run
from tests.buffer.test_files import held
from tests.faults.kit import WORK, journal_runs, trajectories, volume
from tests.whole import answering, until
from tests.whole import say as tell

pytestmark = pytest.mark.faults


def test_a_full_journal_keeps_what_it_took_and_takes_more_when_there_is_room(home: Path) -> None:
    with volume(home / "journal", 200) as small, Live(home, max_queue_bytes=300_000, **WORK) as live:
        names = [f"r{n:03}" for n in range(150)]
        agent = live.attach(answering())
        journal_runs(live, names, text="x" * 6000)
        tell(agent, thread="a real one")  # the agent never notices
        small.resize(8000)
        live._writer.close()
        live.run_until_idle()
        found = trajectories(live)
        dropped = live.status()["dropped"]
        assert dropped > 0, "else the volume was never full"
        assert names[0] in found
        assert len(found & set(names)) + dropped >= len(names)
        assert live.buffer.sql("SELECT count(*) FROM trajectories WHERE status = 'abandoned'").fetchall() == [(0,)]


def test_a_full_volume_of_the_buffer_makes_the_journal_wait(home: Path, tmp_path: Path) -> None:
    place = tmp_path / "small"
    with volume(place, 12_000) as small:
        shutil.copyfile(home / "buffer.duckdb", place / "buffer.duckdb")
        with Live(home, buffer=str(place / "buffer.duckdb"), **WORK) as live:
            live.tick()
            small.resize(max(1, (place / "buffer.duckdb").stat().st_size // 1024 + 300))
            names = [f"r{n:03}" for n in range(400)]
            journal_runs(live, names, text="".join(chr(33 + (7 * n) % 90) for n in range(4000)))
            with pytest.raises(BufferError):
                live.tick()
            small.resize(400_000)
            live.run_until_idle()
            assert trajectories(live) == set(names), "all that the journal took, once"
            assert live.status()["journal_lag_bytes"] == 0
            assert live.check_shards().bad == []


def test_a_full_volume_of_shards_publishes_later_and_once(home: Path) -> None:
    from tests.whole import failed_orders

    goods = failed_orders(6)
    with volume(home / "shards", 24) as small, Live(home, evaluators=[goods.judge], **WORK) as live:
        goods.work(live)
        with pytest.raises(ShardError):
            live.run_until_idle()
        assert live.status()["paused_reason"]
        small.resize(4000)
        live.run_until_idle()
        rows = [row.sample_id for row in read_rows(live.home.shards)]
        assert len(rows) == len(set(rows)) == live.status()["accepted"] > 0
        assert live.check_shards().bad == []


def test_a_journal_volume_that_vanishes_costs_what_was_on_it_and_no_more(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agenther_live.journal.writer._HEARTBEAT_SECONDS", 0.1)
    with volume(home / "journal", 1000) as gone:
        writer = Writer(home / "journal", flush_seconds=0.05)
        writer.append(run("with it").records)
        gone.vanish()
        until(lambda: not writer._appender.is_open)  # the heartbeat has seen that its file is nobody's
        writer.append(run("after it").records)
        writer.close()
    with Live(home, **WORK) as live:
        live.run_until_idle()
        assert trajectories(live) == {"after it"}
        assert dict(live.buffer.sql("SELECT name, n FROM counters").fetchall())["segments_vanished"] == 1


def test_a_reader_that_sits_on_the_file_only_makes_the_journal_wait(home: Path) -> None:
    with Live(home, lock_timeout_seconds=0.2, tick_seconds=0.05, **WORK) as live:
        with held(live.home.database, 600):
            assert live.start()
            journal_runs(live, ["a", "b"])
            until(lambda: "is held by process" in str(live_note(live)))
            with pytest.raises(BufferLocked):
                live.buffer.sql("SELECT 1")
            journal_runs(live, ["c"])
        until(lambda: note_is_clear(live))
        until(lambda: trajectories(live) == {"a", "b", "c"})


def live_note(live: Live) -> str:
    return live.home.last_tick.read_text() if live.home.last_tick.exists() else ""


def note_is_clear(live: Live) -> bool:
    return "is held by" not in live_note(live)
