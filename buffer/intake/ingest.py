"""One transaction: what the journal brought becomes runs, trajectories and evidence, and the cursors move on.

Everything here may be delivered twice and in any order. Runs are known by root key and the hash of their facts;
which trajectory they belong to is decided anew for every thread that is touched (`resolve`), and what came out
differently than before is assembled again from the raw facts.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import select

from agenther_live.assemble import Told
from agenther_live.buffer.engines.engine import Transaction, any_of
from agenther_live.buffer.intake import rows as shape
from agenther_live.buffer.intake.evidence import addresses, moment, statement_of, take_statements
from agenther_live.buffer.intake.heads import Known, keys_of, load_heads, put_heads, related
from agenther_live.buffer.intake.resolve import Group, RunHead, head_of, resolve, thread_hash
from agenther_live.buffer.intake.trajectories import (
    Stored,
    Written,
    load,
    load_states,
    mark_unsettled,
    put,
    retire,
    set_status,
)
from agenther_live.buffer.schema import counts, cursors, run_facts, run_heads, state
from agenther_live.buffer.upkeep.tombstones import sweep
from agenther_live.ids import content_hash
from agenther_live.journal import Batch, Cursor, RunFacts
from agenther_live.settings import Settings
from agenther_live.trajectory import Status

__all__ = ["IngestReport", "Tell", "expire", "ingest", "load_cursors"]

Tell = Callable[..., Told]
_PART = 1000
_log = logging.getLogger("agenther_live.buffer")


@dataclass
class IngestReport:
    """What one ingest did.

    `runs` are those that were new or had new facts; `known` were delivered before; `trajectories` are those that
    got a new revision; `evidence` is new; `failed` trajectories could not be assembled (their facts are kept).
    `counted` goes to the view `counters`: `odd_facts` are facts of another form than ours, left out of trajectories.
    """

    runs: int = 0
    known: int = 0
    trajectories: int = 0
    evidence: int = 0
    failed: int = 0
    counted: Counter[str] = field(default_factory=Counter)


@dataclass
class _Arrivals:
    """Runs that are new or changed in this batch, with all their facts: one or more JSON arrays of records."""

    heads: dict[str, RunHead] = field(default_factory=dict)
    facts: dict[str, list[bytes]] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)
    parts: list[tuple[Any, ...]] = field(default_factory=list)


@dataclass
class _Moves:
    """Trajectories that got a new revision, and are to be settled anyway, and those that were merged into others."""

    revised: set[str] = field(default_factory=set)
    merged: set[str] = field(default_factory=set)


def ingest(tx: Transaction, batch: Batch, *, now: datetime, settings: Settings, tell: Tell) -> IngestReport:
    """Take in a batch of the journal's reader; the caller commits."""
    report = IngestReport()
    batch, refused = sweep(tx, batch, settings, now=now)
    if refused:
        report.counted["refused_deleted"] = refused
    delivered = [run.root_key for run in batch.runs] + _late_keys(batch.loose)
    if tx.shared:
        tx.lock(_keys(batch))
    known = load_heads(tx, any_of(run_heads.c.root_key, delivered)) if delivered else {}
    if tx.shared and tx.lock(key for one in known.values() for key in keys_of(one.head)):
        known = load_heads(tx, any_of(run_heads.c.root_key, delivered))  # late facts name their run, not its thread
    arrivals = _arrivals(tx, batch, known, report)
    _put_facts(tx, arrivals)
    moves = _Moves()
    if arrivals.heads:
        moves = _regroup(tx, arrivals, known, now=now, settings=settings, tell=tell, report=report)
    _take_evidence(tx, batch, arrivals, moves, now=now, report=report)
    expire(tx, now=now, ttl=settings.interrupted_ttl_seconds)
    _count(tx, batch, report)
    _save_cursors(tx, batch.cursors, now)
    return report


