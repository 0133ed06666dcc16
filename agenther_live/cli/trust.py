"""Verbs about trust: people's labels, what they certify, how far judges agree, and a panel that drifts."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import datetime
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agenther_live import render
from agenther_live.cli.keys import single_keys
from agenther_live.cli.options import HomeOption, JsonOption
from agenther_live.cli.root import app, trust_app
from agenther_live.cli.tools import open_existing, open_to_look, out, show_result
from agenther_live.clock import utcnow
from agenther_live.errors import AgentHERError, UsageError

if TYPE_CHECKING:
    from agenther_live.buffer.people.reviews import Kind
    from agenther_live.relabel.trust.certify import Certificate

AgentOption = Annotated[str | None, typer.Option("--agent", help="Of this agent only.")]


@app.command(epilog="Example: agenther-live review --kind accepted --limit 100")
def review(
    home: HomeOption = None,
    agent: AgentOption = None,
    kind: Annotated[
        str | None, typer.Option("--kind", help="accepted, held or disputed. Default: what is in doubt, else accepted.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="End after so many labels.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Another seed, another random order.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print what waits as JSON, and ask nothing.")] = False,
) -> None:
    """Label samples and disputed outcomes, one at a time; what you rejected is taken back when you quit."""
    from agenther_live.buffer.people.reviews import KINDS
    from agenther_live.review import Session, queue

    chosen: Kind | None = next((each for each in KINDS if each == kind), None)
    if kind is not None and chosen is None:
        raise UsageError(f"--kind {kind}: one of {', '.join(KINDS)}")
    with open_to_look(home) if as_json else open_existing(home) as live:
        waiting = queue(live.buffer, chosen, agent=agent, seed=seed)
        if as_json:
            show_result(True, [asdict(entry) for entry in waiting[:limit]], lambda: None)
            return
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise UsageError("review shows one item at a time and waits for a key: it needs a terminal; --json lists")
        if not waiting:
            out.print("nothing waits for a label")
            return
        with single_keys() as key:
            given = Session(live.buffer, waiting, out.print, key, limit).run()
        out.print(", ".join(f"{n} {what}" for what, n in sorted(given.items())) or "no labels")


@app.command("certify", epilog="Example: agenther-live certify --precision 0.97 --agent buyer")
def certify_(
    precision: Annotated[float, typer.Option("--precision", help="Least share of accepted samples that are right.")],
    confidence: Annotated[float, typer.Option("--confidence", help="1 − the chance to certify wrongly.")] = 0.95,
    home: HomeOption = None,
    agent: AgentOption = None,
    since: Annotated[
        datetime | None, typer.Option("--since", help="Begin a new series: only labels from this UTC time on.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit with 1 unless it is certified; for scripts.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say whether people's labels of accepted samples certify a precision, at 100, 200, 400 and 800 labels."""
    from agenther_live.buffer.people import reviews
    from agenther_live.relabel.trust.certify import LOOKS, certify, limits

    for name, value in (("--precision", precision), ("--confidence", confidence)):
        if not 0 < value < 1:
            raise UsageError(f"{name} {value}: between 0 and 1")
    with open_to_look(home) as live, live.buffer.reading() as tx:
        labels = reviews.certified_labels(tx, agent=agent, since=since)
    found = certify([rejected for rejected, _ in labels], precision=precision, confidence=confidence)
    panels = sorted({panel for _, panel in labels if panel})
    most = limits(precision, confidence)[0]
    looks = [{"labels": n, "errors_allowed": errors} for n, errors in zip(LOOKS, most, strict=True)]
    data = {"precision": precision, "confidence": confidence, **asdict(found), "looks": looks, "panels": panels}
    show_result(as_json, data, lambda: _told(found, panels))
    if check and not found.certified:
        raise typer.Exit(1)


def _told(found: Certificate, panels: list[str]) -> str:
    seen = f"{found.labels} labels, {found.errors} rejected"
    if found.certified:
        told = f"certified: at {found.look} labels, precision at least {found.bound:.4f} ({seen})"
    elif found.needed is not None:
        told = f"not certified, {found.needed} more needed ({seen})"
    else:
        told = f"not certified, and no further label can change it ({seen}): mend the panel, begin anew with --since"
    if len(panels) > 1:
        told += f"\nthese labels are of {len(panels)} panels: {render.plain('; '.join(panels))}"
    return told


