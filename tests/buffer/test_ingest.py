"""Ingest: one transaction, any order, any number of times."""

import itertools
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from agenther_live.buffer.store import Buffer
from agenther_live.journal import Batch, Cursor, RunFacts
from tests.buffer.conftest import MakeBuffer
from tests.buffer.journal_facts import EPOCH, at, batch, feedback, run


def shown(buffer: Buffer) -> list[dict[str, Any]]:
    """What people see of the buffer, in an order that ingest does not decide."""
    found = []
    for view, order in (
        ("trajectories", "trajectory_id"),
        ("runs", "trajectory_id, idx"),
        ("steps", "trajectory_id, agent_path, idx, action_idx"),
        ("messages", "trajectory_id, agent_path, idx"),
        ("feedback", "evidence_id"),
        ("counters", "name"),
    ):
        found += buffer.sql(f"SELECT * FROM {view} ORDER BY {order}").dicts()
    return found


def statuses(buffer: Buffer) -> dict[str, str]:
    return dict(buffer.sql("SELECT trajectory_id, status FROM trajectories").fetchall())


def test_a_batch_taken_in_twice_counts_once(buffer: Buffer) -> None:
    runs = [
        run("r1", thread="t"),
        run("r2", thread="t", start=5, status="interrupted", waits_at="c1"),
        run("r3", status=None),
    ]
    loose = [
        feedback(thread_id="t", success=False, seconds=3),
        {"k": "counters", "at": EPOCH, "counts": {"dropped_runs": 2}},
    ]
    given = batch(runs, loose, damage=Counter(bad_lines=1))
    assert buffer.ingest(given, now=at(10)).runs == 3
    before = shown(buffer)
    again = buffer.ingest(given, now=at(20))
    assert (again.runs, again.known, again.trajectories, again.evidence) == (0, 3, 0, 0)
    assert shown(buffer) == before
    assert dict(buffer.sql("SELECT name, n FROM counters").fetchall()) == {"dropped_runs": 2, "journal.bad_lines": 1}


def test_runs_delivered_again_beside_new_ones_count_once(buffer: Buffer) -> None:
    """The cursor was lost: the reader begins anew, and cuts its batches elsewhere."""
    first, second = run("r1", thread="t"), run("r2", thread="t", start=5)
    buffer.ingest(batch([first]), now=at(10))
    report = buffer.ingest(batch([first, second], offset=2), now=at(11))
    assert (report.runs, report.known) == (1, 1)
    assert buffer.sql("SELECT count(*) FROM trajectories").fetchall() == [(2,)]


def test_cursors_are_saved_with_what_they_stand_for(buffer: Buffer) -> None:
    buffer.ingest(batch([run("r1")], offset=7), now=at(0))
    buffer.ingest(Batch(cursors={"w2": Cursor(1, 2, 3, 4)}), now=at(1))
    assert buffer.cursors() == {"w": Cursor(0, 7, 0, 7), "w2": Cursor(1, 2, 3, 4)}
    buffer.ingest(batch(offset=9), now=at(2))
    assert buffer.cursors()["w"] == Cursor(0, 9, 0, 9)


def test_nothing_of_a_batch_stays_where_one_part_fails(buffer: Buffer) -> None:
    bad = RunFacts.of("r2", "w", [{"k": "start", "r": "r2", "at": "noon"}])
    with pytest.raises(ValueError, match="noon"):
        buffer.ingest(batch([run("r1"), bad]), now=at(0))
    assert buffer.cursors() == {}
    assert statuses(buffer) == {}


def test_a_trajectory_that_cannot_be_assembled_keeps_no_other_out(buffer: Buffer) -> None:
    bad = replace(run("bad"), lines=[b"nonsense"])
    report = buffer.ingest(batch([bad, run("good")]), now=at(0))
    assert (report.failed, report.trajectories) == (1, 1)
    assert statuses(buffer) == {"good": "finished"}
    assert buffer.sql("SELECT name, n FROM counters").fetchall() == [("unassembled", 1)]


def test_facts_that_are_no_json_keep_no_other_out_when_more_come(buffer: Buffer) -> None:
    whole = run("bad")
    bad = replace(whole, lines=[whole.lines[0], b'{"k":"f","r":"bad","at":1,"f":[nonsense]}', *whole.lines[1:]])
    for first, second in ((bad, whole), (replace(whole, root_key="r2"), replace(bad, root_key="r2"))):
        buffer.ingest(batch([first]), now=at(0))
        assert buffer.ingest(batch([second, run()]), now=at(0)).trajectories == 1


CHAIN = [
    run("a", start=0, thread="t", status="interrupted", waits_at="c1"),
    run("b", start=10, thread="t", resumes="c1", status="interrupted", waits_at="c2"),
    run("c", start=20, thread="t", resumes="c2"),
    run("d", start=30, thread="t", resumes="c1", status="error", error="ValueError"),
]
SAID = [
    feedback(feedback_id="by-thread", thread_id="t", success=True, seconds=40),
    feedback(feedback_id="by-run", run_id="run-c", success=True, seconds=1),
    feedback(feedback_id="by-root", trajectory_root="b", source="reward", score=1.0, seconds=12),
]


