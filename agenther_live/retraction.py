"""Retraction by hand: which samples an SQL condition means, what is published about it, and who has read them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from agenther_live.buffer.store import Buffer
from agenther_live.errors import WorkerRunning
from agenther_live.fleet import holds_shards
from agenther_live.shards.files.manifest import Manifest, live
from agenther_live.shards.files.publish import retract_due
from agenther_live.shards.files.purge import Reading, readers

__all__ = ["Retracted", "retract"]

_CHOSEN = """
WITH chosen AS (
    SELECT sample_id FROM samples JOIN trajectories USING (trajectory_id)
    WHERE samples.state IN ('pending', 'emitted') AND ({where}
    )
), gone AS (
    SELECT sample_id FROM chosen
    UNION
    SELECT d.sample_id FROM derived AS d JOIN samples AS p ON p.sample_id = d.sample_id
    WHERE p.state IN ('pending', 'emitted')
      AND (d.source_id IN (SELECT sample_id FROM chosen) OR d.worse_id IN (SELECT sample_id FROM chosen))
)
"""


@dataclass(frozen=True)
class Retracted:
    """What was taken back, or would be.

    `samples` are the ids, pairs made of chosen samples among them; `shards` the files that hold some of them, and
    `replaced_by` those that stand in for these now. `retraction` is the number under which it was published; while it
    is None and `published` false, a worker that runs will publish it at its next tick. `readers` have read some.
    """

    samples: list[str]
    dry_run: bool
    shards: list[str] = field(default_factory=list)
    replaced_by: list[str] = field(default_factory=list)
    retraction: int | None = None
    published: bool = False
    readers: list[Reading] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Give it as JSON-ready data."""
        return asdict(self)


def retract(
    buffer: Buffer,
    root: Path,
    *,
    where: str,
    reason: str,
    dry_run: bool,
    now: datetime,
    as_worker: Callable[[], AbstractContextManager[None]],
) -> Retracted:
    """Take back the samples that an SQL condition over samples and trajectories chooses, and what was made of them.

    What shards hold is retracted and the shards are written anew at once, in a block of `as_worker`, unless a worker
    of another process holds the home, or (in a fleet) the buffer's shards are not in this one: then whoever publishes
    does so at its next tick.

    Raises:
        QueryError: the condition is no SQL over the columns of `samples` and `trajectories`.
        ShardError: the volume refuses; the next tick goes on.
    """
    query = _CHOSEN.format(where=where)
    ids = sorted(str(row[0]) for row in buffer.sql(f"{query} SELECT sample_id FROM gone").fetchall())
    if not ids:
        return Retracted([], dry_run)
    held = buffer.sql(
        f"{query} SELECT DISTINCT h.seq, h.format FROM shards AS h JOIN sample_shards AS l ON l.seq = h.seq "
        "WHERE h.state <> 'abandoned' AND l.sample_id IN (SELECT sample_id FROM gone)"
    ).fetchall()
    seqs = {int(seq): str(fmt) for seq, fmt in held}
    before = _paths(root, seqs)
    found = readers(root, seqs)
    if dry_run:
        return Retracted(ids, dry_run, before, readers=found)
    buffer.withdraw(ids, reason, now=now)
    number = None
    published = not seqs
    if seqs:
        try:
            with as_worker(), buffer.alone("emit") as ours:
                if ours and holds_shards(buffer, root):
                    retract_due(buffer, root, now=now)
                    published = True
                    number = Manifest(root).retractions()[-1].seq
        except WorkerRunning:
            pass
    after = [path for path in _paths(root, seqs) if path not in before] if published else []
    return Retracted(ids, dry_run, before, after, number, published, found)


def _paths(root: Path, seqs: dict[int, str]) -> list[str]:
    return [entry.path for entry in live(Manifest(root).entries()) if entry.seq in seqs]
