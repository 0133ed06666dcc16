"""The worker's turn: failures are claimed, relabeled elsewhere, and recorded unless something overtook them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, and_, exists, select

from agenther_live.buffer.engines.engine import Transaction, any_of
from agenther_live.buffer.intake.rows import json_text
from agenther_live.buffer.intake.trajectories import Stored, current, load, load_states
from agenther_live.buffer.output import samples as store
from agenther_live.buffer.people import trust
from agenther_live.buffer.schema import (
    analyses,
    counts,
    evaluations,
    goals,
    relabelings,
    state,
    trajectories,
    verdicts,
)
from agenther_live.buffer.turn import leases
from agenther_live.buffer.turn.leases import Lessee
from agenther_live.buffer.turn.neighbours import goals_of_others
from agenther_live.buffer.turn.ranking import rank
from agenther_live.buffer.turn.shortest import shortest
from agenther_live.errors import MoveRefused
from agenther_live.ids import content_hash
from agenther_live.labels import Relabeling, Sample
from agenther_live.relabel.models import UserGoal
from agenther_live.settings import Settings
from agenther_live.trajectory import STAGE_MOVES, Label, Outcome, Trajectory, check_move

__all__ = ["Claim", "add_samples", "claim", "record_many", "successes", "to_evaluate", "to_judge"]

_MAX_RETRY_SECONDS = 3600.0
_GUARD = ("trajectory_id", "stage", "revision", "outcome_rev")
_SAID = ("relabeling_id", "recoverable", "proposed", "relabel_reason")  # what the funnel counts, beside the state
_MOVED = ("stage", "stage_at", "attempts", "retry_at", *_SAID)


@dataclass(frozen=True)
class Claim:
    """A trajectory to work on, as it stood when it was claimed.

    `revision` and `outcome_rev` are the guard: a result is refused once either has moved. `attempts` counts earlier
    tries that ended in an error, or for want of a model. `others` are goals of other users of its agent.
    """

    trajectory: Trajectory
    outcome: Outcome
    revision: int
    outcome_rev: int
    attempts: int = 0
    others: tuple[UserGoal, ...] = ()

    @property
    def trajectory_id(self) -> str:
        """The trajectory's id."""
        return self.trajectory.trajectory_id


def claim(
    tx: Transaction, n: int, *, now: datetime, lessee: Lessee | None = None, besides: Collection[str] = ()
) -> list[Claim]:
    """Give up to `n` queued failures, by priority (`ranking`), then oldest first; errored ones that are due are queued.

    Where one worker serves the buffer, a claim takes nothing away: what it does not finish is simply given again.
    Where many do, what one claims is leased to it, and others pass it by. `besides` are passed by too.
    """
    s = state.c
    again = tx.rows(tx.held(select(s.trajectory_id).where(s.stage == "errored", s.retry_at <= now), skip=True))
    if again:
        check_move(STAGE_MOVES, "errored", "queued", f"trajectory {again[0][0]}")
        tx.update(state, ("trajectory_id",), ("stage", "stage_at"), [(key, "queued", now) for (key,) in again])
    rank(tx, n + len(besides), now=now)
    due = _due().where(s.stage == "queued", ~any_of(s.trajectory_id, besides))
    claims = _claims(tx, due.order_by(s.priority.desc(), s.stage_at, s.trajectory_id).limit(n), lessee)
    others = goals_of_others(tx, [one.trajectory for one in claims])
    return [replace(one, others=others[one.trajectory_id]) for one in claims]


def successes(tx: Transaction, n: int, *, lessee: Lessee | None = None) -> list[Claim]:
    """Give up to `n` successes that were not made into a sample yet, nor found to give none, oldest first."""
    s = state.c
    query = _due().where(s.needs_sample, s.stage == "passed", ~s.held_out)
    return _claims(tx, query.order_by(s.stage_at, s.trajectory_id).limit(n), lessee)


def to_evaluate(
    tx: Transaction, evaluator: str, *, agent: str | None, n: int, lessee: Lessee | None = None
) -> list[Trajectory]:
    """Give up to `n` live trajectories that ended, and that this evaluator has not seen in this revision."""
    s, e = state.c, evaluations.c
    seen = exists().where(e.trajectory_id == s.trajectory_id, e.revision == s.revision, e.evaluator == evaluator)
    query = (
        select(s.trajectory_id, s.revision)
        .join(trajectories, current())
        .where(s.source == "live", s.status.in_(("finished", "error")), ~seen, leases.free(lessee))
        .order_by(s.trajectory_id)
        .limit(n)
    )
    if agent is not None:
        query = query.where(trajectories.c.agent == agent)
    found = dict(tx.rows(tx.held(query, skip=True)))
    leases.take(tx, found, lessee)
    loaded = load(tx, found) if found else {}
    return [loaded[key] for key in found if key in loaded]


