"""One handler for long and for many at once: nothing is mixed up, and nothing is kept."""

import asyncio
import gc
import os
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph

from tests import forking
from tests.capture.kit import Recording, Scripted, acts, ask, by_turn, roles, say, user


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _many_runs(folder: Path, runs: int) -> None:
    recording = Recording(folder)
    builder = StateGraph(MessagesState)
    builder.add_node("talk", lambda s: {"messages": [say("hi")]})
    builder.add_edge(START, "talk")
    graph, given = recording.attach(builder.compile()), user("go")

    def many(count: int) -> tuple[Counter[str], int]:
        for _ in range(count):
            graph.invoke(given)
        gc.collect()
        return Counter(type(found).__name__ for found in gc.get_objects()), resident()

    many(runs // 6)
    before, memory = many(runs // 6)
    after, more = many(runs * 2 // 3)
    grown = after - before
    assert sum(grown.values()) < runs // 10, grown.most_common(5)  # not one object a run, of whatever type
    assert more - memory < 4 << 20
    assert not recording.capture.late
    recording.clean()


@pytest.mark.parametrize("runs", [1200, pytest.param(10_000, marks=[pytest.mark.faults, pytest.mark.timeout(600)])])
def test_nothing_grows_with_the_number_of_runs(tmp_path: Path, runs: int):
    """In a process of its own: what other tests left behind moves, too."""
    assert forking.run(_many_runs, tmp_path, runs, seconds=500) == 0


def meeting(recording: Recording, tools: list[Any]) -> Any:
    """An agent that adds, then meets all others, so that all runs are open at once."""
    lines = (ask(("add", {"a": 1, "b": 2}), ("meet", {})), say("done"))
    return recording.attach(create_agent(Scripted(script=by_turn(*lines)), tools))


def check(recording: Recording, count: int) -> None:
    found = recording.trajectories()
    recording.clean()
    assert {t.goal for t in found} == {f"g{i}" for i in range(count)}
    assert len(found) == count
    for t in found:
        assert acts(t) == [[("add", "3", False), ("meet", "met", False)], []]
        assert (roles(t), t.status, t.final_answer) == ("uatta", "finished", "done")


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def test_64_threads_at_once(recording: Recording):
    gate = threading.Barrier(64, timeout=60)

    @tool
    def meet() -> str:
        """Wait for the others."""
        gate.wait()
        return "met"

    graph = meeting(recording, [add, meet])
    with ThreadPoolExecutor(64) as pool:
        list(pool.map(lambda i: graph.invoke(user(f"g{i}")), range(64)))
    check(recording, 64)


def test_200_async_runs_at_once(recording: Recording):
    async def run() -> None:
        gate = asyncio.Barrier(200)

        @tool
        async def meet() -> str:
            """Wait for the others."""
            await gate.wait()
            return "met"

        graph = meeting(recording, [add, meet])
        await asyncio.gather(*(graph.ainvoke(user(f"g{i}")) for i in range(200)))

    asyncio.run(run())
    check(recording, 200)
