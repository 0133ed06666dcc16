"""Severity, strict replies and quoting: small pure functions, held by properties."""

from __future__ import annotations

import json
import math
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenther_live.relabel.judges.prompts import DETECT_SCHEMA, EXTRACT_SCHEMA, JUDGE_SCHEMA, RELABEL_SCHEMA
from agenther_live.relabel.judges.quoting import marker_for, one_line, visible
from agenther_live.relabel.judges.strict import read_reply
from agenther_live.relabel.models import Unanswered
from agenther_live.relabel.severity import POINTS, severity, weight

MARKER = "0011223344556677"
LEVELS = st.lists(st.sampled_from(sorted(POINTS)), max_size=30)
STEPS = st.integers(min_value=0, max_value=500)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
GOOD = {
    "marker": MARKER,
    "requirements": [{"text": "x", "met": True, "messages": [1]}],
    "better_options": [],
    **dict.fromkeys("tscwld", True),
    "valid": True,
    "confidence": 0.5,
    "reason": "fine",
}


@given(LEVELS, STEPS)
def test_weight_and_severity_add_up_to_one(levels: list[Any], steps: int) -> None:
    w = weight(levels, steps)
    assert 0 <= w <= 1
    assert w + severity(levels, steps) == pytest.approx(1)


@given(LEVELS, st.sampled_from(sorted(POINTS)), STEPS)
def test_another_error_never_weighs_more(levels: list[Any], level: Any, steps: int) -> None:
    assert weight([*levels, level], steps) <= weight(levels, steps)


@given(LEVELS, STEPS)
def test_the_same_errors_in_a_longer_span_never_weigh_less(levels: list[Any], steps: int) -> None:
    assert weight(levels, steps + 1) >= weight(levels, steps)


def test_weights_by_hand() -> None:
    assert weight([], 3) == 1
    assert weight(["minor"], 1) == pytest.approx(math.exp(-0.1))
    assert weight(["major"], 5) == pytest.approx(math.exp(-0.5))
    assert weight(["critical"], 5) < 0.3, "one critical error of a short run is below δ, as the paper has it"
    assert weight(["minor", "minor", "minor"], 5) > 0.3


def test_a_good_reply() -> None:
    assert read_reply(json.dumps(GOOD), JUDGE_SCHEMA, MARKER) == GOOD
    assert read_reply(f"\n {json.dumps(GOOD, indent=2)}\n", JUDGE_SCHEMA, MARKER) == GOOD


@given(JSON)
def test_any_other_value_is_no_answer(value: Any) -> None:
    with pytest.raises(Unanswered):
        read_reply(json.dumps(value), JUDGE_SCHEMA, MARKER)


@given(st.text(max_size=200))
def test_any_text_is_no_answer(text: str) -> None:
    with pytest.raises(Unanswered):
        read_reply(text, JUDGE_SCHEMA, MARKER)


@given(st.text(min_size=1, max_size=40).filter(lambda text: text.strip(" \t\r\n")), st.booleans())
def test_nothing_may_stand_around_an_answer(text: str, before: bool) -> None:
    reply = json.dumps(GOOD)
    with pytest.raises(Unanswered):
        read_reply(text + reply if before else reply + text, JUDGE_SCHEMA, MARKER)


@given(st.sampled_from(sorted(GOOD)), JSON)
def test_a_field_of_another_type_is_no_answer(name: str, value: Any) -> None:
    same = {bool: bool, float: (int, float), str: str, list: list}[type(GOOD[name])]
    if isinstance(value, same) and (isinstance(value, bool) == isinstance(GOOD[name], bool)):
        return
    with pytest.raises(Unanswered):
        read_reply(json.dumps(GOOD | {name: value}), JUDGE_SCHEMA, MARKER)


@given(st.text(alphabet="0123456789abcdef", min_size=16, max_size=16).filter(lambda found: found != MARKER))
def test_another_marker_is_no_answer(marker: str) -> None:
    with pytest.raises(Unanswered, match="marker"):
        read_reply(json.dumps(GOOD | {"marker": marker}), JUDGE_SCHEMA, MARKER)


def test_deep_and_huge_replies_are_no_answers() -> None:
    for text in ("[" * 100_000, '{"marker": "' + "x" * 300_000 + '"}', "1" * 150_000):
        with pytest.raises(Unanswered):
            read_reply(text, JUDGE_SCHEMA, MARKER)


@pytest.mark.parametrize("schema", [DETECT_SCHEMA, EXTRACT_SCHEMA, RELABEL_SCHEMA, JUDGE_SCHEMA])
def test_schemas_are_strict(schema: dict[str, Any]) -> None:
    """OpenAI's strict form: every key required, none besides, at every level."""

    def walk(part: dict[str, Any]) -> None:
        if part["type"] == "object":
            assert part["additionalProperties"] is False
            assert part["required"] == list(part["properties"])
            for inner in part["properties"].values():
                walk(inner)
        elif part["type"] == "array":
            walk(part["items"])

    walk(schema)


@given(JSON)
def test_a_quoted_value_is_one_line_without_structure(value: Any) -> None:
    line = one_line(value)
    assert len(line.splitlines()) == 1
    assert not set("<`#") & set(line)
    json.loads(line)


@given(st.text(max_size=100))
def test_quoting_keeps_what_can_be_seen(text: str) -> None:
    assert json.loads(one_line(text)) == visible(text)
    assert all(
        unicodedata.category(character) not in ("Cf", "Cc", "Cs", "Zl", "Zp") or character in "\n\t"
        for character in visible(text)
    )


def test_markers_follow_from_content_and_key_alone() -> None:
    assert marker_for(b"k", "a", "b") == marker_for(b"k", "a", "b")
    assert len({marker_for(b"k", "a", "b"), marker_for(b"k", "ab", ""), marker_for(b"other", "a", "b")}) == 3
    assert len(marker_for(b"k", "a")) == 16
