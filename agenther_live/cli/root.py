"""The command itself: what stands before every verb, and how it ends."""

from __future__ import annotations

import atexit
import gc
import io
import logging
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from agenther_live import render
from agenther_live.cli import interrupts
from agenther_live.cli.logs import Stray
from agenther_live.cli.options import a_home, no_such_letters
from agenther_live.cli.tools import err, pipe_closed
from agenther_live.errors import AgentHERError, UsageError

INTERRUPTED = 130

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
shards_app = typer.Typer(no_args_is_help=True, help="Look at, check and retract published shards.")
app.add_typer(shards_app, name="shards")
trust_app = typer.Typer(no_args_is_help=True, help="Look at the panel: canaries, agreement, a judge that drifts.")
app.add_typer(trust_app, name="trust")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"agenther-live {version('agenther-live')}")
        raise typer.Exit


@app.callback()
def before(
    ctx: typer.Context,
    home: Annotated[
        Path | None, typer.Option("--home", parser=a_home, metavar="PATH", help="As --home of the verb.")
    ] = None,
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which this is.")] = False,
) -> None:
    """Turn the failed runs of LangGraph agents into training data."""
    ctx.obj = home
    if home is not None:  # `agenther-live --home X verb` is the same as `agenther-live verb --home X`
        os.environ["AGENTHER_HOME"] = str(home)


def main() -> None:
    """Run the command line; a user's mistake gives a message and an exit code, never a traceback."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # started with it closed: what would be told goes nowhere
            setattr(sys, name, io.StringIO())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a character still gets the rest
    atexit.register(gc.freeze)  # else the interpreter searches all that it loaded for cycles, half a second long
    logging.lastResort = Stray()
    try:
        sys.argv[1:] = map(_as_text, sys.argv[1:])
        app(standalone_mode=True)
    except SystemExit as left:
        if left.code == INTERRUPTED:  # Typer's word for it
            interrupts.over()
        if isinstance(left.__context__, BrokenPipeError):  # `| head`, which is a failure to Typer
            pipe_closed()
            sys.exit(0)
        raise
    except AgentHERError as error:
        _complain(str(error))
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except UnicodeEncodeError as error:  # the name of a file, where the locale has no such letters
        _complain(f"{error.object!a}: {no_such_letters(error)}")
        sys.exit(2)
    except BrokenPipeError:  # `| head`
        pipe_closed()
        sys.exit(0)
    except OSError as error:  # a full disk, a folder without permission
        _complain(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
        sys.exit(1)


def _as_text(word: str) -> str:
    """Give a word of the command line as the text it is in UTF-8, whatever the locale took it for.

    Raises:
        UsageError: it is not in UTF-8.
    """
    try:
        return os.fsencode(word).decode()
    except UnicodeDecodeError:
        raise UsageError(f"{word!a} is no text: the command line is not in UTF-8") from None


def _complain(message: str) -> None:
    logger = logging.getLogger("agenther_live")
    if any(isinstance(handler.formatter, render.JsonFormatter) for handler in logger.handlers):
        logger.error(message)
    else:
        err.print(f"[red]error:[/red] {render.plain(message)}", soft_wrap=True, highlight=False)
