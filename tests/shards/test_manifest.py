from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenther_live.errors import ShardError
from agenther_live.shards.files.manifest import Entry, Manifest, live


def entry(seq: int, revision: int = 0, rows: int = 1) -> Entry:
    name = f"{seq:08d}.r{revision}" if revision else f"{seq:08d}"
    return Entry(seq, "trl_sft", f"trl_sft/{name}.jsonl", rows, f"{seq:064x}", 10, revision=revision)


@given(st.integers(1, 5), st.data())
def test_cut_at_any_byte_the_whole_lines_stay_and_the_next_append_heals(count, data):
    with tempfile.TemporaryDirectory() as folder:
        manifest = Manifest(Path(folder))
        made = [entry(seq) for seq in range(1, count + 1)]
        ends = [0]
        for one in made:
            manifest.add(one)
            ends.append((Path(folder) / "manifest.jsonl").stat().st_size)
        end = data.draw(st.integers(0, ends[-1]))
        with (Path(folder) / "manifest.jsonl").open("r+b") as file:
            file.truncate(end)
        kept = sum(known <= end for known in ends[1:])
        assert manifest.entries() == made[:kept]
        for one in made:
            manifest.add(one)
        assert manifest.entries() == made


def test_retractions_are_numbered_and_said_once(tmp_path):
    manifest = Manifest(tmp_path)
    assert manifest.retract(["a", "b"], "wrong", at=1.0) == 1
    assert manifest.retract(["b", "c"], "wrong again", at=2.0) == 2
    assert manifest.retract(["a"], "wrong", at=3.0) == 2
    assert [(known.seq, known.samples) for known in manifest.retractions()] == [(1, ("a", "b")), (2, ("c",))]
    assert manifest.retracted() == {"a", "b", "c"}


def test_live_is_the_latest_revision(tmp_path):
    entries = [entry(1), entry(2), entry(1, 1), entry(3), entry(3, 1, rows=0)]
    assert [one.path for one in live(entries)] == ["trl_sft/00000001.r1.jsonl", "trl_sft/00000002.jsonl"]


@pytest.mark.parametrize("path", ["../../elsewhere", "/etc/hosts", "trl_sft/../../x"])
def test_a_path_stays_below_the_root(tmp_path, path):
    manifest = Manifest(tmp_path)
    manifest.add(replace(entry(1), path=path))
    with pytest.raises(ShardError, match="leads out of the folder"):
        manifest.entries()


@pytest.mark.parametrize("line", [b"{}\n", b"[]\n", b'{"v": 9}\n', b"\n", b'{"v": 1, "seq": 1}\n'])
def test_a_whole_line_that_is_none_is_an_error(tmp_path, line):
    (tmp_path / "manifest.jsonl").write_bytes(line)
    (tmp_path / "retractions.jsonl").write_bytes(line)
    with pytest.raises(ShardError, match="line 1"):
        Manifest(tmp_path).entries()
    with pytest.raises(ShardError, match="line 1"):
        Manifest(tmp_path).retractions()
