"""Fine-tuning in plain torch, for the many arms: TRL's losses (a test holds them equal), early stopped.

The rounds train with TRL itself, see `rounds.py`.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional
from transformers import LlamaForCausalLM

from examples.continual_loop.language import PAD, VOCABULARY
from examples.continual_loop.policy import forward

__all__ = ["Batch", "Example", "Pair", "Recipe", "contrast_loss", "fit", "fit_on", "loss_of", "padded"]


@dataclass(frozen=True)
class Example:
    """A conversation in tokens, where the loss falls, and its weight."""

    ids: list[int]
    mask: list[int]
    weight: float = 1.0


@dataclass(frozen=True)
class Pair:
    """Two responses to compare; of equation 2 one response under two goals."""

    chosen: Example
    rejected: Example


@dataclass(frozen=True)
class Batch:
    """Examples padded on the right: (rows, positions) each; `weights` are 0 where no loss falls."""

    ids: torch.Tensor
    weights: torch.Tensor


@dataclass(frozen=True)
class Recipe:
    """How every arm is trained: so many steps, and looked at every `every` steps on train goals."""

    steps: int = 100
    every: int = 50
    batch: int = 16
    rate: float = 2e-3
    more_steps: int = 40
    """An arm that begins where another ended takes so many, and is looked at behind the last of them."""
    pair_rate: float = 2e-4
    """Of those on pairs: a tenth, as is usual; at the whole rate both losses wrecked the policy."""
    beta: float = 0.1


def padded(examples: Sequence[Example]) -> Batch:
    """Pad examples to one length."""
    size = max(len(each.ids) for each in examples)
    short = [size - len(each.ids) for each in examples]
    ids = [each.ids + [VOCABULARY[PAD]] * more for each, more in zip(examples, short, strict=True)]
    weights = [
        [on * each.weight for on in each.mask] + [0.0] * more for each, more in zip(examples, short, strict=True)
    ]
    return Batch(torch.tensor(ids), torch.tensor(weights, dtype=torch.float32))


def token_losses(model: LlamaForCausalLM, batch: Batch, *, early: list[torch.Tensor] | None = None) -> torch.Tensor:
    """−log π of each token given those before it, (rows, positions − 1); `early` as in `forward`."""
    logits = forward(model, batch.ids[:, :-1], early=early)
    return functional.cross_entropy(logits.flatten(0, 1), batch.ids[:, 1:].flatten(), reduction="none").view(
        len(batch.ids), -1
    )


def loss_of(model: LlamaForCausalLM, batch: Batch, *, early: list[torch.Tensor] | None = None) -> torch.Tensor:
    """Σ wℓ / Σ w over the trained tokens: the loss of `WeightedSFTTrainer`, and with weights 1 TRL's own."""
    weights = batch.weights[:, 1:]
    return (token_losses(model, batch, early=early) * weights).sum() / weights.sum()


def contrast_loss(
    model: LlamaForCausalLM, reference: LlamaForCausalLM, pairs: Sequence[Pair], *, beta: float, nll: float
) -> torch.Tensor:
    """The loss of `WeightedDPOTrainer` with weights 1: −log σ(β·margin) + `nll`·NLL of the chosen response.

    On pairs of one response and two prompts it is that of `GoalContrastTrainer` (arXiv 2603.21357, equation 2).
    """
    batch = padded([each.chosen for each in pairs] + [each.rejected for each in pairs])
    mask = (batch.weights[:, 1:] > 0).float()
    now = -(token_losses(model, batch) * mask).sum(1)
    with torch.no_grad():
        before = -(token_losses(reference, batch) * mask).sum(1)
    chosen, rejected = (now - before).chunk(2)
    loss = -functional.logsigmoid(beta * (chosen - rejected)).mean()
    tokens = mask.chunk(2)[0].sum().clamp(min=1)
    return loss - nll * now.chunk(2)[0].sum() / tokens


def fit(
    start: LlamaForCausalLM,
    examples: Sequence[Example],
    recipe: Recipe,
    score: Callable[[LlamaForCausalLM], float],
    *,
    first: float,
    seed: int,
) -> tuple[LlamaForCausalLM, LlamaForCausalLM, dict[int, float]]:
    """Train a copy on demonstrations; `first` is the score of the start.

    Gives the policy with the best score on train goals (the start is one of those to choose from), the policy of the
    last step, and all scores by step.
    """
    model, scores = copy.deepcopy(start), {0: first}
    best = start
    losses = (loss_of(model, padded(taken)) for taken in _batches(examples, recipe.batch, random.Random(seed)))
    for step in _descend(model, losses, recipe.rate, recipe.steps if examples else 0):
        if step % recipe.every == 0:
            scores[step] = score(model)
            if scores[step] > max(value for at, value in scores.items() if at < step):
                best = copy.deepcopy(model)
    return best, model, scores


def fit_on(
    start: LlamaForCausalLM,
    examples: Sequence[Example],
    pairs: Sequence[Pair],
    recipe: Recipe,
    *,
    nll: float,
    seed: int,
) -> LlamaForCausalLM:
    """Train a copy of a policy that is trained already: on pairs against that policy, or without any as it was."""
    model, rng = copy.deepcopy(start), random.Random(seed)
    if pairs:
        chosen = ([rng.choice(pairs) for _ in range(recipe.batch // 2)] for _ in range(recipe.more_steps))
        losses = (contrast_loss(model, start, each, beta=recipe.beta, nll=nll) for each in chosen)
    else:
        losses = (loss_of(model, padded(taken)) for taken in _batches(examples, recipe.batch, rng))
    rate = recipe.pair_rate if pairs else recipe.rate
    for _ in _descend(model, losses, rate, recipe.more_steps if pairs or examples else 0):
        pass
    return model


def _batches(examples: Sequence[Example], size: int, rng: random.Random) -> Iterator[list[Example]]:
    """Whole passes, each in an order of its own, without end."""
    order: list[Example] = []
    while True:
        while len(order) < size:
            order += rng.sample(examples, len(examples))
        taken, order = order[:size], order[size:]
        yield taken


def _descend(model: LlamaForCausalLM, losses: Iterator[torch.Tensor], rate: float, steps: int) -> Iterator[int]:
    """Follow the losses downhill, each taken when its step is, at a rate that falls to 0; gives the steps so far."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0, fused=True)
    for step in range(1, steps + 1):
        optimizer.param_groups[0]["lr"] = rate * (1 - (step - 1) / steps)
        optimizer.zero_grad()
        next(losses).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        yield step
