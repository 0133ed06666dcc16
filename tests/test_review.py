"""Trust, whole: canaries in a worker's tick, a panel that drifts, disputed outcomes, and a person at a terminal."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from agenther_live import Live
from agenther_live.buffer.people import trust
from agenther_live.clock import utcnow
from agenther_live.errors import UsageError
from agenther_live.labels import Canary, Relabeling, Verdict
from agenther_live.relabel.models import Candidate, Case, Proposal, Requirement
from agenther_live.review import Session, queue
from agenther_live.trust import before_emission, cheapest_first
from tests.relabel.world import TOOLS, TRUE_GOAL, bought
from tests.whole import AGENTHER, run_cli

Rows = list[dict[str, Any]]


class House:
    """A judge of a user's own."""

    def __init__(self, answer: Callable[[str], bool] = lambda goal: goal == TRUE_GOAL, name: str = "house") -> None:
        self.answer, self.name = answer, name

    async def judge(self, case: Case, candidate: Candidate) -> Verdict:
        return Verdict(judge=self.name, is_valid=self.answer(candidate.goal), confidence=0.8, prompt_version="own-1")


class Author:
    """A relabeler of a user's own: it proposes one goal."""

    name = "author"

    def __init__(self, goal: Callable[[Case], str] = lambda case: TRUE_GOAL) -> None:
        self.goal = goal

    async def propose(self, case: Case, attempt: int, refused: Sequence[tuple[str, str]]) -> Proposal:
        results = sorted(case.view.observation_indices)
        proof = (Requirement("40 hex bolts are ordered for Lyon", tuple(results)),)
        answer = "I ordered 40 hex bolts from Bolt & Co for 124.00 EUR."
        return Proposal(self.goal(case), 0.9, True, results[-1] + 1, proof, answer, method=self.name)


def take_in(live: Live, path: Path, n: int, *, first: int = 0, note: str = "") -> None:
    with path.open("w") as file:
        for number in range(first, first + n):
            messages = [message.wire() for message in bought(trajectory_id=f"run-{number}", note=note).messages]
            record = {"source": "procurement", "raw_id": number, "messages": messages, "tools": TOOLS}
            file.write(json.dumps(record | {"outcome": {"success": False, "reward": 0.0}}) + "\n")
    report = live.import_transcripts(path)
    assert (report.imported, list(report.refused)) == (n, [])


@contextmanager
def working(home: Path, judges: Sequence[Any], author: Author | None = None, **more: Any) -> Iterator[Live]:
    given = {"held_out": 0.0, "outcome_settle_seconds": 0.0, "formats": ["trl_sft"], "shard_seconds": 0.0} | more
    with Live(home, relabeler=author or Author(), judges=judges, strict=True, **given) as live, live.buffer.hold():
        yield live  # the file stays open over a test: opening it is most of what a small test costs


def sql(live: Live, query: str) -> Rows:
    return live.buffer.sql(query).dicts()


def keys(live: Live, typed: str, kind: Any = None, **more: Any) -> tuple[dict[str, int], str]:
    """A session in which a person types this; what it did, and what was shown."""
    told = Console(file=io.StringIO(), width=100)
    waiting = iter(typed)

    def show(what: RenderableType) -> None:
        told.print(what)

    def key() -> str:
        typed = next(waiting, None)
        if typed is None:
            raise EOFError
        return typed

    found = Session(live.buffer, queue(live.buffer, kind), show, key, **more).run()
    assert isinstance(told.file, io.StringIO)
    return dict(found), told.file.getvalue()


# --- canaries in the tick ---------------------------------------------------------------------------------------------


