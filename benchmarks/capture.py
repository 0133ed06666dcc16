"""What capture costs: CPU, bytes and memory of one agent run without a handler, with ours, and with its peers.

The run: create_agent, ten tool steps of one call each, observations of 1 KB. Each variant has a process of its own,
which does a run without any handler beside every run with one, in turns; a figure is the median over these pairs, and
behind it stands where that median would lie in 95 of 100 such benchmarks. The processes take turns too, so what else
the machine does meets all variants alike. Servers are one further process.

  inline   CPU of the run until `invoke` returned, without the threads that a handler keeps in the background
  total    CPU of the whole process until everything is handed over (peers: flushed; ours: written)
  bytes    journal bytes per run; for peers, bytes of the bodies that their server received
  memory   peak resident size above that before the first run; of the whole benchmark, not per run

The model answers at once, unless `--model-seconds` says otherwise: then a handler can work in the background while the
agent waits for it, as with real models.

    python benchmarks/capture.py --runs 40 --json capture.json
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import math
import multiprocessing
import os
import platform
import random
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langchain_core.tracers import LangChainTracer
from langchain_core.utils.function_calling import convert_to_openai_tool
from langsmith import Client
from rich.console import Console
from rich.table import Table

from agenther_live.integrations.langgraph import Capture, TrajectoryRecorder
from agenther_live.journal import Writer
from agenther_live.redact import Redactor
from agenther_live.settings import load_settings

STEPS = 10
WARM_UP = 5
GIVEN = {"messages": [("user", "find the cheapest supplier of M8 bolts with delivery within a week")]}
# What LangSmith's service says of itself, so that its client batches and compresses as it does there.
INFO = json.dumps(
    {
        "batch_ingest_config": {
            "use_multipart_endpoint": True,
            "size_limit": 100,
            "size_limit_bytes": 20 << 20,
            "scale_up_nthreads_limit": 16,
            "scale_up_qsize_trigger": 1000,
            "scale_down_nempty_trigger": 4,
        },
        "instance_flags": {"zstd_compression_enabled": True},
    }
)


@tool
def search(query: str) -> str:
    """Search the catalogue."""
    return (f"{query}: " + "supplier 17 offers M8 bolts at 0.11 each, minimum order 500, ships in 4 days; " * 13)[:1024]


class Policy(BaseChatModel):
    """Ten calls, then an answer."""

    model_name: str = "policy-1"
    seconds: float = 0.0

    @property
    def _llm_type(self) -> str:
        return "policy"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name}

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind(tools=[convert_to_openai_tool(item) for item in tools])

    def _generate(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        if self.seconds:
            time.sleep(self.seconds)
        step = sum(message.type == "ai" for message in messages)
        reply = AIMessage("supplier 17 is the cheapest")
        if step < STEPS:
            call = {
                "name": "search",
                "args": {"query": f"M8 bolts page {step}"},
                "id": f"call_{step}",
                "type": "tool_call",
            }
            reply = AIMessage("I look at the next page.", tool_calls=[call])
        return ChatResult(generations=[ChatGeneration(message=reply)])


# -- the variants --------------------------------------------------------------------------------------


class Variant:
    """A handler: `on` gives the callbacks of one run, `flush` hands over what is pending, `written` counts bytes."""

    def __init__(self, handlers: list[Any], flush: Callable[[], object], written: Callable[[], int]) -> None:
        self.handlers, self.flush, self.written = handlers, flush, written

    @contextmanager
    def on(self) -> Iterator[list[Any]]:
        yield self.handlers


class Nothing(BaseCallbackHandler):
    """Looks at nothing."""

    run_inline = True

    def on_chain_start(self, *args: Any, **kwargs: Any) -> None: ...
    def on_chain_end(self, *args: Any, **kwargs: Any) -> None: ...
    def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None: ...
    def on_llm_end(self, *args: Any, **kwargs: Any) -> None: ...
    def on_tool_start(self, *args: Any, **kwargs: Any) -> None: ...
    def on_tool_end(self, *args: Any, **kwargs: Any) -> None: ...


class Counting(Nothing):
    """Counts the events."""

    def __init__(self) -> None:
        self.events = 0

    def _one(self, *args: Any, **kwargs: Any) -> None:
        self.events += 1

    on_chain_start = on_chain_end = on_chat_model_start = on_llm_end = on_tool_start = on_tool_end = _one


class Keep:
    """No redaction."""

    def value(self, obj: Any) -> Any:
        return obj


def no_op(server: str, folder: Path) -> Variant:
    return Variant([Nothing()], lambda: None, lambda: 0)


def plain(server: str, folder: Path) -> Variant:
    return _ours(folder, Keep())


def redacting(server: str, folder: Path) -> Variant:
    return _ours(folder, Redactor("redact", b"k" * 32))


def _ours(folder: Path, redactor: Any) -> Variant:
    writer = Writer(folder / "journal")
    recorder = TrajectoryRecorder(Capture(writer, redactor, load_settings(home=folder)))
    # Nothing to flush: what a run did is written before `invoke` returns.
    return Variant(
        [recorder], lambda: None, lambda: sum(path.stat().st_size for path in (folder / "journal").iterdir())
    )


def langsmith(server: str, folder: Path) -> Variant:
    client = Client(api_url=server, api_key="k")
    return Variant([LangChainTracer(project_name="bench", client=client)], client.flush, lambda: _received(server))


def langfuse(server: str, folder: Path) -> Variant:
    from langfuse import Langfuse
    from langfuse.langchain import CallbackHandler

    client = Langfuse(public_key="pk-lf-bench", secret_key="sk-lf-bench", base_url=server)
    return Variant([CallbackHandler()], client.flush, lambda: _received(server))


def openinference(server: str, folder: Path) -> Variant:
    from openinference.instrumentation.langchain import LangChainInstrumentor
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{server}/v1/traces")))
    instrumentor = LangChainInstrumentor()

    class Instrumented(Variant):
        @contextmanager
        def on(self) -> Iterator[list[Any]]:
            instrumentor.instrument(tracer_provider=provider)
            try:
                yield []
            finally:
                instrumentor.uninstrument()

    return Instrumented([], provider.force_flush, lambda: _received(server))


VARIANTS: dict[str, Callable[[str, Path], Variant]] = {
    "no-op handler": no_op,
    "agenther-live": plain,
    "agenther-live, redacting": redacting,
    "LangSmith (LangChainTracer)": langsmith,
    "Langfuse (CallbackHandler)": langfuse,
    "OpenInference (OTLP over HTTP)": openinference,
}
PACKAGES = ("langgraph", "langchain-core", "langsmith", "langfuse", "openinference-instrumentation-langchain")


# -- the servers ---------------------------------------------------------------------------------------


def serve(pipe: Connection, count: int) -> None:
    """Run servers that take everything and answer `GET /bytes` with the size of the bodies so far."""

    class Server(ThreadingHTTPServer):
        received = 0

    class Take(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server: Server

        def _answer(self) -> None:
            self.server.received += len(self._body())
            protobuf = "protobuf" in (self.headers.get("content-type") or "")
            answer = {"/bytes": str(self.server.received), "/info": INFO}.get(self.path, "" if protobuf else "{}")
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf" if protobuf else "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer.encode())

        do_GET = do_POST = do_PATCH = _answer

        def _body(self) -> bytes:
            if self.headers.get("transfer-encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("content-length") or 0))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def log_message(self, *args: Any) -> None: ...

    servers = [Server(("127.0.0.1", 0), Take) for _ in range(count)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    pipe.send([f"http://127.0.0.1:{server.server_port}" for server in servers])
    pipe.recv()  # until the benchmark is over


def _received(server: str) -> int:
    with urllib.request.urlopen(f"{server}/bytes", timeout=10) as reply:
        return int(reply.read())


# -- measuring -----------------------------------------------------------------------------------------


def work(pipe: Connection, name: str, server: str, folder: str, asynchronous: bool, seconds: float) -> None:
    """Measure pairs of runs, one per message from the parent; the result of a None is bytes and memory."""
    logging.getLogger("opentelemetry").setLevel(logging.ERROR)
    agent: Any = create_agent(Policy(seconds=seconds), [search], system_prompt="You buy parts.")
    try:
        variant = VARIANTS[name](server, Path(folder))
    except ImportError as error:
        pipe.send(f"{error.name} is not installed: pip install 'agenther-live[bench]'")
        return
    pipe.send(None)

    def invoke(handlers: list[Any]) -> None:
        if asynchronous:
            asyncio.run(agent.ainvoke(GIVEN, {"callbacks": handlers}))
        else:
            agent.invoke(GIVEN, {"callbacks": handlers})

    def bare() -> tuple[float, float]:
        return _timed(lambda: invoke([]), lambda: None)

    def handled() -> tuple[float, float]:
        with variant.on() as handlers:
            return _timed(lambda: invoke(handlers), variant.flush)

    for _ in range(WARM_UP):
        bare()
    memory, before = _resident("VmRSS"), 0
    for _ in range(WARM_UP):
        handled()
    before, count = variant.written(), 0
    gc.collect()
    gc.freeze()  # or the collection before each run costs more than the run
    while (bare_first := pipe.recv()) is not None:
        first, second = (bare(), handled()) if bare_first else (handled(), bare())
        pipe.send((first, second) if bare_first else (second, first))
        count += 1
    pipe.send(((variant.written() - before) // max(count, 1), _resident("VmHWM") - memory))


def _timed(run: Callable[[], None], flush: Callable[[], object]) -> tuple[float, float]:
    """Give the CPU seconds of a run: inline, and total."""
    gc.collect()
    start, behind = time.process_time(), _background()
    run()
    spent, behind = time.process_time() - start, _background() - behind
    flush()
    return spent - behind, time.process_time() - start


def _background() -> float:
    """Sum the CPU of the threads that outlive a run; LangGraph's own do not."""
    others = [thread.ident for thread in threading.enumerate() if thread is not threading.main_thread()]
    return sum(time.clock_gettime(time.pthread_getcpuclockid(ident)) for ident in others if ident is not None)


