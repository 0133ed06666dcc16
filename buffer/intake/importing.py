"""Trajectories that did not come through the journal: logs of other systems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from agenther_live.assemble import Told
from agenther_live.buffer.engines.engine import Transaction, any_of
from agenther_live.buffer.intake.evidence import stated, take_statements
from agenther_live.buffer.intake.rows import storable_trajectory
from agenther_live.buffer.intake.trajectories import Written, mark_unsettled, put
from agenther_live.buffer.schema import state
from agenther_live.buffer.upkeep.tombstones import unburied
from agenther_live.settings import Settings
from agenther_live.trajectory import Evidence, Trajectory

__all__ = ["ImportReport", "add_trajectories"]


@dataclass
class ImportReport:
    """How many trajectories were new, how many were known already, and how many were deleted once and stay out."""

    imported: int = 0
    known: int = 0
    refused: int = 0

    def __iadd__(self, other: ImportReport) -> ImportReport:
        """Add up two reports."""
        self.imported += other.imported
        self.known += other.known
        self.refused += other.refused
        return self


def add_trajectories(
    tx: Transaction, items: Sequence[tuple[Trajectory, Sequence[Evidence]]], *, now: datetime, settings: Settings
) -> ImportReport:
    """Store trajectories with their evidence; what is known by its id stays as it is, its new evidence is taken."""
    given, items = len(items), unburied(tx, items, settings)
    by_id = {trajectory.trajectory_id: trajectory for trajectory, _ in items}
    tx.lock(f"id:{trajectory_id}" for trajectory_id in by_id)
    s = state.c
    known = {row[0] for row in tx.rows(select(s.trajectory_id).where(any_of(s.trajectory_id, by_id)))}
    new = [storable_trajectory(trajectory) for key, trajectory in by_id.items() if key not in known]
    put(tx, [Written(Told.of(trajectory)) for trajectory in new], {}, now=now, settings=settings)
    said = [stated(one)._replace(to_trajectory=trajectory.trajectory_id) for trajectory, told in items for one in told]
    _, changed = take_statements(tx, said, now=now)
    mark_unsettled(tx, changed)
    return ImportReport(len(new), len(items) - len(new), given - len(items))
