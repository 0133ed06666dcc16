"""Who a trajectory is: a pure function from the runs of a thread to trajectories.

It looks at all runs at once and never at the order in which they arrived, so that a resume ingested before the
run it resumes ends where it would have ended the other way round. (DESIGN.md, "Who a trajectory is".)
"""

from __future__ import annotations

import hashlib
import itertools
from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from agenther_live.trajectory import Status

__all__ = ["Group", "RunHead", "head_of", "resolve", "thread_hash"]

_UNFINISHED = frozenset({"error", "cancelled", "abandoned"})


class RunHead(NamedTuple):
    """What decides which trajectory a run belongs to. Times are seconds of the epoch.

    `resumes` is the checkpoint it goes on from, `waits_at` are those at which it was interrupted;
    `explicit_id` is the trajectory that a `with live.trajectory()` block named.
    """

    root_key: str
    run_id: str | None
    agent: str
    thread_id: str | None
    explicit_id: str | None
    started_at: float
    ended_at: float
    status: Status
    resume: bool
    new_input: bool
    resumes: str | None
    waits_at: tuple[str, ...]
    conversational: bool | None
    policy_version: str | None

    @property
    def order(self) -> tuple[float, str]:
        """Time order; root keys are time-ordered too and break ties."""
        return (self.started_at, self.root_key)

    @property
    def linked(self) -> bool:
        """Whether it may belong together with other runs of its thread; a plain finished turn stands alone."""
        return self.status != "finished" or self.resume or self.explicit_id is not None or bool(self.waits_at)


@dataclass(slots=True, eq=False)
class Group:
    """One trajectory: its runs in causal order (a fork begins with those it shares), and how it stands."""

    trajectory_id: str
    runs: list[RunHead]
    shared: int = 0
    status: Status = "open"
    waiting_since: float | None = None
    places: set[tuple[str, str]] = field(default_factory=set)
    """The (thread id, agent) of its own runs."""

    @property
    def last(self) -> RunHead:
        """The run that it ends with so far."""
        return self.runs[-1]

    @property
    def own(self) -> list[RunHead]:
        """The runs that are its own."""
        return self.runs[self.shared :]


@lru_cache(maxsize=10_000)  # asked several times a run
def thread_hash(thread_id: str | None) -> int | None:
    """Hash a thread id to 63 bits: the buffer finds threads by it, a number scans five times faster than text."""
    if thread_id is None:
        return None
    return int.from_bytes(hashlib.blake2b(thread_id.encode("utf-8", "replace"), digest_size=8).digest(), "big") >> 1


def _name(given: str | None) -> str | None:
    """Give a name as every engine stores it, or what was stored would not be found again."""
    return given.replace("\x00", "\ufffd") if isinstance(given, str) else given


def head_of(root_key: str, records: Sequence[Mapping[str, Any]]) -> RunHead:
    """Read a run's head from its facts; a run without `end` counts as abandoned, one without `start` stands alone."""
    start: Mapping[str, Any] = {}
    end: Mapping[str, Any] | None = None
    waits_at: list[str] = []
    last = 0.0
    for record in records:
        kind = record.get("k")
        if kind == "start" and not start:
            start = record
        elif kind == "interrupt" and record.get("checkpoint_id"):
            waits_at.append(str(record["checkpoint_id"]))
        elif kind == "end" and (end is None or end.get("status") != "finished"):  # a run finishes once
            end = record
        last = max(last, float(record.get("at") or 0.0))
    started = float(start.get("at") or (records[0].get("at") if records else None) or last)
    status: Status = end.get("status", "abandoned") if end is not None else "abandoned"
    resume = bool(start.get("resume"))
    return RunHead(
        root_key=root_key,
        run_id=_name(start.get("run_id")),
        agent=_name(start.get("agent")) or "agent",
        thread_id=_name(start.get("thread_id")),
        explicit_id=_name(start.get("trajectory_id")),
        started_at=started,
        ended_at=float(end["at"]) if end is not None and end.get("at") is not None else max(last, started),
        status=status,
        resume=resume,
        new_input=bool(start.get("new_input", not resume)),
        resumes=start.get("checkpoint_id") if resume else None,
        waits_at=tuple(dict.fromkeys(waits_at)),
        conversational=start.get("conversational"),
        policy_version=start.get("policy_version"),
    )


