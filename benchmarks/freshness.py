"""How fresh a trainer's rows are: from the end of a failed run to its sample being readable, with everything running.

Four processes at once: agents (a LangGraph graph of five tool calls, so many failed runs a second, each said to have
failed by a person right after it), the worker (relabeler, the rules and a judge over HTTP), a server that answers each
LLM call after 300 ms, and a trainer that follows the shards. Times are the clock's, all on one machine. A shard is
closed 5 s after its oldest sample (`shard_seconds`; the default of 60 would add as much).

    python benchmarks/freshness.py --json freshness.json
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a file too

from benchmarks.common import machine, save, show

SECONDS = 0.3
RATES = {1: 30, 10: 30, 30: 20}
"""Failed runs a second: for so many seconds."""
PATIENCE_SECONDS = 90.0
"""So long the trainer waits for a row before what is missing is given up."""
PRICES = {"Acme": 4.20, "Bolt & Co": 3.10, "Corvo": 5.00}
WORKER: dict[str, Any] = {
    "pii": "keep",
    "formats": ("trl_sft",),
    "shard_seconds": 5.0,
    "held_out": 0.0,
    "concurrency": 256,
    "batch": 400,
    "spend_per_day_usd": 1e9,
    "tokens_per_day": 10**12,
}


# --- the agents -------------------------------------------------------------------------------------------------------


def build_agent() -> Any:
    """An agent that compares three offers and orders above the budget: its policy is a script."""
    from langchain.agents import create_agent
    from langchain_core.language_models.chat_models import BaseChatModel
    from langchain_core.messages import AIMessage, BaseMessage
    from langchain_core.outputs import ChatGeneration, ChatResult
    from langchain_core.tools import tool

    def quote(supplier: str, quantity: int) -> dict[str, Any]:
        total = round(PRICES[supplier] * quantity, 2)
        asked = {"supplier": supplier, "item": "hex bolt", "quantity": quantity, "city": "Lyon"}
        return {**asked, "total": total, "currency": "EUR"}

    @tool
    def list_suppliers(item: str) -> str:
        """List the suppliers of an item."""
        return json.dumps({"suppliers": [{"supplier": name} for name in PRICES]})

    @tool
    def get_quote(supplier: str, item: str, quantity: int, city: str) -> str:
        """Ask a supplier for its price."""
        return json.dumps(quote(supplier, quantity))

    @tool
    def place_order(supplier: str, item: str, quantity: int, city: str) -> str:
        """Place a binding order."""
        return json.dumps({"order_id": f"PO-{quantity}", "status": "confirmed", **quote(supplier, quantity)})

    class Scripted(BaseChatModel):
        @property
        def _llm_type(self) -> str:
            return "scripted"

        def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
            return self

        def _generate(
            self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
        ) -> Any:
            asked = next(str(message.content) for message in messages if message.type == "human")
            quantity = int(asked.split()[2])
            given = {"item": "hex bolt", "quantity": quantity, "city": "Lyon"}
            turn = sum(message.type == "ai" for message in messages)
            calls = [("list_suppliers", {"item": "hex bolt"})]
            calls += [("get_quote", {"supplier": name, **given}) for name in PRICES]
            calls += [("place_order", {"supplier": "Bolt & Co", **given})]
            if turn < len(calls):
                name, arguments = calls[turn]
                made = AIMessage("", tool_calls=[{"name": name, "args": arguments, "id": f"call_{turn}"}])
            else:
                made = AIMessage(
                    f"I ordered {quantity} hex bolts from Bolt & Co for {PRICES['Bolt & Co'] * quantity:.2f} EUR."
                )
            return ChatResult(generations=[ChatGeneration(message=made)])

    return create_agent(
        Scripted(), [list_suppliers, get_quote, place_order], system_prompt="You buy things. Orders are allowed."
    )


def act(home: Path, rate: int, seconds: int, pipe: Connection) -> None:
    """Run agents at this rate; gives when each run ended (trajectory id → epoch seconds)."""
    from agenther_live import Live

    live = Live(home, **WORKER)
    agent = live.attach(build_agent(), name="buyer")
    ended: dict[str, float] = {}

    def run(number: int) -> None:
        goal = f"Please order {1000 + number} hex bolts for Lyon, for at most {1000 + number} EUR in total."
        with live.trajectory() as trajectory:
            agent.invoke({"messages": [("user", goal)]})
        ended[trajectory.trajectory_id] = time.time()
        trajectory.failure("it was above the budget")

    run(-1)  # imports and first compilations; not counted
    ended.clear()
    pipe.send("ready")
    pipe.recv()
    began = time.monotonic()
    cpu = time.process_time()
    with ThreadPoolExecutor(8) as pool:
        for number in range(rate * seconds):
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
            pool.submit(run, number)
    wall = time.monotonic() - began
    live.close()
    pipe.send({"ended": ended, "wall": wall, "cpu": time.process_time() - cpu})


# --- the other processes ----------------------------------------------------------------------------------------------


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """What a good model says about such a run."""
    from tests.relabel.world import TRUE_GOAL, asks_for, good, proposal, record

    if asks_for(request) != "relabel":
        return good(request)
    shown = json.dumps(record(request)["messages"])
    quantity = int(shown.partition("PO-")[2].partition("\\")[0].partition('"')[0])
    total = f"{PRICES['Bolt & Co'] * quantity:.2f}"
    return proposal(
        request,
        goal=TRUE_GOAL.replace("40", str(quantity)),
        requirements=[
            {"text": f"{quantity} hex bolts are ordered for Lyon", "messages": _results(request)[-1:]},
            {"text": "no quote is lower", "messages": _results(request)[1:4]},
        ],
        final_answer=f"I ordered {quantity} hex bolts from Bolt & Co for {total} EUR.",
    )


def _results(request: dict[str, Any]) -> list[int]:
    from tests.relabel.world import record

    return [message["i"] for message in record(request)["messages"] if message["role"] == "result"]


def serve(pipe: Connection) -> None:
    """The server: gives its address, and how many calls it answered when it is told to stop."""
    from tests.openai_server import OpenAIServer, say

    with OpenAIServer(lambda request: say(answer(request), delay_seconds=SECONDS)) as server:
        pipe.send(server.base_url)
        pipe.recv()
        pipe.send({"calls": len(server.bodies), "most in flight": server.max_in_flight})


def work(home: Path, url: str, pipe: Connection) -> None:
    """The worker, until SIGTERM."""
    from agenther_live import Live

    os.environ["OPENAI_API_KEY"] = "test-key"
    live = Live(
        home,
        relabeler=f"openai:gpt-4o-mini,base_url={url}",
        judges=["rules", f"openai:gpt-4o,base_url={url}"],
        **WORKER,
    )
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=live.request_stop).start())
    live.buffer.create()
    pipe.send("ready")
    live.work()
    pipe.send({"cpu": time.process_time(), "funnel": live.status()})


def train(home: Path, pipe: Connection) -> None:
    """The trainer: gives when each row could be read (trajectory id → epoch seconds)."""
    from agenther_live import Live

    stream = Live(home, **WORKER).stream("trl_sft", consumer="trainer", follow=True, poll_seconds=0.2)
    read: dict[str, float] = {}
    rows = threading.Thread(
        target=lambda: [
            read.setdefault(found.row["trajectory_id"], time.time()) for found in stream.rows() if not found.repeated
        ]
    )
    rows.start()
    pipe.send("ready")
    while (asked := pipe.recv()) != "stop":
        pipe.send(len(read) if asked == "count" else None)
    stream.request_stop()
    rows.join()
    pipe.send(read)


# --- one rate ---------------------------------------------------------------------------------------------------------


def measure(rate: int, seconds: int, home: Path) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")

    def start(target: Any, *arguments: Any) -> tuple[Any, Connection]:
        here, there = context.Pipe()
        process = context.Process(target=target, args=(*arguments, there))
        process.start()
        return process, here

    server, served = start(serve)
    url = served.recv()
    worker, worked = start(work, home, url)
    worked.recv()
    trainer, trained = start(train, home)
    trained.recv()
    agents, acted = start(act, home, rate, seconds)
    acted.recv()
    time.sleep(3)  # the run that does not count goes through
    acted.send("go")
    runs = acted.recv()
    agents.join()
    until = time.monotonic() + PATIENCE_SECONDS
    count = -1
    while count < len(runs["ended"]) + 1 and time.monotonic() < until:
        time.sleep(1)
        trained.send("count")
        count = trained.recv()
    trained.send("stop")
    read = trained.recv()
    trainer.join()
    worker.terminate()
    told = worked.recv()
    worker.join()
    served.send("stop")
    answered = served.recv()
    server.join()
    ages = sorted(read[one] - ended for one, ended in runs["ended"].items() if one in read)
    return {
        "failed runs/s wanted": rate,
        "had": round(len(runs["ended"]) / runs["wall"], 1),
        "runs": len(runs["ended"]),
        "readable": len(ages),
        "p50 s": quantile(ages, 0.5),
        "p95 s": quantile(ages, 0.95),
        "worst s": ages[-1] if ages else float("nan"),
        "LLM calls": answered["calls"],
        "agents' CPU ms/run": runs["cpu"] / max(1, len(runs["ended"])) * 1e3,
        "worker's CPU s": told["cpu"],
        "load": os.getloadavg()[0],
    }


def quantile(ages: Sequence[float], share: float) -> float:
    if len(ages) < 2:
        return ages[0] if ages else float("nan")
    return statistics.quantiles(ages, n=100, method="inclusive")[round(share * 100) - 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rates", type=int, nargs="*", default=list(RATES), help="failed runs a second")
    parser.add_argument("--seconds", type=int, help="how long each rate is held; default 20 to 30")
    arguments = parser.parse_args()
    print(machine())
    print(f"load of the machine before: {os.getloadavg()[0]:.1f}")
    rows = []
    for rate in arguments.rates:
        with tempfile.TemporaryDirectory() as name:
            rows.append(measure(rate, arguments.seconds or RATES.get(rate, 20), Path(name) / "home"))
        show(f"from the end of a failed run to its row, {SECONDS * 1e3:.0f} ms an LLM call", rows[-1:])
    save(arguments.json, {"freshness": rows})


if __name__ == "__main__":
    main()
