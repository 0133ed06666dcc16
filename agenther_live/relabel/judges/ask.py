"""One question to a chat model, and its reply read strictly."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from agenther_live.relabel.judges.strict import read_reply
from agenther_live.relabel.models import ChatModel, ModelRequest, Policy, Purpose, Refused, Unanswered

__all__ = ["Prompt", "ask"]

_MAX_TRIES = 32  # of one question over the life of a trajectory; stored replies among them cost nothing


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt with the schema of its reply, and the marker that the reply must carry."""

    purpose: Purpose
    messages: tuple[dict[str, str], ...]
    schema: Mapping[str, Any]
    schema_name: str
    marker: str
    temperature: float
    version: str


def request_key(prompt: Prompt, attempt: int) -> str:
    """The hash of all that decides a reply except the model."""
    parts = [prompt.messages, prompt.schema, prompt.temperature, attempt]
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()


async def ask(model: ChatModel, prompt: Prompt, policy: Policy) -> dict[str, Any]:
    """Ask, and read the reply.

    A stored reply that could not be read is passed over for free and the question put again, once a visit: a reply paid
    for just now that cannot be read ends it, and the trajectory is tried again later.

    Raises:
        Unanswered: the reply is no answer.
        TransientModelError, TerminalModelError, SpendCapReached: there was no reply.
    """
    problem = Unanswered("too many replies that could not be read")
    for attempt in range(_MAX_TRIES):
        reply = await model.complete(
            ModelRequest(
                purpose=prompt.purpose,
                messages=prompt.messages,
                schema=prompt.schema,
                schema_name=prompt.schema_name,
                temperature=prompt.temperature,
                prompt_version=prompt.version,
                key=request_key(prompt, attempt),
            )
        )
        try:
            if reply.finish_reason == "context_length":
                raise Refused("context", "the prompt is longer than the model takes")
            if reply.finish_reason not in ("stop", "end_turn", "STOP", "tool_calls", ""):
                raise Unanswered(f"the reply ended by {reply.finish_reason!r}")
            return read_reply(reply.text, prompt.schema, prompt.marker)
        except Unanswered as unanswered:
            problem = unanswered
            if not reply.stored:
                break
    raise problem
