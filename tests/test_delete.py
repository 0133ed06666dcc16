"""Deletion: everything of a thread, subject or trajectory goes and stays away; the receipt says what is left."""

from __future__ import annotations

import json
import os
import random
import shutil
import string
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from agenther_live import Live, erase, requests
from agenther_live.buffer.engines import apart
from agenther_live.buffer.schema import metadata
from agenther_live.buffer.upkeep.erase import KEPT, forget
from agenther_live.buffer.upkeep.tombstones import Tombs
from agenther_live.errors import BufferError, HomeError, ShardError, UsageError
from agenther_live.scheduler import TickReport
from agenther_live.scheduler.notes import remember
from agenther_live.shards.reading.stream import read_rows
from agenther_live.trajectory import Evidence
from tests.buffer.journal_facts import at, batch, feedback, run
from tests.buffer.labels_made import relabeled
from tests.openai_server import OpenAIServer
from tests.openai_server import say as reply_with
from tests.whole import TEMPLATE, failed_orders, good_reply, run_cli, until

NOW = datetime.now(UTC).replace(tzinfo=None)
EMIT = {"shard_seconds": 0, **TEMPLATE}


def secret(seed: int) -> str:
    """A word that no text holds by chance, and that no compression makes shorter."""
    return "".join(random.Random(seed).choices(string.ascii_letters + string.digits, k=40))


def rows(live: Live, query: str, **parameters: Any) -> list[tuple[Any, ...]]:
    with live.buffer.reading() as tx:
        return tx.rows(text(query), parameters)


