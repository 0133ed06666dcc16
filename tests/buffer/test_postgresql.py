"""What PostgreSQL alone does: many workers at once, leases, a locked-down `sql()`, and a home that moves to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from agenther_live import Live
from agenther_live.buffer.docs import questions
from agenther_live.buffer.engines import postgresql_results as results
from agenther_live.buffer.engines.engine import Contended
from agenther_live.buffer.store import Buffer
from agenther_live.clock import utcnow
from agenther_live.demo.run import demo
from agenther_live.doctor import examine
from agenther_live.errors import AgentHERError, BufferError, MoveRefused, QueryError, SettingsError, UsageError
from agenther_live.settings import Settings
from agenther_live.show import collect
from tests.buffer.journal_facts import at, batch, feedback, run
from tests.buffer.labels_made import errored, rejected, relabeled
from tests.postgresql import Server
from tests.whole import run_cli, until

TASKS = 12
QUERIES = Path(__file__).resolve().parents[2] / "examples" / "queries.sql"


@pytest.fixture
def url(postgresql: Server) -> Iterator[str]:
    made = postgresql.new()
    yield made
    postgresql.drop(made)


@pytest.fixture
def open_buffer(url: str, tmp_path: Path) -> Callable[..., Buffer]:
    """Make the buffer of one more worker on the test's database."""

    def make(**settings: Any) -> Buffer:
        given = {"home": tmp_path, "held_out": 0.0, "outcome_settle_seconds": 0.0, **settings}
        return Buffer(url, settings=Settings(**given), clock=lambda: at(1000))

    return make


def failures(buffer: Buffer, n: int, *, name: str = "r") -> list[str]:
    keys = [f"{name}{index:03d}" for index in range(n)]
    runs = [run(key, thread=f"t-{key}", goal=f"Buy {key}") for key in keys]
    buffer.ingest(batch(runs, [feedback(trajectory_id=key, success=False) for key in keys]), now=at(200))
    buffer.settle(now=at(300))
    return keys


def together(*calls: Callable[[], Any]) -> list[Any]:
    """Run all at once, each in a thread; gives their results, or raises what one raised."""
    gate, results = threading.Barrier(len(calls)), [None] * len(calls)
    wrong: list[BaseException] = []

    def one(index: int) -> None:
        try:
            gate.wait()
            results[index] = calls[index]()
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=one, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        raise wrong[0]
    return results


# --- many workers -------------------------------------------------------------------------------------------------


def test_workers_that_start_together_make_one_schema(postgresql: Server, tmp_path: Path) -> None:
    url = postgresql.new(empty=True)
    buffers = [Buffer(url, settings=Settings(home=tmp_path)) for _ in range(4)]
    together(*(buffer.create for buffer in buffers))
    assert buffers[0].sql("SELECT count(*) FROM trajectories").fetchall() == [(0,)]
    postgresql.drop(url)


def test_workers_claim_apart(open_buffer: Callable[..., Buffer]) -> None:
    buffers = [open_buffer() for _ in range(4)]
    keys = failures(buffers[0], 40)
    assert buffers[0].claim(0, now=at(400)) == []  # ranks them: meanwhile others would pass them by
    claims = together(*(lambda buffer=buffer: buffer.claim(8, now=at(400)) for buffer in buffers))
    claimed = [claim.trajectory_id for found in claims for claim in found]
    assert len(claimed) == len(set(claimed)) == 32
    assert set(claimed) <= set(keys)
    again = buffers[0].claim(40, now=at(400))  # its own, and what nobody has
    assert {claim.trajectory_id for claim in claims[0]} <= {claim.trajectory_id for claim in again}
    assert len(again) == 16


def test_a_lease_runs_out_and_what_comes_late_is_refused(open_buffer: Callable[..., Buffer]) -> None:
    slow, quick = open_buffer(lease_seconds=0.3), open_buffer()
    failures(slow, 1)
    [claim] = slow.claim(1, now=at(400))
    assert quick.claim(1, now=at(400)) == []
    time.sleep(0.35)
    [other] = quick.claim(1, now=at(400))
    assert other == claim
    assert not slow.record(claim, relabeled(claim), now=at(500))
    assert quick.record(other, rejected(other), now=at(500))
    assert quick.sql("SELECT stage, reason FROM relabelings").fetchall() == [("rejected", "not_recoverable")]


