"""Verbs for whoever trains: follow the published shards, or pull a finite set of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agenther_live import render
from agenther_live.cli.options import HomeOption, JsonOption
from agenther_live.cli.root import shards_app
from agenther_live.cli.tools import err, open_to_look, show_result, stopping_on_signals
from agenther_live.errors import UsageError

if TYPE_CHECKING:
    from agenther_live.shards.reading.follow import ShardStream, StreamRow
    from agenther_live.shards.reading.pull import Pulled

FromOption = Annotated[
    str | None, typer.Option("--from", help="A folder of shards or a URL (s3://…). Default: that of the home.")
]
COMMIT_ROWS = 100


def _root(home: Path | None, given: str | None, *, waits: bool = False) -> str:
    """Where the shards are. A folder that is not there is a slip, unless one waits for it."""
    if given is not None:
        if not given.strip() or not (waits or "://" in given or Path(given).expanduser().is_dir()):
            raise UsageError(f"--from {given!r}: no such folder")
        return given
    with open_to_look(home) as live:
        return live.settings.shards or str(live.home.shards)


@shards_app.command("follow", epilog="Example: agenther-live shards follow --format trl_sft --consumer me --json")
def shards_follow(
    fmt: Annotated[str, typer.Option("--format", help="The shard format.")] = "trl_sft",
    consumer: Annotated[
        str | None, typer.Option("--consumer", help="Go on where this consumer stopped. Default: from the beginning.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End when all that is there was given.")] = False,
    max_staleness: Annotated[
        int, typer.Option("--max-staleness", min=0, help="Policy versions behind which a row is left out.")
    ] = 4,
    poll_seconds: Annotated[float, typer.Option("--poll-seconds", help="How often to look for new shards.")] = 1.0,
    root: FromOption = None,
    home: HomeOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows themselves, a JSON object a line.")] = False,
) -> None:
    """Print published rows as they come, each once, until Ctrl-C."""
    from agenther_live.shards.reading.follow import ShardStream
    from agenther_live.shards.reading.pull import NAMES

    where = _root(home, root, waits=not once)
    stream = ShardStream(
        where,
        NAMES.get(fmt, fmt),  # type: ignore[arg-type]  # it names what is allowed
        consumer=consumer,
        follow=not once,
        max_staleness=max_staleness,
        replay_ratio=0.0,
        poll_seconds=poll_seconds,
    )
    if consumer is not None:
        stream.restore(None)
    with stopping_on_signals(stream.request_stop):
        _print(stream, as_json, commit=consumer is not None)
        there = sorted({entry.format for entry in stream.source.entries})
        if stream.format not in there:
            known = f"there are: {', '.join(there)}" if there else "nor of any other format"
            waits = "" if once else "; waiting"
            err.print(f"no shard of {stream.format} is published here, {known}{waits}", soft_wrap=True)
        gone = False
        while not once and stream.wait():
            if "://" not in where and gone != (not Path(where).is_dir()):
                gone = not gone
                err.print(
                    f"{render.plain(where)} is {'gone; waiting for it' if gone else 'there again'}", soft_wrap=True
                )
            _print(stream, as_json, commit=consumer is not None)
    if stale := stream.figures["stale"]:
        err.print(f"{stale} rows are more than {max_staleness} policy versions old and were left out")


def _print(stream: ShardStream, as_json: bool, *, commit: bool) -> None:
    """Print the rows that are there, and commit them beside the shards.

    Printed first and committed then: whoever kills it in between sees up to `COMMIT_ROWS` rows again.
    """
    from agenther_live.shards.rows.formats import encode

    printed, shown = 0, render.harmless_json if sys.stdout.isatty() else str
    for found in stream.rows(wait=False):
        sys.stdout.write(shown(encode(found.row).decode().rstrip("\n")) + "\n" if as_json else _line(found) + "\n")
        printed += 1
        if commit and printed % COMMIT_ROWS == 0:
            sys.stdout.flush()
            stream.commit(None)
    sys.stdout.flush()
    if commit and printed % COMMIT_ROWS:
        stream.commit(None)


def _line(found: StreamRow) -> str:
    row = found.row
    told = [f"{found.seq:08d}:{found.index}", found.sample_id, str(row.get("kind") or ""), str(row.get("goal") or "")]
    return "  ".join(render.plain(" ".join(each.split())[:100]) for each in told if each)


@shards_app.command(
    "pull", epilog="Example: agenther-live shards pull --consumer nightly --out sets/monday --format llamafactory"
)
def shards_pull(
    consumer: Annotated[str, typer.Option("--consumer", help="Whose cursor: the next pull gives what is new.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to make; one for each pull.")],
    fmt: Annotated[str, typer.Option("--format", help="A shard format, or llamafactory.")] = "trl_sft",
    everything: Annotated[bool, typer.Option("--all", help="Everything that is live, not only what is new.")] = False,
    max_staleness: Annotated[
        int | None, typer.Option("--max-staleness", min=0, help="Leave out older policy versions. Default: none.")
    ] = None,
    root: FromOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a finite set of rows with its hash and lineage, for a training run that begins and ends."""
    from agenther_live.shards.reading.pull import pull

    done = pull(_root(home, root), fmt, consumer=consumer, out=out, everything=everything, max_staleness=max_staleness)
    show_result(as_json, done.as_dict(), lambda: _told(done))


def _told(done: Pulled) -> str:
    if done.out is None:
        return f"nothing new for {done.consumer}"
    return f"{done.rows} {done.format} rows in {done.out}/{done.file} (sha256 {(done.sha256 or '')[:12]}…)"
