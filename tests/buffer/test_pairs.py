"""Preferences found in the buffer: who pairs up, what is never invented, and what goes when an outcome turns."""

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from agenther_live.buffer.store import Buffer
from agenther_live.relabel.demonstrate import success_sample
from agenther_live.settings import ShardFormat
from agenther_live.shards.checks.check import check
from agenther_live.shards.files.publish import Published, publish_due
from agenther_live.shards.reading.stream import read_rows
from tests.buffer.conftest import MakeBuffer
from tests.buffer.journal_facts import at, batch, feedback, run
from tests.buffer.labels_made import relabeled

ALL: tuple[ShardFormat, ...] = ("trl_sft", "trl_dpo", "trl_dpo_step", "swift_dpo", "trl_kto", "goal_contrast")
SOME: tuple[ShardFormat, ...] = ("trl_sft", "trl_dpo", "trl_kto", "goal_contrast")
_offset = iter(range(1, 10_000))


def say(buffer: Buffer, seconds: float = 100.0, **outcomes: bool | None) -> Counter[str]:
    """What a person says about runs, by their thread; None takes it back."""
    said = [feedback(thread_id=key, success=good, seconds=seconds) for key, good in outcomes.items()]
    buffer.ingest(batch([], said, offset=next(_offset)), now=at(seconds))
    return buffer.settle(now=at(seconds))


def runs(buffer: Buffer, goal: str = "Buy 10 bolts", agent: str = "buyer", answer: str | None = None, **outcomes: bool):
    """Runs of one goal, each in a thread of its name; what a person said of each; successes become samples."""
    made = [run(key, thread=key, goal=goal, agent=agent, answer=answer or f"{key}: done.") for key in outcomes]
    said = [feedback(thread_id=key, success=good) for key, good in outcomes.items()]
    buffer.ingest(batch(made, said, offset=next(_offset)), now=at(100))
    buffer.settle(now=at(100))
    claims = buffer.successes(99)
    samples = [success_sample(one.trajectory, one.outcome, one.outcome_rev) for one in claims]
    buffer.add_samples([one for one in samples if one is not None], claims=claims, now=at(101))


def find(buffer: Buffer, *formats: ShardFormat) -> None:
    """Derive all that there is."""
    while buffer.derive(formats or ALL):
        pass


def publish(buffer: Buffer, root: Path, *formats: ShardFormat) -> Published:
    return publish_due(buffer, root, formats or ALL, now=at(5000), flush=True)


def kinds(buffer: Buffer, state: str = "pending") -> dict[str, int]:
    rows = buffer.sql(f"SELECT kind, count(*) FROM samples WHERE state = '{state}' GROUP BY kind").fetchall()
    return dict(rows)


def refused(buffer: Buffer) -> set[tuple[str, str]]:
    return set(buffer.sql("SELECT kind, reason FROM derived WHERE reason IS NOT NULL").fetchall())


def test_a_success_and_a_failure_of_one_goal_become_a_pair_and_a_step(buffer: Buffer, tmp_path: Path) -> None:
    runs(buffer, good=True)
    runs(buffer, goal="buy 10 Bolts!", bad=False)  # the same goal in other letters
    done = publish(buffer, tmp_path)
    assert {shard.format: shard.rows for shard in done.shards} == {
        "trl_sft": 1, "trl_dpo": 1, "trl_dpo_step": 1, "swift_dpo": 1, "trl_kto": 2,
    }  # fmt: skip
    assert check(tmp_path).bad == []
    [found] = read_rows(tmp_path, "trl_dpo")
    assert (found.row["trajectory_id"], found.row["rejected_trajectory_id"]) == ("good", "bad")
    assert [m["content"] for m in found.row["prompt"]] == ["Buy 10 bolts"]
    [found] = read_rows(tmp_path, "trl_dpo_step")
    assert [m["role"] for m in found.row["prompt"]] == ["user", "assistant", "tool"]
    assert (found.row["chosen"][0]["content"], found.row["rejected"][0]["content"]) == ("good: done.", "bad: done.")
    assert {found.row["label"]: found.row["trajectory_id"] for found in read_rows(tmp_path, "trl_kto")} == {
        True: "good", False: "bad",
    }  # fmt: skip
    assert publish(buffer, tmp_path).shards == []
    figures = buffer.status(now=at(1))
    assert (figures["samples"], figures["pairs"]) == (1, 2)


