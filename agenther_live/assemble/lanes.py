"""Conversations rebuilt from facts: what an agent said, which calls it made, what came back.

A lane is the conversation of one agent: of the root agent, or of one nested run. Its entries are messages in the
order in which the agent's model saw them; an assistant's tool calls are slots that tool results fill, in the
order of the calls and not of their results.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

__all__ = ["Draft", "Entry", "Lane", "Slot", "same_json", "text_of", "thought_of"]

_PROMPT = ("system", "developer")


def same_json(one: str, other: str) -> bool:
    """Whether two texts are the same JSON, or the same text."""
    try:
        return one == other or bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False


def text_of(wire: Mapping[str, Any]) -> str:
    """Give the text of a message in OpenAI's form."""
    content = wire.get("content")
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", "")) for part in content or () if part.get("type") == "text")


@dataclass(eq=False, slots=True)
class Slot:
    """One action: a tool call, and what came back.

    `state` is 'open' (never begun), 'running', 'waiting' (stopped by an interrupt), 'failed' or 'done'.
    """

    name: str
    input: str
    call_id: str | None = None
    state: str = "open"
    observation: str | None = None
    is_error: bool = False
    attempts: int = 1
    message: Entry | None = None
    place: object = None  # the node run that it ran in last

    def begin(self) -> None:
        """Count a further attempt, unless the last one was stopped rather than ended."""
        if self.state in ("failed", "done"):
            self.attempts += 1
        self.state = "running"

    def fill(self, text: str, *, is_error: bool, message: Entry | None = None) -> None:
        """Note what came back; the last attempt wins."""
        self.state = "failed" if is_error and message is None else "done"
        self.observation, self.is_error, self.message = text, is_error, message

    def action(self) -> dict[str, Any]:
        """Give the finished action, by the fields of `Action`."""
        return {
            "name": self.name,
            "input": self.input,
            "observation": self.observation,
            "is_error": self.is_error,
            "call_id": self.call_id,
            "observation_index": None if self.message is None else self.message.index,
            "attempts": self.attempts,
        }


@dataclass(eq=False, slots=True)
class Draft:
    """A step in the making. `entry` is the assistant's message; None where the action stands in no message."""

    lane: Lane
    entry: Entry | None
    thought: str = ""
    slots: Sequence[Slot] = ()
    node: str | None = None
    model: str | None = None
    at: datetime | None = None
    dropped: bool = False

    def drop(self) -> None:
        """Take the step and its message back: the attempt that it belonged to was repeated."""
        self.dropped = True
        if self.entry is not None:
            self.entry.dropped = True

    def step(self, idx: int) -> dict[str, Any]:
        """Give the finished step, by the fields of `Step`; call after its lane was rendered."""
        return {
            "idx": idx,
            "thought": self.thought,
            "actions": [slot.action() for slot in self.slots],
            "agent_path": self.lane.path,
            "message_index": None if self.entry is None else self.entry.index,
            "node": self.node,
            "model": self.model,
            "at": self.at,
        }


@dataclass(eq=False, slots=True)
class Entry:
    """A message of a lane; one that fills a slot stands behind its assistant message, wherever it was seen."""

    wire: dict[str, Any]
    id: str | None = None
    draft: Draft | None = None
    slots: Sequence[Slot] = ()
    owner: Entry | None = None
    dropped: bool = False
    index: int | None = None
    run: int = 0  # which run told it first

    @property
    def role(self) -> str:
        """The message's role."""
        return str(self.wire["role"])


