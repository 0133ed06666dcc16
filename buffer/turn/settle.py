"""Evidence becomes outcomes, outcomes send trajectories to their stage, and what no longer holds is taken back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, select, update

from agenther_live.buffer.engines.engine import Transaction, any_of
from agenther_live.buffer.intake.evidence import evidence_of
from agenther_live.buffer.intake.trajectories import Stored, load_states
from agenther_live.buffer.output.samples import TakeBack, take_back
from agenther_live.buffer.schema import state, trajectories
from agenther_live.outcome import decide
from agenther_live.settings import Settings
from agenther_live.trajectory import STAGE_MOVES, Evidence, Outcome, Stage, check_move

__all__ = ["reopen", "settle"]

_CHUNK = 5000
_SET = (
    "outcome",
    "outcome_source",
    "outcome_reason",
    "reward",
    "outcome_rev",
    "stage",
    "stage_at",
    "needs_settle",
    "settled_revision",
    "settle_at",
    "attempts",
    "retry_at",
    "needs_sample",
)


@dataclass(frozen=True)
class _Facts:
    """What the end of a trajectory says; times are naive UTC."""

    error_type: str | None
    error_message: str | None
    final_answer: str | None
    finished_at: datetime | None


@dataclass
class _Changes:
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    back: list[TakeBack] = field(default_factory=list)
    moves: Counter[str] = field(default_factory=Counter)


def settle(tx: Transaction, *, now: datetime, immediate: bool, settings: Settings) -> Counter[str]:
    """Decide the outcomes that evidence, a new revision or time has put in question.

    Gives how many trajectories entered each stage, and how many samples were withdrawn and retracted; what did not
    move is not counted.

    Args:
        tx: the writing transaction.
        now: naive UTC.
        immediate: queue machine-found failures without waiting for a person to disagree.
        settings: the threshold of scores and the time to settle.
    """
    s = state.c
    waiting = and_(s.stage == "waiting", s.merged_into.is_(None))  # a merged one keeps its stage, and waits for nothing
    overdue = waiting if immediate else and_(waiting, s.settle_at <= now)
    # Two narrow looks, then the rows by id: one look with OR would read every column of every trajectory.
    keys = {
        row[0] for condition in (s.needs_settle, overdue) for row in tx.rows(select(s.trajectory_id).where(condition))
    }
    due = list(load_states(tx, keys).values()) if keys else []
    moves: Counter[str] = Counter()
    for start in range(0, len(due), _CHUNK):
        moves += _settle_some(tx, due[start : start + _CHUNK], now=now, immediate=immediate, settings=settings)
    return moves


def reopen(tx: Transaction, reasons: Collection[str], *, now: datetime) -> None:
    """Let failures that were rejected for one of these reasons wait again; the next settling sends them on.

    Their next relabeling is another attempt, so that it is not taken for the one before.
    """
    check_move(STAGE_MOVES, "rejected", "waiting", "reopened")
    s = state.c
    turned_away = and_(s.stage == "rejected", any_of(s.relabel_reason, reasons), s.merged_into.is_(None))
    again = {"stage": "waiting", "stage_at": now, "settle_at": now, "retry_at": None, "attempts": s.attempts + 1}
    tx.rows(update(state).where(turned_away).values(again))


def _settle_some(
    tx: Transaction, due: Sequence[Stored], *, now: datetime, immediate: bool, settings: Settings
) -> Counter[str]:
    keys = [one.trajectory_id for one in due]
    facts = _load_facts(tx, due)
    evidence = evidence_of(tx, keys)
    changes = _Changes()
    for old in due:
        if old.merged_into is not None:
            changes.back.append(TakeBack(old.trajectory_id, "merged"))
            changes.rows.append(_row(replace(old, needs_settle=False)))
            continue
        said = evidence.get(old.trajectory_id, [])
        end = facts.get(old.trajectory_id, _Facts(None, None, None, None))
        outcome = decide(
            said,
            status=old.status,
            success_threshold=settings.success_threshold,
            error_type=end.error_type,
            error_message=end.error_message,
            final_answer=end.final_answer,
            answers=old.answers,
        )
        _apply(changes, old, outcome, said, end, now=now, immediate=immediate, settings=settings)
    tx.update(state, ("trajectory_id",), _SET, changes.rows)
    return changes.moves + take_back(tx, changes.back, now=now)


def _load_facts(tx: Transaction, due: Sequence[Stored]) -> dict[str, _Facts]:
    t = trajectories.c
    revisions = {one.trajectory_id: one.revision for one in due}
    columns = select(t.trajectory_id, t.revision, t.error_type, t.error_message, t.final_answer, t.finished_at)
    rows = tx.rows(columns.where(any_of(t.trajectory_id, revisions)))
    return {key: _Facts(*rest) for key, revision, *rest in rows if revisions[key] == revision}


def _apply(
    changes: _Changes,
    old: Stored,
    outcome: Outcome,
    said: Sequence[Evidence],
    end: _Facts,
    *,
    now: datetime,
    immediate: bool,
    settings: Settings,
) -> None:
    turned = outcome.label != old.outcome
    revised = old.settled_revision != old.revision
    new = replace(
        old,
        outcome=outcome.label,
        outcome_source=outcome.source,
        outcome_reason=outcome.reason,
        reward=outcome.reward,
        outcome_rev=old.outcome_rev + (turned or revised),
        needs_settle=False,
        settled_revision=old.revision,
        needs_sample=outcome.label == "success" and (turned or revised or old.needs_sample),
    )
    if (turned or revised) and old.stage != "waiting":
        check_move(STAGE_MOVES, old.stage, "waiting", f"trajectory {old.trajectory_id}")
        new = replace(new, stage="waiting", stage_at=now, settle_at=None, attempts=0, retry_at=None)
    if new.stage == "waiting":
        new = _next_stage(new, said, end, now=now, immediate=immediate, settings=settings)
    if new.stage != old.stage or (turned or revised):
        changes.moves[new.stage] += new.stage != "waiting" or old.stage != "waiting"
    changes.back.extend(_outdated(old, turned=turned, revised=revised))
    if new != old:
        changes.rows.append(_row(new))


def _next_stage(
    now_waiting: Stored,
    said: Sequence[Evidence],
    end: _Facts,
    *,
    now: datetime,
    immediate: bool,
    settings: Settings,
) -> Stored:
    """Send a waiting trajectory on: what did not fail passes, a failure is queued once nobody may disagree."""
    stage: Stage = "passed"
    if now_waiting.outcome == "failure":
        at_once = immediate or now_waiting.outcome_source == "person" or now_waiting.source != "live"
        found = min(now, max([end.finished_at or now, *(item.at for item in said)], default=now))
        settle_at = found + timedelta(seconds=settings.outcome_settle_seconds)
        if not at_once and settle_at > now:
            return replace(now_waiting, settle_at=settle_at)
        stage = "queued"
    check_move(STAGE_MOVES, "waiting", stage, f"trajectory {now_waiting.trajectory_id}")
    return replace(now_waiting, stage=stage, stage_at=now, settle_at=None)


def _outdated(old: Stored, *, turned: bool, revised: bool) -> Sequence[TakeBack]:
    """Say which samples no longer hold.

    A new revision is another demonstration: all that was made of the old one goes. Of a success that was none, the
    success sample goes. A failure that was none keeps its hindsight samples, which were verified for themselves;
    but rows that use the old goal as the worse one go.
    """
    if revised and old.settled_revision:
        return [TakeBack(old.trajectory_id, "revised", before_revision=old.revision)]
    if turned and old.outcome == "success":
        return [TakeBack(old.trajectory_id, "outcome_changed", kind="success")]
    if turned and old.outcome == "failure":
        return [TakeBack(old.trajectory_id, "old_goal_not_failed", contrast_only=True)]
    return []


def _row(one: Stored) -> tuple[Any, ...]:
    return (one.trajectory_id, *(getattr(one, name) for name in _SET))
