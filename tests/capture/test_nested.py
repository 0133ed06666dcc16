"""Agents inside agents: nested by path, each with its own conversation, never mixed into the parent's steps."""

import asyncio
import threading
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

from tests.capture.kit import Recording, Scripted, acts, ask, by_turn, drive, quiet, roles, say, user


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def expert(name: str | None = "expert", *lines: Any, tools: Any = (add,)) -> Any:
    """An agent whose call ids are the same as its parent's."""
    script = by_turn(*(lines or (ask(("add", {"a": 20, "b": 2}), text="let me see"), say("22"))))
    return create_agent(Scripted(script=script), list(tools), name=name, system_prompt="you are an expert")


def test_a_subgraph_as_node(recording: Recording):
    builder = StateGraph(MessagesState)
    builder.add_node("expert", expert())
    builder.add_edge(START, "expert")
    drive(recording.attach(builder.compile()), user("20+2"))
    t = recording.only()
    assert t.root_steps == ()
    assert acts(t, "expert") == [[("add", "22", False)], []]
    assert roles(t, "expert") == "suata"
    assert roles(t) == "uata"
    assert (t.final_answer, t.status) == ("22", "finished")
    assert t.steps[0].message_index == 2
    assert t.steps[0].actions[0].observation_index == 3


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
@pytest.mark.parametrize("name", ["expert", None])
def test_an_agent_called_inside_a_tool(recording: Recording, how, name):
    helper = expert(name)

    @tool
    def consult(question: str) -> str:
        """Ask the expert."""
        return str(helper.invoke(user(question))["messages"][-1].content)

    @tool("consult")
    async def aconsult(question: str) -> str:
        """Ask the expert."""
        return str((await helper.ainvoke(user(question)))["messages"][-1].content)

    used = consult if how == "invoke" else aconsult
    lines = (ask(("consult", {"question": "20+2"})), ask(("add", {"a": 1, "b": 1})), say("it is 22"))
    graph = create_agent(Scripted(script=by_turn(*lines)), [used, add])
    drive(recording.attach(graph), user("ask"), how=how)
    t = recording.only()
    path = "consult/expert" if name else "consult"
    assert acts(t) == [[("consult", "22", False)], [("add", "2", False)], []]
    assert acts(t, path) == [[("add", "22", False)], []]
    assert (roles(t), roles(t, path)) == ("uatata", "suata")
    assert [step.agent_path for step in t.steps] == ["", path, path, "", ""]
    assert [e["function"]["name"] for e in t.tools or ()] == ["consult", "add"]


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_an_agent_called_inside_a_node(recording: Recording, how):
    helper = expert()

    def consult(state: MessagesState) -> dict[str, Any]:
        return {"messages": [helper.invoke({"messages": state["messages"]})["messages"][-1]]}

    async def aconsult(state: MessagesState) -> dict[str, Any]:
        return {"messages": [(await helper.ainvoke({"messages": state["messages"]}))["messages"][-1]]}

    builder = StateGraph(MessagesState)
    builder.add_node("consult", consult if how == "invoke" else aconsult)
    builder.add_edge(START, "consult")
    drive(recording.attach(builder.compile()), user("20+2"), how=how)
    t = recording.only()
    (path,) = t.nested
    assert path.endswith("expert")
    assert t.root_steps == ()
    assert acts(t, path) == [[("add", "22", False)], []]
    assert (roles(t, path), roles(t), t.final_answer) == ("suata", "ua", "22")


def test_two_calls_of_one_sub_agent_are_kept_apart(recording: Recording):
    helper = expert()

    @tool
    def consult(question: str) -> str:
        """Ask the expert."""
        return str(helper.invoke(user(question))["messages"][-1].content)

    lines = (ask(("consult", {"question": "a"}), ("consult", {"question": "b"})), say("done"))
    graph = create_agent(Scripted(script=by_turn(*lines)), [consult])
    drive(recording.attach(graph), user("ask"))
    t = recording.only()
    assert acts(t) == [[("consult", "22", False), ("consult", "22", False)], []]
    assert sorted(t.nested) == ["consult/expert", "consult/expert#2"]
    assert {t.nested[path][1].text for path in t.nested} == {"a", "b"}
    for path in t.nested:
        assert acts(t, path) == [[("add", "22", False)], []]


