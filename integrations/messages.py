"""LangChain messages and tools in OpenAI's form, snapshotted the moment they are seen.

A message may be mutated after the event that showed it, so `snapshot` copies what could change. What costs time
(hashing images, joining blocks, cutting) is left to `finish`, which runs when facts are written.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, cast

import orjson
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    convert_to_messages,
)
from langgraph.types import Command, Overwrite

from agenther_live.ids import bounded_id
from agenther_live.integrations.clipping import Clip, size_of

__all__ = [
    "Bounded",
    "content_key",
    "dumps",
    "finish",
    "held",
    "messages_in",
    "openai_tools",
    "plain",
    "same_message",
    "size_of_blocks",
    "snapshot",
    "to_messages",
]

_ROLES = {
    "human": "user",
    "HumanMessageChunk": "user",
    "ai": "assistant",
    "AIMessageChunk": "assistant",
    "system": "system",
    "SystemMessageChunk": "system",
    "tool": "tool",
    "ToolMessageChunk": "tool",
    "function": "function",
    "FunctionMessageChunk": "function",
}
# To ask an object whether it is a message costs a call of Python code, so these are looked for first.
_USUAL: dict[type, str] = {
    HumanMessage: "user",
    AIMessage: "assistant",
    ToolMessage: "tool",
    SystemMessage: "system",
}
_PLAIN = frozenset({str, int, float, bool, type(None)})
_CALL_BLOCKS = {"tool_use", "tool_call", "function_call", "tool_call_chunk", "input_json_delta", "custom_tool_call"}
_THOUGHT_BLOCKS = {"reasoning", "thinking", "redacted_thinking", "reasoning_content"}
_INLINE_BYTES = 1024  # binary parts longer than this are stored by hash and size
_MAX_DEPTH = 8
_MAX_ITEMS = 200


def snapshot(message: BaseMessage) -> dict[str, Any] | None:
    """Copy a message into OpenAI's form; None for what is no message of a conversation (RemoveMessage).

    Content that is a list is copied part by part and still in LangChain's form until `finish`; arguments are as `held`
    gives them.
    """
    role = _USUAL.get(type(message))
    if role is None:
        role = _ROLES.get(message.type) or _role_of_other(message)
        if role is None:
            return None
    content: Any = message.content
    if type(content) is not str:
        content = _copied(content)
    wire: dict[str, Any] = {"role": role, "content": content}
    if role == "assistant":
        if isinstance(message, AIMessage):
            if given := message.tool_calls:
                wire["tool_calls"] = calls = []
                for call in given:
                    function = {"name": call["name"] or "", "arguments": held(call["args"])}
                    calls.append({"id": call["id"], "type": "function", "function": function})
            if broken := message.invalid_tool_calls:
                calls = wire.setdefault("tool_calls", [])
                for wrong in broken:
                    function = {"name": wrong["name"] or "", "arguments": wrong["args"] or ""}
                    calls.append({"id": wrong["id"], "type": "function", "function": function})
            if (more := message.additional_kwargs) and (reasoning := more.get("reasoning_content")):
                wire["reasoning_content"] = reasoning
        return wire
    if role == "tool" and isinstance(message, ToolMessage):
        wire["tool_call_id"] = message.tool_call_id
    if name := message.name:
        wire["name"] = name
    return wire


def held(args: Any) -> Any:
    """Copy the arguments of a call: the mapping itself where all in it is plain, which costs least, else as JSON."""
    if type(args) is dict:
        copy = args.copy()  # first, and in one step: another thread may change the mapping meanwhile
        try:
            for value in copy.values():
                if type(value) not in _PLAIN:
                    break
            else:
                return copy
        except TypeError:  # a class that has no hash
            pass
    return dumps(args)


def _copied(content: Any) -> Any:
    """Copy what can change of a message's content: the parts of a list."""
    if isinstance(content, str):
        return str.__str__(content)  # what it holds, however its class shows itself
    return [dict(part) if isinstance(part, dict) else part for part in content]


