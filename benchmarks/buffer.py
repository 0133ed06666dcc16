"""The replay buffer as it grows: steps per CPU-second into it, the cost of a tick, and of what people and trainers ask.

Trajectories have ten tool calls of about 250 characters. The first 1,000 come through the journal, and are settled and
relabeled; they are then copied, under other ids, to the size asked for. Each size is measured by a process of its own,
so that its memory is that of a worker, not of the copying. Ratios are taken within one run.

    python benchmarks/buffer.py [--sizes 10000 100000] [--full] [--json FILE]
"""

from __future__ import annotations

import argparse
import cProfile
import itertools
import json
import pstats
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it runs as a file too

from agenther_live import Live
from agenther_live.buffer.schema import metadata
from agenther_live.buffer.store import Buffer
from agenther_live.buffer.upkeep import retention
from agenther_live.collecting import seldom_collected
from agenther_live.journal import Reader, Writer
from agenther_live.settings import load_settings
from benchmarks.common import machine, save, show
from tests.buffer.journal_facts import at, batch, feedback, run
from tests.buffer.labels_made import relabeled

BASE = 1_000
AT_ONCE = 10  # copies of the base in one transaction
STEPS = 10
TEXT = "The part was found in the catalogue of the second supplier, with a lead time of nine days. " * 3
COPIED = [
    "state", "trajectories", "runs", "run_heads", "run_facts", "messages", "steps", "relabelings", "analyses", "goals",
    "verdicts", "samples", "sample_state",
    "sample_shards", "set_aside",
]  # fmt: skip
IN_TIME = ["trajectory_id", "root_key", "parent_key"]  # UUIDv7: later ones are larger
IDS = ["trajectory_id", "root_key", "parent_key", "relabeling_id", "goal_id", "sample_id", "thread_id", "content_hash"]


def facts(index: int, *, start: float) -> Any:
    goal = f"Find part {index} below {index % 90} EUR"
    return run(f"{index:08d}", start=start, thread=f"t{index}", goal=goal, steps=STEPS, text=TEXT)


def ingest_speed(folder: Path, buffer: Buffer) -> dict[str, Any]:
    """Write runs into a journal, then read and ingest them in one large batch; the median of three buffers.

    A worker goes on for days, so what is loaded and compiled the first time is left out: a small batch goes before.
    """
    writer = Writer(folder / "journal", flush_seconds=60, segment_bytes=16 << 20, max_queue_bytes=8 << 20)
    for index in range(BASE):
        records = facts(index, start=float(index)).records
        writer.append(records)
        writer.append([feedback(trajectory_id=f"{index:08d}", success=bool(index % 2))])
    writer.close()
    size = sum(path.stat().st_size for path in (folder / "journal").rglob("*") if path.is_file())
    took_each = []
    for number in range(3):
        own = buffer
        if number:
            own = Buffer(folder / f"aside{number}.duckdb", settings=buffer.settings)
        else:
            warm = Buffer(folder / "warm.duckdb", settings=buffer.settings)
            warm.ingest(batch([facts(index, start=0.0) for index in range(20)], [feedback(run_id="r")]), now=at(0))
        own.create()
        with own.hold(), seldom_collected():  # as a worker does
            before = time.process_time()
            found = Reader(folder / "journal").read({}, limit_bytes=1 << 30)
            read = time.process_time() - before
            profile = cProfile.Profile() if PROFILE and not number else None
            before = time.process_time()
            if profile:
                profile.enable()
            report = own.ingest(found, now=at(0))
            if profile:
                profile.disable()
                pstats.Stats(profile).sort_stats("cumulative").print_stats(45)
            took_each.append((read + time.process_time() - before, read))
            del found
        assert report.trajectories == BASE, report
    whole, read = sorted(took_each)[1]
    steps = BASE * STEPS
    return {
        "trajectories": BASE,
        "journal MB": round(size / 1e6, 1),
        "read, CPU s": round(read, 2),
        "ingest, CPU s": round(whole - read, 2),
        "steps per CPU-s": round(steps / whole),
    }


def relabel_all(buffer: Buffer) -> None:
    buffer.settle(now=at(BASE), immediate=True)
    while claims := buffer.claim(500, now=at(BASE)):
        buffer.record_many([(one, relabeled(one)) for one in claims], now=at(BASE))


