"""The version of what an agent could call stands beside the models of each run."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    column = sa.Column("tools_version", sa.String(), comment="Hash of the tool schemas that its models were given.")
    op.add_column("runs", column, schema="store")
