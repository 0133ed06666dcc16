"""Rows that go: what belongs to a thread, a subject or a trajectory, and the tombstones that keep it out.

A tombstone is an HMAC under the home's key, so that it refuses what was deleted and names nobody. What is found by
one statement here is removed by another later, after the shards were written anew: so a crash in between leaves
everything that is needed to go on.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, cast

from sqlalchemy import Table, and_, delete, func, or_, select, update

from agenther_live.buffer.engines.engine import Transaction, any_of
from agenther_live.buffer.intake.resolve import thread_hash
from agenther_live.buffer.output import samples as sample_store
from agenther_live.buffer.schema import (
    canaries,
    derived,
    drawn,
    evidence,
    goals,
    lent,
    llm_calls,
    metadata,
    origins,
    relabelings,
    run_heads,
    runs,
    sample_shards,
    sample_state,
    samples,
    shards,
    state,
    trajectories,
    verdicts,
)
from agenther_live.buffer.upkeep.tombstones import Tombs
from agenther_live.relabel.borrowed import METHOD as ASKED_BY_ANOTHER
from agenther_live.trajectory import SampleState

__all__ = [
    "KEPT",
    "Kind",
    "Scope",
    "complete",
    "drawn_in",
    "forget",
    "formats_of",
    "names_of",
    "purge",
    "resolve",
    "take_back",
]

Kind = Literal["trajectory", "thread", "subject"]

KEPT = frozenset(
    {
        "cursors",
        "counts",
        "meta",
        "shards",
        "panel_health",
        "retractions",
        "draws",
        "drawn",
        "tombstones",
        "origins",
        "audit",
    }
)
"""Tables without a word of anybody: counters, shards and what points at samples by their hash."""
_EMITTED = (
    "sample_state",
    "sample_shards",
    "set_aside",
    "derived",
    "lent",
    "canaries",
    "labels",
)  # what retention leaves: of samples that shards hold, and what judges are measured and labels certified by
_BY = ("trajectory_id", "relabeling_id", "root_key", "sample_id", "goal_id")
_ONE_OWNER = ("samples", "sample_state", "relabelings", "analyses", "goals")  # rows name the trajectory they are of


@dataclass
class Scope:
    """What a deletion is about.

    `revisions` are older ones of other trajectories that held the same runs; `lent` are goals of other trajectories
    that are a request of these, word for word. `own` are those samples and relabelings that are of `trajectories`.
    """

    trajectories: set[str] = field(default_factory=set)
    revisions: set[tuple[str, int]] = field(default_factory=set)
    roots: set[str] = field(default_factory=set)
    run_ids: set[str] = field(default_factory=set)
    checkpoints: set[str] = field(default_factory=set)
    samples: dict[str, str] = field(default_factory=dict)
    relabelings: set[str] = field(default_factory=set)
    own: set[str] = field(default_factory=set)
    lent: set[str] = field(default_factory=set)
    shards: set[int] = field(default_factory=set)
    neighbours: int = 0

    def __bool__(self) -> bool:
        """Whether there is anything to delete."""
        return bool(self.trajectories or self.revisions)


# --- finding --------------------------------------------------------------------------------------------------


def resolve(tx: Transaction, kind: Kind, ids: Collection[str], keys: Collection[str] = ()) -> Scope:
    """Find all that belongs to a trajectory, thread or subject, known by any of these ids.

    `keys` are the HMACs of the ids: by them the rows of shards are found whose trajectory retention took. Forks that
    share a run go too; `Scope.neighbours` counts the other turns of its thread, which repeat what was said.
    """
    t, h, o = trajectories.c, run_heads.c, origins.c
    found = Scope()
    if kind == "trajectory":
        named = tx.rows(select(h.trajectory_id).where(any_of(h.root_key, ids)))
        found.trajectories = set(ids) | {row[0] for row in named}
    elif kind == "thread":
        hashes = [value for one in ids if (value := thread_hash(one)) is not None]
        found.trajectories = _first(tx.rows(select(t.trajectory_id).where(any_of(t.thread_id, ids))))
        found.trajectories |= _first(
            tx.rows(select(h.trajectory_id).where(any_of(h.thread_hash, hashes), any_of(h.thread_id, ids)))
        )
        found.trajectories |= _first(tx.rows(select(o.trajectory_id).where(any_of(o.thread_key, keys))))
    else:
        found.trajectories = _first(tx.rows(select(t.trajectory_id).where(any_of(t.subject, ids))))
        found.trajectories |= _first(tx.rows(select(o.trajectory_id).where(any_of(o.subject_key, keys))))
    return complete(tx, found, known_only=kind == "trajectory")


def complete(tx: Transaction, found: Scope, *, known_only: bool = False, fixed: bool = False) -> Scope:
    """Add what hangs on these trajectories: merged ones, runs, forks that share them, samples and their shards.

    `fixed` keeps the revisions that are named already; `known_only` drops ids that the buffer has never seen.
    """
    s, h, r = state.c, run_heads.c, runs.c
    named = set(found.revisions) if fixed else set()
    while True:
        before = len(found.trajectories)
        found.trajectories |= _first(tx.rows(select(s.trajectory_id).where(any_of(s.merged_into, found.trajectories))))
        heads = tx.rows(select(h.root_key, h.run_id, h.waits_at).where(any_of(h.trajectory_id, found.trajectories)))
        found.roots = {row[0] for row in heads}
        found.run_ids = {row[1] for row in heads if row[1] is not None}
        found.checkpoints = {point for row in heads for point in (row[2] or "").splitlines()}
        sharing = tx.rows(
            select(r.trajectory_id, r.revision, s.revision)
            .join(state, s.trajectory_id == r.trajectory_id)
            .where(any_of(r.root_key, found.roots))
        )
        found.trajectories |= {key for key, revision, current in sharing if revision == current}
        if len(found.trajectories) == before:
            break
    found.revisions = named | {(key, rev) for key, rev, _ in sharing if key not in found.trajectories}
    _find_samples(tx, found, lent=True)
    if known_only:
        known = _first(tx.rows(select(s.trajectory_id).where(any_of(s.trajectory_id, found.trajectories))))
        known |= _first(
            tx.rows(select(origins.c.trajectory_id).where(any_of(origins.c.trajectory_id, found.trajectories)))
        )
        found.trajectories &= known
    found.neighbours = _neighbours(tx, found)
    return found


def _find_samples(tx: Transaction, found: Scope, *, lent: bool = False) -> None:
    x, b, link = sample_state.c, relabelings.c, sample_shards.c
    affected = found.trajectories | {key for key, _ in found.revisions}
    for sample_id, key, revision, kept in tx.rows(
        select(x.sample_id, x.trajectory_id, x.revision, x.state).where(any_of(x.trajectory_id, affected))
    ):
        if key in found.trajectories or (key, revision) in found.revisions:
            found.samples[sample_id] = kept
            found.own.update({sample_id} if key in found.trajectories else ())
    if lent:  # not where retention asks: then the request still stands, in its own shards or nowhere
        _find_lent(tx, found)
    _find_derived(tx, found)
    for head, key, revision in tx.rows(
        select(b.relabeling_id, b.trajectory_id, b.revision).where(any_of(b.trajectory_id, affected))
    ):
        if key in found.trajectories or (key, revision) in found.revisions:
            found.relabelings.add(head)
            found.own.update({head} if key in found.trajectories else ())
    found.shards = {row[0] for row in tx.rows(select(link.seq).where(any_of(link.sample_id, found.samples)))}


def _find_lent(tx: Transaction, found: Scope) -> None:
    """Add the samples of other runs that were found to answer a request of these trajectories.

    Words tell which, as long as both sides are there; `store.lent` remembers it of those that retention took.
    """
    t, g, p, x = trajectories.c, goals.c, samples.c, sample_state.c
    asked = _first(tx.rows(select(t.goal).where(any_of(t.trajectory_id, found.trajectories), t.goal != "")))
    same = select(g.goal_id).where(
        g.method == ASKED_BY_ANOTHER,
        any_of(g.hindsight_goal, asked),
    )
    kept = tx.rows(select(lent.c.goal_id, lent.c.sample_id).where(any_of(lent.c.trajectory_id, found.trajectories)))
    found.lent = _first(tx.rows(same)) | _first(kept)
    made = _first(tx.rows(select(p.sample_id).where(any_of(p.goal_id, found.lent))))
    made |= {sample_id for _, sample_id in kept} - {None}
    found.samples.update(
        (row[0], row[1]) for row in tx.rows(select(x.sample_id, x.state).where(any_of(x.sample_id, made)))
    )


def _find_derived(tx: Transaction, found: Scope) -> None:
    """Add the samples that were made of these samples, or of a worse run of these trajectories: pairs of two runs."""
    x = sample_state.c
    while True:
        made = _first(tx.rows(select(derived.c.sample_id).where(_made_of(found)))) - {None} - found.samples.keys()
        if not made:
            return
        found.samples |= dict.fromkeys(made, "withdrawn")  # one without a row stands nowhere
        found.samples.update(
            (row[0], row[1]) for row in tx.rows(select(x.sample_id, x.state).where(any_of(x.sample_id, made)))
        )


def _made_of(found: Scope) -> Any:
    d = derived.c
    return or_(
        any_of(d.source_id, {*found.samples, *found.trajectories}),
        any_of(d.worse_id, found.samples),
        any_of(d.worse_trajectory_id, found.trajectories),
    )


def _neighbours(tx: Transaction, found: Scope) -> int:
    t = trajectories.c
    threads = _first(tx.rows(select(t.thread_id).where(any_of(t.trajectory_id, found.trajectories)))) - {None}
    if not threads:
        return 0
    others = _first(tx.rows(select(t.trajectory_id).where(any_of(t.thread_id, threads))))
    return len(others - found.trajectories)


def _first(rows: Iterable[Sequence[Any]]) -> set[Any]:
    return {row[0] for row in rows}


def formats_of(tx: Transaction, seqs: Collection[int]) -> dict[int, str]:
    """Give the formats of these shards."""
    rows = tx.rows(select(shards.c.seq, shards.c.format).where(any_of(shards.c.seq, seqs)))
    return {int(seq): str(fmt) for seq, fmt in rows}


def drawn_in(tx: Transaction, found: Scope) -> int:
    """Count the draws (`live.buffer.sample`) that gave any of a scope's samples to somebody."""
    d = drawn.c
    [(n,)] = tx.rows(select(func.count(d.draw_id.distinct())).where(any_of(d.sample_id, found.samples)))
    return int(n)


