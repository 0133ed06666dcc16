"""The worker: what a tick does and in which order, what stops it, and that nothing is lost or paid twice."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from agenther_live import Live, cli
from agenther_live.clock import utcnow
from tests import forking
from tests.openai_server import OpenAIServer, say
from tests.whole import (
    TEMPLATE,
    Shop,
    answering,
    failed_orders,
    good_reply,
    outcomes,
    process,
    run_cli,
    shop,
    until,
)
from tests.whole import say as tell

KILLS = 8

VIEWS = (
    "trajectories", "runs", "messages", "steps", "feedback", "analyses", "goals", "verdicts", "samples",
    "sample_shards", "shards", "llm_calls", "retractions",
)  # fmt: skip


def model(server: OpenAIServer, name: str = "gpt-4o-mini") -> str:
    return f"openai:{name},base_url={server.base_url}"


def by_models(server: OpenAIServer) -> dict[str, Any]:
    return TEMPLATE | {"relabeler": model(server), "judges": [model(server, "gpt-4.1-mini")]}


def fingerprint(live: Live) -> dict[str, str]:
    """Everything that a second tick must leave as it was: all rows, and all bytes of the shards."""
    found = {view: repr(live.buffer.sql(f"select * from {view} order by all").fetchall()).encode() for view in VIEWS}
    found |= {str(path): path.read_bytes() for path in live.home.shards.rglob("*") if path.is_file()}
    return {name: hashlib.sha256(content).hexdigest() for name, content in found.items()}


def unpaid_twice(server: OpenAIServer) -> int:
    """How many requests came; none of them the same question to the same model."""
    asked = Counter(repr((body["model"], body["messages"], body["temperature"])) for body in server.bodies)
    assert set(asked.values()) <= {1}
    return len(asked)


# --- a tick -------------------------------------------------------------------------------------------------------


def test_one_tick_goes_the_whole_way(home: Path) -> None:
    """Ingest, evaluators, outcomes, relabeling, shards: in this order, or one tick would not do."""
    goods = failed_orders(3)
    with Live(home, evaluators=[goods.judge], shard_seconds=0, **TEMPLATE) as live:
        goods.work(live)
        first = live.tick()
        assert (first.ingested, first.evaluated, first.settled["queued"]) == (3, 3, 3)
        assert sum(first.relabeled.values()) == 3
        assert first.relabeled["relabeled"] >= 2
        assert len(first.shards) == 2
        before = fingerprint(live)
        again = live.tick()
        assert not again.busy, again
        assert fingerprint(live) == before


def test_a_second_tick_pays_nothing_twice(home: Path) -> None:
    goods = failed_orders(4)
    with OpenAIServer(lambda request: say(good_reply(request))) as server:
        with Live(home, evaluators=[goods.judge], **by_models(server)) as live:
            goods.work(live)
            live.run_until_idle()
            before, paid, status = fingerprint(live), unpaid_twice(server), live.status()
            assert status["accepted"] >= 2
            assert status["llm_calls"] == paid == len(server.bodies)
            assert not live.run_until_idle().busy
        with Live(home, evaluators=[goods.judge], **by_models(server)) as live:
            assert not live.run_until_idle().busy
            assert fingerprint(live) == before
            # Work that starts over, because somebody changed their mind twice, finds its replies on disk.
            thread = goods.tasks[0].task_id
            live.feedback(thread_id=thread, success=True)
            live.run_until_idle()
            live.feedback(thread_id=thread, success=False)
            live.run_until_idle()
        assert len(server.bodies) == paid
        assert outcomes(live)[thread] == ("failure", "person")
        assert live.status()["spend_today_usd"] == pytest.approx(status["spend_today_usd"])


def test_a_failure_that_a_machine_found_waits_for_a_person(home: Path) -> None:
    with Live(home, evaluators=[lambda t: False], **TEMPLATE | {"outcome_settle_seconds": 600}) as live:
        agent = live.attach(answering())
        tell(agent, thread="by machine")
        tell(agent, thread="by person")
        live.feedback(thread_id="by person", success=False)
        live.tick()
        stages = dict(live.buffer.sql("select thread_id, stage from trajectories").fetchall())
        assert stages == {"by machine": "waiting", "by person": "rejected"}
        assert live.status()["oldest_pending_at"] is None, "what waits for a person is not late"
        live.run_until_idle()
        assert outcomes(live)["by machine"] == ("failure", "evaluator")


class _Moody:
    """A judge of the user's own that breaks on some trajectories."""

    name = "moody"

    async def judge(self, case: Any, candidate: Any) -> Any:
        raise ZeroDivisionError("in the user's own code")


