"""The rules on two worlds that they were not written for: the demo's own truth, and real records."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AnyMessage, ToolMessage, convert_to_openai_messages
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.errors import GraphRecursionError

from agenther_live.demo import truth
from agenther_live.demo.agents import build_agents
from agenther_live.demo.catalogue import Offer
from agenther_live.demo.goals import read_goal
from agenther_live.demo.tasks import Task, make_tasks
from agenther_live.demo.world import World, build_tools
from agenther_live.integrations.transcripts import Imported, read
from agenther_live.labels import Relabeling
from agenther_live.relabel import RulesJudge, TemplateRelabeler, relabel, success_sample
from agenther_live.trajectory import Outcome, Trajectory
from tests.relabel.build import FAILED, trajectory

DATA = Path(os.environ.get("AGENTHER_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data") / "dev"
TOOLS = tuple(convert_to_openai_tool(each) for each in build_tools(World()))


def runs(n: int, seed: int) -> Iterator[tuple[Task, Trajectory, tuple[Offer, ...]]]:
    world = World(seed=seed)
    agents = list(build_agents(world, seed=seed).values())
    for number, task in enumerate(make_tasks(n, seed=seed)):
        seen: list[AnyMessage] = []
        config: Any = {"configurable": {"thread_id": task.task_id}}
        try:
            for state in agents[number % 2].stream({"messages": [("user", task.goal)]}, config, stream_mode="values"):
                seen = state["messages"]
            status = "finished"
        except GraphRecursionError:
            status = "error"
        errors = frozenset(i for i, m in enumerate(seen) if isinstance(m, ToolMessage) and m.status == "error")
        messages: Any = convert_to_openai_messages(seen)
        run = trajectory(
            messages, goal=task.goal, errors=errors, trajectory_id=task.task_id, tools=TOOLS, status=status
        )
        yield task, run, world.orders(task.task_id)


def rules(run: Trajectory, outcome: Outcome = FAILED) -> Relabeling:
    return asyncio.run(relabel(run, outcome, 1, relabeler=TemplateRelabeler(), judges=[RulesJudge()]))


@pytest.mark.slow
def test_every_label_of_the_demo_world_is_true_and_no_choice_in_it_is_beaten() -> None:
    told: Counter[str] = Counter()
    for task, run, orders in runs(60, seed=7):
        reached, why = truth.judge_run(task, orders, run.final_answer)
        if reached:
            assert success_sample(run, Outcome(label="success"), 1) is not None
            continue
        done = rules(run)
        told[f"{done.stage}: {done.reason}"] += 1
        if "false claim: no order" in why:
            assert done.sample is None, "a lie about an order is never relabeled"
            told["lies"] += 1
        if done.sample is None:
            continue
        results = [each.message.text for each in done.sample.messages if each.message.role == "tool"]
        wish = read_goal(done.sample.goal)
        assert wish is not None, done.sample.goal
        assert truth.goal_is_true(wish, orders, results, done.sample.messages[-1].message.text), done.sample.goal
        assert not any(truth.beaten_by(order, results) for order in orders), done.sample.goal
        assert truth.goal_is_true(task.requirements, orders, results, done.sample.messages[-1].message.text) is False
    assert told["lies"] >= 2
    assert told["relabeled: accepted"] >= 25


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="the folder of real trajectories is not here (AGENTHER_TEST_DATA)")
def test_real_records_end_with_a_reason_and_no_success_is_relabeled() -> None:
    told: Counter[str] = Counter()
    for path in sorted(DATA.glob("*.jsonl.gz")):
        for number, item in enumerate(read(path)):
            assert isinstance(item, Imported)
            if number % 3 or len(item.trajectory.messages) > 120:
                continue  # a third of them is enough here; the rest of the suite imports them all
            graded = next((each.success for each in item.evidence if each.success is not None), None)
            label: Any = "unknown" if graded is None else "success" if graded else "failure"
            done = rules(item.trajectory, Outcome(label=label))
            told[f"{label}: {done.stage}"] += 1
            if label != "failure":
                assert (done.stage, done.reason) == ("rejected", "not_failed")
                continue
            assert done.reason
            assert done.analysis is not None
            assert 0 <= done.analysis.weight <= 1
            if done.sample is not None:
                roles = {each.message.role for each in done.sample.messages if each.train}
                assert roles == {"assistant"}
                assert done.sample.goal != item.trajectory.goal
    assert told["failure: relabeled"] > 0
    assert told["success: rejected"] > 50
