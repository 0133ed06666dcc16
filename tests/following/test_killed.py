"""Exactly once, whoever is killed: SIGKILL of the writer and of the trainer at any moment, and both started again."""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from agenther_live.shards.checks.check import check
from tests import forking
from tests.following.process import progress, train, write
from tests.following.shop import goods

KILLS = int(os.environ.get("AGENTHER_TEST_KILLS", "100"))


class End:
    """One of the two ends, restarted after each kill until it has come to its end."""

    def __init__(self, target: Any, arguments: tuple[Any, ...]) -> None:
        self._target = target
        self._arguments = arguments
        self.kills = 0
        self.start()

    def start(self) -> None:
        self.process = forking.start(self._target, *self._arguments)

    def kill(self) -> None:
        """Kill it where it runs; one that has ended is left as it is."""
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
            self.kills += self.process.exitcode == -9
            self.start()

    def join(self) -> None:
        self.process.join(90)
        assert self.process.exitcode == 0


def run(folder: Path, *, kills: int, total: int, seed: int, url: str | None = None, options: Any = None) -> int:
    """Let both run, kill one or the other as they get on, and give the number of kills that hit."""
    rng = random.Random(seed)
    folder.mkdir()
    ends = [End(end, (folder, total, url, options or {})) for end in (write, train)]
    told = progress(folder)
    for _ in range(kills):
        before, until = next(told), time.monotonic() + 5
        while next(told) == before and time.monotonic() < until and any(end.process.is_alive() for end in ends):
            time.sleep(0.002)
        time.sleep(rng.random() * 0.05)
        alive = [end for end in ends if end.process.is_alive()]
        if not alive:
            break
        rng.choice(alive).kill()
    for end in ends:
        end.join()
    return sum(end.kills for end in ends)


def once(folder: Path, total: int) -> None:
    """Everything that was published and not taken back before it was read was trained on, and once."""
    sold = [one.sample_id for one in goods(0, total)]
    spoiled = {one for n, one in enumerate(sold) if n % 11 == 10}
    weights = json.loads((folder / "trained").read_text())
    fresh = [sample_id for sample_id, repeated in weights if not repeated]
    assert len(fresh) == len(set(fresh))
    assert set(sold) - spoiled <= set(fresh) <= set(sold)
    places = [sold.index(sample_id) for sample_id in fresh]
    assert places == sorted(places)
    assert {sample_id for sample_id, repeated in weights if repeated} <= set(fresh)
    assert check(folder / "shards").bad == []
    note = (
        json.loads((folder / "shards/consumers/t.json").read_bytes())
        if (folder / "shards/consumers").is_dir()
        else None
    )
    assert note is None or note["format"] == "trl_sft"


def test_nothing_is_lost_or_trained_twice(tmp_path):
    assert run(tmp_path / "w", kills=6, total=120, seed=1) >= 3
    once(tmp_path / "w", 120)


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_nothing_is_lost_or_trained_twice_in_many_kills(tmp_path):
    hit = 0
    for seed in range(2, 2 + KILLS):
        hit += run(tmp_path / f"w{seed}", kills=12, total=300, seed=seed)
        once(tmp_path / f"w{seed}", 300)
        if hit >= KILLS:
            return
    pytest.fail(f"only {hit} kills hit")


@pytest.mark.faults
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_nothing_is_lost_or_trained_twice_over_an_object_store(tmp_path, store):
    url, options = store
    hit = 0
    for seed in range(1000, 1000 + KILLS):
        hit += run(tmp_path / f"w{seed}", kills=8, total=60, seed=seed, url=f"{url}/{seed}", options=options)
        once(tmp_path / f"w{seed}", 60)
        if hit >= KILLS // 4:
            return
    pytest.fail(f"only {hit} kills hit")