def test_one_trajectory_that_breaks_does_not_stop_the_others(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    goods = failed_orders(3)
    models = TEMPLATE | {"judges": ["rules", _Moody()]}
    with Live(home, evaluators=[goods.judge, lambda t: None], retry_seconds=0.01, **models) as live:
        goods.work(live)
        success = shop(1)
        tell(live.attach(answering()), thread="other")
        live.feedback(thread_id="other", success=True)
        live.run_until_idle()
        status = live.status()
        rows = live.buffer.sql("select stage, reason, detail from relabelings where stage = 'errored'").fetchall()
    assert status["errored"] >= 1
    assert set(rows) == {("errored", "exception", "ZeroDivisionError: in the user's own code")}
    assert status["succeeded"] == 1
    assert status["samples"] == 1, "what could be published was"
    assert success.tasks
    assert any("cannot be relabeled" in record.getMessage() for record in caplog.records)


# --- pauses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cap", "reason"),
    [({"spend_per_day_usd": 0.002}, "raise spend_per_day_usd"), ({"tokens_per_day": 9_000}, "raise tokens_per_day")],
)
def test_a_spent_cap_pauses_and_goes_on(home: Path, cap: dict[str, Any], reason: str) -> None:
    goods = failed_orders(4)
    with OpenAIServer(lambda request: say(good_reply(request), usage=(3000, 300))) as server:
        with Live(home, evaluators=[goods.judge], concurrency=1, **by_models(server), **cap) as live:
            goods.work(live)
            report = live.run_until_idle()
            status = live.status()
            assert reason in str(report.paused)
            assert status["paused_reason"] == report.paused
            assert run_cli("status", "--home", home, "--json").json["paused_reason"] == report.paused
            paid = unpaid_twice(server)
            assert 0 < paid < 8
            assert live.buffer.sql("select count(*) from trajectories where stage = 'queued'").fetchall()[0][0] > 0
            assert status["oldest_pending_at"] is not None
            live.run_until_idle()
            assert len(server.bodies) == paid, "a spent cap asks nothing"
        with Live(home, evaluators=[goods.judge], **by_models(server)) as live:
            live.run_until_idle()
            status = live.status()
        assert unpaid_twice(server) == status["llm_calls"]
    assert status["paused_reason"] is None
    assert status["accepted"] + status["rejected"] == 4


def test_a_model_that_refuses_for_good_pauses_and_loses_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    goods = failed_orders(2)
    monkeypatch.setenv("OPENAI_API_KEY", "wrong")
    with OpenAIServer(lambda request: say(good_reply(request)), api_key="right") as server:
        with Live(home, evaluators=[goods.judge], concurrency=1, tick_seconds=0.05, **by_models(server)) as live:
            goods.work(live)
            live.start()
            until(lambda: live.status()["paused_reason"])
            time.sleep(0.5)  # ticks go on meanwhile, and leave the model alone
            assert len(server.requests) == 1
            tell(live.attach(answering()), thread="meanwhile")
            stages = "select stage, count(*) from trajectories group by all"
            until(lambda: dict(live.buffer.sql(stages).fetchall()) == {"queued": 2, "passed": 1})
            assert "401" in live.status()["paused_reason"]
        monkeypatch.setenv("OPENAI_API_KEY", "right")
        with Live(home, evaluators=[goods.judge], **by_models(server)) as live:
            live.run_until_idle()
            status = live.status()
    assert status["accepted"] + status["rejected"] == 2
    assert status["paused_reason"] is None


def test_a_tick_that_fails_says_so_in_the_status(home: Path) -> None:
    with Live(home, **TEMPLATE) as live:
        tell(live.attach(answering()))
        manifest = live.home.shards / "manifest.jsonl"
        manifest.mkdir()
        live.feedback(thread_id="none", success=True)
        with pytest.raises(Exception, match=r"manifest\.jsonl"):
            live.run_until_idle()
        assert "the last tick failed" in live.status()["paused_reason"]
        manifest.rmdir()
        live.run_until_idle()
        assert live.status()["paused_reason"] is None


# --- feedback while a model thinks --------------------------------------------------------------------------------


def test_feedback_during_a_model_call_wins(home: Path) -> None:
    goods = failed_orders(1)
    thread = goods.tasks[0].task_id
    seen = threading.Event()
    with OpenAIServer(lambda request: say(good_reply(request), after=seen.is_set)) as server:
        models = TEMPLATE | {"relabeler": model(server)}
        with Live(home, tick_seconds=0.1, shard_seconds=0, **models) as live:
            goods.work(live)
            live.feedback(thread_id=thread, success=False)
            live.start()
            until(lambda: server.in_flight)
            live.feedback(thread_id=thread, success=True, reason="it was fine after all")
            tell(live.attach(answering()), thread="another")
            until(lambda: len(outcomes(live)) == 2)
            assert server.in_flight, "what agents and people say is taken in while a model thinks"
            seen.set()
            until(lambda: not server.in_flight)
            until(lambda: live.status()["llm_calls"] == 1)
            live.run_until_idle()
        assert outcomes(live)[thread] == ("success", "person")
        assert live.buffer.sql("select kind, state from samples").fetchall() == [("success", "emitted")]
        assert live.buffer.sql("select count(*) from goals").fetchall() == [(0,)]


