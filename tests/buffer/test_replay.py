"""Draws: their chances, their log, their limits."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest

from agenther_live.buffer import migrations
from agenther_live.buffer.output.replay import FLOOR, Plan, Strategy, choose
from agenther_live.buffer.store import Buffer
from agenther_live.errors import BufferError, QueryError, UsageError
from agenther_live.settings import Settings
from tests.buffer.conftest import private
from tests.buffer.journal_facts import at, batch, feedback, run
from tests.buffer.labels_made import relabeled

WEIGHTS = (1.0, 0.8, 0.6, 0.4, 0.3, 0.3, 0.2, 0.1)


def fill(buffer: Buffer) -> None:
    """Eight hindsight samples of eight weights, made a minute after one another."""
    for index, weight in enumerate(WEIGHTS):
        buffer.ingest(
            batch(
                [run(f"r{index}", start=index, agent=f"a{index % 2}")],
                [feedback(trajectory_id=f"r{index}", success=False)],
            ),
            now=at(index),
        )
        buffer.settle(now=at(index))
        for claim in buffer.claim(9, now=at(index)):
            done = relabeled(claim, content=f"c{index}")
            assert done.sample is not None
            weighed = done.sample.model_copy(update={"weight": weight, "sample_id": f"s{index}"})
            assert buffer.record(claim, done.model_copy(update={"sample": weighed}), now=at(60 * index))


@pytest.fixture(scope="module")
def full_file(empty_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("full")
    path = home / "buffer.duckdb"
    copyfile(empty_file, path)
    buffer = Buffer(path, settings=Settings(home=home, held_out=0.0))
    with buffer.hold():
        fill(buffer)
    return path


@pytest.fixture
def filled(full_file: Path, tmp_path: Path) -> Iterator[Buffer]:
    copyfile(full_file, tmp_path / "buffer.duckdb")
    buffer = Buffer(tmp_path / "buffer.duckdb", settings=Settings(home=tmp_path), clock=lambda: at(1000))
    with buffer.hold():
        yield buffer


@pytest.fixture(scope="module")
def still(full_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buffer]:
    """One for draws that are chosen and not counted."""
    home = tmp_path_factory.mktemp("still")
    copyfile(full_file, home / "buffer.duckdb")
    buffer = Buffer(home / "buffer.duckdb", settings=Settings(home=home))
    with buffer.hold():
        yield buffer


def ids(draw: Any) -> list[str]:
    return [sample.sample_id for sample in draw.samples]


def chi_square(counts: Counter[str], expected: dict[str, float]) -> float:
    return sum((counts[key] - n) ** 2 / n for key, n in expected.items())


CRITICAL = {7: 24.32}  # of the chi-square distribution at p = 0.001, by degrees of freedom
TRIES = 240


def chosen(still: Buffer, make: Callable[[int], Plan]) -> list[list[Any]]:
    with still.reading() as tx:
        return [choose(tx, make(seed), now=at(600))[1] for seed in range(TRIES)]


def test_uniform_is_uniform(still: Buffer) -> None:
    found = chosen(still, lambda seed: Plan(n=1, seed=seed))
    counts = Counter(one.sample_id for [one] in found)
    assert chi_square(counts, {f"s{i}": TRIES / 8 for i in range(8)}) < CRITICAL[7]
    assert {one.probability for [one] in found} == {1 / 8}
    assert {one.weight for [one] in found} == {1.0}


@pytest.mark.parametrize("alpha", [0.6, 1.0])
def test_prioritized_draws_by_the_documented_formula(still: Buffer, alpha: float) -> None:
    half_life = 600.0
    ages = [600 - 60 * index for index in range(8)]
    mass = [max(FLOOR, w * 2 ** (-age / half_life)) ** alpha for w, age in zip(WEIGHTS, ages, strict=True)]
    wanted = {f"s{i}": one / sum(mass) for i, one in enumerate(mass)}
    found = chosen(still, lambda seed: Plan(n=1, seed=seed, strategy="prioritized", alpha=alpha, half_life=half_life))
    for [one] in found:
        assert one.probability == pytest.approx(wanted[one.sample_id])
    counts = Counter(one.sample_id for [one] in found)
    assert chi_square(counts, {key: p * TRIES for key, p in wanted.items()}) < CRITICAL[7]


def test_a_batch_holds_each_sample_once_and_each_as_often_as_the_others(still: Buffer) -> None:
    found = chosen(still, lambda seed: Plan(n=4, seed=seed))
    assert all(len({one.sample_id for one in batch}) == 4 for batch in found)
    counts = Counter(one.sample_id for batch in found for one in batch)
    assert chi_square(counts, {f"s{i}": TRIES / 2 for i in range(8)}) < CRITICAL[7]


@pytest.mark.parametrize("strategy", ["uniform", "prioritized"])
def test_who_wins_alone_is_first_of_all(still: Buffer, strategy: Strategy) -> None:
    with still.reading() as tx:  # one looks at those only who can win, the other at all
        for seed in range(40):
            [alone] = choose(tx, Plan(n=1, seed=seed, strategy=strategy), now=at(600))[1]
            first, *_ = choose(tx, Plan(n=8, seed=seed, strategy=strategy), now=at(600))[1]
            assert (alone.sample_id, alone.probability) == (first.sample_id, first.probability)


def test_importance_weights_undo_the_chances(filled: Buffer) -> None:
    draw = filled.sample(8, strategy="prioritized", alpha=1.0, seed=1)
    assert math.isclose(sum(draw.probabilities), 1.0)
    raw = [1 / (8 * p) for p in draw.probabilities]
    assert draw.weights == pytest.approx([one / max(raw) for one in raw])
    assert set(filled.sample(8, strategy="prioritized", beta=0.0).weights) == {1.0}
    assert set(filled.sample(8, strategy="prioritized", alpha=0.0).probabilities) == {1 / 8}


def test_a_draw_is_repeated_by_its_seed_and_by_its_log(filled: Buffer, full_file: Path, tmp_path: Path) -> None:
    draw = filled.sample(3, strategy="prioritized", seed=7, now=at(600))
    copyfile(full_file, tmp_path / "other.duckdb")
    other = Buffer(tmp_path / "other.duckdb", settings=Settings(home=tmp_path))
    again = other.sample(3, strategy="prioritized", seed=7, now=at(600))
    assert (ids(again), again.probabilities) == (ids(draw), draw.probabilities)
    filled.withdraw(ids(draw)[:1], "asked")
    assert filled.redraw(draw.draw_id) == draw
    with pytest.raises(BufferError, match="no draw nothing"):
        filled.redraw("nothing")


def test_every_draw_is_logged_and_its_uses_counted(filled: Buffer) -> None:
    first = filled.sample(5, where="agent = 'a0'", max_uses=3, seed=3)
    second = filled.sample(2)
    assert len(first) == 4
    assert filled.sql("SELECT asked, n, pool, seed, condition, max_uses FROM draws ORDER BY draw_id").fetchall() == [
        (5, 4, 4, 3, "agent = 'a0'", 3),
        (2, 2, 8, second.seed, None, None),
    ]
    logged = filled.sql(
        "SELECT sample_id, probability, weight FROM drawn WHERE draw_id = ? ORDER BY idx", [first.draw_id]
    )
    assert logged.fetchall() == list(zip(ids(first), first.probabilities, first.weights, strict=True))
    uses = Counter([*ids(first), *ids(second)])
    assert dict(filled.sql("SELECT sample_id, uses FROM replay WHERE uses > 0").fetchall()) == dict(uses)  # type: ignore[arg-type]


def test_fifo_and_recent_go_by_age(filled: Buffer) -> None:
    assert ids(filled.sample(3, strategy="fifo")) == ["s0", "s1", "s2"]
    assert ids(filled.sample(3, strategy="recent")) == ["s7", "s6", "s5"]
    assert ids(filled.sample(3, strategy="fifo", max_uses=1)) == ["s3", "s4"]
    assert ids(filled.sample(3, strategy="fifo", max_uses=1)) == []


def test_limits(filled: Buffer) -> None:
    assert sorted(ids(filled.sample(9, max_staleness=100, now=at(420)))) == ["s6", "s7"]
    assert len(filled.sample(9, samples_per_insert=0.5)) == 2  # of four allowed, two are drawn
    assert len(filled.sample(9, samples_per_insert=0.5)) == 0
    assert len(filled.sample(0)) == 0
    filled.withdraw([f"s{i}" for i in range(8)], "asked")
    gone = filled.sample(9)
    assert (len(gone), gone.pool) == (0, 0)


def test_uses_lower_the_priority(filled: Buffer) -> None:
    before = {one.sample_id: p for one, p in _chances(filled.sample(8, strategy="prioritized", now=at(420)))}
    after = {one.sample_id: p for one, p in _chances(filled.sample(8, strategy="prioritized", now=at(420)))}
    assert after["s7"] < before["s7"]  # 0.1 of 0.1 gone: the floor is left
    assert after["s0"] > before["s0"]


def _chances(draw: Any) -> Any:
    return zip(draw.samples, draw.probabilities, strict=True)


@pytest.mark.parametrize(
    ("where", "hint"),
    [
        ("failure_typ = 'x'", "did you mean failure_type"),
        ("true) LIMIT 0; DELETE FROM store.state; SELECT (true", "one SQL statement"),
        ("sample_id IN (SELECT sample_id FROM store.samples)", "private table"),
        ("true) --", "syntax error"),
        ("", "syntax error"),
    ],
)
def test_a_condition_that_cannot_be_run_is_told(filled: Buffer, where: str, hint: str) -> None:
    with pytest.raises(QueryError, match=hint):
        filled.sample(1, where=where)
    assert private(filled, "SELECT count(*) FROM store.draws") == [(0,)]


def test_a_condition_may_hold_any_character(filled: Buffer) -> None:
    for where in ("original_goal LIKE '%:x%?' OR agent = 'a0' -- why", "agent = 'a0' /* ; */", "agent = $$a0$$"):
        assert filled.sample(8, where=where).pool == 4


@pytest.mark.parametrize(
    "wrong", [{"strategy": "best"}, {"alpha": -1}, {"half_life": 0}, {"max_uses": math.nan}, {"seed": -1}, {"n": -1}]
)
def test_wrong_arguments_are_named(filled: Buffer, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        filled.sample(**{"n": 1, **wrong})


def test_samples_of_an_older_buffer_can_be_drawn(filled: Buffer, tmp_path: Path) -> None:
    older = Buffer(tmp_path / "older.duckdb", settings=filled.settings)
    with older._engine.write() as tx:
        migrations.upgrade(tx.connection, "0001")
        tables = tx.connection.exec_driver_sql(
            "SELECT table_name, list(column_name) FROM duckdb_columns() WHERE schema_name = 'store' GROUP BY ALL"
        ).fetchall()
        for table, columns in tables:
            names = ", ".join(f'"{column}"' for column in columns)
            rows = private(filled, f"SELECT {names} FROM store.{table}")
            if rows and table not in ("schema_version", "meta"):
                values = ", ".join("?" * len(columns))
                tx.connection.exec_driver_sql(f"INSERT INTO store.{table} ({names}) VALUES ({values})", rows)
    draw = older.sample(8, strategy="prioritized", decay=0, now=at(421))
    assert sorted(ids(draw)) == [f"s{i}" for i in range(8)]
    assert private(older, "SELECT sample_id, weight, uses FROM store.sample_state ORDER BY 1") == [
        (f"s{i}", weight, 1) for i, weight in enumerate(WEIGHTS)
    ]
    assert older.funnel() == filled.funnel()  # counted from what the migration wrote beside the state
    assert older.funnel()[-1]["n"] == 8
