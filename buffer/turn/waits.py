"""When something becomes due by time alone: a worker with nothing to do need not open the buffer before."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import func, select

from agenther_live.buffer.engines.engine import Transaction
from agenther_live.buffer.output.ledger import backlog
from agenther_live.buffer.schema import labels, state
from agenther_live.settings import ShardFormat

__all__ = ["next_due"]

_AGAIN = 10  # looks in the time that a shard may wait


def next_due(
    tx: Transaction,
    formats: Iterable[ShardFormat],
    *,
    now: datetime,
    interrupted_seconds: float,
    undo_seconds: float,
    shard_seconds: float,
) -> datetime:
    """Give the first moment (naive UTC) at which a tick may find work though nobody wrote anything since `now`.

    Args:
        tx: a reading transaction.
        formats: what is published.
        now: naive UTC.
        interrupted_seconds: how long an interrupted trajectory waits for its resume.
        undo_seconds: how long a person's label may be undone.
        shard_seconds: how long a sample waits for its shard.
    """
    s, c = state.c, labels.c
    living = select(
        func.min(s.settle_at).filter(s.stage == "waiting"),
        func.min(s.retry_at).filter(s.stage == "errored"),
        func.min(s.waiting_since).filter(s.status == "interrupted"),
    ).where(s.merged_into.is_(None))
    [(settles, retries, interrupted)] = tx.rows(living)
    [(labeled,)] = tx.rows(select(func.min(c.at)).where(c.applied_at.is_(None), c.undone_at.is_(None)))
    moments = [settles, retries, _later(interrupted, interrupted_seconds), _later(labeled, undo_seconds)]
    for fmt in formats:
        waiting = backlog(tx, fmt)
        if waiting.count:  # one that waits for company has its time behind it; a younger one may not
            moment = _later(waiting.oldest, shard_seconds)
            soon = now + timedelta(seconds=shard_seconds / _AGAIN)
            moments.append(soon if moment is None else max(moment, soon))
    return min((moment for moment in moments if moment is not None), default=datetime.max)  # noqa: DTZ901


def _later(moment: datetime | None, seconds: float) -> datetime | None:
    return None if moment is None else moment + timedelta(seconds=seconds)
