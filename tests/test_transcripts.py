"""Import of transcripts: forms of records, text formats, quirks, bad input. Own small fixtures, no data folder."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agenther_live.integrations.transcripts import Imported, Refused, import_file, read
from agenther_live.integrations.transcripts.adapter import MAX_DEPTH, NO_CALL
from agenther_live.integrations.transcripts.choose import ADAPTERS, choose
from agenther_live.integrations.transcripts.signs import prints_grade, reports_error
from agenther_live.integrations.transcripts.steps import derive, json_arguments
from agenther_live.redact import Redactor
from agenther_live.trajectory import Action, Evidence, Message, Trajectory

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).replace(tzinfo=None)


def write(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


def imported(tmp_path: Path, *records: Any, **options: Any) -> list[Imported]:
    items = list(read(write(tmp_path / "in.jsonl", *records), now=NOW, **options))
    assert all(isinstance(item, Imported) for item in items), items
    return [item for item in items if isinstance(item, Imported)]


def one(tmp_path: Path, record: dict[str, Any], **options: Any) -> Imported:
    (item,) = imported(tmp_path, record, **options)
    return item


def talk(*turns: tuple[str, str], **extra: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns], **extra}


def actions(trajectory: Trajectory) -> list[Action]:
    return [action for step in trajectory.steps for action in step.actions]


def call(name: str, arguments: Any = "{}", call_id: str | None = "c1") -> dict[str, Any]:
    made: dict[str, Any] = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return made if call_id is None else {"id": call_id, **made}


# forms of records


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


# the grade


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


# native tool calls and their quirks


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


# text formats


def test_react_with_numbered_labels(tmp_path: Path) -> None:
    record = talk(
        ("user", "Question: Who?"),
        ("assistant", "Thought 1: I look\nfor Ada.\nAction 1: Search[Ada]"),
        ("user", "Observation 1: Ada Lovelace (1815)."),
        ("assistant", "Thought 2: Both.\nAction 2: Search[a], Search[b]"),
        ("user", "Observation 2: Could not find that page, please try again."),
        ("assistant", "Thought 3: Odd.\nAction 3: Lookup[x [y]]"),
        ("user", "Observation 3: Could not find [x]. Similar: []"),
        ("assistant", "Thought 4: Done.\nAction 4: Finish[Ada]"),
    )
    made = one(tmp_path, record).trajectory
    assert made.metadata["format"] == "react"
    assert [(a.name, a.input, a.is_error, a.observation_index) for a in actions(made)] == [
        ("Search", "Ada", False, 2),
        ("Search", "a], Search[b", True, 4),
        ("Lookup", "x [y]", False, 6),
        ("Finish", "Ada", False, None),
    ]
    assert actions(made)[0].observation == "Ada Lovelace (1815)."
    assert made.steps[0].thought == "I look\nfor Ada."
    assert (made.final_answer, made.flags) == ("Ada", ())


def test_react_webshop(tmp_path: Path) -> None:
    record = talk(
        ("user", "Observation: \nInstruction: \na lamp \n[Search]"),
        ("assistant", "Action: search[lamp]"),
        ("user", "Observation: [Back to Search]\n[B01] lamp"),
        ("assistant", "Action: think[B01 has options 'red',"),  # the model was cut off
        ("user", "Observation: OK."),
        ("assistant", "Action: click[< Prev]"),
        ("user", "Observation: Invalid action!"),
        ("assistant", "I give up"),
        ("user", "Observation: Invalid action!"),
    )
    made = one(tmp_path, record).trajectory
    assert [(a.name, a.input, a.observation, a.is_error) for a in actions(made)] == [
        ("search", "lamp", "[Back to Search]\n[B01] lamp", False),
        ("think", "B01 has options 'red',", "OK.", False),
        ("click", "< Prev", "Invalid action!", True),
        (NO_CALL, "", "Invalid action!", True),
    ]
    assert made.steps[1].thought == "B01 has options 'red',"
    assert made.messages[0].role == "user"
    assert made.steps[0].message_index == 1


def test_react_as_langchain_writes_it_and_as_json(tmp_path: Path) -> None:
    record = talk(
        ("user", "u"),
        ("assistant", "Thought: t\nAction: calculator\nAction Input: 2+2\nObservation: 5\nThought: it is 5"),
        ("user", "4"),
        ("assistant", 'Thought: j\nAction: {"action": "calculator", "action_input": {"e": "1"}}'),
        ("user", "Observation: Error: bad"),
        ("assistant", "Thought: so\nFinal Answer: four"),
    )
    made = one(tmp_path, record).trajectory
    assert [(a.name, a.input, a.observation, a.is_error) for a in actions(made)] == [
        ("calculator", "2+2", "4", False),  # the imagined observation is not one
        ("calculator", '{"e": "1"}', "Error: bad", True),
    ]
    assert [step.thought for step in made.steps[:2]] == ["t", "j"]
    assert made.final_answer == "four"


def test_react_takes_the_last_of_several_actions(tmp_path: Path) -> None:
    text = "Thought: A\nAction: search[x]\nThought: B\nAction:  finish[None]"
    made = one(tmp_path, talk(("user", "u"), ("assistant", text))).trajectory
    assert [(a.name, a.input) for a in actions(made)] == [("finish", "None")]
    assert made.steps[0].thought == "A\nAction: search[x]\nThought: B"


def test_tau_text_agent(tmp_path: Path) -> None:
    respond = '<think>\nask\n</think>\n\nThought:\nAsk.\nAction:\n{"name": "respond", "arguments": {"content": "Who?"}}'
    record = talk(
        ("system", "policy"),
        ("user", "<think>play angry</think>I want it back."),
        ("assistant", '<think>\n</think>\n\nThought:\nFind.\nAction:\n{"name": "find", "arguments": {"id": "#W1"}}'),
        ("user", "API output: Error: not found"),
        ("assistant", respond),
        ("user", "Me."),
        ("assistant", '<think>hm</think>\n\nThought:\nT.\nAction:\n{"name": "think", "arguments": {"thought": "x"}}'),
        ("user", "API output: "),
        ("assistant", "<think>say it</think>\nYou get it back."),
        ("user", "###STOP###"),
        final_answer="<think>say it</think>\nYou get it back.",
    )
    made = one(tmp_path, record).trajectory
    assert made.metadata["format"] == "tau"
    assert [(a.name, a.input, a.observation, a.is_error, a.observation_index) for a in actions(made)] == [
        ("find", '{"id": "#W1"}', "Error: not found", True, 3),
        ("think", '{"thought": "x"}', "", False, 7),
    ]
    assert [step.thought for step in made.steps] == [
        "Find.",
        "ask\n\nAsk.\n\nWho?",
        "hm\n\nT.",
        "say it\n\nYou get it back.",
    ]
    assert made.final_answer == "You get it back."
    observed = {action.observation_index for action in actions(made)}
    assert [i for i, m in enumerate(made.messages) if m.role == "user" and i not in observed] == [1, 5, 9]


def test_mini_swe_agent(tmp_path: Path) -> None:
    refusal = "Please always provide EXACTLY ONE action in triple backticks, found 2 actions."
    record = talk(
        ("system", "s"),
        ("user", "Fix it."),
        ("assistant", "THOUGHT: Look.\n\n```bash\nls\n```"),
        ("user", "<returncode>0</returncode>\n<output>\na.py\n</output>"),
        ("assistant", "THOUGHT: Search.\n\n```bash\ngrep x a.py\n```"),
        ("user", "<returncode>1</returncode>\n<output>\n</output>"),
        ("assistant", "THOUGHT: Run.\n```python\nprint(1)\n```\n```bash\npython a.py\n```"),
        ("user", "<returncode>1</returncode>\n<output>\nTraceback\n</output>"),
        ("assistant", "THOUGHT: Two.\n```bash\na\n```\n```bash\nb\n```"),
        ("user", refusal),
        ("assistant", "THOUGHT: Wait.\n```bash\nsleep 99\n```"),
        ("user", "The last command <command>sleep 99</command> timed out and has been killed."),
        ("assistant", "THOUGHT: Submit.\n```bash\necho COMPLETE && git diff\n```"),
        ("user", "diff --git a/a.py b/a.py\n"),
    )
    made = one(tmp_path, record).trajectory
    assert made.metadata["format"] == "mini_swe_agent"
    assert [(a.name, a.input, a.is_error, a.observation_index) for a in actions(made)] == [
        ("bash", "ls", False, 3),
        ("bash", "grep x a.py", False, 5),
        ("bash", "python a.py", True, 7),
        (NO_CALL, "", True, 9),
        ("bash", "sleep 99", True, 11),
        ("bash", "echo COMPLETE && git diff", False, 13),
    ]
    assert made.steps[0].thought == "Look."
    assert made.flags == ()


def test_swe_agent(tmp_path: Path) -> None:
    prompt = "\n(Open file: /r/a.py)\n(Current directory: /r)\nbash-$"
    traceback = 'Traceback (most recent call last):\n  File "a.py", line 1\nValueError: no\n'
    record = talk(
        ("system", "s"),
        ("user", "ISSUE: a bug"),
        ("assistant", "DISCUSSION\nFirst a file with ```inline``` text.\n```\ncreate a.py\n```"),
        ("user", "[File: /r/a.py (1 lines total)]\n1:" + prompt),
        ("assistant", "Edit it.\n```\nedit 1:1\nprint(1)\nend_of_edit\n```"),
        ("user", "Your proposed edit has introduced new syntax error(s)." + prompt),
        ("assistant", "Run.\n```\npython a.py\n```"),
        ("user", traceback + prompt),
        ("assistant", "Look.\n```\ncat log.txt\n```"),
        (
            "user",
            'Traceback (most recent call last):\n  File "a.py", line 1\nValueError: no\nthen all was well\n' + prompt,
        ),
        ("assistant", "Strings.\n```\nstrings img\n```"),
        ("user", "strings: 'img': No such file" + prompt),
        ("assistant", "Submit.\n```\nsubmit\n```"),
    )
    made = one(tmp_path, record).trajectory
    assert made.metadata["format"] == "swe_agent"
    assert [(a.name, a.input, a.is_error, a.observation_index) for a in actions(made)] == [
        ("create", "create a.py", False, 3),
        ("edit", "edit 1:1\nprint(1)\nend_of_edit", True, 5),
        ("bash", "python a.py", True, 7),
        ("bash", "cat log.txt", False, 9),
        ("bash", "strings img", True, 11),
        ("submit", "submit", False, None),
    ]
    assert made.steps[0].thought == "First a file with ```inline``` text."


def test_autogen_speakers(tmp_path: Path) -> None:
    def said(name: str, content: str, role: str = "assistant") -> dict[str, Any]:
        return {"role": role, "name": name, "content": content, "source_role": "user"}

    record = {
        "messages": [
            said("user_proxy", "Count.", "user"),
            said("planner", "Step 1: count."),
            said("coder", "Here:\n```python\nprint(1)\n```\nand\n```python\nprint(2)\n```"),
            said("executor", "exitcode: 0 (execution succeeded)\nCode output: 1", "user"),
            said("coder", "```python\nboom()\n```"),
            said("executor", "exitcode: 1 (execution failed)\nCode output: NameError", "user"),
            said("manager", "```python\nnever run\n```"),
            said("manager", "TERMINATE"),
            said("terminator", "exit", "user"),
        ]
    }
    made = one(tmp_path, record).trajectory
    assert made.metadata["format"] == "speakers"
    assert [(a.name, a.input, a.is_error, a.observation_index) for a in actions(made)] == [
        ("python", "print(1)\n\nprint(2)", False, 3),
        ("python", "boom()", True, 5),
    ]
    assert [step.node for step in made.steps] == ["planner", "coder", "coder", "manager", "manager"]
    assert made.steps[1].thought == "Here:"
    assert made.final_answer == "TERMINATE"


def test_the_event_log_of_a_langgraph_agent_is_read_once_and_not_twice(tmp_path: Path) -> None:
    calls = [{"name": "exec", "args": {"code": "x"}, "id": "i1"}]
    ai = {
        "type": "ai",
        "content": [{"type": "text", "text": "Run it."}],
        "tool_calls": calls,
    }
    tool = {"type": "tool", "content": "1", "tool_call_id": "i1", "name": "exec", "status": "success"}
    end = {"type": "ai", "content": "All done.", "tool_calls": []}
    record = {
        "messages": [
            {"role": "user", "name": "main", "content": "Go."},
            {"role": "assistant", "name": "react_agent", "content": json.dumps({"agent": {"messages": [ai]}})},
            {"role": "assistant", "name": "code_generate", "content": "x"},
            {"role": "user", "name": "code_execution_error", "content": "Failed the python code execution test:\nboom"},
            {"role": "assistant", "name": "react_agent", "content": json.dumps({"tools": {"messages": [tool]}})},
            {"role": "assistant", "name": "react_agent", "content": json.dumps({"agent": {"messages": [end]}})},
        ]
    }
    made = one(tmp_path, record).trajectory
    assert [(step.thought, step.message_index) for step in made.steps] == [("Run it.", 1), ("All done.", 5)]
    assert [(a.name, a.input, a.observation_index, a.is_error) for a in actions(made)] == [
        ("exec", '{"code": "x"}', 3, True)
    ]
    assert made.final_answer == "All done."


def test_a_known_source_beats_the_structure() -> None:
    messages = [Message(role="user", content="u"), Message(role="assistant", content="hello")]
    assert choose("react-webshop", messages).name == "react"
    assert choose("never heard of", messages).name == choose(None, messages).name == "chat"


def test_prose_that_mentions_labels_is_no_text_agent() -> None:
    messages = [
        Message(role="user", content="u"),
        Message(role="assistant", content="My thoughts. Action: we should go.\n```\ncode\n```"),
        Message(role="user", content="exitcode? never mind, what do you observe"),
    ]
    assert choose(None, messages).name == "chat"


# signs of errors


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


# redaction


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


# files and bad input


def test_gzip_byte_order_mark_blank_lines_and_crlf(tmp_path: Path) -> None:
    line = json.dumps(talk(("user", "u\u2028u"), ("assistant", "a")), ensure_ascii=False).encode()
    data = (
        b"\xef\xbb\xbf" + line + b"\r\n\r\n  \n" + line.replace(b'"a"', b'"b"') + b"\n\n" + line.replace(b'"a"', b'"c"')
    )
    plain, packed, members = tmp_path / "a.jsonl", tmp_path / "a.json.gz", tmp_path / "named-wrongly.jsonl"
    plain.write_bytes(data)
    packed.write_bytes(gzip.compress(data))
    members.write_bytes(gzip.compress(data[:40]) + gzip.compress(data[40:]) + b"\0" * 512)
    for path in (plain, packed, members):
        items = list(read(path))
        assert [type(item) for item in items] == [Imported] * 3
        assert [item.line for item in items] == [1, 4, 6]


def test_a_torn_gzip_file_keeps_what_came_before(tmp_path: Path) -> None:
    lines = [json.dumps(talk(("user", f"question {n} {n * 7919}"), ("assistant", f"answer {n}"))) for n in range(400)]
    whole = gzip.compress("\n".join(lines).encode())
    path = tmp_path / "torn.jsonl.gz"
    for cut in (len(whole) // 2, len(whole) - 4, 12, 3):
        path.write_bytes(whole[:cut])
        items = list(read(path))
        kept = [item for item in items if isinstance(item, Imported)]
        assert [item.line for item in kept] == list(range(1, len(kept) + 1))
        assert len(items) == len(kept) + 1
        assert isinstance(items[-1], Refused)
        assert "gzip" in items[-1].reason
        assert len(kept) in (items[-1].line, items[-1].line - 1)
    assert len(kept) == 0
    path.write_bytes(whole[: len(whole) // 2] + b"garbage" + whole[len(whole) // 2 :])
    assert any(isinstance(item, Refused) for item in read(path))


def test_a_line_over_the_bound_is_refused_and_the_rest_goes_on(tmp_path: Path) -> None:
    good = talk(("user", "u"), ("assistant", "a"))
    path = write(tmp_path / "in.jsonl", good, talk(("user", "x" * 5000), ("assistant", "a")), {**good, "goal": "g"})
    first, second, third = read(path, max_line_bytes=2000)
    assert isinstance(first, Imported)
    assert second == Refused(str(path), 2, "the line is longer than 2000 bytes")
    assert isinstance(third, Imported)
    assert third.line == 3


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{not json", "not JSON"),
        ("12", "a JSON object is needed, this is a number"),
        ("{}", "'messages' must be a list"),
        ('{"messages": []}', "'messages' is empty"),
        ('{"messages": [1]}', "message 0 is a number"),
        ('{"messages": [{"role": "robot", "content": ""}]}', "message 0, role"),
        ('{"messages": [{"role": "user", "content": 5}]}', "message 0, content"),
        ('{"messages": [{"role": "user", "content": "u"}], "tools": {}}', "'tools'"),
        ('{"messages": [{"role": "user", "content": "u"}], "outcome": "meh"}', "'outcome'"),
        ('{"messages": [{"role": "user", "content": "u"}], "outcome": {"success": 1}}', "'outcome'"),
        ('{"messages": [{"role": "user", "content": "u"}], "goal": 5}', "'goal' must be text"),
        ('{"messages": [{"role": "user", "content": "u"}], "metadata": []}', "'metadata'"),
        ('{"messages": [{"role": "user", "content": "u"}], "x": NaN}', "NaN"),
        ('{"messages": [{"role": "user", "content": "\\ud800"}]}', "surrogate"),
        ('{"messages": [{"role": "user", "content": "u"}], "x": ' + "[" * 200 + "]" * 200 + "}", "nested"),
        ("[" * 100_000, "nested"),
        ('{"messages": [{"role": "user", "content": "u"}], "x": ' + "9" * 5000 + "}", "not JSON"),
        ('{"messages": [{"role": "user", "content": "u"}], "outcome": 1' + "0" * 400 + "}", "out of range"),
    ],
)
def test_an_unreadable_record_is_refused_with_file_line_and_reason(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "in.jsonl"
    good = json.dumps(talk(("user", "u"), ("assistant", "a")))
    path.write_text(f"{good}\n{line}\n{good}\n", "utf-8")
    first, refused, last = read(path)
    assert isinstance(first, Imported)
    assert isinstance(last, Imported)
    assert isinstance(refused, Refused)
    assert (refused.file, refused.line) == (str(path), 2)
    assert reason in refused.reason


def test_a_refusal_never_quotes_the_record(tmp_path: Path) -> None:
    bad = [{"role": "user", "content": "hunter2"}, {"role": "hunter2", "content": "hunter2"}]
    (refused,) = read(write(tmp_path / "in.jsonl", {"messages": bad}))
    assert isinstance(refused, Refused)
    assert "hunter2" not in refused.reason


def test_bytes_that_are_no_utf8_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'{"messages": "\xff"}\n')
    (refused,) = read(path)
    assert isinstance(refused, Refused)
    assert "UTF-8" in refused.reason


@pytest.mark.parametrize("text", ['[{"messages": []},\n{"messages": []}]', '{\n  "messages": []\n}'])
def test_one_json_document_over_many_lines_is_said_once(tmp_path: Path, text: str) -> None:
    path = tmp_path / "in.json"
    path.write_text(text, "utf-8")
    (refused,) = read(path)
    assert isinstance(refused, Refused)
    assert "jq -c" in refused.reason


@pytest.mark.parametrize("name", ["missing.jsonl", ".", "nul\0.jsonl"])
def test_a_file_that_cannot_be_opened_is_refused_as_a_whole(tmp_path: Path, name: str) -> None:
    (refused,) = read(tmp_path / name)
    assert isinstance(refused, Refused)
    assert refused.line == 0
    assert "cannot be read" in refused.reason


def test_an_empty_file_holds_nothing(tmp_path: Path) -> None:
    for data in (b"", b"\n\n", gzip.compress(b"")):
        (tmp_path / "in.jsonl").write_bytes(data)
        assert list(read(tmp_path / "in.jsonl")) == []


# hostile input

TEXTS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        [
            "Thought: a\nAction: b[c",
            "Action:",
            "Action: {",
            'Action:\n{"name": "respond", "arguments": 5}',
            'Action: {"name": "f", "arguments": "\\ud800"}',
            "Observation:",
            "API output: Error: x",
            "<think>",
            "```bash\nls\n```",
            "```\nsubmit\n```",
            "```bash\n",
            "<returncode>99999999999999999999</returncode>",
            "exitcode: 1 (execution failed)",
            '{"agent": {"messages": [{"type": "ai", "content": [1, {}], "tool_calls": [1, {"name": "f"}]}]}}',
            '{"tools": {"messages": [{"type": "tool", "content": null, "tool_call_id": 1}]}}',
            '{"agent": {"messages": 5}}',
            "(Open file: x)\n(Current directory: y)\nbash-$",
            "Answer is CORRECT",
            "Traceback (most recent call last):\n",
        ]
    ),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
ROLES = st.sampled_from(["system", "user", "assistant", "tool", "function"])
CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "function": st.fixed_dictionaries(
                {"name": TEXTS, "arguments": TEXTS | st.dictionaries(TEXTS, JSON, max_size=2)}
            )
        },
        optional={"id": st.none() | st.sampled_from(["1", "2"]), "index": JSON},
    ),
    max_size=3,
)
MESSAGES = st.fixed_dictionaries(
    {"role": ROLES, "content": st.none() | TEXTS},
    optional={
        "tool_calls": st.none() | CALLS,
        "tool_call_id": st.none() | st.sampled_from(["1", "2"]),
        "name": st.none() | st.sampled_from(["executor", "code_generate", "f"]),
        "function_call": JSON,
        "extra": JSON,
    },
)
KEYS = ["source", "goal", "messages", "tools", "functions", "final_answer", "outcome", "meta", "metadata", "agent", "x"]


def hostile(value: Any) -> bytes:
    return json.dumps(value).encode()


LINES = st.one_of(
    st.binary(max_size=60),
    JSON.map(hostile),
    st.dictionaries(st.sampled_from(KEYS), JSON, max_size=6).map(hostile),
    st.fixed_dictionaries(
        {"messages": st.lists(MESSAGES | JSON, max_size=6)},
        optional={key: JSON for key in KEYS if key != "messages"},
    ).map(hostile),
)


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(lines=st.lists(LINES, max_size=5), packed=st.booleans(), cut=st.none() | st.integers(0, 200))
def test_whatever_stands_in_the_file_reading_never_raises(
    tmp_path: Path, lines: list[bytes], packed: bool, cut: int | None
) -> None:
    data = b"\n".join(lines)
    path = tmp_path / "hostile.jsonl"
    path.write_bytes((gzip.compress(data) if packed else data)[:cut])
    for item in read(path, max_line_bytes=4000):
        assert isinstance(item, Imported | Refused)
        if isinstance(item, Imported):
            item.trajectory.model_dump_json().encode()


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(raw=st.lists(MESSAGES, min_size=1, max_size=8), name=st.sampled_from(sorted(ADAPTERS)))
def test_every_adapter_pairs_soundly_on_any_messages(raw: list[dict[str, Any]], name: str) -> None:
    messages = [Message.model_validate(item) for item in raw]
    derived = derive(messages, ADAPTERS[name])
    assert [step.idx for step in derived.steps] == list(range(len(derived.steps)))
    positions = [step.message_index for step in derived.steps]
    assert positions == sorted({position for position in positions if position is not None})
    assert all(position is not None and messages[position].role == "assistant" for position in positions)
    answers = [a.observation_index for step in derived.steps for a in step.actions if a.observation_index is not None]
    assert len(answers) == len(set(answers))
    for step in derived.steps:
        for action in step.actions:
            assert (action.observation is None) == (action.observation_index is None)
            if action.observation_index is not None and step.message_index is not None:
                assert step.message_index < action.observation_index < len(messages)
    native = sum(len(message.tool_calls or ()) for message in messages if message.role == "assistant")
    assert sum(len(step.actions) for step in derived.steps) >= native


def test_deep_nesting_up_to_the_bound_is_taken(tmp_path: Path) -> None:
    deep: Any = 1
    for _ in range(MAX_DEPTH - 3):
        deep = [deep]
    assert one(tmp_path, talk(("user", "u"), ("assistant", "a"), x=deep)).trajectory.messages


# into the buffer, and the page about it


class Shelf:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def add_trajectories(self, items: Iterable[tuple[Trajectory, Sequence[Evidence]]], /) -> None:
        self.batches.append([trajectory.trajectory_id for trajectory, _ in items])


def test_a_file_goes_into_the_sink_in_batches_and_is_reported(tmp_path: Path) -> None:
    records = [talk(("user", f"u{n}"), ("assistant", "a")) for n in range(450)]
    path = write(tmp_path / "in.jsonl", *records[:300], "no record", *records[300:])
    shelf, seen = Shelf(), list[int]()
    report = import_file(path, shelf, progress=seen.append)
    assert (report.read, report.imported, [refused.line for refused in report.refused]) == (451, 450, [301])
    assert [len(batch) for batch in shelf.batches] == [200, 200, 50]
    assert len({identity for batch in shelf.batches for identity in batch}) == 450
    assert seen == [200, 401, 451]


def test_a_missing_file_is_reported_and_counts_no_record(tmp_path: Path) -> None:
    report = import_file(tmp_path / "missing.jsonl", Shelf())
    assert (report.read, report.imported, len(report.refused)) == (0, 0, 1)


def test_the_examples_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).resolve().parents[1] / "docs" / "import.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    assert blocks
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        exec(compile(block, str(page), "exec"), {})


def test_the_page_names_every_format() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "import.md").read_text("utf-8")
    assert [name for name in ADAPTERS if f"`{name}`" not in page] == []
