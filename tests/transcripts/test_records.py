"""Forms of records: full ones, bare lines, outcomes, ids, messages that print the grade, redaction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from agenther_live.integrations.transcripts import Refused, read
from agenther_live.integrations.transcripts.signs import prints_grade
from agenther_live.redact import Redactor
from agenther_live.trajectory import Action
from tests.transcripts.given import NOW, actions, call, imported, one, talk, write


def test_a_full_record_keeps_what_it_should_and_nothing_that_tells_the_grade(tmp_path: Path) -> None:
    record = {
        "source": "shop-logs",
        "licence": "MIT",
        "task_id": "t-7",
        "goal": "Buy a red lamp under $20",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "A red lamp please."},
            {"role": "assistant", "content": None, "tool_calls": [call("search", '{"q": "red lamp"}')]},
            {"role": "tool", "tool_call_id": "c1", "name": "search", "content": "[]", "source_role": "env"},
            {"role": "assistant", "content": "There is none."},
            {"role": "user", "content": "graded: fail"},
        ],
        "tools": [{"type": "function", "function": {"name": "search"}}],
        "final_answer": "There is none.",
        "outcome": {"success": False, "reward": 0.25},
        "failure_label": {"kind": "human", "label": "gave up"},
        "raw_id": "file#3",
        "meta": {"outcome_leak_message_index": 5, "task_group": "g1", "reference_answer": "X", "agent_model": "m-1"},
    }
    item = one(tmp_path, record)
    made = item.trajectory
    assert [message.wire() for message in made.messages] == record["messages"][:5]
    assert made.metadata == {
        "task_id": "t-7",
        "raw_id": "file#3",
        "licence": "MIT",
        "task_group": "g1",
        "format": "chat",
    }
    assert "gave up" not in made.model_dump_json()
    assert "graded" not in made.model_dump_json()
    assert (made.goal, made.final_answer, made.source, made.agent) == (
        "Buy a red lamp under $20",
        "There is none.",
        "shop-logs",
        "shop-logs",
    )
    assert (made.status, made.thread_id, made.context_len, made.flags) == ("finished", None, 1, ("grade_dropped",))
    assert made.tools == ({"type": "function", "function": {"name": "search"}},)
    assert [run.root_key for run in made.runs] == [made.trajectory_id]
    assert made.runs[0].models == ("m-1",)
    assert actions(made) == [
        Action(name="search", input='{"q": "red lamp"}', observation="[]", call_id="c1", observation_index=3)
    ]
    (evidence,) = item.evidence
    assert (evidence.source, evidence.key, evidence.success, evidence.score, evidence.at, evidence.trajectory_id) == (
        "reward",
        "import",
        False,
        0.25,
        NOW,
        made.trajectory_id,
    )


def test_a_bare_line_needs_messages_only(tmp_path: Path) -> None:
    item = one(tmp_path, talk(("system", "s"), ("user", " What is 2+2? "), ("assistant", "4")))
    made = item.trajectory
    assert (made.goal, made.final_answer, made.source, made.agent) == ("What is 2+2?", "4", "import", "import")
    assert item.evidence == ()
    assert [(step.thought, step.actions, step.message_index) for step in made.steps] == [("4", (), 2)]


def test_a_bare_line_may_say_more(tmp_path: Path) -> None:
    record = talk(("user", "u"), ("assistant", "a"), goal="g", agent="bot", metadata={"k": 1}, outcome=True)
    item = one(tmp_path, record, policy_version="p1")
    made = item.trajectory
    assert (made.goal, made.agent, made.metadata["k"], made.policy_version) == ("g", "bot", 1, "p1")
    assert item.evidence[0].success is True
    assert one(tmp_path, record, agent="given").trajectory.agent == "given"


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (None, None),
        ({"success": None, "reward": None}, None),
        ("unknown", None),
        ({"success": True, "reward": None}, (True, None)),
        ({"success": None, "reward": 0.5}, (None, 0.5)),
        (False, (False, None)),
        (1, (None, 1.0)),
        ("success", (True, None)),
        ("failure", (False, None)),
    ],
)
def test_the_outcome_becomes_evidence_unless_it_is_null(tmp_path: Path, outcome: Any, expected: Any) -> None:
    evidence = one(tmp_path, talk(("user", "u"), ("assistant", "a"), outcome=outcome)).evidence
    assert [(item.success, item.score) for item in evidence] == ([] if expected is None else [expected])


def test_the_same_record_has_the_same_id_whatever_the_order_of_its_keys_or_the_file(tmp_path: Path) -> None:
    record = talk(("user", "u"), ("assistant", "a"), goal="g")
    turned = dict(reversed(record.items()))
    other = talk(("user", "u"), ("assistant", "b"), goal="g")
    first, second, third = imported(tmp_path, record, turned, other)
    assert first.trajectory.trajectory_id == second.trajectory.trajectory_id != third.trajectory.trajectory_id
    assert first.trajectory.trajectory_id.startswith("imp_")
    assert one(tmp_path, {**record, "outcome": True}).trajectory.trajectory_id != first.trajectory.trajectory_id


@pytest.mark.parametrize(
    "text",
    [
        "Observation: Episode finished, reward = False",
        "Observation 3: Answer is INCORRECT",
        "Observation: Your score (min 0.0, max 1.0): 0.66",
        "Thanks for the purchase.\nYour score (min 0.0, max 1.0): 1.0",
    ],
)
def test_a_message_that_prints_the_grade_is_dropped_by_its_text_alone(tmp_path: Path, text: str) -> None:
    made = one(tmp_path, talk(("user", "q"), ("assistant", "Thought: t\nAction: finish[x]"), ("user", text))).trajectory
    assert [message.role for message in made.messages] == ["user", "assistant"]
    assert [(action.name, action.input, action.observation) for action in actions(made)] == [("finish", "x", None)]
    assert made.flags == ("grade_dropped",)
    assert made.final_answer == "x"


def test_the_agents_own_words_and_the_question_are_never_taken_for_a_grade(tmp_path: Path) -> None:
    record = talk(("user", "Is 'Answer is CORRECT' English?\nAnswer is CORRECT"), ("assistant", "Answer is CORRECT"))
    assert len(one(tmp_path, record).trajectory.messages) == 2
    assert not prints_grade("The answer is correct, I think. The episode finished.")


@pytest.mark.parametrize("index", [7, -1, True, "2"])
def test_a_grade_index_that_points_nowhere_refuses_the_record(tmp_path: Path, index: Any) -> None:
    record = talk(("user", "u"), ("assistant", "a"), meta={"outcome_leak_message_index": index})
    (item,) = read(write(tmp_path / "in.jsonl", record))
    assert isinstance(item, Refused)
    assert "outcome_leak_message_index" in item.reason


def test_redaction_reaches_everything_and_leaves_the_id_alone(tmp_path: Path) -> None:

    secret = "sk-proj-" + "a1B2c3D4e5F6g7H8" * 3
    record = {
        "goal": f"use {secret}",
        "metadata": {"note": secret},
        "messages": [
            {"role": "user", "content": f"key {secret}"},
            {"role": "assistant", "content": secret, "tool_calls": [call("f", json.dumps({"k": secret}))]},
            {"role": "tool", "tool_call_id": "c1", "content": f"used {secret}"},
            {"role": "assistant", "content": f"done with {secret}"},
        ],
    }
    plain = one(tmp_path, record).trajectory
    assert secret in plain.model_dump_json()
    made = one(tmp_path, record, redactor=Redactor(None, b"k" * 32)).trajectory
    assert secret not in made.model_dump_json()
    assert made.trajectory_id == plain.trajectory_id
    assert actions(made)[0].observation_index == 2