def test_any_order_of_arrival_ends_in_the_same_buffer(make_buffer: MakeBuffer) -> None:
    together = make_buffer()
    together.ingest(batch(CHAIN, SAID), now=at(50))
    together.settle(now=at(50), immediate=True)
    expected = shown(together)
    for order in list(itertools.permutations(range(4)))[1::8]:
        one_by_one = make_buffer()
        with one_by_one.hold():
            one_by_one.ingest(batch([], SAID), now=at(50))
            for step, index in enumerate(order):
                one_by_one.ingest(batch([CHAIN[index]], offset=step), now=at(50))
                one_by_one.settle(now=at(50), immediate=True)
            assert shown(one_by_one) == expected, order
    assert statuses(together) == {"a": "finished", "d": "error"}
    assert dict(together.sql("SELECT evidence_id, trajectory_id FROM feedback").fetchall()) == {
        "by-thread": "d",
        "by-run": "a",
        "by-root": "a",
    }


def test_a_fork_shares_the_runs_before_it(buffer: Buffer) -> None:
    buffer.ingest(batch(CHAIN), now=at(50))
    assert buffer.sql("SELECT trajectory_id, root_key FROM runs ORDER BY trajectory_id, idx").fetchall() == [
        ("a", "a"),
        ("a", "b"),
        ("a", "c"),
        ("d", "a"),
        ("d", "d"),
    ]


def test_a_resume_raises_the_revision_and_views_show_the_current_one(buffer: Buffer) -> None:
    buffer.ingest(batch([CHAIN[0]]), now=at(5))
    buffer.settle(now=at(5))
    first = buffer.trajectory("a")
    buffer.ingest(batch([CHAIN[1]]), now=at(15))
    second = buffer.trajectory("a")
    assert first is not None
    assert second is not None
    assert (first.revision, second.revision) == (1, 2)
    assert buffer.sql("SELECT stage, n_runs, n_steps FROM trajectories").fetchall() == [("waiting", 2, 2)]
    assert buffer.sql("SELECT count(*) FROM steps").fetchall() == [(2,)]


def test_late_facts_are_assembled_into_their_trajectory(buffer: Buffer) -> None:
    whole = run("r1", steps=2, status="cancelled")
    start, facts, end = whole.records
    items = facts["f"]
    early = RunFacts.of("r1", "w", [start, {**facts, "f": items[:-2]}, end])
    late = {"k": "f", "r": "r1", "at": EPOCH + 9, "f": items[-2:]}
    buffer.ingest(batch([early]), now=at(2))
    query = "SELECT observation FROM steps ORDER BY idx"
    assert buffer.sql(query).fetchall() == [("OK 1",), (None,)]
    report = buffer.ingest(batch([], [late], offset=2), now=at(10))
    assert (report.runs, report.trajectories) == (1, 1)
    assert buffer.sql(query).fetchall() == [("OK 1",), ("OK 2",)]
    assert buffer.ingest(batch([], [late], offset=2), now=at(11)).runs == 0
    assert buffer.ingest(batch([early], offset=1), now=at(12)).runs == 0


def test_late_facts_that_change_nothing_make_no_revision(buffer: Buffer) -> None:
    buffer.ingest(batch([run("r1")]), now=at(2))
    report = buffer.ingest(batch([], [{"k": "f", "r": "r1", "at": EPOCH + 9, "f": []}], offset=2), now=at(10))
    assert (report.runs, report.trajectories) == (1, 0)
    kept = buffer.trajectory("r1")
    assert kept is not None
    assert kept.revision == 1


def test_facts_of_a_run_that_never_came_are_counted(buffer: Buffer) -> None:
    buffer.ingest(batch([], [{"k": "f", "r": "ghost", "at": EPOCH, "f": []}]), now=at(0))
    assert buffer.sql("SELECT name, n FROM counters").fetchall() == [("facts_without_run", 1)]


def test_a_writer_that_was_thought_dead_can_still_end_its_run(buffer: Buffer) -> None:
    whole = run("r1")
    orphan = RunFacts.of("r1", "w", whole.records[:-1], orphaned=True)
    buffer.ingest(batch([orphan]), now=at(0))
    assert statuses(buffer) == {"r1": "abandoned"}
    buffer.ingest(batch([], [whole.records[-1]], offset=2), now=at(1))
    assert statuses(buffer) == {"r1": "finished"}


def test_new_input_abandons_the_waiting_trajectory_in_either_order(make_buffer: MakeBuffer) -> None:
    waiting, new = CHAIN[0], run("n", start=60, thread="t")
    for order in ((waiting, new), (new, waiting)):
        buffer = make_buffer()
        for step, one in enumerate(order):
            buffer.ingest(batch([one], offset=step), now=at(70))
        assert statuses(buffer) == {"a": "abandoned", "n": "finished"}


