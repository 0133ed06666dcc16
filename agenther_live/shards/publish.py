"""Publishing: pending samples become shards, once each, whatever is killed when.

The order of commit, of which every step can be done again and none can be left out:

1. the ledger commits that shard `seq` holds these samples (`writing`);
2. the file is written under a temporary name, synced, renamed, its folder synced;
3. the manifest gets its line, synced: from here on readers see the shard;
4. the ledger commits `published`;
5. README.md and dataset_info.json are made anew from the manifest.

`recover` finishes what was begun, with the same bytes. Rows are checked before step 1: one that a trainer could not
take is set aside with a counted word, and a shard that fails as a whole is never begun.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from agenther_live.errors import MoveRefused, ShardError
from agenther_live.labels import Sample
from agenther_live.settings import ShardFormat
from agenther_live.shards.canonical import RowRefused
from agenther_live.shards.catalog import write_catalog
from agenther_live.shards.check import row_problems, shard_problems
from agenther_live.shards.formats import DIALECTS, SCHEMA_VERSION, encode, row, trains_final_answer
from agenther_live.shards.heldout import HeldOut
from agenther_live.shards.manifest import Entry, Manifest, live
from agenther_live.shards.retract import clean_shards
from agenther_live.shards.rotate import Backlog, Limits, aged, cut, due
from agenther_live.shards.writer import ShardFile, file_sha256, shard_path, write_shard

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
    """What one call did. `set_aside` counts words; `waiting` are rows held back so that half train a final answer."""

    shards: list[ShardFile] = field(default_factory=list)
    recovered: list[ShardFile] = field(default_factory=list)
    set_aside: Counter[str] = field(default_factory=Counter)
    waiting: int = 0
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
    step: Step = _no_step,
) -> Published:
    """Finish what was begun, publish what is due in each format, then what is to be retracted.

    `now` is naive UTC; `flush` makes shards of whatever waits. `step` is told the name of each step as it ends.

    Raises:
        ShardError: where the volume refuses or the manifest cannot be read; nothing is lost, a later call goes on.
    """
    report = Published()
    recover(ledger, root, now=now, report=report, step=step)
    for fmt in formats:
        _publish_format(ledger, root, fmt, limits or Limits(), held_out, now, flush, report, step)
    retract_due(ledger, root, now=now, report=report, step=step)
    if entries := Manifest(root).entries():
        write_catalog(root, live(entries))
    step("catalogued")
    return report


def _publish_format(
    ledger: Ledger,
    root: Path,
    fmt: ShardFormat,
    limits: Limits,
    held_out: HeldOut | None,
    now: datetime,
    flush: bool,
    report: Published,
    step: Step,
) -> None:
    while due(ledger.backlog(fmt), limits, now=now, flush=flush):
        # Twice a shard's rows: those that must wait for company do not hide the others.
        samples = ledger.pending(fmt, 2 * limits.rows)
        rows, refused = _rows(ledger, fmt, samples, held_out)
        # A full load of pending samples has more behind it, so its rest is left to the next round. What waits for
        # company does not age: else it would break all that comes later into tiny shards.
        made_at = {sample.sample_id: sample.created_at for sample in samples}
        old = any(aged(made_at[sample_id], limits, now=now) for sample_id, _, final in rows if final)
        rest = (flush or old) and len(samples) < 2 * limits.rows
        parts, alone = cut([(len(line), final) for _, line, final in rows], limits, rest=rest)
        begun = sum(_publish_one(ledger, root, fmt, [rows[at] for at in part], now, report, step) for part in parts)
        waiting = [rows[at][0] for at in alone]
        # At most a shard's worth waits: else a run of rows without a final answer would stop the format.
        refused |= dict.fromkeys(waiting[: max(0, len(waiting) - limits.rows)], "final_share")
        if refused:
            ledger.set_aside(fmt, refused)
            report.set_aside.update(refused.values())
        report.waiting = len(waiting)
        if not (begun or refused):
            return


Row = tuple[str, bytes, bool]


def _rows(
    ledger: Ledger, fmt: ShardFormat, samples: Sequence[Sample], held_out: HeldOut | None
) -> tuple[list[Row], dict[str, str]]:
    """Make the rows (sample id, line, whether it trains a final answer) and the words for the samples refused."""
    hashes = sorted({sample.content_hash for sample in samples if sample.content_hash})
    seen = set(ledger.published_hashes(fmt, hashes)) if hashes else set()
    rows: list[Row] = []
    refused: dict[str, str] = {}
    for sample in samples:
        reason = held_out.reason(sample) if held_out else None
        if reason is None and sample.content_hash in seen:
            reason = "duplicate"
        if reason is None:
            try:
                made = row(fmt, sample)
                line = encode(made)
                problems = row_problems(fmt, line)
            except RowRefused as error:
                reason = error.reason
            except (ValueError, TypeError) as error:  # e.g. a cycle or a NaN in a foreign tool schema
                reason = "encoding"
                logger.warning("sample %s cannot be written as %s: %s", sample.sample_id, fmt, error)
            else:
                if problems:
                    reason = "check"
                    logger.warning("sample %s fails the check of %s: %s", sample.sample_id, fmt, problems[0])
                else:
                    rows.append((sample.sample_id, line, trains_final_answer(fmt, made)))
                    seen.update({sample.content_hash} - {""})
        if reason is not None:
            refused[sample.sample_id] = reason
    return rows, refused


def _publish_one(
    ledger: Ledger,
    root: Path,
    fmt: ShardFormat,
    rows: Sequence[Row],
    now: datetime,
    report: Published,
    step: Step,
) -> bool:
    lines = [line for _, line, _ in rows]
    if problems := shard_problems(fmt, lines):
        report.failed.append(f"{fmt}: {problems[0]}")
        logger.error("a %s shard of %d rows was not published: %s", fmt, len(rows), problems[0])
        return False
    ids = [sample_id for sample_id, _, _ in rows]
    try:
        seq = ledger.begin_shard(fmt, ids)
    except MoveRefused as error:  # one was withdrawn since it was read: the next call reads anew
        report.failed.append(f"{fmt}: {error}")
        return False
    step("begun")
    report.shards.append(_finish(ledger, root, seq, fmt, ids, lines, now, step))
    return True


def _finish(
    ledger: Ledger,
    root: Path,
    seq: int,
    fmt: ShardFormat,
    ids: Sequence[str],
    lines: Sequence[bytes],
    now: datetime,
    step: Step,
) -> ShardFile:
    shard = write_shard(root, seq, fmt, lines, step=step)
    step("renamed")
    manifest = Manifest(root)
    manifest.add(
        Entry(
            **vars(shard),
            schema_version=SCHEMA_VERSION,
            published_at=_epoch(now),
            samples=tuple(ids) if not DIALECTS[fmt].listed else (),
        )
    )
    step("listed")
    ledger.publish_shard(shard)
    step("published")
    return shard


def recover(
    ledger: Ledger, root: Path, *, now: datetime, report: Published | None = None, step: Step = _no_step
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
    listed = {entry.seq: entry for entry in Manifest(root).entries() if entry.revision == 0}
    for shard in unfinished:
        ids = [sample.sample_id for sample in shard.samples]
        if entry := listed.get(shard.seq):
            path = root / entry.path
            if not path.exists() or file_sha256(path) != entry.sha256:
                raise ShardError(f"shard {path} is listed in the manifest, and is missing or has other bytes")
            done = ShardFile(entry.seq, entry.format, entry.path, entry.rows, entry.sha256, entry.bytes)
            ledger.publish_shard(done)
        else:
            try:
                lines = [encode(row(shard.format, sample)) for sample in shard.samples]
                problems = shard_problems(shard.format, lines)
            except RowRefused as error:
                lines, problems = [], [str(error)]
            if problems:
                logger.error("shard %d was given up: %s", shard.seq, problems[0])
                (root / shard_path(shard.format, shard.seq)).unlink(missing_ok=True)
                ledger.abandon_shard(shard.seq, problems[0])
                report.failed.append(f"{shard.format}: {problems[0]}")
                continue
            done = _finish(ledger, root, shard.seq, shard.format, ids, lines, now, step)
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