def found_in(folder: Path, *words: str) -> list[str]:
    """Files that hold one of these words, whatever they are."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return [
        str(path.relative_to(folder)) for path in paths if any(word.encode() in path.read_bytes() for word in words)
    ]


@pytest.fixture(scope="module")
def sold_home(tmp_path_factory: pytest.TempPathFactory, empty_home: Path) -> Path:
    """A home with four failures, each of a thread of its own, relabeled and published; made once."""
    home = tmp_path_factory.mktemp("sold") / "home"
    shutil.copytree(empty_home, home)
    names = ["f0", "f1", "f2", "f3"]
    runs = [run(f"run-of-{name}", thread=f"thread-{name}", goal=f"Buy {name}", subject=name) for name in names]
    said = [feedback(thread_id=f"thread-{name}", success=False) for name in names]
    with Live(home, shard_rows=3, **EMIT) as live, live.buffer.hold():
        live.buffer.ingest(batch(runs, said), now=NOW)
        live.buffer.settle(now=NOW)
        claims = live.buffer.claim(10, now=NOW)
        live.buffer.record_many([(claim, relabeled(claim)) for claim in claims], now=NOW)
        live.tick()
    return home


@pytest.fixture
def sold(sold_home: Path, tmp_path: Path) -> Iterator[Live]:
    """A copy of that home."""
    shutil.copytree(sold_home, tmp_path / "home")
    with Live(tmp_path / "home", shard_rows=3, **EMIT) as live:
        yield live


def published(live: Live) -> set[str]:
    return {row.row["trajectory_id"] for row in read_rows(live.home.shards)}


def test_a_thread_goes_from_every_table_and_shard_and_stays_away(sold: Live) -> None:
    live, thread = sold, "thread-f0"
    [(key,)] = live.buffer.sql("SELECT trajectory_id FROM trajectories WHERE thread_id = ?", [thread]).fetchall()
    [(root,)] = live.buffer.sql("SELECT root_key FROM runs WHERE trajectory_id = ?", [key]).fetchall()
    assert key in published(live)
    others = published(live) - {key}
    (live.home.shards / "consumers").mkdir()
    note = {"consumer": "nightly", "format": "trl_sft", "seq": 99, "at": 1.0, "policy_version": "v7"}
    (live.home.shards / "consumers" / "nightly.json").write_text(json.dumps(note))
    (live.home.shards / "consumers" / "torn.json").write_text('{"consumer": "to')
    live.buffer.sample(100)

    would = live.delete(thread_id=thread, dry_run=True)
    assert (would.trajectories, would.dry_run) == (1, True)
    assert key in published(live)

    receipt = live.delete(thread_id=thread, reason="asked for by its user")
    assert (receipt.trajectories, receipt.runs, receipt.draws) == (1, 1, 1)
    assert receipt.samples >= 1
    assert receipt.shards
    assert receipt.files_removed
    assert {one["consumer"] for one in receipt.consumers} == {"nightly", "torn"}
    assert receipt.policy_versions == ["v7"]
    assert published(live) == others
    assert live.check_shards().bad == []
    assert found_in(live.home.path, key, root, thread) == []
    with live.buffer.hold():
        for table in metadata.sorted_tables:
            for column in table.c:
                if column.name in ("trajectory_id", "root_key", "thread_id", "to_thread", "to_trajectory"):
                    assert rows(live, f"SELECT * FROM {table.fullname} WHERE {column.name} IN (:a, :b, :c)",
                                a=key, b=root, c=thread) == [], table  # fmt: skip
    [deed] = live.buffer.sql("SELECT * FROM audit WHERE action = 'delete'").dicts()
    assert (deed["target"], deed["trajectories"], deed["reason"]) == ("thread", 1, "asked for by its user")
    assert deed["done_at"] is not None
    assert thread not in repr(deed)
    assert live.status()["deleted"] == 1

    assert live._writer is not None
    live._writer.append(run("later", thread=thread).records)
    live.feedback(thread_id=thread, success=False)
    live.tick()
    assert live.buffer.sql("SELECT count(*) FROM trajectories WHERE thread_id = ?", [thread]).fetchall() == [(0,)]
    refused = live.buffer.sql("SELECT n FROM counters WHERE name = 'refused_deleted'").fetchall()
    assert refused == [(2,)], "the run and the feedback"


def test_every_table_says_how_its_rows_are_found() -> None:
    """A new table fails here until it has a key that deletion knows, or stands in KEPT with a reason."""
    known = {"trajectory_id", "relabeling_id", "root_key", "sample_id"}
    lost = [t.name for t in metadata.sorted_tables if t.name not in KEPT and not known & set(t.c.keys())]
    assert lost == []


# --- whose data it is -----------------------------------------------------------------------------------------------


def test_a_subject_goes_with_the_replies_about_it_and_what_they_cost_stays(home: Path) -> None:
    goods = failed_orders(2)
    with OpenAIServer(lambda request: reply_with(good_reply(request))) as server:
        models = EMIT | {"relabeler": f"openai:gpt-4o-mini,base_url={server.base_url}"}
        with Live(home, pii="redact", **models) as live:
            agents = [live.attach(agent, subject_key="user") for agent in goods.agents]
            for number, task in enumerate(goods.tasks):
                who = "bob" if number else "ann@example.org"
                config = {"metadata": {"user": who}, "configurable": {"thread_id": task.task_id}}
                agents[0].invoke({"messages": [("user", task.goal)]}, config)
                live.feedback(thread_id=task.task_id, success=False)
            live.tick()
            asked = len(server.bodies)
            assert asked == 2
            before = live.status()
            receipt = live.delete(subject="ann@example.org", compact=False)
            assert (receipt.trajectories, receipt.replies) == (1, 2), "one to a prompt that showed how she asks"
            assert live.status()["llm_calls"] == asked
            assert live.status()["cost_usd"] == pytest.approx(before["cost_usd"])
            silent = "SELECT count(*) FROM store.llm_calls WHERE text IS NULL AND trajectory_id IS NULL"
            assert rows(live, silent) == [(1,)]
            assert sum(len(path.read_bytes().splitlines()) for path in live.home.replies.glob("*.jsonl")) == asked
        with Live(home, pii="redact", **models) as live:  # the store is read again, and nobody is asked again
            live.tick()
            assert live.status()["llm_calls"] == len(server.bodies) == asked
            assert len(live.parts.replies) == asked
            assert live.parts.replies.budget.tokens > 0


def test_a_request_goes_from_the_samples_of_runs_that_answered_it_for_another_user(home: Path) -> None:
    goods = failed_orders(1)
    agent, (task,) = goods.agents[0], goods.tasks
    agent.invoke({"messages": [("user", task.goal)]}, {"configurable": {"thread_id": "before"}})
    (order,) = goods.world.orders("before")
    need = f"We need {order.quantity} {order.item}s delivered to {order.city}."
    hers = f"{need} Please order them from the supplier with the lowest total price."
    with Live(home, **EMIT) as live:
        agent = live.attach(agent, subject_key="user")

        def ask(goal: str, who: str, *, success: bool) -> None:
            config = {"metadata": {"user": who}, "configurable": {"thread_id": f"of {who}"}}
            agent.invoke({"messages": [("user", goal)]}, config)
            live.feedback(thread_id=f"of {who}", success=success)

        ask(hers, "ann", success=True)
        ask(task.goal, "bob", success=False)
        live.run_until_idle()
        lent = "SELECT g.accepted, g.hindsight_goal FROM goals AS g WHERE g.method = 'user_goal'"
        assert rows(live, lent) == [(True, hers)]
        assert sorted(row.row["goal"] for row in read_rows(live.home.shards)) == [hers] * 4
        assert live.delete(subject="ann", dry_run=True).samples == 2
        receipt = live.delete(subject="ann")
        assert (receipt.trajectories, receipt.samples) == (1, 2)
        assert rows(live, lent) == [(True, "")], "that there was a goal stays, and no word of it"
        assert not [row for row in read_rows(live.home.shards)]
        assert found_in(home, hers) == []
        steps = live.buffer.funnel()
        assert [step["n"] for step in steps[1:5]] == [1, 1, 1, 1]
        assert not live.run_until_idle().shards


@pytest.mark.parametrize("forgotten", ["ann", "bob", "both"])
def test_a_request_is_found_in_anothers_sample_when_retention_took_either_side(home: Path, forgotten: str) -> None:
    """Her run made no sample of its own; his holds her words, in a shard."""
    hers = "We need 40 hex bolts delivered to Lyon. Please order them from the supplier with the lowest total price."
    with Live(home, **EMIT) as live:
        runs = [run("ann", thread="a", goal=hers, subject="ann"), run("bob", thread="b", goal="Buy", subject="bob")]
        live.buffer.ingest(batch(runs, [feedback(thread_id="b", success=False)]), now=NOW)
        live.buffer.settle(now=NOW)
        [claim] = live.buffer.claim(9, now=NOW)
        label = relabeled(claim, goal=hers)
        asked = [goal.model_copy(update={"method": "user_goal", "hindsight_goal": hers}) for goal in label.goals]
        live.buffer.record(claim, label.model_copy(update={"goals": asked}), now=NOW)
        live.run_until_idle()
        assert {row.row["goal"] for row in read_rows(live.home.shards)} == {hers}
        for gone in ("ann", "bob") if forgotten == "both" else (forgotten,):
            with live.buffer.writing() as tx:
                forget(tx, [gone], Tombs(live.settings), now=NOW)
        assert found_in(home / "shards", hers)
        receipt = live.delete(subject="ann")
        assert (receipt.trajectories, receipt.samples) == (1, 1)
        assert not [*read_rows(live.home.shards)]
    assert found_in(home, hers) == []


def test_a_fork_that_shares_a_run_goes_too_and_other_turns_are_named(home: Path) -> None:
    live = Live(home)
    with live.buffer.hold():
        first = run("a", thread="t", status="interrupted", waits_at="c1")
        live.buffer.ingest(
            batch(
                [
                    first,
                    run("b", thread="t", start=10, resumes="c1"),
                    run("c", thread="t", start=20, resumes="c1"),  # the second resume of one checkpoint: a fork
                    run("d", thread="t", start=30),
                ]
            ),
            now=at(0),
        )
        found = dict(live.buffer.sql("SELECT trajectory_id, n_runs FROM trajectories").fetchall())
        assert found == {"a": 2, "c": 2, "d": 1}
        receipt = live.delete(trajectory_id="a", compact=False)
        assert (receipt.trajectories, receipt.runs) == (2, 3)
        assert any("1 other trajectories of its thread" in line for line in receipt.left)
        live.buffer.ingest(
            batch([first, run("e", thread="t", start=40, resumes="c1", waits_at="c2", status="interrupted")]), now=at(1)
        )
        live.buffer.ingest(batch([run("f", thread="t", start=50, resumes="c2")]), now=at(1))
        assert live.buffer.sql("SELECT trajectory_id FROM trajectories").fetchall() == [("d",)], "nor what resumes it"


def test_older_revisions_that_held_a_run_go_and_their_trajectory_stays(home: Path) -> None:
    """A resume that found another place later: the revision that held it is another's, and history."""
    live = Live(home)
    with live.buffer.hold():
        live.buffer.ingest(batch([run("a", thread="t", status="interrupted", waits_at="c1")]), now=at(0))
        live.buffer.ingest(batch([run("c", thread="t", start=20, resume=True)]), now=at(1))
        live.buffer.ingest(batch([run("b", thread="t", start=10, resumes="c1")]), now=at(2))
        before = rows(live, "SELECT trajectory_id, revision FROM store.trajectories ORDER BY ALL")
        [(owner,)] = rows(live, "SELECT trajectory_id FROM store.run_heads WHERE root_key = 'c'")
        live.delete(trajectory_id=owner, compact=False)
        left = rows(live, "SELECT trajectory_id, revision FROM store.trajectories ORDER BY ALL")
        assert set(left) < set(before)
        assert rows(live, "SELECT count(*) FROM store.runs WHERE root_key = 'c'") == [(0,)]


