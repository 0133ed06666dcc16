"""Verbs that bring trajectories in: from other logs, and from the demo's own agents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from agenther_live import render
from agenther_live.cli.options import HomeOption, JsonOption, JudgeOption, PiiOption
from agenther_live.cli.root import app
from agenther_live.cli.tools import bar, open_live, out, show_result
from agenther_live.errors import UsageError


@app.command("import", epilog="Example: agenther-live import runs/*.jsonl.gz --pii redact")
def import_(
    files: Annotated[list[Path], typer.Argument(help="JSON lines, also .gz.")],
    home: HomeOption = None,
    pii: PiiOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import trajectories of other logs; exit code 1 if any record was refused."""
    if not any(path.exists() for path in files):  # before a home is made for nothing
        raise UsageError(f"{', '.join(map(str, files))}: no such file")
    read = imported = 0
    refused: list[dict[str, Any]] = []
    with open_live(home, pii=pii) as live, bar("importing", as_json) as advance:
        for path in files:
            report = live.import_transcripts(path, progress=lambda n, path=path: advance(f"{path.name}: {n}"))  # type: ignore[misc]
            read, imported = read + report.read, imported + report.imported
            refused += [{"file": r.file, "line": r.line, "reason": r.reason} for r in report.refused]
    show_result(
        as_json,
        {"read": read, "imported": imported, "refused": refused},
        lambda: render.import_report(read, imported, refused),
    )
    if refused:
        raise typer.Exit(1)


@app.command(epilog="Example: agenther-live demo --relabeler openai:gpt-4o-mini --judge openai:gpt-4.1-mini")
def demo(
    home: HomeOption = None,
    relabeler: Annotated[str, typer.Option("--relabeler", help="'template' or a chat model.")] = "template",
    judge: JudgeOption = None,
    tasks: Annotated[int, typer.Option("--tasks", min=1, max=10_000, help="How many tasks the agents get.")] = 60,
    seed: Annotated[int, typer.Option("--seed", help="Another seed, other tasks.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Run the whole way on two small agents: attach, capture, relabel, publish. Needs no key and no network."""
    from agenther_live.demo import run

    report = run.demo(
        home,
        relabeler=relabeler,
        judges=judge or ["rules"],
        tasks=tasks,
        seed=seed,
        console=None if as_json else out,
    )
    show_result(as_json, report.figures, lambda: None)
