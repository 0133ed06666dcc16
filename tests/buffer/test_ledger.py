"""The buffer as publishing's ledger: with the real publisher, a real folder, and kills between its steps."""

from contextlib import nullcontext
from pathlib import Path

import pytest

from agenther_live.buffer.store import Buffer
from agenther_live.errors import MoveRefused, ShardError
from agenther_live.retraction import retract
from agenther_live.shards.files.manifest import Manifest
from agenther_live.shards.files.publish import Ledger, Published, publish_due
from agenther_live.shards.files.writer import ShardFile
from tests.buffer.conftest import private
from tests.buffer.journal_facts import at, batch, feedback
from tests.buffer.labels_made import relabeled, sample
from tests.buffer.test_work import failed, imported, run


def with_samples(buffer: Buffer, *keys: str) -> None:
    failed(buffer, *keys)
    for claim in buffer.claim(99, now=at(2)):
        buffer.record(claim, relabeled(claim), now=at(3))


def states(buffer: Buffer) -> dict[str, str]:
    return dict(buffer.sql("SELECT trajectory_id, state FROM samples").fetchall())


def publish(buffer: Buffer, root: Path, *formats: str, **more: object) -> Published:
    ledger: Ledger = buffer
    return publish_due(ledger, root, formats or ("trl_sft",), now=at(100), flush=True, **more)  # type: ignore[arg-type]


def test_samples_are_published_once_in_every_format(buffer: Buffer, tmp_path: Path) -> None:
    with_samples(buffer, "a", "b")
    done = publish(buffer, tmp_path / "shards", "trl_sft", "sharegpt")
    assert [(shard.seq, shard.format, shard.rows) for shard in done.shards] == [(1, "trl_sft", 2), (2, "sharegpt", 2)]
    assert states(buffer) == {"a": "emitted", "b": "emitted"}
    assert publish(buffer, tmp_path / "shards", "trl_sft", "sharegpt").shards == []
    shown = buffer.sql("SELECT seq, format, state, rows, path, sha256 FROM shards ORDER BY seq").fetchall()
    assert shown == [(s.seq, s.format, "published", s.rows, s.path, s.sha256) for s in done.shards]
    assert buffer.sql("SELECT count(*) FROM sample_shards").fetchall() == [(4,)]
    assert buffer.status(now=at(100))["shards"] == 2


def test_a_retraction_reaches_the_folder_once(buffer: Buffer, tmp_path: Path) -> None:
    root = tmp_path / "shards"
    buffer.ingest(
        batch([run("a", thread="a"), run("b", thread="b")], [feedback(thread_id=k, success=True) for k in "ab"]),
        now=at(1),
    )
    buffer.settle(now=at(1))
    claims = buffer.successes(9)
    buffer.add_samples([sample(claim, kind="success", goal=claim.trajectory_id) for claim in claims], claims=claims)
    publish(buffer, root)
    buffer.ingest(batch([], [feedback(thread_id="a", success=False, seconds=300)], offset=2), now=at(300))
    assert buffer.settle(now=at(301)) == {"queued": 1, "retracted": 1}
    assert states(buffer) == {"a": "retracted", "b": "emitted"}
    assert [due.reason for due in buffer.retractions_due()] == ["outcome_changed"]
    assert publish(buffer, root).retracted == 1
    assert buffer.retractions_due() == []
    assert publish(buffer, root).retracted == 0
    assert buffer.sql("SELECT reason, seq FROM retractions").fetchall() == [("outcome_changed", 1)]
    assert len(Manifest(root).retracted()) == 1


def test_a_failure_that_was_none_takes_its_contrast_rows_back(buffer: Buffer, tmp_path: Path) -> None:
    with_samples(buffer, "a")
    done = publish(buffer, tmp_path / "shards", "goal_contrast")
    assert [shard.rows for shard in done.shards] == [1], done
    buffer.ingest(batch([], [feedback(thread_id="a", success=True, seconds=300)], offset=2), now=at(300))
    assert buffer.settle(now=at(301)) == {"passed": 1, "retracted": 1}


def test_a_sample_taken_back_while_its_shard_is_written_is_retracted(buffer: Buffer) -> None:
    with_samples(buffer, "a")
    [one] = buffer.pending("trl_sft", 9)
    seq = buffer.begin_shard("trl_sft", [one.sample_id])
    assert buffer.withdraw([one.sample_id], "by_hand", now=at(5)) == {"retracted": 1}
    [unfinished] = buffer.unfinished_shards()
    assert (unfinished.seq, [s.sample_id for s in unfinished.samples]) == (seq, [one.sample_id])
    buffer.publish_shard(ShardFile(seq, "trl_sft", "trl_sft/00000001.jsonl", 1, "0" * 64, 10))
    assert states(buffer) == {"a": "retracted"}
    assert buffer.retractions_due()[0].samples == [one.sample_id]


