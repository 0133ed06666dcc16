"""Tool calls as values: arguments and results parsed, reads told from writes, and what came of each call.

`view` turns a trajectory into the form that every rule works on. Only the root agent's calls count: what a sub-agent
did reaches the root as the result of a call.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Literal

import orjson

from agenther_live.relabel.reading.lexicon import FINISHING, IDLE, READ_NOUNS, READING, STEERING, THINGS_TOO, WRITING
from agenther_live.relabel.reading.mentions import content_words, fold
from agenther_live.trajectory import Action, Message, Step, Trajectory

__all__ = ["Call", "ToolKind", "View", "kind_of", "name_words", "parse", "scalars", "shallow", "view"]

ToolKind = Literal["read", "write", "unknown"]

_FAILED_TEXT = re.compile(
    r"\s*(?:\W{0,3})(?:error\b|exception\b|traceback\b|failed\b|failure\b|invalid\b|unknown\b|could not\b|"
    r"couldn't\b|cannot\b|"
    r"can't\b|unable\b|not found\b|no results?\b|no such\b|nothing found\b|timeout\b|timed out\b|"
    r"permission denied\b|forbidden\b|"
    r"access denied\b|unauthorized\b|denied\b|rate limit)",
    re.IGNORECASE,
)
_TRANSIENT = re.compile(
    r"time(?:d)?[ -]?out|temporar|unavailable|try again|rate.?limit|too many requests|connection|"
    r"\b(?:429|500|502|503|504)\b",
    re.IGNORECASE,
)
_DENYING = re.compile(
    r"\b(?:not|no|never|unable|fail(?:ed|ure|s)?|cannot|declined|denied|rejected|insufficient|invalid|unavailable|expired|"
    r"refused|unsuccessful|forbidden|sorry|missing|exceeds?|impossible)\b|n['’]t\b",
    re.IGNORECASE,
)
_TELLING = frozenset(("status", "state", "message", "msg", "detail", "details", "reason", "result", "info", "note"))
_MAX_DEPTH = 40
_FLOAT_BITS = 1000  # a float holds whole numbers of 1,023 bits
_LOOKS_PARSABLE = re.compile(r"\s*[\[{\"]")


def name_words(name: str) -> list[str]:
    """A tool's name as words: 'getQuoteV2', 'get-quote' and 'get_quote' alike."""
    return list(_name_words(name))


@lru_cache(maxsize=8192)
def _name_words(name: str) -> tuple[str, ...]:
    parts = re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())
    return tuple(part for part in parts if part)


def kind_of(
    name: str, overrides: Mapping[str, ToolKind] | None = None, schema: Mapping[str, Any] | None = None
) -> ToolKind:
    """Whether a tool reads or writes: as told, else by the schema's `readOnlyHint`, else by the verb in its name.

    A name that says nothing is `unknown`, and rules treat it as a write that they cannot name.
    """
    if overrides and name in overrides:
        return overrides[name]
    hint = ((schema or {}).get("annotations") or {}).get("readOnlyHint")
    if isinstance(hint, bool):
        return "read" if hint else "write"
    parts = name_words(name)
    if len(parts) > 1 and parts[0] in THINGS_TOO and parts[-1] in READ_NOUNS:
        return "read"
    for part in parts:
        if part in WRITING and not (part == "order" and parts[0] in READING):
            return "write" if parts[0] not in READING else "read"
        if part in READING:
            return "read"
    return "read" if parts and parts[-1] in READ_NOUNS else "unknown"


def parse(text: str | None) -> Any:
    """The value that a text spells (JSON, or a Python literal), or None where it is only text.

    Containers written inside a string of a container are opened too: tools wrap JSON in JSON.
    """
    if text is None or not _LOOKS_PARSABLE.match(text):
        return None
    value: Any
    try:
        value = orjson.loads(text)
    except ValueError:
        if len(text) > 200_000:
            return None
        try:
            value = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    if not isinstance(value, dict | list) or not shallow(value):
        return None
    return _open(value, depth=3)


def shallow(value: Any) -> bool:
    """Whether a value is nested no deeper than any rule wants to go."""
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return True
    return False


def _open(value: Any, depth: int) -> Any:
    if isinstance(value, str) and depth and value[:1] in "[{":
        inner = parse(value)
        return value if inner is None else inner
    if isinstance(value, dict):
        return {str(key): _open(item, depth - 1 if depth else 0) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_open(item, depth - 1 if depth else 0) for item in value]
    if isinstance(value, int) and value.bit_length() > _FLOAT_BITS:
        return str(value)  # a name of something: no figure that could be compared
    return value


Scalar = tuple[tuple[str, ...], str | int | float | bool]  # where it stands, and what it is


def scalars(value: Any) -> list[Scalar]:
    """Every text, number and truth value inside a value, with its path of keys (list positions left out)."""
    found: list[Scalar] = []
    _gather(value, (), found)
    return found


