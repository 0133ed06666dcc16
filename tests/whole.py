"""What the tests of the composed whole share: real agents at work, the command line in this process, and answers
that a good model would give.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any
from unittest.mock import patch

from langgraph.graph import MessagesState, StateGraph

from agenther_live import Live, cli
from agenther_live.demo.agents import Graph, build_agents
from agenther_live.demo.catalogue import Offer
from agenther_live.demo.goals import Requirements, describe, read_goal
from agenther_live.demo.run import outcome_of, run_all
from agenther_live.demo.tasks import Task, make_tasks
from agenther_live.demo.truth import goal_is_true
from agenther_live.demo.world import World
from tests.relabel.world import asks_for, marker_of, record

AGENTHER = Path(sys.executable).with_name("agenther-live")
TEMPLATE = {"relabeler": "template", "judges": ["rules"], "held_out": 0.0, "outcome_settle_seconds": 0.0}


def answering(act: Callable[[dict[str, Any]], Any] | None = None, *, name: str | None = None) -> Any:
    """The smallest real agent: it says `done`, and `act` sees its state on the way."""

    def work(state: dict[str, Any]) -> dict[str, Any]:
        if act is not None:
            act(state)
        return {"messages": [("assistant", "done")]}

    builder = StateGraph(MessagesState)
    builder.add_node("work", work)
    builder.set_entry_point("work")
    return builder.compile(name=name)


def say(agent: Any, text: str = "do it", thread: str | None = None, **config: Any) -> Any:
    if thread is not None:
        config["configurable"] = {"thread_id": thread}
    return agent.invoke({"messages": [("user", text)]}, config)


@dataclass(frozen=True)
class Shop:
    """The demo's world with its agents and tasks, none of them attached yet."""

    world: World
    agents: list[Graph]
    tasks: list[Task]

    @property
    def judge(self) -> Callable[..., Any]:
        """The evaluator of the world; its name is `procurement`."""
        return outcome_of(self.world, self.tasks)

    def work(self, live: Live, tasks: Sequence[Task] | None = None) -> None:
        run_all([live.attach(agent) for agent in self.agents], tasks or self.tasks, lambda: None)


def shop(n: int, *, seed: int = 0) -> Shop:
    world = World(seed=seed)
    return Shop(world, list(build_agents(world, seed=seed).values()), make_tasks(n, seed=seed))


def failed_orders(n: int, *, seed: int = 0) -> Shop:
    """A shop whose tasks all end in one order that broke a limit: what can be relabeled."""
    world = World(seed=seed)
    return Shop(world, list(build_agents(world, seed=seed).values()), _failed_orders(seed)[:n])


@cache
def _failed_orders(seed: int) -> list[Task]:
    full = shop(60, seed=seed)
    tasks = [task for task in full.tasks if not task.satisfiable]
    run_all(full.agents, tasks, lambda: None)
    return [task for task in tasks if len(full.world.orders(task.task_id)) == 1]


# --- what a good model answers about a demo's run ---------------------------------------------------------------------


def good_reply(request: dict[str, Any]) -> dict[str, Any]:
    """A true goal of the run where there was one order, else an honest `no`; and a judge who looks."""
    return _verdict(request) if asks_for(request) == "judge" else _proposal(request)


def _proposal(request: dict[str, Any]) -> dict[str, Any]:
    shown = record(request)
    results = [message for message in shown["messages"] if message["role"] == "result"]
    orders = [message for message in results if '"order_id"' in message["text"] and "confirmed" in message["text"]]
    wish = read_goal(shown["failed_goal"])
    reply = {
        "marker": marker_of(request),
        "achievements": [],
        "missed": [],
        "goal": "",
        "requirements": [],
        "last_message": -1,
        "final_answer": "",
        "valid": False,
        "confidence": 0.9,
        "rationale": "there is no single order",
    }
    if len(orders) != 1 or wish is None:
        return reply
    row = json.loads(orders[0]["text"])
    at = [orders[0]["i"]]
    goal = Requirements(
        action="order", item=row["item"], quantity=row["quantity"], city=row["city"], max_total=_above(row["total"])
    )
    return reply | {
        "achievements": [{"text": "an order was placed", "messages": at}],
        "goal": f"Please order {describe(goal)}.",
        "requirements": [{"text": describe(goal), "messages": at}],
        "last_message": at[0],
        "final_answer": "I ordered {quantity} {item}s from {supplier} for {total:.2f} EUR.".format(**row),
        "valid": True,
        "rationale": "the order was confirmed",
    }


def _above(total: float) -> float:
    step = 10 if total < 1000 else 50
    return float((int(total) // step + 1) * step)


def _verdict(request: dict[str, Any]) -> dict[str, Any]:
    shown = record(request)
    wish = read_goal(shown["goal"])
    results = [message["text"] for message in shown["messages"] if message["role"] == "result"]
    placed = [Offer.from_row(json.loads(text)) for text in results if '"order_id"' in text]
    met = wish is not None and goal_is_true(wish, placed, results)
    return {
        "marker": marker_of(request),
        "requirements": [{"text": shown["goal"], "met": met, "messages": []}],
        "better_options": [],
        **dict.fromkeys("tscwld", met),
        "valid": met,
        "confidence": 0.85,
        "reason": "looked at the order",
    }


# --- the command line -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self
        return json.loads(self.out)


def run_cli(*arguments: object, **environment: str) -> Done:
    """`agenther-live …` in this process: the real `main`, without the seconds that an interpreter takes to start."""
    logger = logging.getLogger("agenther_live")
    before = (logger.handlers[:], logger.level)
    hooks = (sys.excepthook, threading.excepthook, warnings.showwarning, logging.lastResort)
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        patch.dict(os.environ, {"COLUMNS": "200", **environment}),
        patch.object(sys, "argv", ["agenther-live", *map(str, arguments)]),
        patch.object(sys, "path", [*sys.path]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else int(left.code is not None)
    logger.handlers[:], logger.level = before
    sys.excepthook, threading.excepthook, warnings.showwarning, logging.lastResort = hooks
    return Done(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def process(*arguments: object, told: IO[str] | None = None, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """`agenther-live …` as a process of its own, gone at the end of the block; `told` takes its stderr."""
    child = subprocess.Popen(
        [str(AGENTHER), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=told or subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.communicate()


def until(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    """Wait for something that another process or thread does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def plain(text: str) -> str:
    """Without the frames and line ends that a terminal needs."""
    return re.sub(r"[\s│╭╮╰╯─]+", " ", text)


def outcomes(live: Live) -> dict[str | None, tuple[str, str | None]]:
    """By thread: outcome, and who said so."""
    rows = live.buffer.sql("select thread_id, outcome, outcome_source from trajectories").fetchall()
    return {thread: (outcome, source) for thread, outcome, source in rows}
