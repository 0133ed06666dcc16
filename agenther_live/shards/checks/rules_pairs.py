"""What a row of a preference dialect must be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agenther_live.settings import ShardFormat
from agenther_live.shards.checks.rules_chat import (
    chat_problems,
    loads,
    mask_problems,
    parallel_problems,
    schema_problems,
    swift_problems,
    tools_problems,
)
from agenther_live.shards.rows.formats import trained

__all__ = ["contrast_problems", "kto_problems", "openai_pair_problems", "pair_problems", "swift_pair_problems"]


def contrast_problems(fmt: ShardFormat, made: Mapping[str, Any]) -> Iterator[str]:
    """Check the paper's pair: one response, two prompts that differ in the goal."""
    prompt, other = made["prompt"], made["rejected_prompt"]
    yield from chat_problems([*prompt, *made["chosen"]], dict, {"assistant": {"train"}})
    yield from parallel_problems(made, made["chosen"])
    yield from mask_problems(trained(fmt, made))
    yield from tools_problems(made["tools"], "null")
    if made["chosen"] != made["rejected"]:
        yield "chosen and rejected differ: the pair has one response"
    if not prompt or prompt[-1]["role"] != "user" or prompt[:-1] != other[:-1] or prompt[-1] == other[-1]:
        yield "the two prompts do not differ in their last user message alone"


def pair_problems(fmt: ShardFormat, made: Mapping[str, Any]) -> Iterator[str]:
    """Check TRL's pair: one prompt, two different responses, each with something of the assistant's to train."""
    prompt = made["prompt"]
    yield from _prompt(prompt)
    for side in ("chosen", "rejected"):
        response = made[side]
        yield from chat_problems([*prompt, *response], dict, {"assistant": {"train"}})
        yield from parallel_problems(made, response, f"{side}_train", f"{side}_weights")
        yield from _response(side, response, any(made[f"{side}_train"]))
        if fmt == "trl_dpo_step" and len(response) != 1:
            yield f"a step has {len(response)} messages as {side}"
    yield from _two(made["chosen"], made["rejected"])
    yield from _sources(made)
    yield from tools_problems(made["tools"], "null")


def kto_problems(fmt: ShardFormat, made: Mapping[str, Any]) -> Iterator[str]:
    """Check TRL's unpaired row: only a failure is unwanted."""
    yield from _prompt(made["prompt"])
    yield from chat_problems([*made["prompt"], *made["completion"]], dict, {"assistant": {"train"}})
    yield from parallel_problems(made, made["completion"])
    yield from _response("completion", made["completion"], any(made["train"]))
    yield from tools_problems(made["tools"], "null")
    if made["label"] != (made["kind"] != "failure"):
        yield f"label is {made['label']} on a {made['kind']} sample"


def swift_pair_problems(fmt: ShardFormat, made: Mapping[str, Any]) -> Iterator[str]:
    """Check ms-swift's pair: both conversations whole, with one beginning."""
    better, worse = made["messages"], made["rejected_messages"]
    shared = 0
    while shared < min(len(better), len(worse)) and better[shared] == worse[shared] and not better[shared]["loss"]:
        shared += 1
    for name, messages in (("messages", better), ("rejected_messages", worse)):
        yield from swift_problems(messages)
        yield from mask_problems([message["loss"] for message in messages])
        yield from _response(name, messages[shared:], True)
    if not any(message["role"] == "user" for message in better[:shared]):
        yield "the two conversations have no prompt in common"
    yield from _two(better, worse)
    yield from _sources(made)
    yield from tools_problems(made["tools"], "")


def openai_pair_problems(fmt: ShardFormat, made: Mapping[str, Any]) -> Iterator[str]:
    """Check OpenAI's preference line field by field.

    https://platform.openai.com/docs/api-reference/fine-tuning/preference-input
    """
    given = made["input"]
    if unknown := sorted(given.keys() - {"messages", "tools", "parallel_tool_calls"}):
        yield f"input has the key {unknown[0]}"
    if ("tools" in given) != ("parallel_tool_calls" in given) or given.get("tools") == []:
        yield "tools and parallel_tool_calls do not go together"
    if type(given.get("parallel_tool_calls", True)) is not bool:
        yield "parallel_tool_calls is no bool"
    yield from schema_problems(given.get("tools", ()))
    yield from _prompt(given["messages"])
    for name in ("preferred_output", "non_preferred_output"):
        output = made[name]
        yield from chat_problems([*given["messages"], *output], str, {})
        yield from _response(name, output, True)
        if len(output) != 1:
            yield f"{name} holds {len(output)} messages, not one"
        if any("name" in message for message in (*given["messages"], *output)):
            yield "a message has the key name"
    yield from _two(made["preferred_output"], made["non_preferred_output"])


def _prompt(prompt: Sequence[Any]) -> Iterator[str]:
    if not prompt or prompt[-1]["role"] not in ("user", "tool"):
        yield "the prompt does not end with what the assistant answers"
    if any(message.get("train") for message in prompt):
        yield "a message of the prompt is marked to be trained"


def _response(name: str, response: Sequence[Any], trains: bool) -> Iterator[str]:
    if not response or response[0]["role"] not in ("assistant", "tool_call"):
        yield f"{name} does not begin with the assistant"
    if not trains:
        yield f"no message of {name} is trained"


def _two(better: Sequence[Any], worse: Sequence[Any]) -> Iterator[str]:
    if [_without_id(message) for message in better] == [_without_id(message) for message in worse]:
        yield "both responses are the same"


def _without_id(message: Any) -> dict[str, Any]:
    plain = {key: value for key, value in message.items() if key not in ("tool_call_id", "train", "loss", "loss_scale")}
    if "tool_calls" in plain:
        plain["tool_calls"] = [call["function"] for call in plain["tool_calls"]]
    return plain


def _sources(made: Mapping[str, Any]) -> Iterator[str]:
    sources = loads(made["sources"])
    if not isinstance(sources, list) or len(sources) != 2 or not made["rejected_trajectory_id"]:
        yield "sources does not name the two samples of the pair, or nobody gave the worse response"
