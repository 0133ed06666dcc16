"""`examples/fastapi_service` under gunicorn: of several processes one works, and nothing acknowledged is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from agenther_live import Live
from agenther_live.journal.segments import is_locked, list_segments
from tests.example_processes import Process, command, copy_of, free_port, running, until
from tests.openai_protocol import Json
from tests.openai_server import OpenAIServer, Reply, call, say

EXAMPLE = "fastapi_service"
SELDOM = {"AGENTHER_TICK_SECONDS": "3"}  # a worker that looks every second takes more of the machine than the service
ADDRESSED = "Have you any office chairs? Write to"


def shop(request: Json) -> Reply:
    """The model: one look at the stock, then an answer; slow enough that requests overlap."""
    last = request["messages"][-1]
    if last["role"] == "user":
        return call("stock_of", {"item": "office chair"}, delay_seconds=0.05)
    return say(f"We have {last['content']}.", delay_seconds=0.05)


@dataclass
class Clients:
    """People who ask and judge over HTTP until they are told to stop. Only what was answered counts."""

    url: str
    answered: dict[str, str] = field(default_factory=dict)  # run_id: question
    judged: dict[str, bool] = field(default_factory=dict)
    broken: int = 0
    stop: threading.Event = field(default_factory=threading.Event)
    # A connection for each request, so that any process may get it.
    http: httpx.Client = field(
        default_factory=lambda: httpx.Client(
            verify=False, trust_env=False, timeout=30, limits=httpx.Limits(max_keepalive_connections=0)
        )
    )

    def ask_on(self, client: int) -> None:
        number = 0
        while not self.stop.wait(0.4):  # the processes that begin need most of the machine
            number += 1
            self.ask(f"Have you any office chairs for {client}-{number}?", success=(client + number) % 3 != 0)

    def ask(self, question: str, *, success: bool) -> None:
        run_id = self.post("/chat", {"text": question, "user_id": "u1"}).get("run_id")
        if run_id is None:
            return
        self.answered[run_id] = question
        if self.post("/feedback", {"run_id": run_id, "success": success, "reason": question}) is not NOTHING:
            self.judged[run_id] = success

    def post(self, path: str, body: Json) -> Json:
        try:
            answer = self.http.post(f"{self.url}{path}", json=body)
        except httpx.TransportError:  # the process that had it was killed
            self.broken += 1
            return NOTHING
        answer.raise_for_status()
        return answer.json() if answer.content else {}

    @contextmanager
    def asking(self, people: int) -> Iterator[None]:
        with ThreadPoolExecutor(people) as pool:
            jobs = [pool.submit(self.ask_on, number) for number in range(people)]
            try:
                yield
            finally:
                self.stop.set()
            for job in jobs:
                job.result(30)
        self.stop.clear()


NOTHING: Json = {}


def serve(stack: ExitStack, folder: Path, model: OpenAIServer, *flags: str, **options: str) -> tuple[Process, Clients]:
    bind = f"127.0.0.1:{free_port()}"
    words = command(EXAMPLE, "gunicorn", bind=bind, graceful_timeout="10", **options)
    words += ["--no-control-socket", *flags]
    process = stack.enter_context(running(words, folder, {**model.environment, **SELDOM}, folder / "gunicorn.log"))
    return process, Clients(f"http://{bind}")


def processes(gunicorn: Process, *, at_least: int) -> dict[int, bool]:
    """Wait for the processes that have begun to serve; gives whether each works on the home."""
    found = gunicorn.says(r"process (\d+) captures( and works)?", times=at_least)
    return {int(pid): bool(works) for pid, works in found}


def writers(home: Path) -> set[int]:
    """Pids of the processes that hold a segment."""
    segments = [segment for own in list_segments(home / "journal").values() for segment in own]
    return {int(segment.writer.split("-")[-2]) for segment in segments if is_locked(segment.path)}


def check_captured(live: Live, clients: Clients) -> None:
    """Everything acknowledged is there, once, with its feedback."""
    rows = live.buffer.sql(
        "select run_id, goal, t.status, outcome, outcome_source, n_steps, final_answer "
        "from trajectories t join runs using (trajectory_id)"
    ).dicts()
    times = Counter(row["run_id"] for row in rows)
    assert set(times.values()) == {1}
    assert set(clients.answered) <= set(times)
    assert len(rows) - len(clients.answered) <= clients.broken
    for row in rows:
        if (question := clients.answered.get(row["run_id"])) is None:
            continue
        if not question.startswith(ADDRESSED):
            assert row["goal"] == question
        assert (row["status"], row["n_steps"]) == ("finished", 2)
        assert row["final_answer"] == "We have 0 in stock."
        if (success := clients.judged.get(row["run_id"])) is not None:
            assert (row["outcome"], row["outcome_source"]) == ("success" if success else "failure", "person")
    said = live.buffer.sql(
        "select run_id, trajectory_id, success, comment from feedback where source = 'person'"
    ).dicts()
    heard = Counter(row["run_id"] for row in said)
    assert set(heard.values()) == {1}
    assert set(clients.judged) <= set(heard)
    assert all(row["trajectory_id"] for row in said)
    comments = {row["run_id"]: row["comment"] for row in said if not row["comment"].startswith(ADDRESSED)}
    assert comments.items() <= clients.answered.items()
    status = live.status()
    assert status["journal_lag_seconds"] == 0, status


def test_four_processes_beside_one_worker_lose_nothing(tmp_path: Path) -> None:
    with ExitStack() as stack:
        folder = copy_of(EXAMPLE, tmp_path)
        home = folder / "agenther"
        model = stack.enter_context(OpenAIServer(shop))
        worker = stack.enter_context(
            running(command(EXAMPLE, "agenther-live worker", pii="redact"), folder, SELDOM, folder / "worker.log")
        )
        worker.says("worker on")
        gunicorn, clients = serve(stack, folder, model, "--preload")
        first = processes(gunicorn, at_least=4)
        assert not any(first.values()), "the worker beside them holds the home"
        with clients.asking(5):
            until("each process has its own segment", lambda: writers(home) >= set(first) or None)
            until("people have judged", lambda: len(clients.judged) >= 12 or None)
            victim = min(first)
            os.kill(victim, signal.SIGKILL)
            every = processes(gunicorn, at_least=5)
            [successor] = set(every) - set(first)
            alive = set(every) - {victim}
            until("its successor records too", lambda: alive <= writers(home) or None)
            assert victim not in writers(home)
            until("more people have judged", lambda: len(clients.judged) >= 36 or None)
        assert not every[successor]
        assert gunicorn.stop() == 0
        assert not writers(home)
        with Live(home, pii="redact") as live:
            until("the worker has it all", lambda: live.status()["journal_lag_seconds"] == 0 or None, pause=0.5)
            assert worker.stop() == 0
            live.run_until_idle()
            check_captured(live, clients)
        assert "Traceback" not in gunicorn.said
        assert "Traceback" not in worker.said


def test_without_a_worker_one_process_works_and_another_takes_over(tmp_path: Path) -> None:
    """Two processes import at the same time, and race for the home, its keys and the work.

    That they share one key shows in that one address has one placeholder.
    """
    with ExitStack() as stack:
        folder = copy_of(EXAMPLE, tmp_path)
        home = folder / "agenther"
        model = stack.enter_context(OpenAIServer(shop))
        gunicorn, clients = serve(stack, folder, model, workers="2")
        first = processes(gunicorn, at_least=2)
        [working] = [pid for pid, works in first.items() if works]

        def ask() -> bool | None:
            clients.ask(f"{ADDRESSED} ada@example.org.", success=True)
            return writers(home) >= set(first) or None

        until("each process has its own segment", ask)
        live = stack.enter_context(Live(home, pii="redact"))
        with clients.asking(3):
            until("something is captured", lambda: captured(live) or None, pause=0.5)
            os.kill(working, signal.SIGKILL)
            every = processes(gunicorn, at_least=3)
            [successor] = set(every) - set(first)
            assert every[successor], "the process that replaced it works"
        until("all is captured", lambda: captured(live) >= len(clients.answered) or None, pause=0.5)
        assert gunicorn.stop() == 0
        live.run_until_idle()
        check_captured(live, clients)
        [(goal,)] = live.buffer.sql(f"select distinct goal from trajectories where goal like '{ADDRESSED}%'").fetchall()
        assert "[PII:email:" in goal
        assert "Traceback" not in gunicorn.said


def test_a_process_that_stays_passive_loads_no_database(tmp_path: Path) -> None:
    program = (
        "import sys; from agenther_live import Live; live = Live(sys.argv[1], pii='redact'); "
        "sys.exit(live.start() or bool({'duckdb', 'sqlalchemy', 'apscheduler'} & set(sys.modules)))"
    )
    with Live(tmp_path / "home", pii="redact") as live, live.home.held_by_worker():
        assert subprocess.run([sys.executable, "-c", program, str(live.home.path)], check=False).returncode == 0


def captured(live: Live) -> int:
    return int(live.buffer.sql("select count(*) from trajectories").fetchall()[0][0])
