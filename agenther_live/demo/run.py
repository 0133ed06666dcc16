"""The demo: two agents fail at procurement tasks while a worker turns their failures into training data."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langgraph.errors import GraphRecursionError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from agenther_live.demo import story
from agenther_live.demo.agents import Graph, build_agents
from agenther_live.demo.tasks import Task, make_tasks
from agenther_live.demo.truth import judge_run
from agenther_live.demo.world import World
from agenther_live.errors import HomeError, UsageError
from agenther_live.live import Live
from agenther_live.replies import Budget
from agenther_live.trajectory import Outcome, Trajectory

__all__ = ["DemoReport", "demo", "free_home"]

POLICY_VERSION = "demo-policy-1"
THREADS = 32
ASYNC_RUNS = 32  # together the sixty of a demo at once; of more, so many


@dataclass(frozen=True)
class DemoReport:
    """What the demo did: the figures of `status --json`, and where everything lies."""

    figures: dict[str, Any]
    home: Path


def free_home(wanted: Path) -> Path:
    """Make the folder `wanted`, or the first of wanted-2, wanted-3, … that does not exist: each demo has its own.

    Raises:
        HomeError: it cannot be made.
    """
    found, n = wanted, 2
    while True:
        try:
            found.mkdir(mode=0o700)
        except FileExistsError:
            found, n = wanted.with_name(f"{wanted.name}-{n}"), n + 1
        except OSError as error:
            raise HomeError(f"home {found} cannot be made: {error.strerror or error}") from None
        else:
            return found


def demo(
    home: Path | None,
    *,
    relabeler: str,
    judges: Sequence[str],
    tasks: int,
    seed: int,
    console: Console | None,
) -> DemoReport:
    """Run the main job to the end on a new home, of a free name where none is given; `console` None shows nothing.

    Raises:
        UsageError: the home holds a buffer already.
        SettingsError: a model string is unknown, or its key is missing.
    """
    ours = home is None or not home.expanduser().exists()
    home = home.expanduser() if home is not None else free_home(Path("agenther-demo"))
    database = home / "buffer.duckdb"
    if database.exists() or any((home / "journal").glob("*.jsonl")):
        raise UsageError(f"home {home} holds runs already: the demo wants a home of its own, --home NEW")
    todo = make_tasks(tasks, seed=seed)
    world = World(seed=seed)
    quiet = Console(quiet=True)
    with Live(
        home,
        relabeler=relabeler,
        judges=list(judges),
        evaluators=[outcome_of(world, todo)],
        # Every setting that would make it another demo: what the shell says about a real home does not count here.
        strict=True,
        enabled=True,
        buffer=str(database),
        sample_rate=1.0,
        detector="rules",
        extractor="rules",
        success_samples=True,
        pii="redact",
        held_out=0.0,
        outcome_settle_seconds=0.0,
        tick_seconds=0.25,
        policy_version=POLICY_VERSION,
    ) as live:
        try:
            budget = live.parts.replies.budget  # made here, so that a wrong model is told before anything begins
        except BaseException:
            if ours:
                shutil.rmtree(home, ignore_errors=True)
            raise
        live.buffer.create()
        agents = [live.attach(agent) for agent in build_agents(world, seed=seed).values()]
        with _kept(console is not None) as logged, _bar(console or quiet, budget) as bar:
            row = bar.add_task("agents at work", total=len(todo))
            live.tick()  # of nothing yet: what a worker needs is loaded before the agents are at work
            live.start()  # it ticks in its own thread while they run
            run_all(agents, todo, lambda: bar.advance(row))
            bar.update(row, description="relabeling", total=None)
            live.run_until_idle()
        live.home.requirements.unlink(missing_ok=True)  # its world ends here: no later worker could ask that evaluator
        figures = live.status()
        if console is not None:
            story.tell(console, live, figures)
            story.logged(console, logged)
    return DemoReport(figures=figures, home=home)


@contextmanager
def _kept(told: bool) -> Iterator[list[str]]:
    """Keep the warnings that the worker logs: above the story they would speak of what nobody has seen yet."""
    logger, kept = logging.getLogger("agenther_live"), list[str]()

    def keep(record: logging.LogRecord) -> None:
        if record.levelno < logging.ERROR:
            kept.append(record.getMessage())
        elif logging.lastResort is not None:
            logging.lastResort.handle(record)

    handler = logging.Handler(logging.WARNING)
    handler.emit = keep  # type: ignore[method-assign]
    if told and not logger.hasHandlers():  # else somebody reads the log where it goes
        logger.addHandler(handler)
    try:
        yield kept
    finally:
        logger.removeHandler(handler)


def outcome_of(world: World, tasks: Sequence[Task]) -> Callable[[Trajectory], Outcome]:
    """Make the evaluator of the world: it looks at the orders that were really placed."""
    by_thread = {task.task_id: task for task in tasks}

    def procurement(trajectory: Trajectory) -> Outcome:
        task = by_thread[str(trajectory.thread_id)]
        done, why = judge_run(task, world.orders(task.task_id), trajectory.final_answer)
        return Outcome(label="success" if done else "failure", source="evaluator", reason=why)

    return procurement


def run_all(agents: Sequence[Graph], tasks: Sequence[Task], advance: Callable[[], None]) -> None:
    """Run every task, half of them from threads and half on an event loop, all at once."""
    work = [(agents[i % len(agents)], task) for i, task in enumerate(tasks)]

    def one(agent: Graph, task: Task) -> None:
        with suppress(GraphRecursionError):  # a run that never stopped; its trajectory says so
            agent.invoke(*_call(task))
        advance()

    async def rest(work: Sequence[tuple[Graph, Task]]) -> None:
        room = asyncio.Semaphore(ASYNC_RUNS)

        async def one_async(agent: Graph, task: Task) -> None:
            async with room:
                with suppress(GraphRecursionError):
                    await agent.ainvoke(*_call(task))
                advance()

        await asyncio.gather(*(one_async(agent, task) for agent, task in work))

    half = len(work) // 2
    with ThreadPoolExecutor(THREADS) as pool:
        try:
            futures = [pool.submit(one, agent, task) for agent, task in work[:half]]
            asyncio.run(rest(work[half:]))
            for future in futures:
                future.result()
        except BaseException:  # Ctrl-C, say: the tasks that did not begin yet never will
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _call(task: Task) -> tuple[Any, Any]:
    return {"messages": [("user", task.goal)]}, {"configurable": {"thread_id": task.task_id}}


class _Spent(ProgressColumn):
    """What models have cost so far, as it comes."""

    def __init__(self, budget: Budget) -> None:
        super().__init__()
        self.budget = budget

    def render(self, task: object) -> Text:
        """Give the words."""
        return Text(story.spending(self.budget.calls, self.budget.tokens, self.budget.usd))


def _bar(console: Console, budget: Budget) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        _Spent(budget),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
