"""docs/training.md is true: its Python runs, and it names everything that there is."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

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
    return {**given, "SFTConfig": SFTConfig, "DPOConfig": DPOConfig, "Path": Path, "tokenizer": tokenizer,
            "model": tiny.model(len(tokenizer))}  # fmt: skip


def test_the_follower_trains_as_written(names: dict[str, Any]) -> None:
    text = block("ShardFollower(ShardStream")
    exec(
        text.replace("max_steps=10_000, max_length=8192, save_steps=50", f"max_steps=2, max_length=256, {HERE}"), names
    )
    assert names["trainer"].state.global_step == 2
    assert names["ShardFollower"](names["follower"].stream).resume("out") == "out/checkpoint-2"


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
