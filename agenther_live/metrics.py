"""Metrics and health of a worker over HTTP: `/metrics` for Prometheus, `/healthz` for probes.

Needs prometheus-client (the extra `metrics`). A scrape asks the buffer at most every `MAX_AGE_SECONDS`.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson

from agenther_live.clock import read_stamp, utcnow
from agenther_live.errors import AgentHERError, UsageError

__all__ = ["MAX_AGE_SECONDS", "PANEL", "Board", "served"]

logger = logging.getLogger("agenther_live")

CLIENT_SECONDS = 30.0
"""A client that says nothing for so long is left."""
MAX_AGE_SECONDS = 2.0
"""Figures younger than this are given again instead of asked for."""

PANEL = """
    select judge, count(*) filter (where status = 'ok' and is_valid) as valid,
           count(*) filter (where status = 'ok' and not is_valid) as invalid,
           count(*) filter (where status <> 'ok') as unanswered
    from verdicts group by judge order by judge"""
"""Asks the buffer what each judge answered."""

# Name of the figure in `status`: (name of the metric, its help).
_GAUGES = {
    "journal_lag_bytes": ("journal_lag_bytes", "Bytes of the journal that are not ingested yet."),
    "journal_lag_seconds": ("journal_lag_seconds", "Age of the oldest fact that is not ingested yet."),
    "last_tick_age_seconds": ("last_tick_age_seconds", "Seconds since the last tick ended."),
    "worker_seen_age_seconds": ("worker_seen_age_seconds", "Seconds since the worker's last sign of life."),
    "last_tick_seconds": ("last_tick_seconds", "How long the last tick took."),
    "ticks": ("ticks", "Ticks of this worker since it began."),
    "paused": ("paused", "1 while relabeling or emission stands still; status says why."),
    "spend_today_usd": ("spend_today_usd", "Spent on models this UTC day, US dollars."),
    "oldest_pending_age_seconds": ("oldest_pending_age_seconds", "Age of the oldest sample that is in no shard yet."),
}
_STAGES = ("captured", "succeeded", "failed", "unknown", "interrupted", "recoverable", "relabeled", "accepted",
           "rejected", "errored", "samples")  # fmt: skip
_COUNTS = {
    "shards": ("shards", "Published shards."),
    "dropped": ("dropped_runs", "Runs that were dropped; status says why."),
    "llm_calls": ("model_calls", "Calls of chat models."),
    "prompt_tokens": ("prompt_tokens", "Tokens sent to chat models."),
    "completion_tokens": ("completion_tokens", "Tokens received from chat models."),
    "cost_usd": ("cost_usd", "Price of the calls whose price is known, US dollars."),
}


class Board:
    """The figures that both pages show. Safe to use from many threads.

    Args:
        status: gives the figures of `Live.status()`.
        judges: gives rows {judge, valid, invalid, unanswered} of the panel.
        max_lag_seconds: a journal that lags longer makes the worker unhealthy.
        max_tick_age_seconds: a worker that gave no sign of life for longer is unhealthy: a tick that ended, or one
            that waits for models and goes on.
    """

    def __init__(
        self,
        status: Callable[[], Mapping[str, Any]],
        judges: Callable[[], list[dict[str, Any]]],
        *,
        max_lag_seconds: float = 300.0,
        max_tick_age_seconds: float = 300.0,
    ) -> None:
        """Ask nothing yet."""
        self._status = status
        self._judges = judges
        self._max_lag = max_lag_seconds
        self._max_tick_age = max_tick_age_seconds
        self._lock = threading.Lock()
        self._asked_at = -float("inf")
        self._began = time.monotonic()
        self._figures: dict[str, Any] = {}
        self._panel: list[dict[str, Any]] = []
        self._trouble: str | None = None

    def look(self) -> tuple[dict[str, Any], list[dict[str, Any]], str | None]:
        """Give the figures, the panel, and why they could not be asked anew, where they could not."""
        with self._lock:
            if time.monotonic() - self._asked_at >= MAX_AGE_SECONDS:
                try:
                    self._figures = self._with_ages(dict(self._status()))
                    self._panel = self._judges()
                    self._trouble = None
                except AgentHERError as error:  # a locked buffer, say: the last figures stand
                    self._trouble = str(error)
                self._asked_at = time.monotonic()
            return self._figures, self._panel, self._trouble

    def health(self) -> dict[str, Any]:
        """Say whether the worker does its work: {healthy, reasons, journal_lag_seconds, last_tick_age_seconds}."""
        figures, _, trouble = self.look()
        lag, age = figures.get("journal_lag_seconds") or 0.0, figures.get("worker_seen_age_seconds")
        reasons = [] if trouble is None else [trouble]
        if lag > self._max_lag:
            reasons.append(f"the journal lags {lag:.0f} s behind")
        # A worker that has only just begun has not ended a tick of its own.
        if (age is None or age > self._max_tick_age) and time.monotonic() - self._began > self._max_tick_age:
            reasons.append("no tick has ended yet" if age is None else f"the worker was last seen {age:.0f} s ago")
        return {
            "healthy": not reasons,
            "reasons": reasons,
            "paused_reason": figures.get("paused_reason"),
            "journal_lag_seconds": lag,
            "last_tick_age_seconds": figures.get("last_tick_age_seconds"),
            "worker_seen_age_seconds": age,
        }

    @staticmethod
    def _with_ages(figures: dict[str, Any]) -> dict[str, Any]:
        now = utcnow()
        for name in ("last_tick", "worker_seen", "oldest_pending"):
            said = figures.get(f"{name}_at")
            when = None if said is None else read_stamp(str(said))
            figures[f"{name}_age_seconds"] = None if when is None else max(0.0, (now - when).total_seconds())
        figures["paused"] = figures.get("paused_reason") is not None
        return figures


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what a request met, where the base class would print a traceback into the log's lines."""
        error = sys.exception()
        if isinstance(error, ConnectionError | TimeoutError):  # a scraper that did not wait for its answer
            logger.debug("metrics: %s left: %s", client_address, error)
        else:
            logger.error("metrics: a request failed: %s", error, exc_info=error)


