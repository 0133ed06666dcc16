"""Lines of another form than ours: nothing in them stops a batch, and each is counted."""

import copy
import itertools
import logging
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from agenther_live.assemble import tell
from agenther_live.buffer.store import Buffer
from agenther_live.journal import Reader
from agenther_live.journal.framing import header
from tests.buffer.journal_facts import at, batch, feedback, run

WRONG = ["noon", 7, 2.5, True, None, ["x"], [[1]], {"a": 1}, 1e300, 10**19]
WRITER = f"host-boot-1-{0:032x}"


def records(key: str, kind: str) -> list[Any]:
    """All kinds of records, and of facts within them."""
    more: dict[str, Any] = {"tags": ["a"], "metadata": {"a": 1}, "evaluators": ["e"], "subject": "s", "tenant": "t"}
    waits = {"status": "interrupted", "waits_at": f"c-{key}"} if kind == "waits" else {}
    one = run(key, thread=f"t-{key}", steps=1, **waits, **more).records
    if kind == "nested":
        tools = [{"type": "function", "function": {"name": "search"}}]
        place = {"s": 0, "p": 3}
        one[1]["f"][:0] = [
            {"t": "graph", "s": 5, "p": 0, "up": 0, "name": "sub", "n": 0},
            {"t": "node", **place, "name": "n", "ns": "n:1"},
            {"t": "tools", "x": 9, "tools": tools},
        ]
        one[1]["f"] += [
            {"t": "tool", **place, "d": 1, "n": 77, "up": 0, "name": "other", "id": None, "args": "{}"},
            {"t": "tool_error", "n": 77, "d": 4, "error": "E", "text": "bad"},
            {"t": "call", **place, "d": 8, "c": 88, "n": 0, "base": 1, "keep": 1, "add": [2, 3], "x": 9, "model": "m"},
            {"t": "node_end", "p": 3, "out": [2], "d": 1},
            {"t": "graph_end", "s": 5, "out": [2]},
        ]
    said = feedback(trajectory_id=key, score=0.5, comment="c", success=True, feedback_id=f"fb-{key}")
    return [*one, said, {"k": "counters", "at": 1.0, "counts": {"a": 1}}]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(value[key], (*path, key))


def wrong() -> Iterator[tuple[str, list[Any]]]:
    """Runs with one thing wrong in each: every field of every kind, the one or the other wrong value, or gone."""
    numbers, values = itertools.count(), itertools.cycle(WRONG)
    had = set()
    for kind in ("plain", "waits", "nested"):
        for path in places(records("", kind)):
            inside = records("", kind)[path[0]]
            if len(path) > 2 and path[1] == "f":
                fact = inside["f"][path[2]]
                sign = (fact["t"], fact.get("msg", {}).get("role"), *path[3:])
            else:
                sign = ((inside or {}).get("k"), None, *path[1:])
            if sign in had or path[-1] == "r":
                continue
            had.add(sign)
            for gone in (False, False, False, True):
                key = f"{next(numbers):06d}"
                made: Any = records(key, kind)
                place = made
                for step in path[:-1]:
                    place = place[step]
                if gone:
                    del place[path[-1]]
                else:
                    place[path[-1]] = copy.deepcopy(next(values))
                yield key, made


def line(record: Any) -> bytes:
    data = orjson.dumps(record)
    return b"%08x %b\n" % (zlib.crc32(data), data)


def test_nothing_that_a_line_says_stops_a_batch(buffer: Buffer, tmp_path: Path) -> None:
    given = dict(wrong())
    folder = tmp_path / "journal"
    folder.mkdir()
    path = folder / f"{WRITER}.0.jsonl"
    good = run("good").records
    path.write_bytes(
        header(WRITER, 0, 1.0) + b"".join(line(record) for made in (*given.values(), good) for record in made)
    )
    found = Reader(folder).read({}, limit_bytes=1 << 30)
    assert found.damage["odd_lines"] > 50
    report = buffer.ingest(found, now=at(0))
    buffer.settle(now=at(1000), immediate=True)
    assert report.failed == 0
    assert report.counted["odd_facts"] > 50
    there = {row[0] for row in buffer.sql("SELECT trajectory_id FROM trajectories").fetchall()}
    lost = [made for key, made in given.items() if key not in there]
    for made in lost:  # those whose first line says nothing, and those that it gives to another trajectory
        start = made[0]
        assert not isinstance(start, dict) or start.get("k") != "start" or start.get("trajectory_id") is not None
    assert "good" in there
    counted = dict(buffer.sql("SELECT name, sum(n) FROM counters GROUP BY name").fetchall())
    assert counted["journal.odd_lines"] == found.damage["odd_lines"]
    assert counted["odd_facts"] == report.counted["odd_facts"]
    assert buffer.ingest(found, now=at(2000)).trajectories == 0


def test_a_run_that_began_at_noon_is_kept_without_its_time(
    buffer: Buffer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    start, facts, end = run("noon").records
    start["at"] = end["at"] = "noon"
    path = tmp_path / f"{WRITER}.0.jsonl"
    path.write_bytes(header(WRITER, 0, 1.0) + line(start) + line(facts) + line(end))
    with caplog.at_level(logging.WARNING):
        found = Reader(tmp_path).read({})
    assert found.damage == {"odd_lines": 2}
    assert [name for name in caplog.messages if path.name in name and "start" in name]
    buffer.ingest(found, now=at(0))
    [row] = buffer.sql("SELECT trajectory_id, status, started_at, finished_at FROM trajectories").fetchall()
    assert row == ("noon", "finished", None, None)


def test_a_model_name_that_is_no_text_is_left_out(buffer: Buffer) -> None:
    odd = run("odd")
    for name in ([1], {"a": 1}, 7):
        whole = odd.records
        whole[1]["f"][3]["model"] = name
        assert whole[1]["f"][3]["t"] == "reply"
        told = tell([whole], trajectory_id="odd")
        assert [step.model for step in told.trajectory.steps] == [None, "scripted"]
        assert told.odd == 1
    report = buffer.ingest(batch([type(odd).of("odd", "w", whole)]), now=at(0))
    assert (report.failed, report.counted) == (0, {"odd_facts": 1})


def test_a_record_is_looked_at_by_its_own_kind(tmp_path: Path) -> None:
    """What is nothing to one kind of record, another one with fields of the same names and types must not say."""
    start, facts, end = run("odd").records
    start["agent"], end["status"] = 5, ["finished"]
    notes = [{**record, "k": "note", "r": "other"} for record in (start, end)]
    path = tmp_path / f"{WRITER}.0.jsonl"
    path.write_bytes(header(WRITER, 0, 1.0) + b"".join(map(line, (*notes, start, facts, end))))
    found = Reader(tmp_path).read({})
    assert found.damage == {"odd_lines": 2}
    [made] = found.runs
    assert (made.records[0]["agent"], made.records[-1]["status"]) == ("5", "abandoned")


def test_a_format_that_is_no_number_is_one_to_come(tmp_path: Path) -> None:
    path = tmp_path / f"{WRITER}.0.jsonl"
    whole = b"".join(map(line, run("odd").records))
    for version in ("2.0", [1]):
        path.write_bytes(line({"k": "segment", "v": version, "writer": WRITER, "n": 0}) + whole)
        found = Reader(tmp_path).read({})
        assert (found.damage, found.runs) == ({"newer_files": 1}, [])
        assert Reader(tmp_path).collect(found.cursors) == 0
