"""What messages hold: blocks, thoughts, images, structured answers, summaries; and the bytes they cost."""

import base64
import dataclasses
import json
from typing import Annotated, Any

import orjson
import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ContextEditingMiddleware, SummarizationMiddleware
from langchain.agents.middleware.context_editing import ClearToolUsesEdit
from langchain.agents.structured_output import ToolStrategy
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph, add_messages
from langgraph.prebuilt import create_react_agent
from pydantic import BaseModel, Field

from agenther_live.assemble import tools_version
from agenther_live.integrations.messages import dumps, openai_tools, snapshot
from agenther_live.integrations.messages import held as copied
from tests.capture.kit import Recording, Scripted, acts, ask, by_turn, drive, roles, say, user


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def agent(*lines, tools=(add,), **kwargs):
    return create_agent(Scripted(script=by_turn(*lines)), list(tools), **kwargs)


def test_blocks_and_thoughts_are_bounded_as_texts_are(tmp_path):
    recording = Recording(tmp_path, max_field_bytes=1000, max_run_bytes=5000)
    lines = [AIMessage([{"type": "text", "text": f"{n}" + "x" * 900}]) for n in range(20)]
    lines.append(AIMessage("done", additional_kwargs={"reasoning_content": "y" * 4000}))
    graph = (
        StateGraph(MessagesState).add_node("all", lambda state: {"messages": lines}).add_edge(START, "all").compile()
    )
    drive(recording.attach(graph), user("go"))
    drive(recording.attach(agent(lines[-1])), user("think"))
    many, one = recording.trajectories()
    assert "truncated" in many.flags
    assert sum(len(message.text) for message in many.messages) < 6000
    assert len(one.steps[0].thought) < 1100


