"""What the tests of `examples/` share: a README's commands, run as they stand in processes of their own.

The processes are forked from the warm server of `tests.forking`: what takes long to import is there, and the command's
own entry point runs as if it had been typed.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import re
import shlex
import shutil
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, TypeVar

from tests import forking

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
    words = shlex.split(line.split("  #")[0].rstrip(" &"))
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

    forked: ForkServerProcess
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def ended(self) -> int | None:
        """Its exit status; None while it runs."""
        return self.forked.exitcode

    def says(self, pattern: str, *, times: int = 1, seconds: float = 60.0) -> list[Any]:
        """Wait until it has said something so often."""

        def heard() -> list[Any] | None:
            found = re.findall(pattern, self.said)
            if len(found) < times and self.ended is not None:
                raise AssertionError(f"it ended with {self.ended} before it said {pattern!r}:\n{self.said}")
            return found if len(found) >= times else None

        try:
            return until(pattern, heard, seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.said[-4000:]}") from None

    def stop(self, *, seconds: float = 15.0) -> int:
        """Ask it to end, and give its exit status; what its threads do is shown where it does not."""
        self.forked.terminate()
        self.forked.join(seconds)
        if self.ended is None:
            assert self.forked.pid is not None
            os.kill(self.forked.pid, signal.SIGABRT)
            self.forked.join(10)
            raise AssertionError(f"it did not end within {seconds:g} s:\n{self.said[-12000:]}")
        return self.ended


@contextlib.contextmanager
def running(words: list[str], folder: Path, environment: Mapping[str, str], log: Path) -> Iterator[Process]:
    """Run a command in a process group of its own, of which nothing is left after the block."""
    log.touch()
    forked = forking.start(_be, words, folder, {**os.environ, **environment}, log)
    assert forked.pid is not None
    try:
        yield Process(forked, log)
        forked.terminate()
        forked.join(15)
    finally:
        with contextlib.suppress(ProcessLookupError):  # the group outlives its leader while a child lives
            os.killpg(forked.pid, signal.SIGKILL)
        forked.join(10)


def _be(words: list[str], folder: Path, environment: Mapping[str, str], log: Path) -> None:
    """Become the command: its folder, environment and output, and the entry point of its name."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and so its children
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    with log.open("wb") as sink, open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
    faulthandler.enable()
    program = Path(sys.executable).with_name(words[0])
    sys.argv = [str(program), *words[1:]]
    code: Any = 1
    try:
        [script] = entry_points(group="console_scripts", name=words[0])
        code = script.load()()
    except SystemExit as left:
        code = left.code
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    # Also for processes that the command itself forked, which come back through here.
    forking.exit_interpreter(code if isinstance(code, int) else int(code is not None))
