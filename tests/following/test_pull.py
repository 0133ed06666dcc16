"""`shards pull` and `shards follow`: finite sets with their lineage, and rows on stdout."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agenther_live.cli import app
from agenther_live.errors import ShardError, UsageError
from agenther_live.shards.reading.pull import pull
from tests.following.shop import Shop, goods
from tests.shards.examples import one_call, plain


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "home", formats=("trl_sft", "sharegpt"))


def lines(folder: Path, name: str = "trl_sft.jsonl") -> list[dict]:
    return [json.loads(line) for line in (folder / name).read_bytes().splitlines()]


def test_each_pull_gives_what_is_new(shop, tmp_path):
    sold = shop.sell(goods(0, 7, policy_version="v1"))
    done = pull(shop.root, "trl_sft", consumer="nightly", out=tmp_path / "monday")
    assert (done.rows, done.samples, done.file) == (7, 7, "trl_sft.jsonl")
    assert [row["sample_id"] for row in lines(tmp_path / "monday")] == sold
    lineage = json.loads((tmp_path / "monday/LINEAGE.json").read_bytes())
    content = (tmp_path / "monday/trl_sft.jsonl").read_bytes()
    assert lineage["sha256"] == done.sha256 == hashlib.sha256(content).hexdigest()
    assert lineage["policy_versions"] == {"v1": 7}
    assert [(one["seq"], one["rows"]) for one in lineage["shards"]] == [(e.seq, e.rows) for e in shop.shards[:3]]
    assert [one["sha256"] for one in lineage["shards"]] == [entry.sha256 for entry in shop.shards[:3]]
    note = json.loads((shop.root / "consumers/nightly.json").read_bytes())
    assert (note["format"], note["seq"]) == ("trl_sft", 3)

    nothing = pull(shop.root, "trl_sft", consumer="nightly", out=tmp_path / "tuesday")
    assert (nothing.out, nothing.rows) == (None, 0)
    assert not (tmp_path / "tuesday").exists()
    more = shop.sell([plain(20, policy_version="v2"), plain(21, policy_version="v2"), plain(22)])
    shop.take_back([sold[0], more[1]])
    (tmp_path / "tuesday").mkdir()
    pull(shop.root, "trl_sft", consumer="nightly", out=tmp_path / "tuesday")
    assert [row["sample_id"] for row in lines(tmp_path / "tuesday")] == [more[0], more[2]]
    lineage = json.loads((tmp_path / "tuesday/LINEAGE.json").read_bytes())
    assert (lineage["retractions_seen"], lineage["samples"]) == (1, 2)
    done = pull(shop.root, "trl_sft", consumer="nightly", out=tmp_path / "all", everything=True)
    assert [row["sample_id"] for row in lines(tmp_path / "all")] == [*sold[1:], more[0], more[2]]
    assert pull(shop.root, "trl_sft", consumer="other", out=tmp_path / "other", max_staleness=0).stale == 6
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_puller_that_is_killed_before_its_cursor_is_put_down(shop, tmp_path):
    shop.sell(goods(0, 4))
    done = pull(shop.root, "trl_sft", consumer="nightly", out=tmp_path / "set")
    with pytest.raises(UsageError, match="is not empty"):
        pull(shop.root, "trl_sft", consumer="nightly", out=tmp_path / "set")
    (shop.root / "consumers/nightly.cursor").unlink()
    shop.sell(goods(4, 6))
    assert pull(shop.root, "trl_sft", consumer="nightly", out=tmp_path / "set") == done
    assert pull(shop.root, "trl_sft", consumer="nightly", out=tmp_path / "next").rows == 2
    with pytest.raises(UsageError, match="is not empty"):
        pull(shop.root, "trl_sft", consumer="other", out=tmp_path / "next")
    (shop.root / "consumers/nightly.cursor").unlink()
    (tmp_path / "set/trl_sft.jsonl").write_text("{}\n")
    with pytest.raises(ShardError, match="other bytes"):
        pull(shop.root, "trl_sft", consumer="nightly", out=tmp_path / "set")
    pull(shop.root, "trl_sft", consumer="other", out=tmp_path / "b")
    with pytest.raises(UsageError, match="'other' reads trl_sft"):
        pull(shop.root, "sharegpt", consumer="other", out=tmp_path / "c")


def test_two_pulls_to_one_place_do_not_mix(shop, tmp_path):
    shop.sell(goods(0, 4))
    draft = tmp_path / ".set.pull"
    draft.mkdir()
    (draft / "trl_sft.jsonl").write_text("of one that was killed")
    held = os.open(draft, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(UsageError, match="another pull is writing there"):
        pull(shop.root, "trl_sft", consumer="n", out=tmp_path / "set")
    assert [path.name for path in draft.iterdir()] == ["trl_sft.jsonl"]
    os.close(held)
    assert pull(shop.root, "trl_sft", consumer="n", out=tmp_path / "set").rows == 4


def test_a_set_of_rows_without_ids_names_its_samples(tmp_path):
    shop = Shop(tmp_path / "home", formats=("openai_sft",))
    sold = shop.sell(goods(0, 4))
    pull(shop.root, "openai_sft", consumer="n", out=tmp_path / "set")
    lineage = json.loads((tmp_path / "set/LINEAGE.json").read_bytes())
    assert lineage["sample_ids"] == sold
    assert "policy_versions" not in lineage


def test_a_full_volume_gets_its_room_back(shop, tmp_path, monkeypatch):
    sold = shop.sell(goods(0, 4))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("agenther_live.shards.reading.pull.write_whole", full)
        with pytest.raises(ShardError, match="No space left on device"):
            pull(shop.root, "trl_sft", consumer="n", out=tmp_path / "sets" / "a")
    assert list((tmp_path / "sets").iterdir()) == []
    assert pull(shop.root, "trl_sft", consumer="n", out=tmp_path / "sets" / "a").rows == len(sold)


def test_llama_factory_finds_the_file_in_the_set(shop, tmp_path):
    shop.sell([plain(1), one_call(2), one_call(3)])
    done = pull(shop.root, "llamafactory", consumer="nightly", out=tmp_path / "set")
    assert (done.format, done.file, done.rows) == ("sharegpt", "sharegpt.jsonl", 3)
    (known,) = json.loads((tmp_path / "set/dataset_info.json").read_bytes()).values()
    assert known["file_name"] == "sharegpt.jsonl"
    assert known["formatting"] == "sharegpt"
    assert "script_url" not in known
    assert {known["columns"]["messages"], "system", "tools"} <= lines(tmp_path / "set", "sharegpt.jsonl")[0].keys()
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == [
        "CURSOR.json",
        "LINEAGE.json",
        "dataset_info.json",
        "sharegpt.jsonl",
    ]


def run(*arguments: str):
    return CliRunner().invoke(app, ["shards", *arguments])


def test_the_verbs(shop, tmp_path):
    sold = shop.sell(goods(0, 5))
    home = ["--home", str(tmp_path / "home")]
    told = run("follow", "--once", "--json", *home)
    assert [json.loads(line)["sample_id"] for line in told.stdout.splitlines()] == sold
    told = run("follow", "--once", "--from", str(shop.root), "--consumer", "eyes")
    assert len(told.stdout.splitlines()) == 5
    assert sold[0] in told.stdout.splitlines()[0]
    assert run("follow", "--once", "--consumer", "eyes", *home).stdout == ""
    told = run("follow", "--once", "--format", "openai_dpo", *home)
    assert (told.stdout, "no shard of openai_dpo is published here" in told.stderr) == ("", True)
    out = tmp_path / "set"
    told = run("pull", "--consumer", "n", "--out", str(out), "--format", "llamafactory", "--json", *home)
    assert json.loads(told.stdout)["rows"] == len(lines(out, "sharegpt.jsonl"))
    told = run("pull", "--consumer", "n", "--out", str(tmp_path / "x"), "--format", "llamafactory", *home)
    assert "nothing new for n" in told.stdout
    told = run("pull", "--consumer", "n", "--out", str(tmp_path / "x"), "--format", "llama", *home)
    assert isinstance(told.exception, UsageError)
    for verb in ("follow", "pull"):
        assert "Example: agenther-live" in run(verb, "--help").stdout


def test_following_ends_at_sigterm_and_goes_on_where_it_was(shop):
    sold = shop.sell(goods(0, 3))
    command = [
        sys.executable,
        "-c",
        "from agenther_live.cli import main; main()",
        "shards",
        "follow",
        "--json",
        "--consumer",
        "tail",
    ]
    command += ["--from", str(shop.root), "--poll-seconds", "0.05"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        got = [json.loads(process.stdout.readline())["sample_id"] for _ in range(3)]
        sold += shop.sell(goods(3, 5))
        got += [json.loads(process.stdout.readline())["sample_id"] for _ in range(2)]
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert got == sold
    assert run("follow", "--once", "--from", str(shop.root), "--consumer", "tail").stdout == ""
