"""Model calls beside a conversation: a router's, a summariser's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["calls_aside"]

Record = Mapping[str, Any]


def calls_aside(
    kinds: Mapping[str, Sequence[Record]], replies: Mapping[int, int], messages: Mapping[int, Record]
) -> set[int]:
    """Find the model calls that were no part of their graph's conversation: a router's, a summariser's.

    Such a call's node ended well, in a graph whose state holds messages, and the reply neither reached the state
    nor a later prompt, nor did any tool run for it.

    Args:
        kinds: the run's items by kind, each in order.
        replies: calls, with the number of the message that answered.
        messages: the run's messages by number.
    """
    ends = [item for item in kinds.get("node_end", ()) if "error" not in item and not item.get("control")]
    scope_of = {item["p"]: item["s"] for item in kinds.get("node", ())}
    speaking = {scope_of.get(item["p"], 0) for item in ends if item.get("out")}
    if not speaking:
        return set()
    outs: dict[int, set[int]] = {item["p"]: set(item.get("out") or ()) for item in ends}
    asked: dict[int, set[int]] = {}
    for item in kinds.get("call", ()):
        asked.setdefault(item["s"], set()).update(item["add"])
    ran: dict[int, set[str]] = {}
    for item in kinds.get("tool", ()):
        if item.get("id"):
            ran.setdefault(item["s"], set()).add(item["id"])
    calls = kinds.get("call", ())
    return {item["c"] for item in _found(calls, replies, outs, speaking, asked, ran, messages)}


def _found(
    calls: Sequence[Record], replies: Mapping[int, int], outs: Mapping[int, set[int]], speaking: set[int],
    asked: Mapping[int, set[int]], ran: Mapping[int, set[str]], messages: Mapping[int, Record],
) -> Iterator[Record]:  # fmt: skip
    for item in calls:
        if item.get("n") or item["s"] not in speaking or item["p"] not in outs:
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
