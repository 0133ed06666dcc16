"""What is known of a trajectory while its runs are read, one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agenther_live.assemble.lanes import Draft, Lane, Slot

if TYPE_CHECKING:
    from agenther_live.assemble.reading import Reading

__all__ = ["Attempt", "Tale", "ToolRun"]

Record = Mapping[str, Any]


@dataclass(eq=False, slots=True)
class Attempt:
    """A node run. Attempts at one task have the same lane, name and `ns`."""

    lane: Lane
    name: str
    ns: str
    over: bool = False
    drafts: list[Draft] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class ToolRun:
    """A run of a tool; its action is `slot`, None where no model asked for it."""

    slot: Slot | None
    lane: Lane
    name: str


class Tale:
    """What is known over all runs."""

    def __init__(self) -> None:
        """Begin with nothing known."""
        self.lanes: dict[Any, Lane] = {}
        self.roots: dict[str, Lane] = {}  # of the runs' own agents, by path; mostly one
        self.paths: set[str] = set()
        self.drafts: list[Draft] = []
        self.attempts: dict[tuple[str, str, str], Attempt] = {}
        self.starts: list[Record] = []
        self.ends: list[Record | None] = []
        self.runs: list[dict[str, Any]] = []  # by the fields of `Run`
        self.flags: set[str] = set()
        self.goal: str | None = None
        self.said: set[str] = set()  # ids of messages that a model said in some lane
        self.readings: list[Reading] = []

    def lane(self, key: Any, path: str) -> Lane:
        """Give the lane of a key, made with a path of its own the first time."""
        if (lane := self.lanes.get(key)) is not None:
            return lane
        unique, count = path, 1
        while unique in self.paths:
            count += 1
            unique = f"{path}#{count}"
        self.paths.add(unique)
        lane = self.lanes[key] = Lane(unique)
        return lane

    def let_go(self) -> None:
        """Undo what points in circles, so that memory comes back at once and not when the collector does."""
        self.readings.clear()
        for draft in self.drafts:
            del draft.lane, draft.entry
            for slot in draft.slots:
                slot.message = slot.place = None