def _resident(key: str) -> int:
    """Read a size from the kernel's account of this process; bytes, 0 where there is none."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{key}:"))


def measure(runs: int, names: list[str], *, asynchronous: bool, seconds: float) -> list[dict[str, Any]]:
    """Run every variant `runs` times, in turns, each against its own process's runs without a handler."""
    context = multiprocessing.get_context("spawn")
    os.environ["PYTHONHASHSEED"] = "0"  # equal dict and set layouts in all processes
    with tempfile.TemporaryDirectory() as folder:
        control, far = context.Pipe()
        servers = context.Process(target=serve, args=(far, len(names)), daemon=True)
        servers.start()
        urls = control.recv()
        pipes: dict[str, Connection] = {}
        processes = []
        missing: dict[str, str] = {}
        for name, url in zip(names, urls, strict=True):
            pipe, far = context.Pipe()
            place = Path(folder, str(len(processes)))
            place.mkdir()
            process = context.Process(
                target=work, args=(far, name, url, str(place), asynchronous, seconds), daemon=True
            )
            process.start()
            processes.append(process)
            if (trouble := pipe.recv()) is None:
                pipes[name] = pipe
            else:
                missing[name] = trouble
        pairs: dict[str, list[Any]] = {name: [] for name in pipes}
        for number in range(runs):
            for name, pipe in pipes.items():
                pipe.send(number % 2 == 0)
                pairs[name].append(pipe.recv())
        bare = [pair[0] for found in pairs.values() for pair in found]
        mode = "async" if asynchronous else "sync"
        rows: list[dict[str, Any]] = [
            {
                "mode": mode,
                "handler": "no handler",
                "inline ms": round(statistics.median(inline for inline, _ in bare) * 1e3, 2),
                "added inline ms": 0.0,
                "total ms": round(statistics.median(total for _, total in bare) * 1e3, 2),
                "total ×": 1.0,
                "bytes/run": 0,
                "memory MiB": 0.0,
                "added": [],
                "times": [],
            }
        ]
        for name, pipe in pipes.items():
            pipe.send(None)
            written, memory = pipe.recv()
            found = pairs[name]
            added = [(with_it[0] - without[0]) * 1e3 for without, with_it in found]
            times = [with_it[1] / without[1] for without, with_it in found]
            rows.append(
                {
                    "mode": mode,
                    "handler": name,
                    "inline ms": round(statistics.median(with_it[0] for _, with_it in found) * 1e3, 2),
                    "added inline ms": round(statistics.median(added), 2),
                    "total ms": round(statistics.median(with_it[1] for _, with_it in found) * 1e3, 2),
                    "total ×": round(statistics.median(times), 3),
                    "bytes/run": written,
                    "memory MiB": round(memory / (1 << 20), 1),
                    "added": added,
                    "times": times,
                }
            )
        control.send(None)
        for process in [*processes, servers]:
            process.join(10)
        for name, trouble in missing.items():
            print(f"left out: {name}: {trouble}")
        return rows


