"""Hand-built graphs: ToolNode, nodes without a model, own state, retrievers, routers, fan-out, caches, retries."""

import asyncio
import operator
import threading
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage, SystemMessage, ToolMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import tool
from langgraph.cache.memory import InMemoryCache
from langgraph.errors import GraphRecursionError
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import CachePolicy, Command, RetryPolicy, Send

from tests.capture.kit import WAYS, Recording, Scripted, acts, ask, by_turn, drive, quiet, roles, say, user


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def boom(x: int) -> str:
    """Always fails."""
    raise RuntimeError(f"boom {x}")


def loop(*lines, tools=(add, boom), handle: Any = True, prompt: str | None = None):
    model = Scripted(script=by_turn(*lines)).bind_tools(tools)

    def think(state: MessagesState):
        lead = [SystemMessage(prompt)] if prompt else []
        return {"messages": [model.invoke([*lead, *state["messages"]])]}

    builder = StateGraph(MessagesState)
    builder.add_node("think", think)
    builder.add_node("tools", ToolNode(list(tools), handle_tool_errors=handle))
    builder.add_edge(START, "think")
    builder.add_conditional_edges("think", tools_condition)
    builder.add_edge("tools", "think")
    return builder


@pytest.mark.parametrize("how", WAYS)
def test_tool_node_runs_calls_in_one_node(recording: Recording, how):
    graph = loop(ask(("add", {"a": 1, "b": 1}), ("boom", {"x": 2}), ("add", {"a": 2, "b": 2})), say("done"), prompt="p")
    drive(recording.attach(graph.compile()), user("go"), how=how)
    t = recording.only()
    assert roles(t) == "suattta"
    (first, second, third), last = t.steps[0].actions, t.steps[1]
    assert (first.observation, third.observation) == ("2", "4")
    assert second.is_error
    assert "boom 2" in (second.observation or "")
    assert [a.observation_index for a in (first, second, third)] == [3, 4, 5]
    assert (last.actions, t.final_answer, t.status, t.agent) == ((), "done", "finished", "agent")
    assert t.flags == ()


def test_a_parallel_failure_that_is_not_handled(recording: Recording):
    graph = loop(ask(("add", {"a": 1, "b": 1}), ("boom", {"x": 2})), say("never"), handle=False)
    with quiet(RuntimeError):
        drive(recording.attach(graph.compile()), user("go"))
    t = recording.only()
    assert acts(t) == [[("add", "2", False), ("boom", "boom 2", True)]]
    assert t.status == "error"


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_a_failure_while_siblings_run(recording: Recording, how):
    """A sync graph waits for the siblings of what failed; an async one cancels them."""
    failing, done = threading.Event(), threading.Event()

    def work(state: dict[str, Any]) -> dict[str, Any]:
        if state["topic"] == "bad":
            done.wait(5)
            raise RuntimeError("bad")
        reply = model.invoke([HumanMessage(state["topic"])])
        done.set()
        return {"messages": [reply]}

    async def awork(state: dict[str, Any]) -> dict[str, Any]:
        if state["topic"] == "bad":
            while not failing.is_set():
                await asyncio.sleep(0.005)
            raise RuntimeError("bad")
        reply = await model.ainvoke([HumanMessage(state["topic"])])
        failing.set()
        await asyncio.sleep(5)
        return {"messages": [reply]}

    model = Scripted(script=lambda messages: say(f"on {messages[-1].content}"))
    builder = StateGraph(Topics)
    builder.add_node("plan", lambda s: {})
    builder.add_node("work", work if how == "invoke" else awork)
    builder.add_edge(START, "plan")
    builder.add_conditional_edges("plan", lambda s: [Send("work", {"topic": topic}) for topic in ("good", "bad")])
    with quiet(RuntimeError):
        drive(recording.attach(builder.compile()), user("go"), how=how)
    t = recording.only()
    assert (t.status, t.error_type, t.error_message) == ("error", "RuntimeError", "bad")
    assert [step.thought for step in t.steps] == ["on good"]


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_an_error_handler_that_says_success(recording: Recording, how):
    """ToolNode's own function answers: the error event still makes it an error."""
    graph = loop(ask(("boom", {"x": 2})), say("ok"), handle=lambda e: "try another way")
    drive(recording.attach(graph.compile()), user("go"), how=how)
    assert acts(recording.only())[0] == [("boom", "try another way", True)]