def _role_of_other(message: BaseMessage) -> str | None:
    if message.type == "remove":
        return None
    role = str(getattr(message, "role", "user"))
    return role if role in ("system", "developer", "user", "assistant", "tool", "function") else "user"


def finish(wire: dict[str, Any], clip: Clip) -> bool:
    """Bring a snapshot into its final form, in place; True if a field was cut."""
    content = wire["content"]
    cut = False
    if type(content) is str:
        wire["content"] = clip(content)
        cut = wire["content"] is not content
    else:
        parts, thought, cut = _parts(content, clip)
        if thought and not wire.get("reasoning_content"):
            wire["reasoning_content"] = thought
        if all(part.get("type") == "text" and "text" in part for part in parts):
            wire["content"] = "".join(part["text"] for part in parts)
        else:
            wire["content"] = parts
    said = wire.get("reasoning_content")
    if isinstance(said, str):
        wire["reasoning_content"] = clip(said)
        cut = cut or wire["reasoning_content"] is not said
    for call in wire.get("tool_calls", ()):
        function = call["function"]
        if type(function["arguments"]) is not str:
            function["arguments"] = dumps(function["arguments"])
        arguments = function["arguments"]
        function["arguments"] = clip(arguments)
        cut = cut or function["arguments"] is not arguments
    return cut


def _parts(content: Sequence[Any], clip: Clip) -> tuple[list[dict[str, Any]], str, bool]:
    """Sort the blocks of list content: parts to keep, the thought in it, whether something was cut."""
    parts: list[dict[str, Any]] = []
    thoughts: list[str] = []
    cut = False
    for part in content:
        if not isinstance(part, dict):
            part = {"type": "text", "text": str(part)}
        kind = part.get("type")
        if kind in _CALL_BLOCKS:
            continue
        if kind in _THOUGHT_BLOCKS:
            thoughts.append(_thought(part))
            continue
        if kind in ("text", "output_text", "input_text"):
            text = str(part.get("text") or "")
            parts.append({"type": "text", "text": (kept := clip(text))})
            cut = cut or kept is not text
        else:
            parts.append(_without_blobs(part, clip.limit))
    return parts, "\n".join(filter(None, thoughts)), cut


def _thought(block: Mapping[str, Any]) -> str:
    for key in ("reasoning", "thinking", "text", "reasoning_content"):
        value = block.get(key)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, Mapping) and isinstance(value.get("text"), str):
            return str(value["text"])
    summary = block.get("summary")
    if isinstance(summary, list):
        return "\n".join(str(item.get("text", "")) for item in summary if isinstance(item, dict))
    return ""


