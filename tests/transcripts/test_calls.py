"""Native tool calls: which result answers which, their quirks, and the signs of errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agenther_live.integrations.transcripts.signs import reports_error
from agenther_live.integrations.transcripts.steps import json_arguments
from agenther_live.trajectory import Action
from tests.transcripts.given import actions, call, one


def test_parallel_calls_are_one_step_and_are_answered_by_id_in_any_order(tmp_path: Path) -> None:
    record = {
        "messages": [
            {"role": "user", "content": "u"},
            {"role": "assistant", "content": "both", "tool_calls": [call("a", call_id="1"), call("b", call_id="2")]},
            {"role": "tool", "tool_call_id": "2", "content": "B"},
            {"role": "tool", "tool_call_id": "1", "content": ""},
            {"role": "assistant", "content": "done"},
        ]
    }
    made = one(tmp_path, record).trajectory
    assert [(a.name, a.observation, a.observation_index) for a in actions(made)] == [("a", "", 3), ("b", "B", 2)]
    assert [step.thought for step in made.steps] == ["both", "done"]
    assert made.flags == ()


def test_repeated_ids_belong_to_the_latest_call_that_still_waits(tmp_path: Path) -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "u"}]
    for number in range(3):
        messages.append({"role": "assistant", "content": None, "tool_calls": [call("t", f'{{"n": {number}}}', "same")]})
        messages.append({"role": "tool", "tool_call_id": "same", "content": str(number)})
    made = one(tmp_path, {"messages": messages}).trajectory
    assert [(action.input, action.observation) for action in actions(made)] == [
        ('{"n": 0}', "0"),
        ('{"n": 1}', "1"),
        ('{"n": 2}', "2"),
    ]
    assert made.flags == ("repeated_call_id",)


def test_the_same_id_twice_in_one_turn_is_answered_in_order(tmp_path: Path) -> None:
    record = {
        "messages": [
            {"role": "user", "content": "u"},
            {"role": "assistant", "content": None, "tool_calls": [call("a", call_id="x"), call("b", call_id="x")]},
            {"role": "tool", "tool_call_id": "x", "content": "1"},
            {"role": "tool", "tool_call_id": "x", "content": "2"},
        ]
    }
    assert [(a.name, a.observation) for a in actions(one(tmp_path, record).trajectory)] == [("a", "1"), ("b", "2")]


def test_results_without_ids_go_by_name_then_by_order(tmp_path: Path) -> None:
    record = {
        "messages": [
            {"role": "user", "content": "u"},
            {"role": "assistant", "content": None, "tool_calls": [call("a", call_id=None), call("b", call_id=None)]},
            {"role": "tool", "name": "b", "content": "B"},
            {"role": "tool", "content": "A"},
        ]
    }
    assert [(a.name, a.observation) for a in actions(one(tmp_path, record).trajectory)] == [("a", "A"), ("b", "B")]


def test_an_unanswered_call_at_the_end_has_no_observation_and_no_final_answer(tmp_path: Path) -> None:
    record = {
        "messages": [
            {"role": "user", "content": "u"},
            {"role": "assistant", "content": "Let me look.", "tool_calls": [call("look")]},
        ]
    }
    made = one(tmp_path, record).trajectory
    assert actions(made)[0].observation is None
    assert made.final_answer is None
    assert made.flags == ("unanswered_call",)


def test_a_result_that_no_call_asked_for_is_kept_and_flagged(tmp_path: Path) -> None:
    record = {
        "messages": [
            {"role": "user", "content": "u"},
            {"role": "assistant", "content": None, "tool_calls": [call("a", call_id="1")]},
            {"role": "tool", "tool_call_id": "1", "content": "A"},
            {"role": "tool", "tool_call_id": "9", "name": "ghost", "content": "G"},
        ]
    }
    made = one(tmp_path, record).trajectory
    assert [(action.name, action.observation) for action in actions(made)] == [("a", "A"), ("ghost", "G")]
    assert made.flags == ("result_without_call",)


def test_a_changed_id_is_matched_where_only_one_call_can_be_meant(tmp_path: Path) -> None:
    record = {
        "messages": [
            {"role": "user", "content": "u"},
            {"role": "assistant", "content": None, "tool_calls": [call("a", call_id="1")]},
            {"role": "tool", "tool_call_id": "rewritten", "content": "A"},
        ]
    }
    made = one(tmp_path, record).trajectory
    assert [(action.name, action.observation) for action in actions(made)] == [("a", "A")]
    assert made.flags == ("mismatched_call_id",)


def test_legacy_function_calls(tmp_path: Path) -> None:
    record = {
        "functions": [{"name": "f", "parameters": {}}],
        "messages": [
            {"role": "user", "content": "u"},
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{'x': None}"}},
            {"role": "function", "name": "f", "content": '{"error": "boom"}'},
        ],
    }
    made = one(tmp_path, record).trajectory
    assert actions(made) == [
        Action(name="f", input='{"x": null}', observation='{"error": "boom"}', is_error=True, observation_index=2)
    ]
    assert [message.wire() for message in made.messages] == record["messages"]
    assert made.tools == ({"type": "function", "function": {"name": "f", "parameters": {}}},)


@pytest.mark.parametrize(
    ("given_arguments", "expected"),
    [
        ('{"a": 1}', '{"a": 1}'),
        ({"a": "é"}, '{"a": "é"}'),
        ("{'a': True, 'b': None}", '{"a": true, "b": null}'),
        ("{'a': {1, 2}}", "{'a': {1, 2}}"),
        ("{'a': '\\d'}", '{"a": "\\\\d"}'),
        ("not json", "not json"),
        (None, "{}"),
        ("{" * 50_000, "{" * 50_000),
    ],
)
def test_arguments_become_json_text_where_they_can(given_arguments: Any, expected: str) -> None:
    assert json_arguments(given_arguments) == expected


def test_reasoning_content_is_part_of_the_thought(tmp_path: Path) -> None:
    message = {"role": "assistant", "content": "Looking.", "reasoning_content": "It asks.", "tool_calls": [call("a")]}
    made = one(tmp_path, {"messages": [{"role": "user", "content": "u"}, message]}).trajectory
    assert made.steps[0].thought == "It asks.\n\nLooking."
    assert made.messages[1].wire() == message


@pytest.mark.parametrize(
    "text",
    [
        "Error: user not found",
        "Error executing tool search: timed out",
        "[ERROR] nope",
        '{"error": "Timeout", "response": ""}',
        '{"isError": true, "content": []}',
        '{"status": "error"}',
        "ValueError: bad",
        'Traceback (most recent call last):\n  File "x", line 1, in <module>\n    f()\nKeyError: 1',
    ],
)
def test_errors_are_seen(text: str) -> None:
    assert reports_error(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"error": "", "response": "ok"}',
        '{"status": "delivered", "errors": []}',
        "No error: all 500 tests passed",
        "Errors are human, said Terror: a film",
        "500 EUR",
        '"error" is a word',
        "{" * 100_000,
    ],
)
def test_what_is_no_error_is_left_alone(text: str) -> None:
    assert not reports_error(text)


def test_langchains_status_marks_an_error(tmp_path: Path) -> None:
    record = {
        "messages": [
            {"role": "user", "content": "u"},
            {"role": "assistant", "content": None, "tool_calls": [call("a")]},
            {"role": "tool", "tool_call_id": "c1", "content": "no such city", "status": "error"},
        ]
    }
    assert actions(one(tmp_path, record).trajectory)[0].is_error
