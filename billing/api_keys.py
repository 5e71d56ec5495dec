"""API keys. Only the hash of a key is kept: the full text is shown once, when it is minted."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, case, func, insert, select, update

from billing.accounts import checked_text
from billing.bill import MS_MAX
from billing.byok import byok_keys_of
from billing.db import Ledger
from billing.ledger import AMOUNT_MAX_NANO
from billing.spend import key_limits, owners_of, rules_of, window_budgets
from billing.tables import accounts, api_keys, key_usage_days, members
from routing.budgets import LimitReset, day_of, window_start_day
from routing.errors import BadRequest, Forbidden, NotFound
from routing.wire.account import (
    NO_RATES,
    AccountSettings,
    Budget,
    BudgetRule,
    KeyKind,
    KeyRecord,
    RateLimits,
    RoutingPolicy,
)

PREFIX = "sk-or-v1-"
#: 256 bits, printed as 64 hex digits: guessing is hopeless, so an unsalted hash is enough.
_SECRET_BYTES = 32
#: Digits of the secret shown at either end of a label.
_SHOWN = 3
#: Keys of one account: one for each of its customers, and still listed and dropped in a moment.
KEYS_MAX = 100_000
#: Most of anything a minute or at once: paces are kept in microseconds, this one is ten of them.
RATE_MAX = 6_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyTerms:
    """What a key is for and what it may spend; the meanings are those of `KeyRecord`.

    Attributes:
        app_id: the application it was made for.
    """

    name: str
    kind: KeyKind = "inference"
    limit_nano: int | None = None
    limit_reset: LimitReset | None = None
    include_byok_in_limit: bool = False
    expires_ms: int | None = None
    disabled: bool = False
    creator_user_id: str = ""
    app_id: int | None = None
    rates: RateLimits = NO_RATES


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUsage:
    """Settled spend of a key: ever, and in the current UTC day, week and month."""

    total_nano: int = 0
    daily_nano: int = 0
    weekly_nano: int = 0
    monthly_nano: int = 0
    byok_total_nano: int = 0
    byok_daily_nano: int = 0
    byok_weekly_nano: int = 0
    byok_monthly_nano: int = 0

    def in_window(self, reset: LimitReset | None, *, byok: bool) -> int:
        """What counts against a limit: spend in its current window.

        Args:
            reset: of the limit.
            byok: whether use of the account's own provider keys counts too.
        """
        windows = {
            None: (self.total_nano, self.byok_total_nano),
            "daily": (self.daily_nano, self.byok_daily_nano),
            "weekly": (self.weekly_nano, self.byok_weekly_nano),
            "monthly": (self.monthly_nano, self.byok_monthly_nano),
        }
        own_nano, byok_nano = windows[reset]
        return own_nano + (byok_nano if byok else 0)


def hash_key(text: str) -> str:
    """SHA-256 of the full key, in hex: its id everywhere but in the client's hands."""
    return hashlib.sha256(text.encode()).hexdigest()


def label_of(text: str) -> str:
    """The key as it may be shown: `sk-or-v1-0e6...c96`."""
    secret = text.removeprefix(PREFIX)
    return f"{PREFIX}{secret[:_SHOWN]}...{secret[-_SHOWN:]}"


def mint(ledger: Ledger, account_id: str, terms: KeyTerms, now_ms: int) -> tuple[str, KeyRecord]:
    """Make a key; returns its full text, which nobody can read again, and its record.

    Raises:
        BadRequest: a blank name, terms beyond reason, a maker who is no member of the account.
        Forbidden: the account has `KEYS_MAX` keys, or the key manages and its maker is no admin.
        NotFound: no such account.
        Unavailable: the database is away.
    """
    with ledger.writing() as connection:
        return mint_key(connection, account_id, terms, now_ms)