def test_feedback_and_imports_of_what_was_deleted_are_refused_and_others_are_not(home: Path) -> None:
    live = Live(home)
    with live.buffer.hold():
        live.buffer.ingest(batch([run("a", thread="t"), run("b", thread="u")]), now=at(0))
        live.delete(thread_id="t", compact=False)
        kept = live.buffer.trajectory("b")
        assert kept is not None
        again = kept.model_copy(update={"trajectory_id": "x", "thread_id": "t"})
        other = kept.model_copy(update={"trajectory_id": "y", "thread_id": "v"})
        report = live.buffer.add_trajectories([(again, ()), (other, ())])
        assert (report.imported, report.refused) == (1, 1)
        loose = [feedback(trajectory_id="a", success=False), feedback(run_id="run-a", success=False),
                 feedback(thread_id="t", success=False), feedback(trajectory_id="b", success=True)]  # fmt: skip
        assert live.buffer.ingest(batch(loose=loose, offset=2), now=at(1)).evidence == 1
        assert live.lift_deletion(thread_id="t") == 1
        live.buffer.ingest(batch([run("a", thread="t"), run("new", thread="t", start=50)], offset=3), now=at(1))
        assert live.buffer.sql("SELECT trajectory_id FROM trajectories ORDER BY ALL").fetchall() == [
            ("b",),
            ("new",),
            ("y",),
        ]


