"""The worker's tick: ingest → outcomes → relabel → emit. The one place where all parts meet.

`tick` is a plain function that a test or cron can call; `schedule` puts it on APScheduler.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import itertools
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

import orjson
from apscheduler.executors.base import BaseExecutor, run_job
from apscheduler.schedulers.background import BackgroundScheduler

from agenther_live.buffer.store import Buffer, Claim
from agenther_live.clock import utcnow
from agenther_live.erase import Place
from agenther_live.errors import AgentHERError, SpendCapReached, TerminalModelError
from agenther_live.evaluate import Evaluator
from agenther_live.fleet import EVERYTHING, check_folder, says_something, take_batch, take_journal
from agenther_live.home import Home
from agenther_live.journal import Batch, Reader
from agenther_live.judging import OutcomeJudging
from agenther_live.labels import Relabeling
from agenther_live.mixing import balanced, tool_kinds, warn
from agenther_live.mixing import figures as mixing_figures
from agenther_live.polarity import declared
from agenther_live.relabel.demonstrate import success_sample
from agenther_live.relabel.hindsight import relabel
from agenther_live.relabel.models import Detector, Extractor, Judge, Policy, Relabeler
from agenther_live.replies import Replies, about
from agenther_live.rest import Rest, stamp_of
from agenther_live.settings import Settings
from agenther_live.shards.files.admit import Mixing
from agenther_live.shards.files.heldout import HeldOut
from agenther_live.shards.files.publish import publish_due
from agenther_live.shards.files.rotate import Limits
from agenther_live.shards.stores.mirror import Mirror
from agenther_live.trajectory import Evidence, Trajectory
from agenther_live.trust import UNDO_SECONDS, Desk, before_emission, open_desk
from agenther_live.trust import figures as trust_figures
from agenther_live.upkeep import Upkeep, decline

__all__ = ["Parts", "TickReport", "run_until_idle", "schedule", "status", "tick"]

logger = logging.getLogger("agenther_live")
Result = tuple[Claim, Relabeling]

STOP_POLL_SECONDS = 0.1
"""How often a tick that waits for models looks whether it should stop."""
RECORD_SECONDS = 0.5
"""How long what was decided may wait for more, so that one opening of the buffer's file records many."""
ROUND_SECONDS = 30.0
"""How long failures that come meanwhile join a round of relabeling; then it ends, for upkeep's sake."""
SMALL_BYTES = 1 << 20
"""So much of the journal is taken in by the opening of the file that the whole tick uses."""
STOP_GRACE_SECONDS = 0.8
"""How long a tick that stops waits for replies that are on their way."""
EXIT_SECONDS = 10.0
"""How long an interpreter that exits waits for the tick that runs to end."""
PAUSE_SECONDS = 30.0
"""How long the worker leaves a model alone that refused for good, or whose cap is used up, before it tries again."""


@dataclass
class Pause:
    """Why relabeling stands still, and until when (time.monotonic())."""

    reason: str | None = None
    until: float = 0.0
    told: str | None = None  # in the log

    def begin(self, reason: str) -> None:
        """Leave the model alone for a while."""
        self.reason, self.until = reason, time.monotonic() + PAUSE_SECONDS

    @property
    def lasts(self) -> bool:
        """Whether it is not over yet."""
        return time.monotonic() < self.until


@dataclass(frozen=True)
class Parts:
    """What one worker works with. Ticks of one process take turns by `turn`; `stop` ends one early."""

    settings: Settings
    home: Home
    buffer: Buffer
    reader: Reader
    relabeler: Relabeler | None
    judges: Sequence[Judge]
    detector: Detector
    extractor: Extractor
    policy: Policy
    replies: Replies
    evaluators: Sequence[Evaluator] = ()
    stop: threading.Event = field(default_factory=threading.Event)
    turn: threading.Lock = field(default_factory=threading.Lock)
    pause: Pause = field(default_factory=Pause)
    ticks: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    rest: Rest = field(default_factory=Rest)
    upkeep: Upkeep = field(default_factory=Upkeep)
    outcome_judging: OutcomeJudging | None = None
    mirror: Mirror | None = None
    only: frozenset[str] = EVERYTHING  # which parts of a tick it does


