"""One tick, in its order: ingest → outcomes → relabel → emit."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence

from agenther_live.clock import utcnow
from agenther_live.coroutines import run_coroutine
from agenther_live.erase import Place
from agenther_live.fleet import check_folder, says_something
from agenther_live.journal import Batch
from agenther_live.rest import stamp_of
from agenther_live.scheduler.asking import Round, claim_round, relabel_all
from agenther_live.scheduler.emission import emit, push
from agenther_live.scheduler.intake import evaluators_of, judge_outcomes, take_in
from agenther_live.scheduler.notes import remember
from agenther_live.scheduler.opening import Opening
from agenther_live.scheduler.parts import How, Parts, TickReport
from agenther_live.scheduler.records import Result, write_down
from agenther_live.trust import UNDO_SECONDS
from agenther_live.upkeep import decline


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
            how = How(immediate=immediate, flush=flush, patient=patient)
            seen = _seen(parts, how)
            batch = parts.reader.read(parts.rest.cursors) if parts.rest.lasts(seen, now=utcnow()) else None
            if batch is None or says_something(batch, parts.rest.cursors):
                _work(parts, report, how, seen, batch)
            if not parts.stop.is_set() and "emit" in parts.only:
                with parts.buffer.alone("emit") as ours:
                    if ours:
                        parts.upkeep.turn(Place(parts.home, parts.buffer, parts.reader, parts.replies), now=utcnow())
                        push(parts, how)
            elif "emit" not in parts.only:
                decline(parts.home)
        except Exception as error:
            parts.rest.end()
            report.paused = f"the last tick failed: {error}"
            raise
        finally:
            report.seconds = time.monotonic() - began
            remember(parts, report)
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


def _work(parts: Parts, report: TickReport, how: How, seen: Hashable | None, batch: Batch | None) -> None:
    """Do a whole tick: one opening of the file where no model is asked.

    Args:
        parts: what to work with.
        report: gets what was done.
        how: see `tick`.
        seen: what `_seen` gave before.
        batch: what the journal's reader found behind the cursors of a rest that this ends.
    """
    now = utcnow()
    round_: Round | None = None
    results: list[Result] = []
    with Opening(parts.buffer) as opening:
        take_in(parts, report, opening, immediate=how.immediate, batch=batch)
        parts.rest.end()  # not before: a journal that could not be taken in is asked for again
        if how.patient and parts.pause.lasts:
            report.paused = parts.pause.reason
        elif "relabel" in parts.only and not parts.stop.is_set():
            judge_outcomes(parts, report, opening, immediate=how.immediate)
            opening.open()
            if not parts.stop.is_set():
                round_ = claim_round(parts, parts.settings.batch)
        if round_ is not None:
            opening.close()
            run_coroutine(relabel_all(parts, round_, report, how, results))
        ours = _finish(parts, report, how, opening, results)
        parts.buffer.release()
        quiet = not (round_ or report.busy or report.damage or report.paused or parts.stop.is_set())
        if seen is not None and quiet and ours:
            opening.open()
            due = [parts.buffer.next_due(now=now, undo_seconds=UNDO_SECONDS)]
            if parts.outcome_judging is not None:
                due += parts.outcome_judging.later.values()
            parts.rest.begin(seen, parts.buffer.cursors(), since=now, until=min(due))


def _finish(parts: Parts, report: TickReport, how: How, opening: Opening, results: Sequence[Result]) -> bool:
    """Write what was decided, make samples of successes, publish what is due; whether nothing was others' part."""
    if "emit" not in parts.only or parts.stop.is_set():
        write_down(parts, report, opening, results)
        return not parts.stop.is_set()
    with parts.buffer.alone("emit") as ours:
        if ours:
            check_folder(parts.buffer, parts.home)
        write_down(parts, report, opening, results)
        if ours and not parts.stop.is_set():
            report.paused = report.paused or emit(parts, report, flush=how.flush)
    return ours


def _seen(parts: Parts, how: How) -> Hashable | None:
    """Give what differs where a tick may find other work than the one before; None where only a look can tell."""
    stamp = parts.buffer.stamp()
    if stamp is None:
        return None
    names = tuple((each.name, each.agent) for each in evaluators_of(parts))
    return stamp, how, names, stamp_of(parts.home.shards, parts.home.shards / "manifest.jsonl")
