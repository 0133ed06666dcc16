"""Preferences: what samples of one prompt have in common, and which samples were made of which."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "sample_state",
        sa.Column("prompt_key", sa.String(), comment="Hash of its prompt; '': it has none; null: not looked at yet."),
        schema="store",
    )
    op.create_table(
        "derived",
        sa.Column("sample_id", sa.String(), comment="The sample that was made; null: none could be."),
        sa.Column("kind", sa.String(), nullable=False, comment="contrast, failure, pair or step."),
        sa.Column(
            "source_id",
            sa.String(),
            nullable=False,
            comment="What it was made of: a sample, of a pair the better; of a failure its run.",
        ),
        sa.Column("worse_id", sa.String(), comment="Of a pair or step, the sample of the worse response."),
        sa.Column("worse_trajectory_id", sa.String(), comment="Trajectory of that response."),
        sa.Column(
            "outcome_rev",
            sa.Integer(),
            comment="Of a contrast or failure, the outcome revision that says that the goal failed.",
        ),
        sa.Column("reason", sa.String(), comment="Why none could be made, as a word that can be counted."),
        sa.Column("at", sa.DateTime(), nullable=False, comment="When it was tried."),
        schema="store",
        comment="Samples made of other samples; they go when one of those goes.",
    )
    if op.get_context().dialect.name == "postgresql":
        op.create_index("derived_source_id_idx", "derived", ["source_id"], schema="store")
        op.create_index("derived_worse_id_idx", "derived", ["worse_id"], schema="store")
        op.create_index("sample_state_prompt_key_idx", "sample_state", ["prompt_key"], schema="store")
