"""Agents that are nodes of a larger graph: what they said is theirs; a run that one of them made can be relabeled."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph

from agenther_live.polarity import signs
from agenther_live.relabel import RulesJudge, TemplateRelabeler, relabel
from agenther_live.relabel.conducted import conducted
from agenther_live.relabel.demonstrate import success_sample
from agenther_live.shards.rows.pairing import failure, prompt_key
from agenther_live.trajectory import Outcome, Trajectory
from tests.capture.kit import Recording, Scripted, ask, by_turn, drive, say, user

FAILED = Outcome(label="failure", source="person", reason="not what was asked")


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Recording]:
    made = Recording(tmp_path)
    yield made
    made.writer.close()


@tool
def get_plan(customer: str) -> str:
    """Look up the plan of a customer."""
    return '{"plan": "pro", "since": "2023-04-11"}'


def helper(name: str, *lines: Any) -> Any:
    return create_agent(Scripted(script=by_turn(*lines)), [get_plan], name=name, system_prompt="You help.")


def wrapped(recording: Recording, *, footer: str = "") -> Trajectory:
    builder = StateGraph(MessagesState)
    builder.add_node("agent", helper("desk", ask(("get_plan", {"customer": "C-7"})), say("C-7 is on the free plan.")))
    builder.add_edge(START, "agent")
    if footer:
        builder.add_node("foot", lambda state: {"messages": [say(footer)]})
        builder.add_edge("agent", "foot")
    drive(recording.attach(builder.compile()), user("May C-7 use the interface, and for how long?"))
    return recording.only()


def test_a_failure_of_an_agent_that_is_a_node_becomes_a_sample(recording: Recording) -> None:
    run = wrapped(recording)
    assert run.root_steps == ()
    made = asyncio.run(relabel(run, FAILED, 1, relabeler=TemplateRelabeler(), judges=[RulesJudge()]))
    assert made.reason == "accepted", made.detail
    assert made.sample is not None
    assert [each.message.role for each in made.sample.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert [each.train for each in made.sample.messages] == [False, False, True, False, True]
    assert made.sample.messages[0].message.text == "You help."
    [goal] = made.goals
    assert {run.messages[index].role for index in goal.evidence} <= {"assistant", "tool"}, (
        "counted in the run's messages"
    )
    assert made.sample.evidence == tuple(index + 1 for index in goal.evidence)


def test_a_success_of_it_is_learned_with_its_prompt(recording: Recording) -> None:
    sample = success_sample(wrapped(recording), Outcome(label="success"), 1)
    assert sample is not None
    assert [each.train for each in sample.messages] == [False, False, True, False, True]
    assert sample.messages[0].message.text == "You help."


def test_its_failures_pair_with_its_successes_and_its_signs_are_read(recording: Recording) -> None:
    run = wrapped(recording)
    good, bad = success_sample(run, Outcome(label="success"), 1), failure(run, 1)
    assert good is not None
    assert bad is not None
    assert prompt_key(good) == prompt_key(bad)
    assert list(signs(run)) == ["tool:get_plan"]


def test_what_a_node_adds_is_no_word_of_the_agents(recording: Recording) -> None:
    run = wrapped(recording, footer="A machine wrote this.")
    sample = success_sample(run, Outcome(label="success"), 1)
    assert sample is not None
    assert [each.train for each in sample.messages] == [False, False, True, False, True, False]
    made = asyncio.run(relabel(run, FAILED, 1, relabeler=TemplateRelabeler(), judges=[RulesJudge()]))
    assert made.sample is not None, made.detail
    assert "machine" not in made.sample.messages[-1].message.text


@pytest.mark.filterwarnings("ignore:create_react_agent has been moved")
def test_a_supervisor_learns_none_of_its_workers_words(recording: Recording) -> None:
    """What a worker found stands in the supervisor's conversation, and no call there shows it."""
    from langgraph_supervisor import create_supervisor  # its import warns

    worker = helper("plans", ask(("get_plan", {"customer": "C-7"})), say("C-7 is on the pro plan."))
    lead = Scripted(script=by_turn(ask(("transfer_to_plans", {})), say("It is the pro plan.")))
    graph = create_supervisor([worker], model=lead, prompt="You lead.").compile()
    drive(recording.attach(graph), user("Which plan is C-7 on?"))
    run = recording.only()
    assert conducted(run) is run, "two agents had a part in it"
    sample = success_sample(run, Outcome(label="success"), 1)
    assert sample is not None
    learned = [each.message.text or each.message.tool_calls for each in sample.messages if each.train]
    assert [item if isinstance(item, str) else item[0].function.name for item in learned if item] == [
        "transfer_to_plans", "It is the pro plan.",
    ]  # fmt: skip
    blamed = failure(run, 1)
    assert blamed is not None
    assert [each.train for each in blamed.messages] == [each.train for each in sample.messages]
    assert sample.messages[0].message.text == "You lead."
    assert [tool["function"]["name"] for tool in sample.tools or ()] == ["transfer_to_plans"]
    made = asyncio.run(relabel(run, FAILED, 1, relabeler=TemplateRelabeler(), judges=[RulesJudge()]))
    assert made.reason == "irrecoverable"
    assert "all calls are those of nested agents" in made.detail
