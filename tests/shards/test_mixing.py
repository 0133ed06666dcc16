"""What gets into which shard, in which mix and form: shares, weights, secrets, Parquet, figures of the manifest."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import timedelta

import pytest

from agenther_live.errors import ShardError
from agenther_live.shards.checks.check import check
from agenther_live.shards.files.admit import Mixing, kept
from agenther_live.shards.files.catalog import write_catalog
from agenther_live.shards.files.heldout import HeldOut
from agenther_live.shards.files.manifest import Entry, Manifest, live
from agenther_live.shards.files.publish import publish_due
from agenther_live.shards.files.rotate import Limits
from agenther_live.shards.files.statistics import measure, origin, warnings
from agenther_live.shards.files.writer import write_shard
from agenther_live.shards.reading.stream import read_rows
from agenther_live.shards.rows.formats import encode, row
from tests.shards.examples import (
    AT,
    a_pair,
    a_step,
    call,
    failed,
    first_step,
    hindsight,
    one_call,
    plain,
    said,
    sample,
    tool,
    user,
)
from tests.shards.ledger import SqliteLedger


@pytest.fixture
def ledger(tmp_path):
    return SqliteLedger(tmp_path / "ledger.db")


@pytest.fixture
def root(tmp_path):
    return tmp_path / "shards"


def publish(ledger, root, *formats, **given):
    given = {"now": AT + timedelta(hours=1), "flush": True, "limits": Limits(rows=8), **given}
    return publish_due(ledger, root, formats or ("trl_sft",), **given)


def kinds(root, fmt="trl_sft"):
    shards: dict[int, Counter[str]] = {}
    for found in read_rows(root, fmt):
        shards.setdefault(found.seq, Counter())[found.row["kind"]] += 1
    return list(shards.values())


def test_successes_take_their_share_of_every_shard(ledger, root):
    ledger.add([plain(n) for n in range(30)])
    ledger.add([hindsight(n) for n in range(12)])
    report = publish(ledger, root, mixing=Mixing(success_share=0.25))
    found = kinds(root)
    assert sum(found, Counter()) == Counter(hindsight=12, success=4)
    assert all(shard["success"] <= 0.25 * shard.total() + 1 for shard in found)
    waiting = len(ledger.pending("trl_sft", 99))
    assert 0 < waiting <= 8  # at most a shard's worth waits for company; the rest had its chance
    assert report.set_aside == Counter(success_share=26 - waiting)
    ledger.add([hindsight(n) for n in range(20, 23)])
    publish(ledger, root, mixing=Mixing(success_share=0.25))
    assert sum(kinds(root), Counter()) == Counter(hindsight=15, success=5)


@pytest.mark.parametrize(("share", "wanted"), [(0.0, 0), (1.0, 6), (None, 6)])
def test_no_share_and_every_share(ledger, root, share, wanted):
    ledger.add([plain(n) for n in range(6)] + [hindsight(1)])
    publish(ledger, root, mixing=Mixing(success_share=share))
    assert sum(kinds(root), Counter())["success"] == wanted


def test_weights_become_chances_that_are_fixed(ledger, root):
    samples = [hindsight(n, weight=0.5) for n in range(400)]
    assert 150 < sum(kept(one, 0) for one in samples) < 250
    assert [kept(one, 7) for one in samples] == [kept(one, 7) for one in samples] != [kept(one, 8) for one in samples]
    assert all(kept(hindsight(n, weight=1.0), 0) for n in range(50))
    ledger.add([hindsight(n, weight=0.0) for n in range(5)] + [plain(n) for n in range(5)])
    mixing = Mixing(keep_by_weight=("axolotl_sft",))
    report = publish(ledger, root, "trl_sft", "axolotl_sft", mixing=mixing, limits=Limits(rows=20))
    assert [(shard.format, shard.rows) for shard in report.shards] == [("trl_sft", 10), ("axolotl_sft", 5)]
    assert report.set_aside == Counter(weight=5)


def test_what_must_reach_nobody_is_withdrawn_from_all_formats(ledger, root):
    key = "sk-" + "proj-" + "aB3" * 14
    secret = sample([user("Which key?"), said(f"It is {key}.")], trajectory_id="s", goal="Which key?")
    buried = sample(
        [user("Log in."), said("", call("a", "login", {"password": "hunter2-x9"})), tool("a", "ok"), said("In.")],
        trajectory_id="p",
        goal="Log in.",
    )
    ledger.add([plain(1), secret, buried, plain(2)])
    report = publish(ledger, root, "trl_sft", "sharegpt", held_out=HeldOut([plain(2).goal]))
    assert report.set_aside == Counter(secret=2, near_held_out=1)
    assert [shard.rows for shard in report.shards] == [1, 1]
    assert ledger.aside() == {}
    assert [one.sample_id for one in ledger.pending("openai_sft", 9)] == [plain(1).sample_id]  # nothing else waits
    path = root / "trl_sft/00000001.jsonl"
    assert key.encode() not in path.read_bytes()


def test_check_sees_a_planted_secret(root):
    made = sample([user("Which?"), said("AKIA" + "IOSFODNN7EXAMPL2")], goal="Which?")
    shard = write_shard(root, 1, "trl_sft", [encode(row("trl_sft", made))])  # as if somebody had put it there
    Manifest(root).add(Entry(**vars(shard)))
    write_catalog(root, live(Manifest(root).entries()))
    assert [(bad.row, "secret" in bad.reason) for bad in check(root).bad] == [(0, True)]


FORMATS = ("trl_sft", "trl_dpo", "trl_dpo_step", "trl_kto", "goal_contrast", "swift_dpo", "openai_sft", "openai_dpo")


def everything():
    return [
        one_call(1), plain(1), hindsight(1), hindsight(2), failed(1), a_pair(1), a_pair(2), a_step(1), first_step(2),
    ]  # fmt: skip


def test_parquet_holds_the_same_rows_under_the_same_rules(ledger, root, tmp_path):
    other = SqliteLedger(tmp_path / "other.db")
    for each, folder, files in ((ledger, root, "parquet"), (other, tmp_path / "plain", "jsonl")):
        each.add(everything())
        publish(each, folder, *FORMATS, files=files)
        assert check(folder).bad == []
        each.retract([one_call(1).sample_id, a_pair(2).sample_id, a_step(1).sample_id], "a test")
        publish(each, folder, *FORMATS, files=files)
        assert check(folder).bad == []
    for fmt in FORMATS:
        found = [one.row for one in read_rows(root, fmt)]
        assert found == [one.row for one in read_rows(tmp_path / "plain", fmt)]
        assert found or fmt == "trl_dpo_step"
    endings = {entry.format: entry.path.rpartition(".")[2] for entry in live(Manifest(root).entries())}
    assert {fmt for fmt, ending in endings.items() if ending == "jsonl"} == {"openai_sft", "openai_dpo"}
    path = root / next(entry.path for entry in live(Manifest(root).entries()) if entry.format == "trl_sft")
    path.write_bytes(path.read_bytes()[:-1])
    assert "other bytes" in check(root).bad[0].reason


def test_a_folder_has_one_form(ledger, root):
    ledger.add([plain(1)])
    publish(ledger, root)
    first = next(read_rows(root)).sample_id
    ledger.add([plain(2)])
    ledger.retract([first], "wrong")
    with pytest.raises(ShardError, match="one form"):
        publish(ledger, root, files="parquet")
    assert Manifest(root).retracted() == {first}  # what must go goes all the same
    assert publish(ledger, root, files="parquet").failed == []  # nothing live is left: the form may change
    assert [entry.files for entry in live(Manifest(root).entries())] == ["parquet"]


def test_the_manifest_says_what_a_shard_holds(ledger, root, caplog):
    samples = [hindsight(n, policy_version="v2" if n % 2 else "v1") for n in range(15)] + [plain(n) for n in range(9)]
    samples.append(one_call(1, goal="Weigh at least 3 pears under 50 g"))
    ledger.add(samples)
    with caplog.at_level(logging.WARNING):
        publish(ledger, root, "trl_sft", "openai_sft", limits=Limits(rows=40))
    told = [entry.statistics for entry in Manifest(root).entries()]
    assert told[0] == told[1]  # a format without provenance says the same
    assert told[0]["goals"] == 25
    assert told[0]["goal_clusters"] == 3
    assert told[0]["goal_entropy"] == pytest.approx(1.1585)
    assert told[0]["first_words"] == {"words": "what do", "share": 0.6}
    assert told[0]["requirements"] == {"0": 24, "1": 1}
    assert told[0]["write_call_rate"] == 0.0
    assert told[0]["kinds"] == {"hindsight": 15, "success": 10}
    assert told[0]["lineage"] == {
        "policy_versions": {"v1": 8, "v2": 7},
        "relabelers": {"template": 15},
        "judges": {"rules": 15},
        "trajectories": 25,
    }
    assert "60% of its goals begin with" in caplog.text
    assert [one.path for one in check(root).warnings] == ["trl_sft/00000001.jsonl", "openai_sft/00000002.jsonl"]
    ledger.retract([samples[0].sample_id], "a test")
    publish(ledger, root, "trl_sft", "openai_sft", limits=Limits(rows=40))
    now = [entry.statistics for entry in live(Manifest(root).entries())]
    assert now[0]["goals"] == 24
    assert [one["lineage"]["parents"] for one in now] == [["trl_sft/00000001.jsonl"], ["openai_sft/00000002.jsonl"]]
    assert now[1]["lineage"]["policy_versions"] == {"v1": 8, "v2": 7}


def test_calls_that_change_something_are_counted():
    def buying(n, name):
        return sample(
            [user("Buy."), said("", call("a", name, {})), tool("a", "ok"), said("Bought.")],
            tools=({"name": name, "parameters": {}},),
            trajectory_id=f"{name}{n}",
        )

    samples = [buying(1, "create_order"), buying(1, "get_order"), buying(2, "get_order"), plain(1)]
    for fmt in ("trl_sft", "swift_sft", "sharegpt", "axolotl_sft", "openai_sft"):
        rows = [row(fmt, one) for one in samples]
        assert measure(fmt, rows, [origin(one) for one in samples])["write_call_rate"] == 0.25, fmt
    assert measure("trl_sft", [])["goal_entropy"] == 0.0
    assert warnings({}, 100) == []


def test_pairs_are_no_successes_to_be_mixed(ledger, root):
    ledger.add([*everything(), first_step(4)])
    report = publish(ledger, root, "trl_dpo", "trl_dpo_step", mixing=Mixing(success_share=0.0))
    assert {shard.format: shard.rows for shard in report.shards} == {"trl_dpo": 2, "trl_dpo_step": 3}
