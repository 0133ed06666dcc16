"""The test server against the real client: what the rest of the suite relies on it to do."""

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from tests.openai_server import Call, OpenAIServer, Reply, call, hang, refuse, say


class Verdict(BaseModel):
    is_valid: bool
    confidence: float


@tool
def price(item: str) -> float:
    """Price of an item."""
    return len(item) * 1.5


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=5) as client:
        yield client


def chat(server: OpenAIServer, **options: Any) -> ChatOpenAI:
    defaults: dict[str, Any] = {"model": "gpt-4o-mini", "api_key": "test-key", "max_retries": 0}
    return ChatOpenAI(base_url=server.base_url, **(defaults | options))


def joined(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return whole


# --- the protocol ---------------------------------------------------------------------------------------------------


def test_text_usage_and_finish_reason() -> None:
    with OpenAIServer([say("hello", usage=(12, 3)), say("cut sh", finish_reason="length")]) as server:
        model = chat(server)
        first, second = model.invoke("hi"), model.invoke("go on")
    assert first.content == "hello"
    assert isinstance(first, AIMessage)
    assert first.usage_metadata is not None
    assert (first.usage_metadata["input_tokens"], first.usage_metadata["output_tokens"]) == (12, 3)
    assert first.response_metadata["finish_reason"] == "stop"
    assert second.response_metadata["finish_reason"] == "length"
    assert first.id != second.id


async def _ask_async(model: ChatOpenAI) -> tuple[Any, AIMessageChunk]:
    return await model.ainvoke("hi"), joined([chunk async for chunk in model.astream("hi")])


def test_async_and_async_stream() -> None:
    with OpenAIServer(lambda request: "streamed" if request.get("stream") else "whole") as server:
        answer, streamed = asyncio.run(_ask_async(chat(server)))
    assert (answer.content, streamed.content) == ("whole", "streamed")


def test_requests_are_recorded() -> None:
    with OpenAIServer(["yes"]) as server:
        before = time.monotonic()
        chat(server, temperature=0.5).invoke("is it?")
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    assert request.headers["authorization"] == "Bearer test-key"
    assert request.body["messages"] == [{"role": "user", "content": "is it?"}]
    assert request.body["temperature"] == 0.5
    assert server.bodies == [request.body]
    assert before <= request.at <= time.monotonic()
    assert request.seconds is not None
    assert request.seconds < 1
    assert request.reply == say("yes")


def test_tool_calls_and_their_results() -> None:
    calls = [Call("price", {"item": "bolt"}), Call("price", {"item": "ünïcode ✓"}, id="mine")]
    with OpenAIServer([Reply(text="Looking.", calls=calls), say("done")]) as server:
        model = chat(server).bind_tools([price])
        asked = model.invoke("price?")
        results = [ToolMessage(str(price.invoke(made["args"])), tool_call_id=made["id"]) for made in asked.tool_calls]
        assert model.invoke([HumanMessage("price?"), asked, *results]).content == "done"
    assert asked.content == "Looking."
    assert [made["args"] for made in asked.tool_calls] == [{"item": "bolt"}, {"item": "ünïcode ✓"}]
    assert asked.tool_calls[1]["id"] == "mine"
    assert asked.response_metadata["finish_reason"] == "tool_calls"
    assert server.bodies[0]["tools"][0]["function"]["name"] == "price"


def test_tool_arguments_that_are_not_json() -> None:
    with OpenAIServer([call("price", '{"item": "bo')]) as server:
        asked = chat(server).invoke("price?")
    assert asked.tool_calls == []
    assert asked.invalid_tool_calls[0]["args"] == '{"item": "bo'


def test_stream_with_tool_call_deltas_and_usage() -> None:
    calls = [Call("price", {"item": "bolt M8 × 40"}), Call("price", {"item": "nut"})]
    with OpenAIServer([Reply(text="I look up two prices.", calls=calls, usage=(20, 9))]) as server:
        chunks = list(chat(server, stream_usage=True).stream("price?"))
    whole = joined(chunks)
    assert len(chunks) > 8
    assert whole.content == "I look up two prices."
    assert [made["args"]["item"] for made in whole.tool_calls] == ["bolt M8 × 40", "nut"]
    assert whole.usage_metadata is not None
    assert whole.usage_metadata["total_tokens"] == 29
    assert whole.response_metadata["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("method", ["json_schema", "json_mode", "function_calling"])
def test_structured_output(method: Any) -> None:
    verdict = {"is_valid": True, "confidence": 0.9}

    def responder(request: dict[str, Any]) -> Reply:
        return call("Verdict", verdict) if request.get("tools") else say(verdict)

    with OpenAIServer(responder) as server:
        model = chat(server).with_structured_output(Verdict, method=method)
        assert model.invoke("valid? answer in JSON") == Verdict(is_valid=True, confidence=0.9)
    if method == "json_schema":
        assert server.bodies[0]["response_format"]["json_schema"]["strict"] is True


def test_responses_api() -> None:
    def responder(request: dict[str, Any]) -> Reply:
        return Reply(text="Looking it up.", calls=[Call("price", {"item": "bolt"})], usage=(7, 5))

    with OpenAIServer(responder) as server:
        model = chat(server, use_responses_api=True).bind_tools([price])
        whole = model.invoke("price?")
        streamed = joined([chunk for chunk in model.stream("price?") if isinstance(chunk, AIMessageChunk)])
    for answer in (whole, streamed):
        assert answer.text == "Looking it up."
        assert answer.tool_calls[0]["args"] == {"item": "bolt"}
        assert answer.usage_metadata is not None
        assert answer.usage_metadata["total_tokens"] == 12
    assert {request.path for request in server.requests} == {"/v1/responses"}


def test_extra_fields() -> None:
    with OpenAIServer(
        [
            say(
                "hi",
                extra={"system_fingerprint": "fp_1", "vendor": {"cost": 1}},
                message_extra={"reasoning_content": "…"},
            )
        ]
    ) as server:
        answer = chat(server).invoke("hi")
    assert answer.content == "hi"
    assert answer.response_metadata["system_fingerprint"] == "fp_1"


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_refusals(status: int, error: type[openai.APIStatusError], streaming: bool) -> None:
    with OpenAIServer([refuse(status, "because")]) as server, pytest.raises(error, match="because"):
        chat(server, streaming=streaming).invoke("hi")


def test_429_with_retry_after_then_success() -> None:
    with OpenAIServer([refuse(429, retry_after=0.3), say("now")]) as server:
        assert chat(server, max_retries=1).invoke("hi").content == "now"
    first, second = server.requests
    assert second.at - first.at >= 0.3


def test_only_the_right_key() -> None:
    with OpenAIServer(["in"], api_key="right") as server:
        with pytest.raises(openai.AuthenticationError):
            chat(server, api_key="wrong").invoke("hi")
        assert chat(server, api_key=server.environment["OPENAI_API_KEY"]).invoke("hi").content == "in"


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": "hi"}]},
        {"model": "m", "messages": []},
        {"model": "m", "messages": [{"role": "robot", "content": "hi"}]},
        {"model": "m", "messages": [{"role": "tool", "tool_call_id": "call_1", "content": "hi"}]},
        {
            "model": "m",
            "messages": [
                {"role": "assistant", "content": None, "tool_calls": [{"id": "call_1", "type": "function"}]},
                {"role": "user", "content": "never mind"},
            ],
        },
        {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream_options": {"include_usage": True}},
        {
            "model": "m",
            "messages": [{"role": "user", "content": "hi"}],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "V", "strict": True, "schema": {"type": "object", "properties": {"a": {}}}},
            },
        },
        ["not", "an", "object"],
    ],
)
def test_what_a_real_endpoint_refuses_is_refused(body: Any, http: httpx.Client) -> None:
    with OpenAIServer([]) as server:
        answer = http.post(f"{server.base_url}/chat/completions", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def test_unknown_paths_and_models(http: httpx.Client) -> None:
    with OpenAIServer([]) as server:
        assert http.get(f"{server.base_url}/models").json()["object"] == "list"
        assert http.post(f"{server.base_url}/embeddings", json={}).status_code == 404
        assert http.post(f"{server.base_url}/chat/completions", content=b"{").status_code == 400


# --- misbehaviour ---------------------------------------------------------------------------------------------------


def test_hang_until_the_client_leaves() -> None:
    with OpenAIServer([hang()]) as server:
        with pytest.raises(openai.APITimeoutError):
            chat(server, timeout=0.2).invoke("hi")
        deadline = time.monotonic() + 5
        while server.in_flight and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.in_flight == 0
        assert server.max_in_flight == 1


def test_hang_until_the_server_stops() -> None:
    with OpenAIServer(lambda request: hang()) as server, ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(chat(server).invoke, "hi") for _ in range(3)]
        deadline = time.monotonic() + 5
        while server.in_flight < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        server.stop()
        server.stop()
        assert all(isinstance(future.exception(5), openai.APIConnectionError) for future in asked)