def grow(buffer: Buffer, have: int, want: int) -> None:
    """Copy the base until there are `want` trajectories."""
    copies = range(have // BASE, want // BASE)
    for first in range(0, len(copies), AT_ONCE):
        with buffer.writing() as tx:
            for name in COPIED:
                table = metadata.tables[f"store.{name}"]
                key = next(c.name for c in table.columns if c.name in IDS)
                tx.connection.exec_driver_sql(
                    f"CREATE OR REPLACE TEMP TABLE base AS FROM {table.fullname} "
                    f"WHERE position('-' IN replace(replace(\"{key}\", 'g-', ''), 'run-', '')) = 0"
                )
                for copy in copies[first : first + AT_ONCE]:
                    columns = ", ".join(f'"{c.name}"' for c in table.columns)
                    values = ", ".join(
                        f"'{copy:06d}-' || \"{c.name}\"" if c.name in IN_TIME
                        else f"\"{c.name}\" || '-{copy:06d}'" if c.name in IDS
                        else f'"{c.name}" + {copy}' if c.name == "thread_hash" else f'"{c.name}"'
                        for c in table.columns
                    )  # fmt: skip
                    tx.connection.exec_driver_sql(f"INSERT INTO {table.fullname} ({columns}) SELECT {values} FROM base")


def timed(action: Callable[[], Any], times: int) -> tuple[float, float]:
    """The median of wall and CPU milliseconds."""
    walls, cpus = [], []
    for _ in range(times):
        wall, cpu = time.perf_counter(), time.process_time()
        action()
        walls.append((time.perf_counter() - wall) * 1e3)
        cpus.append((time.process_time() - cpu) * 1e3)
    return statistics.median(walls), statistics.median(cpus)


def peak_mb() -> int:
    """Give the most that this process had in memory; what `getrusage` says begins with that of its parent."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return round(int(found[1]) / 1e3) if found else 0


def worker(folder: Path) -> Live:
    return Live(
        folder / "home", buffer=str(folder / "buffer.duckdb"), success_samples=False, formats=["trl_sft"], held_out=0.0
    )


def measure(folder: Path, size: int, times: int) -> dict[str, Any]:
    """All that is asked of a buffer of this size, in a process that does nothing else."""
    path = folder / "buffer.duckdb"
    live = worker(folder)
    buffer = live.buffer
    number = itertools.count(10_000_000)
    now = at(1e6) + timedelta(seconds=1)
    row: dict[str, Any] = {"trajectories": size}

    def note(name: str, wall: float, cpu: float) -> None:
        row[f"{name}, ms"], row[f"{name}, CPU ms"] = round(wall, 1), round(cpu, 1)

    def over(prepared: Callable[[], Callable[[], Any]]) -> tuple[float, float]:
        once = [timed(prepared(), 1) for _ in range(times + 1)][1:]  # the first one warms up
        return statistics.median(wall for wall, _ in once), statistics.median(cpu for _, cpu in once)

    def tick() -> Callable[[], None]:
        new = [facts(next(number), start=1e6) for _ in range(100)]
        found = batch(
            new, [feedback(trajectory_id=one.root_key, success=False, feedback_id=f"fb-{one.root_key}") for one in new]
        )

        def work() -> None:
            with buffer.hold():
                buffer.ingest(found, now=now)
                buffer.settle(now=now, immediate=True)

        return work

    def whole_tick() -> Callable[[], Any]:
        assert live._writer is not None
        for _ in range(100):
            one = facts(next(number), start=1e6)
            live._writer.append(one.records)
            live.feedback(trajectory_id=one.root_key, success=True)
        return live.tick

    def ask(query: str) -> Callable[[], Any]:
        return lambda: buffer.sql(query)

    note("tick of 100", *over(tick))
    note("whole tick of 100", *over(whole_tick))
    note("idle tick", *timed(live.tick, times))
    looks = {
        "by id": lambda: buffer.trajectory(f"{BASE // 2:08d}"),
        "draw 256": lambda: buffer.sample(256, strategy="prioritized"),
        "status": lambda: buffer.status(now=now),
        "success_rates": ask("FROM success_rates"),
        "funnel": ask("FROM funnel"),
        "failure types": ask("SELECT failure_type, count(*) FROM failures GROUP BY ALL"),
    }
    for name, action in looks.items():
        note(f"{name}, opening too", *timed(action, times))
    with buffer.hold(wide=True):
        for name, action in looks.items():
            action()
            note(name, *timed(action, times))
    row["KB per trajectory"] = round(path.stat().st_size / size / 1e3, 2)
    row["peak RSS MB"] = peak_mb()
    keys = itertools.count(BASE // 2)
    note("delete a thread", *timed(lambda: live.delete(thread_id=f"t{next(keys)}", compact=False), 2))
    tight = buffer.settings.model_copy(update={"history_trajectories": size - 3 * BASE})
    with buffer.hold():
        for name, some in (("forget 100", 100), ("forget 1,000", 1000)):

            def forget(some: int = some) -> None:
                with buffer.writing() as tx:
                    gone = retention.forget_some(tx, tight, moment=now, now=now, limit=some)
                assert gone.trajectories == some, gone

            note(name, *timed(forget, 2))
    row["peak RSS MB, with upkeep"] = peak_mb()
    live.close()
    return row


def measured(folder: Path, size: int, times: int) -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__).resolve()), "--measure", str(folder), str(size), str(times)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def main() -> None:
    global PROFILE
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000], help="multiples of 1,000, ascending")
    parser.add_argument("--full", action="store_true", help="1,000,000 trajectories too (5 GB, ten minutes of CPU)")
    parser.add_argument("--times", type=int, default=5, help="repetitions; medians are shown")
    parser.add_argument("--profile", action="store_true", help="show what ingest spends its time on, and stop")
    parser.add_argument("--folder", type=Path, help="where the files lie meanwhile; default: the temporary folder")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--measure", nargs=3, metavar=("FOLDER", "SIZE", "TIMES"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(Path(arguments.measure[0]), *map(int, arguments.measure[1:]))))
        return
    PROFILE = arguments.profile
    sizes = sorted({*arguments.sizes, *([1_000_000] if arguments.full else [])})
    print(machine())
    folder = Path(tempfile.mkdtemp(prefix="agenther-bench-", dir=arguments.folder))
    try:
        path = folder / "buffer.duckdb"
        buffer = Buffer(path, settings=load_settings(home=folder, held_out=0.0))
        buffer.create()
        with buffer.hold():
            ingested = ingest_speed(folder, buffer)
            show("journal to buffer, one large batch", [ingested])
            if PROFILE:
                return
            relabel_all(buffer)
        with worker(folder) as live:  # what is copied is published already: a tick is to publish what is new
            live.run_until_idle()
        have, rows = BASE, []
        for size in sizes:
            with buffer.hold():
                grow(buffer, have, size)
            have = size
            began = time.perf_counter()
            kept = folder / "kept"
            if size != sizes[-1]:  # what is measured changes a copy
                kept.mkdir()
                shutil.copyfile(path, kept / "buffer.duckdb")
                shutil.copytree(folder / "home", kept / "home")
            rows.append(measured(folder, size, arguments.times))
            print(f"{size:,} measured in {time.perf_counter() - began:.0f} s", flush=True)
            if size != sizes[-1]:
                shutil.rmtree(folder / "home")
                for name in ("buffer.duckdb", "home"):
                    (kept / name).replace(folder / name)
                kept.rmdir()
        first, last = rows[0], rows[-1]
        ratios = {name: round(last[name] / max(1, first[name]), 2) for name in first if name.endswith("CPU ms")}
        for name in first:
            show_row = {f"{row['trajectories']:,}": row[name] for row in rows}
            print(f"{name:32}", "  ".join(f"{size} → {value}" for size, value in show_row.items()))
        show(f"CPU at {last['trajectories']:,} over that at {first['trajectories']:,}", [ratios])
        save(arguments.json, {"ingest": ingested, "sizes": rows, "ratios": ratios})
    finally:
        shutil.rmtree(folder, ignore_errors=True)


PROFILE = False

if __name__ == "__main__":
    main()
