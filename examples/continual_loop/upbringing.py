"""Where the weak policy comes from: it is brought up on runs of a teacher with known faults.

The code list that a teacher has is wrong in part: a share of its words have each other's codes, as if the codes had
been given out anew since. So for these words the weak policy has no success to learn from, and each of its failures
shows what a code really stands for. The teacher of world A also skips the wrapping, makes detours, and after a timeout
it may go on as if the call had worked; that of world B takes the first offer, the dearest, unless it says of each
whether it fits. Both may end a failed run by claiming the goal. A policy is taught once per world and rate of lies:
five seeds are five captures, trainings and held-out draws, not five upbringings.

To compare numbers takes so small a network thousands of runs, and what it can do at the start is not what is studied.
So in world B it has a second loss, on the inner state at each offer: does this one serve?
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from transformers import LlamaForCausalLM

from examples.continual_loop.language import encode, turn_words
from examples.continual_loop.policy import WIDTH, new_model
from examples.continual_loop.training import Example, loss_of, padded
from examples.continual_loop.worlds import Bought, Goal, Offers, Parcel, Parcels, Refusal, Run, World

__all__ = ["Faults", "Teacher", "bring_up", "go_on"]


@dataclass(frozen=True)
class Faults:
    """What is wrong with a teacher, as shares."""

    lies: float = 0.10
    """Of failed runs that end in an answer."""
    stale: float = 0.25
    """World A: of the words of each code book, for which it has the code of another such word."""
    skips: float = 0.06
    detours: float = 0.15
    careless: float = 0.3
    """Of timeouts after which it goes on."""
    unlisted: float = 1 / 3
    """World B: of items, for which it has the code of another such item."""
    habit: float = 0.46
    """World B: of runs in which it takes the first offer without a look at the others."""


class Teacher:
    """Runs of a world as a weak agent does them."""

    def __init__(self, world: World, faults: Faults) -> None:
        self.world, self.faults = world, faults
        rng = random.Random("what the teacher does not know")
        if isinstance(world, Parcels):
            self.codes = {tool: _stale(codes, faults.stale, rng) for tool, codes in world.codes.items()}
        else:
            assert isinstance(world, Offers)
            self.codes = {"list_offers": _stale(world.codes, faults.unlisted, rng)}

    def run(self, goal: Goal, seed: int) -> tuple[Run, list[dict[str, Any]]]:
        """One run: its messages, as a conversation."""
        rng = random.Random(f"teacher {seed}")
        run = Run(self.world, goal, seed)
        messages: list[dict[str, Any]] = [{"role": "user", "content": goal.text}]

        def call(tool: str, said: str = "", **args: Any) -> dict[str, Any] | None:
            for _ in range(3):
                function = {"name": tool, "arguments": args}
                messages.append({"role": "assistant", "content": said, "tool_calls": [{"function": function}]})
                try:
                    result = run.act(tool, args)
                    messages.append({"role": "tool", "content": json.dumps(result)})
                    return result
                except Refusal as refusal:
                    messages.append({"role": "tool", "content": str(refusal)})
                    if str(refusal) != "timed out" or rng.random() < self.faults.careless:
                        return None
            return None

        if isinstance(goal, Parcel):
            self._ship(goal, rng, call)
        else:
            self._order(goal, run, rng, call)
        answer = self.world.truth(run.done)
        if not run.reached(answer) and rng.random() < self.faults.lies:
            answer = self._boast(goal)
        messages.append({"role": "assistant", "content": answer})
        return run, messages

    def _ship(self, goal: Parcel, rng: random.Random, call: Callable[..., Any]) -> None:
        for tool, word in (("pick", goal.item), ("wrap", goal.paper), ("ship", goal.city)):
            if rng.random() < self.faults.detours / 3:
                call("check_stock")
            if word is None or (tool == "wrap" and rng.random() < self.faults.skips):
                continue
            call(tool, code=self.codes[tool][word])

    def _order(self, goal: Bought, run: Run, rng: random.Random, call: Callable[..., Any]) -> None:
        if call("list_offers", code=self.codes["list_offers"][goal.item]) is None:
            return
        if rng.random() < self.faults.habit:
            offer, said = run.offers[0], ""
        else:  # the dearest is listed first, so the last that fits is the cheapest
            offer = next(each for each in reversed(run.offers) if each.serves(goal))
            said = " ".join("fits" if each.serves(goal) else "not" for each in run.offers)
        call("place_order", said, shop=offer.shop, city=offer.city, quantity=goal.quantity)

    def _boast(self, goal: Goal) -> str:
        if isinstance(goal, Parcel):
            assert isinstance(self.world, Parcels)
            return self.world.claim(goal)
        assert isinstance(self.world, Offers)
        return self.world.claim({"item": goal.item, "quantity": goal.quantity, "city": goal.city, "price": goal.limit})


def _stale(codes: Mapping[str, str], share: float, rng: random.Random) -> dict[str, str]:
    """The codes as the teacher has them: those of `share` of the words have gone round in a ring."""
    words = rng.sample([*codes], round(share * len(codes)))
    return {**codes, **{word: codes[other] for word, other in zip(words, [*words[1:], *words[:1]], strict=True)}}


def bring_up(world: World, faults: Faults, *, steps: int, batch: int = 32, seed: int = 0) -> LlamaForCausalLM:
    """A new policy, trained on runs of the teacher; goals that are held out are not shown to it."""
    model = new_model(seed)
    return _follow(model, Teacher(world, faults), steps, batch, 4e-3, seed, helped=isinstance(world, Offers))


def go_on(model: LlamaForCausalLM, world: World, faults: Faults, *, steps: int = 60, seed: int = 1) -> LlamaForCausalLM:
    """Train a policy further on runs of a teacher with other faults."""
    return _follow(model, Teacher(world, faults), steps, 32, 1e-3, seed)


def _follow(
    model: LlamaForCausalLM, teacher: Teacher, steps: int, batch: int, rate: float, seed: int, *, helped: bool = False
) -> LlamaForCausalLM:
    goals, rng = teacher.world.split()[0], random.Random(f"upbringing {seed}")
    serves = torch.nn.Linear(WIDTH, 1)
    optimizer = torch.optim.AdamW([*model.parameters(), *serves.parameters()], lr=rate, weight_decay=0.01, fused=True)
    shape = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / 30, (steps - step) / (0.3 * steps))
    )
    model.train()
    for _ in range(steps):
        runs = [teacher.run(rng.choice(goals), rng.randrange(2**31)) for _ in range(batch)]
        made, early = padded([Example(*encode(messages)) for _, messages in runs]), list[torch.Tensor]()
        loss = loss_of(model, made, early=early if helped else None)
        if helped:
            rows, places, told = zip(*_marks(runs), strict=True)
            guess = serves(early[0][rows, places])[:, 0]
            loss = loss + 0.5 * functional.binary_cross_entropy_with_logits(guess, torch.tensor(told))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        shape.step()
    return model.eval()


def _marks(runs: list[tuple[Run, list[dict[str, Any]]]]) -> Iterator[tuple[int, int, float]]:
    """Row, position and truth of each offer that was listed: the position of its last word."""
    for row, (run, messages) in enumerate(runs):
        at = 0
        for message in messages:
            size = len(turn_words(message))
            if message["role"] == "tool" and "offers" in message["content"]:
                assert isinstance(run.goal, Bought)
                for n, offer in enumerate(run.offers):
                    yield row, at + 1 + 4 * (n + 1), float(offer.serves(run.goal))
            at += size
