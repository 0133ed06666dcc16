"""Trajectories for the tests of relabeling, written as conversations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from agenther_live.trajectory import Action, Message, Outcome, Step, Trajectory

FAILED = Outcome(label="failure", source="reward", reason="the evaluator says so")


def trajectory(
    messages: Sequence[dict[str, Any]],
    *,
    goal: str | None = None,
    errors: frozenset[int] = frozenset(),
    trajectory_id: str = "t-1",
    **fields: Any,
) -> Trajectory:
    """A trajectory from messages in OpenAI's form. `errors` are indices of tool messages that are errors."""
    answers = {str(m.get("tool_call_id")): i for i, m in enumerate(messages) if m["role"] == "tool"}
    steps = []
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        actions = []
        for call in message.get("tool_calls") or ():
            at = answers.get(call["id"])
            actions.append(
                Action(
                    name=call["function"]["name"],
                    input=call["function"]["arguments"],
                    observation=None if at is None else Message.model_validate(messages[at]).text,
                    is_error=at in errors,
                    call_id=call["id"],
                    observation_index=at,
                )
            )
        steps.append(
            Step(
                idx=len(steps),
                thought=Message.model_validate(message).text,
                actions=tuple(actions),
                message_index=index,
            )
        )
    last = messages[-1]
    final = Message.model_validate(last).text if last["role"] == "assistant" and not last.get("tool_calls") else None
    asked = next((Message.model_validate(m).text for m in messages if m["role"] == "user"), "")
    return Trajectory(
        **{
            "trajectory_id": trajectory_id,
            "goal": asked if goal is None else goal,
            "final_answer": final,
            "messages": tuple(Message.model_validate(m) for m in messages),
            "steps": tuple(steps),
        }
        | fields
    )


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


def says(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


_count = iter(range(1_000_000_000))


def uses(name: str, args: dict[str, Any], result: Any, *, thought: str = "") -> list[dict[str, Any]]:
    """A call and its answer."""
    call_id = f"call_{next(_count)}"
    made = {"id": call_id, "type": "function", "function": {"name": name, "arguments": json.dumps(args)}}
    content = result if isinstance(result, str) else json.dumps(result)
    return [
        {"role": "assistant", "content": thought, "tool_calls": [made]},
        {"role": "tool", "content": content, "tool_call_id": call_id, "name": name},
    ]
