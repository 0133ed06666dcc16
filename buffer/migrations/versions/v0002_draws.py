"""Draws: what a draw looks at stands in the narrow table of samples, and every draw is logged."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in (
        sa.Column("weight", sa.Double(), comment="Severity weight, beside what else a draw looks at."),
        sa.Column("created_at", sa.DateTime(), comment="When it was recorded."),
        sa.Column("uses", sa.Integer(), comment="How often it was drawn."),
        sa.Column("drawn_at", sa.DateTime(), comment="When it was last drawn; null: never."),
    ):
        op.add_column("sample_state", column, schema="store")
    op.execute(
        "UPDATE store.sample_state SET weight = p.weight, created_at = p.created_at, uses = 0 "
        "FROM store.samples AS p WHERE p.sample_id = sample_state.sample_id"
    )
    op.create_table(
        "draws",
        sa.Column("draw_id", sa.String(), nullable=False, comment="Our UUIDv7 of the draw."),
        sa.Column("at", sa.DateTime(), nullable=False, comment="When it was drawn."),
        sa.Column("strategy", sa.String(), nullable=False, comment="uniform, prioritized, fifo or recent."),
        sa.Column("seed", sa.BigInteger(), nullable=False, comment="Seed of its random numbers."),
        sa.Column("asked", sa.Integer(), nullable=False, comment="Samples asked for."),
        sa.Column("n", sa.Integer(), nullable=False, comment="Samples given."),
        sa.Column("pool", sa.BigInteger(), nullable=False, comment="Samples that could have been drawn."),
        sa.Column("alpha", sa.Double(), nullable=False, comment="Exponent of the priority."),
        sa.Column("beta", sa.Double(), nullable=False, comment="Exponent of the importance weight."),
        sa.Column("half_life_seconds", sa.Double(), nullable=False, comment="Age at which freshness is one half."),
        sa.Column("decay", sa.Double(), nullable=False, comment="What each use takes from the priority."),
        sa.Column("condition", sa.String(), comment="The user's SQL condition."),
        sa.Column("max_uses", sa.Integer(), comment="Samples drawn so often are left out."),
        sa.Column("max_staleness_seconds", sa.Double(), comment="Older samples are left out."),
        sa.Column("samples_per_insert", sa.Double(), comment="Draws allowed for each sample made."),
        schema="store",
        comment="The log of draws.",
    )
    op.create_table(
        "drawn",
        sa.Column("draw_id", sa.String(), nullable=False, comment="The draw."),
        sa.Column("idx", sa.Integer(), nullable=False, comment="Place in the draw, from 0."),
        sa.Column("sample_id", sa.String(), nullable=False, comment="The sample."),
        sa.Column("probability", sa.Double(), nullable=False, comment="Chance to be drawn first."),
        sa.Column("weight", sa.Double(), nullable=False, comment="Importance weight."),
        schema="store",
        comment="What each draw gave.",
    )
    if op.get_context().dialect.name == "postgresql":
        op.create_index("draws_key", "draws", ["draw_id"], unique=True, schema="store")
