"""Checks of the two append-only stores: the journal's segments, and the replies of models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from agenther_live.doctor.findings import Exam, Finding
from agenther_live.journal.framing import READABLE, scan
from agenther_live.journal.segments import Segment, is_locked, list_segments

__all__ = ["check_journal", "check_replies"]


def check_journal(exam: Exam) -> Iterator[Finding]:
    """Segments: torn, corrupt, of a newer format, set aside; and whose writers live."""
    writers = list_segments(exam.home.journal)
    seen: Counter[str] = Counter()
    for segments in writers.values():
        seen["living" if any(is_locked(segment.path) for segment in segments) else "gone"] += 1
        for segment in segments:
            yield from _check_segment(segment, seen)
    aside = sorted((exam.home.journal / "damaged").glob("*"))
    if aside:
        yield Finding(
            "journal",
            "warn",
            f"{len(aside)} files without one readable line were set aside: {', '.join(p.name for p in aside[:3])}",
            f"what they held is lost; look at them, then remove them from {aside[0].parent}",
        )
    total = sum(segment.size for segments in writers.values() for segment in segments)
    yield Finding(
        "journal",
        "ok",
        f"{seen['living']} writers live, {seen['gone']} are gone, {total:,} bytes, {seen['lines']:,} lines",
    )


def _check_segment(segment: Segment, seen: Counter[str]) -> Iterator[Finding]:
    try:
        data = segment.path.read_bytes()
    except FileNotFoundError:  # taken in meanwhile
        return
    except OSError as error:
        yield Finding("journal", "bad", f"{segment.path}: {error.strerror}", "check its owner, and the volume")
        return
    bad = 0
    for start, _, record in scan(data):
        seen["lines"] += 1
        if record is None:
            bad += 1
        elif start == 0 and record.get("k") == "segment" and record.get("v") not in READABLE:
            yield Finding(
                "journal",
                "bad",
                f"{segment.path.name} has format {record.get('v')}, which this version cannot read",
                "upgrade the worker; until then the file waits",
            )
            return
    if bad:
        yield Finding(
            "journal",
            "warn",
            f"{segment.path.name}: {bad} damaged lines; each is skipped and counted (`journal.bad_lines` in counters)",
            "the volume lost bytes: check it. What stands in other lines is taken in",
        )
    torn = len(data) - (data.rfind(b"\n") + 1)
    if torn and not is_locked(segment.path):
        yield Finding(
            "journal",
            "note",
            f"{segment.path.name} ends in {torn} bytes of a line: its writer died, or its disk was full",
            "nothing: the tail is counted (`journal.torn_tails`), and everything before it is taken in",
        )


def check_replies(exam: Exam) -> Iterator[Finding]:
    """Replies of models: damaged lines cost the question again, nothing else."""
    files = sorted(exam.home.replies.glob("*.jsonl"))
    lines = bad = 0
    for path in files:
        try:
            records = [record for _, _, record in scan(path.read_bytes())]
        except OSError as error:
            yield Finding("replies", "bad", f"{path}: {error.strerror}", "check its owner, and the volume")
            continue
        lines += len(records)
        bad += sum(record is None for record in records)
    if bad:
        yield Finding(
            "replies",
            "warn",
            f"{bad} of {lines} replies are damaged",
            "nothing: such a question is asked, and paid, again",
        )
    else:
        yield Finding("replies", "ok", f"{lines:,} replies in {len(files)} files")
