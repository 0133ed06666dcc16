"""What other tools find the live shards by: a README.md for Hugging Face, dataset_info.json for LLaMA-Factory.

Both are made from the manifest, name live files only, and are replaced whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from agenther_live.settings import ShardFormat
from agenther_live.shards.formats import DIALECTS
from agenther_live.shards.manifest import Entry
from agenther_live.shards.writer import replace_file

__all__ = ["README", "TRAINER_INDEX", "listed_files", "write_catalog"]

README = "README.md"
TRAINER_INDEX = "dataset_info.json"
# LLaMA-Factory loads `script_url` as a Hugging Face data set with `subset` as its configuration, so the list of live
# files stands in one place, the README; with a folder as `file_name` it would read whatever lies there.
_SHAREGPT = {
    "script_url": ".",
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
        lines.append("configs:")
        for fmt, paths in shown.items():
            lines += [f"- config_name: {fmt}", "  data_files:", "  - split: train", "    path:"]
            lines += [f"    - {path}" for path in paths]
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


def _trainer_index(files: dict[ShardFormat, list[str]]) -> dict[str, Any]:
    return {"agenther_sharegpt": _SHAREGPT} if "sharegpt" in files else {}


def write_catalog(root: Path, entries: Iterable[Entry]) -> None:
    """Write both files for these live shards, where they differ from what is there.

    Raises:
        ShardError: where the volume refuses.
    """
    known = list(entries)
    files = listed_files(known)
    rows: dict[ShardFormat, int] = {}
    for entry in known:
        rows[entry.format] = rows.get(entry.format, 0) + entry.rows
    index = json.dumps(_trainer_index(files), indent=2) + "\n"
    for name, text in ((README, _readme(files, rows)), (TRAINER_INDEX, index)):
        path = root / name
        if not path.exists() or path.read_bytes() != text.encode():
            replace_file(root, name, [text.encode()])
