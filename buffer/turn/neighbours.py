"""What other users asked the same agent for: the goals that a failed run may have reached, and how people write."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import select

from agenther_live.buffer.engines.engine import Transaction, any_of
from agenther_live.buffer.intake.trajectories import current
from agenther_live.buffer.schema import state, trajectories
from agenther_live.relabel.models import UserGoal
from agenther_live.trajectory import Trajectory

__all__ = ["goals_of_others"]

_WINDOW = 2000  # latest trajectories of an agent that are looked at
_GIVEN = 200


class _Row(NamedTuple):
    trajectory_id: str
    agent: str
    tenant: str | None
    thread_id: str | None
    goal: str
    started_at: datetime | None


def goals_of_others(tx: Transaction, items: Iterable[Trajectory]) -> dict[str, tuple[UserGoal, ...]]:
    """Give each trajectory up to 200 goals of other threads of its agent and tenant, latest first.

    Of the train split only, each text once; where times are known, of runs that began before it, so that a prompt made
    of them is the same at a later visit.
    """
    wanted = list(items)
    t, s = trajectories.c, state.c
    known: dict[str, list[_Row]] = defaultdict(list)
    for agent in {one.agent for one in wanted}:
        query = (
            select(t.trajectory_id, t.agent, t.tenant, t.thread_id, t.goal, t.started_at)
            .join(state, current())
            .where(any_of(t.agent, [agent]), ~s.held_out, s.merged_into.is_(None), t.goal != "")
            .order_by(t.started_at.desc(), t.trajectory_id)
            .limit(_WINDOW)
        )
        known[agent] = [_Row(*row) for row in tx.rows(query)]
    return {one.trajectory_id: _of_others(one, known[one.agent]) for one in wanted}


def _of_others(one: Trajectory, rows: Iterable[_Row]) -> tuple[UserGoal, ...]:
    found: dict[str, UserGoal] = {}
    for row in rows:
        same_thread = one.thread_id is not None and row.thread_id == one.thread_id
        later = one.started_at is not None and row.started_at is not None and row.started_at >= one.started_at
        if row.trajectory_id == one.trajectory_id or same_thread or later or row.tenant != one.tenant:
            continue
        if row.goal not in found and row.goal != one.goal:
            found[row.goal] = UserGoal(row.goal, row.trajectory_id)
            if len(found) == _GIVEN:
                break
    return tuple(found.values())