@dataclass
class TickReport:
    """What a tick did. `paused` says why relabeling stands still, where it does."""

    ingested: int = 0
    evaluated: int = 0
    settled: Counter[str] = field(default_factory=Counter)
    relabeled: Counter[str] = field(default_factory=Counter)
    successes: int = 0
    shards: list[str] = field(default_factory=list)
    damage: Counter[str] = field(default_factory=Counter)
    paused: str | None = None
    seconds: float = 0.0

    @property
    def busy(self) -> bool:
        """Whether the tick moved anything."""
        return bool(self.ingested or self.evaluated or self.settled or self.relabeled or self.successes or self.shards)

    def add(self, other: TickReport) -> None:
        """Add what another tick did."""
        self.ingested += other.ingested
        self.evaluated += other.evaluated
        self.settled += other.settled
        self.relabeled += other.relabeled
        self.successes += other.successes
        self.shards += other.shards
        self.damage += other.damage
        self.paused = other.paused
        self.seconds += other.seconds

    def as_dict(self) -> dict[str, Any]:
        """Give the report as JSON-ready data."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}  # `asdict` cannot copy a Counter
        return plain | {name: dict(value) for name, value in plain.items() if isinstance(value, Counter)}


def tick(parts: Parts, *, immediate: bool = False, flush: bool = False, patient: bool = False) -> TickReport:
    """Do one round of all work that is due.

    Args:
        parts: what to work with.
        immediate: settle machine-found failures at once, without waiting for a person to disagree.
        flush: publish shards that are not full.
        patient: leave a model alone for `PAUSE_SECONDS` after it refused for good or its cap was used up.
    """
    with parts.turn:
        began, report = time.monotonic(), TickReport()
        try:
            how = _How(immediate=immediate, flush=flush, patient=patient)
            seen = _seen(parts, how)
            batch = parts.reader.read(parts.rest.cursors) if parts.rest.lasts(seen, now=utcnow()) else None
            if batch is None or says_something(batch, parts.rest.cursors):
                _work(parts, report, how, seen, batch)
            if not parts.stop.is_set() and "emit" in parts.only:
                with parts.buffer.alone("emit") as ours:
                    if ours:
                        parts.upkeep.turn(Place(parts.home, parts.buffer, parts.reader, parts.replies), now=utcnow())
                        _push(parts, how)
            elif "emit" not in parts.only:
                decline(parts.home)
        except Exception as error:
            parts.rest.end()
            report.paused = f"the last tick failed: {error}"
            raise
        finally:
            report.seconds = time.monotonic() - began
            _remember(parts, report)
        return report


def run_until_idle(parts: Parts, *, progress: Callable[[TickReport], None] | None = None) -> TickReport:
    """Tick until a tick moves nothing, or the worker is told to stop."""
    total = TickReport()
    while True:
        done = tick(parts, immediate=True, flush=True)
        total.add(done)
        if progress is not None:
            progress(total)
        if not done.busy or parts.stop.is_set():
            return total


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


def status(home: Home, buffer: Buffer) -> dict[str, Any]:
    """Give the figures of a home: the buffer's funnel, the journal's lag, the last tick, and why work pauses."""
    lag = Reader(home.journal).lag(buffer.cursors())
    last: dict[str, Any] = {"last_tick_at": None, "paused_reason": None}
    with contextlib.suppress(FileNotFoundError, orjson.JSONDecodeError):
        last |= orjson.loads(home.last_tick.read_bytes())
    figures = buffer.status()
    if (oldest := figures["oldest_pending_at"]) is not None:
        figures["oldest_pending_at"] = oldest.isoformat(timespec="milliseconds")
    figures |= {"diversity": mixing_figures(buffer, buffer.settings.formats), "tools": tool_kinds(buffer)}
    return figures | trust_figures(buffer) | last | {"journal_lag_bytes": lag.bytes, "journal_lag_seconds": lag.seconds}


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


@dataclass(frozen=True)
class _How:
    """How a tick is done: see `tick`."""

    immediate: bool
    flush: bool
    patient: bool


class _Opening:
    """The buffer's file, open over several calls; it can be let go meanwhile, for a model call or others' turn."""

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer
        self._held = contextlib.ExitStack()
        self._open = False

    def open(self) -> None:
        """Have it open from here on."""
        if not self._open:
            self._held.enter_context(self._buffer.hold())
            self._open = True

    def close(self) -> None:
        """Let it go."""
        self._open = False
        self._held.close()

    def __enter__(self) -> _Opening:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _seen(parts: Parts, how: _How) -> Hashable | None:
    """Give what differs where a tick may find other work than the one before; None where only a look can tell."""
    stamp = parts.buffer.stamp()
    if stamp is None:
        return None
    names = tuple((each.name, each.agent) for each in _evaluators(parts))
    return stamp, how, names, stamp_of(parts.home.shards, parts.home.shards / "manifest.jsonl")


def _work(parts: Parts, report: TickReport, how: _How, seen: Hashable | None, batch: Batch | None) -> None:
    """Do a whole tick: one opening of the file where no model is asked.

    Args:
        parts: what to work with.
        report: gets what was done.
        how: see `tick`.
        seen: what `_seen` gave before.
        batch: what the journal's reader found behind the cursors of a rest that this ends.
    """
    now = utcnow()
    round_: _Round | None = None
    results: list[Result] = []
    with _Opening(parts.buffer) as opening:
        _take_in(parts, report, opening, immediate=how.immediate, batch=batch)
        parts.rest.end()  # not before: a journal that could not be taken in is asked for again
        if how.patient and parts.pause.lasts:
            report.paused = parts.pause.reason
        elif "relabel" in parts.only and not parts.stop.is_set():
            _judge_outcomes(parts, report, opening, immediate=how.immediate)
            opening.open()
            if not parts.stop.is_set():
                round_ = _claim(parts, parts.settings.batch)
        if round_ is not None:
            opening.close()
            _run(_relabel_all(parts, round_, report, how, results))
        ours = _finish(parts, report, how, opening, results)
        parts.buffer.release()
        quiet = not (round_ or report.busy or report.damage or report.paused or parts.stop.is_set())
        later = parts.outcome_judging is not None and bool(parts.outcome_judging.later)
        if seen is not None and quiet and ours and not later:
            opening.open()
            until = parts.buffer.next_due(now=now, undo_seconds=UNDO_SECONDS)
            parts.rest.begin(seen, parts.buffer.cursors(), since=now, until=until)


def _finish(parts: Parts, report: TickReport, how: _How, opening: _Opening, results: Sequence[Result]) -> bool:
    """Write what was decided, make samples of successes, publish what is due; whether nothing was others' part."""
    if "emit" not in parts.only or parts.stop.is_set():
        _write_down(parts, report, opening, results)
        return not parts.stop.is_set()
    with parts.buffer.alone("emit") as ours:
        if ours:
            check_folder(parts.buffer, parts.home)
        _write_down(parts, report, opening, results)
        if ours and not parts.stop.is_set():
            report.paused = report.paused or _emit(parts, report, flush=how.flush)
    return ours


