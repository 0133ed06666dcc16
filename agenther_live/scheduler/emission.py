"""The last part of a tick: shards."""

from __future__ import annotations

from agenther_live.clock import utcnow
from agenther_live.mixing import balanced, warn
from agenther_live.scheduler.parts import How, Parts, TickReport
from agenther_live.shards.files.admit import Mixing
from agenther_live.shards.files.heldout import HeldOut
from agenther_live.shards.files.publish import publish_due
from agenther_live.shards.files.rotate import Limits
from agenther_live.trust import before_emission


def emit(parts: Parts, report: TickReport, *, flush: bool) -> str | None:
    """Publish the samples that are due, and take back those that no longer hold; gives why nothing was published."""
    settings = parts.settings
    paused = before_emission(parts.buffer, parts.judges, now=utcnow())
    goals, trajectories = parts.buffer.held_out()
    done = publish_due(
        balanced(parts.buffer),
        parts.home.shards,
        () if paused else settings.formats,  # what was begun is finished, and what must go is retracted, all the same
        now=utcnow(),
        limits=Limits(settings.shard_rows, settings.shard_bytes, settings.shard_seconds),
        flush=flush,
        held_out=HeldOut(goals, share=0.0 if settings.held_out_key else settings.held_out, trajectories=trajectories),
        mixing=Mixing.of(settings),
        files=settings.shard_files,
    )
    report.shards += [shard.path for shard in (*done.recovered, *done.shards)]
    if done.shards:
        warn(parts.buffer)
    return paused


def push(parts: Parts, how: How) -> None:
    """Publish to the object store, where there is one."""
    if parts.mirror is not None and not parts.stop.is_set():
        if how.patient:
            parts.mirror.push()
        else:
            parts.mirror.sync()
