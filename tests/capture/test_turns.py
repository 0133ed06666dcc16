"""Threads: each turn is one trajectory, and earlier turns are its context. Interrupts: all runs are one."""

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import Command, interrupt

from tests.capture.kit import Recording, Scripted, acts, ask, by_turn, drive, roles, say, user


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def confirm(question: str) -> str:
    """Ask the user."""
    return f"user said {interrupt({'question': question})}"


THREAD: dict[str, Any] = {"configurable": {"thread_id": "t1"}}


def agent(*lines, tools=(add, confirm), **kwargs):
    model = Scripted(script=by_turn(*lines))
    return create_agent(model, list(tools), checkpointer=InMemorySaver(), **kwargs)


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_each_turn_is_one_trajectory(recording: Recording, how):
    """The ids of the calls repeat over the turns, as local servers make them."""
    graph = recording.attach(agent(ask(("add", {"a": 1, "b": 1})), say("two"), system_prompt="s"))
    drive(graph, user("first"), THREAD, how=how)
    drive(graph, user("second"), THREAD, how=how)
    first, second = recording.trajectories()
    recording.clean()
    assert (first.goal, second.goal) == ("first", "second")
    assert (roles(first), roles(second)) == ("suata", "suatauata")
    assert (first.context_len, second.context_len) == (1, 5)
    assert acts(first) == acts(second) == [[("add", "2", False)], []]
    assert [step.message_index for step in second.steps] == [6, 8]
    assert second.steps[0].actions[0].observation_index == 7
    assert first.thread_id == second.thread_id == "t1"


def test_equal_words_in_two_turns(recording: Recording):
    graph = recording.attach(agent(say("ok")))
    for text in ("yes", "yes", "yes"):
        drive(graph, user(text), THREAD)
    found = recording.trajectories()
    assert [roles(t) for t in found] == ["ua", "uaua", "uauaua"]
    assert [t.context_len for t in found] == [0, 2, 4]
    assert [len(t.steps) for t in found] == [1, 1, 1]


