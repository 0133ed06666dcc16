"""Verbs over the buffer as a whole."""

from __future__ import annotations

from typing import Annotated

import typer

from agenther_live import render
from agenther_live.cli.options import HomeOption, JsonOption
from agenther_live.cli.root import app
from agenther_live.cli.tools import bar, open_existing, show_result

buffer_app = typer.Typer(no_args_is_help=True, help="Move the replay buffer to another engine.")
app.add_typer(buffer_app, name="buffer")


@buffer_app.command(
    "migrate", epilog="Example: agenther-live buffer migrate --to postgresql+psycopg://agenther@db.internal/agenther"
)
def migrate(
    to: Annotated[str, typer.Option("--to", help="An empty PostgreSQL database; PGPASSWORD may hold the password.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Move the home's DuckDB buffer to PostgreSQL: every table, counted on both sides, all or nothing.

    Stop the worker first; agents may go on, for their journal waits. The DuckDB file stays as it is.
    """
    with open_existing(home) as live, bar("moving", as_json) as advance:
        moved, there = live.migrate(to, progress=advance)
    shown = there.replace(":***@", "@")
    show_result(
        as_json,
        {"to": shown, "rows": sum(moved.values()), "tables": moved},
        lambda: (
            f"{sum(moved.values()):,} rows of {len(moved)} tables are in {render.plain(shown)}.\n"
            f"Now write this line into {render.plain(live.home.config)} (or set AGENTHER_BUFFER), with the password in "
            f'PGPASSWORD or the URL, and start the worker:\nbuffer = "{render.plain(shown)}"'
        ),
    )
