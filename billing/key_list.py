"""The keys of an account as an operator sees them."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from billing.db import Ledger
from billing.tables import api_keys
from routing.budgets import LimitReset
from routing.wire.account import KeyKind

#: Keys listed at once; an account with more asks for the next page.
LIST_MAX = 1_000


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
    expires_ms: int | None
    created_ms: int


_COLUMNS = tuple(api_keys.c[name] for name in ListedKey.__dataclass_fields__)


def list_keys(ledger: Ledger, account_id: str, *, after: str = "") -> tuple[ListedKey, ...]:
    """At most `LIST_MAX` keys of an account by hash, from the one that follows `after`.

    Raises:
        Unavailable: the database is away.
    """
    query = (
        select(*_COLUMNS)
        .where(api_keys.c.account_id == account_id, api_keys.c.hash > after)
        .order_by(api_keys.c.hash)
        .limit(LIST_MAX)
    )
    with ledger.reading() as connection:
        return tuple(ListedKey(**row) for row in connection.execute(query).mappings())
