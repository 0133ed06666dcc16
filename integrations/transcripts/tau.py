"""tau-bench's text agent: `<think>` block, `Thought:`, `Action:` with one JSON object; `API output: …` as user.

`respond` is speech, not a call: what the user says next is a person's turn. Text that holds no readable action
is speech too, as the harness takes it. Source: https://github.com/sierra-research/tau-bench (react agent).
"""

from __future__ import annotations

from collections.abc import Sequence

from agenther_live.integrations.transcripts.adapter import (
    Adapter,
    Call,
    Context,
    Reply,
    Turn,
    dumps,
    joined,
    loads,
    pairs,
)
from agenther_live.integrations.transcripts.chat import without_think
from agenther_live.integrations.transcripts.react import json_call
from agenther_live.integrations.transcripts.signs import reports_error
from agenther_live.trajectory import Message

_OUTPUT = "API output:"


def _turn(message: Message, context: Context) -> Turn:
    think, rest = without_think(message.text)
    before, found, action = rest.rpartition("Action:")
    call = json_call(_unfenced(action)) if found else None
    thought = (before if call else rest).strip().removeprefix("Thought:").strip()
    if call is None:
        return Turn(thought=joined(think, thought), spoken=thought or None)
    if call.name == "respond":
        spoken = _content(call)
        return Turn(thought=joined(think, thought, spoken), spoken=spoken or None)
    return Turn(thought=joined(think, thought), calls=(call,))


def _unfenced(text: str) -> str:
    text = text.strip()
    if text.startswith("```"):
        text = text.partition("\n")[2].rpartition("```")[0]
    return text.strip()


def _content(call: Call) -> str:
    value = loads(call.input)
    content = value.get("content", "") if isinstance(value, dict) else call.input
    return content if isinstance(content, str) else dumps(content)


def _reply(message: Message, context: Context) -> Reply | None:
    text = message.text
    if message.role != "user" or not context.started or not text.startswith(_OUTPUT):
        return None
    observation = text.removeprefix(_OUTPUT).strip()
    return Reply(observation, is_error=reports_error(observation))


def _matches(messages: Sequence[Message]) -> bool:
    return any("Action:" in one.text and two.text.startswith(_OUTPUT) for one, two in pairs(messages))


TAU = Adapter("tau", _matches, _turn, _reply)
