"""A seeded generator of user goals, some of which no supplier in the world can meet."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from agenther_live.demo import DEFAULT_SEED
from agenther_live.demo.catalogue import CITIES, LISTINGS, Offer, offers
from agenther_live.demo.goals import Requirements, best_offer, in_days

UNSATISFIABLE_SHARE = 0.5

_ORDER = (
    "Please order {what} for our {city} office{limits}.",
    "We need {what} delivered to {city}{limits}. Please place the order.",
    "Buy {what} and have them shipped to {city}{limits}.",
    "Could you get {what} ordered for the new office in {city}{limits}?",
    "The {city} team is waiting for {what}: order them{limits}.",
)
_QUOTE = (
    "What would {what} cost us delivered to {city}{limits}? Nothing to be bought yet.",
    "Get me a quote for {what} delivered to {city}{limits}. Only the quote please.",
    "How much would we pay for {what}, shipped to {city}{limits}? I just want to know the offer.",
)
_COMPARE = (
    "Compare quotes from at least {quotes} suppliers for {what} delivered to {city}{limits}.",
    "I want quotes from at least {quotes} suppliers for {what} to {city}{limits}, side by side.",
)
_FEW, _MANY = (5, 8, 10, 12, 15), (10, 20, 25, 40, 50, 60)
_OPENING = (
    "",
    "",
    "",
    "",
    "",
    "Hi! ",
    "New colleagues start soon. ",
    "Finance has approved this. ",
    "This one is urgent. ",
)
_TOTAL = ("for at most {} EUR in total", "on a budget of {} EUR including shipping", "spending no more than {} EUR")
_UNIT = ("at no more than {} EUR each", "for up to {} EUR apiece", "paying {} EUR per piece at most")
_DAYS = ("within {}", "arriving in {} or less", "no later than {} from now")
_CHEAPEST = ("from the cheapest supplier", "at the lowest total", "taking the cheapest offer there is")


@dataclass(frozen=True, slots=True)
class Task:
    """One user's wish: the goal in words, the same as requirements, and whether the world can meet it.

    `task_id` serves as the thread id of the run, which is how the world knows whose order an order is.
    """

    task_id: str
    goal: str
    requirements: Requirements
    satisfiable: bool


def make_tasks(n: int = 60, *, seed: int = DEFAULT_SEED) -> list[Task]:
    """`n` tasks with goals that all differ; the same seed gives the same tasks, and more of them extend the list."""
    goals: set[str] = set()
    tasks: list[Task] = []
    for rng in _streams(seed):
        if len(tasks) == n:
            break
        wish = _wish(rng)
        goal = _words(wish, rng)
        if goal not in goals:
            goals.add(goal)
            satisfiable = best_offer(wish) is not None and _enough_suppliers(wish)
            tasks.append(Task(f"task-{seed}-{len(tasks):03d}", goal, wish, satisfiable))
    return tasks


def _streams(seed: int) -> Iterator[random.Random]:
    number = 0
    while True:
        yield random.Random(f"{seed}/{number}")
        number += 1


def _wish(rng: random.Random) -> Requirements:
    item, city = rng.choice(sorted(LISTINGS)), rng.choice(CITIES)
    quantity = rng.choice(_FEW if item in ("standing desk", "laser printer") else _MANY)
    known = offers(item, quantity, city)
    if len(known) < 2:
        return _wish(rng)
    style = rng.random()
    wish = Requirements(action="order" if style < 0.72 else "quote", item=item, quantity=quantity, city=city)
    if style > 0.88:
        # A comparison can be impossible as well: more suppliers than sell this quantity.
        more = 1 if rng.random() < UNSATISFIABLE_SHARE / 2 else 0
        return replace(wish, min_quotes=max(2, min(3, len(known))) if not more else len(known) + more)
    impossible = rng.random() < UNSATISFIABLE_SHARE
    return _with_limits(wish, known, impossible=impossible, rng=rng)


def _with_limits(wish: Requirements, known: list[Offer], *, impossible: bool, rng: random.Random) -> Requirements:
    cheapest, quickest = known[0], min(known, key=lambda each: (each.delivery_days, each.total))
    factor = rng.uniform(0.72, 0.93) if impossible else rng.uniform(1.03, 1.2)
    kind = rng.choice(("total", "total", "unit", "days", "both"))
    if kind == "both" and impossible and quickest.total > cheapest.total * 1.05:
        # Each limit alone could be met: the quick offers are too dear and the affordable ones too slow.
        budget = (cheapest.total + min(o.total for o in known if o.delivery_days <= quickest.delivery_days)) / 2
        return replace(wish, max_total=_round(budget), max_days=quickest.delivery_days)
    if kind == "both":
        return replace(wish, max_total=_round(quickest.total * factor), max_days=quickest.delivery_days)
    if kind == "unit":
        return replace(wish, max_unit_price=float(round(min(o.unit_price for o in known) * factor)))
    if kind == "days" and not (impossible and quickest.delivery_days == 1):
        days = quickest.delivery_days - 1 if impossible else rng.choice(known).delivery_days
        return replace(wish, max_days=days, cheapest=rng.random() < 0.5)
    return replace(wish, max_total=_round(cheapest.total * factor), cheapest=not impossible and rng.random() < 0.5)


def _round(amount: float) -> float:
    """A sum that a person would name: whole tens of EUR, or whole fifties above a thousand."""
    step = 10 if amount < 1000 else 50
    return float(round(amount / step) * step)


def _enough_suppliers(wish: Requirements) -> bool:
    assert wish.quantity is not None
    assert wish.city is not None
    return len(offers(wish.item, wish.quantity, wish.city)) >= wish.min_quotes


def _words(wish: Requirements, rng: random.Random) -> str:
    limits = []
    if wish.max_unit_price is not None:
        limits.append(rng.choice(_UNIT).format(f"{wish.max_unit_price:,.0f}"))
    if wish.max_total is not None:
        limits.append(rng.choice(_TOTAL).format(f"{wish.max_total:,.0f}"))
    if wish.max_days is not None:
        limits.append(rng.choice(_DAYS).format(in_days(wish.max_days)))
    if wish.cheapest:
        limits.append(rng.choice(_CHEAPEST))
    wordings = _COMPARE if wish.min_quotes > 1 else _QUOTE if wish.action == "quote" else _ORDER
    return rng.choice(_OPENING) + rng.choice(wordings).format(
        what=f"{wish.quantity} {wish.item}s",
        city=wish.city,
        quotes=wish.min_quotes,
        limits="".join(f", {limit}" for limit in limits),
    )
