"""Graphs in which no one model has the whole conversation, with real models over HTTP; and what each request was shown.

Each model tells by its system prompt which line of a play it speaks: the n-th where it has said n lines before.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypedDict

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool, tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import Command, Send
from pydantic import SecretStr

from agenther_live.trajectory import Message
from tests.openai_server import OpenAIServer, Reply, call

Play = Mapping[str, Sequence[Reply | str]]
Shape = Callable[[OpenAIServer], Any]


@tool
def get_plan(customer: str) -> str:
    """Look up the plan of a customer."""
    return json.dumps({"customer": customer, "plan": "pro", "since": "2023-04-11"})


@tool
def get_invoice(customer: str) -> str:
    """Look up the last invoice of a customer."""
    return json.dumps({"customer": customer, "invoice": "INV-31", "amount": 120, "currency": "EUR"})


def speaks(play: Play) -> Callable[[dict[str, Any]], Reply | str]:
    """Answer a request by its system prompt, and by what its own agent has said since."""

    def reply(body: dict[str, Any]) -> Reply | str:
        messages = body["messages"]
        lines = play[messages[0]["content"]]
        said = sum(_form(message) in [_form(_spoken(line)) for line in lines] for message in messages)
        return lines[said]

    return reply


def _spoken(line: Reply | str) -> dict[str, Any]:
    if isinstance(line, str):
        return {"role": "assistant", "content": line}
    calls = [{"function": {"name": each.name, "arguments": each.encoded()}} for each in line.calls]
    return {"role": "assistant", "content": line.text, "tool_calls": calls}


def _form(message: Mapping[str, Any]) -> str:
    """A message as HTTP has it, without ids and names."""
    calls = [
        (each["function"]["name"], json.loads(each["function"]["arguments"]))
        for each in message.get("tool_calls") or ()
    ]
    return json.dumps([message["role"], message.get("content") or "", calls])


def form(message: Message) -> str:
    """The same of a message that was captured."""
    return _form(message.wire())


def heard(server: OpenAIServer) -> list[tuple[list[str], str, list[Any]]]:
    """Of each request: the messages that it showed, the answer, and the tools on offer."""
    found = []
    for request in server.requests:
        reply = request.reply
        assert reply is not None
        found.append(
            (
                [_form(message) for message in request.body["messages"]],
                _form(_spoken(reply)),
                request.body.get("tools") or [],
            )
        )
    return found


def model(server: OpenAIServer, *tools: BaseTool) -> Runnable[Any, AIMessage]:
    """A chat model that the server answers."""
    made = ChatOpenAI(model="gpt-4o-mini", base_url=server.base_url, api_key=SecretStr("k"), max_retries=0)
    return made.bind_tools(tools) if tools else made


def looped(server: OpenAIServer, system: str, question: str, *tools: BaseTool) -> str:
    """An agent as a plain loop inside a node; its last words."""
    messages: list[Any] = [SystemMessage(system), HumanMessage(question)]
    by_name = {each.name: each for each in tools}
    while True:
        reply = model(server, *tools).invoke(messages)
        messages.append(reply)
        if not reply.tool_calls:
            return str(reply.content)
        messages += [by_name[each["name"]].invoke(each) for each in reply.tool_calls]


def helper(server: OpenAIServer, name: str, system: str, *tools: Any) -> Any:
    """An agent as a graph."""
    return create_agent(model(server), list(tools), name=name, system_prompt=system)


class Notes(MessagesState):
    notes: Annotated[list[str], operator.add]


QUESTION = "Which plan is C-7 on, and how much was the last invoice?"


def branches(server: OpenAIServer, **more: BaseTool) -> Any:
    """Two agents or more beside each other, whose findings a reducer collects and a last model joins."""

    def node(system: str, one: BaseTool) -> Any:
        return lambda state: {"notes": [looped(server, system, state["messages"][-1].content, one)]}

    def join(state: Notes) -> Any:
        asked = f"{state['messages'][0].content}\nFindings: {' '.join(state['notes'])}"
        return {"messages": [model(server).invoke([SystemMessage("You join findings."), HumanMessage(asked)])]}

    builder = StateGraph(Notes)
    builder.add_node("join", join, defer=True)
    for name, one in {"plans": get_plan, "invoices": get_invoice, **more}.items():
        builder.add_node(name, node(f"You know {name}.", one))
        builder.add_edge(START, name)
        builder.add_edge(name, "join")
    return builder.compile()


BRANCHES: Play = {
    "You know plans.": [call("get_plan", {"customer": "C-7"}), "C-7 is on the pro plan."],
    "You know invoices.": [call("get_invoice", {"customer": "C-7"}), "The last invoice was over 120 EUR."],
    "You join findings.": ["C-7 is on the pro plan, and paid 120 EUR."],
}


class Draft(MessagesState):
    draft: str


def chain(server: OpenAIServer, shown: str = "Edit this draft of a reply to “{question}”: {draft}") -> Any:
    """A writer and an editor, each with a prompt of its own."""

    def write(state: Draft) -> Any:
        return {"draft": model(server).invoke([SystemMessage("You write."), *state["messages"]]).content}

    def edit(state: Draft) -> Any:
        asked = shown.format(question=state["messages"][0].content, draft=state["draft"])
        return {"messages": [model(server).invoke([SystemMessage("You edit."), HumanMessage(asked)])]}

    builder = StateGraph(Draft)
    builder.add_node("write", write)
    builder.add_node("edit", edit)
    builder.add_edge(START, "write")
    builder.add_edge("write", "edit")
    return builder.compile()


def blind_chain(server: OpenAIServer) -> Any:
    """The same, where the editor is not told what was asked."""
    return chain(server, "Edit this: {draft}")


CHAIN: Play = {
    "You write.": ["Thank you for waiting, dear customer."],
    "You edit.": ["Thank you for your patience."],
}


def planned(server: OpenAIServer) -> Any:
    """A planner, and an agent with a prompt of its own that reads the plan in the same conversation."""

    def node(system: str, *tools: BaseTool) -> Any:
        return lambda state: {"messages": [model(server, *tools).invoke([SystemMessage(system), *state["messages"]])]}

    builder = StateGraph(MessagesState)
    builder.add_node("plan", node("You plan."))
    builder.add_node("work", node("You know plans.", get_plan))
    builder.add_node("tools", ToolNode([get_plan]))
    builder.add_edge(START, "plan")
    builder.add_edge("plan", "work")
    builder.add_conditional_edges("work", tools_condition)
    builder.add_edge("tools", "work")
    return builder.compile()


PLANNED: Play = {"You plan.": ["First look, then tell."], "You know plans.": BRANCHES["You know plans."]}


def looked_up(server: OpenAIServer) -> Any:
    """One model looks up, another one answers from a prompt that holds what was found."""

    def ask(state: MessagesState) -> Any:
        return {"messages": [model(server, get_plan).invoke([SystemMessage("You look up."), *state["messages"]])]}

    def answer(state: MessagesState) -> Any:
        asked = f"Answer “{state['messages'][0].content}” from this: {state['messages'][-1].content}"
        return {"messages": [model(server).invoke([SystemMessage("You answer."), HumanMessage(asked)])]}

    builder = StateGraph(MessagesState)
    for name, node in (("ask", ask), ("find", ToolNode([get_plan])), ("answer", answer)):
        builder.add_node(name, node)
    builder.add_edge(START, "ask")
    builder.add_edge("ask", "find")
    builder.add_edge("find", "answer")
    return builder.compile()


LOOKED_UP: Play = {
    "You look up.": [call("get_plan", {"customer": "C-7"})],
    "You answer.": ["The pro plan, since 2023."],
}


def supervised(server: OpenAIServer) -> Any:
    """A supervisor with two workers, of langgraph-supervisor."""
    from langgraph_supervisor import create_supervisor  # its import warns

    workers = [
        helper(server, "plans", "You know plans.", get_plan),
        helper(server, "invoices", "You know invoices.", get_invoice),
    ]
    return create_supervisor(workers, model=model(server), prompt="You lead.").compile()  # type: ignore[arg-type]


SUPERVISED: Play = {
    "You lead.": [
        call("transfer_to_plans", {}), call("transfer_to_invoices", {}), "C-7 is on the pro plan, and paid 120 EUR.",
    ],
    "You know plans.": BRANCHES["You know plans."],
    "You know invoices.": BRANCHES["You know invoices."],
}  # fmt: skip


def swarm(server: OpenAIServer) -> Any:
    """Two agents of which the first hands over, of langgraph-swarm."""
    from langgraph_swarm import create_handoff_tool, create_swarm

    alice = helper(server, "alice", "You greet.", create_handoff_tool(agent_name="bob"))
    return create_swarm(
        [alice, helper(server, "bob", "You know plans.", get_plan)], default_active_agent="alice"
    ).compile()


SWARM: Play = {
    "You greet.": [call("transfer_to_bob", {})],
    "You know plans.": BRANCHES["You know plans."],
}


def led(server: OpenAIServer, graph: Any) -> Any:
    """An agent with a tool that asks a graph."""

    @tool
    def research(question: str) -> str:
        """Have a question looked into."""
        return str(graph.invoke({"messages": [("user", question)]})["messages"][-1].content)

    return helper(server, "leader", "You ask others.", research)


def leads(play: Play | Callable[[dict[str, Any]], Reply | str]) -> Callable[[dict[str, Any]], Reply | str]:
    """That agent passes the question on, and tells what it heard; all others speak their own lines."""
    others = play if callable(play) else speaks(play)

    def reply(body: dict[str, Any]) -> Reply | str:
        messages = body["messages"]
        if messages[0]["content"] != "You ask others.":
            return others(body)
        return messages[-1]["content"] if messages[-1]["role"] == "tool" else call("research", {"question": QUESTION})

    return reply


class One(TypedDict):
    customer: str


def mapped(server: OpenAIServer) -> Any:
    """A task for each customer, sent to a node of its own."""

    def look(state: One) -> Any:
        return {"notes": [looped(server, "You know plans.", f"Which plan is {state['customer']} on?", get_plan)]}

    def send(state: Notes) -> Any:
        return [Send("look", {"customer": customer}) for customer in ("C-7", "C-8")]

    builder = StateGraph(Notes)
    builder.add_node("look", look)
    builder.add_node("tell", lambda state: {"messages": [AIMessage(" ".join(state["notes"]))]})
    builder.add_conditional_edges(START, send, ["look"])
    builder.add_edge("look", "tell")
    return builder.compile()


def both_customers(body: dict[str, Any]) -> Reply | str:
    """What the mapped agent says: each customer is on a plan."""
    customer = "C-8" if "C-8" in body["messages"][1]["content"] else "C-7"
    if len(body["messages"]) == 2:
        return call("get_plan", {"customer": customer})
    return f"{customer} is on the pro plan."


def routed(server: OpenAIServer) -> Any:
    """A router that calls one agent as a node."""

    def route(state: MessagesState) -> Any:
        model(server).invoke([SystemMessage("You route."), *state["messages"]])
        return Command(goto="plans")

    builder = StateGraph(MessagesState)
    builder.add_node("route", route, destinations=("plans",))
    builder.add_node("plans", helper(server, "plans", "You know plans.", get_plan))
    builder.add_edge(START, "route")
    return builder.compile()


ROUTED: Play = {"You route.": ["plans"], "You know plans.": BRANCHES["You know plans."]}


def beside(server: OpenAIServer) -> Any:
    """Two models asked at once, whose words stand behind each other in the state: no model saw that."""

    def node(system: str) -> Any:
        return lambda state: {"messages": [model(server).invoke([SystemMessage(system), *state["messages"]])]}

    builder = StateGraph(MessagesState)
    for name in ("one", "two"):
        builder.add_node(name, node(f"You are {name}."))
        builder.add_edge(START, name)
    return builder.compile()


def beside_within(server: OpenAIServer) -> Any:
    """The same as a node of another graph."""
    builder = StateGraph(MessagesState)
    builder.add_node("inner", beside(server))
    builder.add_edge(START, "inner")
    return builder.compile()


BESIDE: Play = {"You are one.": ["It is the first plan."], "You are two.": ["It is the second plan."]}


def criticised(server: OpenAIServer) -> Any:
    """A model that writes, and one that finds fault in the user's place."""

    def write(state: MessagesState) -> Any:
        return {"messages": [model(server).invoke([SystemMessage("You write."), *state["messages"]])]}

    def find_fault(state: MessagesState) -> Any:
        asked = [SystemMessage("You find fault."), HumanMessage(state["messages"][-1].content)]
        return {"messages": [HumanMessage(model(server).invoke(asked).content)]}

    builder = StateGraph(MessagesState)
    builder.add_node("write", write)
    builder.add_node("find_fault", find_fault)
    builder.add_edge(START, "write")
    builder.add_conditional_edges("write", lambda state: "find_fault" if len(state["messages"]) == 2 else "__end__")
    builder.add_edge("find_fault", "write")
    return builder.compile()


