"""False goals and answers put to a panel that says yes to everything: the checks must refuse them, and no true twin."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from agenther_live.labels import Relabeling, Verdict
from agenther_live.relabel import RulesJudge, relabel
from agenther_live.relabel.checks.claims import unheard_deeds
from agenther_live.relabel.checks.predicates import compile_goal, holds
from agenther_live.relabel.checks.telling import out_of_date
from agenther_live.relabel.models import Candidate, Case, Judge, Proposal, Requirement
from agenther_live.relabel.reading.amounts import compare, read_amount
from agenther_live.relabel.reading.calls import view
from agenther_live.relabel.reading.rows import Row
from tests.relabel.build import FAILED, says, system, trajectory, user, uses


class Yes:
    """A judge that accepts what it is given."""

    name = "yes"

    async def judge(self, case: Case, candidate: Candidate) -> Verdict:
        return Verdict(judge=self.name, is_valid=True, confidence=0.95, reason="yes")


@dataclass
class Proposes:
    """A relabeler that has one goal, and cites every call that worked."""

    goal: str
    answer: str
    name: str = "one goal"

    async def propose(self, case: Case, attempt: int, refused: Any) -> Proposal:
        shown = tuple(i for call in case.view.calls if call.ok for i in (call.at, call.observed_at) if i is not None)
        return Proposal(self.goal, 0.95, True, max(shown) + 1, (Requirement(self.goal, shown),), self.answer)


def put(
    asked: str, steps: list[Any], goal: str, answer: str, *, rule: str = "", judge: Judge | None = None
) -> Relabeling:
    messages = [
        system(f"You help. {rule}"),
        user(asked),
        *(each for step in steps for each in uses(*step)),
        says(answer),
    ]
    tools = tuple({"type": "function", "function": {"name": name}} for name in dict.fromkeys(step[0] for step in steps))
    run = trajectory(messages, tools=tools)
    panel = [judge or Yes()]
    return asyncio.run(relabel(run, FAILED, 1, relabeler=Proposes(goal, answer), judges=panel))


def two(column: str, arrow: Any, bolt: Any, **both: Any) -> list[dict[str, Any]]:
    return [{"carrier": "Arrow", column: arrow} | both, {"carrier": "Bolt", column: bolt} | both]


def booked(carrier: str, rows: Any, wish: str, **result: Any) -> Relabeling:
    listed = rows if isinstance(rows, str) else {"carriers": rows} | result
    steps: list[Any] = [("list_carriers", {"city": "Lyon"}, listed)]
    steps.append(("book_carrier", {"carrier": carrier, "city": "Lyon"}, {"status": "confirmed", "carrier": carrier}))
    asked = "Book a carrier to Lyon for less than 5 EUR."
    return put(asked, steps, f"Please book {wish} to Lyon.", f"I booked {carrier} to Lyon.")


FASTEST, CHEAPEST, EARLIEST = "the fastest carrier", "the cheapest carrier", "the carrier with the earliest departure"


@pytest.mark.parametrize(
    ("rows", "wish", "best"),
    [
        (two("delivery", "4-6 days", "2-3 days"), FASTEST, "Bolt"),
        (two("delivery", "three days", "two days"), FASTEST, "Bolt"),
        (two("duration", "3h 20m", "2h 55m"), FASTEST, "Bolt"),
        (two("delivery", "2 days", "18 hours"), FASTEST, "Bolt"),
        ([{"carrier": "Arrow", "lead_days": 3}, {"carrier": "Bolt", "lead_hours": 48}], FASTEST, "Bolt"),
        (two("price", "$1,299.00", "$999.00"), CHEAPEST, "Bolt"),
        (two("price", "1.299,00 €", "999,00 €"), CHEAPEST, "Bolt"),
        (two("price", "from 14 EUR", "from 12 EUR"), CHEAPEST, "Bolt"),
        (two("reviews", "950", "1.2k"), "the carrier with the most reviews", "Bolt"),
        (two("distance", "9 km", "4 miles"), "the nearest carrier", "Bolt"),
        (two("departure", "3 May 2026", "12 April 2026"), EARLIEST, "Bolt"),
        (two("departure", "2026-05-03T01:30+00:00", "2026-05-03T09:00+09:00"), EARLIEST, "Bolt"),
        (two("insured", False, True), "a carrier that is insured", "Bolt"),
        (two("insured", True, False), "a carrier that is not insured", "Bolt"),
        ("Arrow: 14 EUR\nBolt: 12 EUR", CHEAPEST, "Bolt"),
        ("| carrier | price |\n|---|---|\n| Arrow | 14 |\n| Bolt | 12 |", CHEAPEST, "Bolt"),
    ],
)  # fmt: skip
def test_what_can_be_compared_is_compared(rows: Any, wish: str, best: str) -> None:
    assert booked("Arrow", rows, wish).sample is None
    done = booked(best, rows, wish)
    assert done.sample is not None, done.detail


@pytest.mark.parametrize(
    ("rows", "wish"),
    [
        (two("price", "from 12 EUR", "14 EUR"), CHEAPEST),
        (two("price", 12, "on request"), CHEAPEST),
        (two("price", "12 EUR", "11 USD"), CHEAPEST),
        (two("price", "12 EUR plus 9 EUR fee", "14 EUR"), CHEAPEST),
        (two("price", "4 EUR per piece", "30 EUR per box"), CHEAPEST),
        (two("delivery", "3-7 days", "4-5 days"), FASTEST),
        (two("departure", "09:00 JST", "08:30 UTC"), EARLIEST),
        (two("departure", "05/04/2026", "04/06/2026"), EARLIEST),
        ('{"carriers": [{"carrier": "Arrow", "price": 12}, {"carrier": "Bolt", "pri', CHEAPEST),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_not_taught(rows: Any, wish: str) -> None:
    assert booked("Arrow", rows, wish).sample is None


def test_of_a_page_nothing_is_the_best_unless_the_tool_was_asked_to_sort() -> None:
    assert booked("Arrow", two("price", 12, 14), CHEAPEST, has_more=True).sample is None
    assert booked("Arrow", two("price", 12, 14), CHEAPEST, page=2, total_pages=3).sample is None
    assert booked("Arrow", two("price", 12, 14), CHEAPEST).sample is not None
    steps = [
        ("list_carriers", {"city": "Lyon", "sort_by": "price"}, {"carriers": two("price", 12, 14), "has_more": True})
    ]
    told = "Arrow is the cheapest carrier to Lyon."
    assert (
        put(
            "Which carrier to Lyon costs less than 5 EUR?", steps, "Which is the cheapest carrier to Lyon?", told
        ).sample
        is not None
    )
    assert (
        put(
            "Which carrier to Lyon costs less than 5 EUR?",
            [("list_carriers", {"city": "Lyon"}, steps[0][2])],
            "Which is the cheapest carrier to Lyon?",
            told,
        ).sample
        is None
    )


ORDERS = [
    {"order_id": f"A-{n}", "item": item, "status": "open", "total": n * 12.5, "currency": "EUR"}
    for n, item in ((1, "lamp"), (2, "desk"), (3, "sofa"))
]
LISTED = ("list_orders", {"customer": "Ann Lee"}, {"orders": ORDERS})
ASKED = "I am Ann Lee. Please refund my orders A-1, A-2 and A-3 and tell me why."


LOOKED = ("get_user", {"user": "U-7"}, {"user": "U-7", "city": "Lyon"})
UPDATED = ("update_user", {"user": "U-7", "city": "Nice"}, {"status": "updated"})


def moved(**result: Any) -> tuple[str, dict[str, Any], Any]:
    return "move_funds", {"source": "K-1", "target": "K-2", "amount": 250}, {"status": "completed"} | result


def cancel(order: str, result: Any = None) -> tuple[str, dict[str, Any], Any]:
    return "cancel_order", {"order_id": order}, result or {"order_id": order, "status": "cancelled"}


@pytest.mark.parametrize(
    ("steps", "goal", "answer"),
    [
        ([LISTED, cancel("A-1")], "cancel my order A-2", "It is cancelled."),
        ([LISTED, cancel("A-1")], "cancel both my orders A-1 and A-2", "Both are cancelled."),
        ([LISTED, cancel("A-1"), cancel("A-2", {"error": "no"})], "cancel my orders A-1 and A-2", "I cancelled A-1."),
        ([LISTED, cancel("A-1"), cancel("A-2")], "cancel all three of my orders", "They are cancelled."),
        ([LISTED, cancel("A-1")], "cancel all my orders", "They are cancelled."),
        ([LISTED, cancel("A-2"), cancel("A-1")], "cancel A-1, then cancel A-2", "I cancelled both."),
        ([LISTED, cancel("A-2"), cancel("A-1")], "cancel A-1 before you cancel A-2", "I cancelled both."),
        ([LISTED, cancel("A-1", {"message": "Already cancelled."})], "cancel order A-1", "I cancelled order A-1."),
        ([LISTED, cancel("A-1")], "cancel A-1", "I cancelled A-1, and it was refunded to your card."),
        ([LISTED, cancel("A-1")], "cancel A-1", "I cancelled A-1 and emailed you a receipt."),
        ([LISTED], "tell me what A-1 and A-2 cost", "A-1 costs 25 EUR, and A-2 costs 12.50 EUR."),
        ([LISTED], "tell me what A-2 costs", "A-2 costs 25 USD."),
        ([LISTED], "tell me if there are open orders", "There are no orders with status open."),
        ([LOOKED, UPDATED], "move user U-7 to Nice and tell me the city on file", "The city on file is Lyon."),
        ([moved()], "move 250 from K-2 to K-1", "It was moved."),
        ([moved(amount=100)], "move 250 from K-1 to K-2", "It was moved."),
    ],
)  # fmt: skip
def test_parts_orders_and_last_words_that_are_not_so(steps: list[Any], goal: str, answer: str) -> None:
    asked = ASKED + " Move 250 from K-1 to K-2 and U-7 to Nice."
    assert put(asked, steps, f"I am Ann Lee. Please {goal}.", answer).sample is None


@pytest.mark.parametrize(
    ("steps", "goal", "answer"),
    [
        ([LISTED, cancel("A-1"), cancel("A-2")], "cancel my orders A-1 and A-2", "I cancelled A-1 and A-2."),
        ([LISTED, cancel("A-1"), cancel("A-2"), cancel("A-3")], "cancel all my orders", "I cancelled all of them."),
        ([LISTED, cancel("A-1"), cancel("A-2")], "cancel A-1, then cancel A-2", "I cancelled both."),
        ([LISTED], "tell me what A-1 and A-2 cost", "A-1 costs 12.50 EUR, and A-2 costs 25 EUR."),
        ([LISTED], "tell me the status of A-1", "Your order A-1 is open."),
    ],
)  # fmt: skip
def test_parts_orders_and_last_words_that_are_so(steps: list[Any], goal: str, answer: str) -> None:
    done = put(ASKED, steps, f"I am Ann Lee. Please {goal}.", answer)
    assert done.sample is not None, done.detail


@pytest.mark.parametrize(
    ("given", "result"),
    [
        ({"dry_run": True}, {"status": "created"}), ({"mode": "preview"}, {"status": "created"}),
        ({"validate_only": True}, {"status": "created"}), ({"commit": False}, {"status": "created"}),
        ({}, {"status": "created", "environment": "sandbox"}), ({}, {"status": "created", "livemode": False}),
        ({}, {"status": "created", "preview": True}), ({}, "[DRY RUN] Account created for Ann Lee."),
        ({}, {"status": "exists"}), ({}, {"created": False, "id": 7}), ({}, "The account already exists."),
    ],
)  # fmt: skip
def test_a_deed_that_was_only_tried_or_was_so_already(given: dict[str, Any], result: Any) -> None:
    for judge in (Yes(), RulesJudge()):
        steps = [("create_account", {"name": "Ann Lee"} | given, result)]
        goal = "Please create an account for Ann Lee."
        assert (
            put("Ann Lee wants a loan.", steps, goal, "I created the account for Ann Lee.", judge=judge).sample is None
        )
        steps = [("create_account", {"name": "Ann Lee"}, {"status": "created", "dry_run": False})]
        assert put("Ann Lee wants a loan.", steps, goal, "I created the account for Ann Lee.", judge=judge).sample


@pytest.mark.parametrize(
    "rule", ["Accounts are for adults.", "No refunds after 30 days.", "Ask for Ann before you write."]
)
def test_a_policy_without_the_noun_of_the_tool(rule: str) -> None:
    steps = [("create_account", {"name": "Ann Lee"}, {"status": "created"})]
    goal, answer = "Please create an account for Ann Lee.", "I created the account for Ann Lee."
    assert "rules:allowed" in put("Ann Lee wants a loan.", steps, goal, answer, rule=rule, judge=RulesJudge()).detail
    for other in ("Never share passwords.", "Keep answers under 100 words.", "If you are unsure, say so."):
        assert put("Ann Lee wants a loan.", steps, goal, answer, rule=other, judge=RulesJudge()).sample is not None


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
    assert booked("Arrow", text, CHEAPEST).sample is None
    orders = [f"A-{n}" for n in range(300)]
    steps: list[Any] = [("get_order", {"order_id": each}, {"order_id": each, "total": 5}) for each in orders]
    steps += [("cancel_order", {"order_id": each}, {"status": "cancelled", "order_id": each}) for each in orders]
    out = view(trajectory([user("Cancel them."), *(each for step in steps for each in uses(*step)), says("Done.")]))
    assert out_of_date("The total of A-7 is now 5.", out.calls) is not None
    assert out_of_date("I cancelled A-7.", out.calls) is None


def test_what_was_to_be_made_in_a_test_environment_may_be_called_made() -> None:
    steps: list[Any] = [("create_user", {"name": "ann", "environment": "test"}, {"status": "created"})]
    asked, told = "Give ann access to the shop.", "I created the user ann."
    assert put(asked, steps, "Create the user ann in the test environment.", told).sample is not None
    assert put(asked, steps, "Create the user ann.", told).sample is None
