"""LangSmith's, Langfuse's and OpenInference's handlers beside ours: their traces are what they are without us."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_core.tracers import LangChainTracer
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt
from langsmith import Client

from tests.capture.kit import Recording, Scripted, acts, ask, by_turn, drive, roles, say, user
from tests.capture.sinks import Sink, sink

Trace = Callable[[Sink], Any]


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def confirm() -> str:
    """Ask a person."""
    return str(interrupt("ok?"))


def build() -> Any:
    lines = (ask(("add", {"a": 1, "b": 1}), ("confirm", {})), say("two"))
    return create_agent(Scripted(script=by_turn(*lines)), [add, confirm], checkpointer=InMemorySaver())


@contextmanager
def langsmith(place: Sink) -> Iterator[list[Any]]:
    client = Client(api_url=place.url, api_key="k")
    yield [LangChainTracer(project_name="test", client=client)]
    client.flush()
    client.close()


@contextmanager
def langfuse(place: Sink) -> Iterator[list[Any]]:
    from langfuse import Langfuse
    from langfuse.langchain import CallbackHandler
    from opentelemetry.sdk.trace import TracerProvider

    key = f"pk-{place.url}"  # clients are kept by their key
    client = Langfuse(public_key=key, secret_key="sk", base_url=place.url, tracer_provider=TracerProvider())
    yield [CallbackHandler(public_key=key)]
    client.flush()
    client.shutdown()


@contextmanager
def openinference(place: Sink) -> Iterator[list[Any]]:
    from openinference.instrumentation.langchain import LangChainInstrumentor
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{place.url}/v1/traces")))
    instrumentor = LangChainInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    try:
        yield []
    finally:
        instrumentor.uninstrument()
    provider.shutdown()


def told(place: Sink) -> Counter[Any]:
    return Counter({**place.runs(), **place.spans()})


def play(graph: Any, handlers: list[Any], how: str) -> list[tuple[str, Any]]:
    config = {"configurable": {"thread_id": "t"}, "callbacks": handlers}
    drive(graph, user("go"), config, how=how)
    result = drive(graph, Command(resume="yes"), config, how=how)
    return [(message.type, message.content) for message in result["messages"]]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
@pytest.mark.parametrize("peer", [langsmith, langfuse, openinference])
def test_no_duplicates_and_their_trace_is_the_same(recording: Recording, peer: Any, how: str):
    with sink() as alone, peer(alone) as handlers:
        expected = play(build(), handlers, how)
    with sink() as beside, peer(beside) as handlers:
        attached = recording.attach(build())
        assert play(attached, handlers, how) == expected
    assert sum(told(alone).values()) >= 10, alone.requests
    assert told(beside) == told(alone)
    t = recording.only()
    assert roles(t) == "uatta"
    assert acts(t) == [[("add", "2", False), ("confirm", "yes", False)], []]
    assert (t.status, len(t.runs), t.final_answer) == ("finished", 2, "two")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_all_of_them_at_once(recording: Recording):
    with (
        sink() as one,
        sink() as two,
        sink() as three,
        langsmith(one) as a,
        langfuse(two) as b,
        openinference(three) as c,
    ):
        play(recording.attach(build()), [*a, *b, *c, recording.recorder()], "invoke")
    assert len(recording.only().steps) == 2