def mint_key(
    connection: Connection, account_id: str, terms: KeyTerms, now_ms: int
) -> tuple[str, KeyRecord]:
    """The same, as a part of something larger."""
    columns = columns_of(terms)
    text = PREFIX + secrets.token_hex(_SECRET_BYTES)
    key_hash = hash_key(text)
    _check_owner(connection, account_id, terms)
    connection.execute(
        insert(api_keys),
        {
            **columns,
            "hash": key_hash,
            "account_id": account_id,
            "label": label_of(text),
            "kind": terms.kind,
            "created_ms": now_ms,
            "updated_ms": now_ms,
            "version": 1,
        },
    )
    record = _find(connection, key_hash, now_ms)
    if record is None:
        raise RuntimeError("a key was not there right after it was made")
    return text, record


def columns_of(terms: KeyTerms) -> dict[str, object]:
    """Terms as columns of a key, checked; its kind is said when it is made and never changed.

    Raises:
        BadRequest: a blank name, a limit, a rate or an end of life beyond reason.
    """
    if terms.limit_nano is not None and not 0 <= terms.limit_nano <= AMOUNT_MAX_NANO:
        raise BadRequest("The limit must be from 0 to 9,000,000 USD", param="limit")
    if terms.expires_ms is not None and not 0 < terms.expires_ms <= MS_MAX:
        raise BadRequest("The key must expire before the year 10000", param="expires_at")
    rates = {"rpm": terms.rates.rpm, "tpm": terms.rates.tpm, "parallel": terms.rates.parallel}
    for name, value in rates.items():
        if value is not None and not 1 <= value <= RATE_MAX:
            raise BadRequest(f"{name}: must be from 1 to {RATE_MAX:,}", param=name)
    return {
        "name": checked_text(terms.name, "name"),
        "disabled": terms.disabled,
        "limit_nano": terms.limit_nano,
        "limit_reset": terms.limit_reset,
        "include_byok_in_limit": terms.include_byok_in_limit,
        "expires_ms": terms.expires_ms,
        "creator_user_id": terms.creator_user_id or None,
        "app_id": terms.app_id,
        **rates,
    }


def find(ledger: Ledger, key_hash: str, now_ms: int) -> KeyRecord | None:
    """The record of a key, disabled and expired ones too; None when nobody knows it.

    Raises:
        Unavailable: the database is away, which says nothing about the key.
    """
    with ledger.reading() as connection:
        return _find(connection, key_hash, now_ms)


def hashes_of(ledger: Ledger, account_id: str) -> tuple[str, ...]:
    """The keys of an account: whose cached records hold what is said of the account.

    Raises:
        Unavailable: the database is away.
    """
    query = select(api_keys.c.hash).where(
        api_keys.c.account_id == account_id, api_keys.c.deleted_ms.is_(None)
    )
    with ledger.reading() as connection:
        return tuple(connection.execute(query).scalars())


def disable(ledger: Ledger, key_hash: str, now_ms: int) -> bool:
    """Shut a key; False when nobody knows it. What is under way with it is still settled.

    Raises:
        Unavailable: the database is away.
    """
    with ledger.writing() as connection:
        changed = connection.execute(
            update(api_keys)
            .where(api_keys.c.hash == key_hash, api_keys.c.deleted_ms.is_(None))
            .values(disabled=True, updated_ms=now_ms, version=api_keys.c.version + 1)
        )
        return changed.rowcount == 1


def usage(ledger: Ledger, key_hash: str, now_ms: int) -> KeyUsage:
    """What a key has spent, zero for one that nobody knows.

    Raises:
        Unavailable: the database is away.
    """
    with ledger.reading() as connection:
        return usages(connection, (key_hash,), now_ms).get(key_hash, KeyUsage())


