"""What a long text costs, counted in calls of functions and not in seconds: no more than its length times a few."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest

from agenther_live.relabel import relabel
from agenther_live.relabel.reading.calls import view
from agenther_live.relabel.reading.rows import select
from tests.relabel.build import FAILED, says, trajectory, user, uses
from tests.relabel.lies import Proposes, Yes


def calls_of(work: Callable[[], object]) -> int:
    """How many functions are called, of Python and of C; what an iterator gives costs one, too."""
    count = 0

    def seen(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(seen)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("piece", ["1 2 ", "a\n", "1, ", "I ordered it. ", "Arrow 14 EUR. ", "There are no open. "])
def test_an_answer_costs_its_length_whatever_stands_in_it(piece: str) -> None:
    rows = [{"carrier": f"Carrier {n}", "price": n, "status": "open"} for n in range(60)]

    def teach(length: int) -> None:
        answer = "I booked Carrier 1. " + piece * (length // len(piece))
        messages = [user("Book a carrier to Lyon for less than 1 EUR."), *uses("list_carriers", {"to": "Lyon"}, rows)]
        messages += uses("book_carrier", {"carrier": "Carrier 1"}, {"status": "confirmed"})
        run = trajectory([*messages, says(answer)])
        teacher = Proposes("Please book Carrier 1 to Lyon.", answer)
        asyncio.run(relabel(run, FAILED, 1, relabeler=teacher, judges=[Yes()]))

    teach(100)  # what is read once for all
    few, many = calls_of(lambda: teach(1_000)), calls_of(lambda: teach(4_000))
    assert many - few < 60 * 3_000


def test_a_choice_among_many_rows_costs_their_number() -> None:
    def choose(n: int) -> None:
        first = {"rows": [{"name": f"N{i}", "price": i, "stock": i % 2} for i in range(n)]}
        more = {"others": [{"name": f"N{i}", "rate": i} for i in range(2 * n)]}
        steps = (("list_a", {"q": 1}, first), ("list_b", {"q": 1}, more), ("book", {"name": "N1", "qty": 1}, "Booked."))
        found = view(trajectory([user("Book."), *(each for step in steps for each in uses(*step)), says("Done.")]))
        chosen = select(found.calls[2], "name", found.calls[:2])
        assert chosen is not None
        assert len(chosen.peers) > n // 2

    choose(10)
    assert calls_of(lambda: choose(400)) < 6 * calls_of(lambda: choose(100))
