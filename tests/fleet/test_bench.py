"""benchmarks/fleet.py measures what it says: it is run here in small, with nothing timed."""

from __future__ import annotations

from pathlib import Path

from benchmarks import fleet
from tests import forking
from tests.postgresql import Server


def test_workers_do_all_that_they_are_given_once(postgresql: Server, tmp_path: Path) -> None:
    for part in ("ingest", "relabel"):
        (tmp_path / part).mkdir()
    taken = fleet.ingest(forking._context, postgresql, 1, 3, tmp_path / "ingest")
    done = fleet.relabel(forking._context, postgresql, 1, 2, tmp_path / "relabel", concurrency=1, seconds=0.0, most=1)
    assert (taken["workers"], taken["trajectories"]) == (1, 3)
    assert (done["workers"], done["trajectories"], done["relabeled twice"]) == (1, 2, 0)
    assert done["model calls"] >= 2 * (2 + 4), "a relabeler and a judge, for each"
    rows = fleet.with_ratios([taken, {**taken, "trajectories/s": 2 * taken["trajectories/s"]}])
    assert [row["× of one"] for row in rows] == [1.0, 2.0]
