"""Draws for trainers: which samples to learn from next, by a documented chance, counted and logged.

Ids are drawn first, from narrow columns, and the payloads fetched by id: in one query it cost 22 times as much.

A draw is without replacement. Each sample of the pool gets a clock −ln(u) / mass, and the first `n` clocks win
(Efraimidis and Spirakis 2006), where u in (0, 1) is a hash of seed and sample id: the seed repeats a draw on an equal
pool, whatever order the rows stand in. The mass of a sample is 1 where the strategy is uniform; prioritized, it is

    priority = max(FLOOR, weight · 2^(−age / half_life) − decay · uses)        mass = priority^alpha

(freshness and decay as in Trinity-RFT; alpha and the importance weights as in Schaul et al. 2016). The probability of a
sample is mass / Σ mass, its chance to be drawn first, and its importance weight (pool · probability)^−beta, divided by
the largest of the draw.

The pool is summed up in one look, and a second one reads only those who can win: a clock of at most t needs a u of at
least exp(−t · the largest mass), which is a comparison of two whole numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import exp, inf, isfinite, log, sqrt
from typing import Any, Literal, get_args

from sqlalchemy import select

from agenther_live.buffer.engines.engine import Transaction
from agenther_live.buffer.output.samples import load
from agenther_live.buffer.schema import drawn, draws, sample_state
from agenther_live.errors import BufferError, UsageError
from agenther_live.ids import uuid7
from agenther_live.labels import Sample, SampleKind
from agenther_live.trajectory import SampleState

__all__ = ["FLOOR", "Draw", "Plan", "Strategy", "choose", "draw", "redraw"]

Strategy = Literal["uniform", "prioritized", "fifo", "recent"]
FLOOR = 0.01  # no sample's chance is ever nothing: max_uses and max_staleness shut out, priorities do not
_SEEDS = 2**63
_MOST = 2**31 - 1  # what a column of the log holds; in seconds, 68 years
_BITS = 2**53  # of a u, so that every one is a double strictly between 0 and 1
_BY_AGE = {"fifo": "created_at, sample_id", "recent": "created_at DESC, sample_id DESC"}
_Row = tuple[str, int, float, int | None]  # id, uses, mass, place


@dataclass(frozen=True)
class Plan:
    """What is asked of a draw.

    `where` is a checked SQL condition over the view `replay`; times are seconds. `samples_per_insert` lets all draws
    together give at most so many samples for each sample that was ever made.
    """

    n: int
    seed: int
    strategy: Strategy = "uniform"
    alpha: float = 0.6
    beta: float = 1.0
    half_life: float = 7 * 86_400.0
    decay: float = 0.1
    where: str | None = None
    max_uses: int | None = None
    max_staleness: float | None = None
    samples_per_insert: float | None = None

    def __post_init__(self) -> None:
        """Check the figures.

        Raises:
            UsageError: naming the one that is wrong.
        """
        if self.strategy not in get_args(Strategy):
            raise UsageError(f"strategy = {self.strategy!r}: one of {', '.join(get_args(Strategy))}")
        if not 0 <= self.n <= _MOST or not 0 <= self.seed < _SEEDS:
            raise UsageError(
                f"n = {self.n}, seed = {self.seed}: neither is negative, n is below 2**31, a seed below 2**63"
            )
        for name in ("alpha", "beta", "decay", "max_uses", "max_staleness", "samples_per_insert"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= _MOST:
                raise UsageError(f"{name} = {value!r}: a number, not negative, below 2**31")
        if not (isfinite(self.half_life) and self.half_life > 0):
            raise UsageError(f"half_life = {self.half_life!r}: seconds, more than 0")


@dataclass(frozen=True)
class Draw:
    """What a draw gave: samples in order, each with its probability and importance weight; `pool` it came from."""

    draw_id: str
    seed: int
    strategy: str
    pool: int
    samples: tuple[Sample, ...]
    probabilities: tuple[float, ...]
    weights: tuple[float, ...]

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.samples)


@dataclass(frozen=True)
class Chosen:
    """One sample that a draw chose."""

    sample_id: str
    uses: int
    probability: float
    weight: float
    place: int | None = None  # its row, where the engine knows rows by number


def draw(tx: Transaction, plan: Plan, *, now: datetime) -> Draw:
    """Draw, count the uses and log the draw; the caller commits.

    Raises:
        BufferError: the condition cannot be run.
    """
    tx.lock(["draws"])  # a use is counted on top of the one that was read
    pool, chosen = choose(tx, plan, now=now)
    draw_id = uuid7()
    names = [column.name for column in draws.columns]
    figures = (plan.alpha, plan.beta, plan.half_life, plan.decay)
    limits = (plan.where, plan.max_uses, plan.max_staleness, plan.samples_per_insert)
    tx.insert(draws, names, [(draw_id, now, plan.strategy, plan.seed, plan.n, len(chosen), pool, *figures, *limits)])
    rows = [(draw_id, index, one.sample_id, one.probability, one.weight) for index, one in enumerate(chosen)]
    tx.insert(drawn, [column.name for column in drawn.columns], rows)
    _count_uses(tx, chosen, now=now)
    return _drawn(tx, draw_id, plan.seed, plan.strategy, pool, [(c.sample_id, c.probability, c.weight) for c in chosen])


def choose(tx: Transaction, plan: Plan, *, now: datetime) -> tuple[int, list[Chosen]]:
    """Give the size of the pool and the samples that win; nothing is written."""
    n = plan.n if plan.samples_per_insert is None else min(plan.n, _allowed(tx, plan.samples_per_insert))
    pool, total, rows = _winners(tx, plan, n, now=now)
    if plan.strategy in ("fifo", "recent"):
        return pool, [Chosen(key, uses, 1.0, 1.0, place) for key, uses, _, place in rows]
    raw = [(pool * mass / total) ** -plan.beta for _, _, mass, _ in rows]
    most = max(raw, default=1.0)
    return pool, [
        Chosen(key, uses, mass / total, weight / most, place)
        for (key, uses, mass, place), weight in zip(rows, raw, strict=True)
    ]


def _winners(tx: Transaction, plan: Plan, n: int, *, now: datetime) -> tuple[int, float, list[_Row]]:
    """Give the size of the pool, its whole mass, and the `n` rows that win, in order."""
    with _asked_for(tx, plan):
        mass = _mass(plan, now, tx)
        source = f"FROM store.sample_state WHERE {_eligible(plan, now)}"
        sums = f"SELECT count(*), sum(mass), max(mass) FROM (SELECT {mass} AS mass {source}) AS pool"
        [(pool, total, most)] = _ask(tx, sums)
        if not pool or not n:
            return int(pool), float(total or 0.0), []
        columns = f"sample_id, uses, {mass}, {'rowid' if _is_duckdb(tx) else 'NULL'}"
        if order := _BY_AGE.get(plan.strategy):
            rows = _ask(tx, f"SELECT {columns} {source} ORDER BY {order} LIMIT {n}")
        else:
            until = n / total if 4 * n < pool else inf
            rows = _first(tx, columns, source, _bits(plan.seed, tx), mass, n, expected=until, most=most)
    return int(pool), float(total), [(key, uses, one, place) for key, uses, one, place, *_ in rows]


def _first(
    tx: Transaction, columns: str, source: str, bits: str, mass: str, n: int, *, expected: float, most: float
) -> list[tuple[Any, ...]]:
    """Give the `n` rows whose clocks are first. `expected`: until when so many would ring; `most`: the largest mass."""
    until = expected * (1 + 4 / sqrt(n) + 4 / n)
    clock = f"-ln((CAST({bits} AS DOUBLE PRECISION) + 0.5) / {_double(_BITS)}) / ({mass})"
    while True:
        least = max(0, int(exp(-until * most) * _BITS) - 2)  # however it is rounded, a smaller u comes too late
        can = f"SELECT {columns}, {clock} AS clock {source} AND {bits} >= {least}"
        rows = _ask(tx, f"{can} ORDER BY clock, sample_id LIMIT {n}")
        if not least or (len(rows) == n and rows[-1][-1] < until):
            return rows
        until *= 4  # fewer rang than were expected


def _count_uses(tx: Transaction, chosen: list[Chosen], *, now: datetime) -> None:
    if not chosen:
        return
    if chosen[0].place is None:
        used = [(one.sample_id, one.uses + 1, now) for one in chosen]
        tx.update(sample_state, ("sample_id",), ("uses", "drawn_at"), used)
        return
    places = ", ".join(str(one.place) for one in chosen)  # in this transaction a row stays where it is
    _ask(tx, f"UPDATE store.sample_state SET uses = uses + 1, drawn_at = {_moment(now)} WHERE rowid IN ({places})")


def redraw(tx: Transaction, draw_id: str) -> Draw:
    """Give a logged draw again, exactly; nothing is counted. Samples that were taken back since are in it.

    Raises:
        BufferError: there is no such draw, or a sample of it was deleted.
    """
    d, w = draws.c, drawn.c
    found = tx.rows(select(d.seed, d.strategy, d.pool).where(d.draw_id == draw_id))
    if not found:
        raise BufferError(f"there is no draw {draw_id}: the view draws lists them")
    rows = tx.rows(select(w.sample_id, w.probability, w.weight).where(w.draw_id == draw_id).order_by(w.idx))
    [(seed, strategy, pool)] = found
    return _drawn(tx, draw_id, seed, strategy, pool, rows)


def _drawn(
    tx: Transaction, draw_id: str, seed: int, strategy: str, pool: int, rows: list[tuple[str, float, float]]
) -> Draw:
    known = load(tx, [row[0] for row in rows]) if rows else {}
    if gone := [row[0] for row in rows if row[0] not in known]:
        raise BufferError(f"draw {draw_id} cannot be given again: sample {gone[0]} was deleted")
    return Draw(
        draw_id,
        seed,
        strategy,
        pool,
        tuple(known[row[0]] for row in rows),
        tuple(row[1] for row in rows),
        tuple(row[2] for row in rows),
    )


def _none_of(column: str, values: set[str]) -> str:
    return " AND ".join(f"{column} <> '{value}'" for value in sorted(values))


# What is not there is said: DuckDB then passes over whole row groups, where IN compares each text.
DEMONSTRATIONS = _none_of("kind", {*get_args(SampleKind)} - {"hindsight", "success"})  # no preferences are drawn
_ALIVE = _none_of("state", {*get_args(SampleState)} - {"pending", "emitted"})


@contextmanager
def _asked_for(tx: Transaction, plan: Plan) -> Iterator[None]:
    """Look once at what the user's condition means: it joins wide tables, and is asked for twice."""
    if plan.where is None:
        yield
        return
    _ask(tx, f"CREATE TEMPORARY TABLE asked_for AS SELECT sample_id FROM replay WHERE ({plan.where}\n)")
    yield
    _ask(tx, "DROP TABLE asked_for")  # where it fails, the transaction takes it back


