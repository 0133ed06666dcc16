"""What an answer says of the rows that a run saw, where no call chose among them: one of them must be the right one."""

from __future__ import annotations

from typing import Any

import pytest

from agenther_live.relabel.checks.told import named_rows
from agenther_live.relabel.reading.rows import Row
from tests.relabel.lies import Lie, teach

FARES = [
    {"carrier": "Arrow", "price": 12, "refundable": False, "status": "open"},
    {"carrier": "Bolt", "price": 14, "refundable": True, "status": "open"},
    {"carrier": "Corvo", "price": 19, "refundable": True, "status": "full"},
]


@pytest.mark.parametrize(
    ("goal", "named", "true"),
    [
        ("Which is the cheapest carrier to Lyon?", "Arrow", True),
        ("Which is the cheapest carrier to Lyon?", "Bolt", False),
        ("Which is the cheapest refundable carrier to Lyon?", "Bolt", True),  # a fare that is not is no rival
        ("Which is the cheapest refundable carrier to Lyon?", "Corvo", False),
        ("Which is the cheapest refundable carrier to Lyon?", "Arrow", False),  # it is the cheapest, and is not
        ("Which is the cheapest carrier to Lyon for at least 14 EUR?", "Bolt", True),
        ("Which is the cheapest carrier to Lyon for at least 14 EUR?", "Arrow", False),
        ("Which is the most expensive open carrier to Lyon?", "Bolt", True),
        ("Which is the most expensive open carrier to Lyon?", "Arrow", False),
    ],
)
def test_an_answer_names_the_best_of_what_was_asked_for(goal: str, named: str, true: bool) -> None:
    looked = [["list_carriers", {"city": "Lyon"}, {"carriers": FARES}]]
    asked = "Which carrier brings me to Lyon within 2 days, for at least 14 EUR?"
    done = teach(Lie("", "", "", true, True, None, asked, looked, goal, f"{named} is it."))
    assert (done.sample is not None) is true, done.detail


def test_a_row_is_named_by_what_no_other_has() -> None:
    def named(rows: list[dict[str, Any]], text: str) -> list[int]:
        return [row.call for row in named_rows([Row(cells, n) for n, cells in enumerate(rows)], text)]

    assert named(FARES, "Take Arrow, or the BOLT.") == [0, 1]
    assert named(FARES, "It is full.") == [2]
    assert named(FARES, "It is open, and an arrowhead.") == []
    many = [{"name": f"Big number {n}"} for n in range(40)]
    assert named(many, "Neither big number 7, nor big number 39, nor big number 40") == [7, 39]
    long = " ".join(f"w{n}" for n in range(30))
    assert named([*many, {"name": long}], f"This: {long}!") == [40]
