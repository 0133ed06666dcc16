"""What one row must be, dialect by dialect; written against what trainers read, and not against what made the rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from agenther_live.settings import ShardFormat
from agenther_live.shards.checks.planted import secret_in
from agenther_live.shards.checks.rules_chat import (
    chat_problems,
    loads,
    mask_problems,
    parallel_problems,
    schema_problems,
    swift_problems,
    tools_problems,
)
from agenther_live.shards.checks.rules_pairs import (
    contrast_problems,
    kto_problems,
    openai_pair_problems,
    pair_problems,
    swift_pair_problems,
)
from agenther_live.shards.rows.canonical import strict_json
from agenther_live.shards.rows.formats import DIALECTS, SCHEMA_VERSION, Dialect, final_flag_agrees, trained
from agenther_live.shards.rows.sharegpt import ASSISTANT, USER

__all__ = ["SECRET", "row_problems"]

SECRET = "a secret stands in it"


def row_problems(fmt: ShardFormat, line: bytes) -> list[str]:
    """Give what is wrong with one line of a shard; nothing is wrong where the list is empty."""
    try:
        made = strict_json(line.decode())
    except (ValueError, RecursionError) as error:
        return [f"not strict JSON: {error}"]
    if not isinstance(made, dict):
        return ["not a JSON object"]
    problems = list(_keys(DIALECTS[fmt], made))
    if problems:
        return problems
    try:
        problems = list(_ROWS[fmt](fmt, made))
        if not problems and not final_flag_agrees(fmt, made):
            problems.append("final_trained is not what the messages say")
        if not problems and (kind := secret_in(made)):
            problems.append(f"{SECRET} ({kind})")
        return problems
    except (KeyError, TypeError, AttributeError, ValueError) as error:  # a wrong shape that no rule names
        return [f"wrong shape: {type(error).__name__}: {error}"]


def _keys(dialect: Dialect, made: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted(dialect.columns.keys() - made.keys() - dialect.optional):
        yield f"key {name} is missing"
    for name in sorted(made.keys() - dialect.columns.keys()):
        yield f"key {name} is not of this format"
    for name, kind in dialect.columns.items():
        if name in made and type(made[name]) is not kind:
            yield f"key {name} holds {type(made[name]).__name__}, not {kind.__name__}"
    if made.get("schema_version", SCHEMA_VERSION) != SCHEMA_VERSION:
        yield f"schema version {made['schema_version']} is not {SCHEMA_VERSION}"
    if made.get("sample_id") == "":
        yield "sample_id is empty"
    for name in ("weight", "severity", "confidence"):
        if isinstance(made.get(name), float) and not 0 <= made[name] <= 1:
            yield f"{name} is {made[name]}, not in [0, 1]"
    for name in ("judges", "evidence"):
        if name in made and not isinstance(loads(made[name]), list):
            yield f"{name} is no JSON list"


def _trl_row(fmt: ShardFormat, made: Mapping[str, Any]) -> Iterator[str]:
    yield from chat_problems(made["messages"], dict, {"assistant": {"train"}})
    yield from parallel_problems(made, made["messages"])
    yield from mask_problems(trained(fmt, made))
    yield from tools_problems(made["tools"], "null")


def _axolotl_row(fmt: ShardFormat, made: Mapping[str, Any]) -> Iterator[str]:
    yield from chat_problems(made["messages"], str, {"assistant": {"training"}})
    yield from mask_problems(trained(fmt, made))
    yield from tools_problems(made["tools"], "[]")


def _openai_row(fmt: ShardFormat, made: Mapping[str, Any]) -> Iterator[str]:
    yield from chat_problems(made["messages"], str, {"assistant": {"weight"}})
    yield from mask_problems(trained(fmt, made))
    if any(message.get("weight", 0) not in (0, 1) for message in made["messages"]):
        yield "a weight is neither 0 nor 1"
    if any("name" in message for message in made["messages"]):
        yield "a message has the key name"
    if ("tools" in made) != ("parallel_tool_calls" in made) or made.get("tools") == []:
        yield "tools and parallel_tool_calls do not go together"
    yield from schema_problems(made.get("tools", ()))


def _swift_row(fmt: ShardFormat, made: Mapping[str, Any]) -> Iterator[str]:
    yield from swift_problems(made["messages"])
    yield from mask_problems(trained(fmt, made))
    yield from tools_problems(made["tools"], "")


def _sharegpt_row(fmt: ShardFormat, made: Mapping[str, Any]) -> Iterator[str]:
    turns = made["conversations"]
    if not turns or len(turns) % 2:
        yield f"a conversation of {len(turns)} turns is skipped by LLaMA-Factory"
    for place, turn in enumerate(turns):
        if set(turn) != {"from", "value"} or type(turn["value"]) is not str:
            yield "a turn has other keys than from, value, or a value that is no text"
            return
        if turn["from"] not in (USER, ASSISTANT)[place % 2]:
            yield f"a {turn['from']} turn at place {place} is skipped by LLaMA-Factory"
        before = turns[place - 1]["from"] if place else ""
        if (turn["from"] == "observation") != (before == "function_call"):
            yield "an observation follows no call, or a call has none"
        if turn["from"] == "function_call":
            value = loads(turn["value"])
            calls = value if isinstance(value, list) else [value]
            if not calls or not all(
                isinstance(call, dict) and set(call) == {"name", "arguments"} and isinstance(call["arguments"], dict)
                for call in calls
            ):
                yield "a function_call is no JSON object with name and arguments, nor a list of such"
            if re.search("[<◁]", turn["value"]):
                yield "a function_call holds a character that begins a marker"
    yield from tools_problems(made["tools"], "")


_ROWS: Mapping[ShardFormat, Callable[[ShardFormat, Mapping[str, Any]], Iterator[str]]] = {
    "trl_sft": _trl_row,
    "trl_dpo": pair_problems,
    "trl_dpo_step": pair_problems,
    "trl_kto": kto_problems,
    "goal_contrast": contrast_problems,
    "sharegpt": _sharegpt_row,
    "swift_sft": _swift_row,
    "swift_dpo": swift_pair_problems,
    "axolotl_sft": _axolotl_row,
    "openai_sft": _openai_row,
    "openai_dpo": openai_pair_problems,
}
