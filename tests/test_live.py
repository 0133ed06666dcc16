"""`Live` as users hold it: attach, feedback, evaluators, the worker's thread, and a home that cannot be used."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from agenther_live import Live, Outcome, Trajectory, polarity
from agenther_live.buffer.upkeep.tombstones import Tombs
from agenther_live.clock import utcnow
from agenther_live.errors import GraphError, HomeError, SettingsError, UsageError, WorkerRunning
from agenther_live.evaluate import evaluator
from agenther_live.facts import current_trajectory
from agenther_live.home import Home
from agenther_live.journal import Reader
from tests import forking
from tests.openai_server import OpenAIServer, say
from tests.relabel.build import says, trajectory, user
from tests.whole import TEMPLATE, answering, failed_orders, good_reply, outcomes, until
from tests.whole import say as tell

ROOT = Path(__file__).resolve().parent.parent


def test_a_block_that_ends_in_another_context_harms_nobody(tmp_path: Path) -> None:
    """As a generator does that is closed elsewhere than it was begun."""
    block = Live(tmp_path).trajectory()
    copy_context().run(block.__enter__)
    copy_context().run(block.__exit__, None, None, None)
    assert current_trajectory.get() is None


# --- feedback -----------------------------------------------------------------------------------------------------


def test_a_hook_meets_the_words_of_feedback_and_not_what_holds_it_together(tmp_path: Path) -> None:
    with Live(tmp_path, redact=str.upper) as live:
        live.feedback(thread_id="t-1", success=False, comment="no good")
        live.feedback(run_id="job-17", success=False)
    said = [record for record in Reader(live.home.journal).read({}).loose if record["k"] == "feedback"]
    assert [(one.get("thread_id"), one.get("run_id"), one["comment"]) for one in said] == [
        ("T-1", None, "NO GOOD"), (None, "job-17", None),
    ]  # fmt: skip


def test_feedback_binds_before_during_and_after_by_every_id(home: Path) -> None:
    """By thread it is about what began before it was said: said before the run, it is about no run."""
    runs = {when: uuid4() for when in ("before", "during", "after")}
    with Live(home, held_out=0.0) as live:
        during: list[Callable[[], Any]] = []
        agent = live.attach(answering(lambda state: during[-1]()))

        def say_so(**target: Any) -> None:
            live.feedback(success=False, reason="no good", **target)

        for when in ("before", "during", "after"):
            for way in ("thread", "run", "trajectory"):
                thread = f"{when} by {way}"
                config: dict[str, Any] = {"run_id": runs[when]} if way == "run" else {}
                with live.trajectory() as handle:
                    target = {
                        "thread": {"thread_id": thread},
                        "run": {"run_id": str(runs[when])},
                        "trajectory": {"trajectory_id": handle.trajectory_id},
                    }[way]
                    during.append(partial(say_so, **target) if when == "during" else lambda: None)
                    if when == "before":
                        say_so(**target)
                        time.sleep(0.005)
                    tell(agent, thread=thread, **config)
                    if when == "after":
                        say_so(**target)
        live.run_until_idle()
        found = outcomes(live)
        unbound = live.buffer.sql("select thread_id from feedback where trajectory_id is null").fetchall()
    said = ("failure", "person")
    assert found == dict.fromkeys(found, said) | {"before by thread": ("unknown", None)}
    assert len(found) == 9
    assert unbound == [("before by thread",)]


def test_feedback_by_thread_binds_though_the_clock_was_set_back(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To a time before either turn, and to one between them."""
    with Live(home) as live:
        agent, clock = live.attach(answering()), time.time
        for thread, back in (("one", 3600.0), ("two", 5.0)):
            tell(agent, thread=thread)
            with monkeypatch.context() as later:
                later.setattr(time, "time", lambda: clock() + 10)
                tell(agent, thread=thread)
            with monkeypatch.context() as earlier:
                earlier.setattr(time, "time", lambda back=back: clock() - back)
                live.feedback(thread_id=thread, success=True)
        live.run_until_idle()
        turns = live.buffer.sql("select outcome from trajectories order by thread_id, started_at").fetchall()
        assert turns == [("unknown",), ("success",)] * 2


