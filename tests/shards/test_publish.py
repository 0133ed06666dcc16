from __future__ import annotations

import json
import signal
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from agenther_live import Live
from agenther_live.errors import ShardError, UsageError
from agenther_live.shards.checks.check import check
from agenther_live.shards.files.heldout import HeldOut
from agenther_live.shards.files.manifest import Manifest, live
from agenther_live.shards.files.publish import publish_due
from agenther_live.shards.files.rotate import Limits
from agenther_live.shards.reading.stream import read_rows
from tests import forking
from tests.shards import killed
from tests.shards.examples import AT, hindsight, no_final, one_call, plain
from tests.shards.ledger import SqliteLedger

LATER = AT + timedelta(hours=1)


@pytest.fixture
def ledger(tmp_path):
    return SqliteLedger(tmp_path / "ledger.db")


@pytest.fixture
def root(tmp_path):
    return tmp_path / "shards"


def publish(ledger, root, formats=("trl_sft",), **given):
    given = {"now": LATER, "flush": True, "limits": Limits(rows=3), **given}
    return publish_due(ledger, root, formats, **given)


def ids(root, fmt="trl_sft"):
    return [found.sample_id for found in read_rows(root, fmt)]


def test_samples_come_out_once_in_each_format_they_fit(ledger, root):
    samples = [plain(1), one_call(1), hindsight(1), plain(2), no_final(1)]
    ledger.add(samples)
    report = publish(ledger, root, ("trl_sft", "sharegpt", "openai_sft"))
    assert [shard.path for shard in report.shards] == [
        "trl_sft/00000001.jsonl",
        "trl_sft/00000002.jsonl",
        "sharegpt/00000003.jsonl",
        "sharegpt/00000004.jsonl",
        "openai_sft/00000005.jsonl",
        "openai_sft/00000006.jsonl",
    ]
    assert sorted(ids(root)) == sorted(one.sample_id for one in samples)
    assert ids(root, "openai_sft") == ids(root)
    assert report.set_aside == Counter(masked_turn=1)
    assert ledger.aside() == {(samples[2].sample_id, "sharegpt"): "masked_turn"}
    assert check(root).bad == []
    assert check(root).checked == 5 + 4 + 5
    again = publish(ledger, root, ("trl_sft", "sharegpt", "openai_sft"))
    assert (again.shards, again.set_aside) == ([], Counter())