@contextmanager
def served(board: Board, *, port: int, host: str = "127.0.0.1") -> Iterator[int]:
    """Serve `/metrics` and `/healthz` while the block runs; gives the port (0 takes a free one).

    Raises:
        UsageError: prometheus-client is not installed, or the port cannot be had.
    """
    text = _text_of(board)

    class Pages(BaseHTTPRequestHandler):
        timeout = CLIENT_SECONDS

        def do_GET(self) -> None:
            if self.path.split("?")[0] == "/metrics":
                self._answer(200, *text())
            elif self.path.split("?")[0] == "/healthz":
                health = board.health()
                self._answer(200 if health["healthy"] else 503, orjson.dumps(health), "application/json")
            else:
                self._answer(404, b"/metrics or /healthz\n", "text/plain; charset=utf-8")

        def _answer(self, code: int, body: bytes, kind: str) -> None:
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            logger.debug("metrics: " + format, *args)

    try:
        server = _Server((host, port), Pages)
    except OSError as error:
        raise UsageError(f"metrics cannot be served on {host}:{port}: {error.strerror or error}") from None
    thread = threading.Thread(target=server.serve_forever, name="agenther-metrics", daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _text_of(board: Board) -> Callable[[], tuple[bytes, str]]:
    """Make the function that writes the page of metrics, with its content type."""
    try:
        from prometheus_client import CollectorRegistry
        from prometheus_client.core import GaugeMetricFamily
        from prometheus_client.exposition import choose_encoder
    except ImportError:
        raise UsageError("metrics need prometheus-client: pip install 'agenther-live[metrics]'") from None

    class Home:
        def collect(self) -> Iterator[Any]:
            figures, panel, trouble = board.look()
            up = GaugeMetricFamily("agenther_up", "1 where the buffer answered.")
            up.add_metric([], float(trouble is None))
            yield up
            for name, (metric, told) in _GAUGES.items():
                if (value := figures.get(name)) is not None:
                    yield GaugeMetricFamily(f"agenther_{metric}", told, value=float(value))
            for name, (metric, told) in _COUNTS.items():
                if (value := figures.get(name)) is not None:
                    # Gauges, for retention and deletion take away what they counted.
                    yield GaugeMetricFamily(f"agenther_{metric}", told, value=float(value))
            stages = GaugeMetricFamily("agenther_trajectories", "Trajectories and samples by step of the funnel.",
                                       labels=["step"])  # fmt: skip
            for stage in _STAGES:
                if (value := figures.get(stage)) is not None:
                    stages.add_metric([stage], float(value))
            yield stages
            verdicts = GaugeMetricFamily("agenther_verdicts", "Answers of judges.", labels=["judge", "answer"])
            for row in panel:
                for answer in ("valid", "invalid", "unanswered"):
                    verdicts.add_metric([str(row["judge"]), answer], float(row[answer]))
            yield verdicts

        def describe(self) -> list[Any]:  # registering asks nothing
            return []

    registry = CollectorRegistry()
    registry.register(Home())
    encode, kind = choose_encoder("")

    def text() -> tuple[bytes, str]:
        return bytes(encode(registry)), kind

    return text
