"""What a shard holds, in figures that stand in its manifest line: cheap to make, and enough to see it is one-sided."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from agenther_live.labels import Sample
from agenther_live.relabel.reading.calls import kind_of
from agenther_live.relabel.trust.diversity import Clusters, requirement_count
from agenther_live.settings import ShardFormat
from agenther_live.shards.files.heldout import normalise
from agenther_live.shards.rows.formats import called

__all__ = ["measure", "origin", "warnings"]

SAME_START = 0.2
"""Share of goals that begin with the same two words above which a shard is said to be one-sided."""
_ENOUGH = 20  # rows below which shares say nothing


def origin(sample: Sample) -> dict[str, Any]:
    """Give what `measure` wants to know of a row whose format has no room for it."""
    return {
        "goal": sample.goal,
        "kind": sample.kind,
        "policy_version": sample.policy_version or "",
        "relabeler": sample.relabeler or "",
        "judges": json.dumps(list(sample.judges)),
        "trajectory_id": sample.trajectory_id,
    }


def measure(
    fmt: ShardFormat, rows: Sequence[Mapping[str, Any]], origins: Sequence[Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """Measure the rows of one shard; `origins` tell where they come from, where the rows do not.

    Gives `goals` (distinct ones), `goal_clusters` and their `goal_entropy` in bits, `first_words` (the commonest first
    two words of a goal, and their share), `requirements` (how many goals have so many of them; 4 is 4 or more),
    `write_call_rate` (the share of rows whose trained calls change something), `kinds`, and `lineage`: policy versions,
    relabelers and judges with their rows, and how many trajectories.
    """
    told = rows if origins is None else origins
    goals = [str(made.get("goal", "")) for made in told]
    words = [normalise(goal).split() for goal in goals]
    clusters = Clusters()
    sizes = list(Counter(clusters.of(goal) for goal in goals).values())
    starts = Counter(" ".join(each[:2]) for each in words if each)
    start, most = starts.most_common(1)[0] if starts else ("", 0)
    demands = Counter(requirement_count(goal) for goal in goals)
    writing = sum(_writes(fmt, made) for made in rows)
    return {
        "goals": len({" ".join(each) for each in words}),
        "goal_clusters": len(sizes),
        "goal_entropy": round(_entropy(sizes), 4),
        "first_words": {"words": start, "share": round(most / len(rows), 4) if rows else 0.0},
        "requirements": {str(count): demands[count] for count in sorted(demands)},
        "write_call_rate": round(writing / len(rows), 4) if rows else 0.0,
        "kinds": _counted(made.get("kind") for made in told),
        "lineage": {
            "policy_versions": _counted(made.get("policy_version") for made in told),
            "relabelers": _counted(made.get("relabeler") for made in told),
            "judges": _counted(judge for made in told for judge in json.loads(made.get("judges") or "[]")),
            "trajectories": len({made.get("trajectory_id") for made in told}),
        },
    }


def warnings(statistics: Mapping[str, Any], rows: int) -> list[str]:
    """Say what about a shard of so many rows is one-sided."""
    found = statistics.get("first_words", {})
    if rows < _ENOUGH or float(found.get("share", 0.0)) <= SAME_START:
        return []
    return [f"{found['share']:.0%} of its goals begin with “{found['words']}”: a policy may learn the phrase"]


def _counted(values: Any) -> dict[str, int]:
    found = Counter(str(value) for value in values if value)
    return {value: found[value] for value in sorted(found)}


def _entropy(sizes: Sequence[int]) -> float:
    total = sum(sizes)
    return -sum(size / total * math.log2(size / total) for size in sizes) if len(sizes) > 1 else 0.0


def _writes(fmt: ShardFormat, made: Mapping[str, Any]) -> bool:
    names = called(fmt, made)
    if not names:
        return False
    tools = made.get("tools", made.get("input", {}).get("tools") if fmt == "openai_dpo" else None)
    schemas = _schemas(tools if isinstance(tools, str) else json.dumps(tools))
    return any(kind_of(name, None, schemas.get(name)) == "write" for name in names)


@lru_cache(maxsize=256)
def _schemas(text: str) -> Mapping[str, Mapping[str, Any]]:
    tools = json.loads(text) if text else None
    return {tool["function"]["name"]: tool["function"] for tool in tools or ()}
