"""Who a trajectory is: a pure function of the runs of a thread, whatever the order they come in."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenther_live.buffer.intake.resolve import Group, RunHead, _Resolver, head_of, resolve
from tests.buffer.journal_facts import run


def head(key: str, start: float, **more: object) -> RunHead:
    facts = run(key, start=start, thread=more.pop("thread", "t"), **more)  # type: ignore[arg-type]
    return head_of(key, facts.records)


def groups(*heads: RunHead, expired_before: float = 0.0) -> dict[str, tuple[list[str], str]]:
    found = resolve(heads, expired_before=expired_before)
    return {group.trajectory_id: ([one.root_key for one in group.runs], group.status) for group in found}


def test_one_turn_is_one_trajectory() -> None:
    assert groups(head("a", 0), head("b", 10)) == {"a": (["a"], "finished"), "b": (["b"], "finished")}


def test_a_resume_joins_by_its_checkpoint() -> None:
    waiting = head("a", 0, status="interrupted", waits_at="c1")
    assert groups(waiting) == {"a": (["a"], "interrupted")}
    assert groups(waiting, head("b", 10, resumes="c1")) == {"a": (["a", "b"], "finished")}


def test_a_resume_on_a_host_whose_clock_is_behind_joins_too() -> None:
    assert groups(head("a", 100, status="interrupted", waits_at="c1"), head("b", 10, resumes="c1")) == {
        "a": (["a", "b"], "finished")
    }


def test_a_resume_after_update_state_joins_the_latest_unfinished() -> None:
    found = groups(
        head("a", 0, status="interrupted", waits_at="c1"),
        head("b", 1, agent="other", status="interrupted", waits_at="c2"),
        head("c", 10, resumes="elsewhere"),
    )
    assert found == {"a": (["a", "c"], "finished"), "b": (["b"], "interrupted")}


@pytest.mark.parametrize("status", ["error", "cancelled", None])
def test_an_unfinished_run_can_be_gone_on_with(status: str | None) -> None:
    assert groups(head("a", 0, status=status), head("b", 10, resume=True)) == {"a": (["a", "b"], "finished")}


def test_a_resume_of_nothing_known_stands_alone() -> None:
    assert groups(head("a", 0), head("b", 10, resumes="c1")) == {"a": (["a"], "finished"), "b": (["b"], "finished")}


def test_a_second_resume_of_one_checkpoint_forks_with_what_it_shares() -> None:
    first = head("a", 0, status="interrupted", waits_at="c1")
    found = groups(first, head("b", 10, resumes="c1"), head("c", 20, resumes="c1", status="error"))
    assert found == {"a": (["a", "b"], "finished"), "c": (["a", "c"], "error")}


def test_a_fork_that_a_block_began_shares_no_run_twice() -> None:
    found = groups(
        head("a", 1, resumes="c1"),
        head("b", 2, resumes="c2"),
        head("fork", 3, resumes="c2"),
        head("c", 4, trajectory="fork", resumes="c1", status="interrupted", waits_at="c1"),
        head("d", 5, resumes="c1", status="interrupted", waits_at="c2"),
    )
    assert found["fork"][0] == ["d", "c", "a", "fork"]


def test_a_run_that_waits_at_the_same_checkpoint_again_is_no_fork() -> None:
    """Two interrupts in one node: the first answer leads back to the checkpoint that was there before."""
    found = groups(
        head("a", 0, status="interrupted", waits_at="c1"),
        head("b", 10, resumes="c1", status="interrupted", waits_at="c1"),
        head("c", 20, resumes="c1"),
    )
    assert found == {"a": (["a", "b", "c"], "finished")}


def test_new_input_abandons_what_waits_on_the_thread() -> None:
    waiting = head("a", 0, status="interrupted", waits_at="c1")
    assert groups(waiting, head("b", 10)) == {"a": (["a"], "abandoned"), "b": (["b"], "finished")}
    assert groups(waiting, head("b", 10, agent="other"))["a"] == (["a"], "interrupted")
    assert groups(waiting, head("b", 10, thread="u"))["a"] == (["a"], "interrupted")


def test_what_was_abandoned_can_still_be_resumed() -> None:
    found = groups(head("a", 0, status="interrupted", waits_at="c1"), head("b", 10), head("c", 20, resumes="c1"))
    assert found == {"a": (["a", "c"], "finished"), "b": (["b"], "finished")}


def test_an_old_wait_expires() -> None:
    waiting = head("a", 0, status="interrupted", waits_at="c1")
    assert groups(waiting, expired_before=waiting.ended_at + 1) == {"a": (["a"], "abandoned")}


def test_a_named_block_is_one_trajectory_over_threads_and_its_resumes() -> None:
    found = groups(
        head("a", 0, trajectory="block"),
        head("b", 5, trajectory="block", thread="u", status="interrupted", waits_at="c1"),
        head("c", 10, thread="u", resumes="c1"),
        head("d", 20),
    )
    assert found == {"block": (["a", "b", "c"], "finished"), "d": (["d"], "finished")}


def test_runs_without_a_thread_stand_alone() -> None:
    found = groups(head("a", 0, thread=None, status="error"), head("b", 10, thread=None, resume=True))
    assert found == {"a": (["a"], "error"), "b": (["b"], "finished")}


@st.composite
def threads(draw: st.DrawFn) -> list[RunHead]:
    heads: list[RunHead] = []
    for index in range(draw(st.integers(1, 8))):
        waits = draw(st.sampled_from([None, None, "c1", "c2"]))
        status = "interrupted" if waits else draw(st.sampled_from(["finished", "error", "cancelled", None]))
        heads.append(
            head(
                f"r{index}",
                draw(st.integers(0, 5)),
                thread=draw(st.sampled_from(["t", "u", None])),
                agent=draw(st.sampled_from(["x", "y"])),
                status=status,
                waits_at=waits,
                resumes=draw(st.sampled_from([None, None, "c1", "c2", "c3"])),
                trajectory=draw(st.sampled_from([None, None, None, None, "block", "r1", "r3"])),
            )
        )
    return heads


class Plain(_Resolver):
    """Finds what a resume without a checkpoint goes on with by its definition, among all trajectories."""

    def latest_unfinished(self, head: RunHead) -> Group | None:
        mine = [
            group
            for group in self.groups.values()
            if any(run.thread_id is not None and run.thread_id == head.thread_id for run in group.own)
            and any((run.thread_id, run.agent) == (head.thread_id, head.agent) for run in group.own)
        ]
        open_ = [group for group in mine if group.last.status != "finished" and group.last.order < head.order]
        return max(open_, key=lambda group: group.last.order, default=None)


@given(heads=threads(), seed=st.integers())
def test_every_run_has_one_home_in_any_order(heads: list[RunHead], seed: int) -> None:
    found = resolve(heads, expired_before=0)
    own = [one.root_key for group in found for one in group.own]
    assert sorted(own) == sorted(one.root_key for one in heads)
    assert all(group.runs[group.shared :] for group in found)
    plain = Plain(sorted(heads, key=lambda head: head.order)).run()
    assert [(one.trajectory_id, one.runs, one.shared) for one in found] == [
        (one.trajectory_id, one.runs, one.shared) for one in plain
    ]
    shuffled = list(heads)
    random.Random(seed).shuffle(shuffled)
    assert groups(*shuffled) == groups(*heads)