def _gather(value: Any, path: tuple[str, ...], found: list[Scalar]) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _gather(item, (*path, str(key)), found)
    elif isinstance(value, list):
        for item in value:
            _gather(item, path, found)
    elif isinstance(value, str | int | float):
        found.append((path, value))


@dataclass(frozen=True)
class Call:
    """One tool call of the root agent, with what came back.

    `at` is the index of the assistant's message, `observed_at` that of the result; both point into the messages.
    `why` is '' for a call that worked, else one of error, refused, empty, unanswered. `cache` keeps what rules derived
    from it once.
    """

    number: int
    step: int
    name: str
    kind: ToolKind
    args: Mapping[str, Any]
    result: Any
    observation: str | None
    why: str
    at: int
    observed_at: int | None
    is_text: bool = False
    cache: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def ok(self) -> bool:
        """Whether the call worked and brought something back."""
        return not self.why

    @property
    def failed(self) -> bool:
        """Whether the call is known to have failed."""
        return self.why in ("error", "refused")

    @property
    def transient(self) -> bool:
        """Whether it failed by the environment's fault (a timeout, say), so that trying again was right."""
        return self.failed and bool(_TRANSIENT.search((self.observation or "")[:2000]))

    def steers(self, key: str) -> bool:
        """Whether an argument only steers what a look brings ('limit'); of a write it is what is written."""
        return self.kind != "write" and key.casefold() in STEERING

    @cached_property
    def folded(self) -> str:
        """What came back, in the form in which phrases are looked for."""
        return f" {fold(self.observation or '')} "

    @cached_property
    def given(self) -> list[Scalar]:
        """What stands in its arguments."""
        return scalars(dict(self.args))

    @cached_property
    def words(self) -> frozenset[str]:
        """The stems of the words that it and its result know."""
        texts = (self.name, " ".join(map(str, self.args.values())), self.observation or "")
        return frozenset(word for text in texts for word in content_words(text.replace("_", " ")[:50_000]))

    @cached_property
    def signature(self) -> str:
        """The same for calls that ask the same."""
        return self.name + json.dumps(self.args, sort_keys=True, default=str)


@dataclass(frozen=True)
class View:
    """A trajectory as rules see it. `turn_end` is the index of the second user message of the span, or the length.

    `cache` keeps what rules derived from it once; none of it is part of its value.
    """

    trajectory: Trajectory
    calls: tuple[Call, ...]
    observation_indices: frozenset[int]
    goal_index: int | None
    turn_end: int
    final_index: int | None
    kinds: Mapping[str, ToolKind]
    cache: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def messages(self) -> tuple[Message, ...]:
        """All messages of the root conversation."""
        return self.trajectory.messages

    @cached_property
    def user_indices(self) -> tuple[int, ...]:
        """Messages that a user wrote (no observations), from the goal on."""
        start = self.goal_index if self.goal_index is not None else self.trajectory.context_len
        return tuple(
            index
            for index, message in enumerate(self.messages)
            if index >= start and message.role == "user" and index not in self.observation_indices
        )

    @cached_property
    def told(self) -> str:
        """Everything the agent knew before its first call: system prompt, earlier turns, the goal; folded."""
        end = self.goal_index + 1 if self.goal_index is not None else self.trajectory.context_len
        parts = [message.text for message in self.messages[:end] if message.role != "assistant"]
        return "\n".join((*parts, self.trajectory.goal))


def view(trajectory: Trajectory, kinds: Mapping[str, ToolKind] | None = None) -> View:
    """Parse a trajectory's calls once, for all rules."""
    schemas = {_schema_name(tool): tool for tool in trajectory.tools or ()}
    messages = trajectory.messages
    answers = _answers_by_call(messages)
    observed = {
        action.observation_index
        for step in trajectory.root_steps
        for action in step.actions
        if action.observation_index is not None
    }
    calls: list[Call] = []
    for step in trajectory.root_steps:
        if step.message_index is None or step.message_index < trajectory.context_len:
            continue
        for action in step.actions:
            parts = "_".join(name_words(action.name))
            if parts in FINISHING or parts in IDLE or action.name.casefold() in FINISHING:
                continue
            observed_at = action.observation_index
            if observed_at is None and action.call_id is not None:
                observed_at = answers.get((step.message_index, action.call_id))
            calls.append(_call(len(calls), step, action, observed_at, kinds, schemas, messages))
    observed |= {call.observed_at for call in calls if call.observed_at is not None}
    observed |= {index for index, message in enumerate(messages) if message.role in ("tool", "function")}
    goal_index = next(
        (
            index
            for index, message in enumerate(messages)
            if index >= trajectory.context_len and message.role == "user" and index not in observed
        ),
        None,
    )
    if goal_index is None:  # a text agent whose task stands in the same message as its first observation
        goal_index = next((i for i, m in enumerate(messages) if i >= trajectory.context_len and m.role == "user"), None)
        observed.discard(goal_index if goal_index is not None else -1)
    later = (
        index
        for index, message in enumerate(messages)
        if goal_index is not None and index > goal_index and message.role == "user" and index not in observed
    )
    names = {call.name for call in calls} | {name for name in schemas if name}
    return View(
        trajectory=trajectory,
        calls=tuple(calls),
        observation_indices=frozenset(observed),
        goal_index=goal_index,
        turn_end=next(later, len(messages)),
        final_index=_final_index(messages, trajectory.context_len),
        kinds={name: kind_of(name, kinds, schemas.get(name)) for name in names},
    )


