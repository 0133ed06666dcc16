"""What decides which samples go into shards together: narrow rows about samples, and the goals of users."""

from __future__ import annotations

from sqlalchemy import and_, case, exists, select

from agenther_live.buffer.engines.engine import Transaction
from agenther_live.buffer.intake.trajectories import current
from agenther_live.buffer.output.ledger import waiting
from agenther_live.buffer.schema import sample_state, samples, state, steps, trajectories
from agenther_live.relabel.trust.diversity import Head
from agenther_live.settings import ShardFormat

__all__ = ["heads", "taught", "tools", "user_goals"]

_WINDOW = 5000


def heads(tx: Transaction, fmt: ShardFormat) -> list[Head]:
    """Give the latest 5,000 living samples: those in shards of this format, then those that wait, each oldest first."""
    s, p = sample_state.c, samples.c
    waits = case((exists(select(1).where(*waiting(fmt)).correlate(sample_state)), True), else_=False)
    query = (
        select(s.sample_id, s.kind, p.goal, s.strategy, s.writes, waits, s.created_at)
        .select_from(sample_state.join(samples, p.sample_id == s.sample_id))
        .where(s.state.in_(("pending", "emitted")), s.kind.in_(("hindsight", "success")))
        .order_by(s.created_at.desc(), s.sample_id.desc())
        .limit(_WINDOW)
    )
    found = [Head(*row) for row in tx.rows(query)]
    return sorted(reversed(found), key=lambda head: head.waits)


def user_goals(tx: Transaction) -> list[tuple[str, str | None]]:
    """Give what users asked for lately, each as often as it was asked, with the policy version that acted."""
    t, s = trajectories.c, state.c
    query = (
        select(t.goal, t.policy_version)
        .join(state, current())
        .where(~s.held_out, s.merged_into.is_(None), t.goal != "")
        .order_by(t.started_at.desc(), t.trajectory_id)
        .limit(_WINDOW)
    )
    return [(goal, version) for goal, version in tx.rows(query)]


def tools(tx: Transaction) -> list[tuple[str, str]]:
    """Give every tool that agents called lately, with the agent."""
    t, c = trajectories.c, steps.c
    lately = (
        select(t.trajectory_id, t.revision, t.agent)
        .join(state, current())
        .order_by(t.started_at.desc(), t.trajectory_id)
        .limit(_WINDOW)
        .subquery()
    )
    query = (
        select(lately.c.agent, c.action_name)
        .distinct()
        .join(lately, and_(lately.c.trajectory_id == c.trajectory_id, lately.c.revision == c.revision))
        .where(c.action_name.is_not(None), c.agent_path == "")
        .order_by(lately.c.agent, c.action_name)
        .limit(1000)
    )
    return [(agent, name) for agent, name in tx.rows(query)]


def taught(tx: Transaction) -> list[tuple[str, str | None]]:
    """Give the goals of the latest living samples, with the policy version that acted."""
    s, p, t = sample_state.c, samples.c, trajectories.c
    query = (
        select(p.goal, t.policy_version)
        .select_from(
            sample_state.join(samples, p.sample_id == s.sample_id)
            .join(trajectories, t.trajectory_id == s.trajectory_id)
            .join(state, current())
        )
        .where(s.state.in_(("pending", "emitted")), s.kind.in_(("hindsight", "success")))
        .order_by(s.created_at.desc())
        .limit(_WINDOW)
    )
    return [(goal, version) for goal, version in tx.rows(query)]
