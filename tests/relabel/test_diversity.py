"""Company: goals in hindsight are held against what users ask for, and what would crowd a shard waits."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from agenther_live.buffer.turn.ranking import priority
from agenther_live.live import Live
from agenther_live.mixing import alarm
from agenther_live.relabel.trust.diversity import Clusters, Head, coverage, held_back, requirement_count, spread
from tests.relabel.build import says, system, trajectory, user, uses
from tests.relabel.world import TOOLS, bought, quote

AT = datetime(2026, 1, 1)  # noqa: DTZ001
ITEMS = (
    "hex bolts",
    "washers",
    "pipe clamps",
    "door hinges",
    "paint rollers",
    "fuse boxes",
    "air filters",
    "drill bits",
)
USERS = [f"Please order {n} {item} for Lyon." for item in ITEMS for n in range(2, 7)]


def head(
    number: int, goal: str, *, kind: str = "hindsight", writes: bool = True, waits: bool = True, **more: str
) -> Head:
    return Head(f"s{number}", kind, goal, more.get("strategy", "final"), writes, waits, AT + timedelta(seconds=number))


def test_goals_of_one_kind_are_one_cluster() -> None:
    clusters = Clusters()
    assert clusters.of("Please order 40 hex bolts for Lyon.") == clusters.of("Order 12 hex bolts for Lyon, please!")
    assert clusters.of("Please order 40 hex bolts for Lyon.") != clusters.of("What is the weather in Rome tomorrow?")
    assert len({clusters.of(goal) for goal in USERS}) == len(ITEMS)
    assert coverage(USERS, USERS[:15]) == pytest.approx(3 / len(ITEMS))
    assert coverage([], USERS) == 0.0
    assert requirement_count("Order 4 bolts for at most 100 EUR, within 6 days, from the cheapest supplier.") >= 3


def test_nothing_is_held_back_while_there_is_little() -> None:
    assert held_back([head(n, USERS[0]) for n in range(49)], USERS) == {}


def test_a_cluster_has_at_most_twice_the_share_that_users_give_it() -> None:
    heads = [head(n, USERS[0]) for n in range(60)] + [head(100 + n, USERS[n]) for n in range(40)]
    held = held_back(heads, USERS)
    kept = Counter(Clusters().of(each.goal) == 0 for each in heads if each.sample_id not in held)
    assert set(held.values()) == {"cluster_share"}
    bolts = sum("hex bolts" in each.goal for each in heads if each.sample_id not in held)
    assert bolts <= 2 / len(ITEMS) * 100 + 1
    assert kept.total() == 100 - len(held)
    assert "s0" not in held, "the oldest go first"
    in_shards = [head(n, USERS[0], waits=False) for n in range(60)] + heads[60:]
    assert {f"s{n}" for n in range(60)} & set(held_back(in_shards, USERS)) == set(), "what is published stays"


def test_samples_without_a_write_are_held_to_what_successes_show() -> None:
    successes = [head(n, USERS[n % 40], kind="success", writes=n % 5 > 0) for n in range(40)]  # a fifth without
    ours = [head(100 + n, USERS[n % 40], writes=n % 2 > 0) for n in range(80)]
    held = held_back([*successes, *ours], USERS)
    assert set(held.values()) == {"write_share"}
    kept = [each for each in ours if each.sample_id not in held]
    assert 0.25 < sum(not each.writes for each in kept) / len(kept) <= 0.3


def test_cut_runs_take_a_quarter_at_most() -> None:
    heads = [head(n, USERS[n]) for n in range(9)] + [head(20 + n, USERS[n], strategy="future") for n in range(9)]
    held = held_back(heads, USERS)
    assert Counter(held.values()) == {"future_share": 6}


def test_successes_are_spread_over_the_rows() -> None:
    kinds = ["hindsight"] * 30 + ["success"] * 10
    order = spread(kinds)
    assert sorted(order) == list(range(40))
    for start in range(0, 40, 8):
        assert sum(kinds[at] == "success" for at in order[start : start + 8]) >= 2


def test_the_alarm_sounds_where_coverage_falls_by_a_fifth() -> None:
    assert alarm([("v2", 0.5), ("v1", 0.6)]) is None
    assert "v2" in str(alarm([("v2", 0.4), ("v1", 0.6)]))
    assert alarm([("v1", 0.1)]) is None


def test_gain_rarity_and_freshness_order_the_work() -> None:
    first = priority("incomplete", 1, AT)
    assert (
        first
        > priority("constraint_violation", 1, AT)
        > priority("wrong_result", 1, AT)
        > priority("tool_error", 1, AT)
    )
    assert first > priority("incomplete", 9, AT)
    assert priority("incomplete", 1, AT + timedelta(days=7)) == pytest.approx(first + 1)


def record(number: int, messages: list[dict[str, object]], success: bool) -> str:
    outcome = {"success": success}
    return (
        json.dumps({"source": "p", "raw_id": number, "messages": messages, "tools": TOOLS, "outcome": outcome}) + "\n"
    )


def failed(number: int, *, again: bool = False) -> str:
    """A run over budget; `again` asks for one quote twice, so that it is longer."""
    run = bought(trajectory_id=f"run-{number}")
    messages = [message.wire() for message in run.messages]
    if again:
        asked = {"item": "hex bolt", "quantity": 40, "city": "Lyon"}
        messages[4:4] = uses("get_quote", {"supplier": "Acme", **asked}, quote("Acme"))
    return record(number, messages, False)


def test_the_shortest_of_several_runs_for_one_goal_is_kept(tmp_path: Path) -> None:
    runs = tmp_path / "runs.jsonl"
    with Live(tmp_path / "home", relabeler="template", judges=["rules"], strict=True, held_out=0.0) as live:
        runs.write_text(failed(1, again=True))
        live.import_transcripts(runs)
        with live.buffer.writing():
            pass
        live.tick(immediate=True)  # the longer one comes first, and waits for a shard
        before = live.buffer.sql("select state, reason from samples").dicts()
        assert before == [{"state": "pending", "reason": None}]
        runs.write_text(failed(2) + failed(3, again=True))
        live.import_transcripts(runs)
        live.run_until_idle()
        found = live.buffer.sql("select state, reason from samples order by all").dicts()
        assert found == [{"state": "emitted", "reason": None}, *[{"state": "withdrawn", "reason": "longer"}] * 2]
        figures = live.status()["diversity"]
        assert figures["user_goal_clusters"] == 1
        assert figures["coverage"] == 1.0
        assert figures["waiting_for_company"] == {}
        row = live.buffer.sql("select requirements, evidence, attempt from goals where accepted limit 1").dicts()[0]
        assert json.loads(str(row["requirements"]))[0]["messages"]
        assert json.loads(str(live.buffer.sql("select achievements from relabelings limit 1").fetchall()[0][0]))


def test_more_than_a_round_holds_is_ranked(tmp_path: Path) -> None:
    runs = tmp_path / "runs.jsonl"
    answered = [system("Help."), user("What do bolts cost?"), *uses("get_quote", {"item": "bolt"}, {"total": 1})]
    silent = trajectory([*answered])
    spoken = trajectory([*answered, says("1 EUR.")])
    lines = [record(n, [m.wire() for m in (silent if n == 5 else spoken).messages], False) for n in range(6)]
    runs.write_text("".join(lines))
    with Live(tmp_path / "home", strict=True, held_out=0.0, batch=1) as live:
        live.import_transcripts(runs)
        live.buffer.settle(now=datetime(2026, 1, 1), immediate=True)  # noqa: DTZ001
        [claim] = live.buffer.claim(1, now=datetime(2026, 1, 1))  # noqa: DTZ001
        assert claim.trajectory.final_answer is None, "incomplete gains most"
