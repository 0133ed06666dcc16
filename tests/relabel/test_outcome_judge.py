"""Stage 0: an outcome judge speaks where nobody did and never over anybody; what signs mean is declared per agent."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agenther_live.errors import SettingsError
from agenther_live.home import Home
from agenther_live.live import Live
from agenther_live.outcome import decide
from agenther_live.polarity import Polarity, checked, declare, declared, signs
from agenther_live.settings import load_settings
from agenther_live.trajectory import Evidence
from tests.openai_server import OpenAIServer, Reply, hang, refuse, say
from tests.relabel.build import says, trajectory, user, uses
from tests.relabel.world import TOOLS, bought, marker_of, record
from tests.whole import until

AT = datetime(2026, 1, 1)  # noqa: DTZ001


def write(path: Path, n: int, success: bool | None = None) -> Path:
    with path.open("w") as file:
        for number in range(n):
            run = bought(trajectory_id=f"run-{number}", goal=f"Please order {number + 40} hex bolts for Lyon.")
            outcome = {} if success is None else {"outcome": {"success": success}}
            messages = [message.wire() for message in run.messages]
            file.write(json.dumps({"source": "p", "raw_id": number, "messages": messages, "tools": TOOLS} | outcome))
            file.write("\n")
    return path


def reached(request: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "marker": marker_of(request),
        "requirements": [{"text": "ordered", "met": True, "messages": [10]}],
        "reached": True,
        "can_tell": True,
        "confidence": 0.9,
        "reason": "the order was placed",
    } | changes


def judged(
    home: Path, answer: Callable[[dict[str, Any]], Reply], *, n: int = 4, **options: Any
) -> list[dict[str, Any]]:
    success = options.pop("success", None)
    rounds = options.pop("rounds", 1)
    with OpenAIServer(answer) as server:
        model = f"openai:judge,base_url={server.base_url}"
        with Live(home, outcome_judge=model, strict=True, held_out=0.0, **options) as live:
            live.import_transcripts(write(home.parent / "runs.jsonl", n, success))
            for _ in range(rounds):
                live.run_until_idle()
            rows = live.buffer.sql(
                "select outcome, outcome_source, stage from trajectories order by trajectory_id"
            ).dicts()
            calls = live.buffer.sql("select purpose from llm_calls").dicts()
        assert len(calls) == sum(1 for each in server.requests if each.reply and each.reply.status == 200)
        assert {each["purpose"] for each in calls} <= {"outcome"}
        return rows


def test_it_decides_what_nobody_knew_and_is_asked_once(tmp_path: Path) -> None:
    asked: list[int] = []

    def answer(request: dict[str, Any]) -> Reply:
        goal = record(request)["goal"]
        asked.append(1)
        if "40" in goal:
            return say(reached(request))
        if "41" in goal:
            changes = {"requirements": [{"text": "ordered", "met": False, "messages": []}], "reached": False}
            return say(reached(request, **changes))
        return say(reached(request, can_tell=False) if "42" in goal else reached(request, confidence=0.2))

    rows = judged(tmp_path / "home", answer, rounds=2)
    assert sorted(row["outcome"] for row in rows) == ["failure", "success", "unknown", "unknown"]
    assert {row["outcome_source"] for row in rows if row["outcome"] != "unknown"} == {"judge"}
    assert {row["stage"] for row in rows if row["outcome"] == "failure"} == {"rejected"}, "no relabeler is set"
    assert len(asked) == 4


def test_it_is_not_asked_where_somebody_spoke(tmp_path: Path) -> None:
    rows = judged(tmp_path / "home", lambda request: say(reached(request)), success=False)
    assert {row["outcome"] for row in rows} == {"failure"}
    assert {row["outcome_source"] for row in rows} == {"reward"}


def test_a_share_of_the_traffic(tmp_path: Path) -> None:
    none = judged(tmp_path / "none", lambda request: say(reached(request)), outcome_judge_share=0.0)
    assert {row["outcome"] for row in none} == {"unknown"}


def test_an_answer_that_contradicts_itself_or_does_not_come_decides_nothing(tmp_path: Path) -> None:
    def answer(request: dict[str, Any]) -> Reply:
        if "40" in record(request)["goal"]:
            return say(reached(request, requirements=[{"text": "ordered", "met": False, "messages": []}]))
        return refuse(500)

    rows = judged(tmp_path / "home", answer, n=2)
    assert {row["outcome"] for row in rows} == {"unknown"}


def test_neither_the_journal_nor_a_stop_waits_for_an_answer_that_never_comes(tmp_path: Path) -> None:
    stopping = threading.Event()

    def answer(request: dict[str, Any]) -> Reply:
        return hang() if "40" in record(request)["goal"] else say(reached(request), after=stopping.is_set)

    with OpenAIServer(answer) as server:
        model = f"openai:judge,base_url={server.base_url}"
        given: dict[str, Any] = {"strict": True, "request_timeout_seconds": 90, "slice_seconds": 0.1}
        with Live(tmp_path / "home", outcome_judge=model, **given) as live:
            live.import_transcripts(write(tmp_path / "runs.jsonl", 2))
            live.start()
            until(lambda: server.in_flight == 2)
            [(trajectory_id,)] = live.buffer.sql("select max(trajectory_id) from trajectories").fetchall()
            live.feedback(trajectory_id=trajectory_id, comment="said meanwhile", success=True)
            until(lambda: bool(live.buffer.sql("select 1 from feedback where comment is not null").fetchall()))
            assert server.in_flight == 2
            live.request_stop()
            stopping.set()
            live.stop()
            assert live.buffer.sql("select count(*) from llm_calls").fetchall() == [(1,)], "what came then is kept"
            assert live.status()["paused_reason"] is None


def test_a_judge_never_beats_anybody_and_sources_in_conflict_give_unknown() -> None:
    def said(source: Any, success: bool, minutes: int = 0, key: str = "success") -> Evidence:
        at = AT + timedelta(minutes=minutes)
        return Evidence(evidence_id=f"{source}{key}", trajectory_id="t", source=source, key=key, success=success, at=at)

    judge = said("judge", False, 60)
    for source in ("person", "reward", "evaluator"):
        assert decide([judge, said(source, True)], status="finished").label == "success"
    assert decide([judge], status="finished").label == "failure"
    assert decide([said("evaluator", True, key="a"), said("evaluator", False, key="b")], status="finished").label == (
        "unknown"
    )


HANDED = [user("Where is my order?"), *uses("transfer_to_human_agents", {"summary": "lost"}, "Transfer successful")]


@pytest.mark.parametrize(
    ("meanings", "run", "label"),
    [
        ({"handoff": "success"}, trajectory(HANDED, status="finished"), "success"),
        ({"tool:transfer_to_human_agents": "failure"}, trajectory(HANDED, status="finished"), "failure"),
        ({"no_final_answer": "unknown"}, trajectory(HANDED, status="finished"), "unknown"),
        ({"handoff": "success"}, trajectory([user("Hi"), says("Hello.")], status="finished"), "unknown"),
        ({}, trajectory(HANDED, status="finished"), "failure"),
        (
            {"recursion_limit": "unknown"},
            trajectory([user("Hi")], status="error", error_type="langgraph.errors.GraphRecursionError"),
            "unknown",
        ),
        ({"error": "success"}, trajectory([user("Hi")], status="error", error_type="ValueError"), "success"),
        ({"error": "failure"}, trajectory([user("Hi")], status="error", error_type="RateLimitError"), "unknown"),
    ],
)
def test_what_signs_mean(meanings: dict[str, str], run: Any, label: str) -> None:
    reading = Polarity("signs", signs, "agent", checked(meanings)).evidence(run, now=AT)
    outcome = decide(
        [reading],
        status=run.status,
        error_type=run.error_type,
        final_answer=run.final_answer,
        answers=True,
    )
    assert outcome.label == label
    person = Evidence(evidence_id="p", trajectory_id="t", source="person", key="success", success=False, at=AT)
    assert decide([reading, person], status=run.status).label == "failure", "a person's word wins"


def test_declared_by_attach_and_by_settings(tmp_path: Path) -> None:
    home = Home(tmp_path)
    settings = load_settings(home=tmp_path, polarity={"desk": {"handoff": "failure"}, "shop": {"error": "unknown"}})
    declare(home, "desk", {"handoff": "success"})
    found = {each.agent: each for each in declared(home, settings)}
    assert found["desk"].meanings == {"handoff": "success"}
    assert found["shop"].meanings == {"error": "unknown"}
    before = found["desk"].name
    declare(home, "desk", {"handoff": "unknown"})
    assert {each.agent: each.name for each in declared(home, settings)}["desk"] != before, "runs are read anew"
    with pytest.raises(SettingsError, match="no sign"):
        checked({"smile": "success"})
    with pytest.raises(SettingsError, match="allowed: success"):
        checked({"handoff": "good"})


def test_an_attached_agent_whose_hand_over_is_its_success(tmp_path: Path) -> None:
    from langchain_core.messages import AIMessage, ToolMessage
    from langgraph.graph import START, MessagesState, StateGraph

    call = {"name": "transfer_to_human", "args": {"reason": "refund"}, "id": "c1"}

    def hand_over(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage("", tool_calls=[call]), ToolMessage("transferred", tool_call_id="c1")]}

    graph = StateGraph(MessagesState).add_node("desk", hand_over).add_edge(START, "desk").compile()
    with Live(tmp_path / "home", strict=True, outcome_settle_seconds=0) as live:
        desk = live.attach(graph, name="desk", conversational=False, polarity={"handoff": "success"})
        desk.invoke({"messages": [("user", "I want my money back")]})
        live.run_until_idle()
        [row] = live.buffer.sql("select outcome, outcome_source from trajectories").dicts()
        assert row == {"outcome": "success", "outcome_source": "terminal"}
        live.attach(graph, name="desk", conversational=False, polarity={"handoff": "unknown"})
        live.run_until_idle()
        [row] = live.buffer.sql("select outcome from trajectories").dicts()
        assert row == {"outcome": "unknown"}, "another declaration reads the runs anew"
