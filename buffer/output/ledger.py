"""What publishing asks of the buffer (`shards.publish.Ledger`): shards begun, published, given up; retractions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, exists, func, select
from sqlalchemy.sql import ColumnElement

from agenther_live.buffer.engines.engine import Transaction, any_of
from agenther_live.buffer.output.samples import load, move
from agenther_live.buffer.schema import derived, retractions, sample_shards, sample_state, set_aside, shards
from agenther_live.errors import MoveRefused, ShardError
from agenther_live.settings import ShardFormat
from agenther_live.shards.files.publish import Due, Unfinished
from agenther_live.shards.files.rotate import Backlog
from agenther_live.shards.files.writer import ShardFile
from agenther_live.shards.rows.formats import DEMONSTRATIONS, DIALECTS, kinds_of

_ALIVE = ("pending", "emitted")
_DERIVED = frozenset(fmt for fmt in DIALECTS if not kinds_of(fmt) <= DEMONSTRATIONS)


def waiting(fmt: ShardFormat) -> list[ColumnElement[bool]]:
    """Give the conditions under which a sample waits for a shard of this format."""
    s = sample_state.c
    in_shard = exists().where(sample_shards.c.sample_id == s.sample_id, sample_shards.c.format == fmt)
    aside = exists().where(set_aside.c.sample_id == s.sample_id, set_aside.c.format == fmt)
    conditions: list[ColumnElement[bool]] = [s.state.in_(_ALIVE), s.held.is_(None), ~in_shard, ~aside]
    if fmt in _DERIVED:  # while what a sample was made of is held for a person, so is the sample
        source = sample_state.alias("source")
        for side in (derived.c.source_id, derived.c.worse_id):
            made_of = (derived.c.sample_id == s.sample_id, source.c.sample_id == side)
            conditions.append(~exists().where(*made_of, source.c.held.is_not(None)))
    return [*conditions, s.kind.in_(sorted(kinds_of(fmt)))]


def _waiting(tx: Transaction, fmt: ShardFormat) -> list[ColumnElement[bool]]:
    """Give `waiting`, and where all shards are of this format, that what was emitted is in one: few are left to ask."""
    others = select(shards.c.seq).where(shards.c.format != fmt, shards.c.state != "abandoned").limit(1)
    return waiting(fmt) if tx.rows(others) else [sample_state.c.state == "pending", *waiting(fmt)]


def backlog(tx: Transaction, fmt: ShardFormat) -> Backlog:
    """Count the samples that wait for this format, and say since when."""
    s = sample_state.c
    # A living sample that is in no shard of this format may be emitted in another: its age is that of its making.
    [(count, oldest)] = tx.rows(select(func.count(), func.min(s.created_at)).where(*_waiting(tx, fmt)))
    return Backlog(count, oldest)


def pending(tx: Transaction, fmt: ShardFormat, limit: int) -> list[Any]:
    """Give samples that wait for this format, oldest first."""
    s = sample_state.c
    query = select(s.sample_id).where(*_waiting(tx, fmt)).order_by(s.created_at, s.sample_id).limit(limit)
    ids = [row[0] for row in tx.rows(query)]
    found = load(tx, ids) if ids else {}
    return [found[sample_id] for sample_id in ids]


def published_hashes(tx: Transaction, fmt: ShardFormat, hashes: Sequence[str]) -> list[str]:
    """Give those content hashes that a sample in a shard of this format has, retracted ones left out."""
    s = sample_state.c
    query = (
        select(s.content_hash)
        .distinct()
        .join(sample_shards, sample_shards.c.sample_id == s.sample_id)
        .where(any_of(s.content_hash, hashes), s.state.in_(_ALIVE), sample_shards.c.format == fmt)
    )
    return [row[0] for row in tx.rows(query)]


def put_aside(tx: Transaction, fmt: ShardFormat, reasons: Mapping[str, str], *, now: datetime) -> None:
    """Keep samples (id → counted word) out of this format for good."""
    a = set_aside.c
    known = {row[0] for row in tx.rows(select(a.sample_id).where(any_of(a.sample_id, reasons), a.format == fmt))}
    rows = [(sample_id, fmt, reason, now) for sample_id, reason in reasons.items() if sample_id not in known]
    tx.insert(set_aside, ("sample_id", "format", "reason", "at"), rows)


def begin_shard(tx: Transaction, fmt: ShardFormat, sample_ids: Sequence[str], *, now: datetime) -> int:
    """Commit a shard in state `writing` with these samples in this order; give its number.

    Raises:
        MoveRefused: a sample does not wait for this format any more.
    """
    s = sample_state.c
    ours = any_of(s.sample_id, sample_ids)
    if tx.shared:  # held first and looked at then: a statement that waits for rows sees no shard begun meanwhile
        tx.rows(tx.held(select(s.sample_id).where(ours).order_by(s.sample_id)))
    free_ones = select(s.sample_id).where(ours, *waiting(fmt))
    free = {row[0] for row in tx.rows(tx.held(free_ones))}
    if taken := [sample_id for sample_id in sample_ids if sample_id not in free]:
        raise MoveRefused(f"sample {taken[0]} does not wait for a {fmt} shard any more")
    [(last,)] = tx.rows(select(func.max(shards.c.seq)))
    seq = int(last or 0) + 1
    tx.insert(shards, ("seq", "format", "state", "begun_at"), [(seq, fmt, "writing", now)])
    rows = [(sample_id, seq, fmt, index) for index, sample_id in enumerate(sample_ids)]
    tx.insert(sample_shards, ("sample_id", "seq", "format", "idx"), rows)
    return seq


def last_published(tx: Transaction) -> int | None:
    """Give the number of the last published shard; None where there is none."""
    [(seq,)] = tx.rows(select(func.max(shards.c.seq)).where(shards.c.state == "published"))
    return None if seq is None else int(seq)


def unfinished_shards(tx: Transaction) -> list[Unfinished]:
    """Give every shard in state `writing`, by number, its samples in the order of its rows."""
    found = []
    query = select(shards.c.seq, shards.c.format).where(shards.c.state == "writing").order_by(shards.c.seq)
    for seq, fmt in tx.rows(query):
        link = sample_shards.c
        ids = [row[0] for row in tx.rows(select(link.sample_id).where(link.seq == seq).order_by(link.idx))]
        known = load(tx, ids)
        found.append(Unfinished(seq, fmt, [known[sample_id] for sample_id in ids]))
    return found


def publish_shard(tx: Transaction, shard: ShardFile, *, now: datetime) -> None:
    """Commit a shard as published and its pending samples as emitted.

    Raises:
        ShardError: no shard of that number was begun.
    """
    [*found] = tx.rows(select(shards.c.state).where(shards.c.seq == shard.seq))
    if not found:
        raise ShardError(f"shard {shard.seq} was never begun in this buffer")
    if found[0][0] == "published":
        return
    names = ("state", "path", "rows", "sha256", "bytes", "published_at")
    row = (shard.seq, "published", shard.path, shard.rows, shard.sha256, shard.bytes, now)
    tx.update(shards, ("seq",), names, [row])
    s = sample_state.c
    link = sample_shards.c
    query = select(s.sample_id).join(sample_shards, link.sample_id == s.sample_id)
    ids = [row[0] for row in tx.rows(tx.held(query.where(link.seq == shard.seq, s.state == "pending")))]
    move(tx, [(sample_id, "pending", "emitted") for sample_id in ids], None, now=now)


def abandon_shard(tx: Transaction, seq: int, reason: str) -> None:
    """Give up a shard in state `writing`: its number is spent, its samples wait again."""
    query = select(shards.c.seq).where(shards.c.seq == seq, shards.c.state == "writing")
    if tx.rows(query):
        tx.update(shards, ("seq",), ("state", "reason"), [(seq, "abandoned", reason)])
        tx.rows(delete(sample_shards).where(sample_shards.c.seq == seq))


def retractions_due(tx: Transaction) -> list[Due]:
    """Give the samples whose retraction is not published yet, by reason."""
    r = retractions.c
    found: dict[str, list[str]] = {}
    for sample_id, reason in tx.rows(
        select(r.sample_id, r.reason).where(r.done_at.is_(None)).order_by(r.at, r.sample_id)
    ):
        found.setdefault(reason, []).append(sample_id)
    link = sample_shards.c
    return [
        Due(ids, reason, {row[0] for row in tx.rows(select(link.seq).distinct().where(any_of(link.sample_id, ids)))})
        for reason, ids in found.items()
    ]


def retraction_done(tx: Transaction, sample_ids: Iterable[str], seq: int, *, now: datetime) -> None:
    """Commit that retraction number `seq` is published."""
    r = retractions.c
    due = {row[0] for row in tx.rows(select(r.sample_id).where(any_of(r.sample_id, sample_ids), r.done_at.is_(None)))}
    tx.update(retractions, ("sample_id",), ("seq", "done_at"), [(sample_id, seq, now) for sample_id in sorted(due)])