def _without_blobs(value: Any, limit: int, depth: int = 0) -> Any:
    """Replace large binary strings (base64, data URLs) by their hash and size, and cut other long ones."""
    if isinstance(value, str):
        if len(value) <= _INLINE_BYTES:
            return value
        head, comma, data = value.partition(",") if value.startswith("data:") else ("", "", value)
        if comma or (len(value) > limit) or " " not in value[:256]:
            digest = hashlib.sha256(data.encode("utf-8", "replace")).hexdigest()
            return f"{head}{comma}sha256:{digest};chars={len(data)}"
        return value
    if isinstance(value, bytes | bytearray):
        return f"sha256:{hashlib.sha256(value).hexdigest()};bytes={len(value)}"
    if depth >= _MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return {str(key): _without_blobs(item, limit, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_blobs(item, limit, depth + 1) for item in value]
    return value


def size_of_blocks(content: str | Sequence[Mapping[str, Any]]) -> int:
    """Give the bytes of content that came as blocks, as `finish` left it."""
    if isinstance(content, str):
        return size_of(content)
    return sum(size_of(part["text"]) if part.get("type") == "text" else len(dumps(part)) for part in content)


def dumps(value: Any) -> str:
    """Render a value as compact JSON; what JSON cannot hold becomes text."""
    try:
        return orjson.dumps(value, default=_text_of, option=orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, ValueError):  # integers beyond 64 bits, lone surrogates, cycles
        try:
            return json.dumps(plain(value), ensure_ascii=True)
        except (TypeError, ValueError):
            return json.dumps(_text_of(value))


def _text_of(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return list(value)
    if isinstance(value, bytes | bytearray):
        return value.decode("utf-8", "replace")
    if isinstance(value, BaseMessage):
        wire = snapshot(value) or {}
        for call in wire.get("tool_calls", ()):
            function = call["function"]
            if type(function["arguments"]) is not str:
                function["arguments"] = dumps(function["arguments"])
        return wire or None
    dump = getattr(value, "model_dump", None)
    try:
        return dump(mode="json") if dump is not None and not isinstance(value, type) else str(value)
    except Exception:  # foreign code; a fact with one odd value is still a fact
        return f"<{type(value).__name__}>"


class Bounded:
    """Copies values within bounds, and counts in `cut` what did not fit; what was cut says so in its place.

    Texts are bounded in length (by `clip`), containers in depth and in the number of items.
    """

    def __init__(self, clip: Clip) -> None:
        """Begin with nothing cut."""
        self._clip = clip
        self.cut = 0

    def text(self, text: str) -> str:
        """Give a text, shortened if it is too long."""
        kept = self._clip(text)
        self.cut += kept is not text
        return kept

    def plain(self, value: Any, depth: int = 0) -> Any:
        """Copy a value as JSON-like data."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return self.text(value)
        if depth >= _MAX_DEPTH:
            self.cut += 1
            return "…"
        if isinstance(value, Mapping):
            fields = {
                bounded_id(str(key)): self.plain(item, depth + 1) for key, item in islice(value.items(), _MAX_ITEMS)
            }
            return fields | self._rest(len(value))
        if isinstance(value, list | tuple | set | frozenset):
            items = [self.plain(item, depth + 1) for item in islice(value, _MAX_ITEMS)]
            return items + list(self._rest(len(value)).values())
        return self.plain(_text_of(value), depth + 1)

    def _rest(self, count: int) -> dict[str, str]:
        """Tell of the items that were left out."""
        if count <= _MAX_ITEMS:
            return {}
        self.cut += 1
        return {"…": f"… [cut: {count} items]"}


def plain(value: Any) -> Any:
    """Copy a value as JSON-like data, bounded in depth and width; texts stay as long as they are."""
    return Bounded(Clip(sys.maxsize)).plain(value)


def content_key(message: BaseMessage) -> tuple[Any, ...]:
    """Give a key that two messages share exactly when they say the same; cheap where the content is text."""
    content: Any = message.content
    if type(content) is not str:
        content = tuple(_part_key(part) for part in content)
    calls = getattr(message, "tool_calls", None)
    return (
        _ROLES.get(message.type, message.type),
        content,
        getattr(message, "tool_call_id", None),
        tuple((call["id"], call["name"], str(call["args"])) for call in calls) if calls else None,
    )


def _part_key(part: Any) -> Any:
    if not isinstance(part, dict):
        return str(part)
    return tuple((key, value if isinstance(value, str) else repr(value)) for key, value in sorted(part.items()))


def same_message(one: BaseMessage, other: BaseMessage) -> bool:
    """Whether two messages of one id say the same."""
    return one is other or (
        one.content == other.content and getattr(one, "tool_calls", None) == getattr(other, "tool_calls", None)
    )


class _Words:
    """What a caller said in bare words: what we ask of a HumanMessage, without the cost of making one."""

    __slots__ = ("content",)

    type = "human"
    id = name = None
    response_metadata: Mapping[str, Any] = {}

    def __init__(self, text: str) -> None:
        self.content = text


def to_messages(given: Any) -> list[BaseMessage] | None:
    """Read what a caller may send as messages (objects, tuples, dicts, text); None if it is something else."""
    if isinstance(given, BaseMessage):
        return [given]
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, Sequence):
        return None
    if all([type(item) in _USUAL or isinstance(item, BaseMessage) for item in given]):
        return list(given)
    try:
        if len(given) == 1 and (text := _user_text(given[0])) is not None:
            return [cast(BaseMessage, _Words(text))]
        return list(convert_to_messages(given))
    except Exception:  # not messages after all
        return None


def _user_text(given: Any) -> str | None:
    """Give the text of the most usual inputs, `("user", text)` and `{"role": "user", "content": text}`."""
    if type(given) is tuple and len(given) == 2:
        role, text = given
    elif type(given) is dict and len(given) == 2:
        role, text = given.get("role"), given.get("content")
    else:
        return None
    return text if role in ("user", "human") and type(text) is str else None


def messages_in(output: Any) -> list[BaseMessage]:
    """Find the messages that a node's output adds to the state: in dicts, Commands, lists of them, or bare."""
    if type(output) is list and len(output) == 1:  # the most usual first: a list of one Command of one message
        output = output[0]
    if type(output) is Command and type(output.update) is dict:
        output = output.update
    if type(output) is dict:
        if len(output) == 1:
            for value in output.values():
                if type(value) is list and len(value) == 1 and type(value[0]) in _USUAL:
                    return value.copy()
                return _messages_of(value)
        return [message for value in output.values() for message in _messages_of(value)]
    if type(output) is list and len(output) == 1:
        return messages_in(output[0])
    if output is None or isinstance(output, str):
        return []
    if isinstance(output, BaseMessage):
        return [output]
    if isinstance(output, dict):
        return [message for value in output.values() for message in _messages_of(value)]
    if isinstance(output, Command):
        update = output.update
        if isinstance(update, list | tuple):
            return [message for pair in update if _is_pair(pair) for message in _messages_of(pair[1])]
        return messages_in(update)
    if isinstance(output, list | tuple):
        return [message for item in output for message in messages_in(item)]
    return _messages_of(getattr(output, "messages", None))


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2


def _messages_of(value: Any) -> list[BaseMessage]:
    if type(value) is list:
        if len(value) == 1:
            return value.copy() if type(value[0]) in _USUAL or isinstance(value[0], BaseMessage) else []
        if not value or not isinstance(value[-1], BaseMessage):
            return []
        return [item for item in value if type(item) in _USUAL or isinstance(item, BaseMessage)]
    if isinstance(value, BaseMessage):
        return [value]
    if isinstance(value, list) and value and isinstance(value[-1], BaseMessage):
        return [item for item in value if isinstance(item, BaseMessage)]
    if isinstance(value, Overwrite):
        return _messages_of(value.value)
    return []


def openai_tools(tools: Any) -> list[dict[str, Any]]:
    """Bring tool schemas, as the providers' clients send them, into OpenAI's form."""
    found: list[dict[str, Any]] = []
    for tool in tools if isinstance(tools, list | tuple) else ():
        if not isinstance(tool, Mapping):
            continue
        if isinstance(tool.get("function"), Mapping):
            found.append({"type": "function", "function": _copy(tool["function"])})
        elif "function_declarations" in tool:
            found += [_function(item, "parameters") for item in tool["function_declarations"] if "name" in item]
        elif "name" in tool:
            found.append(_function(tool, "input_schema" if "input_schema" in tool else "parameters"))
        else:  # a tool that the provider runs itself
            found.append(_copy(dict(tool)))
    return found


def _function(tool: Mapping[str, Any], schema: str) -> dict[str, Any]:
    function = {"name": tool["name"], "description": tool.get("description"), "parameters": tool.get(schema)}
    return {"type": "function", "function": {key: _copy(value) for key, value in function.items() if value is not None}}


def _copy(schema: Any) -> Any:
    """Copy a schema whole: what bounds it is that a model was sent it."""
    return orjson.loads(dumps(schema))
