"""Runs where LLaMA-Factory is installed: its own recipe loading, loader, converter and template over our shards.

Usage: python llamafactory_reads.py RECIPE SHARDS MODEL OUT. Prints one JSON object.
"""

from __future__ import annotations

import importlib.machinery
import json
import os
import sys
import types
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
# It imports torchaudio for sound, which no shard has.
sound = types.ModuleType("torchaudio")
sound.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
sys.modules["torchaudio"] = sound

import yaml  # noqa: E402
from llamafactory.data import get_dataset, get_template_and_fix_tokenizer  # noqa: E402
from llamafactory.data.parser import get_dataset_list  # noqa: E402
from llamafactory.hparams import get_train_args  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402


def main(recipe: Path, shards: Path, model: Path, out: Path) -> None:
    """Read everything, and say how much of it came through."""
    given = yaml.safe_load(recipe.read_text())
    here = {
        "model_name_or_path": str(model),
        "dataset_dir": str(shards),
        "output_dir": str(out),
        "bf16": False,
        "use_cpu": True,
    }
    model_args, data_args, training_args, finetuning_args, _ = get_train_args({**given, **here})
    model_args.cache_dir = str(out / "cache")
    tokenizer = AutoTokenizer.from_pretrained(model)
    template = get_template_and_fix_tokenizer(tokenizer, data_args)
    (attributes,) = get_dataset_list(data_args.dataset, data_args.dataset_dir)
    made = get_dataset(template, model_args, data_args, training_args, stage="sft", tokenizer=tokenizer)
    rows = made["train_dataset"]
    told = {
        "columns": attributes.messages,
        "lora": [finetuning_args.lora_rank, finetuning_args.lora_alpha],
        "learning_rate": training_args.learning_rate,
        "rows": len(rows),
        "trained": [
            tokenizer.decode([token for token in row["labels"] if token != -100], skip_special_tokens=False)
            for row in rows
        ],
    }
    sys.stdout.write(f"{json.dumps(told)}\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:5]))