def test_feedback_by_thread_is_about_the_latest_turn(home: Path) -> None:
    with Live(home) as live:
        agent = live.attach(answering())
        tell(agent, "first", thread="t")
        tell(agent, "second", thread="t")
        live.feedback(thread_id="t", success=True)
        time.sleep(0.005)
        tell(agent, "third", thread="t")
        live.run_until_idle()
        assert live.buffer.sql("select goal, outcome from trajectories order by started_at").fetchall() == [
            ("first", "unknown"),
            ("second", "success"),
            ("third", "unknown"),
        ]


def test_the_latest_word_of_a_person_counts_and_a_score_needs_the_threshold(home: Path) -> None:
    with Live(home, success_threshold=0.7) as live:
        agent = live.attach(answering())
        for thread in ("turned", "low", "high", "scored"):
            tell(agent, thread=thread)
        live.feedback(thread_id="turned", success=True)
        live.feedback(thread_id="turned", success=False, comment="on second thought", key="quality", value="poor")
        live.feedback(thread_id="low", score=0.69)
        live.feedback(thread_id="high", score=0.7)
        live.feedback(thread_id="scored", score=1, source="reward")
        live.run_until_idle()
        assert outcomes(live) == {
            "turned": ("failure", "person"),
            "low": ("failure", "person"),
            "high": ("success", "person"),
            "scored": ("success", "reward"),
        }
        rows = live.buffer.sql("select key, value, comment from feedback where key = 'quality'").fetchall()
        assert rows == [("quality", "poor", "on second thought")]
        live.feedback(thread_id="turned", success=True, reason="it was fine")  # long after it was judged
        live.run_until_idle()
        assert outcomes(live)["turned"] == ("success", "person")


@pytest.mark.parametrize(
    ("given", "says_what"),
    [
        ({"success": True}, "exactly one of"),
        ({"success": True, "thread_id": "t", "run_id": "r"}, "exactly one of"),
        ({"thread_id": "t"}, "success, score or value"),
        ({"thread_id": "t", "success": "no"}, "True or False"),
        ({"thread_id": "t", "score": float("nan")}, "finite"),
        ({"thread_id": "t", "score": "0.5"}, "finite"),
        ({"thread_id": "t", "success": True, "source": "robot"}, "one of person, reward, evaluator"),
    ],
)
def test_feedback_that_says_nothing_is_refused(tmp_path: Path, given: dict[str, Any], says_what: str) -> None:
    with Live(tmp_path / "h") as live, pytest.raises(UsageError, match=says_what):
        live.feedback(**given)


def test_a_trajectory_handle_spans_runs(home: Path) -> None:
    with Live(home) as live:
        agent = live.attach(answering())
        with live.trajectory(goal="both halves") as good:
            tell(agent, "one half")
            asyncio.run(agent.ainvoke({"messages": [("user", "the other")]}))
        good.success("as asked")
        with live.trajectory() as bad:
            tell(agent, "something")
        bad.failure("wrong")
        with live.trajectory() as paid:
            tell(agent, "something paid")
            paid.reward(0.25, comment="a quarter")
        tell(agent, "alone")
        live.run_until_idle()
        rows = live.buffer.sql("select trajectory_id, goal, n_runs, outcome, reward from trajectories").fetchall()
    found = {row[0]: row[1:] for row in rows}
    assert len(found) == 4
    assert found[good.trajectory_id] == ("both halves", 2, "success", None)
    assert found[bad.trajectory_id] == ("something", 1, "failure", None)
    assert found[paid.trajectory_id] == ("something paid", 1, "failure", 0.25)


# --- evaluators ---------------------------------------------------------------------------------------------------


class _Numpy(float):
    __module__ = "numpy"

    def item(self) -> float:
        return float(self)


WRONG_ANSWER = "an evaluator answers with bool, float, Outcome, None or a mapping"


async def _later(trajectory: Trajectory) -> bool:
    await asyncio.sleep(0)
    return False


