"""Are goals in hindsight like those that users have? Clusters, requirement counts, quotas, coverage: pure functions.

A relabeler's goals crowd where they are easy to find: templates begin alike, runs that only looked end without a write.
So what goes into shards is held against what users ask for; what would crowd them waits until there is company for it.
All shares and bounds here are ours, by the figures of the project's design.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from agenther_live.relabel.checks.predicates import compile_goal
from agenther_live.relabel.reading.mentions import content_words

__all__ = ["Clusters", "Head", "coverage", "held_back", "requirement_count", "spread"]

ALIKE = 0.4  # Jaccard similarity of content words above which two goals are of one cluster
LEAST = 50  # hindsight rows (and a fifth of it of users' goals) from which shares mean anything
TWICE = 2.0  # a cluster's share among goals in hindsight, by that among users' goals
ANYWAY = 0.05  # share that every cluster may have, also one that no user was seen to ask for
FUTURE_SHARE = 0.25  # of the rows of a shard, at most
WRITELESS = 1.5  # share of samples without a write, by that of successes


@dataclass(frozen=True, slots=True)
class Head:
    """What decides about a sample's company. `waits` is false for one that stands in a shard already."""

    sample_id: str
    kind: str
    goal: str
    strategy: str | None
    writes: bool | None
    waits: bool
    created_at: datetime | None = None


def requirement_count(goal: str) -> int:
    """Give how many requirements of a goal can be compiled: limits, superlatives, counts; 4 stands for more, too."""
    return min(4, len(compile_goal(goal[:4000])))


class Clusters:
    """Goals in groups: each belongs to the first leader that it is like, or leads a new group."""

    def __init__(self) -> None:
        """Begin without a leader."""
        self._leaders: list[frozenset[str]] = []
        self._by_word: dict[str, list[int]] = defaultdict(list)
        self._known: dict[str, int] = {}

    def of(self, goal: str) -> int:
        """Give the number of a goal's cluster."""
        if goal not in self._known:
            self._known[goal] = self._find(
                frozenset(word for word in content_words(goal[:2000]) if not any(map(str.isdigit, word)))
            )
        return self._known[goal]

    def _find(self, words: frozenset[str]) -> int:
        shared = Counter(leader for word in words for leader in self._by_word.get(word, ()))
        best, number = 0.0, -1
        for leader, both in shared.items():
            alike = both / (len(words) + len(self._leaders[leader]) - both)
            if alike > ALIKE and (alike, -leader) > (best, -number):
                best, number = alike, leader
        if number >= 0:
            return number
        for word in words:
            self._by_word[word].append(len(self._leaders))
        self._leaders.append(words)
        return len(self._leaders) - 1


def coverage(users: Iterable[str], samples: Iterable[str], clusters: Clusters | None = None) -> float:
    """Give the share of the clusters of users' goals in which a sample's goal lies; 0 where there is no goal."""
    clusters = clusters or Clusters()
    asked = {clusters.of(goal) for goal in users}
    taught = {clusters.of(goal) for goal in samples}
    return len(asked & taught) / len(asked) if asked else 0.0


def held_back(heads: Sequence[Head], users: Sequence[str]) -> dict[str, str]:
    """Give the samples that must wait for company (id → word), so that what is published keeps its shares.

    Args:
        heads: what stands in shards and what waits, oldest first; the oldest go first.
        users: goals of users, each as often as it was asked.

    Words: `future_share` (cut runs: at most a quarter of the rows that wait), `write_share`, `cluster_share`,
    `requirement_share`.
    """
    held: dict[str, str] = {}
    waiting = [head for head in heads if head.waits]
    future = [head for head in waiting if head.strategy == "future"]
    room = int((len(waiting) - len(future)) * FUTURE_SHARE / (1 - FUTURE_SHARE))
    held |= {head.sample_id: "future_share" for head in future[room:]}
    ours = [head for head in heads if head.kind == "hindsight" and head.sample_id not in held]
    if len(ours) < LEAST:
        return held
    held |= _writeless(ours, [head for head in heads if head.kind == "success"])
    if len(users) >= LEAST / 5:
        clusters = Clusters()
        asked = Counter(clusters.of(goal) for goal in sorted(users))
        held |= _crowding(ours, {head.goal: clusters.of(head.goal) for head in ours}, asked, "cluster_share", held)
        counts = Counter(map(requirement_count, users))
        kinds = {head.goal: requirement_count(head.goal) for head in ours}
        held |= _crowding(ours, kinds, counts, "requirement_share", held)
    return held


def _writeless(ours: Sequence[Head], successes: Sequence[Head]) -> dict[str, str]:
    """Those without a write beyond 1.5 times their share among successes."""
    known = [head for head in successes if head.writes is not None]
    if len(known) < LEAST / 5:
        return {}
    most = WRITELESS * sum(not head.writes for head in known) / len(known)
    if most >= 1:
        return {}
    without = [head for head in ours if head.writes is False]
    room = math.floor(most * (len(ours) - len(without)) / (1 - most))
    return _last(without, len(without) - room, "write_share")


def _crowding(
    ours: Sequence[Head], group: Mapping[str, int], asked: Counter[int], word: str, held: Mapping[str, str]
) -> dict[str, str]:
    """Those of a group beyond twice its share among users' goals."""
    kept = [head for head in ours if head.sample_id not in held]
    found: dict[str, str] = {}
    total = asked.total()
    by_group: dict[int, list[Head]] = defaultdict(list)
    for head in kept:
        by_group[group[head.goal]].append(head)
    for number, members in by_group.items():
        room = math.ceil(len(kept) * max(TWICE * asked[number] / total, ANYWAY))
        found |= _last(members, len(members) - room, word)
    return found


def _last(heads: Sequence[Head], n: int, word: str) -> dict[str, str]:
    """The last `n` of those that wait: what stands in a shard stays there."""
    waiting = [head.sample_id for head in heads if head.waits]
    return dict.fromkeys(waiting[max(0, len(waiting) - n) :] if n > 0 else [], word)


def spread(kinds: Sequence[str]) -> list[int]:
    """Give an order in which successes come as evenly as their number allows, and no part of it has less than it must.

    Where at least a quarter are successes every stretch of rows holds about their share, so a shard that is cut from it
    holds a quarter too.
    """
    successes = [at for at, kind in enumerate(kinds) if kind == "success"]
    others = [at for at, kind in enumerate(kinds) if kind != "success"]
    placed = [((i + 0.5) / len(successes), 0, at) for i, at in enumerate(successes)]
    placed += [((i + 0.5) / len(others), 1, at) for i, at in enumerate(others)]
    return [at for _, _, at in sorted(placed)]
