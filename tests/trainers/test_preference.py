"""TRL's DPOTrainer and KTOTrainer on published rows, and equation 2 of the paper."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, load_dataset
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

from agenther_live.errors import UsageError
from agenther_live.integrations.trl import (
    GoalContrastCollator,
    GoalContrastTrainer,
    KTOCollator,
    PreferenceCollator,
    WeightedDPOTrainer,
)
from tests.trainers import tiny

CPU = torch.device("cpu")
LENGTH = 1536  # of the shards' tokens; a tiny model on two cores


@pytest.fixture(scope="module")
def load(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Give a format's shortest rows, loaded as everyone loads them."""
    cache = str(tmp_path_factory.mktemp("cache"))

    def shortest(fmt: str, most: int | None = 4) -> Dataset:
        table = load_dataset(str(shards), fmt, split="train", cache_dir=cache)
        if most is None:
            return table
        return table.select(sorted(range(len(table)), key=lambda at: len(json.dumps(table[at])))[:most])

    return shortest


def config(folder: Path, kind: Any = DPOConfig, **more: Any) -> Any:
    given = {"max_steps": 2, "per_device_train_batch_size": 2, "learning_rate": 1e-3, "beta": 0.1, "max_length": LENGTH}
    return kind(
        str(folder),
        report_to=[],
        use_cpu=True,
        bf16=False,
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
        gradient_checkpointing=False,
        **{**given, **more},
    )


def history(trainer: Any, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def pair(tokenizer: Any) -> dict[str, Any]:
    """Give the trained model and its reference, which are the same before the first step."""
    return {"model": tiny.model(len(tokenizer)), "ref_model": tiny.model(len(tokenizer))}


def loss_and_gradient(trainer: Any, batch: Any) -> tuple[float, torch.Tensor]:
    trainer.model.train()
    trainer.model.zero_grad()
    (batch,), _ = trainer.get_batch_samples(iter([dict(batch)]), 1, CPU)
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    return float(loss.detach()), tiny.gradients(trainer.model)


@pytest.mark.parametrize("fmt", ["trl_dpo_step", "trl_dpo"])
def test_stock_dpo_takes_two_steps_on_the_shards(load: Any, tokenizer: Any, tmp_path: Path, fmt: str) -> None:
    """With our collator for whole responses; a step's one message needs none."""
    args = config(tmp_path, remove_unused_columns=fmt == "trl_dpo_step")
    more = {} if fmt == "trl_dpo_step" else {"data_collator": PreferenceCollator(tokenizer, max_length=LENGTH)}
    trainer = DPOTrainer(**pair(tokenizer), args=args, train_dataset=load(fmt), processing_class=tokenizer, **more)
    trainer.train()
    assert history(trainer, "loss")[0] == pytest.approx(math.log(2), abs=1e-4)


def test_equation_2_starts_at_ln_2_and_its_margin_grows(load: Any, tokenizer: Any, tmp_path: Path) -> None:
    """One response, two prompts, in TRL's own trainer."""
    args = config(tmp_path, remove_unused_columns=False, max_steps=6, learning_rate=5e-3)
    trainer = DPOTrainer(
        **pair(tokenizer),
        args=args,
        train_dataset=load("goal_contrast", 2),
        processing_class=tokenizer,
        data_collator=GoalContrastCollator(tokenizer),
    )
    trainer.train()
    assert history(trainer, "loss")[0] == pytest.approx(math.log(2), abs=1e-4)
    assert history(trainer, "loss")[-1] < history(trainer, "loss")[0]
    margins = history(trainer, "rewards/margins")
    assert abs(margins[0]) < 1e-4
    assert margins[-1] > 0


def test_equation_2_is_what_the_paper_writes(load: Any, tokenizer: Any, tmp_path: Path) -> None:
    """Against log π(τ|ĝ) − log π(τ|g), computed here from plain logits."""
    rows = list(load("goal_contrast", 2))
    trainer = GoalContrastTrainer(
        args=config(tmp_path),
        train_dataset=load("goal_contrast", 2),
        processing_class=tokenizer,
        model=tiny.model(len(tokenizer), seed=1),
        ref_model=tiny.model(len(tokenizer)),
    )
    batch = GoalContrastCollator(tokenizer)(rows)
    found, _ = loss_and_gradient(trainer, batch)

    def log_pi(model: Any) -> torch.Tensor:
        with torch.no_grad():
            logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
        picked = logits.log_softmax(-1).gather(2, batch["input_ids"][:, 1:, None])[..., 0]
        return (picked * batch["completion_mask"][:, 1:]).sum(1)

    ratio = log_pi(tiny.model(len(tokenizer), seed=1)) - log_pi(tiny.model(len(tokenizer)))
    hindsight, failed = ratio.chunk(2)
    assert found == pytest.approx(float(-torch.nn.functional.logsigmoid(0.1 * (hindsight - failed)).mean()), rel=1e-4)


def test_both_prompts_are_followed_by_the_same_tokens(load: Any, tokenizer: Any) -> None:
    batch = GoalContrastCollator(tokenizer)(list(load("goal_contrast", 2)))
    for good, bad in zip(range(2), range(2, 4), strict=True):
        kept = [batch["input_ids"][at][batch["completion_mask"][at] == 1].tolist() for at in (good, bad)]
        assert kept[0] == kept[1]
        assert batch["input_ids"][good].tolist() != batch["input_ids"][bad].tolist()


def test_the_contrast_trainer_adds_an_nll_term(load: Any, tokenizer: Any, tmp_path: Path) -> None:
    args = config(tmp_path, loss_type=["sigmoid", "sft"], loss_weights=[1.0, 0.5], learning_rate=5e-3, max_length=None)
    trainer = GoalContrastTrainer(
        **pair(tokenizer), args=args, train_dataset=load("goal_contrast"), processing_class=tokenizer, severity=True
    )
    trainer.train()
    first, second = history(trainer, "loss")
    assert first == pytest.approx(math.log(2) + 0.5 * math.log(len(tokenizer)), rel=0.05)
    assert second < first
    chosen = history(trainer, "logps/chosen")
    assert len(chosen) == 2


def test_weighted_dpo_with_weight_one_is_trls_own_loss(load: Any, tokenizer: Any, tmp_path: Path) -> None:
    table = load("trl_dpo", 2)
    losses = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.3]}
    models = {"model": tiny.model(len(tokenizer), seed=1), "ref_model": tiny.model(len(tokenizer))}
    collator = PreferenceCollator(tokenizer, max_length=LENGTH)
    stock = DPOTrainer(
        **models,
        args=config(tmp_path, remove_unused_columns=False, **losses),
        train_dataset=table,
        processing_class=tokenizer,
        data_collator=collator,
    )
    batch = collator(list(table))
    wanted = loss_and_gradient(stock, batch)
    models = {"model": tiny.model(len(tokenizer), seed=1), "ref_model": tiny.model(len(tokenizer))}
    for weights in ({}, {"pair_weights": torch.ones(2)}):
        ours = WeightedDPOTrainer(
            **models, args=config(tmp_path, **losses), train_dataset=table, processing_class=tokenizer
        )
        found = loss_and_gradient(ours, {**batch, **weights})
        assert found[0] == pytest.approx(wanted[0], rel=1e-5)
        assert torch.allclose(found[1], wanted[1], rtol=1e-4, atol=1e-7)