def test_a_lease_is_renewed_and_given_back(open_buffer: Callable[..., Buffer]) -> None:
    one, other = open_buffer(lease_seconds=0.6), open_buffer()
    failures(one, 2)
    assert len(one.claim(2, now=at(400))) == 2
    for _ in range(4):
        time.sleep(0.25)
        one.renew()
        assert other.claim(2, now=at(400)) == []
    one.release()
    assert len(other.claim(2, now=at(400))) == 2


def test_an_errored_one_is_tried_again_by_one_worker(open_buffer: Callable[..., Buffer]) -> None:
    one, other = open_buffer(retry_seconds=1.0), open_buffer()
    failures(one, 1)
    [claim] = one.claim(1, now=at(400))
    one.record(claim, errored(claim), now=at(400))
    one.release()
    found = together(lambda: one.claim(1, now=at(500)), lambda: other.claim(1, now=at(500)))
    assert sorted(map(len, found)) == [0, 1]


def test_successes_are_looked_at_by_one_worker(open_buffer: Callable[..., Buffer]) -> None:
    one, other = open_buffer(), open_buffer()
    runs = [run(f"s{index}", thread=f"s{index}") for index in range(10)]
    one.ingest(batch(runs, [feedback(run_id=f"run-s{index}", success=True) for index in range(10)]), now=at(200))
    one.settle(now=at(300))
    found = together(lambda: one.successes(6), lambda: other.successes(6))
    ids = [claim.trajectory_id for claims in found for claim in claims]
    assert len(ids) == len(set(ids)) == 10


def test_one_emits_at_a_time(open_buffer: Callable[..., Buffer]) -> None:
    one, other = open_buffer(), open_buffer()
    with one.alone("emit") as ours, other.alone("emit") as theirs, other.alone("another") as free:
        assert (ours, theirs, free) == (True, False, True)
    with other.alone("emit") as theirs:
        assert theirs


def test_a_sample_taken_back_as_its_shard_begins_ends_in_one_of_two_ways(open_buffer: Callable[..., Buffer]) -> None:
    one, other = open_buffer(), open_buffer()
    failures(one, 12)
    for claim in one.claim(12, now=at(400)):
        one.record(claim, relabeled(claim, goal=f"Find {claim.trajectory_id}"), now=at(400))
    ids = [row[0] for row in one.sql("SELECT sample_id FROM samples").fetchall()]
    assert len(ids) == 12

    def begin(sample: str) -> bool:
        try:
            one.begin_shard("trl_sft", [sample])
        except MoveRefused:
            return False
        return True

    for sample in ids:
        begun, _ = together(lambda s=sample: begin(s), lambda s=sample: other.withdraw([s], "bad"))
        [(state,)] = one.sql("SELECT state FROM samples WHERE sample_id = ?", [sample]).fetchall()
        assert state == ("retracted" if begun else "withdrawn")


def test_a_sample_stands_in_one_shard_though_two_emit_at_once(open_buffer: Callable[..., Buffer]) -> None:
    """The lock of who emits can be lost with its connection."""
    buffers = [open_buffer() for _ in range(2)]
    failures(buffers[0], 6)
    for claim in buffers[0].claim(6, now=at(400)):
        buffers[0].record(claim, relabeled(claim, goal=f"Find {claim.trajectory_id}"), now=at(400))

    def begin(buffer: Buffer, sample: str) -> bool:
        try:
            buffer.begin_shard("trl_sft", [sample])
        except MoveRefused:
            return False
        return True

    for (sample,) in buffers[0].sql("SELECT sample_id FROM samples").fetchall():
        begun = together(*(lambda b=b, s=sample: begin(b, s) for b in buffers))
        assert sorted(begun) == [False, True]


@pytest.mark.parametrize("turn", range(4))
def test_a_thread_that_two_pods_bring_at_once_is_one_trajectory(open_buffer: Callable[..., Buffer], turn: int) -> None:
    pods = [open_buffer() for _ in range(3)]
    pods[0].create()
    threads = [f"t{index}" for index in range(12)]
    asked = [run(thread=name, status="interrupted", waits_at=f"c-{name}") for name in threads]
    answered = [run(thread=name, resumes=f"c-{name}", start=50.0, goal="") for name in reversed(threads)]
    said = [feedback(thread_id=name, success=False) for name in threads]
    together(
        lambda: [pods[0].ingest(batch(asked[i : i + 3]), now=at(200)) for i in range(0, 12, 3)],
        lambda: [pods[1].ingest(batch(answered[i : i + 4]), now=at(200)) for i in range(0, 12, 4)],
        lambda: pods[2].ingest(batch([], said), now=at(200)),
        lambda: [pods[2].settle(now=at(300)) for _ in range(3)],
    )
    pods[0].settle(now=at(300))
    found = pods[0].sql("SELECT thread_id, status, outcome, n_runs FROM trajectories ORDER BY thread_id").fetchall()
    assert found == [(name, "finished", "failure", 2) for name in sorted(threads)]


