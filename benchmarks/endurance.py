"""What one handler does over many runs, and how long the end of a run blocks where other threads burn CPU.

growth    objects and memory after the last run against those after the first tenth, per run and in all; one
          one-node graph, one handler, journal on
blocking  milliseconds that `invoke` spends in our handling of a root run's end (encode, write(2)), for a run of ten
          tool steps, beside 0, 1, 4 and 16 threads that never let go of the interpreter by themselves

  python benchmarks/endurance.py --runs 10000 --json endurance.json
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a file too

from langchain.agents import create_agent
from langgraph.graph import START, MessagesState, StateGraph
from rich.console import Console
from rich.table import Table

from agenther_live.integrations.langgraph import Capture, TrajectoryRecorder, attach
from agenther_live.journal import Writer
from agenther_live.redact import Redactor
from agenther_live.settings import load_settings
from benchmarks.capture import GIVEN, Policy, search

BURNING = (0, 1, 4, 16)


def recorder(folder: Path) -> TrajectoryRecorder:
    writer = Writer(folder / "journal")
    return TrajectoryRecorder(Capture(writer, Redactor("redact", b"k" * 32), load_settings(home=folder)))


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def growth(runs: int, folder: Path) -> dict[str, Any]:
    builder = StateGraph(MessagesState)
    builder.add_node("talk", lambda state: {"messages": [("assistant", "hi")]})
    builder.add_edge(START, "talk")
    graph: Any = attach(builder.compile(), recorder(folder))

    def many(count: int) -> tuple[int, int]:
        for _ in range(count):
            graph.invoke({"messages": [("user", "go")]})
        gc.collect()
        return len(gc.get_objects()), resident()

    objects, memory = many(runs // 10)
    more, after = many(runs - runs // 10)
    return {
        "runs": runs,
        "objects": more - objects,
        "objects per run": round((more - objects) / (runs - runs // 10), 4),
        "memory KiB": (after - memory) >> 10,
    }


def blocking(runs: int, burning: int, folder: Path) -> dict[str, Any]:
    handler = recorder(folder)
    spent: list[float] = []
    end = handler.capture.end

    def timed(*args: Any) -> None:
        started = time.perf_counter()
        end(*args)
        spent.append((time.perf_counter() - started) * 1e3)

    handler.capture.end = timed  # type: ignore[method-assign]
    agent: Any = create_agent(Policy(), [search], system_prompt="You buy parts.")
    over = threading.Event()

    def burn() -> None:
        while not over.is_set():
            sum(range(1000))

    threads = [threading.Thread(target=burn, daemon=True) for _ in range(burning)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(runs):
            agent.invoke(GIVEN, {"callbacks": [handler]})
    finally:
        over.set()
        for thread in threads:
            thread.join()
    spent.sort()
    return {
        "burning threads": burning,
        "median ms": round(statistics.median(spent), 2),
        "p95 ms": round(spent[int(len(spent) * 0.95)], 2),
        "longest ms": round(spent[-1], 2),
    }


def shown(title: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(title=title)
    for column in rows[0]:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*(f"{value:,}" for value in row.values()))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=10_000, help="runs of the one-node graph")
    parser.add_argument("--ends", type=int, default=40, help="runs whose end is timed, for each number of threads")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    about = f"{machine}, {datetime.now(UTC):%Y-%m-%d}, load {os.getloadavg()[0]:.1f}"
    with tempfile.TemporaryDirectory() as folder:
        ends = [blocking(arguments.ends, burning, Path(folder, str(burning))) for burning in BURNING]
        grown = growth(arguments.runs, Path(folder, "growth"))
    console = Console(width=100)
    console.print(shown(f"end of a run of ten tool steps, {arguments.ends} runs each\n{about}", ends))
    console.print(shown(f"growth, one handler\n{about}", [grown]))
    if arguments.json:
        found = {"machine": machine, "at": datetime.now(UTC).isoformat(), "growth": grown, "blocking": ends}
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
