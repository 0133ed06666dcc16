"""What the demo promises: real agents at once, a worker beside them, a funnel that adds up, labels that are true."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console

from agenther_live import Live
from agenther_live.demo.catalogue import Offer
from agenther_live.demo.goals import read_goal
from agenther_live.demo.run import demo, free_home
from agenther_live.demo.story import QUERIES, tell
from agenther_live.demo.truth import goal_is_true
from agenther_live.errors import UsageError
from agenther_live.shards.reading.stream import read_rows
from tests.openai_server import OpenAIServer, say
from tests.relabel.world import asks_for
from tests.whole import TEMPLATE, answering, good_reply, plain, run_cli, shop
from tests.whole import say as say_to

STEPS = ["captured", "failed", "recoverable", "relabeled", "accepted", "samples"]


def test_sixty_runs_at_once_of_two_agents(demo_home: Path) -> None:
    with Live(demo_home) as live:
        agents = dict(live.buffer.sql("select agent, count(*) from trajectories group by all").fetchall())
        at_once = live.buffer.sql(
            "select max(n) from (select count(*) as n from runs a join runs b "
            "on b.started_at <= a.started_at and b.finished_at > a.started_at group by a.root_key)"
        ).fetchall()[0][0]
        failures = dict(live.buffer.sql("select failure_type, count(*) from failures group by all").fetchall())
        comments = " ".join(str(row[0]) for row in live.buffer.sql("select comment from feedback").fetchall())
        tools = {row[0] for row in live.buffer.sql("select distinct action_name from steps").fetchall()}
    assert agents == {"buyer": 30, "sourcer": 30}
    assert at_once >= 30, "all sixty are begun at once, half of them in threads"
    assert len(failures) >= 3
    for way_to_fail in ("does not meet the request", "false claim", "no order was placed", "without a final answer"):
        assert way_to_fail in comments
    assert {"list_suppliers", "get_quote", "place_order"} <= tools


def test_what_it_tells(demo_told: tuple[Path, str]) -> None:
    home, told = demo_told
    text = plain(told)
    with Live(home) as live:
        figures, funnel = live.status(), live.buffer.funnel()
    assert [step["step"] for step in funnel] == STEPS
    for before, step in pairwise(funnel):
        assert before["n"] == step["n"] + sum(step["dropped"].values()), step
        for reason, n in step["dropped"].items():
            assert f"{n} {reason}" in text
    assert f"60 runs, {figures['failed']} failed, {figures['accepted']} of them usable" in text
    assert f"success-only training would have had {figures['succeeded']}" in text
    assert "a failure that is true for another goal" in text
    assert "evidence place_order → {" in text
    assert "a lying “done” that was refused" in text
    assert "truth false claim: no order was placed" in text
    assert "the answer claims what no call did" in text
    assert f"Shards: {home}/shards" in text
    for query in QUERIES:
        assert query in told
        assert run_cli("sql", "--home", home, "--json", query).json
    compile(told[told.index("from agenther_live import Live") :], "what it tells to paste", "exec")
    assert "calls ·" not in text, "no model was asked"


def test_the_evidence_is_highlighted(demo_home: Path) -> None:
    out = io.StringIO()
    with Live(demo_home) as live:
        tell(Console(file=out, width=200, force_terminal=True, color_system="standard"), live, live.status())
    assert "\x1b[1;30;42m" in out.getvalue()


ACCEPTED = """
    select t.thread_id, t.goal, g.hindsight_goal, list(s.observation) filter (s.observation is not null)
    from goals g join trajectories t using (trajectory_id) join steps s using (trajectory_id)
    where g.accepted group by all"""


def test_every_accepted_label_is_true_by_what_its_run_saw(demo_home: Path) -> None:
    with Live(demo_home, read_only=True) as live:
        rows = live.buffer.sql(ACCEPTED).fetchall()
    for _, asked, goal, observations in rows:
        wish = read_goal(goal)
        assert wish is not None, goal
        placed = [Offer.from_row(json.loads(text)) for text in observations if '"order_id"' in text]
        assert goal_is_true(wish, placed, observations), (asked, goal)
        assert goal != asked
    assert len(rows) >= 15


def test_every_accepted_label_is_true_whatever_the_seed(tmp_path: Path, empty_home: Path) -> None:
    accepted, found = 0, {}
    for name, seed in {"one": 1, "two": 2, "one again": 1}.items():
        goods = shop(15, seed=seed)
        shutil.copytree(empty_home, tmp_path / name)
        with Live(tmp_path / name, evaluators=[goods.judge], **TEMPLATE) as live:
            goods.work(live)
            live.run_until_idle()
            rows = live.buffer.sql(ACCEPTED).fetchall()
            found[name] = whatever_the_home(live)
            assert live.check_shards().bad == []
        for thread, asked, goal, observations in rows:
            wish = read_goal(goal)
            assert wish is not None, goal
            assert goal_is_true(wish, goods.world.orders(thread), observations), (asked, goal)
            assert goal != asked
        accepted += len(rows)
    assert accepted >= 12
    assert found["one"] == found["one again"], "one seed gives the same runs, verdicts and samples in every home"
    assert found["one"] != found["two"]


def whatever_the_home(live: Live) -> list[list[str]]:
    """What was said, decided and published, without ids and times; in no order, for sixty runs at once have none."""
    told = [
        "thread_id, idx, role, content, tool_calls from messages join trajectories using (trajectory_id)",
        "thread_id, outcome, r.stage, reason from trajectories left join relabelings r using (trajectory_id)",
        "thread_id, attempt, hindsight_goal, reason, confidence from goals join trajectories using (trajectory_id)",
    ]
    rows = [each.row for name in ("trl_sft", "sharegpt") for each in read_rows(live.home.shards, name)]
    found = [[repr(row) for row in live.buffer.sql(f"select {each}").fetchall()] for each in told]
    found.append([json.dumps({key: row[key] for key in row if not re.search("(_id|_at)$", key)}) for row in rows])
    return [sorted(each) for each in found]


def test_the_worker_ticks_while_the_agents_run(demo_home: Path) -> None:
    with Live(demo_home) as live:
        ended = "(select max(finished_at) from runs)"
        judged = live.buffer.sql(f"select count(*) from feedback f where f.given_at < {ended}").fetchall()[0][0]
    assert judged > 0


def test_trainers_read_the_shards(demo_home: Path, tmp_path: Path) -> None:
    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    import datasets

    datasets.disable_progress_bars()
    listed = run_cli("shards", "ls", "--home", demo_home, "--json").json
    with Live(demo_home) as live:
        lies = {
            row[0]
            for row in live.buffer.sql(
                "select final_answer from trajectories join feedback using (trajectory_id) "
                "where comment like 'false claim%'"
            ).fetchall()
        }
    for fmt in ("trl_sft", "sharegpt"):
        rows = datasets.load_dataset(str(demo_home / "shards"), fmt, split="train", cache_dir=str(tmp_path))
        assert rows.num_rows == sum(shard["rows"] for shard in listed if shard["format"] == fmt) > 20
        assert not [lie for lie in lies if lie in json.dumps(rows[:], ensure_ascii=False)]


def test_it_tells_what_there_is_even_of_one_run(home: Path) -> None:
    out = io.StringIO()
    with Live(home, **TEMPLATE) as live:
        say_to(live.attach(answering()))
        live.run_until_idle()
        tell(Console(file=out, width=150), live, live.status())
    assert "1 runs, " in out.getvalue()


def test_with_real_models_it_shows_calls_tokens_and_cost(tmp_path: Path) -> None:
    out = io.StringIO()
    with OpenAIServer(lambda request: say(good_reply(request), usage=(1000, 100), delay_seconds=0.05)) as server:
        # Each with an endpoint and a key of its own.
        os.environ["FIRST_KEY"], os.environ["SECOND_KEY"] = "first", "second"
        try:
            report = demo(
                tmp_path / "home",
                relabeler=f"openai:gpt-4o-mini,base_url={server.base_url},api_key_env=FIRST_KEY",
                judges=[f"openai:gpt-4.1-mini,base_url={server.base_url},api_key_env=SECOND_KEY"],
                tasks=12,
                seed=3,
                console=Console(file=out, width=150, force_terminal=True),
            )
        finally:
            del os.environ["FIRST_KEY"], os.environ["SECOND_KEY"]
        keys = {(asks_for(each.body), each.headers["authorization"]) for each in server.requests}
        asked = len(server.bodies)
    assert keys == {("relabel", "Bearer first"), ("judge", "Bearer second")}
    figures = report.figures
    assert figures["accepted"] >= 2
    assert figures["llm_calls"] == asked
    assert (figures["prompt_tokens"], figures["completion_tokens"]) == (1000 * asked, 100 * asked)
    assert figures["cost_usd"] == pytest.approx(figures["spend_today_usd"])
    assert figures["cost_usd"] > 0
    assert figures["errored"] == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    assert f"{asked:,} calls · {1100 * asked:,} tokens · ${figures['cost_usd']:.4f}" in text
    assert len(set(re.findall(r"([\d,]+) calls · ", text))) >= 2, "the bar shows them as they come"


def test_a_home_of_its_own(tmp_path: Path, demo_home: Path) -> None:
    assert [free_home(tmp_path / "demo").name for _ in range(3)] == ["demo", "demo-2", "demo-3"], "each is made"
    with pytest.raises(UsageError, match="holds runs already"):
        demo(demo_home, relabeler="template", judges=["rules"], tasks=1, seed=0, console=None)
