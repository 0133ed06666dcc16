"""How an agent behaves in one task: drawn once from the goal's text and a seed, so the same goal goes the same way."""

import random
from dataclasses import dataclass
from enum import StrEnum


class Habit(StrEnum):
    """The way an agent goes about a task; all but the first are ways in which real agents fail."""

    CAREFUL = "careful"  # compares, buys the best offer that fits, reports honestly where none does
    EAGER = "eager"  # compares, then buys the best offer even where it breaks a limit, or was only to be quoted
    FIRST_OFFER = "first_offer"  # asks a few suppliers and buys from the first
    FASTEST = "fastest"  # takes the quickest delivery, whatever it costs
    STOPS_EARLY = "stops_early"  # hands over half-way
    WRONG_ITEM = "wrong_item"  # takes the item for one that looks alike
    WRONG_QUANTITY = "wrong_quantity"  # raises the quantity to what opens every supplier
    FALSE_CLAIM = "false_claim"  # says that it is done where nothing was done


class Patience(StrEnum):
    """What an agent does when a tool times out."""

    RETRIES = "retries"  # once, then goes on without
    GIVES_UP = "gives_up"  # ends the task
    NEVER_STOPS = "never_stops"  # until the recursion limit ends the run


_HABITS = {
    Habit.CAREFUL: 31,
    Habit.EAGER: 17,
    Habit.FIRST_OFFER: 15,
    Habit.FASTEST: 6,
    Habit.STOPS_EARLY: 9,
    Habit.WRONG_ITEM: 8,
    Habit.WRONG_QUANTITY: 5,
    Habit.FALSE_CLAIM: 9,
}
_PATIENCE = {Patience.RETRIES: 50, Patience.GIVES_UP: 30, Patience.NEVER_STOPS: 20}


@dataclass(frozen=True, slots=True)
class Temperament:
    """Everything that is left to chance in one task."""

    habit: Habit
    patience: Patience
    parallel: bool  # several tool calls in one turn
    checks_shipping: bool  # asks for delivery times before prices, where the goal limits them
    checks_stock: bool  # asks for stock before prices
    cites_goal: bool  # repeats the goal in its thoughts
    thinks_aloud: bool  # writes a thought beside its tool calls
    candid: bool  # says in its answer what it did other than asked
    oversteps: bool  # an eager one: orders where only a quote was asked
    tries_first: bool  # a false claimer: makes one call that fails before it claims
    effort: int  # an early stopper: the quotes it asks for, 0 to 3


def temperament(goal: str, *, seed: int) -> Temperament:
    """Draw the temperament for a goal."""
    rng = random.Random(f"{seed}/{goal}")
    return Temperament(
        habit=rng.choices(list(_HABITS), weights=list(_HABITS.values()))[0],
        patience=rng.choices(list(_PATIENCE), weights=list(_PATIENCE.values()))[0],
        parallel=rng.random() < 0.5,
        checks_shipping=rng.random() < 0.4,
        checks_stock=rng.random() < 0.3,
        cites_goal=rng.random() < 0.4,
        thinks_aloud=rng.random() < 0.85,
        candid=rng.random() < 0.65,
        oversteps=rng.random() < 0.6,
        tries_first=rng.random() < 0.5,
        effort=rng.choice((0, 1, 2, 3)),
    )