class Custom(TypedDict, total=False):
    question: str
    draft: str
    answer: str


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_state_without_messages(recording: Recording, how):
    model = Scripted(script=lambda messages: say(f"re: {messages[-1].content}"))
    builder = StateGraph(Custom)
    builder.add_node("write", lambda s: {"draft": model.invoke(f"draft {s['question']}").content})
    builder.add_node("polish", lambda s: {"answer": model.invoke(f"polish {s['draft']}").content})
    builder.add_edge(START, "write")
    builder.add_edge("write", "polish")
    drive(recording.attach(builder.compile(name="writer")), {"question": "why?"}, how=how)
    t = recording.only()
    assert (t.goal, t.final_answer, t.agent) == ("why?", "re: polish re: draft why?", "writer")
    assert [step.thought for step in t.steps] == ["re: draft why?", "re: polish re: draft why?"]
    assert [step.node for step in t.steps] == ["write", "polish"]
    assert roles(t) == "uaua"
    assert t.nested == {}
    assert t.flags == ("spliced",)  # the second model was not shown what the first one said


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_nodes_without_a_model(recording: Recording, how):
    """A plain client in a node: the state alone shows what it said."""

    def client(state: MessagesState):
        if isinstance(state["messages"][-1], HumanMessage):
            return {"messages": [ask(("add", {"a": 4, "b": 5}))]}
        return {"messages": [AIMessage("nine")]}

    builder = StateGraph(MessagesState)
    builder.add_node("client", client)
    builder.add_node("tools", ToolNode([add]))
    builder.add_edge(START, "client")
    builder.add_conditional_edges("client", tools_condition)
    builder.add_edge("tools", "client")
    drive(recording.attach(builder.compile()), user("4+5"), how=how)
    t = recording.only()
    assert roles(t) == "uata"
    assert acts(t) == [[("add", "9", False)], []]
    assert t.final_answer == "nine"


class Shelf(BaseRetriever):
    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return [Document(f"about {query}"), Document("more")]


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_a_retriever_and_a_tool_run_by_nodes(recording: Recording, how):
    model = Scripted(script=lambda messages: say("answer"))
    builder = StateGraph(MessagesState)

    def retrieve(state: MessagesState):
        found = Shelf().invoke("cats")
        total = add.invoke({"a": 1, "b": 2})
        return {"messages": [("user", f"context: {found[0].page_content} {total}")]}

    builder.add_node("retrieve", retrieve)
    builder.add_node("answer", lambda s: {"messages": [model.invoke(s["messages"])]})
    builder.add_edge(START, "retrieve")
    builder.add_edge("retrieve", "answer")
    drive(recording.attach(builder.compile()), user("cats?"), how=how)
    t = recording.only()
    assert acts(t) == [[("Shelf", "about cats\n\nmore", False)], [("add", "3", False)], []]
    assert [a.input for s in t.steps for a in s.actions] == ['{"query":"cats"}', '{"a":1,"b":2}']
    assert roles(t) == "uua"
    assert t.goal == "cats?"


def test_a_routers_call_is_set_aside(recording: Recording):
    router = Scripted(script=lambda messages: say("tools"))
    model = Scripted(script=by_turn(ask(("add", {"a": 1, "b": 1})), say("two"))).bind_tools([add])

    def route(state: MessagesState):
        router.invoke([SystemMessage("where to?"), *state["messages"]])
        return Command(goto="think")

    builder = StateGraph(MessagesState)
    builder.add_node("route", route)
    builder.add_node("think", lambda s: {"messages": [model.invoke(s["messages"])]})
    builder.add_node("tools", ToolNode([add]))
    builder.add_edge(START, "route")
    builder.add_conditional_edges("think", tools_condition)
    builder.add_edge("tools", "route")
    drive(recording.attach(builder.compile()), user("1+1"))
    t = recording.only()
    assert roles(t) == "uata"
    assert acts(t) == [[("add", "2", False)], []]
    assert {step.agent_path for step in t.steps} == {"", "route"}
    assert roles(t, "route") == "suaata"
    assert [step.thought for step in t.steps if step.agent_path == "route"] == ["tools", "tools"]


