from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from agenther_live.shards.files.rotate import Backlog, Limits, cut, due
from tests.shards.examples import AT

ROWS = st.lists(st.tuples(st.integers(1, 50), st.booleans()), max_size=40)


@given(ROWS, st.integers(1, 6), st.integers(1, 120), st.booleans())
def test_a_cut_keeps_limits_and_balance_and_loses_nothing(rows, count, size, rest):
    limits = Limits(rows=count, bytes=size)
    shards, waiting = cut(rows, limits, rest=rest)
    placed = [at for shard in shards for at in shard]
    assert len(set(placed) | set(waiting)) == len(placed) + len(waiting)
    for shard in shards:
        assert shard == sorted(shard)
        assert 1 <= len(shard) <= count
        assert sum(rows[at][0] for at in shard) <= size or len(shard) == 1
        assert 2 * sum(rows[at][1] for at in shard) >= len(shard)
    assert not any(rows[at][1] for at in waiting)
    left = set(range(len(rows))) - set(placed) - set(waiting)
    assert not (rest and left)
    assert len(left) < count


def test_one_without_a_final_answer_finds_company_wherever_it_stands():
    rows = [(1, True)] * 6 + [(1, False)]
    assert cut(rows, Limits(rows=2), rest=True) == ([[0, 6], [1, 2], [3, 4], [5]], [])
    assert cut([(1, False)] * 3 + [(1, True)], Limits(rows=9), rest=True) == ([[0, 3]], [1, 2])


def test_due():
    limits = Limits(rows=10, seconds=60)
    assert not due(Backlog(0), limits, now=AT, flush=True)
    assert due(Backlog(1, AT), limits, now=AT, flush=True)
    assert not due(Backlog(9, AT), limits, now=AT + timedelta(seconds=59), flush=False)
    assert due(Backlog(10, AT), limits, now=AT, flush=False)
    assert due(Backlog(1, AT), limits, now=AT + timedelta(seconds=60), flush=False)
    assert due(Backlog(1), limits, now=AT, flush=False)
