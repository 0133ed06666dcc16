"""What relabeling costs: 300 failed runs through a relabeler and a judge behind HTTP that takes 300 ms a call.

A real ChatOpenAI, a local server in a process of its own, replies kept on disk, 256 trajectories at once. One run in
ten is refused at first, so that a second goal and a second verdict are asked for. CPU is that of this process alone.
Then many runs go the same way without HTTP, for a look at the memory of a fresh process; and at last a worker of the
command line is told to stop with 128 calls in flight, every other one of which never ends.

    python benchmarks/relabel.py --json relabel.json
    python benchmarks/relabel.py --many 20000
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a file too

from agenther_live.integrations.chat_model import chat_model
from agenther_live.live import Live
from agenther_live.relabel import ModelJudge, ModelRelabeler, Policy, RulesJudge, relabel
from agenther_live.relabel.models import ChatModel, ModelReply, ModelRequest
from agenther_live.replies import Replies
from agenther_live.settings import load_settings
from benchmarks.common import machine, save, show
from tests.openai_server import OpenAIServer, Reply, say
from tests.relabel.build import FAILED
from tests.relabel.world import TRUE_GOAL, asks_for, bought, good, proposal, record, verdict
from tests.test_panel_http import write_records

SECONDS = 0.3
OTHER_GOAL = "I need you to order 40 hex bolts delivered to Lyon from the supplier with the lowest total price."
SETTINGS = {"OUTCOME_SETTLE_SECONDS": 0, "CONCURRENCY": 128, "BATCH": 300}  # of the worker that is stopped
POLICY = Policy(marker_key=b"the key of this bench")
# The reference implementation, one run after the other, at 300 ms a call (facts of the project's design).
REFERENCE = {"trajectories/s": 0.77, "calls": 3.9, "prompt tokens": 4300}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """A good model that refuses the first goal of every tenth run."""
    kind = asks_for(request)
    if kind == "relabel":
        goal = OTHER_GOAL if "refused" in record(request) else TRUE_GOAL
        return proposal(request, goal=goal)
    if kind == "judge":
        shown = record(request)
        tenth = _number(shown) % 10 == 0
        return verdict(request, valid=not (tenth and shown["goal"] == TRUE_GOAL))
    return good(request)


def _number(shown: dict[str, Any]) -> int:
    text = json.dumps(shown["messages"])
    return int(text.partition("PO-run-")[2].partition("\\")[0].partition('"')[0])


def serve(pipe: Connection) -> None:
    """The server's process: gives its address, and what was asked when it is told to stop."""
    with OpenAIServer(lambda request: say(answer(request), delay_seconds=SECONDS)) as server:
        pipe.send(server.base_url)
        pipe.recv()
        pipe.send({"requests": len(server.bodies), "connections": server.connections, "most": server.max_in_flight})


async def all_of(numbers: range, model: ChatModel, at_once: int, replies: Replies) -> Counter[str]:
    told: Counter[str] = Counter()
    left = iter(numbers)

    async def worker() -> None:
        for number in left:
            done = await relabel(
                bought(trajectory_id=f"run-{number}"),
                FAILED,
                1,
                relabeler=ModelRelabeler(model),
                judges=[RulesJudge(), ModelJudge(model)],
                policy=POLICY,
            )
            told[done.reason] += 1
            if len(rows := replies.rows()) >= 1000:
                replies.confirm(rows)

    await asyncio.gather(*(worker() for _ in range(at_once)))
    return told


def over_http(n: int, at_once: int, folder: Path) -> dict[str, Any]:
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(there,))
    process.start()
    url = here.recv()
    replies = Replies(folder / "replies")
    model = replies.remembered(chat_model(f"openai:gpt-4o-mini,base_url={url}", settings=load_settings(home=folder)))
    asyncio.run(all_of(range(1, 6), model, 5, replies))  # imports, certificates, the first connection
    before = len(replies)
    tokens = replies.budget.tokens
    prompt_before = sum(row.prompt_tokens for row in replies.rows())
    began, cpu = time.perf_counter(), time.process_time()
    told = asyncio.run(all_of(range(1000, 1000 + n), model, at_once, replies))
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    here.send("stop")
    server = here.recv()
    process.join(10)
    calls = len(replies) - before
    prompts = sum(row.prompt_tokens for row in replies.rows()) - prompt_before
    accepted = max(1, told["accepted"])
    replies.close()
    return {
        "trajectories": n,
        "accepted": told["accepted"],
        "trajectories/s": n / wall,
        "CPU ms each": cpu / n * 1e3,
        "calls per accepted": calls / accepted,
        "prompt tokens per accepted": round(prompts / accepted),
        "share of the reference's": prompts / accepted / REFERENCE["prompt tokens"],
        "tokens of all calls": replies.budget.tokens - tokens,
        "most in flight": server["most"],
        "connections": server["connections"],
    }