@dataclass
class _Resolver:
    heads: list[RunHead]
    waiters: dict[str, list[RunHead]] = field(default_factory=dict)
    group_of: dict[str, Group] = field(default_factory=dict)
    continued: set[str] = field(default_factory=set)
    groups: dict[str, Group] = field(default_factory=dict)
    unfinished: dict[tuple[str, str], list[tuple[tuple[float, str], Group]]] = field(default_factory=dict)
    """By (thread id, agent), in time order: runs that did not finish, each with the trajectory that ended with it."""

    def run(self) -> list[Group]:
        for head in self.heads:
            for checkpoint in head.waits_at:
                self.waiters.setdefault(checkpoint, []).append(head)
        for head in self.heads:
            self.place(head, ())
        return list(self.groups.values())

    def place(self, head: RunHead, above: tuple[str, ...]) -> None:
        """Put one run where it belongs; the run it resumes goes first, whatever the clocks of two hosts say."""
        if head.root_key in self.group_of:
            return
        parent = self.parent(head, above)
        if parent is not None and parent.root_key not in self.group_of:
            self.place(parent, (*above, head.root_key))
        if head.explicit_id is not None:
            self.join(self.group(head.explicit_id), head, after=parent)
        elif parent is not None:
            self.resume(head, parent)
        elif head.resume and (unfinished := self.latest_unfinished(head)) is not None:
            self.join(unfinished, head, after=unfinished.last)
        else:
            self.join(self.group(head.root_key), head)

    def parent(self, head: RunHead, above: tuple[str, ...]) -> RunHead | None:
        """Find the run whose checkpoint this one resumes: the latest that waited there before it began.

        A run that answers one of two interrupts waits at the same checkpoint again, so the latest counts.
        """
        if not head.resumes:
            return None
        waiting = [
            run
            for run in self.waiters.get(head.resumes, ())
            if run.root_key != head.root_key and run.root_key not in above
        ]
        earlier = [run for run in waiting if run.order < head.order]
        return max(earlier, key=lambda run: run.order) if earlier else (waiting[0] if waiting else None)

    def resume(self, head: RunHead, parent: RunHead) -> None:
        """Go on where `parent` waited; where another run has done so already, fork, unless that one came to nothing."""
        trajectory = self.group_of[parent.root_key]
        last = trajectory.last
        again = last.resumes == head.resumes and last.status in _UNFINISHED and last.order < head.order
        if parent.root_key not in self.continued or again or trajectory.trajectory_id == head.root_key:
            self.join(trajectory, head, after=parent)
            return
        fork = self.group(head.root_key)  # not new where a block that goes on with this run began before it
        before = trajectory.runs[: trajectory.runs.index(parent) + 1]
        shared = [run for run in before if run not in fork.runs]
        fork.runs[:0], fork.shared = shared, len(shared)
        self.join(fork, head)

    def latest_unfinished(self, head: RunHead) -> Group | None:
        """Find the latest trajectory of the thread and agent that had not finished when this run began."""
        if head.thread_id is None:
            return None
        ends = self.unfinished.get((head.thread_id, head.agent), [])
        for place in range(bisect_left(ends, head.order, key=_moment) - 1, -1, -1):
            order, group = ends[place]
            if group.last.order == order:
                return group
            del ends[place]  # it went on, and so will never end there again
        return None

    def group(self, trajectory_id: str) -> Group:
        return self.groups.setdefault(trajectory_id, Group(trajectory_id, []))

    def join(self, group: Group, head: RunHead, after: RunHead | None = None) -> None:
        group.runs.append(head)
        self.group_of[head.root_key] = group
        if after is not None:
            self.continued.add(after.root_key)
        if head.thread_id is not None:
            group.places.add((head.thread_id, head.agent))
        if head.status != "finished":
            for place in group.places:
                insort(self.unfinished.setdefault(place, []), (head.order, group), key=_moment)


def _moment(end: tuple[tuple[float, str], Group]) -> tuple[float, str]:
    return end[0]


def _overtaken(group: Group, new_inputs: Sequence[RunHead]) -> bool:
    """Whether a new input came behind a group's last run; `new_inputs` are those of its thread and agent, by time.

    The latest come first: a thread may hold thousands of runs that wait.
    """
    mine = {run.root_key for run in group.runs}
    later = itertools.takewhile(lambda run: run.order > group.last.order, reversed(new_inputs))
    return any(run.root_key not in mine for run in later)


def resolve(heads: Iterable[RunHead], *, expired_before: float) -> list[Group]:
    """Sort runs into trajectories, and say how each stands.

    Args:
        heads: all known runs of the threads concerned, in any order.
        expired_before: a trajectory that has waited since before this time (epoch seconds) is abandoned.
    """
    ordered = sorted(heads, key=lambda head: head.order)
    groups = _Resolver(ordered).run()
    new_inputs: dict[tuple[str, str], list[RunHead]] = {}
    for head in ordered:
        if head.new_input and head.thread_id is not None:
            new_inputs.setdefault((head.thread_id, head.agent), []).append(head)
    for group in groups:
        last = group.last
        group.status = last.status
        if last.status != "interrupted":
            continue
        group.waiting_since = last.ended_at
        inputs = () if last.thread_id is None else new_inputs.get((last.thread_id, last.agent), ())
        if _overtaken(group, inputs) or last.ended_at < expired_before:
            group.status = "abandoned"
    return groups
