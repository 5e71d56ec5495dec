"""The ledger: accounts, keys, double entry, generations, spend per key and day."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
SYSTEM_ACCOUNTS = ("revenue", "inference_cost", "insured_loss", "funding", "suspense")


def upgrade() -> None:
    _accounts()
    _double_entry()
    _generations()


def downgrade() -> None:
    for table in (
        "key_usage_days",
        "generations",
        "entries",
        "transactions",
        "ledger_accounts",
        "api_keys",
        "accounts",
    ):
        op.drop_table(table)


def _text(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _flag(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Boolean(), nullable=False)


def _big(name: str, *, nullable: bool = False, default: str | None = None) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable, server_default=default)


def _accounts() -> None:
    op.create_table(
        "accounts",
        _text("id"),
        _text("name"),
        _big("created_ms"),
        _big("granted_nano", default="0"),
        _big("purchased_nano", default="0"),
        sa.PrimaryKeyConstraint("id", name="pk_accounts"),
    )
    op.create_table(
        "api_keys",
        _text("hash"),
        _text("account_id"),
        _text("name"),
        _text("label"),
        _text("kind"),
        _flag("disabled"),
        _big("limit_nano", nullable=True),
        _text("limit_reset", nullable=True),
        _flag("include_byok_in_limit"),
        _big("expires_ms", nullable=True),
        _big("created_ms"),
        _big("updated_ms"),
        _big("version"),
        sa.PrimaryKeyConstraint("hash", name="pk_api_keys"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_api_keys_account_id"),
    )
    op.create_index("ix_api_keys_account_id", "api_keys", ["account_id"])


def _double_entry() -> None:
    ledger_accounts = op.create_table(
        "ledger_accounts",
        _text("id"),
        _text("kind"),
        _big("posted_nano"),
        _big("version"),
        sa.PrimaryKeyConstraint("id", name="pk_ledger_accounts"),
    )
    op.bulk_insert(
        ledger_accounts,
        [{"id": name, "kind": name, "posted_nano": 0, "version": 0} for name in SYSTEM_ACCOUNTS],
    )
    op.create_table(
        "transactions",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        _text("reference"),
        _text("kind"),
        _big("created_ms"),
        _text("note"),
        sa.PrimaryKeyConstraint("id", name="pk_transactions"),
        sa.UniqueConstraint("reference", "kind", name="uq_transactions_reference_kind"),
    )
    op.create_table(
        "entries",
        sa.Column("id", ROW_ID, autoincrement=True, nullable=False),
        sa.Column("transaction_id", ROW_ID, nullable=False),
        _text("ledger_account_id"),
        _big("amount_nano"),
        sa.PrimaryKeyConstraint("id", name="pk_entries"),
        sa.ForeignKeyConstraint(
            ["transaction_id"], ["transactions.id"], name="fk_entries_transaction_id"
        ),
        sa.ForeignKeyConstraint(
            ["ledger_account_id"], ["ledger_accounts.id"], name="fk_entries_ledger_account_id"
        ),
    )
    op.create_index("ix_entries_transaction_id", "entries", ["transaction_id"])


def _generations() -> None:
    op.create_table(
        "generations",
        *(_text(name) for name in ("id", "account_id", "key_hash", "request_id", "api")),
        _flag("stream"),
        _text("outcome"),
        _flag("insured"),
        _flag("byok"),
        *(_big(name) for name in ("created_ms", "finished_ms", "settled_ms")),
        *(_text(name) for name in ("model_id", "endpoint_id", "provider")),
        *(
            _text(name, nullable=True)
            for name in ("upstream_id", "finish_reason", "native_finish_reason")
        ),
        *(_big(name, nullable=True) for name in ("latency_ms", "generation_ms")),
        *(
            _big(name)
            for name in (
                "prompt_tokens",
                "completion_tokens",
                "cached_tokens",
                "cache_write_tokens",
                "reasoning_tokens",
                "images",
            )
        ),
        _flag("estimated"),
        _text("price"),
        *(_big(name) for name in ("cost_nano", "upstream_cost_nano", "hold_nano")),
        *(_text(name) for name in ("flags", "attempts")),
        *(_text(name, nullable=True) for name in ("app_url", "app_title", "external_user")),
        sa.PrimaryKeyConstraint("id", name="pk_generations"),
    )
    for column in ("account_id", "key_hash"):
        op.create_index(
            f"ix_generations_{column}_created_ms", "generations", [column, "created_ms"]
        )
    op.create_table(
        "key_usage_days",
        _text("key_hash"),
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        _big("usage_nano"),
        _big("byok_usage_nano"),
        _big("requests"),
        sa.PrimaryKeyConstraint("key_hash", "day", name="pk_key_usage_days"),
    )
