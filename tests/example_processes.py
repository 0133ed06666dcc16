"""What the tests of `examples/` share: a README's commands, run as they stand in processes of their own."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

EXAMPLES = Path(__file__).parents[1] / "examples"


def copy_of(example: str, folder: Path) -> Path:
    """Copy an example, since servers write beside what they serve."""
    return Path(
        shutil.copytree(EXAMPLES / example, folder / example, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    )


def command(example: str, start: str, **options: str) -> list[str]:
    """Give the README's one command that starts so, its options set to other values (and added where missing)."""
    blocks = re.findall(r"```bash\n(.*?)```", (EXAMPLES / example / "README.md").read_text(), re.DOTALL)
    [line] = [line for block in blocks for line in block.splitlines() if line.startswith(start)]
    words = shlex.split(line)
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if option in words:
            words[words.index(option) + 1] = value
        else:
            words += [option, value]
    return words


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(what: str, ask: Callable[[], T | None], *, seconds: float = 60.0, pause: float = 0.05) -> T:
    """Ask until the answer is true; says what it waited for otherwise."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := ask():
            return answer
        time.sleep(pause)
    raise AssertionError(f"after {seconds:g} s: {what}")


@dataclass
class Process:
    """A command that runs, and what it has said."""

    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def says(self, pattern: str, *, times: int = 1, seconds: float = 60.0) -> list[Any]:
        """Wait until it has said something so often."""

        def heard() -> list[Any] | None:
            found = re.findall(pattern, self.said)
            if len(found) < times and self.popen.poll() is not None:
                raise AssertionError(f"it ended with {self.popen.returncode} before it said {pattern!r}:\n{self.said}")
            return found if len(found) >= times else None

        try:
            return until(pattern, heard, seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.said[-4000:]}") from None

    def stop(self, *, seconds: float = 15.0) -> int:
        """Ask it to end, and give its exit status; what its threads do is shown where it does not."""
        self.popen.terminate()
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.popen.send_signal(signal.SIGABRT)
            self.popen.wait(10)
            raise AssertionError(f"it did not end within {seconds:g} s:\n{self.said[-12000:]}") from None


@contextlib.contextmanager
def running(words: list[str], folder: Path, environment: Mapping[str, str], log: Path) -> Iterator[Process]:
    """Run a command in a process group of its own, of which nothing is left after the block."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    with log.open("wb") as sink:
        popen = subprocess.Popen(
            words,
            cwd=folder,
            env={**os.environ, "PATH": path, "PYTHONFAULTHANDLER": "1", **environment},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Process(popen, log)
        if popen.poll() is None:
            popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                popen.wait(15)
    finally:
        with contextlib.suppress(ProcessLookupError):  # the group outlives its leader while a child lives
            os.killpg(popen.pid, signal.SIGKILL)
        popen.wait(10)
