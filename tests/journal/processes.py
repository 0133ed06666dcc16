"""What the journal's tests let other processes do."""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

from agenther_live.journal import Writer
from tests.journal.records import run


def write_runs(folder: Path, name: str, n: int) -> None:
    writer = Writer(folder, segment_bytes=20_000)
    for i in range(n):
        writer.append(run(f"{name}-{i}", 5))
    writer.close()


def hold_open_run(folder: Path, said: Connection) -> None:
    writer = Writer(folder)
    writer.append(run("open", end=False))
    said.send("ready")
    time.sleep(60)


def write_under_a_file_size_limit(folder: Path) -> None:
    """The limit makes write(2) short first and refuse then, as a full disk does."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
    writer = Writer(folder, flush_seconds=0.01)
    for i in range(10):
        writer.append(run(f"r{i}", 8, text="w" * 60))
    size = max(path.stat().st_size for path in folder.iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    writer.close()
    sys.exit(0 if 4000 < size <= 5000 else 1)


def fork_and_kill_writers(folder: Path, kills: int, said: Connection) -> None:
    """Fork children that write, and kill each at a random moment; tell which runs they had been told are written.

    Each child also has an open run, whose facts the timer brings.
    """
    writer = Writer(folder, flush_seconds=0.02, segment_bytes=200_000)
    writer.append(run("parent"))
    acknowledged: list[str] = []
    for victim in range(kills):
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            noted = run(f"{victim}-open", 2, end=False)
            writer.register(lambda noted=noted: [noted.pop(0) for _ in range(len(noted))])  # type: ignore[misc]
            i = 0
            while True:
                writer.append(run(f"{victim}-{i}", 20, text="k" * random.choice([10, 1000])))
                os.write(writing, f"{victim}-{i}\n".encode())
                i += 1
        os.close(writing)
        with open(reading, "rb") as file:
            first = file.readline()  # it works: from now on
            time.sleep(random.uniform(0, 0.08))
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            acknowledged += [line.decode() for line in (first + file.read()).split(b"\n")[:-1]]
    writer.append(run("parent-after"))
    writer.close()
    said.send(acknowledged)


def fork_with_an_open_run(folder: Path, said: Connection) -> None:
    """Be killed while a child lives on that has written nothing; another child has written and gone."""
    writer = Writer(folder, flush_seconds=0.02)
    writer.append(run("parent-open", end=False))
    for name in ("idle", "busy"):
        if (pid := os.fork()) == 0:
            if name == "busy":
                writer.append(run("child"))
                writer.count("in_child")
                writer.close()
            said.send((name, os.getpid(), writer.writer_id))
            if name == "idle":
                time.sleep(60)
            os._exit(0)
        if name == "busy":
            os.waitpid(pid, 0)
    said.send(("parent", os.getpid(), writer.writer_id))
    time.sleep(60)
