"""Is the precision of accepted labels at least so high? An exact answer from a person's labels, at fixed looks.

Looking after every few labels and stopping at a good moment certifies falsely far more often than it says. So the
looks are fixed beforehand (100, 200, 400 and 800 labels) and the error is split over them: each gets a quarter of it,
and what a look cannot use (exact tests have steps) goes on to the next. By the union bound the chance to certify a
precision that is not there, at any look, is at most 1 − confidence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["LOOKS", "Certificate", "certify", "labels_needed", "limits", "lower_bound"]

LOOKS = (100, 200, 400, 800)


@dataclass(frozen=True, slots=True)
class Certificate:
    """What so many labels say. `needed` is None where it is certified, and where no label can change it any more.

    `look` is the look that certified it, `bound` the lower bound of precision that held there; where nothing is
    certified, `bound` is that of the last look that passed, None before the first.
    """

    certified: bool
    labels: int
    errors: int
    look: int | None
    bound: float | None
    needed: int | None


def certify(rejected: Sequence[bool], *, precision: float, confidence: float = 0.95) -> Certificate:
    """Decide from labels in the order in which they were given (true: the person rejected the pair).

    Only the first 100, 200, 400 and 800 labels are looked at; labels between two looks decide nothing yet. `needed`
    supposes that no further label is a rejection.

    Raises:
        ValueError: `precision` or `confidence` does not lie between 0 and 1.
    """
    allowed, shares = limits(precision, confidence)
    n, errors = len(rejected), sum(rejected)
    passed = [(look, most, share) for look, most, share in zip(LOOKS, allowed, shares, strict=True) if look <= n]
    by = next((each for each in passed if sum(rejected[: each[0]]) <= each[1]), None)
    bound = None
    if (seen := by or (passed[-1] if passed else None)) is not None:
        bound = lower_bound(sum(rejected[: seen[0]]), seen[0], 1 - seen[2])
    if by is not None:
        return Certificate(True, n, errors, by[0], bound, None)
    needed = next((look - n for look, most in zip(LOOKS, allowed, strict=True) if look > n and errors <= most), None)
    return Certificate(False, n, errors, None, bound, needed)


@lru_cache(maxsize=64)
def limits(precision: float, confidence: float) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """For each look the most rejections that certify (−1: none can) and the share of the error that it spends.

    Raises:
        ValueError: `precision` or `confidence` does not lie between 0 and 1.
    """
    for name, value in (("precision", precision), ("confidence", confidence)):
        if not 0 < value < 1:
            raise ValueError(f"{name} = {value!r}: between 0 and 1")
    left, most, shares = 0.0, [], []
    for look in LOOKS:
        share = left + (1 - confidence) / len(LOOKS)
        errors, spent = -1, 0.0
        while errors < look and (chance := _at_most(errors + 1, look, 1 - precision)) <= share:
            errors, spent = errors + 1, chance
        most.append(errors)
        shares.append(share)
        left = share - spent
    return tuple(most), tuple(shares)


def labels_needed(errors: int, *, precision: float, confidence: float = 0.95) -> int:
    """The fewest labels that certify with so many errors among them, at a single look fixed beforehand."""
    n = errors + 1
    while _at_most(errors, n, 1 - precision) > 1 - confidence:
        n += 1
    return n


def lower_bound(errors: int, n: int, confidence: float) -> float:
    """The exact one-sided lower bound of a share of which `errors` of `n` are missing (Clopper and Pearson 1934)."""
    if errors >= n:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(30):  # bisection: P(at most so many errors) grows with the precision
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(errors, n, 1 - middle) <= 1 - confidence else (low, middle)
    return low


def _at_most(k: int, n: int, p: float) -> float:
    """P(X ≤ k) for X binomial, 0 < p < 1; by logarithms, since (1 − p)^n may be too small for a float."""
    whole, yes, no = math.lgamma(n + 1), math.log(p), math.log1p(-p)
    return math.fsum(
        math.exp(whole - math.lgamma(x + 1) - math.lgamma(n - x + 1) + x * yes + (n - x) * no) for x in range(k + 1)
    )