def test_the_inner_answer_is_not_the_outer_one_where_the_outer_tool_fails(recording: Recording):
    helper = expert()

    @tool
    def consult(question: str) -> str:
        """Ask the expert, and fail."""
        helper.invoke(user(question))
        raise RuntimeError("lost the answer")

    graph = create_agent(Scripted(script=by_turn(ask(("consult", {"question": "a"})), say("done"))), [consult])
    with quiet(RuntimeError):
        drive(recording.attach(graph), user("ask"))
    t = recording.only()
    assert acts(t) == [[("consult", "lost the answer", True)]]
    assert acts(t, "consult/expert") == [[("add", "22", False)], []]


def test_a_model_and_a_tool_inside_a_tool(recording: Recording):
    model = Scripted(script=lambda messages: say("a summary"))

    @tool
    def digest(text: str) -> str:
        """Summarise."""
        add.invoke({"a": 1, "b": 1})
        return str(model.invoke(f"summarise {text}").content)

    graph = create_agent(Scripted(script=by_turn(ask(("digest", {"text": "long"})), say("done"))), [digest])
    drive(recording.attach(graph), user("go"))
    t = recording.only()
    assert acts(t) == [[("digest", "a summary", False)], []]
    assert roles(t, "digest") == "ua"
    assert acts(t, "digest") == [[]]


def test_an_agent_in_a_raw_thread(recording: Recording):
    """A thread that copies no context: nothing below it is seen, and nothing else breaks."""
    helper = expert()
    found: list[str] = []

    @tool
    def consult(question: str) -> str:
        """Ask in a thread."""
        thread = threading.Thread(target=lambda: found.append(helper.invoke(user(question))["messages"][-1].content))
        thread.start()
        thread.join()
        return found[-1]

    graph = create_agent(Scripted(script=by_turn(ask(("consult", {"question": "a"})), say("done"))), [consult])
    drive(recording.attach(graph), user("ask"))
    t = recording.only()
    assert acts(t) == [[("consult", "22", False)], []]
    assert t.nested == {}


def test_a_sub_agent_restarted_by_a_resume_counts_once(recording: Recording):
    """Without a checkpoint of its own, the sub-agent of an interrupted tool runs again from its start."""

    @tool
    def confirm() -> str:
        """Ask the user."""
        return f"user said {interrupt('ok?')}"

    helper = expert("helper", ask(("confirm", {})), say("confirmed"), tools=[confirm])

    @tool
    def consult() -> str:
        """Ask the helper."""
        return str(helper.invoke(user("please"))["messages"][-1].content)

    graph = create_agent(
        Scripted(script=by_turn(ask(("consult", {})), say("done"))), [consult], checkpointer=InMemorySaver()
    )
    attached = recording.attach(graph)
    config = {"configurable": {"thread_id": "t"}}
    attached.invoke(user("go"), config)
    waiting = recording.only()
    assert waiting.status == "interrupted"
    assert acts(waiting, "consult/helper") == [[("confirm", None, False)]]
    attached.invoke(Command(resume="yes"), config)
    t = recording.only()
    assert acts(t) == [[("consult", "confirmed", False)], []]
    assert acts(t, "consult/helper") == [[("confirm", "user said yes", False)], []]
    assert roles(t, "consult/helper") == "suata"
    assert sorted(t.nested) == ["consult/helper"]


def test_deepagents(recording: Recording):
    from deepagents import create_deep_agent

    def script(messages: Any) -> Any:
        last = messages[-1]
        if last.type == "human" and "SUBTASK" in str(last.content):
            return ask(("add", {"a": 2, "b": 3}))
        if "SUBTASK" in str(messages[1].content):
            return say("five")
        if last.type == "human":
            return ask(("task", {"description": "SUBTASK: 2+3", "subagent_type": "general-purpose"}), text="delegate")
        return say("it is five")

    graph = create_deep_agent(model=Scripted(script=script), tools=[add])
    drive(recording.attach(graph, name="deep"), user("2+3"))
    t = recording.only()
    path = "task/general-purpose"
    assert acts(t) == [[("task", "five", False)], []]
    assert acts(t, path) == [[("add", "5", False)], []]
    assert (roles(t), roles(t, path)) == ("suata", "suata")
    assert (t.final_answer, t.status) == ("it is five", "finished")


