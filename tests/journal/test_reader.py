from __future__ import annotations

import errno
import os
import random
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agenther_live.journal import Cursor, Reader, Writer, encode_line
from tests.journal.records import Records, read_all, roots, run, segments


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def writer(folder: Path) -> Iterator[Writer]:
    writer = Writer(folder, flush_seconds=60)
    yield writer
    writer.close()


def test_an_empty_or_missing_folder_is_an_empty_batch(folder: Path) -> None:
    batch = read_all(folder)
    assert (batch.runs, batch.loose, batch.cursors, Reader(folder).lag({}).bytes, batch.more) == ([], [], {}, 0, False)


def test_the_cursor_waits_at_the_oldest_open_run(writer: Writer, folder: Path) -> None:
    reader = Reader(folder)
    opened = run("open", end=False)
    writer.append(opened)
    writer.append(run("a"))
    writer.append([{"k": "feedback", "n": 1}])
    first = reader.read({})
    [cursor] = first.cursors.values()
    assert roots(first) == ["a"]
    assert [record["k"] for record in first.loose] == ["feedback"]
    assert first.open_runs == 1
    assert cursor.offset < cursor.read_offset
    # Nothing is delivered twice, be it by the same reader or by one that knows the cursors only.
    writer.append(run("b"))
    again, fresh = reader.read(first.cursors), read_all(folder, first.cursors)
    assert roots(again) == roots(fresh) == ["b"]
    assert again.loose == fresh.loose == []
    assert again.cursors == fresh.cursors
    writer.append([{"k": "end", "r": "open"}])
    again, fresh = reader.read(again.cursors), read_all(folder, again.cursors)
    assert [facts.records for facts in again.runs] == [facts.records for facts in fresh.runs]
    assert again.runs[0].records == [*opened, {"k": "end", "r": "open"}]
    [cursor] = again.cursors.values()
    assert (cursor.segment, cursor.offset) == (cursor.read_segment, cursor.read_offset)


def test_a_batch_that_was_not_stored_is_delivered_again(writer: Writer, folder: Path) -> None:
    reader = Reader(folder)
    writer.append(run("a"))
    writer.append([{"k": "feedback"}])
    first = reader.read({})
    second = reader.read({})
    assert first == second
    assert reader.read(second.cursors).runs == []


def test_two_number_cursors_lose_nothing(writer: Writer, folder: Path) -> None:
    writer.append(run("open", end=False))
    writer.append(run("a"))
    first = read_all(folder)
    short = {name: Cursor(cursor.segment, cursor.offset) for name, cursor in first.cursors.items()}
    writer.append([{"k": "end", "r": "open"}])
    assert roots(read_all(folder, short)) == ["a", "open"]


def test_a_run_may_span_segments_and_processes_of_the_reader(folder: Path) -> None:
    writer = Writer(folder, segment_bytes=300, flush_seconds=60)
    cursors: dict[str, Cursor] = {}
    records = run("long", 20)
    delivered: list[str] = []
    for i, record in enumerate(records):
        writer.append([record])
        writer.append(run(f"s{i}", 1))
        batch = read_all(folder, cursors)
        cursors = batch.cursors
        delivered += roots(batch)
        if i < len(records) - 1:
            assert batch.open_runs == 1
    assert len(segments(folder)) > 10
    assert delivered == [*(f"s{i}" for i in range(21)), "long", "s21"]
    batch = read_all(folder)
    assert next(facts.records for facts in batch.runs if facts.root_key == "long") == records
    writer.close()


def test_late_facts_and_records_of_no_run_are_loose_with_a_stable_id(writer: Writer, folder: Path) -> None:
    writer.append(run("a"))
    first = read_all(folder)
    writer.append([{"k": "late", "r": "a"}, {"k": "counters", "counts": {}}])
    batch, again = read_all(folder, first.cursors), read_all(folder, first.cursors)
    assert [record["k"] for record in batch.loose] == ["late", "counters"]
    assert batch.loose == again.loose == read_all(folder).loose
    ids = [record["_id"] for record in batch.loose]
    assert len(set(ids)) == 2
    assert all(i.startswith(f"{writer.writer_id}:0:") for i in ids)


