"""Capture: the callback handler that turns what a LangGraph agent does into facts.

Handlers of one journal share the runs that are open (`Capture`), so a handler that is attached twice, to a part of
the graph, or globally as well, records nothing twice: a run is known by its id, and whoever sees an event
first notes it. The methods note little tuples and do no I/O, except that the end of a root run is written before
`invoke` returns.

Nothing here may change what the agent does: every method catches and counts whatever goes wrong in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import replace
from time import time
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.outputs import LLMResult
from langchain_core.runnables import RunnableBinding, RunnableSequence
from langchain_core.tracers.context import register_configure_hook
from langgraph.callbacks import GraphCallbackHandler, GraphInterruptEvent, GraphResumeEvent
from langgraph.errors import GraphBubbleUp, GraphInterrupt, ParentCommand
from langgraph.pregel import Pregel
from langgraph.types import Command

from agenther_live.errors import GraphError
from agenther_live.integrations.langgraph_capture import CANCELLED, Capture, Options, error_of, interrupt_values
from agenther_live.integrations.langgraph_run import OpenRun, Span, outermost
from agenther_live.integrations.messages import dumps, held, messages_in

__all__ = ["Capture", "TrajectoryRecorder", "attach", "instrument"]

RunnableT = TypeVar("RunnableT")


class TrajectoryRecorder(GraphCallbackHandler):
    """The callback handler: one per attached agent, used in any number of runs, threads and event loops."""

    raise_error = False
    run_inline = True  # no thread hop per event in async graphs; the methods only note tuples
    if not TYPE_CHECKING:  # to checkers they stay what they are in the base class: properties
        # Asked before every event, and each answer of a property is a call of Python code.
        ignore_chain = ignore_llm = ignore_chat_model = ignore_agent = False
        ignore_retriever = ignore_custom_event = False
        ignore_retry = True  # retries show as further runs

    def __init__(
        self,
        capture: Capture,
        *,
        name: str | None = None,
        policy_version: str | None = None,
        tags: Sequence[str] = (),
        sample_rate: float | None = None,
        subject_key: str | None = None,
        tenant_key: str | None = None,
        conversational: bool | None = None,
        hook: bool = False,
    ) -> None:
        """Share the open runs of `capture`; the options are those of `Live.attach`, `hook` is for `instrument`."""
        self.capture = capture
        self.options = Options(name, policy_version, tuple(tags), sample_rate, subject_key, tenant_key, conversational)
        # Kept by the number of the run's UUID, whose own hash and equality are Python code, and dear; a caller may name
        # a run by something else, which then is the key: `_key`.
        self._runs = capture.runs

    def __deepcopy__(self, memo: dict[int, Any]) -> TrajectoryRecorder:
        """Stay one: a copied config records into the same runs."""
        return self

    # -- graphs, nodes and other chains ----------------------------------------------------------------

    def on_chain_start(
        self, serialized: Any, inputs: Any, *, run_id: UUID, parent_run_id: UUID | None = None,
        tags: list[str] | None = None, metadata: dict[str, Any] | None = None, name: str | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """Follow a chain; a root begins a run, and a node shows that its parent is a graph."""
        try:
            runs = self._runs
            try:
                key = run_id.int
                parent = None if parent_run_id is None else runs.get(parent_run_id.int)
            except AttributeError:  # a caller may name a run by something else
                key, parent = _key(run_id), runs.get(_key(parent_run_id))
            if parent is None:
                if (known := runs.get(key)) is not None:
                    known.root.meet(inputs)
                elif parent_run_id is None or not self._belated(key, parent_run_id):
                    self.capture.begin(self.options, inputs, run_id, parent_run_id, tags or (), metadata or {}, name)
                return
            root, graph = parent.root, parent.graph
            span = Span()
            span.root = root
            span.kind = "chain"
            span.scope = parent.scope if graph is None else graph
            span.node = node = parent if parent.kind == "node" else parent.node
            span.tool = parent.tool
            span.key = key
            span.number = 0
            span.name = name or ""
            span.graph = None
            if runs.setdefault(key, span) is not span:
                return
            root.open.add(span)
            if root.off or metadata is None:
                return
            ns = metadata.get("langgraph_checkpoint_ns")
            if ns is None:
                return
            if tags and (tags[-1][:11] == "graph:step:" or _is_step(tags)):
                if graph is None:
                    root.open_graph(parent)
                    span.scope = parent.graph or 0
                span.tool = 0
            elif name != metadata.get("langgraph_node") or (node is not None and node.ns == ns):
                return
            span.number = next(root.numbers)
            span.ns = ns
            span.told = False
            span.kind = "node"
        except Exception:
            self.capture.fault("on_chain_start")

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """End a chain: a node's output shows messages that no event showed; a root's end is written."""
        try:
            try:
                span = self._runs.pop(run_id.int, None)
            except AttributeError:
                span = self._runs.pop(_key(run_id), None)
            if span is None:
                return
            root = span.root
            root.open.discard(span)
            kind = span.kind
            if kind == "root":
                self.capture.end(root, outputs)
            elif root.off:
                return
            elif kind == "node":
                found = messages_in(outputs)
                if len(found) == 1 and (number := root.seen.get(id(found[0]))):  # what a model or a tool just said
                    root.notes.append(("node_end", span, (number,)))
                else:
                    root.notes.append(("node_end", span, root.numbered(found) if found else ()))
            elif span.graph is not None and (out := root.rest(span.graph, messages_in(outputs))):
                root.notes.append(("graph_end", span.graph, out))
        except Exception:
            self.capture.fault("on_chain_end")

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """End a chain that raised; interrupts and hand-overs, known by their type, are control flow."""
        try:
            span = self._runs.pop(_key(run_id), None)
            if span is None:
                return
            root = span.root
            root.open.discard(span)
            if span.kind == "root":
                self.capture.fail(root, error)
                return
            if root.off or span.kind != "node":
                return
            if isinstance(error, GraphBubbleUp):
                if span.scope == 0 and isinstance(error, GraphInterrupt):
                    root.bubbled = root.bubbled or interrupt_values(error)
                root.notes.append(("node_left", span, root.numbered(_handed_over(error))))
            else:
                root.notes.append(("node_error", span, error_of(error)))
        except Exception:
            self.capture.fault("on_chain_error")

    def _belated(self, key: Any, parent_run_id: UUID) -> bool:
        """Whether a run starts below a tool of a root that has ended already; then it is not followed."""
        late = self.capture.late
        span = late.get(_key(parent_run_id))
        if span is None:
            return False
        late[key] = span if span.kind == "" else outermost(span.root, "", key)
        return True

    # -- models ----------------------------------------------------------------------------------------
    # Models and tools open their spans in the same words, each in its own method: shared, every event is a call dearer.

    def on_chat_model_start(
        self, serialized: Any, messages: list[list[BaseMessage]], *, run_id: UUID, parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None, invocation_params: Mapping[str, Any] | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """Note a model call; one that is not below a known run is not an agent's, and is left out."""
        try:
            runs = self._runs
            try:
                key = run_id.int
                parent = None if parent_run_id is None else runs.get(parent_run_id.int)
            except AttributeError:
                key, parent = _key(run_id), runs.get(_key(parent_run_id))
            if parent is None:
                return
            root, graph = parent.root, parent.graph
            span = Span()
            span.root = root
            span.kind = "model"
            span.scope = scope = parent.scope if graph is None else graph
            span.node = node = parent if parent.kind == "node" else parent.node
            span.tool = tool = parent.tool
            span.key = key
            span.number = number = next(root.numbers)
            span.name = ""
            span.graph = None
            if runs.setdefault(key, span) is not span:
                return
            root.open.add(span)
            if root.off:
                return
            model = metadata.get("ls_model_name") if metadata else None
            tools: Any = None
            if invocation_params:
                tools = invocation_params.get("tools")
                if not model:
                    model = invocation_params.get("model") or invocation_params.get("model_name")
            numbers = root.numbered(messages[0])
            root.notes.append(("call", number, scope, node, tool, numbers, tools, model, time()))
        except Exception:
            self.capture.fault("on_chat_model_start")

    def on_llm_start(self, serialized: Any, prompts: list[str], **kwargs: Any) -> None:
        """Note a call of a model that completes text."""
        try:
            self.on_chat_model_start(serialized, [[HumanMessage(text) for text in prompts]], **kwargs)
        except Exception:
            self.capture.fault("on_llm_start")

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Note a model's reply."""
        try:
            try:
                span = self._runs.pop(run_id.int, None)
            except AttributeError:
                span = self._runs.pop(_key(run_id), None)
            if span is None:
                return
            root = span.root
            root.open.discard(span)
            if root.off:
                return
            batches = response.generations
            if not batches or not batches[0]:
                return
            message = getattr(batches[0][0], "message", None)
            if message is None:
                message = AIMessage(batches[0][0].text)
            number = root.say(message)
            told = message.response_metadata
            model = told.get("model_name") or told.get("model") if told else None
            usage = _usage(getattr(message, "usage_metadata", None), response)
            root.notes.append(("reply", span.number, number, usage, model, time()))
        except Exception:
            self.capture.fault("on_llm_end")

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Note that a model call failed."""
        try:
            span = self._close(run_id)
            if span is not None:
                span.root.notes.append(("call_error", span.number, error_of(error), time()))
        except Exception:
            self.capture.fault("on_llm_error")

    # -- tools and retrievers --------------------------------------------------------------------------

    def on_tool_start(
        self, serialized: dict[str, Any] | None, input_str: str, *, run_id: UUID, parent_run_id: UUID | None = None,
        inputs: dict[str, Any] | None = None, tool_call_id: str | None = None, name: str | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """Note a tool run; its arguments only where they are not those of its tool call."""
        try:
            runs = self._runs
            try:
                key = run_id.int
                parent = None if parent_run_id is None else runs.get(parent_run_id.int)
            except AttributeError:
                key, parent = _key(run_id), runs.get(_key(parent_run_id))
            if parent is None:
                return
            root, graph = parent.root, parent.graph
            called = str((serialized and serialized.get("name")) or name or "tool")
            span = Span()
            span.root = root
            span.kind = "tool"
            span.scope = scope = parent.scope if graph is None else graph
            span.node = node = parent if parent.kind == "node" else parent.node
            span.key = key
            span.tool = span.number = number = next(root.numbers)
            span.name = called
            span.graph = None
            if runs.setdefault(key, span) is not span:
                return
            root.open.add(span)
            if root.off:
                return
            args = held(inputs) if inputs is not None else input_str
            root.notes.append(("tool", number, scope, node, parent.tool, called, tool_call_id, args, time()))
        except Exception:
            self.capture.fault("on_tool_start")

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Note what a tool gave back: a message (bare or in a Command), or any value as text."""
        try:
            try:
                span = self._runs.pop(run_id.int, None)
            except AttributeError:
                span = self._runs.pop(_key(run_id), None)
            late = span is None
            if span is None:
                span = self.capture.late.pop(_key(run_id), None)
                if span is None or not span.kind:
                    return
            root = span.root
            root.open.discard(span)
            if root.off:
                return
            message = output if type(output) is ToolMessage else _tool_message(output)
            number = root.say(message) if message is not None else 0
            text = None if number or isinstance(output, Command) else _as_text(output)
            root.notes.append(("tool_end", span.number, number, text, time()))
            if late:
                self.capture.belated(root)
        except Exception:
            self.capture.fault("on_tool_end")

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Note that a tool raised; an interrupt or a cancellation is no error of its own."""
        try:
            span = self._close(run_id)
            late = span is None
            if span is None:
                span = self.capture.late.pop(_key(run_id), None)
                if span is None or not span.kind:
                    return
            root = span.root
            stopped = isinstance(error, (GraphBubbleUp, *CANCELLED))
            root.notes.append(("tool_error", span.number, error_of(error), stopped, time()))
            if late:
                self.capture.belated(root)
        except Exception:
            self.capture.fault("on_tool_error")

    def on_retriever_start(
        self, serialized: dict[str, Any] | None, query: str, *, run_id: UUID, parent_run_id: UUID | None = None,
        name: str | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """Note a retriever as a tool whose argument is the query."""
        try:
            called = {"name": name or (serialized or {}).get("name") or "retriever"}
            self.on_tool_start(called, query, run_id=run_id, parent_run_id=parent_run_id, inputs={"query": query})
        except Exception:
            self.capture.fault("on_retriever_start")

    def on_retriever_end(self, documents: Sequence[Any], *, run_id: UUID, **kwargs: Any) -> None:
        """Note the documents as the observation."""
        try:
            span = self._close(run_id)
            if span is not None:
                text = "\n\n".join(str(getattr(document, "page_content", document)) for document in documents)
                span.root.notes.append(("tool_end", span.number, 0, text, time()))
        except Exception:
            self.capture.fault("on_retriever_end")

    def on_retriever_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Note that a retriever raised."""
        self.on_tool_error(error, run_id=run_id)

    def _close(self, run_id: UUID) -> Span | None:
        """Close a span; None where it is not known (closed already by another handler) or not noted."""
        try:
            span = self._runs.pop(run_id.int, None)
        except AttributeError:
            span = self._runs.pop(_key(run_id), None)
        if span is None:
            return None
        root = span.root
        root.open.discard(span)
        return None if root.off else span

    # -- what else graphs tell -------------------------------------------------------------------------

    def on_custom_event(self, name: str, data: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Take `dispatch_custom_event("reward", …)` inside the graph as feedback on its run."""
        try:
            span = self._runs.get(_key(run_id))
            if name == "reward" and span is not None and not span.root.off:
                self.capture.reward(span.root, run_id, data)
        except Exception:
            self.capture.fault("on_custom_event")

    def on_interrupt(self, event: GraphInterruptEvent) -> None:
        """Note that the root graph waits."""
        try:
            root = self._root_of(event)
            if root is not None:
                self.capture.interrupted(root, event.checkpoint_id, [item.value for item in event.interrupts])
        except Exception:
            self.capture.fault("on_interrupt")

    def on_resume(self, event: GraphResumeEvent) -> None:
        """Note from which checkpoint the root graph goes on."""
        try:
            root = self._root_of(event)
            if root is not None:
                self.capture.resumed(root, event.checkpoint_id)
        except Exception:
            self.capture.fault("on_resume")

    def _root_of(self, event: GraphInterruptEvent | GraphResumeEvent) -> OpenRun | None:
        """Give the run whose root graph an event is about; None for nested graphs."""
        span = None if event.run_id is None else self._runs.get(_key(event.run_id))
        if span is None or span.root.off:
            return None
        outermost = span.kind == "root" or not span.root.graphs or span.graph == 0
        return span.root if outermost else None


def attach(graph: RunnableT, handler: TrajectoryRecorder) -> RunnableT:
    """Give a copy of a compiled graph that reports to `handler`; a handler of the same journal is replaced.

    Takes compiled graphs (also of the functional API), those bound with `with_config` or `bind`, and chains with
    a graph in them.

    Raises:
        GraphError: the object is none of these.
    """
    if not _holds_graph(graph):
        hint = "call .compile() first" if hasattr(graph, "compile") else "attach what .compile() or create_agent gives"
        raise GraphError(f"cannot attach to {type(graph).__name__}: it is not a compiled LangGraph graph; {hint}")
    attached: Any = graph.with_config(callbacks=[handler])  # type: ignore[attr-defined]
    callbacks = (attached.config or {}).get("callbacks")
    if isinstance(callbacks, list):
        kept = [
            known for known in callbacks if known is handler or getattr(known, "capture", None) is not handler.capture
        ]
        attached.config["callbacks"] = kept
    return attached  # type: ignore[no-any-return]


def _holds_graph(candidate: Any) -> bool:
    if isinstance(candidate, Pregel):
        return True
    if isinstance(candidate, RunnableBinding):
        return _holds_graph(candidate.bound)
    return isinstance(candidate, RunnableSequence) and any(_holds_graph(step) for step in candidate.steps)


def instrument(handler: TrajectoryRecorder) -> None:
    """Report every graph that this process runs from now on, in raw threads too. Cannot be undone.

    Chains without a graph and bare model or tool calls are left out. Calling it again for the same journal does
    nothing.
    """
    if handler.capture in _hooks:
        return
    handler.options = replace(handler.options, hook=True)
    # A default is seen in every context, also in threads that copied none.
    variable: ContextVar[BaseCallbackHandler | None] = ContextVar("agenther_live_recorder", default=handler)
    _hooks[handler.capture] = variable
    register_configure_hook(variable, inheritable=True)


_hooks: dict[Capture, ContextVar[BaseCallbackHandler | None]] = {}


def _key(run_id: Any) -> Any:
    return getattr(run_id, "int", run_id)


def _is_step(tags: Sequence[str]) -> bool:
    for tag in tags:  # noqa: SIM110 a generator would double the cost
        if tag.startswith("graph:step:"):
            return True
    return False


def _handed_over(error: GraphBubbleUp) -> list[BaseMessage]:
    """Give the messages of a hand-over, once it has reached the graph that it is for."""
    command = error.args[0] if isinstance(error, ParentCommand) and error.args else None
    return messages_in(command) if isinstance(command, Command) and command.graph != Command.PARENT else []


def _usage(usage: Mapping[str, Any] | None, response: LLMResult) -> list[int] | None:
    if usage:
        return [usage.get("input_tokens") or 0, usage.get("output_tokens") or 0]
    told = response.llm_output
    if told and isinstance(told := told.get("token_usage"), Mapping):
        return [int(told.get("prompt_tokens") or 0), int(told.get("completion_tokens") or 0)]
    return None


def _tool_message(output: Any) -> ToolMessage | None:
    """Find the message in what a tool gave back; of several (a hand-over carries the history) the last."""
    if isinstance(output, ToolMessage):
        return output
    return next((message for message in reversed(messages_in(output)) if isinstance(message, ToolMessage)), None)


def _as_text(output: Any) -> str:
    return output if isinstance(output, str) else dumps(output)
