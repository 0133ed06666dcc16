"""The plots of the report, as SVG text. Needs matplotlib (the extra `report`)."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from agenther_live.errors import UsageError
from agenther_live.report.figures import Figures, Rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plots"]

BLUE, RED, GREEN, GREY = "#3b6fb6", "#c8553d", "#3c8d5a", "#8a8f98"
WIDE, NARROW = (9.0, 3.0), (6.0, 3.2)  # inches
LONGEST = 42  # characters of a label


def plots(figures: Figures) -> list[tuple[str, str]]:
    """Draw what there is something to draw of: pairs of a title and an SVG element.

    Raises:
        UsageError: matplotlib is not installed.
    """
    costs = [row for row in figures.costs if row["calls"]]
    unpriced = sum(row["unpriced_calls"] for row in costs)
    cost = f"Cost by day: at least, since {unpriced:,} calls have no known price" if unpriced else "Cost by day"
    drawn = [
        ("Captured, failed and accepted, by day", figures.days, _over_time, WIDE),
        ("Failure types, and how many of each became samples", figures.failure_types, _failure_types, NARROW),
        ("Refused, by check", figures.refusals, _refusals, NARROW),
        (cost, costs, _costs, WIDE),
        ("Success rate by policy version, with its 95 % interval", figures.rates, _rates, NARROW),
        ("Agreement between judges", figures.agreement, _agreement, NARROW),
    ]
    return [(title, _svg(draw, rows, size)) for title, rows, draw, size in drawn if rows]


def _svg(draw: Callable[[Axes, Rows], None], rows: Rows, size: tuple[float, float]) -> str:
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("the report draws with matplotlib: pip install 'agenther-live[report]'") from None
    # Text stays text, so that it can be searched and read aloud; equal figures give equal bytes.
    settings: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "agenther", "font.family": "sans-serif"}
    with mpl.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the reader's browser has it; here it is only measured
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes, rows)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return re.sub(r"\A.*?(?=<svg)", "", out.getvalue(), flags=re.DOTALL)


def _over_time(axes: Axes, rows: Rows) -> None:
    days = [row["day"] for row in rows]
    for name, color in (("captured", GREY), ("failed", RED), ("accepted", GREEN)):
        axes.plot(days, [row[name] for row in rows], marker="o", markersize=3, color=color, label=name)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("trajectories")
    _whole(axes.yaxis)
    _dates(axes, days)
    axes.legend(frameon=False)


def _failure_types(axes: Axes, rows: Rows) -> None:
    names = [_label(row["failure_type"]) for row in rows]
    axes.barh(names, [row["failures"] for row in rows], color=RED, label="failures")
    axes.barh(names, [row["accepted"] for row in rows], color=GREEN, label="accepted", height=0.4)
    axes.invert_yaxis()
    _whole(axes.xaxis)
    axes.legend(frameon=False)


def _refusals(axes: Axes, rows: Rows) -> None:
    axes.barh([_label(row["reason"]) for row in rows], [row["trajectories"] for row in rows], color=GREY)
    axes.invert_yaxis()
    _whole(axes.xaxis)
    axes.set_xlabel("trajectories")


def _costs(axes: Axes, rows: Rows) -> None:
    axes.bar([row["day"] for row in rows], [float(row["cost_usd"]) for row in rows], color=BLUE, width=0.8)
    axes.set_ylabel("US dollars")
    _dates(axes, [row["day"] for row in rows])


def _rates(axes: Axes, rows: Rows) -> None:
    names = [_label(f"{row['agent']} {row['policy_version'] or ''}".strip()) for row in rows]
    places = range(len(rows))
    rates = [100 * row["success_rate"] for row in rows]
    below = [max(0.0, rate - 100 * row["low"]) for rate, row in zip(rates, rows, strict=True)]
    above = [max(0.0, 100 * row["high"] - rate) for rate, row in zip(rates, rows, strict=True)]
    axes.errorbar(rates, list(places), xerr=[below, above], fmt="o", color=BLUE, capsize=3)
    axes.set_yticks(list(places), names)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of the judged trajectories")


def _agreement(axes: Axes, rows: Rows) -> None:
    names = [_label(f"{row['judge']} – {row['other']} ({row['goals']})") for row in rows]
    axes.barh(names, [100 * row["agreement"] for row in rows], color=BLUE)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of goals, raw; in brackets how many")


def _dates(axes: Any, days: Sequence[date]) -> None:
    from matplotlib import dates

    places: Any = dates.AutoDateLocator(minticks=2, maxticks=8)  # type: ignore[no-untyped-call]
    axes.set_xlim(min(days) - timedelta(days=1), max(days) + timedelta(days=1))
    axes.xaxis.set_major_locator(places)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(places))  # type: ignore[no-untyped-call]


def _whole(axis: Any) -> None:
    """No 0.25 trajectories."""
    axis.get_major_locator().set_params(integer=True)


def _label(text: object) -> str:
    """A foreign text as a label: on one line, short, and never read as a formula."""
    shown = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split()).replace("$", r"\$")
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"
