"""Runs that are no one model's conversation: what each model was shown and said is a demonstration of its own.

Parallel branches, chains of prompts and graphs of several agents have no conversation that a model saw and in which a
call shows what was done. Each lane is one: its own system prompt, tools, messages and replies, to the letter. Of a run
that failed, a lane may show that something else was reached; that the run was a success says nothing of a lane, unless
its last words are the run's answer.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agenther_live.labels import Relabeling
from agenther_live.relabel.conducted import conducted, key_of, placed
from agenther_live.relabel.reading.calls import name_words
from agenther_live.relabel.reading.mentions import content_words, fold
from agenther_live.trajectory import NOT_AS_SEEN, Lane, Message, Seen, Trajectory

__all__ = ["Part", "concluding", "parts", "together"]

_PROMPT = ("system", "developer")
_HANDING = ("transfer_to_", "transfer_back_to_", "hand_off_to_", "handoff_to_", "hand_over_to_", "delegate_to_")


@dataclass(frozen=True, slots=True)
class Part:
    """A lane as a trajectory. `name` is its own within the run."""

    name: str
    run: Trajectory


def parts(trajectory: Trajectory) -> tuple[Part, ...]:
    """The lanes to relabel in place of a run; none where its own conversation can be.

    A lane is left out in which no call worked but to hand over, in which the goal does not stand in just one message of
    a user's, or whose system prompt changes with the state (what its model was asked would stand there).
    """
    seen = trajectory.seen
    if seen is None or not NOT_AS_SEEN.intersection(trajectory.flags) <= {"spliced"}:
        return ()
    whole = [step for step in conducted(trajectory).root_steps if step.message_index is not None]
    if "spliced" not in trajectory.flags and any(step.actions for step in whole):
        return ()
    prompts: defaultdict[str, set[tuple[str, ...]]] = defaultdict(set)
    for lane in seen.lanes:
        prompts[_agent(lane)].add(tuple(key_of(message) for message in _said(seen, lane) if message.role in _PROMPT))
    found: list[Part] = []
    names: set[str] = set()
    for lane in seen.lanes:
        worked = any(
            action.observation is not None and not action.is_error and not _hands_over(action.name)
            for step in lane.steps
            for action in step.actions
        )
        run = _read(trajectory, seen, lane) if worked and len(prompts[_agent(lane)]) == 1 else None
        if run is not None:
            name, n = lane.path or "model", 1
            while name in names:
                n += 1
                name = f"{lane.path or 'model'} ({n})"
            names.add(name)
            found.append(Part(name, run))
    return tuple(found)


def _hands_over(tool: str) -> bool:
    """Whether a tool only passes the work on to another agent: a user asks for no such thing."""
    said = "_".join(name_words(tool))
    return said.startswith(_HANDING)


def _agent(lane: Lane) -> str:
    """Whose lane it is: a second time that an agent is asked is told by a '#2'."""
    return re.sub(r"#\d+", "", lane.path)


def _said(seen: Seen, lane: Lane) -> list[Message]:
    return [seen.messages[place] for place in lane.messages]


def _read(trajectory: Trajectory, seen: Seen, lane: Lane, *, goal: str | None = None) -> Trajectory | None:
    """A lane as a trajectory under `goal`, or under what its model was asked; None where that is not to be told."""
    messages = _said(seen, lane)
    first = lane.steps[0].message_index if lane.steps else None
    if first is None:
        return None
    at = next((place for place in range(first - 1, -1, -1) if messages[place].role == "user"), None)
    if at is None or (at and messages[at - 1].role == "user"):
        return None
    asked = messages[at].text
    if goal is None:
        goal = trajectory.goal if _stands(trajectory.goal, asked) else asked
        if len(content_words(goal)) < 2:
            return None
    last = messages[-1]
    answer = last.text if last.role == "assistant" and not last.tool_calls and last.text.strip() else None
    return trajectory.model_copy(
        update={
            "goal": goal,
            "final_answer": answer,
            "status": "finished" if answer is not None else trajectory.status,
            "messages": tuple(messages),
            "context_len": at,
            "steps": lane.steps,
            "tools": None if lane.tools is None else seen.toolsets[lane.tools],
            "nested": {},
            "nested_tools": {},
            "flags": tuple(flag for flag in trajectory.flags if flag != "spliced"),
            "seen": None,
        }
    )


def _stands(text: str, within: str) -> bool:
    return len(content_words(text)) > 1 and f" {fold(text)} " in f" {fold(within)} "


# --- what came of them ------------------------------------------------------------------------------------------------


def together(trajectory: Trajectory, found: Sequence[tuple[Part, Relabeling]], *, left_out: int = 0) -> Relabeling:
    """What came of a run's lanes, as one relabeling of the run; of how many nobody was asked is `left_out`.

    One that could not be asked about is asked again later, and so are all. Messages are counted in the run's own
    conversation, as far as they stand there; samples hold their own. The n samples share the run's weight; of those
    that say the same (models that were asked one question, for a vote) one is kept.
    """
    again = [(part, one) for part, one in found if one.stage == "errored"]
    told = [(part, placed(one, _Places(part.run, trajectory))) for part, one in found]
    made = [sample for _, one in found for sample in (one.sample, *one.more) if sample is not None]
    samples = list({each.content_hash: each for each in reversed(made)}.values())[::-1]
    samples = [each.model_copy(update={"weight": each.weight / len(samples)}) for each in samples]
    part, best = min(told, key=lambda each: _rank(each[1]))
    return best.model_copy(
        update={
            "detail": best.detail if best.stage == "relabeled" else _why(part.name, best.detail, left_out),
            "lanes_left_out": left_out,
            "goals": tuple(goal for _, one in told for goal in one.goals),
            "achievements": tuple(each for _, one in told for each in one.achievements)[:50],
            "sample": samples[0] if samples and not again else None,
            "more": tuple(samples[1:]) if not again else (),
            "retry_after": max((one.retry_after or 0.0 for _, one in again), default=0.0) or None,
        }
    )


def _why(lane: str, detail: str, left_out: int) -> str:
    beyond = f" (max_lanes: {left_out} further lanes were not looked at)" if left_out else ""
    return f"{lane}: {detail}"[:2000] + beyond


def _rank(one: Relabeling) -> int:
    """How little a lane's relabeling tells of what came of the run."""
    return 0 if one.stage == "errored" else 1 if one.sample is not None else 2 if one.goals else 3


