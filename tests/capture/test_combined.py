"""Shapes that meet in one graph: several agents on a thread, ids and words that repeat, messages that are replaced."""

import asyncio
import threading
import uuid
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import before_model
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph, add_messages
from langgraph.prebuilt import ToolNode
from langgraph.types import CachePolicy, Command, interrupt

from agenther_live.buffer.intake.resolve import head_of, resolve
from agenther_live.live import Live
from agenther_live.trajectory import Trajectory
from tests.capture.kit import Recording, Scripted, acts, ask, by_turn, drive, quiet, roles, say, user

THREAD: dict[str, Any] = {"configurable": {"thread_id": "t1"}}


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def confirm(question: str) -> str:
    """Ask the user."""
    return f"user said {interrupt(question)}"


def one_node(*nodes: Any, **compiled: Any) -> Any:
    """A graph of nodes in a row."""
    builder = StateGraph(MessagesState)
    before = START
    for number, node in enumerate(nodes):
        builder.add_node(str(number), node)
        builder.add_edge(before, str(number))
        before = str(number)
    return builder.compile(**compiled)


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_a_swarm_on_a_thread(recording: Recording, how: str):
    """Equal words in each turn, equal call ids, an interrupt in each: the conversation is that of the state."""
    from langgraph_swarm import create_handoff_tool, create_swarm

    def alice(messages: Any) -> Any:
        return ask(("transfer_to_bob", {}, "h"), text="to bob") if messages[-1].type == "human" else say("end")

    def bob(messages: Any) -> Any:
        told = messages[-1].name == "confirm"
        return ask(("transfer_to_alice", {}, "h"), text="back") if told else ask(("confirm", {"question": "?"}, "c"))

    agents = [
        create_agent(Scripted(script=alice), [create_handoff_tool(agent_name="bob")], name="alice"),
        create_agent(Scripted(script=bob), [create_handoff_tool(agent_name="alice"), confirm], name="bob"),
    ]
    graph = recording.attach(create_swarm(agents, default_active_agent="alice").compile(checkpointer=InMemorySaver()))
    for answer in ("r0", "r1"):
        drive(graph, user("yes"), THREAD, how=how)
        out = drive(graph, Command(resume=answer), THREAD, how=how)
    first, second = recording.trajectories()
    recording.clean()
    assert [m.text for m in second.messages] == [m.text for m in out["messages"]]
    assert (roles(first), roles(second)) == ("uatatata", "uatatata" * 2)
    assert (second.context_len, second.status, second.final_answer) == (8, "finished", "end")
    assert [(s.agent_path, s.thought) for s in second.steps] == [
        ("alice", "to bob"),
        ("bob", ""),
        ("bob", "back"),
        ("alice#2", "end"),
    ]
    assert [a.observation for s in second.steps for a in s.actions][1] == "user said r1"


def test_agents_as_nodes_on_a_thread(recording: Recording):
    def worker(name: str) -> Any:
        def script(messages: Any) -> Any:
            done = messages[-1].type == "tool"
            return say(f"{name} ends") if done else ask(("add", {"a": 1, "b": 1}, "c"), text=f"{name} adds")

        return create_agent(Scripted(script=script), [add], name=name)

    graph = recording.attach(one_node(worker("one"), worker("two"), checkpointer=InMemorySaver()))
    for _ in range(2):
        out = drive(graph, user("again"), THREAD)
    second = recording.trajectories()[1]
    assert [m.text for m in second.messages] == [m.text for m in out["messages"]]
    assert (roles(second), second.context_len) == ("uataata" * 2, 7)
    assert [s.thought for s in second.steps] == ["one adds", "one ends", "two adds", "two ends"]


