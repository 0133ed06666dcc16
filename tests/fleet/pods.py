"""What runs in processes of its own in a fleet's tests: agents that write journals, and workers.

Agents here write the facts of runs as capture does, through the real journal; an agent that stops for a person leaves
a note, and another process goes on with its thread.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import agenther_live.buffer.engines.postgresql  # all that a worker needs, once for all processes
import agenther_live.compose  # noqa: F401
from agenther_live import Live
from agenther_live.journal import Writer
from tests.buffer.journal_facts import feedback, run

YEARS = 10 * 365 * 86_400.0
SETTINGS: dict[str, Any] = {
    "relabeler": "template",
    "judges": ["rules"],
    "held_out": 0.0,
    "outcome_settle_seconds": 0.0,
    "shard_seconds": 0.0,
    "shard_rows": 20,
    "tick_seconds": 0.05,
    "lease_seconds": 2.0,
    "batch": 10,
    "drain_seconds": 0.0,
    "interrupted_ttl_seconds": YEARS,
    "history_days": 3650.0,
    "retry_seconds": 0.1,
}


def agents(home: str, notes: str, name: str, count: int, pause: float) -> None:
    """Do `count` runs, or go on with what others left; each is acknowledged once the journal has it.

    Between two it rests for up to `pause` seconds.
    """
    folder = Path(notes)
    chance = random.Random(name)
    writer = Writer(Path(home) / "journal", flush_seconds=0.05, segment_bytes=64 << 10, max_queue_bytes=8 << 20)
    for index in range(count):
        time.sleep(chance.uniform(0.0, pause))
        thread = f"{name}-{index}"
        kind = chance.choice(["failed", "succeeded", "waits"])
        found = _take_note(folder) if chance.random() < 0.7 else None
        if found is not None:
            writer.append(run(start=60.0, thread=found, resumes=f"c-{found}", goal="", answer="After all.").records)
            _acknowledge(folder, f"resumed {found}")
        if kind == "waits":
            writer.append(run(thread=thread, status="interrupted", waits_at=f"c-{thread}", text=thread).records)
            _acknowledge(folder, f"waits {thread}")
            (folder / f"{thread}.draft").touch()
            (folder / f"{thread}.draft").rename(folder / f"{thread}.note")
            continue
        writer.append(run(thread=thread, text=thread, goal=f"Do {thread}").records)
        writer.append([feedback(thread_id=thread, success=kind == "succeeded", feedback_id=f"fb-{thread}")])
        _acknowledge(folder, f"{kind} {thread}")
    writer.close()


def one_run(home: str, given: dict[str, Any]) -> None:
    """Write the facts of one run, and end."""
    writer = Writer(Path(home) / "journal", flush_seconds=60, segment_bytes=1 << 20, max_queue_bytes=8 << 20)
    writer.append(run(**given).records)
    writer.close()


def _take_note(folder: Path) -> str | None:
    for note in sorted(folder.glob("*.note")):
        try:
            note.rename(note.with_suffix(f".taken-{os.getpid()}"))
        except FileNotFoundError:  # another process was quicker
            continue
        return note.stem
    return None


def _acknowledge(folder: Path, line: str) -> None:
    descriptor = os.open(folder / "acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


def worker(home: str, url: str, only: tuple[str, ...], settings: dict[str, Any]) -> None:
    """Work until SIGTERM."""
    logging.basicConfig(filename=Path(home) / "worker.log", level=logging.INFO)
    live = Live(home, buffer=url, strict=True, **{**SETTINGS, **settings})
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=live.request_stop).start())
    with live:
        live.work(only=only)
