"""Ticks by the clock, whatever the clock does; and the host's own schedulers beside it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from apscheduler.schedulers.background import BackgroundScheduler

from agenther_live import Live
from agenther_live.scheduler.clockwork import _Every
from tests.whole import until


def test_a_clock_that_is_set_back_does_not_stop_the_worker_nor_is_the_host_silenced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Live(tmp_path, tick_seconds=0.05) as live:
        assert live.start()
        until(lambda: live.home.last_tick.exists())
        assert live._scheduler is not None
        [job] = live._scheduler.get_jobs()
        job.modify(next_run_time=datetime.now(UTC) + timedelta(hours=1))  # as it stands when the clock goes back
        before = live.home.last_tick.stat().st_mtime_ns
        until(lambda: live.home.last_tick.stat().st_mtime_ns > before)
        own = BackgroundScheduler(timezone=UTC)
        own.add_job(lambda: 1 / 0)
        own.start()
        until(lambda: "ZeroDivisionError" in caplog.text)
        own.shutdown()
    assert "maximum number of running instances" not in caplog.text


def test_times_that_were_missed_are_not_reckoned_one_by_one() -> None:
    """A machine without a clock of its own begins in 1970."""
    now = datetime.now(UTC)
    assert _Every(timedelta(seconds=1)).get_next_fire_time(datetime(1970, 1, 1, tzinfo=UTC), now) == now + timedelta(
        seconds=1
    )