class _Places:
    """Where the messages of a lane stand in the run's conversation, the same ones in the same order."""

    def __init__(self, lane: Trajectory, run: Trajectory) -> None:
        there: defaultdict[str, list[int]] = defaultdict(list)
        for index, message in enumerate(run.messages):
            there[key_of(message)].append(index)
        self._found: dict[int, int] = {}
        for index, message in enumerate(lane.messages):
            if places := there[key_of(message)]:
                self._found[index] = places.pop(0)

    def __call__(self, index: int) -> int | None:
        return self._found.get(index)


# --- a success --------------------------------------------------------------------------------------------------------


def concluding(trajectory: Trajectory) -> Trajectory | None:
    """The lane whose last words are the answer of a run that was put together of lanes; None where no lane's are.

    Its model must have been shown what the user asked, and every other lane must have led there: its last words stand
    in the prompt of one that did. Of branches beside each other none concludes.
    """
    seen, answer = trajectory.seen, (trajectory.final_answer or "").strip()
    if seen is None or not answer or not seen.lanes:
        return None
    last = [_said(seen, lane)[-1] for lane in seen.lanes]
    ends = [n for n, message in enumerate(last) if not message.tool_calls and message.text.strip() == answer]
    if len(ends) != 1:
        return None
    lane = seen.lanes[ends[0]]
    led = _led(trajectory, seen, ends[0])
    if led is None:
        return None
    run = _read(trajectory, seen, lane, goal=trajectory.goal)
    if run is None:
        return None
    asked = run.messages[run.context_len].text
    for other in led:  # what another model had said of the goal is no word of the user's
        said = _said(seen, seen.lanes[other])
        for step in seen.lanes[other].steps:
            if step.message_index is not None and (words := said[step.message_index].text.strip()):
                asked = asked.replace(words, " ")
    if not _stands(trajectory.goal, asked):
        return None
    # That the answer was right says nothing of a draft before it, which another model may have found wrong.
    end_at = len(run.messages) - 1
    steps = tuple(step for step in run.steps if step.actions or step.message_index == end_at)
    return run.model_copy(update={"steps": steps})


def _led(trajectory: Trajectory, seen: Seen, end: int) -> list[int] | None:
    """The other lanes in the order in which they are found to have led to one; None where one did not."""
    steps = {step.idx: step for step in trajectory.steps}
    led = [end]
    for reached in led:
        shown = "\n".join(_prompts(seen, seen.lanes[reached]))
        for n, lane in enumerate(seen.lanes):
            # A lane ends with words, or with calls whose results went to others.
            step, last = steps.get(lane.steps[-1].idx) if lane.steps else None, _said(seen, lane)[-1]
            left = [each.observation or "" for each in step.actions] if step and last.tool_calls else [last.text]
            if n not in led and left and all(_stands_whole(text, shown) for text in left):
                led.append(n)
    return led[1:] if len(led) == len(seen.lanes) else None


def _stands_whole(text: str, shown: str) -> bool:
    """Whether words, and not just any one, stand in a prompt as they are."""
    return len(content_words(text)) > 1 and text.strip() in shown


def _prompts(seen: Seen, lane: Lane) -> Iterator[str]:
    own = {step.message_index for step in lane.steps}
    return (message.text for index, message in enumerate(_said(seen, lane)) if index not in own)
