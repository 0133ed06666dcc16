"""Publishing: pending samples become shards, once each, whatever is killed when.

First the ledger is asked for what preference formats are made of (pairs, failures), so that they wait as other samples.
The order of commit, of which every step can be done again and none can be left out:

1. the ledger commits that shard `seq` holds these samples (`writing`);
2. the file is written under a temporary name, synced, renamed, its folder synced, and read again;
3. the manifest gets its line, synced: from here on readers see the shard;
4. the ledger commits `published`;
5. README.md and dataset_info.json are made anew from the manifest.

`recover` finishes what was begun, with the same bytes. Rows are checked before step 1: one that a trainer could not
take is set aside with a counted word, one that must reach no trainer (held out, a secret in it) is withdrawn, and a
shard that fails as a whole is never begun.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, get_args

from agenther_live.errors import MoveRefused, ShardError
from agenther_live.labels import Sample
from agenther_live.settings import ShardFormat
from agenther_live.shards.checks.check import shard_problems
from agenther_live.shards.files.admit import Mixing, Row, admit, blend
from agenther_live.shards.files.catalog import write_catalog
from agenther_live.shards.files.heldout import HeldOut
from agenther_live.shards.files.manifest import Entry, Manifest, live
from agenther_live.shards.files.retract import clean_shards
from agenther_live.shards.files.rotate import Backlog, Limits, aged, cut, due
from agenther_live.shards.files.statistics import measure, origin, warnings
from agenther_live.shards.files.writer import ShardFile, ShardFiles, file_sha256, shard_path, write_shard
from agenther_live.shards.reading.stream import verified_lines
from agenther_live.shards.rows.canonical import RowRefused
from agenther_live.shards.rows.formats import DEMONSTRATIONS, DIALECTS, SCHEMA_VERSION, encode, row
from agenther_live.shards.rows.preference import apart

__all__ = ["Due", "Ledger", "Published", "Unfinished", "publish_due", "recover", "retract_due"]

logger = logging.getLogger("agenther_live")
Step = Callable[[str], None]


@dataclass(frozen=True)
class Unfinished:
    """A shard that was begun and not published: its samples in the order of its rows."""

    seq: int
    format: ShardFormat
    samples: Sequence[Sample]


@dataclass(frozen=True)
class Due:
    """Samples that stand in published shards, or may, and must not be trained on any more.

    `shards` are the numbers of the shards that hold them, where they are known; None has every live shard read.
    """

    samples: Sequence[str]
    reason: str
    shards: Collection[int] | None = None


class Ledger(Protocol):
    """What publishing asks of the buffer. Each method is one transaction; none is kept open while files are written."""

    def backlog(self, fmt: ShardFormat) -> Backlog:
        """Count the samples that wait for this format: neither in a shard of it, nor set aside, nor withdrawn."""
        ...

    def pending(self, fmt: ShardFormat, limit: int) -> Sequence[Sample]:
        """Give those samples, oldest first."""
        ...

    def published_hashes(self, fmt: ShardFormat, hashes: Sequence[str]) -> Iterable[str]:
        """Give those of the content hashes that a sample in a shard of this format has (not one that is retracted)."""
        ...

    def derive(self, formats: Collection[ShardFormat]) -> bool:
        """Make some of what these formats need that is no sample yet; say whether more may be left."""
        ...

    def withdraw(self, sample_ids: Iterable[str], reason: str) -> Mapping[str, int]:
        """Keep samples out of every format, for good: those that a shard holds are due to be retracted."""
        ...

    def set_aside(self, fmt: ShardFormat, reasons: Mapping[str, str]) -> None:
        """Keep these samples (id → counted word) out of this format for good."""
        ...

    def begin_shard(self, fmt: ShardFormat, sample_ids: Sequence[str]) -> int:
        """Commit a shard in state `writing` with these samples in this order; give the next number of the one sequence.

        Samples that were withdrawn meanwhile must be refused with `MoveRefused`, and nothing committed.
        """
        ...

    def unfinished_shards(self) -> Sequence[Unfinished]:
        """Give every shard in state `writing`, by number."""
        ...

    def publish_shard(self, shard: ShardFile) -> None:
        """Commit a shard as published and its samples as emitted. Doing it twice changes nothing."""
        ...

    def abandon_shard(self, seq: int, reason: str) -> None:
        """Give up a shard in state `writing`: its number is spent, its samples wait again."""
        ...

    def retractions_due(self) -> Sequence[Due]:
        """Give the samples whose retraction was decided and is not yet published."""
        ...

    def retraction_done(self, sample_ids: Sequence[str], seq: int) -> None:
        """Commit that retraction number `seq` is published. Doing it twice changes nothing."""
        ...


@dataclass
class Published:
    """What one call did. `set_aside` counts words, `failed` says what was not published, and why."""

    shards: list[ShardFile] = field(default_factory=list)
    recovered: list[ShardFile] = field(default_factory=list)
    set_aside: Counter[str] = field(default_factory=Counter)
    retracted: int = 0
    failed: list[str] = field(default_factory=list)


def _no_step(_name: str) -> None:
    return None


def _epoch(now: datetime) -> float:
    return now.replace(tzinfo=UTC).timestamp()


def publish_due(
    ledger: Ledger,
    root: Path,
    formats: Sequence[ShardFormat],
    *,
    now: datetime,
    limits: Limits | None = None,
    flush: bool = False,
    held_out: HeldOut | None = None,
    mixing: Mixing | None = None,
    files: ShardFiles = "jsonl",
    step: Step = _no_step,
) -> Published:
    """Finish what was begun, publish what is due in each format, then what is to be retracted.

    `now` is naive UTC; `flush` makes shards of whatever waits. `step` is told the name of each step as it ends.

    Raises:
        ShardError: where the volume refuses or the manifest cannot be read; nothing is lost, a later call goes on.
            Or the folder holds shards of another form than `files`: what was due to be retracted was done then.
    """
    run = _Run(ledger, root, now, limits or Limits(), flush, held_out, mixing or Mixing(), files, step)
    recover(ledger, root, now=now, files=files, report=run.report, step=step)
    while ledger.derive(formats):
        step("derived")
    entries = Manifest(root).entries()
    other = _other_form(entries, files)
    for fmt in formats:
        if other is None or not DIALECTS[fmt].listed:
            _publish_format(run, fmt)
    retract_due(ledger, root, now=now, report=run.report, step=step)
    if run.report.shards or run.report.retracted:  # else the log, which grows for ever, is as it was read
        entries = Manifest(root).entries()
    if entries:
        write_catalog(root, live(entries))
    step("catalogued")
    if other is not None and any(DIALECTS[fmt].listed and ledger.backlog(fmt).count for fmt in formats):
        raise ShardError(
            f"{root} holds {other.files} shards, and shard_files = {files!r}: one folder has one form, for "
            "load_dataset reads no mix; move the folder away, or set shard_files back"
        )
    return run.report


@dataclass(frozen=True)
class _Run:
    """What the steps of one call share."""

    ledger: Ledger
    root: Path
    now: datetime
    limits: Limits
    flush: bool
    held_out: HeldOut | None
    mixing: Mixing
    files: ShardFiles
    step: Step
    report: Published = field(default_factory=Published)


def _other_form(entries: Iterable[Entry], files: ShardFiles) -> Entry | None:
    return next((entry for entry in live(entries) if DIALECTS[entry.format].listed and entry.files != files), None)


def _publish_format(run: _Run, fmt: ShardFormat) -> None:
    ledger, limits, report = run.ledger, run.limits, run.report
    while due(ledger.backlog(fmt), limits, now=run.now, flush=run.flush):
        # Twice a shard's rows: those that must wait for company do not hide the others.
        samples = ledger.pending(fmt, 2 * limits.rows)
        hashes = sorted({sample.content_hash for sample in samples if sample.content_hash})
        published = set(ledger.published_hashes(fmt, hashes)) if hashes else set()
        found = admit(fmt, samples, published=published, held_out=run.held_out, mixing=run.mixing)
        rows, surplus = found.rows, list[Row]()
        if DIALECTS[fmt].kinds == DEMONSTRATIONS:
            rows, surplus = blend(rows, run.mixing.success_share)
        # A full load of pending samples has more behind it, so its rest is left to the next round. What waits for
        # company does not age: else it would break all that comes later into tiny shards.
        old = any(aged(one.sample.created_at, limits, now=run.now) for one in rows if one.final)
        rest = (run.flush or old) and len(samples) < 2 * limits.rows
        parts, alone = cut([(len(one.line), one.final) for one in rows], limits, rest=rest)
        begun = sum(_publish_one(run, fmt, [rows[at] for at in part]) for part in parts)
        # At most a shard's worth waits: else a run of rows without a final answer would stop the format.
        refused = found.aside
        for waiting, word in (([rows[at] for at in alone], "final_share"), (surplus, "success_share")):
            refused |= {one.sample_id: word for one in waiting[: max(0, len(waiting) - limits.rows)]}
        if refused:
            ledger.set_aside(fmt, refused)
        for word in sorted(set(found.barred.values())):
            ledger.withdraw([key for key, known in found.barred.items() if known == word], word)
        report.set_aside.update(refused.values())
        report.set_aside.update(found.barred.values())
        whole = len(samples) < 2 * limits.rows and fmt != "trl_kto"  # nothing lies behind what was looked at
        if whole or not (begun or refused or found.barred):
            return


def _publish_one(run: _Run, fmt: ShardFormat, rows: Sequence[Row]) -> bool:
    if fmt == "trl_kto":  # what finds no room waits for the next shard
        rows, _ = apart(rows, [one.sample.trajectory_id for one in rows])
    lines = [one.line for one in rows]
    if problems := shard_problems(fmt, lines):
        run.report.failed.append(f"{fmt}: {problems[0]}")
        logger.error("a %s shard of %d rows was not published: %s", fmt, len(rows), problems[0])
        return False
    samples = [one.sample for one in rows]
    try:
        seq = run.ledger.begin_shard(fmt, [one.sample_id for one in rows])
    except MoveRefused as error:  # one was withdrawn since it was read: the next call reads anew
        run.report.failed.append(f"{fmt}: {error}")
        return False
    run.step("begun")
    made = [one.made for one in rows]
    run.report.shards.append(
        _finish(run.ledger, run.root, seq, fmt, samples, made, lines, run.now, run.files, run.step)
    )
    return True


def _finish(
    ledger: Ledger,
    root: Path,
    seq: int,
    fmt: ShardFormat,
    samples: Sequence[Sample],
    rows: Sequence[Mapping[str, Any]],
    lines: Sequence[bytes],
    now: datetime,
    files: ShardFiles,
    step: Step,
) -> ShardFile:
    listed = DIALECTS[fmt].listed
    shard = write_shard(root, seq, fmt, lines, files=files if listed else "jsonl", step=step)
    statistics = measure(fmt, rows, None if listed else [origin(sample) for sample in samples])
    entry = Entry(
        **vars(shard),
        schema_version=SCHEMA_VERSION,
        published_at=_epoch(now),
        samples=() if listed else tuple(sample.sample_id for sample in samples),
        statistics=statistics,
    )
    if verified_lines(root, entry) != list(lines):
        raise ShardError(f"shard {root / entry.path} was not written as it was checked; it is not published")
    step("renamed")
    Manifest(root).add(entry)
    step("listed")
    ledger.publish_shard(shard)
    step("published")
    for text in warnings(statistics, entry.rows):
        logger.warning("shard %s: %s", entry.path, text)
    return shard


def recover(
    ledger: Ledger,
    root: Path,
    *,
    now: datetime,
    files: ShardFiles = "jsonl",
    report: Published | None = None,
    step: Step = _no_step,
) -> Published:
    """Finish every shard that was begun: with the same bytes, or from the manifest where it is listed already.

    A shard that is not listed and whose rows this version of the package would refuse is given up, and its samples
    wait again.

    Raises:
        ShardError: where a listed file is missing or has other bytes than the manifest says.
    """
    report = report or Published()
    unfinished = ledger.unfinished_shards()
    if not unfinished:
        return report
    entries = Manifest(root).entries()
    listed = {entry.seq: entry for entry in entries if entry.revision == 0}
    other = _other_form(entries, files)
    form = files if other is None else other.files
    for shard in unfinished:
        if entry := listed.get(shard.seq):
            path = root / entry.path
            if not path.exists() or file_sha256(path) != entry.sha256:
                raise ShardError(f"shard {path} is listed in the manifest, and is missing or has other bytes")
            done = ShardFile(entry.seq, entry.format, entry.path, entry.rows, entry.sha256, entry.bytes)
            ledger.publish_shard(done)
        else:
            try:
                rows = [row(shard.format, sample) for sample in shard.samples]
                lines = [encode(made) for made in rows]
                problems = shard_problems(shard.format, lines)
            except RowRefused as error:
                rows, lines, problems = [], [], [str(error)]
            if problems:
                logger.error("shard %d was given up: %s", shard.seq, problems[0])
                for each in get_args(ShardFiles):
                    (root / shard_path(shard.format, shard.seq, files=each)).unlink(missing_ok=True)
                ledger.abandon_shard(shard.seq, problems[0])
                report.failed.append(f"{shard.format}: {problems[0]}")
                continue
            done = _finish(ledger, root, shard.seq, shard.format, shard.samples, rows, lines, now, form, step)
        report.recovered.append(done)
    return report


def retract_due(
    ledger: Ledger, root: Path, *, now: datetime, report: Published | None = None, step: Step = _no_step
) -> Published:
    """Publish the retractions that are due, replace the shards that hold such rows, then tell the ledger.

    Raises:
        ShardError: where the volume refuses; a later call goes on.
    """
    report = report or Published()
    todo = ledger.retractions_due()
    if not todo:
        return report
    recover(ledger, root, now=now, report=report, step=step)  # a shard that was begun may hold such rows too
    manifest = Manifest(root)
    done: list[tuple[Sequence[str], int]] = []
    for item in todo:
        done.append((item.samples, manifest.retract(item.samples, item.reason, at=_epoch(now))))
        step("retracted")
    held = [item.shards for item in todo]
    where = None if any(known is None for known in held) else {seq for known in held for seq in known or ()}
    if clean_shards(root, where, at=_epoch(now), step=step):
        write_catalog(root, live(manifest.entries()))
    for samples, seq in done:
        ledger.retraction_done(samples, seq)
        report.retracted += len(samples)
    step("retractions_done")
    return report