def load_cursors(tx: Transaction) -> dict[str, Cursor]:
    """Give how far each writer's journal was ingested."""
    c = cursors.c
    rows = tx.rows(select(c.writer, c.segment, c.offset, c.read_segment, c.read_offset))
    return {writer: Cursor(*numbers) for writer, *numbers in rows}


# --- runs -------------------------------------------------------------------------------------------------


def _keys(batch: Batch) -> Iterator[str]:
    """Name all that the batch is about, so that no other worker takes in something about it at the same time."""
    for run in batch.runs:
        yield from keys_of(head_of(run.root_key, run.outline))
    for key in _late_keys(batch.loose):
        yield f"id:{key}"
    for record in _feedback(batch):
        yield from addresses(statement_of(record))


def _feedback(batch: Batch) -> list[dict[str, Any]]:
    records = [record for record in batch.loose if record.get("k") == "feedback"]
    return records + [record for run in batch.runs for record in run.outline if record.get("k") == "feedback"]


def _late_keys(loose: Iterable[Mapping[str, Any]]) -> list[str]:
    return [record["r"] for record in loose if _is_fact(record)]


def _is_fact(record: Mapping[str, Any]) -> bool:
    return isinstance(record.get("r"), str) and record.get("k") not in ("feedback", "counters", "heartbeat")


def _arrivals(tx: Transaction, batch: Batch, known: Mapping[str, Known], report: IngestReport) -> _Arrivals:
    delivered: dict[str, list[RunFacts]] = {}
    for run in batch.runs:
        delivered.setdefault(run.root_key, []).append(run)
    for record in batch.loose:
        if _is_fact(record):
            plain = {key: value for key, value in record.items() if key != "_id"}
            delivered.setdefault(record["r"], []).append(RunFacts.of(record["r"], "", [plain]))
    arrivals = _Arrivals()
    encoded = {key: _array(line for run in runs for line in run.lines) for key, runs in delivered.items()}
    hashes = {root_key: _hash(data) for root_key, data in encoded.items()}
    changed = [key for key in delivered if key in known and known[key].facts_hash != hashes[key]]
    stored = _load_facts(tx, changed)
    for root_key, runs in delivered.items():
        part, data, before = 0, encoded[root_key], stored.get(root_key, [])
        outline = [record for run in runs for record in run.outline]
        if root_key in known:
            old, new = _news(runs, before)
            if not new:
                report.known += 1
                continue
            part, data, outline = len(old), _array(new), old + _records([_array(new)])
            hashes[root_key] = _hash(orjson.dumps(outline))
        elif not any(record.get("k") == "start" for record in outline):
            report.counted["facts_without_run"] += len(outline)
            continue
        report.runs += 1
        arrivals.heads[root_key] = head_of(root_key, outline)
        arrivals.facts[root_key] = [*before, data]
        arrivals.hashes[root_key] = hashes[root_key]
        arrivals.parts.append((root_key, part, len(data), shape.pack(data)))
    return arrivals


def _array(lines: Iterable[bytes]) -> bytes:
    return b"[%b]" % b",".join(lines)


