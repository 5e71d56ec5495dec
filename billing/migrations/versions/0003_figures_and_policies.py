"""Figures of endpoints per hour, and a policy per account."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

COUNTS = (
    "tool_requests",
    "tool_with_calls",
    "tool_calls",
    "tool_valid",
    "tool_unparsed",
    "tool_unknown",
    "tool_mismatched",
)


def upgrade() -> None:
    op.add_column("accounts", sa.Column("policy", sa.Text(), nullable=False, server_default="{}"))
    op.create_table(
        "endpoint_hours",
        sa.Column("endpoint_id", sa.Text(), nullable=False),
        sa.Column("hour", sa.Integer(), nullable=False, autoincrement=False),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in ("ok", "fault", "limited", "refused")
        ),
        sa.Column("latency", sa.Text(), nullable=False),
        sa.Column("throughput", sa.Text(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in COUNTS),
        sa.PrimaryKeyConstraint("endpoint_id", "hour", name="pk_endpoint_hours"),
    )
    op.create_index("ix_endpoint_hours_hour", "endpoint_hours", ["hour"])


def downgrade() -> None:
    op.drop_table("endpoint_hours")
    with op.batch_alter_table("accounts") as table:
        table.drop_column("policy")
