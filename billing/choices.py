"""What an account has chosen: where its requests may go, and the rest of its settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Row, select, update

from billing.db import Ledger
from billing.tables import accounts
from routing.errors import NotFound
from routing.wire.account import NO_POLICY, NO_SETTINGS, AccountSettings, RoutingPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """All of them, of one account at one moment."""

    policy: RoutingPolicy = NO_POLICY
    settings: AccountSettings = NO_SETTINGS


def read(ledger: Ledger, account_id: str) -> Choices:
    """What an account has chosen.

    Raises:
        NotFound: no such account, or it is closed.
        Unavailable: the database is away.
    """
    query = select(accounts.c.policy, accounts.c.settings).where(
        accounts.c.id == account_id, accounts.c.closed_ms.is_(None)
    )
    with ledger.reading() as connection:
        row = connection.execute(query).one_or_none()
    return _choices(row, account_id)


def change(ledger: Ledger, account_id: str, work: Callable[[Choices], Choices]) -> Choices:
    """Choose anew; changes made at once come one after the other, and none is lost.

    Front doors cache both with the account's keys: call it through `Office.change_account`.

    Raises:
        NotFound: no such account, or it is closed.
        Unavailable: the database is away.
    """
    query = (
        select(accounts.c.policy, accounts.c.settings)
        .where(accounts.c.id == account_id, accounts.c.closed_ms.is_(None))
        .with_for_update()
    )
    with ledger.writing() as connection:
        before = _choices(connection.execute(query).one_or_none(), account_id)
        after = work(before)
        if after == before:
            return after
        connection.execute(
            update(accounts)
            .where(accounts.c.id == account_id)
            .values(
                policy=after.policy.to_json().decode(),
                settings=after.settings.to_json().decode(),
                version=accounts.c.version + 1,
            )
        )
    return after


def _choices(row: Row[str, str] | None, account_id: str) -> Choices:
    if row is None:
        raise NotFound(f"No account {account_id}")
    return Choices(
        policy=RoutingPolicy.from_json(row.policy),
        settings=AccountSettings.from_json(row.settings),
    )
