"""The two ends of the line as processes that can be killed: a writer that publishes, a trainer that follows.

The trainer is a small one, with a trainer's habits: it reads ahead of what it trains, and its checkpoint is a folder
of several files. Its weights are the list of the samples that it was trained on.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from agenther_live.shards.reading.follow import ShardStream, StreamRow
from agenther_live.shards.stores.mirror import Mirror
from agenther_live.shards.stores.objects import ObjectStore
from tests.following.shop import Shop, goods

BATCH = 3
AHEAD = 4


def write(folder: Path, total: int, url: str | None, options: dict[str, Any]) -> None:
    """Publish `total` samples, five at a time, and take every eleventh back; done again it ends the same."""
    shop = Shop(folder)
    mirror = Mirror(shop.root, ObjectStore(url, options)) if url else None
    for start in range(0, total, 5):
        samples = goods(start, min(start + 5, total))
        shop.sell(samples)
        if mirror is not None:
            mirror.sync()
        spoiled = [one.sample_id for n, one in enumerate(samples, start) if n % 11 == 10]
        if spoiled:
            shop.take_back(spoiled)
        if mirror is not None:
            mirror.sync()
        time.sleep(0.01)
    (folder / "written").touch()


def train(folder: Path, total: int, url: str | None, options: dict[str, Any]) -> None:
    """Follow until the writer is done and nothing is left; every second batch is a checkpoint."""
    stream = ShardStream(
        url or folder / "shards",
        "trl_sft",
        consumer="t",
        follow=True,
        poll_seconds=0.02,
        storage_options=options or None,
    )
    weights: list[list[Any]] = []
    out, step = folder / "out", 0
    for path in sorted(out.glob("checkpoint-*"), reverse=True):
        if list(path.glob("agenther-cursor.*.json")):  # the newest that was committed
            stream.restore(path)
            weights = json.loads((path / "weights.json").read_text())
            step = int(path.name.rpartition("-")[2])
            break
    began, trained = step, 0
    rows: list[StreamRow] = []
    while True:
        written = (folder / "written").exists()
        rows += islice(stream.rows(wait=False), BATCH + AHEAD - len(rows))
        if len(rows) < BATCH and not written:
            time.sleep(0.02)
            continue
        batch, rows = rows[:BATCH], rows[BATCH:]
        weights += [[row.sample_id, row.repeated] for row in batch]
        trained += len(batch)
        step += 1
        if not batch or (step - began) % 2 == 0:
            checkpoint = out / f"checkpoint-{step:06d}"
            checkpoint.mkdir(parents=True, exist_ok=True)
            (checkpoint / "weights.json").write_text(json.dumps(weights))
            (checkpoint / "optimizer.bin").write_bytes(random.randbytes(2000))
            stream.commit(checkpoint, rows=trained)
        if not batch:
            (folder / "trained").write_text(json.dumps(weights))
            return


def progress(folder: Path) -> Iterator[int]:
    """Say how far both ends came, for whoever wants to kill one in the middle."""
    while True:
        manifest = folder / "shards" / "manifest.jsonl"
        size = manifest.stat().st_size if manifest.exists() else 0
        yield size + sum(1 for _ in (folder / "out").glob("checkpoint-*/*"))
