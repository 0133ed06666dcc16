"""What one worker works with, how a tick is done, and what it did."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from agenther_live.buffer.store import Buffer
from agenther_live.evaluate import Evaluator
from agenther_live.fleet import EVERYTHING
from agenther_live.home import Home
from agenther_live.journal import Reader
from agenther_live.judging import OutcomeJudging
from agenther_live.relabel.models import Detector, Extractor, Judge, Policy, Relabeler
from agenther_live.replies import Replies
from agenther_live.rest import Rest
from agenther_live.settings import Settings
from agenther_live.shards.stores.mirror import Mirror
from agenther_live.upkeep import Upkeep

PAUSE_SECONDS = 30.0
"""How long the worker leaves a model alone that refused for good, or whose cap is used up, before it tries again."""


@dataclass
class Pause:
    """Why relabeling stands still, and until when (time.monotonic())."""

    reason: str | None = None
    until: float = 0.0
    told: str | None = None  # in the log

    def begin(self, reason: str) -> None:
        """Leave the model alone for a while."""
        self.reason, self.until = reason, time.monotonic() + PAUSE_SECONDS

    @property
    def lasts(self) -> bool:
        """Whether it is not over yet."""
        return time.monotonic() < self.until


@dataclass(frozen=True)
class Parts:
    """What one worker works with. Ticks of one process take turns by `turn`; `stop` ends one early."""

    settings: Settings
    home: Home
    buffer: Buffer
    reader: Reader
    relabeler: Relabeler | None
    judges: Sequence[Judge]
    detector: Detector
    extractor: Extractor
    policy: Policy
    replies: Replies
    evaluators: Sequence[Evaluator] = ()
    stop: threading.Event = field(default_factory=threading.Event)
    turn: threading.Lock = field(default_factory=threading.Lock)
    pause: Pause = field(default_factory=Pause)
    ticks: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    rest: Rest = field(default_factory=Rest)
    upkeep: Upkeep = field(default_factory=Upkeep)
    outcome_judging: OutcomeJudging | None = None
    mirror: Mirror | None = None
    only: frozenset[str] = EVERYTHING  # which parts of a tick it does
    reopened: threading.Event = field(default_factory=threading.Event)  # what lacked a model that is here now


@dataclass(frozen=True)
class How:
    """How a tick is done: see `tick`."""

    immediate: bool
    flush: bool
    patient: bool


@dataclass
class TickReport:
    """What a tick did. `paused` says why relabeling stands still, where it does."""

    ingested: int = 0
    evaluated: int = 0
    settled: Counter[str] = field(default_factory=Counter)
    relabeled: Counter[str] = field(default_factory=Counter)
    successes: int = 0
    shards: list[str] = field(default_factory=list)
    damage: Counter[str] = field(default_factory=Counter)
    paused: str | None = None
    seconds: float = 0.0

    @property
    def busy(self) -> bool:
        """Whether the tick moved anything."""
        return bool(self.ingested or self.evaluated or self.settled or self.relabeled or self.successes or self.shards)

    def add(self, other: TickReport) -> None:
        """Add what another tick did."""
        self.ingested += other.ingested
        self.evaluated += other.evaluated
        self.settled += other.settled
        self.relabeled += other.relabeled
        self.successes += other.successes
        self.shards += other.shards
        self.damage += other.damage
        self.paused = other.paused
        self.seconds += other.seconds

    def as_dict(self) -> dict[str, Any]:
        """Give the report as JSON-ready data."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}  # `asdict` cannot copy a Counter
        return plain | {name: dict(value) for name, value in plain.items() if isinstance(value, Counter)}
