"""The worker's tick: ingest → outcomes → relabel → emit. The one place where all parts meet.

`tick` is a plain function that a test or cron can call; `schedule` puts it on APScheduler.
"""

from agenther_live.scheduler.clockwork import schedule
from agenther_live.scheduler.notes import status
from agenther_live.scheduler.parts import Parts, TickReport
from agenther_live.scheduler.ticking import run_until_idle, tick

__all__ = ["Parts", "TickReport", "run_until_idle", "schedule", "status", "tick"]
