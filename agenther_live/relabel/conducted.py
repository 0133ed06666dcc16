"""Runs of graphs that only conduct: an agent that is a node of a larger graph asks all the models, the root asks none.

Such a run's conversation is the root's and its steps are the nested agent's. Where no other agent had a part in it, the
run is read as that agent's own: with its system prompt, its tools and its steps.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from agenther_live.labels import Relabeling
from agenther_live.trajectory import Message, Step, Trajectory

__all__ = ["conducted", "moved", "spoken"]


def conducted(trajectory: Trajectory) -> Trajectory:
    """The run as that of the one nested agent that said and called everything in it; else the run as it is.

    The agent's system prompt goes before the conversation, so the messages of the run stand `len(conducted.messages) -
    len(trajectory.messages)` further behind.
    """
    told = spoken(trajectory)
    if told is trajectory:
        return trajectory
    own = {index for step in told.root_steps for index in _indices(step)}
    moved_by = len(told.messages) - len(trajectory.messages)
    own |= {step.message_index + moved_by for step in trajectory.root_steps if step.message_index is not None}
    turn = range(told.context_len, len(told.messages))
    whole = all(index in own or told.messages[index].role in ("user", "system", "developer") for index in turn)
    return told if whole else trajectory


def spoken(trajectory: Trajectory) -> Trajectory:
    """The run with those turns as the root's that were said right here, under the prompt of the last one that was.

    A turn was said here where its nested agent had read, but for its own system prompt, just what stands before it.
    What other agents said, and what a graph put there by itself, stays without a step. A root that asked a model is
    left as it is.
    """
    if not trajectory.nested or not all(map(_put_there, trajectory.root_steps)):
        return trajectory
    root = trajectory.messages
    head = _head(root)
    shared = {path: _shared(inner, root) for path, inner in trajectory.nested.items()}
    here = [step for step in trajectory.steps if _said_here(step, trajectory.nested, shared)]
    if not here:
        return trajectory
    last = trajectory.nested[here[-1].agent_path]
    prompt = last[: _head(last)]
    told = [_key(message) for message in prompt]
    paths = {path for path, inner in trajectory.nested.items() if [_key(m) for m in inner[: _head(inner)]] == told}
    offset = len(prompt) - head
    if offset < 0:
        return trajectory
    # All prompts are equal, so what a nested conversation counts as its n-th message is the n-th here too.
    mine = {step.idx: step.model_copy(update={"agent_path": ""}) for step in here if step.agent_path in paths}
    tools = {_name(tool): tool for path in paths for tool in trajectory.nested_tools.get(path, ())}
    return trajectory.model_copy(
        update={
            "messages": (*prompt, *root[head:]),
            "context_len": trajectory.context_len + offset,
            "steps": tuple(mine.get(step.idx, step) for step in trajectory.steps if step.agent_path),
            "tools": tuple(tools.values()) or trajectory.tools,
        }
    )


def moved(relabeling: Relabeling, by: int) -> Relabeling:
    """A relabeling whose messages are counted from elsewhere; its samples, which hold their own, stay as they are."""
    if not by:
        return relabeling

    def shift(indices: Sequence[int]) -> tuple[int, ...]:
        return tuple(index + by for index in indices)

    found = relabeling.analysis
    return relabeling.model_copy(
        update={
            "analysis": found
            and found.model_copy(
                update={
                    "critical_evidence": shift(found.critical_evidence),
                    "errors": found.errors and tuple((message + by, level) for message, level in found.errors),
                }
            ),
            "goals": tuple(
                goal.model_copy(
                    update={
                        "evidence": shift(goal.evidence),
                        "requirements": tuple(
                            each.model_copy(update={"messages": shift(each.messages)}) for each in goal.requirements
                        ),
                    }
                )
                for goal in relabeling.goals
            ),
            "achievements": tuple(
                each.model_copy(update={"messages": shift(each.messages)}) for each in relabeling.achievements
            ),
        }
    )


def _put_there(step: Step) -> bool:
    """Whether no model said this: a node of the graph wrote it ('This message was made by a machine.')."""
    return step.at is None and step.model is None and not step.actions


def _indices(step: Step) -> Iterator[int]:
    for index in (step.message_index, *(action.observation_index for action in step.actions)):
        if index is not None:
            yield index


def _head(messages: Sequence[Message]) -> int:
    """How many messages of the system's stand before a conversation."""
    return next((i for i, m in enumerate(messages) if m.role not in ("system", "developer")), len(messages))


def _shared(inner: Sequence[Message], root: Sequence[Message]) -> int:
    """Up to where a nested conversation is the root's, its own system prompt counted."""
    own, theirs = _head(inner), _head(root)
    most = min(len(inner) - own, len(root) - theirs)
    return own + next((i for i in range(most) if _key(inner[own + i]) != _key(root[theirs + i])), most)


def _said_here(step: Step, nested: Mapping[str, Sequence[Message]], shared: Mapping[str, int]) -> bool:
    if step.agent_path not in nested or step.message_index is None:
        return False
    begin, end = _head(nested[step.agent_path]), shared[step.agent_path]
    return all(begin <= index < end for index in _indices(step))


def _name(tool: Mapping[str, object]) -> str:
    function = tool.get("function")
    return str((function if isinstance(function, Mapping) else tool).get("name", ""))


def _key(message: Message) -> str:
    calls = [[call.id, call.function.name, call.function.arguments] for call in message.tool_calls or ()]
    return json.dumps([message.role, message.text, calls, message.tool_call_id], default=str)
