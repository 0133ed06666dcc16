"""Agents that act by text: a format each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from agenther_live.integrations.transcripts.adapter import NO_CALL
from agenther_live.integrations.transcripts.choose import choose
from agenther_live.trajectory import Message
from tests.transcripts.given import actions, one, talk


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
