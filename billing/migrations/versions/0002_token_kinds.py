"""Generations: tokens of sound, video and drawn images, and of caches kept for an hour."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

COLUMNS = (
    "cache_write_1h_tokens",
    "audio_tokens",
    "video_tokens",
    "image_output_tokens",
    "audio_output_tokens",
)


def upgrade() -> None:
    for name in COLUMNS:
        op.add_column(
            "generations", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0")
        )


def downgrade() -> None:
    with op.batch_alter_table("generations") as table:
        for name in COLUMNS:
            table.drop_column(name)
