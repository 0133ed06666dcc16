"""TRL's SFTTrainer on published rows: stock, and with weights that do what they say."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, load_dataset
from trl import SFTConfig, SFTTrainer

from agenther_live.errors import UsageError
from agenther_live.integrations.trl import SFTCollator, WeightedSFTTrainer
from tests.trainers import tiny

CPU = torch.device("cpu")


def config(folder: Path, **more: Any) -> SFTConfig:
    given = {"max_steps": 2, "per_device_train_batch_size": 2, "learning_rate": 1e-2, "max_length": None}
    return SFTConfig(
        str(folder),
        report_to=[],
        use_cpu=True,
        bf16=False,
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
        **{**given, **more},
    )


def weighted(folder: Path, table: Any, tokenizer: Any, **more: Any) -> WeightedSFTTrainer:
    options = {name: more.pop(name) for name in ("severity", "normalize") if name in more}
    return WeightedSFTTrainer(tiny.model(len(tokenizer)), config(folder, **more), table, tokenizer, **options)


def loss_and_gradient(trainer: Any, batch: Any) -> tuple[float, torch.Tensor]:
    """As one optimizer step has them."""
    trainer.model.train()
    trainer.model.zero_grad()
    (batch,), items = trainer.get_batch_samples(iter([dict(batch)]), 1, CPU)
    loss = trainer.compute_loss(trainer.model, batch, num_items_in_batch=items)
    loss.backward()
    return float(loss.detach()), tiny.gradients(trainer.model)


def losses(trainer: Any) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.fixture(scope="module")
def table(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The shards as everyone loads them."""
    cache = str(tmp_path_factory.mktemp("cache"))
    whole = load_dataset(str(shards), "trl_sft", split="train", cache_dir=cache)
    return whole.select(sorted(range(len(whole)), key=lambda at: len(json.dumps(whole[at])))[:8])


def test_stock_trainer_takes_two_steps_on_the_shards(table: Dataset, tokenizer: Any, tmp_path: Path) -> None:
    args = config(tmp_path, assistant_only_loss=True)
    trainer = SFTTrainer(tiny.model(len(tokenizer)), args, train_dataset=table, processing_class=tokenizer)
    trainer.train()
    assert losses(trainer)[1] < losses(trainer)[0]


def test_weighted_trainer_takes_two_steps_on_the_shards(table: Dataset, tokenizer: Any, tmp_path: Path) -> None:
    trainer = weighted(tmp_path, table, tokenizer, severity=True, gradient_accumulation_steps=2)
    trainer.train()
    assert losses(trainer)[1] < losses(trainer)[0]


def test_weight_one_is_trls_own_loss(table: Dataset, tokenizer: Any, tmp_path: Path) -> None:
    batch = SFTCollator(tokenizer)(list(table.select(range(2))))
    stock = SFTTrainer(
        tiny.model(len(tokenizer)),
        config(tmp_path, remove_unused_columns=False, dataset_kwargs={"skip_prepare_dataset": True}),
        train_dataset=table,
        processing_class=tokenizer,
        data_collator=SFTCollator(tokenizer, weighted=False),
    )
    wanted = loss_and_gradient(stock, {name: value for name, value in batch.items() if name != "token_weights"})
    for normalize in (True, False):
        found = loss_and_gradient(weighted(tmp_path, table, tokenizer, normalize=normalize), batch)
        assert found[0] == pytest.approx(wanted[0], rel=1e-6)
        assert torch.allclose(found[1], wanted[1], rtol=1e-5, atol=1e-8)


def test_weights_scale_loss_and_gradient(table: Dataset, tokenizer: Any, tmp_path: Path) -> None:
    """Under TRL's own denominator: 1, 0.5, 0."""
    trainer = weighted(tmp_path, table, tokenizer, severity=True, normalize=False)
    collator = SFTCollator(tokenizer, severity=True)
    row = {**table[0], "weight": 1.0}
    whole, half, none = (loss_and_gradient(trainer, collator([{**row, "weight": w}])) for w in (1.0, 0.5, 0.0))
    assert half[0] == pytest.approx(whole[0] / 2, rel=1e-6)
    assert torch.allclose(half[1], whole[1] / 2, rtol=1e-5, atol=1e-8)
    assert none[0] == 0
    assert not none[1].any()


def test_normalized_weights_are_a_weighted_mean(table: Dataset, tokenizer: Any, tmp_path: Path) -> None:
    trainer = weighted(tmp_path, table, tokenizer, severity=True)
    collator = SFTCollator(tokenizer, severity=True)
    one, two = ({**table[at], "weight": 1.0} for at in (0, 1))

    def step(*rows: Any) -> tuple[float, torch.Tensor]:
        return loss_and_gradient(trainer, collator(list(rows)))

    alone, other = step(one), step(two)
    sizes = [int((collator([row])["labels"][:, 1:] != -100).sum()) for row in (one, two)]
    for first, second in ((1.0, 0.5), (0.2, 0.1), (1.0, 0.0)):
        found = step({**one, "weight": first}, {**two, "weight": second})
        shares = [weight * size for weight, size in zip((first, second), sizes, strict=True)]
        mean = (shares[0] * alone[0] + shares[1] * other[0]) / sum(shares)
        assert found[0] == pytest.approx(mean, rel=1e-5)
        gradient = (shares[0] * alone[1] + shares[1] * other[1]) / sum(shares)
        assert torch.allclose(found[1], gradient, rtol=1e-3, atol=1e-6)


def test_an_evaluation_is_weighted_too(table: Dataset, tokenizer: Any, tmp_path: Path) -> None:
    trainer = weighted(tmp_path, table, tokenizer, eval_strategy="no")
    assert math.isfinite(trainer.evaluate(table.select(range(2)))["eval_loss"])


def test_what_weights_cannot_go_with_is_refused(table: Dataset, tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="packing"):
        weighted(tmp_path, table, tokenizer, packing=True, max_length=64)
    with pytest.raises(UsageError, match="nll"):
        weighted(tmp_path, table, tokenizer, loss_type="dft")
