"""Segment files: their names, making one under lock, and asking whether its writer lives.

A segment is called `host-bootid-pid-uuid.N.jsonl`. Its writer holds an exclusive `flock` on it for as long as it
may write, so liveness is a question to the kernel and not to a pid (every container has a pid 1).
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import re
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agenther_live.journal.framing import header

__all__ = ["Segment", "create_segment", "exclusively", "is_locked", "list_segments", "make_private", "new_writer_id"]

_NAME = re.compile(r"(?P<writer>[^.]+-[^.]+-\d+-[0-9a-f]{32})\.(?P<n>\d+)\.jsonl\Z")


@dataclass(frozen=True)
class Segment:
    """One segment file as the folder lists it; `size` in bytes."""

    writer: str
    n: int
    path: Path
    size: int
    mtime_ns: int


def new_writer_id() -> str:
    """Name a writer: host, boot, pid and a random part, for people first and unique by the last."""
    host = re.sub(r"[^A-Za-z0-9_]+", "_", socket.gethostname())[:32] or "host"
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    except OSError:  # not Linux: the random part alone keeps writers apart
        boot = "0"
    return f"{host}-{boot}-{os.getpid()}-{uuid.uuid4().hex}"


def make_private(folder: Path) -> None:
    """Make a folder and its missing parents, each readable by its owner only; one that exists is left as it is."""
    if not folder.is_dir():
        make_private(folder.parent)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)


def create_segment(folder: Path, writer: str, n: int) -> io.FileIO:
    """Make and lock a new segment with its header line, for appending.

    The file is empty until it is locked, and readers remove empty files under the lock only; so a writer that finds
    its new file unlinked behind the lock makes another.

    Raises:
        OSError: the folder cannot be made or written, or its file system knows no locks.
    """
    make_private(folder)
    path = folder / f"{writer}.{n}.jsonl"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
    file = io.FileIO(fd, "a")
    try:
        _lock(file)
        if os.fstat(fd).st_nlink == 0:
            raise FileNotFoundError(f"{path} was removed while it was made")
        line = header(writer, n, time.time())
        if file.write(line) != len(line):
            raise OSError(f"{path}: no room for the header")
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        file.close()
        raise
    return file


def list_segments(folder: Path) -> dict[str, list[Segment]]:
    """List the segments of a folder by writer, each writer's in order; a missing folder is empty."""
    found: dict[str, list[Segment]] = {}
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        return found
    for entry in entries:
        if (match := _NAME.match(entry.name)) is None or not entry.is_file(follow_symlinks=False):
            continue
        try:
            stat = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        segment = Segment(match["writer"], int(match["n"]), Path(entry.path), stat.st_size, stat.st_mtime_ns)
        found.setdefault(segment.writer, []).append(segment)
    for segments in found.values():
        segments.sort(key=lambda segment: segment.n)
    return found


def is_locked(path: Path) -> bool:
    """Tell whether a writer holds this segment; a file that is gone is held by nobody."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:  # no telling: nobody is given up for that
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


@contextlib.contextmanager
def exclusively(path: Path) -> Iterator[int | None]:
    """Hold a segment's lock for the block, as (file descriptor), or give None where a writer has it or it is gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield fd
    finally:
        os.close(fd)


def _lock(file: io.FileIO) -> None:
    """Take the lock; a reader that asks about liveness holds it for microseconds, so try for a moment."""
    for _ in range(100):
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(0.001)
    raise BlockingIOError("a reader does not let go of a new segment's lock")