def test_a_dropped_run_is_ignored(writer: Writer, folder: Path) -> None:
    writer.append(run("a", end=False))
    writer.append([{"k": "dropped", "r": "a"}])
    writer.append(run("b"))
    batch = read_all(folder)
    assert (roots(batch), batch.open_runs, batch.loose) == (["b"], 0, [])


def test_open_runs_of_a_closed_writer_are_orphans(writer: Writer, folder: Path) -> None:
    writer.append(run("open", end=False))
    writer.append(run("a"))
    reader = Reader(folder)
    first = reader.read({})
    assert roots(first) == ["a"]
    writer.close()
    second = reader.read(first.cursors)
    assert [(facts.root_key, facts.ended, facts.orphaned) for facts in second.runs] == [("open", False, True)]
    assert reader.read(second.cursors).runs == []
    writer.append([{"k": "end", "r": "open"}])  # it lived after all: the rest arrives late
    assert [record["k"] for record in reader.read(second.cursors).loose] == ["end"]


def test_a_torn_tail_waits_while_its_writer_lives(writer: Writer, folder: Path) -> None:
    writer.append(run("a"))
    [path] = segments(folder)
    line = encode_line({"k": "feedback"})
    with path.open("ab") as file:
        file.write(line[:-5])
    batch = read_all(folder)
    assert Reader(folder).lag(batch.cursors).bytes == len(line) - 5
    assert not batch.damage
    with path.open("ab") as file:
        file.write(line[-5:])
    batch = read_all(folder, batch.cursors)
    assert [record["k"] for record in batch.loose] == ["feedback"]
    with path.open("ab") as file:
        file.write(line[:-5])
    writer.close()
    reader = Reader(folder)
    batch = reader.read(batch.cursors)
    assert batch.damage == {"torn_tails": 1}
    assert reader.lag(batch.cursors).bytes == 0
    assert not reader.read(batch.cursors).damage
    assert reader.collect(batch.cursors) == 1


def test_a_bad_inner_line_is_skipped_and_counted_once(writer: Writer, folder: Path) -> None:
    for i in range(3):
        writer.append(run(f"r{i}"))
    [path] = segments(folder)
    data = bytearray(path.read_bytes())
    at = data.index(b'"r1"', data.index(b'"i":1', data.index(b'"r1"')) - 40)
    data[at + 1] ^= 1
    with path.open("r+b") as file:
        file.write(data)
    for _ in range(2):
        batch = read_all(folder)
        assert roots(batch) == ["r0", "r1", "r2"]
        assert [len(facts.records) for facts in batch.runs] == [5, 4, 5]
        assert batch.damage == {"bad_lines": 1}
        writer.close()
    assert not read_all(folder, batch.cursors).damage


def test_facts_that_are_no_json_stop_no_reader(folder: Path) -> None:
    writer = Writer(folder)
    writer.append(run("a"))
    writer.close()
    [path] = segments(folder)
    late = b'{"k":"f","r":"a","at":1,"f":[nonsense]}'  # of a writer that is not ours: its sum is right
    with path.open("ab") as file:
        file.write(b"%08x %b\n" % (zlib.crc32(late), late))
    batch = read_all(folder)
    assert (roots(batch), batch.loose, batch.damage) == (["a"], [], {"bad_lines": 1})


def test_a_file_without_one_good_line_is_set_aside(folder: Path) -> None:
    writer = Writer(folder)
    writer.append(run("a"))
    writer.close()
    [path] = segments(folder)
    path.write_bytes(random.Random(5).randbytes(5000) + b"\n" * 3)
    other = Writer(folder)
    other.append(run("b"))
    reader = Reader(folder)
    batch = reader.read({})
    assert roots(batch) == ["b"]
    assert batch.damage["damaged_files"] == 1
    assert len(list((folder / "damaged").iterdir())) == 1
    assert not reader.read(batch.cursors).damage
    other.close()


