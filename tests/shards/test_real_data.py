"""The recorded runs, as they would be trained if all were successes: shards that load, whatever the agents said."""

from __future__ import annotations

import gzip
import json
import os
from datetime import timedelta
from pathlib import Path

import pytest

from agenther_live.labels import TrainMessage
from agenther_live.shards.checks.check import check
from agenther_live.shards.files.publish import publish_due
from agenther_live.shards.files.rotate import Limits
from agenther_live.shards.reading.stream import read_rows
from agenther_live.trajectory import Message
from tests.shards.examples import AT, sample
from tests.shards.ledger import SqliteLedger

BESIDE = Path(__file__).parents[3] / "shared" / "data"
EVERY = 5  # of the records, one in so many: all of them cost as much time as the rest of this folder
DATA = Path(os.environ.get("AGENTHER_TEST_DATA", BESIDE)) / "dev"


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no recorded runs at {DATA} (set AGENTHER_TEST_DATA)")
def test_recorded_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    samples = []
    for path in sorted(DATA.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                if number % EVERY:
                    continue
                record = json.loads(line)
                messages = [
                    TrainMessage(message=Message.model_validate(one), train=one["role"] == "assistant")
                    for one in record["messages"]
                ]
                name = f"{path.stem}-{number}"
                samples.append(sample(messages, tools=record.get("tools"), trajectory_id=name, content_hash=""))
                samples[-1] = samples[-1].model_copy(update={"sample_id": name})
    ledger = SqliteLedger(tmp_path / "ledger.db")
    ledger.add(samples)
    root = tmp_path / "shards"
    formats = ("trl_sft", "sharegpt")
    report = publish_due(
        ledger, root, formats, now=AT + timedelta(hours=1), limits=Limits(rows=60, bytes=1 << 20), flush=True
    )
    assert report.failed == []
    assert set(report.set_aside) <= {"call_id", "alternation"}
    assert check(root).bad == []
    for fmt in formats:
        published = [found.row for found in read_rows(root, fmt)]
        assert len(published) > 0.9 * len(samples) - len(ledger.pending(fmt, len(samples)))
        loaded = datasets.load_dataset(str(root), fmt, split="train", cache_dir=str(tmp_path / "cache"))
        assert list(loaded) == published
