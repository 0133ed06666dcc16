"""Notes on their way out: they become the records of `agenther_live.facts`, deltas, cut to their bounds and redacted.

This is the part of capture that need not happen while the agent waits for an event. Redaction meets what people and
programs said, and leaves alone what holds the facts together: kinds, numbers, ids.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from langchain_core.messages import BaseMessage

from agenther_live.ids import bounded_id
from agenther_live.integrations.clipping import Clip, Redaction, size_of
from agenther_live.integrations.messages import finish, openai_tools, size_of_blocks

__all__ = ["Items", "redact"]

_RECORD_CHARS = 1 << 20  # one journal line holds about so much
_NAMES = ("tool_call_id", "name")


class Node(Protocol):
    """What is told of the run of a node."""

    number: int
    scope: int
    name: str
    ns: str
    told: bool


class Items:
    """Makes a run's records of its notes, which come in the order of the events. One thread at a time.

    A note is the name of a method of this class and its arguments; `at` is epoch seconds, texts are cut by
    `clip`, names and ids bounded, and what comes after `max_events` items or `max_size` bytes of text is left out.
    """

    __slots__ = (
        "_asked",
        "_carried",
        "_chars",
        "_clip",
        "_cut",
        "_events",
        "_group",
        "_inputs",
        "_max_events",
        "_max_size",
        "_numbers",
        "_records",
        "_root_key",
        "_size",
        "_started",
        "_tools",
        "own",
        "truncated",
    )

    def __init__(
        self, root_key: str, started: float, numbers: Iterator[int], max_events: int, max_size: int, clip: Clip
    ) -> None:
        """Begin with nothing told."""
        self.truncated = False
        self.own: frozenset[int] = frozenset()  # the caller's messages
        self._root_key = root_key
        self._started = started
        self._numbers = numbers
        self._max_events = max_events
        self._max_size = max_size
        self._clip = clip
        self._records: list[dict[str, Any]] = []
        self._group: list[dict[str, Any]] = []
        self._chars = self._cut = self._events = self._size = 0
        self._asked: dict[str, str] = {}  # tool call id → the arguments that a model wrote last
        self._inputs: dict[tuple[int, int], tuple[int, list[int]]] = {}
        self._carried: dict[int, set[int]] = {}
        self._tools: list[tuple[int, Any]] = []

    def add(self, note: tuple[Any, ...]) -> None:
        """Make items of a note."""
        _MAKERS[note[0]](self, *note[1:])

    def take(self) -> tuple[list[dict[str, Any]], int]:
        """Take the records made so far, and the number of fields that were cut in them."""
        self._close()
        made, cut = self._records, self._cut
        self._records, self._cut = [], 0
        return made, cut

    @property
    def pending(self) -> bool:
        """Whether there are records, or items, that were not taken."""
        return bool(self._group or self._records)

    def carry(self, scope: int) -> set[int]:
        """Give the messages that a graph run is known to hold, by their numbers."""
        carried = self._carried.get(scope)
        if carried is None:
            carried = self._carried[scope] = set()
        return carried

    def forget(self) -> None:
        """Let go of what only an open run needs."""
        self._asked, self._inputs, self._carried, self._tools = {}, {}, {}, []

    # -- one method per note ---------------------------------------------------------------------------

    def record(self, record: dict[str, Any]) -> None:
        """Put a record of its own between the items."""
        self._close()
        self._records.append(record)

    def msg(self, number: int, message: BaseMessage, wire: dict[str, Any]) -> None:
        """Tell a message; `wire` is its snapshot, of which what costs time is left to do."""
        content = wire["content"]
        is_text = type(content) is str
        size = size_of(content) if is_text else 0
        if "reasoning_content" in wire:
            size += size_of(str(wire["reasoning_content"]))
        calls = wire.get("tool_calls")
        if calls:
            for call in calls:
                function = call["function"]
                arguments = function["arguments"]
                function["name"] = bounded_id(function["name"])
                size += size_of(arguments)
                if call["id"]:
                    call["id"] = bounded_id(call["id"])
                    self._asked[call["id"]] = arguments
        for key in _NAMES:
            if named := wire.get(key):
                wire[key] = bounded_id(named)
        cut = False if is_text and size <= self._clip.limit else finish(wire, self._clip)  # most fit as they are
        if not is_text:  # what its blocks hold is known when they are finished
            size += size_of_blocks(wire["content"])
        self._size += size
        item = {"t": "msg", "m": number, "id": message.id and bounded_id(message.id), "msg": wire}
        if wire["role"] == "tool":
            if getattr(message, "status", None) == "error":
                item["status"] = "error"
        elif message.response_metadata.get("__is_handoff_back"):
            item["synthetic"] = True
        if self._put(item, cut):
            self._chars += size
            if self._chars > _RECORD_CHARS:
                self._close()

    def graph(self, number: int, up: int, name: str, node: Node | None, tool: int) -> None:
        """Tell of a nested graph run."""
        self._put({"t": "graph", "s": number, "up": up, "name": bounded_id(name), "p": self._tell(node), "n": tool})

    def node_end(self, node: Node, numbers: Sequence[int]) -> None:
        """Tell that a node ended, where that says anything; a number 0 is a message that removes others."""
        out = self._new(node.scope, numbers)
        if not out and not node.told:
            return
        item: dict[str, Any] = {"t": "node_end", "p": self._tell(node)}
        if out:
            item["out"] = out
        if 0 in numbers:
            item["rewrite"] = True
        self._put(item)

    def node_error(self, node: Node, error: tuple[str, str]) -> None:
        """Tell that a node raised."""
        item: dict[str, Any] = {"t": "node_end", "p": self._tell(node)}
        self._put(item, self._error(item, error, False))

    def node_left(self, node: Node, numbers: Sequence[int]) -> None:
        """Tell that a node ended by control flow, where that says anything."""
        out = self._new(node.scope, numbers)
        if out or node.told:
            item: dict[str, Any] = {"t": "node_end", "p": self._tell(node), "control": True}
            if out:
                item["out"] = out
            self._put(item)

    def graph_end(self, scope: int, out: list[int]) -> None:
        """Tell what a nested graph run's state holds beside what is known."""
        self._put({"t": "graph_end", "s": scope, "out": out})

    def call(
        self, number: int, scope: int, node: Node | None, tool: int, numbers: list[int], tools: Any,
        model: str | None, at: float,
    ) -> None:  # fmt: skip
        """Tell of a model call by what was added to the input of the call before it in the same place."""
        base, keep, place = 0, 0, (scope, tool)
        last = self._inputs.get(place)
        if last is not None:
            base, known = last
            keep = len(known) if numbers[: len(known)] == known else _common(known, numbers)
        self._inputs[place] = (number, numbers)
        added = numbers[keep:] if keep else numbers
        self.carry(scope).update(added)  # the others were carried by the call before
        toolset = self._toolset(tools) if tools else 0
        item = {"t": "call", "c": number, "s": scope, "p": self._tell(node), "add": added, "d": self._since(at)}
        if keep:
            item["base"] = base
            item["keep"] = keep
        if tool:
            item["n"] = tool
        if toolset:
            item["x"] = toolset
        if model:
            item["model"] = bounded_id(str(model))
        self._put(item)

    def reply(self, number: int, message: int, usage: list[int] | None, model: str | None, at: float) -> None:
        """Tell of a model's reply."""
        item = {"t": "reply", "c": number, "m": message, "d": self._since(at)}
        if usage:
            item["usage"] = usage
        if model:
            item["model"] = bounded_id(model)
        self._put(item)

    def call_error(self, number: int, error: tuple[str, str], at: float) -> None:
        """Tell that a model call failed."""
        item: dict[str, Any] = {"t": "call_error", "c": number, "d": self._since(at)}
        self._put(item, self._error(item, error, False))

    def tool(
        self, number: int, scope: int, node: Node | None, up: int, name: str, call_id: str | None, args: str, at: float
    ) -> None:
        """Tell of a tool run; its arguments only where they are not those of its tool call."""
        call_id = call_id and bounded_id(call_id)
        told = bool(call_id) and self._asked.get(call_id or "") == args
        if not told:
            self._size += size_of(args)
        item = {
            "t": "tool",
            "n": number,
            "s": scope,
            "p": self._tell(node),
            "name": bounded_id(name),
            "d": self._since(at),
        }
        if up:
            item["up"] = up
        if call_id:
            item["id"] = call_id
        if told:
            self._put(item)
        else:
            item["args"] = self._clip(args)
            self._put(item, item["args"] is not args)

    def tool_end(self, number: int, message: int, text: str | None, at: float) -> None:
        """Tell what a tool gave back."""
        item = {"t": "tool_end", "n": number, "d": self._since(at)}
        if message:
            item["m"] = message
        if text is None:
            self._put(item)
            return
        self._size += size_of(text)
        item["text"] = self._clip(text)
        self._put(item, item["text"] is not text)

    def tool_error(self, number: int, error: tuple[str, str], control: bool, at: float) -> None:
        """Tell that a tool raised."""
        item: dict[str, Any] = {"t": "tool_error", "n": number, "d": self._since(at)}
        self._put(item, self._error(item, error, control))

    # -- what they share -------------------------------------------------------------------------------

    def _put(self, item: dict[str, Any], cut: bool = False) -> bool:
        """Take an item, within the bounds of the run."""
        self._events += 1
        if self._events > self._max_events or self._size > self._max_size:
            self.truncated = True
            return False
        self._group.append(item)
        self._cut += cut
        return True

    def _close(self) -> None:
        if self._group:
            self._records.append({"k": "f", "r": self._root_key, "at": time.time(), "f": self._group})
            self._group, self._chars = [], 0

    def _since(self, at: float) -> int:
        """Give milliseconds since the run's start."""
        return int((at - self._started) * 1000)

    def _tell(self, node: Node | None) -> int:
        """Give a node run's number, and tell of it the first time."""
        if node is None:
            return 0
        if not node.told:
            node.told = True
            self._put(
                {
                    "t": "node",
                    "p": node.number,
                    "s": node.scope,
                    "name": bounded_id(node.name),
                    "ns": bounded_id(node.ns),
                }
            )
        return node.number

    def _new(self, scope: int, numbers: Sequence[int]) -> list[int]:
        """Give what a graph run's state gained, without what is known.

        The caller's own messages are named where others are new before them: those are of earlier turns.
        """
        new: list[int] = []
        if numbers:
            carried, named = self.carry(scope), False
            for number in numbers:
                if number and number not in carried:
                    carried.add(number)
                    new.append(number)
                elif new and number in self.own:
                    named = True
            if named:
                fresh = self.own.union(new)
                new = [number for number in numbers if number in fresh]
        return new

    def _toolset(self, tools: Any) -> int:
        for number, known in self._tools:
            if known is tools or known == tools:
                return number
        number = next(self._numbers)
        self._tools.append((number, tools))
        self._put({"t": "tools", "x": number, "tools": openai_tools(tools)})
        return number

    def _error(self, item: dict[str, Any], error: tuple[str, str], control: bool) -> bool:
        """Note an error by type and text; of control flow only that it was that."""
        if control:
            item["control"] = True
            return False
        name, text = error
        item["error"] = bounded_id(name)
        item["text"] = self._clip(text)
        return item["text"] is not text


_MAKERS: dict[str, Any] = {
    name: getattr(Items, name)
    for name in ("record", "msg", "graph", "node_end", "node_error", "node_left", "graph_end", "call", "reply",
                 "call_error", "tool", "tool_end", "tool_error")
}  # fmt: skip


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


_SAID = ("thread_id", "tags", "metadata", "input_text", "goal", "subject", "tenant", "answer", "values",
         "error_message", "value", "comment")  # fmt: skip


def redact(made: list[dict[str, Any]], redactor: Redaction) -> None:
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
