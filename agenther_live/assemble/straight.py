"""Runs that went straight, read in one pass.

Most runs are one agent that asks its model, runs the tools that were asked for, and asks again with all that was said.
Such a conversation is in the order of its facts, so nothing of what `Reading` keeps to find places is needed: that is
a third of what taking in a run costs. Whatever is unusual in any way (a nested graph, a retry, words that came without
an event, a fact of a form that we do not write) is left to `Reading`, which tells the same of what is read here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agenther_live.assemble.fields import MILLISECOND, run_of, trajectory_of
from agenther_live.assemble.lanes import text_of, thought_of
from agenther_live.assemble.sound import are_messages, are_objects, are_texts, is_sound_head
from agenther_live.assemble.tools import named, tools_version
from agenther_live.clock import moment

__all__ = ["straight"]

Record = Mapping[str, Any]

_FLAGS = (("partial_tree", "partial"), ("conversational", "conversational"))
_TEXT = (str, type(None))


class _OtherwiseError(ValueError):
    """A run did not go straight."""


_OTHERS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)  # so do facts of another form end


def straight(records: Sequence[Record], *, trajectory_id: str, revision: int) -> dict[str, Any] | None:
    """Give the trajectory of one run by its fields, each of them sound; None where it did not go straight."""
    try:
        start, end = records[0], records[-1]
        if start["k"] != "start" or end["k"] != "end" or not start.get("new_input"):
            return None
        line = _Line(start)
        for record in records[1:-1]:
            kind = record["k"]
            if kind == "f":
                line.read(record["f"])
            elif kind == "start" or kind == "end":
                return None
        line.close(end)
        fields = line.fields(end, trajectory_id, revision)
        return fields if is_sound_head(fields) else None
    except _OTHERS:
        return None


class _Line:
    """A run that goes straight, as far as it was read: turn by turn, what was asked, said, done and seen.

    Each method reads one kind of fact, and raises where it is not what comes next in such a run. They are called for
    every fact of every run that is taken in: what is looked up once less is felt.
    """

    __slots__ = (
        "_actions", "_began", "_call", "_call_ids", "_completed", "_context_len", "_fresh", "_messages", "_models",
        "_n_shown", "_n_told", "_nodes", "_offered", "_outs", "_own", "_placed", "_prompted", "_running", "_said",
        "_schemas", "_start", "_steps", "_tasks", "_told", "_waiting",
    )  # fmt: skip

    def __init__(self, start: Record) -> None:
        sent = start["input"]
        self._start = start
        self._began = moment(start["at"])
        self._own = frozenset(sent)
        if not sent or len(self._own) != len(sent):
            raise _OtherwiseError
        self._told: dict[Any, Record] = {}  # messages by number
        self._n_told = 0
        self._placed: set[Any] = set()  # those that stand in the conversation
        self._fresh: list[Any] = []  # those of them that no call was shown yet
        self._n_shown = 0
        self._messages: list[dict[str, Any]] = []  # the conversation
        self._context_len = 0
        self._steps: list[dict[str, Any]] = []
        self._actions: list[dict[str, Any]] = []  # of the last step
        self._call: Record | None = None  # the last one
        self._said: Any = None  # the message that answered it
        self._call_ids: set[str] = set()
        self._waiting: dict[Any, dict[str, Any]] = {}  # actions by call id, until they are begun
        self._running: dict[Any, dict[str, Any]] = {}  # by tool run, until they end
        self._nodes: dict[Any, str] = {}
        self._tasks: set[tuple[Any, Any]] = set()
        self._outs: dict[Any, Sequence[Any] | None] = {}  # what each gave to the state; None: it did not end
        self._schemas: dict[Any, list[dict[str, Any]]] = {}
        self._offered: dict[Any, None] = {}
        self._models: dict[str, None] = {}
        self._prompted = self._completed = 0

    def read(self, items: Sequence[Record]) -> None:
        """Read facts in the order in which they happened."""
        told, n_told = self._told, 0
        for item in items:
            kind = item["t"]
            if kind == "msg":
                told[item["m"]] = item
                n_told += 1
            elif kind == "call":
                self._ask(item)
            elif kind == "reply":
                self._reply(item)
            elif kind == "tool":
                self._begin(item)
            elif kind == "tool_end":
                self._observe(item)
            elif kind == "node":
                self._enter(item)
            elif kind == "node_end":
                self._leave(item)
            elif kind == "tools" and item["x"] not in self._schemas:
                self._schemas[item["x"]] = item["tools"]
            else:
                raise _OtherwiseError
        self._n_told += n_told

    def _ask(self, item: Record) -> None:
        """A model is asked: it is shown the whole conversation, and nothing else."""
        before, self._call = self._call, item
        add = item["add"]
        if self._running or item["s"] or item.get("n") or not item["c"]:
            raise _OtherwiseError
        if before is None:
            if item.get("base"):
                raise _OtherwiseError
            self._open(add)
        else:
            fresh = self._fresh
            if self._said is None or item["base"] != before["c"] or item["keep"] != self._n_shown:
                raise _OtherwiseError
            if add != fresh and (len(add) != len(fresh) or set(add) != set(fresh)):  # results come in any order
                raise _OtherwiseError
            if len(self._actions) > 1:
                self._in_order()
            self._waiting.clear()
            self._said = None
        self._n_shown += len(add)
        if (number := item.get("x")) and number not in self._offered:
            if number not in self._schemas:
                raise _OtherwiseError
            self._offered[number] = None
        if model := item.get("model"):
            self._models[model] = None

    def _open(self, add: Sequence[Any]) -> None:
        """The first call begins the conversation: a prompt maybe, earlier turns, what the caller sent."""
        told, own = self._told, self._own
        placed = self._placed
        placed.update(add)
        if len(placed) != len(add) or not placed.issuperset(own):
            raise _OtherwiseError
        self._messages = messages = [told[number]["msg"] for number in add]
        turn = _turn(self._start["input"], told)
        if turn is None or not _is_plain(add, own, told, messages):
            raise _OtherwiseError
        self._context_len = add.index(turn)
        self._call_ids.update(asked.get("id") for wire in messages for asked in wire.get("tool_calls") or ())

    def _reply(self, item: Record) -> None:
        """The model answers: a step, its tool calls open."""
        call, number = self._call, item["m"]
        if call is None or self._said is not None or item["c"] != call["c"] or number in self._placed or number is None:
            raise _OtherwiseError
        self._said = number
        self._placed.add(number)
        self._fresh = [number]
        wire = self._told[number]["msg"]
        content, calls = wire["content"], wire.get("tool_calls")
        if wire["role"] != "assistant" or type(content) not in _TEXT:
            raise _OtherwiseError
        thought = content or ""
        if len(wire) != (3 if calls else 2):  # more in it than these three
            if type(wire.get("tool_call_id")) not in _TEXT or type(wire.get("name")) not in _TEXT:
                raise _OtherwiseError
            thought = thought_of(wire)
        if model := item.get("model"):
            self._models[model] = None
        else:
            model = call.get("model")
            if type(model) not in _TEXT:
                raise _OtherwiseError
        if usage := item.get("usage"):
            self._prompted += usage[0]
            self._completed += usage[1]
        self._actions = [self._action(asked) for asked in calls] if calls else []
        self._steps.append(
            {
                "idx": len(self._steps),
                "thought": thought,
                "actions": self._actions,
                "agent_path": "",
                "message_index": len(self._messages),
                "node": self._nodes.get(call["p"]),
                "model": model,
                "at": self._began + MILLISECOND * item["d"],
            }
        )
        self._messages.append(wire)

    def _action(self, asked: Record) -> dict[str, Any]:
        function, call_id = asked["function"], asked["id"]
        name, given = function["name"], function["arguments"]
        if (
            type(call_id) is not str
            or not call_id
            or call_id in self._call_ids
            or type(name) is not str
            or type(given) is not str
            or type(asked.get("type", "")) is not str
        ):
            raise _OtherwiseError
        self._call_ids.add(call_id)
        self._waiting[call_id] = action = {
            "name": name,
            "input": given,
            "observation": None,
            "is_error": False,
            "call_id": call_id,
            "observation_index": None,
            "attempts": 1,
        }
        return action

    def _begin(self, item: Record) -> None:
        """A tool runs for a call that waits, with its arguments."""
        action, number = self._waiting.pop(item["id"]), item["n"]
        if item["s"] or item.get("up") or not number or number in self._running:
            raise _OtherwiseError
        if "args" in item and item["args"] != action["input"]:
            raise _OtherwiseError
        self._running[number] = action

    def _observe(self, item: Record) -> None:
        """A tool gave a message."""
        action, number = self._running.pop(item["n"]), item["m"]
        result = self._told[number]
        wire = result["msg"]
        content = wire["content"]
        if (
            number in self._placed
            or wire["role"] != "tool"
            or type(content) is not str
            or wire.get("tool_calls") is not None
            or type(wire.get("tool_call_id")) not in _TEXT
            or type(wire.get("name")) not in _TEXT
        ):
            raise _OtherwiseError
        self._placed.add(number)
        self._fresh.append(number)
        action["observation"] = content
        if result.get("status") == "error":
            action["is_error"] = True
        action["observation_index"] = len(self._messages)
        self._messages.append(wire)

    def _in_order(self) -> None:
        """Put the results of calls side by side in the order of the calls, not of their ends."""
        messages = self._messages
        answered = [action for action in self._actions if action["observation_index"] is not None]
        wires = [messages[action["observation_index"]] for action in answered]
        begin = len(messages) - len(wires)
        messages[begin:] = wires
        for index, action in enumerate(answered, begin):
            action["observation_index"] = index

    def _enter(self, item: Record) -> None:
        """A node of the root graph runs, each task once."""
        node, name = item["p"], item["name"]
        if item["s"] or node in self._nodes or type(name) is not str:
            raise _OtherwiseError
        self._nodes[node] = name
        self._tasks.add((name, item["ns"]))
        self._outs[node] = None

    def _leave(self, item: Record) -> None:
        """A node ends well; the state gained nothing but what was told."""
        node, out = item["p"], item.get("out") or ()
        if self._outs[node] is not None or "error" in item or item.get("control") or item.get("rewrite"):
            raise _OtherwiseError
        if out:
            self._check_state(out)
        self._outs[node] = out

    def _check_state(self, out: Sequence[Any]) -> None:
        if not self._placed.issuperset(out) or not self._own.isdisjoint(out):
            raise _OtherwiseError

    def close(self, end: Record) -> None:
        """The run ends: every message found its place, and no call was beside the conversation."""
        if self._call is None or self._said is None or not len(self._placed) == len(self._told) == self._n_told:
            raise _OtherwiseError
        if len(self._tasks) != len(self._nodes):  # a second attempt at one of them
            raise _OtherwiseError
        self._check_state(end.get("out") or ())
        out = self._outs.get(self._call["p"])  # what was said before was shown to the next call
        if out is not None and self._said not in out and any(self._outs.values()):
            raise _OtherwiseError
        if len(self._actions) > 1:
            self._in_order()

    def fields(self, end: Record, trajectory_id: str, revision: int) -> dict[str, Any]:
        """Give the trajectory by its fields."""
        start, messages, tokens = self._start, self._messages, (self._prompted, self._completed)
        tools = self._tools()
        if not are_objects(tools) or not all(type(value) is int for value in tokens) or not are_texts(self._models):
            raise _OtherwiseError
        return trajectory_of(
            (start,),
            end,
            (run_of(start, end, models=self._models, tools_version=tools_version(tools), tokens=tokens),),
            trajectory_id=trajectory_id,
            revision=revision,
            goal=text_of(self._told[start["input"][-1]]["msg"]),
            said_last=None if self._actions else text_of(messages[-1]) or None,
            messages=tuple(messages),
            context_len=self._context_len,
            nested={},
            nested_tools={},
            tools=named(tools) or None,
            steps=tuple(self._steps),
            flags=[flag for flag, name in _FLAGS if start.get(name)] + ["truncated"] * bool(end.get("truncated")),
        )

    def _tools(self) -> list[dict[str, Any]]:
        tools: list[dict[str, Any]] = []
        for number in self._offered:
            for tool in self._schemas[number]:
                if tool not in tools:
                    tools.append(tool)
        return tools


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
