"""Credit bought by itself when a balance falls below its account's threshold.

The card is that of the account's newest payment made by hand. One such payment is under way at a
time; one that failed is not tried again for a day, and no day has more than a few.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, func, select

from billing.db import Ledger
from billing.payments import Order, Payment, PurchaseTerms, insert_payment, payment_of
from billing.tables import accounts, ledger_accounts, payments
from routing.wire.account import AccountSettings

#: After a card was refused; every try may cost its owner a warning of their bank.
PAUSE_MS = 86_400_000
#: A stolen key must not empty a card: the threshold can be crossed so often in a day.
A_DAY_MAX = 10
DAY_MS = 86_400_000
#: Accounts looked at per round; the others are looked at in the next one.
ROUND_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class TopUp:
    """A payment to ask for without anybody being there.

    Attributes:
        payment: opened; its id is the idempotency key.
        like: the payment whose card is used.
    """

    payment: Payment
    like: Payment


def due(ledger: Ledger, *, after: str = "") -> tuple[str, ...]:
    """Accounts below their threshold, at most `ROUND_MAX` that follow `after`.

    Raises:
        Unavailable: the database is away.
    """
    scope: ColumnElement[str] = "acct:" + accounts.c.id
    query = (
        select(accounts.c.id, accounts.c.settings, ledger_accounts.c.posted_nano)
        .join(ledger_accounts, ledger_accounts.c.id == scope)
        .where(
            accounts.c.id > after,
            accounts.c.closed_ms.is_(None),
            accounts.c.settings.contains('"auto_top_up":{', autoescape=True),
        )
        .order_by(accounts.c.id)
    )
    found: list[str] = []
    with ledger.reading() as connection:
        for row in connection.execute(query):
            wanted = AccountSettings.from_json(row.settings).auto_top_up
            if wanted is not None and row.posted_nano < wanted.threshold_nano:
                found.append(row.id)
            if len(found) == ROUND_MAX:
                break
    return tuple(found)


def begin(
    ledger: Ledger, account_id: str, processor: str, terms: PurchaseTerms, now_ms: int
) -> TopUp | None:
    """Open a payment for an account that needs one; None when it must not be asked for (now).

    Raises:
        BadRequest: the amount it has chosen cannot be bought (any more).
        Unavailable: the database is away.
    """
    with ledger.writing() as connection:
        query = select(accounts.c.settings).where(
            accounts.c.id == account_id, accounts.c.closed_ms.is_(None)
        )
        # Locked: of two rounds at once the second finds the payment of the first.
        settings = connection.execute(query.with_for_update()).scalar_one_or_none()
        if settings is None:
            return None
        wanted = AccountSettings.from_json(settings).auto_top_up
        if wanted is None or _balance(connection, account_id) >= wanted.threshold_nano:
            return None
        like = newest_by_hand(connection, account_id, processor)
        if like is None or not _may_ask(connection, account_id, now_ms):
            return None
        order = Order(credit_nano=wanted.amount_nano, processor=processor, automatic=True)
        return TopUp(
            payment=insert_payment(connection, account_id, order, terms, now_ms), like=like
        )


def card_of(ledger: Ledger, account_id: str, processor: str) -> Payment | None:
    """The payment whose card an account's automatic ones use: paid, and nothing of it taken back.

    Raises:
        Unavailable: the database is away.
    """
    with ledger.reading() as connection:
        return newest_by_hand(connection, account_id, processor)


def newest_by_hand(connection: Connection, account_id: str, processor: str) -> Payment | None:
    """The same, as a part of something larger."""
    table = payments
    query = (
        select(table)
        .where(
            table.c.account_id == account_id,
            table.c.processor == processor,
            table.c.automatic.is_(False),
            table.c.crypto.is_(False),
            table.c.status == "paid",
            table.c.refunded_nano == 0,
            table.c.processor_id.is_not(None),
        )
        .order_by(table.c.paid_ms.desc(), table.c.id)
        .limit(1)
    )
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else payment_of(row)


def _balance(connection: Connection, account_id: str) -> int:
    query = select(ledger_accounts.c.posted_nano).where(
        ledger_accounts.c.id == f"acct:{account_id}"
    )
    found: int | None = connection.execute(query).scalar_one_or_none()
    return found or 0


def _may_ask(connection: Connection, account_id: str, now_ms: int) -> bool:
    table = payments
    query = (
        select(table.c.status, func.count())
        .where(
            table.c.account_id == account_id,
            table.c.automatic.is_(True),
            table.c.created_ms > now_ms - max(PAUSE_MS, DAY_MS),
        )
        .group_by(table.c.status)
    )
    recent: dict[str, int] = {row[0]: row[1] for row in connection.execute(query)}
    if recent.get("pending") or recent.get("failed"):
        return False
    return sum(recent.values()) < A_DAY_MAX
