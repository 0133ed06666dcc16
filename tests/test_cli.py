"""The command line: names that scripts rely on, exit codes, and mistakes that get a sentence instead of a traceback."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb
import pytest
import typer
from sqlalchemy import event
from sqlalchemy.pool import Pool
from typer.testing import CliRunner

from agenther_live import Live, cli
from agenther_live.clock import utcnow
from agenther_live.errors import HomeError, QueryError
from agenther_live.replies import CallRow
from tests import forking
from tests.example_processes import running
from tests.whole import AGENTHER, answering, plain, run_cli, until
from tests.whole import say as tell

FIGURES = {
    "captured", "succeeded", "failed", "unknown", "interrupted", "recoverable", "relabeled", "accepted", "rejected",
    "errored", "samples", "shards", "dropped", "journal_lag_bytes", "journal_lag_seconds", "last_tick_at",
    "oldest_pending_at", "paused_reason", "llm_calls", "prompt_tokens", "completion_tokens", "cost_usd",
    "spend_today_usd",
}  # fmt: skip

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00"  # of every time in JSON

VIEWS = {
    "trajectories": "trajectory_id, thread_id, agent, policy_version, goal, final_answer, status, outcome, stage, "
    "reward, outcome_source, n_runs, n_steps, n_errors, started_at, finished_at, source",
    "runs": "*",
    "messages": "*",
    "steps": "trajectory_id, idx, action_idx, agent_path, thought, action_name, action_input, observation, is_error",
    "feedback": "*",
    "analyses": "trajectory_id, failure_type, severity, weight, recoverable, critical_step, explanation, method",
    "goals": "goal_id, trajectory_id, strategy, hindsight_goal, confidence, accepted, reason, method",
    "verdicts": "goal_id, judge, is_valid, confidence, status, reason",
    "samples": "sample_id, trajectory_id, goal_id, kind, weight, state",
    "sample_shards": "sample_id, seq, format",
    "shards": "*",
    "llm_calls": "*",
    "funnel": "*",
    "failures": "trajectory_id, failure_type, severity, weight",
}


def verbs() -> Iterator[list[str]]:
    groups = [([str(group.name)], group.typer_instance) for group in cli.app.registered_groups]
    for group, app in [([], cli.app), *groups]:
        assert app is not None
        for command in app.registered_commands:
            name = command.name or str(getattr(command.callback, "__name__", ""))
            yield [*group, name.strip("_")]


# --- names that others rely on ------------------------------------------------------------------------------------


def test_the_verbs_are_these() -> None:
    assert [" ".join(verb) for verb in verbs()] == [
        "import", "demo", "tick", "worker", "status", "sql", "show", "snapshot", "report", "review", "certify",
        "delete", "compact", "doctor",
        "shards ls", "shards check", "shards retract", "shards follow", "shards pull",
        "trust agreement", "trust show", "trust clear",
        "buffer migrate",
    ]  # fmt: skip


@pytest.mark.parametrize("verb", list(verbs()), ids=" ".join)
def test_every_verb_explains_itself_with_an_example(verb: list[str]) -> None:
    done = CliRunner().invoke(cli.app, [*verb, "--help"])
    assert done.exit_code == 0
    assert f"Example: agenther-live {' '.join(verb)}" in plain(done.output)
    assert "--home" in done.output
    if verb != ["worker"]:
        assert "--json" in done.output


def test_no_arguments_show_the_verbs() -> None:
    done = run_cli()
    assert "demo" in done.out + done.err
    assert run_cli("--help").code == 0
    assert typer.main.get_command(cli.app).help


def test_status_json(demo_home: Path) -> None:
    figures = run_cli("status", "--home", demo_home, "--json").json
    assert set(figures) >= FIGURES
    assert figures["captured"] == 60
    assert figures["captured"] == figures["succeeded"] + figures["failed"] + figures["unknown"]
    assert re.fullmatch(STAMP, figures["last_tick_at"])
    assert figures["paused_reason"] is None


def test_status_before_anything_exists(tmp_path: Path) -> None:
    Live(tmp_path / "new").close()  # what a process that captures makes: a home with a journal, and no buffer yet
    figures = run_cli("status", "--home", tmp_path / "new", "--json").json
    assert set(figures) >= FIGURES
    assert {name: figures[name] for name in FIGURES if figures[name]} == {}
    assert run_cli("status", "--home", tmp_path / "new").code == 0
    assert run_cli("shards", "ls", "--home", tmp_path / "new", "--json").json == []
    checked = run_cli("shards", "check", "--home", tmp_path / "new", "--json").json
    assert (checked["checked"], checked["bad"]) == (0, [])
    assert run_cli("tick", "--until-idle", "--home", tmp_path / "new", "--json").json["ingested"] == 0
    assert run_cli("sql", "select * from trajectories", "--home", tmp_path / "new", "--json").json == []


def test_times_bear_the_mark_of_utc(demo_home: Path) -> None:
    query = "select started_at, started_at::timestamptz as there, [started_at] as l from runs where idx = 0 limit 1"
    [row] = run_cli("sql", query, "--home", demo_home, "--json").json
    [key] = run_cli("sql", "select min(trajectory_id) as k from trajectories", "--home", demo_home, "--json").json
    shown = run_cli("show", key["k"], "--home", demo_home, "--json").json
    assert row["l"] == [row["there"]] == [row["started_at"]]
    for when in (row["there"], shown["started_at"], shown["runs"][0]["finished_at"], shown["feedback"][0]["given_at"]):
        assert re.fullmatch(STAMP, when)


def test_sql_json_is_an_array_of_objects(demo_home: Path) -> None:
    query = (
        "select 1 as n, 'x' as t, null as nothing, 1.5::decimal(3, 2) as d, 'nan'::double as nan, [1, 2] as l, "
        "{'a': timestamp '2026-01-02 03:04:05'} as s, date '2026-01-02' as day, true as b, sum(3) as total"
    )
    assert run_cli("sql", query, "--home", demo_home, "--json").json == [
        {"n": 1, "t": "x", "nothing": None, "d": 1.5, "nan": None, "l": [1, 2],
         "s": {"a": "2026-01-02T03:04:05.000000+00:00"}, "day": "2026-01-02", "b": True, "total": 3}
    ]  # fmt: skip
    shown = run_cli("sql", "select trajectory_id, goal from trajectories limit 3", "--home", demo_home)
    assert shown.code == 0
    assert shown.out.count("\n") >= 5
    hostile = run_cli("sql", "select '[red]' || chr(27) || '[2J' || chr(8238) as x", "--home", demo_home)
    assert "[red]�[2J�" in hostile.out
    said = run_cli("sql", "select chr(155) || '31m' || chr(8238) || 'é' as x", "--home", demo_home, "--json")
    assert (said.out, said.json) == ('[{"x": "\\u009b31m\\u202eé"}]\n', [{"x": "\x9b31m\u202eé"}])


def test_views_have_the_columns_that_scripts_use(demo_home: Path) -> None:
    with Live(demo_home, read_only=True) as live, live.buffer.hold():
        for view, columns in VIEWS.items():
            rows = live.buffer.sql(f"select {columns} from {view} limit 1")
            assert len(rows) == (view != "llm_calls"), view


def test_funnel_and_status_agree_and_the_steps_add_up(demo_home: Path) -> None:
    figures = run_cli("status", "--home", demo_home, "--json").json
    rows = run_cli("sql", "select step, reason, n from funnel order by position", "--home", demo_home, "--json").json
    reached = {row["step"]: row["n"] for row in rows if row["reason"] is None}
    dropped = {step: sum(row["n"] for row in rows if row["step"] == step and row["reason"]) for step in reached}
    steps = ["captured", "failed", "recoverable", "relabeled", "accepted", "samples"]
    assert list(reached) == steps
    for before, step in pairwise(steps):
        assert reached[before] == reached[step] + dropped[step], step
    for step in steps[:-1]:
        assert figures[step] == reached[step], step
    assert figures["failed"] == figures["accepted"] + figures["rejected"] + figures["errored"]


def test_shards_json(demo_home: Path, tmp_path: Path) -> None:
    listed = run_cli("shards", "ls", "--home", demo_home, "--json").json
    keys = ["seq", "format", "path", "rows", "sha256", "statistics"]
    assert [list(row) for row in listed] == [keys] * len(listed)
    assert {row["format"] for row in listed} == {"trl_sft", "sharegpt"}
    for row in listed:
        content = (demo_home / "shards" / row["path"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == row["sha256"]
        assert content.count(b"\n") == row["rows"]
        assert re.fullmatch(r"(trl_sft|sharegpt)/0{7}\d\.jsonl", row["path"])
    checked = run_cli("shards", "check", "--home", demo_home, "--json").json
    assert (checked["checked"], checked["bad"]) == (sum(row["rows"] for row in listed), [])

    copy = tmp_path / "shards"
    shutil.copytree(demo_home / "shards", copy)
    (copy / listed[0]["path"]).write_bytes(b'{"broken": 1}\n')
    done = run_cli("shards", "check", copy, "--json")
    assert done.code == 1
    bad = json.loads(done.out)["bad"]
    assert bad
    assert all(list(each) == ["path", "row", "reason"] for each in bad)
    assert run_cli("shards", "check", copy).code == 1


def test_shards_retract(demo_home: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(demo_home, home)
    where = "kind = 'hindsight' and trajectories.goal like '%lamps%'"
    tried = run_cli("shards", "retract", "--where", where, "--reason", "drift", "--dry-run", "--home", home, "--json")
    assert tried.json["dry_run"]
    assert tried.json["samples"]
    done = run_cli("shards", "retract", "--where", where, "--reason", "drift", "--home", home, "--json").json
    assert (done["samples"], done["dry_run"]) == (tried.json["samples"], False)
    assert done["shards"] == tried.json["shards"] != []
    assert (done["published"], done["retraction"]) == (True, 1)
    assert run_cli("tick", "--until-idle", "--relabeler", "template", "--judge", "rules", "--home", home).code == 0
    taken = [json.loads(line) for line in (home / "shards" / "retractions.jsonl").read_text().splitlines()]
    assert sorted(sample for each in taken for sample in each["samples"]) == sorted(done["samples"])
    assert {each["reason"] for each in taken} == {"drift"}
    assert run_cli("shards", "check", "--home", home).code == 0
    again = run_cli("shards", "retract", "--where", where, "--reason", "drift", "--home", home)
    assert "0 samples taken back" in again.out
    wrong = run_cli("shards", "retract", "--where", "colour = 'red'", "--reason", "x", "--home", home)
    assert (wrong.code, wrong.out) == (1, "")
    assert "colour" in wrong.err


GOOD = {"messages": [{"role": "user", "content": "What is 2 + 2?"}, {"role": "assistant", "content": "4"}]}


def test_import_json(home: Path, tmp_path: Path) -> None:
    lines = [json.dumps(GOOD), "{no json", json.dumps({"messages": []}), json.dumps(GOOD).replace("2 + 2", "3 + 3")]
    plain, packed = tmp_path / "runs.jsonl", tmp_path / "more.jsonl.gz"
    assert "runs.jsonl: no such file" in mistake(2, "import", plain, "--home", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    plain.write_text("\n".join(lines))
    packed.write_bytes(gzip.compress(json.dumps(GOOD).encode()))
    done = run_cli("import", plain, packed, tmp_path / "none.jsonl", "--home", home, "--json")
    assert done.code == 1
    report = json.loads(done.out)
    assert (report["read"], report["imported"]) == (5, 3)
    assert [(row["file"], row["line"]) for row in report["refused"]] == [
        (str(plain), 2), (str(plain), 3), (str(tmp_path / "none.jsonl"), 0),
    ]  # fmt: skip
    assert all(row["reason"] for row in report["refused"])
    assert report["refused"][2]["reason"] == "the file cannot be read: No such file or directory"
    assert run_cli("import", packed, "--home", home, "--json").json == {"read": 1, "imported": 1, "refused": []}
    counts = run_cli("sql", "select count(*) as n, any_value(outcome) as o from trajectories", "--home", home, "--json")
    assert counts.json == [{"n": 2, "o": "unknown"}]
    told = run_cli("import", plain, "--home", home)
    assert (told.code, told.err) == (1, "")
    assert f"{plain}:2: " in told.out


def test_tick_json(home: Path) -> None:
    with Live(home) as live:
        tell(live.attach(answering()), thread="t")
    done = run_cli("tick", "--home", home, "--json").json
    assert done["ingested"] == 1
    assert {"evaluated", "settled", "relabeled", "successes", "shards", "damage", "paused", "seconds"} <= set(done)
    assert "0 runs ingested" in run_cli("tick", "--until-idle", "--home", home).out


# --- where the home is --------------------------------------------------------------------------------------------


def test_home_by_option_before_or_behind_the_verb_or_by_environment(
    demo_home: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = ("sql", "select count(*) as n from trajectories", "--json")
    assert run_cli(*count, "--home", demo_home).json == [{"n": 60}]
    assert run_cli("--home", demo_home, *count).json == [{"n": 60}]
    assert run_cli(*count, AGENTHER_HOME=str(demo_home)).json == [{"n": 60}]
    home.rename(tmp_path / "agenther")
    assert run_cli(*count, "--home", tmp_path / "agenther", AGENTHER_HOME=str(demo_home)).json == [{"n": 0}]
    monkeypatch.chdir(tmp_path)
    assert run_cli(*count).json == [{"n": 0}]
    assert "AGENTHER_HOME" not in os.environ


LOOKING = [
    ["status"], ["sql", "select 1"], ["show", "x"], ["report", "{}/r.html"], ["snapshot", "{}/s.duckdb"],
    ["review", "--json"], ["certify", "--precision", "0.9"], ["shards", "ls"], ["shards", "check"],
    ["shards", "follow", "--once"], ["shards", "pull", "--consumer", "c", "--out", "{}/out"], ["trust", "show"],
    ["trust", "agreement"], ["doctor"],
]  # fmt: skip
MENDING = [
    ["shards", "retract", "--where", "true", "--reason", "r"], ["delete", "--thread", "t", "--yes"], ["compact"],
    ["doctor", "--repair"], ["trust", "clear"], ["buffer", "migrate", "--to", "postgresql://nobody@127.0.0.1:1/x"],
]  # fmt: skip


def test_a_slip_in_the_name_of_the_home_makes_none(
    demo_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "agenther").symlink_to(demo_home)
    monkeypatch.chdir(tmp_path)
    for arguments in [*LOOKING, *MENDING]:
        told = mistake(2, *[part.format(tmp_path) for part in arguments], "--home", tmp_path / "agentehr")
        assert f"{tmp_path}/agentehr is no home: there is neither journal nor buffer in it." in told
        assert f"Did you mean {tmp_path}/agenther?" in told
        assert "AGENTHER_HOME" in told
    assert f"Did you mean {demo_home} or " in mistake(2, "status", "--home", demo_home / "shards")
    (tmp_path / "file").write_text("")
    assert f"{tmp_path}/file is no folder" in mistake(2, "status", "--home", tmp_path / "file")
    assert "is no home yet: is a worker up?" in mistake(1, "status", "--check", "--home", tmp_path / "agentehr")
    monkeypatch.chdir(tmp_path / "agenther" / "shards")
    mistake(2, "status")
    checked = run_cli("shards", "check", ".", "--json").json  # a folder of shards needs no home
    assert (checked["checked"] > 0, checked["bad"]) == (True, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["agenther", "file"]
    assert not (demo_home / "shards" / "agenther").exists()


@contextlib.contextmanager
def read_only(folder: Path, at: Path) -> Iterator[Path]:
    """A folder as it is seen through a mount that cannot be written."""
    if os.geteuid() != 0 or not sys.platform.startswith("linux"):
        pytest.skip("mounting a folder read-only needs root on Linux")
    at.mkdir()
    if subprocess.run(["mount", "--bind", folder, at], check=False).returncode:
        pytest.skip("this machine does not let us mount a folder")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", at], check=True)
        yield at
    finally:
        subprocess.run(["umount", "-l", at], check=True)


def test_a_home_that_can_only_be_read(demo_home: Path, tmp_path: Path) -> None:
    with read_only(demo_home, tmp_path / "ro") as home:
        before = sorted(home.rglob("*"))
        [key] = run_cli("sql", "select min(trajectory_id) as k from trajectories", "--home", home, "--json").json
        for arguments in (
            ["status", "--check"],
            ["show", key["k"]],
            ["shards", "check"],
            ["shards", "follow", "--once"],
        ):
            done = run_cli(*arguments, "--home", home)
            assert (done.code, done.err) == (0, ""), arguments
        pull = ["shards", "pull", "--consumer", "c", "--out", tmp_path / "out"]
        assert "Read-only file system" in mistake(1, *pull, "--home", home)
        assert "Read-only file system" in plain(run_cli("doctor", "--home", home).out)
        for arguments in [*MENDING, ["tick"], ["worker"], ["import", os.devnull]]:
            told = mistake(1, *arguments, "--home", home)
            assert f"home {home} cannot be written: Read-only file system; it is read-only here" in told
        assert sorted(home.rglob("*")) == before
        with Live(home, read_only=True) as live, pytest.raises(HomeError, match="read_only=True"):
            live.feedback(thread_id="t", success=True)


# --- mistakes -----------------------------------------------------------------------------------------------------


def mistake(code: int, *arguments: object, **environment: str) -> str:
    """The message of a mistake: one error on stderr, nothing on stdout, no traceback."""
    done = run_cli(*arguments, **environment)
    assert done.code == code, done
    assert done.out == ""
    assert "Traceback" not in done.err
    assert done.err.strip()
    return done.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tick", "--relabeler", "gpt-4o"], ["gpt-4o", "provider:name"]),
        (["tick", "--relabeler", "nobody:gpt"], ["nobody:gpt"]),
        (["tick", "--relabeler", "openai:gpt-4o-mini", "--pii", "redact"], ["OPENAI_API_KEY"]),
        (["tick", "--relabeler", "openai:gpt-4o-mini"], ["--pii"]),
        (["worker", "--judge", "openai:m,api_key_env=NONE,base_url=http://127.0.0.1:1/v1"], ["NONE"]),
        (["tick", "--pii", "mask"], ["pii = 'mask'", "'redact' or 'keep'"]),
        (["tick", "--log-format", "yaml"], ["log-format", "text or json"]),
        (["demo", "--tasks", "0"], ["--tasks"]),
        (["demo", "--relabeler", "gpt-4o"], ["gpt-4o", "provider:name"]),
        (["shards", "retract"], ["--where"]),
        (["shards", "retract", "--where", "true", "--reason", " "], ["--reason is empty"]),
        (["report", "."], ["is a folder"]),
        (["show", "\udcff"], ["not in UTF-8"]),
        (["delete", "--thread", "t", "--lift", "--dry-run"], ["--lift and --dry-run"]),
        (["shards", "follow", "--once", "--from", "/no/such/folder"], ["'/no/such/folder': no such folder"]),
        (["shards", "pull", "--consumer", "c", "--out", "sets", "--from", ""], ["--from"]),
        (["tick", "--home", ""], ["--home", "empty"]),
        (["tick", "--home", "~nobody-is-called-so/x"], ["--home", "home directory"]),
        (["status", "--check", "--max-lag-seconds", "nan"], ["--max-lag-seconds"]),
        (["nothing"], ["nothing"]),
    ],
)
def test_wrong_use_is_exit_code_2(home: Path, arguments: list[str], words: list[str]) -> None:
    where = [] if arguments == ["nothing"] or "--home" in arguments else ["--home", home]
    if arguments[0] == "demo":
        where = ["--home", home.parent / "demo"]
    told = mistake(2, *arguments, *where)
    for word in words:
        assert word in told
    assert [path.name for path in home.parent.iterdir()] == [home.name], "what cannot begin leaves no home behind"


def test_wrong_settings_of_every_source_are_named(home: Path) -> None:
    assert "theta = '7'" in mistake(2, "tick", "--home", home, AGENTHER_THETA="7")
    assert "hundred years" in mistake(2, "worker", "--home", home, AGENTHER_TICK_SECONDS="1e300")
    assert "formats.0 = 'parquet'" in mistake(2, "tick", "--home", home, AGENTHER_FORMATS="parquet")
    (home / "agenther.toml").write_text("thta = 0.5\n")
    told = mistake(2, "status", "--home", home)
    assert "thta = 0.5: there is no such setting, did you mean theta?" in told
    (home / "agenther.toml").write_text("theta = = 1\n")
    assert "agenther.toml cannot be read: Invalid value (at line 1" in mistake(2, "status", "--home", home)
    (home / "agenther.toml").unlink()
    (home / "agenther.toml").mkdir()
    assert "agenther.toml cannot be read: it is no file" in mistake(2, "status", "--home", home)


def test_wrong_sql_gets_a_hint_and_writes_are_refused(demo_home: Path) -> None:
    def told(query: str) -> str:
        return mistake(1, "sql", query, "--home", demo_home)

    assert "did you mean hindsight_goal" in told("select hindsight_gaol from goals")
    assert "did you mean trajectories" in told("select * from trajectory")
    assert "syntax error" in told("selct 1")
    with Live(demo_home, read_only=True) as live, live.buffer.hold():
        for query in ("delete from goals", "create table x(i int)", "drop view goals", "attach 'x.db'",
                      "set threads = 1", "copy (select 1) to '/tmp/x.csv'"):  # fmt: skip
            with pytest.raises(QueryError, match="SQL here only reads"):
                live.buffer.sql(query)
        with pytest.raises(QueryError, match="one SQL statement, not 2"):
            live.buffer.sql("select 1; select 2")
        for reader in ("read_csv", "read_text"):
            with pytest.raises(QueryError):
                live.buffer.sql(f"select * from {reader}('/etc/passwd')")
    assert "SQL here only reads" in told("delete from goals")


def test_a_cost_that_leaves_calls_out_says_so(home: Path) -> None:
    with Live(home) as live:
        live.buffer.calls([CallRow("k", "judge", "openai:house", 1, 1, None, "stop", utcnow(), "{}")])
    assert "1 calls of no known price" in run_cli("status", "--home", home).out


def test_a_home_whose_runs_name_nobody_says_so_where_a_person_is_to_be_deleted(demo_home: Path) -> None:
    done = run_cli("delete", "--subject", "user-17", "--dry-run", "--home", demo_home)
    assert (done.code, "0 trajectories" in done.out) == (0, True)
    assert "subject_key='user_id'" in done.err


def test_an_unwritable_home_is_an_error_here(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for arguments in (["tick"], ["worker"], ["demo"]):
        told = mistake(1, *arguments, "--home", tmp_path / "file" / "home")
        assert f"home {tmp_path}/file/home cannot be written: {tmp_path}/file is not a directory" in told.replace(
            "\n", ""
        )


def test_a_buffer_of_a_newer_version(home: Path) -> None:
    with duckdb.connect(str(home / "buffer.duckdb")) as connection:
        connection.execute("update store.schema_version set version_num = '9999'")
    with Live(home) as live:
        tell(live.attach(answering()))
    before = journal_of(home)
    for arguments in (["status"], ["tick"], ["sql", "select 1"]):
        assert "schema 9999" in mistake(1, *arguments, "--home", home)
    assert journal_of(home) == before


def journal_of(home: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (home / "journal").iterdir()}


def test_a_buffer_that_another_process_holds(home: Path, tmp_path: Path) -> None:
    with Live(home) as live:
        tell(live.attach(answering()), thread="t")
    before = journal_of(home)
    hold = "import duckdb, sys, time; c = duckdb.connect(sys.argv[1]); print(flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(home / "buffer.duckdb")], stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout is not None
            holder.stdout.readline()
            for arguments in (["tick"], ["status"], ["sql", "select 1"]):
                began = time.monotonic()
                told = mistake(1, *arguments, "--home", home, AGENTHER_LOCK_TIMEOUT_SECONDS="0.3")
                assert time.monotonic() - began > 0.3
                assert f"held by process {holder.pid}" in told
            assert journal_of(home) == before
            # The worker itself waits, and says so.
            command = ["agenther-live", "worker", "--home", str(home), "--log-format", "json"]
            with running(command, tmp_path, {"AGENTHER_LOCK_TIMEOUT_SECONDS": "0.3"}, tmp_path / "log") as worker:
                worker.says(f"held by process {holder.pid}")
                holder.kill()
                worker.says("1 runs ingested")
                assert worker.stop() == 0
        finally:
            holder.kill()
    lines = [json.loads(line) for line in worker.said.splitlines()]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)


def test_a_damaged_buffer_file(tmp_path: Path) -> None:
    (tmp_path / "buffer.duckdb").write_bytes(b"no database" * 1000)
    assert "buffer.duckdb cannot be opened" in mistake(1, "status", "--home", tmp_path)


# --- probes, logs, pipes and signals ------------------------------------------------------------------------------


def test_status_check_is_a_probe(home: Path) -> None:
    assert run_cli("status", "--check", "--max-lag-seconds", "0.2", "--home", home).code == 0
    with Live(home) as live:
        tell(live.attach(answering()))
    time.sleep(0.5)
    done = run_cli("status", "--check", "--max-lag-seconds", "0.2", "--home", home, "--json")
    assert done.code == 1
    figures = json.loads(done.out)
    assert figures["journal_lag_seconds"] > 0.2
    assert figures["journal_lag_bytes"] > 0
    assert "lags" in done.err
    assert run_cli("status", "--check", "--max-lag-seconds", "600", "--home", home).code == 0
    assert run_cli("tick", "--home", home).code == 0
    assert run_cli("status", "--check", "--max-lag-seconds", "0.2", "--home", home).code == 0


def test_errors_are_json_too_where_the_log_is(home: Path) -> None:
    done = run_cli("tick", "--home", home, "--log-format", "json", "--relabeler", "gpt-4o")
    assert done.code == 2
    line = json.loads(done.err)
    assert (line["level"], line["logger"]) == ("error", "agenther_live")
    assert "gpt-4o" in line["message"]


def test_without_its_script_too_it_says_which_version_it_is() -> None:
    command = [sys.executable, "-m", "agenther_live", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"agenther-live {version('agenther-live')}\n", "")


def test_a_pipe_that_closes_early_is_no_error(demo_home: Path) -> None:
    command = f"{AGENTHER} sql --home {demo_home} --json 'select m.* from messages m, range(4)' | head -c 10"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert len(done.stdout) == 10
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_a_pipe_that_closes_early_takes_no_exit_code_along(demo_home: Path, home: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text("{no json\n")
    bad = ("import", tmp_path / "bad.jsonl", "--home", home)
    for code, arguments in ((1, bad), (1, (*bad, "--json")), (0, ("shards", "follow", "--once", "--home", demo_home))):
        ours, theirs = os.pipe()
        os.close(ours)
        with open(theirs, "w") as gone, own_output(gone) as done:
            assert done(*arguments) == (code, "")


def test_a_closed_output_is_no_error(home: Path) -> None:
    for arguments in (["shards", "ls", "--json"], ["status"]):
        with own_output(None) as done:
            assert done(*arguments, "--home", home) == (0, "")


def test_a_terminal_that_cannot_show_a_character(demo_home: Path) -> None:
    shown = io.BytesIO()
    with own_output(io.TextIOWrapper(shown, "ascii", write_through=True)) as done:
        assert done("status", "--home", demo_home) == (0, "")
    assert b"captured" in shown.getvalue()
    assert shown.getvalue().isascii()
    assert b"\\u2588" in shown.getvalue()


@contextlib.contextmanager
def own_output(stream: Any) -> Iterator[Any]:
    """The command line in this process with another stdout; the block gets a function: arguments → (code, stderr)."""

    def done(*arguments: object) -> tuple[int, str]:
        told, argv = io.StringIO(), ["agenther-live", *map(str, arguments)]
        with patch.object(sys, "argv", argv), patch.object(sys, "stdout", stream), contextlib.redirect_stderr(told):
            with pytest.raises(SystemExit) as left:
                cli.main()
            return left.value.code or 0, told.getvalue()

    yield done


def test_ctrl_c_ends_the_demo(tmp_path: Path) -> None:
    command = ["agenther-live", "demo", "--tasks", "120", "--home", "home"]
    with running(command, tmp_path, {}, tmp_path / "log") as demo:
        until(lambda: list((tmp_path / "home" / "journal").glob("*.jsonl")))
        os.kill(demo.forked.pid or 0, signal.SIGINT)
        demo.forked.join(60)
    assert (demo.ended, demo.said) == (130, "")


SWALLOWED = """
import signal, time
from agenther_live.cli.interrupts import let_interrupts_through
signal.signal(signal.SIGINT, signal.default_int_handler)
let_interrupts_through()
class Gone:
    def __del__(self): signal.raise_signal(signal.SIGINT)
