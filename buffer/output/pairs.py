"""Finding preferences in what the buffer holds, and keeping them true: pairs, steps, failures, contrasts.

They are samples made of other samples (or, a failure, of a trajectory), each tried once: `derived` says what was made
of what, or why nothing was. A demonstration and a failure pair up where their prompts have one key and their runs are
two. What one rests on takes it along when it is withdrawn.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import and_, exists, func, select

from agenther_live.buffer.engines.engine import Transaction, any_of
from agenther_live.buffer.intake.trajectories import load as load_trajectories
from agenther_live.buffer.output import samples as store
from agenther_live.buffer.schema import analyses, derived, sample_shards, sample_state, state
from agenther_live.labels import Analysis, Sample
from agenther_live.settings import ShardFormat
from agenther_live.shards.rows.formats import DEMONSTRATIONS, kinds_of
from agenther_live.shards.rows.pairing import contrast, failure, pair, prompt_key, step
from agenther_live.trajectory import Trajectory

__all__ = ["derive"]

logger = logging.getLogger("agenther_live")

_NAMES = ("sample_id", "kind", "source_id", "worse_id", "worse_trajectory_id", "outcome_rev", "reason", "at")
_ALIVE = ("pending", "emitted")
_SETTLED = ("queued", "relabeled", "rejected", "errored")  # a failure that nobody is waited for to deny
_MOST = 200
_TRIES = 4  # of as many others as a sample may stand in pairs with, before it is left alone


def derive(
    tx: Transaction, formats: Collection[ShardFormat], *, now: datetime, per_sample: int, most: int = _MOST
) -> bool:
    """Make up to `most` of each kind of sample that these formats need; say whether more may be left to make.

    `per_sample` is how many pairs a sample may stand in, on either side.
    """
    kinds = {kind for fmt in formats for kind in kinds_of(fmt)}
    if not kinds & {"contrast", "failure", "pair", "step"}:
        return False
    tx.lock(["derive"])
    looked = [_contrasts(tx, now, most)] if "contrast" in kinds else []
    if kinds & {"failure", "pair", "step"}:
        looked.append(_failures(tx, now, most))
    if kinds & {"pair", "step"}:
        looked += [_keys(tx, most), _pairs(tx, now, most, per_sample)]
    return most in looked


def _contrasts(tx: Transaction, now: datetime, most: int) -> int:
    x, s, d, link = sample_state.c, state.c, derived.c, sample_shards.c
    tried = exists().where(d.source_id == x.sample_id, d.kind == "contrast", d.outcome_rev == s.outcome_rev)
    # Before contrasts were samples of their own, the hindsight sample itself stood in such shards.
    there = exists().where(link.sample_id == x.sample_id, link.format == "goal_contrast")
    query = (
        select(x.sample_id, x.revision, s.outcome_rev)
        .join(state, s.trajectory_id == x.trajectory_id)
        .where(x.kind == "hindsight", x.state.in_(_ALIVE), x.forgotten_at.is_(None), s.outcome == "failure")
        .where(~tried, ~there)
        .order_by(x.created_at, x.sample_id)
        .limit(most)
    )
    found = tx.rows(query)
    known = store.load(tx, [row[0] for row in found]) if found else {}
    new, rows = [], []
    for key, revision, outcome_rev in found:
        made = contrast(known[key], outcome_rev) if key in known else None
        if made is not None:
            new.append(store.NewSample(made, revision))
        made_id = made.sample_id if made else None
        rows.append(
            (
                made_id,
                "contrast",
                key,
                None,
                None,
                outcome_rev,
                None if made else "lane" if key in known else "forgotten",
                now,
            )
        )
    store.add(tx, new, now=now)
    tx.insert(derived, _NAMES, rows)
    return len(found)


def _failures(tx: Transaction, now: datetime, most: int) -> int:
    s, d = state.c, derived.c
    tried = exists().where(d.source_id == s.trajectory_id, d.kind == "failure", d.outcome_rev == s.outcome_rev)
    query = (
        select(s.trajectory_id, s.revision, s.outcome_rev, s.relabeling_id)
        .where(s.outcome == "failure", s.stage.in_(_SETTLED), s.merged_into.is_(None))
        .where(~s.held_out, ~s.needs_settle, ~tried)
        .order_by(s.stage_at, s.trajectory_id)
        .limit(most)
    )
    found = tx.rows(query)
    loaded = load_trajectories(tx, {row[0]: row[1] for row in found}) if found else {}
    analysed = _analyses(tx, [row[3] for row in found if row[3]])
    new, rows = [], []
    for key, revision, outcome_rev, relabeling_id in found:
        made, reason = _failure(loaded.get(key), outcome_rev, analysed.get(relabeling_id))
        if made is not None:
            new.append(store.NewSample(made, revision))
        rows.append((made.sample_id if made else None, "failure", key, None, None, outcome_rev, reason, now))
    store.add(tx, new, now=now)
    tx.insert(derived, _NAMES, rows)
    return len(found)


def _failure(known: Trajectory | None, outcome_rev: int, analysis: Analysis | None) -> tuple[Sample | None, str | None]:
    """Make the sample of a failed run, or say by a word why there is none."""
    if known is None:
        return None, "forgotten"
    try:
        made = failure(known, outcome_rev, analysis)
    except Exception:  # one trajectory that cannot be read must not keep all shards back
        logger.exception("trajectory %s gives no sample", known.trajectory_id)
        return None, "unreadable"
    return made, None if made else "nothing_to_train"


def _analyses(tx: Transaction, relabelings: Collection[str]) -> dict[str, Analysis]:
    a = analyses.c
    columns = select(a.relabeling_id, a.trajectory_id, a.failure_type, a.severity, a.weight, a.recoverable)
    rows = tx.rows(columns.where(any_of(a.relabeling_id, relabelings))) if relabelings else []
    return {
        key: Analysis(trajectory_id=owner, failure_type=kind, severity=v, weight=w, recoverable=recoverable)
        for key, owner, kind, v, w, recoverable in rows
    }


def _keys(tx: Transaction, most: int) -> int:
    """Note the prompts of samples that were not looked at yet."""
    x = sample_state.c
    wanted = and_(x.kind.in_((*DEMONSTRATIONS, "failure")), x.state.in_(_ALIVE), x.forgotten_at.is_(None))
    query = select(x.sample_id).where(wanted, x.prompt_key.is_(None)).order_by(x.created_at, x.sample_id)
    ids = [row[0] for row in tx.rows(query.limit(most))]
    known = store.load(tx, ids) if ids else {}
    keys = [(key, prompt_key(known[key]) if key in known else "") for key in ids]
    tx.update(sample_state, ("sample_id",), ("prompt_key",), keys)
    return len(keys)


def _pairs(tx: Transaction, now: datetime, most: int, per_sample: int) -> int:
    d = derived.c
    tries = _TRIES * per_sample
    better = _side("source_id", DEMONSTRATIONS, per_sample)
    place = func.row_number().over(
        partition_by=better.c.prompt_key, order_by=(better.c.tries, better.c.created_at, better.c.sample_id)
    )
    better = select(better, place.label("place")).subquery("better")
    worse = _side("worse_id", ("failure",), per_sample)
    # A popular prompt has thousands on either side, and millions of pairs: only the first few of each are compared.
    wanted = worse.c.prompt_key.in_(select(better.c.prompt_key))
    order = (worse.c.tries, worse.c.created_at, worse.c.sample_id)
    worse = select(worse).where(wanted).order_by(*order).limit(10 * most).subquery("worse")
    query = (
        select(better.c.sample_id, better.c.revision, worse.c.sample_id)
        .join(worse, and_(worse.c.prompt_key == better.c.prompt_key, worse.c.trajectory_id != better.c.trajectory_id))
        .where(better.c.place <= tries)
        .where(~exists().where(d.source_id == better.c.sample_id, d.worse_id == worse.c.sample_id))
        .order_by(worse.c.tries, worse.c.created_at, worse.c.sample_id, better.c.place)
        .limit(most)
    )
    found = tx.rows(query)
    known = store.load(tx, sorted({key for one, _, other in found for key in (one, other)})) if found else {}
    room = _room(tx, found, per_sample)
    new: list[store.NewSample] = []
    rows: list[tuple[Any, ...]] = []
    for one, revision, other in found:
        if not room[one, "source_id"] or not room[other, "worse_id"]:
            continue  # the next call leaves it out
        made = _made(known.get(one), known.get(other))
        for kind, result in made.items():
            good = result if isinstance(result, Sample) else None
            if good is not None:
                new.append(store.NewSample(good, revision))
                room[one, "source_id"] -= kind == "pair"
                room[other, "worse_id"] -= kind == "pair"
            worse_run = known[other].trajectory_id if other in known else None
            word = None if good else result
            rows.append((good.sample_id if good else None, kind, one, other, worse_run, None, word, now))
    store.add(tx, new, now=now)
    tx.insert(derived, _NAMES, rows)
    return len(found)


def _made(better: Sample | None, worse: Sample | None) -> Mapping[str, Sample | str]:
    if better is None or worse is None:
        return {"pair": "forgotten", "step": "forgotten"}
    return {"pair": pair(better, worse), "step": step(better, worse)}


def _side(side: str, kinds: Collection[str], per_sample: int) -> Any:
    """Give the samples that may stand on one side of a pair, and how often each was tried there."""
    x, counted = sample_state.c, _stands_in(side)
    tries = func.coalesce(counted.c.tries, 0)
    return (
        select(x.sample_id, x.revision, x.trajectory_id, x.prompt_key, x.created_at, tries.label("tries"))
        .outerjoin(counted, counted.c.key == x.sample_id)
        .where(x.kind.in_(sorted(kinds)), x.state.in_(_ALIVE), x.forgotten_at.is_(None), x.prompt_key != "")
        .where(func.coalesce(counted.c.n, 0) < per_sample, tries < _TRIES * per_sample)
        .subquery()
    )


def _stands_in(side: str) -> Any:
    """In how many pairs that still hold each sample stands on one side, and how many were tried with it."""
    key = derived.c[side]
    holds = func.count().filter(sample_state.c.state.in_(_ALIVE))
    return (
        select(key.label("key"), holds.label("n"), func.count().label("tries"))
        .outerjoin(sample_state, sample_state.c.sample_id == derived.c.sample_id)
        .where(derived.c.kind == "pair")
        .group_by(key)
        .subquery()
    )


def _room(tx: Transaction, found: Sequence[tuple[Any, ...]], per_sample: int) -> Counter[tuple[str, str]]:
    room: Counter[tuple[str, str]] = Counter()
    for side, at in (("source_id", 0), ("worse_id", 2)):
        ids = {row[at] for row in found}
        counted = _stands_in(side)
        taken = dict(tx.rows(select(counted.c.key, counted.c.n).where(any_of(counted.c.key, ids)))) if ids else {}
        room.update({(key, side): per_sample - int(taken.get(key, 0)) for key in ids})
    return room
