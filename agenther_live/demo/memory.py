"""What the agent knows: its own tool calls and their results, read back from the messages of the current turn."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from agenther_live.demo.catalogue import Offer


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call: the tool's name and its arguments."""

    tool: str
    args: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """A finished tool call: the row that came back, or the error's text."""

    call: Call
    row: dict[str, Any] | None
    error: str = ""

    @property
    def timed_out(self) -> bool:
        """Whether another try could help."""
        return "timed out" in self.error


@dataclass(slots=True)
class Memory:
    """The goal (the last thing the user said) and every result since, in order."""

    goal: str = ""
    results: list[Result] = field(default_factory=list)
    thoughts: int = 0

    @classmethod
    def read(cls, messages: Sequence[BaseMessage]) -> "Memory":
        """Read the memory out of a conversation; earlier turns are left aside."""
        memory, pending = cls(), dict[str, Call]()
        for message in messages:
            if isinstance(message, HumanMessage):
                memory, pending = cls(goal=str(message.text)), {}
            elif isinstance(message, AIMessage):
                memory.thoughts += 1
                pending |= {str(call["id"]): Call(call["name"], call["args"]) for call in message.tool_calls}
            elif isinstance(message, ToolMessage) and message.tool_call_id in pending:
                call, text = pending.pop(message.tool_call_id), str(message.text)
                failed = message.status == "error"
                memory.results.append(Result(call, None, text) if failed else Result(call, json.loads(text)))
        return memory

    def rows(self, tool: str) -> list[dict[str, Any]]:
        """The rows that a tool returned, oldest first."""
        return [each.row for each in self.results if each.call.tool == tool and each.row is not None]

    def tried(self, call: Call) -> list[Result]:
        """What came of exactly this call so far."""
        return [each for each in self.results if each.call == call]

    @property
    def suppliers(self) -> list[dict[str, Any]] | None:
        """The suppliers listed for the item; None before the agent has asked."""
        listed = self.rows("list_suppliers")
        return listed[-1]["suppliers"] if listed else None

    @property
    def quotes(self) -> list[Offer]:
        """The quotes received, oldest first."""
        return [Offer.from_row(row) for row in self.rows("get_quote")]

    @property
    def order(self) -> Offer | None:
        """The order that was placed, if any."""
        placed = self.rows("place_order")
        return Offer.from_row(placed[-1]) if placed else None

    @property
    def timeouts(self) -> int:
        """How many calls timed out."""
        return sum(each.timed_out for each in self.results)
