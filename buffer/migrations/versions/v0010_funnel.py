"""The funnel: what the latest relabeling said stands beside the state, so that it is counted without a join."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_COLUMNS = (
    ("recoverable", sa.Boolean(), "Whether its latest analysis lets a hindsight goal be sought; null: none."),
    ("proposed", sa.Boolean(), "Whether its latest relabeling proposed a goal; null: there was none."),
    ("relabel_reason", sa.String(), "The counted word of its latest relabeling."),
)


def upgrade() -> None:
    for name, kind, comment in _COLUMNS:
        op.add_column("state", sa.Column(name, kind, comment=comment), schema="store")
    of_state = "r.relabeling_id = state.relabeling_id AND r.trajectory_id = state.trajectory_id"
    op.execute(
        "UPDATE store.state SET relabel_reason = r.reason, proposed = EXISTS "
        "(SELECT 1 FROM store.goals AS g WHERE g.relabeling_id = r.relabeling_id) "
        f"FROM store.relabelings AS r WHERE {of_state}"
    )
    op.execute(f"UPDATE store.state SET recoverable = r.recoverable FROM store.analyses AS r WHERE {of_state}")
