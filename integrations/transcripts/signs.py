"""Signs in the text of an environment: what is an error, and what prints the grade. Structure, never topic words."""

from __future__ import annotations

import re

from agenther_live.integrations.transcripts.adapter import loads
from agenther_live.trajectory import Message

_ERROR_START = re.compile(
    r"\s*(?:"
    r"\[?(?:tool |api |execution )?error\]?\s*[:!\]]"  # "Error: …", "API error: …", "[ERROR] …"
    r"|error (?:invoking|executing|calling|running|while|in) "  # LangGraph's ToolNode and its kin
    r"|failed the \w+ code execution test"
    r"|traceback \(most recent call last\)"
    r"|(?-i:(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception): )"  # "ValueError: …", "openai.RateLimitError: …"
    r")",
    re.IGNORECASE,
)
_EXCEPTION_LINE = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?:Error|Exception|Interrupt|Exit|Warning)\b")
_TRACEBACK = "Traceback (most recent call last)"
_FLAG_KEYS = ("error", "isError", "is_error", "status", "success", "ok")

# What graders print into the conversation: FireAct, Reflexion, WebShop.
_GRADES = (
    re.compile(r"(?m)^(?:Observation(?: \d+)?:)?[ \t]*Episode finished, reward[ \t]*="),
    re.compile(r"(?m)^(?:Observation(?: \d+)?:)?[ \t]*(?:Your )?[Aa]nswer is (?:INCORRECT|CORRECT)\b"),
    re.compile(r"Your score \(min [\d.]+, max [\d.]+\)"),
)


def prints_grade(text: str) -> bool:
    """Say whether an environment's message tells the outcome of the episode."""
    return any(pattern.search(text) for pattern in _GRADES)


def ends_in_traceback(text: str) -> bool:
    """Say whether the text ends in a Python exception with its traceback (one quoted in the middle does not count)."""
    start = text.rfind(_TRACEBACK)
    if start < 0 or (start > 0 and text[start - 1] not in "\n\r"):
        return False
    lines = [line for line in text[start:].splitlines()[1:] if line and not line[0].isspace()]
    return bool(lines) and _EXCEPTION_LINE.match(lines[-1][:300]) is not None


def reports_error(text: str) -> bool:
    """Say whether a tool's result is an error: by how it starts, by its JSON flags, or by a traceback at its end."""
    if _ERROR_START.match(text[:400]):
        return True
    if text.lstrip()[:1] == "{" and any(f'"{key}"' in text for key in _FLAG_KEYS):
        value = loads(text)
        if isinstance(value, dict):
            return _flags_error(value)
    return ends_in_traceback(text)


def _flags_error(value: dict[str, object]) -> bool:
    if value.get("error") or value.get("isError") is True or value.get("is_error") is True:
        return True
    return value.get("status") in ("error", "failed") or value.get("success") is False or value.get("ok") is False


def tool_error(message: Message) -> bool:
    """Say whether a tool message is an error: its own mark where it has one (LangChain's `status`), else its text."""
    extra = message.model_extra or {}
    if extra.get("status") == "error" or extra.get("is_error") is True:
        return True
    return reports_error(message.text)