def names_of(found: Scope) -> list[tuple[str, str]]:
    """Give the (kind, id) by which anything of a scope could come again."""
    parts = (
        ("trajectory", found.trajectories),
        ("run", found.roots),
        ("call", found.run_ids),
        ("checkpoint", found.checkpoints),
    )
    return [(kind, name) for kind, names in parts for name in names]


# --- removing -------------------------------------------------------------------------------------------------


def take_back(tx: Transaction, found: Scope, reason: str, *, now: datetime) -> Counter[str]:
    """Withdraw the samples that wait, and decide the retraction of those that shards hold."""
    alive: dict[str, SampleState] = {
        key: cast(SampleState, kept) for key, kept in found.samples.items() if kept in ("pending", "emitted")
    }
    return sample_store.withdraw(tx, alive, reason, now=now)


def purge(tx: Transaction, found: Scope, *, threads: Collection[str] = (), mark: Callable[[str], str] = str) -> None:
    """Remove every row of a scope, and what was said to `threads` and still waits for its trajectory.

    Of model calls the cost stays, under `mark(call_key)`, and the words go; of goals of other runs, that there was one.
    """
    for table in metadata.sorted_tables:
        if table.name in KEPT or table is llm_calls:
            continue
        tx.rows(delete(table).where(_belongs(table, found)))
    e = evidence.c
    addressed = found.trajectories | found.roots
    tx.rows(delete(evidence).where(or_(any_of(e.to_trajectory, addressed), any_of(e.to_thread, threads))))
    waiting = and_(e.trajectory_id.is_(None), any_of(e.to_run, found.run_ids))
    tx.rows(delete(evidence).where(waiting))
    tx.rows(delete(origins).where(any_of(origins.c.trajectory_id, found.trajectories)))
    tx.rows(delete(lent).where(any_of(lent.c.goal_id, found.lent)))
    _silence_calls(tx, found.trajectories, mark)
    _silence_lent(tx, found.lent)
    if found.revisions:  # of an older revision of a trajectory that stays: it counts as not relabeled yet
        gone = any_of(state.c.relabeling_id, found.relabelings)
        tx.rows(update(state).where(gone).values(recoverable=None, proposed=None, relabel_reason=None))