@pytest.mark.parametrize(
    ("function", "facts"),
    [
        (lambda t: True, {"success": True}),
        (lambda t: False, {"success": False}),
        (lambda t: 0.5, {"score": 0.5}),
        (lambda t: _Numpy(0.5), {"score": 0.5}),
        (lambda t: 1, {"score": 1.0}),
        (lambda t: Outcome(label="failure", reward=0.1, reason="why"),
         {"success": False, "score": 0.1, "comment": "why"}),
        (lambda t: Outcome(), {"success": None, "score": None}),
        (lambda t: None, {"success": None, "score": None, "value": "no opinion"}),
        (lambda t: {"key": "tone", "score": 0.3, "comment": "rude"}, {"key": "tone", "score": 0.3, "comment": "rude"}),
        (lambda t: {"key": "tone", "score": True}, {"key": "tone", "success": True}),
        (_later, {"success": False, "key": "_later"}),
        (lambda t: "yes", {"success": None, "value": "error", "comment": f"TypeError: {WRONG_ANSWER}, not str"}),
        (lambda t: 1 / 0, {"success": None, "value": "error", "comment": "ZeroDivisionError: division by zero"}),
    ],
)  # fmt: skip
def test_what_an_evaluator_answers_becomes_evidence(function: Any, facts: dict[str, Any]) -> None:
    given = trajectory([user("do it"), says("done")])
    evidence = evaluator(function).evidence(given, now=utcnow())
    assert {name: getattr(evidence, name) for name in facts} == facts
    assert evidence.source == "evaluator"
    assert evidence.trajectory_id == given.trajectory_id


def test_evaluators_judge_in_the_worker_and_one_that_raises_harms_nobody(home: Path) -> None:
    seen: list[tuple[Any, Any, Any, int]] = []

    def shape(*, inputs: Any, outputs: Any, reference_outputs: Any) -> dict[str, Any]:
        seen.append((inputs, outputs, reference_outputs, threading.get_ident()))
        return {"key": "shape", "score": 0.8, "comment": "fine"}

    def broken(trajectory: Trajectory) -> bool:
        raise RuntimeError("the evaluator's own fault")

    with Live(home, evaluators=[shape, broken], success_threshold=0.75, tick_seconds=0.05) as live:
        agent = live.attach(answering())
        tell(agent, "be nice", thread="t")
        live.start()
        until(lambda: seen and outcomes(live)["t"][0] == "success")
        live.stop()
        rows = live.buffer.sql("select key, score, value, comment from feedback order by key").fetchall()
    assert outcomes(live)["t"] == ("success", "evaluator")
    assert rows == [
        ("broken", None, "error", "RuntimeError: the evaluator's own fault"),
        ("shape", 0.8, None, "fine"),
    ]
    ((inputs, outputs, reference, thread),) = seen  # once a revision
    assert inputs == {"messages": [{"role": "user", "content": "be nice"}]}
    assert [message["role"] for message in outputs] == ["user", "assistant"]
    assert reference is None
    assert thread != threading.get_ident()


def test_evaluators_of_one_agent_and_evaluators_of_one_name(home: Path) -> None:
    with Live(home, evaluators=[lambda t: {"key": "a", "score": 1.0}, lambda t: {"key": "b", "score": 1.0}]) as live:
        one = live.attach(answering(name="one"), evaluators=[lambda t: {"key": "only one", "score": 1.0}])
        two = live.attach(answering(name="two"))
        unnamed = live.attach(answering(), evaluators=[partial(_scored, key="unnamed")])
        for agent, thread in ((one, "1"), (two, "2"), (unnamed, "3")):
            tell(agent, thread=thread)
        live.run_until_idle()
        rows = live.buffer.sql(
            "select agent, list(key order by key) from feedback join trajectories using (trajectory_id) group by all"
        ).fetchall()
        assert dict(rows) == {"one": ["a", "b", "only one"], "two": ["a", "b"], "agent": ["a", "b", "unnamed"]}
        live.check_evaluators()
    with Live(home) as other, pytest.raises(SettingsError, match=r"<lambda>, <lambda>-2.*_scored.*--app"):
        other.check_evaluators()
    (home / "evaluators.json").write_text("{")  # a file that cannot be read names nobody
    with Live(home) as other:
        other.check_evaluators()


def _scored(trajectory: Trajectory, key: str) -> dict[str, Any]:
    return {"key": key, "score": 1.0}


