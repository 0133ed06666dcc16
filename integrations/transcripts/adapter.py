"""The vocabulary of the adapters: what one text format must be able to say about one message. Pure data."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from agenther_live.trajectory import Message

# The name of an action that the environment answered although no call could be read from the agent's text.
NO_CALL = "no_call"
# Calls that hand in the answer: what comes after them is a grade or nothing, never an observation to act on.
FINISH = frozenset({"finish", "final_answer", "submit", "terminate", "exit"})
MAX_DEPTH = 100  # of nested JSON; deeper values would exhaust the stack of whoever walks them


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call as an agent wrote it; `input` is JSON text, or the command of a text agent."""

    name: str
    input: str = ""
    call_id: str | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """What an assistant message says: a thought, the calls, and what it says to the user (`spoken`)."""

    thought: str = ""
    calls: tuple[Call, ...] = ()
    spoken: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What the environment answered; the call is found by id, else by name, else by order."""

    text: str
    is_error: bool = False
    call_id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """Where a message stands: is there a turn before it, has that turn calls without an answer, what follows."""

    started: bool = False
    open_calls: tuple[Call, ...] = ()
    following: Message | None = None


@dataclass(frozen=True, slots=True)
class Adapter:
    """Reads one text format. Native tool calls and tool messages are read alike in all of them, before this.

    `matches` recognises a conversation by its structure; `turn` reads an assistant message (None: it is no
    turn of the agent); `reply` reads a message of any other kind (None: it is no environment's answer, and a
    user message is then a person's turn).
    """

    name: str
    matches: Callable[[Sequence[Message]], bool]
    turn: Callable[[Message, Context], Turn | None]
    reply: Callable[[Message, Context], Reply | None]


def joined(*parts: str) -> str:
    """Join the parts that hold text by blank lines."""
    return "\n\n".join(part.strip() for part in parts if part.strip())


def depth_of(value: object) -> int:
    """Give the nesting depth of a JSON value (1 for a plain value), without recursion; it stops at `MAX_DEPTH` + 1."""
    level, depth = [value], 0
    while level and depth <= MAX_DEPTH:
        depth += 1
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return depth


def loads(text: str) -> Any:
    """Parse JSON that a transcript quotes; None where it is none, or nested too deeply."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if depth_of(value) <= MAX_DEPTH else None


def dumps(value: object) -> str:
    """Give JSON text, characters as they are."""
    return json.dumps(value, ensure_ascii=False)


def utf8(text: str) -> str:
    """Replace half surrogate pairs (JSON may escape them, UTF-8 cannot hold them) by U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def pairs(messages: Sequence[Message]) -> list[tuple[Message, Message]]:
    """Give every (assistant message, user message right after it)."""
    return [(one, two) for one, two in itertools.pairwise(messages) if one.role == "assistant" and two.role == "user"]