# --- stopping -----------------------------------------------------------------------------------------------------


def _be_command(told: str, arguments: list[str], environment: dict[str, str]) -> None:
    """`agenther-live …` in a process forked from one that has imported everything already."""
    os.environ |= environment
    sys.argv = ["agenther-live", *arguments]
    with open(told, "w", encoding="utf-8") as err, contextlib.redirect_stderr(err):
        cli.main()


@contextmanager
def _forked(told: Path, *arguments: object, **environment: str) -> Iterator[Any]:
    worker = forking.start(_be_command, str(told), [*map(str, arguments)], environment)
    yield worker
    worker.kill()
    worker.join()


@contextmanager
def _begun(told: Path, *arguments: object, **environment: str) -> Iterator[Any]:
    with told.open("w") as err, process(*arguments, told=err, **environment) as worker:
        yield worker


@pytest.mark.parametrize(("number", "begun"), [(signal.SIGTERM, _begun), (signal.SIGINT, _forked)])
def test_a_signal_stops_the_worker_during_a_slow_call(
    home: Path, tmp_path: Path, number: signal.Signals, begun: Callable[..., AbstractContextManager[Any]]
) -> None:
    goods = failed_orders(2)
    with Live(home, evaluators=[goods.judge], **TEMPLATE) as live:
        goods.work(live)
        live.buffer.ingest(live.parts.reader.read({}), now=utcnow())
        for task in goods.tasks:
            live.feedback(thread_id=task.task_id, success=False)
    (home / "evaluators.json").unlink()  # judged by a person here
    slow = [90.0, 0.4]  # one call will never end in time, one is on its way when the signal comes
    told = tmp_path / "told"
    with OpenAIServer(lambda request: say(good_reply(request), delay_seconds=slow.pop() if slow else 0)) as server:
        options = ("--relabeler", model(server), "--judge", "rules", "--home", home)
        with begun(told, "worker", *options, AGENTHER_OUTCOME_SETTLE_SECONDS="0") as worker:
            until(lambda: len(server.bodies) == 2)
            if number == signal.SIGTERM:
                refused = run_cli("tick", *options)
                assert (refused.code, refused.out) == (1, "")
                assert f"has a worker already (pid {worker.pid})" in refused.err
            began = time.monotonic()
            os.kill(worker.pid, number)
            left = worker.wait(60) if begun is _begun else (worker.join(60), worker.exitcode)[1]
            assert time.monotonic() - began < 15, "it waits for a reply on its way, not for one that takes 90 s"
            assert left == 0, told.read_text()
            assert begun is _forked or worker.stdout.read() == ""
        assert "worker stopped" in told.read_text()
        assert "Traceback" not in told.read_text()
        delivered = [request for request in server.requests if request.seconds is not None and request.seconds < 5]
        assert run_cli("tick", "--until-idle", *options).code == 0
        paid = Counter(repr(body["messages"]) for body in server.bodies)
        assert sorted(paid.values())[-1] <= 2, "the call that never ended is asked again"
        kept = [repr(request.body["messages"]) for request in delivered if request.body["messages"]]
        assert len(kept) >= 1
    with Live(home) as live:
        assert live.status()["llm_calls"] == 2
        done = live.buffer.sql("select count(*) from trajectories where stage in ('relabeled', 'rejected')").fetchall()
        assert done == [(2,)]


# --- kill -9 ------------------------------------------------------------------------------------------------------


def _be_worker(home: str, url: str) -> None:
    """What a killed process runs; in a process forked from one that has imported everything already."""
    models = TEMPLATE | {"relabeler": f"openai:gpt-4o-mini,base_url={url}", "judges": ["rules"]}
    Live(home, tick_seconds=0.02, shard_seconds=0, shard_rows=3, batch=4, concurrency=2, **models).work()


@contextmanager
def _writing(shop: Shop, live: Live) -> Iterator[None]:
    """An agent process that goes on while workers die: a few tasks at a time, each with what a person says of it."""

    def write() -> None:
        for task in shop.tasks:
            shop.work(live, [task])
            done, why = (False, "a person says so")
            live.feedback(thread_id=task.task_id, success=done, reason=why)
            time.sleep(0.02)

    thread = threading.Thread(target=write)
    thread.start()
    yield
    thread.join()


def _has_ticked(home: Path, worker: Any, since: int) -> bool:
    note = home / "worker.json"
    return (note.exists() and note.stat().st_mtime_ns > since) or not worker.is_alive()