# --- the worker's thread ------------------------------------------------------------------------------------------


def test_one_worker_a_home_and_the_second_start_is_passive(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "agenther_live")
    with Live(home, tick_seconds=0.1, **TEMPLATE) as one, Live(home, **TEMPLATE) as two:
        assert one.start()
        assert one.start(), "started already"
        caplog.clear()
        assert not two.start()
        assert [record.getMessage() for record in caplog.records] == [
            f"home {home} has a worker already (pid {os.getpid()}); one worker serves a home; this one stays passive"
        ]
        with pytest.raises(WorkerRunning, match=str(os.getpid())):
            two.run_until_idle()
        with pytest.raises(WorkerRunning):
            two.tick()
        # Both capture, and the one worker takes in what both wrote, also by `run_until_idle` beside its thread.
        for live in (one, two):
            agent = live.attach(answering())
            for n in range(5):
                tell(agent, thread=f"{id(live)}-{n}")
        one.run_until_idle()
        assert one.status()["captured"] == 10
        one.stop()
        assert two.start()
        two.stop()
        # What was stopped can work again.
        tell(one.attach(answering()), thread="later")
        one.run_until_idle()
        assert one.status()["captured"] == 11


def test_start_ticks_by_itself(home: Path) -> None:
    goods = failed_orders(2)
    with Live(home, evaluators=[goods.judge], tick_seconds=0.1, shard_seconds=0, **TEMPLATE) as live:
        assert live.start()
        goods.work(live)
        until(lambda: (now := live.status())["shards"] >= 2 and now["captured"] == 2 and now["last_tick_at"])
        status = live.status()
        with pytest.raises(WorkerRunning, match="stop"):  # it would go on in the old buffer
            live.migrate("postgresql://nowhere/x")
    assert (status["captured"], status["failed"]) == (2, 2)
    assert status["paused_reason"] is None
    assert status["last_tick_at"] > "2020"
    live.close()
    live.close()


def test_run_until_idle_below_a_running_event_loop(home: Path) -> None:
    """As in a notebook, or from an async caller."""
    goods = failed_orders(1)

    async def main() -> int:
        async def judge(found: Trajectory) -> bool:
            return goods.judge(found)

        with Live(home, evaluators=[judge], **TEMPLATE) as live:
            agent = live.attach(goods.agents[0])
            await agent.ainvoke(
                {"messages": [("user", goods.tasks[0].goal)]},
                {"configurable": {"thread_id": goods.tasks[0].task_id}},
            )
            live.run_until_idle()
            return int(live.status()["accepted"])

    assert asyncio.run(main()) == 1


def test_failures_that_came_before_there_was_a_relabeler_are_relabeled_once_there_is_one(home: Path) -> None:
    goods = failed_orders(1)
    models = {"relabeler": None, "judges": []}
    reasons = []
    for more in ({}, {"relabeler": "template"}, {"relabeler": "template", "judges": ["rules"]}):
        with Live(home, evaluators=[goods.judge], **(TEMPLATE | models | more)) as live:
            if not reasons:
                goods.work(live)
            live.run_until_idle()
            reasons.append(live.buffer.funnel()[-1]["n"] or [step["dropped"] for step in live.buffer.funnel()][3])
    assert reasons == [{"no_relabeler": 1}, {"no_judges": 1}, 1]


def test_callback_handler_instead_of_attach(home: Path) -> None:
    with Live(home) as live:
        agent = answering(name="loose")
        handler = live.callback_handler
        agent.invoke({"messages": [("user", "one")]}, {"callbacks": [handler]})
        asyncio.run(agent.ainvoke({"messages": [("user", "two")]}, {"callbacks": [handler]}))
        live.attach(agent).invoke({"messages": [("user", "three")]}, {"callbacks": [handler]})
        live.run_until_idle()
        rows = live.buffer.sql("select agent, goal from trajectories order by started_at").fetchall()
    assert rows == [("loose", "one"), ("loose", "two"), ("loose", "three")]


def test_a_graph_that_is_not_compiled_is_refused(tmp_path: Path) -> None:
    with Live(tmp_path / "h") as live, pytest.raises(GraphError, match="compile"):
        live.attach(answering().builder)


