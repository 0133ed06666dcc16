"""Runs of graphs that only conduct: an agent that is a node of a larger graph asks all the models, the root asks none.

Such a run's conversation is the root's and its steps are the nested agent's. Where no other agent had a part in it, the
run is read as that agent's own: with its system prompt, its tools and its steps.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence

from agenther_live.labels import Relabeling
from agenther_live.trajectory import Message, Seen, Step, Trajectory

__all__ = ["conducted", "key_of", "moved", "placed", "spoken"]


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
    """The run with those turns as the root's that were said right here, under prompt and tools of the last that was.

    A turn was said here where its nested agent had read, but for its own system prompt, just what stands before it;
    where what each model was shown is known to the letter (`Trajectory.seen`), by that.
    What other agents said, and what a graph put there by itself, stays without a step. A root that asked a model is
    left as it is.
    """
    if not trajectory.nested or not all(map(_put_there, trajectory.root_steps)):
        return trajectory
    root = trajectory.messages
    head = _head(root)
    apart = trajectory.seen.spliced if trajectory.seen is not None else ()  # no model saw those as they stand
    shared = {path: _shared(inner, root) for path, inner in trajectory.nested.items() if path not in apart}
    here = [step for step in trajectory.steps if _said_here(step, trajectory.nested, shared)]
    if trajectory.seen is not None:
        here = list(_as_shown(here, trajectory, trajectory.seen, root[head:]))
    if not here:
        return trajectory
    last = trajectory.nested[here[-1].agent_path]
    prompt = last[: _head(last)]
    told = [key_of(message) for message in prompt]
    tools = trajectory.nested_tools.get(here[-1].agent_path, ())
    paths = {
        path
        for path, inner in trajectory.nested.items()
        if [key_of(m) for m in inner[: _head(inner)]] == told and _same(trajectory.nested_tools.get(path, ()), tools)
    }
    offset = len(prompt) - head
    if offset < 0:
        return trajectory
    # All prompts are equal, so what a nested conversation counts as its n-th message is the n-th here too.
    mine = {step.idx: step.model_copy(update={"agent_path": ""}) for step in here if step.agent_path in paths}
    return trajectory.model_copy(
        update={
            "messages": (*prompt, *root[head:]),
            "context_len": trajectory.context_len + offset,
            "steps": tuple(mine.get(step.idx, step) for step in trajectory.steps if step.agent_path),
            "tools": tools or trajectory.tools,
        }
    )


def moved(relabeling: Relabeling, by: int) -> Relabeling:
    """A relabeling whose messages are counted from elsewhere; its samples, which hold their own, stay as they are."""
    return placed(relabeling, lambda index: index + by) if by else relabeling


def placed(relabeling: Relabeling, place: Callable[[int], int | None]) -> Relabeling:
    """A relabeling whose messages stand at other places; what has none there is left out. Samples stay as they are."""

    def there(indices: Sequence[int]) -> tuple[int, ...]:
        return tuple(at for index in indices if (at := place(index)) is not None)

    found = relabeling.analysis
    return relabeling.model_copy(
        update={
            "analysis": found
            and found.model_copy(
                update={
                    "critical_evidence": there(found.critical_evidence),
                    "errors": found.errors
                    and tuple((at, level) for message, level in found.errors if (at := place(message)) is not None),
                }
            ),
            "goals": tuple(
                goal.model_copy(
                    update={
                        "evidence": there(goal.evidence),
                        "requirements": tuple(
                            each.model_copy(update={"messages": there(each.messages)}) for each in goal.requirements
                        ),
                    }
                )
                for goal in relabeling.goals
            ),
            "achievements": tuple(
                each.model_copy(update={"messages": there(each.messages)}) for each in relabeling.achievements
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
    return own + next((i for i in range(most) if key_of(inner[own + i]) != key_of(root[theirs + i])), most)


def _said_here(step: Step, nested: Mapping[str, Sequence[Message]], shared: Mapping[str, int]) -> bool:
    if step.agent_path not in shared or step.message_index is None:
        return False
    begin, end = _head(nested[step.agent_path]), shared[step.agent_path]
    return all(begin <= index < end for index in _indices(step))


def _as_shown(
    here: Sequence[Step], trajectory: Trajectory, seen: Seen, conversation: Sequence[Message]
) -> Iterator[Step]:
    """The steps before which their model was shown just what stands here, message by message."""
    said = [key_of(message) for message in seen.messages]
    lanes = {step.idx: (lane, step.message_index) for lane in seen.lanes for step in lane.steps}
    told = [key_of(message) for message in conversation]
    for step in here:
        lane, at = lanes.get(step.idx, (None, None))
        inner = trajectory.nested[step.agent_path]
        if lane is not None and at is not None and step.message_index is not None:
            prompt = [key_of(message) for message in inner[: _head(inner)]]
            shown = [said[place] for place in lane.messages[: at + 1]]
            if shown == [*prompt, *told][: step.message_index + 1]:
                yield step


def _same(one: Sequence[Mapping[str, object]], other: Sequence[Mapping[str, object]]) -> bool:
    """Whether two sets of tools are equal, in any order."""
    return len(one) == len(other) and all(tool in other for tool in one)


def key_of(message: Message) -> str:
    """What two messages share that say the same."""
    calls = [[call.id, call.function.name, call.function.arguments] for call in message.tool_calls or ()]
    return json.dumps([message.role, message.text, calls, message.tool_call_id], default=str)
