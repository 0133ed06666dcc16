"""What the agent does next: a chain of plain rules over its memory and its temperament. The first that fires wins."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from agenther_live.demo import answers
from agenther_live.demo.catalogue import LOOKALIKES, Offer
from agenther_live.demo.goals import Requirements, broken, describe, fitting, in_days, read_goal
from agenther_live.demo.habits import Habit, Patience, Temperament
from agenther_live.demo.memory import Call, Memory


@dataclass(frozen=True, slots=True)
class Move:
    """One turn of the agent: a thought beside its tool calls or, without calls, the final answer."""

    text: str
    calls: tuple[Call, ...] = ()


@dataclass(frozen=True, slots=True)
class Situation:
    """All that a rule may look at. `wish` is what the user asked; `plan` what this agent makes of it."""

    wish: Requirements
    plan: Requirements
    memory: Memory
    temper: Temperament


def next_move(memory: Memory, temper: Temperament) -> Move:
    """Decide the next turn from what was said and seen alone."""
    wish = read_goal(memory.goal)
    if wish is None or wish.quantity is None or wish.city is None:
        return Move("Which item do you need, how many, and in which city? Then I can look for offers.")
    now = Situation(wish, _plan(wish, memory, temper), memory, temper)
    for rule in (_look_up, _give_up, _check_shipping, _check_stock, _collect_quotes, _lie, _buy):
        move = rule(now)
        if move is not None:
            return move
    return _conclude(now)


def _plan(wish: Requirements, memory: Memory, temper: Temperament) -> Requirements:
    """What the agent works on: the wish, unless it misreads the item or raises the quantity."""
    if temper.habit is Habit.WRONG_ITEM:
        return replace(wish, item=LOOKALIKES[wish.item])
    if temper.habit is Habit.WRONG_QUANTITY and memory.suppliers and wish.quantity is not None:
        largest = max(row["min_order"] for row in memory.suppliers)
        return replace(wish, quantity=largest if largest > wish.quantity else (wish.quantity // 25 + 1) * 25)
    return wish


# The rules, in the order in which they are asked.


def _look_up(now: Situation) -> Move | None:
    if now.memory.suppliers is not None:
        return None
    return _ask(now, [Call("list_suppliers", {"item": now.plan.item})], f"Let me see who sells {now.plan.item}s.")


def _give_up(now: Situation) -> Move | None:
    if now.temper.patience is not Patience.GIVES_UP or not now.memory.timeouts or now.memory.order:
        return None
    if now.temper.habit is Habit.FALSE_CLAIM:
        return None
    return Move(answers.gave_up(now.wish, now.memory.quotes))


def _check_shipping(now: Situation) -> Move | None:
    if not now.temper.checks_shipping or now.plan.max_days is None or now.temper.habit is Habit.FALSE_CLAIM:
        return None
    calls = [_call(now, "shipping_quote", who, "city") for who in _large_enough(now)]
    return _ask(now, calls, "First I check who can deliver in time, prices come after that.")


def _check_stock(now: Situation) -> Move | None:
    if not now.temper.checks_stock or now.temper.habit is Habit.FALSE_CLAIM:
        return None
    calls = [_call(now, "check_stock", who, "item") for who in _shortlist(now)]
    return _ask(now, calls, f"Before asking for prices I check who has {now.plan.quantity} {now.plan.item}s in stock.")


def _collect_quotes(now: Situation) -> Move | None:
    calls = [_call(now, "get_quote", who, "item", "quantity", "city") for who in _shortlist(now)]
    have = len(now.memory.quotes)
    thought = f"Quotes so far: {have}. On to the next supplier." if have else "Next I ask for prices."
    return _ask(now, calls, thought)


def _lie(now: Situation) -> Move | None:
    if now.temper.habit is not Habit.FALSE_CLAIM:
        return None
    small = [row["supplier"] for row in now.memory.suppliers or () if row["min_order"] > (now.plan.quantity or 0)]
    if now.temper.tries_first and now.wish.action == "order" and small:
        call = _call(now, "place_order", small[0], "item", "quantity", "city")
        if not now.memory.tried(call):
            return Move(f"{small[0]} will do, I order there.", (call,))
    return Move(answers.claimed(now.wish, _claimed_sellers(now), variant=now.temper.effort))


def _buy(now: Situation) -> Move | None:
    choice = _choice(now)
    if choice is None or now.memory.order or not _wants_to_buy(now):
        return None
    call = _call(now, "place_order", choice.supplier, "item", "quantity", "city")
    price, time = answers.eur(choice.total), in_days(choice.delivery_days)
    thought = f"I go for {choice.supplier} at {price}, {time}."
    return _ask(now, [call], f"It is not quite what was asked, but {thought}" if broken(now.wish, choice) else thought)


def _conclude(now: Situation) -> Move:
    order, quotes, choice = now.memory.order, now.memory.quotes, _choice(now)
    if order:
        return Move(answers.ordered(now.wish, order, candid=now.temper.candid))
    if now.temper.habit is Habit.STOPS_EARLY:
        return Move(answers.handed_over(now.wish, _names(now), quotes))
    if choice and _wants_to_buy(now):
        return Move(answers.gave_up(now.wish, quotes))
    if not quotes:
        return Move(answers.nothing_found(now.wish, [each.error for each in now.memory.results if each.error]))
    best = choice or min(quotes, key=lambda each: each.total)
    return Move(answers.report(now.wish, quotes, choice=best))


# What the rules are made of.


def _names(now: Situation) -> list[str]:
    return [row["supplier"] for row in now.memory.suppliers or ()]


def _claimed_sellers(now: Situation) -> list[str]:
    """Whom a false claim names: where the order failed, else where a quote came from, else any that is listed."""
    tried = [each.call.args["supplier"] for each in now.memory.results if each.call.tool == "place_order"]
    return [*tried, *(each.supplier for each in now.memory.quotes), *_names(now)]


def _large_enough(now: Situation) -> list[str]:
    """The suppliers that take an order of this size, cut to as many as the habit cares to ask."""
    suppliers, quantity = now.memory.suppliers or [], now.plan.quantity or 0
    names = [row["supplier"] for row in suppliers if row["min_order"] <= quantity]
    match now.temper.habit:
        case Habit.FIRST_OFFER:
            return names[:3]
        case Habit.STOPS_EARLY:
            return names[: now.temper.effort]
        case Habit.FALSE_CLAIM:
            return names[:2] if now.wish.action == "order" and not now.temper.tries_first else []
        case _:
            return names


def _shortlist(now: Situation) -> list[str]:
    """Of those, the suppliers that are not known to be too slow (unless all are) or to have too little stock."""
    names = _large_enough(now)
    days = {row["supplier"]: row["delivery_days"] for row in now.memory.rows("shipping_quote")}
    if now.plan.max_days is not None:
        limit = now.plan.max_days
        names = [who for who in names if days.get(who, 0) <= limit] or names
    stock = {row["supplier"]: row["stock"] for row in now.memory.rows("check_stock")}
    quantity = now.plan.quantity or 0
    return [who for who in names if stock.get(who, quantity) >= quantity]


def _choice(now: Situation) -> Offer | None:
    """The offer that the agent settles on; None where it sees none that will do."""
    quotes = now.memory.quotes
    if not quotes:
        return None
    fits = fitting(now.plan, quotes)
    match now.temper.habit:
        case Habit.STOPS_EARLY:
            return None
        case Habit.FIRST_OFFER:
            return quotes[0]
        case Habit.FASTEST:
            return min(quotes, key=lambda each: (each.delivery_days, each.total))
        case Habit.CAREFUL:
            return fits[0] if fits else None
        case _:
            return fits[0] if fits else min(quotes, key=lambda each: each.total)


def _wants_to_buy(now: Situation) -> bool:
    return now.wish.action == "order" or (now.temper.habit is Habit.EAGER and now.temper.oversteps)


def _call(now: Situation, tool: str, supplier: str, *fields: str) -> Call:
    known: dict[str, Any] = {"item": now.plan.item, "quantity": now.plan.quantity, "city": now.plan.city}
    return Call(tool, {"supplier": supplier} | {name: known[name] for name in fields})


def _ask(now: Situation, calls: Sequence[Call], thought: str) -> Move | None:
    """Make the calls that are still worth making: all at once, or one a turn. None where there are none."""
    todo = [call for call in calls if _worth_trying(now, call)]
    if not todo:
        return None
    if now.temper.cites_goal and now.memory.thoughts % 3 == 0:
        thought = f"The user wants {describe(now.wish)}. {thought}"
    if any(now.memory.tried(call) for call in todo):
        thought = f"That call timed out, I try again. {thought}"
    return Move(thought if now.temper.thinks_aloud else "", tuple(todo if now.temper.parallel else todo[:1]))


def _worth_trying(now: Situation, call: Call) -> bool:
    tried = now.memory.tried(call)
    if any(not each.timed_out for each in tried):
        return False
    match now.temper.patience:
        case Patience.GIVES_UP:
            return not tried
        case Patience.RETRIES:
            return len(tried) < 2
        case Patience.NEVER_STOPS:
            return True
