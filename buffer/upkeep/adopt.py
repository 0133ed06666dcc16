"""Shards that a buffer has lost sight of (an older copy put back, a WAL without its end): known again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select

from agenther_live.buffer.engines.engine import Transaction, any_of
from agenther_live.buffer.output.samples import load, move
from agenther_live.buffer.schema import sample_shards, sample_state, shards
from agenther_live.clock import moment
from agenther_live.labels import Sample
from agenther_live.shards.files.manifest import Entry

__all__ = ["adopt_shard", "samples_of"]


def samples_of(tx: Transaction, seq: int) -> list[Sample]:
    """Give the samples of a shard in the order of its rows, those left out whose payload is gone."""
    link = sample_shards.c
    ids = [row[0] for row in tx.rows(select(link.sample_id).where(link.seq == seq).order_by(link.idx))]
    known = load(tx, ids) if ids else {}
    return [known[sample_id] for sample_id in ids if sample_id in known]


def adopt_shard(tx: Transaction, entry: Entry, sample_ids: Sequence[str], *, now: datetime) -> None:
    """Store a published shard as the manifest has it; its samples that wait count as emitted, now or when they come.

    Twice changes nothing.
    """
    if tx.rows(select(shards.c.seq).where(shards.c.seq == entry.seq)):
        return
    published = moment(entry.published_at)
    names = ("seq", "format", "state", "path", "rows", "sha256", "bytes", "begun_at", "published_at")
    row = (entry.seq, entry.format, "published", entry.path, entry.rows, entry.sha256, entry.bytes, now, published)
    tx.insert(shards, names, [row])
    links = [(sample_id, entry.seq, entry.format, index) for index, sample_id in enumerate(sample_ids)]
    tx.insert(sample_shards, ("sample_id", "seq", "format", "idx"), links)
    s = sample_state.c
    waiting = select(s.sample_id).where(any_of(s.sample_id, sample_ids), s.state == "pending")
    ids = [row[0] for row in tx.rows(waiting)] if sample_ids else []
    move(tx, [(sample_id, "pending", "emitted") for sample_id in ids], None, now=now)
