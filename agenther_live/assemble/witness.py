"""Whether a conversation is one that a model saw as it stands.

A lane puts into one conversation what the model calls of a graph were shown and said. Where each call was shown all
that had been said before it, the conversation is the last call's prompt and reply. Of branches beside each other, or of
a chain whose links have prompts of their own, it is not: no model ever saw what stands before its reply there. Such a
lane is `apart`; on a root lane that is the flag `spliced`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agenther_live.assemble.lanes import Draft, Entry, Lane

__all__ = ["Witness"]


class Witness:
    """Looks at each model call of a run, and marks its lane where it was not shown the conversation as it stands."""

    __slots__ = ("_entries", "_messages")

    def __init__(
        self, messages: Mapping[int, Mapping[str, Any]], entries: Mapping[tuple[int, int, int], Entry]
    ) -> None:
        """Watch a run's reading.

        Args:
            messages: the run's messages by number.
            entries: where they stand, by lane, number, and which one of equals; it grows with the reading.
        """
        self._messages, self._entries = messages, entries

    def before(self, lane: Lane, inputs: Sequence[int], node: str | None, *, goes_on: bool) -> None:
        """Look at a call before its input is merged into the lane.

        `inputs` are the messages that it is shown, `node` is who asks; a call that `goes_on` with the input of an
        earlier one has its system prompt too.
        """
        if lane.apart:
            return
        if lane.pending and not self._shows_any(lane, inputs):  # what it is shown instead is a node's own prompt
            lane.apart = True
        if not goes_on:
            prompt = self._prompt(inputs)
            if lane.opening is None:
                lane.opening = prompt, node
            elif lane.opening[0] != prompt and lane.opening[1] != node:  # another agent
                lane.apart = True

    def order(self, lane: Lane, shown: Iterable[tuple[int, int]], places: Iterable[int]) -> None:
        """Look at where a prompt's messages stand in the lane (-1: not yet), before what is new is put there.

        `shown` are their numbers, with which one of equals each is. Branches stand in the lane in the order in which
        they ended, and in the prompt in that of the state.
        """
        if lane.apart:
            return
        messages = self._messages
        pairs = zip(shown, places, strict=True)
        said = [place for (number, _), place in pairs if place >= 0 and messages[number]["msg"]["role"] == "assistant"]
        if said != sorted(said):
            lane.apart = True

    def after(self, lane: Lane, inputs: Sequence[int]) -> None:
        """Look at a call when its input is merged, and again when its reply comes: another one may have spoken."""
        if lane.apart:
            return
        if (lane.kept_back and not self._shows_kept_back(lane, inputs)) or not self._shows_last(lane, inputs):
            lane.apart = True

    def left(self, lane: Lane, drafts: Iterable[Draft], out: Iterable[int]) -> None:
        """Note what was said within a node that ended well and gave the messages `out` to the state instead."""
        given = [self._entries.get((id(lane), number, 0)) for number in out]
        said = (draft.entry for draft in drafts if draft.lane is lane and not draft.dropped)
        lane.kept_back += [entry for entry in said if entry is not None and entry not in given]

    def _shows_any(self, lane: Lane, inputs: Sequence[int]) -> bool:
        """Whether a call is shown any of the caller's new words as they came."""
        key, entries, pending = id(lane), self._entries, lane.pending
        if any(entries.get((key, number, 0)) in pending for number in inputs):
            return True
        items = (self._messages.get(number) for number in inputs)
        return any(lane.named(item.get("id")) in pending for item in items if item is not None)

    def _prompt(self, inputs: Sequence[int]) -> Any:
        """Give the system prompt that an input begins with, if any."""
        first = self._messages.get(inputs[0]) if inputs else None
        if first is None or first["msg"]["role"] not in ("system", "developer"):
            return None
        return first["msg"].get("content")

    def _shows_kept_back(self, lane: Lane, inputs: Sequence[int]) -> bool:
        """Whether a call is shown all that nodes before it kept to themselves."""
        key, entries = id(lane), self._entries
        shown = {id(entries.get((key, number, 0))) for number in inputs}
        return all(entry.dropped or id(entry) in shown for entry in lane.kept_back)

    def _shows_last(self, lane: Lane, inputs: Sequence[int]) -> bool:
        """Whether a call is shown what was said last in this turn."""
        key, entries = id(lane), self._entries
        for last in reversed(lane.entries):
            if last is lane.turn:
                return True
            if last.wire["role"] == "assistant" and not last.dropped:
                break
        else:
            return True
        for number in reversed(inputs):  # noqa: SIM110 a generator would double the cost
            if entries.get((key, number, 0)) is last:
                return True
        return False
