"""The context budget: long runs are condensed around what proves something, and nothing is cut blindly."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agenther_live.relabel.judges.prompts import fit
from agenther_live.relabel.models import Refused


def message(index: int, text: str, role: str = "result") -> dict[str, Any]:
    return {"i": index, "role": role, "text": text}


def shown(line: str) -> list[dict[str, Any]]:
    return list(json.loads(line)["messages"])


def test_what_proves_nothing_is_shortened_first() -> None:
    run = [message(i, f"{i} " + "x" * 5000) for i in range(20)]
    found = shown(fit({}, run, {7}, 30_000, whole=True))
    assert found[7] == run[7]
    assert all(each["left_out_characters"] > 0 for each in found if each["i"] != 7)
    assert [each["i"] for each in found] == list(range(20))


def test_a_very_long_run_is_shown_around_its_evidence_and_says_what_is_missing() -> None:
    run = [message(i, f"step {i}") for i in range(8000)]
    found = shown(fit({}, run, {2500, 6001}, 20_000, whole=False))
    kept = {each["i"] for each in found if each["role"] != "left_out"}
    assert {0, 1, 2492, 2500, 2508, 6001, 7999} <= kept
    assert sum(each["messages"] for each in found if each["role"] == "left_out") + len(kept) == 8000
    with pytest.raises(Refused, match="does not fit"):
        fit({}, run, {2500, 6001}, 20_000, whole=True)


def test_evidence_that_does_not_fit_is_refused_with_the_reason() -> None:
    run = [message(i, "x" * 4000) for i in range(3000)]
    with pytest.raises(Refused) as refused:
        fit({}, run, set(range(3000)), 20_000, whole=False)
    assert refused.value.reason == "context"
