"""Runs that went straight, read in one pass.

Most runs are one agent that asks its model, runs the tools that were asked for, and asks again with all that was said.
Such a conversation is in the order of its facts, so nothing of what `Reading` keeps to find places is needed: that is
a third of what taking in a run costs. Whatever is unusual in any way (a nested graph, a retry, words that came without
an event, a fact of a form that we do not write) is left to `Reading`, which tells the same of what is read here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agenther_live.assemble.fields import run_of, trajectory_of
from agenther_live.assemble.lanes import text_of, thought_of
from agenther_live.assemble.sound import are_messages, are_objects, is_sound_head
from agenther_live.assemble.tools import named, tools_version
from agenther_live.clock import moment

__all__ = ["straight"]

Record = Mapping[str, Any]

_FLAGS = (("partial_tree", "partial"), ("conversational", "conversational"))
_TEXT = (str, type(None))
_OTHERS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def straight(records: Sequence[Record], *, trajectory_id: str, revision: int) -> dict[str, Any] | None:
    """Give the trajectory of one run by its fields, each of them sound; None where it did not go straight."""
    try:
        return _read(records, trajectory_id, revision)
    except _OTHERS:  # facts of another form
        return None


def _read(records: Sequence[Record], trajectory_id: str, revision: int) -> dict[str, Any] | None:
    start, end = records[0], records[-1]
    if start["k"] != "start" or end["k"] != "end" or not start.get("new_input"):
        return None
    began: float | None = start.get("at")
    sent = start["input"]
    own = frozenset(sent)
    if not own or len(own) != len(sent):
        return None
    told: dict[Any, Record] = {}  # messages by number
    placed: set[Any] = set()  # those that stand in the conversation
    shown: set[Any] = set()  # those that the last call showed
    call_ids: set[str] = set()
    waiting: dict[Any, dict[str, Any]] = {}  # actions by call id, until they are begun
    running: dict[Any, dict[str, Any]] = {}
    results: dict[Any, dict[str, Any]] = {}  # messages that answer actions of the last step, by call id
    nodes: dict[Any, str | None] = {}
    tasks: set[tuple[Any, Any]] = set()
    outs: dict[Any, Any] = {}
    replies: list[tuple[Any, Any]] = []  # (node run, message)
    schemas: dict[Any, list[dict[str, Any]]] = {}
    offered: dict[Any, None] = {}
    models: dict[str, None] = {}
    n_told = prompted = completed = 0
    messages: list[dict[str, Any]] = []
    steps: list[dict[str, Any]] = []
    actions: list[dict[str, Any]] = []  # of the last step
    call: Record | None = None  # the one that has no reply yet
    last_call = said = None
    context_len = 0
    for record in records[1:-1]:
        kind = record["k"]
        if kind != "f":
            if kind == "start" or kind == "end":
                return None
            continue
        for item in record["f"]:
            kind = item["t"]
            if kind == "msg":
                told[item["m"]] = item
                n_told += 1
            elif kind == "call":
                last_call, before = item["c"], last_call
                add = item["add"]
                if call is not None or running or item["s"] or item.get("n") or not last_call:
                    return None
                call = item
                if before is not None:
                    if item["base"] != before or item["keep"] != len(shown) or said not in add:
                        return None
                    _answer(actions, results, messages)
                    waiting.clear()
                    fresh = len(shown) + len(add)
                    shown.update(add)
                    if len(shown) != fresh or not placed.issuperset(add):
                        return None
                else:
                    if item.get("base"):
                        return None
                    shown.update(add)
                    if len(shown) != len(add) or not shown.issuperset(own):
                        return None
                    messages = [told[number]["msg"] for number in add]
                    turn = _turn(sent, told)
                    if turn is None or not _is_plain(add, own, told, messages):
                        return None
                    context_len = add.index(turn)
                    call_ids.update(asked.get("id") for wire in messages for asked in wire.get("tool_calls") or ())
                    placed.update(add)
                if (number := item.get("x")) and number not in offered:
                    if number not in schemas:
                        return None
                    offered[number] = None
                if model := item.get("model"):
                    models[model] = None
            elif kind == "reply":
                if call is None or item["c"] != last_call:
                    return None
                said = item["m"]
                wire = told[said]["msg"]
                content = wire.get("content")
                model = item.get("model")
                if model:
                    models[model] = None
                model = model or call.get("model")
                node = call["p"]
                name = nodes.get(node)
                if (
                    said in placed
                    or wire["role"] != "assistant"
                    or type(content) not in _TEXT
                    or type(model) not in _TEXT
                    or type(wire.get("tool_call_id")) not in _TEXT
                    or type(wire.get("name")) not in _TEXT
                ):
                    return None
                if usage := item.get("usage"):
                    prompted += usage[0]
                    completed += usage[1]
                placed.add(said)
                replies.append((node, said))
                actions = []
                if calls := wire.get("tool_calls"):
                    for asked in calls:
                        function, call_id = asked["function"], asked["id"]
                        wanted, given = function["name"], function["arguments"]
                        if (
                            type(call_id) is not str
                            or not call_id
                            or call_id in call_ids
                            or type(wanted) is not str
                            or type(given) is not str
                            or type(asked.get("type", "")) is not str
                        ):
                            return None
                        call_ids.add(call_id)
                        waiting[call_id] = action = {
                            "name": wanted,
                            "input": given,
                            "observation": None,
                            "is_error": False,
                            "call_id": call_id,
                            "observation_index": None,
                            "attempts": 1,
                        }
                        actions.append(action)
                steps.append(
                    {
                        "idx": len(steps),
                        "thought": thought_of(wire) if "reasoning_content" in wire else content or "",
                        "actions": actions,
                        "agent_path": "",
                        "message_index": len(messages),
                        "node": name,
                        "model": model,
                        "at": None if began is None or "d" not in item else moment(began + item["d"] / 1000),
                    }
                )
                messages.append(wire)
                call = None
            elif kind == "tool":
                action = waiting.pop(item["id"])
                number = item["n"]
                if call is not None or item["s"] or item.get("up") or not number or number in running:
                    return None
                if "args" in item and item["args"] != action["input"]:
                    return None
                running[number] = action
            elif kind == "tool_end":
                action = running.pop(item["n"])
                number = item["m"]
                result = told[number]
                wire = result["msg"]
                content = wire["content"]
                if (
                    number in placed
                    or wire["role"] != "tool"
                    or type(content) is not str
                    or wire.get("tool_calls") is not None
                    or type(wire.get("tool_call_id")) not in _TEXT
                    or type(wire.get("name")) not in _TEXT
                ):
                    return None
                placed.add(number)
                action["observation"], action["is_error"] = content, result.get("status") == "error"
                results[action["call_id"]] = wire
            elif kind == "node":
                node, name = item["p"], item["name"]
                task = (name, item["ns"])
                if item["s"] or node in nodes or task in tasks or type(name) is not str:
                    return None
                nodes[node] = name
                tasks.add(task)
            elif kind == "node_end":
                out = item.get("out") or ()
                node = item["p"]
                if node not in nodes or node in outs or "error" in item or item.get("control") or item.get("rewrite"):
                    return None
                if not placed.issuperset(out) or not own.isdisjoint(out):
                    return None
                outs[node] = out
            elif kind == "tools":
                number = item["x"]
                if number in schemas:
                    return None
                schemas[number] = item["tools"]
            else:
                return None
    _answer(actions, results, messages)
    out = end.get("out") or ()
    if (
        not steps
        or call is not None
        or not len(placed) == len(told) == n_told
        or not placed.issuperset(out)
        or not own.isdisjoint(out)
        or not all(type(model) is str for model in models)
    ):
        return None
    if any(outs.values()) and any(
        number not in outs[node] and number not in shown for node, number in replies if node in outs
    ):
        return None  # a call beside the conversation, maybe
    tools: list[dict[str, Any]] = []
    for number in offered:
        for tool in schemas[number]:
            if tool not in tools:
                tools.append(tool)
    if not are_objects(tools) or type(prompted) is not int or type(completed) is not int:
        return None
    fields = trajectory_of(
        (start,),
        end,
        (run_of(start, end, models=models, tools_version=tools_version(tools), tokens=(prompted, completed)),),
        trajectory_id=trajectory_id,
        revision=revision,
        goal=text_of(told[sent[-1]]["msg"]),
        said_last=None if actions else text_of(messages[-1]) or None,
        messages=tuple(messages),
        context_len=context_len,
        nested={},
        nested_tools={},
        tools=named(tools) or None,
        steps=tuple(steps),
        flags=[flag for flag, name in _FLAGS if start.get(name)] + ["truncated"] * bool(end.get("truncated")),
    )
    return fields if is_sound_head(fields) else None


def _turn(sent: Sequence[Any], told: Mapping[Any, Record]) -> Any:
    """Give the number of the first of the user's messages that end what the caller sent; None if it ends otherwise."""
    turn = None
    for number in reversed(sent):
        if told[number]["msg"]["role"] != "user":
            break
        turn = number
    return turn


def _is_plain(add: Sequence[Any], own: frozenset[Any], told: Mapping[Any, Record], messages: Sequence[Record]) -> bool:
    """Whether what the first call showed is a conversation as it stands: no message twice, and no sent prompt."""
    ids = [message_id for number in add if (message_id := told[number].get("id")) is not None]
    if len(set(ids)) != len(ids) or (add[0] in own and messages[0]["role"] in ("system", "developer")):
        return False
    return are_messages(messages)


def _answer(actions: Sequence[dict[str, Any]], results: dict[str, dict[str, Any]], messages: list[Any]) -> None:
    """Put the tools' messages behind the step that asked for them, in the order of its calls."""
    for action in actions if results else ():
        wire = results.pop(action["call_id"], None)
        if wire is not None:
            action["observation_index"] = len(messages)
            messages.append(wire)