def _records(arrays: Iterable[bytes]) -> list[dict[str, Any]]:
    return [record for array in arrays for record in orjson.loads(array)]


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _news(runs: Iterable[RunFacts], stored: Iterable[bytes]) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Give what is stored of a run, and the JSON of what is new; without facts (retention), it stays as it is."""
    try:
        old = _records(stored)
        lines = [orjson.dumps(record) for run in runs for record in run.records]
    except ValueError:  # not of our writer: it stays as it is too, and keeps no other run out
        return [], []
    seen = set(map(orjson.dumps, old))
    return old, [line for line in lines if old and line not in seen]


def _put_facts(tx: Transaction, arrivals: _Arrivals) -> None:
    tx.insert(run_facts, ("root_key", "part", "size", "facts"), arrivals.parts)


def _load_facts(tx: Transaction, root_keys: Sequence[str]) -> dict[str, list[bytes]]:
    if not root_keys:
        return {}
    f = run_facts.c
    found: dict[str, list[bytes]] = {}
    query = select(f.root_key, f.size, f.facts).where(any_of(f.root_key, root_keys)).order_by(f.root_key, f.part)
    for root_key, size, packed in tx.rows(query):
        found.setdefault(root_key, []).append(shape.unpack(packed, size))
    return found


# --- trajectories -----------------------------------------------------------------------------------------


def _regroup(
    tx: Transaction,
    arrivals: _Arrivals,
    known: dict[str, Known],
    *,
    now: datetime,
    settings: Settings,
    tell: Tell,
    report: IngestReport,
) -> _Moves:
    """Decide anew who the trajectories of every touched thread are."""
    known = related(tx, arrivals.heads, known)
    heads = {key: one.head for key, one in known.items()} | arrivals.heads
    expired_before = now.replace(tzinfo=UTC).timestamp() - settings.interrupted_ttl_seconds
    groups = {group.trajectory_id: group for group in resolve(heads.values(), expired_before=expired_before)}
    before = {one.trajectory_id for one in known.values()}
    stored = load_states(tx, before | set(groups))
    hashes = {key: one.facts_hash for key, one in known.items()} | arrivals.hashes
    runs_hashes = {
        key: content_hash([[head.root_key, hashes[head.root_key]] for head in group.runs])
        for key, group in groups.items()
    }
    changed = [
        group
        for key, group in groups.items()
        if key not in stored or stored[key].merged_into is not None or stored[key].runs_hash != runs_hashes[key]
    ]
    revised = _assemble_all(tx, changed, stored, runs_hashes, arrivals, now, settings, tell, report)
    remade = {group.trajectory_id for group in changed}
    moved: list[tuple[Stored, Status, datetime | None]] = [
        (stored[key], group.status, moment(group.waiting_since))
        for key, group in groups.items()
        if key not in remade and stored[key].status != group.status
    ]
    set_status(tx, moved)
    heirs = {head.root_key: key for key, group in groups.items() for head in group.own}
    lost = {
        one.trajectory_id: heirs[root_key]
        for root_key, one in known.items()
        if one.trajectory_id not in groups
        and one.trajectory_id in stored
        and stored[one.trajectory_id].merged_into is None
    }
    retire(tx, [stored[key] for key in lost], lost)
    put_heads(tx, groups.values(), known, arrivals.hashes)
    return _Moves(revised, set(lost))


def _assemble_all(
    tx: Transaction,
    changed: Sequence[Group],
    stored: Mapping[str, Stored],
    runs_hashes: Mapping[str, str],
    arrivals: _Arrivals,
    now: datetime,
    settings: Settings,
    tell: Tell,
    report: IngestReport,
) -> set[str]:
    """Assemble these and store them, in parts. Gives those that got a new revision.

    One is read, assembled and made into rows before the next is looked at: what has to come from memory again because
    a thousand others were read in between costs as much as the work itself.
    """
    revised: set[str] = set()
    for start in range(0, len(changed), _PART):
        part = changed[start : start + _PART]
        missing = {head.root_key for group in part for head in group.runs} - set(arrivals.facts)
        facts = {**_load_facts(tx, list(missing)), **arrivals.facts} if missing else arrivals.facts
        before = load(tx, {key: stored[key].revision for group in part if (key := group.trajectory_id) in stored})
        told = _assemble(part, facts, stored, runs_hashes, tell, report)
        revised |= put(tx, told, before, now=now, settings=settings)
    report.trajectories += len(revised)
    return revised


def _assemble(
    groups: Iterable[Group],
    facts: Mapping[str, list[bytes]],
    stored: Mapping[str, Stored],
    runs_hashes: Mapping[str, str],
    tell: Tell,
    report: IngestReport,
) -> Iterator[Written]:
    for group in groups:
        old = stored.get(group.trajectory_id)
        revision = old.revision + 1 if old is not None else 1
        try:
            told = tell(
                [_records(facts.get(head.root_key, ())) for head in group.runs],
                trajectory_id=group.trajectory_id,
                revision=revision,
            )
        except Exception:  # one run that cannot be read must not keep all others out
            _log.exception("trajectory %s cannot be assembled; its facts are kept", group.trajectory_id)
            report.failed += 1
            report.counted["unassembled"] += 1
            continue
        if told.odd:
            _log.warning("trajectory %s: %d facts of another form left out", group.trajectory_id, told.odd)
            report.counted["odd_facts"] += told.odd
        if told.fields["status"] != group.status:
            told = told.with_status(group.status)
        yield Written(
            told,
            old=old,
            runs_hash=runs_hashes[group.trajectory_id],
            waiting_since=moment(group.waiting_since),
            answers=group.last.conversational is False,
        )


# --- what comes with the runs -----------------------------------------------------------------------------


def _take_evidence(
    tx: Transaction, batch: Batch, arrivals: _Arrivals, moves: _Moves, *, now: datetime, report: IngestReport
) -> None:
    heads = arrivals.heads.values()
    new, changed = take_statements(
        tx,
        map(statement_of, _feedback(batch)),
        now=now,
        threads={h for head in heads if (h := thread_hash(head.thread_id)) is not None},
        run_ids={head.run_id for head in heads if head.run_id is not None},
        ids={head.root_key for head in heads} | {head.explicit_id for head in heads if head.explicit_id is not None},
        gone=moves.merged,
        live=moves.revised,
    )
    report.evidence += new
    mark_unsettled(tx, changed - moves.revised)


def expire(tx: Transaction, *, now: datetime, ttl: float) -> int:
    """Abandon what has waited longer than `ttl` seconds for its resume; give how many."""
    s = state.c
    due = select(s.trajectory_id).where(
        s.status == "interrupted", s.waiting_since < now - timedelta(seconds=ttl), s.merged_into.is_(None)
    )
    keys = [row[0] for row in tx.rows(due)]
    if keys:
        stored = load_states(tx, keys).values()
        late = [one for one in stored if one.status == "interrupted" and one.merged_into is None]
        set_status(tx, [(one, "abandoned", one.waiting_since) for one in late])
        return len(late)
    return 0


def _count(tx: Transaction, batch: Batch, report: IngestReport) -> None:
    """Add the counters of the capturing processes and the journal's damage; a replay counts once."""
    found: dict[str, tuple[datetime | None, Mapping[str, Any]]] = {}
    for record in batch.loose:
        if record.get("k") == "counters" and isinstance(record.get("counts"), Mapping):
            found[str(record.get("_id") or content_hash(record))] = (moment(record.get("at")), record["counts"])
    own = {**{f"journal.{name}": n for name, n in batch.damage.items()}, **report.counted}
    if own:
        place = content_hash([sorted((key, *value) for key, value in batch.cursors.items()), own])
        found[place] = (None, own)
    if not found:
        return
    known = {row[0] for row in tx.rows(select(counts.c.record_id).where(any_of(counts.c.record_id, found)))}
    rows = [
        (record_id, at, str(name), int(n))
        for record_id, (at, counted) in found.items()
        if record_id not in known
        for name, n in counted.items()
        if isinstance(n, int | float) and abs(n) < 2**63
    ]
    tx.insert(counts, ("record_id", "at", "name", "n"), rows)


def _save_cursors(tx: Transaction, moved: Mapping[str, Cursor], now: datetime) -> None:
    known = load_cursors(tx)  # only what moved, so that `updated_at` says when a writer was last heard of
    rows = [(writer, *cursor, now) for writer, cursor in moved.items() if known.get(writer) != cursor]
    names = ("segment", "offset", "read_segment", "read_offset", "updated_at")
    tx.update(cursors, ("writer",), names, [row for row in rows if row[0] in known])
    tx.insert(cursors, ("writer", *names), [row for row in rows if row[0] not in known])