@pytest.mark.faults  # tests/faults/test_kills.py kills workers in the default run
def test_kill_9_at_any_moment_loses_and_doubles_nothing(home: Path) -> None:
    goods = failed_orders(20)
    rng = random.Random(2)
    with OpenAIServer(lambda request: say(good_reply(request), delay_seconds=0.05)) as server:
        with Live(home, **TEMPLATE) as live, _writing(goods, live):
            for _ in range(KILLS):
                worker = forking.start(_be_worker, str(home), server.base_url)
                until(functools.partial(_has_ticked, home, worker, time.time_ns()))
                time.sleep(rng.uniform(0.0, 0.6))
                assert worker.pid is not None
                os.kill(worker.pid, signal.SIGKILL)
                worker.join()
                assert worker.exitcode == -signal.SIGKILL, "it was at work when it was killed"
        models = TEMPLATE | {"relabeler": model(server), "judges": ["rules"]}
        with Live(home, **models) as live:
            before = live.buffer.sql("select count(*) from relabelings").fetchall()[0][0]
            assert before, "killed workers had committed something"
            live.run_until_idle()
            status = live.status()
            assert status["captured"] == status["failed"] == len(goods.tasks)
            assert status["accepted"] + status["rejected"] == len(goods.tasks)
            assert status["dropped"] == 0
            threads = live.buffer.sql("select thread_id, count(*) from trajectories group by all").fetchall()
            assert sorted(threads) == sorted((task.task_id, 1) for task in goods.tasks)
            said = live.buffer.sql("select count(*), count(distinct trajectory_id) from feedback").fetchall()
            assert said == [(len(goods.tasks), len(goods.tasks))]
            in_shards = live.buffer.sql(
                "select format, count(*), count(distinct sample_id) from sample_shards group by all order by all"
            ).fetchall()
            # ShareGPT cannot mask a message, so it takes fewer; nothing is in a shard of one format twice.
            (_, few, distinct), trl = in_shards
            assert trl == ("trl_sft", status["accepted"], status["accepted"])
            assert 0 < few == distinct <= status["accepted"]
            checked = live.check_shards()
            assert (checked.checked, checked.bad) == (few + status["accepted"], [])
            assert not live.run_until_idle().busy
        # A reply that had arrived before the kill was on disk; only what was in flight is asked again.
        asked = Counter(repr((body["model"], body["messages"], body["temperature"])) for body in server.bodies)
        again = sum(count - 1 for count in asked.values())
        assert again <= KILLS * 2, "two calls in flight at each kill"
        assert status["llm_calls"] == len(asked)


# --- --app and evaluators -----------------------------------------------------------------------------------------

APP = """
from agenther_live import Live

def always_wrong(trajectory):
    return False

live = Live({home!r}, evaluators=[always_wrong], relabeler="template", judges=["rules"], held_out=0.0)
other = "a text"
"""


@pytest.fixture
def app_folder(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    package = tmp_path / "service"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "agents.py").write_text(APP.format(home=str(home)))
    (package / "broken.py").write_text("import json\n\nraise ValueError('no database url')\n")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.split(".")[0] == "service"]:
        del sys.modules[name]


def test_app_brings_evaluators_and_a_worker_without_them_refuses(home: Path, app_folder: Path) -> None:
    def always_wrong(trajectory: Any) -> bool:
        return False

    with Live(home, evaluators=[always_wrong]) as live:
        tell(live.attach(answering()), thread="t")
    for verb in ("tick", "worker"):
        refused = run_cli(verb, "--home", home, "--relabeler", "template", "--judge", "rules")
        assert refused.code == 2
        assert "always_wrong" in refused.err
        assert "--app pkg.mod:live" in refused.err
    done = run_cli("tick", "--until-idle", "--app", "service.agents:live", "--json")
    assert done.json["evaluated"] == 1
    assert run_cli("status", "--home", home, "--json").json["failed"] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--app", "service.agents:other"], "is a str, not a Live"),
        (["--app", "service.agents:none"], "has no attribute 'none'"),
        (["--app", "service.nowhere:live"], "No module named 'service.nowhere'"),
        (["--app", ":live"], "--app :live"),
        (["--app", "service.broken:live"], "ValueError: no database url"),
        (["--app", "service.agents:live", "--home", "elsewhere"], "works on home"),
        (["--app", "service.agents:live", "--judge", "rules"], "--judge: with --app"),
    ],
)
def test_an_app_that_is_none_is_a_users_mistake(app_folder: Path, arguments: list[str], words: str) -> None:
    done = run_cli("tick", *arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert "Traceback" not in done.err
    if "broken" in arguments[1]:
        assert "broken.py, line 3" in done.err
