"""A home whose shards hold every format: the demo's buyer at the same goals several times, now well and now badly."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import get_args

from langgraph.errors import GraphRecursionError

from agenther_live import Live
from agenther_live.demo.agents import build_agents
from agenther_live.demo.run import outcome_of
from agenther_live.demo.tasks import make_tasks
from agenther_live.demo.world import World
from agenther_live.settings import ShardFormat

GOALS, TRIES = 8, 4


def emit(home: Path) -> Path:
    """Run, relabel, publish; gives the folder of shards.

    A seed is a policy here: the same goal goes another way, so some are reached in one try and missed in another, and
    there are pairs with one prompt.
    """
    world = World(seed=0)
    goals = [task for task in make_tasks(60, seed=0) if task.satisfiable][:GOALS]
    tasks = [[replace(task, task_id=f"{task.task_id}-{seed}") for task in goals] for seed in range(TRIES)]
    with Live(
        home,
        relabeler="template",
        judges=["rules"],
        evaluators=[outcome_of(world, [task for tries in tasks for task in tries])],
        strict=True,
        pii="redact",
        held_out=0.0,
        outcome_settle_seconds=0.0,
        formats=get_args(ShardFormat),
    ) as live:
        for seed, tries in enumerate(tasks):
            agent = live.attach(build_agents(world, seed=seed)["buyer"], policy_version=f"policy-{seed}")
            for task in tries:
                with suppress(GraphRecursionError):
                    agent.invoke({"messages": [("user", task.goal)]}, {"configurable": {"thread_id": task.task_id}})
        live.run_until_idle()
        return live.home.shards