def test_what_is_to_be_deleted_is_named_once(home: Path) -> None:
    live = Live(home)
    for wrong in ({}, {"thread_id": ""}, {"thread_id": "a", "subject": "b"}):
        with pytest.raises(UsageError, match="exactly one"):
            live.delete(**wrong)


# --- bytes ----------------------------------------------------------------------------------------------------------


def test_compaction_takes_the_deleted_bytes_along(home: Path) -> None:
    live = Live(home)
    words = [secret(number) for number in range(40)]
    live.buffer.ingest(batch([run(f"r{n}", thread=f"t{n}", text=word * 20) for n, word in enumerate(words)]), now=at(0))
    assert found_in(home, words[0]), "else the test below says nothing"
    receipt = live.delete(thread_id="t0", compact=False)
    assert receipt.bytes_freed is None
    before, after = live.compact()
    assert after <= before
    assert found_in(home, words[0], words[0][::-1]) == []
    assert found_in(home, words[1])
    assert live.buffer.sql("SELECT count(*) FROM trajectories").fetchall() == [(39,)]
    deeds = live.buffer.sql("SELECT action FROM audit ORDER BY ALL").fetchall()
    assert deeds == [("compact",), ("delete",)]
    columns = live.buffer.sql(
        "SELECT count(*) FROM duckdb_columns() WHERE comment IS NULL AND schema_name = 'store' "
        "AND table_name <> 'schema_version' AND table_name IN (SELECT table_name FROM duckdb_tables())"
    )
    assert columns.fetchall() == [(0,)], "comments are copied too"


@pytest.mark.parametrize(
    "moment", [pytest.param("fresh", marks=pytest.mark.faults), "half", pytest.param("done", marks=pytest.mark.faults)]
)
def test_a_killed_compaction_leaves_a_whole_file(home: Path, moment: str) -> None:
    live = Live(home)
    live.buffer.ingest(batch([run(f"r{n}", text=secret(n) * 200) for n in range(60)]), now=at(0))
    script = [sys.executable, "-P", apart.__file__, "compact", str(live.home.database), "5"]
    with subprocess.Popen(script, stdout=subprocess.DEVNULL) as child:
        fresh = home / "buffer.duckdb.compact"
        until(lambda: fresh.exists() or child.poll() is not None)
        if moment == "half":
            until(lambda: (fresh.exists() and fresh.stat().st_size > 500_000) or child.poll() is not None)
        if moment == "done":
            child.wait()
        child.kill()
    assert live.buffer.sql("SELECT count(*) FROM trajectories").fetchall() == [(60,)]
    assert live.compact()[1] > 0
    assert sorted(path.name for path in home.glob("buffer.*")) == ["buffer.duckdb"]


