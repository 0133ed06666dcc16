"""How far raters agree on nominal answers: raw, Gwet's AC1 and Krippendorff's α, with answers missing.

Raw agreement is high by itself where nearly all answers are yes, and Cohen's κ and α then fall to 0 for raters who
hardly ever differ; AC1 does not (Gwet 2008, "Computing inter-rater reliability and its variance in the presence of high
agreement"). So all three are told. The view `judge_agreement` computes the same in SQL for two raters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

__all__ = ["Agreement", "agreement"]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Figures over `units` that two raters or more answered; None where a figure is not defined.

    α is not defined where every answer is the same: there is no variation to agree about.
    """

    units: int
    raw: float | None
    ac1: float | None
    alpha: float | None


def agreement(answers: Sequence[Sequence[Hashable | None]], *, categories: int | None = None) -> Agreement:
    """Measure the agreement of any number of raters.

    Args:
        answers: one row per unit with the answer of each rater, None where one gave none.
        categories: how many answers were possible; default: as many as were given. It only moves AC1.

    Sources: raw and AC1 with missing answers by Gwet (Handbook of Inter-Rater Reliability, 4th ed., 2014, ch. 2 and 5),
    α for nominal data by Krippendorff (Computing Krippendorff's Alpha-Reliability, 2011).
    """
    counts = [Counter(answer for answer in unit if answer is not None) for unit in answers]
    counts = [each for each in counts if each]
    pairable = [each for each in counts if each.total() >= 2]
    if not pairable:
        return Agreement(0, None, None, None)
    raw = sum(sum(n * (n - 1) for n in each.values()) / (each.total() * (each.total() - 1)) for each in pairable)
    raw /= len(pairable)
    return Agreement(len(pairable), raw, _ac1(counts, raw, categories), _alpha(pairable))


def _ac1(counts: Sequence[Counter[Hashable]], raw: float, categories: int | None) -> float | None:
    shares: Counter[Hashable] = Counter()
    for each in counts:  # a unit that only one rater answered tells how often an answer is given, too
        for answer, n in each.items():
            shares[answer] += n / each.total() / len(counts)  # type: ignore[assignment]  # a Counter of floats
    possible = max(categories or 0, len(shares))
    if possible < 2:
        return None
    chance = sum(share * (1 - share) for share in shares.values()) / (possible - 1)
    return (raw - chance) / (1 - chance)


def _alpha(pairable: Sequence[Counter[Hashable]]) -> float | None:
    totals: Counter[Hashable] = Counter()
    for each in pairable:
        totals.update(each)
    n = totals.total()
    expected = sum(count * (n - count) for count in totals.values()) / (n * (n - 1))
    if not expected:
        return None
    observed = sum(sum(k * (each.total() - k) for k in each.values()) / (each.total() - 1) for each in pairable) / n
    return 1 - observed / expected
