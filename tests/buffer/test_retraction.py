"""Retraction by hand, over a real buffer and folder: what goes along, what is published, who had read it."""

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from agenther_live.buffer.store import Buffer
from agenther_live.errors import QueryError, WorkerRunning
from agenther_live.home import Home
from agenther_live.retraction import Retracted, retract
from agenther_live.shards.checks.check import check
from agenther_live.shards.files.manifest import Manifest, live
from agenther_live.shards.files.publish import publish_due
from agenther_live.shards.reading.stream import read_rows
from tests.buffer.journal_facts import at
from tests.buffer.test_pairs import runs

FORMATS = ("trl_sft", "trl_dpo")


@pytest.fixture
def root(buffer: Buffer, tmp_path: Path) -> Path:
    """Two successes and a failure of one goal, published; one reader has read the first format."""
    runs(buffer, g1=True, g2=True, bad=False)
    folder = tmp_path / "shards"
    publish_due(buffer, folder, FORMATS, now=at(5000), flush=True)
    (folder / "consumers").mkdir()
    note = {"consumer": "nightly", "format": "trl_sft", "seq": 1, "at": 5.0, "policy_version": "v2"}
    (folder / "consumers" / "nightly.json").write_text(json.dumps(note))
    (folder / "consumers" / "early.json").write_text(json.dumps({**note, "consumer": "early", "seq": 0}))
    return folder


def take(
    buffer: Buffer,
    root: Path,
    where: str = "trajectory_id = 'g1'",
    dry_run: bool = False,
    as_worker: AbstractContextManager[None] | None = None,
) -> Retracted:
    return retract(
        buffer, root, where=where, reason="drift", dry_run=dry_run, now=at(6000),
        as_worker=lambda: as_worker or nullcontext(),
    )  # fmt: skip


def test_it_is_published_at_once_with_all_that_was_made_of_it(buffer: Buffer, root: Path) -> None:
    tried = take(buffer, root, dry_run=True)
    assert Manifest(root).retractions() == []
    done = take(buffer, root)
    assert (done.samples, done.readers, done.shards) == (tried.samples, tried.readers, tried.shards)
    assert len(done.samples) == 3  # the sample, its pair, its step (which no format of these holds)
    assert [(one.consumer, one.policy_version) for one in done.readers] == [("nightly", "v2")]
    assert done.shards == ["trl_sft/00000001.jsonl", "trl_dpo/00000002.jsonl"]
    assert done.replaced_by == ["trl_sft/00000001.r1.jsonl", "trl_dpo/00000002.r1.jsonl"]
    assert (done.published, done.retraction) == (True, 1)
    assert [known.reason for known in Manifest(root).retractions()] == ["drift"]
    for fmt in FORMATS:
        assert [found.row["trajectory_id"] for found in read_rows(root, fmt)] == ["g2"]  # type: ignore[arg-type]
    assert check(root).bad == []
    assert take(buffer, root) == Retracted([], False)


def test_a_worker_that_runs_publishes_it_later(buffer: Buffer, root: Path, tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create()
    with home.held_by_worker():
        done = take(buffer, root, as_worker=home.held_by_worker())
    assert (done.published, done.retraction, done.replaced_by) == (False, None, [])
    assert [len(due.samples) for due in buffer.retractions_due()] == [2]
    assert publish_due(buffer, root, FORMATS, now=at(7000)).retracted == 2
    assert [entry.revision for entry in live(Manifest(root).entries())] == [1, 1]


@pytest.mark.engine("postgresql")  # on DuckDB a home has its own shards
def test_a_home_without_the_shards_leaves_publishing_to_the_worker_that_has_them(
    buffer: Buffer, root: Path, tmp_path: Path
) -> None:
    done = take(buffer, tmp_path / "elsewhere")
    assert (done.published, done.retraction) == (False, None)
    assert not (tmp_path / "elsewhere").exists()
    assert publish_due(buffer, root, FORMATS, now=at(7000)).retracted == 2
    for fmt in FORMATS:
        assert [found.row["trajectory_id"] for found in read_rows(root, fmt)] == ["g2"]  # type: ignore[arg-type]


def test_what_no_shard_holds_needs_no_publishing(buffer: Buffer, root: Path) -> None:
    class Refused(AbstractContextManager[None]):
        def __enter__(self) -> None:
            raise WorkerRunning("not asked")

        def __exit__(self, *_: object) -> None:
            raise AssertionError

    done = take(buffer, root, where="samples.kind = 'step' -- and no more", as_worker=Refused())
    assert (len(done.samples), done.published, done.shards, done.readers) == (2, True, [], [])
    with pytest.raises(QueryError, match="colour"):
        take(buffer, root, where="colour = 'red'")
