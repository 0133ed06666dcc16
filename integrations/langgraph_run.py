"""One open run: what has been seen of it, and its notes on their way to the journal.

The events of a run come from many threads, and each costs the agent time. So an event copies what could change
later, and appends a small tuple, the note; all else waits until notes become items (`Items`), on the timer's thread
or at the end of the run. What events share is kept in dicts, deques and a counter, whose single operations are
atomic; the one lock is taken only where notes become items.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Sequence
from threading import RLock
from typing import Any

from langchain_core.messages import BaseMessage

from agenther_live.integrations.clipping import Clip
from agenther_live.integrations.langgraph_items import Items
from agenther_live.integrations.messages import content_key, same_message, snapshot

__all__ = ["OpenRun", "Span", "outermost"]

_BATCH = 512  # so many notes wait at most; with no timer about, the run itself makes items of them


class Span:
    """One open callback run below a root; enough to say where its children belong.

    `key` is its place in the table of open runs, `scope` the graph run it is in, `graph` the graph run it is itself
    (None: it is none), `node` the node run around it, `tool` the number of the tool run around it within that graph run
    (0: none). One of kind `node` is a node run itself, an attempt at the task `ns` of a graph run; `told`: the journal
    knows of it.

    Made bare and filled in where it is made: between two events LangGraph drives our code out of the caches, and each
    function more that an event calls then costs microseconds.
    """

    __slots__ = ("graph", "key", "kind", "name", "node", "ns", "number", "root", "scope", "told", "tool")

    graph: int | None
    key: Any
    kind: str
    name: str
    node: Span | None
    ns: str
    number: int
    root: OpenRun
    scope: int
    told: bool
    tool: int


def outermost(root: OpenRun, kind: str, key: Any, name: str = "") -> Span:
    """Make the span of a root, or of what stands outside every graph run."""
    span = Span()
    span.root, span.kind, span.key, span.name = root, kind, key, name
    span.scope = span.tool = span.number = 0
    span.node = span.graph = None
    return span


class OpenRun:
    """The state of one root run from its start to its end."""

    __slots__ = (
        "_by_id",
        "_by_key",
        "_fresh",
        "_items",
        "_kept",
        "_lock",
        "asked",
        "bubbled",
        "ended",
        "graphs",
        "hook",
        "interrupted",
        "is_graph",
        "mixed",
        "notes",
        "numbers",
        "off",
        "open",
        "root_key",
        "run_id",
        "seen",
        "start",
        "started",
        "touched",
    )

    def __init__(self, root_key: str, run_id: Any, hook: bool, max_events: int, max_size: int, clip: Clip) -> None:
        """Begin a run; `off` runs are followed, so that their children are known, and not recorded."""
        self.root_key = root_key
        self.run_id = run_id
        self.hook = hook
        self.bubbled: list[Any] = []
        self.off = False
        self.asked: Any = None  # what the caller gave, itself
        self.mixed = False  # another run began under the same id: nobody can tell their events apart
        self.is_graph = False
        self.graphs = 0
        self.interrupted = False
        self.ended = False
        self.started, self.touched = time.time(), time.monotonic()  # the latter: when it was last heard of
        self.start: dict[str, Any] | None = None
        self.open: set[Span] = set()
        self.notes: deque[tuple[Any, ...]] = deque()  # each names a method of `Items` and gives its arguments
        self.numbers = itertools.count(1)
        self.seen: dict[int, int] = {}  # id() of a message → its number
        self._fresh: deque[tuple[int, BaseMessage]] = deque()  # numbered, and not yet to be found by id or content
        self._kept: list[BaseMessage] = []  # with `_fresh`, keeps the ids in `seen` from being used again
        self._by_id: dict[str, tuple[int, BaseMessage]] = {}
        self._by_key: dict[tuple[Any, ...], list[tuple[int, BaseMessage]]] = {}
        # Re-entrant, because such a one alone may be waited for on an event loop under guard, and because a garbage
        # collection while it is held may end a stream of this very run.
        self._lock = RLock()
        self._items = Items(root_key, self.started, self.numbers, max_events, max_size, clip)

    # -- what the handler's methods call ---------------------------------------------------------------

    def meet(self, inputs: Any) -> None:
        """Note that a start was told again: by a handler that is attached twice, or of another run with the same id."""
        if inputs is not self.asked:
            self.mixed = True

    def open_graph(self, span: Span) -> int:
        """Note that a span is a graph run (a node started right below it); gives its number."""
        with self._lock:  # its first nodes may start at once, on threads of their own
            if span.graph is not None:
                return span.graph
            if not self.graphs:  # the root, or the first graph that a wrapper around it runs
                number = 0
            else:
                number = next(self.numbers)
                node = span if span.kind == "node" else span.node
                self.notes.append(("graph", number, span.scope, span.name, node, span.tool))
            self.graphs += 1
            span.graph = number
            self.is_graph = True
            return number

    def number(self, message: BaseMessage) -> int:
        """Give a message's number; 0 for what is no message."""
        known = self.seen.get(id(message))
        if known is not None:
            return known
        known = self._recognise(message)
        if known:
            self.seen[id(message)] = known
            self._kept.append(message)
            return known
        return self.say(message)

    def say(self, message: BaseMessage) -> int:
        """Number a message that was said or observed just now; 0 for what is no message."""
        wire = snapshot(message)
        if wire is None:
            return 0
        number = self.seen[id(message)] = next(self.numbers)
        self._fresh.append((number, message))
        notes = self.notes
        notes.append(("msg", number, message, wire))
        if len(notes) > _BATCH and self.graphs:  # before, the start of the run is not complete
            self._settle()
        return number

    def numbered(self, messages: Sequence[BaseMessage]) -> list[int]:
        """Give the numbers of messages, most of which are known objects."""
        find, numbers = self.seen.get, []
        for message in messages:  # no faster in C: what it would call lies in no cache when an event comes
            number = find(id(message))
            if not number:
                return [self.number(message) for message in messages]
            numbers.append(number)
        return numbers

    def _recognise(self, message: BaseMessage) -> int:
        """Find the number of an equal message that is another object: reloaded, or built again for a prompt."""
        while self._fresh:  # most runs seldom come here: their messages stay the same objects
            try:
                entry = self._fresh.popleft()
            except IndexError:  # another thread took it
                break
            self._kept.append(entry[1])
            if entry[1].id:
                self._by_id[entry[1].id] = entry
            self._by_key.setdefault(content_key(entry[1]), []).append(entry)
        if message.id:
            found = self._by_id.get(message.id)
            if found is not None:
                return found[0] if same_message(found[1], message) else 0
        equal = self._by_key.get(content_key(message))
        if not equal:
            return 0
        found = equal[-1]
        if not message.id:
            equal.append((found[0], message))  # to be known by the id that it may be given later
            return found[0]
        found = next((entry for entry in equal if entry[1].id == message.id), found)
        if found[1].id and found[1].id != message.id:
            return 0
        self._by_id[message.id] = found
        return found[0]

    def rest(self, scope: int, messages: Sequence[BaseMessage]) -> list[int]:
        """Number what stands in a final state behind what is known to a graph run.

        That is, behind the last message that is known; in the root's state behind the caller's own, where they stand
        there still: of what a cached node gave, no event tells, and another node may have spoken since.
        """
        new: list[int] = []
        with self._lock:
            self._settle()
            items = self._items
            carried = items.carry(scope)
            if carried.issuperset(map(self.seen.get, map(id, messages))):
                return []  # as in most runs: every message there is an object that an event showed
            first = self._first(messages) if scope == 0 and items.own else 0
            for place in range(len(messages) - 1, first - 1, -1):
                message = messages[place]
                number = self.seen.get(id(message)) or self.number(message)
                if number in carried and not first:
                    break
                if number:
                    new.append(number)
            new.reverse()
            while new and new[0] in carried:
                del new[0]
            if carried.issuperset(new):
                return []
            carried.update(new)
        return new

    def _first(self, messages: Sequence[BaseMessage]) -> int:
        """Give the place behind the caller's own messages in a state; 0 where none of them stands there."""
        own, seen = self._items.own, self.seen
        for place in range(len(messages) - 1, -1, -1):
            message = messages[place]
            if message.type == "human" and (seen.get(id(message)) or self._recognise(message)) in own:
                return place + 1
        return 0

    def greet(self, numbers: Sequence[int]) -> None:
        """Take the caller's own messages as known to the root graph."""
        self._items.own = frozenset(numbers)
        self._items.carry(0).update(numbers)

    # -- out to the journal ----------------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        """Whether something was noted that is not taken yet."""
        return bool(self.notes) or self._items.pending

    @property
    def truncated(self) -> bool:
        """Whether a bound cut off what came later."""
        return self._items.truncated

    def take(self) -> tuple[list[dict[str, Any]], list[tuple[dict[str, Any], str]], int]:
        """Take the records of what was noted so far, as `Items.take` does."""
        with self._lock:
            self._settle()
            return self._items.take()

    def _settle(self) -> None:
        """Make items of the notes; never waits for longer than another thread does the same."""
        with self._lock:
            self._items.add(self.notes)

    def forget(self) -> None:
        """Let go of everything that only an open run needs."""
        self.seen, self._by_id, self._by_key, self._kept = {}, {}, {}, []
        self._fresh.clear()
        if not self.is_graph:
            self.notes.clear()  # nobody writes them, and they lead back here
        self.asked = None
        self._items.forget()
