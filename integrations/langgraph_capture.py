"""The open runs of one journal: how a root run begins and ends, and how its facts reach the sink."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import random
import time
import weakref
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from langchain_core.messages import AIMessage, BaseMessage
from langgraph.errors import GraphBubbleUp, ParentCommand
from langgraph.types import Command

from agenther_live.facts import current_trajectory
from agenther_live.ids import bounded_id, uuid7
from agenther_live.integrations.clipping import Clip, Redaction
from agenther_live.integrations.langgraph_items import redact
from agenther_live.integrations.langgraph_run import OpenRun, Span, outermost
from agenther_live.integrations.messages import Bounded, dumps, messages_in, to_messages
from agenther_live.settings import Settings

__all__ = ["CANCELLED", "Capture", "Options", "Sink", "error_of", "interrupt_values"]

OFF_TAG = "agenther:off"
_THREADS = 4096  # of which the latest start is known
_LATE_RUNS = 512  # tool runs of ended roots whose late end is still waited for
CANCELLED = (asyncio.CancelledError, concurrent.futures.CancelledError, KeyboardInterrupt, GeneratorExit, SystemExit)
_OWN_METADATA = ("ls_", "langgraph_", "checkpoint_", "lc_")  # set by LangChain and LangGraph, not by the caller
_OWN_TAGS = ("seq:step:", "graph:step:", "langsmith:", "agenther:")

_log = logging.getLogger("agenther_live.capture")


class Sink(Protocol):
    """Where facts go: `journal.Writer`, or anything with these three methods."""

    def append(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Write records, in order, before returning."""

    def register(self, drain: Callable[[], Iterable[Mapping[str, Any]] | None]) -> None:
        """Call `drain` every so often for the facts of open runs; it gives None where no run is open."""

    def count(self, name: str, n: int = 1) -> None:
        """Add to a counter."""


@dataclass(frozen=True)
class Options:
    """What `attach` was told about an agent; None is 'not said'."""

    name: str | None = None
    policy_version: str | None = None
    tags: tuple[str, ...] = ()
    sample_rate: float | None = None
    subject_key: str | None = None
    tenant_key: str | None = None
    conversational: bool | None = None
    hook: bool = False
    evaluators: tuple[str, ...] | None = None