def _belongs(table: Table, found: Scope) -> Any:
    """Give the condition under which a row of a table belongs to a scope."""
    ids: dict[str, Collection[str]] = {
        "trajectory_id": found.trajectories,
        "relabeling_id": found.relabelings,
        "root_key": found.roots,
        "sample_id": found.samples,
    }
    by = next((name for name in _BY if name in table.c), None)
    if by is None or by not in ids:
        raise KeyError(
            f"store.{table.name}: say in buffer/upkeep/erase.py how its rows are found, or why they may stay"
        )
    conditions = [any_of(table.c[by], ids[by])]
    if by == "trajectory_id" and found.revisions and "revision" in table.c:
        conditions += [and_(table.c.trajectory_id == key, table.c.revision == rev) for key, rev in found.revisions]
    if by == "trajectory_id" and table is not state:  # what was made of older revisions, and pairs with other runs
        known = found.own if table.name in _ONE_OWNER else ()  # found by their trajectory, which costs a tenth
        others = {name: set(ids[name]).difference(known) for name in ("sample_id", "relabeling_id") if name in table.c}
        conditions += [any_of(table.c[name], some) for name, some in others.items() if some]
    if table is derived:
        conditions.append(_made_of(found))
    return or_(*conditions)


def _silence_lent(tx: Transaction, lent: Collection[str]) -> None:
    """That another user's run has a goal stays, and no word of it."""
    g, v = goals.c, verdicts.c
    tx.rows(update(goals).where(any_of(g.goal_id, lent)).values(hindsight_goal="", detail="", requirements=None))
    tx.rows(update(verdicts).where(any_of(v.goal_id, lent)).values(reason=""))
    ended = _first(tx.rows(select(g.relabeling_id).where(any_of(g.goal_id, lent))))
    tx.rows(update(relabelings).where(any_of(relabelings.c.relabeling_id, ended)).values(detail=""))


