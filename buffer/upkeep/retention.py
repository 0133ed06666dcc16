"""Retention: the oldest trajectories go, by age, count and bytes; in small steps, by a clock that cannot jump."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, delete, func, select, update

from agenther_live.buffer.engines.engine import Transaction
from agenther_live.buffer.schema import cursors, drawn, draws, evidence, llm_calls, state, trajectories
from agenther_live.buffer.upkeep import audit, erase
from agenther_live.buffer.upkeep.tombstones import Tombs, any_of
from agenther_live.settings import Settings

__all__ = ["CLOCK", "Forgotten", "advance", "cutoff", "forget_cursors", "forget_logs", "forget_some", "paced"]

CLOCK = "retention.clock"
_STEP = timedelta(days=1)
_BEHIND = timedelta(days=7)  # a writer without segments for so long does not come back


@dataclass(frozen=True)
class Forgotten:
    """What one step let go; `more` says that others are due."""

    trajectories: int = 0
    samples: int = 0
    more: bool = False


def paced(now: datetime, before: datetime | None) -> datetime:
    """Give the time that ages are measured by: it follows the clock, one day at most with each call, and back at once.

    A clock that jumps a year ahead would else take the whole history with it. Naive UTC.
    """
    return now if before is None else min(now, before + _STEP)


def cutoff(settings: Settings, moment: datetime) -> datetime:
    """Give the time before which everything is too old."""
    return moment - timedelta(days=settings.history_days)


def advance(tx: Transaction, *, now: datetime) -> datetime:
    """Move the retention's own clock on, and give it."""
    told = audit.wanted(tx, CLOCK)
    moment = paced(now, datetime.fromisoformat(told) if told else None)
    audit.remember(tx, CLOCK, moment.isoformat())
    return moment


def forget_some(tx: Transaction, settings: Settings, *, moment: datetime, now: datetime, limit: int) -> Forgotten:
    """Let up to `limit` trajectories go that are too old by `moment`, or too many, or too large together.

    Oldest first, by the time they were taken in: an import of old logs is new here. What waits for its resume, is
    open, or stands in a shard that is being written stays.
    """
    due = _due(tx, settings, moment=moment, limit=limit + 1)
    ids = due[:limit]
    if not ids:
        return Forgotten()
    gone, samples = erase.forget(tx, ids, Tombs(settings), now=now)
    return Forgotten(gone, samples, more=len(due) > limit)


def _due(tx: Transaction, settings: Settings, *, moment: datetime, limit: int) -> list[str]:
    s, t = state.c, trajectories.c
    busy = erase.being_written(tx)
    narrow = (
        select(s.trajectory_id, t.ingested_at, t.size)
        .join(trajectories, and_(t.trajectory_id == s.trajectory_id, t.revision == s.revision))
        .where(s.status.not_in(("open", "interrupted")))
    )
    before = cutoff(settings, moment)
    old = tx.rows(
        narrow.where(t.ingested_at < before).order_by(t.ingested_at, s.trajectory_id).limit(limit + len(busy))
    )
    found = [row[0] for row in old if row[0] not in busy]
    if len(found) >= limit:
        return found[:limit]
    # What stays after that, newest first: how many fit in count and bytes is decided by a running sum.
    [(count, size)] = tx.rows(select(func.count(), func.sum(t.size)).select_from(trajectories))
    room = settings.history_trajectories
    if (room is None or count - len(found) <= room) and int(size or 0) <= settings.history_bytes:
        return found
    return _overflow(tx, settings, narrow, set(found) | busy, found, limit)


def _overflow(
    tx: Transaction, settings: Settings, narrow: object, skipped: set[str], found: list[str], limit: int
) -> list[str]:
    t = trajectories.c
    [(count, size)] = tx.rows(select(func.count(), func.sum(t.size)).select_from(trajectories))
    gone = _sizes(tx, found)
    over_count = 0 if settings.history_trajectories is None else int(count) - len(found) - settings.history_trajectories
    over_bytes = int(size or 0) - gone - settings.history_bytes
    rows = tx.rows(narrow.order_by(t.ingested_at, state.c.trajectory_id).limit(limit + len(skipped)))  # type: ignore[attr-defined]
    for key, _, one in rows:
        if len(found) >= limit or (over_count <= 0 and over_bytes <= 0):
            break
        if key not in skipped:
            found.append(key)
            over_count -= 1
            over_bytes -= int(one)
    return found


def _sizes(tx: Transaction, ids: Sequence[str]) -> int:
    if not ids:
        return 0
    [(size,)] = tx.rows(select(func.sum(trajectories.c.size)).where(any_of(trajectories.c.trajectory_id, ids)))
    return int(size or 0)


def forget_logs(tx: Transaction, settings: Settings, *, moment: datetime) -> None:
    """Let go what else grows with time: the text of model replies (its cost stays), draws, feedback nobody claimed."""
    before = cutoff(settings, moment)
    c, d, e = llm_calls.c, draws.c, evidence.c
    tx.rows(update(llm_calls).where(c.at < before, c.text.is_not(None)).values(text=None))
    tx.rows(delete(drawn).where(drawn.c.draw_id.in_(select(d.draw_id).where(d.at < before))))
    tx.rows(delete(draws).where(d.at < before))
    tx.rows(delete(evidence).where(e.trajectory_id.is_(None), e.received_at < before))


def forget_cursors(tx: Transaction, living: set[str], *, now: datetime) -> int:
    """Remove the cursors of writers that have no segments any more and were not heard of for a week."""
    c = cursors.c
    old = {row[0] for row in tx.rows(select(c.writer).where(c.updated_at < now - _BEHIND))} - living
    if old:
        tx.rows(delete(cursors).where(any_of(c.writer, old)))
    return len(old)
