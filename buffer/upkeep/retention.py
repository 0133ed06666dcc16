"""Retention: the oldest trajectories go, by age, count and bytes; in small steps, by a clock that cannot jump."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from sqlalchemy import delete, func, select, update

from agenther_live.buffer.engines.engine import Transaction, any_of
from agenther_live.buffer.schema import counts, cursors, drawn, draws, evidence, llm_calls, state, trajectories
from agenther_live.buffer.upkeep import audit, erase
from agenther_live.buffer.upkeep.tombstones import Tombs
from agenther_live.settings import Settings

__all__ = ["CLOCK", "Forgotten", "advance", "cutoff", "forget_cursors", "forget_logs", "forget_some", "paced"]

CLOCK = "retention.clock"
_STEP = timedelta(days=1)
_PIECE = 2_000  # rows
_FOLDED = "folded"
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
    t = trajectories.c
    busy = erase.being_written(tx)
    found = [key for key, _ in islice(_oldest(tx, busy, before=cutoff(settings, moment)), limit)]
    if len(found) >= limit:
        return found
    # What stays after that: how many fit in count and bytes is decided by a running sum.
    [(count, size)] = tx.rows(select(func.count(), func.sum(t.size)).select_from(trajectories))
    room = settings.history_trajectories
    over_count = 0 if room is None else int(count) - len(found) - room
    over_bytes = int(size or 0) - settings.history_bytes
    if over_bytes > 0:
        over_bytes -= _sizes(tx, found)
    if over_count <= 0 and over_bytes <= 0:
        return found
    for key, one in _oldest(tx, busy.union(found)):
        if len(found) >= limit or (over_count <= 0 and over_bytes <= 0):
            break
        found.append(key)
        over_count -= 1
        over_bytes -= one
    return found


def _oldest(tx: Transaction, skipped: Collection[str], *, before: datetime | None = None) -> Iterator[tuple[str, int]]:
    """Give trajectories that may go, with their size in bytes, in the order in which they were taken in.

    The wide table's order first, then the state of a piece at a time: a join would read through both.
    """
    t, s = trajectories.c, state.c
    query = select(t.trajectory_id, t.revision, t.size).order_by(t.ingested_at, t.trajectory_id)
    if before is not None:
        query = query.where(t.ingested_at < before)
    at = 0
    rows: list[tuple[Any, ...]] = [()] * _PIECE
    while len(rows) == _PIECE:
        rows = tx.rows(query.limit(_PIECE).offset(at))
        at += _PIECE
        ended = select(s.trajectory_id, s.revision).where(s.status.not_in(("open", "interrupted")))
        current = dict(tx.rows(ended.where(any_of(s.trajectory_id, [row[0] for row in rows]))))
        yield from ((key, int(size)) for key, rev, size in rows if current.get(key) == rev and key not in skipped)


def _sizes(tx: Transaction, ids: Sequence[str]) -> int:
    if not ids:
        return 0
    [(size,)] = tx.rows(select(func.sum(trajectories.c.size)).where(any_of(trajectories.c.trajectory_id, ids)))
    return int(size or 0)


def forget_logs(tx: Transaction, settings: Settings, *, moment: datetime) -> None:
    """Let go what else grows with time: the text of model replies (its cost stays), draws, feedback nobody claimed.

    Of what was counted only the sums stay.
    """
    before = cutoff(settings, moment)
    c, d, e = llm_calls.c, draws.c, evidence.c
    tx.rows(update(llm_calls).where(c.at < before, c.text.is_not(None)).values(text=None))
    tx.rows(delete(drawn).where(drawn.c.draw_id.in_(select(d.draw_id).where(d.at < before))))
    tx.rows(delete(draws).where(d.at < before))
    tx.rows(delete(evidence).where(e.trajectory_id.is_(None), e.received_at < before))
    _fold_counts(tx, before)


def _fold_counts(tx: Transaction, before: datetime) -> None:
    """Leave one row of each counter for all that was counted before: each process adds some every second."""
    c = counts.c
    old = c.at < before
    if not tx.rows(select(c.record_id).where(old, c.record_id != _FOLDED).limit(1)):
        return
    sums = tx.rows(select(func.max(c.at), c.name, func.sum(c.n)).where(old).group_by(c.name))
    tx.rows(delete(counts).where(old))
    tx.insert(counts, ("record_id", "at", "name", "n"), [(_FOLDED, at, name, int(n)) for at, name, n in sums])


def forget_cursors(tx: Transaction, living: set[str], *, now: datetime) -> int:
    """Remove the cursors of writers that have no segments any more and were not heard of for a week."""
    c = cursors.c
    old = {row[0] for row in tx.rows(select(c.writer).where(c.updated_at < now - _BEHIND))} - living
    if old:
        tx.rows(delete(cursors).where(any_of(c.writer, old)))
    return len(old)
