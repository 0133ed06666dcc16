"""A run that another process goes on with, through the real buffer, taken in in either order."""

import multiprocessing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agenther_live.assemble import tools_version
from agenther_live.buffer.store import Buffer
from agenther_live.journal import Reader
from agenther_live.settings import load_settings
from agenther_live.trajectory import Trajectory
from tests import forking
from tests.capture import deaths
from tests.capture.kit import acts, roles


@pytest.fixture(scope="module", params=["forked", pytest.param("spawned", marks=pytest.mark.faults)])
def homes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two homes: one process asked and stopped to wait, the other answered; they share the checkpoints alone.

    A spawned process imports everything anew, as those of the tests of `examples/` do.
    """
    folder = tmp_path_factory.mktemp("processes")
    checkpoints = folder / "checkpoints.sqlite"
    if request.param == "forked":
        assert forking.run(deaths.one_run, folder / "go", checkpoints, "go") == 0
    else:
        spawned = multiprocessing.get_context("spawn").Process(
            target=deaths.one_run, args=(folder / "go", checkpoints, "go")
        )
        spawned.start()
        spawned.join(60)
        assert spawned.exitcode == 0
    assert forking.run(deaths.one_run, folder / "resume", checkpoints, "resume") == 0
    return [folder / "go", folder / "resume"]


def taken_in(homes: list[Path], folder: Path) -> tuple[Buffer, list[Trajectory]]:
    """Ingest one home after the other, the second two days later; a journal each, so a cursor each."""
    buffer = Buffer(folder / "buffer.duckdb", settings=load_settings(home=folder))
    buffer.create()
    now = datetime.now(UTC).replace(tzinfo=None)
    for days, home in enumerate(homes):
        buffer.ingest(Reader(home / "journal").read({}), now=now + timedelta(days=2 * days))
    ids = buffer.sql("SELECT trajectory_id FROM trajectories").fetchall()
    return buffer, [found for (one,) in ids if (found := buffer.trajectory(one)) is not None]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["in order", "the answer first"])
def test_resumed_by_another_process(homes: list[Path], tmp_path: Path, order: tuple[int, int]) -> None:
    buffer, (t,) = taken_in([homes[place] for place in order], tmp_path)
    assert (t.goal, t.status, t.final_answer) == ("go", "finished", "done")
    assert [(run.status, run.policy_version) for run in t.runs] == [("interrupted", "go"), ("finished", "resume")]
    assert acts(t) == [[("add", "3", False), ("confirm", "user said yes", False)], []]
    assert [action.attempts for action in t.steps[0].actions] == [1, 1]
    assert roles(t) == "uatta"
    assert t.context_len == 0
    # Who acted, with what, stands in columns.
    rows = buffer.sql(
        "SELECT agent, run.policy_version, models, tools_version "
        "FROM runs AS run JOIN trajectories USING (trajectory_id) ORDER BY idx"
    )
    version = tools_version(t.tools)
    assert rows.fetchall() == [
        ("asker", "go", '["scripted-1"]', version),
        ("asker", "resume", '["scripted-1"]', version),
    ]
    assert len(version or "") == 16
