"""What a stream gives: each sample once, in order, verified; what is left out; what is given again."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import shutil
import threading
import time
from pathlib import Path

import pytest

import agenther_live
from agenther_live import Live, ShardStream
from agenther_live.errors import ShardError, TooFewRows, UsageError
from agenther_live.shards.reading.cursor import Closed, Cursor, Given, Repeated, Versioned, sample_key
from agenther_live.shards.reading.progress import Progress
from tests.following.shop import Shop, goods
from tests.shards.examples import plain


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "shop")


def stream(shop: Shop, **given) -> ShardStream:
    return ShardStream(shop.root, "trl_sft", **{"consumer": "a", "replay_ratio": 0.0, "poll_seconds": 0.02, **given})


def ids(rows) -> list[str]:
    return [row.sample_id for row in rows]


def test_rows_come_once_in_the_order_of_the_manifest(shop):
    first = shop.sell(goods(0, 8))
    reader = stream(shop)
    rows = list(reader.rows())
    assert ids(rows) == first
    assert [(row.seq, row.index) for row in rows] == [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2), (3, 0), (3, 1)]
    assert list(reader.rows()) == []
    more = shop.sell(goods(8, 12))
    assert ids(reader.rows()) == more
    assert reader.figures == {"fresh": 12, "repeated": 0, "stale": 0, "closed": 5}
    lines = b"".join((shop.root / entry.path).read_bytes() for entry in shop.shards).splitlines()
    assert list(stream(shop)) == [json.loads(line) for line in lines]


def test_each_format_is_read_for_itself(tmp_path):
    shop = Shop(tmp_path, formats=("trl_sft", "openai_sft"))
    sold = shop.sell(goods(0, 5))
    for fmt in ("trl_sft", "openai_sft"):
        assert ids(ShardStream(shop.root, fmt, consumer=f"a-{fmt}", replay_ratio=0).rows()) == sold


def test_parquet_shards_give_the_same_rows(tmp_path):
    lines, columns = Shop(tmp_path / "a"), Shop(tmp_path / "b", files="parquet")
    for shop in (lines, columns):
        sold = shop.sell(goods(0, 5))
    assert {entry.files for entry in columns.shards} == {"parquet"}
    assert list(stream(columns).rows()) == list(stream(lines).rows())
    columns.take_back(sold[:1])
    assert ids(stream(columns).rows()) == sold[1:]


def test_retracted_samples_are_left_out_also_in_the_middle_of_a_shard(shop):
    sold = shop.sell(goods(0, 6))
    shop.take_back([sold[1]])
    assert ids(stream(shop).rows()) == sold[:1] + sold[2:]
    reader = stream(shop, poll_seconds=1e-9)
    rows = reader.rows()
    given = [next(rows).sample_id]
    shop.take_back([sold[2]])  # in the shard that is being read
    assert given + ids(rows) == [sold[0], *sold[3:]]


def test_a_shard_that_was_made_again_is_not_given_again(shop):
    sold = shop.sell(goods(0, 6))
    reader = stream(shop)
    rows = reader.rows()
    given = [next(rows).sample_id for _ in range(2)]
    rows.close()
    shop.take_back([sold[0]])
    assert given + ids(reader.rows()) == sold
    (shop.root / "trl_sft/00000001.jsonl").unlink()  # what was replaced may go
    assert ids(stream(shop).rows()) == sold[1:]


def test_a_sample_that_stands_in_two_shards_is_given_once(tmp_path):
    one, other = Shop(tmp_path / "one"), Shop(tmp_path / "two")
    first = one.sell(goods(0, 3))
    other.ledger.begin_shard("trl_sft", [])  # its numbers begin behind the first one's
    other.ledger.publish_shard(one.shards[0])
    second = other.sell([*goods(1, 3), plain(9)])
    with (one.root / "manifest.jsonl").open("ab") as file:
        file.write((other.root / "manifest.jsonl").read_bytes())
    path = other.shards[0].path
    (one.root / path).write_bytes((other.root / path).read_bytes())
    assert ids(stream(one).rows()) == first + second[2:]


def test_other_bytes_than_the_manifest_says_are_refused(shop):
    sold = shop.sell(goods(0, 6))
    path = shop.root / "trl_sft/00000002.jsonl"
    good = path.read_bytes()
    path.write_bytes(good.replace(b"Quite", b"Never"))
    with pytest.raises(ShardError, match="other bytes"):
        list(stream(shop).rows())
    path.unlink()
    reader = stream(shop)
    with pytest.raises(ShardError, match="is missing"):
        reader.take_rows(6)
    path.write_bytes(good)
    assert ids(reader.take_rows(6)) == sold, "a round that failed has taken none"


def test_a_manifest_that_cannot_be_read_is_told_of_each_time(shop):
    shop.sell(goods(0, 3))
    reader = stream(shop)
    manifest = shop.root / "manifest.jsonl"
    manifest.write_bytes((good := manifest.read_bytes()) + b"{\n")
    for _ in range(2):
        with pytest.raises(ShardError, match="line 2"):
            list(reader.rows())
    manifest.write_bytes(good)
    assert len(list(reader.rows())) == 3


def test_a_cursor_is_of_the_shards_that_it_was_made_by(shop, tmp_path):
    """In a home that was made anew the same numbers are other shards: it would skip them all, and not say so."""
    shop.sell(goods(0, 6))
    reader = stream(shop)
    list(reader.rows())
    other = Shop(tmp_path / "anew")
    other.sell(goods(20, 29))
    elsewhere = stream(other)
    elsewhere.load_state_dict(json.loads(json.dumps(reader.state_dict())))
    with pytest.raises(ShardError, match="of other shards than those of"):
        list(elsewhere.rows())
    early = {**reader.state_dict(), "origin": None}  # as it was written before
    again = stream(shop)
    again.load_state_dict(early)
    assert list(again.rows()) == []
    assert again.state_dict() == reader.state_dict()


def test_follow_waits_for_shards_and_can_be_stopped(shop):
    reader = stream(shop, follow=True)  # the folder is not even there
    found: list[str] = []
    reading = threading.Thread(target=lambda: found.extend(ids(reader.rows())))
    reading.start()
    sold = shop.sell(goods(0, 4))
    until(lambda: reader.figures["fresh"] == 4)
    sold += shop.sell(goods(4, 7))
    until(lambda: reader.figures["fresh"] == 7)
    assert reading.is_alive()
    reader.request_stop()
    reading.join(10)
    assert found == sold


def test_stale_rows_are_left_out_by_what_is_published(shop):
    """Versions count as they appear, ahead of the rows; one without a name is never stale."""
    old, nameless = shop.sell(goods(0, 3, policy_version="v10")), shop.sell(goods(3, 6, policy_version=None))
    mid = shop.sell(goods(6, 9, policy_version="v9"))
    both = shop.sell([plain(20, policy_version="v2"), plain(21, policy_version="v1")])
    assert ids(stream(shop, max_staleness=3).rows()) == old + nameless + mid + both
    reader = stream(shop, max_staleness=1)
    assert ids(reader.rows()) == nameless + both
    assert reader.figures["stale"] == 6
    assert reader.state_dict()["versions"] == ["v10", "v9", "v2", "v1"]
    assert ids(stream(shop, max_staleness=None).rows()) == old + nameless + mid + both
    assert ids(stream(shop, max_staleness=0).rows()) == nameless + both[1:]


def test_replay_draws_its_share_from_shards_that_were_read(shop):
    sold = shop.sell(goods(0, 60))
    rows = list(stream(shop, replay_ratio=0.25, seed=5).rows())
    fresh = [row for row in rows if not row.repeated]
    assert ids(fresh) == sold
    assert len(rows) - len(fresh) == 18  # a third of the 57 rows behind the first shard; the last waits for a row
    done: dict[int, int] = {}
    for row in rows:
        if row.repeated:
            assert done[row.seq] == 3
        else:
            done[row.seq] = done.get(row.seq, 0) + 1
    assert rows == list(stream(shop, replay_ratio=0.25, seed=5).rows())
    assert rows != list(stream(shop, replay_ratio=0.25, seed=6).rows())


def test_replay_leaves_out_what_may_not_be_given(shop):
    sold = shop.sell(goods(0, 3, policy_version="v1"))
    reader = stream(shop, replay_ratio=0.5, max_staleness=1)
    assert ids(reader.rows()) == sold
    shop.sell(goods(3, 6, policy_version="v2"))
    again = [row.sample_id for row in reader.rows() if row.repeated]
    assert len(again) == 2  # the third falls due with the next new row
    assert set(again) <= set(sold)
    shop.take_back(sold[:2])
    shop.sell(goods(6, 9, policy_version="v3"))
    later = [row for row in reader.rows() if row.repeated]
    assert later
    assert not any(row.sample_id in sold for row in later)  # retracted, or two versions old


def test_left_off_after_any_row_it_goes_on_as_if_never(shop, tmp_path):
    shop.sell(goods(0, 12, policy_version="v1"))
    shop.sell(goods(12, 20, policy_version="v2"))
    given = {"replay_ratio": 0.4, "seed": 3, "max_staleness": 1}
    whole = list(stream(shop, **given).rows())
    for cut in range(len(whole) + 1):
        reader = stream(shop, **given)
        rows = reader.rows()
        part = [next(rows) for _ in range(cut)]
        state = json.loads(json.dumps(reader.state_dict()))
        other = stream(shop, **given)
        other.load_state_dict(state)
        assert part + list(other.rows()) == whole


def test_take_gives_a_round_or_says_what_is_missing(shop):
    reader = stream(shop, replay_ratio=0.25)
    shop.sell(goods(0, 4))
    before = reader.state_dict()
    with pytest.raises(TooFewRows, match=r"4 new trl_sft rows in .* and a round needs 9; waited 0.05 s"):
        reader.take_rows(9, timeout=0.05)
    assert reader.state_dict() == before
    assert reader.handed_out == 0
    shop.sell(goods(4, 9))
    rows = reader.take_rows(9, timeout=0)
    assert len([row for row in rows if not row.repeated]) == 9
    with pytest.raises(TooFewRows):
        reader.take_rows(1)
    sold = shop.sell(goods(9, 20))
    plain_reader = stream(shop)
    assert len(plain_reader.take_rows(2, max_rows=4)) == 4
    assert ids(plain_reader.take_rows(1))[-len(sold) :] == sold


def test_take_waits_for_its_rows(shop):
    reader = stream(shop, follow=True)
    late = threading.Timer(0.1, lambda: shop.sell(goods(0, 5)))
    late.start()
    assert len(reader.take_rows(5, timeout=30)) == 5
    late.join()


def test_a_cursor_is_committed_with_the_checkpoint_and_noted_beside_the_shards(shop, tmp_path):
    sold = shop.sell(goods(0, 7))
    reader = stream(shop)
    rows = reader.rows()
    for _ in range(4):
        next(rows)
    reader.commit(tmp_path / "checkpoint-4", policy_version="v7")
    note = json.loads((shop.root / "consumers/a.json").read_bytes())
    assert {**note, "at": 0} == {"consumer": "a", "format": "trl_sft", "seq": 2, "at": 0, "policy_version": "v7"}
    assert abs(note["at"] - time.time()) < 60
    other = stream(shop)
    other.restore(tmp_path / "checkpoint-4")
    assert ids(other.rows()) == sold[4:] == ids(rows)
    with pytest.raises(ShardError, match="an older checkpoint may have one"):
        other.restore(tmp_path / "checkpoint-8")
    with pytest.raises(ShardError, match=r"agenther-cursor.a.trl_sft.json"):
        ShardStream(shop.root, "trl_sft", consumer="b").restore(tmp_path / "checkpoint-4")
    assert [path.name for path in (tmp_path / "checkpoint-4").iterdir()] == ["agenther-cursor.a.trl_sft.json"]


def test_what_was_given_is_noted_whether_it_is_committed_or_not(shop, tmp_path):
    shop.sell(goods(0, 7))
    rows, note = stream(shop).rows(), shop.root / "consumers/a.json"
    for seq in (1, 1, 1, 2):
        assert next(rows).seq == json.loads(note.read_bytes())["seq"] == seq
    reader = stream(shop)
    list(reader.rows())
    reader.commit(tmp_path / "checkpoint", rows=1, policy_version="v7")  # read ahead, to the last shard
    list(stream(shop).rows())  # from the beginning, and what a checkpoint was called stays
    found = json.loads(note.read_bytes())
    assert (found["seq"], found["format"], found["policy_version"]) == (3, "trl_sft", "v7")
    again = stream(shop)
    next(again.rows())
    again.commit(tmp_path / "checkpoint")
    assert json.loads(note.read_bytes())["seq"] == 3


def test_nobody_in_particular_leaves_no_note_and_is_remembered_by_shards(shop):
    sold = shop.sell(goods(0, 7))
    reader = stream(shop, consumer=None)
    rows = reader.rows()
    assert ids(next(rows) for _ in range(4)) + ids(reader.rows()) == sold
    assert ids(reader.rows()) == []
    assert reader.figures["closed"] == 3
    assert not (shop.root / "consumers").exists()
    for refused in (reader.commit, reader.restore):
        with pytest.raises(UsageError, match="nobody in particular"):
            refused(None)
    progress = Progress(Cursor("trl_sft"))
    for seq in range(1, 8):
        for row in range(500):
            progress.note(Given(seq, sample_key(f"{seq}-{row}"), 0.0))
        if seq != 6:  # published later, read in part: its rows must be known until it is read to its end
            progress.note(Closed(seq))
        progress.forget_rows()
    assert progress.cursor.closed == {1, 2, 3, 4, 5, 7}
    assert len(progress.cursor.given) == 1500
    progress.note(Closed(6))
    progress.forget_rows()
    assert not progress.cursor.given
    assert progress.handed_out == 3500 == progress.cursor.fresh


def test_without_a_checkpoint_the_cursor_is_kept_beside_the_shards(shop):
    sold = shop.sell(goods(0, 7))
    reader = stream(shop)
    reader.restore(None)  # nothing was kept: the beginning
    rows = reader.rows()
    given = [next(rows).sample_id for _ in range(4)]
    reader.commit(None)
    other = stream(shop)
    other.restore(None)
    assert given + ids(other.rows()) == sold


def test_rows_that_were_read_ahead_are_not_committed(shop, tmp_path):
    shop.sell(goods(0, 10))
    given = {"replay_ratio": 0.25}
    whole = list(stream(shop, **given).rows())
    reader = stream(shop, **given)
    rows = reader.rows()
    for _ in range(9):
        next(rows)
    reader.commit(tmp_path / "a", rows=4)
    reader.commit(tmp_path / "b", rows=6)
    assert reader.handed_out == 9
    for name, at in (("a", 4), ("b", 6)):
        other = stream(shop, **given)
        other.restore(tmp_path / name)
        assert list(other.rows()) == whole[at:]
    assert list(rows) == whole[9:]
    with pytest.raises(UsageError, match="6 were committed"):
        reader.commit(tmp_path / "c", rows=5)
    with pytest.raises(UsageError, match="handed out"):
        reader.commit(tmp_path / "c", rows=len(whole) + 1)


def test_shards_that_may_only_be_read_can_be_followed(shop, tmp_path, caplog):
    shop.sell(goods(0, 3))
    (shop.root / "consumers").write_text("a file where the folder should be")
    reader = stream(shop)
    with pytest.raises(ShardError, match="cannot be read"):
        list(reader.rows())
    (shop.root / "consumers").unlink()
    assert len(list(reader.rows())) == 3
    shutil.rmtree(shop.root / "consumers")
    (shop.root / "consumers").write_text("again")
    assert len(list(stream(shop, consumer=None).rows())) == 3
    shop.sell(goods(3, 6))
    assert len(list(reader.rows())) == 3
    reader.commit(tmp_path / "checkpoint")
    assert "cannot be noted beside the shards" in caplog.text
    (shop.root / "consumers").unlink()
    shop.sell(goods(6, 9))
    last = list(reader.rows())[-1].seq
    assert json.loads((shop.root / "consumers/a.json").read_bytes())["seq"] == last


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"consumer": "../a"}, "consumer = '../a'"),
        ({"consumer": ""}, "consumer = ''"),
        ({"replay_ratio": 1.0}, "replay_ratio"),
        ({"max_staleness": -1}, "max_staleness"),
        ({"poll_seconds": 0}, "poll_seconds"),
        ({"storage_options": {"key": "x"}}, "local folder"),
    ],
)
def test_wrong_arguments_are_named(shop, given, message):
    with pytest.raises(UsageError, match=message):
        stream(shop, **given)


def test_wrong_places_are_named(shop):
    with pytest.raises(UsageError, match="no such folder"):
        list(stream(shop).rows())
    with pytest.raises(UsageError, match="format 'trl': one of trl_sft"):
        ShardStream(shop.root, "trl", consumer="a")
    shop.formats = ("trl_sft", "openai_sft")
    shop.sell(goods(0, 3))
    stream(shop).commit(shop.root.parent / "checkpoint")
    with pytest.raises(UsageError, match="consumer 'a' reads trl_sft"):
        list(ShardStream(shop.root, "openai_sft", consumer="a").rows())
    with pytest.raises(ShardError, match="no cursor"):
        stream(shop).load_state_dict({"v": 1})
    for foreign in (None, [1], {**stream(shop).state_dict(), "given": "AAAA"}):
        with pytest.raises(ShardError, match="no cursor"):
            stream(shop).load_state_dict(foreign)
    with pytest.raises(ShardError, match="version None"):
        stream(shop).load_state_dict({})
    with pytest.raises(ShardError, match="of trl_sft rows"):
        ShardStream(shop.root, "openai_sft", consumer="b").load_state_dict(stream(shop).state_dict())


def test_a_home_gives_its_stream(home):
    live = Live(home)
    shop = Shop(home)
    sold = shop.sell(goods(0, 4))
    reader = live.stream("trl_sft", consumer="trainer-a", replay_ratio=0)
    assert isinstance(reader, agenther_live.ShardStream)
    assert ids(reader.rows()) == sold


def test_a_cursor_is_the_sum_of_its_events_and_survives_json():
    cursor = Cursor("trl_sft")
    for event in (
        Versioned("v1"),
        *(Given(seq, sample_key(f"s{seq}"), seq / 3) for seq in (1, 2, 4, 7)),
        Repeated(1, 1 / 3),
        *(Closed(seq, 2) for seq in (7, 1, 2, 4)),
    ):
        cursor.add(event)
    state = json.loads(json.dumps(cursor.dump()))
    assert Cursor.load(state) == cursor == cursor.copy()
    assert state["closed"] == [[1, 2], [4, 4], [7, 7]]
    assert (cursor.fresh, cursor.repeated, cursor.stale, cursor.seq, cursor.draws) == (4, 1, 8, 7, 1)


def until(condition, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


@pytest.mark.parametrize("seed", range(3))
def test_any_walk_ends_with_each_sample_trained_once(tmp_path, seed):
    """Publish, take back, read, commit less than was read, fall over: whatever the order, in one process."""
    walk(tmp_path, random.Random(seed))


def walk(folder: Path, rng: random.Random) -> None:
    shop = Shop(folder, rows=rng.choice([1, 3, 7]))
    given = {"replay_ratio": rng.choice([0.0, 0.3]), "seed": rng.randrange(9), "poll_seconds": rng.choice([1e-9, 60])}
    sold: list[str] = []
    gone: set[str] = set()
    kept: list[tuple[str, bool]] = []  # as of the last commit
    read: list[tuple[str, bool]] = []  # since then
    shop.sell(goods(0, 1))
    sold += [goods(0, 1)[0].sample_id]
    reader = stream(shop, **given)
    for _ in range(40):
        deed = rng.choice(["sell", "read", "read", "take", "commit", "fall", "spoil"])
        if deed == "sell":
            sold += shop.sell(goods(len(sold), len(sold) + rng.randrange(1, 9)))
        elif deed == "spoil":
            spoiled = rng.sample(sold, min(len(sold), 2))
            gone |= set(spoiled)
            shop.take_back(spoiled)
        elif deed == "read":
            rows = itertools.islice(reader.rows(), rng.randrange(9))
            read += [(row.sample_id, row.repeated) for row in rows]
        elif deed == "take":
            with contextlib.suppress(TooFewRows):
                read += [(row.sample_id, row.repeated) for row in reader.take_rows(rng.randrange(1, 9))]
        elif deed == "commit":
            count = rng.randrange(len(read) + 1)
            reader.commit(None, rows=reader.handed_out - len(read) + count)
            kept, read = kept + read[:count], read[count:]
        else:
            reader, read = stream(shop, **given), []
            reader.restore(None)
    reader = stream(shop, **given)
    reader.restore(None)
    kept += [(row.sample_id, row.repeated) for row in reader.rows()]
    fresh = [sample_id for sample_id, repeated in kept if not repeated]
    assert len(fresh) == len(set(fresh))
    assert set(sold) - gone <= set(fresh) <= set(sold)
    assert [sold.index(sample_id) for sample_id in fresh] == sorted(map(sold.index, fresh))
    assert {sample_id for sample_id, repeated in kept if repeated} <= set(fresh)
