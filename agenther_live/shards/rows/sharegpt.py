"""Conversations as LLaMA-Factory's `sharegpt` formatting reads them.

Its converter wants `human` or `observation` at odd places and `gpt` or `function_call` at even ones, beginning with
the first and ending with the second; anything else it skips with a log line. It trains every `gpt` and
`function_call`, with no mask per message. So a conversation is cut behind its last trained turn, and one that has a
masked assistant turn before that is refused here rather than trained in full.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from agenther_live.shards.rows.canonical import RowRefused, Turn

__all__ = ["ASSISTANT", "RESULTS_JOINT", "USER", "conversation", "function_call"]

USER = ("human", "observation")
ASSISTANT = ("gpt", "function_call")
# What LLaMA-Factory itself puts between the results of parallel calls when it reads OpenAI messages.
RESULTS_JOINT = "\n</tool_response>\n<tool_response>\n"


def function_call(turn: Turn) -> str:
    """Give the calls of a turn as JSON: one object, or a list of objects for parallel calls.

    The value goes through a search for thought and call markers before it is parsed; with '<' and '◁' escaped as
    JSON allows, no argument can look like one.
    """
    calls = [{"name": call.name, "arguments": call.arguments} for call in turn.calls]
    value: Any = calls[0] if len(calls) == 1 else calls
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace("◁", "\\u25c1")


def conversation(made: Sequence[Turn]) -> dict[str, Any]:
    """Give `conversations`, `system` and `dropped_thoughts` of a row.

    A calling turn has no place for words (how they are marked differs by chat template, and a wrong mark fails the
    run), so they are left out and the turns that lost some are counted in `dropped_thoughts`. User messages in a
    row become one.

    Raises:
        RowRefused: where LLaMA-Factory would skip the row, or train what is masked.
    """
    system = ""
    if made and made[0].role == "system":
        system, made = made[0].text, made[1:]
    last = max((index for index, turn in enumerate(made) if turn.train), default=-1)
    if last < 0:
        raise RowRefused("mask", "no assistant message is trained")
    entries: list[dict[str, str]] = []
    dropped = 0
    previous: Turn | None = None
    for turn in made[: last + 1]:
        if turn.role == "system":
            raise RowRefused("system", "a system message stands inside the conversation")
        if turn.role == "assistant":
            if not turn.train:
                raise RowRefused("masked_turn", "LLaMA-Factory would train an assistant message that is masked")
            dropped += bool(turn.calls and turn.text.strip())
            said = function_call(turn) if turn.calls else turn.text
            entries.append({"from": "function_call" if turn.calls else "gpt", "value": said})
        elif previous is not None and previous.role == turn.role:
            joint = RESULTS_JOINT if turn.role == "tool" else "\n\n"
            entries[-1]["value"] += joint + turn.text
        else:
            entries.append({"from": "observation" if turn.role == "tool" else "human", "value": turn.text})
        previous = turn
    for place, entry in enumerate(entries):
        if entry["from"] not in (USER, ASSISTANT)[place % 2]:
            raise RowRefused("alternation", f"a {entry['from']} turn stands at place {place}, which is skipped")
    return {"conversations": entries, "system": system, "dropped_thoughts": dropped}