class Capture:
    """The open runs of one journal, and the way of their facts into it. Thread-safe; one per `Live`."""

    def __init__(self, sink: Sink, redactor: Redaction, settings: Settings) -> None:
        """Register with the sink's timer; nothing is written before a run starts."""
        self.sink = sink
        self.redactor = redactor
        self.settings = settings
        self._clip = Clip(settings.max_field_bytes, redactor)
        self.runs: dict[Any, Span] = {}  # by the number of the run's UUID
        self.roots: dict[str, OpenRun] = {}
        self.late: OrderedDict[Any, Span] = OrderedDict()
        self._began: OrderedDict[str, float] = OrderedDict()  # the latest run of each thread, by the clock
        self._wake = getattr(sink, "wake", None)
        self._complained = False
        sink.register(self.drain)
        _captures.add(self)

    # -- a root run's life -----------------------------------------------------------------------------

    def begin(
        self, options: Options, inputs: Any, run_id: UUID, parent_run_id: UUID | None,
        tags: Sequence[str], metadata: Mapping[str, Any], name: str | None,
    ) -> None:  # fmt: skip
        """Open a root run and note its start."""
        settings = self.settings
        root = OpenRun(
            uuid7(), run_id, options.hook, settings.max_run_events, settings.max_run_bytes, self._clip
        )  # fmt: skip
        key = getattr(run_id, "int", run_id)
        span = outermost(root, "root", key, name or "")
        thread_id = metadata.get("thread_id")
        if OFF_TAG in tags or not self._sampled(options, thread_id):
            root.off = True
        elif len(self.roots) >= settings.max_open_runs:
            root.off = True
            self.sink.count("dropped_runs")
        root.asked = inputs
        if (known := self.runs.setdefault(key, span)) is not span:  # another thread was faster
            known.root.meet(inputs)
            return
        root.open.add(span)
        if root.off:
            return
        root.is_graph = "ls_integration" in metadata and not span.name.endswith("UpdateState")  # graph.update_state
        root.start = self._start(root, options, inputs, tags, metadata, name)
        root.start["partial"] = parent_run_id is not None
        if (thread := root.start["thread_id"]) is not None:
            self._began.pop(thread, None)  # so that it is the newest
            self._began[thread] = root.started
            if len(self._began) > _THREADS:
                self._began.popitem(last=False)
        root.notes.appendleft(("record", root.start))
        self.roots[root.root_key] = root
        if self._wake is not None:
            self._wake()

    def not_before(self, thread_id: str, at: float) -> float:
        """Give a time (epoch seconds) at which something is said of a thread: no earlier than its latest run began.

        Else a clock that was set back between the two would make it about an earlier run, or about none.
        """
        return max(at, self._began.get(thread_id, at))

    def _sampled(self, options: Options, thread_id: Any) -> bool:
        rate = self.settings.sample_rate if options.sample_rate is None else options.sample_rate
        if rate >= 1.0:
            return True
        if thread_id is None:
            return random.random() < rate
        return zlib.crc32(str(thread_id).encode()) < rate * (1 << 32)  # a resume is kept if its first part was

    def _start(
        self, root: OpenRun, options: Options, inputs: Any,
        tags: Sequence[str], metadata: Mapping[str, Any], name: str | None,
    ) -> dict[str, Any]:  # fmt: skip
        resume = inputs is None
        answer = None
        if isinstance(inputs, Command):
            if inputs.resume is not None:
                resume, answer = True, inputs.resume
            inputs = inputs.update
        within = Bounded(self._clip)
        numbers, text = ([], None) if resume else _read_input(root, inputs, within)
        root.greet(numbers)
        trajectory_id, goal = current_trajectory.get() or (None, None)
        subject, tenant = self._key(options.subject_key, metadata), self._key(options.tenant_key, metadata)
        thread_id = metadata.get("thread_id")
        start = {
            "k": "start",
            "r": root.root_key,
            "at": root.started,
            "run_id": str(root.run_id),
            "agent": bounded_id(options.name or (name if name and name != "LangGraph" else "agent")),
            "thread_id": None if thread_id is None else bounded_id(str(thread_id)),
            "policy_version": options.policy_version or self.settings.policy_version,
            "tags": [*options.tags, *(bounded_id(tag) for tag in tags if not tag.startswith(_OWN_TAGS))],
            "metadata": {
                bounded_id(str(key)): within.plain(value)
                for key, value in metadata.items()
                if key != "thread_id" and not str(key).startswith(_OWN_METADATA)
            },
            "input": numbers,
            "input_text": text,
            "resume": resume,
            "checkpoint_id": None,
            "trajectory_id": trajectory_id,
            "goal": None if goal is None else within.text(goal),
            "subject": subject,
            "tenant": tenant,
            "new_input": not resume,
            "conversational": options.conversational,
        }
        if options.evaluators is not None:
            start["evaluators"] = list(options.evaluators)
        if answer is not None:
            start["answer"] = within.plain(answer)
        self._count_cut(within)
        return start

    def _count_cut(self, within: Bounded) -> None:
        if within.cut:
            self.sink.count("truncated_fields", within.cut)

    def _key(self, key: str | None, metadata: Mapping[str, Any]) -> str | None:
        if key is None:
            return None
        value = metadata.get(key)
        if value is None:
            self.sink.count(f"missing_metadata:{key}")
            return None
        return bounded_id(str(value))

    def resumed(self, root: OpenRun, checkpoint_id: str | None) -> None:
        """Complete the start of a run that goes on from a checkpoint; it has not been written yet."""
        if root.start is not None and root.start["checkpoint_id"] is None:
            root.start["checkpoint_id"] = checkpoint_id
            if not root.start["input"] and root.start["input_text"] is None:
                root.start["resume"], root.start["new_input"] = True, False

    def interrupted(self, root: OpenRun, checkpoint_id: str | None, values: list[Any]) -> None:
        """Note that a run stopped to wait."""
        if not root.interrupted:
            root.interrupted = True
            within = Bounded(self._clip)
            root.notes.append(
                ("record", {"k": "interrupt", "r": root.root_key, "at": time.time(),
                            "checkpoint_id": checkpoint_id, "values": within.plain(values)})
            )  # fmt: skip
            self._count_cut(within)

    def end(self, root: OpenRun, outputs: Any) -> None:
        """End a root run that returned: it finished, or it waits."""
        if not root.interrupted and not root.off and (root.bubbled or (root.hook and _unanswered(outputs))):
            self.interrupted(root, None, root.bubbled)  # on_interrupt does not reach a handler that is a hook
        self.finish(root, "interrupted" if root.interrupted else "finished", outputs)

    def fail(self, root: OpenRun, error: BaseException) -> None:
        """End a root run that raised; what the exception means is known by its type."""
        if isinstance(error, ParentCommand):  # attached to a part of a graph, which handed over
            self.finish(root, "finished", None)
        elif isinstance(error, GraphBubbleUp):  # a part of a graph that waits, or a drain before shutdown
            self.interrupted(root, None, interrupt_values(error))
            self.finish(root, "interrupted", None)
        elif isinstance(error, CANCELLED):
            self.finish(root, "cancelled", None, error)
        else:
            self.finish(root, "error", None, error)

    def finish(self, root: OpenRun, status: str, outputs: Any, error: BaseException | None = None) -> None:
        """Close a root run: note its end, let go of what it left open, and write what is not yet written."""
        root.ended = True
        for span in tuple(root.open):
            if self.runs.pop(span.key, None) is span and span.kind == "tool" and not root.off:
                self.late[span.key] = span
        while len(self.late) > _LATE_RUNS:
            self.late.popitem(last=False)
        root.open.clear()
        if root.off:
            return
        self.roots.pop(root.root_key, None)
        if root.is_graph:
            end = self._end(root, status, outputs, error)
            root.notes.append(("record", end))
            self.write(root)
        root.forget()

    def _end(self, root: OpenRun, status: str, outputs: Any, error: BaseException | None) -> dict[str, Any]:
        found = messages_in(outputs)
        end: dict[str, Any] = {
            "k": "end", "r": root.root_key, "at": time.time(), "status": status, "out": root.rest(0, found),
        }  # fmt: skip
        within = Bounded(self._clip)
        if status == "finished" and (answer := _answer(outputs, bool(found), within)) is not None:
            end["answer"] = within.text(answer)
        if error is not None:
            end["error_type"], message = error_of(error)
            end["error_message"] = within.text(message)
        self._count_cut(within)
        if root.truncated or root.mixed:
            end["truncated"] = True
            self.sink.count("truncated_runs")
        return end

    # -- out to the journal ----------------------------------------------------------------------------

    def write(self, root: OpenRun) -> None:
        """Write what was noted of a run now."""
        self.sink.append(self._records(root))

    def _records(self, root: OpenRun) -> list[dict[str, Any]]:
        made, said, cut = root.take()
        redact(said, self.redactor)
        if cut:
            self.sink.count("truncated_fields", cut)
        return made

    def drain(self) -> list[dict[str, Any]] | None:
        """Give the facts of open runs that are not written yet; close runs that have been idle for too long."""
        if not self.roots:
            return None
        found: list[dict[str, Any]] = []
        now = time.monotonic()  # a clock that jumps ahead must give up no run
        for root in tuple(self.roots.values()):
            if root.ended:
                continue
            if root.graphs and root.pending:  # a run with nothing in it waits for its start to be complete
                root.touched = now
                found += self._records(root)
            elif now - root.touched > self.settings.idle_run_seconds:
                found += self._abandon(root)
        return found

    def _abandon(self, root: OpenRun) -> list[dict[str, Any]]:
        root.ended = True
        self.roots.pop(root.root_key, None)
        for span in tuple(root.open):
            self.runs.pop(span.key, None)
        root.open.clear()
        found = []
        if root.is_graph:
            self.sink.count("idle_runs")
            end = {"k": "end", "r": root.root_key, "at": time.time(), "status": "abandoned", "out": []}
            root.notes.append(("record", end))
            found = self._records(root)
        root.forget()
        return found

    def fault(self, where: str) -> None:
        """Count an error of our own, and log the first with its traceback."""
        try:
            self.sink.count("capture_errors")
            if not self._complained:
                self._complained = True
                _log.warning("capture: %s failed; the agent is not affected; said once", where, exc_info=True)
        except Exception:  # even a broken sink must not reach the agent
            return

    def belated(self, root: OpenRun) -> None:
        """Write a fact that came after its run had ended."""
        self.sink.count("late_facts")
        self.write(root)

    def reward(self, root: OpenRun, run_id: UUID, data: Any) -> None:
        """Note a reward that the graph itself gave, as feedback bound to its run."""
        given = data
        if not isinstance(data, Mapping):
            given = {"success": data} if isinstance(data, bool) else {"score": data}
        success, score, value = given.get("success"), given.get("score", given.get("reward")), given.get("value")
        within = Bounded(self._clip)
        record = {
            "k": "feedback",
            "at": time.time(),
            "feedback_id": uuid7(),
            "trajectory_root": root.root_key,
            "run_id": str(root.run_id),
            "source": "reward",
            "key": bounded_id(str(given.get("key") or "reward")),
            "success": success if isinstance(success, bool) else None,
            "score": None if score is None else float(score),
            "value": None if value is None else within.text(str(value)),
            "comment": None if given.get("comment") is None else within.text(str(given["comment"])),
        }
        self._count_cut(within)
        root.notes.append(("record", record))

    def forget(self) -> None:
        """Drop every open run: they belong to the parent of a forked process."""
        self.runs.clear()
        self.roots.clear()
        self.late.clear()


