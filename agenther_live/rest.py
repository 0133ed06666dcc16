"""When a tick may rest: nobody wrote anything since one that found nothing to do, and no time has come since.

Opening the buffer's file costs more than all the questions that a tick asks it, so a worker whose agents are quiet
looks at the file from outside.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from agenther_live.journal import Cursor

__all__ = ["Rest", "stamp_of"]


@dataclass
class Rest:
    """What the last whole tick left behind that found nothing to do."""

    seen: Hashable | None = None
    cursors: Mapping[str, Cursor] = field(default_factory=dict)
    since: datetime = datetime.max  # noqa: DTZ901  naive UTC, as everywhere
    until: datetime = datetime.min  # noqa: DTZ901

    def begin(self, seen: Hashable, cursors: Mapping[str, Cursor], *, since: datetime, until: datetime) -> None:
        """Rest until time makes something due, or what was seen changes; the journal is read on from the cursors."""
        self.seen, self.cursors, self.since, self.until = seen, cursors, since, until

    def end(self) -> None:
        """Look at everything the next time."""
        self.seen = None

    def lasts(self, seen: Hashable | None, *, now: datetime) -> bool:
        """Whether there is nothing but the journal to look at. A clock that went back ends it."""
        return self.seen is not None and self.seen == seen and self.since <= now < self.until


def stamp_of(*paths: Path) -> Hashable:
    """Give what differs once one of these files was written."""
    found: list[tuple[int, ...] | None] = []
    for path in paths:
        try:
            about = path.stat()
        except OSError:
            found.append(None)
        else:
            found.append((about.st_ino, about.st_size, about.st_mtime_ns))
    return tuple(found)
