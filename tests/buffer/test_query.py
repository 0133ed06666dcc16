"""A user's SQL: it reads, it cannot write or leave the file, and its errors help."""

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from agenther_live.buffer.store import Buffer
from agenther_live.errors import BufferError, QueryError
from agenther_live.settings import Settings
from tests.buffer.journal_facts import at, batch, run


@pytest.fixture(scope="module")
def filled(empty_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buffer]:
    """One buffer for the whole module, held open: nothing here may change it."""
    home = tmp_path_factory.mktemp("query")
    shutil.copyfile(empty_file, home / "buffer.duckdb")
    buffer = Buffer(home / "buffer.duckdb", settings=Settings(home=home))
    with buffer.hold():
        buffer.ingest(batch([run("r1", thread="t1"), run("r2", thread="t2", steps=3)]), now=at(5))
        yield buffer


def test_results_come_in_every_form(filled: Buffer, capsys: pytest.CaptureFixture[str]) -> None:
    result = filled.sql("SELECT trajectory_id, n_steps FROM trajectories ORDER BY 1")
    assert result.columns == ["trajectory_id", "n_steps"]
    assert result.fetchall() == [("r1", 2), ("r2", 4)]
    assert result.dicts() == [{"trajectory_id": "r1", "n_steps": 2}, {"trajectory_id": "r2", "n_steps": 4}]
    assert len(result) == 2
    assert isinstance(result.arrow(), pa.Table)
    assert isinstance(result.df(), pd.DataFrame)
    assert isinstance(result.pl(), pl.DataFrame)
    assert result.pl().rows() == result.fetchall()
    result.show()
    shown = capsys.readouterr().out
    assert "r2" in shown
    assert "n_steps" in shown


def test_sums_of_integers_are_integers(filled: Buffer) -> None:
    result = filled.sql(
        "SELECT sum(n_steps) AS n, avg(n_steps) AS mean, 1.50::DECIMAL(4, 2) AS price FROM trajectories"
    )
    assert result.arrow().schema.field("n").type == pa.int64()
    assert repr(result.fetchall()) == "[(6, 3.0, Decimal('1.50'))]"


def test_parameters(filled: Buffer) -> None:
    assert filled.sql("SELECT trajectory_id FROM trajectories WHERE thread_id = ?", ["t2"]).fetchall() == [("r2",)]
    assert filled.sql("SELECT $x + 1 AS y", {"x": 1}).dicts() == [{"y": 2}]


@pytest.mark.parametrize(
    "query", ["DESCRIBE trajectories", "SHOW TABLES", "EXPLAIN SELECT 1", "SUMMARIZE trajectories", "FROM steps"]
)
def test_looking_around_is_allowed(filled: Buffer, query: str) -> None:
    assert filled.sql(query).columns


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM store.state",
        "UPDATE store.state SET outcome = 'success'",
        "INSERT INTO store.meta VALUES ('a', 'b')",
        "WITH x AS (SELECT 1) DELETE FROM store.state",
        "EXPLAIN ANALYZE DELETE FROM store.state",
        "DROP VIEW trajectories",
        "CREATE TABLE x (a INT)",
        "CREATE TEMP TABLE x (a INT)",
        "SET threads = 1",
        "PRAGMA database_size; DELETE FROM store.state",
        "SELECT 1; DELETE FROM store.state",
        "BEGIN",
        "CHECKPOINT",
        "ATTACH 'other.db'",
        "COPY trajectories TO 'out.csv'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "EXPORT DATABASE 'x'",
        "CALL pragma_version()",
        "PIVOT trajectories ON status",
        "",
        "-- nothing",
    ],
)
def test_writing_and_everything_else_is_refused(filled: Buffer, query: str) -> None:
    with pytest.raises(QueryError) as caught:
        filled.sql(query)
    assert "\n" not in str(caught.value)
    assert filled.sql("SELECT count(*) FROM trajectories").fetchall() == [(2,)]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM parquet_metadata('x.parquet')",
    ],
)
def test_files_cannot_be_reached(filled: Buffer, query: str) -> None:
    with pytest.raises(QueryError):
        filled.sql(query)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_blob('{}')",
        "SELECT * FROM goals, read_text('{}')",
        "EXPLAIN ANALYZE SELECT * FROM read_blob('{}')",
        "EXPLAIN (FORMAT json) FROM read_csv('{}')",
        "--\nEXPLAIN ANALYZE SELECT * FROM read_blob('{}') WHERE filename <> '\nEXPLAIN SELECT 1 --'",
        "/* /* */ EXPLAIN SELECT 1 -- */ EXPLAIN ANALYZE SELECT * FROM read_blob('{}')",
        "FROM '{}'",
        "SELECT (SELECT count(*) FROM '{}.wal')",
        "FROM json_execute_serialized_sql(json_serialize_sql('FROM store.state -- {}'))",
        "FROM duckdb_table_sample('store.state') -- {}",
    ],
)
def test_its_own_file_cannot_be_read(filled: Buffer, query: str) -> None:
    """DuckDB allows what it has open; a second closing would give up the lock on it."""
    with pytest.raises(QueryError, match="is refused"):
        filled.sql(query.format(filled.where))


