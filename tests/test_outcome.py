"""Outcomes: a pure function of evidence and of how the run ended."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenther_live.outcome import decide, is_not_the_agents_doing, terminal_outcome
from agenther_live.trajectory import Evidence

T0 = datetime(2026, 3, 1, tzinfo=UTC).replace(tzinfo=None)


def said(source: str, *, at: float = 0, key: str = "success", **fields: Any) -> Evidence:
    identity = f"{source}-{at}-{key}-{fields}"
    return Evidence(evidence_id=identity, source=source, key=key, at=T0 + timedelta(seconds=at), **fields)  # type: ignore[arg-type]


def label(*evidence: Evidence, status: str = "finished", **facts: Any) -> str:
    return decide(evidence, status=status, **facts).label  # type: ignore[arg-type]


def test_ranks() -> None:
    words = [
        said("judge", success=True),
        said("evaluator", success=False),
        said("reward", score=1.0),
        said("person", success=False),
    ]
    assert [label(*words[:n]) for n in range(5)] == ["unknown", "success", "failure", "success", "failure"]


def test_a_person_may_change_their_mind_and_the_latest_word_counts() -> None:
    assert label(said("person", success=False, at=5), said("person", success=True, at=9)) == "success"
    assert label(said("person", success=False, at=5), said("person", success=True, at=1, key="other")) == "failure"


def test_a_score_is_a_success_from_the_threshold_on() -> None:
    assert label(said("reward", score=0.99)) == "failure"
    assert label(said("reward", score=0.99), success_threshold=0.9) == "success"
    assert label(said("reward", score=float("nan"))) == "unknown"
    assert label(said("reward", score=0.0, success=True)) == "success"


def test_a_statement_that_says_nothing_decides_nothing() -> None:
    assert label(said("person", comment="nice tone", value="4 stars"), said("reward", score=0.0)) == "failure"


def test_sources_of_one_rank_that_contradict_each_other_leave_it_unknown() -> None:
    clash = [said("evaluator", key="a", success=True), said("evaluator", key="b", success=False)]
    assert label(*clash) == "unknown"
    assert label(*clash, status="error", error_type="ValueError") == "unknown"
    assert label(*clash, said("person", success=True)) == "success"


def test_a_later_statement_under_the_same_key_replaces_the_earlier() -> None:
    assert label(said("evaluator", success=False), said("evaluator", success=True, at=3)) == "success"


def test_ambiguous_evidence_never_decides() -> None:
    assert label(said("person", success=False, ambiguous=True)) == "unknown"


def test_the_reward_is_kept_whoever_decides() -> None:
    outcome = decide([said("reward", score=0.3), said("person", success=True)], status="finished")
    assert (outcome.label, outcome.reward, outcome.source) == ("success", 0.3, "person")


@pytest.mark.parametrize("status", ["open", "interrupted", "cancelled", "abandoned", "finished"])
def test_without_evidence_most_ends_say_nothing(status: str) -> None:
    assert label(status=status, error_type="ValueError") == "unknown"
    assert label(said("person", success=False), status=status) == "failure"


@pytest.mark.parametrize(
    ("error_type", "message", "expected"),
    [
        ("ValueError", "no such supplier", "failure"),
        ("langgraph.errors.GraphRecursionError", "limit of 25 reached", "failure"),
        ("openai.RateLimitError", "Error code: 429", "unknown"),
        ("InternalServerError", "", "unknown"),
        ("APITimeoutError", "Request timed out.", "unknown"),
        ("httpx.ReadTimeout", "", "unknown"),
        ("builtins.TimeoutError", "", "unknown"),
        ("MyClientError", "the model said: HTTP 503", "unknown"),
        ("MyClientError", "Error code: 500 - {'error': …}", "unknown"),
        ("MyClientError", "ordered 500 bolts", "failure"),
        ("RuntimeError", "cannot schedule new futures after interpreter shutdown", "unknown"),
        ("KeyboardInterrupt", "", "unknown"),
        (None, None, "failure"),
    ],
)
def test_only_the_agents_own_errors_are_failures(error_type: str | None, message: str | None, expected: str) -> None:
    assert label(status="error", error_type=error_type, error_message=message) == expected


def test_a_missing_answer_fails_only_an_agent_that_is_to_give_one() -> None:
    assert terminal_outcome("finished", final_answer=None, answers=True).label == "failure"
    assert terminal_outcome("finished", final_answer=" \n", answers=True).label == "failure"
    assert terminal_outcome("finished", final_answer="42", answers=True).label == "unknown"
    assert terminal_outcome("finished", final_answer=None).label == "unknown"
    assert terminal_outcome("interrupted", final_answer=None, answers=True).label == "unknown"


def test_a_word_in_a_name_is_no_provider_error() -> None:
    assert not is_not_the_agents_doing("TimeoutPolicyViolation", "the timeout was 500 seconds")


EVIDENCE = st.builds(
    said,
    st.sampled_from(["person", "reward", "evaluator", "judge"]),
    at=st.integers(0, 3),
    key=st.sampled_from(["success", "other"]),
    success=st.sampled_from([None, True, False]),
    score=st.sampled_from([None, 0.0, 0.5, 1.0]),
    ambiguous=st.booleans(),
)


@given(evidence=st.lists(EVIDENCE, max_size=6), data=st.data())
def test_the_order_of_evidence_does_not_matter(evidence: list[Evidence], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(evidence))
    assert decide(evidence, status="finished") == decide(shuffled, status="finished")
