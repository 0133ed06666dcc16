"""docs/training.md is true: its Python runs, and it names everything that there is."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from agenther_live import ShardStream
from agenther_live.integrations import trl as ours

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text("utf-8")
HERE = "report_to=[], use_cpu=True, bf16=False, disable_tqdm=True"


def block(word: str) -> str:
    """The Python block that holds a word."""
    return next(text for text in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if word in text)


@pytest.fixture
def names(shards: Path, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a reader of the page has at hand."""
    from trl import DPOConfig, SFTConfig

    from tests.trainers import tiny

    monkeypatch.chdir(tmp_path)
    shutil.copytree(shards, tmp_path / "agenther" / "shards")
    given = {name: getattr(ours, name) for name in ours.__all__}
    return {**given, "SFTConfig": SFTConfig, "DPOConfig": DPOConfig, "Path": Path, "ShardStream": ShardStream,
            "tokenizer": tokenizer,
            "model": tiny.model(len(tokenizer))}  # fmt: skip


def test_the_follower_trains_as_written(names: dict[str, Any]) -> None:
    text = block("ShardFollower(ShardStream")
    exec(
        text.replace("max_steps=10_000, max_length=8192, save_steps=50", f"max_steps=2, max_length=256, {HERE}"), names
    )
    assert names["trainer"].state.global_step == 2
    assert names["ShardFollower"](names["follower"].stream).resume("out") == "out/checkpoint-2"


def test_rounds_go_on_as_written(names: dict[str, Any], rows: Any) -> None:
    text = block("itertools.count(1)")
    short = text.replace("itertools.count(1)", "(1, 2)")
    short = short.replace("min_rows=512, timeout=3600", "min_rows=4, timeout=0, max_rows=4")
    short = short.replace("max_length=8192", f"max_length=256, per_device_train_batch_size=2, {HERE}")
    exec(short, names)
    seen = [Dataset.load_from_disk(f"out/round-{number}/rows") for number in (1, 2)]
    given = [row["sample_id"] for table in seen for row in table if row["sample_id"]]
    assert len(set(given)) == 8, "the second round has none of the first's"
    assert names["trainer"].state.global_step == len(seen[1]) / 2
    trained = [weights.clone() for weights in names["model"].parameters()]
    exec(short, names)
    same = map(torch.equal, trained, names["model"].parameters())
    assert all(same), "what was over took no step"
    note = json.loads(Path("agenther/shards/consumers/trainer-a.json").read_text())
    assert note["policy_version"] == "round-2"


def test_both_trainers_are_made_as_written(names: dict[str, Any], rows: Any) -> None:
    from datasets import load_dataset

    for name, fmt in (("rows", "trl_sft"), ("pairs", "trl_dpo")):
        names[name] = load_dataset("agenther/shards", fmt, split="train", cache_dir="cache")
    names["model"].save_pretrained("tiny")
    names["model"] = type(names["model"]).from_pretrained("tiny")  # DPO loads its reference by the model's name
    exec(re.sub(r'Config\("out"', f'Config("out", {HERE}', block("trainer = WeightedDPOTrainer")), names)
    assert type(names["trainer"]).__name__ == "WeightedDPOTrainer"


def test_every_name_is_told_of() -> None:
    untold = [name for name in ours.__all__ if name not in PAGE and not name.startswith("Enc")]
    assert untold == []
