"""Logs of several named speakers: AutoGen group chats, and the event logs of LangGraph coding agents.

An AutoGen coder writes a fenced block and an executor answers `exitcode: N (…)`. An event log of LangGraph holds
the node updates (`{"agent": {"messages": […]}}`) as text, and beside them the same code and the same result again
under names of their own: these doubles are no turns. Source: https://github.com/microsoft/autogen (0.2 executors).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from agenther_live.integrations.transcripts.adapter import Adapter, Call, Context, Reply, Turn, dumps, loads, pairs
from agenther_live.integrations.transcripts.shell import fenced_blocks
from agenther_live.integrations.transcripts.signs import reports_error
from agenther_live.trajectory import Message

_EXIT_CODE = re.compile(r"\s*exitcode:\s*(-?\d+)\s*\(execution (?:succeeded|failed)")
_EXECUTORS = frozenset({"executor", "code_executor", "code_execution_success", "code_execution_error"})
_CODERS = frozenset({"code_generate"})  # speakers whose whole text is code


def _executed(message: Message | None) -> bool:
    if message is None or message.role != "user":
        return False
    return message.name in _EXECUTORS or _EXIT_CODE.match(message.text) is not None


def _updates(message: Message) -> list[dict[str, Any]]:
    """Give the LangChain messages that a node update holds (`{"agent": {"messages": […]}}`), else nothing."""
    text = message.text
    if not text.startswith('{"') or '"messages"' not in text[:200]:
        return []
    value = loads(text)
    if not isinstance(value, dict) or len(value) != 1:
        return []
    node = next(iter(value.values()))
    found = node.get("messages") if isinstance(node, dict) else None
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in content]
        return "".join(part for part in parts if isinstance(part, str))
    return ""


def _turn(message: Message, context: Context) -> Turn | None:
    updates = _updates(message)
    if updates:
        said = [item for item in updates if item.get("type") == "ai"]
        if not said:
            return None
        calls = tuple(
            Call(call["name"], dumps(call.get("args", {})), _id(call.get("id")))
            for item in said
            for call in item.get("tool_calls") or []
            if isinstance(call, dict) and isinstance(call.get("name"), str)
        )
        text = "\n\n".join(_text(item.get("content")).strip() for item in said).strip()
        return Turn(thought=text, calls=calls, spoken=None if calls else text or None)
    text = message.text.strip()
    if message.name in _CODERS:
        # The code of a call that the agent's update has already named; where no update did, the call itself.
        return None if context.open_calls else Turn(calls=(Call("python", text),))
    if _executed(context.following):
        blocks = fenced_blocks(message.text)
        if blocks:
            language, _, start = blocks[0]
            code = "\n\n".join(block for _, block, _ in blocks)
            return Turn(thought=message.text[:start].strip(), calls=(Call(language or "python", code),))
        return Turn(calls=(Call("code", text),))
    return Turn(thought=text, spoken=text or None)


def _id(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _reply(message: Message, context: Context) -> Reply | None:
    if not context.started:
        return None
    if message.role == "assistant":  # a node update of the tool node, logged as if an assistant had said it
        answers = [item for item in _updates(message) if item.get("type") == "tool"]
        if not answers or not context.open_calls:
            return None
        text = _text(answers[0].get("content"))
        failed = answers[0].get("status") == "error" or reports_error(text)
        return Reply(text, failed, _id(answers[0].get("tool_call_id")), _id(answers[0].get("name")))
    if not _executed(message):
        return None
    text = message.text
    code = _EXIT_CODE.match(text)
    if code:
        return Reply(text, is_error=int(code.group(1)[:9]) != 0)
    return Reply(text, is_error=message.name == "code_execution_error" or reports_error(text))


def _matches(messages: Sequence[Message]) -> bool:
    return any(_executed(two) for _, two in pairs(messages)) or any(
        message.role == "assistant" and _updates(message) for message in messages
    )


SPEAKERS = Adapter("speakers", _matches, _turn, _reply)
