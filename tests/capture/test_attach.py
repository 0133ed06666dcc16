"""Ways to attach, and what must never happen: a run recorded twice, a run lost, an agent disturbed."""

import hashlib
import os
import threading
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import (
    AsyncCallbackHandler,
    BaseCallbackHandler,
    adispatch_custom_event,
    dispatch_custom_event,
)
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError
from langgraph.graph import START, MessagesState, StateGraph

from agenther_live import Live
from agenther_live.errors import GraphError
from agenther_live.facts import current_trajectory
from agenther_live.ids import bounded_id
from agenther_live.integrations.langgraph import Capture
from agenther_live.redact import Redactor
from agenther_live.trajectory import Trajectory
from tests.capture.kit import Recording, Scripted, Streaming, acts, ask, by_turn, drive, quiet, roles, say, user
from tests.whole import until


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def agent(*lines, tools=(add,), model=Scripted, **kwargs):
    lines = lines or (ask(("add", {"a": 1, "b": 1})), say("two"))
    return create_agent(model(script=by_turn(*lines)), list(tools), **kwargs)


EXPECTED = [[("add", "2", False)], []]


@pytest.mark.parametrize(
    "thing", [StateGraph(MessagesState), object(), RunnableLambda(lambda x: x), Scripted(script=[]), "graph", None]
)
def test_only_compiled_graphs_are_taken(recording: Recording, thing):
    with pytest.raises(GraphError) as error:
        recording.attach(thing)
    assert ("call .compile() first" in str(error.value)) == isinstance(thing, StateGraph)


def test_the_original_graph_is_left_alone(recording: Recording):
    graph = agent()
    attached = recording.attach(graph)
    assert type(attached) is type(graph)
    drive(graph, user("not recorded"))
    assert recording.trajectories() == []
    drive(attached, user("recorded"))
    assert recording.only().goal == "recorded"


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
@pytest.mark.parametrize("combination", ["twice", "and invoke", "list", "and hidden parent", "bound"])
def test_attached_more_than_once(recording: Recording, combination, how):
    graph, config = recording.attach(agent(), name="first"), {}
    recorder = recording.recorder()
    if combination == "twice":
        graph = recording.attach(graph, name="second")
    elif combination == "and invoke":
        config = {"callbacks": [recorder, recording.recorder()]}
    elif combination == "list":
        graph, config = agent(), {"callbacks": [recorder, recorder]}
    elif combination == "and hidden parent":
        inner = graph
        builder = StateGraph(MessagesState)
        builder.add_node("inner", inner)
        builder.add_edge(START, "inner")
        graph = recording.attach(builder.compile())
    else:
        graph = recording.attach(graph.with_config(tags=["x"]), name="second")
    drive(graph, user("1+1"), config, how=how)
    t = recording.only()
    assert acts(t, "inner" if combination == "and hidden parent" else "") == EXPECTED
    assert len(t.runs) == 1
    assert t.agent == {"twice": "second", "bound": "second", "and invoke": "first"}.get(combination, "agent")


def test_other_handlers_are_unharmed(recording: Recording):
    class Other(BaseCallbackHandler):
        def __init__(self) -> None:
            self.events: list[str] = []

        def on_chain_start(self, *args: Any, **kwargs: Any) -> None:
            self.events.append("start")

        def on_chain_end(self, *args: Any, **kwargs: Any) -> None:
            self.events.append("end")

        def on_llm_end(self, *args: Any, **kwargs: Any) -> None:
            self.events.append("llm")

    alone, beside = Other(), Other()
    agent().invoke(user("1+1"), {"callbacks": [alone]})
    recording.attach(agent()).invoke(user("1+1"), {"callbacks": [beside]})
    assert alone.events == beside.events
    assert acts(recording.only()) == EXPECTED


def test_bare_models_and_tools_are_no_runs(recording: Recording):
    recorder = recording.recorder()
    Scripted(script=lambda m: say("hi")).invoke("hello", {"callbacks": [recorder]})
    add.invoke({"a": 1, "b": 2}, {"callbacks": [recorder]})
    RunnableLambda(lambda x: x).invoke(1, {"callbacks": [recorder]})
    assert recording.runs() == []
    recording.clean()


def test_a_model_that_carries_the_handler(recording: Recording):
    recorder = recording.recorder()
    model = Scripted(script=by_turn(ask(("add", {"a": 1, "b": 1})), say("two")), callbacks=[recorder])
    drive(create_agent(model, [add]), user("not attached"))
    assert recording.runs() == []
    drive(recording.attach(create_agent(model, [add])), user("attached"))
    assert acts(recording.only()) == EXPECTED


