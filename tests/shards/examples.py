"""Samples of a small world (a greengrocer's counter), in the shapes that real agents produce."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from agenther_live.labels import Sample, TrainMessage
from agenther_live.shards.rows.pairing import pair, step
from agenther_live.trajectory import Message

AT = datetime(2026, 3, 1, 12, 0, 0)  # noqa: DTZ001 - our times are naive UTC

WEIGH = {
    "type": "function",
    "function": {
        "name": "weigh",
        "description": "Weigh fruit.",
        "parameters": {
            "type": "object",
            "properties": {"fruit": {"type": "string"}, "grams": {"type": "integer"}},
            "required": ["fruit"],
        },
    },
}
PRICE = {"name": "price", "description": "Price of a fruit in cents.", "parameters": {"type": "object"}}


def system(text: str) -> TrainMessage:
    return TrainMessage(message=Message(role="system", content=text), train=False)


def user(text: str) -> TrainMessage:
    return TrainMessage(message=Message(role="user", content=text), train=False)


def tool(call_id: str | None, text: str, **more: Any) -> TrainMessage:
    given = {"tool_call_id": call_id} if call_id else {}
    return TrainMessage(message=Message.model_validate({"role": "tool", "content": text, **given, **more}), train=False)


def call(call_id: str | None, name: str, arguments: Any) -> dict[str, Any]:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": text}}


def said(text: str | None, *calls: dict[str, Any], train: bool = True, weight: float = 1.0) -> TrainMessage:
    body: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        body["tool_calls"] = list(calls)
    return TrainMessage(message=Message.model_validate(body), train=train, weight=weight)


def sample(messages: Sequence[TrainMessage], **given: Any) -> Sample:
    values: dict[str, Any] = {
        "trajectory_id": "t-1",
        "kind": "success",
        "goal": "Weigh two pears.",
        "original_goal": "Weigh two pears.",
        "created_at": AT,
        **given,
    }
    body = json.dumps([m.model_dump(mode="json", exclude={"rewritten"}) for m in messages])
    values.setdefault("content_hash", hashlib.sha256(f"{values['goal']}{body}".encode()).hexdigest())
    values.setdefault(
        "sample_id", hashlib.sha256(f"{values['trajectory_id']}{values['content_hash']}".encode()).hexdigest()[:16]
    )
    return Sample(messages=tuple(messages), **values)


def plain(n: int = 0, **given: Any) -> Sample:
    """A question and an answer, no tools."""
    values = {
        "trajectory_id": f"plain-{n}",
        "goal": f"How ripe is pear {n}?",
        "original_goal": f"How ripe is pear {n}?",
    }
    return sample([user(f"How ripe is pear {n}?"), said("Quite.")], **{**values, **given})


def one_call(n: int = 0, **given: Any) -> Sample:
    """One call with text before it, an answer."""
    values = {"trajectory_id": f"one-{n}", "tools": (WEIGH,), "goal": f"Weigh pear {n}."}
    values["original_goal"] = values["goal"]
    return sample(
        [
            system("You stand behind the counter."),
            user(f"Weigh pear {n}."),
            said("On the scale with it.", call("a", "weigh", {"fruit": "pear", "grams": n})),
            tool("a", "180 g"),
            said("It weighs 180 g."),
        ],
        **{**values, **given},
    )


def hindsight(n: int = 0, **given: Any) -> Sample:
    """A relabeled failure: a masked failed call, then parallel calls whose results came out of order."""
    values = {
        "trajectory_id": f"hind-{n}",
        "goal_id": f"goal-{n}",
        "kind": "hindsight",
        "goal": f"What do a pear and a plum cost, customer {n}?",
        "original_goal": f"Sell customer {n} a mango under 50 cents.",
        "tools": (WEIGH, PRICE),
        "weight": 0.7,
        "severity": 0.3,
        "confidence": 0.9,
        "failure_type": "constraint_violation",
        "relabeler": "template",
        "judges": ("rules",),
        "evidence": (3, 4),
        "policy_version": "2026-02-01",
    }
    return sample(
        [
            system("You stand behind the counter."),
            user(f"What do a pear and a plum cost, customer {n}?"),
            said(None, call("x", "price", {"fruit": "mango"}), train=False),
            tool("x", "timeout"),
            said(
                "", call("p", "price", {"fruit": "pear"}), call("q", "price", {"fruit": "plum", "ripe": [True, None]})
            ),
            tool("q", "30"),
            tool("p", "40"),
            said("A pear is 40 cents, a plum 30."),
        ],
        **{**values, **given},
    )


def no_final(n: int = 0, **given: Any) -> Sample:
    """A sample whose final answer is masked."""
    values = {"trajectory_id": f"nofinal-{n}", "tools": (WEIGH,), "goal": f"Weigh apple {n}."}
    return sample(
        [
            user(f"Weigh apple {n}."),
            said("", call("a", "weigh", {"fruit": "apple"})),
            tool("a", "90 g"),
            said("It is gold.", train=False),
        ],
        **{**values, **given},
    )


def failed(n: int = 0, **given: Any) -> Sample:
    """A failed run for the goal of `one_call(n)`, in the same words: it asked for the price."""
    values = {"trajectory_id": f"failed-{n}", "tools": (WEIGH,), "goal": f"Weigh pear {n}."}
    return sample(
        [
            system("You stand behind the counter."),
            user(f"Weigh pear {n}."),
            said("", call("f", "price", {"fruit": "pear"})),
            tool("f", "40"),
            said("It weighs 40 g."),
        ],
        **{
            **values,
            "original_goal": values["goal"],
            "kind": "failure",
            "prompt_len": 2,
            "severity": 0.6,
            "failure_type": "wrong_result",
            **given,
        },
    )


def late_failure(n: int = 0, **given: Any) -> Sample:
    """A failed run that does as `one_call(n)` does, and then misreads the scale."""
    messages = [*one_call(n).messages[:-1], said("It weighs 810 g.")]
    return failed(n, trajectory_id=f"late-{n}").model_copy(update={"messages": tuple(messages), **given})


def a_pair(n: int = 0, **given: Any) -> Sample:
    """One prompt, the run that reached the goal and one that did not."""
    made = pair(one_call(n), failed(n))
    assert isinstance(made, Sample)
    return made.model_copy(update=given)


def a_step(n: int = 0, **given: Any) -> Sample:
    """The first turn in which a good run and a bad one differ: here the answer, after the same call."""
    made = step(one_call(n), late_failure(n))
    assert isinstance(made, Sample)
    return made.model_copy(update=given)


def first_step(n: int = 0) -> Sample:
    """The same where they differ at once: a call against another."""
    made = step(one_call(n), failed(n))
    assert isinstance(made, Sample)
    return made
