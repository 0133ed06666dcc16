"""Model calls beside a conversation: a router's, a summariser's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["calls_aside"]

Record = Mapping[str, Any]


def calls_aside(items: Sequence[Record], messages: Mapping[int, Record]) -> set[int]:
    """Find the model calls that were no part of their graph's conversation: a router's, a summariser's.

    Such a call's node ended well, in a graph whose state holds messages, and the reply neither reached the state
    nor a later prompt, nor did any tool run for it.
    """
    outs: dict[int, set[int]] = {}
    scope_of: dict[int, int] = {}
    speaking: set[int] = set()
    asked: dict[int, set[int]] = {}
    ran: dict[int, set[str]] = {}
    for item in items:
        kind = item["t"]
        if kind == "node":
            scope_of[item["p"]] = item["s"]
        elif kind == "node_end" and "error" not in item and not item.get("control"):
            outs[item["p"]] = set(item.get("out") or ())
            if item.get("out"):
                speaking.add(scope_of.get(item["p"], 0))
        elif kind == "call":
            asked.setdefault(item["s"], set()).update(item["add"])
        elif kind == "tool" and item.get("id"):
            ran.setdefault(item["s"], set()).add(item["id"])
    replies = {item["c"]: item["m"] for item in items if item["t"] == "reply"}
    return {item["c"] for item in _found(items, replies, outs, speaking, asked, ran, messages)}


def _found(
    items: Sequence[Record], replies: Mapping[int, int], outs: Mapping[int, set[int]], speaking: set[int],
    asked: Mapping[int, set[int]], ran: Mapping[int, set[str]], messages: Mapping[int, Record],
) -> Iterator[Record]:  # fmt: skip
    for item in items:
        if item["t"] != "call" or item.get("n") or item["s"] not in speaking or item["p"] not in outs:
            continue
        number = replies.get(item["c"], 0)
        if number not in messages or number in outs[item["p"]] or number in asked.get(item["s"], ()):
            continue
        wire = messages[number]["msg"]
        if any(call.get("id") in ran.get(item["s"], ()) for call in wire.get("tool_calls") or ()):
            continue
        told = [messages[out] for out in outs[item["p"]] if out in messages]
        same_id = messages[number].get("id")
        if not any(
            out["msg"].get("content") == wire["content"] or (same_id and out.get("id") == same_id) for out in told
        ):
            yield item