def test_a_deletion_waits_until_nobody_else_publishes(
    open_buffer: Callable[..., Buffer], url: str, tmp_path: Path
) -> None:
    other = open_buffer()
    other.ingest(batch([run("a", thread="x"), run("b", thread="y")]), now=at(100))
    with Live(tmp_path / "home", buffer=url) as live:
        with other.alone("emit"), pytest.raises(AgentHERError, match="another worker publishes"):
            live.delete(thread_id="x", seconds=0.2)
        assert other.sql("SELECT count(*) FROM trajectories").fetchall() == [(2,)]
        assert other.sql("SELECT count(*) FROM audit").fetchall() == [(0,)]
        seen = []
        erased = live.parts.replies.erase
        live.parts.replies.erase = lambda *given: seen.append(_is_free(other)) or erased(*given)  # type: ignore[func-returns-value,method-assign]
        assert live.delete(thread_id="x").trajectories == 1
        assert seen == [False], "and nobody else publishes while it goes on"
    assert _is_free(other)
    assert other.sql("SELECT thread_id FROM trajectories").fetchall() == [("y",)]


def test_a_worker_that_only_ingests_says_that_it_cannot_delete(url: str, tmp_path: Path) -> None:
    with Live(tmp_path / "home", buffer=url, tick_seconds=0.05, drain_seconds=0.0) as pod:
        thread = threading.Thread(target=pod.work, kwargs={"only": ("ingest",)})
        thread.start()
        try:
            until(lambda: (tmp_path / "home" / "worker.json").exists())
            with pytest.raises(AgentHERError, match="does not emit, so it cannot delete"):
                Live(tmp_path / "home", buffer=url).delete(thread_id="x", seconds=30)
        finally:
            pod.request_stop()
            thread.join()


def _is_free(buffer: Buffer) -> bool:
    with buffer.alone("emit") as ours:
        return ours


def test_pods_do_not_move_each_others_cursors(postgresql: Server, url: str, tmp_path: Path) -> None:
    lives = [Live(tmp_path / name, buffer=url, strict=True) for name in ("a", "b")]
    for live in lives:
        live.feedback(thread_id="t", success=True)
        live.tick()
    ends = dict(lives[0].buffer.cursors())
    assert len(ends) == 2
    lives[1].feedback(thread_id="t", success=True)
    lives[1].tick()
    later = lives[0].buffer.cursors()
    assert sum(later[writer] != end for writer, end in ends.items()) == 1
    for live in lives:
        live.close()


def test_another_folder_of_shards_is_refused(url: str, tmp_path: Path) -> None:
    with Live(tmp_path / "one", buffer=url, held_out=0.0, shard_seconds=0.0, strict=True) as one:
        one.buffer.ingest(batch([run("a")], [feedback(trajectory_id="a", success=True)]), now=at(200))
        assert len(one.run_until_idle().shards) == 2
    with Live(tmp_path / "two", buffer=url, strict=True) as two:
        with pytest.raises(Exception, match="does not hold shard 2"):
            two.tick()
        assert two.status()["paused_reason"]


def test_doctor_compares_the_shards_and_leaves_the_database_as_it_is(postgresql: Server, tmp_path: Path) -> None:
    def told(live: Live) -> dict[str, str]:
        found = examine(live.home, live.settings, live.buffer, now=utcnow())
        return {one.area: f"{one.level}: {one.what} {one.remedy}" for one in found if one.level != "ok"}

    url = postgresql.new(empty=True)
    with Live(tmp_path / "one", buffer=url, held_out=0.0, shard_seconds=0.0, strict=True) as one:
        assert "no buffer in this database yet" in told(one)["buffer"]
        made = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'store'"
        assert postgresql.ask(url, made) == [(0,)]
        one.buffer.ingest(batch([run("a")], [feedback(trajectory_id="a", success=True)]), now=at(200))
        one.run_until_idle()
        assert told(one).keys() <= {"worker"}
        manifest = one.home.shards / "manifest.jsonl"
        lines = manifest.read_bytes().splitlines(keepends=True)
        manifest.write_bytes(b"".join(lines[:-1]))
        assert "the manifest lacks 1 shards" in told(one)["shards"]
        manifest.write_bytes(b"".join(lines))
        with Live(tmp_path / "two", buffer=url, strict=True) as two:
            assert told(two)["shards"].startswith("note: this home holds none of the buffer's shards")
        with one.buffer.writing() as tx:
            tx.connection.exec_driver_sql("UPDATE store.schema_version SET version_num = '9999'")
        assert "install the version of the package that wrote it" in told(one)["buffer"]
    postgresql.drop(url)