def test_a_compaction_without_room_leaves_the_file_as_it_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live = Live(home)
    live.buffer.ingest(batch([run("a")]), now=at(0))
    (home / "buffer.duckdb.compact").mkdir()  # what cannot be written is as good as no room
    with pytest.raises(BufferError, match="stays as it is"):
        live.compact()
    assert live.buffer.sql("SELECT count(*) FROM trajectories").fetchall() == [(1,)]


# --- crashes and other processes ------------------------------------------------------------------------------------


def test_a_deletion_that_a_crash_came_between_is_finished_by_the_next_tick(
    sold: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, thread = sold, "thread-f1"
    [(key,)] = live.buffer.sql("SELECT trajectory_id FROM trajectories WHERE thread_id = ?", [thread]).fetchall()
    early = Evidence(evidence_id="early", thread_id=thread, source="person", comment="Ann", at=at(0))
    live.buffer.add_evidence([early])  # before any run of it: about none

    def full(*_: object, **__: object) -> None:
        raise ShardError("no room")

    with monkeypatch.context() as broken:
        broken.setattr(erase, "remove_replaced", full)
        with pytest.raises(ShardError):
            live.delete(thread_id=thread)
    assert live.buffer.sql("SELECT count(*) FROM audit WHERE done_at IS NULL").fetchall() == [(1,)]
    live.tick()
    assert live.buffer.sql("SELECT count(*) FROM audit WHERE done_at IS NULL").fetchall() == [(0,)]
    assert found_in(live.home.shards, key) == []
    assert key not in published(live)
    assert rows(live, "SELECT count(*) FROM store.evidence WHERE to_thread = :a", a=thread) == [(0,)]
    assert not (live.home.path / erase.MARKER).exists()
    assert rows(live, "SELECT count(*) FROM store.state WHERE trajectory_id = :a", a=key) == [(0,)]


def test_a_worker_that_runs_deletes_between_two_ticks(home: Path) -> None:
    live = Live(home)
    live.buffer.ingest(batch([run("a", thread="t"), run("b", thread="u")]), now=at(0))
    with Live(home, tick_seconds=0.05) as working:
        assert working.start()
        done = run_cli("delete", "--thread", "t", "--yes", "--no-compact", "--json", "--home", home)
        assert (done.json["trajectories"], done.json["id"]) == (1, "t")
        assert done.json["audit_id"]
        assert run_cli("compact", "--json", "--home", home).json["after"] > 0
        lost = run_cli("delete", "--thread", "u", "--yes", "--no-compact", "--wait", "0", "--home", home)
        assert lost.code == 1
        assert "at its next tick" in lost.err
        until(lambda: live.buffer.sql("SELECT count(*) FROM trajectories").fetchall() == [(0,)])


def test_an_error_about_a_path_that_is_no_utf8_is_told_all_the_same(home: Path) -> None:
    odd = os.fsdecode(b"home \xff")

    def refuse() -> dict[str, Any]:
        raise HomeError(odd)

    live = Live(home)
    path = home / "requests" / "r.json"
    path.parent.mkdir()
    requests.answer(live.home, path, refuse)
    assert json.loads(path.with_name("r.done.json").read_text()) == {"error": "home ?"}
    remember(live.parts, TickReport(paused=odd))
    assert live.status()["paused_reason"] == "home ?"


# --- the command line -----------------------------------------------------------------------------------------------


def test_the_verbs(home: Path) -> None:
    live = Live(home)
    live.buffer.ingest(batch([run("a", thread="t")]), now=at(0))
    refused = run_cli("delete", "--thread", "t", "--home", home)
    assert (refused.code, "--yes" in refused.err) == (2, True)
    looked = run_cli("delete", "--thread", "t", "--dry-run", "--home", home)
    assert "1 trajectories, 1 runs" in looked.out
    assert "snapshots, backups" in looked.out
    done = run_cli("delete", "--trajectory", "a", "--reason", "asked", "--yes", "--no-compact", "--home", home)
    assert done.code == 0
    assert "deleted" in done.out
    assert run_cli("delete", "--trajectory", "a", "--lift", "--json", "--home", home).json == {"lifted": 1}
    assert run_cli("compact", "--home", home).code == 0
    assert run_cli("sql", "select a.action from audit as a order by a.begun_at", "--json", "--home", home).json == [
        {"action": "delete"}, {"action": "lift"}, {"action": "compact"},
    ]  # fmt: skip
