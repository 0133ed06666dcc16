"""Calls of chat models: what was asked is paid once, and the day's spend is known."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy import func, select

from agenther_live.buffer.engines.engine import Transaction, any_of
from agenther_live.buffer.schema import llm_calls

__all__ = ["Call", "add_calls", "spent"]

_COLUMNS = tuple(column.name for column in llm_calls.columns)


class Call(Protocol):
    """What is stored of one call; `at` is naive UTC, `cost_usd` None where the price is unknown."""

    @property
    def call_key(self) -> str: ...  # noqa: D102
    @property
    def purpose(self) -> str: ...  # noqa: D102
    @property
    def model(self) -> str: ...  # noqa: D102
    @property
    def prompt_tokens(self) -> int: ...  # noqa: D102
    @property
    def completion_tokens(self) -> int: ...  # noqa: D102
    @property
    def cost_usd(self) -> float | None: ...  # noqa: D102
    @property
    def status(self) -> str: ...  # noqa: D102
    @property
    def text(self) -> str | None: ...  # noqa: D102
    @property
    def at(self) -> datetime: ...  # noqa: D102
    @property
    def trajectory_id(self) -> str | None: ...  # noqa: D102


def add_calls(tx: Transaction, rows: Iterable[Call], buried: Collection[str] = ()) -> int:
    """Store calls that are not known by their key yet; give how many were new.

    Of those about trajectories that were deleted meanwhile (`buried`) only the cost is kept.
    """
    new = {row.call_key: row for row in rows}
    if not new:
        return 0
    known = tx.rows(select(llm_calls.c.call_key).where(any_of(llm_calls.c.call_key, new)))
    for (key,) in known:
        del new[key]
    silent = ("text", "trajectory_id")
    return tx.insert(
        llm_calls,
        _COLUMNS,
        [
            tuple(None if name in silent and row.trajectory_id in buried else getattr(row, name) for name in _COLUMNS)
            for row in new.values()
        ],
    )


def spent(tx: Transaction, *, since: datetime) -> float:
    """Add up what the calls whose price is known cost from `since` on (naive UTC), in US dollars."""
    c = llm_calls.c
    [(usd,)] = tx.rows(select(func.coalesce(func.sum(c.cost_usd), 0.0)).where(c.at >= since))
    return float(usd)


def day_of(now: datetime) -> datetime:
    """Give the start of the UTC day."""
    return now - timedelta(hours=now.hour, minutes=now.minute, seconds=now.second, microseconds=now.microsecond)
