"""Shapes 1-7 of create_agent: steps, parallel calls, errors of every kind."""

import asyncio
import json

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.tool import invalid_tool_call
from langchain_core.tools import ToolException, tool
from langgraph.types import Command

from tests.capture.kit import WAYS, Recording, Scripted, Streaming, acts, ask, by_turn, drive, quiet, roles, say, user


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def boom(x: int) -> str:
    """Always fails."""
    raise RuntimeError(f"boom {x}")


@tool
def careful(x: int) -> str:
    """Fails politely."""
    raise ToolException(f"cannot do {x}")


careful.handle_tool_error = True


def agent(*lines, tools=(add, boom, careful), model=Scripted, **kwargs):
    return create_agent(model(script=by_turn(*lines)), list(tools), **kwargs)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("model", [Scripted, Streaming])
def test_one_tool_step(recording: Recording, how, model):
    graph = recording.attach(
        agent(ask(("add", {"a": 1, "b": 2}), text="adding"), say("it is 3"), model=model, system_prompt="be brief"),
        name="adder",
        policy_version="v7",
        tags=["lab"],
    )
    result = drive(graph, user("1+2?"), {"tags": ["mine"], "metadata": {"customer": "c9"}}, how=how)
    assert result["messages"][-1].content == "it is 3"

    t = recording.only()
    assert (t.agent, t.goal, t.final_answer, t.status) == ("adder", "1+2?", "it is 3", "finished")
    assert (t.policy_version, t.tags, t.metadata) == ("v7", ("lab", "mine"), {"customer": "c9"})
    assert roles(t) == "suata"
    assert t.context_len == 1
    assert acts(t) == [[("add", "3", False)], []]
    assert [step.thought for step in t.steps] == ["adding", "it is 3"]
    assert [step.message_index for step in t.steps] == [2, 4]
    assert t.steps[0].actions[0].observation_index == 3
    assert t.steps[0].actions[0].input == '{"a":1,"b":2}'
    assert {step.node for step in t.steps} == {"model"}
    call = t.messages[2].wire()["tool_calls"][0]
    assert call == {"id": "call_0", "type": "function", "function": {"name": "add", "arguments": '{"a":1,"b":2}'}}
    assert t.messages[3].tool_call_id == "call_0"
    assert [entry["function"]["name"] for entry in t.tools or ()] == ["add", "boom", "careful"]
    assert t.tools is not None
    assert t.tools[0]["function"]["parameters"]["required"] == ["a", "b"]
    (run,) = t.runs
    assert (run.status, run.models, run.policy_version) == ("finished", ("scripted-1",), "v7")
    assert t.started_at is not None
    assert t.finished_at is not None
    assert t.started_at <= t.finished_at
    assert t.flags == ()


def test_parallel_calls_keep_the_order_of_the_calls(recording: Recording):
    @tool
    def wait(seconds: float) -> str:
        """Wait."""
        import time

        time.sleep(seconds)
        return f"waited {seconds}"

    calls = [("wait", {"seconds": s}) for s in (0.08, 0.04, 0.0)]
    drive(recording.attach(agent(ask(*calls), say("done"), tools=[wait])), user("go"))
    t = recording.only()
    assert acts(t)[0] == [("wait", f"waited {s}", False) for s in (0.08, 0.04, 0.0)]
    assert roles(t) == "uattta"
    assert [m.tool_call_id for m in t.messages if m.role == "tool"] == ["call_0", "call_1", "call_2"]


