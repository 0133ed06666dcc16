"""The replay buffer as the rest of the package sees it: one object, each call one transaction.

The database's file is open only while a call runs (several calls may share one opening, `hold`), so that notebooks,
the stock `duckdb` and `agenther-live sql` get their turn while the system runs. Every method may be called from any
thread, and from any process where nobody else has the file open at that moment.

All methods raise `BufferLocked` where another process holds the file for longer than `lock_timeout_seconds`,
`BufferVersion` where a newer version of the package wrote it, and `BufferError` where the database refuses.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import URL, func, literal_column, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from agenther_live.assemble import tell
from agenther_live.buffer import migrations
from agenther_live.buffer.engines.duckdb import DuckDB
from agenther_live.buffer.engines.engine import Engine, Transaction, any_of, done_again
from agenther_live.buffer.engines.fresh import make_schema
from agenther_live.buffer.intake import evidence, ingest
from agenther_live.buffer.intake.importing import ImportReport, add_trajectories
from agenther_live.buffer.intake.ingest import IngestReport, Tell
from agenther_live.buffer.intake.trajectories import current, load, load_states, mark_unsettled
from agenther_live.buffer.output import ledger, pairs, replay
from agenther_live.buffer.output import samples as sample_store
from agenther_live.buffer.output.replay import Draw, Plan, Strategy
from agenther_live.buffer.people import figures
from agenther_live.buffer.people.query import Result
from agenther_live.buffer.people.snapshot import snapshot
from agenther_live.buffer.schema import sample_state, state, trajectories
from agenther_live.buffer.turn import calls, leases, work
from agenther_live.buffer.turn.calls import Call
from agenther_live.buffer.turn.leases import Lessee
from agenther_live.buffer.turn.settle import reopen, settle
from agenther_live.buffer.turn.waits import next_due
from agenther_live.buffer.turn.work import Claim
from agenther_live.buffer.upkeep import tombstones
from agenther_live.buffer.views import are_current, make_views
from agenther_live.clock import utcnow
from agenther_live.collecting import seldom_collected
from agenther_live.errors import BufferError, BufferVersion, SettingsError
from agenther_live.journal import Batch, Cursor
from agenther_live.labels import Relabeling, Sample
from agenther_live.settings import Settings, ShardFormat
from agenther_live.shards.files.publish import Due, Unfinished
from agenther_live.shards.files.rotate import Backlog
from agenther_live.shards.files.writer import ShardFile
from agenther_live.trajectory import Evidence, Trajectory

__all__ = ["Buffer", "Claim", "Draw", "ImportReport", "IngestReport"]


class Buffer:
    """The replay buffer over one database."""

    def __init__(
        self,
        where: str | Path,
        *,
        settings: Settings,
        tell: Tell = tell,
        clock: Callable[[], datetime] = utcnow,
    ) -> None:
        """Name the database; nothing is opened yet.

        Args:
            where: path of a DuckDB file, or an SQLAlchemy URL: `duckdb:///path` or
                `postgresql+psycopg://user@host/database`.
            settings: thresholds and times.
            tell: turns the facts of runs into a trajectory.
            clock: gives naive UTC where a method takes no `now`.

        Raises:
            SettingsError: the URL names an engine that this version does not have, or its driver is not installed.
        """
        self.settings = settings
        self._tell = tell
        self._clock = clock
        self._engine = _engine(where, settings)
        self._ready = False
        self._held_out: tuple[tuple[Any, ...], list[str], set[str]] = ((), [], set())
        self._preparing = threading.Lock()
        self._lessee: tuple[int, Lessee | None] = (0, None)
        self._renewed_at = 0.0  # time.monotonic() of the last claim or renewal

    # --- opening

    def create(self) -> None:
        """Make the database, or bring an older one to this version's schema.

        That goes one revision at a time, each in a transaction of its own: DuckDB cannot commit one that writes to a
        table and alters it afterwards.
        """
        done = False
        while not done:
            with self._engine.write() as tx:
                tx.lock(["schema"])  # workers that start together
                found = migrations.revision_of(tx.connection)
                if found is not None and found not in migrations.KNOWN:
                    raise BufferVersion(
                        f"the buffer has schema {found}, and this version of the package knows {migrations.HEAD} at "
                        "most; install the version that wrote it"
                    )
                ahead = migrations.KNOWN[migrations.KNOWN.index(found) + 1 :] if found is not None else ()
                if found is None and self.engine_name == "duckdb":  # nothing is written yet: all at once
                    make_schema(tx.connection)
                elif found is None:
                    migrations.upgrade(tx.connection)
                elif ahead:
                    migrations.upgrade(tx.connection, ahead[0])
                done = len(ahead) <= 1
                if done:
                    make_views(tx.connection)
        self._ready = True

    @property
    def engine_name(self) -> str:
        """Which engine it is on: duckdb or postgresql."""
        return self._engine.name

    @property
    def where(self) -> str:
        """The file, or the URL without its password."""
        return self._engine.where

    @contextmanager
    def hold(self, *, wide: bool = False) -> Iterator[None]:
        """Keep the database open over several calls, which then cost less. Never hold it during a model call.

        `wide`: for questions about much of it, which DuckDB then answers on more threads.
        """
        with self._prepared(wide=wide), self._engine.hold(wide=wide):
            yield

    def stamp(self) -> Hashable | None:
        """Give what differs once anybody wrote to the buffer, without opening it; None where only a query can tell."""
        return self._engine.stamp() if isinstance(self._engine, DuckDB) else None

    def next_due(self, *, now: datetime, undo_seconds: float) -> datetime:
        """Give the first moment (naive UTC) at which time alone makes something due: see `buffer.waits`."""
        settings = self.settings
        with self._read() as tx:
            return next_due(
                tx,
                settings.formats,
                now=now,
                interrupted_seconds=settings.interrupted_ttl_seconds,
                undo_seconds=undo_seconds,
                shard_seconds=settings.shard_seconds,
            )

    def writing(self) -> AbstractContextManager[Transaction]:
        """Open a transaction that may write; for the package itself."""
        return self._write()

    def reading(self) -> AbstractContextManager[Transaction]:
        """Open a transaction that only reads; for the package itself."""
        return self._read()

    @contextmanager
    def _write(self) -> Iterator[Transaction]:
        with self._prepared(), self._engine.write() as tx:
            yield tx

    @contextmanager
    def _read(self, *, wide: bool = False) -> Iterator[Transaction]:
        with self._prepared(wide=wide), self._engine.read(wide=wide) as tx:
            yield tx

    @contextmanager
    def _prepared(self, *, wide: bool = False) -> Iterator[None]:
        """See to the schema, and keep what that opened open for the use that follows: to open it costs most of both."""
        with ExitStack() as opened:
            if not self._ready and self._engine.exists():
                opened.enter_context(self._engine.hold(wide=wide))
                if not self._is_current():
                    opened.close()  # each step to this version's schema is written out before the next
            self._prepare()
            yield

    def _is_current(self) -> bool:
        with self._engine.read() as tx:
            found = migrations.revision_of(tx.connection) == migrations.HEAD and are_current(tx.connection)
        self._ready = self._ready or found
        return found

    def _prepare(self) -> None:
        if self._ready and self._engine.exists():
            return
        with self._preparing:
            if not self._ready or not self._engine.exists():
                if self._engine.read_only:
                    self._fits()
                else:
                    self.create()

    def _fits(self) -> None:
        """Check that this version can read a buffer that it cannot bring to its schema."""
        if not self._engine.exists():
            raise BufferError(f"there is no buffer at {self.where} yet, and it cannot be made: that place is read-only")
        with self._engine.read() as tx:
            found = migrations.revision_of(tx.connection)
        if found != migrations.HEAD:
            raise BufferVersion(
                f"the buffer has schema {found}, this version of the package reads {migrations.HEAD}, and it cannot "
                f"be brought there: {self.where} is read-only here"
            )
        self._ready = True

    # --- what comes in

    def cursors(self) -> dict[str, Cursor]:
        """Give how far each writer's journal was ingested."""
        with self._read() as tx:
            return ingest.load_cursors(tx)

    @done_again
    def ingest(self, batch: Batch, *, now: datetime) -> IngestReport:
        """Take in what the journal's reader found: runs, late facts, feedback, counters and cursors, all or nothing.

        Taking a batch in twice, or runs in another order, ends in the same buffer.
        """
        with seldom_collected(), self._write() as tx:
            return ingest.ingest(tx, batch, now=now, settings=self.settings, tell=self._tell)

    def add_trajectories(
        self, items: Iterable[tuple[Trajectory, Sequence[Evidence]]], *, now: datetime | None = None
    ) -> ImportReport:
        """Take in trajectories that did not come through the journal; a known `trajectory_id` is left as it is."""
        report = ImportReport()
        with self.hold():
            for chunk in _chunks(items, 500):
                report += self._add_trajectories(chunk, now or self._clock())
        return report

    @done_again
    def _add_trajectories(self, items: Sequence[tuple[Trajectory, Sequence[Evidence]]], now: datetime) -> ImportReport:
        with self._write() as tx:
            return add_trajectories(tx, items, now=now, settings=self.settings)

    def add_evidence(
        self, items: Iterable[Evidence], *, evaluator: str | None = None, now: datetime | None = None
    ) -> int:
        """Take in evidence; give how much of it was new.

        `evaluator` names the evaluator that made it: it is not shown these trajectories' revisions again.
        """
        return self._add_evidence(list(items), evaluator, now)

    @done_again
    def _add_evidence(self, given: Sequence[Evidence], evaluator: str | None, now: datetime | None) -> int:
        if not given:
            return 0
        with self._write() as tx:
            tx.lock(key for item in given for key in evidence.addresses(evidence.stated(item)))
            said = tombstones.unsaid(tx, map(evidence.stated, given), self.settings)
            new, changed = evidence.take_statements(tx, said, now=now or self._clock())
            mark_unsettled(tx, changed)
            if evaluator is not None:
                work.mark_evaluated(tx, evaluator, {item.trajectory_id for item in given if item.trajectory_id})
        return new

    @done_again
    def to_evaluate(self, evaluator: str, *, agent: str | None = None, n: int) -> list[Trajectory]:
        """Give up to `n` live trajectories that ended and that this evaluator has not seen in this revision."""
        with self._claiming() as (tx, lessee):
            return work.to_evaluate(tx, evaluator, agent=agent, n=n, lessee=lessee)

    @done_again
    def to_judge(self, judge: str, *, n: int, besides: Collection[str] = ()) -> list[Trajectory]:
        """Give up to `n` finished trajectories of unknown outcome that this outcome judge has not seen.

        `besides` are ids of those that are passed by.
        """
        with self._claiming() as (tx, lessee):
            return work.to_judge(tx, judge, n=n, lessee=lessee, besides=besides)

    def mark_evaluated(self, evaluator: str, trajectory_ids: Iterable[str]) -> None:
        """Note that an evaluator or outcome judge is done with the current revision of these trajectories."""
        self._mark_evaluated(evaluator, list(trajectory_ids))

    @done_again
    def _mark_evaluated(self, evaluator: str, trajectory_ids: Sequence[str]) -> None:
        with self._write() as tx:
            work.mark_evaluated(tx, evaluator, trajectory_ids)

    # --- outcomes and the worker's turn

    @done_again
    def settle(self, *, now: datetime, immediate: bool = False) -> Counter[str]:
        """Decide outcomes that are in question; give how many entered each stage, and how many samples went back."""
        with self._write() as tx:
            ingest.expire(tx, now=now, ttl=self.settings.interrupted_ttl_seconds)
            return settle(tx, now=now, immediate=immediate, settings=self.settings)

    @done_again
    def reopen(self, reasons: Collection[str], *, now: datetime) -> None:
        """Let failures that were rejected for one of these reasons wait for their turn again."""
        with self._write() as tx:
            reopen(tx, reasons, now=now)

    @done_again
    def claim(self, n: int, *, now: datetime, besides: Collection[str] = ()) -> list[Claim]:
        """Give up to `n` failures to relabel: queued ones, and errored ones whose time has come.

        `besides` are ids of those that are being worked on here already; they are passed by.
        On an engine with many workers they are leased to this one for `lease_seconds`: see `renew` and `release`.
        """
        with self._write() as tx:
            return work.claim(tx, n, now=now, lessee=self._leasing(), besides=besides)

    def renew(self) -> None:
        """Keep what was claimed: to be called now and then while work goes on. It writes once in a third of a lease."""
        lessee = self._leasing(renewing=True)
        if lessee is not None and time.monotonic() - self._renewed_at > lessee.seconds / 3:
            with self._write() as tx:
                leases.renew(tx, lessee)
            self._renewed_at = time.monotonic()

    @done_again
    def release(self) -> None:
        """Give back what was claimed and not recorded, for others to take."""
        lessee = self._leasing(renewing=True)
        if lessee is not None and self._renewed_at:
            with self._write() as tx:
                leases.release(tx, lessee)
            self._renewed_at = 0.0

    @contextmanager
    def _claiming(self) -> Iterator[tuple[Transaction, Lessee | None]]:
        """Open a transaction that reads what is to be worked on, and where there are many workers, leases it."""
        with self._write() if self._engine.shared else self._read() as tx:
            yield tx, self._leasing()

    def _leasing(self, *, renewing: bool = False) -> Lessee | None:
        """Who this process is among the workers; None where there is one only."""
        if not self._engine.shared:
            return None
        if self._lessee[0] != os.getpid():
            name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
            self._lessee = os.getpid(), Lessee(name, self.settings.lease_seconds)
            self._renewed_at = 0.0
        if not renewing and not self._renewed_at:
            self._renewed_at = time.monotonic()
        return self._lessee[1]

    def alone(self, name: str) -> AbstractContextManager[bool]:
        """Give whether this worker is the only one, on any machine, inside a block of this name."""
        self._prepare()
        return self._engine.alone(name)

    def record(self, claim: Claim, relabeling: Relabeling, *, now: datetime) -> bool:
        """Record one relabeling; False where something overtook it."""
        return bool(self.record_many([(claim, relabeling)], now=now))

    def record_many(
        self, results: Iterable[tuple[Claim, Relabeling]], *, now: datetime
    ) -> list[tuple[Claim, Relabeling]]:
        """Record relabelings in one transaction; give those that nothing overtook."""
        return self._record_many(list(results), now)

    @done_again
    def _record_many(
        self, results: Sequence[tuple[Claim, Relabeling]], now: datetime
    ) -> list[tuple[Claim, Relabeling]]:
        with self._write() as tx:
            lessee = self._leasing(renewing=True)
            return work.record_many(tx, results, now=now, settings=self.settings, lessee=lessee)

    @done_again
    def successes(self, n: int) -> list[Claim]:
        """Give up to `n` successes that no sample was sought of yet; pass them to `add_samples`."""
        with self._claiming() as (tx, lessee):
            return work.successes(tx, n, lessee=lessee)

    @done_again
    def add_samples(
        self, samples: Sequence[Sample], *, claims: Sequence[Claim] = (), now: datetime | None = None
    ) -> int:
        """Store samples of successes; give how many were new.

        `claims` are those that were looked at: they are not given again, whether they gave a sample or not.
        """
        if not samples and not claims:
            return 0
        with self._write() as tx:
            return work.add_samples(tx, samples, claims, now=now or self._clock())

    def withdraw(self, sample_ids: Iterable[str], reason: str, *, now: datetime | None = None) -> Counter[str]:
        """Take samples back: those in shards will be retracted, others never get there."""
        return self._withdraw(list(sample_ids), reason, now)

    @done_again
    def _withdraw(self, sample_ids: Sequence[str], reason: str, now: datetime | None) -> Counter[str]:
        with self._write() as tx:
            s = sample_state.c
            alive = select(s.sample_id, s.state).where(
                any_of(s.sample_id, sample_ids), s.state.in_(("pending", "emitted"))
            )
            chosen = dict(tx.rows(tx.held(alive)))
            return sample_store.withdraw(tx, chosen, reason, now=now or self._clock())

    def samples_of(self, trajectory_id: str) -> list[Sample]:
        """Give the samples of a trajectory as they are trained, whatever became of them, in the order of their ids."""
        with self._read() as tx:
            return sample_store.of(tx, trajectory_id)

    def trajectory(self, trajectory_id: str) -> Trajectory | None:
        """Give a trajectory in its current revision, or None."""
        with self._read() as tx:
            found = load_states(tx, [trajectory_id]).get(trajectory_id)
            if found is None or found.merged_into is not None:
                return None
            loaded = load(tx, {trajectory_id: found.revision}).get(trajectory_id)
        return loaded.model_copy(update={"status": found.status}) if loaded else None

    def held_out(self) -> tuple[list[str], set[str]]:
        """Give the goals that are held out, and the ids of the trajectories that asked for them."""
        s = state.c
        with self._read() as tx:
            # Asked every tick, and the goals are wide: look first whether there are others than before. Revisions
            # only grow, so equal ids with an equal sum are equal.
            digest = func.md5(func.string_agg(s.trajectory_id, literal_column("',' ORDER BY trajectory_id")))
            [key] = tx.rows(select(digest, func.sum(s.revision)).where(s.held_out, s.merged_into.is_(None)))
            if self._held_out[0] != key:
                rows = tx.rows(select(trajectories.c.goal, s.trajectory_id).join(state, current()).where(s.held_out))
                self._held_out = key, sorted({goal for goal, _ in rows}), {trajectory_id for _, trajectory_id in rows}
        _, goals, ids = self._held_out
        return list(goals), set(ids)

    # --- model calls

    def calls(self, rows: Iterable[Call]) -> int:
        """Store calls of chat models, each known by its `call_key`; give how many were new."""
        return self._add_calls(list(rows))

    @done_again
    def _add_calls(self, rows: Sequence[Call]) -> int:
        with self._write() as tx:
            given = list(rows)
            buried = tombstones.buried(tx, {row.trajectory_id for row in given}, self.settings)
            return calls.add_calls(tx, given, buried)

    # --- shards (`shards.publish.Ledger`)

    def backlog(self, fmt: ShardFormat) -> Backlog:
        """Count the samples that wait for this format."""
        with self._read() as tx:
            return ledger.backlog(tx, fmt)

    def pending(self, fmt: ShardFormat, limit: int) -> list[Sample]:
        """Give samples that wait for this format, oldest first."""
        with self._read() as tx:
            return ledger.pending(tx, fmt, limit)

    def published_hashes(self, fmt: ShardFormat, hashes: Sequence[str]) -> list[str]:
        """Give those content hashes that a living sample in a shard of this format has."""
        with self._read() as tx:
            return ledger.published_hashes(tx, fmt, hashes)

    @done_again
    def derive(self, formats: Collection[ShardFormat]) -> bool:
        """Make some of what these formats need that is no sample yet; say whether more may be left."""
        with self._write() as tx:
            return pairs.derive(tx, formats, now=self._clock(), per_sample=self.settings.pairs_per_sample)

    @done_again
    def set_aside(self, fmt: ShardFormat, reasons: Mapping[str, str]) -> None:
        """Keep samples (id → counted word) out of this format for good."""
        with self._write() as tx:
            ledger.put_aside(tx, fmt, reasons, now=self._clock())

    @done_again
    def begin_shard(self, fmt: ShardFormat, sample_ids: Sequence[str]) -> int:
        """Commit a shard in state `writing`; give its number.

        Raises:
            MoveRefused: a sample was withdrawn meanwhile; nothing was committed.
        """
        with self._write() as tx:
            return ledger.begin_shard(tx, fmt, sample_ids, now=self._clock())

    def last_shard(self) -> int | None:
        """Give the number of the last published shard, where others may publish too; else None."""
        if not self._engine.shared:
            return None
        with self._read() as tx:
            return ledger.last_published(tx)

    def unfinished_shards(self) -> list[Unfinished]:
        """Give every shard in state `writing`, by number."""
        with self._read() as tx:
            return ledger.unfinished_shards(tx)

    @done_again
    def publish_shard(self, shard: ShardFile) -> None:
        """Commit a shard as published and its samples as emitted; twice changes nothing."""
        with self._write() as tx:
            ledger.publish_shard(tx, shard, now=self._clock())

    @done_again
    def abandon_shard(self, seq: int, reason: str) -> None:
        """Give up a shard in state `writing`: its number is spent, its samples wait again."""
        with self._write() as tx:
            ledger.abandon_shard(tx, seq, reason)

    def retractions_due(self) -> list[Due]:
        """Give the samples whose retraction is not published yet."""
        with self._read() as tx:
            return ledger.retractions_due(tx)

    @done_again
    def retraction_done(self, sample_ids: Sequence[str], seq: int) -> None:
        """Commit that retraction number `seq` is published; twice changes nothing."""
        with self._write() as tx:
            ledger.retraction_done(tx, sample_ids, seq, now=self._clock())

    # --- looking

    def status(self, *, now: datetime | None = None) -> dict[str, Any]:
        """Give the figures of `status --json` that the buffer knows."""
        with self._read(wide=True) as tx:
            return figures.status(tx, now=now or self._clock())

    def funnel(self) -> list[dict[str, Any]]:
        """Give the funnel's steps in order: {step, n, dropped: {reason: n}}."""
        with self._read(wide=True) as tx:
            return figures.funnel(tx)

    def sql(
        self,
        query: str,
        params: Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        seconds: float | None = None,
    ) -> Result:
        """Run one reading SQL statement over the public views, for at most `seconds` (default: `sql_seconds`).

        Raises:
            QueryError: it cannot be run, it would write, or its time was up; with a hint of the nearest name.
        """
        given = dict(params) if isinstance(params, Mapping) else params
        with self._prepared(wide=True):
            return self._engine.query(query, given, seconds=self.settings.sql_seconds if seconds is None else seconds)

    def snapshot(self, path: str | Path) -> int:
        """Copy the buffer as it stands now into a new DuckDB file; give its size in bytes.

        Raises:
            BufferError: the file exists already, or cannot be written.
        """
        return snapshot(self, Path(path))

    # --- replay

    def sample(
        self,
        n: int,
        *,
        strategy: Strategy = "uniform",
        alpha: float = 0.6,
        beta: float = 1.0,
        half_life: float = 7 * 86_400.0,
        decay: float = 0.1,
        where: str | None = None,
        max_uses: int | None = None,
        max_staleness: float | None = None,
        samples_per_insert: float | None = None,
        seed: int | None = None,
        now: datetime | None = None,
    ) -> Draw:
        """Draw up to `n` samples to train on, without replacement; their uses are counted and the draw is logged.

        Args:
            n: samples wanted; fewer come where fewer may be drawn.
            strategy: 'uniform'; 'prioritized', by the priority of `buffer.replay`; 'fifo', oldest first (a queue with
                `max_uses=1`); 'recent', newest first.
            alpha: exponent of the priority, 0 is uniform.
            beta: exponent of the importance weights, 1 corrects wholly.
            half_life: age in seconds at which a sample's freshness is one half.
            decay: what each use takes from the priority.
            where: SQL condition over the view `replay`, such as "failure_type = 'incomplete'".
            max_uses: leave out samples that were drawn so often.
            max_staleness: leave out samples that are older, in seconds.
            samples_per_insert: let all draws together give at most so many samples for each one made.
            seed: repeats a draw on an equal pool; None takes a new one. The log repeats it always: `redraw`.
            now: naive UTC, for ages.

        Raises:
            UsageError: an argument is not as it must be.
            QueryError: the condition is no SQL over the columns of `replay`.
        """
        plan = Plan(
            n=n,
            seed=secrets.randbits(62) if seed is None else seed,
            strategy=strategy,
            alpha=alpha,
            beta=beta,
            half_life=half_life,
            decay=decay,
            where=where,
            max_uses=max_uses,
            max_staleness=max_staleness,
            samples_per_insert=samples_per_insert,
        )
        with self.hold(wide=True), seldom_collected(kept=True):
            if where is not None:  # as a user's statement first: it may only read, and its errors get hints
                self.sql(f"SELECT sample_id FROM replay WHERE ({where}\n) LIMIT 0")
            with self._write() as tx:
                return replay.draw(tx, plan, now=now or self._clock())

    def redraw(self, draw_id: str) -> Draw:
        """Give a logged draw again, exactly; nothing is counted.

        Raises:
            BufferError: there is no such draw.
        """
        with self._read() as tx:
            return replay.redraw(tx, draw_id)


