"""The whole way on 676 real trajectories of ten public sources, where the folder with them is at hand."""

from __future__ import annotations

import gzip
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from agenther_live.live import Live
from agenther_live.shards.files.heldout import SIMILAR, is_held_out, shingles, similarity
from tests.whole import run_cli

FOLDER = Path(os.environ.get("AGENTHER_TEST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data") / "dev"
FILES = sorted(FOLDER.glob("*.jsonl.gz")) if FOLDER.is_dir() else []
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        len(FILES) != 10,
        reason=f"the ten files of real trajectories are not in {FOLDER} (AGENTHER_TEST_DATA names them)",
    ),
]
FORMATS = ("trl_sft", "sharegpt")
SHARE = 0.05  # the default
OF_THE_TICK = {"last_tick_at", "last_tick_seconds", "ticks", "worker_seen_at"}
Rows = list[dict[str, Any]]


class Done(NamedTuple):
    """One run of the command line over all files, and what was printed."""

    home: Path
    live: Live
    imported: dict[str, Any]
    ticked: dict[str, Any]


def command(*arguments: str | Path) -> dict[str, Any]:
    """Run a verb of the command line."""
    return dict(run_cli(*arguments, "--json").json)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    home = tmp_path_factory.mktemp("real") / "home"
    imported = command("import", *FILES, "--home", home)
    ticked = command("tick", "--until-idle", "--relabeler", "template", "--judge", "rules", "--home", home)
    live = Live(home, relabeler="template", judges=["rules"], strict=True)
    return Done(home, live, imported, ticked)


@pytest.fixture(scope="module")
def records() -> Rows:
    found = []
    for path in FILES:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            found += [json.loads(line) for line in lines]
    return found


@pytest.fixture(scope="module")
def rows(done: Done) -> dict[str, Rows]:
    return {fmt: list(shard_rows(done.home, fmt)) for fmt in FORMATS}


