"""Checks of the home itself: who may read it, who works on it, room, clock, and what a killed process left."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import orjson

from agenther_live import erase, requests
from agenther_live.clock import read_stamp
from agenther_live.doctor.findings import Exam, Finding
from agenther_live.errors import HomeError
from agenther_live.journal import Reader
from agenther_live.redact import key_is_there, load_key
from agenther_live.replies import Replies

__all__ = ["check_clock", "check_leftovers", "check_permissions", "check_room", "check_worker"]

_ROOM = 1 << 30
_INODES = 1000
_SKEW_SECONDS = 300.0
_DRAFT_SECONDS = 3600.0


def check_permissions(exam: Exam) -> Iterator[Finding]:
    """Folders are 0700, files 0600, and all can be written."""
    home = exam.home
    open_ones = [path for path in (home.path, *home.path.rglob("*")) if _too_open(path)]
    if home.path not in open_ones and home.config in open_ones:
        open_ones.remove(home.config)  # a person wrote it, and in a closed folder nobody else reaches it

    def close() -> str:
        for path in open_ones:
            path.chmod(0o700 if path.is_dir() else 0o600)
        return f"{len(open_ones)} paths are their owner's alone again"

    if open_ones:
        shown = ", ".join(str(path.relative_to(home.path)) for path in open_ones[:3])
        yield Finding("permissions", "bad", f"others may read {len(open_ones)} paths: {shown}", fix=close)
    try:
        home.create()
        if key_is_there(home.path):  # one that is made anew would hide that the old one is gone
            load_key(home.path)
    except HomeError as error:
        yield Finding("permissions", "bad", str(error), "give the worker's user the home: chown -R")
        return
    if not open_ones:
        yield Finding("permissions", "ok", "the home is its owner's alone, and can be written")


def _too_open(path: Path) -> bool:
    try:
        found = path.lstat()
    except OSError:
        return False
    # DuckDB makes its WAL with the umask; the folder around it is closed.
    own = stat.S_ISLNK(found.st_mode) or path.name.startswith("buffer.duckdb.")
    return not own and bool(found.st_mode & 0o077)


def check_worker(exam: Exam) -> Iterator[Finding]:
    """Who holds the home, told by the lock and never by the pid: in every container there is a pid 1."""
    try:
        descriptor = os.open(exam.home.lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        yield Finding("worker", "ok", "no worker has run yet")
        return
    except OSError as error:
        yield Finding("worker", "bad", f"{exam.home.lock}: {error.strerror}", "check its owner and permissions")
        return
    pid = "unknown"
    try:
        pid = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        yield Finding("worker", "ok", f"a worker holds the home (pid {pid} where it runs)")
    else:
        yield Finding("worker", "note", f"no worker holds the home; the last one was pid {pid}")
    finally:
        os.close(descriptor)


def check_room(exam: Exam) -> Iterator[Finding]:
    """Room on the volume, for what comes and for a compaction."""
    free = shutil.disk_usage(exam.home.path).free
    inodes = os.statvfs(exam.home.path)
    size = exam.home.database.stat().st_size if exam.home.database.exists() else 0
    told = f"{free / (1 << 20):,.0f} MiB are free, the buffer's file has {size / (1 << 20):,.0f}"
    if free < _ROOM:
        yield Finding("room", "warn", told, "make room: what the volume refuses is dropped by runs, and counted")
    elif free < size:
        yield Finding("room", "warn", f"{told}: not enough for a compaction, which needs as much again")
    elif inodes.f_files and inodes.f_favail < _INODES:
        yield Finding("room", "warn", f"only {inodes.f_favail:,} files more can be made on this volume")
    else:
        yield Finding("room", "ok", told)


def check_clock(exam: Exam) -> Iterator[Finding]:
    """Times in the home that lie ahead of the clock."""
    ahead = {}
    for name in ("worker.json", "upkeep.json"):
        at = _noted(exam.home.path / name)
        if at is not None:
            ahead[name] = (at - exam.now).total_seconds()
    journal = list(exam.home.journal.glob("*.jsonl"))
    if journal:
        ahead["the journal"] = max(path.stat().st_mtime for path in journal) - time.time()
    newest = (exam.looked.get("newest") or [None])[0]
    if newest:
        ahead["the buffer"] = (datetime.fromisoformat(str(newest)) - exam.now).total_seconds()
    odd = {name: seconds for name, seconds in ahead.items() if seconds > _SKEW_SECONDS}
    if odd:
        told = ", ".join(f"{name} by {seconds:,.0f} s" for name, seconds in odd.items())
        yield Finding(
            "clock",
            "warn",
            f"written in the future: {told}; the clock went back, or it was wrong then",
            "set the clock (NTP). Nothing is lost: retention follows a clock by no more than a day an hour",
        )
    else:
        yield Finding("clock", "ok", "nothing in the home lies ahead of the clock")


def _noted(path: Path) -> datetime | None:
    try:
        note = orjson.loads(path.read_bytes())
        return read_stamp(note.get("at") or note.get("last_tick_at"))
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def check_leftovers(exam: Exam) -> Iterator[Finding]:
    """What killed processes left, and deletions that were begun."""
    found = [
        path
        for pattern in (
            ".*", "replies/.*", "requests/.*", "requests/*.done.json", "buffer.duckdb.compact*", "buffer.duckdb.tmp",
        )
        for path in exam.home.path.glob(pattern)
        if _is_old(path)
    ]  # fmt: skip
    asked = [path for path, _ in requests.waiting(exam.home) if _is_old(path)]
    if asked:
        yield Finding(
            "leftovers", "warn", f"{len(asked)} requests, deletions most likely, wait for a worker: {asked[0].name}",
            "start the worker: it does what was asked at its next tick",
        )  # fmt: skip

    def clear() -> str:
        for path in found:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        return f"{len(found)} removed"

    if found:
        shown = ", ".join(str(path.relative_to(exam.home.path)) for path in found[:3])
        yield Finding("leftovers", "warn", f"drafts of processes that were killed: {shown}", fix=clear)
    begun = exam.looked.get("undone") or []
    if begun:

        def finish() -> str:
            place = erase.Place(exam.home, exam.buffer, Reader(exam.home.journal), Replies(exam.home.replies))
            return f"{len(erase.finish_begun(place, now=exam.now))} finished"

        yield Finding("leftovers", "bad", f"deletions that were begun and not finished: {', '.join(begun)}", fix=finish)
    if not (found or asked or begun):
        yield Finding("leftovers", "ok", "no drafts, no unfinished deletion")


def _is_old(path: Path) -> bool:
    try:
        return path.lstat().st_mtime < time.time() - _DRAFT_SECONDS
    except FileNotFoundError:  # the draft of a process that lives
        return False