def test_a_wait_that_is_too_long_is_abandoned_and_can_still_be_resumed(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(interrupted_ttl_seconds=100.0)
    buffer.ingest(batch([CHAIN[0]]), now=at(50))
    assert statuses(buffer) == {"a": "interrupted"}
    buffer.ingest(batch(offset=2), now=at(200))
    assert statuses(buffer) == {"a": "abandoned"}
    buffer.ingest(batch([run("z", start=300, thread="t", resumes="c1")], offset=3), now=at(310))
    assert statuses(buffer) == {"a": "finished"}


def test_a_named_block_goes_on_after_a_finished_run(buffer: Buffer) -> None:
    buffer.ingest(batch([run("a", trajectory="block")]), now=at(1))
    buffer.ingest(
        batch([run("b", start=5, trajectory="block", status="error", error="ValueError")], offset=2), now=at(6)
    )
    assert statuses(buffer) == {"block": "error"}
    assert buffer.sql("SELECT n_runs FROM trajectories").fetchall() == [(2,)]


# --- feedback ---------------------------------------------------------------------------------------------


def bound(buffer: Buffer) -> dict[str, tuple[str | None, bool]]:
    rows = buffer.sql("SELECT evidence_id, trajectory_id, ambiguous FROM feedback").fetchall()
    return {key: (trajectory, ambiguous) for key, trajectory, ambiguous in rows}


def test_feedback_on_a_thread_means_its_latest_turn_then(buffer: Buffer) -> None:
    said = [
        feedback(feedback_id="early", thread_id="t", seconds=-5, success=True),
        feedback(feedback_id="first", thread_id="t", seconds=5, success=True),
        feedback(feedback_id="second", thread_id="t", seconds=15, success=True),
        feedback(feedback_id="agent", thread_id="t", agent="buyer", seconds=99, success=True),
    ]
    runs = [run("r1", thread="t"), run("r2", thread="t", start=10), run("r3", thread="t", start=20, agent="other")]
    buffer.ingest(batch(runs, said), now=at(30))
    assert bound(buffer) == {
        "early": (None, False),
        "first": ("r1", False),
        "second": ("r2", False),
        "agent": ("r2", False),
    }


def test_feedback_that_comes_first_waits_for_its_run(buffer: Buffer) -> None:
    said = [
        feedback(feedback_id="thread", thread_id="t", success=False),
        feedback(feedback_id="run", run_id="run-r1", success=False),
        feedback(feedback_id="id", trajectory_id="r1", success=False),
    ]
    buffer.ingest(batch([], said), now=at(0))
    assert set(bound(buffer).values()) == {(None, False)}
    buffer.ingest(batch([run("r1", thread="t")], offset=2), now=at(5))
    assert set(bound(buffer).values()) == {("r1", False)}


def test_feedback_moves_to_the_turn_it_was_about_when_that_arrives(buffer: Buffer) -> None:
    """The second turn was running when the person spoke: only the first was in the buffer yet."""
    buffer.ingest(
        batch([run("r1", thread="t")], [feedback(feedback_id="f", thread_id="t", seconds=11, success=False)]),
        now=at(12),
    )
    buffer.settle(now=at(12))
    assert bound(buffer) == {"f": ("r1", False)}
    buffer.ingest(batch([run("r2", thread="t", start=10, seconds=5)], offset=2), now=at(16))
    buffer.settle(now=at(16))
    assert bound(buffer) == {"f": ("r2", False)}
    assert dict(buffer.sql("SELECT trajectory_id, outcome FROM trajectories").fetchall()) == {
        "r1": "unknown",
        "r2": "failure",
    }


def test_feedback_without_a_time_on_a_thread_of_several_turns_decides_nothing(buffer: Buffer) -> None:
    said = feedback(feedback_id="f", thread_id="t", seconds=None, success=False)
    buffer.ingest(batch([run("r1", thread="t")], [said]), now=at(0))
    assert bound(buffer) == {"f": ("r1", False)}
    buffer.ingest(batch([run("r2", thread="t", start=10)], offset=2), now=at(11))
    buffer.settle(now=at(20), immediate=True)
    assert bound(buffer) == {"f": ("r2", True)}
    assert set(buffer.sql("SELECT outcome FROM trajectories").fetchall()) == {("unknown",)}


def test_feedback_inside_a_run_counts(buffer: Buffer) -> None:
    *begun, end = run("r1").records
    said = feedback(feedback_id="f", source="reward", trajectory_root="r1", score=0.25)
    buffer.ingest(batch([RunFacts.of("r1", "w", [*begun, said, end])]), now=at(0))
    buffer.settle(now=at(0), immediate=True)
    assert buffer.sql("SELECT outcome, reward, outcome_source FROM trajectories").fetchall() == [
        ("failure", 0.25, "reward")
    ]
