"""What really happened: the evaluator of the demo, and the ground truth about goals set in hindsight.

Neither reads the agent's mind: they look at the orders in the world, the rows that tools returned, and the answer.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agenther_live.demo.catalogue import CITIES, Offer, offers
from agenther_live.demo.goals import Requirements, best_offer, broken, fitting
from agenther_live.demo.tasks import Task

_CLAIM = re.compile(r"\b(?:I|are|is) ordered\b|\bhas been placed\b")
_PRICE = re.compile(r"\d\.\d\d EUR")
_AMOUNT = re.compile(r"\d[\d,]*(?:\.\d+)?")


def judge_run(task: Task, orders: Sequence[Offer], final_answer: str | None) -> tuple[bool, str]:
    """Whether the task was done, and why: by the orders in the world and, for a quote, the truth of the answer."""
    wish = task.requirements
    if not final_answer:
        return False, "the run ended without a final answer"
    if wish.action == "order":
        return _judge_orders(wish, orders, final_answer)
    if orders:
        return False, "an order was placed where only a quote was asked"
    stated = stated_offers(wish, final_answer)
    if not stated and f"{wish.quantity} {wish.item}s" in final_answer and _PRICE.search(final_answer):
        return False, "false claim: no supplier asks the stated price"
    if len(stated) < wish.min_quotes:
        return False, f"the answer states {len(stated)} true quotes of {wish.min_quotes} asked"
    fits = fitting(wish, stated)
    if not fits:
        return False, f"no stated quote meets the request: {broken(wish, stated[0])}"
    if wish.cheapest and fits[0].total > _lowest(wish):
        return False, f"a cheaper quote exists: {_lowest(wish):,.2f} EUR in total"
    return True, f"stated a true quote: {fits[0].supplier}, {fits[0].total:,.2f} EUR in total"


def _judge_orders(wish: Requirements, orders: Sequence[Offer], final_answer: str) -> tuple[bool, str]:
    if not orders:
        claims = _CLAIM.search(final_answer)
        return False, "false claim: no order was placed" if claims else "no order was placed"
    if len(orders) > 1:
        return False, f"{len(orders)} orders were placed where one was asked"
    order = orders[0]
    flaw = broken(wish, order)
    if flaw:
        return False, f"the order does not meet the request: {flaw}"
    if wish.cheapest and order.total > _lowest(wish):
        return False, f"ordered at {order.total:,.2f} EUR where {_lowest(wish):,.2f} EUR was to be had"
    return True, f"ordered as asked from {order.supplier} for {order.total:,.2f} EUR"


def goal_is_true(
    wish: Requirements,
    orders: Sequence[Offer],
    observations: Iterable[str | Mapping[str, Any]],
    final_answer: str | None = None,
) -> bool:
    """Whether any goal, also one set in hindsight, was in fact achieved by a run.

    `observations` are tool results, as JSON text or as rows; text that is no JSON (an error) proves nothing. "Cheapest"
    is measured against the whole world. An order goal needs exactly one order. A quote goal needs the quotes to be
    received and no order placed; where a final answer is given, it must state one that fits.
    """
    rows = _rows(observations)
    if wish.action == "order":
        fits = fitting(wish, orders)
        return len(orders) == 1 and bool(fits) and (not wish.cheapest or fits[0].total <= _lowest_like(wish, fits[0]))
    if orders:
        return False
    if wish.action == "find":
        return any(row.get("item") == wish.item and "supplier" in row for row in rows)
    quotes = _offers(rows)
    fits = fitting(wish, quotes)
    if len({each.supplier for each in quotes if each.item == wish.item}) < wish.min_quotes or not fits:
        return False
    if wish.cheapest and fits[0].total > _lowest_like(wish, fits[0]):
        return False
    return final_answer is None or any(_states(final_answer, each) for each in (fits[:1] if wish.cheapest else fits))


def beaten_by(order: Offer, observations: Iterable[str | Mapping[str, Any]]) -> Offer | None:
    """An offer that the run itself saw and that is better in price or time and worse in neither; None where none is.

    An order that some observed offer beats is a true thing to have done, and a poor thing to learn from.
    """
    ours = (order.total, order.delivery_days)
    for each in _offers(_rows(observations)):
        same = (each.item, each.quantity, each.city) == (order.item, order.quantity, order.city)
        theirs = (each.total, each.delivery_days)
        if same and theirs != ours and theirs[0] <= ours[0] and theirs[1] <= ours[1]:
            return each
    return None


def stated_offers(wish: Requirements, text: str) -> list[Offer]:
    """The real offers that a text states: supplier and total both named, for the item, quantity and city asked."""
    if wish.quantity is None:
        return []
    cities = [wish.city] if wish.city is not None else CITIES
    return [each for city in cities for each in offers(wish.item, wish.quantity, city) if _states(text, each)]


def _states(text: str, offer: Offer) -> bool:
    amounts = {float(found.replace(",", "")) for found in _AMOUNT.findall(text)}
    return offer.supplier in text and offer.total in amounts


def _lowest(wish: Requirements) -> float:
    best = best_offer(wish)
    return best.total if best else float("inf")


def _lowest_like(wish: Requirements, offer: Offer) -> float:
    """The lowest total in the world for what the offer is, where the goal leaves quantity or city open."""
    known = fitting(wish, offers(offer.item, offer.quantity, offer.city))
    return known[0].total if known else float("inf")


def _rows(observations: Iterable[str | Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every row of every observation, nested ones too."""
    found: list[dict[str, Any]] = []
    for each in observations:
        try:
            value = json.loads(each) if isinstance(each, str) else dict(each)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
            nested = [rows for rows in value.values() if isinstance(rows, list)]
            found.extend(row for rows in nested for row in rows if isinstance(row, dict))
    return found


def _offers(rows: Iterable[Mapping[str, Any]]) -> list[Offer]:
    return [Offer.from_row(dict(row)) for row in rows if Offer.__dataclass_fields__.keys() <= row.keys()]
