"""One round for real: the agent runs with capture attached, the worker relabels, shards are published.

What every arm of the study is made of is then read back: the buffer's rows of each run, and the published rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from transformers import LlamaForCausalLM

from agenther_live import Live
from agenther_live.settings import ShardFormat
from agenther_live.shards.reading.stream import read_rows
from agenther_live.trajectory import Outcome, Trajectory
from examples.continual_loop.agent import PolicyModel, build_agent, call_of
from examples.continual_loop.llm import ErrorModel, serve
from examples.continual_loop.worlds import HELD_OUT, Goal, Run, World

__all__ = ["Captured", "Episode", "capture", "captured", "home_of"]

ERRORS = ErrorModel()
FORMATS: tuple[ShardFormat, ...] = ("trl_sft", "trl_dpo", "goal_contrast")


@dataclass
class Episode:
    """A captured run, as the buffer has it."""

    trajectory_id: str
    goal: str
    answer: str | None
    reached: bool
    messages: list[dict[str, Any]]
    proposals: list[tuple[str, str]] = field(default_factory=list)
    """Hindsight goals that were proposed, with the word for what became of each."""


@dataclass
class Captured:
    """What one round gave: episodes in the order in which they ran, and published rows by format."""

    episodes: list[Episode]
    rows: dict[str, list[dict[str, Any]]]
    figures: dict[str, Any]


@contextmanager
def home_of(path: Path, world: World, runs: dict[str, Run], *, relabels: bool = True, seed: int = 0) -> Iterator[Live]:
    """A home whose worker asks the scripted model, and whose outcomes are the world's own; `seed` is of its errors."""

    def truth(trajectory: Trajectory) -> Outcome:
        run = runs[str(trajectory.thread_id)]
        label = "success" if run.reached(trajectory.final_answer) else "failure"
        return Outcome(label=label, source="evaluator")  # type: ignore[arg-type]

    with serve(world, replace(ERRORS, seed=seed)) as url:
        model = {"relabeler": f"openai:scripted-relabeler,base_url={url}"}
        panel = [f"openai:scripted-judge,base_url={url}"]
        with Live(
            path,
            **(model if relabels else {}),
            judges=panel if relabels else None,
            evaluators=[truth],
            strict=True,
            pii="keep",
            held_out=HELD_OUT,
            formats=FORMATS,
            tool_kinds={world.name: world.kinds},
            outcome_settle_seconds=0.0,
            shard_seconds=0.0,
            concurrency=1,  # of two samples alike the first is kept, and so it is the same one each time
            slice_seconds=3600.0,
            reuse_goals=False,
            style_examples=0,
            canary_share=0.0,
            spend_per_day_usd=1e9,
            tokens_per_day=10**12,
        ) as live:
            yield live


def capture(
    live: Live,
    world: World,
    model: LlamaForCausalLM,
    goals: Sequence[Goal],
    seeds: Sequence[int],
    runs: dict[str, Run],
    *,
    version: str,
    progress: Callable[[], None] = lambda: None,
) -> None:
    """Run the agent once for each goal under a policy version, then let the worker finish."""
    agent = live.attach(
        build_agent(PolicyModel(policy=model, world=world), runs), name=world.name, policy_version=version
    )
    for goal, seed in zip(goals, seeds, strict=True):
        run = Run(world, goal, seed)
        runs[str(seed)] = run
        agent.invoke(*call_of(run))
        progress()
    live.run_until_idle()


def captured(live: Live, *, version: str | None = None) -> Captured:
    """Read back what the buffer and the shards hold (of one policy version)."""
    wanted = f"policy_version = '{version}'" if version else "true"
    found = live.buffer.sql(
        "select trajectory_id, thread_id, goal, final_answer, outcome from trajectories "
        f"where {wanted} order by cast(thread_id as integer)"
    ).dicts()
    episodes = {
        row["trajectory_id"]: Episode(
            row["trajectory_id"], row["goal"], row["final_answer"], row["outcome"] == "success", []
        )
        for row in found
    }
    for row in live.buffer.sql("select * from messages where agent_path = '' order by trajectory_id, idx").dicts():
        if row["trajectory_id"] in episodes:
            message = {"role": row["role"], "content": row["content"] or ""}
            if row["tool_calls"]:
                calls = row["tool_calls"]
                message["tool_calls"] = json.loads(calls) if isinstance(calls, str) else calls
            episodes[row["trajectory_id"]].messages.append(message)
    for row in live.buffer.sql("select trajectory_id, hindsight_goal, reason from goals order by attempt").dicts():
        if row["trajectory_id"] in episodes:
            episodes[row["trajectory_id"]].proposals.append((row["hindsight_goal"], row["reason"]))
    rows = {
        name: [each.row for each in read_rows(live.home.shards, name) if each.row["trajectory_id"] in episodes]
        for name in FORMATS
    }
    place = {trajectory_id: at for at, trajectory_id in enumerate(episodes)}
    for some in rows.values():  # in shards the samples of one moment stand by ids, which are new in each home
        some.sort(key=lambda row: (place[row["trajectory_id"]], row["content_hash"]))
    reasons = live.buffer.sql("select stage, reason, count(*) as n from relabelings group by all order by n desc")
    return Captured([*episodes.values()], rows, {"relabelings": reasons.dicts()})
