"""Statements about outcomes: stored once, bound to the trajectory they are about, bound anew when runs arrive."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import and_, or_, select

from agenther_live import clock
from agenther_live.buffer.engines.engine import Transaction, any_of
from agenther_live.buffer.intake.resolve import thread_hash
from agenther_live.buffer.intake.rows import storable
from agenther_live.buffer.schema import evidence, run_heads, state
from agenther_live.ids import content_hash
from agenther_live.trajectory import Evidence, EvidenceSource

__all__ = ["Statement", "addresses", "evidence_of", "stated", "statement_of", "take_statements"]

_NEVER = datetime.min.replace(tzinfo=UTC).replace(tzinfo=None)
_SOURCES: frozenset[EvidenceSource] = frozenset({"person", "reward", "evaluator", "judge", "terminal"})
_COLUMNS = (
    "evidence_id",
    "trajectory_id",
    "ambiguous",
    "doubted",
    "to_trajectory",
    "to_run",
    "to_thread",
    "to_hash",
    "to_agent",
    "source",
    "key",
    "success",
    "score",
    "value",
    "comment",
    "at",
    "received_at",
)


class Statement(NamedTuple):
    """A piece of evidence as it was addressed: by trajectory (or root key), run id or thread."""

    evidence_id: str
    to_trajectory: str | None
    to_run: str | None
    to_thread: str | None
    to_agent: str | None
    source: EvidenceSource
    key: str
    success: bool | None
    score: float | None
    value: str | None
    comment: str | None
    at: datetime | None
    ambiguous: bool = False


def statement_of(record: Mapping[str, Any]) -> Statement:
    """Read a `feedback` record of the journal; a record without an id is known by its content."""
    source = record.get("source")
    known: EvidenceSource = source if isinstance(source, str) and source in _SOURCES else "person"
    return Statement(
        evidence_id=str(record.get("feedback_id") or _content_id(record)),
        to_trajectory=_name(record.get("trajectory_id") or record.get("trajectory_root") or record.get("r")),
        to_run=_name(record.get("run_id")),
        to_thread=_name(record.get("thread_id")),
        to_agent=_name(record.get("agent")),
        source=known,
        key=_text(record.get("key")) or "success",
        success=record["success"] if isinstance(record.get("success"), bool) else None,
        score=_number(record.get("score")),
        value=_text(record.get("value")),
        comment=_text(record.get("comment")),
        at=moment(record.get("at")),
    )


def _content_id(record: Mapping[str, Any]) -> str:
    return content_hash({key: value for key, value in record.items() if key != "_id"})


def addresses(one: Statement) -> Iterator[str]:
    """Give the names of what a statement is about: see `Transaction.lock`."""
    if one.to_trajectory is not None:
        yield f"id:{one.to_trajectory}"
    if one.to_run is not None:
        yield f"run:{one.to_run}"
    if one.to_thread is not None:
        yield f"thread:{one.to_thread}"


def stated(item: Evidence) -> Statement:
    """Give evidence that did not come through the journal as a statement."""
    return Statement(
        evidence_id=item.evidence_id,
        to_trajectory=item.trajectory_id,
        to_run=_name(item.run_id),
        to_thread=_name(item.thread_id),
        to_agent=None,
        source=item.source,
        key=item.key,
        success=item.success,
        score=_number(item.score),
        value=_text(item.value),
        comment=_text(item.comment),
        at=item.at,
        ambiguous=item.ambiguous,
    )


def moment(at: Any) -> datetime | None:
    """Turn seconds of the epoch into a naive UTC time; what is no such number is no time."""
    number = _number(at)
    try:
        return None if number is None else clock.moment(number)
    except OverflowError:
        return None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _text(value: Any) -> str | None:
    return None if value is None or value == "" else str(storable(str(value)))


def _name(value: Any) -> str | None:
    """Read a name as every engine stores it, or it would not be found again: PostgreSQL takes no NUL."""
    text = _text(value)
    return None if text is None else text.replace("\x00", "\ufffd")


class _Address(NamedTuple):
    """What a statement is about, as it was said."""

    to_trajectory: str | None
    to_run: str | None
    to_thread: str | None
    to_agent: str | None
    at: datetime | None


class _Candidate(NamedTuple):
    trajectory_id: str
    root_key: str
    run_id: str | None
    thread_id: str | None
    agent: str
    began: datetime


def take_statements(
    tx: Transaction,
    statements: Iterable[Statement],
    *,
    now: datetime,
    threads: Collection[int] = (),
    run_ids: Collection[str] = (),
    ids: Collection[str] = (),
    gone: Collection[str] = (),
    live: Collection[str] = (),
) -> tuple[int, set[str]]:
    """Store the statements that are not known yet, and bind them, and what was said before, to trajectories.

    Gives how many were new, and the ids of the trajectories whose evidence changed.

    Args:
        tx: the writing transaction; the runs of this ingest are in it already.
        statements: what was said; what is known by its id is left as it is.
        now: when they came, naive UTC.
        threads: hashes of threads in which runs arrived or moved: what was said there is bound anew.
        run_ids: callers' ids of runs that arrived: what waited for them is bound.
        ids: root keys and trajectory ids that arrived: what waited for them is bound.
        gone: trajectories that were merged into others: what was bound to them is bound anew.
        live: trajectories that are known to be in the buffer, and not merged: nobody needs to look for them.
    """
    waiting = _said_before(tx, threads, run_ids, ids, gone)
    new = _unknown(tx, statements)
    if not waiting and not new:
        return 0, set()
    find = _Finder.load(tx, [*(address for *_, address in waiting), *map(_address, new)], live)
    changed: set[str] = set()
    updates = []
    for evidence_id, bound, ambiguous, doubted, address in waiting:
        found, guess = find(address)
        if (found, guess or doubted) != (bound, ambiguous):
            updates.append((evidence_id, found, guess or doubted))
            changed.update(key for key in (bound, found) if key is not None)
    tx.update(evidence, ("evidence_id",), ("trajectory_id", "ambiguous"), updates)
    rows = []
    for one in new:
        found, guess = find(_address(one))
        rows.append(_row(one, found, guess or one.ambiguous, now))
        if found is not None:
            changed.add(found)
    tx.insert(evidence, _COLUMNS, rows)
    return len(new), changed


def _unknown(tx: Transaction, statements: Iterable[Statement]) -> list[Statement]:
    """Give those that are not stored yet; of several with one id the last."""
    wanted = {statement.evidence_id: statement for statement in statements}
    if wanted:
        for (evidence_id,) in tx.rows(select(evidence.c.evidence_id).where(any_of(evidence.c.evidence_id, wanted))):
            wanted.pop(evidence_id, None)
    return list(wanted.values())


def _address(one: Statement) -> _Address:
    return _Address(one.to_trajectory, one.to_run, one.to_thread, one.to_agent, one.at)


def _row(one: Statement, bound: str | None, ambiguous: bool, now: datetime) -> tuple[Any, ...]:
    """Give the row of `store.evidence`, in the order of _COLUMNS."""
    return (
        one.evidence_id,
        bound,
        ambiguous,
        one.ambiguous,
        one.to_trajectory,
        one.to_run,
        one.to_thread,
        thread_hash(one.to_thread),
        one.to_agent,
        one.source,
        one.key,
        one.success,
        one.score,
        one.value,
        one.comment,
        one.at,
        now,
    )


def _said_before(
    tx: Transaction, threads: Collection[int], run_ids: Collection[str], ids: Collection[str], gone: Collection[str]
) -> list[tuple[str, str | None, bool, bool, _Address]]:
    """Load what was said before about what arrived: id, what it is bound to, ambiguous, doubted, address."""
    e = evidence.c
    columns = select(
        e.evidence_id,
        e.trajectory_id,
        e.ambiguous,
        e.doubted,
        e.to_trajectory,
        e.to_run,
        e.to_thread,
        e.to_agent,
        e.at,
    )
    unbound = e.trajectory_id.is_(None)
    if not tx.rows(select(e.evidence_id).where(unbound).limit(1)):  # as mostly: nothing waits for a run to come
        run_ids, ids = (), ()
    rows: dict[str, tuple[Any, ...]] = {}
    for values, condition in (
        (threads, any_of(e.to_hash, threads)),
        (run_ids, and_(unbound, any_of(e.to_run, run_ids))),
        (ids, and_(unbound, any_of(e.to_trajectory, ids))),
        (gone, any_of(e.trajectory_id, gone)),
    ):
        if values:
            rows.update((row[0], row) for row in tx.rows(columns.where(tx.locate(evidence, condition))))
    return [(*row[:4], _Address(*row[4:])) for row in rows.values()]


class _Finder:
    """Finds the trajectory that an address means, among the runs that could be meant."""

    def __init__(self, candidates: Iterable[_Candidate], known: Collection[str]) -> None:
        self._known = known
        self._by_root: dict[str, str] = {}
        self._by_run: dict[str, list[_Candidate]] = {}
        self._by_thread: dict[str, dict[str, _Candidate]] = {}
        for one in sorted(candidates, key=lambda c: (c.began, c.root_key)):
            self._by_root[one.root_key] = one.trajectory_id
            if one.run_id is not None:
                self._by_run.setdefault(one.run_id, []).append(one)
            if one.thread_id is not None:  # a trajectory began with the first of its runs
                self._by_thread.setdefault(one.thread_id, {}).setdefault(one.trajectory_id, one)

    @classmethod
    def load(cls, tx: Transaction, addresses: Sequence[_Address], live: Collection[str]) -> _Finder:
        ids = {one.to_trajectory for one in addresses if one.to_trajectory is not None}.difference(live)
        run_ids = {one.to_run for one in addresses if one.to_run is not None}
        hashes = {thread_hash(one.to_thread) for one in addresses if one.to_thread is not None}
        r = run_heads.c
        wanted = []
        if ids:
            wanted.append(any_of(r.root_key, ids))
        if run_ids:
            wanted.append(any_of(r.run_id, run_ids))
        if hashes:
            wanted.append(any_of(r.thread_hash, hashes))
        candidates = []
        if wanted:
            columns = select(r.trajectory_id, r.root_key, r.run_id, r.thread_id, r.agent, r.started_at)
            found = columns.where(tx.locate(run_heads, or_(*wanted)))
            for trajectory_id, root_key, run_id, thread_id, agent, started in tx.rows(found):
                began = moment(started) or _NEVER
                candidates.append(_Candidate(trajectory_id, root_key, run_id, thread_id, agent, began))
        known: list[tuple[Any, ...]] = []
        if ids:
            s = state.c
            known = tx.rows(select(s.trajectory_id).where(any_of(s.trajectory_id, ids), s.merged_into.is_(None)))
        return cls(candidates, {*live, *(row[0] for row in known)})

    def __call__(self, address: _Address) -> tuple[str | None, bool]:
        """Give the trajectory that is meant, or None, and whether that is a guess."""
        to_trajectory, to_run, to_thread, agent, at = address
        if to_trajectory is not None:
            if to_trajectory in self._known:
                return to_trajectory, False
            return self._by_root.get(to_trajectory), False
        if to_run is not None:
            return _pick(self._by_run.get(to_run, ()), at, lenient=True)
        if to_thread is not None:
            turns = self._by_thread.get(to_thread, {}).values()
            return _pick([turn for turn in turns if agent in (None, turn.agent)], at, lenient=False)
        return None, False


def _pick(candidates: Sequence[_Candidate], at: datetime | None, *, lenient: bool) -> tuple[str | None, bool]:
    """Give the latest candidate that began before `at`, and whether that is a guess.

    Without a time, several trajectories leave it open which is meant. A run id (`lenient`) names its run whatever
    the clocks say.
    """
    if not candidates:
        return None, False
    if at is None:
        return candidates[-1].trajectory_id, len({one.trajectory_id for one in candidates}) > 1
    before = [one for one in candidates if one.began <= at]
    if before:
        return before[-1].trajectory_id, False
    return (candidates[-1].trajectory_id, False) if lenient else (None, False)


def evidence_of(tx: Transaction, trajectory_ids: Iterable[str]) -> dict[str, list[Evidence]]:
    """Load the evidence bound to these trajectories."""
    e = evidence.c
    columns = [
        e.evidence_id,
        e.trajectory_id,
        e.to_run,
        e.to_thread,
        e.source,
        e.key,
        e.success,
        e.score,
        e.value,
        e.comment,
        e.at,
        e.ambiguous,
        e.received_at,
    ]
    found: dict[str, list[Evidence]] = {}
    for row in tx.rows(select(*columns).where(any_of(e.trajectory_id, trajectory_ids))):
        item = Evidence(
            evidence_id=row[0],
            trajectory_id=row[1],
            run_id=row[2],
            thread_id=row[3],
            source=row[4],
            key=row[5],
            success=row[6],
            score=row[7],
            value=row[8],
            comment=row[9],
            at=row[10] or row[12],
            ambiguous=row[11],
        )
        found.setdefault(row[1], []).append(item)
    return found