def shard_rows(home: Path, fmt: str) -> Iterator[dict[str, Any]]:
    for path in sorted((home / "shards" / fmt).glob("*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            yield json.loads(line)


def sql(done: Done, query: str) -> Rows:
    return done.live.buffer.sql(query).dicts()


def test_every_record_is_imported_and_keeps_its_outcome(done: Done, records: Rows) -> None:
    assert done.imported == {"read": 676, "imported": 676, "refused": []}
    given = Counter((record["source"], record["outcome"]["success"]) for record in records)
    kept = sql(done, "select source, outcome, count(*) as n from trajectories group by all")
    words = {"success": True, "failure": False, "unknown": None}
    assert {(row["source"], words[row["outcome"]]): row["n"] for row in kept} == dict(given)
    figures = done.live.status()
    assert [figures[name] for name in ("captured", "succeeded", "failed", "unknown")] == [676, 251, 402, 23]


def test_only_failures_are_relabeled_and_all_of_them_end_with_a_reason(done: Done) -> None:
    stages = {(row["outcome"], row["stage"]): row["n"] for row in sql(
        done, "select outcome, stage, count(*) as n from trajectories group by all"
    )}  # fmt: skip
    assert stages.pop(("success", "passed")) == 251
    assert stages.pop(("unknown", "passed")) == 23
    assert set(stages) <= {("failure", "relabeled"), ("failure", "rejected")}
    assert sum(stages.values()) == 402
    assert done.ticked["relabeled"] == {stage: n for (_, stage), n in stages.items()}
    assert sql(done, "select 1 from goals join trajectories using (trajectory_id) where outcome <> 'failure'") == []
    assert sql(done, "select 1 from analyses join trajectories using (trajectory_id) where outcome <> 'failure'") == []
    analysed = sql(done, "select count(*) as n from analyses where weight between 0 and 1 and explanation <> ''")
    assert analysed == [{"n": 402}]
    kinds = sql(done, "select distinct kind, outcome from samples join trajectories using (trajectory_id)")
    assert {(row["kind"], row["outcome"]) for row in kinds} <= {("success", "success"), ("hindsight", "failure")}


def test_the_funnel_adds_up(done: Done) -> None:
    steps = done.live.buffer.funnel()
    assert [step["step"] for step in steps] == ["captured", "failed", "recoverable", "relabeled", "accepted", "samples"]
    for above, below in itertools.pairwise(steps):
        assert above["n"] == below["n"] + sum(below["dropped"].values()), (above, below)
    figures = done.live.status()
    assert [step["n"] for step in steps[2:5]] == [figures[name] for name in ("recoverable", "relabeled", "accepted")]
    assert figures["accepted"] + figures["rejected"] == 402
    assert figures["accepted"] > 0, "no label at all is no proof that the way is open"
    assert (figures["errored"], figures["llm_calls"], figures["dropped"]) == (0, 0, 0)


def test_shards_are_what_readers_take(
    done: Done, rows: dict[str, Rows], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (report := command("shards", "check", "--home", done.home))["bad"] == []
    assert report["checked"] == sum(map(len, rows.values())) > 300
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    import datasets

    for fmt in FORMATS:
        files = [str(path) for path in sorted((done.home / "shards" / fmt).glob("*.jsonl"))]
        loaded = datasets.load_dataset("json", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
        assert len(loaded) == len(rows[fmt]) > 0
        assert set(loaded["sample_id"]) == {row["sample_id"] for row in rows[fmt]}
        assert Counter(loaded["kind"]) == Counter(row["kind"] for row in rows[fmt])
        assert {"hindsight", "success"} == set(loaded["kind"])


def test_every_emitted_sample_stands_in_a_shard_once(done: Done, rows: dict[str, Rows]) -> None:
    emitted = {row["sample_id"] for row in sql(done, "select sample_id from samples where state = 'emitted'")}
    assert {row["sample_id"] for fmt in FORMATS for row in rows[fmt]} == emitted
    for fmt in FORMATS:
        ids = [row["sample_id"] for row in rows[fmt]]
        assert len(ids) == len(set(ids))
        hashes = [row["content_hash"] for row in rows[fmt]]
        assert len(hashes) == len(set(hashes)), "an exact duplicate is trained twice"
    # Only the assistant's own words are trained, and a hindsight sample holds the old goal nowhere.
    for row in rows["trl_sft"]:
        assert {m["role"] for m, train in zip(row["messages"], row["train"], strict=True) if train} == {"assistant"}
        if row["kind"] == "hindsight":
            assert row["original_goal"] not in json.dumps(row["messages"], ensure_ascii=False)


def test_nothing_held_out_reaches_a_shard(done: Done, rows: dict[str, Rows], records: Rows) -> None:
    held = {row["goal"] for row in sql(done, "select goal from trajectories") if is_held_out(row["goal"], SHARE)}
    assert 0.01 < sum(is_held_out(record["goal"], SHARE) for record in records) / 676 < 0.12
    away = [shingles(goal) for goal in held]
    for fmt in FORMATS:
        for goal in {goal for row in rows[fmt] for goal in (row["goal"], row["original_goal"])}:
            assert not is_held_out(goal, SHARE), goal[:40]
        for goal in {row["goal"] for row in rows[fmt]}:
            assert max((similarity(shingles(goal), other) for other in away), default=0.0) < SIMILAR


def test_no_planted_grade_reaches_a_shard(rows: dict[str, Rows], records: Rows) -> None:
    planted = {
        record["messages"][at]["content"]
        for record in records
        if (at := record["meta"].get("outcome_leak_message_index")) is not None
    }
    assert len(planted) > 2
    for fmt, turns in (("trl_sft", "messages"), ("sharegpt", "conversations")):
        texts = {str(turn.get("content", turn.get("value")) or "").strip() for row in rows[fmt] for turn in row[turns]}
        assert len(texts) > 300
        assert not texts & {text.strip() for text in planted}
        assert not any(text.strip() in other for text in planted for other in texts if len(text) > 20)


def test_a_second_run_changes_nothing(done: Done) -> None:
    def state() -> tuple[Any, ...]:
        figures = {name: value for name, value in done.live.status().items() if name not in OF_THE_TICK}
        files = {str(path): path.read_bytes() for path in sorted((done.home / "shards").rglob("*")) if path.is_file()}
        return (
            figures,
            files,
            sql(done, "select * from goals order by all"),
            sql(done, "select * from samples order by all"),
        )

    before = state()
    for path in FILES[:3]:
        report = done.live.import_transcripts(path)
        assert (report.imported, report.refused) == (report.read, [])
    again = done.live.run_until_idle()
    assert not again.busy
    assert state() == before
