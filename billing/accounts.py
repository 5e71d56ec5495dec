"""Customer accounts and the credit they are granted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, RowMapping, insert, select, update

from billing.db import Ledger
from billing.ledger import AMOUNT_MAX_NANO, FUNDING, Posting, balances, open_accounts, post
from billing.tables import accounts, entries, transactions
from routing import ids
from routing.budgets import account_scope
from routing.errors import BadRequest, Conflict, NotFound
from routing.payments import PAYMENT_REFERENCE
from routing.wire.account import (
    NO_POLICY,
    NO_SETTINGS,
    AccountSettings,
    Budget,
    RoutingPolicy,
)

AccountKind = Literal["personal", "organization"]
#: Longest name of an account or key, and longest reference or note of a grant.
TEXT_MAX = 256
#: Accounts listed at once; an operator with more asks for the next page.
LIST_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A customer.

    Attributes:
        granted_nano: all credit ever given, bought or not, less what was refunded or expired.
        purchased_nano: what was bought and not refunded.
        policy: where its requests may go.
        settings: what else it has chosen.
        version: which change this is, of its settings, budgets or spend.
        closed_ms: when it was deleted; None while it lives.
    """

    id: str
    name: str
    created_ms: int
    granted_nano: int = 0
    purchased_nano: int = 0
    policy: RoutingPolicy = NO_POLICY
    kind: AccountKind = "personal"
    settings: AccountSettings = NO_SETTINGS
    version: int = 0
    closed_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Credit for an account.

    Attributes:
        reference: names the payment or gift; granting it again changes nothing.
        purchased: whether it was paid for; free-tier limits depend on it.
    """

    amount_nano: int
    reference: str
    note: str = ""
    purchased: bool = True


def create_account(
    ledger: Ledger, name: str, now_ms: int, kind: AccountKind = "personal"
) -> Account:
    """Open an account without credit.

    Raises:
        BadRequest: a name that is blank or too long.
        Unavailable: the database is away.
    """
    with ledger.writing() as connection:
        return open_account(connection, name, now_ms, kind)


def open_account(
    connection: Connection, name: str, now_ms: int, kind: AccountKind = "personal"
) -> Account:
    """The same, as a part of something larger."""
    account = Account(
        id=ids.account_id(), name=checked_text(name, "name"), created_ms=now_ms, kind=kind
    )
    row = {"id": account.id, "name": account.name, "created_ms": now_ms, "kind": kind}
    connection.execute(insert(accounts), row)
    open_accounts(connection, {account_scope(account.id)})
    return account


def get(ledger: Ledger, account_id: str) -> Account | None:
    """One account; None when there is none with this id."""
    with ledger.reading() as connection:
        found = connection.execute(select(accounts).where(accounts.c.id == account_id))
        row = found.mappings().one_or_none()
    return None if row is None else _account(row)


def list_accounts(ledger: Ledger, *, after: str = "") -> tuple[Account, ...]:
    """At most `LIST_MAX` accounts by id, from the one that follows `after`."""
    query = select(accounts).where(accounts.c.id > after).order_by(accounts.c.id).limit(LIST_MAX)
    with ledger.reading() as connection:
        return tuple(_account(row) for row in connection.execute(query).mappings())


def change_policy(
    ledger: Ledger, account_id: str, change: Callable[[RoutingPolicy], RoutingPolicy]
) -> RoutingPolicy:
    """Say where an account's requests may go; changes made at once come one after the other.

    Its keys are cached with the policy: tell front doors, as `Office.change_account` does.

    Raises:
        NotFound: no such account, or it is closed.
        Unavailable: the database is away.
    """
    query = (
        select(accounts.c.policy)
        .where(accounts.c.id == account_id, accounts.c.closed_ms.is_(None))
        .with_for_update()
    )
    with ledger.writing() as connection:
        found = connection.execute(query).scalar_one_or_none()
        if found is None:
            raise NotFound(f"No account {account_id}, or it is closed")
        before = RoutingPolicy.from_json(found)
        after = change(before)
        if after == before:
            return after
        connection.execute(
            update(accounts)
            .where(accounts.c.id == account_id)
            .values(policy=after.to_json().decode(), version=accounts.c.version + 1)
        )
    return after


def grant(ledger: Ledger, account_id: str, wanted: Grant, now_ms: int) -> Budget:
    """Add credit once per reference; returns the balance after it.

    Raises:
        BadRequest: an amount that is not positive or beyond reason, or a blank reference.
        NotFound: no such account.
        Conflict: the reference was used for another account or amount.
        Unavailable: the database is away; trying again cannot grant twice.
    """
    if not 0 < wanted.amount_nano <= AMOUNT_MAX_NANO:
        raise BadRequest("The amount must be more than 0 and at most 9,000,000 USD", param="amount")
    if wanted.reference.startswith(PAYMENT_REFERENCE):
        raise BadRequest(f"References of {PAYMENT_REFERENCE!r} are for payments", param="reference")
    scope = account_scope(account_id)
    posting = Posting(
        reference=checked_text(wanted.reference, "reference"),
        kind="grant",
        lines=((scope, wanted.amount_nano), (FUNDING, -wanted.amount_nano)),
        note=wanted.note[:TEXT_MAX].replace("\x00", ""),
    )
    with ledger.writing() as connection:
        known = select(accounts.c.id).where(
            accounts.c.id == account_id, accounts.c.closed_ms.is_(None)
        )
        if connection.execute(known).one_or_none() is None:
            raise NotFound(f"No account {account_id}, or it is closed")
        if post(connection, [posting], now_ms):
            _count(connection, account_id, wanted)
        else:
            _same_grant(connection, posting)
        return _budget(connection, scope)


def budget_of(ledger: Ledger, account_id: str) -> Budget:
    """The posted balance: what was granted minus what was settled. Holds are not in it.

    Raises:
        NotFound: no such account.
        Unavailable: the database is away.
    """
    with ledger.reading() as connection:
        return _budget(connection, account_scope(account_id))


def checked_text(text: str, param: str) -> str:
    """A name or reference as it may be stored.

    Raises:
        BadRequest: blank, too long, or with a NUL in it.
    """
    if not text.strip() or len(text) > TEXT_MAX or "\x00" in text:
        raise BadRequest(f"The {param} must have 1 to {TEXT_MAX} characters", param=param)
    return text


def _account(row: RowMapping) -> Account:
    policy = RoutingPolicy.from_json(row["policy"])
    settings = AccountSettings.from_json(row["settings"])
    return Account(**{**dict(row), "policy": policy, "settings": settings})


def _count(connection: Connection, account_id: str, wanted: Grant) -> None:
    bought_nano = wanted.amount_nano if wanted.purchased else 0
    connection.execute(
        update(accounts)
        .where(accounts.c.id == account_id)
        .values(
            granted_nano=accounts.c.granted_nano + wanted.amount_nano,
            purchased_nano=accounts.c.purchased_nano + bought_nano,
        )
    )


def _same_grant(connection: Connection, posting: Posting) -> None:
    rows = connection.execute(
        select(entries.c.ledger_account_id, entries.c.amount_nano)
        .join(transactions, transactions.c.id == entries.c.transaction_id)
        .where(transactions.c.reference == posting.reference, transactions.c.kind == posting.kind)
    )
    if {(name, amount) for name, amount in rows} != set(posting.lines):
        raise Conflict(f"The reference {posting.reference} was used for another grant")


def _budget(connection: Connection, scope: str) -> Budget:
    posted = balances(connection, {scope}).get(scope)
    if posted is None:
        raise NotFound(f"No account {scope.removeprefix('acct:')}")
    return Budget(scope=scope, available_nano=posted.posted_nano, version=posted.version)
