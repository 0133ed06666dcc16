"""False goals and answers put to a panel that says yes to everything: the checks must refuse them, and no true twin.

The cases lie in `lies.jsonl`, one a line: add yours at its end (`lies.py` says what a line holds). Here are the test of
them all, and tests of single readings. `python benchmarks/lies.py` makes tables of the same cases.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agenther_live.relabel.checks.claims import unheard_deeds
from agenther_live.relabel.checks.predicates import compile_goal, holds
from agenther_live.relabel.checks.telling import out_of_date
from agenther_live.relabel.reading.amounts import compare, read_amount
from agenther_live.relabel.reading.calls import view
from agenther_live.relabel.reading.rows import Row
from agenther_live.relabel.reading.spelled import spelled
from tests.relabel.build import says, trajectory, user, uses
from tests.relabel.lies import lies, teach

CASES = lies()


@pytest.mark.parametrize("kind", sorted({each.kind for each in CASES}))
def test_false_ones_are_refused_and_true_ones_are_taught(kind: str) -> None:
    wrong = []
    for each in CASES:
        if each.kind == kind and (each.judge != "yes" or not each.known):
            done = teach(each)
            if (done.sample is not None) != each.true:
                wrong.append(f"{each.id} is {each.true}, and was {done.reason}: {done.detail}")
    assert not wrong


def test_the_cases_are_told_apart_and_no_case_stands_twice() -> None:
    assert len({each.id for each in CASES}) == len(CASES)
    assert len({repr((e.prompt, e.asked, e.steps, e.goal, e.answer)) for e in CASES}) == len(CASES)


@pytest.mark.parametrize(
    ("text", "low", "high", "kind"),
    [
        ("4-6 days", 96, 144, "time"), ("1 hour and 20 minutes", 4 / 3, 4 / 3, "time"), ("2-day", 48, 48, "time"),
        ("2 business days", 2, 2, "workday"), ("5+ days", 120, float("inf"), "time"), ("up to 5 days", 0, 120, "time"),
        ("$5 - $7.50", 5, 7.5, "money:usd"), ("120 EUR per night", 120, 120, "money:eur/night"),
        ("4.5/5", 4.5, 4.5, "/5"),
        ("1,2 km", 1.2, 1.2, "distance"), ("10%", 10, 10, "%"), ("12 reviews", 12, 12, "review"),
    ],
)  # fmt: skip
def test_figures_in_words(text: str, low: float, high: float, kind: str) -> None:
    found = read_amount(text)
    assert found is not None
    assert (found.low, found.high, found.kind) == (pytest.approx(low), pytest.approx(high), kind)
    assert compare(found, found) == 0


@pytest.mark.parametrize(
    "text", ["A-12", "HAT123", "12 Main St", "1.299 €", "05/04/2026", "on request", "-5", "", "6-4 days", "next day"]
)
def test_what_is_no_figure(text: str) -> None:
    assert read_amount(text) is None


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("Two nights for four at a dozen places", ["2", "4", "12"]), ("from nine to five", ["9", "5"]),
        ("the cheapest one, one of them, one night", []), ("two dozen, twenty-one, twenty one, two and a half", []),
        ("Ocean's Eleven at two o'clock, two thirds, a second", []),
    ],
)  # fmt: skip
def test_numbers_in_words(text: str, numbers: list[str]) -> None:
    assert [each.norm for each in spelled(text)] == numbers


def test_a_limit_is_held_against_figures_in_words_and_in_other_units() -> None:
    def keeps(limit: str, **cells: Any) -> bool | None:
        [bound] = compile_goal(limit)
        return holds(bound, Row(cells, 0))  # type: ignore[arg-type]

    assert keeps("within 48 hours", delivery_days=3) is False
    assert keeps("within 5 days", delivery="4-5 days") is True
    assert keeps("within 5 days", delivery="6-8 days") is False
    assert keeps("within 5 days", delivery="4-6 days") is None
    assert keeps("within 7 days", delivery="3 business days") is True
    assert keeps("within 5 km", distance_miles=5) is False
    assert keeps("for at most 10 EUR", price="9,50 €") is True
    assert keeps("for at most 10 USD", price="9 EUR") is None


def test_a_deed_that_somebody_heard_of() -> None:
    run = trajectory(
        [user("Was my lamp shipped?"), *uses("get_order", {"id": "A-1"}, {"note": "refund sent"}), says("x")]
    )
    for text, told in {
        "It was refunded.": False,
        "It was shipped.": False,
        "It was delivered.": True,
        "We delivered it.": True,
        "It will be delivered.": False,
    }.items():
        assert bool(unheard_deeds(text, view(run))) is told, text


def test_hostile_lists_and_many_calls_cost_no_more_than_their_length() -> None:
    """No clock: each took tens of seconds where a check looked at everything again for everything."""
    text = "\n".join(["Arrow: 14 EUR", "Bolt: 12 EUR", *["1," * 200, "1" * 400] * 199])
    listed = next(each for each in CASES if each.steps[0][2] == "Arrow: 14 EUR\nBolt: 12 EUR" and not each.true)
    assert teach(replace(listed, steps=[[*listed.steps[0][:2], text], *listed.steps[1:]])).sample is None
    orders = [f"A-{n}" for n in range(300)]
    steps: list[Any] = [("get_order", {"order_id": each}, {"order_id": each, "total": 5}) for each in orders]
    steps += [("cancel_order", {"order_id": each}, {"status": "cancelled", "order_id": each}) for each in orders]
    out = view(trajectory([user("Cancel them."), *(each for step in steps for each in uses(*step)), says("Done.")]))
    assert out_of_date("The total of A-7 is now 5.", out.calls) is not None
    assert out_of_date("I cancelled A-7.", out.calls) is None
