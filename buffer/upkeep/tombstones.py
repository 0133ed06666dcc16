"""Tombstones: HMACs of what was deleted, which keep it out of ingest and import, and name nobody."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select

from agenther_live.buffer.engines.engine import Transaction, any_of
from agenther_live.buffer.intake.evidence import Statement
from agenther_live.buffer.schema import run_heads, tombstones
from agenther_live.journal import Batch, RunFacts
from agenther_live.redact import load_key
from agenther_live.settings import Settings
from agenther_live.trajectory import Evidence, Trajectory

__all__ = ["Tombs", "buried", "entomb", "lift_tombstones", "sweep", "unburied", "unsaid"]


class Tombs:
    """The tombstones of a home, asked by kind and id."""

    def __init__(self, settings: Settings) -> None:
        """Take the home's key (AGENTHER_REDACT_KEY, or `redact.key` in the home), when it is first needed.

        Raises:
            HomeError: the key cannot be read.
        """
        self._secret = load_key(settings.home)
        self.key_id = self.key("key", "id")[:8]

    def key(self, kind: str, name: str) -> str:
        """Give the HMAC-SHA-256 of kind and id, as hex."""
        return hmac.new(self._secret, f"tombstone\0{kind}\0{name}".encode(), hashlib.sha256).hexdigest()

    def hit(self, tx: Transaction, wanted: Iterable[tuple[str, str | None]]) -> set[tuple[str, str | None]]:
        """Give those (kind, id) that were deleted."""
        keys: dict[str, tuple[str, str | None]] = {self.key(kind, name): (kind, name) for kind, name in wanted if name}
        found = tx.rows(select(tombstones.c.key).where(any_of(tombstones.c.key, keys)))
        return {keys[row[0]] for row in found}


def stand(tx: Transaction, settings: Settings) -> Tombs | None:
    """Give the tombstones, or None where nothing was ever deleted (asked at every ingest, so it costs little)."""
    [(any_there,)] = tx.rows(select(func.count()).select_from(select(tombstones.c.key).limit(1).subquery()))
    return Tombs(settings) if any_there else None


def entomb(tx: Transaction, tombs: Tombs, names: Iterable[tuple[str, str]], *, audit_id: str, now: datetime) -> None:
    """Refuse these (kind, id) from now on."""
    keys = {tombs.key(kind, name): kind for kind, name in names}
    known = {row[0] for row in tx.rows(select(tombstones.c.key).where(any_of(tombstones.c.key, keys)))}
    rows = [(key, kind, tombs.key_id, audit_id, now) for key, kind in keys.items() if key not in known]
    tx.insert(tombstones, ("key", "kind", "key_id", "audit_id", "at"), rows)


def lift_tombstones(tx: Transaction, keys: Collection[str]) -> int:
    """Take these tombstones away; gives how many stood."""
    [(n,)] = tx.rows(select(func.count()).select_from(tombstones).where(any_of(tombstones.c.key, keys)))
    tx.rows(delete(tombstones).where(any_of(tombstones.c.key, keys)))
    return int(n)


def sweep(tx: Transaction, batch: Batch, settings: Settings, *, now: datetime) -> tuple[Batch, int]:
    """Leave out of a batch of the journal what belongs to something deleted; give how many records that were."""
    tombs = stand(tx, settings)
    if tombs is None:
        return batch, 0
    wanted = {run.root_key: _names(run.root_key, run.outline) for run in batch.runs}
    said = [_addressed(record) for record in batch.loose]
    hit = tombs.hit(tx, (name for names in (*wanted.values(), *said) for name in names))
    if not hit:
        return batch, 0
    kept: list[RunFacts] = []
    refused: list[RunFacts] = []
    for run in batch.runs:
        (refused if hit.intersection(wanted[run.root_key]) else kept).append(run)
    _entomb_heirs(tx, tombs, refused, now=now)
    alive = _alive_calls(tx, {name for kind, name in hit if kind == "call"})
    loose = [
        record
        for record, names in zip(batch.loose, said, strict=True)
        if not {one for one in hit.intersection(names) if one not in alive}
    ]
    n = len(batch.runs) - len(kept) + len(batch.loose) - len(loose)
    return replace(batch, runs=kept, loose=loose), n


def unburied(
    tx: Transaction, items: Sequence[tuple[Trajectory, Sequence[Evidence]]], settings: Settings
) -> list[tuple[Trajectory, Sequence[Evidence]]]:
    """Leave out of an import what was deleted."""
    tombs = stand(tx, settings)
    if tombs is None:
        return list(items)
    names = {
        one.trajectory_id: [("trajectory", one.trajectory_id), ("thread", one.thread_id), ("subject", one.subject)]
        for one, _ in items
    }
    hit = tombs.hit(tx, (name for some in names.values() for name in some))
    return [item for item in items if not hit.intersection(names[item[0].trajectory_id])]


def unsaid(tx: Transaction, statements: Iterable[Statement], settings: Settings) -> list[Statement]:
    """Leave out what is said about something deleted."""
    given = list(statements)
    tombs = stand(tx, settings) if given else None
    if tombs is None:
        return given
    names = [[("trajectory", s.to_trajectory), ("run", s.to_trajectory), ("thread", s.to_thread)] for s in given]
    hit = tombs.hit(tx, (name for some in names for name in some))
    return [one for one, some in zip(given, names, strict=True) if not hit.intersection(some)]


def buried(tx: Transaction, ids: Iterable[str | None], settings: Settings) -> set[str]:
    """Give those of the trajectories that were deleted."""
    named = [("trajectory", one) for one in ids if one is not None]
    tombs = stand(tx, settings) if named else None
    return {str(name) for _, name in tombs.hit(tx, named)} if tombs else set()


def _names(root_key: str, records: Sequence[Mapping[str, Any]]) -> set[tuple[str, str]]:
    start: Mapping[str, Any] = next((one for one in records if one.get("k") == "start"), {})
    names = {
        ("run", root_key),
        ("trajectory", root_key),
        ("trajectory", start.get("trajectory_id")),
        ("thread", start.get("thread_id")),
        ("subject", start.get("subject")),
        ("checkpoint", start.get("checkpoint_id") if start.get("resume") else None),
    }
    return {(kind, str(name)) for kind, name in names if name}


def _addressed(record: Mapping[str, Any]) -> set[tuple[str, str]]:
    names = {
        ("run", record.get("r")),
        ("run", record.get("trajectory_id")),  # feedback by root key
        ("trajectory", record.get("trajectory_id") or record.get("trajectory_root")),
        ("run", record.get("trajectory_root")),
        ("call", record.get("run_id")),
        ("thread", record.get("thread_id")),
    }
    return {(kind, str(name)) for kind, name in names if name}


def _entomb_heirs(tx: Transaction, tombs: Tombs, refused: Sequence[RunFacts], *, now: datetime) -> None:
    """A run that resumes something deleted is deleted too, and so is what will resume it."""
    heirs: list[tuple[str, str]] = []
    for run in refused:
        heirs.append(("run", run.root_key))
        heirs += [
            ("checkpoint", str(record["checkpoint_id"]))
            for record in run.outline
            if record.get("k") == "interrupt" and record.get("checkpoint_id")
        ]
    entomb(tx, tombs, heirs, audit_id="", now=now)


def _alive_calls(tx: Transaction, run_ids: set[str | None]) -> set[tuple[str, str | None]]:
    """Callers reuse run ids: one that a living run has too refuses nothing."""
    if not run_ids:
        return set()
    rows = tx.rows(select(run_heads.c.run_id).where(any_of(run_heads.c.run_id, run_ids)))
    return {("call", row[0]) for row in rows}
