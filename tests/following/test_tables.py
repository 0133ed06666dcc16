"""Hugging Face data sets over a stream: equal rows, one schema, and a clear word where they cannot be read."""

from __future__ import annotations

import builtins
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from agenther_live import ShardStream
from agenther_live.errors import UsageError
from agenther_live.settings import ShardFormat
from agenther_live.shards.reading.tables import features, finite_dataset, iterable_dataset
from agenther_live.shards.rows.formats import DIALECTS
from tests.following.shop import Shop, goods

GOLDEN = Path(__file__).parents[1] / "shards" / "golden"


@pytest.fixture(scope="module", autouse=True)
def _offline(tmp_path_factory):
    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    os.environ["HF_HOME"] = str(tmp_path_factory.mktemp("hf"))


def filled(fmt: Any, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: row.get(name) for name in DIALECTS[fmt].columns} for row in rows]


@pytest.mark.parametrize("fmt", get_args(ShardFormat))
def test_rows_come_out_of_a_data_set_as_they_went_in(fmt):
    path = GOLDEN / f"{fmt}.jsonl"
    assert path.exists(), "every format has golden rows"
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert rows
    assert list(finite_dataset(fmt, rows)) == filled(fmt, rows)
    assert list(iterable_dataset(rows, fmt)) == filled(fmt, rows)
    assert list(finite_dataset(fmt, rows[:1]).features) == list(features(fmt)) == list(DIALECTS[fmt].columns)
    assert len(finite_dataset(fmt, [])) == 0


def test_a_trainer_reads_a_stream_or_a_round_of_it(tmp_path):
    shop = Shop(tmp_path)
    sold = shop.sell(goods(0, 9))
    given: dict[str, Any] = {"consumer": "a", "replay_ratio": 0}
    stream = ShardStream(shop.root, "trl_sft", **given)
    rows = stream.dataset()
    shown = iter(rows)
    assert [next(shown)["sample_id"] for _ in range(4)] == sold[:4]
    stream.commit(tmp_path / "checkpoint")
    assert [row["sample_id"] for row in rows.map(lambda row: {"text": row["goal"]})] == sold[4:]
    other = ShardStream(shop.root, "trl_sft", **given)
    other.restore(tmp_path / "checkpoint")
    batch = other.take(3, timeout=0, max_rows=3)
    assert batch["sample_id"][:] == sold[4:7]
    assert (
        batch[0]["messages"]
        == json.loads((shop.root / "trl_sft/00000002.jsonl").read_bytes().splitlines()[1])["messages"]
    )


def test_another_process_is_told_that_it_cannot_read(tmp_path):
    shop = Shop(tmp_path)
    shop.sell(goods(0, 3))
    rows = ShardStream(shop.root, "trl_sft", consumer="a").dataset()
    copy = pickle.loads(pickle.dumps(rows))  # what a spawned worker of a DataLoader gets
    with pytest.raises(UsageError, match="num_workers=0"):
        next(iter(copy))
    read_in_child = (
        "import os, sys\n"
        "from agenther_live import ShardStream\n"
        "stream = ShardStream(sys.argv[1], 'trl_sft', consumer='a')\n"
        "child = os.fork()\n"  # what a forked worker does
        "if child:\n"
        "    assert len(list(stream.rows())) == 3\n"
        "    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "try:\n"
        "    list(stream)\n"
        "except Exception as error:\n"
        "    os._exit(7 if 'num_workers=0' in str(error) else 8)\n"
        "os._exit(9)\n"
    )
    assert (
        subprocess.run([sys.executable, "-c", read_in_child, str(shop.root)], timeout=60, check=False).returncode == 7
    )


def test_without_datasets_the_extra_is_named(tmp_path, monkeypatch):
    shop = Shop(tmp_path)
    shop.sell(goods(0, 3))
    found = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name == "datasets":
            raise ImportError(name)
        return found(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    stream = ShardStream(shop.root, "trl_sft", consumer="a")
    with pytest.raises(UsageError, match=r"agenther-live\[trainers\]"):
        stream.dataset()
    with pytest.raises(UsageError, match=r"agenther-live\[trainers\]"):
        stream.take(1)
