"""What was decided is written down: results, what they cost, samples of successes."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from agenther_live.buffer.store import Claim
from agenther_live.clock import utcnow
from agenther_live.labels import Relabeling
from agenther_live.relabel.demonstrate import success_sample
from agenther_live.scheduler.opening import Opening
from agenther_live.scheduler.parts import Parts, TickReport

logger = logging.getLogger("agenther_live")

Result = tuple[Claim, Relabeling]


def write_down(parts: Parts, report: TickReport, opening: Opening, results: Sequence[Result]) -> None:
    """Write at the end of a tick what is decided and paid for, and make samples of successes; `opening` ends open."""
    opening.open()
    _bank_calls(parts)
    count(report, parts.buffer.record_many(results, now=utcnow()) if results else ())
    if "relabel" in parts.only:  # what is left waits for the next tick
        learn_from_successes(parts, report)


def record(parts: Parts, report: TickReport, results: Sequence[Result], calls: Sequence[Any]) -> None:
    """Write what was decided and what it cost, in one opening of the file."""
    with parts.buffer.hold():
        if calls:
            parts.buffer.calls(calls)
        if results:
            count(report, parts.buffer.record_many(results, now=utcnow()))


def count(report: TickReport, recorded: Iterable[Result]) -> None:
    """Count in the report where trajectories went."""
    for _, relabeling in recorded:
        report.relabeled[relabeling.stage] += 1


def _bank_calls(parts: Parts) -> None:
    """Tell the buffer which calls were paid for; until it confirms, the store of replies keeps them on its list."""
    while rows := parts.replies.rows():
        parts.buffer.calls(rows)
        parts.replies.confirm(rows)


def learn_from_successes(parts: Parts, report: TickReport) -> None:
    """Make samples of what went well."""
    if not parts.settings.success_samples or parts.stop.is_set():
        return
    seen = parts.buffer.successes(parts.settings.batch)
    samples = []
    for claim in seen:
        try:
            kinds = parts.policy.of_agent(claim.trajectory.agent).tool_kinds
            samples.append(success_sample(claim.trajectory, claim.outcome, claim.outcome_rev, kinds))
        except Exception:  # one trajectory that cannot be read must not keep all others out
            logger.exception("trajectory %s gives no sample", claim.trajectory_id)
    report.successes += len(seen)
    parts.buffer.add_samples([sample for sample in samples if sample is not None], claims=seen, now=utcnow())
