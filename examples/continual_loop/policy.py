"""The policy: a Llama of three layers and about 80,000 parameters, and a player that runs hundreds of episodes at once.

The model is a Hugging Face one, so TRL takes it as it is. `forward` is the same network in thirty lines of torch (a
test holds the logits equal): a step of decoding costs 0.6 ms instead of 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from examples.continual_loop.language import AGENT, END, VOCABULARY, WORDS, encode, plain, read_turn
from examples.continual_loop.worlds import MAX_TURNS, Goal, Refusal, Run, World

__all__ = ["Cache", "Played", "forward", "new_model", "noise_of", "play"]

WIDTH, LAYERS, HEADS = 48, 3, 2
MAX_TOKENS, TURN_TOKENS = 150, 14
_AGENT, _END = VOCABULARY[AGENT], VOCABULARY[END]


def new_model(seed: int = 0) -> LlamaForCausalLM:
    """A random policy."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(WORDS),
            hidden_size=WIDTH,
            intermediate_size=2 * WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=HEADS,
            max_position_embeddings=256,
            bos_token_id=None,
            eos_token_id=_END,
            pad_token_id=VOCABULARY["<pad>"],
            tie_word_embeddings=True,
            initializer_range=0.12,  # about 1/√width; the usual 0.02 learns ten times slower at this size
            attn_implementation="sdpa",
        )
    )


