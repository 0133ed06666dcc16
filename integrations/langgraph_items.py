"""Notes on their way out: they become the records of `agenther_live.facts`, deltas, cut to their bounds and redacted.

This is the part of capture that need not happen while the agent waits for an event. Redaction meets what people and
programs said, and leaves alone what holds the facts together: kinds, numbers, ids.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from langchain_core.messages import BaseMessage

from agenther_live.ids import bounded_id
from agenther_live.integrations.clipping import Clip, Redaction, size_of
from agenther_live.integrations.messages import dumps, finish, openai_tools, size_of_blocks

__all__ = ["Items", "redact"]

_RECORD_CHARS = 1 << 20  # one journal line holds about so much


class Node(Protocol):
    """What is told of the run of a node."""

    number: int
    scope: int
    name: str
    ns: str
    told: bool


class Items:
    """Makes a run's records of its notes, which come in the order of the events. One thread at a time.

    A note is a tuple: the name of a method of this class, and what that method takes apart. `at` is epoch seconds,
    texts are cut by `clip`, names and ids bounded, and what comes after `max_events` items or `max_size` bytes of text
    is left out. The agent may wait for all this at the end of its run: few calls per note, and the usual case first.
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
        "_said",
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
        self._said: list[tuple[dict[str, Any], str]] = []  # where in records and items stands what was said
        self._chars = self._cut = self._events = self._size = 0
        self._asked: dict[str, str] = {}  # tool call id → the arguments that a model wrote last
        self._inputs: dict[tuple[int, int], tuple[int, list[int]]] = {}
        self._carried: dict[int, set[int]] = {}
        self._tools: list[tuple[int, Any]] = []

    def add(self, notes: deque[tuple[Any, ...]]) -> None:
        """Make items of notes, until none is left."""
        makers = _MAKERS
        while notes:
            note = notes.popleft()
            makers[note[0]](self, note)

    def take(self) -> tuple[list[dict[str, Any]], list[tuple[dict[str, Any], str]], int]:
        """Take the records made so far, where in them stands what was said, and how many of their fields were cut."""
        self._close()
        made, said, cut = self._records, self._said, self._cut
        self._records, self._said, self._cut = [], [], 0
        return made, said, cut

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

    def record(self, note: tuple[str, dict[str, Any]]) -> None:
        """Put a record of its own between the items."""
        self._close()
        record = note[1]
        self._records.append(record)
        self._said += [(record, key) for key in _SAID if record.get(key)]

    def msg(self, note: tuple[str, int, BaseMessage, dict[str, Any]]) -> None:
        """Tell a message, by its snapshot, of which what costs time is left to do."""
        _, number, message, wire = note
        said, role, content = self._said, wire["role"], wire["content"]
        is_text = type(content) is str
        size = 0 if not is_text else len(content) if content.isascii() else size_of(content)
        if role == "assistant":
            if "reasoning_content" in wire:
                size += size_of(str(wire["reasoning_content"]))
            for call in wire.get("tool_calls", ()):
                function, name = call["function"], call["id"]
                arguments = function["arguments"]
                if type(arguments) is not str:
                    arguments = function["arguments"] = dumps(arguments)
                function["name"] = bounded_id(function["name"])
                size += size_of(arguments)
                if name:
                    call["id"] = name = bounded_id(name)
                    self._asked[name] = arguments
                said.append((function, "arguments"))
        else:
            if name := wire.get("name"):
                wire["name"] = bounded_id(name)
                said.append((wire, "name"))
            if name := wire.get("tool_call_id"):
                wire["tool_call_id"] = bounded_id(name)
        cut = False if is_text and size <= self._clip.limit else finish(wire, self._clip)  # most fit as they are
        if not is_text:  # what its blocks hold is known when they are finished
            size += size_of_blocks(wire["content"])
        if content:
            said.append((wire, "content"))
        if "reasoning_content" in wire:
            said.append((wire, "reasoning_content"))
        self._size += size
        name = message.id  # by now it may have been given one
        item = {"t": "msg", "m": number, "id": name and bounded_id(name), "msg": wire}
        if role == "tool":
            if getattr(message, "status", None) == "error":
                item["status"] = "error"
        elif (told := message.response_metadata) and told.get("__is_handoff_back"):
            item["synthetic"] = True
        if self._put(item, cut):
            self._chars += size
            if self._chars > _RECORD_CHARS:
                self._close()

    def graph(self, note: tuple[str, int, int, str, Node | None, int]) -> None:
        """Tell of a nested graph run."""
        _, number, up, name, node, tool = note
        self._put({"t": "graph", "s": number, "up": up, "name": bounded_id(name), "p": self._tell(node), "n": tool})

    def node_end(self, note: tuple[str, Node, Sequence[int]]) -> None:
        """Tell that a node ended, where that says anything; a number 0 is a message that removes others."""
        _, node, numbers = note
        if len(numbers) == 1:  # as nodes of agents give
            carried, number = self.carry(node.scope), numbers[0]
            out = [number] if number and number not in carried else ()
            carried.update(out)
        else:
            out = self._new(node.scope, numbers) if numbers else ()
        if not out and not node.told:
            return
        item: dict[str, Any] = {"t": "node_end", "p": node.number if node.told else self._tell(node)}
        if out:
            item["out"] = out
        if 0 in numbers:
            item["rewrite"] = True
        self._put(item)

    def node_error(self, note: tuple[str, Node, tuple[str, str]]) -> None:
        """Tell that a node raised."""
        _, node, error = note
        item: dict[str, Any] = {"t": "node_end", "p": self._tell(node)}
        self._put(item, self._error(item, error, False))

    def node_left(self, note: tuple[str, Node, Sequence[int]]) -> None:
        """Tell that a node ended by control flow, where that says anything."""
        _, node, numbers = note
        out = self._new(node.scope, numbers)
        if out or node.told:
            item: dict[str, Any] = {"t": "node_end", "p": self._tell(node), "control": True}
            if out:
                item["out"] = out
            self._put(item)

    def graph_end(self, note: tuple[str, int, list[int]]) -> None:
        """Tell what a nested graph run's state holds beside what is known."""
        _, scope, out = note
        self._put({"t": "graph_end", "s": scope, "out": out})

    def call(self, note: tuple[str, int, int, Node | None, int, list[int], Any, str | None, float]) -> None:
        """Tell of a model call by what was added to the input of the call before it in the same place."""
        _, number, scope, node, tool, numbers, tools, model, at = note
        base, keep, place = 0, 0, (scope, tool)
        last = self._inputs.get(place)
        if last is not None:
            base, known = last
            keep = len(known) if numbers[: len(known)] == known else _common(known, numbers)
        self._inputs[place] = (number, numbers)
        added = numbers[keep:] if keep else numbers
        self.carry(scope).update(added)  # the others were carried by the call before
        toolset = self._toolset(tools) if tools else 0
        place_of = 0 if node is None else node.number if node.told else self._tell(node)
        item = {"t": "call", "c": number, "s": scope, "p": place_of, "add": added,
                "d": int((at - self._started) * 1000)}  # fmt: skip
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

    def reply(self, note: tuple[str, int, int, list[int] | None, str | None, float]) -> None:
        """Tell of a model's reply."""
        _, number, message, usage, model, at = note
        item = {"t": "reply", "c": number, "m": message, "d": int((at - self._started) * 1000)}
        if usage:
            item["usage"] = usage
        if model:
            item["model"] = bounded_id(model)
        self._put(item)

    def call_error(self, note: tuple[str, int, tuple[str, str], float]) -> None:
        """Tell that a model call failed."""
        _, number, error, at = note
        item: dict[str, Any] = {"t": "call_error", "c": number, "d": self._since(at)}
        self._put(item, self._error(item, error, False))

    def tool(self, note: tuple[str, int, int, Node | None, int, str, str | None, Any, float]) -> None:
        """Tell of a tool run; its arguments only where they are not those of its tool call."""
        _, number, scope, node, up, name, call_id, args, at = note
        if type(args) is not str:
            args = dumps(args)
        told = False
        if call_id:
            call_id = bounded_id(call_id)
            told = self._asked.get(call_id) == args
        item = {
            "t": "tool",
            "n": number,
            "s": scope,
            "p": 0 if node is None else node.number if node.told else self._tell(node),
            "name": bounded_id(name),
            "d": int((at - self._started) * 1000),
        }
        if up:
            item["up"] = up
        if call_id:
            item["id"] = call_id
        if told:
            self._put(item)
        else:
            self._size += size_of(args)
            item["args"] = self._clip(args)
            self._said.append((item, "args"))
            self._put(item, item["args"] is not args)

    def tool_end(self, note: tuple[str, int, int, str | None, float]) -> None:
        """Tell what a tool gave back."""
        _, number, message, text, at = note
        item: dict[str, Any] = {"t": "tool_end", "n": number, "d": int((at - self._started) * 1000)}
        if message:
            item["m"] = message
        if text is None:
            self._put(item)
            return
        self._size += size_of(text)
        item["text"] = self._clip(text)
        self._said.append((item, "text"))
        self._put(item, item["text"] is not text)

    def tool_error(self, note: tuple[str, int, tuple[str, str], bool, float]) -> None:
        """Tell that a tool raised."""
        _, number, error, control, at = note
        item: dict[str, Any] = {"t": "tool_error", "n": number, "d": self._since(at)}
        self._put(item, self._error(item, error, control))

    # -- what they share -------------------------------------------------------------------------------

    def _put(self, item: dict[str, Any], cut: bool = False) -> bool:
        """Take an item, within the bounds of the run."""
        self._events = events = self._events + 1
        if events > self._max_events or self._size > self._max_size:
            self.truncated = True
            return False
        self._group.append(item)
        if cut:
            self._cut += 1
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
            name, ns = bounded_id(node.name), bounded_id(node.ns)
            self._put({"t": "node", "p": node.number, "s": node.scope, "name": name, "ns": ns})
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
        item = {"t": "tools", "x": number, "tools": openai_tools(tools)}
        self._said.append((item, "tools"))
        self._put(item)
        return number

    def _error(self, item: dict[str, Any], error: tuple[str, str], control: bool) -> bool:
        """Note an error by type and text; of control flow only that it was that."""
        if control:
            item["control"] = True
            return False
        name, text = error
        item["error"] = bounded_id(name)
        item["text"] = self._clip(text)
        self._said.append((item, "text"))
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


def redact(said: list[tuple[dict[str, Any], str]], redactor: Redaction) -> None:
    """Redact what was said, in place and in one call: what it costs is mostly per call."""
    given = [holder[key] for holder, key in said]
    clean = redactor.value(given)
    if clean is not given:
        for (holder, key), value in zip(said, clean, strict=True):
            holder[key] = value