def _write_down(parts: Parts, report: TickReport, opening: _Opening, results: Sequence[Result]) -> None:
    opening.open()
    _bank_calls(parts)
    _count(report, parts.buffer.record_many(results, now=utcnow()) if results else ())
    if "relabel" in parts.only:  # what is left waits for the next tick
        _learn_from_successes(parts, report)


def _push(parts: Parts, how: _How) -> None:
    """Publish to the object store, where there is one."""
    if parts.mirror is not None and not parts.stop.is_set():
        if how.patient:
            parts.mirror.push()
        else:
            parts.mirror.sync()


def _evaluators(parts: Parts) -> tuple[Evaluator, ...]:
    return (*parts.evaluators, *declared(parts.home, parts.settings))


def _take_in(
    parts: Parts, report: TickReport, opening: _Opening, *, immediate: bool, batch: Batch | None = None
) -> None:
    """Take in what agents and people said since: ingest, ask evaluators, decide outcomes. `opening` is open."""
    if "ingest" in parts.only:
        cursors = parts.rest.cursors if batch is not None else parts.buffer.cursors()
        batch = batch or parts.reader.read(cursors, limit_bytes=SMALL_BYTES)
        taken = take_batch(parts.buffer, batch, cursors)
        parts.reader.collect(batch.cursors)
        if batch.more:
            opening.close()  # between two batches whoever waits for the file gets it
            taken += take_journal(parts.buffer, parts.reader, stop=parts.stop)
            opening.open()
        report.ingested += taken.runs
        report.damage += taken.damage
    if "relabel" not in parts.only:
        return
    unseen = [
        (evaluator, parts.buffer.to_evaluate(evaluator.name, agent=evaluator.agent, n=parts.settings.batch))
        for evaluator in _evaluators(parts)
    ]
    if any(trajectories for _, trajectories in unseen):
        opening.close()
        found = [(evaluator, _evaluate(parts, evaluator, trajectories)) for evaluator, trajectories in unseen]
        opening.open()
        for evaluator, evidence in found:
            parts.buffer.add_evidence(evidence, evaluator=evaluator.name)
            report.evaluated += len(evidence)
    report.settled += parts.buffer.settle(now=utcnow(), immediate=immediate)