def to_judge(
    tx: Transaction, judge: str, *, n: int, lessee: Lessee | None = None, besides: Collection[str] = ()
) -> list[Trajectory]:
    """Give up to `n` finished trajectories of unknown outcome that no source spoke of, and this judge has not seen.

    `besides` are passed by.
    """
    s, e = state.c, evaluations.c
    seen = exists().where(e.trajectory_id == s.trajectory_id, e.revision == s.revision, e.evaluator == judge)
    query = (
        select(s.trajectory_id, s.revision)
        .where(s.outcome == "unknown", s.outcome_source.is_(None), s.stage == "passed", s.status == "finished")
        .where(s.merged_into.is_(None), ~s.needs_settle, ~seen, leases.free(lessee))
        .where(~any_of(s.trajectory_id, besides))
        .order_by(s.trajectory_id)
        .limit(n)
    )
    found = dict(tx.rows(tx.held(query, skip=True)))
    leases.take(tx, found, lessee)
    loaded = load(tx, found) if found else {}
    return [loaded[key].model_copy(update={"status": "finished"}) for key in found if key in loaded]


def mark_evaluated(tx: Transaction, evaluator: str, trajectory_ids: Collection[str]) -> None:
    """Note that an evaluator has seen the current revision of these trajectories."""
    rows = [(one.trajectory_id, one.revision, evaluator) for one in load_states(tx, trajectory_ids).values()]
    tx.insert(evaluations, ("trajectory_id", "revision", "evaluator"), rows)


def _due() -> Any:
    s = state.c
    columns = (
        s.trajectory_id,
        s.revision,
        s.outcome_rev,
        s.attempts,
        s.status,
        s.outcome,
        s.reward,
        s.outcome_source,
        s.outcome_reason,
    )
    return select(*columns).where(and_(s.merged_into.is_(None), ~s.needs_settle))


def _claims(tx: Transaction, query: Select[Any], lessee: Lessee | None) -> list[Claim]:
    rows = tx.rows(tx.held(query.where(leases.free(lessee)), skip=True))
    if not rows:
        return []
    leases.take(tx, [row[0] for row in rows], lessee)
    loaded = load(tx, {row[0]: row[1] for row in rows})
    claims = []
    for key, revision, outcome_rev, attempts, status, label, reward, source, reason in rows:
        trajectory = loaded.get(key)
        if trajectory is None:
            continue
        if trajectory.status != status:
            trajectory = trajectory.model_copy(update={"status": status})
        outcome = Outcome(label=label, reward=reward, source=source, reason=reason)
        claims.append(Claim(trajectory, outcome, revision, outcome_rev, attempts))
    return claims


def record_many(
    tx: Transaction,
    results: Iterable[tuple[Claim, Relabeling]],
    *,
    now: datetime,
    settings: Settings,
    lessee: Lessee | None = None,
) -> list[tuple[Claim, Relabeling]]:
    """Record results of relabeling; give those that were recorded.

    One whose trajectory, outcome or stage has moved since it was claimed is left out: it will be claimed anew. So is
    one whose lease ran out, where another worker has it now.

    Raises:
        MoveRefused: a result has a stage that no queued trajectory can enter, or no sample where it must have one.
    """
    wanted = {one.trajectory_id: (one, result) for one, result in results}
    states = load_states(tx, wanted)
    kept = [
        (one, result, old)
        for key, (one, result) in wanted.items()
        if (old := states.get(key)) is not None and _still(one, old, lessee)
    ]
    for one, result, old in kept:
        check_move(STAGE_MOVES, old.stage, result.stage, f"trajectory {one.trajectory_id}")
        if (result.stage == "relabeled") != (result.sample is not None):
            raise MoveRefused(f"trajectory {one.trajectory_id}: {result.stage} with sample {result.sample!r:.80}")
    _put_labels(tx, kept, now)
    made = [new for one, result, old in kept for new in _new_samples(one, result, old)]
    store.add(tx, shortest(tx, made, now=now), now=now)
    _move_on(tx, kept, now, settings)
    trust.put_canaries(tx, [result for _, result, _ in kept], now=now)
    return [(one, result) for one, result, _ in kept]


def _still(one: Claim, old: Stored, lessee: Lessee | None) -> bool:
    return (
        old.stage == "queued"
        and (lessee is None or old.leased_by in (None, lessee.name))
        and old.revision == one.revision
        and old.outcome_rev == one.outcome_rev
        and not old.needs_settle
        and old.merged_into is None
    )


def _relabeling_id(one: Claim) -> str:
    return content_hash([one.trajectory_id, one.revision, one.outcome_rev, one.attempts])[:32]


def _new_samples(one: Claim, result: Relabeling, old: Stored) -> list[store.NewSample]:
    made = [] if result.sample is None else [result.sample, *result.more]
    withdrawn = "held_out" if old.held_out else None
    return [store.NewSample(sample, one.revision, _relabeling_id(one), withdrawn) for sample in made]


