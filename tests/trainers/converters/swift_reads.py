"""Runs where ms-swift is installed: its own recipe parsing, loader, preprocessor and template over our shards.

Usage: python swift_reads.py RECIPE SHARDS MODEL OUT. Prints one JSON object.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

from swift.cli.main import parse_yaml_args
from swift.pipelines.train.rlhf import SwiftRLHF
from swift.pipelines.train.sft import SwiftSft


def main(recipe: Path, shards: Path, model: Path, out: Path) -> None:
    """Read everything, and say how much of it came through."""
    os.environ["HF_DATASETS_CACHE"] = str(out / "cache")
    given = [str(recipe)]
    parse_yaml_args(given)  # as `swift sft RECIPE` does
    options = dict(zip(given[::2], given[1::2], strict=True))
    subset = options["--dataset"].rpartition(":")[2]
    options |= {
        "--model": str(model),
        "--model_type": "qwen2",
        "--template": "qwen2_5",
        "--dataset": f"{shards}:{subset}",
        "--output_dir": str(out),
        "--torch_dtype": "float32",
        "--dataset_num_proc": "1",
    }
    pipeline = SwiftRLHF if "--rlhf_type" in options else SwiftSft
    run = pipeline([word for option in options.items() for word in option])
    rows, _ = run._prepare_dataset()
    tokenizer = run.processor

    def trained(labels: list[int]) -> str:
        return str(tokenizer.decode([token for token in labels if token != -100], skip_special_tokens=False))

    told = {
        "lora": [run.args.lora_rank, run.args.lora_alpha],
        "learning_rate": run.args.learning_rate,
        "rows": len(rows),
        "trained": [trained(row.get("labels") or row["chosen_labels"]) for row in rows],
        "rejected": [trained(row["rejected_labels"]) for row in rows if "rejected_labels" in row],
    }
    sys.stdout.write(f"{json.dumps(told)}\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:5]))
