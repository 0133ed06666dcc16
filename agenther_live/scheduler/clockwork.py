"""Ticks by the clock: APScheduler, a thread of its own, and an end at a safe point."""

from __future__ import annotations

import atexit
import logging
import os
import threading
from datetime import UTC, datetime
from typing import Any

from apscheduler.executors.base import BaseExecutor, run_job
from apscheduler.schedulers.background import BackgroundScheduler

from agenther_live.errors import AgentHERError
from agenther_live.scheduler.parts import Parts
from agenther_live.scheduler.ticking import tick

logger = logging.getLogger("agenther_live")


EXIT_SECONDS = 10.0
"""How long an interpreter that exits waits for the tick that runs to end."""


def schedule(parts: Parts) -> BackgroundScheduler:
    """Start the worker's thread: a tick every `tick_seconds`, never two at once, missed ones not made up."""
    # A skipped tick is no news, nor that one could not begin while all shuts down; what a tick raises is caught by us.
    logging.getLogger("apscheduler").setLevel(logging.CRITICAL)
    background = BackgroundScheduler(timezone=UTC, executors={"default": _Thread(parts.stop)})
    background.add_job(
        _tick_and_log,
        "interval",
        args=(parts,),
        seconds=parts.settings.tick_seconds,
        next_run_time=datetime.now(UTC),
        coalesce=True,
        max_instances=1,
        misfire_grace_time=None,
    )
    background.start()
    return background


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
