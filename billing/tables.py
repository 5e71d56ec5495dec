"""The tables. Money is integer nano-dollars in bigint columns; times are ms since 1970 UTC.

`transactions` and `entries` are only ever appended to. `posted_nano`, `granted_nano`,
`purchased_nano` and `key_usage_days` are sums kept ready; `invariants.py` proves them.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

# SQLite numbers rows by itself only for a column that is declared INTEGER.
_RowId = BigInteger().with_variant(Integer, "sqlite")

accounts = Table(
    "accounts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("granted_nano", BigInteger, nullable=False, server_default="0"),
    Column("purchased_nano", BigInteger, nullable=False, server_default="0"),
    Column("policy", Text, nullable=False, server_default="{}"),
    Column("kind", Text, nullable=False, server_default="personal"),
    Column("settings", Text, nullable=False, server_default="{}"),
    Column("version", BigInteger, nullable=False, server_default="0"),
    Column("closed_ms", BigInteger),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("limit_nano", BigInteger),
    Column("limit_reset", Text),
    Column("include_byok_in_limit", Boolean, nullable=False),
    Column("expires_ms", BigInteger),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("creator_user_id", Text),
    Column("app_id", Integer),
    Column("rpm", Integer),
    Column("tpm", Integer),
    Column("parallel", Integer),
    Column("last_used_ms", BigInteger),
    # A deleted key is kept: what is under way with it is still booked to its account.
    Column("deleted_ms", BigInteger),
    Index(None, "account_id", "created_ms"),
)

ledger_accounts = Table(
    "ledger_accounts",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("posted_nano", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
)

transactions = Table(
    "transactions",
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column("reference", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("note", Text, nullable=False),
    UniqueConstraint("reference", "kind"),
)
#: What is not usage: few transactions of many. Ask for them in these words, and the index serves.
MOVES_CREDIT = text("transactions.kind NOT IN ('usage', 'insured')")
Index(
    "ix_transactions_credit",
    transactions.c.created_ms,
    sqlite_where=text("kind NOT IN ('usage', 'insured')"),
    postgresql_where=text("kind NOT IN ('usage', 'insured')"),
)

entries = Table(
    "entries",
    metadata,
    Column("id", _RowId, primary_key=True, autoincrement=True),
    Column("transaction_id", _RowId, ForeignKey("transactions.id"), nullable=False, index=True),
    Column("ledger_account_id", Text, ForeignKey("ledger_accounts.id"), nullable=False),
    Column("amount_nano", BigInteger, nullable=False),
)

# No foreign keys to accounts and api_keys: a charge for a deleted key is kept, not refused.
generations = Table(
    "generations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, nullable=False),
    Column("key_hash", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("api", Text, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("insured", Boolean, nullable=False),
    Column("byok", Boolean, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("finished_ms", BigInteger, nullable=False),
    Column("settled_ms", BigInteger, nullable=False),
    Column("model_id", Text, nullable=False),
    Column("endpoint_id", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("upstream_id", Text),
    Column("finish_reason", Text),
    Column("native_finish_reason", Text),
    Column("latency_ms", BigInteger),
    Column("generation_ms", BigInteger),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("cache_write_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("images", BigInteger, nullable=False),
    Column("estimated", Boolean, nullable=False),
    Column("price", Text, nullable=False),
    Column("cost_nano", BigInteger, nullable=False),
    Column("upstream_cost_nano", BigInteger, nullable=False),
    Column("hold_nano", BigInteger, nullable=False),
    Column("flags", Text, nullable=False),
    Column("attempts", Text, nullable=False),
    Column("app_url", Text),
    Column("app_title", Text),
    Column("external_user", Text),
    Column("cache_write_1h_tokens", BigInteger, nullable=False, server_default="0"),
    Column("audio_tokens", BigInteger, nullable=False, server_default="0"),
    Column("video_tokens", BigInteger, nullable=False, server_default="0"),
    Column("image_output_tokens", BigInteger, nullable=False, server_default="0"),
    Column("audio_output_tokens", BigInteger, nullable=False, server_default="0"),
    # Of `cost_nano`: the fee for use of the account's own provider key, and what logging took off.
    Column("fee_nano", BigInteger, nullable=False, server_default="0"),
    Column("discount_nano", BigInteger, nullable=False, server_default="0"),
    Column("byok_id", Text),
    Column("user_id", Text),
    Column("app_id", Integer),
    Column("session_id", Text),
    Column("user_agent", Text),
    Index(None, "account_id", "created_ms"),
    Index(None, "key_hash", "created_ms"),
)

key_usage_days = Table(
    "key_usage_days",
    metadata,
    Column("key_hash", Text, primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("usage_nano", BigInteger, nullable=False),
    Column("byok_usage_nano", BigInteger, nullable=False),
    Column("requests", BigInteger, nullable=False),
)

# Spend of whoever has a budget besides keys: `org:<account>`, `member:<account>/<user>`.
spend_days = Table(
    "spend_days",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("usage_nano", BigInteger, nullable=False),
    Column("byok_usage_nano", BigInteger, nullable=False),
    Column("requests", BigInteger, nullable=False),
    Column("byok_requests", BigInteger, nullable=False),
)

# What /activity tells: one row per key, model and endpoint of a UTC day.
activity_days = Table(
    "activity_days",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("key_hash", Text, primary_key=True),
    Column("model_id", Text, primary_key=True),
    Column("endpoint_id", Text, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("usage_nano", BigInteger, nullable=False),
    Column("byok_usage_nano", BigInteger, nullable=False),
    Column("requests", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
)

# A limit of its own for a key, a member or the whole account, one per interval.
budgets = Table(
    "budgets",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False, index=True),
    Column("owner", Text, nullable=False),
    Column("interval", Text, nullable=False),
    Column("limit_nano", BigInteger, nullable=False),
    Column("include_byok", Boolean, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    UniqueConstraint("owner", "interval"),
)

users = Table(
    "users",
    metadata,
    Column("id", Text, primary_key=True),
    Column("email", Text, nullable=False, unique=True),
    Column("first_name", Text, nullable=False, server_default=""),
    Column("last_name", Text, nullable=False, server_default=""),
    Column("password_hash", Text),
    Column("oidc_issuer", Text),
    Column("oidc_subject", Text),
    Column("site_admin", Boolean, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    UniqueConstraint("oidc_issuer", "oidc_subject"),
)

members = Table(
    "members",
    metadata,
    Column("account_id", Text, ForeignKey("accounts.id"), primary_key=True),
    Column("user_id", Text, ForeignKey("users.id"), primary_key=True, index=True),
    Column("role", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("user_id", Text, ForeignKey("users.id"), nullable=False, index=True),
    Column("account_id", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("seen_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False, index=True),
)

# Applications, by the origin they say they are of; ids are small integers as in the contract.
apps = Table(
    "apps",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("origin", Text, nullable=False, unique=True),
    Column("title", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)

# One-time codes of the PKCE flow, by their hash.
auth_codes = Table(
    "auth_codes",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False, index=True),
    Column("user_id", Text),
    Column("app_id", Integer),
    Column("callback_url", Text, nullable=False),
    Column("challenge", Text),
    Column("challenge_method", Text),
    Column("key_label", Text, nullable=False),
    Column("limit_nano", BigInteger),
    Column("limit_reset", Text),
    Column("key_expires_ms", BigInteger),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False, index=True),
    Column("used_ms", BigInteger),
    Column("key_hash", Text),
    Column("tries", Integer, nullable=False, server_default="0"),
)

# Provider keys of customers; `sealed` opens only for its own row, see routing/sealing.py.
byok_keys = Table(
    "byok_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False, index=True),
    Column("provider", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("sealed", Text, nullable=False),
    Column("kek_id", Text, nullable=False, index=True),
    Column("disabled", Boolean, nullable=False),
    Column("always_use", Boolean, nullable=False),
    Column("is_fallback", Boolean, nullable=False),
    Column("sort_order", Integer, nullable=False),
    Column("allowed_models", Text),
    Column("allowed_user_ids", Text),
    Column("allowed_key_hashes", Text),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
)

# `status`: pending, paid, refunded (wholly or in part), failed.
payments = Table(
    "payments",
    metadata,
    Column("id", Text, primary_key=True),
    Column("account_id", Text, ForeignKey("accounts.id"), nullable=False, index=True),
    Column("processor", Text, nullable=False),
    Column("processor_id", Text),
    Column("status", Text, nullable=False),
    Column("automatic", Boolean, nullable=False),
    Column("crypto", Boolean, nullable=False),
    Column("credit_nano", BigInteger, nullable=False),
    Column("fee_nano", BigInteger, nullable=False),
    Column("refunded_nano", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("paid_ms", BigInteger),
    Column("note", Text, nullable=False, server_default=""),
    UniqueConstraint("processor", "processor_id"),
)

# What payment processors told us, once each.
payment_events = Table(
    "payment_events",
    metadata,
    Column("processor", Text, primary_key=True),
    Column("event_id", Text, primary_key=True),
    Column("received_ms", BigInteger, nullable=False),
)

# Prompts and answers of accounts that chose to have them kept.
generation_contents = Table(
    "generation_contents",
    metadata,
    Column("generation_id", Text, primary_key=True),
    Column("account_id", Text, nullable=False, index=True),
    Column("sealed", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False, index=True),
)

# One row per endpoint and hour (since 1970) that is over; histograms are JSON, bucket to count.
endpoint_hours = Table(
    "endpoint_hours",
    metadata,
    Column("endpoint_id", Text, primary_key=True),
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("ok", BigInteger, nullable=False),
    Column("fault", BigInteger, nullable=False),
    Column("limited", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
    Column("latency", Text, nullable=False),
    Column("throughput", Text, nullable=False),
    Column("tool_requests", BigInteger, nullable=False),
    Column("tool_with_calls", BigInteger, nullable=False),
    Column("tool_calls", BigInteger, nullable=False),
    Column("tool_valid", BigInteger, nullable=False),
    Column("tool_unparsed", BigInteger, nullable=False),
    Column("tool_unknown", BigInteger, nullable=False),
    Column("tool_mismatched", BigInteger, nullable=False),
    Index(None, "hour"),
)
