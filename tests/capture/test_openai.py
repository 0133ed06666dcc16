"""A real ChatOpenAI against a local server: streaming, usage, refusals, cut streams, the Responses API."""

import asyncio
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr

from tests.capture.kit import WAYS, Recording, acts, drive, quiet, roles, user
from tests.openai_server import Call, OpenAIServer, Reply, call, refuse, say


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def agent(server: OpenAIServer, model: dict[str, Any] | None = None, **kwargs: Any) -> Any:
    options = {"model": "gpt-4o-mini", "base_url": server.base_url, "api_key": SecretStr("k"), **(model or {})}
    return create_agent(ChatOpenAI(**options), [add], **kwargs)


SCRIPT = (call("add", {"a": 1, "b": 2}, usage=(10, 5)), say("it is 3", usage=(20, 4)))


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("streaming", [False, True])
def test_a_run_with_usage(recording: Recording, how, streaming):
    with OpenAIServer(SCRIPT) as server:
        graph = recording.attach(agent(server, {"streaming": streaming, "stream_usage": True}, system_prompt="s"))
        drive(graph, user("1+2"), how=how)
    t = recording.only()
    assert acts(t) == [[("add", "3", False)], []]
    assert (roles(t), t.final_answer) == ("suata", "it is 3")
    (run,) = t.runs
    assert (run.prompt_tokens, run.completion_tokens) == (30, 9)
    assert run.models[0] == "gpt-4o-mini"
    assert t.tools is not None
    assert t.tools[0]["function"]["name"] == "add"
    assert {step.model for step in t.steps} <= set(run.models)


def test_a_stream_without_usage(recording: Recording):
    with OpenAIServer(SCRIPT) as server:
        drive(recording.attach(agent(server, {"streaming": True, "stream_usage": False})), user("1+2"))
    t = recording.only()
    assert acts(t) == [[("add", "3", False)], []]
    assert (t.runs[0].prompt_tokens, t.runs[0].completion_tokens) == (0, 0)


def test_token_by_token(recording: Recording):
    with OpenAIServer(SCRIPT) as server:
        graph = recording.attach(agent(server))
        chunks = list(graph.stream(user("1+2"), stream_mode="messages"))
    assert len(chunks) > 3
    assert acts(recording.only()) == [[("add", "3", False)], []]


def test_stream_events(recording: Recording):
    with OpenAIServer(SCRIPT) as server:
        graph = recording.attach(agent(server))

        async def run() -> int:
            return len([event async for event in graph.astream_events(user("1+2"), version="v2")])

        assert asyncio.run(run()) > 10
    assert acts(recording.only()) == [[("add", "3", False)], []]


def test_retries_of_the_client_do_not_show(recording: Recording):
    with OpenAIServer([refuse(429, retry_after=0.01), refuse(500), *SCRIPT]) as server:
        drive(recording.attach(agent(server, {"max_retries": 3})), user("1+2"))
        assert len(server.bodies) == 4
    t = recording.only()
    assert acts(t) == [[("add", "3", False)], []]
    assert t.status == "finished"


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
def test_a_provider_that_refuses(recording: Recording, how):
    with OpenAIServer([SCRIPT[0], refuse(429)]) as server, quiet(Exception):
        drive(recording.attach(agent(server, {"max_retries": 0})), user("1+2"), how=how)
    t = recording.only()
    assert t.status == "error"
    assert "RateLimit" in (t.error_type or "")
    assert acts(t) == [[("add", "3", False)]]


def test_a_stream_that_is_cut(recording: Recording):
    """What arrived is what there is; whether that is an error, the client decides."""
    with OpenAIServer([say("a rather long answer that ends half-way", fault="truncate")]) as server:
        try:
            drive(recording.attach(agent(server, {"streaming": True, "max_retries": 0})), user("go"))
        except Exception as error:
            failed: str | None = type(error).__name__
        else:
            failed = None
    t = recording.only()
    assert t.status == ("error" if failed else "finished")
    assert t.error_type == failed


def test_parallel_calls_of_one_reply(recording: Recording):
    calls = Reply(calls=[Call("add", {"a": n, "b": n}) for n in (1, 2, 3)])
    with OpenAIServer([calls, say("done")]) as server:
        drive(recording.attach(agent(server)), user("go"), how="ainvoke")
    assert acts(recording.only())[0] == [("add", "2", False), ("add", "4", False), ("add", "6", False)]


def test_arguments_that_are_no_json(recording: Recording):
    with OpenAIServer([Reply(calls=[Call("add", '{"a": 1,')])]) as server:
        drive(recording.attach(agent(server)), user("go"))
    t = recording.only()
    assert [(a.name, a.input, a.observation) for a in t.steps[0].actions] == [("add", '{"a": 1,', None)]


@pytest.mark.parametrize("streaming", [False, True])
def test_the_responses_api(recording: Recording, streaming):
    with OpenAIServer(SCRIPT) as server:
        drive(recording.attach(agent(server, {"use_responses_api": True, "streaming": streaming})), user("1+2"))
    t = recording.only()
    assert acts(t) == [[("add", "3", False)], []]
    assert (roles(t), t.final_answer) == ("uata", "it is 3")
    assert t.messages[1].wire()["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"a":1,"b":2}'}


def test_structured_output_of_the_provider(recording: Recording):
    class Total(BaseModel):
        total: int

    with OpenAIServer([SCRIPT[0], say({"total": 3})]) as server:
        graph = agent(server, response_format=ProviderStrategy(Total))
        assert drive(recording.attach(graph), user("1+2"))["structured_response"] == Total(total=3)
    t = recording.only()
    assert acts(t) == [[("add", "3", False)], []]
    assert t.final_answer == '{"total":3}'
