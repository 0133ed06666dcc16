"""The replay buffer as it grows: steps per CPU-second into it, the cost of a tick, and of what people and trainers ask.

Trajectories have ten tool calls of about 250 characters. The first 1,000 come through the journal, and are settled and
relabeled; they are then copied, under other ids, to the size asked for. Each size is measured by a process of its own,
so that its memory is that of a worker, not of the copying. All of them stay, and each question goes to one after the
other, since the speed of a machine changes within minutes: a ratio compares what was measured within seconds.

    python benchmarks/buffer.py [--sizes 10000 100000] [--full] [--ticks 60] [--json FILE]
"""

from __future__ import annotations

import argparse
import cProfile
import itertools
import json
import os
import pstats
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
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
from benchmarks.common import interval, machine, save, show
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


def peak_mb() -> int:
    """Give the most that this process had in memory; what `getrusage` says begins with that of its parent."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return round(int(found[1]) / 1e3) if found else 0


def worker(folder: Path) -> Live:
    return Live(
        folder / "home", buffer=str(folder / "buffer.duckdb"), success_samples=False, formats=["trl_sft"], held_out=0.0
    )


def serve(folder: Path, size: int) -> None:
    """Do what the lines of the standard input name, one at a time, and print what each took."""
    live = worker(folder)
    buffer = live.buffer
    number = itertools.count(10_000_000)
    keys = itertools.count(BASE // 2)
    now = at(1e6) + timedelta(seconds=1)
    tight = buffer.settings.model_copy(update={"history_trajectories": size - 3 * BASE})

    def tick() -> Callable[[], Any]:
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

    def ask(query: str) -> Callable[[], Callable[[], Any]]:
        return lambda: lambda: buffer.sql(query)

    def forget(some: int) -> Callable[[], Callable[[], Any]]:
        def work() -> None:
            with buffer.writing() as tx:
                gone = retention.forget_some(tx, tight, moment=now, now=now, limit=some)
            assert gone.trajectories == some, gone

        return lambda: work

    actions: dict[str, Callable[[], Callable[[], Any]]] = {  # each prepares, and gives what is timed
        "tick of 100": tick,
        "whole tick of 100": whole_tick,
        "idle tick": lambda: live.tick,
        "by id": lambda: lambda: buffer.trajectory(f"{BASE // 2:08d}"),
        "draw 256": lambda: lambda: buffer.sample(256, strategy="prioritized"),
        "status": lambda: lambda: buffer.status(now=now),
        "success_rates": ask("FROM success_rates"),
        "funnel": ask("FROM funnel"),
        "failure types": ask("SELECT failure_type, count(*) FROM failures GROUP BY ALL"),
        "delete a thread": lambda: lambda: live.delete(thread_id=f"t{next(keys)}", compact=False),
        "forget 100": forget(100),
        "forget 1,000": forget(1000),
    }
    print(flush=True)
    with live, ExitStack() as held:
        for line in sys.stdin:
            took: Any = None
            name = line.strip()
            if name == "release":
                held.close()
            elif name in ("hold", "hold wide"):
                held.enter_context(buffer.hold(wide=name == "hold wide"))
            elif name == "size":
                took = [round((folder / "buffer.duckdb").stat().st_size / size / 1e3, 2), peak_mb()]
            else:
                action = actions[name]()
                wall, cpu = time.perf_counter(), time.process_time()
                action()
                took = [(time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3]
            print(json.dumps(took), flush=True)


class Size:
    """A buffer of one size, and the process that works on it."""

    def __init__(self, folder: Path, size: int) -> None:
        command = [sys.executable, str(Path(__file__).resolve()), "--serve", str(folder), str(size)]
        self.n = size
        self.row: dict[str, Any] = {"trajectories": size}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._read()

    def ask(self, name: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(name + "\n")
        self._process.stdin.flush()
        return json.loads(self._read())

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the process of size {self.n} ended with {self._process.wait()}"
        return line

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def in_turns(sizes: list[Size], name: str, times: int, *, shown: str = "", warm: int = 1) -> dict[str, Any]:
    """Ask all sizes, one after the other, `times` times, after `warm` rounds that do not count.

    Every size's row gets the medians. Gives the ratio of CPU between the last and the first size: of the means over
    all rounds with its 95 % interval (a bootstrap over rounds), and the median of the rounds' ratios; and for each size
    median, mean and largest, in milliseconds of CPU.
    """
    rounds: list[list[tuple[float, float]]] = []
    for turn in range(warm + times):
        order = sizes if turn % 2 else sizes[::-1]
        took = {size.n: tuple(size.ask(name)) for size in order}
        rounds.append([took[size.n] for size in sizes])
    rounds = rounds[warm:]
    shown = shown or name
    found: dict[str, Any] = {"what": shown}
    for index, size in enumerate(sizes):
        walls, cpus = zip(*(one[index] for one in rounds), strict=True)
        size.row[f"{shown}, ms"] = round(statistics.median(walls), 1)
        size.row[f"{shown}, CPU ms"] = round(statistics.median(cpus), 1)
        found[f"{size.n:,}"] = " / ".join(f"{f(cpus):.1f}" for f in (statistics.median, statistics.mean, max))
    pairs = [[(one[0][1], one[-1][1])] for one in rounds]

    def ratio(taken: Any) -> float:
        return sum(large for _, large in taken) / max(1e-9, sum(small for small, _ in taken))

    found["means"] = round(ratio([pair for [pair] in pairs]), 2)
    found["95 %"] = interval(pairs, ratio, n=2000)
    found["median of ratios"] = round(statistics.median(large / max(1e-9, small) for [(small, large)] in pairs), 2)
    return found


LOOKS = ("by id", "draw 256", "status", "success_rates", "funnel", "failure types")


def measure(sizes: list[Size], times: int, ticks: int) -> list[dict[str, Any]]:
    """All that is asked of buffers of these sizes, in turns."""
    for size in sizes:
        size.row["KB per trajectory"] = size.ask("size")[0]
    found = [in_turns(sizes, name, ticks) for name in ("tick of 100", "whole tick of 100")]
    found += [in_turns(sizes, "idle tick", times)]
    found += [in_turns(sizes, name, times, shown=f"{name}, opening too") for name in LOOKS]
    for hold, names in (("hold", LOOKS[:1]), ("hold wide", LOOKS[1:])):  # as each opens the file itself
        for size in sizes:
            size.ask(hold)
        found += [in_turns(sizes, name, times) for name in names]
        for size in sizes:
            size.ask("release")
    for size in sizes:
        size.row["peak RSS MB"] = size.ask("size")[1]
    found += [in_turns(sizes, "delete a thread", 2, warm=0)]
    for size in sizes:
        size.ask("hold")
    found += [in_turns(sizes, name, 2, warm=0) for name in ("forget 100", "forget 1,000")]
    for size in sizes:
        size.ask("release")
        size.row["peak RSS MB, with upkeep"] = size.ask("size")[1]
    return found


def main() -> None:
    global PROFILE
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[10_000, 100_000], help="multiples of 1,000, from 2,000"
    )
    parser.add_argument("--full", action="store_true", help="1,000,000 trajectories too (5 GB, ten minutes of CPU)")
    parser.add_argument("--times", type=int, default=7, help="repetitions; medians are shown")
    parser.add_argument("--ticks", type=int, default=60, help="repetitions of a tick, of which a few are dear")
    parser.add_argument("--profile", action="store_true", help="show what ingest spends its time on, and stop")
    parser.add_argument("--folder", type=Path, help="where the files lie meanwhile; default: the temporary folder")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", nargs=2, metavar=("FOLDER", "SIZE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(Path(arguments.serve[0]), int(arguments.serve[1]))
        return
    PROFILE = arguments.profile
    sizes = sorted({*arguments.sizes, *([1_000_000] if arguments.full else [])})
    if wrong := [size for size in sizes if size % BASE or size < 2 * BASE]:
        parser.error(f"--sizes {wrong[0]}: sizes are multiples of {BASE:,}, from {2 * BASE:,} on")
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
        have, homes = BASE, []
        for size in sizes:
            with buffer.hold():
                grow(buffer, have, size)
            have = size
            homes.append(folder / f"{size}")
            if size == sizes[-1]:  # the last need not be copied
                homes[-1].mkdir()
                for name in ("buffer.duckdb", "home"):
                    (folder / name).replace(homes[-1] / name)
            else:
                shutil.copytree(folder / "home", homes[-1] / "home")
                shutil.copyfile(path, homes[-1] / "buffer.duckdb")
            print(f"{size:,} made", flush=True)
        served = [Size(home, size) for home, size in zip(homes, sizes, strict=True)]
        began = time.perf_counter()
        turns = measure(served, arguments.times, arguments.ticks)
        print(f"measured in turns in {time.perf_counter() - began:.0f} s; load {os.getloadavg()[1]:.1f}", flush=True)
        for one in served:
            one.close()
        rows = [one.row for one in served]
        first, last = rows[0], rows[-1]
        for name in first:
            print(f"{name:34}", "  ".join(f"{row['trajectories']:,} → {row[name]}" for row in rows))
        show(
            f"CPU ms of each size (median / mean / largest), and {last['trajectories']:,} over "
            f"{first['trajectories']:,}: of the means, and the median of the ratios of turns",
            turns,
        )
        save(arguments.json, {"ingest": ingested, "sizes": rows, "turns": turns})
    finally:
        shutil.rmtree(folder, ignore_errors=True)


PROFILE = False

if __name__ == "__main__":
    main()