def error_of(error: BaseException) -> tuple[str, str]:
    """Name an error: its type, and what it says."""
    try:
        return type(error).__name__, str(error)
    except Exception:  # a foreign __str__
        return type(error).__name__, ""


def interrupt_values(error: BaseException) -> list[Any]:
    """Give what the interrupts of a GraphInterrupt handed out."""
    given = error.args[0] if error.args else ()
    return [getattr(item, "value", item) for item in given] if isinstance(given, list | tuple) else []


def _unanswered(outputs: Any) -> bool:
    messages = outputs.get("messages") if isinstance(outputs, Mapping) else None
    last = messages[-1] if isinstance(messages, list) and messages else None
    return isinstance(last, AIMessage) and bool(last.tool_calls)


def _read_input(root: OpenRun, inputs: Any, within: Bounded) -> tuple[list[int], str | None]:
    """Number the messages that the caller sent, and render the rest of the input as text."""
    if inputs is None:
        return [], None
    rest = inputs
    messages: list[BaseMessage] | None = None
    if isinstance(inputs, Mapping):
        messages = to_messages(inputs.get("messages"))
        if messages is not None:
            rest = {key: value for key, value in inputs.items() if key != "messages"}
    elif isinstance(inputs, BaseMessage) or (
        isinstance(inputs, list) and inputs and isinstance(inputs[0], BaseMessage)
    ):
        messages, rest = to_messages(inputs), None
    elif (found := getattr(inputs, "messages", None)) is not None:  # a state that is a dataclass or a model
        messages, rest = to_messages(found), None
    numbers = [number for message in messages or () if (number := root.number(message))]
    return numbers, _text(rest, within) if rest else None


