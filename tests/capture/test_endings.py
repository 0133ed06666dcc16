"""How runs end: cancelled, abandoned by the caller, late; and what is left open then: nothing."""

import asyncio
import gc
import threading
import time
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRetryMiddleware, ToolRetryMiddleware
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.errors import GraphBubbleUp
from langgraph.graph import START, MessagesState, StateGraph

from tests.capture.kit import Recording, Scripted, Streaming, acts, ask, by_turn, drive, quiet, roles, say, user

begun = threading.Event()


class SlowModel(Scripted):
    async def _agenerate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        begun.set()
        await asyncio.sleep(5)


@tool
async def nap() -> str:
    """Sleep for long."""
    begun.set()
    await asyncio.sleep(5)
    return "awake"


@tool
def doze() -> str:
    """Block a thread for a while."""
    begun.set()
    time.sleep(0.5)
    return "awake at last"


def agent(*lines, tools=(nap, doze), model=Scripted, **kwargs):
    return create_agent(model(script=by_turn(*lines)), list(tools), **kwargs)


async def cancelled(run: Any) -> None:
    """Cancel a run once its slow part has begun."""
    begun.clear()
    task = asyncio.ensure_future(run)
    while not begun.is_set():
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_cancelled_in_a_model_call(recording: Recording):
    asyncio.run(cancelled(recording.attach(agent(model=SlowModel)).ainvoke(user("go"))))
    t = recording.only()
    assert (t.status, t.error_type, t.steps) == ("cancelled", "CancelledError", ())
    assert roles(t) == "u"


def test_a_timeout_around_the_run(recording: Recording):
    with quiet(asyncio.TimeoutError):
        asyncio.run(asyncio.wait_for(recording.attach(agent(model=SlowModel)).ainvoke(user("go")), 0.3))
    assert recording.only().status == "cancelled"


def test_cancelled_in_an_async_tool(recording: Recording):
    asyncio.run(cancelled(recording.attach(agent(ask(("nap", {})))).ainvoke(user("go"))))
    t = recording.only()
    assert t.status == "cancelled"
    assert acts(t) == [[("nap", None, False)]]  # it was stopped, it did not fail


def test_the_end_of_a_tool_that_outlives_its_run(recording: Recording):
    async def run():
        await cancelled(recording.attach(agent(ask(("doze", {})))).ainvoke(user("go")))
        await asyncio.sleep(1)

    asyncio.run(run())
    (records,) = recording.runs()
    kinds = [record["k"] for record in records]
    assert kinds.index("end") < len(kinds) - 1
    t = recording.only()
    assert t.status == "cancelled"
    assert acts(t) == [[("doze", "awake at last", False)]]
    assert recording.counts["late_facts"] == 1
    assert not recording.capture.late


def test_keyboard_interrupt(recording: Recording):
    @tool
    def stop() -> str:
        """Stop the world."""
        raise KeyboardInterrupt

    with quiet(KeyboardInterrupt):
        drive(recording.attach(agent(ask(("stop", {})), tools=[stop])), user("go"))
    t = recording.only()
    assert (t.status, t.error_type) == ("cancelled", "KeyboardInterrupt")


def test_system_exit_in_a_tool(recording: Recording):
    @tool
    def leave() -> str:
        """Leave."""
        raise SystemExit(3)

    with quiet(SystemExit):
        drive(recording.attach(agent(ask(("leave", {})), tools=[leave])), user("go"))
    assert recording.only().status == "cancelled"


def test_a_stream_that_is_left_early(recording: Recording):
    graph = recording.attach(agent(ask(("doze", {})), say("done"), model=Streaming))
    for _ in graph.stream(user("go"), stream_mode="updates"):
        break
    gc.collect()
    t = recording.only()
    assert (t.status, t.error_type) == ("cancelled", "GeneratorExit")
    assert [step.actions[0].name for step in t.steps] == ["doze"]


def test_an_async_stream_that_is_left_early(recording: Recording):
    graph = recording.attach(agent(ask(("doze", {})), say("done"), model=Streaming))

    async def run():
        stream = graph.astream(user("go"), stream_mode="updates")
        async for _ in stream:
            break
        await stream.aclose()

    asyncio.run(run())
    assert recording.only().status == "cancelled"