def test_a_share_of_judged_items_is_known_to_be_bad(home: Path, tmp_path: Path) -> None:
    with working(home, ["rules", House(), House(lambda goal: True, "yes-man")], canary_share=0.25) as live:
        take_in(live, tmp_path / "runs.jsonl", 8)
        live.run_until_idle()
        rows = sql(live, "select * from canaries order by canary_id, judge")
        assert {row["judge"] for row in rows} == {"house", "yes-man"}
        assert len({row["canary_id"] for row in rows}) == 2, "a quarter of 8"
        assert all(row["accepted"] == (row["judge"] == "yes-man") for row in rows)
        assert all(row["prompt_version"] == "own-1" for row in rows)
        goals = {row["goal"] for row in rows}
        assert not goals & {row["goal"] for row in sql(live, "select goal from replay")}, "never a sample"
        assert live.status()["canaries"] == 2
        health = {row["judge"]: row for row in sql(live, "select * from panel_health")}
        proven = len([row for row in rows if row["proven"]]) // 2
        assert (health["house"]["canaries"], health["house"]["accepted"], health["house"]["p"]) == (proven, 0, None)
        assert health["yes-man"]["accepted"] == proven
        live.run_until_idle()
        assert len(sql(live, "select * from canaries")) == 4, "ticks that relabel nothing ask nothing"


# --- a panel that drifts ----------------------------------------------------------------------------------------------


def answered(live: Live, accepted: Sequence[bool], *, since: timedelta = timedelta()) -> None:
    """Canaries that the judge `house` answered, one a second."""
    begin = utcnow() - since
    made = [
        Canary(
            canary_id=f"{begin}-{index}",
            trajectory_id="t",
            kind="foreign",
            goal="g",
            proven=True,
            theta=0.5,
            verdicts=(Verdict(judge="house", is_valid=yes, confidence=0.8, prompt_version="own-1"),),
        )
        for index, yes in enumerate(accepted)
    ]
    with live.buffer.writing() as tx:  # the last one alone as a relabeling brings it: then the judge is looked at
        at = [begin + timedelta(seconds=index) for index in range(len(made))]
        rows = [row for one, when in zip(made[:-1], at, strict=False) for row in trust.rows(one, when)]
        tx.insert(trust.canaries, [column.name for column in trust.canaries.columns], rows)
        last = Relabeling(trajectory_id="t", stage="rejected", reason="x", canaries=(made[-1],))
        trust.put_canaries(tx, [last], now=at[-1])


def test_a_panel_that_drifts_stops_emission_until_a_person_clears_it(home: Path, tmp_path: Path) -> None:
    with working(home, ["rules", House()], canary_share=0.01) as live:
        take_in(live, tmp_path / "early.jsonl", 1, note="early")
        live.run_until_idle()
        [early] = sql(live, "select sample_id, state from samples")
        assert early["state"] == "emitted"

        answered(live, [False] * 300, since=timedelta(hours=2))
        assert sql(live, "select drifting, p from panel_health") == [{"drifting": False, "p": 1.0}]
        answered(live, [True] * 50, since=timedelta(hours=1))
        [health] = sql(live, "select * from panel_health")
        assert health["drifting"]
        assert (health["baseline"], health["baseline_accepted"]) == (200, 0)
        assert (health["latest"], health["latest_accepted"]) == (100, 50)
        assert health["p"] < 1e-10
        assert (
            sql(live, "select kind from to_review where sample_id = '" + early["sample_id"] + "'")[0]["kind"] == "held"
        )

        take_in(live, tmp_path / "late.jsonl", 1, first=1, note="late")
        report = live.run_until_idle()
        assert report.paused is not None
        assert "house accepted 50 of the last 100 known-bad goals" in report.paused
        status = run_cli("status", "--home", home, "--json").json
        assert status["paused_reason"] == report.paused
        assert (status["held"], status["drifting_judges"]) == (2, "house")
        assert {row["state"] for row in sql(live, "select state from samples")} == {"emitted", "pending"}
        assert len(live.buffer.sample(10)) == 0, "nobody draws what is held"
        assert live.buffer.pending("trl_sft", 10) == []

        # Another panel does not wait for a judge that it does not ask.
        assert before_emission(live.buffer, [House(name="other")], now=utcnow()) is None

        assert "50 of 100" in run_cli("trust", "show", "--home", home).out
        assert run_cli("trust", "clear", "--home", home, "--judge", "nobody").code == 1
        done = run_cli("trust", "clear", "--home", home, "--judge", "house", "--json").json
        assert [one.split()[0] for one in done["cleared"]] == ["house"]
        assert live.tick().paused is None
        assert live.status()["held"] == 2, "what is held waits for a person still"

        accepted = queue(live.buffer, "held")[0].sample_id
        found, shown = keys(live, "ar", "held")
        assert found.pop("retracted", 0) + found.pop("withdrawn", 0) == 1
        assert found == {"accept": 1, "reject": 1, "released": 1}
        assert "house" not in shown, "who judged is not shown"
        live.run_until_idle()
        states = {row["sample_id"]: row["state"] for row in sql(live, "select sample_id, state from samples")}
        assert states.pop(accepted) == "emitted"
        assert set(states.values()) <= {"withdrawn", "retracted"}
        answered(live, [True] * 99)
        with live.buffer.reading() as tx:
            assert trust.drifts(tx) == [], "its series began anew"