def test_run_ids_of_the_caller_may_repeat(recording: Recording):
    graph, run_id = recording.attach(agent()), uuid4()
    for i in range(3):
        graph.invoke(user(f"g{i}"), {"run_id": run_id})
    with pytest.warns(RuntimeWarning, match="only for the first"):
        graph.batch([user("b0"), user("b1")], {"run_id": uuid4()})
    found = recording.trajectories()
    recording.clean()
    assert sorted(t.goal for t in found) == ["b0", "b1", "g0", "g1", "g2"]
    assert [t.runs[0].run_id for t in found if t.goal[0] == "g"] == [str(run_id)] * 3
    assert len({t.trajectory_id for t in found}) == 5
    assert all(acts(t) == EXPECTED for t in found)


def test_the_off_tag_skips_one_run(recording: Recording):
    graph = recording.attach(agent())
    graph.invoke(user("skipped"), {"tags": ["agenther:off"]})
    graph.invoke(user("kept"))
    assert recording.only().goal == "kept"


def test_sampling_keeps_all_turns_of_a_thread_or_none(recording: Recording):
    graph = recording.attach(agent(checkpointer=InMemorySaver()), sample_rate=0.5)
    for i in range(40):
        for turn in "ab":
            graph.invoke(user(f"{i}{turn}"), {"configurable": {"thread_id": str(i)}})
    found = [t.goal for t in recording.trajectories()]
    recording.clean()
    assert 20 <= len(found) <= 60
    assert {g[:-1] for g in found if g.endswith("a")} == {g[:-1] for g in found if g.endswith("b")}
    recording.attach(agent(), sample_rate=0.0).invoke(user("never"))
    assert "never" not in [t.goal for t in recording.trajectories()]


def test_subject_and_tenant_come_from_the_metadata(recording: Recording):
    graph = recording.attach(agent(), subject_key="user_id", tenant_key="tenant", conversational=True)
    graph.invoke(user("1+1"), {"metadata": {"user_id": 7, "tenant": "acme"}})
    t = recording.only()
    assert (t.subject, t.tenant, t.flags) == ("7", "acme", ("conversational",))
    graph.invoke(user("again"), {"metadata": {"tenant": "acme"}})
    assert recording.counts["missing_metadata:user_id"] == 1


def test_what_attach_is_told_holds_for_the_runs_of_that_attachment(home: Path):
    asked: list[tuple[str, str, int]] = []

    def judge(t: Trajectory) -> bool:
        asked.append((t.agent, t.goal, threading.get_ident()))
        return True

    with Live(home, tick_seconds=0.05, policy_version="all") as live:
        told = live.attach(
            agent(),
            name="told",
            policy_version="p-1",
            tags=["beta"],
            sample_rate=1.0,
            subject_key="user_id",
            tenant_key="tenant",
            conversational=True,
            evaluators=[judge],
        )
        bare, never = live.attach(agent(), name="bare"), live.attach(agent(), name="never", sample_rate=0.0)
        told.invoke(user("1"), {"metadata": {"user_id": 7, "tenant": "acme"}, "tags": ["own"]})
        told.invoke(user("2"))
        for graph in (bare, never):
            graph.invoke(user("3"))
        live.start()

        def outcomes() -> list[tuple[Any, ...]]:
            return live.buffer.sql(
                "select goal, agent, policy_version, outcome, outcome_source from trajectories order by goal"
            ).fetchall()

        until(lambda: len(found := outcomes()) == 3 and [row[3] for row in found[:2]] == ["success"] * 2)
        live.stop()
        assert outcomes() == [
            ("1", "told", "p-1", "success", "evaluator"),
            ("2", "told", "p-1", "success", "evaluator"),
            ("3", "bare", "all", "unknown", None),
        ]
        ids = live.buffer.sql("select trajectory_id from trajectories order by goal").fetchall()
        kept = [found for (one,) in ids if (found := live.buffer.trajectory(one)) is not None]

        def counts() -> dict[str, int]:  # they follow their run by a moment
            live.run_until_idle()
            return dict(live.buffer.sql("select name, n from counters").fetchall())

        until(lambda: len(counts()) == 2)
        counted = counts()
    assert [(t.subject, t.tenant, t.tags, t.flags) for t in kept] == [
        ("7", "acme", ("beta", "own"), ("conversational",)),
        (None, None, ("beta",), ("conversational",)),
        (None, None, (), ()),
    ]
    assert counted == {"missing_metadata:user_id": 1, "missing_metadata:tenant": 1}
    assert {(name, goal) for name, goal, _ in asked} == {("told", "1"), ("told", "2")}
    assert threading.get_ident() not in {thread for *_, thread in asked}


