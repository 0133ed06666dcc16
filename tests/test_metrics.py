"""Metrics and health, scraped from a worker that runs."""

from __future__ import annotations

import json
import re
import signal
import socket
import struct
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agenther_live import Live, metrics
from agenther_live.errors import BufferLocked, UsageError
from tests.whole import TEMPLATE, failed_orders, process, run_cli, until


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def figures(port: int) -> dict[tuple[str, ...], float]:
    code, text = get(port, "/metrics")
    assert code == 200
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_worker_is_scraped(home: Path) -> None:
    goods = failed_orders(2)
    with Live(home, **TEMPLATE) as live:
        goods.work(live)
        for task in goods.tasks:
            live.feedback(thread_id=task.task_id, success=False)
    options = (
        "--relabeler",
        "template",
        "--judge",
        "rules",
        "--home",
        home,
        "--log-format",
        "json",
    )
    log = home.parent / "log"
    with log.open("w") as told, process("worker", *options, "--metrics-port", 0, told=told) as worker:
        until(lambda: "/metrics" in log.read_text() or worker.poll() is not None)
        [port] = {int(found) for found in re.findall(r":(\d+)/metrics", log.read_text())}
        seen: dict[tuple[str, ...], float] = {}

        def done() -> bool:
            seen.clear()
            seen.update(figures(port))
            return seen.get(("agenther_trajectories", "captured")) == 2 == seen["agenther_trajectories", "failed"]

        until(done)
        until(lambda: seen.update(figures(port)) or seen.get(("agenther_verdicts", "valid", "rules"), 0) >= 1)
        assert seen["agenther_up",] == 1
        assert seen["agenther_paused",] == 0
        assert seen["agenther_ticks",] >= 1
        assert seen["agenther_last_tick_age_seconds",] < 60
        assert seen["agenther_journal_lag_bytes",] == 0
        for _ in range(3):  # a scraper that does not wait for its answer
            with socket.create_connection(("127.0.0.1", port)) as gone:
                gone.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        code, text = get(port, "/healthz")
        assert (code, json.loads(text)["healthy"]) == (200, True)
        assert run_cli("status", "--check", "--max-silence-seconds", 60, "--home", home).code == 0
        assert get(port, "/else")[0] == 404
        taken = run_cli("worker", "--home", home.parent / "other", "--metrics-port", port)
        assert taken.code == 2
        assert f"127.0.0.1:{port}" in taken.err
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0
    assert all(json.loads(line) for line in log.read_text().splitlines()), "every line of the log is JSON"


class Given:
    """A status that a test sets."""

    def __init__(self) -> None:
        self.figures: dict[str, Any] = {"journal_lag_seconds": 0.0, "worker_seen_at": "2020-01-01T00:00:00"}
        self.error: Exception | None = None

    def __call__(self) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        return self.figures


def test_a_worker_that_stands_still_is_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MAX_AGE_SECONDS", 0.0)
    given = Given()
    board = metrics.Board(given, list, max_lag_seconds=10, max_tick_age_seconds=0.05)
    assert board.health()["healthy"], "it has only just begun"
    time.sleep(0.06)
    health = board.health()
    assert not health["healthy"]
    assert "the worker was last seen" in health["reasons"][0]
    given.figures["journal_lag_seconds"] = 11.0
    with metrics.served(board, port=0) as port:
        code, text = get(port, "/healthz")
        assert code == 503
        assert "the journal lags 11 s behind" in json.loads(text)["reasons"]
        given.error = BufferLocked("held by process 7")
        assert figures(port)["agenther_up",] == 0
        assert figures(port)["agenther_journal_lag_seconds",] == 11.0, "the last that is known"
        assert "held by process 7" in json.loads(get(port, "/healthz")[1])["reasons"]


def test_a_port_that_is_taken_is_said() -> None:
    board = metrics.Board(Given(), list)
    with metrics.served(board, port=0) as port, pytest.raises(UsageError, match=str(port)):
        metrics.served(board, port=port).__enter__()
