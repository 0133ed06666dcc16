"""How a fleet grows: 1, 2 and 4 workers on one PostgreSQL, for ingest beside journals and for relabeling by models.

The server is a real PostgreSQL that this file starts, with durable commits; the workers are processes that do what
`agenther-live worker` does. Each part gives every worker the same share of work, so that twice the workers have twice
the work: perfect growth is the same time.

ingest    a worker beside each journal (`--only ingest`). The journals are written before; they are put into their
          homes at one moment, and it counts until the last run is in the buffer. This is all CPU.
relabel   central workers (`--only relabel`) claim failures under leases, ask a relabeler and a judge over HTTP, and
          record what came of it; a local server answers each call after 300 ms. This is nearly all waiting.

CPU is that of the workers and of the server's processes, per trajectory: what it costs when others work beside it.
Agents and models have no part in it, but all share the cores of this machine, which its last lines name.

    python benchmarks/fleet.py --json fleet.json
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a file too

import psycopg

from benchmarks.common import machine, save, show
from tests.postgresql import QUICK, Server, serving

SECONDS = 0.3
WORKERS = (1, 2, 4)
INGESTED = "SELECT count(*) FROM store.run_heads"
RELABELED = "SELECT count(*) FROM store.state WHERE stage IN ('relabeled', 'rejected', 'errored')"
TEXT = "The part was found in the catalogue of the second supplier, with a lead time of nine days. " * 3
GIVEN: dict[str, Any] = {
    "pii": "keep",
    "tick_seconds": 0.1,
    "drain_seconds": 0.0,
    "outcome_settle_seconds": 0.0,
    "held_out": 0.0,
    "canary_share": 0.0,
    "reuse_goals": False,  # all ask for nearly the same here
    "spend_per_day_usd": 1e9,
    "tokens_per_day": 10**12,
}
_PATIENCE_SECONDS = 300.0


# --- the processes ----------------------------------------------------------------------------------------------------


def serve(seconds: float, pipe: Connection) -> None:
    """The models: gives the address, and what was asked when told to stop."""
    from tests.openai_server import OpenAIServer, say
    from tests.relabel.world import good

    with OpenAIServer(lambda request: say(good(request), delay_seconds=seconds)) as server:
        pipe.send(server.base_url)
        pipe.recv()
        pipe.send({"calls": len(server.bodies), "most in flight": server.max_in_flight})


def work(home: str, buffer: str, only: str, settings: dict[str, Any], pipe: Connection) -> None:
    """A worker until SIGTERM, as the command line runs it; it says when its first look at an idle buffer is over."""
    from agenther_live import Live

    os.environ["OPENAI_API_KEY"] = "test-key"
    live = Live(home, buffer=buffer, strict=True, **{**GIVEN, **settings})
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=live.request_stop).start())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    watch = threading.Thread(target=_tell_first_tick, args=(Path(home), pipe), daemon=True)
    watch.start()
    live.work(only=(only,))


def _tell_first_tick(home: Path, pipe: Connection) -> None:
    while not (home / "worker.json").exists():
        time.sleep(0.02)
    pipe.send("ready")


# --- what is measured -------------------------------------------------------------------------------------------------


class Database:
    """A database of its own for each measurement, and the CPU of the server's processes."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.url = server.new()
        [(about,)] = server.ask(self.url, "SELECT pg_read_file('postmaster.pid')")
        self.postmaster = int(str(about).split()[0])

    def count(self, query: str) -> int:
        [(n,)] = self.server.ask(self.url, query)
        return int(str(n))

    def cpu_seconds(self) -> float:
        """Of the postmaster, of its children, and of those that have ended."""
        found = subtree_seconds(self.postmaster, ended=True)
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                if int(path.read_text().rpartition(")")[2].split()[1]) == self.postmaster:
                    found += subtree_seconds(int(path.parent.name))
            except OSError:  # it ended: then it counts with the postmaster's next time
                continue
        return found

    def close(self) -> None:
        self.server.drop(self.url)


