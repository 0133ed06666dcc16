"""Fine-tuning in plain torch, for the many arms: TRL's losses (a test holds them equal), early stopped.

The rounds train with TRL itself, see `rounds.py`.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional
from transformers import LlamaForCausalLM

from examples.continual_loop.language import PAD, VOCABULARY
from examples.continual_loop.policy import forward

__all__ = ["Batch", "Example", "Pair", "Recipe", "contrast_loss", "fit", "loss_of", "padded"]


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

    steps: int = 80
    every: int = 20
    batch: int = 16
    rate: float = 1e-3
    pair_steps: int = 20
    """Of the steps of an arm with pairs, the last ones are of the preference loss."""
    beta: float = 0.1


def padded(examples: Sequence[Example]) -> Batch:
    """Pad examples to one length."""
    size = max(len(each.ids) for each in examples)
    ids = torch.full((len(examples), size), VOCABULARY[PAD])
    weights = torch.zeros((len(examples), size))
    for at, each in enumerate(examples):
        ids[at, : len(each.ids)] = torch.tensor(each.ids)
        weights[at, : len(each.ids)] = torch.tensor(each.mask) * each.weight
    return Batch(ids, weights)


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
    model: LlamaForCausalLM,
    examples: Sequence[Example],
    recipe: Recipe,
    score: Callable[[LlamaForCausalLM], float],
    *,
    seed: int,
    pairs: Sequence[Pair] = (),
    nll: float = 0.0,
) -> tuple[LlamaForCausalLM, dict[int, float]]:
    """Train a copy; give the state with the best score on train goals (the start is one), and all scores by step."""
    model = copy.deepcopy(model)
    scores = {0: score(model)}
    best = copy.deepcopy(model.state_dict())
    rng, optimizer = random.Random(seed), torch.optim.AdamW(model.parameters(), lr=recipe.rate, weight_decay=0.0)
    first_pairs = recipe.steps - recipe.pair_steps if pairs else recipe.steps
    reference = model
    order: list[Example] = []
    for step in range(recipe.steps if examples else 0):
        if step == first_pairs:
            reference = copy.deepcopy(model)
        while len(order) < recipe.batch:  # whole passes, each in an order of its own
            order += rng.sample(examples, len(examples))
        taken, order = order[: recipe.batch], order[recipe.batch :]
        if step < first_pairs:
            loss = loss_of(model, padded(taken))
        else:
            some = [rng.choice(pairs) for _ in range(recipe.batch // 2)]
            loss = contrast_loss(model, reference, some, beta=recipe.beta, nll=nll)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % recipe.every == 0:
            scores[step + 1] = score(model)
            if scores[step + 1] > max(value for at, value in scores.items() if at <= step):
                best = copy.deepcopy(model.state_dict())
    model.load_state_dict(best)
    return model, scores