def _put_labels(tx: Transaction, kept: Sequence[tuple[Claim, Relabeling, Stored]], now: datetime) -> None:
    heads, found, proposed, judged = [], [], [], []
    for one, result, _ in kept:
        key, head = one.trajectory_id, _relabeling_id(one)
        heads.append(
            (
                head,
                key,
                one.revision,
                one.outcome_rev,
                one.attempts,
                result.stage,
                result.reason,
                result.detail,
                now,
                json_text([each.model_dump() for each in result.achievements]),
            )
        )
        if (a := result.analysis) is not None:
            found.append(
                (
                    head,
                    key,
                    a.failure_type,
                    a.severity,
                    a.weight,
                    a.recoverable,
                    a.critical_step,
                    a.explanation,
                    a.method,
                    json_text(a.critical_evidence),
                )
            )
        for g in result.goals:
            proposed.append(
                (
                    g.goal_id,
                    head,
                    key,
                    g.strategy,
                    g.hindsight_goal,
                    g.confidence,
                    g.accepted,
                    g.reason,
                    g.detail,
                    g.method,
                    json_text(g.evidence),
                    g.attempt,
                    g.prompt_version,
                    json_text([each.model_dump() for each in g.requirements]),
                    json_text(g.missed),
                )
            )
            for v in g.verdicts:
                judged.append(
                    (g.goal_id, head, v.judge, v.is_valid, v.confidence, v.status, v.reason, v.prompt_version)
                )
    for table, rows in ((relabelings, heads), (analyses, found), (goals, proposed), (verdicts, judged)):
        tx.insert(table, [column.name for column in table.columns], rows)
    left_out = [(_relabeling_id(one), now, "lanes_left_out", n) for one, each, _ in kept if (n := each.lanes_left_out)]
    tx.insert(counts, ("record_id", "at", "name", "n"), left_out)


def _move_on(
    tx: Transaction, kept: Sequence[tuple[Claim, Relabeling, Stored]], now: datetime, settings: Settings
) -> None:
    rows = []
    errors = _errors(tx, kept)
    for one, result, old in kept:
        attempts = one.attempts + (result.stage == "errored")
        retry_at = None
        before = errors[one.trajectory_id]
        if result.stage == "errored" and before < settings.max_retries:
            wait = min(settings.retry_seconds * 2.0**before, _MAX_RETRY_SECONDS)
            retry_at = now + timedelta(seconds=max(wait, result.retry_after or 0.0))
        guard = (one.trajectory_id, old.stage, one.revision, one.outcome_rev)
        recoverable = None if result.analysis is None else result.analysis.recoverable
        said = (_relabeling_id(one), recoverable, bool(result.goals), result.reason)
        rows.append((*guard, result.stage, now, attempts, retry_at, *said))
    moved = tx.update(state, _GUARD, _MOVED, rows)
    if len(moved) != len(rows):  # the guard was just read in this transaction
        raise MoveRefused("trajectories moved while their relabeling was recorded; nothing was recorded")


def _errors(tx: Transaction, kept: Sequence[tuple[Claim, Relabeling, Stored]]) -> Counter[str]:
    """Count the errors before those recorded just now; of a reopened failure not every attempt was one."""
    again = {one.trajectory_id: one for one, result, _ in kept if result.stage == "errored" and one.attempts}
    if not again:
        return Counter()
    r = relabelings.c
    columns = select(r.trajectory_id, r.revision, r.outcome_rev)
    found = tx.rows(columns.where(r.stage == "errored", any_of(r.trajectory_id, again)))
    counted = Counter(key for key, *guard in found if guard == [again[key].revision, again[key].outcome_rev])
    return Counter({key: n - 1 for key, n in counted.items()})


def add_samples(tx: Transaction, new: Sequence[Sample], claims: Sequence[Claim], *, now: datetime) -> int:
    """Store samples of successes, and note for each claim that its success was looked at; give how many are new.

    A sample whose trajectory is no such success any more is left out.
    """
    revs = {one.trajectory_id: one.outcome_rev for one in claims}
    revs |= {sample.trajectory_id: sample.outcome_rev for sample in new}
    states = load_states(tx, revs)
    good: dict[str, Stored] = {
        key: old for key, old in states.items() if _is_success(old, "success") and old.outcome_rev == revs[key]
    }
    fresh = [
        store.NewSample(
            sample,
            good[sample.trajectory_id].revision,
            None,
            "held_out" if good[sample.trajectory_id].held_out else None,
        )
        for sample in new
        if sample.trajectory_id in good
    ]
    added = store.add(tx, fresh, now=now)
    tx.update(state, ("trajectory_id",), ("needs_sample",), [(key, False) for key in good])
    return added


def _is_success(old: Stored, label: Label) -> bool:
    return old.outcome == label and old.merged_into is None and not old.needs_settle
