"""A finite set of rows for one training run: hashed, with its lineage, and a cursor for the next one.

A set is a folder that appears whole: the rows in one file, what the trainer finds it by, `LINEAGE.json`, and
`CURSOR.json`, which is where the consumer stands after it. The same cursor is then put beside the shards; where that
did not happen, because the puller was killed in between, pulling to the same folder again makes up for it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from agenther_live.errors import ShardError, UsageError
from agenther_live.settings import ShardFormat
from agenther_live.shards.files.catalog import README, TRAINER_INDEX, catalog
from agenther_live.shards.files.manifest import Entry
from agenther_live.shards.files.writer import file_sha256, sync_folder
from agenther_live.shards.reading.consumers import read_cursor, record, write_cursor
from agenther_live.shards.reading.cursor import Cursor
from agenther_live.shards.reading.follow import ShardStream
from agenther_live.shards.rows.formats import DIALECTS, SCHEMA_VERSION, encode
from agenther_live.shards.stores.storage import write_whole

__all__ = ["LINEAGE", "NAMES", "Pulled", "pull"]

LINEAGE = "LINEAGE.json"
CURSOR = "CURSOR.json"
NAMES: Mapping[str, ShardFormat] = {"llamafactory": "sharegpt"}
"""Names of trainers that mean a format, besides the formats' own names."""