def interval(samples: list[float]) -> tuple[float, float]:
    """Give where the median lies with 95 % probability, by the ranks of the samples (binomial)."""
    ordered, half = sorted(samples), 0.98 * math.sqrt(len(samples))
    low, high = int(len(ordered) / 2 - half), math.ceil(len(ordered) / 2 + half)
    return ordered[max(low, 0)], ordered[min(high, len(ordered) - 1)]


def ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Set our added inline CPU against that of the peers: how many times as much they add, and its interval (95 %).

    The interval is that of 2,000 draws with replacement from the pairs of both.
    """
    found, chance = [], random.Random(0)
    for mode in dict.fromkeys(row["mode"] for row in rows):
        added = {row["handler"]: row["added"] for row in rows if row["mode"] == mode and row["added"]}
        for mine in ("agenther-live", "agenther-live, redacting"):
            for peer, theirs in added.items():
                if not peer.endswith(")") or mine not in added:
                    continue
                ours = added[mine]
                drawn = sorted(
                    statistics.median(chance.choices(theirs, k=len(theirs)))
                    / max(statistics.median(chance.choices(ours, k=len(ours))), 1e-6)
                    for _ in range(2000)
                )
                times = statistics.median(theirs) / max(statistics.median(ours), 1e-6)
                found.append(
                    {
                        "mode": mode,
                        "ours": mine,
                        "peer": peer,
                        "times": round(times, 1),
                        "interval": [round(drawn[50], 1), round(drawn[-51], 1)],
                    }
                )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=40, help="pairs of runs per handler and mode")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--model-seconds", type=float, default=0.0, help="how long the model takes for an answer")
    parser.add_argument("--only", action="append", choices=list(VARIANTS), help="this handler alone (repeatable)")
    arguments = parser.parse_args()
    counting = Counting()
    agent: Any = create_agent(Policy(), [search], system_prompt="You buy parts.")
    agent.invoke(GIVEN, {"callbacks": [counting]})
    names = arguments.only or list(VARIANTS)
    load = os.getloadavg()[0]
    rows = [
        row
        for mode in (False, True)
        for row in measure(arguments.runs, names, asynchronous=mode, seconds=arguments.model_seconds)
    ]
    compared = ratios(rows)
    console = Console(width=130)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    table = Table(
        title=f"capture: {STEPS} tool steps, {counting.events} events, {arguments.runs} pairs of runs, medians, model "
        f"{arguments.model_seconds:g} s\n{machine}, {datetime.now(UTC):%Y-%m-%d}, "
        f"load {load:.1f} before, {os.getloadavg()[0]:.1f} after"
    )
    for column in (shown := [name for name in rows[0] if name not in ("added", "times")]):
        table.add_column(column, justify="left" if column in ("mode", "handler") else "right")
    for row in rows:
        cells = {name: str(row[name]) for name in shown}
        if row["added"]:
            cells["added inline ms"] += " [{:.1f}, {:.1f}]".format(*interval(row["added"]))
            cells["total ×"] += " [{:.2f}, {:.2f}]".format(*interval(row["times"]))
        table.add_row(*cells.values(), end_section=row is rows[len(rows) // 2 - 1])
    console.print(table)
    for ratio in compared:
        times = f"{ratio['times']} [{ratio['interval'][0]}, {ratio['interval'][1]}]"
        console.print(f"{ratio['mode']}: {ratio['peer']} adds {times} × the inline CPU of {ratio['ours']}")
    if arguments.json:
        about = {"machine": machine, "at": datetime.now(UTC).isoformat(), "runs": arguments.runs}
        versions = {name: found for name in PACKAGES if (found := _version(name))}
        found = {**about, "events": counting.events, "versions": versions, "rows": rows, "ratios": compared}
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except ModuleNotFoundError:
        return None


if __name__ == "__main__":
    main()