def test_a_draw_is_repeated_by_its_log_and_counts_uses(open_buffer: Callable[..., Buffer]) -> None:
    one, other = open_buffer(), open_buffer()
    failures(one, 30)
    for claim in one.claim(30, now=at(400)):
        one.record(claim, relabeled(claim, goal=f"Find {claim.trajectory_id}"), now=at(400))
    draws = together(
        *(lambda b=b, n=n: b.sample(10, strategy="prioritized", seed=n) for n, b in enumerate([one, other]))
    )
    assert [len(draw) for draw in draws] == [10, 10]
    assert one.redraw(draws[1].draw_id) == draws[1]
    assert one.sql("SELECT sum(uses) FROM replay").fetchall() == [(20,)]
    still = one.sample(5, where="goal LIKE '%Find%' AND kind = 'hindsight'", half_life=1e-9, strategy="prioritized")
    assert len(still) == 5


def test_text_that_postgresql_does_not_take_is_replaced(open_buffer: Callable[..., Buffer]) -> None:
    buffer = open_buffer()
    nul = run("n", thread="t\x00", goal="Buy\x00 bolts", text='{"a": "\x00\\u0000"}')
    buffer.ingest(batch([nul], [feedback(thread_id="t\x00", success=False, comment="no\x00")]), now=at(200))
    buffer.settle(now=at(300))
    [(goal, outcome)] = buffer.sql("SELECT goal, outcome FROM trajectories").fetchall()
    assert (goal, outcome) == ("Buy\ufffd bolts", "failure")
    [claim] = buffer.claim(1, now=at(400))
    assert claim.trajectory.goal == "Buy\x00 bolts"  # the payload is as it was


# --- people's SQL ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def asked(postgresql: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buffer]:
    url = postgresql.new()
    buffer = Buffer(url, settings=Settings(home=tmp_path_factory.mktemp("asked")))
    buffer.ingest(batch([run("a", thread="x")], [feedback(trajectory_id="a", success=False)]), now=at(200))
    yield buffer
    postgresql.drop(url)


@pytest.mark.parametrize(
    ("query", "hint"),
    [
        ("DELETE FROM trajectories", "DELETE is refused"),
        ("WITH x AS (DELETE FROM trajectories RETURNING *) SELECT * FROM x", "."),
        ("SELECT 1; SELECT 2", "one SQL statement"),
        ("", "one SQL statement"),
        ("SELECT * FROM store.state", "private table"),
        ('SELECT * FROM "store" /* a /* b */ */ . state', "private table"),
        ("EXPLAIN SELECT * FROM store.state", "private table"),
        ("SELECT query_to_xml('SELECT * FROM store.state', true, true, '')", "refused"),
        ("SELECT set_config('transaction_read_only', 'off', true)", "refused"),
        ("SELECT pg_read_file('/etc/passwd')", "refused"),
        ("SELECT \"pg_read_file\"('/etc/passwd')", "refused"),
        ("SELECT * FROM pg_catalog.pg_read_binary_file('/etc/passwd')", "refused"),
        ("COPY (SELECT 1) TO '/tmp/x'", "COPY is refused"),
        ("SET ROLE postgres", "SET is refused"),
        ('SELECT * FROM U&"st\\006Fre".state', "refused"),
        ("SELECT goals FROM trajectories", "did you mean goal"),
        ("SELECT t.stat FROM trajectories AS t", "did you mean stat"),
        ("SELECT * FROM trajectory", "did you mean trajectories"),
        ("SELEC 1", "refused"),
        ("SELECT 1 / 0", "division by zero"),
        ("SELECT * FROM trajectories FOR UPDATE", "permission denied|read-only"),
    ],
)
def test_what_sql_may_not_do_is_told_in_a_line(asked: Buffer, query: str, hint: str) -> None:
    with pytest.raises(QueryError, match=hint) as told:
        asked.sql(query)
    assert "\n" not in str(told.value)