def test_the_same_tool_twice_with_equal_arguments(recording: Recording):
    seen: list[int] = []

    @tool
    def draw() -> int:
        """Draw a number."""
        seen.append(len(seen))
        return len(seen)

    drive(recording.attach(agent(ask(("draw", {}), ("draw", {})), say("done"), tools=[draw])), user("go"))
    t = recording.only()
    assert sorted(o for _, o, _ in acts(t)[0]) == ["1", "2"]
    assert [a.attempts for a in t.steps[0].actions] == [1, 1]


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_unknown_tool_invalid_arguments_and_unparseable_calls(recording: Recording, how):
    unparseable = AIMessage(
        "", invalid_tool_calls=[invalid_tool_call(name="add", args="{oops", id="bad", error="json")]
    )
    calls = ask(("nothing", {"x": 1}), ("add", {"a": "NaN"}), ("add", {"a": 1, "b": 1}))
    drive(recording.attach(agent(calls, unparseable)), user("go"), how=how)
    t = recording.only()
    (unknown, invalid, fine), (broken,) = (step.actions for step in t.steps)
    assert unknown.is_error
    assert "not a valid tool" in (unknown.observation or "")
    assert invalid.is_error
    assert "Field required" in (invalid.observation or "")
    assert (fine.observation, fine.is_error) == ("2", False)
    assert (broken.input, broken.observation) == ("{oops", None)
    assert t.status == "finished"
    assert t.final_answer is None


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_a_tool_that_raises_fails_the_run(recording: Recording, how):
    with quiet(RuntimeError):
        drive(recording.attach(agent(ask(("boom", {"x": 3})), say("never"))), user("go"), how=how)
    t = recording.only()
    assert (t.status, t.error_type, t.error_message) == ("error", "RuntimeError", "boom 3")
    assert acts(t) == [[("boom", "boom 3", True)]]
    assert roles(t) == "ua"
    assert t.final_answer is None


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_an_error_that_the_tool_handles_is_still_an_error_of_the_tool(recording: Recording, how):
    drive(recording.attach(agent(ask(("careful", {"x": 3})), say("sorry"))), user("go"), how=how)
    t = recording.only()
    assert acts(t) == [[("careful", "cannot do 3", True)], []]
    assert t.status == "finished"


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_a_tool_gives_a_command_an_artifact_or_a_message(recording: Recording, how):
    @tool(response_format="content_and_artifact")
    def look() -> tuple[str, dict]:
        """Look."""
        return "a picture", {"pixels": [1, 2, 3]}

    @tool
    def order() -> Command:
        """Give a Command."""
        return Command(update={"messages": [ToolMessage("ordered", tool_call_id="call_1")]})

    @tool
    def note() -> ToolMessage:
        """Give a message."""
        return ToolMessage("noted", tool_call_id="call_2", status="error")

    drive(
        recording.attach(agent(ask(("look", {}), ("order", {}), ("note", {})), say("ok"), tools=[look, order, note])),
        user("go"),
        how=how,
    )
    t = recording.only()
    assert acts(t)[0] == [("look", "a picture", False), ("order", "ordered", False), ("note", "noted", True)]
    assert roles(t) == "uattta"
    assert "pixels" not in json.dumps(recording.records)


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_a_model_that_fails_fails_the_run(recording: Recording, how):
    with quiet(ValueError):
        drive(recording.attach(agent(ask(("add", {"a": 1, "b": 1})), ValueError("no capacity"))), user("go"), how=how)
    t = recording.only()
    assert (t.status, t.error_type, t.error_message) == ("error", "ValueError", "no capacity")
    assert acts(t) == [[("add", "2", False)]]


def test_usage_and_model_are_of_the_run(recording: Recording):
    usage = {"input_tokens": 11, "output_tokens": 5, "total_tokens": 16}
    lines = [
        ask(("add", {"a": 1, "b": 1})).model_copy(update={"usage_metadata": usage}),
        AIMessage("two", usage_metadata=usage, response_metadata={"model_name": "scripted-1-0409"}),
    ]
    drive(recording.attach(agent(*lines)), user("go"))
    (run,) = recording.only().runs
    assert (run.prompt_tokens, run.completion_tokens) == (22, 10)
    assert run.models == ("scripted-1", "scripted-1-0409")


def test_several_user_messages_are_one_turn(recording: Recording):
    given = [SystemMessage("s"), HumanMessage("first"), AIMessage("yes?"), ("user", "a file"), ("user", "sum it")]
    drive(recording.attach(agent(say("done"))), {"messages": given})
    t = recording.only()
    assert t.goal == "sum it"
    assert roles(t) == "suauua"
    assert t.context_len == 3


def test_batch(recording: Recording):
    graph = recording.attach(agent(ask(("add", {"a": 1, "b": 2})), say("3")))
    graph.batch([user(f"b{i}") for i in range(5)])
    asyncio.run(graph.abatch([user(f"a{i}") for i in range(5)]))
    found = recording.trajectories()
    recording.clean()
    assert sorted(t.goal for t in found) == sorted(f"{k}{i}" for k in "ab" for i in range(5))
    assert all(acts(t) == [[("add", "3", False)], []] and roles(t) == "uata" for t in found)
