"""What capture costs: CPU and bytes of one agent run with no handler, a no-op handler, ours, and LangSmith's.

The run: create_agent, ten tool steps of one call each, observations of 1 KB (86 events). Variants are interleaved,
so that what else the machine does meets all of them alike. CPU is that of the whole process, background threads
included, until everything is written.

    python benchmarks/capture.py --runs 40 --json capture.json
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
GIVEN = {"messages": [("user", "find the cheapest supplier of M8 bolts with delivery within a week")]}


@tool
def search(query: str) -> str:
    """Search the catalogue."""
    return (f"{query}: " + "supplier 17 offers M8 bolts at 0.11 each, minimum order 500, ships in 4 days; " * 13)[:1024]


class Policy(BaseChatModel):
    """Ten calls, then an answer."""

    @property
    def _llm_type(self) -> str:
        return "policy"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind(tools=[convert_to_openai_tool(item) for item in tools])

    def _generate(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
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


@contextmanager
def ours(folder: Path, redactor: Any) -> Iterator[tuple[Any, Callable[[], int]]]:
    writer = Writer(folder / "journal")
    capture = Capture(writer, redactor, load_settings(home=folder))

    def flush() -> int:
        return sum(path.stat().st_size for path in (folder / "journal").iterdir())

    yield TrajectoryRecorder(capture), flush
    writer.close()


class Keep:
    """No redaction."""

    def value(self, obj: Any) -> Any:
        return obj


@contextmanager
def langsmith() -> Iterator[tuple[Any, Callable[[], int]]]:
    """LangSmith's tracer, its client at a server on loopback that takes everything."""
    received = [0]

    class Take(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _take(self) -> None:
            received[0] += len(self.rfile.read(int(self.headers.get("content-length") or 0)))
            body = b"{}"
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PATCH = _take

        def log_message(self, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Take)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    client = Client(api_url=f"http://127.0.0.1:{server.server_port}", api_key="k", info={"version": "0"})
    tracer = LangChainTracer(project_name="bench", client=client)

    def flush() -> int:
        client.flush()
        return received[0]

    yield tracer, flush
    client.close()
    server.shutdown()


def measure(runs: int, *, asynchronous: bool) -> list[dict[str, Any]]:
    """Run every variant `runs` times, interleaved."""
    agent: Any = create_agent(Policy(), [search], system_prompt="You buy parts.")
    counting = Counting()
    agent.invoke(GIVEN, {"callbacks": [counting]})
    with (
        tempfile.TemporaryDirectory() as one,
        tempfile.TemporaryDirectory() as two,
        ours(Path(one), Keep()) as plain,
        ours(Path(two), Redactor("redact", b"k" * 32)) as redacted,
        langsmith() as traced,
    ):
        variants: dict[str, tuple[Any, Callable[[], int]]] = {
            "no handler": (None, lambda: 0),
            "no-op handler": (Nothing(), lambda: 0),
            "agenther-live": (plain[0], plain[1]),
            "agenther-live, redacting": (redacted[0], redacted[1]),
            "LangChainTracer (LangSmith)": (traced[0], traced[1]),
        }
        inline: dict[str, list[float]] = {name: [] for name in variants}
        total: dict[str, list[float]] = {name: [] for name in variants}
        written: dict[str, int] = {}

        def once(handler: Any) -> float:
            config = {"callbacks": [handler] if handler else []}
            before = time.thread_time()
            if asynchronous:
                asyncio.run(agent.ainvoke(GIVEN, config))
            else:
                agent.invoke(GIVEN, config)
            return time.thread_time() - before

        for number in range(runs + 3):
            for name, (handler, flush) in variants.items():
                gc.collect()
                start = time.process_time()
                spent = once(handler)
                bytes_now = flush()
                cpu = time.process_time() - start
                if number < 3:  # warm up
                    written[name] = bytes_now
                    continue
                inline[name].append(spent)
                total[name].append(cpu)
                if number == runs + 2:
                    written[name] = (bytes_now - written[name]) // runs
        base_inline, base_total = statistics.median(inline["no handler"]), statistics.median(total["no handler"])
        return [
            {
                "mode": "async" if asynchronous else "sync",
                "handler": name,
                "events": counting.events,
                "inline_ms": round(statistics.median(inline[name]) * 1e3, 2),
                "added_inline_ms": round((statistics.median(inline[name]) - base_inline) * 1e3, 2),
                "total_ms": round(statistics.median(total[name]) * 1e3, 2),
                "ratio_total": round(statistics.median(total[name]) / base_total, 3),
                "bytes_per_run": written[name],
            }
            for name in variants
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = [*measure(arguments.runs, asynchronous=False), *measure(arguments.runs, asynchronous=True)]
    table = Table(title=f"capture: {STEPS} tool steps, {arguments.runs} runs each, medians of CPU")
    for column in rows[0]:
        table.add_column(column, justify="left" if column in ("mode", "handler") else "right")
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console(width=130).print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
