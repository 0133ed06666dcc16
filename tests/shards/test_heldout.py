from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenther_live.shards.files.heldout import SIMILAR, HeldOut, is_held_out, normalise, shingles, similarity
from tests.shards.examples import plain

WORDS = st.sampled_from(("weigh", "two", "ripe", "pears", "for", "the", "tall", "customer", "in", "red", "coats"))
GOALS = st.lists(WORDS, min_size=0, max_size=16).map(" ".join)


@given(st.lists(GOALS, max_size=12), GOALS)
def test_the_index_finds_exactly_what_comparing_all_would(held, goal):
    wanted = any(similarity(shingles(goal), shingles(other)) >= SIMILAR for other in held)
    assert HeldOut(held).conflicts(goal) is wanted


@given(st.text(max_size=60), st.sampled_from(["  {} ", "{}.", "{}!?", "«{}»"]))
def test_spelling_of_spaces_case_and_edges_does_not_matter(goal, frame):
    assert normalise(frame.format(goal)) == normalise(goal)
    assert is_held_out(frame.format(goal), 0.3) is is_held_out(goal, 0.3)


@given(st.text(max_size=60))
def test_normalising_twice_changes_nothing(goal):
    assert normalise(normalise(goal)) == normalise(goal)


def test_the_split_is_stable_and_has_its_share():
    goals = [f"Weigh pear number {n}" for n in range(4000)]
    held = [goal for goal in goals if is_held_out(goal, 0.05)]
    assert 130 < len(held) < 270
    assert not any(is_held_out(goal, 0.0) for goal in goals)
    assert set(held) <= {goal for goal in goals if is_held_out(goal, 0.1)}  # a larger share only adds
    # Fixed for ever: another answer would move goals between training and test sets of existing homes.
    assert [n for n in range(60) if is_held_out(f"Weigh pear number {n}", 0.1)] == [
        *(3, 8, 17, 19, 22, 25, 32, 42, 49, 51)
    ]


@pytest.mark.parametrize(
    ("one", "other", "conflict"),
    [
        ("Weigh two pears.", "weigh TWO pears", True),
        ("Weigh two pears", "Weigh three pears", False),
        ("a b c d e f g h i j k l m n", "a b c d e f g h i j k l m o", True),
        ("a b c d e f g h i j", "a b c d X f g h i j", False),
        ("", "", False),
        ("秤两个熟梨子给客人", "秤两个熟梨子给客人", True),
        ("秤两个熟梨子给客人", "卖三个苹果给孩子们", False),
    ],
)
def test_how_close_is_too_close(one, other, conflict):
    assert HeldOut([one]).conflicts(other) is conflict


def test_reasons():
    share = 0.5
    goals = [f"Weigh pear number {n}" for n in range(20)]
    out = next(goal for goal in goals if is_held_out(goal, share))
    free = next(goal for goal in goals if not is_held_out(goal, share))
    held = HeldOut(share=share)
    assert held.reason(plain(goal=free, original_goal=free)) is None
    assert held.reason(plain(goal=out, original_goal=free)) == "held_out"
    assert held.reason(plain(goal=free, original_goal=out)) == "held_out"
    assert HeldOut(trajectories={"t"}).reason(plain(trajectory_id="t")) == "held_out"
    assert HeldOut([free]).reason(plain(goal=free, original_goal="other")) == "near_held_out"


def test_many_goals_are_asked_fast():
    chance = random.Random(7)
    words = [f"w{n}" for n in range(400)]
    goals = [" ".join(chance.choices(words, k=14)) for _ in range(5_000)]
    held = HeldOut(goals)
    assert held.conflicts(goals[-1])
    found = sum(held.conflicts(" ".join(chance.choices(words, k=14))) for _ in range(500))
    assert found == 0
