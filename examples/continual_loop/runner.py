"""Runs the study: two processes, a progress bar, records on disk as they come, tables and plots at the end."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from examples.continual_loop import plots, study, tables
from examples.continual_loop.study import FULL, SMALL, Size
from examples.continual_loop.worlds import WORLDS

__all__ = ["EXAMPLES", "arguments", "main", "run"]

EXAMPLES = """\
examples:
  the whole study, tables on the screen, plots and JSON in build/loop:
    %(prog)s
  one seed of everything small, in a minute or two:
    %(prog)s --small
  two seeds of one world:
    %(prog)s --seeds 2 --world parcels --out build/loop-2
  draw tables and plots again from the records of a run that ended, or that Ctrl-C stopped:
    %(prog)s --again --out build/loop
"""


def arguments(prog: str, given: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog,
        description="The closed loop, run for real: agents, capture, relabeling, shards, TRL, and the next policy.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--seeds", type=int, help=f"captures, trainings and held-out draws (default: {FULL.seeds})")
    add("--small", action="store_true", help="one seed, few episodes, no sweeps")
    add("--world", choices=[*WORLDS], help="one world only")
    add("--out", type=Path, default=Path("build/loop"), help="where everything is written (default: %(default)s)")
    add("--json", type=Path, help="write records, assertions and times here (default: OUT/loop.json)")
    add("--processes", type=int, default=2, help="processes of one thread each (default: %(default)s)")
    add("--check", action="store_true", help="exit with 1 where an asserted statement does not hold")
    add("--again", action="store_true", help="run nothing: tables and plots from OUT/records.jsonl")
    return parser.parse_args(given)


def main(prog: str, given: Sequence[str] | None = None) -> int:
    """The command: 0 when it ran, 130 after Ctrl-C; with --check 1 where an asserted statement did not hold."""
    options = arguments(prog, given)
    size = SMALL if options.small else FULL
    if options.seeds is not None:
        n = options.seeds
        size = replace(
            size,
            seeds=n,
            sweep_seeds=min(n, size.sweep_seeds),
            extra_seeds=min(n, size.extra_seeds),
            round_seeds=min(n, size.round_seeds),
        )
    worlds = {name: world.title for name, world in WORLDS.items() if options.world in (None, name)}
    begun, console = time.time(), Console()
    if not console.is_terminal:  # a log has no width: no heading is cut
        console = Console(width=200)
    log = options.out / "records.jsonl"
    if not options.again:
        shutil.rmtree(options.out, ignore_errors=True)
        options.out.mkdir(parents=True)
        log.touch()
        try:
            run(size, worlds, options.out, options.processes, console)
        except KeyboardInterrupt:
            console.print(f"stopped; what was measured is in {log} (see --again)")
            return 130
    if not log.exists():
        console.print(f"no records in {options.out}: run without --again first")
        return 2
    records = [json.loads(line) for line in log.read_text().splitlines()]
    held = tables.assertions(records, worlds)
    for table in tables.tables(records, worlds):
        show(console, table)
    for sentence, yes, figures in held:
        console.print(f"{'holds    ' if yes else 'unknown  ' if yes is None else 'DOES NOT '} {sentence}: {figures}")
    cpu = sum(record["seconds"] for record in records if record["arm"] == "cpu")
    console.print(f"{time.time() - begun:.0f} s, {cpu:.0f} CPU seconds of all jobs")
    drawn = [str(path) for path in plots.draw(records, worlds, options.out)]
    result = {
        "cpu_seconds": cpu,
        "wall_seconds": round(time.time() - begun, 1),
        "assertions": [{"says": says, "holds": yes, "points": points} for says, yes, points in held],
        "tables": [{"title": table.title, "rows": table.rows} for table in tables.tables(records, worlds)],
        "records": records,
    }
    target = options.json or options.out / "loop.json"
    target.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    console.print("\n".join([*drawn, str(target)]))
    return int(options.check and any(yes is False for _, yes, _ in held))


def run(size: Size, worlds: dict[str, str], out: Path, processes: int, console: Console) -> list[dict[str, Any]]:
    """All jobs; records are written to OUT/records.jsonl as each job ends."""
    stages = [*study.bases(size, out, [*worlds]), study.jobs(size, out, [*worlds])]
    records: list[dict[str, Any]] = []
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=study.quiet)
    try:
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
            row = bar.add_task("upbringing", total=sum(len(stage) for stage in stages))
            for stage in stages:
                for done in as_completed(futures := {pool.submit(study.perform, job): job for job in stage}):
                    found = done.result()
                    records += found
                    with (out / "records.jsonl").open("a") as file:
                        file.writelines(json.dumps(record) + "\n" for record in found)
                    bar.update(row, advance=1, description=futures[done].title)
                    if not console.is_terminal:
                        sys.stderr.write(f"{futures[done].title}: {found[-1]['seconds']} CPU s\n")
    except BaseException:  # Ctrl-C, say: what has not begun never will, and what runs is ended
        workers = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.terminate()
        raise
    pool.shutdown()
    return records


def show(console: Console, table: tables.Table) -> None:
    """Print a table."""
    shown = Table(title=table.title, title_justify="left", title_style="bold")
    for at, column in enumerate(table.rows[0]):
        shown.add_column(column, justify="left" if at == 0 else "right")
    for row in table.rows:
        shown.add_row(*map(str, row.values()))
    console.print(shown)
