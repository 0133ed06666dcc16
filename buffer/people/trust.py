"""What is known about the panel: canaries and its health, disputed outcomes, and samples that are held meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, or_, select

from agenther_live.buffer.engines.engine import Transaction, any_of
from agenther_live.buffer.intake import evidence
from agenther_live.buffer.intake.trajectories import mark_unsettled
from agenther_live.buffer.output.samples import withdraw
from agenther_live.buffer.schema import canaries, panel_health, relabelings, sample_state, samples, verdicts
from agenther_live.ids import content_hash
from agenther_live.labels import Canary, Relabeling
from agenther_live.outcome import DISPUTE
from agenther_live.relabel.trust.drift import health
from agenther_live.trajectory import Evidence

__all__ = ["Drift", "Judged", "clear", "drifts", "judged", "put_canaries", "release", "rows", "take_held"]

_CANARY = [column.name for column in canaries.columns]
_HEALTH = [column.name for column in panel_health.columns]
_LIVING = ("pending", "emitted")


@dataclass(frozen=True)
class Drift:
    """A judge that accepts more known-bad goals than it did. `doubtful_at` is naive UTC."""

    judge: str
    prompt_version: str
    p: float
    baseline: int
    baseline_accepted: int
    latest: int
    latest_accepted: int
    doubtful_at: datetime

    def __str__(self) -> str:
        """Say it in a sentence."""
        return (
            f"{self.judge} accepted {self.latest_accepted} of the last {self.latest} known-bad goals, and "
            f"{self.baseline_accepted} of its first {self.baseline} (p = {self.p:.2g})"
        )


@dataclass(frozen=True)
class Judged:
    """How many items the panel was asked about, and how many canaries were among them besides."""

    items: int
    canaries: int


def judged(tx: Transaction) -> Judged:
    """Count the items that reached the panel, one for each relabeling, and the canaries."""
    r = relabelings.c
    reached = or_(r.reason == "accepted", r.reason.like("judge:%"))
    [(items,)] = tx.rows(select(func.count()).select_from(relabelings).where(reached))
    [(made,)] = tx.rows(select(func.count(canaries.c.canary_id.distinct())))
    return Judged(int(items), int(made))


def put_canaries(tx: Transaction, results: Iterable[Relabeling], *, now: datetime) -> None:
    """Store the canaries of relabelings that were recorded, look at the judges anew, and hold what is in doubt."""
    given = {one.canary_id: one for result in results for one in result.canaries}
    if given:
        known = tx.rows(select(canaries.c.canary_id).distinct().where(any_of(canaries.c.canary_id, given)))
        for (canary_id,) in known:
            del given[canary_id]
        tx.insert(canaries, _CANARY, [row for one in given.values() for row in rows(one, now)])
        _dispute(tx, [one for one in given.values() if one.disputes], now)
        for judge, version in sorted({(v.judge, v.prompt_version) for one in given.values() for v in one.verdicts}):
            _look(tx, judge, version, now)
    hold(tx, drifts(tx))


def rows(one: Canary, now: datetime) -> Iterable[tuple[Any, ...]]:
    """Give a canary as rows of its table, one for each judge."""
    for v in one.verdicts:
        own = one.kind != "foreign"  # else the words are another run's, and would outlive its deletion here
        said = (v.judge, v.prompt_version, v.is_valid, v.confidence, v.status, one.accepted_by(v))
        goal, reason = (one.goal, v.reason) if own else ("", "")
        yield (one.canary_id, one.trajectory_id, one.kind, goal, one.proven, *said, reason, now)


def _dispute(tx: Transaction, found: Sequence[Canary], now: datetime) -> None:
    """Put the outcome in dispute, by evidence of its own: the panel says that the goal was met word for word."""
    said = [
        Evidence(
            evidence_id=content_hash([DISPUTE, one.canary_id])[:32],
            trajectory_id=one.trajectory_id,
            source="judge",
            key=DISPUTE,
            comment=f"{', '.join(v.judge for v in one.verdicts)}: the failed goal was met, word for word",
            at=now,
        )
        for one in found
    ]
    if said:
        _, changed = evidence.take_statements(tx, map(evidence.stated, said), now=now)
        mark_unsettled(tx, changed)


def _look(tx: Transaction, judge: str, version: str, now: datetime) -> None:
    c, h = canaries.c, panel_health.c
    tx.lock([f"judge:{judge}"])  # canaries of other workers are in the series too
    mine = and_(h.judge == judge, h.prompt_version == version)
    [*old] = tx.rows(select(h.cleared_at, h.canaries, h.drifting).where(mine))
    cleared_at, seen, drifting = old[0] if old else (None, 0, False)
    query = select(c.accepted, c.at).where(c.judge == judge, c.prompt_version == version, c.proven, c.status == "ok")
    if cleared_at is not None:
        query = query.where(c.at > cleared_at)
    answers = tx.rows(query.order_by(c.at, c.canary_id))
    accepted = [bool(yes) for yes, _ in answers]
    if drifting:  # it stays so until a person clears it, with the figures that said so
        row = (judge, version, len(accepted), sum(accepted), now)
        tx.update(panel_health, ("judge", "prompt_version"), ("canaries", "accepted", "looked_at"), [row])
        return
    found = health(accepted, seen=seen)
    doubtful_at = None if found.doubtful_from is None else answers[found.doubtful_from][1]
    figures = (found.canaries, found.accepted, found.baseline, found.baseline_accepted, found.window)
    new = (judge, version, *figures, found.window_accepted, found.p, found.drifting, doubtful_at, now, cleared_at)
    tx.rows(delete(panel_health).where(mine))
    tx.insert(panel_health, _HEALTH, [new])


def drifts(tx: Transaction) -> list[Drift]:
    """Give the judges that drift and that nobody cleared yet."""
    h = panel_health.c
    columns = (h.judge, h.prompt_version, h.p, h.baseline, h.baseline_accepted, h.latest, h.latest_accepted)
    query = select(*columns, h.doubtful_at).where(h.drifting).order_by(h.judge, h.prompt_version)
    return [Drift(*row) for row in tx.rows(query)]


def hold(tx: Transaction, found: Iterable[Drift]) -> int:
    """Hold the samples that a drifting judge accepted since it is in doubt; give how many were not held before."""
    held = 0
    for drift in found:
        s, v = sample_state.c, verdicts.c
        judged_by = (
            select(samples.c.sample_id)
            .join(verdicts, and_(v.goal_id == samples.c.goal_id, v.relabeling_id == samples.c.relabeling_id))
            .where(v.judge == drift.judge, v.prompt_version == drift.prompt_version)
        )
        doubtful = (s.created_at >= drift.doubtful_at, s.state.in_(_LIVING), s.held.is_(None))
        ids = tx.rows(tx.held(select(s.sample_id).where(*doubtful, s.sample_id.in_(judged_by))))
        tx.update(sample_state, ("sample_id",), ("held",), [(key, f"drift:{drift.judge}") for (key,) in ids])
        held += len(ids)
    return held


def clear(tx: Transaction, judges: Collection[str] | None, *, now: datetime) -> list[Drift]:
    """Clear drifting judges (None: all): their series begins anew, and emission goes on. Gives those that drifted."""
    chosen = [one for one in drifts(tx) if judges is None or one.judge in judges]
    zero = ("canaries", "accepted", "baseline", "baseline_accepted", "latest", "latest_accepted")
    sets = (*zero, "p", "drifting", "doubtful_at", "cleared_at")
    news = [(one.judge, one.prompt_version, *(0 for _ in zero), None, False, None, now) for one in chosen]
    tx.update(panel_health, ("judge", "prompt_version"), sets, news)
    return chosen


def release(tx: Transaction, condition: ColumnElement[bool] | None = None) -> int:
    """Let held samples (all, or those of a condition over `sample_state`) go on to shards; give how many."""
    s = sample_state.c
    where = s.held.is_not(None) if condition is None else and_(s.held.is_not(None), condition)
    ids = tx.rows(tx.held(select(s.sample_id).where(where)))
    tx.update(sample_state, ("sample_id",), ("held",), [(key, None) for (key,) in ids])
    return len(ids)


def take_held(tx: Transaction, reason: str, *, now: datetime) -> int:
    """Take all held samples back: withdrawn, or retracted where a shard holds them; give how many."""
    s = sample_state.c
    alive = select(s.sample_id, s.state).where(s.held.is_not(None), s.state.in_(_LIVING))
    return withdraw(tx, dict(tx.rows(tx.held(alive))), reason, now=now).total()
