"""From facts to trajectories: one pure function.

`assemble` reads the facts of all runs of a trajectory, in causal order, and gives the trajectory: the root agent's
conversation and steps, nested agents beside it by path, runs, status. What was repeated (an interrupted node after
a resume, a node that was retried) counts once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agenther_live.assemble.fields import trajectory_of
from agenther_live.assemble.forms import formed
from agenther_live.assemble.lanes import Lane, text_of
from agenther_live.assemble.reading import Reading
from agenther_live.assemble.seen import seen
from agenther_live.assemble.straight import straight
from agenther_live.assemble.subagents import subagent, subagents
from agenther_live.assemble.tale import Tale
from agenther_live.assemble.told import Told
from agenther_live.assemble.tools import named, tools_version
from agenther_live.trajectory import Trajectory

__all__ = ["Told", "assemble", "subagent", "subagents", "tell", "tools_version"]

Record = Mapping[str, Any]


def assemble(runs: Sequence[Sequence[Record]], *, trajectory_id: str, revision: int = 1) -> Trajectory:
    """Make a trajectory of the facts of its runs, given in causal order.

    A run without an `end` is abandoned. Facts that a run lacks (lost, cut by a bound) leave gaps, never an error.
    """
    return tell(runs, trajectory_id=trajectory_id, revision=revision).trajectory


def tell(runs: Sequence[Sequence[Record]], *, trajectory_id: str, revision: int = 1) -> Told:
    """Make what `assemble` makes, as plain data: for who stores it, and needs no model.

    Where facts of another form than ours are in the way, they are left out, and `Told.odd` counts them.
    """
    if len(runs) == 1 and (fields := straight(runs[0], trajectory_id=trajectory_id, revision=revision)) is not None:
        return Told.sound(fields)
    try:
        return _read(runs, trajectory_id, revision)
    except _UNREADABLE:
        whole = [formed(records) for records in runs]
        odd = sum(n for _, n in whole)
        if not odd:
            raise
        told = _read([records for records, _ in whole], trajectory_id, revision)
        told.odd = odd
        return told


_UNREADABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def _read(runs: Sequence[Sequence[Record]], trajectory_id: str, revision: int) -> Told:
    tale = Tale()
    try:
        for number, records in enumerate(runs):
            Reading(tale, number, records).read()
        return Told(_finish(tale, trajectory_id, revision))
    finally:
        tale.let_go()


def _finish(tale: Tale, trajectory_id: str, revision: int) -> dict[str, Any]:
    root = tale.lane("", "")
    messages = root.render()
    nested = {lane.path: rendered for lane in tale.lanes.values() if lane is not root and (rendered := lane.render())}
    alive = [draft for draft in tale.drafts if not draft.dropped]
    for lane in tale.lanes.values():
        tale.flags |= lane.flags
    if any(lane.apart for lane in tale.roots.values()):
        tale.flags.add("spliced")
    return trajectory_of(
        tale.starts,
        tale.ends[-1] if tale.ends else None,
        tale.runs,
        trajectory_id=trajectory_id,
        revision=revision,
        goal=_goal(tale, root),
        said_last=_said_last(root),
        messages=messages,
        context_len=root.context_len(),
        nested=nested,
        nested_tools={
            lane.path: named(lane.tools) for lane in tale.lanes.values() if lane.path in nested and lane.tools
        },
        tools=_tools(tale, root),
        steps=tuple(draft.step(idx) for idx, draft in enumerate(alive)),
        flags=tale.flags,
        seen=seen(tale, root, alive),
    )


def _goal(tale: Tale, root: Lane) -> str:
    if tale.goal is not None:
        return tale.goal
    asked = [entry for entry in root.entries if entry.role == "user"]
    return text_of(asked[-1].wire) if asked else ""


def _said_last(root: Lane) -> str | None:
    said = [entry for entry in root.entries if not entry.dropped]
    if not said or said[-1].role != "assistant" or said[-1].wire.get("tool_calls"):
        return None
    return text_of(said[-1].wire) or None


def _tools(tale: Tale, root: Lane) -> tuple[dict[str, Any], ...] | None:
    lanes = [root] if root.tools or any(draft.entry for draft in root.drafts) else list(tale.lanes.values())
    return named([tool for lane in lanes for tool in lane.tools]) or None
