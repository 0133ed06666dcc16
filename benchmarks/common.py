"""What the benches share: the folder of real records, bootstrap intervals over tasks, tables and their JSON."""

from __future__ import annotations

import gzip
import json
import math
import os
import platform
import random
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from langchain_core.messages import ToolMessage, convert_to_openai_messages
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.errors import GraphRecursionError
from rich.console import Console
from rich.table import Table

from agenther_live.demo.agents import build_agents
from agenther_live.demo.catalogue import Offer
from agenther_live.demo.tasks import Task, make_tasks
from agenther_live.demo.truth import judge_run
from agenther_live.demo.world import World, build_tools
from agenther_live.integrations.transcripts import Imported, read
from agenther_live.trajectory import Trajectory
from tests.relabel.build import trajectory

ROOT = Path(__file__).resolve().parents[1]
ABSENT = (
    "the folder of real trajectories is not here: set AGENTHER_TEST_DATA to it, or lay it beside the checkout as "
    "../shared/data. What needs it is left out."
)
SEED = 20_260_101
T = TypeVar("T")


@dataclass(frozen=True)
class Record:
    """One real record: as it stands in the file, and as it is imported. `task` is what it shares with its trials."""

    source: str
    raw: dict[str, Any]
    trajectory: Trajectory

    @property
    def task(self) -> str:
        return str(self.raw["meta"].get("task_group") or self.raw["task_id"])

    @property
    def success(self) -> bool | None:
        return self.raw["outcome"]["success"]  # type: ignore[no-any-return]


def data_folder() -> Path | None:
    """The folder of real records, or None."""
    folder = Path(os.environ.get("AGENTHER_TEST_DATA") or ROOT.parent / "shared" / "data")
    return folder if (folder / "dev").is_dir() else None


def records(folder: Path) -> Iterator[Record]:
    """All real records, source by source. The importer drops messages that print the grade."""
    for path in sorted((folder / "dev").glob("*.jsonl.gz")):
        with gzip.open(path) as file:
            lines = [json.loads(line) for line in file]
        for item in read(path):
            if isinstance(item, Imported):
                raw = lines[item.line - 1]
                yield Record(raw["source"], raw, item.trajectory)


def interval(clusters: Sequence[Sequence[T]], statistic: Callable[[Sequence[T]], float], *, n: int) -> str:
    """The 95 % interval of a statistic by the bootstrap over clusters (tasks), as text; seeded."""
    rng = random.Random(SEED)
    drawn = (statistic([item for _ in clusters for item in clusters[rng.randrange(len(clusters))]]) for _ in range(n))
    found = sorted(value for value in drawn if not math.isnan(value))  # a draw without any strong label scores nothing
    last = len(found) - 1
    return f"{found[round(0.025 * last)]:.2f} to {found[round(0.975 * last)]:.2f}" if found else ""


def grouped(items: Sequence[T], key: Callable[[T], object]) -> list[list[T]]:
    """Items in clusters of one key, in order of first appearance."""
    found: dict[object, list[T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return list(found.values())


def machine() -> str:
    """Where and when, for the head of a table."""
    try:
        model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        model = None
    cpu = model[1] if model else platform.machine()
    return f"{os.cpu_count()} cores, {cpu}, Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}"


def show(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print rows as a table."""
    if not rows:
        return
    table = Table(title=title, title_justify="left")
    for column, value in rows[0].items():
        table.add_column(column, justify="left" if isinstance(value, str) and column != "95 %" else "right")
    for row in rows:
        table.add_row(*(f"{value:.2f}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=150, soft_wrap=False, file=sys.stdout).print(table)


def save(path: Path | None, result: dict[str, Any]) -> None:
    """Write what was measured as JSON."""
    if path is not None:
        path.write_text(json.dumps({"machine": machine(), **result}, indent=1) + "\n")


# --- the demo world ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DemoRun:
    """One run of a demo agent: the task, what was recorded, and the orders that the world really took."""

    task: Task
    agent: str
    trajectory: Trajectory
    orders: tuple[Offer, ...]

    @property
    def reached(self) -> bool:
        return judge_run(self.task, self.orders, self.trajectory.final_answer)[0]

    def results(self) -> list[str]:
        return [message.text for message in self.trajectory.messages if message.role == "tool"]


def demo_runs(n: int, *, seed: int = 11) -> Iterator[DemoRun]:
    """`n` tasks of the demo world, each run by both of its agents, each in a world of its own."""
    worlds = {name: World(seed=seed) for name in ("buyer", "sourcer")}
    agents = {name: build_agents(world, seed=seed)[name] for name, world in worlds.items()}
    tools = tuple(convert_to_openai_tool(each) for each in build_tools(World()))
    for task in make_tasks(n, seed=seed):
        for name, agent in agents.items():
            seen: list[Any] = []
            status = "finished"
            config: Any = {"configurable": {"thread_id": task.task_id}}
            try:
                for state in agent.stream({"messages": [("user", task.goal)]}, config, stream_mode="values"):
                    seen = state["messages"]
            except GraphRecursionError:
                status = "error"
            messages: Any = convert_to_openai_messages(seen)
            errors = frozenset(i for i, m in enumerate(seen) if isinstance(m, ToolMessage) and m.status == "error")
            run = trajectory(
                messages,
                goal=task.goal,
                errors=errors,
                trajectory_id=f"{task.task_id}-{name}",
                tools=tools,
                status=status,
                agent=name,
            )
            yield DemoRun(task, name, run, worlds[name].orders(task.task_id))
