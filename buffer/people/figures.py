"""Figures about the buffer: the names that `status --json` gives, and the funnel."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import text

from agenther_live.buffer.engines.engine import Transaction
from agenther_live.buffer.turn.calls import day_of, spent
from agenther_live.buffer.upkeep import audit

__all__ = ["funnel", "status"]

_STATUS = text("""
SELECT count(*) AS captured,
       count(*) FILTER (WHERE outcome = 'success') AS succeeded,
       count(*) FILTER (WHERE outcome = 'failure') AS failed,
       count(*) FILTER (WHERE outcome = 'unknown') AS unknown,
       count(*) FILTER (WHERE status = 'interrupted') AS interrupted,
       count(*) FILTER (WHERE stage = 'relabeled') AS accepted,
       count(*) FILTER (WHERE stage = 'rejected') AS rejected,
       count(*) FILTER (WHERE stage = 'errored') AS errored,
       min(stage_at) FILTER (WHERE stage = 'queued' OR stage = 'waiting' AND settle_at IS NULL
                                OR stage = 'errored' AND retry_at IS NOT NULL) AS oldest_pending_at
FROM store.state WHERE merged_into IS NULL
""")
_REST = text("""
SELECT (SELECT count(*) FROM store.sample_state WHERE state IN ('pending', 'emitted')
          AND kind IN ('hindsight', 'success')) AS samples,
       (SELECT count(*) FROM store.sample_state WHERE state IN ('pending', 'emitted')
          AND kind IN ('pair', 'step')) AS pairs,
       (SELECT count(*) FROM store.sample_state AS x WHERE state = 'pending'
          AND EXISTS (SELECT 1 FROM store.set_aside AS a WHERE a.sample_id = x.sample_id)
          AND NOT EXISTS (SELECT 1 FROM store.sample_shards AS l WHERE l.sample_id = x.sample_id)) AS set_aside,
       (SELECT count(*) FROM store.shards WHERE state = 'published') AS shards,
       (SELECT coalesce(sum(n), 0) FROM store.counts WHERE name IN ('dropped_runs', 'dropped_records')) AS dropped,
       (SELECT coalesce(sum(n), 0) FROM store.counts
          WHERE name IN ('truncated_runs', 'truncated_fields', 'idle_runs')) AS cut,
       (SELECT coalesce(sum(n), 0) FROM store.counts WHERE name = 'lanes_left_out') AS lanes_left_out,
       (SELECT count(*) FROM store.llm_calls) AS llm_calls,
       (SELECT coalesce(sum(prompt_tokens), 0) FROM store.llm_calls) AS prompt_tokens,
       (SELECT coalesce(sum(completion_tokens), 0) FROM store.llm_calls) AS completion_tokens,
       (SELECT coalesce(sum(cost_usd), 0) FROM store.llm_calls) AS cost_usd
""")
_FUNNEL = text("SELECT step, reason, n FROM funnel ORDER BY position, reason NULLS FIRST")


def status(tx: Transaction, *, now: datetime) -> dict[str, Any]:
    """Count what the buffer knows of `status --json`. `oldest_pending_at` is naive UTC or None."""
    found: dict[str, Any] = {}
    for query in (_STATUS, _REST):
        found |= dict(tx.connection.execute(query).mappings().one())
    figures = {name: _figure(name, value) for name, value in found.items()}
    reached = {step["step"]: step["n"] for step in funnel(tx)}
    figures |= {"recoverable": reached["recoverable"], "relabeled": reached["relabeled"]}
    figures |= audit.figures(tx)
    return figures | {"spend_today_usd": spent(tx, since=day_of(now))}


def _figure(name: str, value: Any) -> Any:
    if name == "oldest_pending_at":
        return value
    return float(value) if name == "cost_usd" else int(value or 0)


def funnel(tx: Transaction) -> list[dict[str, Any]]:
    """Give the steps in order: {step, n, dropped: {reason: n}}; `dropped` counts who got no further than before it."""
    steps: dict[str, dict[str, Any]] = {}
    for step, reason, n in tx.rows(_FUNNEL):
        entry = steps.setdefault(step, {"step": step, "n": 0, "dropped": {}})
        if reason is None:
            entry["n"] = int(n)
        else:
            entry["dropped"][reason] = int(n)
    return list(steps.values())
