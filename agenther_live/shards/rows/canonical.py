"""From a Sample to plain turns: what every dialect is made from, and what none of them can carry.

Whatever a trainer would skip, crash on or read differently is refused here or in the dialect, with a word that
statistics can count. Nothing is guessed: a call without an answer, an image, arguments that are no JSON object.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NoReturn

from agenther_live.errors import ShardError
from agenther_live.labels import Sample, TrainMessage
from agenther_live.trajectory import Message, ToolCall

__all__ = [
    "Call",
    "PairTurns",
    "RowRefused",
    "Turn",
    "pair_turns",
    "prompt_end",
    "split_turns",
    "strict_json",
    "tool_schemas",
    "turns",
]

INT64 = range(-(2**63), 2**63)
# Parts that say again what `tool_calls` holds, or what the model thought for itself: left out of the text.
SILENT_PARTS = frozenset({"tool_use", "tool_call", "function_call", "thinking", "reasoning", "redacted_thinking"})
TEXT_PARTS = frozenset({"text", "output_text", "input_text"})

TurnRole = Literal["system", "user", "assistant", "tool"]


class RowRefused(ShardError):
    """A sample that a dialect cannot carry. `reason` is one word that is counted, `detail` says it in a sentence."""

    def __init__(self, reason: str, detail: str) -> None:
        """Keep the word beside the sentence."""
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Call:
    """One tool call: an id that is unique in its conversation, and arguments as an object."""

    id: str
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Turn:
    """One message as trainers know it. `call_id` and `name` are set on tool turns only."""

    role: TurnRole
    text: str
    calls: tuple[Call, ...] = ()
    call_id: str = ""
    name: str = ""
    train: bool = False
    weight: float = 1.0


@dataclass(frozen=True)
class PairTurns:
    """A pair in turns: one prompt, and two responses to it."""

    prompt: tuple[Turn, ...]
    chosen: tuple[Turn, ...]
    rejected: tuple[Turn, ...]


def _not_json(token: str) -> NoReturn:
    raise ValueError(f"{token} is not JSON")


def strict_json(text: str) -> Any:
    """Parse JSON as RFC 8259 has it: no NaN, no Infinity.

    Raises:
        ValueError: where the text is anything else.
    """
    return json.loads(text, parse_constant=_not_json)


def _numbers_fit(value: Any) -> bool:
    # `datasets` reads JSON with a 64-bit parser: a longer integer fails the whole file.
    if isinstance(value, bool):
        return True
    if isinstance(value, int):
        return value in INT64
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Mapping):
        return all(_numbers_fit(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return all(_numbers_fit(item) for item in value)
    return True


def _text(message: Message) -> str:
    if message.content is None or isinstance(message.content, str):
        return message.content or ""
    texts = []
    for part in message.content:
        kind = part.get("type")
        if kind in TEXT_PARTS:
            texts.append(str(part.get("text", "")))
        elif kind not in SILENT_PARTS:
            raise RowRefused("content", f"a content part of type {kind!r} has no place in text shards")
    return "".join(texts)


def _arguments(name: str, raw: Any) -> dict[str, Any]:
    value = raw
    if isinstance(raw, str):
        try:
            value = strict_json(raw) if raw.strip() else {}
        except (ValueError, RecursionError):
            raise RowRefused("arguments", f"the arguments of a call to {name!r} are not JSON") from None
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise RowRefused("arguments", f"the arguments of a call to {name!r} are no JSON object")
    if not _numbers_fit(value):
        raise RowRefused("number", f"a number in the arguments of {name!r} is no 64-bit integer or finite float")
    return value


def _calls(message: Message) -> list[tuple[str | None, str, dict[str, Any]]]:
    calls: Sequence[ToolCall] = message.tool_calls or ()
    found = [(call.id, call.function.name, _arguments(call.function.name, call.function.arguments)) for call in calls]
    legacy = (message.model_extra or {}).get("function_call")  # OpenAI's form before `tool_calls`
    if not found and isinstance(legacy, Mapping) and legacy.get("name"):
        name = str(legacy["name"])
        found.append((None, name, _arguments(name, legacy.get("arguments"))))
    if any(not name for _, name, _ in found):
        raise RowRefused("call_name", "a tool call has no function name")
    return found


class _Ids:
    """Call ids that are unique in one conversation; foreign ones may be missing or repeat."""

    def __init__(self, messages: Sequence[TrainMessage]) -> None:
        self._given = {call.id for item in messages for call in item.message.tool_calls or () if call.id}
        self._taken: set[str] = set()

    def fresh(self, wanted: str | None) -> str:
        if wanted and wanted not in self._taken:
            self._taken.add(wanted)
            return wanted
        number = len(self._taken) + 1
        while (made := f"call_{number}") in self._taken or made in self._given:
            number += 1
        self._taken.add(made)
        return made


@dataclass
class _Open:
    """The calls of the latest assistant turn and the answers found so far."""

    calls: list[tuple[str | None, Call]]
    answers: dict[str, Turn]

    def answer(self, message: Message, text: str) -> None:
        waiting = [(given, call) for given, call in self.calls if call.id not in self.answers]
        wanted = message.tool_call_id
        match = next((call for given, call in waiting if wanted and given == wanted), None)
        if match is None and not wanted:  # without an id, answers come in the order of the calls
            named = [call for _, call in waiting if message.name in (None, call.name)]
            match = named[0] if named else None
        if match is None:
            raise RowRefused("call_id", f"a tool message answers {wanted!r}, which no open call has")
        self.answers[match.id] = Turn("tool", text, call_id=match.id, name=match.name)

    def close(self, *, at_end: bool) -> list[Turn]:
        # Templates without ids pair calls and results by position, so results go in the order of the calls.
        found = [self.answers[call.id] for _, call in self.calls if call.id in self.answers]
        if len(found) < len(self.calls) and not (at_end and not found):
            raise RowRefused("call_id", f"{len(self.calls) - len(found)} calls of one turn have no result")
        return found


def turns(sample: Sample) -> tuple[Turn, ...]:
    """Make the turns of a sample: roles of four kinds, text, unique call ids, results in the order of their calls.

    Leading system and developer messages become one. Calls may stay without results only at the very end.

    Raises:
        RowRefused: where something has no place in any dialect, or no assistant turn would be trained.
    """
    made = _turns(sample.messages)
    _usable(made)
    return tuple(made)


def prompt_end(sample: Sample) -> int:
    """Give how many of a sample's messages are its prompt: all up to the one in which the goal is said.

    Raises:
        RowRefused: no user message stands before the first trained one.
    """
    if sample.prompt_len is not None:
        return sample.prompt_len
    first = next((at for at, item in enumerate(sample.messages) if item.train), 0)
    asked = [at for at, item in enumerate(sample.messages[:first]) if item.message.role == "user"]
    saying = [at for at in asked if sample.goal.strip() and sample.goal.strip() in sample.messages[at].message.text]
    if not asked:
        raise RowRefused("user", "no user message stands before the first trained one")
    return (saying or asked)[-1] + 1


def split_turns(sample: Sample, prompt_len: int) -> tuple[tuple[Turn, ...], tuple[Turn, ...]]:
    """Make the turns of a sample, those of its first `prompt_len` messages apart.

    Raises:
        RowRefused: as `turns`; or what follows the prompt does not begin with the assistant.
    """
    made = turns(sample)
    end = len(_turns(sample.messages[:prompt_len]))
    if any(turn.train for turn in made[:end]) or not made[end:] or made[end].role != "assistant":
        raise RowRefused("prompt", "the prompt is trained, or the assistant does not answer it")
    return made[:end], made[end:]


def pair_turns(sample: Sample) -> PairTurns:
    """Make the turns of a pair or step: what is trained is trained in the responses alone.

    Raises:
        RowRefused: as `turns`, for either response; or the sample is no pair.
    """
    if sample.prompt_len is None or not sample.rejected:
        raise RowRefused("kind", "only a pair has two responses")
    shared = sample.messages[: sample.prompt_len]
    prompt = _turns(shared)
    sides = []
    for response in (sample.messages[sample.prompt_len :], sample.rejected):
        made = _turns((*shared, *response))
        if made[: len(prompt)] != prompt:
            raise RowRefused("prompt", "the prompt is not the same before both responses")
        _usable(made)
        if any(turn.train for turn in prompt):
            raise RowRefused("mask", "a message of the prompt is marked to be trained")
        sides.append(tuple(made[len(prompt) :]))
    chosen, rejected = sides
    if not chosen or not rejected or chosen[0].role != "assistant" or rejected[0].role != "assistant":
        raise RowRefused("prompt", "a response does not begin with the assistant")
    return PairTurns(tuple(prompt), chosen, rejected)


def _turns(messages: Sequence[TrainMessage]) -> list[Turn]:
    made: list[Turn] = []
    ids = _Ids(messages)
    open_calls: _Open | None = None
    for item in messages:
        message, text = item.message, _text(item.message)
        role = message.role
        if item.train and role != "assistant":
            raise RowRefused("mask", f"a {role} message is marked to be trained")
        if role in ("tool", "function"):
            if open_calls is None:
                raise RowRefused("call_id", "a tool message follows no call")
            open_calls.answer(message, text)
            continue
        if open_calls is not None:
            made += open_calls.close(at_end=False)
            open_calls = None
        if role in ("system", "developer"):
            if made and all(turn.role == "system" for turn in made):
                made[-1] = replace(made[-1], text=f"{made[-1].text}\n\n{text}")
            else:
                made.append(Turn("system", text))
        elif role == "user":
            made.append(Turn("user", text))
        else:
            said = _calls(message)
            made.append(_assistant(item, text, [Call(ids.fresh(given), name, args) for given, name, args in said]))
            if said:
                given = [call_id for call_id, _, _ in said]
                open_calls = _Open(list(zip(given, made[-1].calls, strict=True)), {})
    if open_calls is not None:
        made += open_calls.close(at_end=True)
    return made


def _assistant(item: TrainMessage, text: str, calls: Sequence[Call]) -> Turn:
    if not (math.isfinite(item.weight) and item.weight >= 0):
        raise RowRefused("number", f"a message weight is {item.weight}")
    train = item.train and item.weight > 0
    if train and not calls and not text.strip():
        raise RowRefused("empty", "an assistant message that is to be trained has neither text nor calls")
    return Turn("assistant", text, tuple(calls), train=train, weight=item.weight if train else 0.0)


def _usable(made: Sequence[Turn]) -> None:
    if not any(turn.role == "user" for turn in made):
        raise RowRefused("user", "there is no user message")
    if not any(turn.train for turn in made):
        raise RowRefused("mask", "no assistant message is trained")


def tool_schemas(sample: Sample) -> list[dict[str, Any]]:
    """Give the tools in OpenAI's form, each with `parameters`; bare function schemas are wrapped.

    Raises:
        RowRefused: where a tool has no name, or a number that JSON readers cannot hold.
    """
    schemas = []
    for tool in sample.tools or ():
        function = tool.get("function") if isinstance(tool.get("function"), dict) else tool
        assert isinstance(function, dict)
        if not isinstance(function.get("name"), str) or not function["name"]:
            raise RowRefused("tools", "a tool has no name")
        schema = {key: value for key, value in function.items() if key != "type" or value != "function"}
        parameters = schema.get("parameters")
        # Without properties the trainers' own prompt builders fail on a tool that takes nothing.
        schema["parameters"] = {"type": "object", "properties": {}, **(parameters or {})}
        schemas.append({"type": "function", "function": schema})
    if not _numbers_fit(schemas):
        raise RowRefused("number", "a number in the tools is no 64-bit integer or finite float")
    return schemas