def _silence_calls(tx: Transaction, ids: Collection[str], mark: Callable[[str], str]) -> None:
    c = llm_calls.c
    keys = [row[0] for row in tx.rows(select(c.call_key).where(any_of(c.trajectory_id, ids)))]
    silent = [(key, mark(key), None, None) for key in keys]
    tx.update(llm_calls, ("call_key",), ("call_key", "text", "trajectory_id"), silent)


def forget(tx: Transaction, ids: Collection[str], tombs: Tombs, *, now: datetime) -> tuple[int, int]:
    """Let trajectories go by age or size; give how many went, and how many samples lost their payload.

    Rows of published shards stay there, and with them the narrow rows that say which sample stands in which shard;
    `store.origins` keeps, as HMACs, whose they are, so that a later deletion finds them.
    """
    found = Scope(trajectories=set(ids))
    found.roots = _first(tx.rows(select(run_heads.c.root_key).where(any_of(run_heads.c.trajectory_id, ids))))
    _find_samples(tx, found)
    waiting: dict[str, SampleState] = {key: "pending" for key, kept in found.samples.items() if kept == "pending"}
    sample_store.withdraw(tx, waiting, "forgotten", now=now)
    in_shards = _first(
        tx.rows(select(sample_shards.c.sample_id).where(any_of(sample_shards.c.sample_id, found.samples)))
    )
    lenders = _remember_lent(tx, found)
    _remember_origins(tx, found, in_shards, lenders, tombs, now=now)
    for table in metadata.sorted_tables:
        if table.name not in KEPT and table.name not in _EMITTED and table is not llm_calls:
            tx.rows(delete(table).where(_belongs(table, found)))
    x = sample_state.c
    tx.rows(update(sample_state).where(any_of(x.sample_id, in_shards)).values(forgotten_at=now))
    gone = found.samples.keys() - in_shards
    tx.rows(delete(sample_state).where(any_of(x.sample_id, gone)))
    tx.rows(delete(derived).where(any_of(derived.c.sample_id, gone)))
    tx.rows(update(llm_calls).where(any_of(llm_calls.c.trajectory_id, ids)).values(text=None))
    tx.rows(update(canaries).where(any_of(canaries.c.trajectory_id, ids)).values(goal="", reason=""))
    return len(found.trajectories), len(found.samples)


