"""The plots of a run, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from examples.continual_loop.study import MAIN_LIES
from examples.continual_loop.tables import TITLES, by_seed

__all__ = ["draw"]

Record = dict[str, Any]
BLUE, GRAY, ORANGE = "#2a6f97", "#8d99ae", "#d1712b"


def draw(records: Sequence[Record], worlds: dict[str, str], out: Path) -> list[Path]:
    """Draw what the records allow; gives the files."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams |= {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 130}
    made = []
    for world, title in worlds.items():
        here = [record for record in records if record["world"] == world]
        for name, plot in (("arms", _arms), ("curve", _curve), ("rounds", _rounds)):
            figure = plot(here, title)
            if figure is not None:
                made.append(out / f"{name}-{world}.png")
                figure.savefig(made[-1])
    return made


def _figure(title: str, height: float = 3.2) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, height), layout="constrained")
    axes = figure.subplots()
    axes.set_title(f"World {title}", loc="left")
    return figure, axes


def _arms(records: Sequence[Record], title: str) -> Any:
    main = [
        each
        for each in records
        if each["job"] == "arms" and each["lies"] == MAIN_LIES and "curve" not in each and "noise" not in each
    ]
    rows = [(name, values) for arm, name in TITLES.items() if (values := by_seed(main, arm=arm))]
    if not rows:
        return None
    figure, axes = _figure(title, 0.6 + 0.3 * len(rows))
    for at, (name, values) in enumerate(reversed(rows)):
        plain = name in (TITLES["base"], TITLES["lookup"], TITLES["success"])
        axes.barh(at, 100 * fmean(values.values()), color=GRAY if plain else BLUE, height=0.7)
        axes.plot([100 * each for each in values.values()], [at] * len(values), "|", color="black", markersize=7)
    axes.set_yticks(range(len(rows)), [name for name, _ in reversed(rows)])
    axes.set_xlabel("held-out goals reached, % (bars: mean; strokes: seeds)")
    axes.set_xlim(0, 100)
    return figure


def _lines(axes: Any, lines: dict[str, list[tuple[float, dict[int, float]]]]) -> None:
    for (name, points), colour in zip(lines.items(), (GRAY, ORANGE, BLUE), strict=False):
        points = [(x, values) for x, values in points if values]
        axes.plot([x for x, _ in points], [100 * fmean(v.values()) for _, v in points], "o-", color=colour, label=name)
        for x, values in points:
            axes.plot([x] * len(values), [100 * v for v in values.values()], "_", color=colour)
    axes.set_ylabel("held-out goals reached, %")
    axes.set_ylim(0, 100)
    axes.legend(frameon=False)


def _curve(records: Sequence[Record], title: str) -> Any:
    sizes = sorted({record["curve"] for record in records if "curve" in record})
    whole = [each for each in records if each["job"] == "arms" and "curve" not in each and "noise" not in each]
    if not sizes:
        return None
    last = max(record.get("episodes", 0) for record in whole)
    figure, axes = _figure(title)
    lines = {
        name: [
            *((n, by_seed([each for each in records if each.get("curve") == n], arm=arm)) for n in sizes),
            (last, by_seed(whole, arm=arm)),
        ]
        for name, arm in (("lookup table", "lookup"), ("success only", "success"), ("full", "severity"))
    }
    _lines(axes, lines)
    axes.set_xlabel("captured episodes")
    return figure


def _rounds(records: Sequence[Record], title: str) -> Any:
    numbers = sorted({record["round"] for record in records if "round" in record})
    if not numbers:
        return None
    figure, axes = _figure(title)
    lines = {
        name: [(n, by_seed(records, round=n, arm=arm)) for n in numbers]
        for name, arm in (("success only", "success"), ("unverified", "claim"), ("full", "full"))
    }
    _lines(axes, lines)
    axes.set_xlabel("round")
    axes.set_xticks(numbers)
    return figure