def test_call_ids_that_repeat_are_told_apart_by_what_was_called(recording: Recording):
    gate = threading.Barrier(3, timeout=5)

    @tool("add")
    def late(a: int, b: int) -> int:
        """Add two numbers, all at once."""
        gate.wait()
        return a + b

    @tool
    def shout(text: str) -> str:
        """Shout."""
        gate.wait()
        return text.upper()

    calls = [("add", {"a": 1, "b": 0}, "c"), ("shout", {"text": "x"}, "c"), ("add", {"a": 3, "b": 0}, "c")]
    drive(recording.attach(create_agent(Scripted(script=by_turn(ask(*calls), say("ok"))), [late, shout])), user("go"))
    assert acts(recording.only())[0] == [("add", "1", False), ("shout", "X", False), ("add", "3", False)]


class Sides(TypedDict):
    left: Annotated[list[Any], add_messages]
    right: Annotated[list[Any], add_messages]


def test_two_conversations_in_one_state(recording: Recording):
    """Each has a model and tools of its own, at the same time and with the same ids."""
    builder = StateGraph(Sides)
    for side, a in (("left", 1), ("right", 2)):
        model = Scripted(script=by_turn(ask(("add", {"a": a, "b": 0}, "c"), text=side), say(f"{side} ends")))
        builder.add_node(f"{side}_think", lambda s, m=model, k=side: {k: [m.invoke([("user", k), *s.get(k, [])])]})
        builder.add_node(f"{side}_tools", ToolNode([add], messages_key=side))
        builder.add_node(f"{side}_end", lambda s, m=model, k=side: {k: [m.invoke([("user", k), *s[k]])]})
        builder.add_edge(START, f"{side}_think")
        builder.add_edge(f"{side}_think", f"{side}_tools")
        builder.add_edge(f"{side}_tools", f"{side}_end")
    drive(recording.attach(builder.compile()), {"left": [], "right": []})
    t = recording.only()
    assert {s.thought: [(a.input, a.observation) for a in s.actions] for s in t.steps if s.actions} == {
        "left": [('{"a":1,"b":0}', "1")],
        "right": [('{"a":2,"b":0}', "2")],
    }


def test_an_answer_that_is_replaced_is_the_answer(recording: Recording):
    model = Scripted(script=lambda messages: say("draft"))
    think = lambda s: {"messages": [model.invoke(s["messages"])]}  # noqa: E731
    polish = lambda s: {"messages": [AIMessage("polished", id=s["messages"][-1].id)]}  # noqa: E731
    drive(recording.attach(one_node(think, polish)), user("go"))
    t = recording.only()
    assert (roles(t), t.final_answer, [s.thought for s in t.steps], t.flags) == (
        "ua",
        "polished",
        ["polished"],
        ("edited",),
    )


def test_a_state_that_is_kept_short_shortens_nothing_here(recording: Recording):
    @before_model
    def shorten(state: Any, runtime: Any) -> Any:
        short = {"content": "cleared"}
        return {"messages": [m.model_copy(update=short) for m in state["messages"] if m.type in ("ai", "tool")]}

    lines = [ask(("add", {"a": n, "b": 0}, f"c{n}"), text=f"thought {n}") for n in (1, 2, 3)]
    graph = create_agent(Scripted(script=by_turn(*lines, say("end"))), [add], middleware=[shorten])
    drive(recording.attach(graph), user("go"))
    t = recording.only()
    assert [m.text for m in t.messages] == ["go", "thought 1", "1", "thought 2", "2", "thought 3", "3", "end"]
    assert acts(t) == [[("add", str(n), False)] for n in (1, 2, 3)] + [[]]


def test_a_cached_node_before_another_speaker(recording: Recording):
    model = Scripted(script=lambda messages: say("computed"))
    builder = StateGraph(MessagesState)
    builder.add_node(
        "think", lambda s: {"messages": [model.invoke(s["messages"])]}, cache_policy=CachePolicy(key_func=lambda s: "k")
    )
    builder.add_node("talk", lambda s: {"messages": [AIMessage("fixed words")]})
    builder.add_edge(START, "think")
    builder.add_edge("think", "talk")
    graph = recording.attach(builder.compile(cache=InMemoryCache()))
    for _ in range(2):
        drive(graph, user("q"))
    for t in recording.trajectories():
        assert [m.text for m in t.messages] == ["q", "computed", "fixed words"]
        assert [s.thought for s in t.steps] == ["computed", "fixed words"]


