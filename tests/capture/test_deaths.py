"""Processes that are killed, fork and end, with real agents in them: what had returned is there, once and whole."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from agenther_live.assemble import assemble
from agenther_live.journal import Reader
from agenther_live.journal.segments import is_locked, list_segments
from agenther_live.trajectory import Trajectory
from tests import forking
from tests.capture import deaths
from tests.capture.kit import acts, roles

MANY = int(os.environ.get("AGENTHER_TEST_KILLS", "200"))
KILLS = [20, pytest.param(MANY, marks=[pytest.mark.faults, pytest.mark.timeout(600)])]


def told(folder: Path) -> dict[str, Trajectory]:
    batch = Reader(folder / "journal").read({}, limit_bytes=1 << 30)
    assert set(batch.damage) <= {"torn_tails"}
    counts: Counter[str] = Counter()
    for record in batch.loose:
        counts.update(record.get("counts") or {})
    assert not {"capture_errors", "drain_errors", "journal_errors"} & set(counts)
    found = [assemble([run.records], trajectory_id=run.root_key) for run in batch.runs]
    assert len({t.goal for t in found}) == len(found)
    return {t.goal: t for t in found}


@pytest.mark.parametrize("inherited", [True, False], ids=["loaded before the fork", "loaded after it"])
@pytest.mark.parametrize("kills", KILLS)
def test_sigkill_at_a_random_moment(tmp_path: Path, kills: int, inherited: bool) -> None:
    listens, says = forking.pipe()
    process = forking.start(deaths.kill_at_random, tmp_path, kills, inherited, says)
    says.close()  # so that a process that fails is not waited for
    assert listens.poll(60 + 2 * kills), process.exitcode
    returned, idle = listens.recv()
    process.join(30)
    try:
        assert len(idle) == kills
        for pid in idle:
            os.kill(pid, 0)  # it lives on, with every file of a dead process open, and yet:
        assert not [s for own in list_segments(tmp_path / "journal").values() for s in own if is_locked(s.path)]
        found = told(tmp_path)
    finally:
        for pid in idle:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert len(returned) >= kills
    assert set(returned) <= set(found)
    for goal, t in found.items():
        if goal == "server":
            assert (t.status, acts(t)) == ("finished", [[("wait", "waited", False)], []])
        elif goal.endswith("-open"):
            assert (t.status, acts(t)) == ("abandoned", [[("add", "3", False)], [("doze", None, False)]])
        elif goal in returned or t.status == "finished":
            assert (t.status, acts(t), roles(t)) == ("finished", [[("add", "2", False)], []], "uata")
        else:  # killed before it returned
            assert t.status == "abandoned"
    assert sum(goal.endswith("-open") for goal in found) == kills
    assert "server" in found


@pytest.mark.parametrize(
    ("how", "code", "status"),
    [("return", 0, "finished"), ("sys.exit", 3, "cancelled"), ("KeyboardInterrupt", 130, "cancelled")],
)
def test_the_interpreter_ends_with_work_pending(tmp_path: Path, how: str, code: int, status: str) -> None:
    assert forking.run(deaths.end, tmp_path, how) == code
    found = told(tmp_path)
    assert {goal: t.status for goal, t in found.items()} == {"main": status, "open": "abandoned"}
    assert acts(found["open"]) == [[("add", "3", False)]]
    first, second = acts(found["main"])[:2]
    assert first == [("add", "3", False)]
    # Ctrl-C reaches the main thread: whether the tool, in another one, comes to its end before the run's is open.
    said = {"return": ["stayed"], "sys.exit": [None], "KeyboardInterrupt": ["stayed", None]}[how]
    assert second in [[("leave", one, False)] for one in said]
    counted = [r["counts"] for r in Reader(tmp_path / "journal").read({}).loose if r["k"] == "counters"]
    assert 1 in [counts.get("left") for counts in counted], "and the tool that Ctrl-C did not reach may be late"
