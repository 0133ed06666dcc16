"""A run that went straight is told in one pass, and as the long way tells it."""

import copy
import random
from typing import Any

import pytest

from agenther_live.assemble import _read, tell
from agenther_live.assemble.sound import is_sound
from agenther_live.assemble.straight import straight
from tests.buffer.journal_facts import run

PROMPT = {"t": "msg", "m": 90, "id": None, "msg": {"role": "system", "content": "You buy."}}
EARLIER = [
    {"t": "msg", "m": 91, "id": "u", "msg": {"role": "user", "content": "Hello"}},
    {"t": "msg", "m": 92, "id": "a", "msg": {"role": "assistant", "content": "Hello!"}},
]
TOOLS = [{"type": "function", "function": {"name": "search", "description": "Looks for parts."}}]


def graphs(steps: int, *, earlier: bool = False) -> list[Any]:
    """A run as LangGraph's tool loop gives it: a prompt, maybe what was said before, nodes, calls side by side."""
    records = run("r", steps=steps, text="Found").records
    facts = records[1]["f"]
    plain = [*facts]
    facts.clear()
    for item in plain:
        if item["t"] == "call":
            node, item["p"], item["x"], item["model"] = item["c"] * 10, item["c"] * 10, 80, "m-1"
            if item["c"] == 1:
                facts += [PROMPT, *(EARLIER if earlier else ()), {"t": "tools", "x": 80, "tools": TOOLS}]
                item["add"] = [90, *([91, 92] if earlier else ()), *item["add"]]
            else:
                item["keep"] += 3 if earlier else 1
            facts.append({"t": "node", "p": node, "s": 0, "name": "model", "ns": f"model:{node}"})
        if item["t"] == "tool":
            facts.append({"t": "node", "p": node + 1, "s": 0, "name": "tools", "ns": f"tools:{node}"})
            item["p"] = node + 1
        facts.append(item)
        if item["t"] in ("reply", "tool_end"):
            place = node if item["t"] == "reply" else node + 1
            facts.append({"t": "node_end", "p": place, "out": [item["m"]]})
    return copy.deepcopy(records)


def side_by_side() -> list[Any]:
    """Two calls in one message, whose results come in the other order."""
    records = run("r", steps=1).records
    facts = records[1]["f"]
    asked = next(item for item in facts if item["t"] == "msg" and item["msg"]["role"] == "assistant")
    asked["msg"]["reasoning_content"] = "Two things at once."
    asked["msg"]["tool_calls"].append({**asked["msg"]["tool_calls"][0], "id": "other"})
    at = next(n for n, item in enumerate(facts) if item["t"] == "tool")
    result = {"role": "tool", "content": "It broke.", "tool_call_id": "other", "name": "search"}
    facts[at:at] = [
        {**facts[at], "n": 50, "id": "other", "args": '{"q": 1}'},
        {"t": "msg", "m": 51, "id": "res", "status": "error", "msg": result},
        {"t": "tool_end", "n": 50, "m": 51},
    ]
    facts[-3]["add"].append(51)
    return records


RUNS = [
    *(
        run("r", steps=steps, conversational=steps == 2, tags=["t", "t"], evaluators=["e"]).records
        for steps in range(4)
    ),
    run("r", steps=2, status="error", error="Boom", partial=True, goal="x", subject="s").records,
    graphs(3),
    graphs(2, earlier=True),
    side_by_side(),
]


@pytest.mark.parametrize("records", RUNS[1:], ids=range(1, len(RUNS)))
def test_it_is_told_in_one_pass(records: list[Any]) -> None:
    fields = straight(records, trajectory_id="x", revision=2)
    if records[-1]["status"] == "finished":  # one that failed had no answer
        assert fields is not None
        assert is_sound(fields)
    assert tell([records], trajectory_id="x", revision=2).payload() == _read([records], "x", 2).payload()


def test_a_call_that_is_not_shown_a_result_goes_otherwise() -> None:
    records = copy.deepcopy(RUNS[-1])
    assert straight(records, trajectory_id="x", revision=1) is not None
    shown = next(item for item in records[1]["f"] if item["t"] == "call" and item["base"])["add"]
    shown.pop()
    assert straight(records, trajectory_id="x", revision=1) is None
    assert len(_read([records], "x", 1).fields["messages"]) == 5


def inside(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in JSON-like data."""
    found: list[tuple[Any, Any]] = []
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        found += [(value, key), *inside(value[key])]
    return found


def changed(records: list[Any], chance: random.Random) -> list[Any]:
    """The run with a fact lost, said twice, out of order, or with one thing in it otherwise."""
    new = copy.deepcopy(records)
    facts = new[1]["f"]
    for _ in range(chance.choice((1, 1, 2))):
        here, there = chance.randrange(len(facts)), chance.randrange(len(facts))
        how = chance.randrange(7)
        if how == 0:
            del facts[here]
        elif how == 1:
            facts.insert(there, copy.deepcopy(facts[here]))
        elif how == 2:
            facts[here], facts[there] = facts[there], facts[here]
        else:
            where, key = chance.choice(inside(new))
            same = [other[name] for other, name in inside(new) if name == key]
            if how == 3 and isinstance(where, dict):
                del where[key]
            elif how == 4 and isinstance(where[key], int):
                where[key] += chance.choice((-1, 1, 2))
            else:
                where[key] = copy.deepcopy(chance.choice([*same, None, 0, "x", [], [1], {}]))
        if not isinstance(new[1].get("f"), list) or not facts:
            return new
    return new


@pytest.mark.parametrize("seed", range(3))
def test_whatever_goes_otherwise_is_told_the_long_way(seed: int) -> None:
    chance = random.Random(seed)
    told = 0
    for _ in range(150):
        records = changed(chance.choice(RUNS), chance)
        try:
            fields = straight(records, trajectory_id="x", revision=1)
            if fields is not None:
                assert is_sound(fields)
                long = _read([records], "x", 1)
                assert tell([records], trajectory_id="x").payload() == long.payload()
                told += 1
        except (AttributeError, LookupError, TypeError, ValueError):  # of another form: nothing to compare with
            continue
    assert told > 10
