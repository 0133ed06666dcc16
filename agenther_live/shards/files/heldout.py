"""Goals that never reach a shard, so that a policy trained on them can be measured.

A goal is held out by the hash of its normalised text: whoever asks, whenever, in any process, gets the same answer.
A goal close to a held-out one is kept away too (Jaccard similarity of word 3-shingles from 0.8 on).
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Container, Iterable

from agenther_live.labels import Sample

__all__ = ["HeldOut", "is_held_out", "normalise", "shingles", "similarity"]

SIMILAR = 0.8
# Words; in scripts that are written without spaces, characters.
_WORDS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]|[^\W_]+(?:[.,:'-][^\W_]+)*")


def normalise(goal: str) -> str:
    """Give the words of a goal, lower case, one space between them; punctuation at their edges is gone."""
    return " ".join(_WORDS.findall(unicodedata.normalize("NFKC", goal).casefold()))


def is_held_out(goal: str, share: float) -> bool:
    """Say whether a goal (or the key it is split by) falls into the held-out `share` in [0, 1)."""
    if not share:
        return False
    digest = hashlib.sha256(normalise(goal).encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def shingles(goal: str) -> frozenset[tuple[str, ...]]:
    """Give the 3-shingles of a goal's words; a shorter goal is one shingle, an empty one none."""
    words = normalise(goal).split()
    if not words:
        return frozenset()
    return frozenset(tuple(words[at : at + 3]) for at in range(max(1, len(words) - 2)))


def similarity(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> float:
    """Give the Jaccard similarity of two sets of shingles; of two empty ones it is 0."""
    both = len(one & other)
    return both / (len(one) + len(other) - both) if both else 0.0


class HeldOut:
    """The held-out goals, in an inverted index: asking about one goal touches few others.

    `share` is the share of goals held out by their own hash: 0 for none, and 0 where the split goes by a key of the
    user's; `trajectories` then holds the ids of the trajectories that it holds out.
    """

    def __init__(self, goals: Iterable[str] = (), *, share: float = 0.0, trajectories: Container[str] = ()) -> None:
        """Index the goals."""
        self.share = share
        self._trajectories = trajectories
        self._sets: list[frozenset[tuple[str, ...]]] = []
        self._index: dict[tuple[str, ...], list[int]] = defaultdict(list)
        self._known: set[frozenset[tuple[str, ...]]] = set()
        for goal in goals:
            self.add(goal)

    def add(self, goal: str) -> None:
        """Hold one more goal out."""
        made = shingles(goal)
        if made and made not in self._known:
            self._known.add(made)
            for shingle in made:
                self._index[shingle].append(len(self._sets))
            self._sets.append(made)

    def conflicts(self, goal: str) -> bool:
        """Say whether a goal is one of the held-out goals, or too close to one."""
        made = shingles(goal)
        if not made:
            return False
        # J ≥ 0.8 needs at least 0.8·n common shingles, so one of any n − ⌈0.8·n⌉ + 1 is common: take the rarest.
        probes = len(made) - math.ceil(SIMILAR * len(made)) + 1
        rarest = sorted(made, key=lambda shingle: len(self._index.get(shingle, ())))[:probes]
        seen: set[int] = set()
        for shingle in rarest:
            for candidate in self._index.get(shingle, ()):
                if candidate not in seen:
                    seen.add(candidate)
                    if similarity(made, self._sets[candidate]) >= SIMILAR:
                        return True
        return False

    def reason(self, sample: Sample) -> str | None:
        """Give the word for why a sample must not be published, or None.

        'held_out': its trajectory, or one of its goals, is held out; 'near_held_out': its goal is too close to one.
        """
        held = sample.trajectory_id in self._trajectories
        if held or any(is_held_out(goal, self.share) for goal in {sample.goal, sample.original_goal} if goal):
            return "held_out"
        return "near_held_out" if self.conflicts(sample.goal) else None
