"""Checks of rows, shards and a whole root, written against what trainers read and not against what made the rows.

Used before a shard is published and by `agenther-live shards check`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agenther_live.errors import ShardError
from agenther_live.settings import ShardFormat
from agenther_live.shards.canonical import strict_json
from agenther_live.shards.catalog import README, TRAINER_INDEX, listed_files
from agenther_live.shards.formats import (
    DIALECTS,
    SCHEMA_VERSION,
    Dialect,
    final_flag_agrees,
    trained,
    trains_final_answer,
)
from agenther_live.shards.heldout import HeldOut, is_held_out
from agenther_live.shards.manifest import Entry, Manifest, live
from agenther_live.shards.sharegpt import ASSISTANT, USER
from agenther_live.shards.stream import verified_lines
from agenther_live.shards.writer import shard_path

__all__ = ["Bad", "CheckReport", "check", "row_problems", "shard_problems"]

SWIFT_ROLES = {"system", "user", "assistant", "tool_call", "tool_response"}
CHAT_KEYS = {
    "system": {"role", "content"},
    "user": {"role", "content"},
    "assistant": {"role", "content", "tool_calls"},
    "tool": {"role", "content", "tool_call_id", "name"},
}


@dataclass(frozen=True)
class Bad:
    """A fault: in which file, in which row from 0 (None: of the file as a whole), and what it is."""

    path: str
    row: int | None
    reason: str


@dataclass
class CheckReport:
    """`checked` counts rows of live shards."""

    checked: int = 0
    bad: list[Bad] = field(default_factory=list)


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
        return problems
    except (KeyError, TypeError, AttributeError, ValueError) as error:  # a wrong shape that no rule names
        return [f"wrong shape: {type(error).__name__}: {error}"]


def shard_problems(fmt: ShardFormat, lines: Sequence[bytes]) -> list[str]:
    """Give what is wrong with the rows of one shard, each and as a whole."""
    if not lines:
        return ["a shard without rows"]
    for index, line in enumerate(lines):
        if problems := row_problems(fmt, line):
            return [f"row {index}: {problems[0]}"]
    return list(_whole(fmt, [json.loads(line) for line in lines]))


def _whole(fmt: ShardFormat, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    flags = [flag for made in rows for flag in trained(fmt, made)]
    if all(flags) or not any(flags):
        yield f"the masks of all rows are all {str(bool(flags and flags[0])).lower()}"
    finals = sum(trains_final_answer(fmt, made) for made in rows)
    if 2 * finals < len(rows):
        yield f"only {finals} of {len(rows)} rows train a final answer"
    ids = [made["sample_id"] for made in rows if "sample_id" in made]
    if len(set(ids)) < len(ids):
        yield "a sample stands in it twice"


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
        if name in made and not isinstance(_loads(made[name]), list):
            yield f"{name} is no JSON list"


def _loads(text: Any) -> Any:
    try:
        return strict_json(text)
    except (TypeError, ValueError, RecursionError):
        return None


def _masks(flags: Sequence[bool]) -> Iterator[str]:
    if not any(flags):
        yield "no message is trained"
    elif all(flags):
        yield "every message is trained"


def _tools(text: str, none: str) -> Iterator[str]:
    if text == none:
        return
    tools = _loads(text)
    if not isinstance(tools, list) or not tools:
        yield f"tools is neither {none!r} nor a JSON list of schemas"
        return
    yield from _schemas(tools)


def _schemas(tools: Sequence[Any]) -> Iterator[str]:
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
        elif isinstance(arguments, str) and not isinstance(_loads(arguments), dict):
            yield "arguments are no JSON object"


def _chat(messages: Sequence[Any], arguments: type, extra: Mapping[str, set[str]]) -> Iterator[str]:
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


def _parallel(made: Mapping[str, Any], messages: Sequence[Any]) -> Iterator[str]:
    if len(made["train"]) != len(messages) or len(made["weights"]) != len(messages):
        yield "train and weights are not as long as the messages"
        return
    for message, flag, weight in zip(messages, made["train"], made["weights"], strict=True):
        if type(flag) is not bool or type(weight) is not float or weight < 0:
            yield "train is no list of bool, or weights no list of weights"
            return
        if flag != message.get("train", False):
            yield "the column train and the messages' own flags differ"
            return


def _trl_row(fmt: ShardFormat, made: Mapping[str, Any]) -> Iterator[str]:
    yield from _chat(made["messages"], dict, {"assistant": {"train"}})
    yield from _parallel(made, made["messages"])
    yield from _masks(trained(fmt, made))
    yield from _tools(made["tools"], "null")


def _axolotl_row(fmt: ShardFormat, made: Mapping[str, Any]) -> Iterator[str]:
    yield from _chat(made["messages"], str, {"assistant": {"training"}})
    yield from _masks(trained(fmt, made))
    yield from _tools(made["tools"], "[]")


def _openai_row(fmt: ShardFormat, made: Mapping[str, Any]) -> Iterator[str]:
    yield from _chat(made["messages"], str, {"assistant": {"weight"}})
    yield from _masks(trained(fmt, made))
    if any(message.get("weight", 0) not in (0, 1) for message in made["messages"]):
        yield "a weight is neither 0 nor 1"
    if any("name" in message for message in made["messages"]):
        yield "a message has the key name"
    if ("tools" in made) != ("parallel_tool_calls" in made) or made.get("tools") == []:
        yield "tools and parallel_tool_calls do not go together"
    yield from _schemas(made.get("tools", ()))


def _contrast_row(fmt: ShardFormat, made: Mapping[str, Any]) -> Iterator[str]:
    prompt, other = made["prompt"], made["rejected_prompt"]
    yield from _chat([*prompt, *made["chosen"]], dict, {"assistant": {"train"}})
    yield from _parallel(made, made["chosen"])
    yield from _masks(trained(fmt, made))
    yield from _tools(made["tools"], "null")
    if made["chosen"] != made["rejected"]:
        yield "chosen and rejected differ: the pair has one response"
    if not prompt or prompt[-1]["role"] != "user" or prompt[:-1] != other[:-1] or prompt[-1] == other[-1]:
        yield "the two prompts do not differ in their last user message alone"


def _swift_row(fmt: ShardFormat, made: Mapping[str, Any]) -> Iterator[str]:
    open_calls = 0
    before = ""
    for place, message in enumerate(made["messages"]):
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
            call = _loads(message["content"])
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
    if not any(message["role"] == "user" for message in made["messages"]):
        yield "there is no user message"
    yield from _masks(trained(fmt, made))
    yield from _tools(made["tools"], "")


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
            value = _loads(turn["value"])
            calls = value if isinstance(value, list) else [value]
            if not calls or not all(
                isinstance(call, dict) and set(call) == {"name", "arguments"} and isinstance(call["arguments"], dict)
                for call in calls
            ):
                yield "a function_call is no JSON object with name and arguments, nor a list of such"
            if re.search("[<◁]", turn["value"]):
                yield "a function_call holds a character that begins a marker"
    yield from _tools(made["tools"], "")


_ROWS = {
    "trl_sft": _trl_row,
    "sharegpt": _sharegpt_row,
    "goal_contrast": _contrast_row,
    "swift_sft": _swift_row,
    "axolotl_sft": _axolotl_row,
    "openai_sft": _openai_row,
}


def check(root: Path, *, held_out: HeldOut | None = None) -> CheckReport:
    """Check a root of shards: the manifest, every live shard against it, each row, and what README and index list.

    A root without a manifest has nothing published, and nothing wrong. With `held_out`, rows whose goal is held out
    or too close to one that is are faults too.
    """
    report = CheckReport()
    manifest = Manifest(root)
    try:
        entries = manifest.entries()
        retractions = manifest.retractions()
    except ShardError as error:
        report.bad.append(Bad("manifest.jsonl", None, str(error)))
        return report
    retracted = {sample for known in retractions for sample in known.samples}
    if [known.seq for known in retractions] != list(range(1, len(retractions) + 1)):
        report.bad.append(Bad("retractions.jsonl", None, "the numbers of the retractions have a gap or a repeat"))
    report.bad += _order(entries)
    seen: dict[ShardFormat, set[str]] = {}
    current = live(entries)
    for entry in current:
        try:
            lines = verified_lines(root, entry)
        except ShardError as error:
            report.bad.append(Bad(entry.path, None, str(error)))
            continue
        report.checked += len(lines)
        report.bad += _shard(entry, lines, retracted, seen.setdefault(entry.format, set()), held_out)
    if current:
        report.bad += _catalog(root, current)
    return report


def _order(entries: Iterable[Entry]) -> Iterator[Bad]:
    highest, revisions = 0, dict[int, int]()
    for entry in entries:
        if entry.format not in DIALECTS:
            yield Bad(entry.path, None, f"format {entry.format!r} is not known")
        if entry.revision == 0:
            if entry.seq <= highest:
                yield Bad(entry.path, None, f"number {entry.seq} comes after {highest}")
            highest = max(highest, entry.seq)
        elif entry.revision != revisions.get(entry.seq, -1) + 1:
            yield Bad(entry.path, None, f"revision {entry.revision} of shard {entry.seq} follows no earlier one")
        revisions[entry.seq] = entry.revision
        if entry.path != shard_path(entry.format, entry.seq, entry.revision) and (entry.rows or entry.path):
            yield Bad(entry.path, None, "the name is not that of its format, number and revision")


def _shard(
    entry: Entry, lines: Sequence[bytes], retracted: set[str], seen: set[str], held_out: HeldOut | None
) -> Iterator[Bad]:
    rows = []
    for index, line in enumerate(lines):
        problems = row_problems(entry.format, line)
        yield from (Bad(entry.path, index, problem) for problem in problems)
        if problems:
            continue
        made = json.loads(line)
        rows.append(made)
        sample = entry.samples[index] if index < len(entry.samples) else made.get("sample_id", "")
        if sample in retracted:
            yield Bad(entry.path, index, f"sample {sample} is retracted")
        if not sample or sample in seen:
            yield Bad(entry.path, index, f"sample {sample!r} is unnamed, or stands in this format twice")
        seen.add(sample)
        if held_out and "goal" in made:
            goals = (made["goal"], made["original_goal"])
            if any(is_held_out(goal, held_out.share) for goal in goals if goal) or held_out.conflicts(made["goal"]):
                yield Bad(entry.path, index, f"sample {sample} has a goal that is held out, or close to one")
    if len(rows) == len(lines):
        # A revision may have lost the rows that balanced it; what is left was fit to be published.
        whole = _whole(entry.format, rows)
        yield from (Bad(entry.path, None, text) for text in whole if not (entry.revision and "final answer" in text))


def _catalog(root: Path, current: Sequence[Entry]) -> Iterator[Bad]:
    wanted = {path for fmt, paths in listed_files(current).items() if DIALECTS[fmt].listed for path in paths}
    try:
        text = (root / README).read_text(encoding="utf-8")
        json.loads((root / TRAINER_INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        yield Bad(README, None, f"the lists for other tools cannot be read: {error}")
        return
    named = {line.strip()[2:] for line in text.split("---")[1].splitlines() if line.strip().endswith(".jsonl")}
    for path in sorted(named ^ wanted):
        yield Bad(path, None, "listed in README.md, and not live" if path in named else "live, and not in README.md")
