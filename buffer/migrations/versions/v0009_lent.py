"""Which requests of users stand in runs of others, so that a deletion finds them after retention took either side."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "lent",
        sa.Column("trajectory_id", sa.String(), nullable=False, comment="The trajectory whose user asked for it."),
        sa.Column(
            "goal_id",
            sa.String(),
            nullable=False,
            comment="The goal of another user's run that is this request, word for word.",
        ),
        sa.Column("sample_id", sa.String(), nullable=True, comment="The sample that was made of it; null: none was."),
        schema="store",
        comment="Requests that stand in runs of other users, once retention let go of either side.",
    )
    if op.get_context().dialect.name == "postgresql":
        op.create_index("lent_trajectory", "lent", ["trajectory_id"], schema="store")
        op.create_index("lent_goal", "lent", ["goal_id"], schema="store")
        op.create_index(  # retention looks for them in every step; a hash, for goals are longer than a tree's keys
            "goals_asked",
            "goals",
            ["hindsight_goal"],
            schema="store",
            postgresql_using="hash",
            postgresql_where=sa.text("method = 'user_goal'"),
        )
