"""ReAct text: `Thought: … Action: name[input]`, and `Observation: …` in the next user message.

Read are the forms of ReAct and Reflexion on HotpotQA (`Action 2: Search[x]`), of WebShop (`Action: click[x]`,
`think[x]`), of FireAct, and of LangChain (`Action: name` with `Action Input: x`, `Final Answer: x`).
Paper: https://arxiv.org/abs/2210.03629.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from agenther_live.integrations.transcripts.adapter import (
    FINISH,
    Adapter,
    Call,
    Context,
    Reply,
    Turn,
    dumps,
    loads,
    pairs,
)
from agenther_live.integrations.transcripts.signs import reports_error
from agenther_live.trajectory import Message

_LABEL = re.compile(
    r"(?m)^[ \t]*(Thought|THOUGHT|Action Input|Action|ACTION|Observation|OBSERVATION|Final Answer)"
    r"(?:[ \t]+\d+)?[ \t]*:"
)
_INLINE_ACTION = re.compile(r"\bAction(?: \d+)?:[ \t]*(?=\w+\[)")
_OBSERVATION = re.compile(r"\s*Observation(?: \d+)?:", re.IGNORECASE)
_BRACKETS = re.compile(r"([A-Za-z_][\w .-]{0,63}?)\s*\[")
# What these environments say when they could not do what was asked. An empty search result is no error.
_REFUSALS = (
    "Invalid action",
    "Invalid Action",
    "Could not find that page, please try again",
    "The last page Searched was not found",
    "Unknown action",
    "Nothing happens.",
)


def _sections(text: str) -> list[tuple[str, int, int, int]]:
    """Cut the text at its labels: (label, where it starts, where its content starts, where that ends)."""
    found = [(m.group(1).title(), m.start(), m.end()) for m in _LABEL.finditer(text)]
    if not any(label == "Action" for label, _, _ in found):
        found += [("Action", m.start(), m.end()) for m in _INLINE_ACTION.finditer(text)]
        found.sort(key=lambda item: item[1])
    cut: list[tuple[str, int, int, int]] = []
    for at, (label, start, content) in enumerate(found):
        end = found[at + 1][1] if at + 1 < len(found) else len(text)
        if label == "Observation":  # the model went on and imagined the environment: nothing of it happened
            break
        cut.append((label, start, content, end))
    return cut


def parse_call(text: str, input_text: str | None = None) -> Call | None:
    """Read what stands behind `Action:` (and behind `Action Input:`, where that is given).

    The environment's own reading is followed: `Search[a], Search[b]` is one call with the input `a], Search[b`.
    """
    text = text.strip()
    if not text:
        return None
    if input_text is not None:
        return Call(text.splitlines()[0].strip(), input_text.strip())
    brackets = _BRACKETS.match(text)
    if brackets:
        argument = text[brackets.end() :]
        closing = argument.rfind("]")
        return Call(brackets.group(1).strip(), argument[:closing] if closing >= 0 else argument)
    if text.startswith("{"):
        return json_call(text)
    return Call(text.split(None, 1)[0][:64], text)  # a plain command, as ALFWorld's "go to cabinet 1"


def json_call(text: str) -> Call | None:
    """Read `{"name": …, "arguments": {…}}`, also under the names that LangChain's JSON agents use."""
    value = loads(text)
    if not isinstance(value, dict):
        return None
    name = next((value[key] for key in ("name", "action", "tool", "function") if isinstance(value.get(key), str)), None)
    if not name:
        return None
    given: object = next(
        (value[key] for key in ("arguments", "action_input", "args", "parameters") if key in value), {}
    )
    return Call(name, given if isinstance(given, str) else dumps(given))


def _turn(message: Message, context: Context) -> Turn:
    text = message.text
    sections = _sections(text)
    final = next((text[content:end].strip() for label, _, content, end in sections if label == "Final Answer"), None)
    actions = [at for at, section in enumerate(sections) if section[0] == "Action"]
    if not actions:
        thought = text[sections[0][2] :].strip() if sections and sections[0][0] == "Thought" else text.strip()
        return Turn(thought=thought, spoken=final if sections else text.strip() or None)
    # Several actions in one message: environments and step limits act on the last one.
    chosen = actions[-1]
    _, start, content, end = sections[chosen]
    behind = sections[chosen + 1] if chosen + 1 < len(sections) else None
    given = text[behind[2] : behind[3]] if behind and behind[0] == "Action Input" else None
    call = parse_call(text[content:end], given)
    thoughts = [section for section in sections[:chosen] if section[0] == "Thought"]
    thought = text[thoughts[0][2] if thoughts else 0 : start].strip()
    if call is None:
        return Turn(thought=thought, spoken=final)
    name = call.name.lower()
    if name == "think" and not thought:
        thought = call.input.strip()
    return Turn(thought=thought, calls=(call,), spoken=call.input if name in FINISH else final)


def _reply(message: Message, context: Context) -> Reply | None:
    if message.role != "user" or not context.started:
        return None
    text = message.text
    label = _OBSERVATION.match(text)
    if label is None and (not context.open_calls or context.open_calls[0].name.lower() in FINISH):
        return None
    observation = text[label.end() if label else 0 :].strip()
    return Reply(observation, is_error=observation.startswith(_REFUSALS) or reports_error(observation))


def _matches(messages: Sequence[Message]) -> bool:
    answered = any(_OBSERVATION.match(two.text) and _acts(one.text) for one, two in pairs(messages))
    return answered or any(message.role == "assistant" and _acts(message.text, alone=True) for message in messages)


def _acts(text: str, *, alone: bool = False) -> bool:
    """Say whether the text has an action; `alone`, with no observation to confirm it, in a full and strict form."""
    sections = _sections(text)
    labels = {section[0] for section in sections}
    if not alone or {"Thought", "Action", "Action Input"} <= labels:
        return "Action" in labels
    return "Thought" in labels and any(
        label == "Action" and _BRACKETS.match(text[content:end].strip()) is not None
        for label, _, content, end in sections
    )


REACT = Adapter("react", _matches, _turn, _reply)