def test_thoughts_in_blocks(recording: Recording):
    first = AIMessage(
        [
            {"type": "thinking", "thinking": "I must add", "signature": "x" * 50},
            {"type": "text", "text": "adding"},
            {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1, "b": 1}},
        ],
        tool_calls=[{"name": "add", "args": {"a": 1, "b": 1}, "id": "c1", "type": "tool_call"}],
    )
    second = AIMessage([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "so two"}]}, "it is two"])
    third = AIMessage("done", additional_kwargs={"reasoning_content": "all is said"})
    graph = recording.attach(agent(first, second, checkpointer=InMemorySaver()))
    drive(graph, user("1+1"), {"configurable": {"thread_id": "t"}})
    t = recording.only()
    assert [step.thought for step in t.steps] == ["I must add\nadding", "so two\nit is two"]
    assert [m.content for m in t.messages] == ["1+1", "adding", "2", "it is two"]
    assert t.messages[1].wire()["reasoning_content"] == "I must add"
    assert len(t.messages[1].wire()["tool_calls"]) == 1
    assert t.final_answer == "it is two"

    drive(recording.attach(agent(third)), user("more"))
    assert recording.trajectories()[-1].steps[0].thought == "all is said\ndone"


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_images_are_kept_by_hash_and_size(recording: Recording, how):
    data = base64.b64encode(bytes(range(256)) * 400).decode()
    parts: list[Any] = [
        {"type": "text", "text": "what is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
        {"type": "image", "source_type": "base64", "mime_type": "image/png", "data": data},
        {"type": "image_url", "image_url": {"url": "https://example.org/small.png"}},
    ]
    lines = (ask(("add", {"a": 1, "b": 1})), say("a picture"))
    drive(recording.attach(agent(*lines)), {"messages": [HumanMessage(parts)]}, how=how)
    t = recording.only()
    assert t.goal == "what is this?"
    assert roles(t) == "uata"
    text, first, second, third = t.messages[0].wire()["content"]
    assert text == {"type": "text", "text": "what is this?"}
    assert first["image_url"]["url"].startswith("data:image/png;base64,sha256:")
    assert first["image_url"]["url"].endswith(f"chars={len(data)}")
    assert "sha256:" in json.dumps(second)
    assert third["image_url"]["url"] == "https://example.org/small.png"
    assert len(json.dumps(recording.records)) < 5000


def test_structured_output_by_a_tool(recording: Recording):
    class Total(BaseModel):
        total: int

    graph = agent(ask(("add", {"a": 1, "b": 2})), ask(("Total", {"total": 3})), response_format=ToolStrategy(Total))
    drive(recording.attach(graph), user("1+2"))
    t = recording.only()
    first, second = acts(t)
    assert first == [("add", "3", False)]
    assert second[0][0] == "Total"
    assert not second[0][2]
    assert second[0][1] is not None
    assert roles(t) == "uatat"
    assert t.final_answer == '{"total":3}'


def test_summaries_do_not_replace_what_was_said(recording: Recording):
    summariser = Scripted(script=lambda messages: say("they added numbers"))
    middleware = SummarizationMiddleware(summariser, trigger=("messages", 6), keep=("messages", 2))
    graph = recording.attach(
        agent(ask(("add", {"a": 1, "b": 1})), say("two"), middleware=[middleware], checkpointer=InMemorySaver())
    )
    config: Any = {"configurable": {"thread_id": "t"}}
    for text in ("one", "two", "three"):
        drive(graph, user(text), config)
    found = recording.trajectories()
    recording.clean()
    assert [t.goal for t in found] == ["one", "two", "three"]
    for t in found:
        assert acts(t) == [[("add", "2", False)], []]
        assert roles(t)[t.context_len :] == "uata"
        assert t.messages[t.context_len].text == t.goal
    assert any("they added numbers" in m.text for t in found for m in t.messages[: t.context_len])
    aside = [step for t in found for step in t.steps if step.agent_path]
    assert aside
    assert {step.thought for step in aside} == {"they added numbers"}
    assert all("Summarization" in step.agent_path for step in aside)


def test_observations_that_are_cleared_for_the_prompt_stay(recording: Recording):
    edit = ClearToolUsesEdit(trigger=1, keep=1, placeholder="[cleared]")
    lines = [ask(("add", {"a": n, "b": n}, f"c{n}")) for n in range(4)]
    graph = agent(*lines, say("done"), middleware=[ContextEditingMiddleware(edits=[edit])])
    drive(recording.attach(graph), user("go"))
    t = recording.only()
    assert acts(t) == [[("add", str(2 * n), False)] for n in range(4)] + [[]]
    assert roles(t) == "u" + "at" * 4 + "a"


@dataclasses.dataclass
class Talk:
    messages: Annotated[list[AnyMessage], add_messages]


class Chat(BaseModel):
    messages: Annotated[list[AnyMessage], add_messages]


@pytest.mark.parametrize("schema", [Talk, Chat])
def test_states_that_are_objects(recording: Recording, schema):
    model = Scripted(script=lambda messages: say("hello"))
    builder = StateGraph(schema)
    builder.add_node("talk", lambda s: {"messages": [model.invoke(s.messages)]})
    builder.add_edge(START, "talk")
    drive(recording.attach(builder.compile()), schema(messages=[HumanMessage("hi")]))
    t = recording.only()
    assert (t.goal, t.final_answer, roles(t)) == ("hi", "hello", "ua")


@pytest.mark.filterwarnings("ignore:create_react_agent has been moved")
@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_the_older_react_agent(recording: Recording, how):
    model = Scripted(script=by_turn(ask(("add", {"a": 1, "b": 1}), ("add", {"a": 2, "b": 2})), say("done")))
    drive(recording.attach(create_react_agent(model, [add], prompt="be brief")), user("go"), how=how)
    t = recording.only()
    assert acts(t) == [[("add", "2", False), ("add", "4", False)], []]
    assert roles(t) == "suatta"
    assert t.flags == ()


def test_a_prompt_that_changes_is_told(recording: Recording):
    from langchain.agents.middleware import dynamic_prompt

    times = iter(range(100))

    @dynamic_prompt
    def now(request: Any) -> str:
        return f"it is {next(times)} o'clock"

    drive(recording.attach(agent(ask(("add", {"a": 1, "b": 1})), say("two"), middleware=[now])), user("1+1"))
    t = recording.only()
    assert roles(t) == "suata"
    assert t.messages[0].text == "it is 0 o'clock"
    assert t.flags == ("prompt_changed",)


def test_odd_values_reach_the_journal(recording: Recording):
    @tool
    def odd(value: Any) -> Any:
        """Give back what JSON does not have."""
        return {"set": {1, 2}, "bytes": b"\xff", "big": 1 << 80, "surrogate": "\ud800", "object": object}

    graph = recording.attach(agent(ask(("odd", {"value": 1 << 70})), say("done"), tools=[odd]))
    drive(graph, user("lone \ud800 surrogate"), {"metadata": {"key": object()}})
    t = recording.only()
    assert "set" in (t.steps[0].actions[0].observation or "")
    assert str(1 << 70) in t.steps[0].actions[0].input
    assert t.goal.startswith("lone ")


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_what_changes_after_an_event_does_not_change_what_was_recorded(recording: Recording, how):
    """A handler behind ours has its way with all that it is shown, before the facts are written."""

    class Meddler(BaseCallbackHandler):
        run_inline = True

        def on_llm_end(self, response: Any, **kwargs: Any) -> None:
            self.said = response.generations[0][0].message

        def on_tool_start(self, *args: Any, inputs: Any = None, **kwargs: Any) -> None:
            for held in (self.said.tool_calls[0]["args"], inputs):
                held.get("where", []).append("meddled")
                held |= {"what": "meddled", "more": "meddled"}
            self.said.content = "meddled"

        def on_tool_end(self, output: Any, **kwargs: Any) -> None:
            output.content = "meddled"

    @tool
    def find(what: str, where: list[str]) -> str:
        """Find it."""
        return f"{what} is here"

    @tool
    def look(what: str) -> str:
        """Look."""
        return f"{what} is there"

    calls = ask(("find", {"what": "it", "where": ["a", "b"]}), text="one"), ask(("look", {"what": "it"}), text="two")
    graph = recording.attach(agent(*calls, say("done"), tools=[find, look]))
    drive(graph, user("go"), {"callbacks": [Meddler()]}, how=how)
    told = [(step.thought, *[(act.input, act.observation) for act in step.actions]) for step in recording.only().steps]
    assert told == [
        ("one", ('{"what":"it","where":["a","b"]}', "it is here")),
        ("two", ('{"what":"it"}', "it is there")),
        ("done",),
    ]


def test_bytes_are_at_most_twice_the_information(recording: Recording):
    """Deltas, never histories: twenty steps cost twenty times one step."""

    @tool
    def search(query: str) -> str:
        """Search."""
        return f"{query} " + "result " * 140

    calls = [ask(("search", {"query": f"q{n}"}, f"call_{n}"), text=f"looking for {n}") for n in range(20)]
    drive(recording.attach(agent(*calls, say("found"), tools=[search], system_prompt="you search")), user("go"))
    t = recording.only()
    told = [m.wire() for m in t.messages]
    information = len(orjson.dumps(told)) + len(orjson.dumps(t.tools))
    written = sum(path.stat().st_size for path in (recording.folder / "journal").iterdir())
    assert written < 2 * information
    assert len(t.steps) == 21


def test_a_message_within_a_value_is_in_openais_form():
    (told,) = orjson.loads(dumps([ask(("add", {"a": 1, "b": 2}), text="I add")]))
    assert told["content"] == "I add"
    assert told["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"a":1,"b":2}'}


def test_arguments_are_copied_whatever_their_class_does():
    class Equal(type):
        def __eq__(cls, other):
            return cls is other

    class NoHash(metaclass=Equal):  # a class that has no hash of its own cannot be looked up
        def __str__(self):
            return "odd"

    class Loud(str):
        def __str__(self):
            return "RED"

    given = {"n": 1, 2: None}
    copy = copied(given)
    given.clear()
    assert copy == {"n": 1, 2: None}
    assert copied({"x": NoHash()}) == '{"x":"odd"}'
    message = HumanMessage("words")
    message.__dict__["content"] = Loud("red")
    assert snapshot(message) == {"role": "user", "content": "red"}


def test_tool_schemas_of_other_providers():
    function = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
    assert openai_tools([function]) == [function]
    assert openai_tools([{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}}]) == [
        function
    ]
    assert openai_tools([{"name": "f", "description": "d", "input_schema": {"type": "object"}}]) == [function]
    google = {"function_declarations": [{"name": "f", "description": "d", "parameters": {"type": "object"}}]}
    assert openai_tools([google]) == [function]
    assert openai_tools([{"type": "web_search"}, "junk", None]) == [{"type": "web_search"}]
    assert openai_tools(None) == []


def test_a_deep_schema_is_kept_whole(recording: Recording):
    class Line(BaseModel):
        parts: list[dict[str, list[int]]]

    class Order(BaseModel):
        lines: list[Line]
        kind: str = Field(json_schema_extra={"enum": [f"kind {n}" for n in range(300)]})

    @tool
    def order(orders: list[Order]) -> str:
        """Order."""
        return "ordered"

    drive(recording.attach(agent(say("done"), tools=[order])), user("go"))
    t = recording.only()
    assert list(t.tools or ()) == [convert_to_openai_tool(order)]
    assert t.runs[0].tools_version == tools_version([convert_to_openai_tool(order)])