@pytest.mark.filterwarnings("ignore:create_react_agent has been moved")
@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_supervisor(recording: Recording, how):
    from langgraph_supervisor import create_supervisor

    def research(messages: Any) -> Any:
        return say("22") if messages[-1].name == "add" else ask(("add", {"a": 20, "b": 2}))

    def boss(messages: Any) -> Any:
        if messages[-1].type == "human":
            return ask(("transfer_to_researcher", {}), text="over to you")
        return say("final: 22")

    researcher = create_agent(Scripted(script=research), [add], name="researcher")

    graph = create_supervisor([researcher], model=Scripted(script=boss)).compile()
    drive(recording.attach(graph), user("20+2"), how=how)
    t = recording.only()
    assert t.status == "finished"
    assert t.final_answer == "final: 22"
    assert not any(action.is_error for step in t.steps for action in step.actions)
    assert [step.agent_path for step in t.steps] == ["supervisor", "researcher", "researcher", "supervisor#2"]
    assert acts(t, "supervisor")[0][0][0] == "transfer_to_researcher"
    assert "transferred" in str(acts(t, "supervisor")[0][0][1]).lower()
    assert acts(t, "researcher") == [[("add", "22", False)], []]
    assert t.root_steps == ()
    assert roles(t)[0] == "u"
    assert t.messages[-1].text == "final: 22"


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_swarm(recording: Recording, how):
    from langgraph_swarm import create_handoff_tool, create_swarm

    alice = create_agent(
        Scripted(script=by_turn(ask(("transfer_to_bob", {}, "h1"), text="bob knows"))),
        [create_handoff_tool(agent_name="bob")],
        name="alice",
    )
    bob = create_agent(Scripted(script=lambda messages: say("bob here")), [add], name="bob")
    graph = create_swarm([alice, bob], default_active_agent="alice").compile()
    drive(recording.attach(graph), user("hi"), how=how)
    t = recording.only()
    assert t.status == "finished"
    assert t.final_answer == "bob here"
    assert [step.agent_path for step in t.steps] == ["alice", "bob"]
    assert not any(action.is_error for step in t.steps for action in step.actions)
    assert "bob" in str(t.steps[0].actions[0].observation)
    assert roles(t) == "uata"


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_functional_api(recording: Recording, how):
    model = Scripted(script=by_turn(ask(("add", {"a": 1, "b": 1})), say("two"))).bind_tools([add])

    @task
    def think(messages: list[Any]) -> Any:
        return model.invoke(messages)

    @task
    def act(call: dict[str, Any]) -> Any:
        return add.invoke(call)

    @entrypoint()
    def work(question: str) -> str:
        messages: list[Any] = [("user", question)]
        while True:
            reply = think(messages).result()
            messages.append(reply)
            if not reply.tool_calls:
                return str(reply.content)
            messages += [act(call).result() for call in reply.tool_calls]

    drive(recording.attach(work), "1+1?", how=how)
    t = recording.only()
    assert (t.goal, t.final_answer, t.status) == ("1+1?", "two", "finished")
    assert acts(t) == [[("add", "2", False)], []]
    assert roles(t) == "uata"
    assert [step.node for step in t.steps] == ["think", "think"]
    assert t.nested == {}


def test_a_chain_around_a_graph(recording: Recording):
    agent = create_agent(Scripted(script=by_turn(ask(("add", {"a": 1, "b": 1})), say("two"))), [add])
    answer = RunnableLambda(lambda state: state["messages"][-1].content)
    chain = RunnableLambda(lambda text: user(text)) | agent | answer
    assert recording.attach(chain, name="chain").invoke("1+1?") == "two"
    t = recording.only()
    assert acts(t) == [[("add", "2", False)], []]
    assert (t.agent, t.goal, t.final_answer, t.status) == ("chain", "1+1?", "two", "finished")
    assert t.nested == {}


def test_a_prompt_before_an_agent(recording: Recording):
    prompt = ChatPromptTemplate.from_messages([("user", "what is {sum}?")])
    agent = create_agent(Scripted(script=by_turn(ask(("add", {"a": 1, "b": 1})), say("two"))), [add])
    chain = prompt | RunnableLambda(lambda value: {"messages": value.to_messages()}) | agent
    recording.attach(chain, name="asked").invoke({"sum": "1+1"})
    t = recording.only()
    assert acts(t) == [[("add", "2", False)], []]
    assert (t.agent, t.goal, t.final_answer, roles(t)) == ("asked", "1+1", "two", "uata")


def test_graph_attached_below_a_parent_that_is_not(recording: Recording):
    inner = recording.attach(expert())

    builder = StateGraph(MessagesState)
    builder.add_node("expert", lambda state: {"messages": inner.invoke(state)["messages"][-1]})
    builder.add_edge(START, "expert")
    asyncio.run(builder.compile().ainvoke(user("20+2")))
    t = recording.only()
    assert acts(t) == [[("add", "22", False)], []]
    assert t.agent == "expert"
    assert t.status == "finished"