def test_a_hindsight_goal_pairs_with_a_run_that_failed_it(buffer: Buffer) -> None:
    runs(buffer, goal="Buy nuts", other=False)
    [claim] = buffer.claim(9, now=at(102))
    result = relabeled(claim, goal="Find bolts")
    assert result.sample is not None
    result = result.model_copy(update={"sample": result.sample.model_copy(update={"agent": "buyer"})})
    buffer.record(claim, result, now=at(103))
    runs(buffer, goal="Find bolts", bad=False)
    find(buffer)
    rows = buffer.sql(
        "SELECT t.kind, d.kind, d.worse_trajectory_id FROM derived d JOIN samples t ON t.sample_id = d.source_id "
        "WHERE d.kind IN ('pair', 'step') AND d.sample_id IS NOT NULL ORDER BY 2"
    ).fetchall()
    assert rows == [("hindsight", "pair", "bad"), ("hindsight", "step", "bad")]


@pytest.mark.parametrize(
    "other",
    [
        {"goal": "Buy 11 bolts"},
        {"agent": "seller"},
    ],
)
def test_what_differs_in_its_prompt_is_no_pair(buffer: Buffer, other: dict[str, str]) -> None:
    runs(buffer, good=True)
    runs(buffer, bad=False, **other)
    find(buffer)
    assert kinds(buffer) == {"success": 1, "failure": 1}


