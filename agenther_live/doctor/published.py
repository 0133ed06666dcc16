"""Checks of the shards: the manifest against the files, and both against the buffer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

import orjson

from agenther_live.buffer.engines import apart
from agenther_live.buffer.store import Buffer
from agenther_live.buffer.upkeep.adopt import adopt_shard, samples_of
from agenther_live.doctor.findings import Exam, Finding
from agenther_live.errors import ShardError
from agenther_live.settings import ShardFormat
from agenther_live.shards.files.catalog import SHAREGPT_README
from agenther_live.shards.files.manifest import Entry, Manifest, live
from agenther_live.shards.files.parquet import to_parquet
from agenther_live.shards.files.publish import recover
from agenther_live.shards.files.writer import TEMPORARY, file_sha256, replace_file
from agenther_live.shards.reading.stream import row_id, verified_lines
from agenther_live.shards.rows.formats import encode, row

__all__ = ["check_shards"]


def check_shards(exam: Exam) -> Iterator[Finding]:
    """Every live file is there with the manifest's bytes, and the buffer knows the same shards."""
    root, embedded = exam.home.shards, exam.buffer.engine_name == "duckdb"
    try:
        entries = Manifest(root).entries() if embedded or not exam.readable else _read_beside_others(exam)
        Manifest(root).retractions()
    except ShardError as error:
        yield Finding("shards", "bad", str(error), "readers stop there: restore the line from a copy of the folder")
        return
    alive = live(entries)
    broken = [entry for entry in alive if not _whole(root, entry)]
    for entry in broken:
        yield _broken(exam, entry)
    if exam.readable and exam.looked.get("shards") is not None:
        lost = _lost(exam, entries)
        if lost and not entries and not embedded:
            yield Finding("shards", "note", "this home holds none of the buffer's shards: another one publishes them")
            return
        yield from _check_ledger(exam, entries, lost)
        # Where shards are lost, files that no line names are what was published; where others publish, what they write.
        if not lost and embedded:
            yield from _check_strays(exam, entries)
    if not broken:
        yield Finding("shards", "ok", f"{len(alive)} live files, each with the bytes that the manifest says")


def _read_beside_others(exam: Exam) -> list[Entry]:
    """Read the manifest and what the buffer knows of it while no worker publishes; the latter is left out if one does.

    By the engine itself: the buffer would bring an older schema to this version's.
    """
    engine = exam.buffer._engine
    with engine.alone("emit") as ours, engine.read() as tx:
        if ours:
            rows = tx.connection.exec_driver_sql(apart.LOOKS["shards"])
            exam.looked["shards"] = [list(row) for row in rows]
        return Manifest(exam.home.shards).entries()


def _whole(root: Path, entry: Entry) -> bool:
    try:
        return file_sha256(root / entry.path) == entry.sha256
    except OSError:
        return False


def _broken(exam: Exam, entry: Entry) -> Finding:
    path = exam.home.shards / entry.path
    what = f"{entry.path} is missing" if not path.exists() else f"{entry.path} has other bytes than the manifest says"
    return Finding(
        "shards", "bad", what,
        "--repair makes it again from the buffer, if the same bytes come of it; else restore it from a copy",
        fix=lambda: _make_again(exam, entry),
    )  # fmt: skip


def _make_again(exam: Exam, entry: Entry) -> str:
    retractions = [each for each in Manifest(exam.home.shards).retractions() if each.seq <= entry.retractions]
    gone = {key for each in retractions for key in each.samples}
    with exam.buffer.reading() as tx:
        samples = [one for one in samples_of(tx, entry.seq) if one.sample_id not in gone]
    lines = [encode(row(entry.format, sample)) for sample in samples]
    content = to_parquet(entry.format, lines) if entry.files == "parquet" else b"".join(lines)
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        return f"{entry.path} cannot be made again: the buffer would give other bytes"
    replace_file(exam.home.shards, entry.path, [content])
    return f"{entry.path} was made again, with the same bytes"


def _lost(exam: Exam, entries: Sequence[Entry]) -> list[int]:
    """Give the numbers of the shards that the buffer knows as published, and the manifest does not name."""
    listed = {entry.seq for entry in entries if entry.revision == 0}
    return [int(seq) for seq, _, state, _ in exam.looked["shards"] if state == "published" and seq not in listed]


def _check_ledger(exam: Exam, entries: Sequence[Entry], lost: Sequence[int]) -> Iterator[Finding]:
    listed = {entry.seq: entry for entry in entries if entry.revision == 0}
    known = {int(seq): str(state) for seq, _, state, _ in exam.looked["shards"]}
    unknown = [listed[seq] for seq in sorted(listed.keys() - known.keys())]
    if unknown:
        yield Finding(
            "shards", "bad",
            f"the buffer does not know {len(unknown)} shards of the manifest, from {unknown[0].seq} on: it is older "
            "than its shards (a WAL that lost its end, or a snapshot put back)",
            "--repair takes them over, so that no sample is published twice and no number is given again",
            fix=lambda: _adopt(exam.buffer, exam.home.shards, unknown, exam),
        )  # fmt: skip
    if lost:
        yield Finding(
            "shards", "bad", f"the manifest lacks {len(lost)} shards that were published, from {lost[0]} on",
            "restore manifest.jsonl from a copy: readers trust it alone",
        )  # fmt: skip
    begun = [seq for seq, state in known.items() if state == "writing"]
    if begun:
        yield Finding(
            "shards", "note", f"shards {', '.join(map(str, begun))} were begun and not published",
            "nothing: the next tick finishes them, with the same bytes", fix=lambda: _finish(exam),
        )  # fmt: skip


def _finish(exam: Exam) -> str:
    done = recover(exam.buffer, exam.home.shards, now=exam.now, files=exam.settings.shard_files)
    return f"{len(done.recovered)} finished, {len(done.failed)} given up"


def _adopt(buffer: Buffer, root: Path, unknown: Sequence[Entry], exam: Exam) -> str:
    taken = 0
    for entry in unknown:
        try:
            ids = [row_id(entry, index, orjson.loads(line)) for index, line in enumerate(verified_lines(root, entry))]
        except (ShardError, orjson.JSONDecodeError, KeyError):
            ids = []  # replaced since, and removed: its number is spent all the same
        with buffer.writing() as tx:
            adopt_shard(tx, entry, ids, now=exam.now)
        taken += 1
    return f"{taken} shards are known to the buffer again"


def _check_strays(exam: Exam, entries: Sequence[Entry]) -> Iterator[Finding]:
    root = exam.home.shards
    if any(state == "writing" for _, _, state, _ in exam.looked["shards"]):
        return
    listed = {entry.path for entry in entries}
    strays = [
        path
        for fmt in get_args(ShardFormat)
        for path in sorted((root / fmt).glob("*"))
        if str(path.relative_to(root)) not in {*listed, SHAREGPT_README}
    ] + sorted((root / TEMPORARY).glob("*"))

    def remove() -> str:
        for path in strays:
            path.unlink(missing_ok=True)
        return f"{len(strays)} removed"

    if strays:
        yield Finding(
            "shards", "warn", f"{len(strays)} files that no manifest line names, such as {strays[0].relative_to(root)}",
            "readers do not see them", fix=remove,
        )  # fmt: skip
