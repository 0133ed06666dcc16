"""What messages must be, in the forms that several dialects share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agenther_live.shards.rows.canonical import strict_json

__all__ = [
    "CHAT_KEYS",
    "chat_problems",
    "loads",
    "mask_problems",
    "parallel_problems",
    "schema_problems",
    "swift_problems",
    "tools_problems",
]

SWIFT_ROLES = {"system", "user", "assistant", "tool_call", "tool_response"}
CHAT_KEYS = {
    "system": {"role", "content"},
    "user": {"role", "content"},
    "assistant": {"role", "content", "tool_calls"},
    "tool": {"role", "content", "tool_call_id", "name"},
}


def loads(text: Any) -> Any:
    """Parse strict JSON; None where it is none."""
    try:
        return strict_json(text)
    except (TypeError, ValueError, RecursionError):
        return None


def mask_problems(flags: Sequence[bool]) -> Iterator[str]:
    """Say whether nothing, or everything, is trained."""
    if not any(flags):
        yield "no message is trained"
    elif all(flags):
        yield "every message is trained"


def tools_problems(text: str, none: str) -> Iterator[str]:
    """Check a column of tool schemas as JSON text, `none` where there are none."""
    if text == none:
        return
    tools = loads(text)
    if not isinstance(tools, list) or not tools:
        yield f"tools is neither {none!r} nor a JSON list of schemas"
        return
    yield from schema_problems(tools)


def schema_problems(tools: Sequence[Any]) -> Iterator[str]:
    """Check tool schemas in OpenAI's form."""
    for tool in tools:
        function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
        if not isinstance(function, dict) or not function.get("name"):
            yield "a tool is not of the form {type: function, function: {name, …}}"
        elif not isinstance(function.get("parameters"), dict) or "properties" not in function["parameters"]:
            yield f"tool {function['name']} has no parameters with properties"


def _calls(calls: Any, kind: type, taken: set[str]) -> Iterator[str]:
    if not isinstance(calls, list) or not calls:
        yield "tool_calls is no list of calls"
        return
    for call in calls:
        if set(call) != {"id", "type", "function"} or call["type"] != "function":
            yield "a tool call has other keys than id, type, function"
            return
        if not call["id"] or call["id"] in taken:
            yield f"call id {call['id']!r} is empty or used twice"
        taken.add(call["id"])
        if set(call["function"]) != {"name", "arguments"} or not call["function"]["name"]:
            yield "a call's function has other keys than name, arguments"
            return
        arguments = call["function"]["arguments"]
        if not isinstance(arguments, kind):
            yield f"arguments are {type(arguments).__name__}, and this format wants {kind.__name__}"
        elif isinstance(arguments, str) and not isinstance(loads(arguments), dict):
            yield "arguments are no JSON object"


def chat_problems(messages: Sequence[Any], arguments: type, extra: Mapping[str, set[str]]) -> Iterator[str]:
    """Check OpenAI-style messages: keys by role, ids unique, every call answered unless it stands at the end."""
    taken: set[str] = set()
    unanswered: list[str] = []
    for message in messages:
        role = message["role"]
        if role not in CHAT_KEYS:
            yield f"role {role!r} is not known"
            return
        allowed = CHAT_KEYS[role] | extra.get(role, set())
        if unknown := set(message) - allowed:
            yield f"a {role} message has the key {sorted(unknown)[0]}"
        if not isinstance(message.get("content", ""), str):
            yield f"the content of a {role} message is no text"
        if "content" not in message and "tool_calls" not in message:
            yield f"a {role} message has neither content nor tool_calls"
        if missing := extra.get(role, set()) - set(message):
            yield f"an {role} message lacks the key {sorted(missing)[0]}"
        if role == "tool":
            if message.get("tool_call_id") not in unanswered:
                yield f"a tool message answers {message.get('tool_call_id')!r}, which is no open call"
                return
            unanswered.remove(message["tool_call_id"])
            continue
        if unanswered:
            yield f"call {unanswered[0]} is not answered"
            return
        if "tool_calls" in message:
            yield from _calls(message["tool_calls"], arguments, taken)
            unanswered = [call["id"] for call in message["tool_calls"]]
    if unanswered and (not messages or messages[-1]["role"] == "tool"):
        yield f"call {unanswered[0]} is not answered"
    if not any(message["role"] == "user" for message in messages):
        yield "there is no user message"


def parallel_problems(
    made: Mapping[str, Any], messages: Sequence[Any], train: str = "train", weights: str = "weights"
) -> Iterator[str]:
    """Check the columns that say per message what is trained, and with which weight."""
    if len(made[train]) != len(messages) or len(made[weights]) != len(messages):
        yield f"{train} and {weights} are not as long as the messages"
        return
    for message, flag, weight in zip(messages, made[train], made[weights], strict=True):
        if type(flag) is not bool or type(weight) is not float or weight < 0:
            yield f"{train} is no list of bool, or {weights} no list of weights"
            return
        if flag != message.get("train", False):
            yield f"the column {train} and the messages' own flags differ"
            return


def swift_problems(messages: Sequence[Any]) -> Iterator[str]:
    """Check ms-swift's messages: roles, keys, and that results follow calls."""
    open_calls = 0
    before = ""
    for place, message in enumerate(messages):
        if set(message) != {"role", "content", "loss", "loss_scale"}:
            yield "a message has other keys than role, content, loss, loss_scale"
            return
        role = message["role"]
        if role not in SWIFT_ROLES or (role == "system" and place):
            yield f"role {role!r} is not known, or stands where it is not read"
        if type(message["content"]) is not str or type(message["loss"]) is not bool:
            yield "content is no text, or loss no bool"
        if type(message["loss_scale"]) is not float or message["loss_scale"] < 0:
            yield "loss_scale is no weight"
        if message["loss"] and role not in ("assistant", "tool_call"):
            yield f"a {role} message is trained"
        if role == "tool_call":
            call = loads(message["content"])
            if not isinstance(call, dict) or not isinstance(call.get("arguments"), dict) or not call.get("name"):
                yield "a tool_call is no JSON object with name and arguments"
            open_calls = open_calls + 1 if before == "tool_call" else 1
        elif role == "tool_response":
            open_calls -= 1
            if open_calls < 0:
                yield "a tool_response follows no call"
        elif open_calls:
            yield "a call is not answered"
            open_calls = 0
        before = role
    if open_calls > 0 and before == "tool_response":
        yield "a call is not answered"
    if not any(message["role"] == "user" for message in messages):
        yield "there is no user message"
