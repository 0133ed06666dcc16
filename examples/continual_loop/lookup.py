"""The arm without learning: a table filled from the same episodes. What it reaches no policy may be praised for.

World A: which code gave which word, read from the results; it calls the right tools in the right order, tries again
after a timeout, and guesses a code that it never saw. World B: the codes likewise, and the place in the list that was
ordered most often in successful runs with the same bounds, else in all of them.
"""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from examples.continual_loop.capture import Captured
from examples.continual_loop.worlds import Bought, Goal, Offers, Parcel, Parcels, Refusal, Run, World

__all__ = ["looked_up"]


def looked_up(world: World, seen: Captured, goals: Sequence[Goal], seeds: Sequence[int]) -> float:
    """The share of goals that the table reaches."""
    assert isinstance(world, Parcels | Offers)
    play = _parcels(world, seen) if isinstance(world, Parcels) else _offers(world, seen)
    reached = 0
    for goal, seed in zip(goals, seeds, strict=True):
        run = Run(world, goal, seed)
        play(run, random.Random(seed))
        reached += run.reached("")
    return reached / len(goals)


def _calls(messages: Sequence[dict[str, Any]]) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """The calls that worked: name, arguments, result."""
    found, asked = [], None
    for message in messages:
        if message.get("tool_calls"):
            function = message["tool_calls"][0]["function"]
            args = function["arguments"]
            asked = function["name"], json.loads(args) if isinstance(args, str) else args
        elif message["role"] == "tool" and asked and message["content"].startswith("{"):
            found.append((*asked, json.loads(message["content"])))
    return found


def _again(run: Run, tool: str, args: dict[str, Any]) -> dict[str, Any] | None:
    for _ in range(3):
        try:
            return run.act(tool, args)
        except Refusal as refusal:
            if str(refusal) != "timed out":
                return None
    return None


def _parcels(world: Parcels, seen: Captured) -> Any:
    known: dict[str, dict[str, str]] = defaultdict(dict)
    for episode in seen.episodes:
        for tool, args, result in _calls(episode.messages):
            if tool in world.slots:
                known[tool][result[world.slots[tool][0]]] = args["code"]

    def play(run: Run, rng: random.Random) -> None:
        goal = run.goal
        assert isinstance(goal, Parcel)
        for tool, word in (("pick", goal.item), ("wrap", goal.paper), ("ship", goal.city)):
            if word is not None:
                _again(run, tool, {"code": known[tool].get(word) or rng.choice(sorted(world.books[tool]))})

    return play


def _offers(world: Offers, seen: Captured) -> Any:
    places: dict[Any, Counter[int]] = defaultdict(Counter)
    known: dict[str, str] = {}
    for episode in seen.episodes:
        goal, calls = world.read(episode.goal), _calls(episode.messages)
        known |= {result["item"]: args["code"] for tool, args, result in calls if tool == "list_offers"}
        rows = next((result["offers"] for tool, _, result in calls if tool == "list_offers"), None)
        if not episode.reached or not isinstance(goal, Bought) or rows is None:
            continue
        for tool, _, result in calls:
            if tool == "place_order":
                place = [row["shop"] for row in rows].index(result["shop"])
                for key in ((goal.quantity, goal.city, goal.limit), None):
                    places[key][place] += 1

    def play(run: Run, rng: random.Random) -> None:
        goal = run.goal
        assert isinstance(goal, Bought)
        listed = _again(run, "list_offers", {"code": known.get(goal.item) or rng.choice(sorted(world.book))})
        counts = places.get((goal.quantity, goal.city, goal.limit)) or places[None]
        if listed is None or not counts:
            return
        row = listed["offers"][counts.most_common(1)[0][0]]
        _again(run, "place_order", {"shop": row["shop"], "city": row["city"], "quantity": goal.quantity})

    return play
