"""A folder of shards that grows: samples of the greengrocer's counter, published through a real ledger."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from agenther_live.labels import Sample
from agenther_live.shards.files.manifest import Entry, Manifest, live
from agenther_live.shards.files.publish import publish_due
from agenther_live.shards.files.rotate import Limits
from tests.shards.examples import AT, hindsight, one_call, plain
from tests.shards.ledger import SqliteLedger


class Shop:
    """Its ledger, and what it published under `root`."""

    def __init__(
        self, folder: Path, *, formats: Sequence[Any] = ("trl_sft",), rows: int = 3, files: Any = "jsonl"
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.root = folder / "shards"
        self.ledger = SqliteLedger(folder / "ledger.db")
        self.formats = tuple(formats)
        self.rows = rows
        self.files = files

    def sell(self, samples: Iterable[Sample]) -> list[str]:
        """Publish these samples, oldest first; gives their ids."""
        known = list(samples)
        self.ledger.add(known)
        self.publish()
        return [one.sample_id for one in known]

    def take_back(self, sample_ids: Iterable[str]) -> None:
        self.ledger.retract(sample_ids, "spoiled")
        self.publish()

    def publish(self) -> None:
        publish_due(
            self.ledger,
            self.root,
            self.formats,
            now=AT + timedelta(hours=1),
            limits=Limits(rows=self.rows),
            flush=True,
            files=self.files,
        )

    @property
    def shards(self) -> list[Entry]:
        return live(Manifest(self.root).entries())


def goods(start: int, stop: int, **given: Any) -> list[Sample]:
    """Samples number `start` to `stop`, of three kinds by turns."""
    return [(plain, one_call, hindsight)[n % 3](n, **given) for n in range(start, stop)]
