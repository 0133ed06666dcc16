"""Processes forked from one warm server, so that starting one costs little, whatever it needs to have imported.

A test process has one such server; what it loads before the first fork is fixed here for all tests.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import Any, NoReturn

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        "agenther_live.scheduler",
        "agenther_live.compose",
        "agenther_live.integrations.chat_model",
        "langchain_openai",
        "duckdb_sqlalchemy",
        "pandas",  # the driver looks whether it is there, when it first takes in rows
        "pyarrow.dataset",
        "genai_prices",
        "pytest",
        "tests.whole",
        "tests.faults.kills",
        "tests.following.process",
        "tests.journal.processes",
        "tests.capture.deaths",
        "tests.capture.instrumented",
        "tests.fleet.pods",
        "tests.shards.killed",
    ]
)


def start(target: Callable[..., None], *arguments: Any) -> ForkServerProcess:
    process = _context.Process(target=target, args=arguments)
    process.start()
    return process


def pipe() -> tuple[Connection, Connection]:
    return _context.Pipe(duplex=False)


def run(target: Callable[..., None], *arguments: Any, seconds: float = 60) -> int | None:
    """Run a function in a process of its own; gives its exit code."""
    process = start(target, *arguments)
    process.join(seconds)
    if process.is_alive():
        process.kill()
        raise AssertionError(f"{target.__name__} did not end within {seconds:g} s")
    return process.exitcode


def exit_interpreter(code: int) -> NoReturn:
    """End this process as the interpreter ends: threads are joined, exit functions run. (A forked one just leaves.)

    What libraries in C do at the very end is left out: some of them abort in a process that was forked.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    os._exit(code)