# --- off, or not usable -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["argument", "environment"])
def test_enabled_false_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    if how == "environment":
        monkeypatch.setenv("AGENTHER_ENABLED", "false")
    with Live(tmp_path / "h", evaluators=[lambda t: True], **({"enabled": False} if how == "argument" else {})) as live:
        graph = answering()
        assert live.attach(graph) is graph
        tell(graph, thread="t", callbacks=[live.callback_handler])
        with live.trajectory() as handle:
            handle.success()
        live.feedback(thread_id="t", success=True)
        live.instrument()
        assert not live.start()
        assert not live.run_until_idle().busy
        assert not live.tick().busy
    assert not (tmp_path / "h").exists()


def test_an_unwritable_home_is_one_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "a file"
    file.write_text("")
    with Live(file / "below", evaluators=[lambda t: True]) as live:
        agent = live.attach(answering())
        assert tell(agent, thread="t")["messages"][-1].content == "done"
        live.feedback(thread_id="t", success=True)
        assert not live.start()
        assert not live.run_until_idle().busy
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == f"home {file / 'below'} cannot be written: {file} is not a directory; nothing will be recorded"
    with pytest.raises(HomeError, match="below cannot be written"):
        live.buffer.sql("select 1")
    with pytest.raises(HomeError, match="below cannot be written"):
        Live(file / "below", strict=True)


def test_a_home_with_a_damaged_key_cannot_be_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "redact.key").write_text("short")
    with Live(tmp_path) as live:
        tell(live.attach(answering()))
    assert ["damaged" in record.getMessage() for record in caplog.records] == [True]
    with pytest.raises(HomeError, match="damaged"):
        Live(tmp_path, strict=True)


def test_a_home_stays_where_it_was_when_the_process_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Live("~/mine").home.path == tmp_path / "mine"
    with Live("here") as live:
        agent = live.attach(answering())
        monkeypatch.chdir(tmp_path / "elsewhere")
        tell(agent)
        live.buffer.create()
        assert Tombs(live.settings).key_id == Tombs(Live(tmp_path / "here").settings).key_id
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == [
        "buffer.duckdb", "journal", "redact.key", "replies", "shards",
    ]  # fmt: skip
    assert not list((tmp_path / "elsewhere").iterdir())


def test_agents_that_begin_at_once_make_one_home_and_are_all_noted(tmp_path: Path) -> None:
    """In every container there is a pid 1, so that threads of one process are as like as theirs."""
    homes = [Home(tmp_path / f"home-{n}") for n in range(20)]
    together = threading.Barrier(4)

    def begin(name: str) -> None:
        for home in homes:
            together.wait()
            home.create()
            home.require(name)
            polarity.declare(home, name, {"handoff": "success"})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(begin, "abcd"))
    for home in homes:
        assert home.required() == set("abcd")
        assert [each.agent for each in polarity.declared(home, Live(tmp_path).settings)] == list("abcd")


def test_an_id_that_was_redacted_is_found_where_capture_is_off(home: Path) -> None:
    live = Live(home, pii="redact")
    thread = live._redactor.text("ann@example.com")
    live.buffer.add_trajectories([(Trajectory(trajectory_id="t-1", thread_id=thread), ())])
    off = Live(home, pii="redact", enabled=False)
    assert off.delete(thread_id="ann@example.com", dry_run=True).trajectories == 1


# --- what is left behind ------------------------------------------------------------------------------------------