def test_weights_scale_a_pairs_loss_and_gradient(load: Any, tokenizer: Any, tmp_path: Path) -> None:
    table = load("trl_dpo", 2)
    models = {"model": tiny.model(len(tokenizer), seed=1), "ref_model": tiny.model(len(tokenizer))}
    trainer = WeightedDPOTrainer(
        **models, args=config(tmp_path), train_dataset=table, processing_class=tokenizer, severity=True, normalize=False
    )
    collator = PreferenceCollator(tokenizer, max_length=LENGTH, severity=True)
    whole, half, none = (loss_and_gradient(trainer, collator([{**table[0], "weight": w}])) for w in (1.0, 0.5, 0.0))
    assert half[0] == pytest.approx(whole[0] / 2, rel=1e-6)
    assert torch.allclose(half[1], whole[1] / 2, rtol=1e-5, atol=1e-9)
    assert none[0] == 0
    assert not none[1].any()
    trainer.normalize = True
    again = loss_and_gradient(trainer, collator([{**table[0], "weight": 0.5}]))
    assert again[0] == pytest.approx(whole[0], rel=1e-6)


def test_stock_kto_takes_two_steps_on_the_shards(load: Any, tokenizer: Any, tmp_path: Path) -> None:
    args = config(tmp_path, KTOConfig, remove_unused_columns=False, train_sampling_strategy="sequential")
    trainer = KTOTrainer(
        **pair(tokenizer),
        args=args,
        train_dataset=load("trl_kto", None),  # as published: both goals of a trajectory are never neighbours
        processing_class=tokenizer,
        data_collator=KTOCollator(tokenizer, max_length=LENGTH),
    )
    trainer.train()
    assert history(trainer, "loss")[0] == pytest.approx(0.5, abs=0.01)


def test_what_weights_cannot_go_with_is_refused(load: Any, tokenizer: Any, tmp_path: Path) -> None:
    for more in ({"loss_type": "ipo"}, {"precompute_ref_log_probs": True}, {"f_divergence_type": "forward_kl"}):
        with pytest.raises(UsageError):
            WeightedDPOTrainer(
                **pair(tokenizer),
                args=config(tmp_path, **more),
                train_dataset=load("trl_dpo_step"),
                processing_class=tokenizer,
            )
