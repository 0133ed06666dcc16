"""What a worker leaves for `status`, and what `status` says."""

from __future__ import annotations

import contextlib
import os
from datetime import UTC, datetime
from typing import Any

import orjson

from agenther_live.buffer.store import Buffer
from agenther_live.clock import stamped, utcnow
from agenther_live.home import Home
from agenther_live.journal import Reader
from agenther_live.mixing import figures as mixing_figures
from agenther_live.mixing import tool_kinds
from agenther_live.scheduler.parts import Parts, TickReport
from agenther_live.trust import figures as trust_figures


def status(home: Home, buffer: Buffer) -> dict[str, Any]:
    """Give the figures of a home: the buffer's funnel, the journal's lag, the last tick, and why work pauses."""
    lag = Reader(home.journal).lag(buffer.cursors())
    last: dict[str, Any] = {"last_tick_at": None, "worker_seen_at": None, "paused_reason": None}
    with contextlib.suppress(OSError, ValueError, TypeError):  # none yet, or damaged
        last["worker_seen_at"] = stamped(
            datetime.fromtimestamp(home.last_tick.stat().st_mtime, UTC).replace(tzinfo=None)
        )
        last |= orjson.loads(home.last_tick.read_bytes())
    figures = buffer.status()
    if (oldest := figures["oldest_pending_at"]) is not None:
        figures["oldest_pending_at"] = stamped(oldest)
    figures |= {"diversity": mixing_figures(buffer, buffer.settings.formats), "tools": tool_kinds(buffer)}
    return figures | trust_figures(buffer) | last | {"journal_lag_bytes": lag.bytes, "journal_lag_seconds": lag.seconds}


def remember(parts: Parts, report: TickReport) -> None:
    """Leave a note of the tick for `status`, which must not wait for the buffer to know whether the worker lives."""
    note = {
        "last_tick_at": stamped(utcnow()),
        "last_tick_seconds": round(report.seconds, 3),
        "ticks": next(parts.ticks),
        # A path in it need not be UTF-8.
        "paused_reason": report.paused and report.paused.encode("utf-8", "replace").decode(),
    }
    with contextlib.suppress(OSError):
        parts.home.note(parts.home.last_tick, orjson.dumps(note))


def sign(parts: Parts) -> None:
    """Give a sign of life in the middle of a tick, which may wait for models for many minutes."""
    with contextlib.suppress(OSError):
        if parts.home.last_tick.exists():
            os.utime(parts.home.last_tick)
        else:
            parts.home.note(parts.home.last_tick, orjson.dumps({"last_tick_at": None, "paused_reason": None}))
