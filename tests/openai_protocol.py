"""The wire forms of the OpenAI API that the test server answers with, and what it demands of a request.

Pure functions; `tests.openai_server` puts them on a socket. The forms follow the API reference
(https://platform.openai.com/docs/api-reference): chat completions, their stream, and a minimal Responses API.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Json = dict[str, Any]
Fault = Literal["hang", "drop", "cut", "truncate", "malformed"]


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call of an answer. `arguments` as a string is sent as it stands, valid JSON or not."""

    name: str
    arguments: Json | str = field(default_factory=dict)
    id: str | None = None

    def encoded(self) -> str:
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the server answers to one request. Made by `say`, `call`, `refuse`, `hang` or by hand.

    `fault`, on the way to the client:
      hang       nothing is sent until the client leaves or the server stops
      drop       the connection is closed without one byte
      cut        the connection is closed in the middle of the body (or between two events of a stream)
      truncate   the HTTP answer is whole, its JSON ends half-way (in a stream: the last event but one)
      malformed  the HTTP answer is whole, its body is an HTML page (in a stream: one event is not JSON)
    """

    text: str | None = None
    calls: Sequence[Call] = ()
    status: int = 200
    message: str = ""
    """The error message, of a status that is not 200."""
    finish_reason: str | None = None
    usage: tuple[int, int] | None = None
    """Prompt and completion tokens. None: an estimate, four characters to a token."""
    delay_seconds: float = 0.0
    """Wait before the first byte."""
    after: Callable[[], object] | None = None
    """Wait until this is true, before the first byte."""
    event_delay_seconds: float = 0.0
    """Wait before each event of a stream."""
    headers: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Fields added to the top level of the answer (and of each stream event)."""
    message_extra: Mapping[str, Any] = field(default_factory=dict)
    """Fields added to the assistant message, for example reasoning_content (in a stream: to the first delta)."""
    fault: Fault | None = None


def say(text: str | Json, **fields: Any) -> Reply:
    """An answer in words. A dict is sent as JSON text, the way structured output arrives."""
    return Reply(text=text if isinstance(text, str) else json.dumps(text), **fields)


def call(name: str, arguments: Json | str | None = None, **fields: Any) -> Reply:
    """An answer that calls one tool. Several: `Reply(calls=[Call(…), Call(…)])`."""
    return Reply(calls=[Call(name, {} if arguments is None else arguments)], **fields)


def refuse(status: int, message: str = "", *, retry_after: float | None = None, **fields: Any) -> Reply:
    """An error answer. `retry_after` (seconds) becomes the Retry-After header."""
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
    return Reply(
        status=status, message=message or f"The test server was told to answer {status}.", headers=headers, **fields
    )


def hang(**fields: Any) -> Reply:
    """No answer, ever."""
    return Reply(fault="hang", **fields)


# --- what a real endpoint refuses -----------------------------------------------------------------------------------


def objection(path: str, request: Json) -> str | None:
    """Why a real endpoint would answer 400, or None. Holds the callers under test to the protocol."""
    if not isinstance(request.get("model"), str):
        return "you must provide a model parameter"
    if path.endswith("/responses"):
        return None if request.get("input") else "Missing required parameter: 'input'."
    if request.get("stream_options") is not None and not request.get("stream"):
        return "The 'stream_options' parameter is only allowed when 'stream' is enabled."
    return _messages_objection(request.get("messages")) or _format_objection(request.get("response_format"))


