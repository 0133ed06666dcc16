"""Grounding, predicates and tables: what a goal says must be shown by what the run saw."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agenther_live.labels import Analysis
from agenther_live.relabel.checks.checks import refute, same_goal
from agenther_live.relabel.checks.claims import claims, false_claims, false_reads
from agenther_live.relabel.checks.doubts import doubts
from agenther_live.relabel.checks.predicates import Bound, Count, Superlative, compile_goal, holds
from agenther_live.relabel.demonstrate import demonstrate
from agenther_live.relabel.extract import RulesExtractor
from agenther_live.relabel.models import Case, Policy, Proposal
from agenther_live.relabel.reading.calls import kind_of, parse, view
from agenther_live.relabel.reading.knowledge import Knowledge
from agenther_live.relabel.reading.mentions import find_mentions, number, stem
from agenther_live.relabel.reading.rows import Row, select, tables
from agenther_live.relabel.templates.template import compose
from agenther_live.trajectory import Trajectory
from tests.relabel.build import FAILED, says, system, trajectory, user, uses
from tests.relabel.world import FAILED_GOAL, OFFERS, TRUE_GOAL, bought


def case(run: Trajectory) -> Case:
    analysis = Analysis(
        trajectory_id=run.trajectory_id, failure_type="wrong_result", severity=0.0, weight=1.0, recoverable=True
    )
    bare = Case(run, FAILED, 1, view(run), Policy(), analysis)
    return replace(bare, extraction=asyncio.run(RulesExtractor().extract(bare)))


def fault(run: Trajectory, **changes: Any) -> str | None:
    """What the checks find against the composed goal with these changes."""
    about = case(run)
    made: Proposal = replace(compose(about)[0], **changes)
    candidate = demonstrate(about, made)
    found = refute(about, candidate) or doubts(about, candidate)
    return found.reason if found else None


# --- mentions ---------------------------------------------------------------------------------------------------------


@given(st.decimals(min_value=0, max_value=10**9, places=2))
def test_a_number_is_the_same_in_every_writing(value: Any) -> None:
    forms = [f"{value}", f"{value:,}", f"${value:,}", f"{value:,} EUR", f'"total": {value}']
    found = {mention.norm for form in forms for mention in find_mentions(form) if mention.kind == "number"}
    assert found == {number(str(value))}


@pytest.mark.parametrize(
    ("text", "kind", "norm"),
    [
        ("on May 20, 2024", "date", "2024-05-20"),
        ("on 20 May 2024", "date", "2024-05-20"),
        ("on 2024-05-20", "date", "2024-05-20"),
        ("on May 20", "date", "05-20"),
        ("at 3pm", "time", "15:00"),
        ("at 15:00:00", "time", "15:00"),
        ("order #W2378156", "id", "w2378156"),
        ("user yusuf_rossi_9620", "id", "yusuf_rossi_9620"),
        ("mail ann@example.com now", "email", "ann@example.com"),
        ("see https://example.com/a?b=1.", "url", "https://example.com/a?b=1"),
        ('called "The Long Road"', "quoted", "the long road"),
        ("from Fjord & Sons today", "name", "fjord sons"),
        ("weighs 40kg", "number", "40"),
    ],
)
def test_mentions(text: str, kind: str, norm: str) -> None:
    assert [(mention.kind, mention.norm) for mention in find_mentions(text)] == [(kind, norm)]


def test_words_that_begin_sentences_are_no_names() -> None:
    assert find_mentions("Please order bolts. Compare them first. Then tell me.") == ()
    assert [mention.norm for mention in find_mentions("Find Acme. Is Acme cheap?")] == ["acme", "acme"]


@given(st.text(max_size=300))
def test_mentions_of_any_text_stand_where_they_say(text: str) -> None:
    for mention in find_mentions(text):
        assert text[mention.start : mention.end] == mention.text
        assert mention.norm


# --- the run ----------------------------------------------------------------------------------------------------------


def test_values_in_every_writing_of_results() -> None:
    assert parse('{"error": "", "response": "[{\\"name\\": \\"x\\"}]"}') == {"error": "", "response": [{"name": "x"}]}
    assert parse("{'a': True, 'b': None}") == {"a": True, "b": None}
    assert parse("just text") is None
    assert parse("[not json") is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("get_quote", "read"), ("shipping_quote", "read"), ("listOrders", "read"), ("searchFlights", "read"),
        ("get_order_details", "read"), ("place_order", "write"), ("cancel_pending_order", "write"),
        ("book-flight", "write"),
        ("send_email", "write"), ("bash", "unknown"), ("click", "unknown"), ("weather", "read"),
    ],
)  # fmt: skip
def test_reads_and_writes_by_name(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_what_is_known_of_a_tool_beats_its_name() -> None:
    assert kind_of("get_money", {"get_money": "write"}) == "write"
    assert kind_of("bash", None, {"annotations": {"readOnlyHint": True}}) == "read"


@pytest.mark.parametrize(
    ("result", "why"),
    [
        ("Error: no such order", "refused"), ('{"error": "timeout"}', "refused"), ('{"success": false}', "refused"),
        ('{"status": 500}', "refused"), ("[]", "empty"), ("{}", ""), ("", "empty"), ('{"rows": []}', "empty"),
        ('{"error": null, "rows": [1]}', ""), ("12.0", ""), ("Could not find it.", "refused"),
        ("The error rate is 3 %.", ""),
        ('{"error": "", "response": "{\'success\': False, \'message\': \'not found\'}"}', "refused"),
    ],
)  # fmt: skip
def test_which_calls_worked(result: str, why: str) -> None:
    run = trajectory([user("x"), *uses("get_it", {}, result), says("done")])
    assert view(run).calls[0].why == why


@pytest.mark.parametrize(
    ("result", "worked"),
    [
        ('{"order_id": 7, "status": "confirmed"}', True),
        ('{"order_id": 7, "status": "not confirmed"}', False),
        ('{"order_id": 7, "message": "Your card was declined."}', False),
        ("Sorry, the payment was declined.", False),
        ("Order placed.", True),
        ("The order could not be placed.", False),
    ],
)
def test_a_write_worked_only_where_its_result_does_not_deny_it(result: str, worked: bool) -> None:
    run = trajectory([user("x"), *uses("place_order", {"item": "bolt"}, result), says("done")])
    assert view(run).calls[0].ok is worked


def test_who_knew_what_first() -> None:
    knowledge = Knowledge(view(bought()))
    first = {text: knowledge.first(text) for text in ("40", "Lyon", "Corvo", "PO-run-1", "124", "77")}
    assert first["40"] == (1, "told")
    assert first["Lyon"] == (1, "told")
    assert first["Corvo"] == (3, "seen")
    assert first["PO-run-1"] == (11, "seen")
    assert first["124"] is not None
    assert first["77"] is None


def test_single_records_of_several_calls_are_one_table() -> None:
    found = {table.tool: table for table in tables(view(bought()).calls)}
    assert [row.cells["total"] for row in found["get_quote"].rows] == [168.0, 124.0, 200.0]
    assert [row.cells["supplier"] for row in found["list_suppliers"].rows] == list(OFFERS)


def test_what_an_order_chose() -> None:
    calls = view(bought()).calls
    chosen = select(calls[-1], "supplier", calls[:-1])
    assert chosen is not None
    assert chosen.proven
    assert [row.cells["supplier"] for row in chosen.peers] == list(OFFERS)
    partly = select(calls[-1], "supplier", [calls[0], *calls[2:-1]])
    assert partly is not None
    assert partly.open == ("Acme",), "of a supplier that was listed and never asked nobody knows the price"


# --- predicates -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sign", "value", "topic"),
    [
        ("for at most 1,250.50 EUR in total", "<=", 1250.5, "price"),
        ("under $500", "<", 500, "price"),
        ("price lower than 20.00 dollars", "<", 20, "price"),
        ("at no more than 17 EUR each", "<=", 17, "unit_price"),
        ("paying 64 EUR per piece at most", "<=", 64, "unit_price"),
        ("on a budget of 2,400 EUR including shipping", "<=", 2400, "price"),
        ("within 6 days", "<=", 6, "time"),
        ("arriving in 2 days or less", "<=", 2, "time"),
        ("no later than 4 days from now", "<=", 4, "time"),
        ("rated at least 4.5 stars", ">=", 4.5, "rating"),
    ],
)
def test_limits(text: str, sign: str, value: float, topic: str) -> None:
    (bound,) = [each for each in compile_goal(f"Order lamps, {text}.") if isinstance(each, Bound)]
    assert (bound.sign, bound.value, bound.topic) == (sign, value, topic)


def test_counts_and_superlatives() -> None:
    count, best = compile_goal("Compare at least 3 suppliers and take the cheapest.")
    assert isinstance(count, Count)
    assert (count.value, count.noun) == (3, "suppliers")
    assert isinstance(best, Superlative)
    assert (best.topic, best.most) == ("price", False)
    assert compile_goal("Order at least some lamps, at most nice ones.") == ()


@given(st.floats(min_value=1, max_value=10_000), st.integers(min_value=1, max_value=10_000))
def test_a_limit_is_held_against_its_own_field(total: float, limit: int) -> None:
    (bound,) = compile_goal(f"for at most {limit} EUR in total")
    assert isinstance(bound, Bound)
    row = Row({"total": total, "unit_price": 1.0, "shipping_cost": 0.5, "delivery_days": 99999}, 0)
    assert holds(bound, row) is (total <= limit)
    assert holds(bound, Row({"delivery_days": 1}, 0)) is None


# --- swaps and other wrong goals --------------------------------------------------------------------------------------


def test_the_composed_goal_stands() -> None:
    about = case(bought())
    (made,) = compose(about)
    assert "40 hex bolts" in made.hindsight_goal
    assert "lowest total price" in made.hindsight_goal
    assert fault(bought()) is None


NUMBERS = ("124", "168", "200", "3", "4.2", "41", "400", "4", "39")


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(NUMBERS) | st.integers(min_value=0, max_value=10**6).map(str).filter(lambda n: n != "40"))
def test_a_swapped_number_is_refused(other: str) -> None:
    assert fault(bought(), hindsight_goal=TRUE_GOAL.replace("40", other)) is not None


@pytest.mark.parametrize("name", ["Acme", "Corvo", "Bolt & Co", "Hamburg", "PO-run-1"])
def test_a_swapped_name_is_refused(name: str) -> None:
    assert fault(bought(), hindsight_goal=TRUE_GOAL.replace("Lyon", name)) is not None


@pytest.mark.parametrize(
    "goal",
    [
        FAILED_GOAL,
        FAILED_GOAL.replace("Please order", "Could you buy"),
        TRUE_GOAL.replace("hex bolts", "wood screws"),
        TRUE_GOAL.replace("lowest", "highest"),
        TRUE_GOAL + " It must be green.",
        TRUE_GOAL + " Also cancel my last order.",
        TRUE_GOAL.replace("from the supplier with the lowest total price", "from Bolt & Co"),
        TRUE_GOAL.replace(".", ", for at most 123 EUR in total."),
        TRUE_GOAL.replace(".", ", within 3 days."),
        "Which supplier has the lowest total price for 40 hex bolts delivered to Lyon?",
        "Do something nice.",
        "",
        "Please order 40 hex bolts delivered to Lyon for [PII:name:0123456789ab].",
    ],
)
def test_goals_that_the_run_did_not_reach(goal: str) -> None:
    assert fault(bought(), hindsight_goal=goal) is not None


@pytest.mark.parametrize("supplier", ["Acme", "Corvo"])
def test_a_worse_choice_is_refused(supplier: str) -> None:
    from agenther_live.relabel.models import Refused

    with pytest.raises(Refused, match="beats"):
        compose(case(bought(supplier)))


def test_a_limit_that_the_whole_broke_is_not_said_again_for_its_part() -> None:
    hotels = [{"hotel": "Lune", "price_eur": 180}, {"hotel": "Gare", "price_eur": 210}]  # of a night
    run = trajectory(
        [
            user("Book a room in Lyon for 2 nights, for at most 250 EUR in total."),
            *uses("search_hotels", {"city": "Lyon"}, hotels),
            *uses("book_room", {"hotel": "Lune", "city": "Lyon", "nights": 2}, {"booking": "B-7", "total_eur": 360}),
            says("I booked the Lune for 360 EUR."),
        ]
    )
    assert "250" not in compose(case(run))[0].hindsight_goal
    assert fault(run) is None


def test_a_limit_that_results_keep_may_be_set_freely() -> None:
    goal = "Please order 40 hex bolts delivered to Lyon, for at most 130 EUR in total."
    assert fault(bought(), hindsight_goal=goal) is None


@pytest.mark.parametrize(
    ("new", "old", "same"),
    [
        ("Please order 40 bolts.", "Order 40 bolts", True),
        ("Buy 40 bolts to Lyon within 5 days.", "Buy 40 bolts to Lyon.", True),
        ("Buy 40 bolts to Lyon.", "Buy 40 bolts to Lyon within 5 days.", False),
        ("Buy 60 bolts to Lyon.", "Buy 40 bolts to Lyon.", False),
        ("Tell me about Ann Lee.", "Where was the wife of Ann Lee's brother born?", False),
    ],
)
def test_difference_from_the_failed_goal(new: str, old: str, same: bool) -> None:
    assert same_goal(new, old) is same


# --- claims -----------------------------------------------------------------------------------------------------------

TOOLS = (
    {"type": "function", "function": {"name": "place_order"}},
    {"type": "function", "function": {"name": "send_email"}},
)
SAID = {
    "I ordered 40 bolts from Acme.": True,
    "Done! Your 40 bolts are ordered and on their way.": True,
    "All set: the order has been placed.": True,
    "I've sent the email to Ann.": True,
    "I did not place the order.": False,
    "I could not order them.": False,
    "Shall I place the order?": False,
    "The order would be placed tomorrow.": False,
    "Acme offers 40 bolts for 12 EUR.": False,
    "Once the order is placed I will tell you.": False,
    "I found three suppliers.": False,
}


@pytest.mark.parametrize(("text", "claimed"), SAID.items())
def test_claims(text: str, claimed: bool) -> None:
    seen = view(
        trajectory([user("order bolts"), *uses("get_quote", {"item": "bolt"}, {"price": 1}), says(text)], tools=TOOLS)
    )
    assert bool(claims(text, seen)) is claimed
    assert bool(false_claims(text, seen)) is claimed


def test_a_claim_that_a_call_made_true() -> None:
    run = trajectory(
        [system("s"), user("order"), *uses("place_order", {"item": "bolt"}, {"id": 7}), says("x")], tools=TOOLS
    )
    assert claims("I ordered the bolts.", view(run))
    assert not false_claims("I ordered the bolts.", view(run))
    assert false_claims("I sent the email.", view(run))


# --- arguments, ids, looks that nobody took ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("40 hex bolts", "40 desk lamps", "check:arguments"),
        ("Lyon", "Acme", "check:leak"),
        ("40", "124", "check:grounding"),
    ],
)
def test_a_goal_that_names_one_thing_where_the_calls_were_given_another(old: str, new: str, reason: str) -> None:
    goal = compose(case(bought()))[0].hindsight_goal
    assert old in goal
    assert fault(bought(), hindsight_goal=goal.replace(old, new)) == reason


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("PO-run-7-042", []),
        ("42-A7 was sent", []),
        ("part 12-XB", []),
        ("version 1.2.3", []),
        ("a 40-piece set", ["40"]),
        ("40.50 EUR", ["40.5"]),
        ("It costs 40.", ["40"]),
    ],
)
def test_digits_inside_an_id_are_no_number(text: str, numbers: list[str]) -> None:
    assert [mention.norm for mention in find_mentions(text) if mention.kind == "number"] == numbers


@pytest.mark.parametrize(
    ("one", "other"),
    [("overlapped", "overlap"), ("shipped", "ship"), ("cancelled", "cancel"), ("selling", "sell"), ("added", "add")],
)
def test_stems_of_doubled_endings(one: str, other: str) -> None:
    assert stem(one) == stem(other)


def test_a_look_that_nobody_took_is_a_false_answer() -> None:
    run = bought()
    tools = (*(run.tools or ()), {"type": "function", "function": {"name": "check_stock", "parameters": {}}})
    lied = run.model_copy(update={"tools": tools})
    answer = "I checked the stock of Bolt & Co. I ordered 40 hex bolts from Bolt & Co for 124.00 EUR."
    assert false_reads(answer, view(lied)) == ["I checked the stock of Bolt & Co."]
    assert fault(lied, final_answer=answer) == "check:final_answer"
    assert false_reads("I could not check the stock. I got a quote from Acme.", view(lied)) == []