def _schema_name(tool: Mapping[str, Any]) -> str:
    function = tool.get("function")
    return str((function if isinstance(function, Mapping) else tool).get("name", ""))


def _answers_by_call(messages: tuple[Message, ...]) -> dict[tuple[int, str], int]:
    """Where the answer to each call stands. Ids may repeat, so an answer belongs to the latest call of its id."""
    asked: dict[str, int] = {}
    found: dict[tuple[int, str], int] = {}
    for index, message in enumerate(messages):
        for call in message.tool_calls or ():
            if call.id is not None:
                asked[call.id] = index
        if message.role == "tool" and message.tool_call_id in asked:
            found.setdefault((asked[message.tool_call_id], message.tool_call_id), index)
    return found


def _call(
    position: int,
    step: Step,
    action: Action,
    observed_at: int | None,
    kinds: Mapping[str, ToolKind] | None,
    schemas: Mapping[str, Mapping[str, Any]],
    messages: tuple[Message, ...],
) -> Call:
    at = step.message_index or 0
    observation = action.observation
    if observation is None and observed_at is not None:
        observation = messages[observed_at].text
    args = parse(action.input)
    is_text = not isinstance(args, dict)
    result = parse(observation)
    schema = schemas.get(action.name)
    return Call(
        number=position,
        step=step.idx,
        name=action.name,
        kind=kind_of(action.name, kinds, (schema or {}).get("function", schema)),
        args=args if isinstance(args, dict) else {"input": action.input} if action.input.strip() else {},
        result=result,
        observation=observation,
        why=_why(action, observation, result, kind_of(action.name, kinds, (schema or {}).get("function", schema))),
        at=at,
        observed_at=observed_at,
        is_text=is_text and not messages[at].tool_calls,
    )


def _why(action: Action, observation: str | None, result: Any, kind: ToolKind) -> str:
    if observation is None:
        return "unanswered"
    if action.is_error:
        return "error"
    if isinstance(result, dict):
        if any(_says_error(key, value) for key, value in result.items()):
            return "refused"
        if _sounds_failed(_words_about(result), result, kind):
            return "refused"
        inner = {key: value for key, value in result.items() if fold(key) not in ("error", "success", "ok", "status")}
        nested = [value for value in inner.values() if isinstance(value, dict)]
        if len(inner) == 1 and nested and any(_says_error(key, value) for key, value in nested[0].items()):
            return "refused"
        return "" if any(_filled(value) for value in inner.values()) or not inner else "empty"
    if isinstance(result, list):
        return "" if result else "empty"
    if not observation.strip() or observation.strip().casefold() in ("none", "null", "ok", "ok.", "[]", "{}", "nan"):
        return "empty"
    if _FAILED_TEXT.match(observation[:200]) or _sounds_failed(observation, None, kind):
        return "refused"
    return ""


def _words_about(result: Mapping[str, Any]) -> str:
    """What a record says in words about how the call went."""
    return " ".join(
        value for key, value in result.items() if fold(key) in _TELLING and isinstance(value, str) and len(value) <= 400
    )


def _sounds_failed(text: str, result: Mapping[str, Any] | None, kind: ToolKind) -> bool:
    """Whether the words of a result deny it. A write must not; a read's own content may say 'not' as it likes."""
    if kind == "read" and (len(text) > 80 or (result is not None and (len(result) > 2 or _lists_rows(result)))):
        return False
    return bool(_DENYING.search(text[:400]))


def _lists_rows(result: Mapping[str, Any]) -> bool:
    return any(isinstance(value, list) and value for value in result.values())


def _says_error(key: str, value: Any) -> bool:
    name = fold(key)
    if name in ("error", "errors", "error message", "exception"):
        return bool(value)
    if name in ("success", "ok", "succeeded", "is success"):
        return value is False or (isinstance(value, str) and value.casefold() == "false")
    if name == "is error":
        return value is True
    if (
        name in ("status", "status code", "code", "statuscode")
        and isinstance(value, int)
        and not isinstance(value, bool)
    ):
        return 400 <= value < 600
    bad = ("error", "failed", "failure", "timeout", "denied", "rejected", "not found", "bad request")
    return name in ("status", "title", "state") and isinstance(value, str) and fold(value) in bad


def _filled(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_filled(item) for item in value.values())
    if isinstance(value, list):
        return any(_filled(item) for item in value)
    return value not in (None, "")


def _final_index(messages: tuple[Message, ...], start: int) -> int | None:
    for index in range(len(messages) - 1, start - 1, -1):
        if messages[index].role == "assistant":
            return index if not messages[index].tool_calls else None
    return None