def test_a_history_that_the_caller_sends_again(recording: Recording):
    graph = recording.attach(create_agent(Scripted(script=by_turn(ask(("add", {"a": 1, "b": 1})), say("two"))), [add]))
    history: list[Any] = []
    for text in ("one", "two", "one"):
        history = graph.invoke({"messages": [*history, HumanMessage(text)]})["messages"]
    found = recording.trajectories()
    assert [roles(t) for t in found] == ["uata", "uata" * 2, "uata" * 3]
    assert [t.context_len for t in found] == [0, 4, 8]
    assert [acts(t) for t in found] == [[[("add", "2", False)], []]] * 3


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream"])
def test_interrupt_in_a_tool_and_resume(recording: Recording, how):
    graph = recording.attach(agent(ask(("add", {"a": 1, "b": 2}), ("confirm", {"question": "ok?"})), say("done")))
    drive(graph, user("go"), THREAD, how=how)
    waiting = recording.only()
    assert waiting.status == "interrupted"
    assert acts(waiting) == [[("add", "3", False), ("confirm", None, False)]]
    assert roles(waiting) == "uat"
    assert waiting.final_answer is None

    drive(graph, Command(resume="yes"), THREAD, how=how)
    t = recording.only()
    assert (t.status, len(t.runs), t.goal, t.final_answer) == ("finished", 2, "go", "done")
    assert [run.status for run in t.runs] == ["interrupted", "finished"]
    assert acts(t) == [[("add", "3", False), ("confirm", "user said yes", False)], []]
    assert [a.attempts for a in t.steps[0].actions] == [1, 1]
    assert roles(t) == "uatta"
    assert t.trajectory_id == waiting.trajectory_id
    first, second = (run[0] for run in recording.runs())
    assert (first["resume"], first["new_input"]) == (False, True)
    assert (second["resume"], second["new_input"], second["answer"]) == (True, False, "yes")
    stopped = next(r for r in recording.runs()[0] if r["k"] == "interrupt")
    assert stopped["checkpoint_id"] == second["checkpoint_id"]
    assert stopped["values"] == [{"question": "ok?"}]


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_resumed_twice_and_parallel_interrupts(recording: Recording, how):
    graph = recording.attach(agent(ask(("confirm", {"question": "a"}), ("confirm", {"question": "b"})), say("done")))
    stopped = drive(graph, user("go"), THREAD, how=how)["__interrupt__"]
    ids = {item.value["question"]: item.id for item in stopped}
    drive(graph, Command(resume={ids["a"]: "first"}), THREAD, how=how)
    drive(graph, Command(resume={ids["b"]: "second"}), THREAD, how=how)
    t = recording.only()
    assert len(t.runs) == 3
    assert acts(t) == [[("confirm", "user said first", False), ("confirm", "user said second", False)], []]
    assert roles(t) == "uatta"


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_two_interrupts_one_after_the_other_in_one_tool(recording: Recording, how):
    @tool
    def twice() -> str:
        """Ask twice."""
        return f"{interrupt('one')} {interrupt('two')}"

    graph = recording.attach(agent(ask(("twice", {})), say("done"), tools=[twice]))
    drive(graph, user("go"), THREAD, how=how)
    drive(graph, Command(resume="x"), THREAD, how=how)
    assert recording.only().status == "interrupted"
    drive(graph, Command(resume="y"), THREAD, how=how)
    t = recording.only()
    assert acts(t) == [[("twice", "x y", False)], []]
    assert t.steps[0].actions[0].attempts == 1


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_interrupt_in_a_node_that_asked_a_model_before(recording: Recording, how):
    """The node runs again from its start: what its model said the first time is taken back."""
    model = Scripted(script=[say("first try"), say("second try")])

    def node(state: MessagesState):
        reply = model.invoke(state["messages"])
        interrupt("continue?")
        return {"messages": [reply]}

    builder = StateGraph(MessagesState)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    graph = recording.attach(builder.compile(checkpointer=InMemorySaver()))
    drive(graph, user("go"), THREAD, how=how)
    waiting = recording.only()
    assert (waiting.status, roles(waiting)) == ("interrupted", "ua")
    drive(graph, Command(resume="yes"), THREAD, how=how)
    t = recording.only()
    assert roles(t) == "ua"
    assert [step.thought for step in t.steps] == ["second try"]
    assert t.final_answer == "second try"


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
@pytest.mark.parametrize(
    ("decision", "expected", "arguments"),
    [
        ({"type": "approve"}, ("add", "3", False), '{"a":1,"b":2}'),
        (
            {"type": "edit", "edited_action": {"name": "add", "args": {"a": 10, "b": 20}}},
            ("add", "30", False),
            '{"a":10,"b":20}',
        ),
        ({"type": "reject", "message": "do not"}, ("add", "do not", True), '{"a":1,"b":2}'),
    ],
)
def test_human_in_the_loop(recording: Recording, decision, expected, arguments, how):
    middleware = HumanInTheLoopMiddleware(interrupt_on={"add": True})
    graph = recording.attach(agent(ask(("add", {"a": 1, "b": 2})), say("done"), middleware=[middleware]))
    drive(graph, user("go"), THREAD, how=how)
    assert recording.only().status == "interrupted"
    drive(graph, Command(resume={"decisions": [decision]}), THREAD, how=how)
    t = recording.only()
    (name, observation, is_error), (action,) = expected, t.steps[0].actions
    assert (action.name, action.is_error, action.input, action.attempts) == (name, is_error, arguments, 1)
    assert (action.observation or "").endswith(observation)  # newer versions say more around it
    assert t.steps[1].actions == ()
    assert roles(t) == "uata"
    assert ("edited" in t.flags) == (decision["type"] == "edit")
    assert (t.status, t.final_answer) == ("finished", "done")


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
@pytest.mark.parametrize("point", ["interrupt_before", "interrupt_after"])
def test_static_breakpoints(recording: Recording, point, how):
    model = Scripted(script=by_turn(ask(("add", {"a": 1, "b": 2})), say("done"))).bind_tools([add])
    builder = StateGraph(MessagesState)
    builder.add_node("think", lambda s: {"messages": [model.invoke(s["messages"])]})
    builder.add_node("tools", ToolNode([add]))
    builder.add_edge(START, "think")
    builder.add_conditional_edges("think", tools_condition)
    builder.add_edge("tools", "think")
    graph = recording.attach(builder.compile(checkpointer=InMemorySaver(), **{point: ["tools"]}))
    drive(graph, user("go"), THREAD, how=how)
    assert recording.only().status == "interrupted"
    drive(graph, None, THREAD, how=how)
    t = recording.only()
    assert acts(t) == [[("add", "3", False)], []]
    assert (t.status, len(t.runs), roles(t)) == ("finished", 2, "uata")


