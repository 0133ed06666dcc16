"""A soak: one request in ten meets 429, 500, a hang, a broken answer or a wrong reply, and no trajectory is lost."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from agenther_live.buffer.schema import state
from agenther_live.live import Live
from tests.openai_server import OpenAIServer, Reply, hang, refuse, say
from tests.relabel.world import asks_for, good, verdict
from tests.test_panel_http import USAGE, number_of, write_records

VETOED = 20  # every so many runs no judge is content with


def trouble(request: dict[str, Any], kind: int) -> Reply:
    """One of nine ways in which an endpoint fails."""
    answer = good(request)
    return (
        refuse(429, "slow down", retry_after=0.05),
        refuse(500),
        hang(),
        say(answer, usage=USAGE, fault="malformed"),
        say(answer, usage=USAGE, fault="truncate"),
        say(json.dumps(answer)[:-20], usage=USAGE, finish_reason="length"),
        say(answer | {"marker": "0" * 16}, usage=USAGE),
        say("Here it is: " + json.dumps(answer), usage=USAGE),
        say(answer | {"confidence": "high"}, usage=USAGE),
    )[kind]


class Weather:
    """Answers well but for a share of requests; the same ones in every run."""

    def __init__(self, share: float) -> None:
        self.share = share
        self.asked: Counter[tuple[int, str]] = Counter()
        self.met: Counter[int] = Counter()

    def __call__(self, request: dict[str, Any]) -> Reply:
        key = number_of(request), asks_for(request)
        self.asked[key] += 1
        draw = random.Random(f"{key}:{self.asked[key]}")
        if draw.random() < self.share:
            kind = draw.randrange(9)
            self.met[kind] += 1
            return trouble(request, kind)
        if key[1] == "judge" and key[0] % VETOED == 0:
            return say(verdict(request, valid=False, reason="not what was asked"), usage=USAGE)
        return say(good(request), usage=USAGE)


def due_again(live: Live) -> int:
    """How many trajectories are still to be relabeled; one that used up its tries is errored for good."""
    with live.buffer.reading() as tx:
        waits = state.c.stage.in_(("waiting", "queued")) | state.c.retry_at.is_not(None)
        return len(tx.rows(select(state.c.trajectory_id).where(waits)))


@pytest.mark.parametrize(
    ("n", "share"), [(50, 0.25), pytest.param(3000, 0.1, marks=[pytest.mark.faults, pytest.mark.timeout(2400)])]
)
def test_every_trajectory_comes_to_an_end(tmp_path: Path, n: int, share: float) -> None:
    weather, home = Weather(share), tmp_path / "home"
    with OpenAIServer(weather) as server:
        with Live(
            home,
            relabeler=f"openai:gpt-4o-mini,base_url={server.base_url}",
            judges=["rules", f"openai:house-judge,base_url={server.base_url}"],
            strict=True,
            held_out=0.0,
            request_timeout_seconds=5.0 if n < 1000 else 20.0,  # above it, this process is itself too slow for less
            retry_seconds=0.3,
            max_retries=6,
            concurrency=32,
            batch=max(200, n),  # else each round waits for its own hangs
            canary_share=0.0,
            tokens_per_day=10**9,  # the default ends the day after some 1,900 of 3,000
            spend_per_day_usd=1e6,
        ) as live:
            assert live.import_transcripts(write_records(tmp_path / "runs.jsonl", n)).imported == n
            deadline = time.monotonic() + 60 + n / 2
            while time.monotonic() < deadline:
                live.run_until_idle()
                if not due_again(live):
                    break
                time.sleep(0.5)

            def rows(query: str) -> list[dict[str, Any]]:
                return live.buffer.sql(query).dicts()

            stages = Counter(row["stage"] for row in rows("select stage from trajectories"))
            assert stages.total() == n, "none is lost"
            assert set(stages) <= {"relabeled", "rejected", "errored"}, live.status()["paused_reason"]
            assert stages["rejected"] == len(range(0, n, VETOED))
            assert stages["errored"] <= n // 20
            ended = rows("select trajectory_id, reason, detail from relabelings where stage <> 'errored'")
            assert len(ended) == len({row["trajectory_id"] for row in ended}) == n - stages["errored"], "none twice"
            assert all(row["reason"] and row["detail"] for row in rows("select reason, detail from relabelings"))
            samples = rows("select trajectory_id, state from samples")
            assert len(samples) == len({row["trajectory_id"] for row in samples}) == stages["relabeled"]
            assert {row["state"] for row in samples} == {"emitted"}
            for name in ("trl_sft", "sharegpt"):
                entries = [json.loads(line) for line in (home / "shards" / "manifest.jsonl").read_text().splitlines()]
                assert sum(each["rows"] for each in entries if each["format"] == name) == len(samples)
            assert live.check_shards().bad == []
            paid = rows("select count(*) as n from llm_calls")[0]["n"]
            whole = [e for e in server.requests if e.reply and e.reply.status == 200 and e.reply.fault is None]
            assert paid <= len(whole), "nothing is paid that was not answered"
            assert paid >= len(whole) - weather.met[2], "what was answered is kept, but where the client had left"
        assert set(weather.met) == set(range(9)), "every kind of trouble came"
