"""The worker's upkeep, once an hour: retention, unfinished deletions, compaction where one is due; and requests.

Old trajectories go in small transactions, none of which holds the buffer's file for longer than a second.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import orjson

from agenther_live import erase, requests
from agenther_live.buffer.upkeep import audit, retention
from agenther_live.buffer.upkeep.erase import Kind
from agenther_live.erase import Place, Target
from agenther_live.errors import AgentHERError, HomeError, UsageError
from agenther_live.home import Home
from agenther_live.journal.segments import list_segments

__all__ = ["Upkeep", "decline"]

logger = logging.getLogger("agenther_live")

EVERY_SECONDS = 3600.0
TURN_SECONDS = 2.0
"""How much of a tick retention takes; what is left goes in the next ticks."""
REST_SECONDS = 60.0
"""How long upkeep that failed is left alone, so that not every tick fails with it."""
HOLD_SECONDS = 0.5
"""What one transaction should take; the file is held for no longer than about that."""
_FIRST, _LEAST, _MOST = 100, 10, 5000  # trajectories in one transaction


@dataclass
class Upkeep:
    """What one worker remembers of its upkeep."""

    size: int = _FIRST
    more: bool = False
    forgotten: int = 0  # of the pass under way
    samples: int = 0
    rests_until: float = 0.0  # time.monotonic()

    def turn(self, place: Place, *, now: datetime) -> None:
        """Do what is due: requests at once, the rest once an hour. `now` is naive UTC.

        Raises:
            AgentHERError: the buffer, a shard or the home refuses; a later turn tries again.
        """
        for path, request in requests.waiting(place.home):
            requests.answer(place.home, path, lambda request=request: _grant(place, request, now=now))  # type: ignore[misc]
        note = place.home.path / "upkeep.json"
        if (place.home.path / erase.MARKER).exists():
            erase.finish_begun(place, now=now)
        if not note.exists():  # a home too young to have anything old
            _write(place, note, now)
        if time.monotonic() < self.rests_until or not (self.more or _due(note, now=now)):
            return
        self.rests_until = time.monotonic() + REST_SECONDS  # unless it ends well
        self._retain(place, now=now)
        if not self.more:
            self._tidy(place, now=now)
            _write(place, note, now)
        self.rests_until = 0.0

    def _retain(self, place: Place, *, now: datetime) -> None:
        settings = place.buffer.settings
        began = time.monotonic()
        with place.buffer.writing() as tx:
            moment = _moment(tx, now) if not self.more else _last_moment(tx, now)
        while True:
            started = time.monotonic()
            with place.buffer.writing() as tx:
                done = retention.forget_some(tx, settings, moment=moment, now=now, limit=self.size)
            self.forgotten += done.trajectories
            self.samples += done.samples
            self.more = done.more
            took = time.monotonic() - started
            self.size = max(_LEAST, min(_MOST, int(self.size * min(2.0, HOLD_SECONDS / max(took, 0.01)))))
            if not done.more or time.monotonic() - began > TURN_SECONDS:
                break
        if not self.more and self.forgotten:
            with place.buffer.writing() as tx:
                audit.note(tx, "forget", now=now, trajectories=self.forgotten, samples=self.samples)
            logger.info("retention: %d trajectories went by age, count or bytes", self.forgotten)
            self.forgotten = self.samples = 0

    def _tidy(self, place: Place, *, now: datetime) -> None:
        living = set(list_segments(place.home.journal))
        with place.buffer.writing() as tx:
            moment = _last_moment(tx, now)
            retention.forget_logs(tx, place.buffer.settings, moment=moment)
            retention.forget_cursors(tx, living, now=now)
            shrink = audit.wanted(tx, erase.COMPACT) is not None
        place.replies.forget_before(retention.cutoff(place.buffer.settings, moment))
        if shrink:
            try:
                erase.shrink(place.buffer, now=now)
            except UsageError:  # no DuckDB file: its engine does that by itself
                with place.buffer.writing() as tx:
                    audit.remember(tx, erase.COMPACT, None)
            except AgentHERError as error:  # no room, say: ticks go on, and the next hour tries again
                logger.warning("%s", error)


def decline(home: Home) -> None:
    """Refuse what was asked of a worker that publishes no shards: it cannot reach them, and must not try."""
    for path, request in requests.waiting(home):
        requests.answer(home, path, lambda request=request: _refuse(home, request))  # type: ignore[misc]


def _refuse(home: Home, request: Mapping[str, Any]) -> dict[str, Any]:
    raise UsageError(
        f"the worker of {home.path} does not emit, so it cannot {request.get('do')}: ask on a home whose worker does"
    )


def _write(place: Place, note: Path, now: datetime) -> None:
    try:
        place.home.note(note, orjson.dumps({"at": now.isoformat(timespec="seconds")}))
    except OSError as error:
        raise HomeError(f"{note} cannot be written: {error.strerror or error}") from None


def _due(note: Path, *, now: datetime) -> bool:
    """Whether an hour has passed, or the clock went back."""
    try:
        before = datetime.fromisoformat(orjson.loads(note.read_bytes())["at"])
    except (OSError, ValueError, KeyError, TypeError):
        return True
    return not 0.0 <= (now - before).total_seconds() < EVERY_SECONDS


def _moment(tx: Any, now: datetime) -> datetime:
    moment = retention.advance(tx, now=now)
    if moment < now:
        logger.warning(
            "the clock is %.1f days ahead of the last upkeep: retention follows by a day an hour",
            (now - moment).total_seconds() / 86_400,
        )
    return moment


def _last_moment(tx: Any, now: datetime) -> datetime:
    told = audit.wanted(tx, retention.CLOCK)
    return datetime.fromisoformat(told) if told else now


def _grant(place: Place, request: Mapping[str, Any], *, now: datetime) -> dict[str, Any]:
    if request.get("do") == "compact":
        before, after = erase.shrink(place.buffer, now=now)
        return {"before": before, "after": after}
    if request.get("do") != "delete" or request.get("kind") not in ("trajectory", "thread", "subject"):
        raise UsageError(f"the worker does not know the request {request.get('do')!r}")
    ids = request.get("ids")
    if not (isinstance(ids, list) and ids and all(isinstance(one, str) for one in ids)):
        raise UsageError("the request does not say what is to be deleted")
    target = Target(cast(Kind, request["kind"]), tuple(ids))
    done = erase.delete(
        place, target, reason=str(request.get("reason") or ""), now=now, shrunk=bool(request.get("compact", True))
    )
    return done.as_dict()
