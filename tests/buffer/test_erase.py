"""Deletion and retention on every engine, with the shards in a folder."""

from datetime import UTC, timedelta
from pathlib import Path

from agenther_live.buffer.store import Buffer
from agenther_live.buffer.upkeep import audit, erase, retention
from agenther_live.buffer.upkeep.tombstones import Tombs
from agenther_live.erase import Place, Target, delete, finish_begun, lift
from agenther_live.home import Home
from agenther_live.journal import Reader
from agenther_live.replies import Replies
from agenther_live.shards.files.publish import publish_due
from agenther_live.shards.reading.stream import read_rows
from tests.buffer.conftest import private
from tests.buffer.journal_facts import at, batch, feedback, run
from tests.buffer.labels_made import relabeled
from tests.buffer.test_pairs import runs


def published(buffer: Buffer, home: Home) -> set[str]:
    """Fail three runs of two people, relabel and publish them."""
    runs = [run(f"r{n}", thread=f"t{n}", goal=f"Buy {n}", subject="ann" if n else "bob") for n in range(3)]
    buffer.ingest(batch(runs, [feedback(thread_id=f"t{n}", success=False) for n in range(3)]), now=at(0))
    buffer.settle(now=at(1))
    claims = buffer.claim(10, now=at(2))
    buffer.record_many([(claim, relabeled(claim)) for claim in claims], now=at(3))
    publish_due(buffer, home.shards, ["trl_sft"], now=at(4), flush=True)
    return in_shards(home)


def in_shards(home: Home) -> set[str]:
    return {row.row["trajectory_id"] for row in read_rows(home.shards)}


def place(buffer: Buffer, folder: Path) -> Place:
    home = Home(folder / "home")
    home.create()
    return Place(home, buffer, Reader(home.journal), Replies(home.replies))


def test_a_subject_goes_and_stays_away(buffer: Buffer, tmp_path: Path) -> None:
    where = place(buffer, tmp_path)
    assert published(buffer, where.home) == {"r0", "r1", "r2"}
    buffer.sample(3)
    receipt = delete(where, Target("subject", ("ann",)), reason="asked", now=at(10), shrunk=False)
    assert (receipt.trajectories, receipt.samples, receipt.draws, len(receipt.shards)) == (2, 2, 1, 1)
    assert in_shards(where.home) == {"r0"}
    for table in ("state", "trajectories", "runs", "messages", "steps", "samples", "sample_state", "relabelings"):
        assert private(buffer, f"SELECT DISTINCT trajectory_id FROM store.{table}") == [("r0",)], table
    assert private(buffer, "SELECT count(*) FROM store.run_facts") == [(1,)]
    late = [run("r1", thread="t1", goal="Buy 1", subject="ann"), run("new", subject="ann"), run("other", subject="bob")]
    assert buffer.ingest(batch(late, offset=2), now=at(11)).counted["refused_deleted"] == 2
    assert finish_begun(where, now=at(12)) == []
    assert lift(buffer, Target("subject", ("ann",)), reason="", now=at(13)) == 1
    assert buffer.ingest(batch([run("newer", subject="ann")], offset=3), now=at(14)).trajectories == 1
    deeds = buffer.sql(
        "SELECT a.action, a.target, a.trajectories, a.shards FROM audit AS a ORDER BY a.begun_at"
    ).fetchall()
    assert deeds == [("delete", "subject", 2, 1), ("lift", "subject", 0, 0)]


def test_retention_and_a_deletion_after_it(buffer: Buffer, tmp_path: Path) -> None:
    where = place(buffer, tmp_path)
    published(buffer, where.home)
    tight = buffer.settings.model_copy(update={"history_trajectories": 1})
    with buffer.writing() as tx:
        moment = retention.advance(tx, now=at(20))
        done = retention.forget_some(tx, tight, moment=moment, now=at(20), limit=100)
        retention.forget_logs(tx, tight, moment=moment)
        retention.forget_cursors(tx, set(), now=at(20))
        audit.note(tx, "forget", now=at(20), trajectories=done.trajectories, samples=done.samples)
    assert (done.trajectories, done.samples, done.more) == (2, 2, False)
    assert private(buffer, "SELECT count(*) FROM store.samples") == [(1,)]
    assert buffer.status(now=at(21))["forgotten"] == 2
    assert len(buffer.sample(5)) == 1
    assert in_shards(where.home) == {"r0", "r1", "r2"}
    receipt = delete(where, Target("thread", ("t0",)), reason="", now=at(30), shrunk=False)
    assert (receipt.trajectories, receipt.samples) == (1, 1)
    assert in_shards(where.home) == {"r1", "r2"}


def test_what_was_counted_long_ago_is_one_row_of_each_counter(buffer: Buffer) -> None:
    times = [at(n).replace(tzinfo=UTC).timestamp() for n in range(5)]
    told = [{"k": "counters", "at": time, "counts": {"cut": 2, "late": 1}} for time in times]
    buffer.ingest(batch([], told), now=at(10))
    moment = at(2.5) + timedelta(days=buffer.settings.history_days)
    for _ in range(2):
        with buffer.writing() as tx:
            retention.forget_logs(tx, buffer.settings, moment=moment)
        rows = private(buffer, "SELECT name, n, record_id = 'folded' FROM store.counts ORDER BY 1, 2, 3")
        assert rows == [("cut", 2, False)] * 2 + [("cut", 6, True)] + [("late", 1, False)] * 2 + [("late", 3, True)]
        moment += timedelta(seconds=0.1)


def test_pairs_go_with_either_of_their_runs(buffer: Buffer, tmp_path: Path) -> None:
    """The worse run of a pair stands in the row of the better one: deletion and retention must find it there."""
    where = place(buffer, tmp_path)
    runs(buffer, good=True)
    runs(buffer, goal="buy 10 Bolts!", bad=False)
    publish_due(buffer, where.home.shards, ["trl_sft", "trl_dpo", "trl_kto"], now=at(5000), flush=True)
    [pair] = read_rows(where.home.shards, "trl_dpo")
    assert pair.row["rejected_trajectory_id"] == "bad"
    with buffer.writing() as tx:  # the worse run goes by age first: what is left must still be found
        erase.forget(tx, ["bad"], Tombs(buffer.settings), now=at(6000))
    assert private(buffer, f"SELECT payload FROM store.samples WHERE sample_id = '{pair.sample_id}'") == []
    receipt = delete(where, Target("thread", ("bad",)), reason="", now=at(7000), shrunk=False)
    assert receipt.trajectories == 1
    left = [row.row for row in read_rows(where.home.shards)]
    assert {row["trajectory_id"] for row in left} == {"good"}
    assert not any(row.get("rejected_trajectory_id") == "bad" for row in left)
    assert private(buffer, "SELECT count(*) FROM store.derived WHERE worse_trajectory_id = 'bad'") == [(0,)]
