"""The manifest that readers trust, and the retractions beside it: two append-only files of JSON lines.

`manifest.jsonl` has a line per published shard, in the order of publication; its first lines never change.
`retractions.jsonl` has a numbered line per retraction: rows with those sample ids are skipped by every reader.
A line counts from its newline on, so a torn tail is no line: readers leave it out, the writer cuts it off.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from agenther_live.errors import ShardError
from agenther_live.settings import ShardFormat
from agenther_live.shards.files.writer import ShardFile, ShardFiles, sync_folder

__all__ = [
    "MANIFEST",
    "RETRACTIONS",
    "Entry",
    "Manifest",
    "Retraction",
    "live",
    "read_entry",
    "read_record",
    "read_retraction",
]

MANIFEST = "manifest.jsonl"
RETRACTIONS = "retractions.jsonl"
LINE_VERSION = 1


@dataclass(frozen=True)
class Entry(ShardFile):
    """A published shard.

    `revision` 0 is the shard as it was made; a higher one replaces it and the lower ones of its `seq`, and one with
    no rows takes it away (its `path` is ''). `retractions` is the number of the last retraction that its rows obey.
    `samples` names the rows of a format that has no room for ids. `published_at` is epoch seconds. `statistics` say
    what it holds and where it comes from (`shards.statistics`).
    """

    schema_version: int = 1
    revision: int = 0
    retractions: int = 0
    published_at: float = 0.0
    samples: tuple[str, ...] = ()
    statistics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def files(self) -> ShardFiles:
        """Which form the file has."""
        return "parquet" if self.path.endswith(".parquet") else "jsonl"


@dataclass(frozen=True)
class Retraction:
    """A numbered statement that samples are not to be trained on. `at` is epoch seconds."""

    seq: int
    samples: tuple[str, ...]
    reason: str
    at: float = 0.0


def live(entries: Iterable[Entry]) -> list[Entry]:
    """Give the shards that are to be read now: the latest revision of each, by `seq`, empty ones left out."""
    latest: dict[int, Entry] = {}
    for entry in entries:
        known = latest.get(entry.seq)
        if known is None or entry.revision > known.revision:
            latest[entry.seq] = entry
    return [entry for _, entry in sorted(latest.items()) if entry.rows]


class Manifest:
    """The two files of one root. Any process may read them; appending takes a lock."""

    def __init__(self, root: Path) -> None:
        """Name the files; nothing is opened yet."""
        self.root = root

    def entries(self) -> list[Entry]:
        """Read every published shard, in the order of publication.

        Raises:
            ShardError: where a whole line is no entry.
        """
        return [read_entry(record, where) for where, record in _read(self.root / MANIFEST)]

    def retractions(self) -> list[Retraction]:
        """Read every retraction, in order.

        Raises:
            ShardError: where a whole line is no retraction.
        """
        return [read_retraction(record, where) for where, record in _read(self.root / RETRACTIONS)]

    def retracted(self) -> frozenset[str]:
        """Give the ids of all samples that were retracted."""
        return frozenset(sample for retraction in self.retractions() for sample in retraction.samples)

    def add(self, entry: Entry) -> None:
        """Publish a shard: append its line and sync. A shard that is listed already is left as it is.

        Raises:
            ShardError: where the line cannot be written, or another shard stands under this number and revision.
        """
        with _locked(self.root / MANIFEST) as file:
            for known in self.entries():
                if (known.seq, known.revision) == (entry.seq, entry.revision):
                    if known.sha256 != entry.sha256:
                        raise ShardError(f"shard {entry.seq}: the manifest lists other bytes under {known.path}")
                    return
            record = {
                key: value for key, value in asdict(entry).items() if key not in ("samples", "statistics") or value
            }
            file.append({"v": LINE_VERSION, **record})

    def retract(self, samples: Sequence[str], reason: str, *, at: float) -> int:
        """Append a retraction of the samples that are not retracted yet; give the number of the last retraction.

        Raises:
            ShardError: where the line cannot be written.
        """
        with _locked(self.root / RETRACTIONS) as file:
            known = self.retractions()
            gone = {sample for retraction in known for sample in retraction.samples}
            fresh = sorted(set(samples) - gone)
            last = known[-1].seq if known else 0
            if fresh:
                last += 1
                file.append({"v": LINE_VERSION, "seq": last, "samples": fresh, "reason": reason, "at": at})
            return last


def read_entry(record: Mapping[str, Any], where: str) -> Entry:
    """Make an entry of a manifest line, or of an object that holds one; `where` names it in an error.

    Raises:
        ShardError: where it is no entry.
    """
    try:
        fmt: ShardFormat = record["format"]
        path = str(record["path"])
        if path.startswith("/") or ".." in path.split("/"):  # read, and after a deletion removed, below the root only
            raise ShardError(f"{where}: the path {path!r} leads out of the folder of shards")
        return Entry(
            seq=int(record["seq"]),
            format=fmt,
            path=path,
            rows=int(record["rows"]),
            sha256=str(record["sha256"]),
            bytes=int(record["bytes"]),
            schema_version=int(record["schema_version"]),
            revision=int(record["revision"]),
            retractions=int(record["retractions"]),
            published_at=float(record["published_at"]),
            samples=tuple(record.get("samples", ())),
            statistics=dict(record.get("statistics", {})),
        )
    except (KeyError, TypeError, ValueError):
        raise ShardError(f"{where}: no manifest entry") from None


def read_retraction(record: Mapping[str, Any], where: str) -> Retraction:
    """Make a retraction of its line, or of an object that holds one; `where` names it in an error.

    Raises:
        ShardError: where it is no retraction.
    """
    try:
        samples = tuple(map(str, record["samples"]))
        return Retraction(int(record["seq"]), samples, str(record["reason"]), float(record["at"]))
    except (KeyError, TypeError, ValueError):
        raise ShardError(f"{where}: no retraction") from None


def read_record(line: bytes, where: str) -> Mapping[str, Any]:
    """Read one line of either file as it stands there.

    Raises:
        ShardError: where it is no JSON object of this version.
    """
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        record = None
    if not isinstance(record, dict):
        raise ShardError(f"{where}: no JSON object; restore the file or take that line out")
    if record.get("v") != LINE_VERSION:
        raise ShardError(f"{where}: written by another version ({record.get('v')!r})")
    return record


def _read(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    whole = content[: content.rfind(b"\n") + 1]
    for number, line in enumerate(whole.splitlines(), 1):
        where = f"{path}, line {number}"
        yield where, read_record(line, where)


class _Tail:
    """An append-only file that is open and locked."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def append(self, record: Mapping[str, Any]) -> None:
        line = orjson.dumps(record) + b"\n"
        end = os.fstat(self._descriptor).st_size
        try:
            written = os.write(self._descriptor, line)
            if written != len(line):
                raise OSError(None, "only a part was written")
            os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, end)  # a line is there whole or not at all
            raise


@contextmanager
def _locked(path: Path) -> Iterator[_Tail]:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = not path.exists()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if fresh:
                sync_folder(path.parent)
            _cut_torn_tail(descriptor)
            yield _Tail(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ShardError(f"{path} cannot be written: {error.strerror or error}") from error


def _cut_torn_tail(descriptor: int) -> None:
    size = end = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - 65_536)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        os.ftruncate(descriptor, end)
        os.fsync(descriptor)
