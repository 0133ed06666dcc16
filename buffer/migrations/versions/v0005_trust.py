"""Trust: canaries, the health of the panel, labels by people, samples that are held."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "goals",
        sa.Column("prompt_version", sa.String(), comment="Version of the prompt that proposed it."),
        schema="store",
    )
    op.add_column(
        "sample_state",
        sa.Column("held", sa.String(), comment="Why it must not reach a shard until a person clears it; null: it may."),
        schema="store",
    )
    op.create_table(
        "canaries",
        sa.Column("canary_id", sa.String(), nullable=False, comment="Hash of trajectory, revisions, kind and goal."),
        sa.Column("trajectory_id", sa.String(), nullable=False, comment="The trajectory it was made of."),
        sa.Column(
            "kind",
            sa.String(),
            nullable=False,
            comment="foreign, number, entity, write_left_out, requirement_back or failed_goal.",
        ),
        sa.Column(
            "goal", sa.String(), nullable=False, comment="The goal that is known to be bad; empty for a foreign one."
        ),
        sa.Column(
            "proven",
            sa.Boolean(),
            nullable=False,
            comment="Whether the checks prove it false; only such canaries count for drift.",
        ),
        sa.Column("judge", sa.String(), nullable=False, comment="Who judged."),
        sa.Column("prompt_version", sa.String(), nullable=False, comment="Version of the judge's prompt."),
        sa.Column("is_valid", sa.Boolean(), nullable=False, comment="Yes or no; no where unanswered."),
        sa.Column("confidence", sa.Double(), nullable=False, comment="The judge's own confidence."),
        sa.Column("status", sa.String(), nullable=False, comment="ok or unanswered."),
        sa.Column(
            "accepted", sa.Boolean(), nullable=False, comment="Whether the judge let it pass: valid, and sure enough."
        ),
        sa.Column("reason", sa.String(), nullable=False, comment="The judge's reason."),
        sa.Column("at", sa.DateTime(), nullable=False, comment="When it was recorded."),
        schema="store",
        comment="Known-bad goals put to the panel, one row per canary and judge; never a sample.",
    )
    op.create_table(
        "panel_health",
        sa.Column("judge", sa.String(), nullable=False, comment="Who judges."),
        sa.Column("prompt_version", sa.String(), nullable=False, comment="Version of the judge's prompt."),
        sa.Column(
            "canaries",
            sa.BigInteger(),
            nullable=False,
            comment="Proven canaries that it answered since it was last cleared.",
        ),
        sa.Column("accepted", sa.BigInteger(), nullable=False, comment="Those that it accepted."),
        sa.Column("baseline", sa.Integer(), nullable=False, comment="Its first canaries, at the latest look."),
        sa.Column("baseline_accepted", sa.Integer(), nullable=False, comment="Those of them that it accepted."),
        sa.Column("latest", sa.Integer(), nullable=False, comment="Its latest canaries, at that look."),
        sa.Column("latest_accepted", sa.Integer(), nullable=False, comment="Those of them that it accepted."),
        sa.Column("p", sa.Double(), nullable=True, comment="Fisher's exact test, one-sided; null: not looked at yet."),
        sa.Column(
            "drifting",
            sa.Boolean(),
            nullable=False,
            comment="Whether it accepts more than it did; stays so until a person clears it.",
        ),
        sa.Column(
            "doubtful_at",
            sa.DateTime(),
            nullable=True,
            comment="From when on what it accepted is in doubt; null: never.",
        ),
        sa.Column("looked_at", sa.DateTime(), nullable=False, comment="When this row was reckoned."),
        sa.Column(
            "cleared_at",
            sa.DateTime(),
            nullable=True,
            comment="When a person last cleared it: canaries before that count no more.",
        ),
        schema="store",
        comment="How each judge stands on known-bad goals; one row per judge and prompt version.",
    )
    op.create_table(
        "labels",
        sa.Column("label_id", sa.String(), nullable=False, comment="Our UUIDv7 of the label."),
        sa.Column("kind", sa.String(), nullable=False, comment="accepted, held or disputed: which list it came from."),
        sa.Column("trajectory_id", sa.String(), nullable=False, comment="The trajectory."),
        sa.Column("sample_id", sa.String(), nullable=True, comment="The sample; null where the outcome is in dispute."),
        sa.Column("agent", sa.String(), nullable=True, comment="Name of the agent; labels outlive the trajectory."),
        sa.Column("verdict", sa.String(), nullable=False, comment="accept or reject."),
        sa.Column("panel", sa.String(), nullable=True, comment="Relabeler and judges of the sample."),
        sa.Column("at", sa.DateTime(), nullable=False, comment="When the person said so."),
        sa.Column("undone_at", sa.DateTime(), nullable=True, comment="When it was taken back; null: it counts."),
        sa.Column(
            "applied_at", sa.DateTime(), nullable=True, comment="When it took effect; null: it may still be undone."
        ),
        schema="store",
        comment="What people said about samples and disputed outcomes.",
    )
    if op.get_context().dialect.name == "postgresql":
        op.create_index("panel_health_key", "panel_health", ["judge", "prompt_version"], unique=True, schema="store")
        op.create_index("labels_key", "labels", ["label_id"], unique=True, schema="store")
