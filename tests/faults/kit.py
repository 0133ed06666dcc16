"""What the fault tests share: small volumes that fill up, and a home on which a worker has something to do."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from agenther_live import Live
from tests.buffer.journal_facts import run
from tests.whole import TEMPLATE

WORK = {"shard_seconds": 0, "shard_rows": 3, "formats": ["trl_sft"], **TEMPLATE}


@cache
def _why_no_mounts() -> str | None:
    if os.geteuid() != 0:
        return "mounting a tmpfs needs root"
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, text=True, check=False)
        if done.returncode:
            return f"no tmpfs can be mounted here: {done.stderr.strip()}"
        subprocess.run(["umount", folder], check=True)
    return None


class Volume:
    """A tmpfs of a few kilobytes at a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def resize(self, kilobytes: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", str(self.folder)], check=True)

    def vanish(self) -> None:
        """What is open there stays open, for whoever has it; the folder below shows again."""
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


@contextmanager
def volume(folder: Path, kilobytes: int) -> Iterator[Volume]:
    """Mount a tmpfs of this size; skips the test where that is not allowed."""
    if (reason := _why_no_mounts()) is not None:
        pytest.skip(reason)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    options = f"size={kilobytes}k,mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield Volume(folder)
    finally:
        while os.path.ismount(folder):
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def journal_runs(live: Live, names: list[str], text: str = "OK") -> None:
    """Write whole runs into the home's journal, as capture does, each with a failure that a person reported."""
    writer = live._writer
    assert writer is not None
    for name in names:
        writer.append(run(name, thread=name, text=text).records)
        live.feedback(thread_id=name, success=False)


def trajectories(live: Live) -> set[str]:
    return {key for (key,) in live.buffer.sql("SELECT trajectory_id FROM trajectories").fetchall()}
