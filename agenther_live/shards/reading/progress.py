"""What a stream handed out since its cursor was last committed, so that less than all of it can be committed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agenther_live.errors import UsageError
from agenther_live.shards.files.manifest import Entry
from agenther_live.shards.reading.cursor import Cursor, Event, Given, Repeated

__all__ = ["Progress"]

_MANY = 1000  # events


class Progress:
    """Two cursors and the events between them: as of the last row handed out, and as of the last commit."""

    def __init__(self, cursor: Cursor) -> None:
        """Begin where this cursor stands."""
        self.cursor = cursor
        self.committed = cursor.copy()
        self.handed_out = 0
        self._behind = 0  # rows handed out that `committed` holds
        self._log: list[Event] = []

    @property
    def mark(self) -> int:
        """Where it stands now, for `rewind`; a commit makes it void."""
        return len(self._log)

    def belongs_to(self, entries: Sequence[Entry]) -> bool:
        """Say whether the cursor was made by this manifest; one that does not know yet is from now on."""
        if self.cursor.origin is None:
            for first in entries[:1]:
                self.cursor.origin = self.committed.origin = (first.seq, first.revision, first.sha256)
            return True
        seq, revision, sha256 = self.cursor.origin
        return all(entry.sha256 == sha256 for entry in entries if (entry.seq, entry.revision) == (seq, revision))

    def note(self, event: Event) -> None:
        """Take an event in."""
        self.cursor.add(event)
        self._log.append(event)
        self.handed_out += _hands_out(event)

    def rewind(self, mark: int) -> None:
        """Stand where it stood at that mark."""
        self.handed_out -= sum(map(_hands_out, self._log[mark:]))
        del self._log[mark:]
        self.cursor = self.committed.copy()
        for event in self._log:
            self.cursor.add(event)

    def forget_rows(self) -> None:
        """Keep which shards were read to their end, and no row of them; for who never commits."""
        if len(self._log) < _MANY:  # a copy of the cursor costs something
            return
        if all(event.seq in self.cursor.closed for event in self._log if isinstance(event, Given)):
            self.cursor.given.clear()
            self._log.clear()
            self.committed = self.cursor.copy()
            self._behind = self.handed_out

    def commit(self, rows: int) -> Mapping[str, Any]:
        """Move the commit on to `rows` rows handed out, and what belongs to them; give the state there.

        Raises:
            UsageError: `rows` is less than was committed before, or more than was handed out.
        """
        if not self._behind <= rows <= self.handed_out:
            raise UsageError(f"rows = {rows}: {self._behind} were committed and {self.handed_out} handed out")
        left = rows - self._behind
        for at, event in enumerate(self._log):
            if _hands_out(event):
                if not left:
                    del self._log[:at]
                    break
                left -= 1
            self.committed.add(event)
        else:
            self._log.clear()
        self._behind = rows
        return self.committed.dump()


def _hands_out(event: Event) -> bool:
    return isinstance(event, (Given, Repeated))