def test_a_resume_that_fails_and_is_tried_again(recording: Recording):
    tries: list[int] = []

    @tool
    def pay() -> str:
        """Pay, once the user agreed."""
        answer = interrupt("pay?")
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError("the bank is down")
        return f"paid {answer}"

    model = Scripted(script=by_turn(ask(("pay", {}, "c")), say("done")))
    graph = recording.attach(create_agent(model, [pay], checkpointer=InMemorySaver()))
    drive(graph, user("go"), THREAD)
    with quiet(ConnectionError):
        drive(graph, Command(resume="yes"), THREAD)
    drive(graph, None, THREAD)
    t = recording.only()
    assert [run.status for run in t.runs] == ["interrupted", "error", "finished"]
    assert acts(t) == [[("pay", "paid yes", False)], []]
    (group,) = resolve([head_of(run[0]["r"], run) for run in recording.runs()], expired_before=0.0)
    assert ([run.status for run in group.runs], group.status) == (["interrupted", "error", "finished"], "finished")


def test_results_that_the_caller_sends_are_the_turn(recording: Recording):
    """Tools that run at the client: a turn ends with their calls, the next begins with what they gave."""
    script = lambda m: say("thanks") if m[-1].type == "tool" else ask(("local", {}, "c"), text="you do it")  # noqa: E731
    model = Scripted(script=script)
    think = lambda s: {"messages": [model.invoke(s["messages"])]}  # noqa: E731
    graph = recording.attach(one_node(think, checkpointer=InMemorySaver()))
    drive(graph, user("go"), THREAD)
    drive(graph, {"messages": [ToolMessage("done here", tool_call_id="c")]}, THREAD)
    first, second = recording.trajectories()
    assert (roles(first), first.final_answer) == ("ua", None)
    assert (roles(second), second.context_len, acts(second)) == ("uata", 2, [[]])


def test_two_runs_at_once_under_one_id_are_marked(recording: Recording):
    """Nobody can tell their events apart, so nothing of them is a whole trajectory."""
    both, number = threading.Barrier(2, timeout=5), uuid.uuid4()

    def meet(state: MessagesState) -> dict[str, Any]:
        both.wait()
        return {}

    graph = recording.attach(one_node(meet))

    async def twice() -> None:
        given = ({"messages": [("user", text)]} for text in "ab")
        await asyncio.gather(*(asyncio.to_thread(graph.invoke, one, {"run_id": number}) for one in given))

    asyncio.run(twice())
    found = recording.trajectories()
    recording.clean()
    assert all({"truncated", "partial_tree"} & set(t.flags) for t in found)
    assert found


def test_evaluators_are_those_of_the_attachment(home: Path):
    seen: list[tuple[str, str]] = []

    def judge(name: str, verdict: bool | None) -> Any:
        def judged(t: Trajectory) -> bool | None:
            seen.append((name, t.goal))
            return verdict

        judged.__name__ = name
        return judged

    graph = one_node(lambda s: {"messages": [AIMessage("ok")]})
    with Live(home, evaluators=[judge("every", None)]) as live:
        strict = live.attach(graph, name="same", evaluators=[judge("strict", False)])
        kind = live.attach(graph, name="same", evaluators=[judge("kind", True)])
        bare = live.attach(graph, name="same")
        for name, agent in (("a", strict), ("b", kind), ("c", bare)):
            agent.invoke(user(name))
        live.run_until_idle()
        outcomes = live.buffer.sql("select goal, outcome from trajectories order by goal").fetchall()
    assert outcomes == [("a", "failure"), ("b", "success"), ("c", "unknown")]
    assert sorted(seen) == [("every", "a"), ("every", "b"), ("every", "c"), ("kind", "b"), ("strict", "a")]
