"""Verbs that work, and the one that says how the work stands."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agenther_live import metrics, render
from agenther_live.cli.logs import log_as
from agenther_live.cli.options import (
    AppOption,
    HomeOption,
    JsonOption,
    JudgeOption,
    LogOption,
    PiiOption,
    RelabelerOption,
)
from agenther_live.cli.root import app
from agenther_live.cli.tools import (
    bar,
    open_to_look,
    open_worker,
    show_result,
    stopping_on_signals,
)
from agenther_live.clock import read_stamp, utcnow
from agenther_live.errors import AgentHERError, NoHome

if TYPE_CHECKING:
    from agenther_live.live import Live

logger = logging.getLogger("agenther_live")


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
    log_as(log_format)
    with open_worker(ctx, home, app_spec, relabeler, judge, pii) as live, stopping_on_signals(live.request_stop):
        live.check_evaluators()
        if until_idle:
            with bar("working", as_json) as advance:
                report = live.run_until_idle(progress=lambda report: advance(render.tick_line(report)))
        else:
            report = live.tick()
        show_result(as_json, report.as_dict(), lambda: render.tick_report(report))
        if live.stopping:
            raise AgentHERError("stopped by a signal before all was done; nothing is lost, the next tick goes on")


@app.command(epilog="Example: agenther-live worker --app myservice.agents:live --metrics-port 9464")
def worker(
    ctx: typer.Context,
    home: HomeOption = None,
    relabeler: RelabelerOption = None,
    judge: JudgeOption = None,
    pii: PiiOption = None,
    app_spec: AppOption = None,
    log_format: LogOption = "text",
    only: Annotated[
        list[str] | None, typer.Option("--only", help="ingest, relabel or emit; repeat it for two. Default: all.")
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option("--metrics-port", min=0, max=65535, help="Serve /metrics and /healthz on this port.")
    ] = None,
    metrics_host: Annotated[str, typer.Option("--metrics-host", help="Address to serve them on.")] = "127.0.0.1",
) -> None:
    """Work in the foreground until SIGINT or SIGTERM; one worker serves a home.

    With a buffer on PostgreSQL many workers share the work: one beside each pod with --only ingest, which reads the
    journal to its end before it leaves, and others with --only relabel and --only emit.
    """
    from agenther_live.fleet import parts_of

    log_as(log_format)
    with open_worker(ctx, home, app_spec, relabeler, judge, pii) as live, stopping_on_signals(live.request_stop):
        if "relabel" in parts_of(only or ()):
            live.check_evaluators()
        with contextlib.ExitStack() as beside:
            if metrics_port is not None:
                board = metrics.Board(live.status, lambda: live.buffer.sql(metrics.PANEL).dicts())
                port = beside.enter_context(metrics.served(board, port=metrics_port, host=metrics_host))
                logger.info("metrics on http://%s:%d/metrics", metrics_host, port)
            live.work(only=only or ())


def _priced(live: Live, figures: dict[str, Any]) -> dict[str, Any]:
    """The figures for people: a cost that leaves calls out says so."""
    [(unpriced,)] = live.buffer.sql("SELECT count(*) FROM llm_calls WHERE cost_usd IS NULL").fetchall()
    if not unpriced:
        return figures
    return figures | {"cost_usd": f"{figures['cost_usd']:,.4f}, and {unpriced:,} calls of no known price"}


@app.command(epilog="Example: agenther-live status --check --max-lag-seconds 60")
def status(
    home: HomeOption = None,
    as_json: JsonOption = False,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 if the worker lags; for probes.")] = False,
    max_lag_seconds: Annotated[float, typer.Option("--max-lag-seconds", min=0, help="What --check allows.")] = 60.0,
    max_silence_seconds: Annotated[
        float | None,
        typer.Option(
            "--max-silence-seconds", min=0, help="--check also wants a sign of the worker's life within so long."
        ),
    ] = None,
) -> None:
    """Show the funnel, drops, journal lag, last tick, spend, and why work pauses."""
    try:
        looked = open_to_look(home)
    except NoHome:
        if check:  # a probe may come before the worker has made it
            raise AgentHERError(f"{home or 'agenther'} is no home yet: is a worker up?") from None
        raise
    with looked as live, live.buffer.hold():
        figures = live.status()
        show_result(as_json, figures, lambda: render.status(_priced(live, figures), live.buffer.funnel()))
        lag = figures["journal_lag_seconds"]
        if check and lag > max_lag_seconds:
            raise AgentHERError(
                f"the journal lags {lag:.0f} s behind, more than {max_lag_seconds:.0f} s: is a worker up?"
            )
        seen = figures["worker_seen_at"]
        silent = None if seen is None else max(0.0, (utcnow() - read_stamp(seen)).total_seconds())
        if check and max_silence_seconds is not None and (silent is None or silent > max_silence_seconds):
            told = "no worker was seen yet" if silent is None else f"the worker was last seen {silent:.0f} s ago"
            raise AgentHERError(f"{told}, and --max-silence-seconds is {max_silence_seconds:g}: is it up?")