def test_a_block_makes_its_runs_one_trajectory(recording: Recording):
    token = current_trajectory.set(("tr-1", "the goal"))
    try:
        graph = recording.attach(agent())
        graph.invoke(user("first"))
        graph.invoke(user("second"))
        graph.batch([user("third")])
    finally:
        current_trajectory.reset(token)
    t = recording.only()
    assert (t.goal, len(t.runs), len(t.steps)) == ("the goal", 3, 6)
    assert roles(t) == "uata" * 3
    graph.invoke(user("outside"))
    assert [t.goal for t in recording.trajectories()] == ["the goal", "outside"]


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_rewards_given_inside_the_graph(recording: Recording, how):
    @tool
    def good() -> str:
        """Reward in a tool."""
        dispatch_custom_event("reward", {"score": 0.75, "key": "speed", "comment": "quick"})
        return "ok"

    @tool("good")
    async def agood() -> str:
        """Reward in a tool."""
        await adispatch_custom_event("reward", {"score": 0.75, "key": "speed", "comment": "quick"})
        return "ok"

    graph = agent(ask(("good", {})), say("done"), tools=[good if how == "invoke" else agood])
    drive(recording.attach(graph), user("go"), how=how)
    t = recording.only()
    (reward,) = [record for record in [*recording.loose("feedback"), *recording.records] if record["k"] == "feedback"]
    assert reward["trajectory_root"] == t.trajectory_id
    assert (reward["source"], reward["score"], reward["key"], reward["comment"]) == ("reward", 0.75, "speed", "quick")
    assert reward["success"] is None


def test_a_forked_child_records_its_own_runs_only(recording: Recording):
    graph = recording.attach(agent())

    @tool
    def fork() -> str:
        """Fork within an open run."""
        pid = os.fork()
        if pid == 0:
            try:
                graph.invoke(user("child"))
                recording.writer.close()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        return "forked"

    drive(recording.attach(agent(ask(("fork", {})), say("done"), tools=[fork])), user("parent"))
    assert sorted(t.goal for t in recording.trajectories()) == ["child", "parent"]


def test_bounds_are_kept_and_told(tmp_path):
    @tool
    def long() -> str:
        """Say much."""
        return "x" * 10_000

    @tool
    def leak() -> str:
        """Say a token where the bound is."""
        return "x " * 495 + "ghp_" + "a1B2" * 9 + " x" * 4000

    recording = Recording(tmp_path, max_field_bytes=1000)
    recording.capture = Capture(recording.writer, Redactor(None, b"a key of these tests"), recording.settings)
    calls = ask(("long", {}, "c" * 5000), ("leak", {}, "d" * 5000))
    calls.id = 7  # as a caller may
    graph = recording.attach(agent(calls, say("done"), tools=[long, leak], name="n" * 5000))
    drive(graph, user("go"), {"metadata": {"thread_id": "t" * 5000}})
    t = recording.only()
    assert [action.observation for action in t.steps[0].actions] == [
        "x" * 1000 + "… [cut: 10000 characters]", "x " * 492 + "… [cut: 9030 characters]",
    ]  # fmt: skip
    assert t.thread_id == bounded_id("t" * 5000) == f"sha256:{hashlib.sha256(b't' * 5000).hexdigest()}"
    assert recording.counts["truncated_fields"] == 2
    assert len(str(recording.records)) < 7000


def test_every_bound_on_a_field_marks_and_counts_what_it_cut(tmp_path):
    recording = Recording(tmp_path, max_field_bytes=100)
    builder = StateGraph(dict)
    builder.add_node("work", lambda state: {"answer": "é" * 80})
    builder.add_edge(START, "work")
    graph = recording.attach(builder.compile())
    deep: Any = "end"
    for _ in range(20):
        deep = [deep]
    graph.invoke({"question": "q" * 200}, {"metadata": {"long": "m" * 200, "many": list(range(300)), "deep": deep}})
    t = recording.only()
    assert t.goal == "q" * 100 + "… [cut: 200 characters]"
    assert t.metadata["long"] == "m" * 100 + "… [cut: 200 characters]"
    assert t.metadata["many"][-2:] == [199, "… [cut: 300 items]"]
    assert str(t.metadata["deep"]).strip("[]'") == "…"
    assert t.final_answer == "é" * 50 + "… [cut: 80 characters]"  # a bound is bytes, as it says
    assert recording.counts["truncated_fields"] == 5
    with quiet(ValueError):
        recording.attach(agent(ValueError("e" * 200))).invoke(user("fail"))
    assert recording.trajectories()[-1].error_message == "e" * 100 + "… [cut: 200 characters]"
    assert recording.counts["truncated_fields"] == 8  # of the call's and the node's error, too