def test_words_in_texts_and_comments_are_no_names(asked: Buffer) -> None:
    query = "SELECT 'store.state; x''' AS a, $$store.state;$$ AS b, E'\\'store.state' AS c -- store.state;\n/* ; */;"
    assert asked.sql(query).fetchall() == [("store.state; x'", "store.state;", "'store.state")]


def test_parameters_are_written_as_for_duckdb(asked: Buffer) -> None:
    assert asked.sql("SELECT '100%?' AS p, ? AS x, ? AS y", ["a", 2]).fetchall() == [("100%?", "a", 2)]
    assert asked.sql("SELECT $2 AS x, $1 AS y", ["a", "b"]).fetchall() == [("b", "a")]
    assert asked.sql("SELECT $who AS x WHERE 5 % 3 = 2", {"who": "me"}).fetchall() == [("me",)]
    assert asked.sql("SELECT '50%' AS x, 5 % 3 AS y").fetchall() == [("50%", 2)]
    with pytest.raises(QueryError, match="too few"):
        asked.sql("SELECT ?, ?", [1])


def test_a_query_that_takes_too_long_is_stopped_and_the_next_one_runs(asked: Buffer) -> None:
    with pytest.raises(QueryError, match="sql_seconds"):
        asked.sql("SELECT pg_sleep(30)", seconds=0.1)
    assert asked.sql("SELECT count(*) FROM trajectories").fetchall() == [(1,)]


def test_the_time_is_that_of_the_whole_query(asked: Buffer) -> None:
    """Each piece of a result is a statement of its own to the server."""
    with pytest.raises(QueryError, match="sql_seconds"):
        asked.sql("SELECT pg_sleep(0.0002) FROM generate_series(1, 6000)", seconds=0.6)


def test_a_result_that_would_fill_the_memory_is_stopped(asked: Buffer, monkeypatch: pytest.MonkeyPatch) -> None:
    many = "SELECT n, repeat('x', 1000) AS text FROM generate_series(1, 20000) AS n"
    monkeypatch.setattr(results, "RESULT_BYTES", 10 << 20)
    with pytest.raises(QueryError, match=r"stopped at 12,000 rows of 1\d MB: .* LIMIT"):
        asked.sql(many)
    assert len(asked.sql(f"{many} LIMIT 9000")) == 9000


def test_pieces_of_a_result_have_one_type(asked: Buffer) -> None:
    """A NUMERIC is an integer where all are; a piece alone cannot know that."""
    table = asked.sql(
        "SELECT CASE WHEN n = 3000 THEN 0.5 ELSE n END AS mixed, CASE WHEN n > 2000 THEN '1.2.3.4'::inet END AS late, "
        "CAST(n AS numeric) AS whole FROM generate_series(1, 4500) AS n ORDER BY n"
    ).arrow()
    assert [str(field.type) for field in table.schema] == ["double", "string", "int64"]
    assert table["mixed"].to_pylist()[2998:3000] == [2999.0, 0.5]
    assert table["late"].null_count == 2000


def test_results_have_duckdbs_types(asked: Buffer) -> None:
    row = asked.sql(
        "SELECT sum(n_runs) AS n, avg(n_runs) AS m, median(n_runs) AS d, max(started_at) AS t, now() AS z, "
        "round(0.125::float8, 2) AS r, ARRAY[1, 2] AS l, '{\"a\": 1}'::jsonb AS j, '1.2.3.4'::inet AS i, "
        "interval '2 s' AS v FROM trajectories"
    ).dicts()[0]
    assert (row["n"], row["m"], row["d"], row["r"], row["l"]) == (1, 1.0, 1.0, 0.13, [1, 2])
    assert (row["j"], row["i"], row["v"]) == ('{"a": 1}', "1.2.3.4", timedelta(seconds=2))


# --- a home moves -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def moved(postgresql: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The home of a small demo, and the same buffer on PostgreSQL."""
    home = tmp_path_factory.mktemp("moved") / "home"
    demo(home, relabeler="template", judges=["rules"], tasks=TASKS, seed=0, console=None)
    url = postgresql.new(empty=True)
    told = run_cli("buffer", "migrate", "--home", home, "--to", url, "--json").json
    with Live(home) as before, Live(home, buffer=url) as after:
        yield before, after, told
    postgresql.drop(url)


