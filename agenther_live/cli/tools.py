"""What verbs are made of: a `Live`, signals, a progress bar, output for people or as JSON."""

from __future__ import annotations

import importlib
import json
import math
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import Progress

from agenther_live import render
from agenther_live.clock import stamped
from agenther_live.errors import AgentHERError, SettingsError
from agenther_live.live import Live


class _Output(Console):
    def on_broken_pipe(self) -> None:
        """`| head` has seen enough: the verb goes on, and its exit code is its own."""
        pipe_closed()


out = _Output()
err = Console(stderr=True)


def pipe_closed() -> None:
    """Whoever read stdout has gone: what else is printed goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def open_to_look(home: Path | None) -> Live:
    """Make the `Live` of a verb that only reads: the home must be there, and need not be writable."""
    return Live(home, read_only=True)


def open_existing(home: Path | None) -> Live:
    """Make the `Live` of a verb that writes into a home that must be there; before a buffer on a server it is made."""
    open_to_look(home)
    return open_live(home)


def open_live(home: Path | None, *, relabeler: str | None = None, judges: list[str] | None = None, **more: Any) -> Live:
    """Make the `Live` of a verb that makes its home: strict, since here an error is shown and not logged."""
    return Live(home, relabeler=relabeler, judges=judges or None, strict=True, **more)


def open_worker(
    ctx: typer.Context,
    home: Path | None,
    app_spec: str | None,
    relabeler: str | None,
    judges: list[str] | None,
    pii: str | None,
) -> Live:
    """Make the `Live` of a verb that works: that of --app, or one of what the options say."""
    if app_spec is None:
        return open_live(home, relabeler=relabeler, judges=judges, pii=pii)
    given = {"--relabeler": relabeler, "--judge": judges, "--pii": pii}
    if named := [name for name, value in given.items() if value]:
        raise SettingsError(f"{', '.join(named)}: with --app, the Live object says that itself")
    live = _load(app_spec)
    if home is not None and _typed(ctx, "home") and live.home.path != Path(os.path.abspath(home.expanduser())):
        raise SettingsError(f"--home {home}: --app {app_spec} works on home {live.home.path}")
    return live


def _typed(ctx: typer.Context, option: str) -> bool:
    """Whether an option stands on the command line (an argument of the Live object beats the environment)."""
    source = ctx.get_parameter_source(option)
    return (source is not None and source.name == "COMMANDLINE") or ctx.find_root().obj is not None


def _load(spec: str) -> Live:
    module, _, name = spec.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), name or "live")
    except AgentHERError:
        raise
    except Exception as error:  # a module of the user's own may raise anything
        raise SettingsError(f"--app {spec}: {type(error).__name__}: {error}{_place(error)}") from None
    if not isinstance(found, Live):
        raise SettingsError(f"--app {spec}: is a {type(found).__name__}, not a Live; write pkg.mod:name")
    return found


def _place(error: Exception) -> str:
    """Where in the user's own code it happened."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "importlib" not in frame.filename and frame.filename != __file__]
    return f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""


@contextmanager
def stopping_on_signals(request_stop: Callable[[], None]) -> Iterator[None]:
    """Let the first SIGINT or SIGTERM end the work at a safe point; a second SIGINT interrupts at once."""

    def stop(number: int, frame: object) -> None:
        # In a thread: the handler may have interrupted the main thread inside the very lock that `set` takes.
        threading.Thread(target=request_stop, daemon=True).start()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def bar(title: str, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Show progress where a person looks on; the block gets a function that takes what is being done."""
    if quiet or not err.is_terminal:
        yield lambda text: None
        return
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda text: progress.update(task, description=f"{title}: {render.plain(text)}")


def show_result(as_json: bool, data: Any, pretty: Callable[[], Any]) -> None:
    """Print a result: its data as JSON, or what `pretty` makes of it for people."""
    if as_json:
        text = json.dumps(_plain(data), ensure_ascii=False, allow_nan=False)
        try:
            sys.stdout.write(render.harmless_json(text) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            pipe_closed()
    elif (shown := pretty()) is not None:
        out.print(shown, soft_wrap=isinstance(shown, str))  # a line that is to be copied stays one


def _plain(value: Any) -> Any:
    """A value as JSON has it: times as ISO 8601 in UTC, what is no number as null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, datetime):
        return stamped(value)
    if isinstance(value, date | time):
        return value.isoformat()
    return value if value is None or isinstance(value, str | int) else str(value)