def _evaluate(parts: Parts, evaluator: Evaluator, trajectories: Iterable[Trajectory]) -> list[Evidence]:
    """Ask a user's evaluator about trajectories that it has not seen in this revision."""
    found = []
    for trajectory in trajectories:
        if parts.stop.is_set():
            break
        found.append(evaluator.evidence(trajectory, now=utcnow()))
    return found


def _judge_outcomes(parts: Parts, report: TickReport, opening: _Opening, *, immediate: bool) -> None:
    """Ask the outcome judge, where there is one, about what nobody knows the outcome of."""
    judging = parts.outcome_judging
    if judging is None:
        return
    opening.close()
    answers: list[int] = []

    async def ask() -> None:
        answers.append(await judging.turn(parts.buffer, n=parts.settings.batch, stop=parts.stop))

    _run(ask())
    report.evaluated += answers[0]
    if judging.paused is not None:
        report.paused = judging.paused
        parts.pause.begin(judging.paused)
    if answers[0]:
        report.settled += parts.buffer.settle(now=utcnow(), immediate=immediate)


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end, also below an event loop that runs already (a notebook, an async caller)."""
    running = True
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        running = False
    if not running:
        asyncio.run(work)
        return
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


@dataclass(frozen=True)
class _Round:
    """Claims that were made together, and which of them get a canary."""

    claims: Sequence[Claim]
    desk: Desk


def _claim(parts: Parts, n: int, *, besides: Collection[str] = ()) -> _Round | None:
    """Claim up to `n` failures; None where nothing is due. The file is open."""
    claims = parts.buffer.claim(n, now=utcnow(), besides=besides)
    if not claims:
        return None
    return _Round(claims, open_desk(parts.buffer, parts.judges, parts.policy, claims, parts.settings.canary_share))


async def _relabel_all(parts: Parts, first: _Round, report: TickReport, how: _How, left: list[Result]) -> None:
    """Relabel many at once; results are recorded as they come, so that a crash loses little and pays nothing twice.

    While models take their time, the rest of a tick's work goes on in slices, every `slice_seconds`: what agents and
    people say is taken in (a result that feedback overtook is not recorded), failures that came meanwhile fill the
    round up, and shards that are due are published. A spent cap or a model that refuses for good ends the round: what
    was not done stays queued. Results that came last are put into `left`, for the caller to record.
    """
    room = asyncio.Semaphore(parts.settings.concurrency)
    began = sliced = recorded = time.monotonic()
    busy: dict[asyncio.Task[Result | None], str] = {}

    def begin(new: _Round) -> None:
        for claim in new.claims:
            busy[asyncio.create_task(_relabel_one(parts, claim, room, report, new.desk))] = claim.trajectory_id

    begin(first)
    broken: BaseException | None = None
    try:
        while busy and not parts.stop.is_set() and report.paused is None and broken is None:
            done, _ = await asyncio.wait(busy, timeout=STOP_POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                del busy[task]
                error = task.exception()
                if error is not None:
                    broken = error
                elif (result := task.result()) is not None:
                    left.append(result)
            now = time.monotonic()
            if not busy or parts.stop.is_set() or broken is not None:
                continue
            if now - sliced >= parts.settings.slice_seconds:
                wanted = parts.settings.batch - len(busy) if now - began < ROUND_SECONDS else 0
                keep = frozenset(busy.values())
                more = await _between(parts, left, functools.partial(_slice, parts, report, how, wanted, keep, left))
                if more is not None:
                    begin(more)
                sliced = recorded = time.monotonic()
            elif left and now - recorded >= RECORD_SECONDS:
                await _between(parts, left, functools.partial(_record, parts, report, left))
                recorded = time.monotonic()
        if broken is not None:
            await _between(parts, left, functools.partial(_record, parts, report, left))
            raise broken
    finally:
        for task in busy:
            task.cancel()
        await parts.replies.settle(STOP_GRACE_SECONDS)  # what is being paid for is kept
        await asyncio.gather(*busy, return_exceptions=True)


async def _between(parts: Parts, left: list[Result], write: Callable[[Sequence[Any]], Any]) -> Any:
    """Write with the file open, in a thread, while models go on; `left` and what was paid for are stored by it."""
    calls = parts.replies.rows()
    given = await asyncio.to_thread(write, calls)
    parts.replies.confirm(calls)
    left.clear()
    return given


def _record(parts: Parts, report: TickReport, results: Sequence[Result], calls: Sequence[Any]) -> None:
    """Write what was decided and what it cost, in one opening of the file."""
    with parts.buffer.hold():
        if calls:
            parts.buffer.calls(calls)
        if results:
            _count(report, parts.buffer.record_many(results, now=utcnow()))


def _count(report: TickReport, recorded: Iterable[Result]) -> None:
    for _, relabeling in recorded:
        report.relabeled[relabeling.stage] += 1


def _slice(
    parts: Parts,
    report: TickReport,
    how: _How,
    wanted: int,
    busy: Collection[str],
    results: Sequence[Result],
    calls: Sequence[Any],
) -> _Round | None:
    """Do between relabelings what a tick does around them, and give up to `wanted` new claims."""
    more: _Round | None = None
    with _Opening(parts.buffer) as opening:
        _record(parts, report, results, calls)
        parts.buffer.renew()
        _take_in(parts, report, opening, immediate=how.immediate)
        opening.open()
        if wanted > 0 and not parts.stop.is_set():
            more = _claim(parts, wanted, besides=busy)
        _learn_from_successes(parts, report)
        if "emit" in parts.only and not parts.stop.is_set():
            # What keeps shards from being published does not keep models from being asked: the end of the tick meets
            # it again, and tells.
            with contextlib.suppress(AgentHERError), parts.buffer.alone("emit") as ours:
                if ours:
                    check_folder(parts.buffer, parts.home)
                    _emit(parts, report, flush=False)
                    opening.close()
                    _push(parts, how)
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


def _learn_from_successes(parts: Parts, report: TickReport) -> None:
    """Make samples of what went well."""
    if not parts.settings.success_samples or parts.stop.is_set():
        return
    seen = parts.buffer.successes(parts.settings.batch)
    samples = []
    for claim in seen:
        try:
            kinds = parts.policy.of_agent(claim.trajectory.agent).tool_kinds
            samples.append(success_sample(claim.trajectory, claim.outcome, claim.outcome_rev, kinds))
        except Exception:  # one trajectory that cannot be read must not keep all others out
            logger.exception("trajectory %s gives no sample", claim.trajectory_id)
    report.successes += len(seen)
    parts.buffer.add_samples([sample for sample in samples if sample is not None], claims=seen, now=utcnow())


def _bank_calls(parts: Parts) -> None:
    """Tell the buffer which calls were paid for; until it confirms, the store of replies keeps them on its list."""
    while rows := parts.replies.rows():
        parts.buffer.calls(rows)
        parts.replies.confirm(rows)


def _emit(parts: Parts, report: TickReport, *, flush: bool) -> str | None:
    """Publish the samples that are due, and take back those that no longer hold; gives why nothing was published."""
    settings = parts.settings
    paused = before_emission(parts.buffer, parts.judges, now=utcnow())
    goals, trajectories = parts.buffer.held_out()
    done = publish_due(
        balanced(parts.buffer),
        parts.home.shards,
        () if paused else settings.formats,  # what was begun is finished, and what must go is retracted, all the same
        now=utcnow(),
        limits=Limits(settings.shard_rows, settings.shard_bytes, settings.shard_seconds),
        flush=flush,
        held_out=HeldOut(goals, share=0.0 if settings.held_out_key else settings.held_out, trajectories=trajectories),
        mixing=Mixing.of(settings),
        files=settings.shard_files,
    )
    report.shards += [shard.path for shard in (*done.recovered, *done.shards)]
    if done.shards:
        warn(parts.buffer)
    return paused


def _remember(parts: Parts, report: TickReport) -> None:
    """Leave a note of the tick for `status`, which must not wait for the buffer to know whether the worker lives."""
    note = {
        "last_tick_at": utcnow().isoformat(timespec="milliseconds"),
        "last_tick_seconds": round(report.seconds, 3),
        "ticks": next(parts.ticks),
        "paused_reason": report.paused,
    }
    with contextlib.suppress(OSError):
        parts.home.note(parts.home.last_tick, orjson.dumps(note))
