"""Canaries, a judge that drifts, held samples, labels and agreement: in the tables of both engines."""

import pytest

from agenther_live.buffer.people import reviews, trust
from agenther_live.buffer.store import Buffer, Claim
from agenther_live.labels import Canary, CanaryKind, Relabeling, Verdict
from agenther_live.relabel.trust.agreement import agreement
from agenther_live.trajectory import Evidence
from tests.buffer.journal_facts import at, batch, run
from tests.buffer.labels_made import relabeled
from tests.buffer.test_work import failed


def claims(buffer: Buffer, *keys: str) -> dict[str, Claim]:
    failed(buffer, *keys)
    return {claim.trajectory_id: claim for claim in buffer.claim(99, now=at(2))}


def canary(key: str, *, accepted: bool, kind: CanaryKind = "foreign", judge: str = "rules") -> Canary:
    said = Verdict(judge=judge, is_valid=accepted, confidence=0.9, prompt_version="1")
    return Canary(
        canary_id=f"{key}-{kind}-{judge}",
        trajectory_id=key,
        kind=kind,
        goal="Find nuts",
        proven=kind != "failed_goal",
        theta=0.5,
        verdicts=(said,),
    )


def with_canaries(claim: Claim, *made: Canary) -> Relabeling:
    return relabeled(claim).model_copy(update={"canaries": made})


def test_canaries_are_kept_once_and_never_become_samples(buffer: Buffer) -> None:
    one = claims(buffer, "a")["a"]
    made = canary("a", accepted=False)
    buffer.record(one, with_canaries(one, made), now=at(3))
    with buffer.writing() as tx:
        trust.put_canaries(tx, [with_canaries(one, made)], now=at(4))
        assert trust.judged(tx) == trust.Judged(items=1, canaries=1)
    [row] = buffer.sql("SELECT canary_id, kind, judge, accepted, proven, goal FROM canaries").dicts()
    assert row.pop("goal") == "", "its words are another run's"
    expected = {"canary_id": "a-foreign-rules", "kind": "foreign", "judge": "rules", "accepted": False, "proven": True}
    assert row == expected
    [health] = buffer.sql("SELECT canaries, accepted, drifting, p FROM panel_health").dicts()
    assert health == {"canaries": 1, "accepted": 0, "drifting": False, "p": None}
    assert buffer.sql("SELECT count(*) FROM samples").fetchall() == [(1,)]


def test_what_a_drifting_judge_accepted_is_held_until_it_is_released(buffer: Buffer) -> None:
    found = claims(buffer, "a", "b", "c")
    buffer.record(found["a"], relabeled(found["a"]), now=at(3))  # long before
    answers = [*(False for _ in range(300)), *(True for _ in range(50))]
    with buffer.writing() as tx:
        made = [canary(f"c{index}", accepted=accepted) for index, accepted in enumerate(answers)]
        rows = [row for index, one in enumerate(made) for row in trust.rows(one, at(10 + index))]
        tx.insert(trust.canaries, [column.name for column in trust.canaries.columns], rows)
    buffer.record(found["b"], with_canaries(found["b"], canary("last", accepted=True)), now=at(360))
    with buffer.reading() as tx:
        [drift] = trust.drifts(tx)
    assert (drift.judge, drift.latest_accepted, drift.baseline_accepted) == ("rules", 50, 0)
    assert drift.doubtful_at == at(260), "the first of the window that drifts"
    buffer.record(found["c"], relabeled(found["c"]), now=at(400))
    held = "SELECT trajectory_id FROM to_review WHERE kind = 'held' ORDER BY 1"
    assert buffer.sql(held).fetchall() == [("b",), ("c",)]
    assert [one.trajectory_id for one in buffer.pending("trl_sft", 9)] == ["a"]
    assert buffer.backlog("trl_sft").count == 1
    assert len(buffer.sample(9, now=at(500))) == 1

    with buffer.writing() as tx:
        assert trust.clear(tx, ["nobody"], now=at(500)) == []
        assert [one.judge for one in trust.clear(tx, None, now=at(500))] == ["rules"]
        assert trust.drifts(tx) == []
    assert buffer.sql(held).fetchall() == [("b",), ("c",)]
    entries = {one.trajectory_id: one for one in listed(buffer, "held")}
    with buffer.writing() as tx:
        reviews.add_label(tx, entries["b"], "accept", sample=None, now=at(501))
        reviews.add_label(tx, entries["c"], "reject", sample=None, now=at(501))
        assert not reviews.labels_due(tx, before=at(500))
        assert reviews.labels_due(tx, before=at(501))
        assert reviews.apply_labels(tx, before=at(501), now=at(502)) == {"released": 1, "withdrawn": 1}
        assert reviews.apply_labels(tx, before=at(501), now=at(502)) == {}
    assert [one.trajectory_id for one in buffer.pending("trl_sft", 9)] == ["a", "b"]
    assert listed(buffer, "held") == []
    with buffer.writing() as tx:
        trust.hold(tx, [drift])  # once more, all that still live and stand in its time
        assert trust.take_held(tx, "drift", now=at(600)) == 1
    assert [one.trajectory_id for one in buffer.pending("trl_sft", 9)] == ["a"]


