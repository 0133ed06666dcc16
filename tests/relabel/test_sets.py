"""How many there are, and of which it must be one: compiled, and held against rows."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from agenther_live.relabel import RulesJudge, TemplateRelabeler, relabel
from agenther_live.relabel.checks.checks import refute
from agenther_live.relabel.checks.grounds import evaluate, ground_of
from agenther_live.relabel.checks.predicates import compile_goal
from agenther_live.relabel.checks.sets import HowMany, OneOf
from agenther_live.relabel.demonstrate import demonstrate
from agenther_live.relabel.models import Proposal, Requirement
from agenther_live.relabel.templates.template import compose
from agenther_live.trajectory import Trajectory
from tests.relabel.build import FAILED, says, trajectory, user, uses
from tests.relabel.test_ground import case
from tests.relabel.world import bought

ORDERS = [
    {"order_id": "A1", "status": "pending", "total": 40.0, "express": True},
    {"order_id": "A2", "status": "shipped", "total": 90.0, "express": False},
    {"order_id": "A3", "status": "pending", "total": 120.0, "express": True},
]


def listed(goal: str = "Cancel all orders of Ann Lee.", **result: Any) -> Trajectory:
    found = {"orders": ORDERS} | result
    return trajectory([user(goal), *uses("list_orders", {"customer": "Ann Lee"}, found), says("I could not do it.")])


def proven(run: Trajectory, goal: str, answer: str | None) -> list[bool | None]:
    """What is proven of each set that the goal speaks of."""
    about = case(run)
    seen = tuple(i for call in about.view.calls if call.ok for i in (call.at, call.observed_at) if i is not None)
    made = Proposal(goal, 1.0, True, max(seen) + 1, (Requirement(goal, seen),), answer)
    ground = ground_of(about, demonstrate(about, made))
    return [evaluate(ground, each) for each in compile_goal(goal) if isinstance(each, HowMany | OneOf)]


@pytest.mark.parametrize(
    ("goal", "answer", "so"),
    [
        ("How many orders does Ann Lee have?", "Ann Lee has 3 orders.", True),
        ("How many orders does Ann Lee have?", "There are three open orders.", True),
        ("How many orders does Ann Lee have?", "Ann Lee has 2 orders.", False),
        ("How many orders does Ann Lee have?", "They are A1, A2 and A3.", None),
        ("How many orders does Ann Lee have?", None, None),
        ("How many pending orders does Ann Lee have?", "She has 2 pending orders.", True),
        ("How many pending orders does Ann Lee have?", "She has 3 orders.", False),
        ("How many express orders does Ann Lee have?", "She has 2 orders of that kind.", True),
        ("How many late orders does Ann Lee have?", "She has 2 late orders.", None),
        ("How many orders of Ann Lee cost less than 100 EUR?", "2 orders of hers do.", None),
        ("How many orders of Ann Lee are for less than 100 EUR?", "2 orders of hers are.", True),
        ("How many orders of Ann Lee are for less than 100 EUR?", "3 orders of hers are.", False),
        ("How many invoices does Ann Lee have?", "She has 3 invoices.", None),
        ("Tell me the number of orders of Ann Lee, and cancel them.", "There are 3 orders.", True),
        ("Tell me the number of orders of Ann Lee.", "There are 3 orders.", True),
    ],
)
def test_how_many(goal: str, answer: str | None, so: bool | None) -> None:
    assert proven(listed(), goal, answer) == [so]


def test_a_list_that_has_more_pages_counts_nothing() -> None:
    assert proven(listed(has_more=True), "How many orders does Ann Lee have?", "Ann Lee has 3 orders.") == [None]
    assert compile_goal("Please change the number of guests to four.") == ()


def test_lists_of_two_questions_are_told_apart_by_what_was_asked() -> None:
    both = [{"supplier": "Acme"}, {"supplier": "Bolt & Co"}]
    messages = [user("?"), *uses("list_suppliers", {"item": "hex nut"}, {"suppliers": both})]
    messages += uses("list_suppliers", {"item": "washer"}, {"suppliers": [*both, {"supplier": "Corvo"}]})
    run = trajectory([*messages, says("Well.")])
    assert proven(run, "How many suppliers are there for washers?", "There are 3 suppliers.") == [True]
    assert proven(run, "How many suppliers are there for hex nuts?", "There are 3 suppliers.") == [False]
    assert proven(run, "How many suppliers are there?", "There are 5 suppliers.") == [None]


def test_a_wrong_count_is_refused_before_any_judge() -> None:
    about = case(listed("How many of the orders of Ann Lee were lost?"))
    made, *_ = compose(about)
    assert made.final_answer == "There are 3 orders with customer Ann Lee."
    assert refute(about, demonstrate(about, made)) is None
    fault = refute(about, demonstrate(about, replace(made, final_answer="There are 2 orders with customer Ann Lee.")))
    assert fault is not None
    assert fault.reason == "check:constraint"


@pytest.mark.parametrize(
    ("goal", "answer"),
    [
        ("How many of the orders of Ann Lee were lost?", "There are 3 orders with customer Ann Lee."),
        ("How many orders of Ann Lee for less than 100 EUR are lost?", "There are 2 orders with customer Ann Lee"),
    ],
)
def test_the_template_asks_for_the_number_of_what_was_listed(goal: str, answer: str) -> None:
    done = asyncio.run(relabel(listed(goal), FAILED, 1, relabeler=TemplateRelabeler(), judges=[RulesJudge()]))
    assert done.sample is not None, [(each.hindsight_goal, each.reason, each.detail) for each in done.goals]
    assert "how many orders there are" in done.sample.goal
    assert done.sample.messages[-1].message.text.startswith(answer)


@pytest.mark.parametrize(
    ("who", "so"),
    [
        ("from Acme or Bolt & Co", True),
        ("from Acme, Bolt & Co or Corvo", True),
        ("from Acme or Corvo", False),
        ("from any supplier except Acme", True),
        ("not from Acme or Corvo", True),
        ("not from Bolt & Co", False),
        ("from anyone other than Bolt & Co", False),
        ("from Dorn or Ems", None),
        ("not from Dorn", None),
    ],
)
def test_one_of_several(who: str, so: bool | None) -> None:
    assert proven(bought(), f"Please order 40 hex bolts for Lyon, {who}.", "I ordered them.") == [so]


def test_which_of_two_is_answered_by_one_of_them() -> None:
    run = trajectory([user("?"), *uses("search", {"q": "Ann Lee"}, "Ann Lee, born 1950."), says("Ann Lee")])
    assert proven(run, "Who is older, Ann Lee or Bob Ray?", "Ann Lee is older.") == [True]
    assert proven(run, "Who is older, Ann Lee or Bob Ray?", "They are twins.") == [None]
    assert proven(run, "Who is older, Ann Lee or Bob Ray?", "Bob Ray, not Ann Lee.") == [None]
