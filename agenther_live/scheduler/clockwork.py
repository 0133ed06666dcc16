"""Ticks by the clock: APScheduler, a thread of its own, and an end at a safe point."""

from __future__ import annotations

import atexit
import logging
import os
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.executors.base import BaseExecutor, run_job
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from agenther_live.errors import AgentHERError
from agenther_live.scheduler.parts import Parts
from agenther_live.scheduler.ticking import tick

logger = logging.getLogger("agenther_live")
# Of APScheduler's own words: a skipped tick is no news, nor that one could not begin while all shuts down; what a tick
# raises is caught by us. A logger of its own, for the host's schedulers are not ours to silence.
_unsaid = logging.getLogger("agenther_live.apscheduler")
_unsaid.setLevel(logging.CRITICAL)

EXIT_SECONDS = 10.0
"""How long an interpreter that exits waits for the tick that runs to end."""


def schedule(parts: Parts) -> BackgroundScheduler:
    """Start the worker's thread: a tick every `tick_seconds`, never two at once, missed ones not made up."""
    every = timedelta(seconds=parts.settings.tick_seconds)
    background = _Steady(every, timezone=UTC, executors={"default": _Thread(parts.stop)}, logger=_unsaid)
    background.add_job(
        _tick_and_log,
        _Every(every),
        args=(parts,),
        next_run_time=datetime.now(UTC),
        coalesce=True,
        max_instances=1,
        misfire_grace_time=None,
    )
    background.start()
    return background


class _Every(BaseTrigger):  # type: ignore[misc]  # published without types
    """Fires so long after it was last looked at.

    APScheduler's own interval reckons every time that was missed: a day that the clock jumps ahead is 86,400 of them,
    and on a machine that begins in 1970 there is no memory for all.
    """

    def __init__(self, interval: timedelta) -> None:
        self._interval = interval

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> Any:
        return now + self._interval


class _Steady(BackgroundScheduler):  # type: ignore[misc]  # published without types
    """Goes on where the clock is set back: APScheduler would wait until it shows the time of the next tick again."""

    def __init__(self, every: timedelta, **options: Any) -> None:
        super().__init__(**options)
        self._every = every

    def _process_jobs(self) -> float:
        """Start what is due, and give the seconds to the next look (APScheduler's hook for schedulers of one's own)."""
        now = datetime.now(UTC)
        for job in self.get_jobs():
            if job.next_run_time - now > self._every:
                job.modify(next_run_time=now)
        wait = super()._process_jobs()
        most = self._every.total_seconds()
        return most if wait is None else min(wait, most)


class _Thread(BaseExecutor):  # type: ignore[misc]  # published without types
    """Runs jobs each in a daemon thread of its own.

    The interpreter waits for the threads of a pool before it runs anybody's exit handlers, model calls and all; here a
    handler of ours ends the tick at its next safe point.
    """

    def __init__(self, stop: threading.Event) -> None:
        super().__init__()
        self._stop = stop
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        atexit.register(self._leave)

    def start(self, scheduler: BackgroundScheduler, alias: str) -> None:
        """Take the scheduler's part, and none in the host's log."""
        super().start(scheduler, alias)
        self._logger = _unsaid

    def _do_submit_job(self, job: Any, run_times: list[datetime]) -> None:
        def run() -> None:
            self._run_job_success(job.id, run_job(job, job._jobstore_alias, run_times, self._logger.name))

        self._thread = threading.Thread(target=run, name="agenther-worker", daemon=True)
        self._thread.start()

    def shutdown(self, wait: bool = True) -> None:
        """Wait for the job that runs."""
        atexit.unregister(self._leave)
        thread = self._thread
        if wait and thread is not None and thread is not threading.current_thread():
            thread.join()

    def _leave(self) -> None:
        if os.getpid() != self._pid:  # a forked child has neither the thread nor a say in it
            return
        self._stop.set()
        if self._thread is not None:
            self._thread.join(EXIT_SECONDS)


def _tick_and_log(parts: Parts) -> None:
    """Tick, and log what came of it; whatever a tick meets, the next one tries again."""
    if parts.stop.is_set():
        return
    try:
        report = tick(parts, patient=True)
    except AgentHERError as error:
        logger.warning("tick: %s", error)
    except Exception:  # the worker's thread must outlive anything
        if not parts.stop.wait(0.2):  # else the interpreter is going down, and refuses what a tick needs
            logger.exception("tick failed; the next one tries again")
    else:
        if report.busy:
            logger.info(
                "tick: %d runs ingested, %s, %d shards, %.2f s",
                report.ingested,
                ", ".join(f"{count} {stage}" for stage, count in report.relabeled.items()) or "none relabeled",
                len(report.shards),
                report.seconds,
            )
        if report.paused is not None and report.paused != parts.pause.told:
            logger.warning("work pauses: %s", report.paused)
        parts.pause.told = report.paused
