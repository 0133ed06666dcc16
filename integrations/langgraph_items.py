"""Facts on their way out: tuples become the records of `agenther_live.facts`, cut to their bounds and redacted.

Redaction meets what people and programs said, and leaves alone what holds the facts together: kinds, numbers, ids.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Protocol

from agenther_live.integrations.messages import clip, finish, openai_tools

__all__ = ["Redaction", "records"]

_RECORD_CHARS = 1 << 20  # one journal line holds about so much


class Redaction(Protocol):
    """Takes secrets and personal data out of JSON-like data."""

    def value(self, obj: Any) -> Any:
        """Give `obj` without them; the same object if there are none."""


def records(
    root_key: str, facts: Iterable[tuple[Any, ...]], redactor: Redaction, limit: int
) -> tuple[list[dict[str, Any]], int]:
    """Turn a run's facts into journal records; gives them, and the number of fields that were cut."""
    made: list[dict[str, Any]] = []
    items: list[dict[str, Any]] = []
    cut = size = 0
    at = time.time()

    def close() -> None:
        nonlocal items, size
        if items:
            made.append({"k": "f", "r": root_key, "at": at, "f": items})
            items, size = [], 0

    for fact in facts:
        kind = fact[0]
        if kind == "record":
            close()
            made.append(fact[1])
            continue
        item, shortened = _ITEMS[kind](fact, limit)
        items.append(item)
        cut += shortened
        if kind == "msg":
            content = item["msg"]["content"]
            size += len(content) if type(content) is str else 1000
            if size > _RECORD_CHARS:
                close()
    close()
    _redact(made, redactor)
    return made, cut


_SAID = ("thread_id", "tags", "metadata", "input_text", "goal", "subject", "tenant", "answer", "values",
         "error_message", "value", "comment")  # fmt: skip


def _redact(made: list[dict[str, Any]], redactor: Redaction) -> None:
    """Redact what was said in the records, in place, in one call: what it costs is mostly per call."""
    spots: list[tuple[dict[str, Any], str]] = []
    for record in made:
        if record["k"] != "f":
            spots += [(record, key) for key in _SAID if record.get(key)]
            continue
        for item in record["f"]:
            kind = item["t"]
            if kind == "msg":
                message = item["msg"]
                spots += [(message, key) for key in ("content", "reasoning_content", "name") if message.get(key)]
                spots += [(call["function"], "arguments") for call in message.get("tool_calls", ())]
            else:
                spots += [(item, key) for key in ("args", "text", "tools") if key in item]
    given = [holder[key] for holder, key in spots]
    clean = redactor.value(given)
    if clean is not given:
        for (holder, key), value in zip(spots, clean, strict=True):
            holder[key] = value


def _msg(fact: tuple[Any, ...], limit: int) -> tuple[dict[str, Any], bool]:
    _, number, message, wire = fact
    cut = finish(wire, limit)
    item = {"t": "msg", "m": number, "id": message.id, "msg": wire}
    if wire["role"] == "tool":
        if getattr(message, "status", None) == "error":
            item["status"] = "error"
    elif message.response_metadata.get("__is_handoff_back"):
        item["synthetic"] = True
    return item, cut


def _tools(fact: tuple[Any, ...], limit: int) -> tuple[dict[str, Any], bool]:
    return {"t": "tools", "x": fact[1], "tools": openai_tools(fact[2])}, False


def _graph(fact: tuple[Any, ...], limit: int) -> tuple[dict[str, Any], bool]:
    return {"t": "graph", "s": fact[1], "up": fact[2], "name": fact[3], "p": fact[4], "n": fact[5]}, False


def _node(fact: tuple[Any, ...], limit: int) -> tuple[dict[str, Any], bool]:
    return {"t": "node", "p": fact[1], "s": fact[2], "name": fact[3], "ns": fact[4]}, False


def _node_end(fact: tuple[Any, ...], limit: int) -> tuple[dict[str, Any], bool]:
    item: dict[str, Any] = {"t": "node_end", "p": fact[1]}
    if fact[2]:
        item["out"] = fact[2]
    if fact[3]:
        item["rewrite"] = True
    return item, False


def _node_error(fact: tuple[Any, ...], limit: int) -> tuple[dict[str, Any], bool]:
    item: dict[str, Any] = {"t": "node_end", "p": fact[1]}
    cut = _error(item, fact[2], fact[3], limit)
    if fact[4]:
        item["out"] = fact[4]
    return item, cut


def _graph_end(fact: tuple[Any, ...], limit: int) -> tuple[dict[str, Any], bool]:
    return {"t": "graph_end", "s": fact[1], "out": fact[2]}, False


def _call(fact: tuple[Any, ...], limit: int) -> tuple[dict[str, Any], bool]:
    _, number, scope, node, tool, base, keep, add, toolset, model, at = fact
    item = {"t": "call", "c": number, "s": scope, "p": node, "add": add, "d": at}
    if keep:
        item["base"] = base
        item["keep"] = keep
    if tool:
        item["n"] = tool
    if toolset:
        item["x"] = toolset
    if model:
        item["model"] = model
    return item, False


def _reply(fact: tuple[Any, ...], limit: int) -> tuple[dict[str, Any], bool]:
    _, number, message, usage, model, at = fact
    item = {"t": "reply", "c": number, "m": message, "d": at}
    if usage:
        item["usage"] = usage
    if model:
        item["model"] = model
    return item, False


def _call_error(fact: tuple[Any, ...], limit: int) -> tuple[dict[str, Any], bool]:
    item: dict[str, Any] = {"t": "call_error", "c": fact[1], "d": fact[3]}
    return item, _error(item, fact[2], False, limit)


def _tool(fact: tuple[Any, ...], limit: int) -> tuple[dict[str, Any], bool]:
    _, number, scope, node, up, name, call_id, args, at = fact
    item = {"t": "tool", "n": number, "s": scope, "p": node, "name": name, "d": at}
    if up:
        item["up"] = up
    if call_id:
        item["id"] = call_id
    if args is None:
        return item, False
    item["args"] = clip(args, limit)
    return item, item["args"] is not args


def _tool_end(fact: tuple[Any, ...], limit: int) -> tuple[dict[str, Any], bool]:
    _, number, message, text, at = fact
    item = {"t": "tool_end", "n": number, "d": at}
    if message:
        item["m"] = message
    if text is None:
        return item, False
    item["text"] = clip(text, limit)
    return item, item["text"] is not text


def _tool_error(fact: tuple[Any, ...], limit: int) -> tuple[dict[str, Any], bool]:
    item: dict[str, Any] = {"t": "tool_error", "n": fact[1], "d": fact[4]}
    return item, _error(item, fact[2], fact[3], limit)


def _error(item: dict[str, Any], error: tuple[str, str], control: bool, limit: int) -> bool:
    """Note an error by type and text; of control flow only that it was that."""
    if control:
        item["control"] = True
        return False
    item["error"], text = error
    item["text"] = clip(text, limit)
    return item["text"] is not text


_ITEMS = {
    "msg": _msg,
    "tools": _tools,
    "graph": _graph,
    "node": _node,
    "node_end": _node_end,
    "node_error": _node_error,
    "graph_end": _graph_end,
    "call": _call,
    "reply": _reply,
    "call_error": _call_error,
    "tool": _tool,
    "tool_end": _tool_end,
    "tool_error": _tool_error,
}