def _messages_objection(messages: Any) -> str | None:
    if not isinstance(messages, list) or not messages:
        return "Invalid 'messages': empty array. Expected an array with minimum length 1."
    unanswered: set[str] = set()
    for index, message in enumerate(messages):
        role = message.get("role")
        if role not in {"system", "developer", "user", "assistant", "tool"}:
            return f"Invalid value for 'messages[{index}].role': {role!r}."
        if role == "tool":
            if message.get("tool_call_id") not in unanswered:
                return f"messages[{index}]: 'tool' must be a response to a preceding message with 'tool_calls'."
            unanswered.discard(message["tool_call_id"])
        elif unanswered:
            return f"An assistant message with 'tool_calls' must be followed by tool messages: {sorted(unanswered)}."
        else:
            unanswered = {tool_call["id"] for tool_call in message.get("tool_calls") or ()}
    return f"These tool_call_ids have no response message: {sorted(unanswered)}." if unanswered else None


def _format_objection(response_format: Any) -> str | None:
    if not response_format or response_format["type"] != "json_schema":
        return None
    described = response_format["json_schema"]
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", described.get("name", "")):
        return f"Invalid 'response_format.json_schema.name': {described.get('name')!r}."
    if not described.get("strict"):
        return None
    # Strict mode: https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
    for schema in _object_schemas(described["schema"]):
        if schema.get("additionalProperties") is not False:
            return (
                "Invalid schema for response_format: 'additionalProperties' is required to be supplied and to be false."
            )
        if set(schema.get("required", ())) != set(schema["properties"]):
            return "Invalid schema for response_format: 'required' must include every key in properties."
    return None


def _object_schemas(schema: Any) -> Iterator[Json]:
    if isinstance(schema, list):
        for item in schema:
            yield from _object_schemas(item)
    elif isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield schema
            yield from _object_schemas(list(schema["properties"].values()))
        yield from _object_schemas([value for key, value in schema.items() if key != "properties"])


# --- what it answers ------------------------------------------------------------------------------------------------


def error_body(reply: Reply) -> Json:
    """The error object, with the type and code that each status has at OpenAI."""
    kind, code = {
        401: ("invalid_request_error", "invalid_api_key"),
        404: ("invalid_request_error", "model_not_found"),
        429: ("requests", "rate_limit_exceeded"),
    }.get(reply.status, ("invalid_request_error" if reply.status < 500 else "server_error", None))
    return {"error": {"message": reply.message, "type": kind, "param": None, "code": code}} | dict(reply.extra)


def completion(reply: Reply, request: Json, number: int) -> Json:
    """A chat.completion object. `number` makes the ids, so a run of the server is repeatable."""
    message: Json = {"role": "assistant", "content": reply.text, "refusal": None, **reply.message_extra}
    if reply.calls:
        message["tool_calls"] = _tool_calls(reply, number)
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish_reason(reply)}
    return (
        _chat_head("chat.completion", request, number)
        | {"choices": [choice], "usage": _usage(reply, request)}
        | dict(reply.extra)
    )


