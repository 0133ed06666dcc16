"""What people said about samples and disputed outcomes: kept at once, undone for a while, then it takes effect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from sqlalchemy import select, text

from agenther_live.buffer.engines.engine import Transaction, any_of
from agenther_live.buffer.intake import evidence
from agenther_live.buffer.intake.trajectories import load, load_states, mark_unsettled
from agenther_live.buffer.output.samples import load as load_samples
from agenther_live.buffer.output.samples import withdraw
from agenther_live.buffer.people.trust import release
from agenther_live.buffer.schema import labels, sample_state
from agenther_live.ids import uuid7
from agenther_live.labels import Sample
from agenther_live.trajectory import Evidence, Trajectory

__all__ = [
    "KINDS",
    "Entry",
    "Kind",
    "Word",
    "add_label",
    "apply_labels",
    "certified_labels",
    "entries",
    "item",
    "labels_due",
    "undo_label",
]

Kind = Literal["accepted", "held", "disputed"]
Word = Literal["accept", "reject"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_COLUMNS = [column.name for column in labels.columns]
_ENTRIES = "SELECT kind, trajectory_id, sample_id, agent, reason FROM to_review"


@dataclass(frozen=True)
class Entry:
    """One thing that a person may look at; `sample_id` is None where the outcome is in dispute."""

    kind: Kind
    trajectory_id: str
    sample_id: str | None
    agent: str
    reason: str

    @property
    def key(self) -> str:
        """What names it: the sample, or the trajectory."""
        return self.sample_id or self.trajectory_id


def entries(tx: Transaction, kind: Kind | None, *, agent: str | None = None) -> list[Entry]:
    """Give all that nobody labeled yet, by kind and id. Without a kind: disputed and held; accepted if neither is."""
    query = (
        f"{_ENTRIES} WHERE (agent = :agent OR CAST(:agent AS VARCHAR) IS NULL) ORDER BY kind, trajectory_id, sample_id"
    )
    found = [Entry(*row) for row in tx.rows(text(query), {"agent": agent})]
    if kind is not None:
        return [one for one in found if one.kind == kind]
    return [one for one in found if one.kind != "accepted"] or found


def item(tx: Transaction, entry: Entry) -> tuple[Trajectory, Sample | None] | None:
    """Give what is to be shown of an entry; None where it went away meanwhile."""
    found = load_states(tx, [entry.trajectory_id]).get(entry.trajectory_id)
    if found is None or found.merged_into is not None:
        return None
    trajectory = load(tx, {entry.trajectory_id: found.revision}).get(entry.trajectory_id)
    sample = load_samples(tx, [entry.sample_id]).get(entry.sample_id) if entry.sample_id else None
    if trajectory is None or (entry.sample_id is not None and sample is None):
        return None
    return trajectory, sample


def add_label(tx: Transaction, entry: Entry, word: Word, *, sample: Sample | None, now: datetime) -> str:
    """Keep a person's label; give its id. It takes effect by `apply_labels`."""
    label_id = uuid7()
    panel = None if sample is None else " | ".join([sample.relabeler or "", *sample.judges])
    row = (label_id, entry.kind, entry.trajectory_id, entry.sample_id, entry.agent, word, panel, now, None, None)
    tx.insert(labels, _COLUMNS, [row])
    return label_id


def undo_label(tx: Transaction, label_id: str, *, now: datetime) -> bool:
    """Take a label back; False where it has taken effect already."""
    c = labels.c
    open_ones = tx.rows(select(c.label_id).where(c.label_id == label_id, c.applied_at.is_(None), c.undone_at.is_(None)))
    tx.update(labels, ("label_id",), ("undone_at",), [(label_id, now) for _ in open_ones])
    return bool(open_ones)


def labels_due(tx: Transaction, *, before: datetime) -> bool:
    """Whether any label given until `before` did not take effect yet."""
    c = labels.c
    query = select(c.label_id).where(c.applied_at.is_(None), c.undone_at.is_(None), c.at <= before)
    return bool(tx.rows(query.limit(1)))


def apply_labels(
    tx: Transaction, *, before: datetime, now: datetime, only: Collection[str] | None = None
) -> Counter[str]:
    """Let labels that were given until `before` (of these ids `only`) take effect; count what they did.

    A rejected sample is withdrawn, or retracted where a shard holds it; an accepted one that was held goes on. About a
    disputed outcome the person's word is evidence, and decides.
    """
    c = labels.c
    query = select(c.label_id, c.kind, c.trajectory_id, c.sample_id, c.verdict, c.at)
    query = query.where(c.applied_at.is_(None), c.undone_at.is_(None), c.at <= before)
    if only is not None:
        query = query.where(any_of(c.label_id, only))
    due = tx.rows(tx.held(query.order_by(c.at, c.label_id)))
    if not due:
        return Counter()
    accepted = [sample_id for _, kind, _, sample_id, word, _ in due if word == "accept" and kind == "held"]
    rejected = [sample_id for _, kind, _, sample_id, word, _ in due if word == "reject" and kind != "disputed"]
    done: Counter[str] = Counter()
    if accepted:
        done["released"] = release(tx, any_of(sample_state.c.sample_id, accepted))
    if rejected:
        s = sample_state.c
        alive = select(s.sample_id, s.state).where(any_of(s.sample_id, rejected), s.state.in_(("pending", "emitted")))
        done += withdraw(tx, dict(tx.rows(tx.held(alive))), "rejected_by_person", now=now)
    said = [
        Evidence(
            evidence_id=label_id, trajectory_id=key, source="person", success=word == "accept", at=at,
            comment="said at the review of a disputed outcome",
        )
        for label_id, kind, key, _, word, at in due
        if kind == "disputed"
    ]  # fmt: skip
    if said:
        done["settled"], changed = evidence.take_statements(tx, map(evidence.stated, said), now=now)
        mark_unsettled(tx, changed)
    tx.update(labels, ("label_id",), ("applied_at",), [(row[0], now) for row in due])
    return +done


def certified_labels(
    tx: Transaction, *, agent: str | None = None, since: datetime | None = None
) -> Sequence[tuple[bool, str | None]]:
    """Give the labels of accepted pairs in the order they were given: whether it was rejected, and by which panel."""
    query = (
        "SELECT l.verdict = 'reject', l.panel FROM store.labels AS l "
        "WHERE l.kind = 'accepted' AND l.undone_at IS NULL AND (l.agent = :agent OR CAST(:agent AS VARCHAR) IS NULL) "
        "AND (l.at >= :since OR CAST(:since AS TIMESTAMP) IS NULL) ORDER BY l.at, l.label_id"
    )
    return [(bool(rejected), panel) for rejected, panel in tx.rows(text(query), {"agent": agent, "since": since})]
