"""Closing an account: its keys stop, its secrets and people go, its books stay.

Credit that is left is forfeited, as the guides say. What is still under way is charged as usual:
its holds stay in the account until then, and `forfeit_left` takes what they did not use.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, delete, exists, select, update

from billing.db import Ledger
from billing.ledger import FORFEITED, Posting, balances, post
from billing.tables import (
    accounts,
    auth_codes,
    budgets,
    byok_keys,
    generation_contents,
    ledger_accounts,
    members,
    sessions,
    users,
)
from routing.budgets import account_scope
from routing.errors import NotFound
from routing.wire.account import NO_POLICY, NO_SETTINGS, Budget

#: What was under way at the closing is settled within this, or an operator has other worries.
SETTLED_WITHIN_MS = 86_400_000
#: Accounts whose rest is taken in one transaction.
FORFEIT_MAX = 100
#: Of a person's account; a name of an organisation is no personal data.
CLOSED_NAME = "Closed account"

#: What belongs to an account and is of no use to its books.
_OF_THE_ACCOUNT = (auth_codes, budgets, byok_keys, generation_contents, members, sessions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """What closing did.

    Attributes:
        forfeited_nano: credit taken now; 0 when the account was closed before.
        budget: for front doors that cache the balance.
    """

    forfeited_nano: int
    budget: Budget


def close(ledger: Ledger, account_id: str, now_ms: int, held_nano: int = 0) -> Closed:
    """Close an account for ever. A second call changes nothing.

    Its keys are cached by front doors: call it through `Office.change_account`, then post the
    budget.

    Args:
        ledger: where to.
        account_id: whose.
        now_ms: the moment of it.
        held_nano: what requests under way hold; it is left for them.

    Raises:
        NotFound: no such account.
        Unavailable: the database is away; nothing was changed.
    """
    scope = account_scope(account_id)
    with ledger.writing() as connection:
        # In the order of settlement: the balance first, then the account.
        balance_nano = _lock_balance(connection, scope)
        row = connection.execute(
            select(accounts.c.kind, accounts.c.closed_ms)
            .where(accounts.c.id == account_id)
            .with_for_update()
        ).one_or_none()
        if row is None:
            raise NotFound(f"No account {account_id}")
        taken_nano = 0
        if row.closed_ms is None:
            taken_nano = max(0, balance_nano - max(0, held_nano))
            _forfeit(connection, {scope: taken_nano}, now_ms)
            _erase(connection, account_id, row.kind, now_ms)
        left = balances(connection, {scope})[scope]
    budget = Budget(scope=scope, available_nano=left.posted_nano, version=left.version)
    return Closed(forfeited_nano=taken_nano, budget=budget)


def forfeit_left(ledger: Ledger, now_ms: int) -> tuple[Budget, ...]:
    """Take what is left in accounts closed a day ago; the sweep calls it until it is empty.

    Raises:
        Unavailable: the database is away; nothing was taken.
    """
    scope = "acct:" + accounts.c.id
    due = (
        select(ledger_accounts.c.id)
        .where(
            ledger_accounts.c.posted_nano > 0,
            exists().where(
                scope == ledger_accounts.c.id,
                accounts.c.closed_ms <= now_ms - SETTLED_WITHIN_MS,
            ),
        )
        .order_by(ledger_accounts.c.id)
        .limit(FORFEIT_MAX)
    )
    with ledger.writing() as connection:
        scopes = connection.execute(due).scalars().all()
        taken = {name: _lock_balance(connection, name) for name in scopes}
        _forfeit(connection, taken, now_ms)
        return tuple(
            Budget(scope=name, available_nano=left.posted_nano, version=left.version)
            for name, left in sorted(balances(connection, scopes).items())
        )


def _lock_balance(connection: Connection, scope: str) -> int:
    """What an account has, unchanged until this transaction ends."""
    table = ledger_accounts
    query = select(table.c.posted_nano).where(table.c.id == scope).with_for_update()
    return connection.execute(query).scalar_one_or_none() or 0


def _forfeit(connection: Connection, amounts: dict[str, int], now_ms: int) -> None:
    versions = balances(connection, amounts)
    postings = [
        Posting(
            # Once per state of the balance: what is left later is another forfeit.
            reference=f"{scope} {versions[scope].version}",
            kind="forfeit",
            lines=((scope, -amount), (FORFEITED, amount)),
            note="account closed",
        )
        for scope, amount in sorted(amounts.items())
        if amount > 0
    ]
    post(connection, postings, now_ms)


def _erase(connection: Connection, account_id: str, kind: str, now_ms: int) -> None:
    table = members
    people = (
        connection.execute(select(table.c.user_id).where(table.c.account_id == account_id))
        .scalars()
        .all()
    )
    for table in _OF_THE_ACCOUNT:
        connection.execute(delete(table).where(table.c.account_id == account_id))
    changes = {"name": CLOSED_NAME} if kind == "personal" else {}
    connection.execute(
        update(accounts)
        .where(accounts.c.id == account_id)
        .values(
            closed_ms=now_ms,
            policy=NO_POLICY.to_json().decode(),
            settings=NO_SETTINGS.to_json().decode(),
            version=accounts.c.version + 1,
            **changes,
        )
    )
    _forget(connection, people, now_ms)


def _forget(connection: Connection, people: Collection[str], now_ms: int) -> None:
    """Erase people who belong to no other account, so that they may come again as strangers.

    Operators of the site stay: they must not shut themselves out.
    """
    gone = (
        connection.execute(
            select(users.c.id).where(
                users.c.id.in_(sorted(people)),
                users.c.site_admin.is_(False),
                ~exists().where(members.c.user_id == users.c.id),
            )
        )
        .scalars()
        .all()
    )
    for user_id in gone:
        connection.execute(delete(sessions).where(sessions.c.user_id == user_id))
        connection.execute(
            update(users)
            .where(users.c.id == user_id)
            .values(
                email=f"closed:{user_id}",
                first_name="",
                last_name="",
                password_hash=None,
                oidc_issuer=None,
                oidc_subject=None,
                disabled=True,
                updated_ms=now_ms,
            )
        )