def test_a_shard_that_was_begun_is_finished_before_it_is_retracted(buffer: Buffer, tmp_path: Path) -> None:
    with_samples(buffer, "a")
    [one] = buffer.pending("trl_sft", 9)
    buffer.begin_shard("trl_sft", [one.sample_id])
    done = retract(buffer, tmp_path, where="true", reason="by_hand", dry_run=False, now=at(5), as_worker=nullcontext)
    assert (done.samples, done.published, done.retraction) == ([one.sample_id], True, 1)
    assert [(entry.revision, entry.rows) for entry in Manifest(tmp_path).entries()] == [(0, 1), (1, 0)]


def test_what_was_withdrawn_cannot_be_put_into_a_shard(buffer: Buffer) -> None:
    with_samples(buffer, "a", "b")
    ids = [one.sample_id for one in buffer.pending("trl_sft", 9)]
    assert buffer.withdraw(ids[:1], "by_hand", now=at(5)) == {"withdrawn": 1}
    with pytest.raises(MoveRefused, match=ids[0]):
        buffer.begin_shard("trl_sft", ids)
    assert buffer.unfinished_shards() == []
    assert buffer.withdraw(ids[:1], "again", now=at(6)) == {}


def test_what_is_set_aside_waits_for_other_formats_only(buffer: Buffer) -> None:
    with_samples(buffer, "a")
    [one] = buffer.pending("trl_sft", 9)
    buffer.set_aside("trl_sft", {one.sample_id: "too_long"})
    buffer.set_aside("trl_sft", {one.sample_id: "again"})
    assert (buffer.backlog("trl_sft").count, buffer.backlog("sharegpt").count) == (0, 1)
    assert buffer.backlog("sharegpt").oldest == at(3)
    assert private(buffer, "SELECT reason FROM store.set_aside") == [("too_long",)]


def test_a_shard_that_is_given_up_frees_its_samples_and_keeps_its_number(buffer: Buffer) -> None:
    with_samples(buffer, "a")
    [one] = buffer.pending("trl_sft", 9)
    assert buffer.begin_shard("trl_sft", [one.sample_id]) == 1
    assert buffer.pending("trl_sft", 9) == []
    buffer.abandon_shard(1, "unreadable")
    assert buffer.unfinished_shards() == []
    assert [again.sample_id for again in buffer.pending("trl_sft", 9)] == [one.sample_id]
    assert buffer.begin_shard("trl_sft", [one.sample_id]) == 2


def test_a_shard_nobody_began_is_refused(buffer: Buffer) -> None:
    with pytest.raises(ShardError, match="never begun"):
        buffer.publish_shard(ShardFile(7, "trl_sft", "x", 1, "0" * 64, 10))


def test_published_hashes_are_those_of_living_samples(buffer: Buffer, tmp_path: Path) -> None:
    with_samples(buffer, "a", "b")
    hashes = [one.content_hash for one in buffer.pending("trl_sft", 9)]
    publish(buffer, tmp_path / "shards")
    assert sorted(buffer.published_hashes("trl_sft", hashes)) == sorted(hashes)
    assert buffer.published_hashes("sharegpt", hashes) == []
    [(gone,)] = buffer.sql("SELECT sample_id FROM samples WHERE trajectory_id = 'a'").fetchall()
    buffer.withdraw([gone], "by_hand")
    assert len(buffer.published_hashes("trl_sft", hashes)) == 1


class Killed(BaseException):
    """The process dies here."""


@pytest.mark.parametrize("where", ["begun", "renamed", "listed", "published"])
def test_a_kill_between_any_two_steps_is_made_up_for(buffer: Buffer, tmp_path: Path, where: str) -> None:
    with_samples(buffer, "a", "b")
    root = tmp_path / "shards"

    def step(name: str) -> None:
        if name == where:
            raise Killed

    with pytest.raises(Killed):
        publish(buffer, root, step=step)
    publish(buffer, root)
    assert [(entry.seq, entry.rows) for entry in Manifest(root).entries()] == [(1, 2)]
    assert buffer.sql("SELECT seq, state FROM shards").fetchall() == [(1, "published")]
    assert states(buffer) == {"a": "emitted", "b": "emitted"}


def test_successes_of_imports_are_samples_too(buffer: Buffer, tmp_path: Path) -> None:
    from agenther_live.trajectory import Evidence

    said = Evidence(evidence_id="e", source="reward", score=1.0, at=at(0))
    buffer.add_trajectories([(imported("i"), [said])], now=at(1))
    buffer.settle(now=at(1))
    claims = buffer.successes(9)
    buffer.add_samples([sample(claim, kind="success") for claim in claims], claims=claims)
    assert publish(buffer, tmp_path / "shards").shards[0].rows == 1