def _eligible(plan: Plan, now: datetime) -> str:
    """Figures are written out, since the user's condition may hold any character that marks a parameter."""
    conditions = [DEMONSTRATIONS, _ALIVE, "forgotten_at IS NULL", "held IS NULL"]
    if plan.max_uses is not None:
        conditions.append(f"uses < {plan.max_uses}")
    if plan.max_staleness is not None:
        conditions.append(f"created_at >= {_moment(now - timedelta(seconds=plan.max_staleness))}")
    if plan.where is not None:
        conditions.append("sample_id IN (SELECT sample_id FROM asked_for)")
    return " AND ".join(conditions)


def _mass(plan: Plan, now: datetime, tx: Transaction) -> str:
    if plan.strategy != "prioritized":
        return "CAST(1 AS DOUBLE PRECISION)"
    # All of it in doubles. 2^x and x^alpha by exp and ln, and ages from seconds of the epoch: power() and the
    # difference of two timestamps take twice as long. No exponent below what a double can hold, which PostgreSQL takes
    # for an error.
    born, here = "CAST(extract(epoch FROM created_at) AS DOUBLE PRECISION)", now.replace(tzinfo=UTC).timestamp()
    halves = f"least({_double(0)}, ({born} - {_double(here)}) * {_double(log(2) / plan.half_life)})"
    fresh = f"exp({halves})" if _is_duckdb(tx) else f"exp(greatest({_double(-600)}, {halves}))"
    priority = f"weight * {fresh} - {_double(plan.decay)} * uses"
    return f"exp({_double(plan.alpha)} * ln(greatest({_double(FLOOR)}, {priority})))"


