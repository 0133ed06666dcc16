"""Samples: stored once, moved by their table of moves, taken back when what they rest on changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import select

from agenther_live.buffer.engines.engine import Transaction, any_of
from agenther_live.buffer.intake import rows as shape
from agenther_live.buffer.schema import derived, retractions, sample_shards, sample_state, samples, shards
from agenther_live.labels import Sample
from agenther_live.trajectory import SAMPLE_MOVES, SampleState, check_move

__all__ = ["CONTRAST", "NewSample", "TakeBack", "add", "move", "take_back", "withdraw"]

CONTRAST = ("goal_contrast",)  # formats whose rows use the old goal as the worse one
OLD_GOAL = ("contrast", "failure")  # samples that say of the old goal that it failed
_SAMPLES = TypeAdapter(list[Sample])
_STATE = (
    "sample_id",
    "trajectory_id",
    "kind",
    "revision",
    "content_hash",
    "state",
    "reason",
    "changed_at",
    "weight",
    "created_at",
    "uses",
    "strategy",
    "writes",
)


@dataclass(frozen=True)
class NewSample:
    """A sample to store. `withdrawn` names why it must not reach a shard, if so."""

    sample: Sample
    revision: int
    relabeling_id: str | None = None
    withdrawn: str | None = None


@dataclass(frozen=True)
class TakeBack:
    """Which samples of a trajectory no longer hold, and why (a word that can be counted).

    `kind` narrows it to one kind, `before_revision` to those of older revisions, `contrast_only` to those that
    say that the old goal failed: by their kind, or (as it was in older homes) by standing in a shard of such rows.
    """

    trajectory_id: str
    reason: str
    kind: str | None = None
    before_revision: int | None = None
    contrast_only: bool = False


def add(tx: Transaction, new: Sequence[NewSample], *, now: datetime) -> int:
    """Store samples that are not known yet; give how many wait for a shard now.

    One whose content another living sample has is kept as withdrawn, 'duplicate'.
    """
    by_id = {one.sample.sample_id: one for one in new}
    if not by_id:
        return 0
    known = {row[0] for row in tx.rows(select(sample_state.c.sample_id).where(any_of(sample_state.c.sample_id, by_id)))}
    fresh = [one for sample_id, one in by_id.items() if sample_id not in known]
    hashes = {one.sample.content_hash for one in fresh if one.sample.content_hash}
    s = sample_state.c
    alive = select(s.content_hash).where(any_of(s.content_hash, hashes), s.state.in_(("pending", "emitted")))
    seen = {row[0] for row in tx.rows(alive)} if hashes else set()
    rows, states = [], []
    pending = 0
    for one in fresh:
        sample = one.sample
        reason = one.withdrawn or ("duplicate" if sample.content_hash in seen else None)
        if reason is None:
            pending += 1
            seen |= {sample.content_hash} - {""}
        rows.append(shape.sample_row(sample, revision=one.revision, relabeling_id=one.relabeling_id, now=now))
        kept: SampleState = "withdrawn" if reason else "pending"
        states.append(
            (
                sample.sample_id,
                sample.trajectory_id,
                sample.kind,
                one.revision,
                sample.content_hash,
                kept,
                reason,
                now,
                sample.weight,
                now,
                0,
                sample.strategy,
                sample.writes,
            )
        )
    tx.insert(samples, shape.SAMPLE, rows)
    tx.insert(sample_state, _STATE, states)
    return pending


def move(
    tx: Transaction, moves: Iterable[tuple[str, SampleState, SampleState]], reason: str | None, *, now: datetime
) -> None:
    """Move samples (id, from, to) after checking each move."""
    rows = []
    for sample_id, old, new in moves:
        check_move(SAMPLE_MOVES, old, new, f"sample {sample_id}")
        rows.append((sample_id, new, reason, now))
    tx.update(sample_state, ("sample_id",), ("state", "reason", "changed_at"), rows)


def withdraw(tx: Transaction, chosen: Mapping[str, SampleState], reason: str, *, now: datetime) -> Counter[str]:
    """Take samples (id → state) back: what no shard holds is withdrawn, what one does or may is to be retracted."""
    if not chosen:
        return Counter()
    chosen = {**resting_on(tx, chosen), **chosen}
    held = _in_shards(tx, chosen)
    first = [(key, "pending", "emitted") for key, old in chosen.items() if old == "pending" and key in held]
    moves: list[tuple[str, SampleState, SampleState]] = []
    for key, old in chosen.items():
        if key in held or old == "emitted":
            moves.append((key, "emitted", "retracted"))
        else:
            moves.append((key, old, "withdrawn"))
    for key, _, _ in first:  # a shard that is being written holds it: it counts as emitted
        check_move(SAMPLE_MOVES, "pending", "emitted", f"sample {key}")
    move(tx, moves, reason, now=now)
    due = [(key, reason, now, None, None) for key, _, new in moves if new == "retracted"]
    tx.insert(retractions, ("sample_id", "reason", "at", "seq", "done_at"), due)
    return +Counter(retracted=len(due), withdrawn=len(moves) - len(due))


def resting_on(tx: Transaction, sample_ids: Iterable[str]) -> dict[str, SampleState]:
    """Give the living samples (id → state) that were made of these: they go with them."""
    d, s = derived.c, sample_state.c
    ids = list(sample_ids)
    found: dict[str, SampleState] = {}
    for side in (d.source_id, d.worse_id):
        query = select(s.sample_id, s.state).join(derived, d.sample_id == s.sample_id)
        found |= dict(tx.rows(tx.held(query.where(any_of(side, ids), s.state.in_(("pending", "emitted"))))))
    return found


def take_back(tx: Transaction, wanted: Sequence[TakeBack], *, now: datetime) -> Counter[str]:
    """Take back what `wanted` describes; give how many samples were withdrawn and retracted."""
    by_trajectory = {one.trajectory_id: one for one in wanted}
    if not by_trajectory:
        return Counter()
    s = sample_state.c
    query = select(s.sample_id, s.trajectory_id, s.kind, s.revision, s.state).where(
        any_of(s.trajectory_id, by_trajectory), s.state.in_(("pending", "emitted"))
    )
    found = tx.rows(tx.held(query))
    contrast = _in_shards(tx, [row[0] for row in found], formats=CONTRAST) if found else frozenset()
    chosen: dict[str, dict[str, SampleState]] = {}
    for sample_id, trajectory_id, kind, revision, old in found:
        want = by_trajectory[trajectory_id]
        if want.kind not in (None, kind):
            continue
        if want.contrast_only and kind not in OLD_GOAL and sample_id not in contrast:
            continue
        if want.before_revision is not None and revision >= want.before_revision:
            continue
        chosen.setdefault(want.reason, {})[sample_id] = old
    total: Counter[str] = Counter()
    gone: set[str] = set()
    for reason, ids in chosen.items():
        left: dict[str, SampleState] = {key: old for key, old in ids.items() if key not in gone}
        gone |= left.keys() | resting_on(tx, left).keys()  # what rests on two of them goes once
        total += withdraw(tx, left, reason, now=now)
    return total


def _in_shards(tx: Transaction, sample_ids: Iterable[str], formats: Collection[str] | None = None) -> frozenset[str]:
    """Give those that stand in a shard that is published or being written."""
    link = sample_shards.c
    query = (
        select(link.sample_id)
        .join(shards, shards.c.seq == link.seq)
        .where(any_of(link.sample_id, sample_ids), shards.c.state != "abandoned")
    )
    if formats is not None:
        query = query.where(link.format.in_(formats))
    return frozenset(row[0] for row in tx.rows(query))


def of(tx: Transaction, trajectory_id: str) -> list[Sample]:
    """Load the samples of a trajectory, in the order of their ids."""
    ids = tx.rows(select(samples.c.sample_id).where(samples.c.trajectory_id == trajectory_id))
    found = load(tx, [row[0] for row in ids])
    return [found[key] for key in sorted(found)]


def load(tx: Transaction, sample_ids: Sequence[Any]) -> dict[str, Sample]:
    """Load samples by id, with the time at which they were recorded."""
    p = samples.c
    query = select(p.sample_id, p.size, p.payload, p.created_at).where(any_of(p.sample_id, sample_ids))
    rows = tx.rows(query)
    texts = b",".join(shape.unpack(payload, size) for _, size, payload, _ in rows)
    read = _SAMPLES.validate_json(b"[" + texts + b"]")  # all at once: a third less than one by one
    return {
        row[0]: sample if sample.created_at else sample.model_copy(update={"created_at": row[-1]})
        for row, sample in zip(rows, read, strict=True)
    }
