"""The generic adapter: native tool calls, and assistant text that is spoken to the user. User turns are people's."""

from __future__ import annotations

from collections.abc import Sequence

from agenther_live.integrations.transcripts.adapter import Adapter, Context, Reply, Turn
from agenther_live.trajectory import Message


def without_think(text: str) -> tuple[str, str]:
    """Split `<think>` blocks off: (what they hold, what is left). An unclosed block reaches to the end."""
    held: list[str] = []
    rest: list[str] = []
    at = 0
    while (start := text.find("<think>", at)) >= 0:
        end = text.find("</think>", start)
        rest.append(text[at:start])
        held.append(text[start + len("<think>") : end if end >= 0 else len(text)].strip())
        at = end + len("</think>") if end >= 0 else len(text)
    rest.append(text[at:])
    return "\n\n".join(part for part in held if part), "".join(rest).strip()


def _matches(messages: Sequence[Message]) -> bool:
    return True


def _turn(message: Message, context: Context) -> Turn:
    spoken = without_think(message.text)[1]
    return Turn(thought=message.text.strip(), spoken=spoken or None)


def _reply(message: Message, context: Context) -> Reply | None:
    return None


CHAT = Adapter("chat", _matches, _turn, _reply)