def test_files_are_private_and_nothing_temporary_stays(ledger, root):
    ledger.add([plain(1)])
    publish(ledger, root)
    files = [path for path in root.rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert not [path for path in files if ".tmp" in path.parts]


def test_rotation_by_rows_and_age(ledger, root):
    ledger.add([plain(n) for n in range(7)])
    soon = AT + timedelta(seconds=5)
    report = publish(ledger, root, now=soon, flush=False)
    assert [shard.rows for shard in report.shards] == [3, 3]
    assert publish(ledger, root, now=soon, flush=False).shards == []
    report = publish(ledger, root, now=AT + timedelta(seconds=60), flush=False)
    assert [shard.rows for shard in report.shards] == [1]


def test_rotation_by_bytes(ledger, root):
    ledger.add([plain(n) for n in range(4)])
    report = publish(ledger, root, limits=Limits(rows=100, bytes=1200))
    assert [shard.rows for shard in report.shards] == [1, 1, 1, 1] or all(s.bytes <= 1200 for s in report.shards)
    assert len(report.shards) > 1


def test_rows_without_a_final_answer_wait_for_company(ledger, root):
    ledger.add([no_final(n) for n in range(3)])
    report = publish(ledger, root)
    assert (report.shards, len(ledger.pending("trl_sft", 9))) == ([], 3)
    ledger.add([plain(1), plain(2)])
    report = publish(ledger, root, limits=Limits(rows=10))
    assert [shard.rows for shard in report.shards] == [4]
    assert len(ledger.pending("trl_sft", 9)) == 1
    assert check(root).bad == []


def test_a_flood_without_final_answers_does_not_stop_the_format(ledger, root):
    ledger.add([no_final(n) for n in range(20)])
    ledger.add([plain(n) for n in range(3)])
    for _ in range(4):
        publish(ledger, root)
    assert {one.sample_id for one in (plain(0), plain(1), plain(2))} <= set(ids(root))
    assert set(ledger.aside().values()) == {"final_share"}


def test_equal_content_is_published_once(ledger, root):
    first = plain(1)
    ledger.add([first, first.model_copy(update={"sample_id": "other", "trajectory_id": "t-9"})])
    assert publish(ledger, root).set_aside == Counter(duplicate=1)
    ledger.add([first.model_copy(update={"sample_id": "third"})])
    assert publish(ledger, root).set_aside == Counter(duplicate=1)
    assert ids(root) == [first.sample_id]


def test_nothing_held_out_is_published(ledger, root):
    near = "Please weigh seven ripe pears for the tall customer in the red coat at once"
    held = HeldOut([near])
    ledger.add([plain(1), plain(2, goal=near + " now"), plain(3, trajectory_id="kept"), plain(4)])
    held_key = HeldOut([near], trajectories={"kept"})
    report = publish(ledger, root, held_out=held_key)
    assert report.set_aside == Counter(near_held_out=1, held_out=1)
    assert check(root, held_out=held).bad == []
    assert check(root, held_out=HeldOut([plain(4).goal])).bad != []


def test_the_first_goals_are_held_out_too(ledger, root):
    """The split goes by a goal's hash from the first sample on, when no trajectory with a held-out goal is known."""
    samples = [hindsight(n) for n in range(40)]
    held = HeldOut(share=0.5)
    ledger.add(samples)
    report = publish(ledger, root, held_out=held)
    barred = {one.sample_id for one in samples if held.reason(one)}
    assert 10 < len(barred) < 40
    assert report.set_aside == Counter(held_out=len(barred))
    assert set(ids(root)) == {one.sample_id for one in samples} - barred
    assert check(root, held_out=held).bad == []
    assert check(root, held_out=HeldOut(share=0.9)).bad != []


def test_retraction_reaches_readers_lists_and_check(ledger, root):
    samples = [plain(n) for n in range(4)]
    ledger.add(samples)
    publish(ledger, root, ("trl_sft", "openai_sft"))
    ledger.retract([samples[1].sample_id, samples[3].sample_id], "feedback changed")
    report = publish(ledger, root, ("trl_sft", "openai_sft"))
    assert report.retracted == 2
    assert ids(root) == ids(root, "openai_sft") == [samples[0].sample_id, samples[2].sample_id]
    assert [(known.seq, known.reason) for known in Manifest(root).retractions()] == [(1, "feedback changed")]
    paths = [entry.path for entry in live(Manifest(root).entries())]
    assert paths == ["trl_sft/00000001.r1.jsonl", "openai_sft/00000003.r1.jsonl"]  # the second shards are empty now
    readme = (root / "README.md").read_text()
    assert "00000001.r1.jsonl" in readme
    assert "00000001.jsonl" not in readme
    assert "00000002" not in readme
    assert check(root).bad == []
    assert (root / "trl_sft/00000001.jsonl").exists()
    assert publish(ledger, root).retracted == 0
    # The content may be published again under another sample, e.g. when the outcome changed twice.
    ledger.add([samples[1].model_copy(update={"sample_id": "again", "outcome_rev": 3})])
    publish(ledger, root)
    assert "again" in ids(root)


def test_check_sees_damage(ledger, root):
    ledger.add([plain(n) for n in range(4)])
    publish(ledger, root)
    path = root / "trl_sft/00000001.jsonl"
    good, readme = path.read_bytes(), (root / "README.md").read_bytes()
    path.write_bytes(good.replace(b"Quite.", b"Quite!"))
    assert "other bytes" in check(root).bad[0].reason
    with pytest.raises(ShardError, match="other bytes"):
        ids(root)
    path.unlink()
    assert [bad.path for bad in check(root).bad] == ["trl_sft/00000001.jsonl"]
    path.write_bytes(good)
    assert check(root).bad == []
    (root / "README.md").write_text("---\n---\n")
    assert len(check(root).bad) == 2
    (root / "README.md").write_text("by hand\n")
    assert [bad.path for bad in check(root).bad] == ["README.md"]
    (root / "README.md").write_bytes(readme)
    (root / "dataset_info.json").write_text("{")
    assert [bad.path for bad in check(root).bad] == ["dataset_info.json"]
    lines = (root / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    (root / "manifest.jsonl").write_bytes(b"".join(reversed(lines)))
    assert any("comes after" in bad.reason for bad in check(root).bad)
    (root / "manifest.jsonl").write_bytes(b"garbage\n" + b"".join(lines))
    assert "line 1" in check(root).bad[0].reason


def test_a_named_folder_is_one_of_shards(ledger, root, tmp_path):
    ledger.add([plain(1)])
    publish(ledger, root)
    live = Live(tmp_path / "home")
    assert live.check_shards(root).checked == 1
    (tmp_path / "nothing yet").mkdir()
    assert live.check_shards(tmp_path / "nothing yet").bad == []
    for slip in (root.parent, root / "trl_sft", tmp_path / "shard"):
        with pytest.raises(UsageError, match=r"there is no manifest\.jsonl"):
            live.check_shards(slip)


def test_an_unpublished_file_is_nothing(ledger, root):
    ledger.add([plain(1)])
    publish(ledger, root)
    (root / "trl_sft/00000009.jsonl").write_text("not published\n")
    assert check(root).bad == []
    assert len(ids(root)) == 1


def test_check_of_an_empty_root(root):
    assert check(root).checked == 0
    assert check(root).bad == []


def test_a_full_volume_loses_nothing(ledger, root):
    ledger.add([plain(1)])
    (root / "trl_sft").mkdir(parents=True)
    (root / ".tmp").write_text("a file where the folder should be")
    with pytest.raises(ShardError, match="cannot be written"):
        publish(ledger, root)
    (root / ".tmp").unlink()
    report = publish(ledger, root)
    assert [shard.seq for shard in report.recovered] == [1]
    assert check(root).bad == []


def test_an_unfinished_shard_that_would_be_refused_is_given_up(ledger, root):
    bad = plain(1).model_copy(update={"messages": plain(1).messages[:1]})
    ledger.add([bad])
    ledger.begin_shard("trl_sft", [bad.sample_id])
    report = publish(ledger, root)
    assert report.failed
    assert ledger.states() == {1: "abandoned"}
    assert ledger.aside() == {(bad.sample_id, "trl_sft"): "mask"}
    ledger.add([plain(2)])
    assert [shard.seq for shard in publish(ledger, root).shards] == [2]


def whole(folder: Path) -> None:
    killed.main(folder, "-", 1)


STEPS = ("begun", "temporary", "renamed", "listed", "published", "retracted", "revised", "revision_listed")


@pytest.mark.slow
@pytest.mark.parametrize("name", [*STEPS, "retractions_done", "catalogued"])
def test_killed_at_a_step_and_started_again(tmp_path, name):
    """SIGKILL behind each step; the next process ends with what an undisturbed one has, byte for byte."""
    samples = [plain(n) for n in range(5)]
    folders = [tmp_path / "killed", tmp_path / "undisturbed"]
    for folder in folders:
        folder.mkdir()
        ledger = SqliteLedger(folder / "ledger.db")
        ledger.add(samples[:3])
        whole(folder)
        ledger.add(samples[3:])
        ledger.retract([samples[1].sample_id], "wrong")
    assert forking.run(killed.main, folders[0], name, 1) == -signal.SIGKILL
    whole(folders[0])
    whole(folders[1])
    assert contents(folders[0] / "shards") == contents(folders[1] / "shards")
    assert check(folders[0] / "shards").bad == []
    ledger = SqliteLedger(folders[0] / "ledger.db")
    assert ledger.unfinished_shards() == []
    assert ledger.retractions_due() == []


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_torn_manifest_line_is_cut_and_written_again(ledger, root):
    """Whatever part of the last line is left, the shard is published again under its number, with its bytes."""
    ledger.add([plain(1)])
    publish(ledger, root)
    whole = (root / "manifest.jsonl").read_bytes()
    ledger.add([plain(2)])
    ledger.begin_shard("trl_sft", [plain(2).sample_id])
    publish(ledger, root)
    after = (root / "manifest.jsonl").read_bytes()
    for end in (len(whole) + 1, len(whole) + 40, len(after) - 1):
        (root / "manifest.jsonl").write_bytes(after[:end])
        assert len(Manifest(root).entries()) == 1
        entry = json.loads(after.splitlines()[1])
        entry.pop("v")
        from agenther_live.shards.files.manifest import Entry

        Manifest(root).add(Entry(**entry))
        assert (root / "manifest.jsonl").read_bytes() == after


def test_other_bytes_under_a_listed_number_are_refused(ledger, root):
    ledger.add([plain(1)])
    publish(ledger, root)
    entry = Manifest(root).entries()[0]
    Manifest(root).add(entry)
    assert len(Manifest(root).entries()) == 1
    from dataclasses import replace

    with pytest.raises(ShardError, match="other bytes"):
        Manifest(root).add(replace(entry, sha256="0" * 64))