def test_delay_is_kept_and_longer_than_the_timeout_is_a_timeout() -> None:
    with OpenAIServer([say("late", delay_seconds=0.3), say("too late", delay_seconds=30)]) as server:
        started = time.monotonic()
        assert chat(server).invoke("hi").content == "late"
        assert 0.3 <= time.monotonic() - started < 3
        with pytest.raises(openai.APITimeoutError):
            chat(server, timeout=0.1).invoke("hi")


def test_slow_stream() -> None:
    with OpenAIServer([say("a slow answer", event_delay_seconds=0.05)]) as server:
        arrivals = [time.monotonic() for _ in chat(server).stream("hi")]
    assert arrivals[-1] - arrivals[0] >= 0.1


def test_dropped_connection() -> None:
    with OpenAIServer([Reply(fault="drop")]) as server, pytest.raises(openai.APIConnectionError):
        chat(server).invoke("hi")


def test_dropped_connection_then_success() -> None:
    with OpenAIServer([Reply(fault="drop"), say("again")]) as server:
        assert chat(server, max_retries=1).invoke("hi").content == "again"


def test_body_cut_by_a_closed_connection() -> None:
    # The client does not retry a body that breaks off: httpx raises it while the SDK reads the answer.
    with (
        OpenAIServer([say("x" * 5000, fault="cut")]) as server,
        pytest.raises((openai.APIConnectionError, httpx.RemoteProtocolError)),
    ):
        chat(server).invoke("hi")