_TEXT_KEYS = ("input", "question", "query", "task", "goal", "prompt", "request")


def _text(value: Any, within: Bounded) -> str | None:
    """Render what is not a message: text as it is, the one text of a mapping, else JSON."""
    if isinstance(value, Mapping):
        texts = {key: item for key, item in value.items() if isinstance(item, str) and item}
        named = next((texts[key] for key in _TEXT_KEYS if key in texts), None)
        if named is None and len(value) == 1:
            named = next(iter(texts.values()), None)
        value = value if named is None else named
    return within.text(value if isinstance(value, str) else dumps(within.plain(value)))


def _answer(outputs: Any, has_messages: bool, within: Bounded) -> str | None:
    """Give the final answer that is not a message: a structured response, other state, or a raw value."""
    if outputs is None or isinstance(outputs, BaseMessage):
        return None
    if isinstance(outputs, Mapping):
        response = outputs.get("structured_response")
        if response is not None:
            return dumps(response)
        if has_messages:
            return None
        rest = {key: value for key, value in outputs.items() if key != "messages"}
        for key in ("answer", "output", "result", "response", "final_answer"):
            if isinstance(rest.get(key), str):
                return str(rest[key])
        return dumps(within.plain(rest)) if rest else None
    if has_messages:
        return None
    return outputs if isinstance(outputs, str) else dumps(within.plain(outputs))


_captures: weakref.WeakSet[Capture] = weakref.WeakSet()


def _after_fork() -> None:
    for capture in tuple(_captures):
        capture.forget()


os.register_at_fork(after_in_child=_after_fork)