@pytest.mark.parametrize("bound", [{"max_run_events": 20}, {"max_run_bytes": 300}])
def test_a_run_that_goes_on_for_ever_is_bounded(tmp_path, bound):
    def endless(messages):
        return ask(("add", {"a": 1, "b": len(messages)}, f"c{len(messages)}"), text="again " * 5)

    recording = Recording(tmp_path, **bound)
    graph = recording.attach(create_agent(Scripted(script=endless), [add]))
    with quiet(RecursionError):
        graph.invoke(user("go"), {"recursion_limit": 60})
    t = recording.only()
    assert t.status == "error"
    assert t.flags == ("truncated",)
    assert 0 < len(t.steps) < 12
    assert recording.counts["truncated_runs"] == 1


def test_too_many_open_runs_are_counted_and_left_out(tmp_path):
    recording = Recording(tmp_path, max_open_runs=2)
    gate = threading.Barrier(3, timeout=5)

    @tool
    def meet() -> str:
        """Wait for the others."""
        gate.wait()
        return "met"

    graph = recording.attach(agent(ask(("meet", {})), say("done"), tools=[meet]))
    graph.batch([user("a"), user("b"), user("c")])
    assert len(recording.trajectories()) == 2
    assert recording.counts["dropped_runs"] == 1
    recording.clean()


def test_what_was_cut_is_counted_in_the_status(home: Path):
    with Live(home, max_field_bytes=50, max_run_events=12, max_open_runs=1, strict=True) as live:
        inner = live.attach(agent())
        graph = live.attach(
            agent(ask(("add", {"a": 1, "b": 2}), text="long " * 20), *[ask(("add", {"a": 1, "b": 2}))] * 3)
        )

        def nested(state: MessagesState) -> dict[str, Any]:
            thread = threading.Thread(target=inner.invoke, args=(user("one too many"),))  # while the first is open
            thread.start()
            thread.join()
            return {}

        builder = StateGraph(MessagesState)
        builder.add_node("work", nested)
        builder.add_edge(START, "work")
        live.attach(builder.compile()).invoke(user("open"))
        with quiet(GraphRecursionError):
            graph.invoke(user("go"), {"recursion_limit": 6})

        def counts() -> dict[str, int]:  # they follow their run by a moment
            live.run_until_idle()
            return dict(live.buffer.sql("select name, n from counters").fetchall())

        until(lambda: "dropped_runs" in counts())
        status, counted = live.status(), counts()
    assert counted["dropped_runs"] == status["dropped"] == 1
    assert status["cut"] == counted["truncated_runs"] + counted["truncated_fields"]
    assert counted["truncated_runs"] == 1
    assert counted["truncated_fields"] >= 1


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_a_run_named_by_something_else_than_a_uuid(recording: Recording, how: str):
    drive(recording.attach(agent()), user("1+1"), {"run_id": "mine"}, how=how)
    t = recording.only()
    assert (acts(t), t.runs[0].run_id) == (EXPECTED, "mine")


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_handlers_that_are_not_inline_hear_everything(recording: Recording, how: str):
    """Of chat models, that is: LangChain's own bug #39633 skips them where a completing model starts in async code."""

    class Sync(BaseCallbackHandler):
        def __init__(self) -> None:
            self.heard: list[str] = []

        def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
            self.heard.append("start")

        def on_llm_end(self, *args: Any, **kwargs: Any) -> None:
            self.heard.append("end")

    class Async(AsyncCallbackHandler):
        def __init__(self) -> None:
            self.heard: list[str] = []

        async def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
            self.heard.append("start")

        async def on_llm_end(self, *args: Any, **kwargs: Any) -> None:
            self.heard.append("end")

    handlers = [Sync(), Async()]
    drive(recording.attach(agent()), user("1+1"), {"callbacks": handlers}, how=how)
    assert [handler.heard for handler in handlers] == [["start", "end"] * 2] * 2
    assert acts(recording.only()) == EXPECTED


def test_streamed_words_are_one_reply(recording: Recording):
    lines = (ask(("add", {"a": 1, "b": 1}), text="let me see"), say("it is two"))
    graph = recording.attach(agent(*lines, model=Streaming))
    words = [chunk.content for chunk, _ in graph.stream(user("1+1"), stream_mode="messages")]
    assert len(words) > 4
    t = recording.only()
    assert acts(t) == EXPECTED
    assert [step.thought.replace(" ", "") for step in t.steps] == ["letmesee", "itistwo"]
