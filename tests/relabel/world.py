"""One failed run for the tests of relabeling by models, and the replies that a good model would give about it."""

from __future__ import annotations

import json
import re
from typing import Any

from agenther_live.trajectory import Trajectory
from tests.relabel.build import says, system, trajectory, user, uses

OFFERS = {"Acme": 4.20, "Bolt & Co": 3.10, "Corvo": 5.00}
TOOLS = tuple(
    {
        "type": "function",
        "function": {"name": name, "description": text, "parameters": {"type": "object", "properties": {}}},
    }
    for name, text in (
        ("list_suppliers", "List the suppliers of an item."),
        ("get_quote", "Ask a supplier for its price."),
        ("place_order", "Place a binding order."),
    )
)
FAILED_GOAL = "Please order 40 hex bolts for Lyon, for at most 100 EUR in total."
TRUE_GOAL = "Please order 40 hex bolts delivered to Lyon from the supplier with the lowest total price."


def quote(supplier: str, *, item: str = "hex bolt", quantity: int = 40) -> dict[str, Any]:
    total = round(OFFERS[supplier] * quantity, 2)
    return {"supplier": supplier, "item": item, "quantity": quantity, "city": "Lyon", "total": total, "currency": "EUR"}


def bought(
    supplier: str = "Bolt & Co",
    *,
    trajectory_id: str = "run-1",
    goal: str = FAILED_GOAL,
    note: str = "",
    answer: str = "",
) -> Trajectory:
    """A run that compared three offers and ordered from one, above the budget. `note` stands in the first result."""
    asked = {"item": "hex bolt", "quantity": 40, "city": "Lyon"}
    rows: dict[str, Any] = {"suppliers": [{"supplier": name} for name in OFFERS]}
    if note:
        rows["note"] = note
    messages = [system("You buy things. Orders are allowed."), user(goal)]
    messages += uses("list_suppliers", {"item": "hex bolt"}, rows, thought="Who sells hex bolts?")
    for name in OFFERS:
        messages += uses("get_quote", {"supplier": name, **asked}, quote(name))
    order = {"order_id": f"PO-{trajectory_id}", "status": "confirmed"} | quote(supplier)
    messages += uses("place_order", {"supplier": supplier, **asked}, order, thought="I go for this one.")
    messages.append(says(answer or f"I ordered 40 hex bolts from {supplier} for {order['total']:.2f} EUR."))
    return trajectory(messages, trajectory_id=trajectory_id, tools=TOOLS)


def marker_of(request: dict[str, Any]) -> str:
    found = re.findall(r"^record ([0-9a-f]{16})$", request["messages"][-1]["content"], re.MULTILINE)
    assert len(found) == 2, "a prompt has two marker lines"
    assert found[0] == found[1]
    return str(found[0])


def asks_for(request: dict[str, Any]) -> str:
    """Which question a request puts: the keys that its instructions describe tell."""
    keys = request["messages"][0]["content"]
    return {"failure_type": "detect", "better_options": "judge", "last_message": "relabel"}.get(
        next((key for key in ("failure_type", "better_options", "last_message") if key in keys), ""), "extract"
    )


def record(request: dict[str, Any]) -> dict[str, Any]:
    """The data that a prompt shows, with every text as text: of a result that is JSON it shows the value."""
    shown = dict(json.loads(request["messages"][-1]["content"].split("\n")[1]))
    for message in shown["messages"]:
        if not isinstance(message.get("text", ""), str):
            message["text"] = json.dumps(message["text"])
    return shown


def proposal(request: dict[str, Any], **changes: Any) -> dict[str, Any]:
    shown = record(request)["messages"]
    results = [message["i"] for message in shown if message["role"] == "result"]
    return {
        "marker": marker_of(request),
        "achievements": [{"text": "an order was placed", "messages": results[-1:]}],
        "missed": ["for at most 100 EUR in total"],
        "goal": TRUE_GOAL,
        "requirements": [
            {"text": "40 hex bolts are ordered for Lyon", "messages": results[-1:]},
            {"text": "no quote is lower", "messages": results[1:4]},
        ],
        "last_message": results[-1],
        "final_answer": "I ordered 40 hex bolts from Bolt & Co for 124.00 EUR.",
        "valid": True,
        "confidence": 0.9,
        "rationale": "the order was placed with the cheapest",
    } | changes


def verdict(request: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "marker": marker_of(request),
        "requirements": [{"text": "ordered", "met": True, "messages": [2]}],
        "better_options": [],
        "t": True,
        "s": True,
        "c": True,
        "w": True,
        "l": True,
        "d": True,
        "valid": True,
        "confidence": 0.8,
        "reason": "it did what was asked",
    } | changes


def analysis(request: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "marker": marker_of(request),
        "failure_type": "constraint_violation",
        "missed": ["for at most 100 EUR in total"],
        "errors": [{"message": 10, "level": "minor", "what": "over budget", "whatever_the_goal": False}],
        "recoverable": True,
        "critical_message": 10,
        "explanation": "the order was above the budget",
    } | changes


def extraction(request: dict[str, Any], **changes: Any) -> dict[str, Any]:
    shown = record(request)["messages"]
    results = [message["i"] for message in shown if message["role"] == "result"]
    return {"marker": marker_of(request), "achievements": [{"text": "ordered", "messages": results[-1:]}]} | changes


def good(request: dict[str, Any]) -> dict[str, Any]:
    """What a good model answers to any of the four questions."""
    return {"relabel": proposal, "judge": verdict, "detect": analysis, "extract": extraction}[asks_for(request)](
        request
    )
