"""From samples to preferences: who is worse than whom, for the same prompt. Pure; nothing is invented.

A response is worse where evidence says so: its run failed the very goal that the better one reached. Both had the same
agent, system prompt, tools and earlier turns, and goals that differ in spelling at most, so one prompt serves both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from agenther_live.ids import content_hash
from agenther_live.labels import Analysis, Sample, TrainMessage
from agenther_live.relabel.conducted import spoken
from agenther_live.relabel.demonstrate import holds_placeholder
from agenther_live.relabel.reading.calls import view
from agenther_live.shards.files.heldout import normalise
from agenther_live.shards.rows.canonical import RowRefused, prompt_end
from agenther_live.trajectory import NOT_AS_SEEN, Message, Trajectory

__all__ = ["contrast", "failure", "pair", "prompt_key", "step"]


def prompt_key(sample: Sample) -> str:
    """Give what samples of one prompt have in common, as a hash; '' where the sample has no prompt.

    Agent, tools and everything that was said before the goal must be equal, call ids aside; the message in which the
    goal stands must be equal but for spaces, letter case and punctuation at its words.
    """
    try:
        end = prompt_end(sample)
    except RowRefused:
        return ""
    before = [_body(item.message) for item in sample.messages[: end - 1]]
    asked = normalise(sample.messages[end - 1].message.text)
    return content_hash([sample.agent, sample.tools, before, asked])[:32] if asked else ""


def failure(trajectory: Trajectory, outcome_rev: int, analysis: Analysis | None = None) -> Sample | None:
    """Make the sample of a failed run under its own goal, which only ever is the worse one; None where it has nothing.

    What the agent said is marked, but for messages with placeholders; what was cut at capture is left out whole.
    """
    if NOT_AS_SEEN.intersection(trajectory.flags):
        return None
    trajectory = spoken(trajectory)
    at = view(trajectory).goal_index
    if at is None or not trajectory.goal.strip():
        return None
    said = {step.message_index for step in trajectory.root_steps} if trajectory.steps else None
    messages = tuple(
        TrainMessage(message=message, train=index > at and (said is None or index in said) and _marked(message))
        for index, message in enumerate(trajectory.messages)
    )
    if not any(item.train for item in messages):
        return None
    found = {"failure_type": analysis.failure_type, "severity": analysis.severity} if analysis else {"severity": 1.0}
    return Sample.model_validate(
        {
            "sample_id": _id(trajectory.trajectory_id, outcome_rev, trajectory.goal, "failure"),
            "trajectory_id": trajectory.trajectory_id,
            "kind": "failure",
            "goal": trajectory.goal,
            "original_goal": trajectory.goal,
            "messages": messages,
            "tools": trajectory.tools,
            "agent": trajectory.agent,
            "policy_version": trajectory.policy_version,
            "outcome_rev": outcome_rev,
            "content_hash": _content("failure", trajectory.tools, messages),
            "prompt_len": at + 1,
            **found,
        }
    )


def contrast(sample: Sample, outcome_rev: int) -> Sample | None:
    """Make of a hindsight sample the one that is published with both goals; it goes when the old goal did not fail.

    `outcome_rev` is that of the outcome which says so: of the whole run, so a lane of it gives none.
    """
    if sample.strategy == "lane":
        return None
    return sample.model_copy(
        update={
            "sample_id": _id(sample.sample_id, outcome_rev, "contrast"),
            "kind": "contrast",
            "outcome_rev": outcome_rev,
            "content_hash": content_hash([sample.content_hash, "contrast"]) if sample.content_hash else "",
            "sources": (sample.sample_id,),
        }
    )


def pair(better: Sample, worse: Sample) -> Sample | str:
    """Put a demonstration and a failure of the same prompt side by side; a word where that is no pair."""
    start = prompt_end(better)
    chosen, rejected = better.messages[start:], worse.messages[prompt_end(worse) :]
    if not any(item.train for item in chosen) or not any(item.train for item in rejected):
        return "nothing_to_train"
    if [_body(item.message) for item in chosen] == [_body(item.message) for item in rejected]:
        return "same_response"
    prompt = tuple(item.model_copy(update={"train": False}) for item in better.messages[:start])
    return _of(better, worse, "pair", prompt, chosen, rejected)


def step(better: Sample, worse: Sample) -> Sample | str:
    """Compare two runs of one prompt at the first message in which they differ; a word where that decides nothing.

    Up to there both said and saw the same. Both must speak there, the better one in a message worth training, and not
    merely in other words for the same action.
    """
    start, there = prompt_end(better), prompt_end(worse)
    chosen, rejected = better.messages[start:], worse.messages[there:]
    same = 0
    while same < min(len(chosen), len(rejected)) and _body(chosen[same].message) == _body(rejected[same].message):
        same += 1
    if same == len(chosen) or same == len(rejected):
        return "no_divergence"
    one, other = chosen[same], rejected[same]
    if one.message.role != "assistant" or other.message.role != "assistant":
        return "environment"
    if not one.train or not other.train:
        return "masked"
    if _action(one.message) == _action(other.message):
        return "same_action"
    history = tuple(item.model_copy(update={"train": False}) for item in better.messages[: start + same])
    return _of(better, worse, "step", history, (one,), (other,))


def _of(
    better: Sample,
    worse: Sample,
    kind: str,
    prompt: Sequence[TrainMessage],
    chosen: Sequence[TrainMessage],
    rejected: Sequence[TrainMessage],
) -> Sample:
    return better.model_copy(
        update={
            "sample_id": _id(better.sample_id, worse.sample_id, kind),
            "kind": kind,
            "messages": (*prompt, *chosen),
            "prompt_len": len(prompt),
            "rejected": tuple(rejected),
            "rejected_trajectory_id": worse.trajectory_id,
            "sources": (better.sample_id, worse.sample_id),
            "content_hash": _content(kind, better.tools, (*prompt, *chosen), rejected),
            "created_at": None,
        }
    )


def _marked(message: Message) -> bool:
    said = message.role == "assistant" and bool(message.tool_calls or message.text.strip())
    return said and not holds_placeholder(message)


def _action(message: Message) -> Any:
    """What a message does: its calls, or what it says where it calls nothing."""
    body = _body(message)
    return body["tool_calls"] if body["tool_calls"] else normalise(message.text)


def _body(message: Message) -> dict[str, Any]:
    """A message as far as it can differ: no ids, text as text."""
    calls = [{"name": call.function.name, "arguments": call.function.arguments} for call in message.tool_calls or ()]
    return {"role": message.role, "text": message.text, "tool_calls": calls, "name": message.name or ""}


def _content(kind: str, tools: Any, *parts: Sequence[TrainMessage]) -> str:
    return content_hash([kind, tools, [[[_body(item.message), item.train] for item in part] for part in parts]])


def _id(*parts: object) -> str:
    return hashlib.sha256("\x1f".join(map(str, parts)).encode("utf-8", "replace")).hexdigest()[:32]
