"""Where the line of a key stands, among many files: 16 bytes a slot, so that an index of millions fits in memory."""

from __future__ import annotations

from array import array
from collections.abc import Collection

__all__ = ["Places"]

_START_BITS = 44  # of a place: where its line starts; the number of its file stands above
_LEAST = 1024


class Places:
    """A hash table from keys to a file's number and an offset in it, in bytes. Open addressing, linear probing.

    A key is known by its first 8 bytes, so a place may be that of another key (by chance, once in 10^19 pairs): whoever
    reads the line compares the key that stands in it.
    """

    def __init__(self) -> None:
        """Know nothing yet."""
        self._tags, self._places, self._count = _table(_LEAST)

    def __len__(self) -> int:
        """How many keys are known."""
        return self._count

    def put(self, key: bytes, file: int, start: int) -> None:
        """Remember where the line of a key starts; the latest place counts."""
        if self._count * 5 >= len(self._tags) * 3:
            self._rebuild(2 * len(self._tags), frozenset())
        self._set(_tag(key), (file << _START_BITS | start) + 1)

    def get(self, key: bytes) -> tuple[int, int] | None:
        """Give file and start of a key's line, or None."""
        place = self._places[self._slot(_tag(key))]
        return (place - 1 >> _START_BITS, place - 1 & (1 << _START_BITS) - 1) if place else None

    def drop(self, files: Collection[int]) -> None:
        """Forget all that stands in these files."""
        self._rebuild(len(self._tags), files)

    def _slot(self, tag: int) -> int:
        """The slot of a tag, or the free one where it would stand."""
        last = len(self._tags) - 1
        slot = tag & last
        while self._places[slot] and self._tags[slot] != tag:
            slot = slot + 1 & last
        return slot

    def _set(self, tag: int, place: int) -> None:
        slot = self._slot(tag)
        self._count += not self._places[slot]
        self._tags[slot], self._places[slot] = tag, place

    def _rebuild(self, size: int, without: Collection[int]) -> None:
        old = zip(self._tags, self._places, strict=True)
        self._tags, self._places, self._count = _table(size)
        for tag, place in old:
            if place and place - 1 >> _START_BITS not in without:
                self._set(tag, place)


def _table(size: int) -> tuple[array[int], array[int], int]:
    return array("Q", bytes(8 * size)), array("Q", bytes(8 * size)), 0


def _tag(key: bytes) -> int:
    return int.from_bytes(key[:8], "big")
