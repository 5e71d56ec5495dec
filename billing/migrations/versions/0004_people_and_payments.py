"""People, organisations, budgets, payments, own provider keys, applications, activity."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "accounts", sa.Column("kind", sa.Text(), nullable=False, server_default="personal")
    )
    op.add_column("accounts", sa.Column("settings", sa.Text(), nullable=False, server_default="{}"))
    op.add_column(
        "accounts", sa.Column("version", sa.BigInteger(), nullable=False, server_default="0")
    )
    op.add_column("accounts", sa.Column("closed_ms", sa.BigInteger(), nullable=True))
    op.add_column("api_keys", sa.Column("creator_user_id", sa.Text(), nullable=True))
    op.add_column("api_keys", sa.Column("app_id", sa.Integer(), nullable=True))
    op.add_column("api_keys", sa.Column("rpm", sa.Integer(), nullable=True))
    op.add_column("api_keys", sa.Column("tpm", sa.Integer(), nullable=True))
    op.add_column("api_keys", sa.Column("parallel", sa.Integer(), nullable=True))
    op.add_column("api_keys", sa.Column("last_used_ms", sa.BigInteger(), nullable=True))
    op.add_column("api_keys", sa.Column("deleted_ms", sa.BigInteger(), nullable=True))
    op.add_column(
        "generations", sa.Column("fee_nano", sa.BigInteger(), nullable=False, server_default="0")
    )
    op.add_column(
        "generations",
        sa.Column("discount_nano", sa.BigInteger(), nullable=False, server_default="0"),
    )
    op.add_column("generations", sa.Column("byok_id", sa.Text(), nullable=True))
    op.add_column("generations", sa.Column("user_id", sa.Text(), nullable=True))
    op.add_column("generations", sa.Column("app_id", sa.Integer(), nullable=True))
    op.add_column("generations", sa.Column("session_id", sa.Text(), nullable=True))
    op.add_column("generations", sa.Column("user_agent", sa.Text(), nullable=True))
    op.create_index("ix_api_keys_account_id_created_ms", "api_keys", ["account_id", "created_ms"])
    op.create_table(
        "spend_days",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("usage_nano", sa.BigInteger(), nullable=False),
        sa.Column("byok_usage_nano", sa.BigInteger(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("byok_requests", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "day", name="pk_spend_days"),
    )
    op.create_table(
        "activity_days",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("key_hash", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.Column("endpoint_id", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("usage_nano", sa.BigInteger(), nullable=False),
        sa.Column("byok_usage_nano", sa.BigInteger(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "account_id", "day", "key_hash", "model_id", "endpoint_id", name="pk_activity_days"
        ),
    )
    op.create_table(
        "budgets",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column(
            "account_id",
            sa.Text(),
            sa.ForeignKey("accounts.id", name="fk_budgets_account_id"),
            nullable=False,
        ),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("interval", sa.Text(), nullable=False),
        sa.Column("limit_nano", sa.BigInteger(), nullable=False),
        sa.Column("include_byok", sa.Boolean(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_budgets"),
        sa.UniqueConstraint("owner", "interval", name="uq_budgets_owner_interval"),
    )
    op.create_index("ix_budgets_account_id", "budgets", ["account_id"])
    op.create_table(
        "users",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("first_name", sa.Text(), nullable=False, server_default=""),
        sa.Column("last_name", sa.Text(), nullable=False, server_default=""),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("oidc_issuer", sa.Text(), nullable=True),
        sa.Column("oidc_subject", sa.Text(), nullable=True),
        sa.Column("site_admin", sa.Boolean(), nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("email", name="uq_users_email"),
        sa.UniqueConstraint(
            "oidc_issuer", "oidc_subject", name="uq_users_oidc_issuer_oidc_subject"
        ),
    )
    op.create_table(
        "members",
        sa.Column(
            "account_id",
            sa.Text(),
            sa.ForeignKey("accounts.id", name="fk_members_account_id"),
            nullable=False,
        ),
        sa.Column(
            "user_id",
            sa.Text(),
            sa.ForeignKey("users.id", name="fk_members_user_id"),
            nullable=False,
        ),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "user_id", name="pk_members"),
    )
    op.create_index("ix_members_user_id", "members", ["user_id"])
    op.create_table(
        "sessions",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column(
            "user_id",
            sa.Text(),
            sa.ForeignKey("users.id", name="fk_sessions_user_id"),
            nullable=False,
        ),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("seen_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name="pk_sessions"),
    )
    op.create_index("ix_sessions_expires_ms", "sessions", ["expires_ms"])
    op.create_index("ix_sessions_user_id", "sessions", ["user_id"])
    op.create_table(
        "apps",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=True),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_apps"),
        sa.UniqueConstraint("origin", name="uq_apps_origin"),
    )
    op.create_table(
        "auth_codes",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column(
            "account_id",
            sa.Text(),
            sa.ForeignKey("accounts.id", name="fk_auth_codes_account_id"),
            nullable=False,
        ),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("app_id", sa.Integer(), nullable=True),
        sa.Column("callback_url", sa.Text(), nullable=False),
        sa.Column("challenge", sa.Text(), nullable=True),
        sa.Column("challenge_method", sa.Text(), nullable=True),
        sa.Column("key_label", sa.Text(), nullable=False),
        sa.Column("limit_nano", sa.BigInteger(), nullable=True),
        sa.Column("limit_reset", sa.Text(), nullable=True),
        sa.Column("key_expires_ms", sa.BigInteger(), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("used_ms", sa.BigInteger(), nullable=True),
        sa.Column("key_hash", sa.Text(), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("hash", name="pk_auth_codes"),
    )
    op.create_index("ix_auth_codes_expires_ms", "auth_codes", ["expires_ms"])
    op.create_index("ix_auth_codes_account_id", "auth_codes", ["account_id"])
    op.create_table(
        "byok_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column(
            "account_id",
            sa.Text(),
            sa.ForeignKey("accounts.id", name="fk_byok_keys_account_id"),
            nullable=False,
        ),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("kek_id", sa.Text(), nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("always_use", sa.Boolean(), nullable=False),
        sa.Column("is_fallback", sa.Boolean(), nullable=False),
        sa.Column("sort_order", sa.Integer(), nullable=False),
        sa.Column("allowed_models", sa.Text(), nullable=True),
        sa.Column("allowed_user_ids", sa.Text(), nullable=True),
        sa.Column("allowed_key_hashes", sa.Text(), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_byok_keys"),
    )
    op.create_index("ix_byok_keys_account_id", "byok_keys", ["account_id"])
    op.create_index("ix_byok_keys_kek_id", "byok_keys", ["kek_id"])
    op.create_table(
        "payments",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column(
            "account_id",
            sa.Text(),
            sa.ForeignKey("accounts.id", name="fk_payments_account_id"),
            nullable=False,
        ),
        sa.Column("processor", sa.Text(), nullable=False),
        sa.Column("processor_id", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("automatic", sa.Boolean(), nullable=False),
        sa.Column("crypto", sa.Boolean(), nullable=False),
        sa.Column("credit_nano", sa.BigInteger(), nullable=False),
        sa.Column("fee_nano", sa.BigInteger(), nullable=False),
        sa.Column("refunded_nano", sa.BigInteger(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("paid_ms", sa.BigInteger(), nullable=True),
        sa.Column("note", sa.Text(), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("id", name="pk_payments"),
        sa.UniqueConstraint("processor", "processor_id", name="uq_payments_processor_processor_id"),
    )
    op.create_index("ix_payments_account_id", "payments", ["account_id"])
    op.create_table(
        "payment_events",
        sa.Column("processor", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("received_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("processor", "event_id", name="pk_payment_events"),
    )
    op.create_table(
        "generation_contents",
        sa.Column("generation_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("generation_id", name="pk_generation_contents"),
    )
    op.create_index("ix_generation_contents_account_id", "generation_contents", ["account_id"])
    op.create_index("ix_generation_contents_created_ms", "generation_contents", ["created_ms"])
    op.create_index(
        "ix_transactions_credit",
        "transactions",
        ["created_ms"],
        sqlite_where=sa.text("kind NOT IN ('usage', 'insured')"),
        postgresql_where=sa.text("kind NOT IN ('usage', 'insured')"),
    )
    # What was settled before counts towards the budgets of its month, and is in /activity.
    op.execute(
        """
        INSERT INTO spend_days (owner, day, usage_nano, byok_usage_nano, requests, byok_requests)
        SELECT 'org:' || account_id, created_ms / 86400000, sum(cost_nano), 0, count(*), 0
        FROM generations GROUP BY account_id, created_ms / 86400000
        """
    )
    op.execute(
        """
        INSERT INTO activity_days (account_id, day, key_hash, model_id, endpoint_id, provider,
            usage_nano, byok_usage_nano, requests, prompt_tokens, completion_tokens,
            reasoning_tokens, cached_tokens)
        SELECT account_id, created_ms / 86400000, key_hash, model_id, endpoint_id, min(provider),
            sum(cost_nano), 0, count(*), sum(prompt_tokens), sum(completion_tokens),
            sum(reasoning_tokens), sum(cached_tokens)
        FROM generations
        GROUP BY account_id, created_ms / 86400000, key_hash, model_id, endpoint_id
        """
    )


def downgrade() -> None:
    op.drop_index("ix_transactions_credit", "transactions")
    op.drop_table("generation_contents")
    op.drop_table("payment_events")
    op.drop_table("payments")
    op.drop_table("byok_keys")
    op.drop_table("auth_codes")
    op.drop_table("apps")
    op.drop_table("sessions")
    op.drop_table("members")
    op.drop_table("users")
    op.drop_table("budgets")
    op.drop_table("activity_days")
    op.drop_table("spend_days")
    op.drop_index("ix_api_keys_account_id_created_ms", "api_keys")
    with op.batch_alter_table("generations") as table:
        table.drop_column("fee_nano")
        table.drop_column("discount_nano")
        table.drop_column("byok_id")
        table.drop_column("user_id")
        table.drop_column("app_id")
        table.drop_column("session_id")
        table.drop_column("user_agent")
    with op.batch_alter_table("api_keys") as table:
        table.drop_column("creator_user_id")
        table.drop_column("app_id")
        table.drop_column("rpm")
        table.drop_column("tpm")
        table.drop_column("parallel")
        table.drop_column("last_used_ms")
        table.drop_column("deleted_ms")
    with op.batch_alter_table("accounts") as table:
        table.drop_column("kind")
        table.drop_column("settings")
        table.drop_column("version")
        table.drop_column("closed_ms")
