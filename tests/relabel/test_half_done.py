"""Answers that say more than a part, a page or a record allows, put to the checks with their true twins."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agenther_live.relabel import relabel
from tests.relabel.build import FAILED, says, trajectory, user, uses
from tests.relabel.lies import Lie, Proposes, Yes, teach

MORE = " Then email the result to Carl, and translate it into French before noon."
PAGE = {"orders": [{"id": "A-1", "status": "open"}, {"id": "A-2", "status": "shipped"}]}
LINES = "INFO start\nINFO ok"
FARES = {"carriers": [{"carrier": "Arrow", "price": 12}, {"carrier": "Bolt", "price": 14}]}
GIVEN = {
    "search_logs": {"of": "api"}, "list_orders": {"customer": "Ann"}, "get_account": {"id": "K-1"},
    "get_ticket": {"id": "T-1"}, "list_carriers": {"city": "Lyon"}, "get_rate": {"date": "2026-11-23"},
}  # fmt: skip
OPEN = "Which orders of Ann are open?"
Step = tuple[str, dict[str, Any], Any]


def taught(goal: str, answer: str, *steps: Step) -> bool:
    return teach(Lie("", "", "", False, False, None, goal + MORE, [*map(list, steps)], goal, answer)).sample is not None


def invited(result: Any) -> Step:
    return "send_invites", {"to": ["ann@x.org", "bob@x.org"]}, result


@pytest.mark.parametrize(
    ("result", "whole"),
    [
        ({"sent": 1, "failed": 1}, False), ({"sent": 2, "failed": 0, "skipped": []}, True),
        ({"sent": ["ann@x.org"], "failed": ["bob@x.org"]}, False), ("Sent 1 of 2 invites.", False),
        ({"results": [{"to": "ann@x.org", "status": "sent"}, {"to": "bob@x.org", "status": "bounced"}]}, False),
        ({"results": [{"to": "ann@x.org", "ok": True}, {"to": "bob@x.org", "ok": False}]}, False),
        ({"results": [{"to": "ann@x.org", "ok": True}, {"to": "bob@x.org", "ok": True}]}, True),
        ("Sent 2 of 2 invites.", True), ({"data": {"unprocessed": [{"to": "bob@x.org"}]}}, False),
    ],
)  # fmt: skip
def test_a_part_that_failed_is_not_told_as_the_whole(result: Any, whole: bool) -> None:
    goal = "Send invites to ann@x.org and bob@x.org."
    assert taught(goal, "I sent invites to ann@x.org and bob@x.org.", invited(result)) is whole
    assert taught(goal, "I sent an invite to ann@x.org; the one to bob@x.org failed.", invited(result))


@pytest.mark.parametrize(
    ("result", "done"),
    [
        ({"status": "ok", "matched": 1, "modified": 0}, False), ("UPDATE 0", False), ("UPDATE 1", True),
        ({"rows_affected": 0}, False), ({"rows_affected": 1}, True), ("0 rows were updated.", False),
        ({"updated": 0, "inserted": 1}, True),
    ],
)  # fmt: skip
def test_a_write_that_met_nothing_did_nothing(result: Any, done: bool) -> None:
    step = "update_row", {"id": "R-1", "state": "paid"}, result
    assert taught("Update row R-1 to paid.", "I updated row R-1 to paid.", step) is done


@pytest.mark.parametrize(
    ("tool", "result", "goal", "answer", "true"),
    [
        ("search_logs", LINES, "Are there errors in the logs of api?", "There are no errors in the logs.", True),
        ("search_logs", LINES + "\n... [output truncated]", "Are there errors in the logs of api?",
         "There are no errors in the logs.", False),
        ("search_logs", {"lines": ["INFO ok"], "has_more": True}, "Are there errors in the logs of api?",
         "There are no errors in the logs.", False),
        ("list_orders", PAGE | {"has_more": True}, OPEN, "The only open order is A-1.", False),
        ("list_orders", PAGE | {"has_more": True}, OPEN,
         "On the first page the only open order is A-1.", True),
        ("list_orders", PAGE | {"has_more": False}, OPEN, "The only open order is A-1.", True),
        ("get_account", {"id": "K-1", "verified": False}, "Is account K-1 verified?", "Yes, it is verified.", False),
        ("get_account", {"id": "K-1", "verified": True}, "Is account K-1 verified?", "No, it is not.", False),
        ("get_account", {"id": "K-1", "verified": True}, "Is account K-1 verified?", "Yes, it is verified.", True),
        ("get_account", {"id": "K-1", "verified": False}, "Is account K-1 not verified?", "Yes, it is not.", True),
        ("get_ticket", {"id": "T-1", "status": "open"}, "What is the status of ticket T-1?", "It is closed.", False),
        ("get_ticket", {"id": "T-1", "status": "open"}, "What is the status of ticket T-1?", "It is open.", True),
        ("list_carriers", FARES, "Find a carrier to Lyon for at most 12 EUR.", "Bolt goes to Lyon.", False),
        ("list_carriers", FARES, "Find a carrier to Lyon for at most 12 EUR.", "Arrow goes to Lyon.", True),
        ("get_rate", {"date": "2026-11-20", "rate": 1.08}, "What was the rate on 2026-11-23?",
         "The rate on 2026-11-23 was 1.08.", False),
        ("get_rate", {"date": "2026-11-20", "rate": 1.08}, "What was the rate on 2026-11-23?",
         "There is none of 2026-11-23; on 2026-11-20 the rate was 1.08.", True),
    ],
)  # fmt: skip
def test_what_an_answer_says_of_all_of_one_and_of_another(
    tool: str, result: Any, goal: str, answer: str, true: bool
) -> None:
    assert taught(goal, answer, (tool, GIVEN[tool], result)) is true


def test_what_a_later_write_replaced_was_not_reached() -> None:
    def moved(*cities: str) -> bool:
        steps = [("update_user", {"user": "U-7", "city": city}, {"status": "updated"}) for city in cities]
        return taught("Update the city of user U-7 to Nice.", "I updated the city of U-7 to Nice.", *steps)

    assert moved("Nice")
    assert moved("Lyon", "Nice")
    assert not moved("Nice", "Lyon")


def test_an_argument_does_not_go_on_about_the_failed_goal() -> None:
    asked, goal, answer = "Move user U-7 to Nice and mail Carl.", "What is the city of U-7?", "The city of U-7 is Lyon."
    for reason, fine in (("the city of user U-7 is asked for", True), (f"The task: {asked}", False)):
        step = uses("get_user", {"user": "U-7", "reason": reason}, {"user": "U-7", "city": "Lyon"})
        run = trajectory([user(asked), *step, says(answer)])
        done = asyncio.run(relabel(run, FAILED, 1, relabeler=Proposes(goal, answer), judges=[Yes()]))
        assert (done.sample is not None) is fine, done.detail
        assert fine or done.reason == "check:old_goal"


@pytest.mark.parametrize("price", ["1" * 400, "-" + "9" * 4_000, "1e999"])
def test_a_number_that_no_float_holds_stops_nothing(price: str) -> None:
    listed = '{"carriers": [{"carrier": "Arrow", "price": ' + price + '}, {"carrier": "Bolt", "price": 14}]}'
    for result in (listed, listed.replace('"', "'")):
        goal, booked = (
            "Book the cheapest carrier to Lyon.",
            ("book_carrier", {"carrier": "Bolt"}, {"status": "confirmed"}),
        )
        taught(goal, "I booked Bolt.", ("list_carriers", {"city": "Lyon"}, result), booked)


def test_a_month_and_a_man_negate_nothing() -> None:
    step = "cancel_order", {"order_id": "A-1"}, {"error": "no such order"}
    looked = "get_order", {"order_id": "A-1"}, {"order_id": "A-1", "status": "open"}
    goal = "What is the status of order A-1 of May?"
    assert not taught(goal, "In May I cancelled order A-1 for Will; it is open.", looked, step)
