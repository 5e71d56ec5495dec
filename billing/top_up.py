"""Credit bought by itself when a balance falls below its account's threshold.

The card is that of the account's newest payment made by hand. One such payment is under way at a
time; one that failed is not tried again for a day, and no day has more than a few.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, exists, func, or_, select

from billing.db import Ledger
from billing.payments import Order, PurchaseTerms, insert_payment, payment_of
from billing.tables import accounts, ledger_accounts, payments
from routing.payments import Payment
from routing.wire.account import AccountSettings

#: After a card was refused; every try may cost its owner a warning of their bank.
PAUSE_MS = 86_400_000
#: A stolen key must not empty a card: the threshold can be crossed so often in a day.
A_DAY_MAX = 10
DAY_MS = 86_400_000
#: Accounts looked at in one query.
PAGE_MAX = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class TopUp:
    """A payment to ask for without anybody being there.

    Attributes:
        payment: opened; its id is the idempotency key.
        like: the payment whose card is used.
    """

    payment: Payment
    like: Payment


def due(ledger: Ledger, *, after: str = "") -> tuple[tuple[str, ...], str]:
    """Accounts below their threshold, in a page of those that have chosen something and have paid.

    Args:
        ledger: where from.
        after: the page begins behind this account; "" for the first.

    Returns:
        The accounts, and `after` of the next page; "" when this was the last one.

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
            accounts.c.settings != "{}",
            exists().where(payments.c.account_id == accounts.c.id, payments.c.status == "paid"),
        )
        .order_by(accounts.c.id)
        .limit(PAGE_MAX)
    )
    with ledger.reading() as connection:
        page = connection.execute(query).all()
    found = [row.id for row in page if _is_below(row.settings, row.posted_nano)]
    return tuple(found), page[-1].id if len(page) == PAGE_MAX else ""


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
        like = _card_of(connection, account_id, processor)
        if like is None or not _may_ask(connection, like, now_ms):
            return None
        order = Order(credit_nano=wanted.amount_nano, processor=processor, automatic=True)
        # Asked again, it must be for the same card: the processor compares.
        payment = insert_payment(connection, account_id, order, terms, now_ms, note=like.id)
        return TopUp(payment=payment, like=like)


def again(ledger: Ledger, payment: Payment) -> TopUp | None:
    """A payment that was begun and hangs, for the same card; None when that was taken back since.

    Raises:
        Unavailable: the database is away.
    """
    query = select(payments).where(payments.c.id == payment.note, *_usable(payment.processor))
    with ledger.reading() as connection:
        row = connection.execute(query).mappings().one_or_none()
    return None if row is None else TopUp(payment=payment, like=payment_of(row))


def _is_below(settings: str, posted_nano: int) -> bool:
    wanted = AccountSettings.from_json(settings).auto_top_up
    return wanted is not None and posted_nano < wanted.threshold_nano


def _usable(processor: str) -> tuple[ColumnElement[bool], ...]:
    """Payments whose card may be used again: paid by hand, and nothing of it taken back."""
    table = payments
    return (
        table.c.processor == processor,
        table.c.automatic.is_(False),
        table.c.crypto.is_(False),
        table.c.status == "paid",
        table.c.refunded_nano == 0,
        table.c.processor_id.is_not(None),
    )


def _card_of(connection: Connection, account_id: str, processor: str) -> Payment | None:
    """The newest payment whose card may be used."""
    table = payments
    query = (
        select(table)
        .where(table.c.account_id == account_id, *_usable(processor))
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


def _may_ask(connection: Connection, like: Payment, now_ms: int) -> bool:
    table = payments
    own = table.c.account_id == like.account_id, table.c.automatic.is_(True)
    # Whoever had such a payment taken back buys by hand before the next one.
    disputed = exists().where(
        *own, table.c.refunded_nano > 0, table.c.created_ms >= (like.paid_ms or 0)
    )
    if connection.execute(select(disputed)).scalar_one():
        return False
    query = (
        select(table.c.status, func.count())
        .where(
            *own,
            or_(table.c.status == "pending", table.c.created_ms > now_ms - max(PAUSE_MS, DAY_MS)),
        )
        .group_by(table.c.status)
    )
    recent: dict[str, int] = {row[0]: row[1] for row in connection.execute(query)}
    if recent.get("pending") or recent.get("failed"):
        return False
    return sum(recent.values()) < A_DAY_MAX
