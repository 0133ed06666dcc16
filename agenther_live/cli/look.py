"""Verbs that look into the replay buffer."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from agenther_live import render
from agenther_live.cli.options import HomeOption, JsonOption
from agenther_live.cli.root import app
from agenther_live.cli.tools import open_to_look, out, show_result
from agenther_live.clock import utcnow
from agenther_live.errors import AgentHERError, UsageError


@app.command(epilog="Example: agenther-live sql 'select failure_type, count(*) from failures group by 1'")
def sql(
    query: Annotated[str, typer.Argument(help="One read-only statement over the public views.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV and nothing else.")] = False,
    parquet: Annotated[Path | None, typer.Option("--parquet", help="Write the rows into this file.")] = None,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0.001, help="Stop it after so long. Default: sql_seconds, 60.")
    ] = None,
) -> None:
    """Ask the replay buffer in SQL; works while agents and worker run."""
    if as_json + as_csv + (parquet is not None) > 1:
        raise UsageError("--json, --csv and --parquet: one of them")
    with open_to_look(home) as live:
        result = live.buffer.sql(query, seconds=seconds)
        if as_csv:
            text = result.csv().decode()
            sys.stdout.write(render.harmless(text) if sys.stdout.isatty() else text)
        elif parquet is not None:
            result.parquet(parquet)
            out.print(f"{len(result):,} rows in {render.plain(parquet)}", soft_wrap=True)
        else:
            show_result(as_json, result.dicts(), lambda: render.table(result.columns, result.fetchall()))


@app.command(epilog="Example: agenther-live show 0199c2a4")
def show(
    trajectory: Annotated[str, typer.Argument(help="Its id, the beginning of it, or its thread.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print one trajectory: goal, steps, outcome, analysis, goals in hindsight, samples and their shards."""
    from agenther_live.show import collect, rendered

    with open_to_look(home) as live, live.buffer.hold():
        found = collect(live.buffer, trajectory)
    show_result(as_json, found, lambda: rendered(found))


@app.command(epilog="Example: agenther-live snapshot /backup/monday.duckdb")
def snapshot(
    file: Annotated[Path, typer.Argument(help="A DuckDB file that does not exist yet.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the replay buffer as it stands now into a file of its own; agents and worker may run."""
    with open_to_look(home) as live:
        size = live.buffer.snapshot(file)
    show_result(as_json, {"file": str(file), "bytes": size}, lambda: f"{size:,} bytes in {render.plain(file)}")


@app.command(epilog="Example: agenther-live report monday.html")
def report(
    file: Annotated[Path, typer.Argument(help="The HTML file to write; one that exists is replaced.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write one page with plots: what came in, what failed, what was refused, and what it cost. Needs no server."""
    if file.is_dir():
        raise UsageError(f"{file} is a folder: a report wants the name of a file")
    from agenther_live.report import collect, page

    with open_to_look(home) as live:
        status = live.status()
        with live.buffer.hold():
            found = collect(live.buffer, status)
        html = page(found, home=live.home.path.name, now=utcnow())
    _write(file, html)
    show_result(as_json, {"file": str(file), "bytes": file.stat().st_size}, lambda: f"a report in {render.plain(file)}")


def _write(file: Path, text: str) -> None:
    """Write a file whole or not at all; what a link names, and straight into what is no file (/dev/stdout, a pipe)."""
    # As it was named: what /dev/stdout links to may be no path (a pipe), or a file that others write to, too.
    if (file.exists() and not file.is_file()) or file.parts[:2] == ("/", "dev"):
        with file.open("a", encoding="utf-8", errors="backslashreplace") as into:
            into.write(text)
        return
    file = Path(os.path.realpath(file))
    fresh = file.with_name(f".{file.name}.new")
    try:
        fresh.write_text(text, encoding="utf-8", errors="backslashreplace")
        fresh.replace(file)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise AgentHERError(f"{file} cannot be written: {error.strerror or error}") from None
