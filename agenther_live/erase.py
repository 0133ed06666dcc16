"""Deletion: what belongs to a thread, a subject or a trajectory goes from journal, buffer, replies and shards.

The order, of which every step can be done again:

1. the journal is drained, so that nothing of it comes later;
2. one transaction: tombstones, an audit row with what is left to do, the retraction of samples that shards hold;
3. shards are written anew without them, the old files removed;
4. model replies are rewritten;
5. one transaction: the rows go, the audit row is done;
6. the buffer's file is compacted, for deleted rows keep their bytes until then.

A crash after step 2 is made up for by `finish_begun`, which the worker and `doctor --repair` call.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from agenther_live.buffer.store import Buffer
from agenther_live.buffer.upkeep import audit
from agenther_live.buffer.upkeep.compact import compact
from agenther_live.buffer.upkeep.erase import (
    Kind,
    Scope,
    complete,
    drawn_in,
    formats_of,
    names_of,
    purge,
    resolve,
    take_back,
)
from agenther_live.buffer.upkeep.tombstones import Tombs, entomb, lift_tombstones
from agenther_live.errors import AgentHERError, HomeError, UsageError
from agenther_live.fleet import check_folder, take_journal
from agenther_live.home import Home
from agenther_live.journal import Reader
from agenther_live.journal.segments import list_segments
from agenther_live.replies import Replies
from agenther_live.shards.files.manifest import Manifest
from agenther_live.shards.files.publish import retract_due
from agenther_live.shards.files.purge import readers, remove_replaced

__all__ = [
    "COMPACT",
    "MARKER",
    "Place",
    "Receipt",
    "Target",
    "alone",
    "delete",
    "finish_begun",
    "lift",
    "shrink",
]

logger = logging.getLogger("agenther_live")
COMPACT = "compact.wanted"
MARKER = "deleting"
"""File of the home that is there while a deletion is: the worker looks for it before it asks the buffer."""
NOT_REACHED = (
    "snapshots, backups and copies of the home; what `shards pull` or you copied elsewhere",
    "models that were trained on the samples, and their checkpoints and caches",
    "your own stores: LangGraph checkpoints, tracers, logs, the models' providers",
)


@dataclass(frozen=True)
class Target:
    """What is to be deleted. `ids` are the id as given, then as redaction writes it."""

    kind: Kind
    ids: tuple[str, ...]

    @classmethod
    def of(cls, given: Mapping[str, str | None], redact: Callable[[str], str]) -> Target:
        """Make it of kind → id, of which one is given.

        Raises:
            UsageError: not exactly one is given, or it is empty.
        """
        named = [(kind, one) for kind, one in given.items() if one is not None]
        if len(named) != 1 or not named[0][1]:
            raise UsageError("delete needs exactly one of trajectory, thread and subject")
        kind, one = named[0]
        return cls(cast(Kind, kind), tuple(dict.fromkeys((one, redact(one)))))

    def request(self, reason: str, compact: bool) -> dict[str, Any]:
        """Give it as a request to the worker."""
        return {"do": "delete", "kind": self.kind, "ids": self.ids, "reason": reason, "compact": compact}


@dataclass(frozen=True)
class Place:
    """Where a deletion works; whoever calls holds the home as its worker."""

    home: Home
    buffer: Buffer
    reader: Reader
    replies: Replies


@dataclass
class Receipt:
    """What a deletion did, or would do. `left` says in sentences what it did not reach."""

    kind: str
    id: str
    dry_run: bool
    audit_id: str | None = None
    trajectories: int = 0
    runs: int = 0
    samples: int = 0
    shards: list[str] = field(default_factory=list)
    files_removed: list[str] = field(default_factory=list)
    replies: int = 0
    consumers: list[dict[str, Any]] = field(default_factory=list)
    policy_versions: list[str] = field(default_factory=list)
    draws: int = 0
    bytes_freed: int | None = None
    left: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Give it as JSON-ready data."""
        return asdict(self)


@contextmanager
def alone(place: Place, *, seconds: float) -> Iterator[None]:
    """Keep all other workers, on any machine, from publishing shards during the block.

    Raises:
        AgentHERError: another one publishes for longer than so many seconds.
        ShardError: this home does not hold the buffer's shards.
    """
    deadline = time.monotonic() + seconds
    while True:
        with place.buffer.alone("emit") as ours:
            if ours:
                check_folder(place.buffer, place.home)
                yield
                return
        if time.monotonic() >= deadline:
            raise AgentHERError(f"another worker publishes shards of this buffer, for longer than {seconds:g} s")
        time.sleep(0.2)


