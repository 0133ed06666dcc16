"""Verbs over published shards."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from agenther_live import render
from agenther_live.cli.options import HomeOption, JsonOption
from agenther_live.cli.root import shards_app
from agenther_live.cli.tools import open_existing, open_to_look, show_result
from agenther_live.errors import UsageError


@shards_app.command("ls", epilog="Example: agenther-live shards ls --json")
def shards_ls(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the published shards."""
    from agenther_live.shards.files.manifest import Manifest
    from agenther_live.shards.files.manifest import live as published

    with open_to_look(home) as live:
        entries = published(Manifest(live.home.shards).entries())
    columns = ["seq", "format", "path", "rows", "sha256"]
    figures = {"goals": "goals", "entropy": "goal_entropy", "writes": "write_call_rate"}
    rows = [[getattr(entry, name) for name in columns] for entry in entries]
    data = [
        dict(zip(columns, row, strict=True)) | {"statistics": entry.statistics}
        for row, entry in zip(rows, entries, strict=True)
    ]
    shown = [
        [row[0], *row[2:4], *(entry.statistics.get(name, "") for name in figures.values())]
        for row, entry in zip(rows, entries, strict=True)
    ]
    show_result(as_json, data, lambda: render.table(["seq", "path", "rows", *figures], shown))


@shards_app.command("check", epilog="Example: agenther-live shards check ./agenther/shards")
def shards_check(
    folder: Annotated[Path | None, typer.Argument(help="A shard folder. Default: that of the home.")] = None,
    tokenizer: Annotated[
        str | None, typer.Option("--tokenizer", help="Folder or model whose chat template must take every row.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check every row of every published shard; exit code 1 if one is bad."""
    from agenther_live.shards.checks.check import check_folder
    from agenther_live.shards.checks.templates import renderer

    if folder is not None:
        report = check_folder(folder, render=None if tokenizer is None else renderer(tokenizer))
    else:
        with open_to_look(home) as live:
            report = live.check_shards(tokenizer=tokenizer)
    show_result(as_json, asdict(report), lambda: render.check_report(report))
    if report.bad:
        raise typer.Exit(1)


@shards_app.command("retract", epilog="Example: agenther-live shards retract --where \"agent = 'old'\" --reason drift")
def shards_retract(
    where: Annotated[str, typer.Option("--where", help="SQL condition over samples joined with trajectories.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; published with the retraction.")],
    home: HomeOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be retracted.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Take samples back, replace the shards that hold them, and say who has read those."""
    for name, value in (("--where", where), ("--reason", reason)):
        if not value.strip():
            raise UsageError(f"{name} is empty")
    with open_existing(home) as live:
        done = live.retract(where=where, reason=reason, dry_run=dry_run)
    show_result(as_json, done.as_dict(), lambda: render.retraction(done))
