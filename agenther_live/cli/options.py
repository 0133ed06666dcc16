"""Options that several verbs share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def no_such_letters(error: UnicodeEncodeError) -> str:
    """What to do where the locale cannot write the name of a file."""
    return f"this locale ({error.encoding}) cannot write it; set LC_ALL=C.UTF-8"


def a_home(text: str) -> Path:
    """Read the name of a home; an empty one, of a variable that is not set, is not the folder one stands in."""
    try:
        path = Path(text).expanduser()
        os.fsencode(path)
    except UnicodeEncodeError as error:
        raise typer.BadParameter(f"{text!a}: {no_such_letters(error)}") from None
    except RuntimeError as error:
        raise typer.BadParameter(f"{text!r}: {error}") from None
    if not text.strip():
        raise typer.BadParameter("it is empty; the folder where you are is --home .")
    return path


HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home", parser=a_home, metavar="PATH", envvar="AGENTHER_HOME", help="The home directory. Default: ./agenther"
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
LogOption = Annotated[str, typer.Option("--log-format", help="text or json, on stderr.")]
RelabelerOption = Annotated[
    str | None,
    typer.Option(
        "--relabeler",
        help="'template' or a chat model: openai:gpt-4o-mini[,base_url=URL][,api_key_env=VAR]",
    ),
]
JudgeOption = Annotated[
    list[str] | None, typer.Option("--judge", help="'rules' or a chat model; repeat it for a panel of several.")
]
PiiOption = Annotated[str | None, typer.Option("--pii", help="redact or keep personal data.")]
AppOption = Annotated[
    str | None, typer.Option("--app", help="pkg.mod:live, a Live object with evaluators, redactors and models.")
]
