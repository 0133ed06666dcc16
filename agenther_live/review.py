"""One item after the other before a person's eyes: the sample as it will be trained, and never what judges said of it.

The session knows nothing of terminals: it is given a function that shows and one that waits for a key. Each answer is
in the buffer before the next item is shown; what was answered may be undone until the session ends.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.text import Text

from agenther_live.buffer.engines.engine import done_again
from agenther_live.buffer.people import reviews
from agenther_live.buffer.people.reviews import Entry, Kind, Word
from agenther_live.buffer.store import Buffer
from agenther_live.clock import utcnow
from agenther_live.ids import content_hash
from agenther_live.labels import Sample, TrainMessage
from agenther_live.render import plain
from agenther_live.trajectory import Message, Trajectory
from agenther_live.trust import apply

__all__ = ["KEYS", "Session", "queue", "shown"]

KEYS = "a accept · r reject · s skip · u undo · m show all of it · q quit"
SHOWN_CHARS = 1500
"""Characters shown of one message, until the whole is asked for."""
_WORDS: Mapping[str, Word] = {"a": "accept", "r": "reject"}
_QUESTIONS = {
    True: "Should an assistant learn to act like this when it gets this request?",
    False: "Did the assistant do all that the goal asks?",
}


def queue(buffer: Buffer, kind: Kind | None, *, agent: str | None = None, seed: int = 0) -> list[Entry]:
    """Give what nobody labeled yet, in a random order that the seed fixes: what came or went changes no place."""
    with buffer.reading() as tx:
        found = reviews.entries(tx, kind, agent=agent)
    return sorted(found, key=lambda entry: content_hash([seed, entry.key]))


@dataclass
class Session:
    """A person's walk through a queue. `labels` are the ids given in it that were not undone, with their places."""

    buffer: Buffer
    entries: Sequence[Entry]
    show: Callable[[RenderableType], None]
    key: Callable[[], str]
    limit: int | None = None
    labels: list[tuple[int, str, Word]] = field(default_factory=list)

    def run(self) -> Counter[str]:
        """Walk until the end, the limit or `q`; then the labels take effect. Gives how many of each were given."""
        with contextlib.suppress(EOFError, KeyboardInterrupt):  # what was said before Ctrl-C is kept
            self._walk()
        done = apply(self.buffer, before=utcnow(), now=utcnow(), only=[label_id for _, label_id, _ in self.labels])
        return Counter(word for _, _, word in self.labels) + done

    def _walk(self) -> None:
        at = 0
        while at < len(self.entries) and (self.limit is None or len(self.labels) < self.limit):
            entry = self.entries[at]
            with self.buffer.reading() as tx:
                found = reviews.item(tx, entry)
            if found is None:  # taken back or deleted meanwhile
                at += 1
                continue
            self.show(Group(Rule(Text(f"{at + 1} of {len(self.entries)}")), shown(entry, *found)))
            answer = self._answer(entry, *found)
            if answer == "q":
                return
            if answer == "u":
                at = self._undo(at)
                continue
            if answer in _WORDS:
                self.labels.append((at, _keep(self.buffer, entry, _WORDS[answer], found[1]), _WORDS[answer]))
            at += 1

    def _answer(self, entry: Entry, trajectory: Trajectory, sample: Sample | None) -> str:
        while True:
            self.show(Text(f"\n{_QUESTIONS[sample is not None]}\n{KEYS}", style="bold"))
            key = self.key()
            if key in ("a", "r", "s", "u", "q"):
                return key
            if key == "m":
                self.show(shown(entry, trajectory, sample, whole=True))

    def _undo(self, at: int) -> int:
        if not self.labels:
            self.show(Text("nothing to undo in this session", style="yellow"))
            return at
        place, label_id, word = self.labels[-1]
        if not _take_back(self.buffer, label_id):
            self.show(Text("it took effect already, and cannot be undone", style="yellow"))
            return at
        self.labels.pop()
        self.show(Text(f"undone: {word}", style="yellow"))
        return place


@done_again
def _keep(buffer: Buffer, entry: Entry, word: Word, sample: Sample | None) -> str:
    with buffer.writing() as tx:
        return reviews.add_label(tx, entry, word, sample=sample, now=utcnow())


@done_again
def _take_back(buffer: Buffer, label_id: str) -> bool:
    with buffer.writing() as tx:
        return reviews.undo_label(tx, label_id, now=utcnow())


# --- what is shown ----------------------------------------------------------------------------------------------------


def shown(entry: Entry, trajectory: Trajectory, sample: Sample | None, *, whole: bool = False) -> RenderableType:
    """An item: tools, goal, and the conversation with its system prompt, as it will be trained.

    Neither confidence nor verdicts, nor what the list says about it, so that they sway nobody. Of a disputed outcome
    the run itself is shown, under its own goal.
    """
    if sample is not None:
        tools, goal = sample.tools, sample.goal
        messages = [(each.message, _marks(each)) for each in sample.messages]
    else:
        tools, goal = trajectory.tools, trajectory.goal
        messages = [(message, "") for message in trajectory.messages]
    parts: list[RenderableType] = [Text(f"{_safe(trajectory.agent)} · {entry.key}", style="dim")]
    parts += [_title("tools"), *(_tool(tool, whole) for tool in tools or ())]
    parts += [_title("goal"), _cut(goal, whole), _title("conversation")]
    for message, marks in messages:
        parts += _message(message, marks, whole)
    return Group(*parts)


def _marks(item: TrainMessage) -> str:
    """What becomes of a message, and whether its words are the agent's own."""
    said = ["learned"] * item.train + ["written from the evidence, not by the agent"] * item.rewritten
    return ", ".join(said)


def _tool(tool: Mapping[str, Any], whole: bool) -> RenderableType:
    inner = tool.get("function")
    function: Mapping[str, Any] = inner if isinstance(inner, Mapping) else tool
    line = Text(_safe(function.get("name", "")), style="cyan") + Text(f"  {_safe(function.get('description') or '')}")
    if not whole:
        return line
    schema = json.dumps(function.get("parameters") or {}, ensure_ascii=False)
    return Group(line, Padding(Text(_safe(schema), style="dim"), (0, 0, 0, 2)))


def _message(message: Message, marks: str, whole: bool) -> list[RenderableType]:
    mark = Text(f"  {marks}" if marks else "", style="green")
    parts: list[RenderableType] = [Text(message.role, style="bold") + mark]
    if isinstance(message.content, list):
        parts.append(_body(json.dumps(message.content, ensure_ascii=False), whole))
    elif message.content:
        parts.append(_body(message.content, whole))
    for call in message.tool_calls or ():
        arguments = call.function.arguments
        told = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        parts.append(_body(f"→ {call.function.name}({told})", whole))
    return parts


def _body(text: str, whole: bool) -> RenderableType:
    return Padding(_cut(text, whole), (0, 0, 0, 2))


def _cut(text: str, whole: bool) -> Text:
    """A text, with its middle left out where it is long: what stands at the end counts as much as the beginning."""
    if whole or len(text) <= SHOWN_CHARS:
        return Text(_safe(text))
    half = SHOWN_CHARS // 2
    left_out = Text(f" … {len(text) - 2 * half:,} characters left out, m shows them … ", style="dim italic")
    return Text(_safe(text[:half])) + left_out + Text(_safe(text[-half:]))


def _title(text: str) -> RenderableType:
    return Padding(Rule(Text(text, style="bold"), align="left", style="dim"), (1, 0, 0, 0))


def _safe(text: object) -> str:
    """Foreign text without control characters, for `Text`, which reads no markup."""
    return plain(text).replace("\\[", "[")