def delete(
    place: Place, target: Target, *, reason: str, now: datetime, dry_run: bool = False, shrunk: bool = True
) -> Receipt:
    """Delete what belongs to `target`, and refuse it from now on; with `dry_run` only say what that would be.

    Whoever calls keeps others from publishing meanwhile: see `alone`.

    Raises:
        ShardError: this home does not hold the buffer's shards; nothing was begun.
        AgentHERError: a step failed; what was begun goes on at the worker's next turn.
    """
    receipt = Receipt(target.kind, target.ids[0], dry_run)
    tombs = Tombs(place.buffer.settings)
    keys = [tombs.key(target.kind, one) for one in target.ids]
    if dry_run:
        with place.buffer.reading() as tx:
            found = resolve(tx, target.kind, target.ids, keys)
            _count(receipt, found, draws=drawn_in(tx, found))
            formats = formats_of(tx, found.shards)
        _tell_readers(receipt, place.home.shards, formats)
        receipt.left = _left(place, target, found, lag=place.reader.lag(place.buffer.cursors()).bytes)
        return receipt
    check_folder(place.buffer, place.home)
    take_journal(place.buffer, place.reader)
    _mark(place.home)
    with place.buffer.writing() as tx:
        found = resolve(tx, target.kind, target.ids, keys)
        receipt.audit_id = audit.begin(
            tx,
            "delete",
            now=now,
            target=target.kind,
            target_key=keys[0],
            reason=reason or None,
            trajectories=len(found.trajectories),
            samples=len(found.samples),
            todo=_todo(found, target),
        )
        names = [*names_of(found), *((target.kind, one) for one in target.ids)]
        entomb(tx, tombs, names, audit_id=receipt.audit_id, now=now)
        take_back(tx, found, "deleted", now=now)
    _carry_out(place, receipt, found, tombs, target, threads=_threads(target), now=now)
    (place.home.path / MARKER).unlink(missing_ok=True)
    receipt.left = _left(place, target, found)
    if shrunk:
        _shrink_or_say(place, receipt, now=now)
    return receipt


def finish_begun(place: Place, *, now: datetime) -> list[Receipt]:
    """Finish the deletions that a crash came between; whoever calls keeps others from publishing meanwhile.

    Raises:
        ShardError: this home does not hold the buffer's shards.
    """
    with place.buffer.reading() as tx:
        deeds = audit.undone(tx)
    if deeds:
        check_folder(place.buffer, place.home)
    receipts = []
    for deed in deeds:
        receipt = Receipt(deed.target or "trajectory", "", dry_run=False, audit_id=deed.audit_id)
        todo = deed.todo or {}
        found = Scope(
            trajectories=set(todo.get("trajectories", ())),
            revisions={(str(key), int(rev)) for key, rev in todo.get("revisions", ())},
        )
        with place.buffer.reading() as tx:
            found = complete(tx, found, fixed=True)
        threads = tuple(map(str, todo.get("threads", ())))
        _carry_out(place, receipt, found, Tombs(place.buffer.settings), None, threads=threads, now=now)
        logger.info("deletion %s, which a crash came between, is done", deed.audit_id)
        receipts.append(receipt)
    (place.home.path / MARKER).unlink(missing_ok=True)
    return receipts


def lift(buffer: Buffer, target: Target, *, reason: str, now: datetime) -> int:
    """Take in again what is new of a thread, subject or trajectory that was deleted; gives how many tombstones went.

    What was deleted stays deleted, and so do its runs.
    """
    tombs = Tombs(buffer.settings)
    with buffer.writing() as tx:
        gone = lift_tombstones(tx, [tombs.key(target.kind, one) for one in target.ids])
        if gone:
            key = tombs.key(target.kind, target.ids[0])
            audit.note(tx, "lift", now=now, target=target.kind, target_key=key, reason=reason or None)
    return gone


def shrink(buffer: Buffer, *, now: datetime) -> tuple[int, int]:
    """Compact the buffer's file, and write that into the audit; gives its size before and after.

    Raises:
        BufferError: there is no room, or it failed; the old file stays.
        UsageError: the buffer is no DuckDB file.
    """
    before, after = compact(buffer)
    with buffer.writing() as tx:
        audit.note(tx, "compact", now=now, bytes=before - after)
        audit.remember(tx, COMPACT, None)
    return before, after


def _mark(home: Home) -> None:
    try:
        home.note(home.path / MARKER, b"")
    except OSError as error:
        raise HomeError(f"home {home.path} cannot be written: {error.strerror or error}") from None


