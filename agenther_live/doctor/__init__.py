"""`agenther-live doctor`: look at a home, say what is wrong, and mend what can be mended."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from datetime import datetime

from agenther_live.buffer.store import Buffer
from agenther_live.doctor.database import check_buffer
from agenther_live.doctor.findings import Exam, Finding, Level
from agenther_live.doctor.logs import check_journal, check_replies
from agenther_live.doctor.places import check_clock, check_leftovers, check_permissions, check_room, check_worker
from agenther_live.doctor.published import check_shards
from agenther_live.errors import AgentHERError
from agenther_live.home import Home
from agenther_live.settings import Settings

__all__ = ["Finding", "Level", "examine", "unwell"]

CHECKS = (
    check_permissions, check_worker, check_room, check_journal, check_replies, check_buffer, check_shards, check_clock,
    check_leftovers,
)  # fmt: skip


def examine(
    home: Home, settings: Settings, buffer: Buffer, *, now: datetime, repair: bool = False, deep: bool = False
) -> list[Finding]:
    """Check a home; with `repair` also mend it, holding it as its worker. `deep` reads every row of the buffer.

    Nothing is changed without `repair`; not even an older schema is migrated. `now` is naive UTC.

    Raises:
        WorkerRunning: `repair`, and a worker holds the home.
        HomeError: there is no such home.
    """
    exam = Exam(home, settings, buffer, now, deep)
    findings: list[Finding] = []
    with home.held_by_worker() if repair else contextlib.nullcontext():
        for check in CHECKS:
            try:
                for finding in check(exam):
                    if repair and finding.fix is not None:
                        _mend(exam, finding)
                    findings.append(finding)
            except AgentHERError as error:
                findings.append(Finding(check.__name__.removeprefix("check_"), "bad", str(error)))
    return findings


def unwell(findings: Iterable[Finding]) -> bool:
    """Whether anything is bad that was not repaired."""
    return any(finding.level == "bad" and finding.repaired is None for finding in findings)


def _mend(exam: Exam, finding: Finding) -> None:
    assert finding.fix is not None, "only what has a fix is mended"
    published = finding.area in ("shards", "leftovers") and exam.buffer.engine_name != "duckdb"
    try:
        # In a fleet the home's lock keeps out its own worker alone: others publish into the same folder.
        with exam.buffer.alone("emit") if published else contextlib.nullcontext(True) as ours:
            if not ours:
                raise AgentHERError("another worker publishes shards of this buffer; try again in a moment")
            finding.repaired = finding.fix()
    except (AgentHERError, OSError) as error:
        finding.what += f"; the repair failed: {error}"
