"""`show`, `snapshot` and the other forms of `sql`, on the home of a demo and on hostile text."""

import csv
import io
import re
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from agenther_live import Live, render
from agenther_live.trajectory import Action, Evidence, Message, Run, Step, Trajectory
from tests.buffer.journal_facts import at
from tests.whole import plain, run_cli


def some(home: Path, condition: str) -> dict[str, Any]:
    return Live(home).buffer.sql(f"SELECT * FROM trajectories WHERE {condition} LIMIT 1").dicts()[0]


def test_a_relabeled_failure_is_told_from_goal_to_shard(demo_home: Path) -> None:
    one = some(demo_home, "outcome = 'failure' AND stage = 'relabeled' AND n_errors > 0")
    done = run_cli("show", one["trajectory_id"], "--home", demo_home)
    shown = plain(done.out)
    goal, judge = (
        Live(demo_home)
        .buffer.sql(
            "SELECT g.hindsight_goal, v.judge FROM goals g JOIN verdicts v USING (goal_id) WHERE g.trajectory_id = ?",
            [one["trajectory_id"]],
        )
        .fetchall()[0]
    )
    for part in (
        one["goal"],
        one["final_answer"],
        goal,
        f"{judge}: yes",
        "said by evaluator",
        "severity",
        "(published)",
    ):
        assert plain(str(part)) in shown, part
    assert "trl_sft/00000001.jsonl" in shown
    [sample] = Live(demo_home).buffer.samples_of(one["trajectory_id"])
    assert plain(sample.messages[-1].message.text) in shown.partition("samples")[2]


def test_json_holds_all_of_it(demo_home: Path) -> None:
    one = some(demo_home, "stage = 'relabeled'")
    found = run_cli("show", one["trajectory_id"], "--home", demo_home, "--json").json
    assert {key: found[key] for key in ("trajectory_id", "goal", "outcome", "n_steps")} == {
        key: one[key] for key in ("trajectory_id", "goal", "outcome", "n_steps")
    }
    assert len({step["idx"] for step in found["steps"]}) == one["n_steps"]
    [goal] = [goal for goal in found["goals"] if goal["accepted"]]
    assert goal["verdicts"]
    assert {sample["goal_id"] for sample in found["samples"]} == {goal["goal_id"]}
    assert {shard["format"] for sample in found["samples"] for shard in sample["shards"]} == {"trl_sft", "sharegpt"}


@pytest.mark.parametrize("condition", ["outcome = 'success'", "stage = 'rejected'"])
def test_what_has_no_goal_is_told_too(demo_home: Path, condition: str) -> None:
    one = some(demo_home, condition)
    done = run_cli("show", one["thread_id"], "--home", demo_home)
    assert done.code == 0
    assert plain(one["goal"]) in plain(done.out)


def test_a_beginning_names_one_or_says_which(demo_home: Path) -> None:
    every = [row[0] for row in Live(demo_home).buffer.sql("SELECT trajectory_id FROM trajectories").fetchall()]
    alone = next(key[:n] for key in every for n in range(1, 36) if sum(o.startswith(key[:n]) for o in every) == 1)
    assert run_cli("show", alone, "--home", demo_home, "--json").json["trajectory_id"].startswith(alone)
    many = run_cli("show", every[0][:2], "--home", demo_home)
    assert many.code == 2
    assert every[0][:2] in many.err
    assert "several trajectories" in many.err
    for nothing in ("zzz", "", "%"):
        done = run_cli("show", nothing, "--home", demo_home)
        assert done.code == 2
        assert "there is no trajectory" in done.err
        assert "Traceback" not in done.err


EVIL = "[red]x[/red] \x1b[2J\u202e \\[bold]"


def test_foreign_text_can_do_nothing_to_the_terminal(home: Path) -> None:
    step = Step(idx=0, thought=EVIL, actions=(Action(name=EVIL, input=EVIL, observation=EVIL, is_error=True),))
    trajectory = Trajectory(
        trajectory_id="t1", goal=EVIL, agent=EVIL, policy_version=EVIL, thread_id=EVIL, final_answer=EVIL,
        status="error", error_type=EVIL, error_message=EVIL, messages=(Message(role="user", content=EVIL),),
        steps=(step, Step(idx=1, actions=(Action(name="silent"),)), Step(idx=2, agent_path=EVIL, thought="y" * 5000)),
        runs=(Run(root_key="t1", status="error", error_type=EVIL, error_message=EVIL),),
    )  # fmt: skip
    said = Evidence(
        evidence_id="e",
        trajectory_id="t1",
        source="person",
        success=False,
        key=EVIL,
        value=EVIL,
        comment=EVIL,
        at=at(0),
    )
    buffer = Live(home).buffer
    buffer.add_trajectories([(trajectory, [said])])
    buffer.settle(now=at(0))
    done = run_cli("show", "t1", "--home", home)
    assert done.code == 0
    assert "[red]x[/red]" in done.out
    assert "\x1b" not in done.out
    assert "\u202e" not in done.out
    assert "nothing came back" in done.out
    assert "characters more" in done.out
    assert run_cli("show", "t1", "--home", home, "--json").json["goal"] == EVIL


def test_sql_as_csv_and_parquet(demo_home: Path, tmp_path: Path) -> None:
    query = "SELECT trajectory_id, goal, reward, started_at FROM trajectories ORDER BY 1"
    done = run_cli("sql", query, "--home", demo_home, "--csv")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert len(rows) == 60
    told = run_cli("sql", query, "--home", demo_home, "--parquet", tmp_path / "x.parquet")
    assert "60 rows in" in told.out
    table = pq.read_table(tmp_path / "x.parquet")
    assert table["goal"].to_pylist() == [row["goal"] for row in rows]
    both = run_cli("sql", query, "--home", demo_home, "--csv", "--json")
    assert (both.code, both.out) == (2, "")
    nowhere = run_cli("sql", query, "--home", demo_home, "--parquet", tmp_path / "no" / "x.parquet")
    assert nowhere.code == 1
    assert "Traceback" not in nowhere.err


def test_sql_that_never_ends_is_stopped(demo_home: Path) -> None:
    endless = "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range + b.range = 1"
    done = run_cli("sql", endless, "--home", demo_home, "--seconds", "0.2")
    assert done.code == 1
    assert "stopped after 0.2 s" in plain(done.err)


def test_snapshot(demo_home: Path, tmp_path: Path) -> None:
    file = tmp_path / "copy.duckdb"
    told = run_cli("snapshot", file, "--home", demo_home, "--json").json
    assert told == {"file": str(file), "bytes": file.stat().st_size}
    with duckdb.connect(file, read_only=True) as copy:
        assert copy.execute("SELECT count(*) FROM trajectories").fetchall() == [(60,)]
    again = run_cli("snapshot", file, "--home", demo_home)
    assert again.code == 1
    assert "exists already" in plain(again.err)


@pytest.mark.parametrize("width", [24, 60, 200])
def test_nothing_of_a_table_is_cut_off(width: int) -> None:
    columns, row = ["trajectory_id", "hindsight_goal", "reason"], ["01a20694-7e65-7f3a", "Book_a_room_in_Lyon", None]

    def shown(rows: list[list[Any]]) -> str:
        out = io.StringIO()
        Console(file=out, width=width).print(render.table(columns, rows))
        return out.getvalue()

    joined = re.sub(r"[\s│]", "", shown([row]))
    assert all(word in joined for word in [*columns, *row] if word)
    assert ("row 1" in shown([row])) == (width == 24)
    assert "no rows" in shown([])
    assert all(len(line) <= width for line in shown([row]).splitlines())
