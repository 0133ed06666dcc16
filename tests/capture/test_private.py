"""Secrets and personal data reach no file, wherever they stand; what holds the facts together is left alone."""

import re
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from agenther_live.integrations.langgraph import Capture
from agenther_live.redact import Redactor
from tests.capture.kit import Recording, Scripted, acts, ask, by_turn, drive, quiet, roles, say, user

KEY = "sk-proj-" + "Ab3" * 16
MAIL = "jane.doe@example.org"


@pytest.fixture
def private(tmp_path):
    recording = Recording(tmp_path)
    recording.capture = Capture(recording.writer, Redactor("redact", b"k" * 32), recording.settings)
    return recording


def everything_written(recording: Recording) -> str:
    recording.writer.close()
    return "".join(path.read_text() for path in (recording.folder / "journal").iterdir())


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream"])
def test_secrets_planted_everywhere(private: Recording, how):
    @tool
    def send(to: str, password: str) -> str:
        """Send it."""
        return f"sent to {to} with {KEY}"

    @tool
    def confirm() -> str:
        """Ask."""
        return f"user said {interrupt(f'use {KEY}?')}"

    @tool
    def fail() -> str:
        """Fail."""
        raise RuntimeError(f"cannot log in with {KEY}")

    thought = AIMessage(
        f"I use {KEY}",
        additional_kwargs={"reasoning_content": f"the key is {KEY}"},
        tool_calls=[
            {"name": "send", "args": {"to": MAIL, "password": "hunter2-hunter2"}, "id": "c0", "type": "tool_call"},
            {"name": "confirm", "args": {}, "id": "c1", "type": "tool_call"},
        ],
    )
    agent = create_agent(
        Scripted(script=by_turn(thought, ask(("fail", {})))),
        [send, confirm, fail],
        system_prompt=f"the key is {KEY}",
        checkpointer=InMemorySaver(),
    )
    graph = private.attach(agent, subject_key="mail")
    config: dict[str, Any] = {
        "configurable": {"thread_id": "t"},
        "metadata": {"mail": MAIL, "api_key": KEY},
        "tags": [f"key={KEY}"],
    }
    drive(graph, user(f"mail {MAIL} with {KEY}"), config, how=how)
    with quiet(RuntimeError):
        drive(graph, Command(resume=f"yes, {KEY}"), config, how=how)
    t = private.only()
    assert (t.status, roles(t)) == ("error", "suatta")
    assert re.fullmatch(r"mail \[PII:email:\w+\] with \[SECRET:\w+:\w+\]", t.goal)
    assert [a[0][0] for a in acts(t)] == ["send", "fail"]
    written = everything_written(private)
    for secret in (KEY, MAIL, "hunter2"):
        assert secret not in written
    placeholders = set(re.findall(r"\[SECRET:\w+:\w+\]", t.goal + str(t.steps[0].actions[0].observation)))
    assert len(placeholders) == 1  # one value, one placeholder


def test_a_hook_that_eats_digits_leaves_the_ids_alone(tmp_path):
    recording = Recording(tmp_path)
    redactor = Redactor(None, b"k" * 32, hook=lambda text: re.sub(r"\d", "#", text))
    recording.capture = Capture(recording.writer, redactor, recording.settings)

    @tool
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    graph = create_agent(Scripted(script=by_turn(ask(("add", {"a": 1, "b": 1}, "call_17")), say("it is 2"))), [add])
    drive(recording.attach(graph), user("1+1"))
    t = recording.only()
    assert (t.goal, t.final_answer) == ("#+#", "it is #")
    assert acts(t) == [[("add", "#", False)], []]
    assert t.steps[0].actions[0].call_id == "call_17"
    assert t.messages[2].tool_call_id == "call_17"
    assert re.fullmatch(r"[0-9a-f-]{36}", t.trajectory_id)