try:
    Gone()
    time.sleep(20)
except KeyboardInterrupt:
    raise SystemExit(130)
"""


WRAPPED = """
from agenther_live import cli
from agenther_live.cli import verbs
class Field:
    def __set_name__(self, owner, name): raise KeyboardInterrupt
def interrupted():
    class Model:
        field = Field()
verbs.main = interrupted
cli.main()
"""


def test_ctrl_c_while_a_class_is_made_is_one_too() -> None:
    done = subprocess.run([sys.executable, "-c", WRAPPED], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_ctrl_c_in_a_finalizer_is_obeyed_and_prints_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", SWALLOWED], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (130, "")


def _status_interrupted(home: str, told: str) -> None:
    """Ctrl-C exactly while SQLAlchemy gives a connection back, which it logs as an error."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    event.listen(Pool, "reset", lambda *_: signal.raise_signal(signal.SIGINT))
    sys.argv = ["agenther-live", "status", "--home", home]
    with open(told, "w", encoding="utf-8") as err, contextlib.redirect_stderr(err):
        cli.main()


def test_ctrl_c_while_a_connection_closes_prints_no_traceback(home: Path, tmp_path: Path) -> None:
    assert forking.run(_status_interrupted, str(home), str(tmp_path / "told")) == 130
    assert (tmp_path / "told").read_text() == ""


# --- the demo's verb ----------------------------------------------------------------------------------------------


def test_demo_json_and_a_home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "agenther-demo").mkdir()
    # Beside another demo's home, and with settings of a real one that would spoil it.
    spoiled = {
        "AGENTHER_ENABLED": "false",
        "AGENTHER_DETECTOR": "openai:m",
        "AGENTHER_BUFFER": str(tmp_path / "real.db"),
    }
    figures: dict[str, Any] = run_cli("demo", "--json", "--tasks", "6", **spoiled).json
    assert set(figures) >= FIGURES
    told = {name: figures[name] for name in ("captured", "failed", "accepted", "samples")}
    assert told == {"captured": 6, "failed": 4, "accepted": 4, "samples": 6}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["agenther-demo", "agenther-demo-2"]
    assert not list((tmp_path / "agenther-demo").iterdir())
    told = mistake(2, "demo", "--home", tmp_path / "agenther-demo-2")
    assert "holds runs already" in told
