"""Long tokens (pasted base64, endless digits) are read in time that grows with their length, and no faster.

Nothing is timed: what is quadratic in these lengths runs into the suite's limit of time.
"""

from __future__ import annotations

import pytest

from agenther_live.relabel.checks.predicates import compile_goal
from agenther_live.relabel.reading.mentions import figures, find_mentions, fold

LENGTH = 100_000


@pytest.mark.parametrize("piece", ["x", "1", "1x", "x-1", "a.", "a@", "1,", "1 ", "Xx ", '"a', " "])
def test_reading_is_linear(piece: str) -> None:
    text = "order 1" + (piece * LENGTH)[:LENGTH]
    assert compile_goal(text) == ()
    for read in (find_mentions, figures, fold):
        read(text)


@pytest.mark.parametrize(
    "piece", ["how many ", "how many x, and please ", '"acme" or ', "not from Acme, ", "at most 3 "]
)
def test_many_requirements_are_compiled_in_linear_time(piece: str) -> None:
    assert len(compile_goal("order " + piece * (LENGTH // len(piece)))) > 0


def test_what_is_meant_is_still_found_behind_them() -> None:
    text = "1" + "x" * 5_000 + " write to ann@shop.example: 20 EUR or less"
    assert [mention.norm for mention in find_mentions(text) if mention.kind == "email"] == ["ann@shop.example"]
    assert len(compile_goal(text)) == 1
