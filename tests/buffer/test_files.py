"""The file: who may open it when, what older and newer ones do, threads, forks."""

import os
import re
import shutil
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest
from sqlalchemy import text

from agenther_live.buffer import migrations
from agenther_live.buffer.engines.duckdb import DuckDB
from agenther_live.buffer.schema import metadata
from agenther_live.buffer.store import Buffer
from agenther_live.buffer.upkeep.compact import compact
from agenther_live.errors import BufferError, BufferLocked, BufferVersion, SettingsError
from agenther_live.settings import Settings
from tests.buffer.conftest import MakeBuffer
from tests.buffer.journal_facts import at, batch, feedback, run

HOLD = """
import duckdb, sys, time
c = duckdb.connect(sys.argv[1])
print("open", flush=True)
time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def buffer(make_buffer: MakeBuffer) -> Buffer:
    """A buffer that is closed between calls, as in use."""
    return make_buffer()


def path_of(buffer: Buffer) -> Path:
    engine = buffer._engine
    assert isinstance(engine, DuckDB)
    return engine.path


@contextmanager
def held(path: Path, seconds: float) -> Iterator[int]:
    """Another process, of the stock duckdb, has the file open."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), str(seconds)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        try:
            yield other.pid
        finally:
            other.kill()


def test_a_locked_file_names_its_holder(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(lock_timeout_seconds=0.3)
    with held(path_of(buffer), 60) as pid:
        began = time.monotonic()
        with pytest.raises(BufferLocked, match=rf"process {pid} ") as caught:
            buffer.ingest(batch([run("a")]), now=at(0))
        assert 0.3 <= time.monotonic() - began < 5
        assert str(path_of(buffer)) in str(caught.value)
        with pytest.raises(BufferLocked):
            buffer.sql("SELECT 1")
    buffer.ingest(batch([run("a")]), now=at(0))
    assert buffer.sql("SELECT count(*) FROM trajectories").fetchall() == [(1,)]


def test_a_holder_that_lets_go_in_time_is_waited_for(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(lock_timeout_seconds=20.0)
    with held(path_of(buffer), 0.5):
        assert buffer.sql("SELECT 1").fetchall() == [(1,)]


def test_the_file_is_free_between_calls(buffer: Buffer) -> None:
    buffer.ingest(batch([run("a")]), now=at(0))
    script = (
        "import duckdb, sys; print(duckdb.connect(sys.argv[1]).execute('SELECT count(*) FROM trajectories').fetchall())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path_of(buffer))], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[(1,)]\n"


def test_another_connection_of_this_process_is_named(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(lock_timeout_seconds=0.1)
    with duckdb.connect(path_of(buffer)), pytest.raises(BufferLocked, match=r"open in this process by another duckdb"):
        buffer.sql("SELECT 1")


def test_holding_spares_openings(buffer: Buffer) -> None:
    with buffer.hold():
        buffer.ingest(batch([run("a")]), now=at(0))
        assert buffer.sql("SELECT count(*) FROM trajectories").fetchall() == [(1,)]
        with pytest.raises(duckdb.Error):
            duckdb.connect(path_of(buffer))
    duckdb.connect(path_of(buffer)).close()


def test_a_newer_schema_is_refused_and_left_alone(buffer: Buffer) -> None:
    with buffer._engine.write() as tx:
        tx.connection.execute(text("UPDATE store.schema_version SET version_num = '9999'"))
    with pytest.raises(BufferVersion, match=rf"schema 9999.*{migrations.HEAD}"):
        Buffer(path_of(buffer), settings=buffer.settings).status()
    with duckdb.connect(path_of(buffer)) as raw:
        assert raw.execute("SELECT version_num FROM store.schema_version").fetchall() == [("9999",)]


_SCHEMA = (
    "SELECT table_name, column_name, data_type, is_nullable, column_default, comment FROM duckdb_columns() "
    "WHERE schema_name = 'store' ORDER BY ALL",
    "SELECT table_name, comment FROM duckdb_tables() WHERE schema_name = 'store' ORDER BY ALL",
    "SELECT table_name, constraint_type, constraint_text FROM duckdb_constraints() WHERE schema_name = 'store' "
    "ORDER BY ALL",
    "SELECT table_name, index_name FROM duckdb_indexes() ORDER BY ALL",
    "SELECT view_name, sql FROM duckdb_views() WHERE NOT internal ORDER BY ALL",
    "SELECT * FROM store.schema_version",
    "SELECT * FROM store.meta",
)


@pytest.fixture(scope="module")
def oldest(tmp_path_factory: pytest.TempPathFactory) -> Buffer:
    """A buffer of the first schema, brought to this one: one revision after the other, by a transaction each."""
    home = tmp_path_factory.mktemp("oldest")
    buffer = Buffer(home / "buffer.duckdb", settings=Settings(home=home))
    with buffer._engine.write() as tx:
        migrations.upgrade(tx.connection, migrations.KNOWN[0])
    buffer.create()
    return buffer


def test_a_new_schema_is_the_one_that_the_migrations_end_in(buffer: Buffer, oldest: Buffer) -> None:
    with buffer.reading() as new, oldest.reading() as migrated:
        for query in _SCHEMA:
            found, expected = (tx.connection.exec_driver_sql(query).fetchall() for tx in (new, migrated))
            assert found == expected
    coded = [(t.name, c.name, c.comment, c.nullable) for t in metadata.tables.values() for c in t.columns]
    with buffer.reading() as tx:
        columns = tx.connection.exec_driver_sql(_SCHEMA[0]).fetchall()
    tables = {table.name for table in metadata.tables.values()}
    found = [(name, column, comment, null) for name, column, _, null, _, comment in columns if name in tables]
    assert sorted(found, key=str) == sorted(coded, key=str)


def test_every_known_schema_is_migrated_to_the_newest(oldest: Buffer, tmp_path: Path) -> None:
    """The oldest one has been all of them on its way; a file that is met at a later one goes on from there."""
    later = Buffer(tmp_path / "later.duckdb", settings=oldest.settings)
    with later._engine.write() as tx:
        migrations.upgrade(tx.connection, migrations.KNOWN[-2])
    for index, buffer in enumerate((oldest, later)):
        buffer.ingest(batch([run(f"a{index}")]), now=at(0))
        with buffer._engine.read() as tx:
            assert migrations.revision_of(tx.connection) == migrations.HEAD


def test_rows_go_where_the_file_has_their_columns(buffer: Buffer) -> None:
    """A migrated file has its columns in another order than a new one, and that of a newer version may have more."""
    there = [column.name for column in reversed(metadata.tables["store.runs"].columns)]
    buffer.create()

    def make(columns: str) -> None:
        with buffer.writing() as tx:
            tx.connection.execute(text(f"CREATE OR REPLACE TABLE store.runs AS SELECT {columns} FROM store.runs"))

    make(f"7 AS another, {', '.join(there)}")
    buffer.ingest(batch([run("r1", policy_version="p2")]), now=at(0))
    query = text("SELECT trajectory_id, idx, root_key, policy_version, started_at, models, another FROM store.runs")
    with buffer.reading() as tx:
        assert tx.rows(query) == [("r1", 0, "r1", "p2", at(0), ["scripted"], None)]
    make("* EXCLUDE (tools_version)")
    with pytest.raises(BufferError, match="15 columns but 16 values"):
        buffer.ingest(batch([run("r2")], offset=2), now=at(0))
    assert buffer.cursors()["w"].offset == 1


def test_migrations_are_listed(tmp_path: Path) -> None:
    folder = Path(migrations.__file__).parent / "versions"
    listed = re.findall(
        r'^revision = "(\w+)"', "".join(p.read_text() for p in sorted(folder.glob("v*.py"))), re.MULTILINE
    )
    assert tuple(listed) == migrations.KNOWN


def test_views_are_made_anew_when_their_text_changed(buffer: Buffer) -> None:
    with buffer._engine.write() as tx:
        tx.connection.execute(text("UPDATE store.meta SET value = 'older'"))
        tx.connection.execute(text("DROP VIEW funnel"))
    fresh = Buffer(path_of(buffer), settings=buffer.settings)
    assert len(fresh.sql("SELECT * FROM funnel")) > 0


def test_a_file_that_vanished_is_made_anew(buffer: Buffer) -> None:
    buffer.ingest(batch([run("a")]), now=at(0))
    path_of(buffer).unlink()
    assert buffer.status(now=at(0))["captured"] == 0


def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    buffer = Buffer(tmp_path / "deep" / "buffer.duckdb", settings=Settings(home=tmp_path))
    buffer.create()
    assert stat.S_IMODE(path_of(buffer).stat().st_mode) == 0o600


@pytest.mark.parametrize("url", ["postgresql+asyncpg://me:secret@host/db", "mysql://host/db", "duckdb:///", "what://"])
def test_an_engine_that_is_not_there_is_named(tmp_path: Path, url: str) -> None:
    with pytest.raises(SettingsError, match="buffer = ") as caught:
        Buffer(url, settings=Settings(home=tmp_path))
    assert "secret" not in str(caught.value)


def test_a_duckdb_url_is_a_path(tmp_path: Path, empty_file: Path) -> None:
    shutil.copyfile(empty_file, tmp_path / "b.duckdb")
    buffer = Buffer(f"duckdb:///{tmp_path}/b.duckdb", settings=Settings(home=tmp_path))
    assert path_of(buffer) == tmp_path / "b.duckdb"
    assert buffer.sql("SELECT 1").fetchall() == [(1,)]


def test_a_volume_that_refuses_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BufferError, match=r"buffer\.duckdb"):
        Buffer(tmp_path / "file" / "buffer.duckdb", settings=Settings(home=tmp_path)).create()


def test_many_threads_write_and_read_one_file(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer(lock_timeout_seconds=60.0)

    def write(worker: int) -> int:
        done = 0
        for n in range(4):
            key = f"{worker}-{n}"
            one = batch([run(key, thread=key)], [feedback(thread_id=key, success=False)], offset=worker * 10 + n)
            done += buffer.ingest(one, now=at(1)).runs
            buffer.settle(now=at(1))
        return done

    def read(stop: threading.Event) -> int:
        seen = 0
        while not stop.is_set():
            [(n,)] = buffer.sql("SELECT count(*) FROM trajectories").fetchall()
            assert n >= seen
            seen = n
            stop.wait(0.02)
        return seen

    stop = threading.Event()
    with ThreadPoolExecutor(6) as pool:
        readers = [pool.submit(read, stop) for _ in range(2)]
        written = sum(pool.map(write, range(4)))
        stop.set()
        assert all(reader.result() <= 16 for reader in readers)
    assert written == 16
    assert buffer.sql("SELECT stage, count(*) FROM trajectories GROUP BY 1").fetchall() == [("queued", 16)]


def in_child(action: str, buffer: Buffer) -> str:
    """Fork, try to read the buffer in the child, and give what came of it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            found = str(buffer.sql("SELECT count(*) FROM trajectories").fetchall())
        except BaseException as error:
            found = f"{type(error).__name__}: {error}"
        os.write(writing, found.encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    with os.fdopen(reading) as pipe:
        return pipe.read()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_forked_while_the_file_was_open_is_refused(buffer: Buffer) -> None:
    buffer.ingest(batch([run("a")]), now=at(0))
    with buffer.hold():
        assert "was open while this process was forked" in in_child("read", buffer)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_forked_while_the_file_was_closed_can_use_it(buffer: Buffer) -> None:
    buffer.ingest(batch([run("a")]), now=at(0))
    assert in_child("read", buffer) == "[(1,)]"


def test_what_was_acknowledged_survives_a_kill(make_buffer: MakeBuffer) -> None:
    buffer = make_buffer()
    script = (
        "import sys, os; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from agenther_live.buffer.store import Buffer\n"
        "from agenther_live.settings import Settings\n"
        "from tests.buffer.journal_facts import at, batch, run\n"
        "b = Buffer(Path(sys.argv[1]), settings=Settings(home=Path(sys.argv[1]).parent))\n"
        "with b.hold():\n"
        "    for n in range(10_000):\n"
        "        b.ingest(batch([run(f'r{n}')], offset=n + 1), now=at(n))\n"
        "        print(n, flush=True)\n"
    )
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path_of(buffer)), str(root)], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        acknowledged = 0
        for line in other.stdout:
            acknowledged = int(line) + 1
            if acknowledged == 5:
                break
        other.kill()
    kept = buffer.sql("SELECT count(*) FROM trajectories").fetchall()[0][0]
    assert kept >= acknowledged == 5
    assert buffer.cursors()["w"].offset == kept


def test_a_snapshot_is_whole_and_opens_with_the_stock_duckdb(buffer: Buffer, tmp_path: Path) -> None:
    buffer.ingest(batch([run("a"), run("b")], [feedback(trajectory_id="a", success=False)]), now=at(0))
    buffer.settle(now=at(0))
    copy = tmp_path / "copy.duckdb"
    assert buffer.snapshot(copy) == copy.stat().st_size > 0
    with duckdb.connect(copy) as raw, duckdb.connect(path_of(buffer)) as own:
        for table in metadata.tables.values():
            count = f"SELECT count(*) FROM {table.fullname}"
            assert raw.execute(count).fetchall() == own.execute(count).fetchall(), table
        view = "SELECT trajectory_id, goal, outcome FROM trajectories ORDER BY ALL"
        assert len(raw.execute(view).fetchall()) == 2
        assert raw.execute(view).fetchall() == own.execute(view).fetchall()
    other = Buffer(copy, settings=buffer.settings)
    assert other.trajectory("a") == buffer.trajectory("a")
    other.ingest(batch([run("c")]), now=at(1))  # it is a buffer like any other
    assert sorted(path.name for path in tmp_path.glob("copy*")) == ["copy.duckdb"]


def test_a_snapshot_overwrites_nothing_and_leaves_nothing_half(buffer: Buffer, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("mine")
    with pytest.raises(BufferError, match="exists already"):
        buffer.snapshot(tmp_path / "there")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(BufferError):
        buffer.snapshot(tmp_path / "file" / "copy.duckdb")
    assert not list(tmp_path.glob("*.part*"))


def test_a_snapshot_taken_while_others_write_is_of_one_moment(buffer: Buffer, tmp_path: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            buffer.ingest(batch([run(f"w{number}", thread=f"t{number}")], offset=number + 1), now=at(number))
            number += 1
            stop.wait(0.05)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        try:
            buffer.snapshot(tmp_path / "copy.duckdb")
        finally:
            stop.set()
        writing.result()
    with duckdb.connect(tmp_path / "copy.duckdb") as raw:
        counts = [raw.execute(f"SELECT count(*) FROM {t}").fetchall() for t in ("trajectories", "runs", "store.state")]
    assert counts[0] == counts[1] == counts[2]


def storage(path: Path) -> str:
    """What version of DuckDB's storage a file is in."""
    with duckdb.connect(path, read_only=True) as raw:
        [(tags,)] = raw.execute("SELECT tags FROM duckdb_databases() WHERE NOT internal").fetchall()
    return str(tags["storage_version"])


def test_a_file_is_made_in_a_storage_version_whose_checkpoints_do_not_grow_and_compaction_brings_an_older_one_there(
    buffer: Buffer, tmp_path: Path
) -> None:
    buffer.ingest(batch([run("r1")]), now=at(0))
    assert storage(path_of(buffer)) == "v1.4.0+"
    older = tmp_path / "older.duckdb"
    with duckdb.connect() as raw:
        raw.execute(f"ATTACH '{path_of(buffer)}' AS a (READ_ONLY)")
        raw.execute(f"ATTACH '{older}' AS b (STORAGE_VERSION 'v1.0.0')")
        raw.execute("COPY FROM DATABASE a TO b")
    older.replace(path_of(buffer))
    buffer.ingest(batch([run("r2")], offset=1), now=at(1))
    assert storage(path_of(buffer)) == "v1.0.0+"  # read and written as it is
    compact(buffer)
    assert storage(path_of(buffer)) == "v1.4.0+"
    assert len(buffer.sql("FROM trajectories")) == 2
