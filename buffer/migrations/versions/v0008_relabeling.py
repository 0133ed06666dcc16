"""Relabeling: what proves the critical step, each requirement and each achievement; what decides a sample's company."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from agenther_live.buffer.schema import Json

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table, column in (
        ("analyses", sa.Column("critical_evidence", Json, comment="Indices of the messages that show it.")),
        ("goals", sa.Column("requirements", Json, comment="Each requirement with the messages that prove it.")),
        ("relabelings", sa.Column("achievements", Json, comment="What was achieved, with the messages that prove it.")),
        ("sample_state", sa.Column("strategy", sa.String(), comment="final, or future for a cut run.")),
        ("sample_state", sa.Column("writes", sa.Boolean(), comment="Whether it trains a call that changes something.")),
    ):
        op.add_column(table, column, schema="store")
