"""How bad a failure is: v = 1 − w, w = exp(−P / 2N).

P sums the penalty points of the errors in the span that is kept (MQM's scale: 1 minor, 5 major, 25 critical), N is
max(5, steps of that span). The paper (arXiv 2603.21357, stage 1) gives the ranges: minor failures weigh 0.3 to 1, major
ones below 0.3, and what weighs less than δ = 0.3 is discarded. The formula is ours; with a smaller or capped N it would
measure length.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

__all__ = ["POINTS", "Level", "severity", "weight"]

Level = Literal["minor", "major", "critical"]
POINTS: dict[Level, int] = {"minor": 1, "major": 5, "critical": 25}
LEAST_STEPS = 5


def weight(levels: Iterable[Level], steps: int) -> float:
    """The weight w in (0, 1] of a span of so many steps with these errors; 1 = no error at all."""
    points = sum(POINTS[level] for level in levels)
    return math.exp(-points / (2 * max(LEAST_STEPS, steps)))


def severity(levels: Iterable[Level], steps: int) -> float:
    """The severity v = 1 − w in [0, 1)."""
    return 1.0 - weight(levels, steps)
