"""Outcomes, claims and records: the worker's turn, and what overtakes it."""

from datetime import UTC, timedelta, timezone

import pytest

from agenther_live.buffer.store import Buffer
from agenther_live.buffer.upkeep.erase import forget
from agenther_live.buffer.upkeep.tombstones import Tombs
from agenther_live.errors import MoveRefused
from agenther_live.trajectory import Action, Evidence, Message, Step, Trajectory
from tests.buffer.conftest import MakeBuffer, private
from tests.buffer.journal_facts import at, batch, feedback, run
from tests.buffer.labels_made import errored, rejected, relabeled, sample


def failed(buffer: Buffer, *keys: str, **more: object) -> None:
    """Ingest runs that a person reported as failures, and settle them."""
    runs = [run(key, thread=key, goal=f"Buy {key}", **more) for key in keys]  # type: ignore[arg-type]
    buffer.ingest(batch(runs, [feedback(thread_id=key, success=False) for key in keys]), now=at(1))
    buffer.settle(now=at(1))


def stages(buffer: Buffer) -> dict[str, tuple[str, str]]:
    rows = buffer.sql("SELECT trajectory_id, outcome, stage FROM trajectories").fetchall()
    return {key: (outcome, stage) for key, outcome, stage in rows}


def test_a_failure_that_a_person_reported_is_queued_at_once(buffer: Buffer) -> None:
    failed(buffer, "a")
    assert stages(buffer) == {"a": ("failure", "queued")}