def listed(buffer: Buffer, kind: reviews.Kind | None, agent: str | None = None) -> list[reviews.Entry]:
    with buffer.reading() as tx:
        return reviews.entries(tx, kind, agent=agent)


def test_a_dispute_makes_the_outcome_unknown_until_a_person_speaks(buffer: Buffer) -> None:
    failed(buffer, "a")
    failure = Evidence(evidence_id="e", trajectory_id="b", source="reward", success=False, at=at(1))
    buffer.ingest(batch([run("b", thread="b")]), now=at(1))
    buffer.add_evidence([failure], now=at(1))
    buffer.settle(now=at(1), immediate=True)
    found = {claim.trajectory_id: claim for claim in buffer.claim(9, now=at(2))}
    for key in ("a", "b"):
        disputed = canary(key, accepted=True, kind="failed_goal")
        buffer.record(found[key], with_canaries(found[key], disputed), now=at(3))
    buffer.settle(now=at(4))
    rows = "SELECT trajectory_id, outcome, outcome_source FROM trajectories ORDER BY 1"
    assert buffer.sql(rows).fetchall() == [("a", "failure", "person"), ("b", "unknown", "judge")]
    assert buffer.sql("SELECT count(*) FROM panel_health WHERE canaries > 0").fetchall() == [(0,)]
    [entry] = listed(buffer, None)
    assert (entry.kind, entry.key, entry.reason.startswith("in dispute: rules")) == ("disputed", "b", True)
    with buffer.writing() as tx:
        label = reviews.add_label(tx, entry, "accept", sample=None, now=at(5))
        assert reviews.undo_label(tx, label, now=at(6))
        assert not reviews.undo_label(tx, label, now=at(6))
        reviews.add_label(tx, entry, "accept", sample=None, now=at(7))
        assert reviews.apply_labels(tx, before=at(7), now=at(8)) == {"settled": 1}
    buffer.settle(now=at(9))
    assert buffer.sql(rows).fetchall()[1] == ("b", "success", "person")
    assert all(one.kind == "accepted" for one in listed(buffer, None))


def test_labels_that_certify(buffer: Buffer) -> None:
    found = claims(buffer, "a", "b")
    for one in found.values():
        buffer.record(one, relabeled(one), now=at(3))
    entries = listed(buffer, "accepted")
    assert listed(buffer, "accepted", "nobody") == []
    with buffer.reading() as tx:
        shown = reviews.item(tx, entries[0])
        assert shown is not None
        gone = reviews.Entry("accepted", "gone", "gone", "a", "")
        assert reviews.item(tx, gone) is None
    with buffer.writing() as tx:
        reviews.add_label(tx, entries[0], "reject", sample=shown[1], now=at(5))
        reviews.add_label(tx, entries[1], "accept", sample=shown[1], now=at(6))
        labels = reviews.certified_labels(tx)
        assert [rejected for rejected, _ in labels] == [True, False]
        assert reviews.certified_labels(tx, since=at(6)) == labels[1:]
        assert reviews.certified_labels(tx, agent="nobody") == []
    [row] = buffer.sql("SELECT judge, goals, both_yes, agreement FROM judge_agreement WHERE other = 'person'").dicts()
    assert row == {"judge": "rules", "goals": 2, "both_yes": 1, "agreement": 0.5}


def test_the_view_agrees_with_the_published_example(buffer: Buffer) -> None:
    """Krippendorff's two observers with yes and no (2011, example A: 0.095), a unit that one left out besides."""
    first, second = "0 1 0 0 0 0 0 0 1 0 1", "1 1 1 0 0 1 0 0 0 0 ."
    answers = list(zip(first.split(), second.split(), strict=True))
    found = claims(buffer, *(f"u{index:02}" for index in range(len(answers))))
    results = []
    for claim, pair in zip(found.values(), answers, strict=True):
        whole = relabeled(claim)
        verdicts = tuple(
            Verdict(judge=judge, is_valid=said == "1", confidence=0.5, status="unanswered" if said == "." else "ok")
            for judge, said in zip("ab", pair, strict=True)
        )
        goal = whole.goals[0].model_copy(update={"verdicts": verdicts})
        results.append((claim, whole.model_copy(update={"goals": (goal,)})))
    buffer.record_many(results, now=at(3))
    [row] = buffer.sql("SELECT * FROM judge_agreement").dicts()
    assert (row["judge"], row["other"], row["goals"]) == ("a", "b", 10)
    assert round(row["alpha"], 3) == 0.095
    exact = agreement(answers[:10], categories=2)
    assert (row["agreement"], row["ac1"], row["alpha"]) == pytest.approx((exact.raw, exact.ac1, exact.alpha))