@trust_app.command("agreement", epilog="Example: agenther-live trust agreement --agent buyer")
def trust_agreement(home: HomeOption = None, agent: AgentOption = None, as_json: JsonOption = False) -> None:
    """Show how far judges agree with each other and with people: raw, Gwet's AC1, Krippendorff's alpha."""
    from agenther_live.relabel.trust.agreement import agreement

    query = (
        "SELECT t.agent, v.goal_id, v.judge, v.is_valid FROM verdicts AS v JOIN goals AS g ON g.goal_id = v.goal_id "
        "JOIN trajectories AS t ON t.trajectory_id = g.trajectory_id WHERE v.status = 'ok' UNION ALL "
        "SELECT t.agent, s.goal_id, 'person', l.verdict = 'accept' FROM labels AS l "
        "JOIN samples AS s ON s.sample_id = l.sample_id JOIN trajectories AS t ON t.trajectory_id = l.trajectory_id"
    )
    with open_to_look(home) as live:
        answers = [row[1:] for row in live.buffer.sql(query).fetchall() if agent in (None, row[0])]
    units: dict[str, dict[str, bool]] = {}
    for goal_id, judge, valid in answers:
        units.setdefault(goal_id, {})[judge] = bool(valid)
    raters = sorted({judge for _, judge, _ in answers}, key=lambda name: (name == "person", name))
    rows: list[dict[str, Any]] = []
    for some in [*combinations(raters, 2), *([tuple(raters)] if len(raters) > 2 else [])]:
        table = [[said.get(rater) for rater in some] for said in units.values()]
        whole = table if len(some) > 2 else [row for row in table if None not in row]
        rows.append({"raters": list(some), **asdict(agreement(whole, categories=2))})
    columns = ["raters", "goals", "raw", "AC1", "alpha"]
    cells = [
        [", ".join(row["raters"]), row["units"], *(_two(row[name]) for name in ("raw", "ac1", "alpha"))] for row in rows
    ]
    show_result(as_json, rows, lambda: render.table(columns, cells))


def _two(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


@trust_app.command("show", epilog="Example: agenther-live trust show")
def trust_show(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show how each judge stands on canaries, goals that are known to be bad, and whether it drifts."""
    with open_to_look(home) as live:
        result = live.buffer.sql("SELECT * FROM panel_health ORDER BY judge, prompt_version")
        rows = result.dicts()
    columns = ["judge", "canaries", "accepted", "of the first", "of the last", "p", "drifts"]
    cells = [
        [
            row["judge"],
            row["canaries"],
            row["accepted"],
            f"{row['baseline_accepted']} of {row['baseline']}",
            f"{row['latest_accepted']} of {row['latest']}",
            "–" if row["p"] is None else f"{row['p']:.2g}",
            f"since {row['doubtful_at']:%Y-%m-%d %H:%M}" if row["drifting"] else "no",
        ]
        for row in rows
    ]
    show_result(as_json, rows, lambda: render.table(columns, cells))


@trust_app.command("clear", epilog="Example: agenther-live trust clear --judge openai:gpt-4o-mini --withdraw")
def trust_clear(
    home: HomeOption = None,
    judge: Annotated[list[str] | None, typer.Option("--judge", help="This judge; repeatable. Default: all.")] = None,
    release: Annotated[bool, typer.Option("--release", help="Let all held samples go on to shards.")] = False,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take all held samples back.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Clear a panel that drifted: emission goes on, its canaries are counted anew.

    Held samples stay held until they are reviewed, unless --release or --withdraw says what becomes of them.
    """
    from agenther_live.buffer.people import trust

    if release and withdraw:
        raise UsageError("--release and --withdraw: one of them")
    now = utcnow()
    with open_existing(home) as live, live.buffer.writing() as tx:
        cleared = trust.clear(tx, judge, now=now)
        if judge and (unknown := sorted(set(judge) - {one.judge for one in cleared})):
            raise AgentHERError(f"{', '.join(unknown)}: no such judge drifts; trust show lists them")
        done = {
            "cleared": [str(one) for one in cleared],
            "released": trust.release(tx) if release else 0,
            "taken_back": trust.take_held(tx, "drift", now=now) if withdraw else 0,
        }
    told = f"{len(cleared)} cleared, {done['released']} samples released, {done['taken_back']} taken back"
    show_result(as_json, done, lambda: told)
