"""What each model was shown, word for word, in a run that is no one model's conversation.

A lane is a chain of model calls: each was shown all that the one before it was shown, and what that one answered. So
the prompt of its last call, with the reply, is a conversation that a model had as it stands.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from agenther_live.assemble.lanes import Draft, Lane, same_json, text_of, thought_of
from agenther_live.assemble.reading import Reading
from agenther_live.assemble.tale import Tale

__all__ = ["seen"]

Wire = Mapping[str, Any]

_MOST = 100_000  # places of messages in all lanes of a run: beyond that none is told


@dataclass(eq=False, slots=True)
class _Chain:
    """A lane in the making: places in the pool, and what was said where."""

    path: str
    model: str | None
    tools: int | None
    messages: list[int]
    said: list[tuple[int, Draft]]
    spoke: bool = False  # not only a router's or a summariser's words


@dataclass(slots=True)
class _Pool:
    """Things, each kept once, by what they say."""

    kept: list[Any] = field(default_factory=list)
    places: dict[bytes, int] = field(default_factory=dict)

    def place(self, thing: Any) -> int:
        known = self.places.setdefault(orjson.dumps(thing, default=str, option=orjson.OPT_NON_STR_KEYS), len(self.kept))
        if known == len(self.kept):
            self.kept.append(thing)
        return known


def seen(tale: Tale, root: Lane, alive: Sequence[Draft]) -> dict[str, Any] | None:
    """Give the lanes of a run by the fields of `Seen`; None where its own conversations tell the same.

    That is where the root agent's model called tools itself and was shown what stands before each of its replies, or
    where one nested agent held the whole conversation. Where that holds for the root, but not for some nested agent,
    what was shown within that one is given: it may be looked at as a run of its own. `alive` are the steps of the run;
    lanes must be rendered.
    """
    if len(tale.lanes) == 1 and not root.apart:
        return None
    asked, agents = _asked(tale), {""}
    if not _apart(root, asked):
        agents = {lane.path for lane in tale.lanes.values() if _apart(lane, asked)}
    if not agents:
        return None
    pool, toolsets = _Pool(), _Pool()
    chains = _chains(tale.readings, agents, pool, toolsets)
    if sum(len(chain.messages) for chain in chains) > _MOST:
        pool, toolsets, chains = _Pool(), _Pool(), []  # and so nothing of the run is held to be as a model saw it
    failed = _failed(tale)
    numbers = {id(draft): idx for idx, draft in enumerate(alive)}
    lanes = []
    for chain in chains:
        steps = [_step(pool.kept, chain, at, draft, numbers.get(id(draft)), failed) for at, draft in chain.said]
        own = () if None in steps else tuple(steps)
        lanes.append({"path": chain.path, "messages": tuple(chain.messages), "steps": own, "tools": chain.tools})
    return {
        "messages": tuple(pool.kept),
        "toolsets": tuple(tuple(tools) for tools in toolsets.kept),
        "lanes": tuple(lanes),
        "spliced": tuple(lane.path for lane in tale.lanes.values() if lane is not root and lane.apart),
    }


def _asked(tale: Tale) -> Mapping[str, Sequence[Lane]]:
    """Give the lanes whose models were asked, without routers and summarisers, by each path that they are within."""
    lanes = {
        lane: None
        for reading in tale.readings
        for number, (_, lane, _) in reading.calls.items()
        if number not in reading.aside
    }
    asked: defaultdict[str, list[Lane]] = defaultdict(list)
    for lane in lanes:
        for path in _above(lane.path):
            asked[path].append(lane)
    return asked


def _above(path: str) -> Iterator[str]:
    """Give the paths that one is within: the root's, those of the agents between, its own."""
    yield ""
    at = path.find("/")
    while at >= 0:
        yield path[:at]
        at = path.find("/", at + 1)
    if path:
        yield path


def _apart(agent: Lane, asked: Mapping[str, Sequence[Lane]]) -> bool:
    """Whether neither an agent's own conversation nor that of the one agent that spoke in it was seen as it stands."""
    if agent.apart:
        return True
    if any(draft.slots and draft.entry is not None and not draft.dropped for draft in agent.drafts):
        return False
    spoke = asked.get(agent.path, ())
    if all(lane is agent for lane in spoke):
        return False
    sole = spoke[0]
    if len(spoke) > 1 or sole.apart:
        return True
    within = [entry.wire for entry in sole.in_order() if entry is not sole.prompt]
    return within != [entry.wire for entry in agent.in_order()]


