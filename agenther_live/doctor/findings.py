"""What a check finds, and what would mend it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from agenther_live.buffer.store import Buffer
from agenther_live.home import Home
from agenther_live.settings import Settings

__all__ = ["Exam", "Finding", "Level"]

Level = Literal["ok", "note", "warn", "bad"]
"""ok: as it must be; note: worth knowing; warn: look at it; bad: something does not work or may be lost."""


@dataclass
class Finding:
    """One thing that was looked at.

    `remedy` says what a person does about it; `fix` does what the program can, and gives what it did. `repaired` is
    that, once it was done.
    """

    area: str
    level: Level
    what: str
    remedy: str | None = None
    fix: Callable[[], str] | None = None
    repaired: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Give it as JSON-ready data."""
        return {
            "area": self.area,
            "level": self.level,
            "what": self.what,
            "remedy": self.remedy,
            "repairable": self.fix is not None,
            "repaired": self.repaired,
        }


@dataclass
class Exam:
    """What checks work with. `looked` is what `buffer.apart` said of the database; `now` is naive UTC."""

    home: Home
    settings: Settings
    buffer: Buffer
    now: datetime
    deep: bool = False
    looked: dict[str, Any] = field(default_factory=dict)

    @property
    def readable(self) -> bool:
        """Whether the database can be read, and has this version's schema or an older one."""
        return bool(self.looked) and "error" not in self.looked and bool(self.looked.get("usable"))