def _todo(found: Scope, target: Target) -> dict[str, Any]:
    return {
        "trajectories": sorted(found.trajectories),
        "revisions": sorted(map(list, found.revisions)),
        "threads": list(_threads(target)),
    }


def _threads(target: Target) -> tuple[str, ...]:
    """The names of the thread that goes: what was said to it and never found its run is known by them alone."""
    return target.ids if target.kind == "thread" else ()


def _count(receipt: Receipt, found: Scope, *, draws: int) -> None:
    receipt.trajectories, receipt.runs, receipt.samples = len(found.trajectories), len(found.roots), len(found.samples)
    receipt.draws = draws


def _carry_out(
    place: Place,
    receipt: Receipt,
    found: Scope,
    tombs: Tombs,
    target: Target | None,
    *,
    threads: Collection[str],
    now: datetime,
) -> None:
    assert receipt.audit_id is not None, "a deletion has its audit row before it begins"
    root = place.home.shards
    with place.buffer.reading() as tx:
        _count(receipt, found, draws=drawn_in(tx, found))
        formats = formats_of(tx, found.shards)
    _tell_readers(receipt, root, formats)
    before = len(Manifest(root).entries())
    retract_due(place.buffer, root, now=now)
    receipt.shards = [f"{entry.format}/{entry.seq:08d}" for entry in Manifest(root).entries()[before:]]
    receipt.files_removed = remove_replaced(root, found.shards)
    receipt.replies = place.replies.erase(found.trajectories, lambda key: tombs.key("reply", key))
    with place.buffer.writing() as tx:
        if target is not None:  # what other workers took in since; its shards and replies were none yet
            again = resolve(tx, target.kind, target.ids)
            found = complete(tx, Scope(trajectories=found.trajectories | again.trajectories), fixed=True)
        purge(tx, found, threads=threads, mark=lambda key: tombs.key("reply", key))
        audit.done(
            tx,
            receipt.audit_id,
            now=now,
            shards=len(receipt.shards),
            consumers=receipt.consumers,
            policy_versions=receipt.policy_versions,
        )
        audit.remember(tx, COMPACT, receipt.audit_id)


def _tell_readers(receipt: Receipt, root: Path, formats: dict[int, str]) -> None:
    found = readers(root, formats)
    receipt.consumers = [one.as_dict() for one in found]
    receipt.policy_versions = sorted({one.policy_version for one in found if one.policy_version is not None})


def _shrink_or_say(place: Place, receipt: Receipt, *, now: datetime) -> None:
    try:
        before, after = shrink(place.buffer, now=now)
    except UsageError:  # PostgreSQL
        receipt.left.append("dead rows of PostgreSQL, until VACUUM has passed; and its WAL and backups")
    except AgentHERError as error:
        receipt.left.append(f"bytes of deleted rows in the buffer's file, until `agenther-live compact`: {error}")
    else:
        receipt.bytes_freed = before - after


def _left(place: Place, target: Target, found: Scope, *, lag: int = 0) -> list[str]:
    left = []
    if lag:
        left.append(f"{lag:,} bytes of the journal were not looked at: a deletion takes them in first")
    names = [name.encode() for name in (*target.ids, *found.roots, *found.trajectories)]
    held = _holding(_segments(place.home.journal), names)
    if held:
        left.append(
            f"journal segments that living agents write ({', '.join(held)}): refused when they are taken in, and "
            "removed when their process ends, idles for a minute, or has filled the segment"
        )
    aside = [path for folder in (place.home.journal / "damaged", place.home.path) for path in _set_aside(folder)]
    if aside:
        left.append(f"files that were set aside as damaged, and cannot be searched: {', '.join(map(str, aside))}")
    if found.neighbours and target.kind == "trajectory":
        left.append(
            f"{found.neighbours} other trajectories of its thread, which repeat earlier turns as context: "
            "delete the thread to reach them"
        )
    if url := place.buffer.settings.shards:
        left.append(f"replaced files at {url}, until the worker's next tick has taken them away there too")
    return [*left, *NOT_REACHED]


def _segments(folder: Path) -> Iterable[Path]:
    return [segment.path for segments in list_segments(folder).values() for segment in segments]


def _holding(paths: Iterable[Path], names: Sequence[bytes]) -> list[str]:
    held = []
    for path in paths:
        try:
            data = path.read_bytes()
        except OSError:
            continue
        if any(name in data for name in names):
            held.append(path.name)
    return held


def _set_aside(folder: Path) -> list[Path]:
    if folder.name == "damaged":
        return sorted(Path(entry.path) for entry in os.scandir(folder)) if folder.is_dir() else []
    return sorted(folder.glob("*.damaged-*"))