def test_a_failure_that_a_machine_found_waits_for_a_person(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(outcome_settle_seconds=600.0)
    buffer.ingest(batch([run("a", status="error", error="ValueError")]), now=at(1))
    assert buffer.settle(now=at(1)) == {}
    assert stages(buffer) == {"a": ("failure", "waiting")}
    assert buffer.settle(now=at(600)) == {}
    assert buffer.claim(9, now=at(600)) == []
    assert buffer.next_due(now=at(600), undo_seconds=600.0) == at(601)
    assert buffer.settle(now=at(601)) == {"queued": 1}
    assert [claim.trajectory_id for claim in buffer.claim(9, now=at(601))] == ["a"]


def test_settling_immediately_waits_for_nobody(buffer: Buffer) -> None:
    buffer.ingest(batch([run("a", status="error", error="ValueError")]), now=at(1))
    buffer.settle(now=at(1))
    assert buffer.settle(now=at(1), immediate=True) == {"queued": 1}


def test_settling_twice_moves_nothing(buffer: Buffer) -> None:
    failed(buffer, "a")
    assert buffer.settle(now=at(2)) == {}
    assert buffer.settle(now=at(9999), immediate=True) == {}


def test_unknown_and_success_pass_and_are_never_claimed(buffer: Buffer) -> None:
    buffer.ingest(batch([run("a"), run("b", thread="b")], [feedback(thread_id="b", success=True)]), now=at(1))
    assert buffer.settle(now=at(1)) == {"passed": 2}
    assert stages(buffer) == {"a": ("unknown", "passed"), "b": ("success", "passed")}
    assert buffer.claim(9, now=at(1)) == []


def test_an_agent_that_is_to_answer_fails_without_one(buffer: Buffer) -> None:
    buffer.ingest(
        batch([run("a", answer="", conversational=False), run("b", answer="", conversational=None)]), now=at(1)
    )
    buffer.settle(now=at(1), immediate=True)
    assert stages(buffer) == {"a": ("failure", "queued"), "b": ("unknown", "passed")}


def test_a_record_shows_in_the_views(buffer: Buffer) -> None:
    failed(buffer, "a", "b", "c")
    claims = {claim.trajectory_id: claim for claim in buffer.claim(9, now=at(2))}
    assert claims["a"].outcome.source == "person"
    assert claims["a"].trajectory == buffer.trajectory("a")
    results = [
        (claims["a"], relabeled(claims["a"])),
        (claims["b"], rejected(claims["b"])),
        (claims["c"], errored(claims["c"])),
    ]
    assert len(buffer.record_many(results, now=at(3))) == 3
    assert {key: stage for key, (_, stage) in stages(buffer).items()} == {
        "a": "relabeled",
        "b": "rejected",
        "c": "errored",
    }
    columns = "goal_id, trajectory_id, strategy, hindsight_goal, confidence, accepted, reason, method, attempt"
    assert buffer.sql(f"SELECT {columns} FROM goals").fetchall() == [
        ("g-a", "a", "final", "Find bolts", 0.8, True, "accepted", "template", 1)
    ]
    columns = "goal_id, judge, is_valid, confidence, status, reason"
    assert buffer.sql(f"SELECT {columns} FROM verdicts").fetchall() == [("g-a", "rules", True, 0.9, "ok", "holds")]
    assert buffer.sql("SELECT trajectory_id, recoverable FROM analyses ORDER BY 1").fetchall() == [
        ("a", True),
        ("b", False),
    ]
    assert buffer.sql("SELECT trajectory_id, goal_id, kind, state FROM samples").fetchall() == [
        ("a", "g-a", "hindsight", "pending")
    ]
    figures = buffer.status(now=at(3))
    wanted = {
        "captured": 3,
        "failed": 3,
        "recoverable": 1,
        "relabeled": 1,
        "accepted": 1,
        "rejected": 1,
        "errored": 1,
        "samples": 1,
    }
    assert {name: figures[name] for name in wanted} == wanted
    assert buffer.funnel() == [
        {"step": "captured", "n": 3, "dropped": {}},
        {"step": "failed", "n": 3, "dropped": {}},
        {"step": "recoverable", "n": 1, "dropped": {"errored": 1, "not_recoverable": 1}},
        {"step": "relabeled", "n": 1, "dropped": {}},
        {"step": "accepted", "n": 1, "dropped": {}},
        {"step": "samples", "n": 1, "dropped": {}},
    ]


def test_recording_twice_counts_once(buffer: Buffer) -> None:
    failed(buffer, "a")
    [claim] = buffer.claim(9, now=at(2))
    assert buffer.record(claim, relabeled(claim), now=at(3))
    assert not buffer.record(claim, relabeled(claim), now=at(4))
    assert buffer.sql("SELECT count(*) FROM goals").fetchall() == [(1,)]


@pytest.mark.parametrize("settle_too", [False, True])
def test_feedback_during_the_model_call_wins(buffer: Buffer, settle_too: bool) -> None:
    failed(buffer, "a")
    [claim] = buffer.claim(9, now=at(2))
    buffer.ingest(batch([], [feedback(thread_id="a", success=True, seconds=200)], offset=2), now=at(200))
    if settle_too:
        buffer.settle(now=at(200))
    assert not buffer.record(claim, relabeled(claim), now=at(201))
    buffer.settle(now=at(202))
    assert stages(buffer) == {"a": ("success", "passed")}
    assert buffer.sql("SELECT count(*) FROM goals").fetchall() == [(0,)]
    assert buffer.sql("SELECT count(*) FROM samples").fetchall() == [(0,)]


def test_a_new_revision_during_the_model_call_wins(buffer: Buffer) -> None:
    failed(buffer, "a", status="interrupted", waits_at="c1")
    [claim] = buffer.claim(9, now=at(2))
    buffer.ingest(batch([run("b", thread="a", start=5, resumes="c1")], offset=2), now=at(10))
    assert not buffer.record(claim, relabeled(claim), now=at(11))
    buffer.settle(now=at(12))
    [again] = buffer.claim(9, now=at(13))
    assert (again.revision, again.outcome_rev, len(again.trajectory.runs)) == (2, 2, 2)


def test_a_result_in_a_stage_that_it_cannot_enter_is_refused(buffer: Buffer) -> None:
    failed(buffer, "a")
    [claim] = buffer.claim(9, now=at(2))
    wrong = rejected(claim).model_copy(update={"stage": "passed"})
    with pytest.raises(MoveRefused, match="queued → passed"):
        buffer.record(claim, wrong, now=at(3))
    with pytest.raises(MoveRefused, match="relabeled with sample None"):
        buffer.record(claim, relabeled(claim).model_copy(update={"sample": None}), now=at(3))
    assert stages(buffer) == {"a": ("failure", "queued")}


def test_an_errored_one_is_tried_again_later_and_not_for_ever(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(retry_seconds=10.0, max_retries=2)
    failed(buffer, "a")
    for now, next_try in ((2, 12), (12, 32), (32, None)):
        if now > 2:
            assert buffer.claim(9, now=at(now - 1)) == []
            assert buffer.next_due(now=at(now - 1), undo_seconds=600.0) == at(now)
        [claim] = buffer.claim(9, now=at(now))
        assert buffer.record(claim, errored(claim), now=at(now))
        [(retry_at,)] = private(buffer, "SELECT retry_at FROM store.state")
        assert retry_at == (None if next_try is None else at(next_try))
    assert buffer.claim(9, now=at(99_999)) == []
    assert stages(buffer) == {"a": ("failure", "errored")}
    assert buffer.sql("SELECT attempt, reason FROM relabelings ORDER BY attempt").fetchall() == [
        (n, "judge_down") for n in range(3)
    ]


def test_what_was_turned_away_for_want_of_a_model_gets_its_turn_again(buffer: Buffer) -> None:
    failed(buffer, "a", "b")
    reasons = {"a": "no_relabeler", "b": "no_goal"}
    for claim in buffer.claim(9, now=at(2)):
        assert buffer.record(claim, rejected(claim, reasons[claim.trajectory_id]), now=at(3))
    buffer.reopen(["no_relabeler", "no_judges"], now=at(4))
    assert buffer.settle(now=at(4)) == {"queued": 1}
    [claim] = buffer.claim(9, now=at(5))
    assert (claim.trajectory_id, claim.attempts) == ("a", 1)
    assert buffer.record(claim, relabeled(claim), now=at(6))
    assert stages(buffer) == {"a": ("failure", "relabeled"), "b": ("failure", "rejected")}


def test_a_worker_without_models_takes_no_try_away(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(retry_seconds=10.0, max_retries=1)
    failed(buffer, "a")
    for now in (2, 4, 6):
        [claim] = buffer.claim(9, now=at(now))
        assert buffer.record(claim, rejected(claim, "no_relabeler"), now=at(now))
        buffer.reopen(["no_relabeler"], now=at(now + 1))
        buffer.settle(now=at(now + 1))
    for now, next_try in ((10, at(20)), (20, None)):
        [claim] = buffer.claim(9, now=at(now))
        assert buffer.record(claim, errored(claim), now=at(now))
        assert private(buffer, "SELECT retry_at FROM store.state") == [(next_try,)]


def test_a_merged_trajectory_has_no_turn_and_is_settled_once(buffer: Buffer) -> None:
    buffer.ingest(
        batch([run("b", start=50, thread="t", resumes="c")], [feedback(trajectory_id="b", success=False)]), now=at(1)
    )
    buffer.settle(now=at(200))
    [claim] = buffer.claim(9, now=at(200))
    assert buffer.record(claim, rejected(claim, "no_judges"), now=at(200))
    buffer.ingest(batch([run("a", thread="t", status="interrupted", waits_at="c")], offset=2), now=at(201))
    buffer.reopen(["no_judges"], now=at(202))
    assert buffer.settle(now=at(202)) == {"queued": 1}
    assert private(buffer, "SELECT trajectory_id, stage FROM store.state ORDER BY 1") == [
        ("a", "queued"),
        ("b", "rejected"),
    ]


def test_what_is_worked_on_already_is_passed_by(buffer: Buffer) -> None:
    failed(buffer, "a", "b", "c")
    [first] = buffer.claim(1, now=at(2))
    others = buffer.claim(9, now=at(2), besides=[first.trajectory_id])
    assert sorted([first.trajectory_id, *(one.trajectory_id for one in others)]) == ["a", "b", "c"]


def test_a_sample_that_waits_for_its_shard_is_due_by_its_age(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(shard_seconds=60.0)
    failed(buffer, "a")
    [claim] = buffer.claim(9, now=at(2))
    assert buffer.next_due(now=at(2), undo_seconds=600.0).year == 9999
    buffer.record(claim, relabeled(claim), now=at(3))
    [(made_at,)] = private(buffer, "SELECT created_at FROM store.samples")
    assert buffer.next_due(now=at(3), undo_seconds=600.0) == max(made_at + timedelta(seconds=60), at(9))
    later = made_at + timedelta(seconds=90)  # it waits for company, and a younger one may not: now and then a look
    assert buffer.next_due(now=later, undo_seconds=600.0) == later + timedelta(seconds=6)


def test_the_servers_advice_when_to_retry_is_kept(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(retry_seconds=10.0)
    failed(buffer, "a")
    [claim] = buffer.claim(9, now=at(2))
    buffer.record(claim, errored(claim, retry_after=90.0), now=at(2))
    assert buffer.claim(9, now=at(91)) == []
    assert len(buffer.claim(9, now=at(92))) == 1


def test_odd_trajectories_of_other_systems_keep_no_other_back(buffer: Buffer) -> None:
    """Times with a zone are turned into UTC; what points outside of its messages gives no sample, and is told."""
    east = timezone(timedelta(hours=5))
    failed(buffer, "a")
    steps = (Step(idx=0, message_index=99, actions=(Action(name="buy"),)),)
    said = (Message(role="user", content="Buy it"), Message(role="assistant", content="No."))
    odd = Trajectory(
        trajectory_id="odd", agent="buyer", goal="Buy it", messages=said, steps=steps,
        started_at=at(0).replace(tzinfo=UTC).astimezone(east),
    )  # fmt: skip
    no = Evidence(evidence_id="no", source="person", success=False, at=at(1).replace(tzinfo=UTC).astimezone(east))
    buffer.add_trajectories([(odd, [no])], now=at(1))
    buffer.settle(now=at(2))
    assert {one.trajectory_id: one.trajectory.started_at for one in buffer.claim(9, now=at(2))}["odd"] == at(0)
    assert buffer.sql("SELECT given_at FROM feedback WHERE evidence_id = 'no'").fetchall() == [(at(1),)]
    buffer.derive(["trl_dpo"])
    assert private(buffer, "SELECT reason FROM store.derived WHERE source_id = 'odd'") == [("unreadable",)]
    assert private(buffer, "SELECT count(*) FROM store.derived WHERE source_id <> 'odd'") != [(0,)]


def test_equal_samples_are_kept_once(buffer: Buffer) -> None:
    failed(buffer, "a", "b")
    for claim in buffer.claim(9, now=at(2)):
        buffer.record(claim, relabeled(claim, content="same"), now=at(3))
    assert sorted(row[0] for row in buffer.sql("SELECT state FROM samples").fetchall()) == ["pending", "withdrawn"]
    assert buffer.funnel()[-1] == {"step": "samples", "n": 1, "dropped": {"duplicate": 1}}


def test_held_out_trajectories_give_no_sample(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(held_out=0.99)
    failed(buffer, *(f"k{n}" for n in range(8)))
    goals, ids = buffer.held_out()
    assert ids
    assert {f"Buy {key}" for key in ids} == set(goals)
    for claim in buffer.claim(99, now=at(2)):
        buffer.record(claim, relabeled(claim), now=at(3))
    pending = {row[0] for row in buffer.sql("SELECT trajectory_id FROM samples WHERE state = 'pending'").fetchall()}
    assert pending == {f"k{n}" for n in range(8)} - ids


def test_held_out_by_a_key_of_the_users(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(held_out=0.5, held_out_key="task")
    runs = [run(f"r{n}", metadata={"task": f"task-{n % 10}"}) for n in range(30)]
    buffer.ingest(batch([*runs, run("none")]), now=at(1))
    _, ids = buffer.held_out()
    assert 0 < len(ids) < 30
    assert "none" not in ids
    by_task = {f"task-{int(key[1:]) % 10}" for key in ids}
    assert {f"r{n}" for n in range(30) if f"task-{n % 10}" in by_task} == ids
    gone = min(ids)  # one goes, and one comes
    with buffer.writing() as tx:
        forget(tx, [gone], Tombs(buffer.settings), now=at(2))
    buffer.ingest(batch([run("new", metadata={"task": f"task-{int(gone[1:]) % 10}"})]), now=at(3))
    assert buffer.held_out()[1] == ids - {gone} | {"new"}


def test_successes_give_samples_once(buffer: Buffer) -> None:
    runs = [run("a", thread="a"), run("b", thread="b")]
    buffer.ingest(
        batch(runs, [feedback(thread_id="a", success=True), feedback(thread_id="b", success=True)]), now=at(1)
    )
    buffer.settle(now=at(1))
    claims = buffer.successes(9)
    assert [claim.trajectory_id for claim in claims] == ["a", "b"]
    made = [sample(claims[0], kind="success", goal="Buy 10 bolts")]
    assert buffer.add_samples(made, claims=claims, now=at(2)) == 1
    assert buffer.successes(9) == []
    assert buffer.add_samples(made, now=at(3)) == 0
    assert buffer.sql("SELECT trajectory_id, kind, state FROM samples").fetchall() == [("a", "success", "pending")]


def test_a_success_that_was_none_takes_its_sample_back(buffer: Buffer) -> None:
    buffer.ingest(batch([run("a", thread="a")], [feedback(thread_id="a", success=True)]), now=at(1))
    buffer.settle(now=at(1))
    claims = buffer.successes(9)
    buffer.add_samples([sample(claims[0], kind="success")], claims=claims, now=at(2))
    buffer.ingest(batch([], [feedback(thread_id="a", success=False, seconds=300)], offset=2), now=at(300))
    assert buffer.settle(now=at(301)) == {"queued": 1, "withdrawn": 1}
    assert buffer.sql("SELECT state FROM samples").fetchall() == [("withdrawn",)]


def test_a_failure_that_was_none_keeps_its_hindsight_sample(buffer: Buffer) -> None:
    failed(buffer, "a")
    [claim] = buffer.claim(9, now=at(2))
    buffer.record(claim, relabeled(claim), now=at(3))
    buffer.ingest(batch([], [feedback(thread_id="a", success=True, seconds=300)], offset=2), now=at(300))
    assert buffer.settle(now=at(301)) == {"passed": 1}
    assert buffer.sql("SELECT state FROM samples").fetchall() == [("pending",)]
    assert len(buffer.pending("trl_sft", 9)) == 1
    assert buffer.pending("goal_contrast", 9) == []
    assert buffer.sql("SELECT count(*) FROM goals").fetchall() == [(1,)]


def test_a_new_revision_takes_back_all_that_was_made_of_the_old(buffer: Buffer) -> None:
    failed(buffer, "a", status="interrupted", waits_at="c1")
    [claim] = buffer.claim(9, now=at(2))
    buffer.record(claim, relabeled(claim), now=at(3))
    buffer.ingest(batch([run("b", thread="a", start=5, resumes="c1")], offset=2), now=at(10))
    assert buffer.settle(now=at(11)) == {"queued": 1, "withdrawn": 1}


def test_a_merged_trajectory_takes_its_samples_and_feedback_along(buffer: Buffer) -> None:
    failed(buffer, "b", start=5, resumes="c1")
    [claim] = buffer.claim(9, now=at(2))
    buffer.record(claim, relabeled(claim), now=at(3))
    first = run("a", thread="b", status="interrupted", waits_at="c1")
    buffer.ingest(batch([first], offset=2), now=at(10))
    assert buffer.settle(now=at(11)) == {"queued": 1, "withdrawn": 1}
    assert stages(buffer) == {"a": ("failure", "queued")}
    assert buffer.trajectory("b") is None


# --- imports and evaluators -------------------------------------------------------------------------------


def imported(key: str, goal: str = "Win") -> Trajectory:
    extra = {"role": "assistant", "content": "e4", "reasoning": {"depth": 3}}
    return Trajectory(
        trajectory_id=key,
        goal=goal,
        messages=(Message(role="user", content=goal), Message.model_validate(extra)),
        source="chess.jsonl",
    )


def test_imports_are_known_by_their_id_and_do_not_wait(buffer: Buffer) -> None:
    said = Evidence(evidence_id="e1", source="reward", score=0.0, at=at(0))
    items = [(imported("i1"), [said]), (imported("i2"), []), (imported("i1"), [])]
    report = buffer.add_trajectories(items, now=at(1))
    assert (report.imported, report.known) == (2, 1)
    again = buffer.add_trajectories(items[:2], now=at(2))
    assert (again.imported, again.known) == (0, 2)
    assert buffer.settle(now=at(3)) == {"queued": 1, "passed": 1}
    assert buffer.settle(now=at(4)) == {}
    kept = buffer.trajectory("i1")
    assert kept == imported("i1")
    assert kept is not None
    assert [message.wire() for message in kept.messages] == [m.wire() for m in imported("i1").messages]
    assert buffer.sql("SELECT DISTINCT status, source FROM trajectories").fetchall() == [("finished", "chess.jsonl")]


def test_an_evaluator_sees_each_revision_once(buffer: Buffer) -> None:
    buffer.ingest(
        batch([run("a", thread="t"), run("w", status="interrupted", waits_at="c"), run("o", agent="other")]), now=at(1)
    )
    buffer.add_trajectories([(imported("i"), [])], now=at(1))
    assert {t.trajectory_id for t in buffer.to_evaluate("e", n=9)} == {"a", "o"}
    assert {t.trajectory_id for t in buffer.to_evaluate("e", agent="buyer", n=9)} == {"a"}
    said = Evidence(evidence_id="x", trajectory_id="a", source="evaluator", score=1.0, at=at(2))
    assert buffer.add_evidence([said], evaluator="e", now=at(2)) == 1
    assert buffer.add_evidence([said], now=at(2)) == 0
    assert {t.trajectory_id for t in buffer.to_evaluate("e", n=9)} == {"o"}
    assert {t.trajectory_id for t in buffer.to_evaluate("other", n=9)} == {"a", "o"}
    buffer.settle(now=at(3))
    assert stages(buffer)["a"] == ("success", "passed")
