"""The health of a judge: exact, late enough to be sure, and latched until a person clears it."""

from __future__ import annotations

import math
import random

import pytest

from agenther_live.relabel.trust.drift import BASELINE, FIRST, STRIDE, WINDOW, P, fisher_greater, health


def test_fishers_own_example() -> None:
    """The lady who tastes tea: 3 of 4 right has a chance of 17/70, 4 of 4 of 1/70."""
    assert fisher_greater(3, 4, 1, 4) == pytest.approx(17 / 70)
    assert fisher_greater(4, 4, 0, 4) == pytest.approx(1 / 70)
    assert fisher_greater(0, 4, 4, 4) == 1.0


def test_the_test_is_the_hypergeometric_tail() -> None:
    rng = random.Random(3)
    for _ in range(50):
        n, m = rng.randint(1, 40), rng.randint(1, 60)
        a, b = rng.randint(0, n), rng.randint(0, m)
        tail = sum(math.comb(n, x) * math.comb(m, a + b - x) for x in range(a, n + 1) if 0 <= a + b - x <= m)
        assert fisher_greater(a, n, b, m) == pytest.approx(tail / math.comb(n + m, a + b))


def test_nothing_is_said_before_the_first_look() -> None:
    found = health([True] * (FIRST - 1))
    assert (found.canaries, found.accepted, found.p, found.drifting) == (FIRST - 1, FIRST - 1, None, False)
    assert health([]).p is None


def test_a_steady_judge_is_held_against_its_first_200() -> None:
    found = health([index % 20 == 0 for index in range(1000)])
    assert (found.baseline, found.window) == (BASELINE, WINDOW)
    assert (found.baseline_accepted, found.window_accepted, found.drifting) == (10, 5, False)


def test_a_judge_that_is_bad_from_the_start_does_not_drift() -> None:
    """That is no drift; `accepted` tells it."""
    found = health([True] * 500)
    assert (found.drifting, found.accepted, found.p) == (False, 500, 1.0)


def test_a_judge_that_lets_go_is_caught() -> None:
    good, bad = [False] * 300, [index % 3 == 0 for index in range(100)]
    found = health([*good, *bad])
    assert found.drifting
    assert found.p is not None
    assert found.p < P
    assert found.doubtful_from is not None
    assert found.doubtful_from <= 300 <= found.doubtful_from + WINDOW, "what is held begins before it let go"
    again = health([*good, *bad, *[False] * 400])
    assert again.drifting, "it stays so until a person clears it"
    assert again.doubtful_from == found.doubtful_from


def test_small_numbers_are_looked_at_from_100_on() -> None:
    assert health([False] * 50 + [True] * 50).drifting
    assert not health([False] * 50 + [True] * 49).drifting


@pytest.mark.parametrize("rate", [0.02, 0.4])
def test_a_steady_judge_is_hardly_ever_accused(rate: float) -> None:
    """Each look is exact; the nine looks of 500 canaries overlap by half: by simulation 1 to 6 % are accused."""
    rng = random.Random(11)
    accused = sum(health([rng.random() < rate for _ in range(500)]).drifting for _ in range(300))
    assert accused / 300 < 0.08
    assert (500 - FIRST) // STRIDE + 1 == 9
