"""What of the failed goal a run is known to have missed, beside each goal that was proposed for it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from agenther_live.buffer.schema import Json

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    column = sa.Column("missed", Json, comment="Parts of the failed goal that are known not to have been reached.")
    op.add_column("goals", column, schema="store")