def _engine(where: str | Path, settings: Settings) -> Engine:
    if isinstance(where, Path) or "://" not in where:
        path = Path(where)
    else:
        try:
            url = make_url(where)
        except ArgumentError:  # what cannot be read may hold a password all the same
            raise SettingsError("buffer: not a path and not an SQLAlchemy URL") from None
        if url.get_backend_name() == "postgresql":
            return _postgresql(url)
        if url.get_backend_name() != "duckdb" or not url.database:
            shown = url.render_as_string(hide_password=True)
            raise SettingsError(f"buffer = {shown!r}: duckdb:///path or postgresql+psycopg://user@host/database")
        path = Path(url.database)
    return DuckDB(path, lock_timeout_seconds=settings.lock_timeout_seconds)


def _postgresql(url: URL) -> Engine:
    shown = url.render_as_string(hide_password=True)
    if url.drivername not in ("postgresql", "postgresql+psycopg"):
        raise SettingsError(f"buffer = {shown!r}: postgresql+psycopg://… is the driver that this version has")
    try:
        from agenther_live.buffer.engines.postgresql import PostgreSQL
    except ImportError as error:
        raise SettingsError(
            f"buffer = {shown!r}: {error.name or 'psycopg'} is not installed: pip install 'agenther-live[postgresql]'"
        ) from None
    return PostgreSQL(url.set(drivername="postgresql+psycopg"))


def _chunks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    chunk: list[Any] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
