"""Shards in an object store: published from a folder, followed from a URL; on memory:// and on S3 (moto's server)."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from typer.testing import CliRunner

from agenther_live import Live, ShardStream
from agenther_live.cli import app
from agenther_live.errors import SettingsError, ShardError, StoreError
from agenther_live.shards.files.purge import remove_replaced
from agenther_live.shards.reading.pull import pull
from agenther_live.shards.stores.mirror import Mirror
from agenther_live.shards.stores.objects import ObjectStore
from tests.following.shop import Shop, goods

# A client of S3 takes a tenth of a second to make: what was seen to hold there once is not asked in every run.
S3_SELDOM = pytest.mark.parametrize("store", ["memory", pytest.param("s3", marks=pytest.mark.faults)], indirect=True)


def ids(url: str, options: dict[str, Any], **given: Any) -> list[str]:
    stream = ShardStream(url, "trl_sft", **{"consumer": "a", "replay_ratio": 0, "storage_options": options, **given})
    return [row.sample_id for row in stream.rows()]


def objects(store: ObjectStore) -> dict[str, bytes]:
    """Everything below a URL."""
    files = store._fs.find(store._root)
    return {path.removeprefix(store._root).strip("/"): store._fs.cat_file(path) for path in files}


@pytest.mark.parametrize("store", ["memory", "s3"], indirect=True)
def test_what_is_published_there_is_followed_from_there(tmp_path, store):
    url, options = store
    shop = Shop(tmp_path, formats=("trl_sft", "sharegpt"))
    mirror = Mirror(shop.root, ObjectStore(url, options))
    sold = shop.sell(goods(0, 7))
    assert mirror.sync() == [entry.path for entry in shop.shards]
    assert mirror.sync() == []
    found = objects(ObjectStore(url, options))
    assert {path for path in found if not path.startswith("manifest/")} == {
        *(entry.path for entry in shop.shards),
        "README.md",
        "dataset_info.json",
        "sharegpt/README.md",
    }
    assert (
        b"".join(found[path] for path in sorted(found) if path.startswith("manifest/"))
        == (shop.root / "manifest.jsonl").read_bytes()
    )
    assert ids(url, options) == sold

    stream = ShardStream(url, "trl_sft", consumer="a", replay_ratio=0, storage_options=options)
    rows = stream.rows()
    given = [next(rows).sample_id for _ in range(4)]
    stream.commit(tmp_path / "checkpoint")
    sold += shop.sell(goods(7, 9))
    shop.take_back([sold[4], sold[8]])
    mirror.sync()
    stream = ShardStream(url, "trl_sft", consumer="a", replay_ratio=0, storage_options=options)
    stream.restore(tmp_path / "checkpoint")
    left = list(stream.rows())
    assert given + [row.sample_id for row in left] == sold[:4] + sold[5:8]
    assert "retractions/00000001.json" in objects(ObjectStore(url, options))
    # Who has read what comes home, where a retraction looks for it.
    Mirror(shop.root, ObjectStore(url, options)).sync()
    assert json.loads((shop.root / "consumers/a.json").read_bytes())["seq"] == left[-1].seq

    there = ObjectStore(url, options)
    assert there.create("manifest/00000099.json", b"mine") == b"mine"
    assert there.create("manifest/00000099.json", b"other") == b"mine"
    there.remove("manifest/00000099.json")

    assert pull(url, "trl_sft", consumer="n", out=tmp_path / "set", storage_options=options).rows == 7
    assert pull(url, "trl_sft", consumer="n", out=tmp_path / "next", storage_options=options).out is None


class Died(BaseException):
    pass


@S3_SELDOM
def test_a_publisher_that_dies_at_any_step_is_made_up_for_with_the_same_bytes(tmp_path, store):
    url, options = store
    shop = Shop(tmp_path)
    wanted = ObjectStore(f"{url}/undisturbed", options)
    sold = shop.sell(goods(0, 5))
    Mirror(shop.root, wanted).sync()
    sold += shop.sell(goods(5, 7))
    shop.take_back(sold[:4])
    Mirror(shop.root, wanted).sync()
    assert len(objects(wanted)) == 12

    def die_after(count: int):
        left = iter(range(count))

        def step(_name: str) -> None:
            if next(left, None) is None:
                raise Died

        return step

    for first in range(3 if url.startswith("s3") else 10):
        died = 0
        target = ObjectStore(f"{url}/killed-{first}", options)
        while True:
            try:
                Mirror(shop.root, target, step=die_after(first if not died else 1)).sync()
                break
            except Died:
                died += 1
        assert died
        assert objects(target) == objects(wanted)
        assert ids(f"{url}/killed-{first}", options) == sold[4:]


@S3_SELDOM
def test_two_writers_of_one_ledger_share_a_url_and_two_homes_do_not(tmp_path, store):
    url, options = store
    one, other = Shop(tmp_path / "one"), Shop(tmp_path / "two")
    sold = one.sell(goods(0, 3))
    first, second = Mirror(one.root, ObjectStore(url, options)), Mirror(other.root, ObjectStore(url, options))
    first.sync()
    other.ledger.begin_shard("trl_sft", [])  # as if one ledger gave the numbers
    other.ledger.publish_shard(one.shards[0])
    mid = other.sell(goods(3, 6))
    second.sync()
    first._log._manifest.items[:] = first._log.entries[:1]  # it does not know of the other's line yet
    one.ledger.begin_shard("trl_sft", [])
    one.ledger.publish_shard(other.shards[0])
    last = one.sell(goods(6, 9))
    first.sync()
    assert ids(url, options) == sold + mid + last

    stranger = Shop(tmp_path / "three")
    stranger.sell(goods(20, 23))
    before = objects(ObjectStore(url, options))
    with pytest.raises(ShardError, match="another home publishes there"):
        Mirror(stranger.root, ObjectStore(url, options)).sync()
    assert objects(ObjectStore(url, options)) == before


@S3_SELDOM
def test_what_a_deletion_removes_goes_there_too(tmp_path, store):
    url, options = store
    shop = Shop(tmp_path)
    sold = shop.sell(goods(0, 3))
    mirror = Mirror(shop.root, ObjectStore(url, options))
    mirror.sync()
    shop.take_back(sold[:1])
    assert remove_replaced(shop.root, [1]) == ["trl_sft/00000001.jsonl"]
    mirror.sync()
    there = objects(ObjectStore(url, options))
    assert "trl_sft/00000001.jsonl" not in there
    assert "trl_sft/00000001.r1.jsonl" in there
    assert ids(url, options) == sold[1:]
    # One who never saw the first file can still publish what replaced it.
    late = ObjectStore(f"{url}/late", options)
    Mirror(shop.root, late).sync()
    assert ids(f"{url}/late", options) == sold[1:]


@S3_SELDOM
def test_damage_is_named(tmp_path, store):
    url, options = store
    shop = Shop(tmp_path)
    shop.sell(goods(0, 6))
    there = ObjectStore(url, options)
    Mirror(shop.root, there).sync()
    good = there.get("trl_sft/00000002.jsonl")
    assert good is not None
    there.put("trl_sft/00000002.jsonl", good[:-1] + b" ")
    with pytest.raises(ShardError, match="other bytes"):
        ids(url, options)
    there.remove("trl_sft/00000002.jsonl")
    there.remove("trl_sft/00000002.jsonl")
    with pytest.raises(ShardError, match="is missing"):
        ids(url, options)
    there.remove("manifest/00000001.json")
    with pytest.raises(ShardError, match="lines are missing"):
        ids(url, options)


def test_a_home_publishes_to_its_url(tmp_path, home):
    url = f"memory://{uuid.uuid4().hex}/shards"
    shop = Shop(home)
    with Live(home, shards=url) as live:
        sold = shop.sell(goods(0, 4))
        live.tick()
        assert [row.sample_id for row in live.stream("trl_sft", consumer="a", replay_ratio=0).rows()] == sold
    assert ids(url, {}) == sold
    told = CliRunner().invoke(app, ["shards", "follow", "--once", "--json", "--from", url])
    assert len(told.stdout.splitlines()) == 4


def test_a_store_that_fails_is_tried_again(tmp_path, monkeypatch, caplog):
    """The real errors of a real store: the objects are there, and the way to them is closed for a while."""
    url = f"memory://{uuid.uuid4().hex}/shards"
    shop = Shop(tmp_path)
    sold = shop.sell(goods(0, 4))
    store = ObjectStore(url)
    mirror = Mirror(shop.root, store)
    found = store._fs.cat_file

    def closed(*_: Any, **__: Any) -> bytes:
        raise ConnectionError("closed")

    monkeypatch.setattr(store._fs, "cat_file", closed)
    with pytest.raises(StoreError, match="ConnectionError: closed"):
        mirror.sync()
    with pytest.raises(StoreError):
        ids(url, {}, follow=True)  # one that never could be reached is a mistake
    mirror.push()
    mirror.push()
    assert len([record for record in caplog.records if "not published" in record.message]) == 1
    monkeypatch.setattr(store._fs, "cat_file", found)
    mirror.push()
    assert store.names("manifest") == []  # it is left alone for a while
    mirror.sync()
    reader = ShardStream(url, "trl_sft", consumer="a", replay_ratio=0, follow=True, poll_seconds=0.01)
    rows = reader.rows()
    given = [next(rows).sample_id for _ in range(3)]
    monkeypatch.setattr(store._fs, "cat_file", closed)
    given += [row.sample_id for row in reader.rows(wait=False)]  # what was read already needs no store
    assert "trying again" in caplog.text
    monkeypatch.setattr(store._fs, "cat_file", found)
    assert given + [row.sample_id for row in reader.rows(wait=False)] == sold


def test_a_url_that_cannot_serve_is_named(tmp_path, caplog):
    for wrong in ("/data/shards", "file:///data/shards"):
        with pytest.raises(SettingsError, match="shards = "):
            Live(tmp_path / "home", shards=wrong)
    with pytest.raises(SettingsError, match="nothing-like-it"):
        ids("nothing-like-it://x", {})
    with pytest.raises(StoreError, match="s3://no-such"):
        ids(
            "s3://no-such-bucket/x",
            {
                "key": "x",
                "secret": "x",
                "endpoint_url": "http://127.0.0.1:9",
                "config_kwargs": {"retries": {"max_attempts": 0}},
            },
        )
