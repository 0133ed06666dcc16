"""Sub-agents as trajectories of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agenther_live.errors import UsageError
from agenther_live.trajectory import Lane, Message, Seen, Step, Trajectory

__all__ = ["subagent", "subagents"]


def subagents(trajectory: Trajectory) -> list[Trajectory]:
    """Give every sub-agent that took a step, at any depth, in the order of the paths in `nested`."""
    acting = {step.agent_path for step in trajectory.steps}
    return [subagent(trajectory, path) for path in trajectory.nested if path in acting]


def subagent(trajectory: Trajectory, path: str) -> Trajectory:
    """Give the sub-agent at `path` as a trajectory: its conversation is the root's, its own sub-agents are nested.

    Its goal is what the user's side said last before its first step. It is `finished` where its last word is an
    answer; else it has the status of the whole. Runs, with their times and tokens, are those of the whole too, and
    nothing is said about its outcome. Where no model saw its conversation as it stands it is `spliced`, and what its
    models did see is kept beside it (`seen`), as of any run.

    Raises:
        UsageError: there is no sub-agent at that path.
    """
    if path not in trajectory.nested:
        known = ", ".join(sorted(trajectory.nested)) or "none"
        raise UsageError(f"{trajectory.trajectory_id} has no sub-agent {path!r}; it has: {known}")
    messages = trajectory.nested[path]
    inside = [step for step in trajectory.steps if _within(step.agent_path, path)]
    steps = [
        step.model_copy(update={"idx": idx, "agent_path": step.agent_path[len(path) + 1 :]})
        for idx, step in enumerate(inside)
    ]
    begin, end = _turn(messages, steps)
    last = messages[-1] if messages else None
    answer = last.text or None if last is not None and last.role == "assistant" and not last.tool_calls else None
    return trajectory.model_copy(
        update={
            "trajectory_id": f"{trajectory.trajectory_id}/{path}",
            "agent": path.rpartition("/")[2].partition("#")[0],
            "goal": messages[end - 1].text if end > begin else "",
            "final_answer": answer,
            "status": "finished" if answer is not None else trajectory.status,
            "messages": messages,
            "context_len": begin,
            "nested": {p[len(path) + 1 :]: m for p, m in trajectory.nested.items() if _within(p, path) and p != path},
            "tools": trajectory.nested_tools.get(path),
            "nested_tools": {
                p[len(path) + 1 :]: t for p, t in trajectory.nested_tools.items() if _within(p, path) and p != path
            },
            "steps": tuple(steps),
            "flags": _flags(trajectory, path),
            "seen": _seen(trajectory, path, {step.idx: idx for idx, step in enumerate(inside)}, steps),
            "error_type": None if answer is not None else trajectory.error_type,
            "error_message": None if answer is not None else trajectory.error_message,
        }
    )


def _flags(trajectory: Trajectory, path: str) -> tuple[str, ...]:
    """Those of the whole; `spliced` is said of each conversation by itself."""
    spliced = trajectory.seen is not None and path in trajectory.seen.spliced
    return tuple(sorted({*trajectory.flags} - {"spliced"} | ({"spliced"} if spliced else set())))


def _seen(trajectory: Trajectory, path: str, numbers: Mapping[int, int], steps: Sequence[Step]) -> Seen | None:
    """Its part of what each model was shown; None where its own conversation tells the same.

    Nothing is told where a lane has others' steps too. `numbers` are its steps: of the whole → its own, in `steps`.
    """
    seen = trajectory.seen
    if seen is None:
        return None
    lanes = [lane for lane in seen.lanes if _is_of(lane, path, numbers)]
    if any(step.idx not in numbers for lane in lanes for step in lane.steps):
        lanes = []
    if path not in seen.spliced:
        called = any(step.actions for step in steps if not step.agent_path and step.message_index is not None)
        if called or not any(steps[numbers[lane.steps[0].idx]].agent_path for lane in lanes if lane.steps):
            return None
    messages = {place: n for n, place in enumerate(dict.fromkeys(place for lane in lanes for place in lane.messages))}
    tools = {place: n for n, place in enumerate(dict.fromkeys(lane.tools for lane in lanes if lane.tools is not None))}
    return Seen(
        messages=tuple(seen.messages[place] for place in messages),
        toolsets=tuple(seen.toolsets[place] for place in tools),
        lanes=tuple(
            lane.model_copy(
                update={
                    "path": lane.path[len(path) + 1 :] or next((step.node or "" for step in lane.steps), ""),
                    "messages": tuple(messages[place] for place in lane.messages),
                    "steps": tuple(step.model_copy(update={"idx": numbers[step.idx]}) for step in lane.steps),
                    "tools": None if lane.tools is None else tools[lane.tools],
                }
            )
            for lane in lanes
        ),
        spliced=tuple(each[len(path) + 1 :] for each in seen.spliced if _within(each, path) and each != path),
    )


def _is_of(lane: Lane, path: str, numbers: Mapping[int, int]) -> bool:
    """Whether a lane has steps of an agent; one without steps goes by its name, which may be that of a root's node."""
    if not lane.steps:
        return _within(lane.path, path)
    for step in lane.steps:  # noqa: SIM110 of a thousand agents, each looks at the lanes of all
        if step.idx in numbers:
            return True
    return False


def _within(path: str, above: str) -> bool:
    return path == above or path.startswith(f"{above}/")


def _turn(messages: Sequence[Message], steps: Sequence[Step]) -> tuple[int, int]:
    """Find the user's messages nearest before the first step: from where to where they stand."""
    first = next((s.message_index for s in steps if not s.agent_path and s.message_index is not None), len(messages))
    end = first
    while end and messages[end - 1].role != "user":
        end -= 1
    begin = end
    while begin and messages[begin - 1].role == "user":
        begin -= 1
    return (begin, end) if end else (first, first)