def _remember_lent(tx: Transaction, found: Scope) -> set[str]:
    """Note which goals of other runs are requests of these, and which goals of these are requests of others.

    What is noted of the one side stands when the other goes too. Gives those of these trajectories that asked.
    """
    t, g, p = trajectories.c, goals.c, samples.c
    answers = select(g.goal_id, g.hindsight_goal).where(g.method == ASKED_BY_ANOTHER, g.hindsight_goal != "")
    requests = select(t.trajectory_id, t.goal)
    asked = set(tx.rows(requests.where(any_of(t.trajectory_id, found.trajectories))))
    answered = tx.rows(answers.where(any_of(g.trajectory_id, found.trajectories)))
    others = tx.rows(answers.where(any_of(g.hindsight_goal, {goal for _, goal in asked})))
    if answered:  # else nobody reads through all that was ever asked
        asked.update(tx.rows(requests.where(any_of(t.goal, {goal for _, goal in answered}))))
    who: defaultdict[str, set[str]] = defaultdict(set)
    for key, goal in asked:
        who[goal].add(key)
    ids = dict([*answered, *others])
    made: defaultdict[str, set[str | None]] = defaultdict(lambda: {None})
    for goal_id, sample_id in tx.rows(select(p.goal_id, p.sample_id).where(any_of(p.goal_id, ids))):
        made[goal_id].add(sample_id)
    rows = {(key, goal_id, one) for goal_id, goal in ids.items() for key in who[goal] for one in made[goal_id]}
    rows -= set(
        tx.rows(select(lent.c.trajectory_id, lent.c.goal_id, lent.c.sample_id).where(any_of(lent.c.goal_id, ids)))
    )
    tx.insert(lent, ("trajectory_id", "goal_id", "sample_id"), sorted(rows, key=str))
    return {key for key, _, _ in rows} & found.trajectories


def _remember_origins(
    tx: Transaction,
    found: Scope,
    in_shards: Collection[str],
    lenders: Collection[str],
    tombs: Tombs,
    *,
    now: datetime,
) -> None:
    t, s, x, d = trajectories.c, state.c, sample_state.c, derived.c
    owners = _first(tx.rows(select(x.trajectory_id).where(any_of(x.sample_id, in_shards))))
    owners |= _first(tx.rows(select(d.worse_trajectory_id).where(any_of(d.sample_id, in_shards))))
    rows = tx.rows(
        select(t.trajectory_id, t.thread_id, t.subject)
        .join(state, and_(s.trajectory_id == t.trajectory_id, s.revision == t.revision))
        .where(any_of(t.trajectory_id, owners.union(lenders) & found.trajectories))
    )
    tx.insert(
        origins,
        ("trajectory_id", "thread_key", "subject_key", "forgotten_at"),
        [
            (key, thread and tombs.key("thread", thread), subject and tombs.key("subject", subject), now)
            for key, thread, subject in rows
        ],
    )


def being_written(tx: Transaction) -> set[str]:
    """Give the trajectories with a sample in a shard that is begun and not published: they wait."""
    link, x = sample_shards.c, sample_state.c
    query = (
        select(x.trajectory_id)
        .join(sample_shards, link.sample_id == x.sample_id)
        .join(shards, shards.c.seq == link.seq)
        .where(shards.c.state == "writing")
    )
    return _first(tx.rows(query))