def subtree_seconds(pid: int, *, ended: bool = False) -> float:
    """CPU seconds of a process, with those of its children that have ended if asked."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[11 : 15 if ended else 13]) / os.sysconf("SC_CLK_TCK")


@contextmanager
def working(
    context: Any, n: int, folder: Path, url: str, only: str, settings: dict[str, Any]
) -> Iterator[list[tuple[Any, Path]]]:
    """So many workers, each on a home of its own and at rest; they leave at the end of the block."""
    started = []
    for number in range(n):
        home = folder / f"home-{number}"
        here, there = context.Pipe()
        process = context.Process(target=work, args=(str(home), url, only, settings, there))
        process.start()
        started.append((process, home, here))
    try:
        for process, _, pipe in started:
            if not pipe.poll(_PATIENCE_SECONDS):
                raise SystemExit(f"a worker did not begin; exit code {process.exitcode}")
        yield [(process, home) for process, home, _ in started]
    finally:
        for process, _, _ in started:
            process.terminate()
        for process, _, _ in started:
            process.join(60)


def timed(
    database: Database, workers: Sequence[tuple[Any, Path]], begin: Callable[[], Any], query: str, *, more: int
) -> dict[str, Any]:
    """Begin, wait until the database counts so many more than before, and give wall time and CPU."""
    total = database.count(query) + more
    pids = [process.pid for process, _ in workers]
    cpu, served = sum(map(subtree_seconds, pids)), database.cpu_seconds()
    began = time.perf_counter()
    begin()
    with psycopg.connect(database.url.replace("+psycopg", ""), autocommit=True) as looking:
        while (found := looking.execute(query).fetchall()[0][0]) < total:  # type: ignore[call-overload]
            if time.perf_counter() - began > _PATIENCE_SECONDS or any(not p.is_alive() for p, _ in workers):
                raise SystemExit(f"{found} of {total} after {time.perf_counter() - began:.0f} s")
            time.sleep(0.02)
    wall = time.perf_counter() - began
    return {
        "workers": len(workers),
        "trajectories": more,
        "seconds": wall,
        "trajectories/s": more / wall,
        "worker CPU ms each": (sum(map(subtree_seconds, pids)) - cpu) / more * 1e3,
        "server CPU ms each": (database.cpu_seconds() - served) / more * 1e3,
        "load": os.getloadavg()[0],
    }


def ingest(context: Any, server: Server, n: int, each: int, folder: Path) -> dict[str, Any]:
    """`n` workers beside `n` journals of `each` runs."""
    from agenther_live.journal import Writer
    from tests.buffer.journal_facts import feedback, run

    database = Database(server)
    try:
        written = []
        for number in range(n):
            writer = Writer(folder / f"written-{number}", flush_seconds=60)
            for index in range(each):
                key = f"{number}-{index:06d}"
                writer.append(run(key, thread=f"t{key}", goal=f"Find part {key}", steps=10, text=TEXT).records)
                writer.append([feedback(trajectory_id=key, success=bool(index % 2), feedback_id=f"fb-{key}")])
            writer.close()
            written.append(sorted((folder / f"written-{number}").glob("*.jsonl")))
        with working(context, n, folder, database.url, "ingest", {}) as workers:

            def begin() -> None:
                for (_, home), segments in zip(workers, written, strict=True):
                    for segment in segments:
                        segment.rename(home / "journal" / segment.name)

            return timed(database, workers, begin, INGESTED, more=n * each)
    finally:
        database.close()


def relabel(
    context: Any, server: Server, n: int, each: int, folder: Path, *, concurrency: int, seconds: float, most: int
) -> dict[str, Any]:
    """`n` workers that share `n` × `each` failures, in a buffer that holds what `most` workers would share."""
    from agenther_live.buffer.store import Buffer
    from agenther_live.clock import utcnow
    from agenther_live.settings import load_settings
    from agenther_live.trajectory import Evidence
    from tests.relabel.world import bought

    database = Database(server)
    here, theirs = context.Pipe()
    models = context.Process(target=serve, args=(seconds, theirs))
    models.start()
    try:
        url = here.recv()
        settings = {
            "relabeler": f"openai:gpt-4o-mini,base_url={url}",
            "judges": ["rules", f"openai:gpt-4o,base_url={url}"],
            "concurrency": concurrency,
            "batch": 4 * concurrency,  # enough for a slice; much more would go to whoever comes first
        }
        buffer = Buffer(database.url, settings=load_settings(home=folder / "given", **GIVEN))

        def fail(keys: Sequence[str]) -> None:
            """Say that these have failed: then they are anybody's."""
            buffer.add_evidence(
                Evidence(evidence_id=f"e-{key}", trajectory_id=key, source="person", success=False, at=utcnow())
                for key in keys
            )

        # Each worker has asked a few times before it counts: imports, connections, how the endpoint takes JSON.
        there = [f"run-{index}" for index in range(most * (4 * concurrency + each))]
        warm = there[: n * 4 * concurrency]
        keys = there[len(warm) : len(warm) + n * each]
        with working(context, n, folder, database.url, "relabel", settings) as workers:
            buffer.add_trajectories((bought(trajectory_id=key), ()) for key in there)
            fail(warm)
            deadline = time.monotonic() + _PATIENCE_SECONDS
            while database.count(RELABELED) < len(warm) and time.monotonic() < deadline:
                time.sleep(0.1)
            row = timed(database, workers, lambda: fail(keys), RELABELED, more=len(keys))
        here.send("stop")
        asked = here.recv()
        twice = "SELECT count(*) - count(DISTINCT trajectory_id) FROM store.relabelings WHERE stage <> 'errored'"
        return row | {"model calls": asked["calls"], "relabeled twice": database.count(twice)}
    finally:
        models.terminate()
        models.join(10)
        database.close()


