"""Emission with an eye on company: a ledger that holds back what would crowd a shard, and the figures for `status`."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, cast

from agenther_live.buffer.output import company
from agenther_live.buffer.store import Buffer
from agenther_live.labels import Sample
from agenther_live.relabel.reading.calls import kind_of
from agenther_live.relabel.trust.diversity import Clusters, coverage, held_back, requirement_count, spread
from agenther_live.settings import ShardFormat
from agenther_live.shards.files.publish import Ledger
from agenther_live.shards.files.rotate import Backlog

__all__ = ["alarm", "balanced", "figures", "tool_kinds", "warn"]

logger = logging.getLogger("agenther_live")

_ENOUGH = 30  # users' goals of a policy version from which its coverage means anything
_FALL = 0.8  # of the coverage of the version before


class _Balanced:
    """The buffer as a ledger, where some samples wait for company and successes are spread over the rows."""

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer
        self._held: dict[ShardFormat, dict[str, str]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._buffer, name)

    def backlog(self, fmt: ShardFormat) -> Backlog:
        """Count what waits and is not held back."""
        found = self._buffer.backlog(fmt)
        if not found.count:
            return found
        with self._buffer.reading() as tx:
            heads = company.heads(tx, fmt)
            users = [goal for goal, _ in company.user_goals(tx)]
        held = self._held[fmt] = held_back(heads, users)
        if not held:
            return found
        free = [head.created_at for head in heads if head.waits and head.sample_id not in held]
        made = [at for at in free if at is not None]
        return Backlog(max(0, found.count - len(held)), min(made) if len(made) == len(free) and made else None)

    def pending(self, fmt: ShardFormat, limit: int) -> list[Sample]:
        """Give those samples, oldest first but for successes, which are spread evenly."""
        held = self._held.get(fmt, {})
        found = [one for one in self._buffer.pending(fmt, limit + len(held)) if one.sample_id not in held]
        return [found[at] for at in spread([one.kind for one in found])][:limit]


def balanced(buffer: Buffer) -> Ledger:
    """Give the ledger that publishing is to use."""
    return cast(Ledger, _Balanced(buffer))


def figures(buffer: Buffer, formats: Iterable[ShardFormat]) -> dict[str, Any]:
    """Give what `status` shows: how far samples cover what users ask for, what waits for company, and shares.

    `coverage` is the share of the clusters of users' goals that samples reach, by policy version, the latest first;
    `alarm` says that it fell. Nothing is shown of an empty buffer.
    """
    fmt = next(iter(formats), None)
    with buffer.reading() as tx:
        users, samples = company.user_goals(tx), company.taught(tx)
        heads = company.heads(tx, fmt) if fmt else []
    if not (users or heads):
        return {}
    held = Counter(held_back(heads, [goal for goal, _ in users]).values())
    kinds = Counter(head.kind for head in heads)
    clusters = Clusters()
    goals = sorted({goal for goal, _ in users})
    ours = [head.goal for head in heads if head.kind == "hindsight"]
    asked = {clusters.of(goal) for goal in goals}
    return {
        "user_goal_clusters": len(asked),
        "coverage": coverage(goals, [goal for goal, _ in samples], clusters),
        "coverage_by_policy": dict(_by_policy(users, samples)),
        "alarm": alarm(_by_policy(users, samples)),
        "requirements_of_users": dict(sorted(Counter(map(requirement_count, (goal for goal, _ in users))).items())),
        "requirements_in_hindsight": dict(sorted(Counter(map(requirement_count, ours)).items())),
        "success_share": kinds["success"] / kinds.total() if kinds.total() else None,
        "waiting_for_company": dict(held),
    }


def tool_kinds(buffer: Buffer) -> dict[str, dict[str, list[str]]]:
    """Give what is held to be true of each agent's tools: read, write or unknown; `tool_kinds` in the settings wins."""
    with buffer.reading() as tx:
        called = company.tools(tx)
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for agent, name in called:
        found[agent][kind_of(name, buffer.settings.tool_kinds.get(agent))].append(name)
    return {agent: dict(kinds) for agent, kinds in found.items()}


def _by_policy(
    users: Iterable[tuple[str, str | None]], samples: Iterable[tuple[str, str | None]]
) -> list[tuple[str, float]]:
    """The coverage of each policy version with enough goals, the latest first."""
    asked: dict[str, list[str]] = defaultdict(list)
    taught: dict[str, list[str]] = defaultdict(list)
    for goal, version in users:
        asked[version or ""].append(goal)
    for goal, version in samples:
        taught[version or ""].append(goal)
    return [(name, coverage(goals, taught[name])) for name, goals in asked.items() if len(goals) >= _ENOUGH]


def alarm(by_policy: list[tuple[str, float]]) -> str | None:
    """Say that the latest policy version's samples cover a fifth less of users' goals than those before; else None."""
    if len(by_policy) < 2:
        return None
    (new, now), (old, before) = by_policy[:2]
    if now >= _FALL * before:
        return None
    return (
        f"goals of policy {new or '(unnamed)'} cover {now:.0%} of what users ask for, {before:.0%} with "
        f"{old or '(unnamed)'}: training on them narrows the policy"
    )


def warn(buffer: Buffer) -> None:
    """Log the alarm, each once."""
    with buffer.reading() as tx:
        users, samples = company.user_goals(tx), company.taught(tx)
    if (text := alarm(_by_policy(users, samples))) is not None:
        _once(text)


@lru_cache(maxsize=64)
def _once(text: str) -> None:
    logger.warning("%s", text)