def test_a_python_variable_is_no_table(filled: Buffer) -> None:
    secret_frame = pd.DataFrame({"a": [1]})
    with pytest.raises(QueryError, match="secret_frame"):
        filled.sql("SELECT * FROM secret_frame")
    assert len(secret_frame) == 1


@pytest.mark.parametrize(
    ("query", "hint"),
    [
        ("SELECT outcme FROM trajectories", "did you mean outcome"),
        ("SELECT t.gaol FROM trajectories t", "did you mean goal"),
        ("SELECT tool FROM steps", "columns of steps: action_idx, "),
        ("SELECT * FROM trajectory", "did you mean trajectories"),
        ("SELECT * FROM qqqqqqqqq", "views: analyses"),
        ("SELECT zzzzzzzz FROM trajectories", "columns of trajectories: agent, "),
        ("SELECT zzzzzzzz FROM goals JOIN trajectories USING (trajectory_id)", "DESCRIBE"),
        ("SELECT * FROM goals JOIN trajectories USING (trajectoryid)", "did you mean trajectory_id"),
        ("SELEC 1", "SELEC"),
        ("SELECT 1 +", "syntax error"),
        ("SELECT 'x'::INT", "Could not convert"),
        ("SELECT trajectory_id FROM trajectories WHERE thread_id = ?", "parameter"),
    ],
)
def test_errors_are_one_line_with_a_hint_and_no_traceback(filled: Buffer, query: str, hint: str) -> None:
    with pytest.raises(QueryError) as caught:
        filled.sql(query)
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_a_missing_package_is_named(filled: Buffer, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    result = filled.sql("SELECT 1")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(QueryError, match=package):
        (result.df if package == "pandas" else result.pl)()


def test_a_file_that_is_no_buffer_is_named(tmp_path: Path, buffer: Buffer) -> None:
    path = tmp_path / "other.duckdb"
    path.write_bytes(b"this is no database" * 1000)
    with pytest.raises(BufferError, match=r"other\.duckdb"):
        Buffer(path, settings=buffer.settings).sql("SELECT 1")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM store.state",
        "FROM store.state",
        'SELECT * FROM "STORE"."State"',
        "SELECT (SELECT count(*) FROM buffer.store.state)",
        "WITH x AS (SELECT * FROM store.state) SELECT * FROM x",
        "SELECT * FROM goals g JOIN store.goals h USING (goal_id)",
        "DESCRIBE store.state",
        "SUMMARIZE store.state",
        "TABLE store.state",
        "SELECT 1 UNION SELECT count(*) FROM store.state WHERE revision = ?",
        "SELECT * FROM query('SELECT * FROM store.state')",
        "SELECT * FROM query_table('store.state')",
        "SELECT * FROM query_table(['store.state'])",
    ],
)
def test_private_tables_are_refused_with_a_hint(filled: Buffer, query: str) -> None:
    with pytest.raises(QueryError, match=r"use the views|name the views"):
        filled.sql(query)


