"""Verbs over the data as a whole: delete, compact, doctor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from agenther_live import render
from agenther_live.cli.options import HomeOption, JsonOption
from agenther_live.cli.root import app
from agenther_live.cli.tools import err, open_existing, open_to_look, show_result
from agenther_live.clock import utcnow
from agenther_live.errors import UsageError

if TYPE_CHECKING:
    from agenther_live.doctor import Finding
    from agenther_live.erase import Receipt
    from agenther_live.live import Live
    from agenther_live.relabel.judges.probe import Finding as Probed

__all__ = ["compact", "delete", "doctor"]

_COLOURS = {"ok": "green", "note": "cyan", "warn": "yellow", "bad": "red"}


@app.command(epilog='Example: agenther-live delete --subject user-17 --reason "asked for on 3 March" --yes')
def delete(
    thread: Annotated[str | None, typer.Option("--thread", help="All of a LangGraph thread.")] = None,
    subject: Annotated[str | None, typer.Option("--subject", help="All about a person (`subject_key`).")] = None,
    trajectory: Annotated[str | None, typer.Option("--trajectory", help="One trajectory, by its whole id.")] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the audit.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    compact: Annotated[bool, typer.Option("--compact/--no-compact", help="Give the bytes back at once.")] = True,
    lift: Annotated[bool, typer.Option("--lift", help="Take in new runs of it again; what went stays gone.")] = False,
    seconds: Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for a worker that runs.")] = 60.0,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete a thread, a person or a trajectory everywhere in the home, and refuse it from now on."""
    if lift and dry_run:
        raise UsageError("--lift and --dry-run: one of them")
    given: dict[str, Any] = {"thread_id": thread, "subject": subject, "trajectory_id": trajectory}
    with open_existing(home) as live:
        if lift:
            gone = live.lift_deletion(**given, reason=reason)
            show_result(as_json, {"lifted": gone}, lambda: f"{gone} tombstones taken away")
            return
        if not dry_run and not yes:
            _confirm(live.delete(**given, dry_run=True), as_json)
        receipt = live.delete(**given, reason=reason, dry_run=dry_run, compact=compact, seconds=seconds)
        nameless = bool(subject and not receipt.trajectories) and not _somebody(live)
    show_result(as_json, receipt.as_dict(), lambda: _receipt(receipt))
    if nameless:
        err.print(
            "no run in this home says whom it is about: attach(agent, subject_key='user_id') names the field of a "
            "run's metadata that does. What came before goes by --thread or --trajectory",
            soft_wrap=True,
        )


def _somebody(live: Live) -> bool:
    """Whether any run of the home says whom it is about."""
    [(named,)] = live.buffer.sql("SELECT count(subject) FROM trajectories").fetchall()
    return bool(named)


def _confirm(would: Receipt, as_json: bool) -> None:
    if as_json or not err.is_terminal:
        raise UsageError("delete: give --yes, or look first with --dry-run")
    err.print(_receipt(would))
    if not typer.confirm("Delete this for good?", err=True):
        raise typer.Exit(1)


def _receipt(receipt: Receipt) -> Table:
    shown = Table.grid(padding=(0, 2))
    will = "would go" if receipt.dry_run else "deleted"
    lines = {
        will: f"{receipt.trajectories:,} trajectories, {receipt.runs:,} runs, {receipt.samples:,} samples",
        "shards written anew": ", ".join(receipt.shards),
        "files removed": ", ".join(receipt.files_removed),
        "model replies": f"{receipt.replies:,}" if receipt.replies else "",
        "had been read by": "\n".join(
            f"{one['consumer']} ({one['format']}, up to shard {one['seq']}"
            + (f", policy version {one['policy_version']})" if one["policy_version"] else ")")
            for one in receipt.consumers
        ),
        "policy versions": ", ".join(receipt.policy_versions),
        "draws that gave it": f"{receipt.draws:,}" if receipt.draws else "",
        "bytes freed": f"{receipt.bytes_freed:,}" if receipt.bytes_freed is not None else "",
        "not reached": "\n".join(f"- {line}" for line in receipt.left),
        "audit": receipt.audit_id or "",
    }
    for name, value in lines.items():
        if value:
            shown.add_row(name, render.plain(value))
    return shown


@app.command(epilog="Example: agenther-live compact --home ./agenther")
def compact(
    home: HomeOption = None,
    as_json: JsonOption = False,
    seconds: Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for a worker that runs.")] = 600.0,
) -> None:
    """Write the buffer's file anew, without the room of deleted rows."""
    with open_existing(home) as live:
        before, after = live.compact(seconds=seconds)
    show_result(as_json, {"before": before, "after": after}, lambda: f"{before:,} bytes before, {after:,} after")


@app.command(epilog="Example: agenther-live doctor --repair")
def doctor(
    home: HomeOption = None,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended; no worker may run.")] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Read every row of the buffer.")] = False,
    models: Annotated[bool, typer.Option("--models", help="Ask each model that is set; two calls each.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check a home: permissions, journal, replies, buffer, shards, room, clock; exit code 1 if anything is bad."""
    from agenther_live.doctor import examine, unwell

    with open_existing(home) if repair or models else open_to_look(home) as live:
        now = utcnow()
        findings = examine(live.home, live.settings, live.buffer, now=now, repair=repair, deep=deep)
        if models:
            findings += [_of_model(probed) for probed in live.check_models()] or [_no_model()]
    show_result(as_json, [finding.as_dict() for finding in findings], lambda: _findings(findings))
    if unwell(findings):
        raise typer.Exit(1)


def _no_model() -> Finding:
    from agenther_live.doctor import Finding

    told = "no chat model is set: --relabeler and --judge of another command are not seen here"
    return Finding("models", "note", told, "set `relabeler` and `judges` in agenther.toml, or AGENTHER_… variables")


def _of_model(probed: Probed) -> Finding:
    from agenther_live.doctor import Finding

    what = f"{probed.model} ({', '.join(probed.used_as)})"
    if probed.ok:
        return Finding("models", "ok", f"{what} answers, asked for JSON by {probed.way or 'its own means'}")
    step = "no answer" if not probed.auth else "no structured output" if not probed.structured else "no long prompt"
    remedy = "try output=object or output=plain behind its name" if probed.auth and not probed.structured else None
    return Finding("models", "bad", f"{what}: {step}: {probed.problem}", remedy)


def _findings(findings: list[Finding]) -> Table:
    shown = Table.grid(padding=(0, 2))
    for finding in findings:
        text = render.plain(finding.what)
        if finding.repaired is not None:
            text += f"\n[green]repaired:[/green] {render.plain(finding.repaired)}"
        elif finding.level != "ok":
            hint = "agenther-live doctor --repair mends it" if finding.fix is not None else ""
            text += "".join(f"\n→ {render.plain(line)}" for line in (finding.remedy, hint) if line)
        shown.add_row(f"[{_COLOURS[finding.level]}]{escape(finding.level)}[/]", finding.area, text)
    return shown