def usages(connection: Connection, hashes: Collection[str], now_ms: int) -> dict[str, KeyUsage]:
    """The same of several keys, by hash; those that spent nothing are not in it."""
    table = key_usage_days
    starts = {
        "total": 0,
        "daily": day_of(now_ms),
        "weekly": window_start_day("weekly", now_ms),
        "monthly": window_start_day("monthly", now_ms),
    }
    sums = [
        func.sum(case((table.c.day >= start, column), else_=0)).label(f"{prefix}{span}_nano")
        for prefix, column in (("", table.c.usage_nano), ("byok_", table.c.byok_usage_nano))
        for span, start in starts.items()
    ]
    rows = connection.execute(
        select(table.c.key_hash, *sums)
        .where(table.c.key_hash.in_(sorted(hashes)))
        .group_by(table.c.key_hash)
    )
    return {
        row.pop("key_hash"): KeyUsage(**{name: int(value) for name, value in row.items()})
        for row in map(dict, rows.mappings())
    }


def budget_of(ledger: Ledger, key_hash: str, now_ms: int) -> Budget | None:
    """What is left of a key's limit in the window of `now_ms`; None without a limit or a key.

    Raises:
        Unavailable: the database is away.
    """
    with ledger.reading() as connection:
        limit = key_limits(connection, {key_hash}).get(key_hash)
        if limit is None:
            return None
        return next(iter(window_budgets(connection, [(limit, now_ms)])), None)


def _check_owner(connection: Connection, account_id: str, terms: KeyTerms) -> None:
    """The account lives, has room for a key, and its maker belongs to it."""
    known = connection.execute(
        select(accounts.c.id)
        .where(accounts.c.id == account_id, accounts.c.closed_ms.is_(None))
        # Members do not change meanwhile: a key made while its maker is removed would stay.
        .with_for_update(read=True, key_share=True)
    )
    if known.one_or_none() is None:
        raise NotFound(f"No account {account_id}")
    count = select(func.count()).where(
        api_keys.c.account_id == account_id, api_keys.c.deleted_ms.is_(None)
    )
    if connection.execute(count).scalar_one() >= KEYS_MAX:
        raise Forbidden(f"An account may have {KEYS_MAX:,} keys; delete some first.")
    user_id = terms.creator_user_id
    if not user_id:
        return
    role = connection.execute(
        select(members.c.role).where(
            members.c.account_id == account_id, members.c.user_id == user_id
        )
    ).scalar_one_or_none()
    if role is None:
        raise BadRequest(
            f"creator_user_id: {user_id!r} is no member of this account", param="creator_user_id"
        )
    if terms.kind == "management" and role != "admin":
        raise Forbidden("Only admins of this organization can do this.")


def _find(connection: Connection, key_hash: str, now_ms: int) -> KeyRecord | None:
    row = connection.execute(
        select(
            api_keys,
            accounts.c.purchased_nano,
            accounts.c.policy,
            accounts.c.settings,
            accounts.c.closed_ms,
        )
        .join(accounts, accounts.c.id == api_keys.c.account_id)
        .where(api_keys.c.hash == key_hash, api_keys.c.deleted_ms.is_(None))
    ).one_or_none()
    if row is None:
        return None
    user_id = row.creator_user_id or ""
    settings = AccountSettings.from_json(row.settings)
    rules = rules_of(connection, owners_of(row.account_id, key_hash, user_id))
    return KeyRecord(
        key_hash=row.hash,
        account_id=row.account_id,
        kind=row.kind,
        label=row.label,
        name=row.name,
        disabled=row.disabled or row.closed_ms is not None,
        expires_ms=row.expires_ms,
        limit_nano=row.limit_nano,
        limit_reset=row.limit_reset,
        include_byok_in_limit=row.include_byok_in_limit,
        purchased=row.purchased_nano > 0,
        purchased_nano=row.purchased_nano,
        policy=RoutingPolicy.from_json(row.policy),
        creator_user_id=user_id,
        budgets=tuple(
            BudgetRule(
                owner=rule.owner,
                interval=rule.interval,
                limit_nano=rule.limit_nano,
                include_byok=rule.include_byok,
            )
            for each in rules.values()
            for rule in each
        ),
        rates=RateLimits(rpm=row.rpm, tpm=row.tpm, parallel=row.parallel),
        account_rates=settings.rates,
        byok=byok_keys_of(connection, row.account_id, key_hash, user_id),
        logs=settings.logs,
        fetched_ms=now_ms,
    )
