"""A file goes into a sink, and the page about it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from agenther_live.integrations.transcripts import import_file
from agenther_live.integrations.transcripts.choose import ADAPTERS
from agenther_live.trajectory import Evidence, Trajectory
from tests.transcripts.given import talk, write


class Shelf:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def add_trajectories(self, items: Iterable[tuple[Trajectory, Sequence[Evidence]]], /) -> None:
        self.batches.append([trajectory.trajectory_id for trajectory, _ in items])


def test_a_file_goes_into_the_sink_in_batches_and_is_reported(tmp_path: Path) -> None:
    records = [talk(("user", f"u{n}"), ("assistant", "a")) for n in range(450)]
    path = write(tmp_path / "in.jsonl", *records[:300], "no record", *records[300:])
    shelf, seen = Shelf(), list[int]()
    report = import_file(path, shelf, progress=seen.append)
    assert (report.read, report.imported, [refused.line for refused in report.refused]) == (451, 450, [301])
    assert [len(batch) for batch in shelf.batches] == [200, 200, 50]
    assert len({identity for batch in shelf.batches for identity in batch}) == 450
    assert seen == [200, 401, 451]


def test_a_missing_file_is_reported_and_counts_no_record(tmp_path: Path) -> None:
    report = import_file(tmp_path / "missing.jsonl", Shelf())
    assert (report.read, report.imported, len(report.refused)) == (0, 0, 1)


def test_the_examples_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "import.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    assert blocks
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        exec(compile(block, str(page), "exec"), {})


def test_the_page_names_every_format() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "import.md").read_text("utf-8")
    assert [name for name in ADAPTERS if f"`{name}`" not in page] == []