def test_words_about_private_tables_are_no_tables(filled: Buffer) -> None:
    assert filled.sql("SELECT 'store.state' AS t").fetchall() == [("store.state",)]
    assert filled.sql("WITH store AS (SELECT 1 AS state) SELECT store.state FROM store").fetchall() == [(1,)]
    assert len(filled.sql("SELECT * FROM duckdb_columns() WHERE schema_name = 'store'")) > 0


def test_a_query_that_takes_too_long_is_stopped_and_the_next_one_runs(filled: Buffer) -> None:
    endless = "SELECT count(*) FROM range(10_000_000) a, range(10_000_000) b WHERE a.range + b.range = 1"
    with pytest.raises(QueryError, match=r"stopped after 0\.2 s \(setting sql_seconds\)") as caught:
        filled.sql(endless, seconds=0.2)
    assert caught.value.__cause__ is None
    assert filled.sql("SELECT count(*) FROM trajectories").fetchall() == [(2,)]


def test_a_result_that_would_fill_the_memory_is_stopped(filled: Buffer, monkeypatch: pytest.MonkeyPatch) -> None:
    many = "SELECT repeat('x', 1000) AS text FROM range(40000)"
    monkeypatch.setattr("agenther_live.buffer.engines.duckdb.RESULT_BYTES", 10 << 20)
    with pytest.raises(QueryError, match=r"stopped at \d\d,\d{3} rows of \d\d MB: .* LIMIT"):
        filled.sql(many)
    assert len(filled.sql(f"{many} LIMIT 9000")) == 9000


def test_many_short_queries_are_never_hit_by_the_timer_of_another(filled: Buffer) -> None:
    for _ in range(30):
        with contextlib.suppress(QueryError):
            filled.sql("SELECT count(*) FROM trajectories", seconds=0.001)
        assert filled.sql("SELECT 1").fetchall() == [(1,)]


def test_the_time_limit_holds_behind_the_first_rows(filled: Buffer) -> None:
    with pytest.raises(QueryError, match=r"stopped after 0\.05 s"):
        filled.sql("SELECT hash(i) FROM range(1000000000) AS t(i)", seconds=0.05)


def test_a_query_that_fails_behind_its_first_rows_says_why(filled: Buffer) -> None:
    late = "SELECT CASE WHEN i = 900000 THEN error('too late') ELSE i END FROM range(1000000) AS t(i)"
    with pytest.raises(QueryError, match="too late"):
        filled.sql(late)
    assert filled.sql("SELECT 1").fetchall() == [(1,)]


ODD = """
SELECT 1 AS n, 'a "b", c' AS t, NULL AS nothing, '' AS empty, 1.50::DECIMAL(4, 2) AS d, [1, 2] AS l,
       {'a': date '2026-01-02'} AS s, timestamp '2026-01-02 03:04:05' AS ts, true AS b, uuid() IS NULL AS u,
       'x'::BLOB AS bytes, INTERVAL 1 DAY AS i, sum(3) AS total, '{"k": 1}'::JSON AS j
"""


def test_csv_tells_null_from_empty_and_can_be_read_back(filled: Buffer) -> None:
    lines = filled.sql(ODD).csv().decode().splitlines()
    assert lines[0].startswith('"n","t","nothing","empty"')
    assert lines[1].startswith('1,"a ""b"", c",,"",1.50,"[1, 2]","{""a"": ""2026-01-02""}",2026-01-02 03:04:05')
    assert filled.sql("SELECT trajectory_id FROM trajectories WHERE false").csv() == b'"trajectory_id"\n'
    every = filled.sql("SELECT * FROM trajectories ORDER BY 1")
    assert pl.read_csv(every.csv())["trajectory_id"].to_list() == ["r1", "r2"]


def test_parquet_can_be_read_back(filled: Buffer, tmp_path: Path) -> None:
    result = filled.sql(ODD)
    result.parquet(tmp_path / "x.parquet")
    assert pl.read_parquet(tmp_path / "x.parquet")["t"].to_list() == ['a "b", c']
