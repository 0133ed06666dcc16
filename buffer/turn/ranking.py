"""Which failures are relabeled first, where more wait than one round takes: money goes where gain is expected.

    priority = log2(gain · rarity) + ended / half-life        half-life = 7 days

`gain` is what the paper measured by failure type (points: incomplete 11.2, constraint_violation 9.8, tool_error 2.1;
the types that it does not name get 5), `rarity` is 1 / sqrt(how many trajectories asked for that goal), and `ended`
is when the run ended. A difference of two priorities is that of gain · rarity · 2^(−age / half-life), whenever it is
taken: a priority is reckoned once. The formula is ours.

The type is that of an earlier analysis, else a guess by how the run ended.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from sqlalchemy import and_, func, select

from agenther_live.buffer.engines.engine import Transaction, any_of
from agenther_live.buffer.intake.trajectories import current
from agenther_live.buffer.schema import analyses, state, trajectories

__all__ = ["priority", "rank"]

GAINS = {"incomplete": 11.2, "constraint_violation": 9.8, "tool_error": 2.1}
OTHER_GAIN = 5.0
HALF_LIFE_SECONDS = 7 * 86_400.0
_EPOCH = datetime(2025, 1, 1)  # noqa: DTZ001  naive UTC, as everywhere
_CHUNK = 5000


def priority(failure_type: str, same_goal: int, ended: datetime) -> float:
    """Give the priority of a failure whose goal `same_goal` trajectories asked for, and that ended then (naive UTC)."""
    worth = GAINS.get(failure_type, OTHER_GAIN) / math.sqrt(max(1, same_goal))
    return math.log2(worth) + (ended - _EPOCH).total_seconds() / HALF_LIFE_SECONDS


def rank(tx: Transaction, n: int, *, now: datetime) -> None:
    """Give the queued failures that have none a priority, where more than `n` are queued."""
    s, t, a = state.c, trajectories.c, analyses.c
    [(queued,)] = tx.rows(select(func.count()).select_from(state).where(s.stage == "queued"))
    if queued <= n:
        return
    query = (
        select(s.trajectory_id, t.goal, t.finished_at, t.final_answer, t.error_type, t.n_errors, a.failure_type)
        .select_from(
            state.join(trajectories, current()).outerjoin(
                analyses, and_(a.relabeling_id == s.relabeling_id, a.trajectory_id == s.trajectory_id)
            )
        )
        .where(s.stage == "queued", s.priority == 0.0)
        .limit(_CHUNK)
    )
    rows = tx.rows(query)
    goals = {row[1] for row in rows}
    counted = select(t.goal, func.count()).where(any_of(t.goal, goals)).group_by(t.goal)
    same = dict(tx.rows(counted)) if goals else {}
    ranked = [
        (key, priority(kind or _guess(*facts), same.get(goal, 1), ended or now))
        for key, goal, ended, *facts, kind in rows
    ]
    tx.update(state, ("trajectory_id",), ("priority",), ranked)


def _guess(final_answer: Any, error_type: str | None, n_errors: int | None) -> str:
    if error_type is not None or not (final_answer or "").strip():
        return "incomplete"
    return "tool_error" if n_errors else "wrong_result"
