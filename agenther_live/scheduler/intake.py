"""The first part of a tick: what agents and people said since, and what outcomes follow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agenther_live.clock import utcnow
from agenther_live.coroutines import run_coroutine
from agenther_live.evaluate import Evaluator
from agenther_live.fleet import take_batch, take_journal
from agenther_live.journal import Batch
from agenther_live.polarity import declared
from agenther_live.scheduler.notes import sign
from agenther_live.scheduler.opening import Opening
from agenther_live.scheduler.parts import Parts, TickReport
from agenther_live.trajectory import Evidence, Trajectory

SMALL_BYTES = 1 << 20
"""So much of the journal is taken in by the opening of the file that the whole tick uses."""


def take_in(parts: Parts, report: TickReport, opening: Opening, *, immediate: bool, batch: Batch | None = None) -> None:
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
        for evaluator in evaluators_of(parts)
    ]
    if any(trajectories for _, trajectories in unseen):
        opening.close()
        found = [(evaluator, _evaluate(parts, evaluator, trajectories)) for evaluator, trajectories in unseen]
        opening.open()
        for evaluator, (evidence, others) in found:
            parts.buffer.add_evidence(evidence, evaluator=evaluator.name)
            if others:
                parts.buffer.mark_evaluated(evaluator.name, others)
            report.evaluated += len(evidence)
    if not parts.reopened.is_set():
        if lacked := _lacked(parts):
            parts.buffer.reopen(lacked, now=utcnow())
        parts.reopened.set()
    report.settled += parts.buffer.settle(now=utcnow(), immediate=immediate)


def _lacked(parts: Parts) -> list[str]:
    """Why a worker without a relabeler, or without judges, turned failures away that this one takes."""
    return ["no_relabeler"] * (parts.relabeler is not None) + ["no_judges"] * bool(parts.relabeler and parts.judges)


def judge_outcomes(parts: Parts, report: TickReport, opening: Opening, *, immediate: bool) -> None:
    """Ask the outcome judge, where there is one, about what nobody knows the outcome of.

    While its model takes its time, what agents and people say is taken in, every `slice_seconds`.
    """
    judging = parts.outcome_judging
    if judging is None:
        return
    opening.close()

    def between(answers: Sequence[Evidence]) -> None:
        sign(parts)
        with Opening(parts.buffer) as again:
            parts.buffer.add_evidence(answers, evaluator=judging.judge.name)
            parts.buffer.renew()
            take_in(parts, report, again, immediate=immediate)

    pause = min(parts.settings.slice_seconds, parts.settings.lease_seconds / 3)
    turn = judging.turn(parts.buffer, n=parts.settings.batch, stop=parts.stop, between=between, pause=pause)
    answers = run_coroutine(turn)
    report.evaluated += answers
    if judging.paused is not None:
        report.paused = judging.paused
        parts.pause.begin(judging.paused)
    if answers:
        report.settled += parts.buffer.settle(now=utcnow(), immediate=immediate)


def evaluators_of(parts: Parts) -> tuple[Evaluator, ...]:
    """Give the evaluators that this process has, and those that agents declared by what their signs mean."""
    return (*parts.evaluators, *declared(parts.home, parts.settings))


def _evaluate(
    parts: Parts, evaluator: Evaluator, trajectories: Iterable[Trajectory]
) -> tuple[list[Evidence], list[str]]:
    """Ask a user's evaluator about trajectories that it has not seen in this revision; name those not given to it."""
    found, others = [], []
    for trajectory in trajectories:
        if parts.stop.is_set():
            break
        if evaluator.judges(trajectory):
            found.append(evaluator.evidence(trajectory, now=utcnow()))
        else:
            others.append(trajectory.trajectory_id)
    return found, others
