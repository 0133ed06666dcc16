"""Runs where axolotl is installed: its own config validation, loader and prompt strategy over our shards.

Usage: python axolotl_reads.py RECIPE SHARDS MODEL OUT. Prints one JSON object.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = os.environ["AXOLOTL_DO_NOT_TRACK"] = os.environ["DO_NOT_TRACK"] = "1"

from axolotl.cli.config import load_cfg
from axolotl.loaders import load_tokenizer
from axolotl.utils.data.sft import _load_and_process_single_dataset


def main(recipe: Path, shards: Path, model: Path, out: Path) -> None:
    """Read everything, and say how much of it came through."""
    os.environ["HF_DATASETS_CACHE"] = str(out / "cache")
    cfg = load_cfg(
        str(recipe),
        base_model=str(model),
        output_dir=str(out),
        dataset_prepared_path=str(out / "prepared"),
        bf16=False,
        dataset_num_proc=1,
    )
    for source in cfg.datasets:
        source["path"] = str(shards)
    tokenizer = load_tokenizer(cfg)
    # What its training does with each set before it saves them all by a pool of processes.
    rows, _ = _load_and_process_single_dataset(
        dataset_config=cfg.datasets[0], cfg=cfg, tokenizer=tokenizer, split="train", seed=cfg.seed
    )
    told = {
        "lora": [cfg.lora_r, cfg.lora_alpha],
        "learning_rate": cfg.learning_rate,
        "rows": len(rows),
        "trained": [
            tokenizer.decode([token for token in row["labels"] if token != -100], skip_special_tokens=False)
            for row in rows
        ],
    }
    sys.stdout.write(f"{json.dumps(told)}\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:5]))