def test_a_reply_that_the_node_wraps_anew_is_one_message(recording: Recording):
    model = Scripted(script=lambda messages: say("hello"))
    builder = StateGraph(MessagesState)
    builder.add_node("talk", lambda s: {"messages": [AIMessage(model.invoke(s["messages"]).content)]})
    builder.add_edge(START, "talk")
    drive(recording.attach(builder.compile()), user("hi"))
    t = recording.only()
    assert roles(t) == "ua"
    assert len(t.steps) == 1


class Topics(MessagesState):
    topics: list[str]
    notes: Annotated[list[str], operator.add]


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_send_fans_out_and_a_deferred_node_joins(recording: Recording, how):
    model = Scripted(script=lambda messages: say(f"on {messages[-1].content}"))

    def study(state: dict[str, Any]):
        return {"messages": [model.invoke([HumanMessage(state["topic"])])]}

    builder = StateGraph(Topics)
    builder.add_node("plan", lambda s: {"topics": ["a", "b", "c"]})
    builder.add_node("study", study)
    builder.add_node("join", lambda s: {"messages": [model.invoke([HumanMessage("sum")])]}, defer=True)
    builder.add_edge(START, "plan")
    builder.add_conditional_edges("plan", lambda s: [Send("study", {"topic": topic}) for topic in s["topics"]])
    builder.add_edge("study", "join")
    drive(recording.attach(builder.compile()), user("go"), how=how)
    t = recording.only()
    assert sorted(step.thought for step in t.steps[:3]) == ["on a", "on b", "on c"]
    assert t.steps[3].thought == "on sum"
    assert t.final_answer == "on sum"
    assert [step.node for step in t.steps] == ["study"] * 3 + ["join"]


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_a_node_that_is_retried_counts_once(recording: Recording, how):
    failures = [True, True]
    model = Scripted(script=lambda messages: say("said"))

    def shaky(state: MessagesState):
        reply = model.invoke(state["messages"])
        if failures:
            failures.pop()
            raise ConnectionError("flaky")
        return {"messages": [reply]}

    builder = StateGraph(MessagesState)
    builder.add_node("shaky", shaky, retry_policy=RetryPolicy(initial_interval=0.01, retry_on=ConnectionError))
    builder.add_edge(START, "shaky")
    drive(recording.attach(builder.compile()), user("go"), how=how)
    t = recording.only()
    assert roles(t) == "ua"
    assert len(t.steps) == 1
    assert t.status == "finished"


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_a_model_that_is_retried_counts_once(recording: Recording, how):
    model = Scripted(script=[ConnectionError("one"), ConnectionError("two"), say("three")]).with_retry(
        stop_after_attempt=3, wait_exponential_jitter=False
    )
    builder = StateGraph(MessagesState)
    builder.add_node("talk", lambda s: {"messages": [model.invoke(s["messages"])]})
    builder.add_edge(START, "talk")
    drive(recording.attach(builder.compile()), user("go"), how=how)
    t = recording.only()
    assert (roles(t), len(t.steps), t.final_answer, t.status) == ("ua", 1, "three", "finished")


def test_a_fallback_model_answers(recording: Recording):
    model = Scripted(script=ValueError("down")).with_fallbacks([Scripted(script=say("up"), model_name="other")])
    builder = StateGraph(MessagesState)
    builder.add_node("talk", lambda s: {"messages": [model.invoke(s["messages"])]})
    builder.add_edge(START, "talk")
    drive(recording.attach(builder.compile()), user("go"))
    t = recording.only()
    assert [(step.thought, step.model) for step in t.steps] == [("up", "other")]


