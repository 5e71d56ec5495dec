"""The keys of an account as its managers and the operator see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, select

from billing.api_keys import KeyTerms, KeyUsage, usages
from billing.db import Ledger
from billing.tables import api_keys
from routing.budgets import LimitReset
from routing.wire.account import KeyKind, RateLimits

#: Keys listed at once; an account with more asks for the next page.
LIST_MAX = 1_000
#: The contract's page.
PAGE_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedKey:
    """One row. Holds no secret; the meanings are those of `KeyRecord`."""

    hash: str
    name: str
    label: str
    kind: KeyKind
    disabled: bool
    limit_nano: int | None
    limit_reset: LimitReset | None
    rpm: int | None
    tpm: int | None
    parallel: int | None
    expires_ms: int | None
    created_ms: int
    last_used_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyEntry:
    """A key with its spend. Holds no secret.

    Attributes:
        updated_ms: when its terms were last changed; when it was made, if they never were.
        last_used_ms: when its last settled request came; None before the first.
    """

    key_hash: str
    account_id: str
    label: str
    terms: KeyTerms
    created_ms: int
    updated_ms: int
    last_used_ms: int | None
    used: KeyUsage

    @property
    def left_nano(self) -> int | None:
        """What is left of its limit in the current window; None without a limit."""
        terms = self.terms
        if terms.limit_nano is None:
            return None
        spent_nano = self.used.in_window(terms.limit_reset, byok=terms.include_byok_in_limit)
        return max(0, terms.limit_nano - spent_nano)


_COLUMNS = tuple(api_keys.c[name] for name in ListedKey.__dataclass_fields__)


def list_keys(ledger: Ledger, account_id: str, *, after: str = "") -> tuple[ListedKey, ...]:
    """At most `LIST_MAX` keys of an account by hash, from the one that follows `after`.

    Raises:
        Unavailable: the database is away.
    """
    query = (
        select(*_COLUMNS)
        .where(
            api_keys.c.account_id == account_id,
            api_keys.c.deleted_ms.is_(None),
            api_keys.c.hash > after,
        )
        .order_by(api_keys.c.hash)
        .limit(LIST_MAX)
    )
    with ledger.reading() as connection:
        return tuple(ListedKey(**row) for row in connection.execute(query).mappings())


def page_of(
    ledger: Ledger, account_id: str, now_ms: int, *, offset: int = 0, include_disabled: bool = False
) -> tuple[KeyEntry, ...]:
    """At most `PAGE_MAX` inference keys of an account, newest first.

    Args:
        ledger: read only.
        account_id: whose.
        now_ms: which day, week and month it is.
        offset: how many to skip.
        include_disabled: also those that are shut.

    Raises:
        Unavailable: the database is away.
    """
    query = (
        select(api_keys)
        .where(*manageable(account_id))
        .order_by(api_keys.c.created_ms.desc(), api_keys.c.hash)
        .offset(offset)
        .limit(PAGE_MAX)
    )
    if not include_disabled:
        query = query.where(api_keys.c.disabled.is_(False))
    with ledger.reading() as connection:
        return _entries(connection, query, now_ms)


def newest(
    ledger: Ledger, account_id: str, now_ms: int, *, maker: str | None = None
) -> tuple[KeyEntry, ...]:
    """At most `PAGE_MAX` keys of an account, newest first: all kinds, shut ones too.

    Args:
        ledger: read only.
        account_id: whose.
        now_ms: which day, week and month it is.
        maker: only the keys for inference that this member made, as a member who is no admin has.

    Raises:
        Unavailable: the database is away.
    """
    wanted = [api_keys.c.account_id == account_id, *manageable(None)]
    if maker is not None:
        wanted = [*manageable(account_id), api_keys.c.creator_user_id == maker]
    query = (
        select(api_keys)
        .where(*wanted)
        .order_by(api_keys.c.created_ms.desc(), api_keys.c.hash)
        .limit(PAGE_MAX)
    )
    with ledger.reading() as connection:
        return _entries(connection, query, now_ms)


def entry_of(ledger: Ledger, account_id: str | None, key_hash: str, now_ms: int) -> KeyEntry | None:
    """One key that may be managed (`manageable`), None when there is none with this hash.

    Raises:
        Unavailable: the database is away.
    """
    with ledger.reading() as connection:
        return find_entry(connection, account_id, key_hash, now_ms)


def find_entry(
    connection: Connection, account_id: str | None, key_hash: str, now_ms: int
) -> KeyEntry | None:
    """The same, as a part of something larger."""
    query = select(api_keys).where(api_keys.c.hash == key_hash, *manageable(account_id))
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    return _entry(row, usages(connection, (key_hash,), now_ms).get(key_hash, KeyUsage()))


def manageable(account_id: str | None) -> tuple[ColumnElement[bool], ...]:
    """Which keys may be seen and changed: an account's keys for inference; for None, all.

    Keys that manage are the operator's to give and to take: one that leaked must not be able to
    shut out the others.
    """
    there = api_keys.c.deleted_ms.is_(None)
    if account_id is None:
        return (there,)
    return (there, api_keys.c.account_id == account_id, api_keys.c.kind == "inference")


def _entries(connection: Connection, query: Select[Any], now_ms: int) -> tuple[KeyEntry, ...]:
    rows = connection.execute(query).all()
    spent = usages(connection, [row.hash for row in rows], now_ms)
    return tuple(_entry(row, spent.get(row.hash, KeyUsage())) for row in rows)


def _entry(row: Any, used: KeyUsage) -> KeyEntry:
    return KeyEntry(
        key_hash=row.hash,
        account_id=row.account_id,
        label=row.label,
        terms=KeyTerms(
            name=row.name,
            kind=row.kind,
            limit_nano=row.limit_nano,
            limit_reset=row.limit_reset,
            include_byok_in_limit=row.include_byok_in_limit,
            expires_ms=row.expires_ms,
            disabled=row.disabled,
            creator_user_id=row.creator_user_id or "",
            app_id=row.app_id,
            rates=RateLimits(rpm=row.rpm, tpm=row.tpm, parallel=row.parallel),
        ),
        created_ms=row.created_ms,
        updated_ms=row.updated_ms,
        last_used_ms=row.last_used_ms,
        used=used,
    )