class Direct:
    """The same model without HTTP, for the look at memory."""

    name = "direct:good"

    async def complete(self, request: ModelRequest) -> ModelReply:
        reply = answer({"messages": [dict(message) for message in request.messages]})
        return ModelReply(json.dumps(reply), "stop", self.name, 100, 100)


def resident() -> float:
    gc.collect()
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def memory(n: int, folder: Path) -> dict[str, Any]:
    replies = Replies(folder / "many", tokens_per_day=10**12)
    model = replies.remembered(Direct())
    parts = []
    cpu = time.process_time()
    for part in range(4):
        asyncio.run(all_of(range(part * n // 4, (part + 1) * n // 4), model, 64, replies))
        parts.append(resident())
    cpu = time.process_time() - cpu
    replies.close()
    return {
        "trajectories": n,
        **{f"MiB at {(i + 1) * 25} %": mib for i, mib in enumerate(parts)},
        "KiB each, last half": (parts[3] - parts[1]) * 1024 / (n / 2),
        "CPU ms each": cpu / n * 1e3,
    }


def stopping(number: signal.Signals, folder: Path) -> dict[str, Any]:
    """A worker that is told to stop: how long it takes, and which replies are on disk then."""
    folder.mkdir()
    turns = itertools.count()

    def slow(request: dict[str, Any]) -> Reply:
        return say(good(request), delay_seconds=0.4 if next(turns) % 2 else 600)

    with OpenAIServer(slow) as server:
        with Live(folder / "home") as live:
            live.import_transcripts(write_records(folder / "runs.jsonl", 300))
        code = "from agenther_live.cli import main; main()"
        model = f"openai:gpt-4o-mini,base_url={server.base_url}"
        worker = subprocess.Popen(
            [sys.executable, "-c", code, "worker", "--home", folder / "home", "--relabeler", model, "--judge", "rules"],
            env=os.environ | {f"AGENTHER_{name}": str(value) for name, value in SETTINGS.items()},
            stderr=subprocess.DEVNULL,
        )
        while server.in_flight < 100 and worker.poll() is None:
            time.sleep(0.005)
        flying, began = server.in_flight, time.perf_counter()
        worker.send_signal(number)
        ended = worker.wait(60)
        took = time.perf_counter() - began
        whole = [each for each in server.requests if each.reply and each.seconds and 0.4 <= each.seconds < 60]
        whole = [each for each in whole if each.reply and each.reply.delay_seconds < 1]
    kept = sum(len(path.read_bytes().splitlines()) for path in (folder / "home" / "replies").glob("*.jsonl"))
    told = {"signal": number.name, "exit code": ended, "calls in flight": flying, "seconds to the exit": took}
    return told | {"replies that came whole": len(whole), "replies on disk": kept}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="100 runs, and memory over 400")
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--many", type=int, default=3000, help="runs of the look at memory; 0 leaves it out")
    arguments = parser.parse_args()
    runs, many = (100, 400) if arguments.quick else (arguments.runs, arguments.many)
    print(machine())
    with tempfile.TemporaryDirectory() as name:
        speed = over_http(runs, arguments.concurrency, Path(name))
        title = f"relabeling by models over HTTP, {SECONDS * 1e3:.0f} ms a call, {arguments.concurrency} at once"
        show(title, [{"": "measured", **speed}])
        told = ", ".join(f"{name} {value:g}" for name, value in REFERENCE.items())
        print(f"The reference implementation, per trajectory, on runs of its own: {told}.")
        result: dict[str, Any] = {"speed": speed, "reference": REFERENCE}
        if many:
            # In a process of its own: the heap that the first part left behind would hide what grows.
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                result["memory"] = pool.apply(memory, (many, Path(name)))
            show("memory of the process over many", [{"": "measured", **result["memory"]}])
        result["stopping"] = [stopping(each, Path(name) / each.name) for each in (signal.SIGTERM, signal.SIGINT)]
        show(f"a worker that is told to stop, at a load of {os.getloadavg()[0]:.1f}", result["stopping"])
    save(arguments.json, result)


if __name__ == "__main__":
    main()
