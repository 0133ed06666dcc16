"""Leases: on an engine with many workers, whoever claims a trajectory has it for a while, and renews while it works.

A worker that dies lets its leases run out; one that stops gives them back. The clock is the database's, since workers
run on many machines. On DuckDB one worker serves a home, and nothing is leased.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Interval, cast, func, or_, true, update

from agenther_live.buffer.engines.engine import Transaction, any_of
from agenther_live.buffer.schema import state

__all__ = ["Lessee", "free", "release", "renew", "take"]


@dataclass(frozen=True)
class Lessee:
    """Who leases, and for how many seconds at a time."""

    name: str
    seconds: float


def _now() -> ColumnElement[Any]:
    return func.timezone("utc", func.clock_timestamp())


def _end(seconds: float) -> ColumnElement[Any]:
    return _now() + cast(f"{seconds} seconds", Interval)


def free(lessee: Lessee | None) -> ColumnElement[bool]:
    """Give the condition that nobody else has a trajectory now."""
    if lessee is None:
        return true()
    s = state.c
    return or_(s.leased_by.is_(None), s.leased_by == lessee.name, s.leased_until < _now())


def take(tx: Transaction, trajectory_ids: Iterable[str], lessee: Lessee | None) -> None:
    """Lease these trajectories; the caller holds their rows."""
    if lessee is not None:
        ours = {"leased_by": lessee.name, "leased_until": _end(lessee.seconds)}
        tx.rows(update(state).where(any_of(state.c.trajectory_id, trajectory_ids)).values(ours))


def renew(tx: Transaction, lessee: Lessee) -> None:
    """Begin every lease of ours anew."""
    tx.rows(update(state).where(state.c.leased_by == lessee.name).values(leased_until=_end(lessee.seconds)))


def release(tx: Transaction, lessee: Lessee) -> None:
    """Give every lease of ours back."""
    tx.rows(update(state).where(state.c.leased_by == lessee.name).values(leased_by=None, leased_until=None))
