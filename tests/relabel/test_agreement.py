"""Agreement, exact against examples that were published with their answers."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from agenther_live.relabel.agreement import Agreement, agreement


def rows(*raters: str) -> list[list[str | None]]:
    """Units from one text per rater; a dot is no answer."""
    told = [[None if answer == "." else answer for answer in rater.split()] for rater in raters]
    return [list(unit) for unit in zip(*told, strict=True)]


def table(counts: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Units of two raters from a contingency table."""
    return [(i, j) for i, row in enumerate(counts) for j, n in enumerate(row) for _ in range(n)]


# Krippendorff, Computing Krippendorff's Alpha-Reliability (2011): A, two observers with yes and no; B, two observers
# with five names; C, four observers of twelve units with answers missing.
BINARY = rows("0 1 0 0 0 0 0 0 1 0", "1 1 1 0 0 1 0 0 0 0")
NAMES = rows("a a b b d c c c e d d a", "b a b b b c c c e d d d")
MISSING = rows(
    "1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . 3", ". 3 3 3 2 3 4 2 2 5 1 .", "1 2 3 3 2 4 4 1 2 5 1 ."
)


@pytest.mark.parametrize(("units", "alpha"), [(BINARY, 0.095), (NAMES, 0.692), (MISSING, 0.743)])
def test_alpha_as_krippendorff_published_it(units: list[list[str | None]], alpha: float) -> None:
    found = agreement(units).alpha
    assert found is not None
    assert round(found, 3) == alpha


def test_ac1_with_missing_answers_as_gwet_published_it() -> None:
    """The same four observers in Gwet's package irrCAC, data set cac.raw4raters: pa, AC1 and alpha."""
    found = agreement(MISSING)
    assert (found.raw, found.ac1, found.alpha) == pytest.approx((0.8181818, 0.77544, 0.74342), abs=1e-5)
    assert found.units == 11, "a unit that one observer answered pairs with nothing"


def test_ac1_of_a_contingency_table_as_gwet_published_it() -> None:
    """Gwet's package irrCAC, data set cont3x3abstractors: AC1 and Krippendorff's alpha."""
    found = agreement(table([[13, 0, 0], [0, 20, 7], [0, 4, 56]]))
    assert (found.raw, found.ac1, found.alpha) == pytest.approx((0.89, 0.8493305, 0.7972585), abs=1e-7)


def test_ac1_holds_up_where_nearly_all_answers_are_yes() -> None:
    """118 yes, 0 no and 7 differences of 125: Gwet (2002), Kappa statistic is not satisfactory for assessing …"""
    found = agreement(table([[118, 5], [2, 0]]))
    assert found.ac1 == pytest.approx(0.9408, abs=5e-5)
    assert found.alpha is not None
    assert found.alpha < 0


def test_what_cannot_be_measured_is_not() -> None:
    assert agreement([]) == Agreement(0, None, None, None)
    assert agreement([(True, None), (None, False)]) == Agreement(0, None, None, None)
    assert agreement([(True, True)] * 5, categories=2) == Agreement(5, 1.0, 1.0, None)


def test_raters_who_throw_coins_agree_by_chance() -> None:
    rng = random.Random(1)
    found = agreement([[rng.random() < 0.5 for _ in range(3)] for _ in range(5000)])
    assert found.ac1 == pytest.approx(0.0, abs=0.03)
    assert found.alpha == pytest.approx(0.0, abs=0.03)
