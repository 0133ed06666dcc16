"""A file's records into the replay buffer, in bounded batches; the buffer is only touched to write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from agenther_live.integrations.transcripts.reading import Imported, Redacts, Refused, read
from agenther_live.trajectory import Evidence, Trajectory

_BATCH = 200
_BATCH_BYTES = 32 << 20


class Sink(Protocol):
    """Where trajectories go: the replay buffer."""

    def add_trajectories(self, items: Iterable[tuple[Trajectory, Sequence[Evidence]]], /) -> object:
        """Store trajectories with their evidence; one that is there already stays as it is."""
        ...


@dataclass(slots=True)
class ImportReport:
    """What came of one file. `read` counts records, `imported` those that became trajectories (also known ones)."""

    read: int = 0
    imported: int = 0
    refused: list[Refused] = field(default_factory=list)


def import_file(
    path: str | Path,
    sink: Sink,
    *,
    agent: str | None = None,
    policy_version: str | None = None,
    redactor: Redacts | None = None,
    progress: Callable[[int], None] | None = None,
) -> ImportReport:
    """Import one file of JSON lines; importing it again changes nothing.

    `progress` is called with the number of records read so far, after each batch. What the sink raises is raised:
    the batches before it are stored, and a second import goes on where it matters.
    """
    report = ImportReport()
    batch: list[Imported] = []

    def store() -> None:
        if batch:
            sink.add_trajectories([(item.trajectory, item.evidence) for item in batch])
            report.imported += len(batch)
            batch.clear()
        if progress is not None:
            progress(report.read)

    for item in read(path, agent=agent, policy_version=policy_version, redactor=redactor):
        if isinstance(item, Refused):
            report.refused.append(item)
            report.read += item.line > 0  # line 0 is the file as such, not a record
            continue
        report.read += 1
        batch.append(item)
        if len(batch) >= _BATCH or sum(held.size for held in batch) >= _BATCH_BYTES:
            store()
    store()
    return report
