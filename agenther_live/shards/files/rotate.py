"""When pending samples become shards, and which go together: pure arithmetic."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

__all__ = ["Backlog", "Limits", "aged", "cut", "due"]


@dataclass(frozen=True)
class Limits:
    """A shard is closed at so many rows, so many bytes, or so many seconds after its oldest sample was made."""

    rows: int = 1000
    bytes: int = 64 << 20
    seconds: float = 60.0


@dataclass(frozen=True)
class Backlog:
    """What waits for one format: how many samples, and since when (naive UTC; None where unknown)."""

    count: int
    oldest: datetime | None = None


def due(backlog: Backlog, limits: Limits, *, now: datetime, flush: bool) -> bool:
    """Say whether a shard is to be made now. `flush` takes whatever is there."""
    if not backlog.count:
        return False
    if flush or backlog.count >= limits.rows:
        return True
    return aged(backlog.oldest, limits, now=now)


def aged(made_at: datetime | None, limits: Limits, *, now: datetime) -> bool:
    """Say whether a sample made then has waited long enough; one of unknown age has."""
    return made_at is None or (now - made_at).total_seconds() >= limits.seconds


def cut(rows: Sequence[tuple[int, bool]], limits: Limits, *, rest: bool) -> tuple[list[list[int]], list[int]]:
    """Put rows (size in bytes, whether it trains a final answer) into shards, as indices; oldest come first.

    A shard is full at `limits.rows` rows or when one more would pass `limits.bytes`; a single larger row is a shard
    of its own. What would not fill one stays, unless `rest`. At least half of the rows of each shard train a final
    answer: the second result are rows that must wait for such company.
    """
    finals = deque(at for at, (_, final) in enumerate(rows) if final)
    others = deque(at for at, (_, final) in enumerate(rows) if not final)
    shards: list[list[int]] = []
    shard: list[int] = []
    size = lead = 0  # lead: by how many the final answers outnumber the others in this shard
    while finals or (others and lead):
        # Others first, wherever the shard can bear one: so none is left over that could have had company.
        queue = others if others and lead else finals
        if shard and (len(shard) >= limits.rows or size + rows[queue[0]][0] > limits.bytes):
            shards.append(sorted(shard))
            shard, size, lead = [], 0, 0
            continue
        lead += -1 if queue is others else 1
        size += rows[queue[0]][0]
        shard.append(queue.popleft())
    if shard and (rest or len(shard) >= limits.rows or size >= limits.bytes):
        shards.append(sorted(shard))
    return shards, list(others)
