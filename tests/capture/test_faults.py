"""Whatever breaks in us or below us, the agent's result is byte for byte what it is without us."""

import contextlib
import errno
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import dispatch_custom_event
from langchain_core.documents import Document
from langchain_core.language_models import FakeListLLM
from langchain_core.retrievers import BaseRetriever
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, interrupt

from agenther_live.integrations.langgraph import Capture, TrajectoryRecorder, attach
from agenther_live.journal import Writer
from agenther_live.redact import Redactor
from tests.capture.kit import Keep, Recording, Scripted, ask, by_turn, drive, say, user
from tests.journal.volumes import small_volume


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def confirm() -> str:
    """Ask."""
    return str(interrupt("ok?"))


class Shelf(BaseRetriever):
    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        if query == "dogs":
            raise LookupError("no dogs")
        return [Document(f"about {query}")]


def build() -> Any:
    """A graph in which every event happens: of models, tools, retrievers and interrupts, each well and not."""
    inner = create_agent(
        Scripted(script=by_turn(ask(("add", {"a": 1, "b": 1}), ("confirm", {})), say("two"))), [add, confirm]
    )
    broken = Scripted(script=ValueError("no capacity"))

    def prepare(state: MessagesState) -> dict[str, Any]:
        dispatch_custom_event("reward", {"score": 0.5})
        found = Shelf().invoke("cats")[0].page_content
        with contextlib.suppress(LookupError):
            Shelf().invoke("dogs")
        with contextlib.suppress(ValueError):
            broken.invoke("hello")
        return {"messages": [("user", f"{found}, {FakeListLLM(responses=['said']).invoke('speak')}")]}

    builder = StateGraph(MessagesState)
    builder.add_node("prepare", prepare)
    builder.add_node("inner", inner)
    builder.add_edge(START, "prepare")
    builder.add_edge("prepare", "inner")
    return builder.compile(checkpointer=InMemorySaver())


def play(graph: Any, how: str) -> list[str]:
    config = {"configurable": {"thread_id": "t"}}
    drive(graph, user("go"), config, how=how)
    result = drive(graph, Command(resume="yes"), config, how=how)
    return [message.model_dump_json(exclude={"id"}) for message in result["messages"]]


@pytest.fixture(scope="module")
def expected() -> list[str]:
    """The result without us."""
    return play(build(), "invoke")


METHODS = [name for name in dir(TrajectoryRecorder) if name.startswith("on_") and name in vars(TrajectoryRecorder)]


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
@pytest.mark.parametrize("method", METHODS)
def test_a_fault_in_a_method_of_the_handler(tmp_path: Path, expected: list[str], method: str, how: str):
    recording = Recording(tmp_path)
    recorder = recording.recorder()

    class Broken(dict):  # type: ignore[type-arg]
        """The table of runs, broken while the method under test looks at it."""

        def get(self, *args: Any) -> Any:
            return self._maybe(super().get, args)

        def pop(self, *args: Any) -> Any:
            return self._maybe(super().pop, args)

        def __contains__(self, key: Any) -> Any:
            return self._maybe(super().__contains__, (key,))

        def _maybe(self, function: Any, args: Any) -> Any:
            frame = sys._getframe(2)
            while frame is not None:
                if frame.f_code.co_name == method:
                    raise MemoryError(method)
                frame = frame.f_back
            return function(*args)

    recorder._runs = recording.capture.runs = Broken()
    assert play(attach(build(), recorder), how) == expected
    assert recording.counts["capture_errors"] > 0


class FaultySink:
    """A sink whose every method, or one, raises."""

    def __init__(self, where: str) -> None:
        self.where = where

    def _maybe(self, name: str) -> None:
        if self.where in (name, "all"):
            raise OSError(errno.EIO, "Input/output error")

    def append(self, records: Any) -> None:
        self._maybe("append")

    def register(self, drain: Any) -> None:
        """Called before any agent runs: here a fault may be seen."""

    def count(self, name: str, n: int = 1) -> None:
        self._maybe("count")

    def wake(self) -> None:
        self._maybe("wake")


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
@pytest.mark.parametrize("where", ["append", "count", "wake", "all"])
def test_a_sink_that_raises(recording: Recording, expected: list[str], where: str, how: str):
    capture = Capture(FaultySink(where), Keep(), recording.settings)
    assert play(attach(build(), TrajectoryRecorder(capture)), how) == expected
    assert not capture.runs
    assert not capture.roots


class Raising:
    """A redaction that raises, as none of ours does."""

    def value(self, obj: Any) -> Any:
        raise RecursionError("too deep")


def refuse(text: str) -> str:
    raise ValueError("the user's own function fails")


@pytest.mark.parametrize("redactor", [Raising(), Redactor("redact", b"k" * 32, hook=refuse)], ids=["ours", "hook"])
def test_a_redaction_that_raises(recording: Recording, expected: list[str], redactor: Any):
    recording.capture = Capture(recording.writer, redactor, recording.settings)
    assert play(recording.attach(build()), "invoke") == expected
    assert "two" not in str(recording.records)  # what cannot be looked at is not written


@contextlib.contextmanager
def faulty_journal(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Writer]:
    """A journal on a volume that refuses, is full, hangs, or vanishes; or whose own code fails."""
    release = threading.Event()
    with contextlib.ExitStack() as stack:
        stack.callback(release.set)
        folder = tmp_path / "journal"
        if how == "full":
            volume = stack.enter_context(small_volume("64k"))
            folder = volume / "journal"
            (volume / "ballast").write_bytes(b"b" * 60_000)
        elif how == "no folder":
            folder = tmp_path / "file" / "journal"
            (tmp_path / "file").write_text("")
        writer = Writer(folder, flush_seconds=0.02, max_queue_bytes=4000)
        stack.callback(writer.close, timeout=0.1)
        stack.callback(monkeypatch.undo)
        stack.callback(release.set)
        real = os.fstat

        def fstat(fd: int) -> os.stat_result:
            if writer._appender._file is not None and fd == writer._appender._file.fileno():
                if how == "hangs":
                    release.wait(3)
                raise {"refuses": OSError(errno.EIO, "I/O"), "memory": MemoryError()}.get(how) or RuntimeError(how)
            return real(fd)

        if how in ("refuses", "memory", "hangs", "code"):
            monkeypatch.setattr(os, "fstat", fstat)
        elif how == "encode":
            monkeypatch.setattr("agenther_live.journal.writer.encode", lambda records: 1 / 0)
        yield writer


@pytest.mark.parametrize("how", ["invoke", "ainvoke"])
@pytest.mark.parametrize("fault", ["refuses", "full", "no folder", "hangs", "memory", "code", "encode"])
def test_a_journal_that_fails(
    tmp_path: Path, expected: list[str], fault: str, how: str, monkeypatch: pytest.MonkeyPatch
):
    recording = Recording(tmp_path)
    with faulty_journal(fault, tmp_path, monkeypatch) as writer:
        capture = Capture(writer, Keep(), recording.settings)
        assert play(attach(build(), TrajectoryRecorder(capture)), how) == expected
        assert not capture.runs
        assert not capture.roots
        assert writer._queue.size <= 4000  # memory is bounded too
