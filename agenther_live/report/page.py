"""The page itself: one HTML text that needs no server, no script and nothing from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from html import escape
from typing import Any

from agenther_live.report.figures import Figures
from agenther_live.report.plots import plots

__all__ = ["page"]

# No script runs and nothing is loaded, whatever text an agent's runs brought in.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#22262d;background:#fafafa;max-width:64rem;margin:2rem auto;
padding:0 1rem}
h1{font-size:1.6rem;margin:0}h2{font-size:1.1rem;margin:2.2rem 0 .6rem}p.note{color:#69707c;margin:.2rem 0}
section.plots{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0;background:#fff;border:1px solid #e3e5e8;
border-radius:6px;padding:.8rem;flex:1 1 26rem}figure.wide{flex-basis:100%}figcaption{font-weight:600}
svg{width:100%;height:auto}table{border-collapse:collapse;width:100%;background:#fff}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #e9ebee;vertical-align:top;overflow-wrap:anywhere}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
"""
_INVISIBLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_WIDE = ("Captured", "Cost")
_FIGURES = {
    "paused_reason": "paused",
    "journal_lag_seconds": "journal lag, seconds",
    "last_tick_at": "last tick",
    "oldest_pending_at": "oldest pending sample",
    "dropped": "dropped runs",
    "llm_calls": "model calls",
    "prompt_tokens": "tokens sent",
    "completion_tokens": "tokens received",
    "cost_usd": "cost, US dollars",
    "spend_today_usd": "spent today, US dollars",
}


def page(figures: Figures, *, home: str, now: datetime) -> str:
    """Write the page.

    Args:
        figures: what `collect` gave.
        home: the home's name, as it is shown.
        now: naive UTC time, as it is shown.

    Raises:
        UsageError: matplotlib is not installed.
    """
    drawn = [
        f'<figure class="{"wide" if title.startswith(_WIDE) else ""}">'
        f"<figcaption>{_safe(title)}</figcaption>{svg}</figure>"
        for title, svg in plots(figures)
    ]
    funnel = [
        (step["step"], step["n"], ", ".join(f"{n} {reason}" for reason, n in step["dropped"].items()))
        for step in figures.funnel
    ]
    parts = [
        f"<h1>Replay buffer of {_safe(home)}</h1>",
        f'<p class="note">As of {now:%Y-%m-%d %H:%M} UTC. What is drawn covers what the buffer still holds.</p>',
        "<h2>Funnel</h2>",
        _table(("step", "trajectories", "dropped here, and why"), funnel),
        "<h2>Plots</h2>",
        f'<section class="plots">{"".join(drawn)}</section>' if drawn else "<p>Nothing to draw yet.</p>",
        "<h2>Figures</h2>",
        _table(("figure", "now"), [(words, _figure(figures.status.get(name))) for name, words in _FIGURES.items()]),
    ]
    if figures.goals:
        rows = [
            (row["agent"], row["goal"], row["hindsight_goal"], row["failure_type"], _figure(row["confidence"]))
            for row in figures.goals
        ]
        head = ("agent", "asked", "what it did achieve", "failed by", "confidence")
        parts += ["<h2>Newest accepted goals</h2>", _table(head, rows)]
    title = f"<title>{_safe(home)}: replay buffer</title>"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="viewport" content="width=device-width">{title}<style>{_STYLE}</style></head>\n'
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    numbers = [bool(rows) and all(isinstance(row[i], int | float) for row in rows) for i in range(len(head))]
    kinds = [' class="n"' if number else "" for number in numbers]
    first = "".join(f"<th{kind}>{_safe(name)}</th>" for name, kind in zip(head, kinds, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{_cell(cell)}</td>" for cell, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{first}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else _safe(value)


def _figure(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.4f}".rstrip("0").rstrip(".")
    return f"{value:,}" if isinstance(value, int) else str(value)


def _safe(text: object) -> str:
    """Foreign text as HTML: no markup, no control or invisible characters, no page-long cell."""
    shown = _INVISIBLE.sub("\N{REPLACEMENT CHARACTER}", "–" if text is None else str(text))
    return escape(shown if len(shown) <= 600 else shown[:599] + "…")