def test_resumed_by_another_process_in_either_order(recording: Recording):
    graph = agent(ask(("add", {"a": 1, "b": 2}), ("confirm", {"question": "ok?"})), say("done"))
    recording.attach(graph).invoke(user("go"), THREAD)
    other = Recording(recording.folder / "other")
    other.attach(graph).invoke(Command(resume="yes"), THREAD)
    (first,), (second,) = recording.runs(), other.runs()
    (t,) = recording.trajectories([second, first])
    assert acts(t) == [[("add", "3", False), ("confirm", "user said yes", False)], []]
    assert (roles(t), t.status) == ("uatta", "finished")


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_new_input_on_a_thread_that_waits(recording: Recording, how):
    graph = recording.attach(agent(ask(("confirm", {"question": "ok?"})), say("done")))
    drive(graph, user("go"), THREAD, how=how)
    drive(graph, {"messages": [HumanMessage("never mind")]}, THREAD, how=how)
    first, second = recording.trajectories()
    recording.clean()
    assert (first.status, acts(first)) == ("interrupted", [[("confirm", None, False)]])
    assert (second.goal, second.messages[second.context_len].text) == ("never mind", "never mind")
    assert roles(second)[: second.context_len].startswith("ua")
    assert not any(run[0]["resume"] for run in recording.runs())


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_update_state_between_interrupt_and_resume(recording: Recording, how):
    graph = recording.attach(agent(ask(("add", {"a": 1, "b": 2}), ("confirm", {"question": "ok?"})), say("done")))
    drive(graph, user("go"), THREAD, how=how)
    graph.update_state(THREAD, {"messages": [HumanMessage("and hurry")]})
    drive(
        graph, Command(resume="yes"), THREAD, how=how
    )  # the update dropped what the first run had: both tools run again
    drive(graph, Command(resume="yes"), THREAD, how=how)
    t = recording.only()
    assert [run.status for run in t.runs] == ["interrupted", "interrupted", "finished"]
    assert t.goal == "go"
    assert acts(t)[0] == [("add", "3", False), ("confirm", "user said yes", False)]
    assert [action.attempts for action in t.steps[0].actions] == [2, 1]
    assert t.final_answer == "done"


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_interrupt_inside_a_subgraph(recording: Recording, how):
    inner_model = Scripted(script=by_turn(ask(("confirm", {"question": "sure?"})), say("inner done")))
    inner = create_agent(inner_model, [confirm], name="inner")
    builder = StateGraph(MessagesState)
    builder.add_node("inner", inner)
    builder.add_edge(START, "inner")
    graph = recording.attach(builder.compile(checkpointer=InMemorySaver()))
    drive(graph, user("go"), THREAD, how=how)
    waiting = recording.only()
    assert waiting.status == "interrupted"
    assert acts(waiting, "inner") == [[("confirm", None, False)]]
    drive(graph, Command(resume="yes"), THREAD, how=how)
    t = recording.only()
    assert acts(t, "inner") == [[("confirm", "user said yes", False)], []]
    assert roles(t, "inner") == "uata"
    assert t.root_steps == ()
    assert (t.status, t.final_answer) == ("finished", "inner done")
    assert list(t.nested) == ["inner"]


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_a_turn_after_an_interrupted_turn_was_resumed(recording: Recording, how):
    graph = recording.attach(agent(ask(("confirm", {"question": "ok?"})), say("done")))
    drive(graph, user("go"), THREAD, how=how)
    drive(graph, Command(resume="yes"), THREAD, how=how)
    drive(graph, user("again"), THREAD, how=how)
    drive(graph, Command(resume="no"), THREAD, how=how)
    first, second = recording.trajectories()
    assert (first.goal, second.goal) == ("go", "again")
    assert acts(second) == [[("confirm", "user said no", False)], []]
    assert (roles(second), second.context_len) == ("uatauata", 4)


def test_an_end_node_is_no_answer(recording: Recording):
    builder = StateGraph(MessagesState)
    builder.add_node("echo", lambda s: {"messages": [AIMessage(f"echo {s['messages'][-1].content}")]})
    builder.add_edge(START, "echo")
    builder.add_edge("echo", END)
    graph = recording.attach(builder.compile(checkpointer=InMemorySaver()))
    drive(graph, user("a"), THREAD)
    drive(graph, user("b"), THREAD)
    first, second = recording.trajectories()
    assert (first.final_answer, second.final_answer) == ("echo a", "echo b")
    assert (len(first.steps), len(second.steps)) == (1, 1)
