"""`agenther-live doctor`: what is wrong is named, what can be mended is, and nothing changes unasked."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlalchemy import text

from agenther_live import Live, erase
from agenther_live.buffer import migrations
from agenther_live.doctor import Finding, examine, unwell
from agenther_live.errors import ShardError, WorkerRunning
from agenther_live.journal import Writer
from agenther_live.shards.reading.stream import read_rows
from tests.buffer.journal_facts import batch, feedback, run
from tests.buffer.labels_made import relabeled
from tests.journal.records import run as records
from tests.whole import run_cli

NOW = datetime.now(UTC).replace(tzinfo=None)


def look(home: Path, **options: Any) -> list[Finding]:
    live = Live(home)
    return examine(live.home, live.settings, live.buffer, now=NOW, **options)


def told(findings: list[Finding], area: str, level: str) -> str:
    """What one area says at this level, in one string."""
    return " | ".join(
        " ".join(filter(None, (one.what, one.remedy, one.repaired)))
        for one in findings
        if (one.area, one.level) == (area, level)
    )


@pytest.fixture(scope="module")
def filled_once(tmp_path_factory: pytest.TempPathFactory, empty_home: Path) -> Path:
    """A home with three samples in two shards, made once."""
    home = tmp_path_factory.mktemp("filled") / "home"
    shutil.copytree(empty_home, home)
    with Live(home, held_out=0.0, shard_seconds=0, shard_rows=2, formats=["trl_sft"]) as live, live.buffer.hold():
        runs = [run(f"f{n}", thread=f"f{n}", goal=f"Goal number {n}") for n in range(3)]
        said = [feedback(thread_id=f"f{n}", success=False) for n in range(3)]
        live.buffer.ingest(batch(runs, said), now=NOW - timedelta(hours=1))
        live.buffer.settle(now=NOW)
        claims = live.buffer.claim(10, now=NOW)
        live.buffer.record_many([(claim, relabeled(claim)) for claim in claims], now=NOW)
        live.run_until_idle()
    return home


@pytest.fixture
def filled(filled_once: Path, tmp_path: Path) -> Path:
    shutil.copytree(filled_once, tmp_path / "home")
    return tmp_path / "home"


def published(home: Path) -> list[str]:
    return [row.sample_id for row in read_rows(home / "shards")]


def test_a_healthy_home_is_well_and_left_as_it_is(filled: Path) -> None:
    before = {path: path.read_bytes() for path in filled.rglob("*") if path.is_file()}
    findings = look(filled, deep=True)
    assert not unwell(findings)
    assert {one.area for one in findings} == {
        "permissions", "worker", "room", "journal", "replies", "buffer", "shards", "clock", "leftovers",
    }  # fmt: skip
    assert {one.level for one in findings} <= {"ok", "note"}
    assert "every row of" in told(findings, "buffer", "ok")
    assert {path: path.read_bytes() for path in filled.rglob("*") if path.is_file()} == before


def test_the_verb(filled: Path) -> None:
    done = run_cli("doctor", "--home", filled, "--json")
    assert {one["level"] for one in done.json} <= {"ok", "note"}
    (filled / "shards" / "trl_sft" / "00000001.jsonl").unlink()
    sick = run_cli("doctor", "--home", filled)
    assert sick.code == 1
    assert "00000001.jsonl is missing" in sick.out
    assert "doctor --repair mends it" in sick.out
    mended = run_cli("doctor", "--home", filled, "--repair", "--json")
    assert [one["repaired"] is not None for one in mended.json if one["level"] == "bad"] == [True]


def test_what_others_may_read_is_closed(filled: Path) -> None:
    (filled / "shards").chmod(0o755)
    (filled / "redact.key").chmod(0o644)
    (filled / "agenther.toml").write_text("theta = 0.5\n")  # as any editor leaves it
    findings = look(filled, repair=True)
    assert "others may read 2 paths" in told(findings, "permissions", "bad")
    assert not unwell(findings)
    assert (filled / "redact.key").stat().st_mode & 0o777 == 0o600


def test_repair_wants_the_home_for_itself(filled: Path) -> None:
    live = Live(filled)
    with live.home.held_by_worker():
        assert "a worker holds the home" in told(look(filled), "worker", "ok")
        with pytest.raises(WorkerRunning):
            look(filled, repair=True)
    assert "no worker holds the home" in told(look(filled), "worker", "note")


def test_a_damaged_journal_is_named_line_by_line(filled: Path) -> None:
    writer = Writer(filled / "journal")
    writer.append(records("a", 3))
    writer.close()
    [path] = (filled / "journal").glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"x" + lines[1][1:], *lines[2:]]) + b"torn")
    (filled / "journal" / "damaged").mkdir(mode=0o700)
    (filled / "journal" / "damaged" / "old.jsonl").touch(mode=0o600)
    (filled / "replies" / "20260101T000000-1-a.jsonl").write_bytes(b"0badbad0 {}\n")
    (filled / "replies" / "20260101T000000-1-a.jsonl").chmod(0o600)
    findings = look(filled)
    assert "1 damaged lines" in told(findings, "journal", "warn")
    assert "1 files without one readable line" in told(findings, "journal", "warn")
    assert "ends in 4 bytes" in told(findings, "journal", "note")
    assert "1 of 1 replies" in told(findings, "replies", "warn")
    assert not unwell(findings)


def killed(home: Path, n: int) -> Path:
    """Leave the buffer as a SIGKILL does that came after `n` commits: file and WAL. Gives the WAL."""
    live = Live(home)
    path = live.home.database
    with live.buffer.hold():
        for number in range(n):
            live.buffer.ingest(batch([run(f"late{number}", text="z" * 500)], offset=10 + number), now=NOW)
        shutil.copytree(home, home.with_name("killed"))
    shutil.rmtree(home)
    home.with_name("killed").rename(home)
    wal = path.with_name(path.name + ".wal")
    assert wal.stat().st_size > 0
    return wal


def test_a_wal_that_is_whole_is_news_and_no_damage(filled: Path) -> None:
    killed(filled, 3)
    findings = look(filled)
    assert not unwell(findings)
    assert "its last process was killed" in told(findings, "buffer", "note")
    live = Live(filled)
    assert live.buffer.sql("SELECT count(*) FROM trajectories").fetchall() == [(6,)]


def test_a_flipped_wal_is_moved_aside_and_what_is_lost_is_said(filled: Path) -> None:
    wal = killed(filled, 3)
    content = bytearray(wal.read_bytes())
    # In a text: a flipped length would make the rest look like an end that was never written, and be dropped unseen.
    content[content.index(b"z" * 100) + 50] ^= 0xFF
    wal.write_bytes(bytes(content))
    findings = look(filled)
    assert "cannot be opened" in told(findings, "buffer", "bad")
    assert "in the journal still" in told(findings, "buffer", "bad")
    assert wal.exists(), "nothing is moved unasked"
    mended = look(filled, repair=True)
    assert not unwell(mended), mended
    assert [path.name.split(".damaged-")[0] for path in filled.glob("*.damaged-*")] == ["buffer.duckdb.wal"]
    live = Live(filled)
    assert live.buffer.sql("SELECT count(*) FROM trajectories").fetchall() == [(3,)]
    live.buffer.ingest(batch([run("late0")], offset=10), now=NOW)  # the journal gives it once more
    assert live.buffer.sql("SELECT count(*) FROM trajectories").fetchall() == [(4,)]


def test_a_wal_that_lost_its_end_shows_in_the_shards_and_they_are_taken_over(filled: Path) -> None:
    """The buffer is set back behind its shards; without a repair it would give their numbers once more."""
    live = Live(filled)
    with live.buffer.writing() as tx:
        for query in ("DELETE FROM store.sample_shards WHERE seq = 2", "DELETE FROM store.shards WHERE seq = 2",
                      "UPDATE store.sample_state SET state = 'pending' WHERE sample_id NOT IN "
                      "(SELECT sample_id FROM store.sample_shards)"):  # fmt: skip
            tx.rows(text(query))
    before = published(filled)
    findings = look(filled, repair=True)
    assert "does not know 1 shards" in told(findings, "shards", "bad")
    assert not unwell(findings)
    with Live(filled, held_out=0.0, shard_seconds=0, formats=["trl_sft"]) as live:
        live.tick()
        assert live.check_shards().bad == []
        states = live.buffer.sql("SELECT state, count(*) FROM samples GROUP BY ALL").fetchall()
    assert states == [("emitted", 3)]
    assert published(filled) == before


@pytest.mark.parametrize("how", ["missing", "flipped"])
def test_a_shard_is_made_again_with_the_same_bytes(filled: Path, how: str) -> None:
    path = filled / "shards" / "trl_sft" / "00000001.jsonl"
    good = path.read_bytes()
    path.write_bytes(good[:-9] + b"X" + good[-8:]) if how == "flipped" else path.unlink()
    named = told(look(filled, repair=True), "shards", "bad")
    assert "00000001.jsonl" in named
    assert "with the same bytes" in named
    assert path.read_bytes() == good


def test_a_manifest_that_is_no_manifest_is_named(filled: Path) -> None:
    (filled / "shards" / "manifest.jsonl").write_text("garbage\n")
    assert "line 1" in told(look(filled, repair=True), "shards", "bad")
    (filled / "shards" / "manifest.jsonl").write_text("")
    assert "lacks 2 shards" in told(look(filled, repair=True), "shards", "bad")
    kept = sorted(path.name for path in (filled / "shards" / "trl_sft").iterdir())
    assert kept == ["00000001.jsonl", "00000002.jsonl"], "no strays: the manifest may come back from a copy"


def test_strays_drafts_and_unfinished_shards_are_cleared(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("shards/trl_sft/00000009.jsonl", "buffer.duckdb.compact", "replies/.x.new"):
        (filled / name).touch(mode=0o600)
        os.utime(filled / name, (1, 1))
    findings = look(filled, repair=True)
    assert "1 files that no manifest line names" in told(findings, "shards", "warn")
    assert "2 removed" in told(findings, "leftovers", "warn")
    asked = filled / "requests" / "0199.json"  # of somebody who was told that it will be done
    asked.parent.mkdir(mode=0o700)
    asked.write_text("{}")
    os.utime(asked, (1, 1))
    assert "1 requests" in told(look(filled, repair=True), "leftovers", "warn")
    asked.unlink()

    def full(*_: object, **__: object) -> None:
        raise ShardError("no room")

    live = Live(filled)
    with monkeypatch.context() as broken:
        broken.setattr(erase, "remove_replaced", full)
        with pytest.raises(ShardError):
            live.delete(thread_id="f0", compact=False)
    assert "begun and not finished" in told(look(filled), "leftovers", "bad")
    assert not unwell(look(filled, repair=True))
    assert len(published(filled)) == 2
    assert live.buffer.sql("SELECT count(*) FROM trajectories").fetchall() == [(2,)]


def test_an_older_schema_is_left_alone_and_a_newer_one_named(filled: Path, tmp_path: Path) -> None:
    with duckdb.connect(filled / "buffer.duckdb") as raw:
        raw.execute("UPDATE store.schema_version SET version_num = '9999'")
    assert "install the version" in told(look(filled, repair=True), "buffer", "bad")
    old = tmp_path / "old"
    live = Live(old)
    with live.buffer._engine.write() as tx:
        migrations.upgrade(tx.connection, "0001")
    findings = look(old)
    assert not unwell(findings), findings
    assert f"schema 0001, and is migrated to {migrations.HEAD}" in told(findings, "buffer", "ok")
    with duckdb.connect(old / "buffer.duckdb") as raw:
        assert raw.execute("SELECT version_num FROM store.schema_version").fetchall() == [("0001",)]


def test_a_file_that_is_no_buffer_or_is_held_is_named(filled: Path) -> None:
    with duckdb.connect(filled / "buffer.duckdb"):
        findings = examine((live := Live(filled, lock_timeout_seconds=0.1)).home, live.settings, live.buffer, now=NOW)
    assert "not looked at" in told(findings, "buffer", "warn")
    content = bytearray((filled / "buffer.duckdb").read_bytes())
    content[20_000:400_000] = os.urandom(380_000)
    (filled / "buffer.duckdb").write_bytes(bytes(content))
    findings = look(filled, deep=True)
    assert "cannot be read" in told(findings, "buffer", "bad")
    assert "snapshot" in told(findings, "buffer", "bad")


def test_a_file_in_an_old_storage_version_is_named_until_it_is_compacted(filled: Path, tmp_path: Path) -> None:
    with duckdb.connect() as raw:
        raw.execute(f"ATTACH '{filled / 'buffer.duckdb'}' AS a (READ_ONLY)")
        raw.execute(f"ATTACH '{tmp_path / 'old.duckdb'}' AS b (STORAGE_VERSION 'v1.0.0')")
        raw.execute("COPY FROM DATABASE a TO b")
    (tmp_path / "old.duckdb").replace(filled / "buffer.duckdb")
    (filled / "buffer.duckdb").chmod(0o600)
    findings = look(filled)
    assert not unwell(findings)
    assert "storage version v1.0.0" in told(findings, "buffer", "note")
    Live(filled).compact()
    assert "storage version" not in told(look(filled), "buffer", "note")


def test_clocks_and_lost_keys(filled: Path) -> None:
    ahead = (NOW + timedelta(days=3)).isoformat()
    (filled / "worker.json").write_text(json.dumps({"last_tick_at": ahead}))
    (filled / "worker.json").chmod(0o600)
    assert "worker.json by" in told(look(filled), "clock", "warn")
    Live(filled).delete(thread_id="f0", compact=False)
    (filled / "redact.key").write_bytes(b"another key of 32 bytes and more")
    assert "1 other keys wrote tombstones" in told(look(filled), "buffer", "bad")
    (filled / "redact.key").unlink()
    live = Live(filled, read_only=True)  # as the verb does
    assert "redact.key is gone" in told(examine(live.home, live.settings, live.buffer, now=NOW), "buffer", "bad")
    assert not (filled / "redact.key").exists()
