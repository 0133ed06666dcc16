"""Drawing rows again from shards that were read: seeded, so that the same number of a draw gives the same row."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import orjson

from agenther_live.shards.files.manifest import Entry
from agenther_live.shards.reading.stream import row_id

__all__ = ["Drawn", "Pool"]

DRAWS_PER_SHARD = 16
"""So many rows in a row are drawn from one shard: a draw is not to cost the reading of a whole shard."""
TRIES = 8
"""So often a draw that hits a row which may not be given is made again, before it is put off."""

Drawn = tuple[Entry, int, str, dict[str, Any]]
"""A shard, a line of it, the sample's id, the row."""


class Pool:
    """The shards that may be drawn from: each row as likely as any other."""

    def __init__(self, shards: Sequence[Entry]) -> None:
        """Take live shards, in any order that is always the same."""
        self._shards = shards
        self._ends = list(accumulate(entry.rows for entry in shards))

    def __bool__(self) -> bool:
        """Whether there is anything to draw."""
        return bool(self._shards)

    def draw(
        self,
        number: int,
        *,
        seed: int,
        lines: Callable[[Entry], list[bytes] | None],
        usable: Callable[[str, dict[str, Any]], bool],
    ) -> Drawn | None:
        """Draw the row of this number; None where no try hits one that is `usable` (by sample id and row)."""
        for attempt in range(TRIES if self._shards else 0):
            shard = random.Random(f"{seed}:{number // DRAWS_PER_SHARD}:{attempt}")
            entry = self._shards[bisect_right(self._ends, shard.randrange(self._ends[-1]))]
            found = lines(entry)
            if not found:
                continue
            index = random.Random(f"{seed}:{number}:{attempt}").randrange(len(found))
            row = orjson.loads(found[index])
            sample_id = row_id(entry, index, row)
            if usable(sample_id, row):
                return entry, index, sample_id, row
        return None
