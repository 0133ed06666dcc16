"""What `datasets` makes of the shards: the reader under TRL, LLaMA-Factory, ms-swift and axolotl."""

from __future__ import annotations

import json
import os
from datetime import timedelta

import pytest

from agenther_live.settings import ShardFormat
from agenther_live.shards.checks.check import check
from agenther_live.shards.files.publish import publish_due
from agenther_live.shards.files.rotate import Limits
from agenther_live.shards.reading.stream import read_rows
from agenther_live.shards.rows.formats import encode, row
from tests.shards.examples import (
    AT,
    PRICE,
    WEIGH,
    a_pair,
    a_step,
    call,
    failed,
    first_step,
    hindsight,
    no_final,
    one_call,
    plain,
    said,
    sample,
    tool,
    user,
)
from tests.shards.ledger import SqliteLedger


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    os.environ["HF_HOME"] = str(tmp_path_factory.mktemp("hf"))
    import datasets as module

    module.disable_progress_bars()
    return module


def varied():
    """Samples whose shards differ in everything that a reader could infer a schema from."""
    odd = {"fruit": {"kind": ["pear", None, 3]}, "ripe": True, "at": "2026-01-01", "n": 2**60, "x": 0.25}
    return [
        plain(1),  # no call, no tool, no version, no judge
        one_call(1),
        hindsight(1),
        sample(
            [user("2026-01-01"), said("", call("a", "weigh", {})), tool("a", '{"g": 1}'), said("12")],
            tools=(WEIGH,),
            trajectory_id="t-2",
            policy_version="v2",
        ),
        sample(
            [user("7"), said("null", call("a", "price", odd)), tool("a", "[]"), said("2026-01-01")],
            tools=(PRICE,),
            trajectory_id="t-3",
            policy_version="3",
        ),
        hindsight(2, policy_version="2026-03-01T10:00:00"),
    ]


@pytest.mark.parametrize("fmt", ["trl_sft", "sharegpt", "swift_sft", "axolotl_sft"])
@pytest.mark.parametrize("streaming", [False, True])
def test_every_order_of_shards_loads_as_it_was_written(datasets, tmp_path, fmt, streaming):
    """Plain `load_dataset("json")`, without our README: one row a shard, each of the shapes first once."""
    samples = [one for one in varied() if fmt != "sharegpt" or one.kind != "hindsight"]
    for first in range(len(samples)):
        ordered = samples[first:] + samples[:first]
        wanted = [json.loads(encode(row(fmt, one))) for one in ordered]
        folder = tmp_path / f"{first}"
        folder.mkdir()
        files = []
        for number, one in enumerate(ordered):
            files.append(str(folder / f"{number:08d}.jsonl"))
            (folder / f"{number:08d}.jsonl").write_bytes(encode(row(fmt, one)))
        loaded = datasets.load_dataset(
            "json", data_files=files, split="train", streaming=streaming, cache_dir=str(tmp_path / "cache")
        )
        assert list(loaded) == wanted


LISTED = ("trl_sft", "trl_dpo", "trl_dpo_step", "trl_kto", "goal_contrast", "sharegpt", "swift_sft", "swift_dpo")


@pytest.mark.parametrize("files", ["jsonl", "parquet"])
def test_the_readme_makes_each_format_a_configuration(datasets, tmp_path, files):
    ledger = SqliteLedger(tmp_path / "ledger.db")
    ledger.add([*varied(), no_final(1), failed(1), a_step(2), first_step(3), a_step(4), a_pair(5), a_pair(6)])
    root = tmp_path / "shards"
    formats = (*LISTED, "openai_sft")
    late = AT + timedelta(hours=1)
    publish_due(ledger, root, formats, now=late, limits=Limits(rows=2), flush=True, files=files)
    (root / "trl_sft" / f"99999999.{files}").write_text('{"not": "published"}\n')
    for fmt in LISTED:
        loaded = datasets.load_dataset(str(root), fmt, split="train", cache_dir=str(tmp_path / "cache"))
        assert list(loaded) == [found.row for found in read_rows(root, fmt)], fmt
        assert len(loaded) == {
            "sharegpt": 5, "goal_contrast": 2, "trl_kto": 8, "trl_dpo": 2, "trl_dpo_step": 3, "swift_dpo": 2,
        }.get(fmt, 7)  # fmt: skip
    if files == "parquet":  # the files speak for themselves
        one = str(min((root / "trl_sft").glob("0*.parquet")))
        loaded = datasets.load_dataset("parquet", data_files=one, split="train", cache_dir=str(tmp_path / "cache"))
        assert list(loaded) == [found.row for found in read_rows(root, "trl_sft")][: len(loaded)]


def test_dataset_info_leads_to_the_live_shards(datasets, tmp_path):
    """The same calls that LLaMA-Factory's loader makes for a `script_url` entry, beside other formats."""
    ledger = SqliteLedger(tmp_path / "ledger.db")
    ledger.add([plain(n) for n in range(3)] + [a_pair(4)])
    root = tmp_path / "shards"
    formats: tuple[ShardFormat, ...] = ("sharegpt", "trl_dpo")
    publish_due(ledger, root, formats, now=AT, flush=True)
    # What the `datasets` of its pins cannot read is not in the list that it is led to.
    assert "dtype: json" in (root / "README.md").read_text()
    assert "dtype" not in (root / "sharegpt/README.md").read_text()
    entry = json.loads((root / "dataset_info.json").read_text())["agenther_sharegpt"]
    loaded = datasets.load_dataset(
        path=os.path.join(root, entry["script_url"]),
        name=entry["subset"],
        split=entry["split"],
        cache_dir=str(tmp_path / "cache"),
    )
    assert [made[entry["columns"]["messages"]][0]["from"] for made in loaded] == ["human"] * 3
    assert [made[entry["columns"]["system"]] for made in loaded] == [""] * 3
    ledger.retract([found.sample_id for found in read_rows(root, "sharegpt")], "all of them")
    publish_due(ledger, root, formats, now=AT, flush=True)
    assert not (root / "sharegpt/README.md").exists()
    assert "agenther_sharegpt" not in (root / "dataset_info.json").read_text()
    assert check(root).bad == []