def test_a_tool_node_that_is_retried_keeps_the_last_observation(recording: Recording):
    tries: list[int] = []

    @tool
    def flaky() -> str:
        """Fails twice."""
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("flaky")
        return "at last"

    model = Scripted(script=by_turn(ask(("flaky", {})), say("done"))).bind_tools([flaky])
    builder = StateGraph(MessagesState)
    builder.add_node("think", lambda s: {"messages": [model.invoke(s["messages"])]})
    builder.add_node(
        "tools",
        ToolNode([flaky], handle_tool_errors=False),
        retry_policy=RetryPolicy(initial_interval=0.01, retry_on=ConnectionError),
    )
    builder.add_edge(START, "think")
    builder.add_conditional_edges("think", tools_condition)
    builder.add_edge("tools", "think")
    drive(recording.attach(builder.compile()), user("go"))
    t = recording.only()
    assert acts(t) == [[("flaky", "at last", False)], []]
    assert t.steps[0].actions[0].attempts == 3
    assert roles(t) == "uata"


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_a_cached_node_shows_by_the_state(recording: Recording, how):
    model = Scripted(script=lambda messages: say("computed"))
    builder = StateGraph(MessagesState)
    builder.add_node(
        "talk",
        lambda s: {"messages": [model.invoke(s["messages"])]},
        cache_policy=CachePolicy(key_func=lambda s: s["messages"][-1].content),
    )
    builder.add_node("last", lambda s: {})
    builder.add_edge(START, "talk")
    builder.add_edge("talk", "last")
    graph = recording.attach(builder.compile(cache=InMemoryCache()))
    drive(graph, user("q"), how=how)
    drive(graph, user("q"), how=how)
    first, second = recording.trajectories()
    recording.clean()
    assert (roles(first), roles(second)) == ("ua", "ua")
    assert (first.final_answer, second.final_answer) == ("computed", "computed")
    assert len(first.steps) == len(second.steps) == 1


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_recursion_limit(recording: Recording, how):
    def endless(messages):
        return ask(("add", {"a": 1, "b": len(messages)}, f"c{len(messages)}"))

    model = Scripted(script=endless).bind_tools([add])
    builder = StateGraph(MessagesState)
    builder.add_node("think", lambda s: {"messages": [model.invoke(s["messages"])]})
    builder.add_node("tools", ToolNode([add]))
    builder.add_edge(START, "think")
    builder.add_edge("think", "tools")
    builder.add_edge("tools", "think")
    with quiet(GraphRecursionError):
        drive(recording.attach(builder.compile()), user("go"), {"recursion_limit": 7}, how=how)
    t = recording.only()
    assert (t.status, t.error_type) == ("error", "GraphRecursionError")
    assert len(t.steps) == 4
    assert [step.actions[0].observation for step in t.steps] == ["2", "4", "6", None]


def test_messages_that_are_removed_stay_in_the_trajectory(recording: Recording):
    model = Scripted(script=by_turn(ask(("add", {"a": 1, "b": 1})), say("two"))).bind_tools([add])

    def trim(state: MessagesState):
        if len(state["messages"]) < 3:
            return {}
        kept = [HumanMessage("summary: 1+1 was asked and computed"), *state["messages"][-2:]]
        return {"messages": [RemoveMessage(REMOVE_ALL_MESSAGES), *kept]}

    builder = StateGraph(MessagesState)
    builder.add_node("trim", trim)
    builder.add_node("think", lambda s: {"messages": [model.invoke(s["messages"])]})
    builder.add_node("tools", ToolNode([add]))
    builder.add_edge(START, "trim")
    builder.add_edge("trim", "think")
    builder.add_conditional_edges("think", tools_condition)
    builder.add_edge("tools", "trim")
    drive(recording.attach(builder.compile()), user("1+1"))
    t = recording.only()
    assert acts(t) == [[("add", "2", False)], []]
    assert t.messages[0].text == "1+1"
    assert t.goal == "1+1"
    assert t.final_answer == "two"


def test_messages_are_kept_as_they_were_when_they_were_said(recording: Recording):
    model = Scripted(script=by_turn(ask(("add", {"a": 1, "b": 1})), say("two"))).bind_tools([add])

    def vandal(state: MessagesState):
        for message in state["messages"]:
            if isinstance(message, AIMessage):
                message.content = "VANDALISED"
                for call in message.tool_calls:
                    call["args"]["a"] = 99
            if isinstance(message, ToolMessage):
                message.content = "VANDALISED"
        return {}

    builder = StateGraph(MessagesState)
    builder.add_node("think", lambda s: {"messages": [model.invoke(s["messages"])]})
    builder.add_node("tools", ToolNode([add]))
    builder.add_node("vandal", vandal)
    builder.add_edge(START, "think")
    builder.add_conditional_edges("think", tools_condition, {"tools": "tools", END: "vandal"})
    builder.add_edge("tools", "think")
    builder.add_edge("vandal", END)
    drive(recording.attach(builder.compile()), user("1+1"))
    t = recording.only()
    assert acts(t) == [[("add", "2", False)], []]
    assert t.steps[0].actions[0].input == '{"a":1,"b":1}'
    assert [step.thought for step in t.steps] == ["", "two"]
    assert "VANDALISED" not in str(recording.records)
