"""Who knew what, and when: at which message each checkable word of a run first appeared, and from whom it came."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

from agenther_live.relabel.reading.calls import View
from agenther_live.relabel.reading.dates import whole_months
from agenther_live.relabel.reading.mentions import Mention, figures, find_mentions, fold, number

__all__ = ["Knowledge", "Source"]

Source = Literal["told", "input", "seen"]


Entry = tuple[int, Source, str, frozenset[str]]  # message, from whom, its folded text, its figures


class Knowledge:
    """What was said by whom, in order: `told` (system, users), `input` (arguments of calls), `seen` (results)."""

    def __init__(self, seen: View, *, end: int | None = None) -> None:
        """Look at the messages before `end`; each trajectory is indexed once."""
        if "entries" not in seen.cache:
            seen.cache["entries"] = tuple(_entries(seen))
        entries: tuple[Entry, ...] = seen.cache["entries"]
        self._entries = entries if end is None else tuple(entry for entry in entries if entry[0] < end)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What was said: message, from whom, its folded text, its figures."""
        return self._entries

    def first(self, mention: Mention | str) -> tuple[int, Source] | None:
        """Where it first appears, and from whom; None where it never does."""
        norm, needle = _forms(mention)
        for index, source, text, shown in self._entries:
            if (needle in text) if needle is not None else (norm in shown):
                return index, source
        return None

    def shown(self, mention: Mention | str, *sources: Source) -> tuple[int, ...]:
        """The messages of these sources that show it."""
        norm, needle = _forms(mention)
        return tuple(
            index
            for index, source, text, shown in self._entries
            if source in sources and ((needle in text) if needle is not None else (norm in shown))
        )


@lru_cache(maxsize=16384)
def _forms(mention: Mention | str) -> tuple[str, str | None]:
    """The normal form, and the phrase to look for in running text (numbers are never looked for as phrases)."""
    if isinstance(mention, str):
        as_number = number(mention)
        if as_number is not None:
            return as_number, None
        inner = find_mentions(mention)
        if len(inner) == 1 and inner[0].end - inner[0].start == len(mention.strip()):
            return _forms(inner[0])
        return fold(mention), f" {fold(mention)} " if fold(mention) else None
    if mention.kind in ("number", "date", "time"):
        return mention.norm, None
    text = fold(mention.norm)
    return mention.norm, f" {text} " if text else None


def _entries(seen: View) -> Iterator[Entry]:
    inputs: dict[int, list[str]] = {}
    for call in seen.calls:
        inputs.setdefault(call.at, []).append(" ; ".join(str(value) for _, value in call.given))
    goal = seen.trajectory.goal
    if seen.goal_index is None or goal not in seen.messages[seen.goal_index].text:
        yield -1, "told", f" {fold(goal)} ", figures(goal)
    for index, message in enumerate(seen.messages):
        source: Source = "told"
        text = message.text
        if index >= seen.trajectory.context_len:
            if index in seen.observation_indices:
                source = "seen"
            elif message.role == "assistant":
                if index not in inputs:
                    continue
                source, text = "input", " ;\n ".join(inputs[index])
        months = (whole_months(figures(each)) for each in (inputs[index] if source == "input" else ()))
        yield index, source, f" {fold(text)} ", figures(text).union(*months)
