"""Deletion: tombstones, an audit, and whose the rows of published shards are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.add_column(
        "sample_state",
        sa.Column("forgotten_at", sa.DateTime(), comment="When its payload went by age or size; null: it is there."),
        schema="store",
    )
    op.add_column(
        "llm_calls",
        sa.Column("trajectory_id", sa.String(), comment="Trajectory it was asked about; null: unknown or deleted."),
        schema="store",
    )
    op.create_table(
        "tombstones",
        sa.Column("key", sa.String(), nullable=False, comment="HMAC of kind and id under the home's key."),
        sa.Column(
            "kind", sa.String(), nullable=False, comment="trajectory, run, call (a caller's), thread or subject."
        ),
        sa.Column("key_id", sa.String(), nullable=False, comment="Which key that was: its own HMAC, shortened."),
        sa.Column("audit_id", sa.String(), nullable=False, comment="The deletion."),
        sa.Column("at", sa.DateTime(), nullable=False, comment="When it was deleted."),
        schema="store",
        comment="What was deleted, so that it is not taken in again; no id can be read from it.",
    )
    op.create_table(
        "origins",
        sa.Column("trajectory_id", sa.String(), nullable=False, comment="The trajectory that is gone."),
        sa.Column("thread_key", sa.String(), nullable=True, comment="HMAC of its thread under the home's key."),
        sa.Column("subject_key", sa.String(), nullable=True, comment="HMAC of its subject under the home's key."),
        sa.Column("forgotten_at", sa.DateTime(), nullable=False, comment="When it went."),
        schema="store",
        comment="Whose the rows of published shards are, once their trajectory went by age or size.",
    )
    op.create_table(
        "audit",
        sa.Column("audit_id", sa.String(), nullable=False, comment="Our UUIDv7 of the deed."),
        sa.Column("at", sa.DateTime(), nullable=False, comment="When it began."),
        sa.Column("action", sa.String(), nullable=False, comment="delete, lift, forget or compact."),
        sa.Column("target", sa.String(), nullable=True, comment="What was named: trajectory, thread or subject."),
        sa.Column("target_key", sa.String(), nullable=True, comment="HMAC of its id under the home's key."),
        sa.Column("reason", sa.String(), nullable=True, comment="Why, in the words of whoever asked."),
        sa.Column("trajectories", sa.BigInteger(), nullable=False, comment="Trajectories that went."),
        sa.Column("samples", sa.BigInteger(), nullable=False, comment="Samples that went."),
        sa.Column("shards", sa.BigInteger(), nullable=False, comment="Shards that were written anew."),
        sa.Column("bytes", sa.BigInteger(), nullable=True, comment="Bytes that came free."),
        sa.Column("consumers", JSON, nullable=True, comment="Who had read them."),
        sa.Column("policy_versions", JSON, nullable=True, comment="What those consumers trained, where known."),
        sa.Column("todo", JSON, nullable=True, comment="What is left to do, if a crash came between; null: nothing."),
        sa.Column("done_at", sa.DateTime(), nullable=True, comment="When it was done."),
        schema="store",
        comment="What was done to the data itself: deletions, retention, compaction.",
    )
    if op.get_context().dialect.name == "postgresql":
        op.create_index("tombstones_key", "tombstones", ["key"], unique=True, schema="store")
        op.create_index("audit_key", "audit", ["audit_id"], unique=True, schema="store")