CRITICISED: Play = {
    "You write.": ["Nobody has a plan.", "The pro plan, and 120 EUR."],
    "You find fault.": ["That draft is wrong."],
}


def voted(server: OpenAIServer) -> Any:
    """One question, asked twice."""

    def look(_: Notes) -> Any:
        return {"notes": [looped(server, "You know plans.", "Which plan is C-7 on?", get_plan) for _ in range(2)]}

    return _noted(look)


VOTED: Play = {"You know plans.": BRANCHES["You know plans."]}
_ASSIGNED = "You know plans. Assigned: the tier and the latest bill of C-7."


def told_by_prompt(server: OpenAIServer) -> Any:
    """The task stands in the system prompt, in other words."""
    return _noted(lambda _: {"notes": [looped(server, _ASSIGNED, "Please begin with the assigned work.", get_plan)]})


TOLD_BY_PROMPT: Play = {_ASSIGNED: BRANCHES["You know plans."]}


def told_by_tool(server: OpenAIServer) -> Any:
    """The task stands in a result that the graph put there."""

    def look(state: Notes) -> Any:
        told = {"name": "next_task", "args": {}, "id": "t", "type": "tool_call"}
        messages: list[Any] = [SystemMessage("You know plans."), HumanMessage("Please do the task that C-7 waits for.")]
        messages += [AIMessage("", tool_calls=[told]), ToolMessage(state["messages"][0].content, tool_call_id="t")]
        for _ in range(2):
            reply = model(server, get_plan).invoke(messages)
            messages += [reply, *(get_plan.invoke(each) for each in reply.tool_calls)]
        return {"notes": [str(messages[-1].content)]}

    return _noted(look)


TOLD_BY_TOOL = VOTED


def _noted(node: Any) -> Any:
    builder = StateGraph(Notes)
    builder.add_node("look", node)
    builder.add_node("tell", lambda state: {"messages": [AIMessage(state["notes"][0])]})
    builder.add_edge(START, "look")
    builder.add_edge("look", "tell")
    return builder.compile()
