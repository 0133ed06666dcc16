"""The public SQL: names and columns are a promise, and each has its comment."""

import re

import pytest

from agenther_live.buffer.schema import metadata
from agenther_live.buffer.store import Buffer
from agenther_live.buffer.views import views_sql
from tests.buffer.journal_facts import at, batch, feedback, run

PROMISED = {
    "trajectories": "trajectory_id thread_id agent policy_version goal final_answer status outcome stage reward "
    "outcome_source n_runs n_steps n_errors started_at finished_at source",
    "steps": "trajectory_id idx action_idx agent_path thought action_name action_input observation is_error",
    "analyses": "trajectory_id failure_type severity weight recoverable critical_step explanation method",
    "goals": "goal_id trajectory_id strategy hindsight_goal confidence accepted reason method",
    "verdicts": "goal_id judge is_valid confidence status reason",
    "samples": "sample_id trajectory_id goal_id kind weight state",
    "sample_shards": "sample_id seq format",
}
ALSO = (
    "runs",
    "messages",
    "feedback",
    "shards",
    "llm_calls",
    "funnel",
    "failures",
    "relabelings",
    "retractions",
    "counters",
    "funnel_days",
    "success_rates",
    "sample_costs",
    "judge_agreement",
    "canaries",
    "panel_health",
    "labels",
    "to_review",
    "replay",
    "draws",
    "drawn",
    "derived",
    "audit",
    "set_aside",
)


@pytest.mark.parametrize("view", PROMISED)
def test_a_promised_view_has_its_columns(buffer: Buffer, view: str) -> None:
    """Scripts are written against them: columns may be added, none renamed."""
    assert set(PROMISED[view].split()) <= set(buffer.sql(f"SELECT * FROM {view}").columns)


@pytest.mark.parametrize("view", ALSO)
def test_every_other_view_can_be_read(buffer: Buffer, view: str) -> None:
    assert buffer.sql(f"SELECT * FROM {view}").columns


def test_there_are_no_other_public_names(buffer: Buffer) -> None:
    shown = {row[0] for row in buffer.sql("SHOW TABLES").fetchall()}
    assert shown == set(PROMISED) | set(ALSO)


def test_every_view_and_column_is_documented(buffer: Buffer) -> None:
    bare = buffer.sql(
        "SELECT table_name, column_name FROM duckdb_columns() "
        "WHERE schema_name = 'main' AND NOT internal AND comment IS NULL"
    )
    assert bare.fetchall() == []
    assert (
        buffer.sql(
            "SELECT view_name FROM duckdb_views() WHERE schema_name = 'main' AND NOT internal AND comment IS NULL"
        ).fetchall()
        == []
    )


def test_a_column_of_times_says_what_happened_then(buffer: Buffer) -> None:
    times = buffer.sql(
        "SELECT DISTINCT column_name FROM duckdb_columns() "
        "WHERE schema_name = 'main' AND NOT internal AND data_type = 'TIMESTAMP'"
    ).fetchall()
    assert {name for (name,) in times if not name.endswith("_at")} == {"since"}
    assert ("at",) not in times


def test_every_private_column_is_documented() -> None:
    assert [
        f"{c.table.name}.{c.name}" for table in metadata.tables.values() for c in table.columns if not c.comment
    ] == []


def test_public_views_stand_on_private_tables_only() -> None:
    """A view that reads another public view would pass its slips on; only helpers in `store` are shared."""
    for body in re.findall(r"CREATE VIEW (?!store\.)\w+ AS\n(.*?);\n", views_sql(), re.DOTALL):
        local = set(re.findall(r"(\w+)(?: \([^)]*\))? AS (?:MATERIALIZED )?\(", body))
        for name in re.findall(r"(?:FROM|JOIN) ([\w.]+)", body):
            assert name.startswith("store.") or name in local, name


def test_the_readme_query_runs(buffer: Buffer) -> None:
    buffer.sql("select goal, hindsight_goal, confidence from goals join trajectories using (trajectory_id)").show()


def test_a_run_is_seen_in_every_view_it_belongs_to(buffer: Buffer) -> None:
    buffer.ingest(
        batch(
            [run("r1", thread="t", steps=2, status="error", error="ValueError")], [feedback(thread_id="t", score=0.0)]
        ),
        now=at(10),
    )
    buffer.settle(now=at(10))
    assert buffer.sql("SELECT status, outcome, outcome_source, n_runs, n_steps FROM trajectories").fetchall() == [
        ("error", "failure", "person", 1, 2)
    ]
    assert buffer.sql("SELECT idx, action_name, observation FROM steps ORDER BY idx").fetchall() == [
        (0, "search", "OK 1"),
        (1, "search", "OK 2"),
    ]
    assert buffer.sql("SELECT role FROM messages ORDER BY idx").fetchall() == [
        (r,) for r in ("user", "assistant", "tool", "assistant", "tool")
    ]
    assert buffer.sql("SELECT root_key, status, error_type, prompt_tokens FROM runs").fetchall() == [
        ("r1", "error", "ValueError", 20)
    ]
    assert buffer.sql("SELECT trajectory_id, score FROM feedback").fetchall() == [("r1", 0.0)]
    assert buffer.sql("SELECT trajectory_id, stage, failure_type FROM failures").fetchall() == [("r1", "queued", None)]
    assert buffer.sql("SELECT n FROM funnel WHERE step = 'failed' AND reason IS NULL").fetchall() == [(1,)]
    assert buffer.sql("SELECT reason, n FROM funnel WHERE step = 'recoverable' AND reason IS NOT NULL").fetchall() == [
        ("queued", 1)
    ]
