"""The arms: what each one makes of the same captured episodes.

`success`, `masks`, `severity`, `dpo` and `contrast` are the product's own published rows. The others are no settings of
the product, on purpose, and are built here from the same buffer rows by plain code.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from agenther_live.shards.files.heldout import is_held_out
from examples.continual_loop.capture import Captured, Episode
from examples.continual_loop.language import encode
from examples.continual_loop.training import Example, Pair
from examples.continual_loop.worlds import HELD_OUT, Bought, Goal, Offers, Parcel, Parcels, World

__all__ = ["ARMS", "Arm", "noisy", "subset"]

Row = dict[str, Any]


@dataclass(frozen=True)
class Arm:
    """A name, how its demonstrations are made, and its preference pairs where it has some.

    `after`: it begins where that arm's early stopping ended, and takes a fixed number of steps.
    """

    title: str
    examples: Callable[[World, Captured], list[Example]]
    pairs: Callable[[Captured], list[Pair]] | None = None
    nll: float = 0.0
    after: str | None = None


def _published(row: Row, *, weighted: bool = False) -> Example:
    return Example(*encode(row["messages"], row["train"]), row["weight"] if weighted else 1.0)


def _kind(seen: Captured, kind: str) -> list[Row]:
    return [row for row in seen.rows["trl_sft"] if row["kind"] == kind]


def _success(world: World, seen: Captured) -> list[Example]:
    return [_published(row) for row in _kind(seen, "success")]


def _under(goal: str, episode: Episode) -> Example:
    """The whole run under a goal: every assistant message is trained, its own final answer too."""
    return Example(*encode([{"role": "user", "content": goal}, *episode.messages[1:]]))


def _failures(seen: Captured) -> list[Episode]:
    return [each for each in seen.episodes if not each.reached and len(each.messages) > 1]


def _original(world: World, seen: Captured) -> list[Example]:
    return _success(world, seen) + [_under(each.goal, each) for each in _failures(seen)]


def _claimed(world: World, seen: Captured) -> list[Example]:
    made = _success(world, seen)
    for each in _failures(seen):
        goal = world.claimed(each.answer or "")
        if goal is not None and not is_held_out(goal.text, HELD_OUT):
            made.append(_under(goal.text, each))
    return made


def _verified(world: World, seen: Captured) -> list[Example]:
    by_id = {each.trajectory_id: each for each in seen.episodes}
    rows = _kind(seen, "hindsight")
    return _success(world, seen) + [_under(row["goal"], by_id[row["trajectory_id"]]) for row in rows]


def _without_c(world: World, seen: Captured) -> list[Example]:
    """As verified, with the goals besides that were refused for nothing but the choice (C)."""
    made = _verified(world, seen)
    for each in _failures(seen):
        for goal, reason in each.proposals:
            if reason == "check:choice" and not is_held_out(goal, HELD_OUT):
                made.append(_under(goal, each))
    return made


def _masked(world: World, seen: Captured) -> list[Example]:
    return [_published(row) for row in seen.rows["trl_sft"]]


def _weighted(world: World, seen: Captured) -> list[Example]:
    return [_published(row, weighted=True) for row in seen.rows["trl_sft"]]


def _sided(prompt: Sequence[Row], response: Sequence[Row], train: Sequence[bool]) -> Example:
    return Example(*encode([*prompt, *response], [False] * len(prompt) + list(train)))


def _flags(row: Row, side: str) -> list[bool]:
    return [message.get("train", False) for message in row[side]]


def _pairs(name: str, rejected_prompt: str) -> Callable[[Captured], list[Pair]]:
    def made(seen: Captured) -> list[Pair]:
        return [
            Pair(
                _sided(row["prompt"], row["chosen"], _flags(row, "chosen")),
                _sided(row[rejected_prompt], row["rejected"], _flags(row, "rejected")),
            )
            for row in seen.rows[name]
        ]

    return made


ARMS = {
    "success": Arm("success only", _success),
    "original": Arm("failures under their original goal", _original),
    "claim": Arm("relabeled by the agent's own claim", _claimed),
    "verified": Arm("verified", _verified),
    "without_c": Arm("verified without (C)", _without_c),
    "masks": Arm("verified + masks", _masked),
    "severity": Arm("… + severity weights", _weighted),
    "more": Arm("… … + as many steps more of the same", _weighted, after="severity"),
    "dpo": Arm("… … + steps of DPO with NLL", _weighted, _pairs("trl_dpo", "prompt"), nll=0.2, after="severity"),
    "contrast": Arm(
        "… … + steps of equation 2", _weighted, _pairs("goal_contrast", "rejected_prompt"), after="severity"
    ),
}


def subset(seen: Captured, n: int) -> Captured:
    """The first `n` episodes, and what was published of them."""
    episodes = seen.episodes[:n]
    ids = {each.trajectory_id for each in episodes}
    rows = {name: [row for row in rows if row["trajectory_id"] in ids] for name, rows in seen.rows.items()}
    return Captured(episodes, rows, seen.figures)


def noisy(world: World, seen: Captured, share: float, *, systematic: bool, seed: int) -> Captured:
    """The same rows with `share` of the words of hindsight goals misread.

    At random: each goal with that probability has one word replaced by any other. Systematic: that share of the words
    of the world is always read as the same other word.
    """
    rng = random.Random(f"noise {share} {systematic} {seed}")
    if isinstance(world, Parcels):
        lists = {"item": world.slots["pick"][2], "paper": world.slots["wrap"][2], "city": world.slots["ship"][2]}
    else:
        assert isinstance(world, Offers)
        lists = {"item": world.items, "city": world.cities}
    swaps = {}
    for words in lists.values():
        for word in rng.sample(words, round(share * len(words))):
            swaps[word] = rng.choice([other for other in words if other != word])

    def misread(goal: Goal) -> Goal:
        said = {slot: getattr(goal, slot) for slot in lists if getattr(goal, slot)}
        if systematic:
            return replace(goal, **{slot: swaps.get(word, word) for slot, word in said.items()})
        if rng.random() >= share:
            return goal
        slot = rng.choice(sorted(said))
        return replace(goal, **{slot: rng.choice([word for word in lists[slot] if word != said[slot]])})

    rows = []
    for row in seen.rows["trl_sft"]:
        goal = world.read(row["goal"]) if row["kind"] == "hindsight" else None
        if isinstance(goal, Parcel | Bought):
            text = misread(goal).text
            row = {**row, "goal": text, "messages": [{"role": "user", "content": text}, *row["messages"][1:]]}
        rows.append(row)
    return Captured(seen.episodes, {**seen.rows, "trl_sft": rows}, seen.figures)