@dataclass(frozen=True)
class Pulled:
    """What a pull did: `out` is None where nothing was new, `rows` and `samples` are then 0."""

    consumer: str
    format: ShardFormat
    out: str | None = None
    file: str | None = None
    rows: int = 0
    samples: int = 0
    sha256: str | None = None
    stale: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Give it as JSON-ready data."""
        return asdict(self)


def pull(
    root: str | Path,
    fmt: str,
    *,
    consumer: str,
    out: str | Path,
    everything: bool = False,
    max_staleness: int | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Pulled:
    """Write what is new for this consumer, or everything that is live, as a set in the folder `out`.

    Args:
        root: the shards' folder or URL.
        fmt: a shard format, or 'llamafactory' (sharegpt, with a dataset_info.json that names the file).
        consumer: whose cursor it is.
        out: a folder that is not there yet, or is empty.
        everything: begin anew; the cursor then stands behind all of it.
        max_staleness: as in `ShardStream`; None takes rows of any policy version.
        storage_options: for the URL's file system.

    Raises:
        UsageError: the format is not known, `out` holds something, or another pull is writing it.
        ShardError: a shard is not as it must be, or `out` cannot be written.
    """
    known = NAMES.get(fmt, fmt)
    stream = ShardStream(
        root,
        known,  # type: ignore[arg-type]  # it names what is allowed
        consumer=consumer,
        replay_ratio=0.0,
        max_staleness=max_staleness,
        storage_options=storage_options,
    )
    folder = Path(os.path.abspath(Path(out).expanduser()))
    kept = read_cursor(stream.source, consumer, stream.format)
    before = None if everything else kept
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        done, state = _finished(stream, consumer, folder, before, kept)
    else:
        if before is not None:
            stream.load_state_dict(before)
        done = _made(stream, consumer, folder, before, llamafactory=fmt in NAMES)
        state = stream.state_dict()
    write_cursor(stream.source, consumer, state)
    record(stream.source, consumer, Cursor.load(state))
    return done


def _made(
    stream: ShardStream, consumer: str, folder: Path, before: Mapping[str, Any] | None, *, llamafactory: bool
) -> Pulled:
    """Write the set beside its place, and move it there when it is whole."""
    earlier = stream.figures["stale"]
    with _drafting(folder) as draft:
        lineage = _rows(stream, consumer, draft / f"{stream.format}.jsonl")
        lineage |= {"stale_left_out": stream.figures["stale"] - earlier, "begins_behind": _digest(before)}
        if not lineage["rows"]:
            shutil.rmtree(draft)
            return Pulled(consumer, stream.format, stale=lineage["stale_left_out"])
        _index(draft, stream.format, lineage, llamafactory=llamafactory)
        write_whole(draft / CURSOR, orjson.dumps(stream.state_dict()) + b"\n")
        write_whole(draft / LINEAGE, json.dumps(lineage, indent=1, ensure_ascii=False).encode() + b"\n")
        with suppress(FileNotFoundError):
            folder.rmdir()  # an empty one is replaced
        draft.rename(folder)
        sync_folder(folder.parent)
    return _told(folder, lineage)


@contextmanager
def _drafting(folder: Path) -> Iterator[Path]:
    """Give an empty folder beside the set's place, locked, so that of two pulls to one place the second is told."""
    draft = folder.with_name(f".{folder.name}.pull")
    try:
        draft.mkdir(parents=True, exist_ok=True)
        held = os.open(draft, os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(f"{folder}: another pull is writing there") from None
            for left in draft.iterdir():  # of a puller that was killed
                left.unlink()
            try:
                yield draft
            except (OSError, ShardError):
                shutil.rmtree(draft, ignore_errors=True)  # a full volume has its room back
                raise
        finally:
            os.close(held)
    except OSError as error:
        raise ShardError(f"{folder} cannot be written: {error.strerror or error}") from error


def _rows(stream: ShardStream, consumer: str, path: Path) -> dict[str, Any]:
    """Write the rows as they come, and give their lineage."""
    digest, size = hashlib.sha256(), 0
    versions, kinds, shards, ids = Counter[str](), Counter[str](), Counter[int](), list[str]()
    listed = DIALECTS[stream.format].listed
    with path.open("xb") as file:
        for found in stream.rows(wait=False):
            line = encode(found.row)
            digest.update(line)
            size += len(line)
            file.write(line)
            shards[found.seq] += 1
            if listed:
                versions[found.row["policy_version"]] += 1
                kinds[found.row["kind"]] += 1
            else:  # the rows have no room for it
                ids.append(found.sample_id)
        file.flush()
        os.fsync(file.fileno())
    latest = {entry.seq: entry for entry in stream.source.entries if entry.rows}
    return {
        "v": 1,
        "consumer": consumer,
        "source": stream.source.name,
        "format": stream.format,
        "schema_version": SCHEMA_VERSION,
        "file": path.name,
        "rows": shards.total(),
        "samples": shards.total(),  # a stream without replay gives each once
        "bytes": size,
        "sha256": digest.hexdigest(),
        **({"policy_versions": dict(versions), "kinds": dict(kinds)} if listed else {"sample_ids": ids}),
        "retractions_seen": stream.source.retractions,
        "shards": [_origin(latest[seq], rows) for seq, rows in sorted(shards.items())],
    }


def _origin(entry: Entry, rows: int) -> dict[str, Any]:
    return {
        "seq": entry.seq,
        "revision": entry.revision,
        "path": entry.path,
        "sha256": entry.sha256,
        "rows": rows,
    }


def _index(draft: Path, fmt: ShardFormat, lineage: Mapping[str, Any], *, llamafactory: bool) -> None:
    """Write what a trainer finds the file by: the README of `load_dataset`, LLaMA-Factory's dataset_info.json."""
    entry = Entry(0, fmt, lineage["file"], lineage["rows"], lineage["sha256"], lineage["bytes"])
    lists = catalog([entry])
    if llamafactory:
        # One file is named as such, so the trainer needs no Hub client to find its way through a README.
        known = json.loads(lists[TRAINER_INDEX])
        for described in known.values():
            for key in ("script_url", "subset", "split"):
                described.pop(key, None)
            described["file_name"] = entry.path
        write_whole(draft / TRAINER_INDEX, json.dumps(known, indent=2).encode() + b"\n")
    elif DIALECTS[fmt].listed:
        write_whole(draft / README, lists[README].encode())


def _finished(
    stream: ShardStream,
    consumer: str,
    folder: Path,
    before: Mapping[str, Any] | None,
    kept: Mapping[str, Any] | None,
) -> tuple[Pulled, Mapping[str, Any]]:
    """Take a set that is there already as this consumer's last one, where only its cursor was not put down."""
    refused = UsageError(f"{folder} is not empty; each pull writes a folder of its own")
    try:
        lineage = orjson.loads((folder / LINEAGE).read_bytes())
        state = orjson.loads((folder / CURSOR).read_bytes())
        found = (lineage["consumer"], lineage["format"], lineage["begins_behind"])
        sha256 = file_sha256(folder / lineage["file"])
    except (OSError, ValueError, KeyError, TypeError):
        raise refused from None
    if found != (consumer, stream.format, _digest(before)) or _digest(kept) == _digest(state):
        raise refused
    if sha256 != lineage["sha256"]:
        raise ShardError(f"{folder / lineage['file']} has other bytes than its {LINEAGE} says")
    return _told(folder, lineage), state


def _digest(state: Mapping[str, Any] | None) -> str:
    return "" if state is None else hashlib.sha256(orjson.dumps(state)).hexdigest()


def _told(folder: Path, lineage: Mapping[str, Any]) -> Pulled:
    return Pulled(
        consumer=lineage["consumer"],
        format=lineage["format"],
        out=os.fspath(folder),
        file=lineage["file"],
        rows=lineage["rows"],
        samples=lineage["samples"],
        sha256=lineage["sha256"],
        stale=lineage["stale_left_out"],
    )
