"""One file of JSON lines to trajectories, line by line: `Imported` or `Refused`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from agenther_live.clock import utcnow
from agenther_live.integrations.transcripts.lines import Damage, Line, read_lines
from agenther_live.integrations.transcripts.records import Redacts, Unreadable, convert, parse
from agenther_live.trajectory import Evidence, Trajectory

__all__ = ["MAX_LINE_BYTES", "Imported", "Redacts", "Refused", "read"]

MAX_LINE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Imported:
    """A record that became a trajectory. `evidence` is empty where it has no grade; `size` is its line in bytes."""

    trajectory: Trajectory
    evidence: tuple[Evidence, ...]
    file: str
    line: int
    size: int


@dataclass(frozen=True, slots=True)
class Refused:
    """A record, or a file (line 0), that could not be read; the reason never quotes the text."""

    file: str
    line: int
    reason: str


def read(
    path: str | Path,
    *,
    agent: str | None = None,
    policy_version: str | None = None,
    redactor: Redacts | None = None,
    now: datetime | None = None,
    max_line_bytes: int = MAX_LINE_BYTES,
) -> Iterator[Imported | Refused]:
    """Read the JSON lines of `path` (also gzip, told by its content), one record in memory at a time.

    `agent` names the agent where it is not to be the record's own or its source; `redactor` replaces secrets in the
    whole record before anything is derived from it; `now` is the evidence's time (naive UTC, default: the present).
    Never raises for what stands in the file, nor for a file that is missing: the reason comes as `Refused`.
    """
    file = str(path)
    at = now or utcnow()
    first = True
    for item in read_lines(Path(path), max_line_bytes=max_line_bytes):
        if isinstance(item, Damage):
            yield Refused(file, item.number, item.reason)
            continue
        if first and (reason := _not_lines(item)):
            yield Refused(file, item.number, reason)
            return
        first = False
        try:
            trajectory, evidence = convert(
                parse(item.data), agent=agent, policy_version=policy_version, redactor=redactor, now=at
            )
        except Unreadable as error:
            if item.whole:
                yield Refused(file, item.number, str(error))
            continue  # the damage that cut the line off is reported next
        yield Imported(trajectory, evidence, file, item.number, len(item.data))


def _not_lines(line: Line) -> str | None:
    """Recognise a file that is one JSON document over many lines, to say so once and not once a line."""
    start = line.data.strip()
    if start.startswith(b"["):
        return "a JSON array: JSON lines are needed, one object a line (jq -c '.[]' makes them)"
    if start == b"{":
        return "JSON over several lines: JSON lines are needed, one object a line (jq -c . makes them)"
    return None