def test_nobody_is_worse_before_that_is_sure(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(outcome_settle_seconds=600.0)
    runs(buffer, good=True)
    unknown, broken = run("unknown", thread="u"), run("broken", thread="b", start=100, status="error", error="KeyError")
    buffer.ingest(batch([unknown, broken], offset=next(_offset)), now=at(102))
    buffer.settle(now=at(102))
    find(buffer)
    assert kinds(buffer) == {"success": 1}
    buffer.settle(now=at(800))  # nobody disagreed
    find(buffer)
    assert kinds(buffer) == {"success": 1, "failure": 1, "pair": 1}
    assert refused(buffer) == {("step", "no_divergence")}  # it broke off: no message of its is the worse one


def test_runs_that_said_the_same_are_no_pair_and_asked_once(buffer: Buffer) -> None:
    runs(buffer, answer="Done.", good=True, bad=False)
    find(buffer)
    assert kinds(buffer) == {"success": 1, "failure": 1}
    assert refused(buffer) == {("pair", "same_response"), ("step", "no_divergence")}
    find(buffer)
    assert buffer.sql("SELECT count(*) FROM derived WHERE kind = 'pair'").fetchall() == [(1,)]


def test_a_sample_stands_in_few_pairs(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(pairs_per_sample=2)
    runs(buffer, g1=True, g2=True, b1=False, b2=False, b3=False)
    find(buffer)
    rows = buffer.sql(
        "SELECT source_id, worse_id FROM derived WHERE kind = 'pair' AND sample_id IS NOT NULL"
    ).fetchall()
    assert len(rows) == len(set(rows)) == 4
    assert set(Counter(good for good, _ in rows).values()) == {2}
    say(buffer, seconds=300, b1=True)  # its pairs are gone, and leave room for others
    find(buffer)
    assert kinds(buffer)["pair"] == 4


def test_a_failure_that_was_none_takes_back_what_called_it_worse(buffer: Buffer, tmp_path: Path) -> None:
    runs(buffer, good=True, bad=False, worse=False)
    [claim] = [one for one in buffer.claim(9, now=at(102)) if one.trajectory_id == "bad"]
    buffer.record(claim, relabeled(claim, goal="Find bolts"), now=at(103))
    publish(buffer, tmp_path, *SOME)
    before = kinds(buffer, "emitted")
    assert before == {"success": 1, "hindsight": 1, "contrast": 1, "failure": 2, "pair": 2}
    assert say(buffer, seconds=300, bad=True) == {"passed": 1, "retracted": 3, "withdrawn": 1}
    # The hindsight sample was verified for itself, and the other failure is one still.
    assert kinds(buffer, "emitted") == {"success": 1, "hindsight": 1, "failure": 1, "pair": 1}
    assert publish(buffer, tmp_path, *SOME).retracted == 3
    assert {found.row["rejected_trajectory_id"] for found in read_rows(tmp_path, "trl_dpo")} == {"worse"}
    assert [found.row["kind"] for found in read_rows(tmp_path, "trl_sft")] == ["success", "hindsight"]
    assert list(read_rows(tmp_path, "goal_contrast")) == []
    assert check(tmp_path).bad == []
    # What it was once more is said once more: with another outcome revision these are other samples.
    say(buffer, seconds=400, bad=False)
    publish(buffer, tmp_path, *SOME)
    assert kinds(buffer, "emitted") == before
    assert check(tmp_path).bad == []


def test_a_success_that_was_none_takes_its_pairs_along(buffer: Buffer, tmp_path: Path) -> None:
    runs(buffer, good=True, bad=False)
    publish(buffer, tmp_path, *SOME)
    assert say(buffer, seconds=300, good=False) == {"queued": 1, "retracted": 2, "withdrawn": 1}
    assert kinds(buffer, "emitted") == {"failure": 1}
    publish(buffer, tmp_path, *SOME)  # two failures now, and nothing better
    assert kinds(buffer, "emitted") == {"failure": 2}
    assert list(read_rows(tmp_path, "trl_dpo")) == []
    assert check(tmp_path).bad == []


def test_both_goals_of_a_run_are_never_neighbours(buffer: Buffer, tmp_path: Path) -> None:
    runs(buffer, a=False, b=False, c=False)
    for claim in buffer.claim(9, now=at(102)):
        buffer.record(claim, relabeled(claim, goal=f"Find {claim.trajectory_id}"), now=at(103))
    publish(buffer, tmp_path, "trl_kto")
    rows = [found.row for found in read_rows(tmp_path, "trl_kto")]
    assert sorted((row["trajectory_id"], row["label"]) for row in rows) == [
        (key, label) for key in "abc" for label in (False, True)
    ]
    assert all(one["trajectory_id"] != other["trajectory_id"] for one, other in pairwise(rows))
    assert check(tmp_path).bad == []


def test_formats_without_preferences_cost_nothing(buffer: Buffer) -> None:
    runs(buffer, good=True, bad=False)
    assert not buffer.derive(("trl_sft", "sharegpt"))
    assert kinds(buffer) == {"success": 1}
    find(buffer, "trl_kto")
    assert kinds(buffer) == {"success": 1, "failure": 1}


def test_nothing_held_out_is_paired(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(held_out=0.999)
    runs(buffer, good=True, bad=False)
    find(buffer)
    assert kinds(buffer) == {}


def test_what_rests_on_a_held_sample_waits_with_it(buffer: Buffer) -> None:
    runs(buffer, good=True, bad=False)
    find(buffer)
    assert buffer.backlog("trl_dpo").count == 1
    with buffer.writing() as tx:
        tx.connection.exec_driver_sql("UPDATE store.sample_state SET held = 'drift:rules' WHERE kind = 'success'")
    assert [buffer.backlog(fmt).count for fmt in ("trl_sft", "trl_dpo", "trl_dpo_step")] == [0, 0, 0]


def test_a_draw_gives_demonstrations_only(buffer: Buffer) -> None:
    runs(buffer, good=True, bad=False)
    find(buffer)
    assert [sample.kind for sample in buffer.sample(9).samples] == ["success"]
