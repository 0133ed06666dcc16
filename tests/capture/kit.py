"""What the capture tests share: a model that follows a script, and a recording from handler to trajectory."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.utils.function_calling import convert_to_openai_tool

from agenther_live.assemble import assemble
from agenther_live.integrations.langgraph import Capture, TrajectoryRecorder, attach
from agenther_live.journal import Reader, Writer
from agenther_live.settings import Settings, load_settings
from agenther_live.trajectory import Trajectory

Line = AIMessage | Exception | Callable[[list[BaseMessage]], AIMessage]


class Scripted(BaseChatModel):
    """A chat model whose replies are a function of the messages, or a queue of lines."""

    script: Any
    model_name: str = "scripted-1"

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, Any]:
        kwargs.pop("tool_choice", None)
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def _reply(self, messages: list[BaseMessage]) -> AIMessage:
        line = self.script.pop(0) if isinstance(self.script, list) else self.script
        if isinstance(line, Exception):
            raise line
        return line(messages) if callable(line) else line  # type: ignore[no-any-return]

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._reply(messages))])


class Streaming(Scripted):
    """The same, word by word."""

    def _stream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        reply = self._reply(messages)
        for word in str(reply.content).split(" ") if reply.content else [""]:
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))
        if reply.tool_calls:
            yield ChatGenerationChunk(
                message=AIMessageChunk(
                    content="",
                    tool_call_chunks=[
                        tool_call_chunk(name=c["name"], args=json.dumps(c["args"]), id=c["id"], index=i)
                        for i, c in enumerate(reply.tool_calls)
                    ],
                )
            )


def say(text: str, **kwargs: Any) -> AIMessage:
    return AIMessage(text, **kwargs)


def ask(*calls: tuple[str, dict[str, Any]] | tuple[str, dict[str, Any], str], text: str = "") -> AIMessage:
    """A reply that calls tools: (name, arguments[, id])."""
    return AIMessage(
        text,
        tool_calls=[
            {"name": call[0], "args": call[1], "id": call[2] if len(call) > 2 else f"call_{i}", "type": "tool_call"}
            for i, call in enumerate(calls)
        ],
    )


def by_turn(*lines: Line) -> Callable[[list[BaseMessage]], AIMessage]:
    """A stateless script: the n-th line answers when n assistant messages stand behind the last user's."""

    def reply(messages: list[BaseMessage]) -> AIMessage:
        count = 0
        for message in reversed(messages):
            if message.type == "human":
                break
            count += message.type == "ai"
        line = lines[min(count, len(lines) - 1)]
        if isinstance(line, Exception):
            raise line
        if callable(line):
            return line(messages)
        return line.model_copy(deep=True)

    return reply


class Keep:
    """No redaction."""

    def value(self, obj: Any) -> Any:
        return obj


class Recording:
    """A home's journal, and the trajectories that come out of it."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.settings: Settings = load_settings(home=folder, **settings)
        self.writer = Writer(folder / "journal", flush_seconds=self.settings.flush_seconds)
        self.capture = Capture(self.writer, Keep(), self.settings)

    def recorder(self, **options: Any) -> TrajectoryRecorder:
        return TrajectoryRecorder(self.capture, **options)

    def attach(self, graph: Any, **options: Any) -> Any:
        return attach(graph, self.recorder(**options))

    @property
    def records(self) -> list[dict[str, Any]]:
        return [record for run in self.batch().runs for record in run.records]

    def batch(self) -> Any:
        self.writer.close()
        return Reader(self.folder / "journal").read({})

    @property
    def counts(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for record in self.batch().loose:
            if record["k"] == "counters":
                counts.update(record["counts"])
        return counts

    def loose(self, kind: str) -> list[dict[str, Any]]:
        return [record for record in self.batch().loose if record["k"] == kind]

    def runs(self) -> list[list[dict[str, Any]]]:
        """The records of each run, late facts included."""
        batch = self.batch()
        late: dict[str, list[dict[str, Any]]] = {}
        for record in batch.loose:
            if "r" in record:
                late.setdefault(record["r"], []).append(record)
        return [[*run.records, *late.get(run.root_key, ())] for run in batch.runs]

    def trajectories(self, runs: list[list[dict[str, Any]]] | None = None) -> list[Trajectory]:
        """Put runs together as ingest does: a resume joins the run that waits at its checkpoint or thread."""
        joined: list[list[list[dict[str, Any]]]] = []
        for run in sorted(runs or self.runs(), key=lambda records: records[0]["at"]):
            start = run[0]
            home = next((group for group in joined if _belongs(start, group)), None)
            if home is None:
                joined.append([run])
            else:
                home.append(run)
        return [assemble(group, trajectory_id=group[0][0]["r"], revision=1) for group in joined]

    def only(self) -> Trajectory:
        """The one trajectory there must be; nothing went wrong on the way, and nothing is left open."""
        found = self.trajectories()
        assert len(found) == 1, [t.goal for t in found]
        self.clean()
        return found[0]

    def clean(self) -> None:
        assert not self.counts["capture_errors"]
        assert not self.counts["drain_errors"]
        assert not self.capture.roots
        assert not self.capture.runs


def _belongs(start: dict[str, Any], group: list[list[dict[str, Any]]]) -> bool:
    first, last = group[0][0], group[-1]
    if start["trajectory_id"] is not None:
        return bool(start["trajectory_id"] == first["trajectory_id"])
    if not start["resume"]:
        return False
    waits = next((record for record in reversed(last) if record["k"] == "interrupt"), None)
    if start["checkpoint_id"] is not None and waits is not None and waits["checkpoint_id"] == start["checkpoint_id"]:
        return True
    ended = last[-1].get("status") == "finished"
    return start["thread_id"] is not None and start["thread_id"] == first["thread_id"] and not ended


@contextmanager
def quiet(*errors: type[BaseException]) -> Iterator[None]:
    """Run what is meant to raise."""
    try:
        yield
    except errors:
        pass
    else:
        raise AssertionError(f"{errors} was not raised")


def drive(graph: Any, given: Any, config: dict[str, Any] | None = None, *, how: str = "invoke") -> Any:
    """Run a graph in one of the ways a caller has."""
    if how == "invoke":
        return graph.invoke(given, config)
    if how == "ainvoke":
        return asyncio.run(graph.ainvoke(given, config))
    if how == "stream":
        return list(graph.stream(given, config, stream_mode="values"))[-1]

    async def collect() -> Any:
        return [chunk async for chunk in graph.astream(given, config, stream_mode="values")][-1]

    return asyncio.run(collect())


WAYS = ("invoke", "ainvoke", "stream", "astream")


def roles(trajectory: Trajectory, path: str = "") -> str:
    """The conversation as letters: s(ystem) u(ser) a(ssistant) t(ool)."""
    messages = trajectory.nested[path] if path else trajectory.messages
    return "".join(message.role[0] for message in messages)


def acts(trajectory: Trajectory, path: str = "") -> list[list[tuple[str, str | None, bool]]]:
    """Per step: its actions as (name, observation, is_error)."""
    return [
        [(action.name, action.observation, action.is_error) for action in step.actions]
        for step in trajectory.steps
        if step.agent_path == path
    ]


def user(text: str) -> dict[str, Any]:
    return {"messages": [("user", text)]}