def completion_events(reply: Reply, request: Json, number: int) -> Iterator[str]:
    """The server-sent events of a streamed chat completion."""
    head = _chat_head("chat.completion.chunk", request, number)
    with_usage = bool((request.get("stream_options") or {}).get("include_usage"))

    def event(choices: list[Json], usage: Json | None = None) -> str:
        chunk = head | {"choices": choices} | ({"usage": usage} if with_usage else {}) | dict(reply.extra)
        return f"data: {json.dumps(chunk)}\n\n"

    def delta(fields: Json, finish_reason: str | None = None) -> str:
        return event([{"index": 0, "delta": fields, "logprobs": None, "finish_reason": finish_reason}])

    yield delta({"role": "assistant", "content": None if reply.text is None else "", **reply.message_extra})
    for piece in _pieces(reply.text):
        yield delta({"content": piece})
    for index, tool_call in enumerate(_tool_calls(reply, number)):
        function = tool_call["function"]
        opening = {"index": index, **tool_call, "function": {"name": function["name"], "arguments": ""}}
        yield delta({"tool_calls": [opening]})
        for piece in _pieces(function["arguments"]):
            yield delta({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    yield delta({}, _finish_reason(reply))
    if with_usage:
        yield event([], _usage(reply, request))
    yield "data: [DONE]\n\n"


def response(reply: Reply, request: Json, number: int) -> Json:
    """A response object of the Responses API: message and function calls, nothing else."""
    output: list[Json] = []
    if reply.text is not None:
        content = {"type": "output_text", "text": reply.text, "annotations": []}
        output.append(
            {"type": "message", "id": f"msg_{number}", "role": "assistant", "status": "completed", "content": [content]}
        )
    for index, tool_call in enumerate(_tool_calls(reply, number)):
        item = {
            "type": "function_call",
            "id": f"fc_{number}_{index}",
            "call_id": tool_call["id"],
            "status": "completed",
        }
        output.append(item | tool_call["function"])
    tokens = _usage(reply, request)
    usage = {
        "input_tokens": tokens["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": tokens["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": tokens["total_tokens"],
    }
    return (
        _response_head(request, number) | {"status": "completed", "output": output, "usage": usage} | dict(reply.extra)
    )


def response_events(reply: Reply, request: Json, number: int) -> Iterator[str]:
    """The server-sent events of a streamed response."""
    whole = response(reply, request, number)
    sequence = 0

    def event(kind: str, **fields: Any) -> str:
        nonlocal sequence
        sequence += 1
        return f"event: {kind}\ndata: {json.dumps({'type': kind, 'sequence_number': sequence, **fields})}\n\n"

    yield event("response.created", response=_response_head(request, number) | {"status": "in_progress", "output": []})
    for index, item in enumerate(whole["output"]):
        place: Json = {"output_index": index, "item_id": item["id"]}
        if item["type"] == "message":
            (part,) = item["content"]
            yield event("response.output_item.added", output_index=index, item=item | {"content": []})
            yield event("response.content_part.added", **place, content_index=0, part=part | {"text": ""})
            for piece in _pieces(part["text"]):
                yield event("response.output_text.delta", **place, content_index=0, delta=piece, logprobs=[])
            yield event("response.output_text.done", **place, content_index=0, text=part["text"], logprobs=[])
            yield event("response.content_part.done", **place, content_index=0, part=part)
        else:
            yield event("response.output_item.added", output_index=index, item=item | {"arguments": ""})
            for piece in _pieces(item["arguments"]):
                yield event("response.function_call_arguments.delta", **place, delta=piece)
            yield event("response.function_call_arguments.done", **place, arguments=item["arguments"])
        yield event("response.output_item.done", output_index=index, item=item)
    yield event("response.completed", response=whole)


def _chat_head(kind: str, request: Json, number: int) -> Json:
    return {"id": f"chatcmpl-{number}", "object": kind, "created": 1_700_000_000, "model": request["model"]}


def _response_head(request: Json, number: int) -> Json:
    return {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": 1_700_000_000,
        "model": request["model"],
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": request.get("tools", []),
        "usage": None,
    }


def _tool_calls(reply: Reply, number: int) -> list[Json]:
    return [
        {
            "id": tool_call.id or f"call_{number}_{index}",
            "type": "function",
            "function": {"name": tool_call.name, "arguments": tool_call.encoded()},
        }
        for index, tool_call in enumerate(reply.calls)
    ]


def _finish_reason(reply: Reply) -> str:
    return reply.finish_reason or ("tool_calls" if reply.calls else "stop")


def _usage(reply: Reply, request: Json) -> Json:
    if reply.usage is None:
        asked = len(json.dumps(request.get("messages") or request.get("input")))
        answered = len(reply.text or "") + sum(len(tool_call.encoded()) for tool_call in reply.calls)
        prompt, answer = asked // 4 + 1, answered // 4 + 1
    else:
        prompt, answer = reply.usage
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def _pieces(text: str | None) -> list[str]:
    """Cut text where a tokenizer might, so that a delta ends inside words, numbers and JSON alike."""
    return re.findall(r".{1,6}", text or "", flags=re.DOTALL)
