"""One open run: what has been seen of it, and its facts on their way to the journal.

The events of a run come from many threads. What they share is kept in dicts, a deque and a counter, whose single
operations are atomic; the one lock is taken only where facts leave. Facts are tuples here, and become dicts when
they are written.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterable, Sequence
from threading import Lock
from typing import Any

from langchain_core.messages import BaseMessage

from agenther_live.integrations.messages import content_key, same_message, size_of, snapshot

__all__ = ["NodeRun", "OpenRun", "Span"]


class NodeRun:
    """One run of a node (or task): an attempt at one task of a graph run."""

    __slots__ = ("name", "ns", "number", "scope", "told")

    def __init__(self, number: int, scope: int, name: str, ns: str) -> None:
        """Note a node run; it is told to the journal only when something happens in it."""
        self.number = number
        self.scope = scope
        self.name = name
        self.ns = ns
        self.told = False


class Span:
    """One open callback run below a root; enough to say where its children belong.

    `key` is its place in the table of open runs, `scope` the graph run it is in, `graph` the graph run it is itself
    (None: it is none), `tool` the number of the tool run around it within that graph run (0: none).
    """

    __slots__ = ("graph", "key", "kind", "name", "node", "number", "root", "scope", "tool")

    def __init__(
        self,
        root: OpenRun,
        kind: str,
        scope: int,
        node: NodeRun | None,
        tool: int,
        key: Any,
        number: int = 0,
        name: str = "",
    ) -> None:
        """Note a span."""
        self.root = root
        self.kind = kind
        self.scope = scope
        self.node = node
        self.tool = tool
        self.key = key
        self.number = number
        self.name = name
        self.graph: int | None = None


class OpenRun:
    """The state of one root run from its start to its end."""

    __slots__ = (
        "_by_id",
        "_by_key",
        "_carried",
        "_inputs",
        "_kept",
        "_lock",
        "_max_events",
        "_max_size",
        "_seen",
        "_size",
        "_tools",
        "_unkeyed",
        "asked",
        "bubbled",
        "ended",
        "events",
        "facts",
        "graphs",
        "hook",
        "interrupted",
        "is_graph",
        "numbers",
        "off",
        "open",
        "root_key",
        "run_id",
        "start",
        "started",
        "touched",
        "truncated",
    )

    def __init__(self, root_key: str, run_id: Any, hook: bool, max_events: int, max_size: int) -> None:
        """Begin a run; `off` runs are followed, so that their children are known, and not recorded."""
        self.root_key = root_key
        self.run_id = run_id
        self.hook = hook
        self.bubbled: list[Any] = []
        self.off = False
        self.is_graph = False
        self.graphs = 0
        self.interrupted = False
        self.ended = False
        self.truncated = False
        self.started = time.time()
        self.touched = self.started
        self.start: dict[str, Any] | None = None
        self.open: set[Span] = set()
        self.asked: dict[str, str] = {}  # tool call id → the arguments that a model wrote last
        self.facts: deque[tuple[Any, ...]] = deque()
        self.numbers = itertools.count(1)
        self.events = 0
        self._lock = Lock()
        self._max_events = max_events
        self._max_size = max_size  # bytes of text
        self._size = 0
        self._seen: dict[int, int] = {}  # id() of a message → its number
        self._kept: list[BaseMessage] = []  # keeps the ids in `_seen` from being used again
        self._by_id: dict[str, tuple[int, BaseMessage]] = {}
        self._by_key: dict[tuple[Any, ...], tuple[int, BaseMessage]] = {}
        self._unkeyed: deque[tuple[int, BaseMessage]] = deque()
        self._inputs: dict[tuple[int, int], tuple[int, tuple[int, ...], list[int]]] = {}
        self._carried: dict[int, set[int]] = {}
        self._tools: list[tuple[int, Any]] = []

    # -- what the handler's methods call ---------------------------------------------------------------

    def add(self, *fact: Any) -> None:
        """Note a fact, within the bounds of the run."""
        self.events += 1
        if self.events > self._max_events or self._size > self._max_size:
            self.truncated = True
            return
        self.facts.append(fact)

    def weigh(self, text: str | None) -> None:
        """Count a text that stands in no message."""
        if text is not None:
            self._size += size_of(text)

    def now(self) -> int:
        """Give the time since the run's start in milliseconds."""
        return int((time.time() - self.started) * 1000)

    def tell(self, node: NodeRun | None) -> int:
        """Give a node run's number, and tell the journal of it the first time."""
        if node is None:
            return 0
        if not node.told:
            node.told = True
            self.add("node", node.number, node.scope, node.name, node.ns)
        return node.number

    def open_graph(self, span: Span) -> int:
        """Note that a span is a graph run (a node started right below it); gives its number."""
        if not self.graphs:  # the root, or the first graph that a wrapper around it runs
            number = 0
        else:
            number = next(self.numbers)
            self.add("graph", number, span.scope, span.name, self.tell(span.node), span.tool)
        self.graphs += 1
        span.graph = number
        self.is_graph = True
        return number

    def number(self, message: BaseMessage, *, fresh: bool = False) -> int:
        """Give a message's number; 0 for what is no message. `fresh`: said or observed just now."""
        if not fresh:
            known = self._seen.get(id(message))
            if known is not None:
                return known
            known = self._recognise(message)
            if known:
                self._seen[id(message)] = known
                self._kept.append(message)
                return known
        wire = snapshot(message)
        if wire is None:
            return 0
        number = next(self.numbers)
        entry = (number, message)
        self._seen[id(message)] = number
        self._kept.append(message)
        if message.id:
            self._by_id[message.id] = entry
        self._unkeyed.append(entry)
        content = wire["content"]
        self._size += size_of(content) if type(content) is str else 200
        for call in wire.get("tool_calls", ()):
            arguments = call["function"]["arguments"]
            self._size += size_of(arguments)
            if call["id"]:
                self.asked[call["id"]] = arguments
        self.add("msg", number, message, wire)
        return number

    def _recognise(self, message: BaseMessage) -> int:
        """Find the number of an equal message that is another object: reloaded, or built again for a prompt."""
        if message.id:
            found = self._by_id.get(message.id)
            if found is not None:
                return found[0] if same_message(found[1], message) else 0
        while self._unkeyed:  # most runs never come here: their messages stay the same objects
            try:
                entry = self._unkeyed.popleft()
            except IndexError:  # another thread took it
                break
            self._by_key[content_key(entry[1])] = entry
        found = self._by_key.get(content_key(message))
        if found is not None and (not message.id or not found[1].id or found[1].id == message.id):
            if message.id:
                self._by_id[message.id] = found
            return found[0]
        return 0

    def call(self, span: Span, messages: Sequence[BaseMessage], params: dict[str, Any], model: str | None) -> None:
        """Note a model call by what was added to the input of the call before it in the same place."""
        place = (span.scope, span.tool)
        objects = tuple(map(id, messages))
        base, keep = 0, 0
        last = self._inputs.get(place)
        if last is None:
            numbers = [self.number(message) for message in messages]
        else:
            base, before, known = last
            if objects[: len(before)] == before:
                keep = len(known)
                numbers = known + [self.number(message) for message in messages[keep:]]
            else:
                numbers = [self.number(message) for message in messages]
                keep = _common(known, numbers)
        self._inputs[place] = (span.number, objects, numbers)
        self._carry(span.scope).update(numbers[keep:])  # the others were carried by the call before
        tools = params.get("tools")
        toolset = self._toolset(tools) if tools else 0
        node = self.tell(span.node)
        self.add(
            "call", span.number, span.scope, node, span.tool, base, keep, numbers[keep:], toolset, model, self.now()
        )

    def _toolset(self, tools: Any) -> int:
        for number, known in self._tools:
            if known is tools or known == tools:
                return number
        number = next(self.numbers)
        self._tools.append((number, tools))
        self.add("tools", number, tools)
        return number

    def _carry(self, scope: int) -> set[int]:
        carried = self._carried.get(scope)
        return self._carried.setdefault(scope, set()) if carried is None else carried

    def outputs(self, scope: int, messages: Iterable[BaseMessage]) -> list[int]:
        """Number the messages that a graph run's state gained, without those already told."""
        carried = self._carry(scope)
        new = []
        seen = self._seen
        for message in messages:
            number = seen.get(id(message)) or self.number(message)
            if number and number not in carried:
                carried.add(number)
                new.append(number)
        return new

    def rest(self, scope: int, messages: Sequence[BaseMessage]) -> list[int]:
        """Number what stands in a final state behind the last message that is known."""
        carried = self._carry(scope)
        new: list[int] = []
        for message in reversed(messages):
            number = self._seen.get(id(message)) or self._recognise(message) or self.number(message)
            if number in carried:
                break
            if number:
                new.append(number)
        new.reverse()
        carried.update(new)
        return new

    def greet(self, numbers: Iterable[int]) -> None:
        """Take the caller's own messages as known to the root graph."""
        self._carry(0).update(numbers)

    # -- out to the journal ----------------------------------------------------------------------------

    def take(self) -> list[tuple[Any, ...]]:
        """Take the facts noted so far, in order; never waits for longer than another `take` lasts."""
        while not self._lock.acquire(blocking=False):
            pass
        taken = []
        try:
            while True:
                taken.append(self.facts.popleft())
        except IndexError:
            return taken
        finally:
            self._lock.release()

    def forget(self) -> None:
        """Let go of everything that only an open run needs."""
        self._seen, self._by_id, self._by_key, self._inputs, self._carried = {}, {}, {}, {}, {}
        self._kept, self._tools, self.asked = [], [], {}
        self._unkeyed.clear()


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count
