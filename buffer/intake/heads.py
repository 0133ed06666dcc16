"""Run heads in the buffer: what decides which trajectory a run belongs to, one narrow row a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, delete, select

from agenther_live.buffer.engines.engine import Transaction, any_of
from agenther_live.buffer.intake.resolve import Group, RunHead, thread_hash
from agenther_live.buffer.schema import run_heads

__all__ = ["Known", "keys_of", "load_heads", "put_heads", "related"]

_HEAD = (
    "root_key",
    "trajectory_id",
    "parent_key",
    "run_id",
    "agent",
    "thread_id",
    "thread_hash",
    "explicit_id",
    "started_at",
    "ended_at",
    "status",
    "resume",
    "new_input",
    "resumes",
    "waits_at",
    "linked",
    "conversational",
    "facts_hash",
    "policy_version",
)


@dataclass(frozen=True)
class Known:
    """A run as the buffer has it."""

    head: RunHead
    trajectory_id: str
    parent_key: str | None
    facts_hash: str


def keys_of(head: RunHead) -> Iterator[str]:
    """Give the names under which a run may belong together with others: see `Transaction.lock`."""
    yield f"id:{head.root_key}"
    if head.explicit_id is not None:
        yield f"id:{head.explicit_id}"
    if head.run_id is not None:
        yield f"run:{head.run_id}"
    if head.thread_id is not None:
        yield f"thread:{head.thread_id}"


def load_heads(tx: Transaction, *wanted: ColumnElement[bool]) -> dict[str, Known]:
    """Load run heads, one query a condition: OR would keep DuckDB from skipping blocks."""
    found = {}
    columns = [run_heads.c[name] for name in _HEAD]
    for condition in wanted:
        for row in tx.rows(select(*columns).where(condition)):
            one = dict(zip(_HEAD, row, strict=True))
            head = RunHead(
                root_key=one["root_key"],
                run_id=one["run_id"],
                agent=one["agent"],
                thread_id=one["thread_id"],
                explicit_id=one["explicit_id"],
                started_at=one["started_at"],
                ended_at=one["ended_at"],
                status=one["status"],
                resume=one["resume"],
                new_input=one["new_input"],
                resumes=one["resumes"],
                waits_at=tuple((one["waits_at"] or "").splitlines()),
                conversational=one["conversational"],
                policy_version=one["policy_version"],
            )
            found[head.root_key] = Known(head, one["trajectory_id"], one["parent_key"], one["facts_hash"])
    return found


def related(tx: Transaction, arrived: Mapping[str, RunHead], known: Mapping[str, Known]) -> dict[str, Known]:
    """Load every run that may belong together with those that arrived, until nothing new comes.

    Plain finished turns stand alone, and are most of a long thread: they are loaded only where something waits on
    the thread, which they would abandon.
    """
    r = run_heads.c
    found = dict(known)
    threads: set[int] = set()
    named: set[str] = set()
    while True:
        heads = [*arrived.values(), *(one.head for one in found.values())]
        if tx.shared:  # nobody else moves these runs, nor binds what is said about them
            tx.lock(key for head in heads for key in keys_of(head))
        new_threads = {h for head in heads if (h := thread_hash(head.thread_id)) is not None} - threads
        new_named = {head.explicit_id for head in heads if head.explicit_id is not None} - named
        if not new_threads and not new_named:
            break
        threads |= new_threads
        named |= new_named
        wanted = [and_(r.linked, any_of(r.thread_hash, new_threads))] if new_threads else []
        if new_named:  # its own runs, and those that joined it without being named themselves
            wanted += [and_(r.linked, any_of(column, new_named)) for column in (r.explicit_id, r.trajectory_id)]
        found |= load_heads(tx, *wanted)
    waiting = [head for head in heads if head.status == "interrupted" and head.thread_id is not None]
    if waiting:
        hashes = {thread_hash(head.thread_id) for head in waiting}
        since = min(head.started_at for head in waiting)
        found |= load_heads(tx, and_(r.new_input, r.started_at >= since, any_of(r.thread_hash, hashes)))
    return found


def put_heads(tx: Transaction, groups: Iterable[Group], known: Mapping[str, Known], hashes: Mapping[str, str]) -> None:
    """Store the heads of runs that arrived, by `hashes` of their facts, and move those whose trajectory changed."""
    new, moved = [], []
    for group in groups:
        for index, head in enumerate(group.runs[group.shared :], group.shared):
            parent = group.runs[index - 1].root_key if index else None
            old = known.get(head.root_key)
            if old is not None and head.root_key not in hashes:
                if (old.trajectory_id, old.parent_key) != (group.trajectory_id, parent):
                    moved.append((head.root_key, group.trajectory_id, parent))
                continue
            row = (
                head.root_key,
                group.trajectory_id,
                parent,
                head.run_id,
                head.agent,
                head.thread_id,
                thread_hash(head.thread_id),
                head.explicit_id,
                head.started_at,
                head.ended_at,
                head.status,
                head.resume,
                head.new_input,
                head.resumes,
                "\n".join(head.waits_at) or None,
                head.linked,
                head.conversational,
                hashes[head.root_key],
                head.policy_version,
            )
            new.append(row)
    again = [row[0] for row in new if row[0] in known]
    if again:
        tx.rows(delete(run_heads).where(any_of(run_heads.c.root_key, again)))
    tx.insert(run_heads, _HEAD, new)
    tx.update(run_heads, ("root_key",), ("trajectory_id", "parent_key"), moved)