def _bits(seed: int, tx: Transaction) -> str:
    # Each engine has a hash of its own. DuckDB's is taken twice: ids far apart stay so by one seed.
    if _is_duckdb(tx):
        return f"(hash(xor(hash(sample_id), CAST({seed} AS UBIGINT))) >> 11)"
    return f"((hashtextextended(sample_id, {seed}) >> 11) & {_BITS - 1})"


def _double(value: float) -> str:
    return f"CAST({float(value)!r} AS DOUBLE PRECISION)"


def _is_duckdb(tx: Transaction) -> bool:
    return not tx.shared


def _ask(tx: Transaction, query: str) -> list[tuple[Any, ...]]:
    """Run a query that may hold any character: without parameters, a percent sign is one."""
    result = tx.connection.exec_driver_sql(query, execution_options={"no_parameters": True})
    return [tuple(row) for row in result] if result.returns_rows else []


def _moment(at: datetime) -> str:
    return f"TIMESTAMP '{at.isoformat(sep=' ')}'"


def _allowed(tx: Transaction, ratio: float) -> int:
    [(made, used)] = _ask(tx, f"SELECT count(*), coalesce(sum(uses), 0) FROM store.sample_state WHERE {DEMONSTRATIONS}")
    return max(0, int(ratio * made) - int(used))