# --- disputed outcomes ------------------------------------------------------------------------------------------------


def test_a_failed_goal_that_the_panel_accepts_is_for_a_person(home: Path, tmp_path: Path) -> None:
    asked = {"Heat": "Who directed the film Heat?", "Alien": "Who directed the film Alien?"}
    with (tmp_path / "films.jsonl").open("w") as file:
        for number, (film, goal) in enumerate(asked.items()):
            call = {"name": "search_films", "arguments": json.dumps({"title": film})}
            messages: Rows = [
                {"role": "user", "content": goal},
                {"role": "assistant", "content": "", "tool_calls": [{"id": "1", "type": "function", "function": call}]},
                {"role": "tool", "tool_call_id": "1", "content": json.dumps({"film": film, "director": "A. Body"})},
                {"role": "assistant", "content": "A. Body"},
            ]
            record = {"source": "films", "raw_id": number, "messages": messages}
            file.write(json.dumps(record | {"outcome": {"success": False, "reward": 0.0}}) + "\n")
    with working(home, ["rules", House(lambda goal: True)], Author(lambda case: case.trajectory.goal)) as live:
        live.import_transcripts(tmp_path / "films.jsonl")
        live.run_until_idle()
        rows = sql(live, "select outcome, outcome_source, stage from trajectories")
        assert rows == [{"outcome": "unknown", "outcome_source": "judge", "stage": "passed"}] * 2
        listed = sql(live, "select kind, sample_id, reason from to_review")
        assert {(row["kind"], row["sample_id"]) for row in listed} == {("disputed", None)}
        assert {row["reason"] for row in listed} == {"in dispute: house: the failed goal was met, word for word"}
        assert live.status()["disputed"] == 2
        found = sql(live, "select distinct source, key, success from feedback where key = 'dispute'")
        assert found == [{"source": "judge", "key": "dispute", "success": None}]

        first = queue(live.buffer, None)[0].trajectory_id
        done, shown = keys(live, "ar")
        assert done == {"accept": 1, "reject": 1, "settled": 2}
        assert all(goal in shown for goal in asked.values())
        assert "house" not in shown
        live.run_until_idle()
        rows = sql(live, "select trajectory_id, outcome, outcome_source, stage from trajectories")
        by_id = {row.pop("trajectory_id"): row for row in rows}
        assert by_id.pop(first) == {"outcome": "success", "outcome_source": "person", "stage": "passed"}
        assert [*by_id.values()] == [{"outcome": "failure", "outcome_source": "person", "stage": "rejected"}]
        assert sql(live, "select * from to_review where kind = 'disputed'") == []
        assert len(sql(live, "select * from canaries")) == 2, "after a person's word there is nothing to ask"


# --- a person ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory, empty_home: Path) -> Path:
    """A home with five accepted samples."""
    import shutil

    folder = tmp_path_factory.mktemp("review")
    shutil.copytree(empty_home, folder / "home")
    with working(folder / "home", ["rules", House(lambda goal: True)], canary_share=0.0) as live:
        for number in range(5):
            take_in(live, folder / f"{number}.jsonl", 1, first=number, note=f"note {number}")
        live.run_until_idle()
        assert len(queue(live.buffer, "accepted")) == 5
        assert live.status()["canaries"] == 0
    return folder / "home"


