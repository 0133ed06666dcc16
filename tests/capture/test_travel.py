"""Threads that go on from elsewhere: drained runs, time travel, events by the stream; and runs that are left out."""

import asyncio
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl

from tests.capture.kit import Recording, Scripted, acts, ask, by_turn, drive, quiet, roles, say, user

THREAD: dict[str, Any] = {"configurable": {"thread_id": "t1"}}


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def agent(**kwargs: Any) -> Any:
    model = Scripted(script=by_turn(ask(("add", {"a": 1, "b": 1})), say("two")))
    return create_agent(model, kwargs.pop("tools", [add]), **kwargs)


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_a_drained_run_waits_and_goes_on(recording: Recording, how: str):
    control = RunControl()

    @tool("add")
    def stopping(a: int, b: int) -> int:
        """Add two numbers while the process is told to stop."""
        control.request_drain("sigterm")
        return a + b

    graph = recording.attach(agent(tools=[stopping], checkpointer=InMemorySaver()))
    with quiet(GraphDrained):
        if how == "invoke":
            graph.invoke(user("1+1"), THREAD, control=control)
        else:
            asyncio.run(graph.ainvoke(user("1+1"), THREAD, control=control))
    assert recording.only().status == "interrupted"
    assert drive(graph, None, THREAD, how=how)["messages"][-1].content == "two"
    t = recording.only()
    assert [run.status for run in t.runs] == ["interrupted", "finished"]
    assert (roles(t), t.status, t.error_type) == ("uata", "finished", None)
    assert acts(t) == [[("add", "2", False)], []]


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_time_travel_is_a_trajectory_of_its_own(recording: Recording, how: str):
    """From a checkpoint of a turn that had finished: what stood before it is context, what comes again is new."""
    graph = recording.attach(agent(checkpointer=InMemorySaver()))
    drive(graph, user("1+1"), THREAD, how=how)
    before_tools = next(state for state in graph.get_state_history(THREAD) if state.next == ("tools",))
    drive(graph, None, before_tools.config, how=how)
    first, second = recording.trajectories()
    recording.clean()
    assert (roles(first), first.context_len, acts(first)) == ("uata", 0, [[("add", "2", False)], []])
    assert (second.status, second.final_answer, roles(second)) == ("finished", "two", "uata")
    assert second.runs[0].run_id != first.runs[0].run_id
    # The tool ran again, so its action is the second trajectory's too; the call that asked for it is context.
    assert [name for step in acts(second) for name, _, _ in step] == ["add"]


@pytest.mark.filterwarnings("ignore:The v3 streaming protocol")
@pytest.mark.parametrize("version", ["v2", "v3"])
def test_events_by_the_stream(recording: Recording, version: Any):
    graph = recording.attach(agent())

    async def run() -> int:
        stream = graph.astream_events(user("1+1"), version=version)
        if asyncio.iscoroutine(stream):
            stream = await stream
        return len([event async for event in stream])

    assert asyncio.run(run()) > 5
    t = recording.only()
    assert (roles(t), acts(t)) == ("uata", [[("add", "2", False)], []])


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_the_off_tag_leaves_out_what_is_nested_too(recording: Recording, how: str):
    """A run that is left out takes its sub-agents with it, also where one of them is attached itself."""
    inner = recording.attach(agent(), name="inner")

    @tool
    def delegate() -> str:
        """Hand over to the inner agent."""
        return str(inner.invoke(user("inner"))["messages"][-1].content)

    @tool("delegate")
    async def adelegate() -> str:
        """Hand over to the inner agent."""
        return str((await inner.ainvoke(user("inner")))["messages"][-1].content)

    given = delegate if how == "invoke" else adelegate
    graph = recording.attach(create_agent(Scripted(script=by_turn(ask(("delegate", {})), say("done"))), [given]))
    drive(graph, user("left out"), {"tags": ["agenther:off"]}, how=how)
    assert recording.runs() == []
    drive(graph, user("kept"), how=how)
    t = recording.only()
    assert (t.goal, list(t.nested)) == ("kept", ["delegate"])
