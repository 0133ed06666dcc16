"""Certifying a precision: the figures of a single look, and how often a precision is certified that is not there."""

from __future__ import annotations

import math
import random

import pytest

from agenther_live.relabel.trust.certify import LOOKS, certify, labels_needed, limits, lower_bound


@pytest.mark.parametrize(("errors", "labels"), [(0, 99), (1, 157), (2, 208)])
def test_labels_needed_at_a_single_look(errors: int, labels: int) -> None:
    """97 % at one-sided 95 %: 99 labels without an error, 157 with one, 208 with two."""
    assert labels_needed(errors, precision=0.97) == labels
    assert lower_bound(errors, labels, 0.95) >= 0.97 > lower_bound(errors, labels - 1, 0.95)


def test_the_bound_is_clopper_and_pearsons() -> None:
    """Without an error it is α^(1/n); with all in error it is 0."""
    assert lower_bound(0, 100, 0.95) == pytest.approx(0.05 ** (1 / 100), abs=1e-9)
    assert lower_bound(7, 7, 0.95) == 0.0
    # 95 % one-sided of 45 of 50 is the lower end of the two-sided 90 % interval: 0.8009 to 0.9600.
    assert lower_bound(5, 50, 0.95) == pytest.approx(0.8009, abs=5e-4)


def chance(precision: float, confidence: float) -> float:
    """The exact chance to certify at the border, at any look, by how many errors go on from one look to the next."""
    most, _ = limits(precision, confidence)
    alive, before, certified = {0: 1.0}, 0, 0.0
    for look, errors in zip(LOOKS, most, strict=True):
        n, bad = look - before, 1 - precision
        new = [math.comb(n, k) * bad**k * (1 - bad) ** (n - k) for k in range(min(n, 90) + 1)]
        after: dict[int, float] = {}
        for had, p in alive.items():
            for k, q in enumerate(new):
                after[had + k] = after.get(had + k, 0.0) + p * q
        certified += sum(p for had, p in after.items() if had <= errors)
        alive = {had: p for had, p in after.items() if had > errors and p > 1e-12}
        before = look
    return certified


@pytest.mark.parametrize("precision", [0.9, 0.95, 0.97, 0.99])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_a_precision_that_is_not_there_is_hardly_ever_certified(precision: float, confidence: float) -> None:
    assert 0 < chance(precision, confidence) <= 1 - confidence


def test_the_share_of_false_certificates_in_simulation() -> None:
    rng, n = random.Random(7), 800
    series = [[rng.random() < 0.03 for _ in range(LOOKS[-1])] for _ in range(n)]
    exact = chance(0.97, 0.95)
    wrong = sum(certify(one, precision=0.97).certified for one in series) / n
    assert exact <= 0.05
    assert abs(wrong - exact) < 3 * math.sqrt(exact * (1 - exact) / n), "as often as reckoned: not above 5 %"
    # Whoever looks after every ten labels and stops at a good moment certifies far more often than he says.
    needed = [labels_needed(errors, precision=0.97) for errors in range(18)]
    allowed = {n: sum(n >= labels for labels in needed) - 1 for n in range(10, LOOKS[-1] // 2 + 1, 10)}
    peeking = sum(any(sum(one[:n]) <= most for n, most in allowed.items()) for one in series[:300]) / 300
    assert peeking > 0.1


def test_what_is_said_on_the_way() -> None:
    def told(n: int, errors: int = 0) -> tuple[bool, int | None, int | None]:
        found = certify([index < errors for index in range(n)], precision=0.97)
        return found.certified, found.look, found.needed

    assert told(0) == (False, None, 200), "100 labels are too few for a quarter of 5 %"
    assert told(150) == (False, None, 50)
    assert told(200) == (True, 200, None)
    assert told(200, errors=1) == (True, 200, None)
    assert told(200, errors=2) == (False, None, 200)
    assert told(399, errors=2) == (False, None, 1), "labels between two looks decide nothing"
    assert told(400, errors=2) == (True, 400, None)
    assert told(500, errors=13) == (False, None, 300)
    assert told(500, errors=14) == (False, None, None), "too many errors for any look"
    assert told(800, errors=14) == (False, None, None)
    late = certify([*[False] * 200, *[True] * 300], precision=0.97)
    assert late.certified, "what a look certified, labels behind it do not take back"
    assert (late.look, late.errors) == (200, 300)
    assert late.bound is not None
    assert late.bound >= 0.97


def test_a_modest_precision_needs_100() -> None:
    assert certify([False] * 100, precision=0.9).look == 100


@pytest.mark.parametrize(("precision", "confidence"), [(0.0, 0.95), (1.0, 0.95), (0.97, 1.0), (-1, 0.5)])
def test_what_is_no_share_is_refused(precision: float, confidence: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        certify([], precision=precision, confidence=confidence)
