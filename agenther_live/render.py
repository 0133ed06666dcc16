"""What the command line shows: Rich renderables made from plain data. No I/O.

Text that came from outside is escaped: it can neither style the terminal nor send it control codes.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.markup import escape
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

__all__ = [
    "JsonFormatter",
    "check_report",
    "funnel",
    "harmless",
    "harmless_json",
    "import_report",
    "plain",
    "retraction",
    "status",
    "table",
    "tick_line",
    "tick_report",
]

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


def harmless_json(text: str) -> str:
    """Escape what a terminal could act on in a JSON text, which means the same to whoever parses it."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def harmless(text: str) -> str:
    """Data for a terminal: what it could act on shows as �, lines and tabs stay."""
    return _CONTROL.sub("�", text)


def plain(text: object) -> str:
    """Make foreign text safe to print: no control or invisible characters, no markup."""
    return escape(_CONTROL.sub("�", str(text)))


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, limit: int = 200) -> RenderableType:
    """A result as a table; more than `limit` rows are counted, not shown.

    Where not even the names of the columns fit beside each other, each row stands as a list of its own.
    """
    shown = _Rows([plain(column) for column in columns], rows[:limit])
    if len(rows) > limit:
        return Group(shown, Text(f"… and {len(rows) - limit} more rows; --json prints all", style="dim"))
    return shown if rows else Group(shown, Text("no rows", style="dim"))


@dataclass(frozen=True)
class _Rows:
    """Rows that find their form when it is known how wide the terminal is."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Give a table, or a list for each row."""
        names = sum(cell_len(name) + 3 for name in self.columns) + 1  # a space on either side, and a line
        if names <= options.max_width:
            shown = Table(header_style="bold", pad_edge=False)
            for name in self.columns:
                shown.add_column(name, overflow="fold", min_width=cell_len(name))
            for row in self.rows:
                shown.add_row(*map(_cell, row))
            yield shown
            return
        if not self.rows:
            yield Text.from_markup(", ".join(self.columns), style="bold")
        for number, row in enumerate(self.rows, 1):
            yield Rule(f"row {number}", align="left", style="dim")
            listed = Table.grid(padding=(0, 2))
            listed.add_column(style="bold", no_wrap=True)
            listed.add_column(overflow="fold")
            for name, value in zip(self.columns, row, strict=True):
                listed.add_row(name, _cell(value))
            yield listed


def _cell(value: object) -> str:
    return "" if value is None else plain(value)


def funnel(steps: Sequence[Mapping[str, Any]]) -> RenderableType:
    """The funnel's steps {step, n, dropped: {reason: n}}: how many came so far, and what was dropped on the way."""
    most = max((step["n"] for step in steps), default=0) or 1
    shown = Table.grid(padding=(0, 2))
    shown.add_column()
    shown.add_column(justify="right")
    shown.add_column(no_wrap=True)
    shown.add_column(style="dim", overflow="fold")
    for step in steps:
        bar = Text("█" * (max(1, round(24 * step["n"] / most)) if step["n"] else 0), style="cyan")
        dropped = ", ".join(f"{n} {_CONTROL.sub('�', reason)}" for reason, n in step["dropped"].items())
        shown.add_row(step["step"], f"{step['n']:,}", bar, Text(f"− {dropped}" if dropped else ""))
    return shown


def status(figures: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> RenderableType:
    """The figures of a home, funnel first."""
    known = {step["step"] for step in steps}
    shown = Table.grid(padding=(0, 2))
    for name, value in figures.items():
        if name not in known:
            shown.add_row(name.replace("_", " "), plain("\n".join(_lines(value))))
    return Group(funnel(steps), Text(), shown)


def _lines(value: object) -> Iterator[str]:
    """A figure, or each figure of a group on a line of its own."""
    if not isinstance(value, Mapping):
        yield _figure(value)
        return
    for name, one in value.items():
        yield f"{str(name).replace('_', ' ')}: {_figure(one)}"
    if not value:
        yield "–"


def _figure(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.4f}".rstrip("0").rstrip(".")
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {_figure(one)}" for name, one in value.items()) or "–"
    if isinstance(value, list | tuple):
        return ", ".join(map(_figure, value)) or "–"
    return f"{value:,}" if isinstance(value, int) else str(value)


def tick_line(report: Any) -> str:
    """One line for a progress bar."""
    return f"{report.ingested} ingested, {sum(report.relabeled.values())} relabeled, {len(report.shards)} shards"


def tick_report(report: Any) -> RenderableType:
    """What a tick did, in words."""
    moved = ", ".join(f"{count} {stage}" for stage, count in sorted(report.relabeled.items())) or "none relabeled"
    lines = [f"{report.ingested} runs ingested · {moved} · {len(report.shards)} shards · {report.seconds:.1f} s"]
    if report.damage:
        lines.append("[yellow]damaged:[/yellow] " + ", ".join(f"{n} {what}" for what, n in report.damage.items()))
    if report.paused:
        lines.append(f"[yellow]paused:[/yellow] {plain(report.paused)}")
    return "\n".join(lines)


def import_report(read: int, imported: int, refused: Sequence[Mapping[str, Any]]) -> RenderableType:
    """How many records came in, and which did not."""
    lines = [f"{read:,} read, {imported:,} imported, {len(refused):,} refused"]
    for r in refused[:20]:
        place = f":{r['line']}" if r["line"] else ""  # line 0 is the file itself
        lines.append(f"  {plain(r['file'])}{place}: {plain(r['reason'])}")
    if len(refused) > 20:
        lines.append(f"  … and {len(refused) - 20} more; --json names all")
    return "\n".join(lines)


def check_report(report: Any) -> RenderableType:
    """What `shards check` found."""
    lines = [f"{report.checked:,} rows checked, {len(report.bad):,} bad"]
    lines += [f"  {plain(bad.path)}:{bad.row}: {plain(bad.reason)}" for bad in report.bad[:20]]
    lines += [f"  [yellow]{plain(one.path)}:[/yellow] {plain(one.reason)}" for one in report.warnings[:20]]
    return "\n".join(lines)


def retraction(done: Any) -> RenderableType:
    """What `shards retract` did."""
    lines = [f"{len(done.samples):,} samples {'would be taken' if done.dry_run else 'taken'} back"]
    if done.shards:
        lines.append(f"held by {plain(', '.join(done.shards))}")
    if done.published and done.retraction is not None:
        instead = f", replaced by {', '.join(done.replaced_by)}" if done.replaced_by else ""
        lines.append(plain(f"published as retraction {done.retraction}{instead}"))
    elif done.shards and not done.dry_run:
        lines.append("the worker of this home publishes it at its next tick")
    for one in done.readers:
        version = f", trained {one.policy_version}" if one.policy_version else ""
        read = f"{one.format} up to shard {one.seq}{version}" if one.format != "?" else "its note cannot be read"
        lines.append(plain(f"read by {one.consumer} ({read})"))
    return "\n".join(lines)


class JsonFormatter(logging.Formatter):
    """Log records as one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Give time (ISO, local), level, logger, message, and the exception if there is one."""
        fields: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False, default=str)
