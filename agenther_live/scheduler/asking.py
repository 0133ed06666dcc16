"""The part of a tick that asks models: many failures at once, while the rest of the work goes on in slices."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from agenther_live.buffer.store import Claim
from agenther_live.clock import utcnow
from agenther_live.errors import AgentHERError, SpendCapReached, TerminalModelError
from agenther_live.fleet import check_folder
from agenther_live.labels import Relabeling
from agenther_live.relabel.hindsight import relabel
from agenther_live.replies import about
from agenther_live.scheduler.emission import emit, push
from agenther_live.scheduler.intake import take_in
from agenther_live.scheduler.notes import sign
from agenther_live.scheduler.opening import Opening
from agenther_live.scheduler.parts import How, Parts, TickReport
from agenther_live.scheduler.records import Result, learn_from_successes, record
from agenther_live.trust import Desk, open_desk

logger = logging.getLogger("agenther_live")

STOP_POLL_SECONDS = 0.1
"""How often a tick that waits for models looks whether it should stop."""
RECORD_SECONDS = 0.5
"""How long what was decided may wait for more, so that one opening of the buffer's file records many."""
ROUND_SECONDS = 30.0
"""How long failures that come meanwhile join a round of relabeling; then it ends, for upkeep's sake."""


@dataclass(frozen=True)
class Round:
    """Claims that were made together, and which of them get a canary."""

    claims: Sequence[Claim]
    desk: Desk


def claim_round(parts: Parts, n: int, *, besides: Collection[str] = ()) -> Round | None:
    """Claim up to `n` failures; None where nothing is due. The file is open."""
    claims = parts.buffer.claim(n, now=utcnow(), besides=besides)
    if not claims:
        return None
    return Round(claims, open_desk(parts.buffer, parts.judges, parts.policy, claims, parts.settings.canary_share))


async def relabel_all(parts: Parts, first: Round, report: TickReport, how: How, left: list[Result]) -> None:
    """Relabel many at once; results are recorded as they come, so that a crash loses little and pays nothing twice.

    While models take their time, the rest of a tick's work goes on in slices, every `slice_seconds`: what agents and
    people say is taken in (a result that feedback overtook is not recorded), failures that came meanwhile fill the
    round up, and shards that are due are published. A spent cap or a model that refuses for good ends the round: what
    was not done stays queued. Results that came last are put into `left`, for the caller to record.
    """
    room = asyncio.Semaphore(parts.settings.concurrency)
    pause = min(parts.settings.slice_seconds, parts.settings.lease_seconds / 3)  # a slice renews what was claimed
    began = sliced = recorded = time.monotonic()
    busy: dict[asyncio.Task[Result | None], str] = {}

    def begin(new: Round) -> None:
        for claim in new.claims:
            busy[asyncio.create_task(_relabel_one(parts, claim, room, report, new.desk))] = claim.trajectory_id

    begin(first)
    broken: BaseException | None = None
    try:
        while busy and not parts.stop.is_set() and report.paused is None and broken is None:
            done, _ = await asyncio.wait(busy, timeout=STOP_POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            for task in [each for each in busy if each in done]:  # a set has no order: of two samples alike one is kept
                del busy[task]
                error = task.exception()
                if error is not None:
                    broken = error
                elif (result := task.result()) is not None:
                    left.append(result)
            now = time.monotonic()
            if not busy or parts.stop.is_set() or broken is not None:
                continue
            if now - sliced >= pause:
                wanted = parts.settings.batch - len(busy) if now - began < ROUND_SECONDS else 0
                keep = frozenset(busy.values())
                more = await _between(parts, left, functools.partial(_slice, parts, report, how, wanted, keep, left))
                if more is not None:
                    begin(more)
                sliced = recorded = time.monotonic()
            elif left and now - recorded >= RECORD_SECONDS:
                await _between(parts, left, functools.partial(record, parts, report, left))
                recorded = time.monotonic()
        if broken is not None:
            await _between(parts, left, functools.partial(record, parts, report, left))
            raise broken
    finally:
        for task in busy:
            task.cancel()
        await parts.replies.settle()  # what is being paid for is kept
        await asyncio.gather(*busy, return_exceptions=True)


async def _between(parts: Parts, left: list[Result], write: Callable[[Sequence[Any]], Any]) -> Any:
    """Write with the file open, in a thread, while models go on; `left` and what was paid for are stored by it."""
    calls = parts.replies.rows()
    given = await asyncio.to_thread(write, calls)
    parts.replies.confirm(calls)
    left.clear()
    return given


def _slice(
    parts: Parts,
    report: TickReport,
    how: How,
    wanted: int,
    busy: Collection[str],
    results: Sequence[Result],
    calls: Sequence[Any],
) -> Round | None:
    """Do between relabelings what a tick does around them, and give up to `wanted` new claims."""
    more: Round | None = None
    sign(parts)
    with Opening(parts.buffer) as opening:
        record(parts, report, results, calls)
        parts.buffer.renew()
        take_in(parts, report, opening, immediate=how.immediate)
        opening.open()
        if wanted > 0 and not parts.stop.is_set():
            more = claim_round(parts, wanted, besides=busy)
        learn_from_successes(parts, report)
        if "emit" in parts.only and not parts.stop.is_set():
            # What keeps shards from being published does not keep models from being asked: the end of the tick meets
            # it again, and tells.
            with contextlib.suppress(AgentHERError), parts.buffer.alone("emit") as ours:
                if ours:
                    check_folder(parts.buffer, parts.home)
                    emit(parts, report, flush=False)
                    opening.close()
                    push(parts, how)
    return more


async def _relabel_one(
    parts: Parts, claim: Claim, room: asyncio.Semaphore, report: TickReport, desk: Desk
) -> Result | None:
    """Relabel one trajectory; None where work pauses or stops.

    Whatever a relabeler or judge of the user's own raises stays with this trajectory.
    """
    async with room:
        await asyncio.sleep(0)  # rules and templates never wait by themselves: let the round look up
        if report.paused is not None or parts.stop.is_set():
            return None
        try:
            about.set(claim.trajectory_id)  # this task is about nothing else
            relabeling = await relabel(
                claim.trajectory,
                claim.outcome,
                claim.outcome_rev,
                relabeler=parts.relabeler,
                judges=desk.judges(claim),
                detector=parts.detector,
                extractor=parts.extractor,
                policy=parts.policy,
                others=claim.others,
            )
            return claim, await desk.closed(claim, relabeling)
        except (SpendCapReached, TerminalModelError) as error:
            report.paused = str(error)
            parts.pause.begin(report.paused)
            return None
        except AgentHERError:
            raise
        except Exception as error:
            logger.exception("trajectory %s cannot be relabeled; it is tried again later", claim.trajectory_id)
            detail = f"{type(error).__name__}: {error}"[:2000]
            return claim, Relabeling(
                trajectory_id=claim.trajectory_id, stage="errored", reason="exception", detail=detail
            )
