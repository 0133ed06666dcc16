"""Trajectories in the buffer: revisions appended to the wide tables, one narrow row of state for each."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import and_, select

from agenther_live.assemble import Told
from agenther_live.buffer.engines.engine import Columns, Transaction, any_of
from agenther_live.buffer.intake import rows as shape
from agenther_live.buffer.schema import messages, runs, state, steps, superseded, trajectories
from agenther_live.errors import MoveRefused
from agenther_live.settings import Settings
from agenther_live.shards.files.heldout import is_held_out
from agenther_live.trajectory import STAGE_MOVES, STATUS_MOVES, Label, Stage, Status, Trajectory, check_move

__all__ = ["Stored", "Written", "load", "load_states", "mark_unsettled", "put", "retire", "set_status"]

_log = logging.getLogger("agenther_live.buffer")

STATE = tuple(column.name for column in state.columns)
_SUPERSEDED = ("trajectory_id", "revision")
_NEW = (
    "trajectory_id",
    "revision",
    "status",
    "outcome",
    "outcome_rev",
    "stage",
    "stage_at",
    "needs_settle",
    "settled_revision",
    "attempts",
    "waiting_since",
    "held_out",
    "priority",
    "source",
    "answers",
    "needs_sample",
    "runs_hash",
)
_REVISED = (
    "revision",
    "status",
    "stage",
    "stage_at",
    "needs_settle",
    "settle_at",
    "attempts",
    "retry_at",
    "waiting_since",
    "held_out",
    "answers",
    "runs_hash",
    "merged_into",
)


@dataclass(frozen=True, slots=True)
class Stored:
    """A row of `store.state`."""

    trajectory_id: str
    revision: int
    status: Status
    outcome: Label
    outcome_source: str | None
    outcome_reason: str | None
    outcome_rev: int
    reward: float | None
    stage: Stage
    stage_at: datetime
    needs_settle: bool
    settled_revision: int
    settle_at: datetime | None
    attempts: int
    retry_at: datetime | None
    relabeling_id: str | None
    waiting_since: datetime | None
    held_out: bool
    priority: float
    source: str
    answers: bool
    needs_sample: bool
    runs_hash: str | None
    merged_into: str | None
    leased_by: str | None = None
    leased_until: datetime | None = None
    recoverable: bool | None = None
    proposed: bool | None = None
    relabel_reason: str | None = None


class Written(NamedTuple):
    """A trajectory to store: new (`old` is None), or the next revision of `old`."""

    told: Told
    old: Stored | None = None
    runs_hash: str | None = None
    waiting_since: datetime | None = None
    answers: bool = False

    @property
    def trajectory_id(self) -> str:
        """Whose it is."""
        return str(self.told.fields["trajectory_id"])


def load_states(tx: Transaction, trajectory_ids: Iterable[str]) -> dict[str, Stored]:
    """Load the state of these trajectories, merged ones too; where it may be written, it is held until the end."""
    columns = [state.c[name] for name in STATE]
    query = select(*columns).where(any_of(state.c.trajectory_id, trajectory_ids))
    if tx.shared:  # in one order, so that two workers do not wait for each other
        query = query.order_by(state.c.trajectory_id)
    found = tx.rows(tx.held(query))
    return {row[0]: Stored(*row) for row in found}


def load(tx: Transaction, revisions: Mapping[str, int]) -> dict[str, Trajectory]:
    """Load these revisions of trajectories, as they were stored."""
    t = trajectories.c
    query = select(t.trajectory_id, t.revision, t.size, t.payload).where(any_of(t.trajectory_id, revisions))
    return {
        key: shape.trajectory_of(size, payload)
        for key, revision, size, payload in tx.rows(query)
        if revisions[key] == revision
    }


def put(
    tx: Transaction, written: Iterable[Written], before: Mapping[str, Trajectory], *, now: datetime, settings: Settings
) -> set[str]:
    """Store trajectories and their state; give those that got a new revision, all of them to be settled.

    What came out word for word as it was gets no new revision. A status that the table of moves does not allow
    leaves the trajectory as it was; that is logged.

    Args:
        tx: the transaction to write in.
        written: new ones and next revisions, each let go before the next is asked for.
        before: what is stored, as far as there is anything, by id.
        now: naive UTC.
        settings: those of the home.
    """
    rows = _Rows(tx.gather(messages, shape.MESSAGE), tx.gather(steps, shape.STEP))
    for one in written:
        if one.old is None:
            rows.add(one.told, now)
            rows.new.append(_new_state(one, now, settings))
            continue
        try:
            _check_status(one.old, one.told.fields, before.get(one.trajectory_id))
        except MoveRefused as error:
            _log.error("%s; it stays as it was", error)
            continue
        if one.old.merged_into is None:
            if _same(one.told, before.get(one.trajectory_id)):
                rows.unchanged.append((one.trajectory_id, one.runs_hash, one.waiting_since))
                continue
            rows.superseded.append((one.trajectory_id, one.old.revision))
        rows.add(one.told, now)
        rows.revised.append(_revised_state(one, one.old, now, settings))
    rows.write(tx)
    return {row[0] for row in (*rows.new, *rows.revised)}


@dataclass
class _Rows:
    """Rows of trajectories, made one trajectory at a time and written all at once."""

    messages: Columns
    steps: Columns
    trajectories: list[tuple[Any, ...]] = field(default_factory=list)
    runs: list[tuple[Any, ...]] = field(default_factory=list)
    superseded: list[tuple[Any, ...]] = field(default_factory=list)
    new: list[tuple[Any, ...]] = field(default_factory=list)
    revised: list[tuple[Any, ...]] = field(default_factory=list)
    unchanged: list[tuple[Any, ...]] = field(default_factory=list)

    def add(self, told: Told, now: datetime) -> None:
        self.trajectories.append(shape.trajectory_row(told, now=now))
        self.runs += shape.run_rows(told)
        shape.put_messages(told, self.messages)
        shape.put_steps(told, self.steps)

    def write(self, tx: Transaction) -> None:
        tx.insert(trajectories, shape.TRAJECTORY, self.trajectories)
        tx.insert(runs, shape.RUN, self.runs)
        tx.insert(messages, shape.MESSAGE, self.messages)
        tx.insert(steps, shape.STEP, self.steps)
        tx.insert(superseded, _SUPERSEDED, self.superseded)
        tx.insert(state, _NEW, self.new)
        tx.update(state, ("trajectory_id",), _REVISED, self.revised)
        tx.update(state, ("trajectory_id",), ("runs_hash", "waiting_since"), self.unchanged)


def _same(new: Told, old: Trajectory | None) -> bool:
    return old is not None and new.trajectory.model_copy(update={"revision": old.revision}) == old


def _check_status(old: Stored, new: Mapping[str, Any], before: Trajectory | None) -> None:
    """Check the walk from the stored status to the new one; what was resumed was open in between.

    A trajectory whose earlier runs are others than before (a resume found its place elsewhere) or that a named
    block goes on with is founded anew, and begins as open.
    """
    what, status = f"trajectory {old.trajectory_id}", new["status"]
    if old.status == status or before is None:
        return
    here: Status = old.status
    if here == "finished" and [run.root_key for run in before.runs] != [run["root_key"] for run in new["runs"]]:
        here = "open"
    if status in STATUS_MOVES[here]:
        return
    check_move(STATUS_MOVES, here, "open", what)
    if status != "open":
        check_move(STATUS_MOVES, "open", status, what)


def _is_held_out(told: Told, settings: Settings) -> bool:
    """Whether the trajectory's goal, or the metadata that the user splits by, falls into the held-out share."""
    key = settings.held_out_key
    what = str(told.fields["metadata"].get(key, "")) if key else told.fields["goal"]
    return bool(what) and is_held_out(what, settings.held_out)