def test_stream_cut_by_a_closed_connection() -> None:
    seen: list[AIMessageChunk] = []
    with (
        OpenAIServer([say("one two three four five six", fault="cut")]) as server,
        pytest.raises((openai.APIConnectionError, httpx.RemoteProtocolError)),
    ):
        seen.extend(chat(server).stream("hi"))
    text = "".join(str(chunk.content) for chunk in seen)
    assert text
    assert "one two three four five six".startswith(text)


@pytest.mark.parametrize("fault", ["truncate", "malformed"])
@pytest.mark.parametrize("streaming", [False, True])
def test_broken_json(fault: Any, streaming: bool) -> None:
    with (
        OpenAIServer([say("a long enough answer", fault=fault)]) as server,
        pytest.raises((json.JSONDecodeError, openai.APIResponseValidationError)),
    ):
        chat(server, streaming=streaming).invoke("hi")


# --- the script, the responder, and many at once --------------------------------------------------------------------


def use(server: OpenAIServer, times: int, error: type[openai.APIStatusError]) -> None:
    with server:
        for _ in range(times):
            chat(server).invoke("hi")
        with pytest.raises(error):
            chat(server, max_retries=3).invoke("hi")


def test_a_request_beyond_the_script_fails_the_test_that_made_it() -> None:
    server = OpenAIServer(["one"])
    with pytest.raises(AssertionError, match="no reply left"):
        use(server, 1, openai.BadRequestError)
    assert len(server.requests) == 2


def test_a_broken_responder_does_not_pass_unseen() -> None:
    server = OpenAIServer(lambda request: say(request["no such key"]))
    with pytest.raises(KeyError, match="no such key"):
        use(server, 0, openai.BadRequestError)
    assert len(server.requests) == 1


def test_256_at_once(caplog: pytest.LogCaptureFixture) -> None:
    async def ask_all(model: ChatOpenAI) -> list[Any]:
        return await asyncio.gather(*(model.ainvoke(str(index)) for index in range(256)))

    def responder(request: dict[str, Any]) -> Reply:
        return say(request["messages"][0]["content"], delay_seconds=0.3)

    with OpenAIServer(responder) as server:
        answers = asyncio.run(ask_all(chat(server)))
    assert [answer.content for answer in answers] == [str(index) for index in range(256)]
    assert server.max_in_flight > 64
    assert server.in_flight == 0
    # Closing 256 idle connections is no event.
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
