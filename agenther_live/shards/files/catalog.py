"""What other tools find the live shards by: a README.md for Hugging Face, dataset_info.json for LLaMA-Factory.

They are made from the manifest, name live files only, and are replaced whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from agenther_live.errors import ShardError
from agenther_live.settings import ShardFormat
from agenther_live.shards.files.manifest import Entry
from agenther_live.shards.files.writer import replace_file
from agenther_live.shards.rows.formats import DIALECTS

__all__ = ["README", "SHAREGPT_README", "TRAINER_INDEX", "catalog", "listed_files", "write_catalog"]

README = "README.md"
TRAINER_INDEX = "dataset_info.json"
SHAREGPT_README = f"sharegpt/{README}"
# LLaMA-Factory loads `script_url` as a Hugging Face data set with `subset` as its configuration; with a folder as
# `file_name` it would read whatever lies there. The folder has a README of its own, with live files of that format
# alone: its `datasets` (4.0 at most) cannot read one that spells out the columns of preference formats.
_SHAREGPT = {
    "script_url": "sharegpt",
    "subset": "sharegpt",
    "split": "train",
    "formatting": "sharegpt",
    "columns": {"messages": "conversations", "system": "system", "tools": "tools"},
    "tags": {
        "role_tag": "from",
        "content_tag": "value",
        "user_tag": "human",
        "assistant_tag": "gpt",
        "observation_tag": "observation",
        "function_tag": "function_call",
    },
}
_YAML_TYPES = {str: "string", int: "int64", float: "float64", bool: "bool"}


def listed_files(entries: Iterable[Entry]) -> dict[ShardFormat, list[str]]:
    """Give the paths of the live shards by format, in the order of their names."""
    files: dict[ShardFormat, list[str]] = {}
    for entry in entries:
        files.setdefault(entry.format, []).append(entry.path)
    return {fmt: sorted(paths) for fmt, paths in sorted(files.items())}


# Their lists may hold one message each, from which no reader could infer that others have more keys.
_SPELLED_OUT: frozenset[ShardFormat] = frozenset(("goal_contrast", "trl_dpo", "trl_dpo_step", "trl_kto"))


def _features(fmt: ShardFormat) -> list[str]:
    lines = [f"- config_name: {fmt}", "  features:"]
    for name, kind in DIALECTS[fmt].columns.items():
        if kind is list:
            plain = " bool" if name.endswith("train") else " float64" if name.endswith("weights") else ""
            lines += [f"  - name: {name}", f"    list:{plain}"]
            lines += [] if plain else ["      dtype: json"]
        else:
            lines += [f"  - name: {name}", f"    dtype: {_YAML_TYPES[kind]}"]
    return lines


def _readme(files: dict[ShardFormat, list[str]], rows: dict[ShardFormat, int]) -> str:
    shown: dict[ShardFormat, list[str]] = {fmt: paths for fmt, paths in files.items() if DIALECTS[fmt].listed}
    lines = ["---"]
    if shown:
        lines += _configs(shown)
        # A Parquet file carries its own.
        spelled: list[ShardFormat] = [
            fmt for fmt in shown if fmt in _SPELLED_OUT and not shown[fmt][0].endswith(".parquet")
        ]
        lines += ["dataset_info:"] if spelled else []
        for fmt in spelled:
            lines += _features(fmt)
    lines += ["---", "# Training shards of AgentHER Live", ""]
    lines += ["Written by the worker after every change; the manifest is what counts.", ""]
    lines += ["| format | shards | rows |", "|---|---|---|"]
    lines += [f"| {fmt} | {len(paths)} | {rows[fmt]} |" for fmt, paths in files.items()]
    if shown:
        example = next(iter(shown))
        lines += ["", "```python", "from datasets import load_dataset", ""]
        lines += [f'rows = load_dataset("path/of/this/folder", "{example}", split="train")', "```"]
    return "\n".join(lines) + "\n"


def _configs(files: Mapping[ShardFormat, list[str]]) -> list[str]:
    lines = ["configs:"]
    for fmt, paths in files.items():
        lines += [f"- config_name: {fmt}", "  data_files:", "  - split: train", "    path:"]
        lines += [f"    - {path}" for path in paths]
    return lines


def _sharegpt_readme(paths: Iterable[str]) -> str:
    lines = ["---", *_configs({"sharegpt": [path.removeprefix("sharegpt/") for path in paths]}), "---"]
    return "\n".join([*lines, "LLaMA-Factory reads this folder by `dataset_info.json` beside it."]) + "\n"


def _trainer_index(files: dict[ShardFormat, list[str]]) -> dict[str, Any]:
    return {"agenther_sharegpt": _SHAREGPT} if "sharegpt" in files else {}


def catalog(entries: Iterable[Entry]) -> dict[str, str]:
    """Give the text of each list of these live shards, by its path below the root."""
    known = list(entries)
    files = listed_files(known)
    rows: dict[ShardFormat, int] = {}
    for entry in known:
        rows[entry.format] = rows.get(entry.format, 0) + entry.rows
    lists = {SHAREGPT_README: _sharegpt_readme(files["sharegpt"])} if "sharegpt" in files else {}
    # The list of data sets comes last: what it names can be read by then.
    return {**lists, README: _readme(files, rows), TRAINER_INDEX: json.dumps(_trainer_index(files), indent=2) + "\n"}


def write_catalog(root: Path, entries: Iterable[Entry]) -> None:
    """Write the lists of these live shards, where they differ from what is there.

    Raises:
        ShardError: where the volume refuses.
    """
    lists = catalog(entries)
    for name, text in lists.items():
        path = root / name
        if not path.exists() or path.read_bytes() != text.encode():
            replace_file(root, name, [text.encode()])
    if SHAREGPT_README not in lists:
        try:
            (root / SHAREGPT_README).unlink(missing_ok=True)  # every shard of that format was taken back
        except OSError as error:
            raise ShardError(f"{root / SHAREGPT_README} cannot be removed: {error.strerror or error}") from error