def test_a_home_is_for_its_owner_only(tmp_path: Path) -> None:
    goods = failed_orders(2)
    umask = os.umask(0)
    try:
        with OpenAIServer(lambda request: say(good_reply(request))) as server:
            models = {"relabeler": f"openai:gpt-4o-mini,base_url={server.base_url}", "judges": ["rules"]}
            with Live(tmp_path / "h", evaluators=[goods.judge], **(TEMPLATE | models)) as live:
                goods.work(live)
                live.run_until_idle()
                (sample,) = live.buffer.sql("select sample_id from samples limit 1").fetchall()
                live.retract(where=f"sample_id = '{sample[0]}'", reason="a test")
                live.run_until_idle()
    finally:
        os.umask(umask)
    assert live.status()["llm_calls"] >= 2
    found = {path: path.stat() for path in [tmp_path / "h", *(tmp_path / "h").rglob("*")]}
    names = {path.name for path in found}
    assert {"buffer.duckdb", "worker.json", "worker.lock", "evaluators.json", "redact.key", "marker.key"} <= names
    assert {"manifest.jsonl", "retractions.jsonl", "README.md"} <= names
    wrong = {
        str(path): stat.filemode(found[path].st_mode)
        for path in found
        if stat.S_IMODE(found[path].st_mode) != (0o700 if path.is_dir() else 0o600)
    }
    assert not wrong


def script(folder: Path, text: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    path = folder / "service.py"
    path.write_text(textwrap.dedent(text))
    return subprocess.run(
        [sys.executable, str(path), *map(str, arguments)],
        capture_output=True, text=True, timeout=60, check=False, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)} | environment,
    )  # fmt: skip


def test_exit_without_close_loses_nothing_and_does_not_wait_for_models(home: Path, tmp_path: Path) -> None:
    with OpenAIServer(lambda request: say(good_reply(request), delay_seconds=30)) as server:
        done = script(
            tmp_path,
            """
            import sys, time
            from agenther_live import Live
            from tests.whole import TEMPLATE, answering, say, shop

            goods = shop(60)
            models = TEMPLATE | {"relabeler": sys.argv[2]}
            live = Live(sys.argv[1], evaluators=[goods.judge], tick_seconds=0.05, **models)
            goods.work(live, [task for task in goods.tasks if task.task_id == sys.argv[3]])
            live.start()
            while not live._scheduler or not live.parts.replies._in_flight:
                time.sleep(0.02)
            say(live.attach(answering()), thread="last")
            live.feedback(thread_id="last", success=True)
            print(time.time(), flush=True)
            """,
            home,
            f"openai:gpt-4o-mini,base_url={server.base_url}",
            failed_orders(1).tasks[0].task_id,
        )
        ended = time.time()
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert ended - float(done.stdout) < 25  # the model would take 30 s
    with Live(home, **TEMPLATE) as live:
        live.run_until_idle()
        assert outcomes(live)["last"] == ("success", "person")
        assert live.status()["captured"] == 2


def _serve_with_children(home: str, told: str) -> None:
    """A service that forks as gunicorn does with preloading: attached before, started behind it, one child killed."""
    out = os.open(told, os.O_WRONLY | os.O_CREAT)
    live = Live(home, tick_seconds=0.05, **TEMPLATE)
    agent = live.attach(answering())
    tell(agent, thread="parent")
    first = Live(home, tick_seconds=60, **TEMPLATE)
    assert first.start()  # against all advice
    until(lambda: first.status()["last_tick_at"])
    children, (read, write) = [], os.pipe()
    for n in range(3):
        if n == 1:
            first.stop()
        pid = os.fork()
        if not pid:
            assert first._scheduler is None
            os.write(write, b"%d" % live.start())
            for turn in range(3):
                tell(agent, thread=f"child-{n}-{turn}")
            if n == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(1.0)
            forking.exit_interpreter(0)
        children.append(pid)
        os.write(out, os.read(read, 1))  # each has said whether it works before the next one asks
    left = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    os.write(out, f" {left}".encode())
    tell(agent, thread="parent again")
    forking.exit_interpreter(0)


def test_forked_children_record_and_one_of_them_works(home: Path, tmp_path: Path) -> None:
    assert forking.run(_serve_with_children, str(home), str(tmp_path / "told")) == 0
    # The first child met its parent's worker, the second one became the worker, the third one met that.
    assert (tmp_path / "told").read_text() == "010 [0, 0, -9]"
    with Live(home, **TEMPLATE) as live:
        live.run_until_idle()
        found = live.buffer.sql("select thread_id, status, count(*) from trajectories group by all").fetchall()
    threads = ["parent", "parent again", *(f"child-{n}-{turn}" for n in range(3) for turn in range(3))]
    assert sorted(found) == sorted((thread, "finished", 1) for thread in threads)
