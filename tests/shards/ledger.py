"""A second, small and real implementation of the `Ledger` protocol, over SQLite; and samples for the tests."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from agenther_live.errors import MoveRefused
from agenther_live.labels import Sample
from agenther_live.settings import ShardFormat
from agenther_live.shards.files.publish import Due, Unfinished
from agenther_live.shards.files.rotate import Backlog
from agenther_live.shards.files.writer import ShardFile
from agenther_live.shards.rows.formats import kinds_of
from agenther_live.shards.rows.pairing import contrast

TABLES = """
create table if not exists samples (n integer primary key, id text unique, body text, state text, hash text, at text);
create table if not exists aside (id text, fmt text, reason text, primary key (id, fmt));
create table if not exists shards (seq integer primary key autoincrement, fmt text, state text, sha256 text, rows int);
create table if not exists held (seq int, at int, id text, fmt text, primary key (seq, at));
create table if not exists retractions (id text primary key, reason text, seq int);
"""


class SqliteLedger:
    def __init__(self, path: Path) -> None:
        self._path = path
        with self._db() as db:
            db.executescript(TABLES)

    @contextmanager
    def _db(self):
        db = sqlite3.connect(self._path, timeout=10)
        try:
            with db:
                yield db
        finally:
            db.close()

    def add(self, samples: Iterable[Sample]) -> None:
        with self._db() as db:
            db.executemany(
                "insert or ignore into samples (id, body, state, hash, at) values (?, ?, 'pending', ?, ?)",
                [
                    (s.sample_id, s.model_dump_json(), s.content_hash, s.created_at and s.created_at.isoformat())
                    for s in samples
                ],
            )

    def derive(self, formats: Collection[ShardFormat]) -> bool:
        """Contrasts only: pairs are what a buffer finds."""
        if "goal_contrast" not in formats:
            return False
        with self._db() as db:
            bodies = db.execute("select body from samples where state in ('pending', 'emitted')").fetchall()
            known = {i for (i,) in db.execute("select id from samples")}
        made = [Sample.model_validate_json(body) for (body,) in bodies]
        fresh = [
            contrast(one, one.outcome_rev)
            for one in made
            if one.kind == "hindsight" and contrast(one, one.outcome_rev).sample_id not in known
        ]
        self.add(fresh)
        return False

    def withdraw(self, sample_ids: Iterable[str], reason: str) -> Counter[str]:
        moved: Counter[str] = Counter()
        with self._db() as db:
            for one in sample_ids:
                held = db.execute("select count(*) from held where id = ?", (one,)).fetchone()[0]
                moved["retracted" if held else "withdrawn"] += 1
                db.execute("update samples set state = ? where id = ?", (max(moved), one))
                if held:
                    db.execute("insert or ignore into retractions values (?, ?, null)", (one, reason))
        return moved

    _WAITING = """from samples s where s.state in ('pending', 'emitted')
        and instr(:kinds, json_extract(s.body, '$.kind')) > 0
        and not exists (select 1 from held h where h.id = s.id and h.fmt = :fmt)
        and not exists (select 1 from aside a where a.id = s.id and a.fmt = :fmt)"""

    @staticmethod
    def _asked(fmt: ShardFormat) -> dict[str, str]:
        return {"fmt": fmt, "kinds": " ".join(kinds_of(fmt))}

    def backlog(self, fmt: ShardFormat) -> Backlog:
        with self._db() as db:
            count, oldest = db.execute(f"select count(*), min(at) {self._WAITING}", self._asked(fmt)).fetchone()
        return Backlog(count, datetime.fromisoformat(oldest) if oldest else None)

    def pending(self, fmt: ShardFormat, limit: int) -> list[Sample]:
        query = f"select body {self._WAITING} order by n limit :limit"
        with self._db() as db:
            return [Sample.model_validate_json(b) for (b,) in db.execute(query, {**self._asked(fmt), "limit": limit})]

    def published_hashes(self, fmt: ShardFormat, hashes: Sequence[str]) -> set[str]:
        with self._db() as db:
            rows = db.execute(
                "select s.hash from held h join samples s on s.id = h.id where h.fmt = ? and s.state = 'emitted'",
                (fmt,),
            )
            return {found for (found,) in rows} & set(hashes)

    def set_aside(self, fmt: ShardFormat, reasons: Mapping[str, str]) -> None:
        with self._db() as db:
            db.executemany("insert or ignore into aside values (?, ?, ?)", [(i, fmt, r) for i, r in reasons.items()])

    def begin_shard(self, fmt: ShardFormat, sample_ids: Sequence[str]) -> int:
        with self._db() as db:
            seq = db.execute("insert into shards (fmt, state) values (?, 'writing')", (fmt,)).lastrowid
            for at, sample_id in enumerate(sample_ids):
                row = db.execute("select state from samples where id = ?", (sample_id,)).fetchone()
                if row is None or row[0] not in ("pending", "emitted"):
                    raise MoveRefused(f"sample {sample_id} is {row and row[0]}")
                db.execute("insert into held values (?, ?, ?, ?)", (seq, at, sample_id, fmt))
            assert seq is not None
            return seq

    def unfinished_shards(self) -> list[Unfinished]:
        with self._db() as db:
            begun = db.execute("select seq, fmt from shards where state = 'writing' order by seq").fetchall()
            bodies = "select s.body from held h join samples s on s.id = h.id where h.seq = ? order by h.at"
            return [
                Unfinished(seq, fmt, [Sample.model_validate_json(b) for (b,) in db.execute(bodies, (seq,))])
                for seq, fmt in begun
            ]

    def publish_shard(self, shard: ShardFile) -> None:
        with self._db() as db:
            db.execute(
                "update shards set state = 'published', sha256 = ?, rows = ? where seq = ?",
                (shard.sha256, shard.rows, shard.seq),
            )
            db.execute(
                "update samples set state = 'emitted' where state = 'pending' and id in "
                "(select id from held where seq = ?)",
                (shard.seq,),
            )

    def abandon_shard(self, seq: int, reason: str) -> None:
        with self._db() as db:
            db.execute("update shards set state = 'abandoned' where seq = ? and state = 'writing'", (seq,))
            db.execute("delete from held where seq = ?", (seq,))

    def retract(self, sample_ids: Iterable[str], reason: str) -> None:
        with self._db() as db:
            for sample_id in sample_ids:
                db.execute("update samples set state = 'retracted' where id = ?", (sample_id,))
                db.execute("insert or ignore into retractions values (?, ?, null)", (sample_id, reason))

    def retractions_due(self) -> list[Due]:
        with self._db() as db:
            rows = db.execute("select reason, id from retractions where seq is null order by reason, id").fetchall()
            held = db.execute("select h.id, h.seq from held h join retractions r on r.id = h.id").fetchall()
        where = {reason: {seq for r, i in rows if r == reason for one, seq in held if one == i} for reason, _ in rows}
        return [Due([i for r, i in rows if r == reason], reason, where[reason]) for reason in sorted(where)]

    def retraction_done(self, sample_ids: Sequence[str], seq: int) -> None:
        with self._db() as db:
            db.executemany(
                "update retractions set seq = ? where id = ? and seq is null", [(seq, i) for i in sample_ids]
            )

    def aside(self) -> dict[tuple[str, str], str]:
        with self._db() as db:
            return {(i, fmt): reason for i, fmt, reason in db.execute("select id, fmt, reason from aside")}

    def states(self) -> dict[int, str]:
        with self._db() as db:
            return dict(db.execute("select seq, state from shards"))
