"""Records and helpers that the journal's tests share."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agenther_live.journal import Batch, Cursor, Reader

Records = list[dict[str, Any]]


def run(root: str, facts: int = 3, *, text: str = "x", end: bool = True) -> Records:
    records: Records = [{"k": "start", "r": root, "at": time.time(), "agent": "a"}]
    records += [{"k": "f", "r": root, "at": time.time(), "i": i, "text": text} for i in range(facts)]
    if end:
        records.append({"k": "end", "r": root, "at": time.time(), "status": "finished"})
    return records


def read_all(folder: Path, cursors: Mapping[str, Cursor] | None = None, **options: Any) -> Batch:
    return Reader(folder, **options).read(cursors or {})


def roots(batch: Batch) -> list[str]:
    return [facts.root_key for facts in batch.runs]


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jsonl"), key=lambda path: int(path.name.split(".")[1]))