def test_every_table_is_moved_and_counted(moved: Any) -> None:
    before, after, told = moved
    assert told["tables"]["trajectories"] == TASKS
    figures = [live.buffer.status(now=at(0)) for live in (before, after)]
    assert figures[0] == figures[1]
    assert before.buffer.funnel() == after.buffer.funnel()
    [(key,)] = before.buffer.sql("SELECT min(trajectory_id) FROM samples WHERE kind = 'hindsight'").fetchall()
    assert before.buffer.trajectory(key) == after.buffer.trajectory(key)
    assert collect(before.buffer, key) == collect(after.buffer, key)


@pytest.mark.parametrize("number", range(1, len(questions(QUERIES.read_text("utf-8"))) + 1))
def test_a_question_has_one_answer(moved: Any, number: int) -> None:
    query = questions(QUERIES.read_text("utf-8"))[number - 1].sql
    answers = [sorted(map(plain, live.buffer.sql(query).fetchall()), key=repr) for live in moved[:2]]
    assert answers[0] == answers[1]


def plain(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(round(float(value), 6) if isinstance(value, int | float) else value for value in row)


def test_the_worker_goes_on_where_it_was(moved: Any) -> None:
    _, after, _ = moved
    assert not after.run_until_idle().busy
    assert after.check_shards().bad == []


def test_a_full_target_is_refused_and_left_alone(moved: Any, tmp_path: Path, postgresql: Server) -> None:
    before, after, _ = moved
    shown = run_cli("buffer", "migrate", "--home", before.home.path, "--to", after.settings.buffer)
    assert shown.code == 2
    assert "not empty" in shown.err
    with pytest.raises(UsageError, match="from DuckDB to PostgreSQL"):
        after.migrate(f"duckdb:///{tmp_path}/x.duckdb")


def test_a_move_that_breaks_off_leaves_nothing(moved: Any, postgresql: Server) -> None:
    before, _, _ = moved
    url = postgresql.new()

    def stop(table: str) -> None:
        if table == "trajectories":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        before.migrate(url, progress=stop)
    assert postgresql.ask(url, "SELECT (SELECT count(*) FROM store.messages) + (SELECT count(*) FROM store.state)") == [
        (0,)
    ]
    postgresql.drop(url)


def test_a_snapshot_is_a_duckdb_file(moved: Any, tmp_path: Path) -> None:
    _, after, _ = moved
    after.buffer.snapshot(tmp_path / "copy.duckdb")
    with duckdb.connect(tmp_path / "copy.duckdb") as raw:
        assert raw.execute("SELECT count(*) FROM trajectories").fetchone() == (TASKS,)
        assert raw.execute("SELECT count(*) FROM store.steps").fetchone() == tuple(
            after.buffer.sql("SELECT count(*) FROM steps").fetchall()[0]
        )


# --- errors -----------------------------------------------------------------------------------------------------------


def test_no_message_carries_the_password(tmp_path: Path) -> None:
    url = "postgresql+psycopg://me:hunter2@127.0.0.1:9/db?connect_timeout=2"
    live = Live(tmp_path / "home", buffer=url)
    with pytest.raises(BufferError, match="cannot be reached") as told:
        live.buffer.status()
    assert "hunter2" not in f"{told.value} {live.settings!r} {live.buffer.where} {told.value.__cause__}"
    done = run_cli("status", "--home", tmp_path / "home", AGENTHER_BUFFER=url)
    assert done.code == 1
    assert "hunter2" not in done.out + done.err
    for wrong in ("postgresql+asyncpg://me:hunter2@h/d", "what ever://me:hunter2@h/d"):
        with pytest.raises(SettingsError) as refused:
            Buffer(wrong, settings=live.settings)
        assert "hunter2" not in str(refused.value)


def test_what_the_database_refuses_leaves_nothing(
    open_buffer: Callable[..., Buffer], postgresql: Server, url: str
) -> None:
    buffer = open_buffer()
    failures(buffer, 1)

    def write() -> None:
        with buffer.writing() as tx:
            tx.connection.exec_driver_sql("INSERT INTO store.meta VALUES ('left', 'behind')")
            tx.connection.exec_driver_sql("INSERT INTO store.state SELECT * FROM store.state")

    with pytest.raises(Contended, match="came between"):
        write()
    assert buffer.sql("SELECT count(*) FROM trajectories").fetchall() == [(1,)]
    assert postgresql.ask(url, "SELECT count(*) FROM store.meta WHERE key = 'left'") == [(0,)]


def test_a_connection_that_broke_is_made_anew(open_buffer: Callable[..., Buffer], postgresql: Server, url: str) -> None:
    buffer = open_buffer()
    failures(buffer, 1)
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    assert postgresql.ask(url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
    assert len(buffer.claim(1, now=at(400))) == 1