def _new_state(one: Written, now: datetime, settings: Settings) -> tuple[Any, ...]:
    """Give the row of `store.state` of a new trajectory, in the order of _NEW; all other columns are null."""
    fields = one.told.fields
    return (
        fields["trajectory_id"],
        fields["revision"],
        fields["status"],
        "unknown",
        0,
        "waiting",
        now,
        True,
        0,
        0,
        one.waiting_since,
        _is_held_out(one.told, settings),
        0.0,
        one.told.source,
        one.answers,
        False,
        one.runs_hash,
    )


def _revised_state(one: Written, old: Stored, now: datetime, settings: Settings) -> tuple[Any, ...]:
    if old.stage != "waiting":
        check_move(STAGE_MOVES, old.stage, "waiting", f"trajectory {old.trajectory_id}")
    return (
        old.trajectory_id,
        one.told.fields["revision"],
        one.told.fields["status"],
        "waiting",
        now,
        True,
        None,
        0,
        None,
        one.waiting_since,
        _is_held_out(one.told, settings),
        one.answers,
        one.runs_hash,
        None,
    )


def set_status(tx: Transaction, moves: Iterable[tuple[Stored, Status, datetime | None]]) -> None:
    """Move the status of trajectories whose facts did not change (status, waiting since), and settle them anew."""
    updates = []
    for old, status, waiting_since in moves:
        check_move(STATUS_MOVES, old.status, status, f"trajectory {old.trajectory_id}")
        updates.append((old.trajectory_id, status, waiting_since, True))
    tx.update(state, ("trajectory_id",), ("status", "waiting_since", "needs_settle"), updates)


def retire(tx: Transaction, gone: Sequence[Stored], heirs: Mapping[str, str]) -> None:
    """Hide trajectories whose runs now belong to others; settling takes back what was made of them."""
    tx.insert(superseded, _SUPERSEDED, [(one.trajectory_id, one.revision) for one in gone])
    rows = [(one.trajectory_id, heirs[one.trajectory_id], True) for one in gone]
    tx.update(state, ("trajectory_id",), ("merged_into", "needs_settle"), rows)


def mark_unsettled(tx: Transaction, trajectory_ids: Iterable[str]) -> None:
    """Note that the outcome of these trajectories has to be decided anew."""
    tx.update(state, ("trajectory_id",), ("needs_settle",), [(key, True) for key in sorted(trajectory_ids)])


def current() -> Any:
    """Give the condition that joins `store.trajectories` to its current, visible state."""
    return and_(
        state.c.trajectory_id == trajectories.c.trajectory_id,
        state.c.revision == trajectories.c.revision,
        state.c.merged_into.is_(None),
    )
