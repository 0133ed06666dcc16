"""Agreement, against examples that were published with their answers and against the definitions written out."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from agenther_live.relabel.trust.agreement import Agreement, agreement


def rows(*raters: str) -> list[list[str | None]]:
    """Units from one text per rater; a dot is no answer."""
    told = [[None if answer == "." else answer for answer in rater.split()] for rater in raters]
    return [list(unit) for unit in zip(*told, strict=True)]


def table(counts: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Units of two raters from a contingency table."""
    return [(i, j) for i, row in enumerate(counts) for j, n in enumerate(row) for _ in range(n)]


# Data sets of Gwet's package irrCAC with what its functions give, as printed in the README of github.com/kgwet/irrCAC.
RAW4RATERS = rows(
    "1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . .", ". 3 3 3 2 3 4 2 2 5 1 3", "1 2 3 3 2 4 4 1 2 5 1 ."
)
CONT3X3ABSTRACTORS = table([[13, 0, 0], [0, 20, 7], [0, 4, 56]])
DISTRIB6RATERS = [  # how many of six gave each of five answers
    [answer for answer, n in enumerate(counts) for _ in range(n)]
    for counts in (
        *((0, 0, 0, 6, 0), (0, 3, 0, 0, 3), (0, 1, 4, 0, 1), (0, 0, 0, 0, 6), (0, 3, 0, 3, 0)),
        *((2, 0, 4, 0, 0), (0, 0, 4, 0, 2), (2, 0, 3, 1, 0), (2, 0, 0, 4, 0), (0, 0, 0, 0, 6)),
        *((1, 0, 0, 5, 0), (1, 1, 0, 4, 0), (0, 3, 3, 0, 0), (1, 0, 0, 5, 0), (0, 2, 0, 3, 1)),
    )
]


@pytest.mark.parametrize(
    ("units", "raw", "ac1", "alpha"),
    [
        pytest.param(RAW4RATERS, 0.8181818, 0.77544, 0.74342, id="cac.raw4raters"),
        pytest.param(CONT3X3ABSTRACTORS, 0.89, 0.8493305, 0.7972585, id="cont3x3abstractors"),
        pytest.param(DISTRIB6RATERS, 0.5511111, 0.4448007, 0.4204384, id="distrib.6raters"),
    ],
)
def test_as_irrcac_prints_it(units: list[list[str | None]], raw: float, ac1: float, alpha: float) -> None:
    found = agreement(units)
    assert (found.raw, found.ac1, found.alpha) == pytest.approx((raw, ac1, alpha), abs=5e-6)


def pairs(unit: Sequence[object]) -> list[tuple[object, object]]:
    """All ordered pairs of the answers that two different raters gave to a unit."""
    given = [answer for answer in unit if answer is not None]
    return [(a, b) for i, a in enumerate(given) for j, b in enumerate(given) if i != j]


def alpha_by_pairs(units: Sequence[Sequence[object]]) -> float | None:
    """1 - D_o / D_e from the definition: disagreement within units, against that of any two answers to any units.

    A unit of m answers has m (m - 1) ordered pairs, and counts as m answers.
    """
    answered = [[a for a in unit if a is not None] for unit in units]
    answered = [unit for unit in answered if len(unit) > 1]
    n = sum(map(len, answered))
    within = sum(sum(a != b for a, b in pairs(unit)) / (len(unit) - 1) for unit in answered) / n
    among = [a != b for a, b in pairs([a for unit in answered for a in unit])]
    return 1 - within / (sum(among) / len(among)) if any(among) else None


def ac1_by_hand(units: Sequence[Sequence[object]]) -> float | None:
    """(p_a - p_e) / (1 - p_e): p_a over pairs of raters, p_e = sum of pi (1 - pi) / (q - 1), pi mean shares."""
    answered = [[a for a in unit if a is not None] for unit in units]
    answered = [unit for unit in answered if unit]
    paired = [pairs(unit) for unit in answered if len(unit) > 1]
    p_a = sum(sum(a == b for a, b in each) / len(each) for each in paired) / len(paired)
    answers = {a for unit in answered for a in unit}
    if len(answers) < 2:
        return None
    pi = [sum(unit.count(answer) / len(unit) for unit in answered) / len(answered) for answer in answers]
    p_e = sum(share * (1 - share) for share in pi) / (len(answers) - 1)
    return (p_a - p_e) / (1 - p_e)


def test_any_answers_give_what_the_definitions_give() -> None:
    rng = random.Random(7)
    for _ in range(60):
        raters, answers = rng.randint(2, 5), "ab" if rng.random() < 0.4 else "abcd"
        weights = [rng.random() ** 3 + 0.01 for _ in answers]
        units: list[list[str | None]] = [
            [None if rng.random() < 0.2 else rng.choices(answers, weights)[0] for _ in range(raters)]
            for _ in range(rng.randint(3, 25))
        ]
        if sum(len(pairs(unit)) > 0 for unit in units) == 0:
            continue
        found = agreement(units)
        assert found.alpha == (None if (by_pairs := alpha_by_pairs(units)) is None else pytest.approx(by_pairs))
        assert found.ac1 == (None if (by_hand := ac1_by_hand(units)) is None else pytest.approx(by_hand))


def test_ac1_holds_up_where_nearly_all_answers_are_yes() -> None:
    """118 yes, 0 no and 7 differences of 125, where alpha falls below 0."""
    units = table([[118, 5], [2, 0]])
    found = agreement(units)
    assert found.ac1 == pytest.approx(ac1_by_hand(units))
    assert found.ac1 is not None
    assert found.ac1 > 0.9
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
