"""Several runs for one goal in hindsight: the shortest is kept, since detours teach nothing that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import select

from agenther_live.buffer.engines.engine import Transaction, any_of
from agenther_live.buffer.output import samples as store
from agenther_live.buffer.output.samples import NewSample
from agenther_live.buffer.schema import sample_state, samples

__all__ = ["shortest"]

WORD = "longer"  # why one is withdrawn


def shortest(tx: Transaction, new: Sequence[NewSample], *, now: datetime) -> list[NewSample]:
    """Mark new hindsight samples that are longer than another of the same agent and goal; withdraw such old ones.

    Length is the number of messages. Equally long ones are all kept, and what a shard holds stays there.
    """
    ours = [one for one in new if one.withdrawn is None and one.sample.strategy == "final"]
    goals = {one.sample.goal for one in ours}
    if not goals:
        return list(new)
    p, s = samples.c, sample_state.c
    query = select(p.sample_id, s.state).join(sample_state, s.sample_id == p.sample_id)
    living = query.where(any_of(p.goal, goals), p.kind == "hindsight", s.state.in_(("pending", "emitted")))
    states = dict(tx.rows(living.where(s.strategy.is_distinct_from("future"), s.strategy.is_distinct_from("lane"))))
    old = store.load(tx, list(states)) if states else {}
    best: dict[tuple[str, str], int] = {}
    for sample in [*(one.sample for one in ours), *old.values()]:
        key = sample.agent, sample.goal
        best[key] = min(best.get(key, len(sample.messages)), len(sample.messages))
    longer = {
        sample_id: states[sample_id]
        for sample_id, sample in old.items()
        if states[sample_id] == "pending" and len(sample.messages) > best[sample.agent, sample.goal]
    }
    store.withdraw(tx, longer, WORD, now=now)
    kept = {id(one) for one in ours if len(one.sample.messages) == best[one.sample.agent, one.sample.goal]}
    marked = {id(one) for one in ours} - kept
    return [replace(one, withdrawn=WORD) if id(one) in marked else one for one in new]