def _chains(readings: Sequence[Reading], paths: Container[str], pool: _Pool, toolsets: _Pool) -> list[_Chain]:
    """Put calls within some paths behind each other; a call in which a message was left out at capture is not told."""
    ends: defaultdict[int, list[_Chain]] = defaultdict(list)  # by the place of their last reply
    made: list[_Chain] = []
    for reading in readings:
        places: dict[int, int] = {}
        for number, (item, lane, inputs) in reading.calls.items():
            reply = reading.replied.get(number)
            if reply is None or reply[1].dropped or not any(path in paths for path in _above(lane.path)):
                continue
            numbers = [*inputs, reply[0]]
            if any(one not in reading.messages for one in numbers):
                continue
            for one in numbers:
                if one not in places:
                    places[one] = pool.place(reading.messages[one]["msg"])
            told = [places[one] for one in numbers]
            offered = reading.schemas.get(item.get("x") or 0)
            tools = toolsets.place(offered) if offered else None
            model, draft = item.get("model"), reply[1]
            chain = _goes_on(ends, told[:-1], model, tools)
            if chain is None:
                chain = _Chain(lane.path or draft.node or "", model, tools, [], [])
                made.append(chain)
            else:
                ends[chain.messages[-1]].remove(chain)
            chain.messages = told
            chain.said.append((len(told) - 1, draft))
            chain.spoke = chain.spoke or number not in reading.aside
            ends[told[-1]].append(chain)
    return [chain for chain in made if chain.spoke]


def _goes_on(
    ends: Mapping[int, Sequence[_Chain]], prompt: Sequence[int], model: str | None, tools: int | None
) -> _Chain | None:
    """The chain that a prompt goes on with: all of it stands there first, and its model and tools are the same."""
    for at in range(len(prompt) - 1, -1, -1):
        for chain in ends.get(prompt[at], ()):
            same = (chain.model, chain.tools) == (model, tools)
            if same and chain.messages == list(prompt[: at + 1]):
                return chain
    return None


def _failed(tale: Tale) -> set[bytes]:
    """What results say of calls that failed, as they stand in prompts."""
    found = [
        item["msg"] for reading in tale.readings for item in reading.messages.values() if item.get("status") == "error"
    ]
    found += [
        slot.message.wire for draft in tale.drafts for slot in draft.slots if slot.is_error and slot.message is not None
    ]
    return {orjson.dumps(wire, default=str, option=orjson.OPT_NON_STR_KEYS) for wire in found}


def _step(
    messages: Sequence[Wire], chain: _Chain, at: int, draft: Draft, idx: int | None, failed: set[bytes]
) -> dict[str, Any] | None:
    """A reply as a step of its lane; None where its calls ran otherwise than the model wrote them."""
    wire = messages[chain.messages[at]]
    asked = [call["function"] for call in wire.get("tool_calls") or ()]
    ran = [(slot.name, slot.input) for slot in draft.slots]
    if idx is None or len(asked) != len(ran):
        return None
    pairs = zip(asked, ran, strict=True)
    if any(name != call["name"] or not same_json(given, call["arguments"]) for call, (name, given) in pairs):
        return None
    actions = []
    for slot in draft.slots:
        place = next(
            (n for n in range(at + 1, len(chain.messages)) if _answers(messages[chain.messages[n]], slot.call_id)), None
        )
        shown = None if place is None else messages[chain.messages[place]]
        told = b"" if shown is None else orjson.dumps(shown, default=str, option=orjson.OPT_NON_STR_KEYS)
        actions.append(
            {
                **slot.action(),
                "observation": None if shown is None else text_of(shown),
                "is_error": slot.is_error or told in failed,
                "observation_index": place,
            }
        )
    return {
        "idx": idx,
        "thought": thought_of(wire),
        "actions": actions,
        "agent_path": "",
        "message_index": at,
        "node": draft.node,
        "model": draft.model,
        "at": draft.at,
    }


def _answers(wire: Wire, call_id: str | None) -> bool:
    return wire["role"] == "tool" and call_id is not None and wire.get("tool_call_id") == call_id