def test_a_stream_that_is_never_closed_is_swept(tmp_path):
    recording = Recording(tmp_path, idle_run_seconds=0.3, flush_seconds=0.05)
    stream = recording.attach(agent(ask(("doze", {})), say("done"))).stream(user("go"), stream_mode="updates")
    next(stream)
    time.sleep(0.8)
    assert not recording.capture.roots
    assert not recording.capture.runs
    (t,) = recording.trajectories()
    assert t.status == "abandoned"
    assert [step.actions[0].name for step in t.steps] == ["doze"]
    assert recording.counts["idle_runs"] == 1
    stream.close()


def test_facts_of_an_open_run_reach_the_journal_before_its_end(tmp_path):
    recording = Recording(tmp_path, flush_seconds=0.05)
    seen: list[int] = []

    @tool
    def look() -> str:
        """Look at the journal."""
        time.sleep(0.3)
        seen.append(sum(path.stat().st_size for path in (tmp_path / "journal").iterdir()))
        return "ok"

    drive(recording.attach(agent(ask(("look", {})), say("done"), tools=[look])), user("go"))
    assert seen[0] > 500
    assert acts(recording.only()) == [[("look", "ok", False)], []]


def test_a_control_flow_error_is_known_by_its_type(recording: Recording):
    class ParentCommand(Exception):
        """An application's own error that merely has such a name."""

    @tool
    def misnamed() -> str:
        """Raise it."""
        raise ParentCommand("no control flow")

    with quiet(ParentCommand):
        drive(recording.attach(agent(ask(("misnamed", {})), tools=[misnamed])), user("go"))
    t = recording.only()
    assert (t.status, t.error_type) == ("error", "ParentCommand")
    assert acts(t) == [[("misnamed", "no control flow", True)]]
    assert not issubclass(ParentCommand, GraphBubbleUp)


def test_a_foreign_error_without_text(recording: Recording):
    class Odd(Exception):
        def __str__(self) -> str:
            raise ValueError("even this fails")

    @tool
    def odd() -> str:
        """Raise it."""
        raise Odd

    with quiet(Odd):
        drive(recording.attach(agent(ask(("odd", {})), tools=[odd])), user("go"))
    assert recording.only().error_type == "Odd"


def test_tool_retry_middleware(recording: Recording):
    tries: list[int] = []

    @tool
    def flaky() -> str:
        """Fails twice."""
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("flaky")
        return "at last"

    middleware = ToolRetryMiddleware(max_retries=3, initial_delay=0.01, jitter=False)
    drive(recording.attach(agent(ask(("flaky", {})), say("ok"), tools=[flaky], middleware=[middleware])), user("go"))
    t = recording.only()
    assert acts(t) == [[("flaky", "at last", False)], []]
    assert t.steps[0].actions[0].attempts == 3
    assert roles(t) == "uata"


def test_tool_retries_that_run_out(recording: Recording):
    @tool
    def down() -> str:
        """Always fails."""
        raise ConnectionError("down")

    middleware = ToolRetryMiddleware(max_retries=1, initial_delay=0.01, jitter=False)
    drive(recording.attach(agent(ask(("down", {})), say("ok"), tools=[down], middleware=[middleware])), user("go"))
    t = recording.only()
    (action,) = t.steps[0].actions
    assert (action.is_error, action.attempts) == (True, 2)
    assert "down" in (action.observation or "")
    assert t.status == "finished"


def test_model_retry_middleware(recording: Recording):
    model = Scripted(script=[ConnectionError("one"), say("fine")])
    middleware = ModelRetryMiddleware(max_retries=2, initial_delay=0.01, jitter=False)
    drive(recording.attach(create_agent(model, [], middleware=[middleware])), user("go"))
    t = recording.only()
    assert (len(t.steps), t.final_answer, t.status) == (1, "fine", "finished")


def test_the_graph_fails_before_its_first_node(recording: Recording):
    builder = StateGraph(MessagesState)
    builder.add_node("talk", lambda s: {"messages": [AIMessage("hi")]})
    builder.add_edge(START, "talk")
    from langgraph.errors import InvalidUpdateError

    with quiet(InvalidUpdateError, Exception):
        drive(recording.attach(builder.compile()), "no state")
    t = recording.only()
    assert t.status == "error"
    assert t.goal == "no state"
    assert t.steps == ()
