"""In a process of its own: publish what a ledger holds, and die by SIGKILL at the n-th step of a name."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from pathlib import Path

from agenther_live.shards.files.publish import publish_due
from agenther_live.shards.files.rotate import Limits
from tests.shards.examples import AT
from tests.shards.ledger import SqliteLedger


def main(folder: Path, name: str, count: int) -> None:
    def step(done: str) -> None:
        nonlocal count
        if done == name:
            count -= 1
            if count == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    publish_due(
        SqliteLedger(folder / "ledger.db"),
        folder / "shards",
        ("trl_sft", "openai_sft"),
        now=AT + timedelta(hours=1),
        limits=Limits(rows=3),
        flush=True,
        step=step,
    )
