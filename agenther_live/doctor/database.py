"""Checks of the buffer's database: it opens, its schema is known, its WAL is whole, its keys are ours."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

from agenther_live.buffer import migrations
from agenther_live.buffer.engines import apart
from agenther_live.buffer.engines.duckdb import DuckDB
from agenther_live.buffer.upkeep.compact import look
from agenther_live.buffer.upkeep.tombstones import Tombs
from agenther_live.doctor.findings import Exam, Finding
from agenther_live.errors import AgentHERError
from agenther_live.redact import key_is_there

__all__ = ["check_buffer"]

LOST_WITH_WAL = (
    "lost are the commits since the file was last closed: those of the call that was killed. What agents and people "
    "said then is in the journal still, and is taken in again, each run once. Relabelings of that call are made again, "
    "from replies that are on disk; shards that were published meanwhile are taken over by `doctor --repair`"
)
_SNAPSHOT = (
    "stop the worker, move the file aside, put the latest `agenther-live snapshot` in its place, and run "
    "`agenther-live doctor --repair`; of the journal, what was not taken in yet comes in, the rest since then is lost"
)


def check_buffer(exam: Exam) -> Iterator[Finding]:
    """Look into the database from a process of its own, so that a broken file breaks nothing else."""
    engine = exam.buffer._engine
    if not isinstance(engine, DuckDB):
        yield from _check_server(exam)
        return
    path = engine.path
    if not path.exists():
        yield Finding("buffer", "note", "there is no buffer yet; the first tick makes it")
        return
    exam.looked = look(path, seconds=exam.settings.lock_timeout_seconds, deep=exam.deep)
    error = exam.looked.get("error")
    wal = path.with_name(path.name + ".wal")
    if error is None:
        yield from _check_schema(exam)
        if exam.readable:
            yield from _check_keys(exam)
            yield from _check_storage(exam)
        if wal.exists() and wal.stat().st_size:
            yield Finding(
                "buffer",
                "note",
                f"{wal.name} has {wal.stat().st_size:,} bytes: its last process was killed; they are taken over when "
                "the file is opened next. If the volume cut it, its end is missing without a sign but in the shards",
            )
        return
    if exam.looked.get("locked"):
        yield Finding("buffer", "warn", f"not looked at: {error}", "close it there, or ask again between two ticks")
        return

    def set_aside() -> str:
        aside = wal.with_name(f"{wal.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}")
        wal.rename(aside)
        exam.looked = look(path, seconds=exam.settings.lock_timeout_seconds, deep=exam.deep)
        if "error" in exam.looked:
            wal_back = aside.rename(wal)
            return f"it opens without its WAL neither ({exam.looked['error']}); {wal_back.name} is back in its place"
        list(_check_schema(exam))
        return f"{wal.name} is {aside.name} now, and the file opens: {LOST_WITH_WAL}"

    if wal.exists():
        yield Finding(
            "buffer", "bad", f"it cannot be opened: {error}",
            f"agenther-live doctor --repair moves {wal.name} aside: {LOST_WITH_WAL}", fix=set_aside,
        )  # fmt: skip
    else:
        yield Finding("buffer", "bad", f"it cannot be read: {error}", _SNAPSHOT)


def _check_server(exam: Exam) -> Iterator[Finding]:
    looked: dict[str, Any] = {"shards": None}  # these are read beside the manifest, since others publish meanwhile
    try:
        # By the engine itself: the buffer would first make its schema there, or bring an older one to this version's.
        with exam.buffer._engine.read() as tx:
            found = migrations.revision_of(tx.connection)
            for name in ("newest", "undone", "key_ids") if found == migrations.HEAD else ():
                looked[name] = [row[0] for row in tx.connection.exec_driver_sql(apart.LOOKS[name])]
    except AgentHERError as error:
        yield Finding("buffer", "bad", str(error), "check the URL, the server and the network")
        return
    if found is None:
        yield Finding("buffer", "note", "the server answers, and has no buffer in this database yet: a worker makes it")
        return
    exam.looked = looked | {"revision": [found]}
    yield from _check_schema(exam)
    if exam.readable:
        yield from _check_keys(exam)


def _check_schema(exam: Exam) -> Iterator[Finding]:
    found = exam.looked.get("revision") or [None]
    if found[0] is None:
        yield Finding("buffer", "bad", "it is no buffer of this package: its schema is not there", _SNAPSHOT)
    elif found[0] not in migrations.KNOWN:
        yield Finding(
            "buffer", "bad", f"it has schema {found[0]}, and this version knows {migrations.HEAD} at most",
            "install the version of the package that wrote it; nothing was changed",
        )  # fmt: skip
    else:
        exam.looked["usable"] = True
        older = "" if found[0] == migrations.HEAD else f", and is migrated to {migrations.HEAD} when it is next used"
        deep = f"; every row of {exam.looked['tables']} tables was read" if "tables" in exam.looked else ""
        yield Finding("buffer", "ok", f"it opens, schema {found[0]}{older}{deep}")


def _check_storage(exam: Exam) -> Iterator[Finding]:
    [found] = exam.looked.get("storage") or [None]
    if found is not None and _version(found) < _version(apart.STORAGE):
        yield Finding(
            "buffer", "note",
            f"the file is in DuckDB's storage version {found}, not {apart.STORAGE}: a tick costs more the larger it is",
            "agenther-live compact, once: it writes the file anew",
        )  # fmt: skip


def _version(name: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", name)))


def _check_keys(exam: Exam) -> Iterator[Finding]:
    ids = set(exam.looked.get("key_ids") or ())
    if not ids:
        return
    if not key_is_there(exam.home.path):
        yield Finding(
            "buffer", "bad", "redact.key is gone, and with it what was deleted: nothing of that would be refused",
            "restore it before anything else is done: the next agent or worker makes another one",
        )  # fmt: skip
        return
    try:
        strange = ids - {Tombs(exam.settings).key_id}
    except AgentHERError as error:
        yield Finding("buffer", "bad", str(error), "restore redact.key: what was deleted is known by it alone")
        return
    if strange:
        yield Finding(
            "buffer", "bad", f"{len(strange)} other keys wrote tombstones: what was deleted under them is not refused",
            "restore the old redact.key, or set one AGENTHER_REDACT_KEY for all processes",
        )  # fmt: skip
