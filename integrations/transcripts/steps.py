"""Messages to steps: one pass that pairs every call with its answer, whatever the text format. Pure."""

from __future__ import annotations

import ast
import json
import warnings
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from agenther_live.integrations.transcripts.adapter import (
    FINISH,
    NO_CALL,
    Adapter,
    Call,
    Context,
    Reply,
    Turn,
    dumps,
    joined,
    loads,
    utf8,
)
from agenther_live.integrations.transcripts.signs import tool_error
from agenther_live.trajectory import Action, Message, Step

_LITERAL_CHARS = 65_536  # longer arguments that are no JSON are kept as they are


@dataclass(frozen=True, slots=True)
class Derived:
    """What the messages amount to.

    `spoken` is what the last turn says to the user, None if it ends in a call; `last_spoken` is what the last turn
    that says something says.
    """

    steps: tuple[Step, ...]
    spoken: str | None
    last_spoken: str | None
    flags: tuple[str, ...]


@dataclass(slots=True)
class _Open:
    call: Call
    reply: Reply | None = None
    index: int | None = None

    def action(self) -> Action:
        return Action(
            name=utf8(self.call.name),
            input=utf8(self.call.input),
            observation=utf8(self.reply.text) if self.reply else None,
            is_error=self.reply.is_error if self.reply else False,
            call_id=self.call.call_id,
            observation_index=self.index,
        )


@dataclass(slots=True)
class _Draft:
    index: int
    turn: Turn
    node: str | None
    calls: list[_Open] = field(default_factory=list)

    @property
    def open(self) -> list[_Open]:
        return [call for call in self.calls if call.reply is None]


class _Pairing:
    """The turns so far and their unanswered calls. Ids may repeat and may be missing: the latest turn goes first."""

    def __init__(self) -> None:
        self.drafts: list[_Draft] = []
        self.flags: set[str] = set()
        self._by_id: dict[str, list[tuple[int, deque[_Open]]]] = {}

    def context(self, following: Message | None) -> Context:
        calls = tuple(call.call for call in self.drafts[-1].open) if self.drafts else ()
        return Context(started=bool(self.drafts), open_calls=calls, following=following)

    def add(self, index: int, turn: Turn, node: str | None) -> None:
        draft = _Draft(index, turn, node, [_Open(call) for call in turn.calls])
        self.drafts.append(draft)
        for call in draft.calls:
            if call.call.call_id is None:
                continue
            waiting = self._by_id.setdefault(call.call.call_id, [])
            if waiting:
                self.flags.add("repeated_call_id")
            if not waiting or waiting[-1][0] != index:
                waiting.append((index, deque()))
            waiting[-1][1].append(call)

    def answer(self, index: int, reply: Reply) -> None:
        call = self._find(reply)
        if call is None:
            if not self.drafts:  # results of an earlier conversation that was cut off
                self.flags.add("result_without_call")
                return
            if self.drafts[-1].calls:
                self.flags.add("result_without_call")
            call = _Open(Call(reply.name or NO_CALL, "", reply.call_id))
            self.drafts[-1].calls.append(call)
        call.reply, call.index = reply, index

    def _find(self, reply: Reply) -> _Open | None:
        waiting = self._by_id.get(reply.call_id or "", [])
        while waiting:
            calls = waiting[-1][1]
            while calls:
                call = calls.popleft()
                if call.reply is None:
                    return call
            waiting.pop()
        if not self.drafts:
            return None
        left = self.drafts[-1].open
        same_name = [call for call in left if call.call.name == reply.name]
        if reply.call_id is None:
            return next(iter(same_name or left), None)
        # An id that no call has: take a call that can only be meant.
        without_id = [call for call in left if call.call.call_id is None]
        if len(left) == 1 or same_name or without_id:
            self.flags.add("mismatched_call_id")
            return (same_name or without_id or left)[0]
        return None


def derive(messages: Sequence[Message], adapter: Adapter) -> Derived:
    """Derive the steps. Every assistant message that is a turn becomes one step; nothing is invented.

    An answer that no call can be found for becomes an action of its own, named after the tool or `no_call`.
    """
    pairing = _Pairing()
    for index, message in enumerate(messages):
        following = messages[index + 1] if index + 1 < len(messages) else None
        if message.role in ("tool", "function"):
            pairing.answer(index, Reply(message.text, tool_error(message), message.tool_call_id, message.name))
            continue
        context = pairing.context(following)
        if message.role == "assistant":
            turn = _native_turn(message) or adapter.turn(message, context)
            if turn is not None:
                pairing.add(index, turn, message.name)
                continue
        reply = adapter.reply(message, context)
        if reply is not None:
            pairing.answer(index, reply)
    if pairing.drafts and any(call.call.name.lower() not in FINISH for call in pairing.drafts[-1].open):
        pairing.flags.add("unanswered_call")
    steps = tuple(
        Step(
            idx=idx,
            thought=utf8(draft.turn.thought),
            actions=tuple(call.action() for call in draft.calls),
            message_index=draft.index,
            node=draft.node,
        )
        for idx, draft in enumerate(pairing.drafts)
    )
    said = [None if draft.turn.spoken is None else utf8(draft.turn.spoken) for draft in pairing.drafts]
    last_spoken = next((text for text in reversed(said) if text), None)
    return Derived(steps, said[-1] if said else None, last_spoken, tuple(sorted(pairing.flags)))


def _native_turn(message: Message) -> Turn | None:
    """Read OpenAI's `tool_calls`, or the older `function_call`; None where the message has neither."""
    calls = [
        Call(call.function.name, json_arguments(call.function.arguments), call.id or None)
        for call in message.tool_calls or ()
    ]
    legacy = (message.model_extra or {}).get("function_call")
    if not calls and isinstance(legacy, dict) and isinstance(legacy.get("name"), str):
        calls = [Call(legacy["name"], json_arguments(legacy.get("arguments")))]
    if not calls:
        return None
    reasoning = (message.model_extra or {}).get("reasoning_content")
    thought = joined(reasoning if isinstance(reasoning, str) else "", message.text)
    return Turn(thought=thought, calls=tuple(calls), spoken=_handed_in(calls[-1]))


def _handed_in(call: Call) -> str | None:
    """The answer that a call such as ToolBench's `Finish` hands in."""
    if call.name.lower() not in FINISH:
        return None
    given = loads(call.input)
    if not isinstance(given, dict):
        return None
    answer = next((given[key] for key in ("final_answer", "answer") if key in given), None)
    return answer if isinstance(answer, str) else None


def json_arguments(arguments: Any) -> str:
    """Give a call's arguments as JSON text.

    JSON text stays as it came; Python literals (`{'a': None}`) are put into JSON; what is neither stays as it came,
    so that nothing is lost.
    """
    if arguments is None:
        return "{}"
    if not isinstance(arguments, str):
        return dumps(arguments)
    text = arguments.strip()
    if not text.startswith(("{", "[")) or len(text) > _LITERAL_CHARS:
        return arguments
    try:
        json.loads(text)
        return arguments
    except RecursionError:
        return arguments
    except ValueError:
        pass
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "invalid escape sequence" is the transcript's matter
            return json.dumps(ast.literal_eval(text), ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return arguments