class Lane:
    """The conversation of one agent."""

    def __init__(self, path: str) -> None:
        """Begin an empty conversation; `path` as in `Step.agent_path`."""
        self.path = path
        self.flags: set[str] = set()
        self.clear()

    def clear(self) -> None:
        """Begin anew: the run that the conversation belonged to was repeated from its start."""
        self.entries: list[Entry] = []
        self.prompt: Entry | None = None
        self.turn: Entry | None = None
        self.pending: list[Entry] = []
        self.drafts: list[Draft] = []
        self.tools: list[dict[str, Any]] = []
        self.called = False
        self.apart = False  # no model saw it as it stands
        self.kept_back: list[Entry] = []  # what was said within a node that gave other messages to the state
        self.opening: tuple[Any, str | None] | None = None  # system prompt and node of the first call
        self.reopened = False
        self.offered: set[Any] = set()  # which sets of tools are in `tools`
        self._by_id: dict[str, Entry] = {}
        self._by_key: dict[tuple[Any, ...], list[Entry]] = {}
        self._unkeyed: list[Entry] = []  # registered, and not in `_by_key` yet: few are looked for by what they say

    # -- finding ---------------------------------------------------------------------------------------

    def known(self, wire: dict[str, Any], message_id: str | None, run: int | None) -> Entry | None:
        """Find the entry of a message: by its id, else by what it says, where another run than `run` told it.

        Within a run equal words under two numbers were said twice: capture gives one message one number. So were they
        where the message was made in this very run (`run` None).
        """
        if message_id is not None and (entry := self._by_id.get(message_id)) is not None:
            self._revise(entry, wire)
            return entry
        if run is None:
            return None
        self._key_all()
        for entry in self._by_key.get(_key(wire), ()):
            if entry.run != run and not entry.dropped and (message_id is None or entry.id is None):
                if message_id is not None:
                    entry.id = message_id
                    self._by_id[message_id] = entry
                return entry
        return None

    def named(self, message_id: str | None) -> Entry | None:
        """Find the entry of a message by its id alone, whatever it says."""
        return None if message_id is None else self._by_id.get(message_id)

    def _revise(self, entry: Entry, wire: dict[str, Any]) -> None:
        """Take over an assistant message whose calls a person or a middleware edited before they ran."""
        calls = wire.get("tool_calls")
        if entry.draft is None or not calls or calls == entry.wire.get("tool_calls"):
            return
        if entry.slots and not any(slot.state in ("open", "waiting") for slot in entry.slots):
            return  # they ran as they stand; what a later prompt shows was shortened for it
        self._key_all()  # by what they said so far
        entry.wire = wire
        before = {slot.call_id: slot for slot in entry.slots}
        slots = []
        for slot in _slots(wire):
            old = before.get(slot.call_id)
            if old is not None and old.state in ("open", "waiting"):
                old.name, old.input = slot.name, slot.input
            slots.append(old or slot)
        entry.slots = entry.draft.slots = slots
        self.flags.add("edited")

    def reworded(self, entry: Entry, wire: dict[str, Any]) -> bool:
        """Take over other words under the same id for what was said last: a middleware or a node replaced them."""
        draft = entry.draft
        if draft is None or wire["role"] != "assistant" or wire.get("content") == entry.wire.get("content"):
            return False
        if any(slot.state not in ("open", "waiting") for slot in entry.slots):
            return False  # it was acted upon as it stands; a state that is kept short shortens it later
        if draft is not next((one for one in reversed(self.drafts) if one.entry and not one.dropped), None):
            return False
        entry.wire = {**entry.wire, "content": wire.get("content")}
        draft.thought = thought_of(entry.wire)
        self._unkeyed.append(entry)
        self.flags.add("edited")
        return True

    def _key_all(self) -> None:
        for entry in self._unkeyed:
            self._by_key.setdefault(_key(entry.wire), []).append(entry)
        self._unkeyed.clear()

    def slot(self, call_id: str | None, name: str | None = None, args: str | None = None) -> Slot | None:
        """Find the call that a tool run answers: in the nearest message with that id, the first not begun.

        Where ids repeat, one of the same `name` is preferred, and one that asks for the same `args`.
        """
        if call_id is None:
            return None
        found = None
        for entry in reversed(self.entries):
            if entry.dropped or not entry.slots:
                continue
            fits = [slot for slot in entry.slots if slot.call_id == call_id]
            if not fits:
                continue
            if len(fits) == 1 and (args is None or same_json(fits[0].input, args)):
                return fits[0]
            idle = [slot for slot in fits if slot.state in ("open", "waiting")]
            same = [slot for slot in idle if slot.name == name] or idle
            nearest = same[0] if same else fits[-1]
            if args is None:
                return nearest
            for slot in (*same, *fits):  # one that ran already is tried again
                if same_json(slot.input, args):
                    return slot
            found = found or nearest  # unless an earlier message fits better: other arguments were put in their place
        return found

    def holds(self, entry: Entry) -> bool:
        """Whether an entry, or the message whose slot it fills, has a place: most have the last one."""
        return (bool(self.entries) and (entry.owner or entry) is self.entries[-1]) or self.position(entry) >= 0

    def position(self, entry: Entry) -> int:
        """Give the place of an entry, or of the message whose slot it fills."""
        wanted = entry.owner or entry
        entries = self.entries
        for place in range(len(entries) - 1, -1, -1):
            if entries[place] is wanted:
                return place
        return -1

    # -- adding ----------------------------------------------------------------------------------------

    def register(self, entry: Entry) -> Entry:
        """Let an entry be found by id and by what it says."""
        if entry.id is not None:
            self._by_id[entry.id] = entry
        self._unkeyed.append(entry)
        return entry

    def flush(self) -> None:
        """Put what the caller sent in its place, if no model call has shown the place yet."""
        if self.pending:
            self.entries += self.pending
            self.pending = []

    def said(self, entry: Entry, draft: Draft) -> None:
        """Append what the agent said, as a step."""
        entry.draft = draft
        entry.slots = draft.slots = _slots(entry.wire)
        draft.thought = thought_of(entry.wire)
        self.register(entry)
        self.entries.append(entry)
        self.drafts.append(draft)

    def acted(self, draft: Draft) -> None:
        """Note an action that stands in no message: a tool or retriever that a node ran by itself."""
        self.drafts.append(draft)

    def observed(self, slot: Slot, entry: Entry, *, is_error: bool) -> None:
        """Put a tool's message into the slot of its call."""
        slot.fill(text_of(entry.wire), is_error=is_error, message=entry)
        entry.owner = None
        for said in reversed(self.entries):
            if slot in said.slots:
                entry.owner = said
                break
        else:
            self.entries.append(entry)
        self.register(entry)

    # -- reading ---------------------------------------------------------------------------------------

    def render(self) -> tuple[dict[str, Any], ...]:
        """Give the conversation, and note each entry's place in it."""
        shown = tuple(self.in_order())
        for index, entry in enumerate(shown):
            entry.index = index
        return tuple([entry.wire for entry in shown])

    def in_order(self) -> Iterator[Entry]:
        """Give the messages as the conversation shows them."""
        if self.prompt is not None:
            yield self.prompt
        for entry in self.entries:
            if not entry.dropped:
                yield entry
                for slot in entry.slots:
                    if slot.message is not None:
                        yield slot.message

    def context_len(self) -> int:
        """Count the messages before the turn; call after `render`."""
        if self.turn is not None and self.turn.index is not None:
            return self.turn.index
        if self.turn is None and self.pending_context:
            return min((e.index for e in self.entries if e.draft is not None and e.index is not None), default=0)
        lead = 0
        for entry in self.in_order():
            if entry.role not in _PROMPT:
                break
            lead += 1
        return lead

    pending_context = False
    """Set where the trajectory begins with a resume: all that stands before the first step is context."""


def _key(wire: Mapping[str, Any]) -> tuple[Any, ...]:
    """Give what two messages share that say the same."""
    content, calls = wire.get("content"), wire.get("tool_calls")
    return (
        wire["role"],
        content if isinstance(content, str) else repr(content),
        wire.get("tool_call_id"),
        repr(calls) if calls else None,
    )


def _slots(wire: Mapping[str, Any]) -> list[Slot]:
    calls = wire.get("tool_calls")
    if not calls:
        return []
    return [Slot((asked := call["function"])["name"], asked["arguments"], call.get("id")) for call in calls]


def thought_of(wire: Mapping[str, Any]) -> str:
    """Give what an assistant's message says, its reasoning before its text."""
    reasoning, text = wire.get("reasoning_content"), text_of(wire)
    if not reasoning or not isinstance(reasoning, str):
        return text
    return f"{reasoning}\n{text}" if text else reasoning
