"""Many workers: leases of what a worker claimed, and on PostgreSQL the indexes that its queries go by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# Table, columns, and the condition of a partial index: what is due is a small part of what is there.
INDEXES = (
    ("state", "needs_settle", "trajectory_id", "needs_settle"),
    ("state", "waiting", "settle_at", "stage = 'waiting'"),
    ("state", "queue", "priority DESC, stage_at, trajectory_id", "stage = 'queued'"),
    ("state", "errored", "retry_at", "stage = 'errored'"),
    ("state", "interrupted", "waiting_since", "status = 'interrupted'"),
    ("state", "needs_sample", "stage_at, trajectory_id", "needs_sample"),
    ("state", "held_out", "trajectory_id", "held_out"),
    ("state", "leased_by", "leased_by", "leased_by IS NOT NULL"),
    ("state", "relabeling_id", "relabeling_id", None),
    ("run_heads", "trajectory_id", "trajectory_id", None),
    ("run_heads", "thread_hash", "thread_hash", None),
    ("run_heads", "run_id", "run_id", None),
    ("run_heads", "explicit_id", "explicit_id", "explicit_id IS NOT NULL"),
    ("run_facts", "root_key", "root_key, part", None),
    ("counts", "record_id", "record_id", None),
    ("evidence", "trajectory_id", "trajectory_id", None),
    ("evidence", "to_hash", "to_hash", "to_hash IS NOT NULL"),
    ("evidence", "to_run", "to_run", "trajectory_id IS NULL"),
    ("evidence", "to_trajectory", "to_trajectory", "trajectory_id IS NULL"),
    ("evaluations", "trajectory_id", "trajectory_id, revision, evaluator", None),
    ("trajectories", "thread_id", "thread_id", None),
    ("runs", "trajectory_id", "trajectory_id, revision", None),
    ("messages", "trajectory_id", "trajectory_id, revision", None),
    ("steps", "trajectory_id", "trajectory_id, revision", None),
    ("superseded", "trajectory_id", "trajectory_id, revision", None),
    ("relabelings", "trajectory_id", "trajectory_id", None),
    ("relabelings", "relabeling_id", "relabeling_id", None),
    ("analyses", "relabeling_id", "relabeling_id", None),
    ("goals", "relabeling_id", "relabeling_id", None),
    ("goals", "goal_id", "goal_id", None),
    ("verdicts", "relabeling_id", "relabeling_id", None),
    ("samples", "trajectory_id", "trajectory_id", None),
    ("sample_state", "trajectory_id", "trajectory_id", None),
    ("sample_state", "content_hash", "content_hash", None),
    ("sample_state", "pending", "created_at, sample_id", "state = 'pending'"),
    ("sample_shards", "sample_id", "sample_id, format", None),
    ("sample_shards", "seq", "seq", None),
    ("set_aside", "sample_id", "sample_id, format", None),
    ("retractions", "due", "at, sample_id", "done_at IS NULL"),
    ("retractions", "sample_id", "sample_id", None),
    ("drawn", "draw_id", "draw_id", None),
    ("llm_calls", "at", "at", None),
)


def upgrade() -> None:
    op.add_column(
        "state",
        sa.Column("leased_by", sa.String(), comment="Worker that has it now, where there are many; null: nobody."),
        schema="store",
    )
    op.add_column(
        "state",
        sa.Column("leased_until", sa.DateTime(), comment="When that lease ends, by the database's clock."),
        schema="store",
    )
    if op.get_context().dialect.name == "postgresql":
        for table, name, columns, where in INDEXES:
            condition = f" WHERE {where}" if where else ""
            op.execute(f"CREATE INDEX {table}_{name}_idx ON store.{table} ({columns}){condition}")