def with_ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add what each row is to that of one worker."""
    one = rows[0]
    for row in rows:
        row["× of one"] = row["trajectories/s"] / one["trajectories/s"]
        row["worker CPU × of one"] = row["worker CPU ms each"] / one["worker CPU ms each"]
    return rows


def middle(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure over several rounds."""
    found = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    return {name: int(value) if isinstance(rows[0][name], int) else value for name, value in found.items()}


@contextmanager
def durable(folder: Path) -> Iterator[Server]:
    """A server whose commits are on disk when they are answered: what the tests switch off is on."""
    with serving(folder / "pg") as server:
        with psycopg.connect(server.uri, autocommit=True) as connection:
            for line in QUICK:
                connection.execute(f"ALTER SYSTEM RESET {line.split()[0]}")  # type: ignore[call-overload]
            connection.execute("SELECT pg_reload_conf()")
        yield server


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--workers", type=int, nargs="+", default=list(WORKERS))
    parser.add_argument("--runs", type=int, default=400, help="runs in each journal")
    parser.add_argument("--failures", type=int, default=100, help="failures for each worker that relabels")
    parser.add_argument("--concurrency", type=int, default=4, help="model calls in flight of each worker")
    parser.add_argument("--model-seconds", type=float, default=SECONDS, help="how long each model call takes")
    parser.add_argument("--rounds", type=int, default=1, help="repetitions, in turns; medians are shown")
    given = parser.parse_args(arguments)
    print(machine())
    print(f"load of the machine before: {os.getloadavg()[0]:.1f}", flush=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["agenther_live.compose", "langchain_openai", "psycopg"])
    found: dict[str, dict[int, list[dict[str, Any]]]] = {"ingest": {}, "relabel": {}}
    with tempfile.TemporaryDirectory() as name, durable(Path(name)) as server:
        folder = Path(name)
        for round_ in range(given.rounds):
            for n in given.workers:
                place = folder / f"{round_}-{n}"
                for part in found:
                    (place / part).mkdir(parents=True)
                rows = {
                    "ingest": ingest(context, server, n, given.runs, place / "ingest"),
                    "relabel": relabel(
                        context,
                        server,
                        n,
                        given.failures,
                        place / "relabel",
                        concurrency=given.concurrency,
                        seconds=given.model_seconds,
                        most=max(given.workers),
                    ),
                }
                for part, row in rows.items():
                    found[part].setdefault(n, []).append(row)
    result = {part: with_ratios([middle(rows) for rows in by_n.values()]) for part, by_n in found.items()}
    show("ingest: a worker beside each journal", result["ingest"])
    title = f"relabel: workers that share failures, {given.concurrency} calls of {given.model_seconds:g} s at once each"
    show(title, result["relabel"])
    least = given.concurrency / (2 * given.model_seconds) if given.model_seconds else float("inf")
    print(f"Waiting alone would let one worker relabel {least:.1f} a second.")
    print(f"Workers, server and models share {os.cpu_count()} cores: what needs more CPU than those cannot grow here.")
    save(given.json, {**result, "rounds": {part: list(by_n.values()) for part, by_n in found.items()}})


if __name__ == "__main__":
    main()
