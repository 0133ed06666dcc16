"""The command line: verbs, each a few lines over the Python API."""

from __future__ import annotations

import importlib
import io
import json
import logging
import math
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date, time
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from agenther_live import render
from agenther_live.errors import AgentHERError, SettingsError, UsageError
from agenther_live.live import Live
from agenther_live.shards.manifest import Manifest
from agenther_live.shards.manifest import live as published
from agenther_live.show import collect, rendered

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
shards_app = typer.Typer(no_args_is_help=True, help="Look at, check and retract published shards.")
app.add_typer(shards_app, name="shards")

out = Console()
err = Console(stderr=True)

HomeOption = Annotated[
    Path | None, typer.Option("--home", envvar="AGENTHER_HOME", help="The home directory. Default: ./agenther")
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


@app.callback()
def before(
    ctx: typer.Context, home: Annotated[Path | None, typer.Option("--home", help="As --home of the verb.")] = None
) -> None:
    """Turn the failed runs of LangGraph agents into training data."""
    ctx.obj = home
    if home is not None:  # `agenther-live --home X verb` is the same as `agenther-live verb --home X`
        os.environ["AGENTHER_HOME"] = str(home)


def main() -> None:
    """Run the command line; a user's mistake gives a message and an exit code, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a character still gets the rest
    try:
        app(standalone_mode=True)
    except AgentHERError as error:
        _complain(str(error))
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:  # a full disk, a folder without permission
        _complain(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
        sys.exit(1)


def _complain(message: str) -> None:
    logger = logging.getLogger("agenther_live")
    if any(isinstance(handler.formatter, render.JsonFormatter) for handler in logger.handlers):
        logger.error(message)
    else:
        err.print(f"[red]error:[/red] {render.plain(message)}", soft_wrap=True, highlight=False)


@app.command(epilog="Example: agenther-live tick --until-idle --relabeler template --judge rules")
def tick(
    ctx: typer.Context,
    home: HomeOption = None,
    until_idle: Annotated[bool, typer.Option("--until-idle", help="Go on until nothing is left to do.")] = False,
    relabeler: RelabelerOption = None,
    judge: JudgeOption = None,
    pii: PiiOption = None,
    app_spec: AppOption = None,
    as_json: JsonOption = False,
    log_format: LogOption = "text",
) -> None:
    """Do one tick of the worker's work, or all that is due."""
    _log(log_format)
    with _worker(ctx, home, app_spec, relabeler, judge, pii) as live, _stopping_on_signals(live):
        live.check_evaluators()
        if until_idle:
            with _bar("working", as_json) as advance:
                report = live.run_until_idle(progress=lambda report: advance(render.tick_line(report)))
        else:
            report = live.tick()
        _show(as_json, report.as_dict(), lambda: render.tick_report(report))
        if live.stopping:
            raise AgentHERError("stopped by a signal before all was done; nothing is lost, the next tick goes on")


@app.command(epilog="Example: agenther-live worker --home ./agenther --app myservice.agents:live")
def worker(
    ctx: typer.Context,
    home: HomeOption = None,
    relabeler: RelabelerOption = None,
    judge: JudgeOption = None,
    pii: PiiOption = None,
    app_spec: AppOption = None,
    log_format: LogOption = "text",
) -> None:
    """Work in the foreground until SIGINT or SIGTERM; one worker serves a home."""
    _log(log_format)
    with _worker(ctx, home, app_spec, relabeler, judge, pii) as live, _stopping_on_signals(live):
        live.check_evaluators()
        live.work()


@app.command(epilog="Example: agenther-live status --check --max-lag-seconds 60")
def status(
    home: HomeOption = None,
    as_json: JsonOption = False,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 if the worker lags; for probes.")] = False,
    max_lag_seconds: Annotated[float, typer.Option("--max-lag-seconds", help="What --check allows.")] = 60.0,
) -> None:
    """Show the funnel, drops, journal lag, last tick, spend, and why work pauses."""
    with _live(home) as live:
        figures = live.status()
        _show(as_json, figures, lambda: render.status(figures, live.buffer.funnel()))
        lag = figures["journal_lag_seconds"]
        if check and lag > max_lag_seconds:
            raise AgentHERError(
                f"the journal lags {lag:.0f} s behind, more than {max_lag_seconds:.0f} s: is a worker up?"
            )


@app.command(epilog="Example: agenther-live sql 'select failure_type, count(*) from failures group by all'")
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
    with _live(home) as live:
        result = live.buffer.sql(query, seconds=seconds)
        if as_csv:
            sys.stdout.flush()
            sys.stdout.write(result.csv().decode())
        elif parquet is not None:
            result.parquet(parquet)
            out.print(f"{len(result):,} rows in {render.plain(parquet)}", soft_wrap=True)
        else:
            _show(as_json, result.dicts(), lambda: render.table(result.columns, result.fetchall()))


@app.command(epilog="Example: agenther-live show 0199c2a4")
def show(
    trajectory: Annotated[str, typer.Argument(help="Its id, the beginning of it, or its thread.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print one trajectory: goal, steps, outcome, analysis, goals in hindsight, samples and their shards."""
    with _live(home) as live, live.buffer.hold():
        found = collect(live.buffer, trajectory)
    _show(as_json, found, lambda: rendered(found))


@app.command(epilog="Example: agenther-live snapshot /backup/monday.duckdb")
def snapshot(
    file: Annotated[Path, typer.Argument(help="A DuckDB file that does not exist yet.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the replay buffer as it stands now into a file of its own; agents and worker may run."""
    with _live(home) as live:
        size = live.buffer.snapshot(file)
    _show(as_json, {"file": str(file), "bytes": size}, lambda: f"{size:,} bytes in {render.plain(file)}")


@app.command("import", epilog="Example: agenther-live import runs/*.jsonl.gz --pii redact")
def import_(
    files: Annotated[list[Path], typer.Argument(help="JSON lines, also .gz.")],
    home: HomeOption = None,
    pii: PiiOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import trajectories of other logs; exit code 1 if any record was refused."""
    read = imported = 0
    refused: list[dict[str, Any]] = []
    with _live(home, pii=pii) as live, _bar("importing", as_json) as advance:
        for path in files:
            report = live.import_transcripts(path, progress=lambda n, path=path: advance(f"{path.name}: {n}"))  # type: ignore[misc]
            read, imported = read + report.read, imported + report.imported
            refused += [{"file": r.file, "line": r.line, "reason": r.reason} for r in report.refused]
    _show(
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
    tasks: Annotated[int, typer.Option("--tasks", min=1, help="How many tasks the agents get.")] = 60,
    seed: Annotated[int, typer.Option("--seed", help="Another seed, other tasks.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Run the whole way on two small agents: attach, capture, relabel, publish. Needs no key and no network."""
    from agenther_live.demo import run

    report = run.demo(
        home or run.free_home(Path("agenther-demo")),
        relabeler=relabeler,
        judges=judge or ["rules"],
        tasks=tasks,
        seed=seed,
        console=None if as_json else out,
    )
    _show(as_json, report.figures, lambda: None)


@shards_app.command("ls", epilog="Example: agenther-live shards ls --json")
def shards_ls(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the published shards."""
    with _live(home) as live:
        columns = ["seq", "format", "path", "rows", "sha256"]
        rows = [[getattr(entry, name) for name in columns] for entry in published(Manifest(live.home.shards).entries())]
    _show(as_json, [dict(zip(columns, row, strict=True)) for row in rows], lambda: render.table(columns, rows))


@shards_app.command("check", epilog="Example: agenther-live shards check ./agenther/shards")
def shards_check(
    folder: Annotated[Path | None, typer.Argument(help="A shard folder. Default: that of the home.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check every row of every published shard; exit code 1 if one is bad."""
    with _live(home) as live:
        report = live.check_shards(folder)
    _show(as_json, asdict(report), lambda: render.check_report(report))
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
    """Take samples back: they are withdrawn, or retracted where a shard holds them."""
    with _live(home) as live:
        samples = live.retract(where=where, reason=reason, dry_run=dry_run)
        _show(as_json, {"samples": samples, "dry_run": dry_run}, lambda: render.retraction(samples, dry_run))


def _live(home: Path | None, *, relabeler: str | None = None, judges: list[str] | None = None, **more: Any) -> Live:
    """Make the `Live` of a verb: strict, since on the command line an error is shown and not logged."""
    return Live(home, relabeler=relabeler, judges=judges or None, strict=True, **more)


def _worker(
    ctx: typer.Context,
    home: Path | None,
    app_spec: str | None,
    relabeler: str | None,
    judges: list[str] | None,
    pii: str | None,
) -> Live:
    """Make the `Live` of a verb that works: that of --app, or one of what the options say."""
    if app_spec is None:
        return _live(home, relabeler=relabeler, judges=judges, pii=pii)
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


def _log(form: str) -> None:
    if form not in ("text", "json"):
        raise SettingsError(f"--log-format = {form!r}: text or json")
    handler = logging.StreamHandler()
    handler.setFormatter(render.JsonFormatter() if form == "json" else logging.Formatter("%(asctime)s %(message)s"))
    logger = logging.getLogger("agenther_live")
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)


@contextmanager
def _stopping_on_signals(live: Live) -> Iterator[None]:
    """Let the first SIGINT or SIGTERM end the work at a safe point; a second SIGINT interrupts at once."""

    def stop(number: int, frame: object) -> None:
        # In a thread: the handler may have interrupted the main thread inside the very lock that `set` takes.
        threading.Thread(target=live.request_stop, daemon=True).start()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _bar(title: str, quiet: bool) -> Iterator[Callable[[str], None]]:
    if quiet or not err.is_terminal:
        yield lambda text: None
        return
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task(title, total=None)
        yield lambda text: progress.update(task, description=f"{title}: {render.plain(text)}")


def _show(as_json: bool, data: Any, pretty: Callable[[], Any]) -> None:
    if as_json:
        sys.stdout.write(json.dumps(_plain(data), ensure_ascii=False, allow_nan=False) + "\n")
    elif (shown := pretty()) is not None:
        out.print(shown)


def _plain(value: Any) -> Any:
    """A value as JSON has it: times as ISO 8601, what is no number as null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, date | time):
        return value.isoformat()
    return value if value is None or isinstance(value, str | int) else str(value)
