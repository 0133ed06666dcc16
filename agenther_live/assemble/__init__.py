"""From facts to trajectories: one pure function.

`assemble` reads the facts of all runs of a trajectory, in causal order, and gives the trajectory: the root agent's
conversation and steps, nested agents beside it by path, runs, status. What was repeated (an interrupted node after
a resume, a node that was retried) counts once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agenther_live.assemble.lanes import Lane, text_of
from agenther_live.assemble.reading import Reading, Tale
from agenther_live.assemble.subagents import subagent, subagents
from agenther_live.assemble.told import Told
from agenther_live.assemble.tools import tools_version
from agenther_live.trajectory import Status, Trajectory

__all__ = ["Told", "assemble", "subagent", "subagents", "tell", "tools_version"]

Record = Mapping[str, Any]


def assemble(runs: Sequence[Sequence[Record]], *, trajectory_id: str, revision: int = 1) -> Trajectory:
    """Make a trajectory of the facts of its runs, given in causal order.

    A run without an `end` is abandoned. Facts that a run lacks (lost, cut by a bound) leave gaps, never an error.
    """
    return tell(runs, trajectory_id=trajectory_id, revision=revision).trajectory


def tell(runs: Sequence[Sequence[Record]], *, trajectory_id: str, revision: int = 1) -> Told:
    """Make what `assemble` makes, as plain data: for who stores it, and needs no model."""
    tale = Tale()
    for number, records in enumerate(runs):
        Reading(tale, number, records).read()
    told = Told(_finish(tale, trajectory_id, revision))
    tale.let_go()
    return told


def _finish(tale: Tale, trajectory_id: str, revision: int) -> dict[str, Any]:
    first = tale.starts[0] if tale.starts else {}
    root = tale.lane("", "")
    messages = root.render()
    nested = {lane.path: rendered for lane in tale.lanes.values() if lane is not root and (rendered := lane.render())}
    alive = [draft for draft in tale.drafts if not draft.dropped]
    last = tale.runs[-1] if tale.runs else None
    status: Status = last["status"] if last else "abandoned"
    for lane in tale.lanes.values():
        tale.flags |= lane.flags
    judged = first.get("evaluators")
    return {
        **({} if judged is None else {"evaluators": tuple(judged)}),
        "trajectory_id": trajectory_id,
        "agent": first.get("agent") or "agent",
        "thread_id": _first(tale.starts, "thread_id"),
        "goal": _goal(tale, root),
        "final_answer": _answer(tale, root) if status == "finished" else None,
        "status": status,
        "messages": messages,
        "context_len": root.context_len(),
        "nested": nested,
        "nested_tools": {
            lane.path: _named(lane.tools) for lane in tale.lanes.values() if lane.path in nested and lane.tools
        },
        "tools": _tools(tale, root),
        "steps": tuple(draft.step(idx) for idx, draft in enumerate(alive)),
        "runs": tuple(tale.runs),
        "policy_version": next((run["policy_version"] for run in reversed(tale.runs) if run["policy_version"]), None),
        "started_at": tale.runs[0]["started_at"] if tale.runs else None,
        "finished_at": last["finished_at"] if last else None,
        "error_type": last["error_type"] if last else None,
        "error_message": last["error_message"] if last else None,
        "subject": _first(tale.starts, "subject"),
        "tenant": _first(tale.starts, "tenant"),
        "tags": tuple(dict.fromkeys(tag for start in tale.starts for tag in start.get("tags") or ())),
        "metadata": {key: value for start in tale.starts for key, value in (start.get("metadata") or {}).items()},
        "flags": tuple(sorted(tale.flags)),
        "revision": revision,
    }


def _goal(tale: Tale, root: Lane) -> str:
    if (given := _first(tale.starts, "goal")) is not None:
        return str(given)
    if tale.goal is not None:
        return tale.goal
    asked = [entry for entry in root.entries if entry.role == "user"]
    return text_of(asked[-1].wire) if asked else ""


def _answer(tale: Tale, root: Lane) -> str | None:
    end = tale.ends[-1]
    if end is not None and end.get("answer") is not None:
        return str(end["answer"])
    said = [entry for entry in root.entries if not entry.dropped]
    if not said or said[-1].role != "assistant" or said[-1].wire.get("tool_calls"):
        return None
    return text_of(said[-1].wire) or None


def _tools(tale: Tale, root: Lane) -> tuple[dict[str, Any], ...] | None:
    lanes = [root] if root.tools or any(draft.entry for draft in root.drafts) else list(tale.lanes.values())
    return _named([tool for lane in lanes for tool in lane.tools]) or None


def _named(tools: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Leave one schema per name, the last; one without a name is known by what it says."""
    return tuple({(tool.get("function") or {}).get("name") or repr(tool): tool for tool in tools}.values())


def _first(starts: Sequence[Record], key: str) -> Any:
    return next((start[key] for start in starts if start.get(key) is not None), None)