@dataclass
class Cache:
    """Keys and values of what was read, per layer, (rows, heads, positions, width)."""

    keys: list[torch.Tensor]
    values: list[torch.Tensor]
    length: int = 0

    @classmethod
    def empty(cls, rows: int) -> Cache:
        """Room for `MAX_TOKENS` positions of each row."""
        size = (rows, HEADS, MAX_TOKENS, WIDTH // HEADS)
        return cls([torch.empty(size) for _ in range(LAYERS)], [torch.empty(size) for _ in range(LAYERS)])

    def kept(self, rows: torch.Tensor) -> Cache:
        """The cache of some rows."""
        made = Cache.empty(len(rows))
        for old, new in zip(self.keys + self.values, made.keys + made.values, strict=True):
            new[:, :, : self.length] = old[:, :, : self.length].index_select(0, rows)
        made.length = self.length
        return made


def _angles() -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines, and sines as `_turned` wants them: those of the left half negative."""
    size = WIDTH // HEADS
    inverse = 1.0 / 10_000 ** (torch.arange(0, size, 2).float() / size)
    angle = torch.outer(torch.arange(256).float(), inverse)
    return torch.cat((angle, angle), -1).cos(), torch.cat((-angle.sin(), angle.sin()), -1)


_COS, _SIN = _angles()


def _attended(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Causal attention (rows, heads, positions, width); `q` are the last positions of `k`.

    Several positions are done in plain products: at this width those take two thirds of the time of torch's own.
    """
    size, seen = q.shape[-2], k.shape[-2]
    if size == 1:
        return functional.scaled_dot_product_attention(q, k, v)
    scores = torch.baddbmm(_hidden(size, seen), q.flatten(0, 1), k.flatten(0, 1).mT, alpha=q.shape[-1] ** -0.5)
    return (scores.softmax(-1) @ v.flatten(0, 1)).view_as(q)


@lru_cache(maxsize=512)
def _hidden(size: int, seen: int) -> torch.Tensor:
    return torch.full((size, seen), -math.inf).triu(1 + seen - size)


def _turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    return x * cos + x.roll(WIDTH // HEADS // 2, -1) * sin


def forward(
    model: LlamaForCausalLM,
    ids: torch.Tensor,
    cache: Cache | None = None,
    *,
    early: list[torch.Tensor] | None = None,
    read_out: bool = True,
) -> torch.Tensor:
    """Logits (rows, positions, words) for ids (rows, positions), behind what the cache holds.

    `early` gets the state (rows, positions, width) behind the layer before the last. Without `read_out` it gives the
    state behind the last layer: nobody asks for the logits.
    """
    rows, size = ids.shape
    start = cache.length if cache else 0
    cos, sin = _COS[start : start + size], _SIN[start : start + size]
    inner: Any = model.model
    x = functional.embedding(ids, inner.embed_tokens.weight)
    for at, layer in enumerate(inner.layers):
        own = layer.self_attn
        y = functional.rms_norm(x, (WIDTH,), layer.input_layernorm.weight, 1e-6)
        q, k, v = (
            functional.linear(y, each.weight).view(rows, size, HEADS, -1).transpose(1, 2)
            for each in (own.q_proj, own.k_proj, own.v_proj)
        )
        q, k = _turned(q, cos, sin), _turned(k, cos, sin)
        if cache is not None:
            cache.keys[at][:, :, start : start + size] = k
            cache.values[at][:, :, start : start + size] = v
            k, v = cache.keys[at][:, :, : start + size], cache.values[at][:, :, : start + size]
        y = _attended(q, k, v)
        x = x + functional.linear(y.transpose(1, 2).reshape(rows, size, WIDTH), own.o_proj.weight)
        y = functional.rms_norm(x, (WIDTH,), layer.post_attention_layernorm.weight, 1e-6)
        gate = functional.silu(functional.linear(y, layer.mlp.gate_proj.weight))
        x = x + functional.linear(gate * functional.linear(y, layer.mlp.up_proj.weight), layer.mlp.down_proj.weight)
        if early is not None and at == LAYERS - 2:
            early.append(functional.rms_norm(x, (WIDTH,)))
    if cache is not None:
        cache.length += size
    return _read_out(inner, x) if read_out else x


def _read_out(inner: Any, x: torch.Tensor) -> torch.Tensor:
    return functional.linear(functional.rms_norm(x, (WIDTH,), inner.norm.weight, 1e-6), inner.embed_tokens.weight)


@lru_cache(maxsize=1024)  # a job plays the same goals again and again, under the same seeds
def noise_of(seed: int) -> torch.Tensor:
    """Gumbel noise (positions, words) of an episode: the argmax of logits + noise is a sample at temperature 1."""
    made = np.random.default_rng([seed, 7]).random((MAX_TOKENS, len(WORDS)), dtype=np.float32)
    return torch.from_numpy(-np.log(-np.log(made + 1e-9) + 1e-9))


@dataclass
class Played:
    """An episode of the batched player."""

    run: Run
    words: list[str]
    answer: str | None
    """The final answer; None where the agent came to no end."""

    @property
    def reached(self) -> bool:
        """Whether the goal was reached."""
        return self.run.reached(self.answer)


class _Row:
    """One episode in the batch: what it must read next, and what it is saying."""

    def __init__(self, run: Run) -> None:
        self.run, self.answer = run, None
        self.ids = encode([{"role": "user", "content": run.goal.text}])[0] + [_AGENT]
        self.turns, self.said, self.over = 0, list[int](), False

    def takes(self, token: int) -> None:
        """Take one sampled token, and what the world answers to a turn that it ends."""
        self.ids.append(token)
        if token != _END and len(self.said) < TURN_TOKENS:
            self.said.append(token)
            return
        if token != _END:
            self.over = True
            return
        words, self.said = [WORDS[each] for each in self.said], []
        turn = read_turn(words, self.run.world)
        self.turns += 1
        if isinstance(turn, str):
            self.answer, self.over = turn, True
            return
        try:
            told = [str(v) for v in _flat(self.run.act(*turn[:2]))]
        except Refusal as refusal:
            told = plain(str(refusal))
        self.over = self.turns >= MAX_TURNS
        self.ids += encode([{"role": "tool", "content": " ".join(told)}])[0] + [_AGENT]


def _flat(result: dict[str, Any]) -> list[Any]:
    found: list[Any] = []
    for value in result.values():
        found += [each for row in value for each in row.values()] if isinstance(value, list) else [value]
    return found


@torch.no_grad()
def play(
    model: LlamaForCausalLM, world: World, goals: Sequence[Goal], seeds: Sequence[int], *, greedy: bool = False
) -> list[Played]:
    """Run one episode for each goal, all in one batch: each row reads or says one token a step."""
    rows = [_Row(Run(world, goal, seed)) for goal, seed in zip(goals, seeds, strict=True)]
    noise = None if greedy else torch.stack([noise_of(seed) for seed in seeds], 1)
    cache, active = Cache.empty(len(rows)), list(range(len(rows)))
    for at in range(MAX_TOKENS - 1):
        read = [[rows[i].ids[min(at, len(rows[i].ids) - 1)]] for i in active]
        said = any(len(rows[i].ids) == at + 1 for i in active)  # at first all rows read what they were told
        logits = forward(model, torch.tensor(read), cache, read_out=said)[:, -1]
        if said:
            chosen = logits if noise is None else logits + noise[at].index_select(0, torch.tensor(active))
            for i, token in zip(active, chosen.argmax(-1).tolist(), strict=True):
                if not rows[i].over and len(rows[i].ids) == at + 1:
                    rows[i].takes(token)
        left = [place for place, i in enumerate(active) if not rows[i].over]
        if not left:
            break
        if len(left) <= 0.75 * len(active):
            cache, active = cache.kept(torch.tensor(left)), [active[place] for place in left]
    return [Played(row.run, [WORDS[each] for each in row.ids], row.answer) for row in rows]
