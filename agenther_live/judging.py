"""The outcome judge's turn: what nobody knows the outcome of is asked about, and the answers become evidence."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from agenther_live.buffer.store import Buffer
from agenther_live.clock import utcnow
from agenther_live.errors import AgentHERError, SpendCapReached, TerminalModelError, TransientModelError
from agenther_live.relabel.judges.outcome_judge import OutcomeJudge
from agenther_live.relabel.models import Policy
from agenther_live.replies import about
from agenther_live.trajectory import Evidence, Trajectory

__all__ = ["OutcomeJudging"]

logger = logging.getLogger("agenther_live")
_STOP_POLL_SECONDS = 0.1  # how often a turn looks whether it should stop
_LATER_SECONDS = 3600.0  # so long at most is left alone what a model did not answer, or what raised
_MOST_LATER = 1000  # and so much: then nobody is asked until some of it is due again


@dataclass
class OutcomeJudging:
    """Asks an outcome judge, some at once. The buffer's file is not open during a call.

    `later` keeps what a model did not answer, and until when it is left alone, in this process: for an hour at most.
    """

    judge: OutcomeJudge
    policy: Policy
    concurrency: int
    retry_seconds: float
    later: dict[str, datetime] = field(default_factory=dict)
    paused: str | None = None

    async def turn(
        self,
        buffer: Buffer,
        *,
        n: int,
        stop: threading.Event,
        between: Callable[[Sequence[Evidence]], None],
        pause: float,
    ) -> int:
        """Ask about up to `n` trajectories; give how many answers became evidence. `paused` says why it stands still.

        Every `pause` seconds meanwhile `between` is called, in a thread, with what was answered since: to store that,
        keep what was taken up from other workers, and do what else there is to do.

        Raises:
            AgentHERError: the buffer or the store of replies refuses.
        """
        self.paused = None
        now = utcnow()
        self.later = {key: until for key, until in self.later.items() if until > now}
        if len(self.later) >= _MOST_LATER:
            return 0
        waiting = buffer.to_judge(self.judge.name, n=n, besides=self.later)
        chosen = [one for one in waiting if self.judge.wants(one.trajectory_id)]
        skipped = [one.trajectory_id for one in waiting if not self.judge.wants(one.trajectory_id)]
        if skipped:
            buffer.mark_evaluated(self.judge.name, skipped)
        room = asyncio.Semaphore(self.concurrency)
        left = {asyncio.create_task(self._one(one, room, stop)) for one in chosen}
        told, answers, stored = 0, list[Evidence](), time.monotonic()
        try:
            while left and not stop.is_set():
                done, left = await asyncio.wait(left, timeout=_STOP_POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                answers += filter(None, await asyncio.gather(*done))
                if left and time.monotonic() - stored >= pause and not stop.is_set():
                    await asyncio.to_thread(between, answers)
                    told, answers, stored = told + len(answers), [], time.monotonic()
        finally:
            for task in left:  # replies that are nearly there are kept all the same, and found by the next turn
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        answers += [answer for task in left if not task.cancelled() and (answer := task.result()) is not None]
        buffer.add_evidence(answers, evaluator=self.judge.name)
        return told + len(answers)

    async def _one(self, one: Trajectory, room: asyncio.Semaphore, stop: threading.Event) -> Evidence | None:
        async with room:
            if stop.is_set() or self.paused is not None:
                return None
            try:
                about.set(one.trajectory_id)  # this task is about nothing else
                return await self.judge.evidence(one, self.policy, now=utcnow())
            except TransientModelError as error:
                self._leave(one, max(self.retry_seconds, error.retry_after or 0.0))
            except (SpendCapReached, TerminalModelError) as error:
                self.paused = str(error)
            except AgentHERError:
                raise
            except Exception:
                logger.exception("trajectory %s cannot be judged", one.trajectory_id)
                self._leave(one, _LATER_SECONDS)
            return None

    def _leave(self, one: Trajectory, seconds: float) -> None:
        self.later[one.trajectory_id] = utcnow() + timedelta(seconds=min(seconds, _LATER_SECONDS))
