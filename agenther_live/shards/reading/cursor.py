"""Where a consumer stands: which shards it has read, which samples it was given, how much it was given again.

Pure data. What a stream hands out is a list of events; a cursor is what the events up to some row add up to, so the
cursor "as of row n" can be had although rows behind n were handed out already (a trainer reads ahead).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agenther_live.errors import ShardError

__all__ = ["Closed", "Cursor", "Event", "Given", "Repeated", "Versioned", "sample_key"]

STATE_VERSION = 1
KEY_BYTES = 8


def sample_key(sample_id: str) -> bytes:
    """Give the eight bytes that stand for a sample in a cursor: two of a million meet with odds of 1 to 30 million."""
    return hashlib.blake2b(sample_id.encode(), digest_size=KEY_BYTES).digest()


@dataclass(frozen=True, slots=True)
class Given:
    """A row that was given for the first time. `owed`: by how many rows the replay is behind its share after it."""

    seq: int
    key: bytes
    owed: float


@dataclass(frozen=True, slots=True)
class Repeated:
    """A row that was drawn again. `draw` is the number of the draw, `owed` as in `Given`."""

    draw: int
    owed: float


@dataclass(frozen=True, slots=True)
class Closed:
    """A shard that was read to its end; `stale` of its rows were too old to be given."""

    seq: int
    stale: int = 0


@dataclass(frozen=True, slots=True)
class Versioned:
    """A policy version that appeared for the first time."""

    version: str


Event = Given | Repeated | Closed | Versioned


@dataclass
class Cursor:
    """The sum of events.

    `closed` are numbers of shards, `given` keys of samples, `versions` policy versions with their places in the
    order of first appearance. `fresh`, `repeated` and `stale` count rows. `draws` numbers the replay's seeded draws.
    `origin` (number, revision, hash) is the first shard of the manifest that it was read by: numbers mean nothing in
    another one.
    """

    format: str
    closed: set[int] = field(default_factory=set)
    given: set[bytes] = field(default_factory=set)
    versions: dict[str, int] = field(default_factory=dict)
    fresh: int = 0
    repeated: int = 0
    stale: int = 0
    draws: int = 0
    owed: float = 0.0
    seq: int = 0
    """The highest shard of which a row was given."""
    origin: tuple[int, int, str] | None = None

    def add(self, event: Event) -> None:
        """Take one event in."""
        match event:
            case Given(seq, key, owed):
                self.given.add(key)
                self.fresh += 1
                self.owed = owed
                self.seq = max(self.seq, seq)
            case Repeated(draw, owed):
                self.repeated += 1
                self.draws, self.owed = draw, owed
            case Closed(seq, stale):
                self.closed.add(seq)
                self.stale += stale
            case Versioned(version):
                self.versions[version] = len(self.versions)

    def copy(self) -> Cursor:
        """Give a cursor that shares nothing with this one."""
        return Cursor.load(self.dump())

    def staleness(self, version: str) -> int:
        """Say how many policy versions appeared behind this one; 0 for one that is not known or has no name."""
        return len(self.versions) - 1 - self.versions[version] if version in self.versions else 0

    def dump(self) -> dict[str, Any]:
        """Give the state as JSON-ready data: about eleven bytes for each sample given."""
        return {
            "v": STATE_VERSION,
            "format": self.format,
            "closed": _ranges(self.closed),
            "given": base64.b64encode(b"".join(sorted(self.given))).decode(),
            "versions": list(self.versions),
            **{name: getattr(self, name) for name in _COUNTS},
            "owed": self.owed,
            "origin": list(self.origin) if self.origin and (self.given or self.closed) else None,
        }

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> Cursor:
        """Make a cursor of what `dump` gave.

        Raises:
            ShardError: where it is something else, or of another version.
        """
        if not isinstance(state, Mapping):
            raise ShardError(f"this is no cursor of a shard stream: {type(state).__name__}")
        if state.get("v") != STATE_VERSION:
            raise ShardError(f"a cursor of version {state.get('v')!r} cannot be read here (this is {STATE_VERSION})")
        try:
            keys = base64.b64decode(state["given"], validate=True)
            if len(keys) % KEY_BYTES:
                raise ValueError("`given` is cut")
            origin = state.get("origin")
            return cls(
                format=str(state["format"]),
                closed={seq for first, last in state["closed"] for seq in range(int(first), int(last) + 1)},
                given={keys[at : at + KEY_BYTES] for at in range(0, len(keys), KEY_BYTES)},
                versions={str(version): place for place, version in enumerate(state["versions"])},
                **{name: int(state[name]) for name in _COUNTS},
                owed=float(state["owed"]),
                origin=(int(origin[0]), int(origin[1]), str(origin[2])) if origin else None,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ShardError(f"this is no cursor of a shard stream: {error}") from None


_COUNTS = ("fresh", "repeated", "stale", "draws", "seq")


def _ranges(numbers: Iterable[int]) -> list[list[int]]:
    """Give numbers as [first, last] of each run of neighbours."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found