@pytest.fixture
def five(reviewed: Path, tmp_path: Path) -> Path:
    import shutil

    shutil.copytree(reviewed, tmp_path / "five")
    return tmp_path / "five"


def test_a_session_is_resumed_where_it_was_left(five: Path) -> None:
    with Live(five, strict=True) as live, live.buffer.hold():
        order = [entry.sample_id for entry in queue(live.buffer, "accepted")]
        assert order == [entry.sample_id for entry in queue(live.buffer, "accepted", seed=0)]
        assert order != [entry.sample_id for entry in queue(live.buffer, "accepted", seed=1)]
        found, shown = keys(live, "xasr")  # an unknown key asks again; then the terminal goes away
        assert found == {"accept": 1, "reject": 1, "retracted": 1}
        assert "1 of 5" in shown
        assert "learned" in shown
        assert TRUE_GOAL in shown
        assert "You buy things." in shown
        assert "place_order" in shown
        assert "confidence" not in shown
        assert "house" not in shown
        labels = {row["sample_id"]: row["verdict"] for row in sql(live, "select * from labels")}
        assert labels == {order[0]: "accept", order[2]: "reject"}
        assert [entry.sample_id for entry in queue(live.buffer, "accepted")] == [order[1], *order[3:]]
        assert keys(live, "q", "accepted")[0] == {}
        assert keys(live, "aaa", "accepted", limit=2)[0] == {"accept": 2}
        assert run_cli("certify", "--precision", "0.97", "--home", five, "--json").json["errors"] == 1
        told = run_cli("certify", "--precision", "0.97", "--home", five, "--check")
        assert (told.code, told.out.strip()) == (1, "not certified, 196 more needed (4 labels, 1 rejected)")
        assert run_cli("certify", "--precision", "1.5", "--home", five).code == 2
        agreed = run_cli("trust", "agreement", "--home", five, "--json").json
        assert [row["raters"] for row in agreed] == [
            ["house", "rules"], ["house", "person"], ["rules", "person"], ["house", "rules", "person"]
        ]  # fmt: skip
        by_person = next(row for row in agreed if row["raters"] == ["house", "person"])
        [view] = sql(live, "select * from judge_agreement where judge = 'house' and other = 'person'")
        assert (by_person["units"], by_person["raw"]) == (4, 0.75) == (view["goals"], view["agreement"])
        assert by_person["ac1"] == pytest.approx(view["ac1"])
        assert by_person["alpha"] == pytest.approx(view["alpha"])


def test_undo_takes_the_last_label_back(five: Path) -> None:
    with Live(five, strict=True) as live, live.buffer.hold():
        found, shown = keys(live, "uruaruq")
        assert "nothing to undo" in shown
        assert found == {"accept": 1}
        assert [row["verdict"] for row in sql(live, "select * from labels")] == ["accept"]
        assert {row["state"] for row in sql(live, "select state from samples")} == {"emitted"}


def test_a_session_that_was_killed_takes_effect_by_the_worker(five: Path) -> None:
    def die() -> str:
        if len(typed) == 0:
            raise ZeroDivisionError
        return typed.pop(0)

    typed = ["r", "a"]
    with Live(five, strict=True, held_out=0.0) as live, live.buffer.hold():
        with pytest.raises(ZeroDivisionError):
            Session(live.buffer, queue(live.buffer, "accepted"), lambda what: None, die).run()
        assert {row["applied_at"] for row in sql(live, "select applied_at from labels")} == {None}
        live.tick()
        assert {row["state"] for row in sql(live, "select state from samples")} == {"emitted"}, "it may be undone yet"
        with live.buffer.writing() as tx:
            tx.connection.exec_driver_sql('UPDATE store.labels SET "at" = "at" - INTERVAL 1 HOUR')
        live.tick()
        states = [row["state"] for row in sql(live, "select state from samples")]
        assert sorted(states) == ["emitted"] * 4 + ["retracted"]
        assert (five / "shards" / "retractions.jsonl").read_text().count("rejected_by_person") == 1