def test_a_bad_header_alone_costs_no_run(folder: Path) -> None:
    writer = Writer(folder)
    writer.append(run("a"))
    writer.close()
    [path] = segments(folder)
    path.write_bytes(b"#" + path.read_bytes()[1:])
    batch = read_all(folder)
    assert roots(batch) == ["a"]
    assert batch.damage == {"bad_lines": 1}


def test_a_newer_format_is_left_alone_and_an_older_one_is_read(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for version, wanted in ((0, ["a"]), (1, ["a"]), (2, [])):
        writer = Writer(folder)
        writer.append(run("a"))
        writer.close()
        [path] = segments(folder)
        body = path.read_bytes().partition(b"\n")[2]
        path.write_bytes(encode_line({"k": "segment", "v": version, "writer": "w", "n": 0}) + body)
        reader = Reader(folder)
        batch = reader.read({})
        assert roots(batch) == wanted
        assert batch.damage == ({"newer_files": 1} if version == 2 else {})
        assert not reader.read(batch.cursors).damage
        assert reader.collect(batch.cursors) == len(wanted)
        path.unlink(missing_ok=True)
    assert "upgrade" in caplog.text


def test_a_file_that_shrank_is_counted(folder: Path) -> None:
    writer = Writer(folder)
    writer.append(run("a"))
    writer.close()
    batch = read_all(folder)
    [path] = segments(folder)
    os.truncate(path, 50)
    batch = read_all(folder, batch.cursors)
    assert batch.damage["shrunk_files"] == 1
    assert batch.runs == []


def test_a_file_that_cannot_be_read_keeps_no_other_waiting(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writers = [Writer(folder) for _ in range(2)]
    for i, writer in enumerate(writers):
        writer.append(run(f"r{i}"))
        writer.close()
    (folder / f"{writers[0].writer_id}.9.jsonl").mkdir()
    bad, real = os.stat(next(folder.glob(f"{writers[0].writer_id}.0.jsonl"))).st_ino, os.pread

    def pread(fd: int, n: int, offset: int) -> bytes:
        if os.fstat(fd).st_ino == bad:
            raise OSError(errno.EIO, "Input/output error")
        return real(fd, n, offset)

    monkeypatch.setattr(os, "pread", pread)
    reader = Reader(folder)
    batch = reader.read({})
    assert roots(batch) == ["r1"]
    assert batch.damage == {"unreadable_files": 1}
    assert reader.lag(batch.cursors).bytes > 0
    assert not reader.read(batch.cursors).damage
    monkeypatch.undo()
    assert roots(reader.read(batch.cursors)) == ["r0"]


def test_a_writer_without_a_heartbeat_counts_as_gone(writer: Writer, folder: Path) -> None:
    """Its lock is held on by something else: a copy of the process that runs none of our code."""
    writer.append(run("open", end=False))
    reader = Reader(folder, stale_seconds=0.1)
    first = reader.read({})
    assert first.open_runs == 1
    time.sleep(0.15)
    os.utime(segments(folder)[0])  # a heartbeat
    assert reader.read(first.cursors).open_runs == 1
    time.sleep(0.15)
    second = reader.read(first.cursors)
    assert [(facts.root_key, facts.orphaned) for facts in second.runs] == [("open", True)]
    assert reader.collect(second.cursors) == 0  # the lock still keeps the file
    writer.append([{"k": "f", "r": "open"}, {"k": "end", "r": "open"}])
    assert [record["k"] for record in reader.read(second.cursors).loose] == ["f", "end"]


def test_a_segment_is_read_on_while_it_is_held_whatever_follows_it(writer: Writer, folder: Path) -> None:
    """As when a writer could not finish the next segment, and went on in the old one."""
    writer.append(run("a"))
    [path] = segments(folder)
    following = path.with_name(path.name.replace(".0.jsonl", ".1.jsonl"))
    following.write_bytes(path.read_bytes().partition(b"\n")[0] + b"\n")
    reader = Reader(folder)
    batch = reader.read({})
    assert roots(batch) == ["a"]
    writer.append(run("b"))
    batch = reader.read(batch.cursors)
    assert roots(batch) == ["b"]
    assert reader.collect(batch.cursors) == 0


def test_limit_bytes_makes_many_small_batches(writer: Writer, folder: Path) -> None:
    for i in range(100):
        writer.append(run(f"r{i}", text="x" * 200))
    reader = Reader(folder)
    cursors: dict[str, Cursor] = {}
    names: list[str] = []
    lags = []
    while True:
        batch = reader.read(cursors, limit_bytes=5000)
        cursors = batch.cursors
        names += roots(batch)
        lags.append(reader.lag(batch.cursors).bytes)
        assert len(batch.runs) < 15
        if not batch.more:
            break
    assert names == [f"r{i}" for i in range(100)]
    assert lags == sorted(lags, reverse=True)
    assert lags[-1] == 0
    assert len(lags) > 8


def test_one_busy_writer_does_not_starve_the_others(folder: Path) -> None:
    writers = [Writer(folder) for _ in range(3)]
    for i, writer in enumerate(writers):
        for j in range(200 if i == 0 else 2):
            writer.append(run(f"{i}-{j}", text="x" * 300))
    reader = Reader(folder)
    cursors: dict[str, Cursor] = {}
    seen = set()
    for _ in range(4):
        batch = reader.read(cursors, limit_bytes=20_000)
        cursors = batch.cursors
        seen.update(facts.writer for facts in batch.runs)
    assert len(seen) == 3
    for writer in writers:
        writer.close()


def test_collect_deletes_only_what_is_done_with(folder: Path) -> None:
    writer = Writer(folder, segment_bytes=500, flush_seconds=60)
    for i in range(10):
        writer.append(run(f"r{i}"))
    writer.append(run("open", end=False))
    for i in range(10):
        writer.append(run(f"s{i}"))
    reader = Reader(folder)
    assert len(segments(folder)) > 8
    assert reader.collect({}) == 0
    batch = reader.read({})
    assert reader.collect({}) == 0
    before = len(segments(folder))
    deleted = reader.collect(batch.cursors)
    assert 3 < deleted < before
    assert reader.collect(batch.cursors) == 0
    writer.append([{"k": "end", "r": "open"}])
    batch = reader.read(batch.cursors)
    assert roots(batch) == ["open"]
    assert batch.runs[0].records[0]["k"] == "start"
    reader.collect(batch.cursors)
    assert len(segments(folder)) == 1  # the one that its writer holds
    writer.close()
    batch = reader.read(batch.cursors)
    assert reader.collect(batch.cursors) == 1
    writer.append(run("again"))  # the next segment of the same writer
    assert roots(reader.read(batch.cursors)) == ["again"]
    writer.close()


def test_an_empty_file_of_a_writer_that_died_early_goes(folder: Path) -> None:
    writer = Writer(folder)
    writer.append(run("a"))
    writer.close()
    [path] = segments(folder)
    empty = path.with_name(path.name.replace(".0.jsonl", ".7.jsonl"))
    empty.touch()
    reader = Reader(folder)
    batch = reader.read({})
    assert roots(batch) == ["a"]
    assert reader.collect(batch.cursors) == 2


def test_lag_is_bytes_and_age_of_what_is_not_read(writer: Writer, folder: Path) -> None:
    reader = Reader(folder)
    old = run("a")
    old[0]["at"] = time.time() - 100
    writer.append(old)
    batch = reader.read({})
    assert reader.lag(batch.cursors) == (0, 0.0)
    lag = reader.lag({})
    [path] = segments(folder)
    assert lag.bytes == path.stat().st_size
    writer.append(run("b"))
    assert 0 < reader.lag(batch.cursors).bytes < lag.bytes
    assert 0 <= reader.lag(batch.cursors).seconds < 50


@st.composite
def streams(draw: st.DrawFn) -> list[Records]:
    """Draw runs whose facts interleave, with loose records in between, cut into appends."""
    pending = [run(f"r{i}", draw(st.integers(0, 3)), end=draw(st.booleans())) for i in range(draw(st.integers(0, 5)))]
    appends: list[Records] = []
    while any(pending):
        records = draw(st.sampled_from([p for p in pending if p]))
        n = draw(st.integers(1, 4))
        appends.append(records[:n])
        del records[:n]
        if draw(st.booleans()):
            appends.append([{"k": "feedback", "n": len(appends)}])
    return appends


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stream=streams(), data=st.data())
def test_every_record_is_delivered_once_however_reader_and_transactions_fail(
    tmp_path_factory: pytest.TempPathFactory, stream: list[Records], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("j") / "journal"
    writer = Writer(folder, segment_bytes=data.draw(st.integers(1, 800)), flush_seconds=60)
    reader = Reader(folder)
    cursors: dict[str, Cursor] = {}
    got: list[tuple[str, Records, bool]] = []
    loose: Records = []

    def step() -> None:
        nonlocal cursors, reader
        if data.draw(st.booleans()):
            reader = Reader(folder)  # the worker was restarted
        batch = reader.read(cursors, limit_bytes=data.draw(st.sampled_from([1, 500, 1 << 20])))
        if data.draw(st.integers(0, 3)) == 0:
            return  # the transaction failed
        cursors = batch.cursors
        got.extend((facts.root_key, facts.records, facts.orphaned) for facts in batch.runs)
        loose.extend(batch.loose)
        assert not batch.damage
        if data.draw(st.booleans()):
            reader.collect(cursors)

    expected: dict[str, Records] = {}
    for records in stream:
        writer.append(records)
        for record in records:
            if "r" in record:
                expected.setdefault(record["r"], []).append(record)
        if data.draw(st.booleans()):
            step()
    writer.close()
    for _ in range(6):
        step()
    while (batch := reader.read(cursors)).runs or batch.loose or batch.more:
        cursors = batch.cursors
        got.extend((facts.root_key, facts.records, facts.orphaned) for facts in batch.runs)
        loose.extend(batch.loose)
    assert {root: records for root, records, _ in got} == expected
    assert len(got) == len(expected)
    assert all(orphaned == (records[-1]["k"] != "end") for _, records, orphaned in got)
    wanted = [record["n"] for records in stream for record in records if record["k"] == "feedback"]
    assert [record["n"] for record in loose if record["k"] == "feedback"] == wanted
    reader.collect(batch.cursors)
    assert segments(folder) == []


@settings(max_examples=80, deadline=None)
@given(chance=st.randoms(use_true_random=False))
def test_any_damage_is_survived_and_yields_no_record_that_was_not_written(
    tmp_path_factory: pytest.TempPathFactory, chance: random.Random
) -> None:
    folder = tmp_path_factory.mktemp("j") / "journal"
    writer = Writer(folder, segment_bytes=1500, flush_seconds=60)
    written: list[Any] = []
    for i in range(12):
        records = run(f"r{i}", text=chance.choice(["a", "b" * 50]))
        written += records
        writer.append(records)
    writer.close()
    for path in segments(folder):
        content = bytearray(path.read_bytes())
        for _ in range(chance.randint(0, 3)):
            at = chance.randrange(len(content))
            match chance.randrange(4):
                case 0:
                    content[at] ^= 1 << chance.randrange(8)
                case 1:
                    del content[at:]
                    content += b"\n" * chance.randint(1, 2)
                case 2:
                    content[at:at] = chance.randbytes(30)
                case _:
                    del content[at : at + 100]
                    content += b"}"
        path.write_bytes(content)
    reader = Reader(folder)
    batch = reader.read({})
    for facts in batch.runs:
        for record in facts.records:
            assert record in written
    for record in batch.loose:
        assert {key: value for key, value in record.items() if key != "_id"} in written
    assert reader.read(batch.cursors).runs == []
