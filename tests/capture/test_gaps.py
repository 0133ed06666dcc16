"""Facts may be lost: cut by a crash or a bound. A gap is never an error, and what is left is still read."""

import random
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from agenther_live.assemble import assemble
from tests.capture.kit import Recording, Scripted, ask, by_turn, say, user


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def confirm() -> str:
    """Ask."""
    return str(interrupt("ok?"))


helper = create_agent(Scripted(script=by_turn(ask(("add", {"a": 1, "b": 1})), say("two"))), [add], name="helper")


@tool
def consult() -> str:
    """Ask the helper."""
    return str(helper.invoke(user("please"))["messages"][-1].content)


@pytest.fixture
def runs(recording: Recording) -> list[list[dict[str, Any]]]:
    lines = (ask(("add", {"a": 1, "b": 1}), ("consult", {}), text="first"), ask(("confirm", {})), say("done"))
    agent = create_agent(
        Scripted(script=by_turn(*lines)), [add, consult, confirm], system_prompt="s", checkpointer=InMemorySaver()
    )
    graph = recording.attach(agent)
    config: Any = {"configurable": {"thread_id": "t"}}
    graph.invoke(user("before"), {**config, "tags": ["agenther:off"]})
    graph.invoke(Command(resume="yes"), {**config, "tags": ["agenther:off"]})
    graph.invoke(user("go"), config)
    graph.invoke(Command(resume="yes"), config)
    found = recording.runs()
    assert len(found) == 2
    return found


def pieces(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One item per record, so that every cut is possible."""
    return [
        piece
        for record in records
        for piece in ([{**record, "f": [item]} for item in record["f"]] if record["k"] == "f" else [record])
    ]


def test_cut_anywhere(runs: list[list[dict[str, Any]]]):
    first, second = map(pieces, runs)
    whole = assemble([first, second], trajectory_id="t")
    assert whole == assemble(runs, trajectory_id="t")
    assert (whole.status, len(whole.steps), whole.final_answer) == ("finished", 5, "done")
    last = 0
    for cut in range(1, len(first)):
        t = assemble([first[:cut]], trajectory_id="t")
        assert t.status == "abandoned"
        assert t.goal == "go" if cut > 1 else not t.goal
        assert len(t.steps) >= last
        assert not t.messages or t.messages[t.context_len].text == "go"
        last = len(t.steps)
    for cut in range(1, len(second)):
        assert assemble([first, second[:cut]], trajectory_id="t").status == "abandoned"


def test_the_first_run_is_lost(runs: list[list[dict[str, Any]]]):
    t = assemble([runs[1]], trajectory_id="t")
    assert (t.status, t.final_answer, t.goal) == ("finished", "done", "go")
    assert "done" in [step.thought for step in t.steps]
    assert all(message.role != "assistant" or n >= t.context_len for n, message in enumerate(t.messages) if n > 20)


def test_any_items_are_lost(runs: list[list[dict[str, Any]]]):
    dice = random.Random(7)
    split = [pieces(run) for run in runs]
    for _ in range(300):
        kept = [[record for record in run if dice.random() > 0.2] for run in split]
        t = assemble(kept, trajectory_id="t")
        for step in t.steps:
            messages = t.nested.get(step.agent_path, ()) if step.agent_path else t.messages
            if step.message_index is not None:
                assert messages[step.message_index].role == "assistant"
            for action in step.actions:
                if action.observation_index is not None:
                    assert messages[action.observation_index].role == "tool"


def test_no_facts_at_all():
    assert assemble([], trajectory_id="t").status == "abandoned"
    assert assemble([[]], trajectory_id="t").steps == ()