def test_review_wants_a_terminal(five: Path) -> None:
    done = run_cli("review", "--home", five)
    assert done.code == 2
    assert "needs a terminal" in done.err
    assert len(run_cli("review", "--home", five, "--limit", "3", "--json").json) == 3
    assert run_cli("review", "--home", five, "--kind", "nonsense").code == 2


def _log_in(terminal: int) -> None:
    os.login_tty(terminal)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background job ignores it, and so its children


class Terminal:
    """A process at a real pseudo-terminal."""

    def __init__(self, *arguments: object) -> None:
        self.master, slave = pty.openpty()
        self.child = subprocess.Popen(
            [str(AGENTHER), *map(str, arguments)],
            stdin=slave, stdout=slave, stderr=slave, preexec_fn=lambda: _log_in(slave),
            env={**os.environ, "COLUMNS": "100", "LINES": "40", "TERM": "xterm", "NO_COLOR": "1"},
        )  # fmt: skip
        os.close(slave)
        self.text = ""

    def until(self, word: str) -> str:
        """Read until this word came; give what came."""
        deadline = time.monotonic() + 60
        while word not in self.text:
            assert time.monotonic() < deadline, f"{word!r} did not come: {self.text[-2000:]}"
            ready, _, _ = select.select([self.master], [], [], 0.2)
            if ready:
                try:
                    self.text += os.read(self.master, 65536).decode(errors="replace")
                except OSError:  # the other end is closed
                    assert word in self.text, self.text[-2000:]
        seen, _, self.text = self.text.partition(word)
        return seen

    def type(self, key: str) -> None:
        os.write(self.master, key.encode())

    def close(self) -> int:
        code = self.child.wait(30)
        os.close(self.master)
        return code


def test_at_a_real_terminal(five: Path) -> None:
    terminal = Terminal("review", "--home", five, "--kind", "accepted")
    try:
        seen = terminal.until("q quit")
        assert "1 of 5" in seen
        assert TRUE_GOAL[:40] in seen
        terminal.type("a")
        assert "2 of 5" in terminal.until("q quit")
        terminal.type("r")
        terminal.until("3 of 5")
        terminal.until("q quit")
        terminal.type("u")
        assert "undone: reject" in terminal.until("2 of 5")
        terminal.until("q quit")
        terminal.type("m")
        assert '"type": "object"' in terminal.until("q quit"), "the schemas of the tools too"
        terminal.type("\x1b[A")  # an arrow, which ends in a letter
        terminal.type("\x03")
        terminal.until(" accept")
        assert terminal.close() == 0
    finally:
        if terminal.child.poll() is None:
            terminal.child.kill()
            terminal.child.wait()
    with Live(five, strict=True) as live, live.buffer.hold():
        assert [row["verdict"] for row in sql(live, "select * from labels")] == ["accept"]


# --- the panel --------------------------------------------------------------------------------------------------------


def test_the_cheap_judge_is_asked_first(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    dear, cheap, local = "openai:gpt-4o", "openai:gpt-4o-mini", "openai:house,base_url=http://127.0.0.1:9/v1"
    key = "AGENTHER_TEST_KEY_OF_NOBODY"
    os.environ[key] = "none"
    try:
        judges = [local, *(f"{name},api_key_env={key}" for name in (dear, cheap)), "rules"]
        with Live(home, relabeler=f"{dear},api_key_env={key}", judges=judges, pii="redact", strict=True) as live:
            assert [judge.name for judge in live.parts.judges] == ["rules", "openai:house", cheap, dear]
            assert "judges its own labels" in caplog.text
    finally:
        del os.environ[key]
    assert cheapest_first([House(name="b"), House(name="a")])[0].name == "b", "objects keep their places"


def test_a_wrong_share_is_refused(home: Path) -> None:
    with pytest.raises(UsageError, match="canary_share"):
        Live(home, canary_share=0.9)
