"""Buying credit: what it costs, and what is written down of each payment.

A payment is opened before its processor hears of it and credited once, however often and in
whatever order the processor tells of it. Whoever calls the processor does so outside of any
transaction, with the id of the payment as idempotency key.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, func, insert, select, update

from billing.db import Ledger, insert_rows
from billing.ledger import FUNDING, PURCHASE_FEES, SUSPENSE, Posted, Posting, balances, post
from billing.tables import (
    MOVES_CREDIT,
    accounts,
    entries,
    ledger_accounts,
    payment_events,
    payments,
    transactions,
)
from routing import ids
from routing.budgets import account_scope
from routing.catalog.pricing import NANO_PER_USD
from routing.errors import BadRequest, Conflict, NotFound
from routing.payments import (
    CENT_NANO,
    CURRENCY,
    PAYMENT_REFERENCE,
    Payment,
    Receipt,
    Status,
)
from routing.settings import Settings
from routing.wire.account import Budget

#: Payments listed at once.
LIST_MAX = 100
#: Payments of one account that nobody has paid yet; each is a page at the processor.
OPEN_MAX = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class PurchaseTerms:
    """What buying credit costs, and how long it can be undone.

    Attributes:
        fee_percent: on top of the credit, for cards and the like.
        fee_min_nano: the least such fee.
        crypto_fee_percent: for payments with cryptocurrency, which have no least fee.
        min_nano: the least credit that is sold.
        max_nano: the most in one payment.
        refund_ms: how long after a payment its unused credit can be given back.
    """

    fee_percent: Decimal = Decimal("5.5")
    fee_min_nano: int = 800_000_000
    crypto_fee_percent: Decimal = Decimal(5)
    min_nano: int = 5_000_000_000
    max_nano: int = 10_000_000_000_000
    refund_ms: int = 86_400_000

    @classmethod
    def of(cls, settings: Settings) -> PurchaseTerms:
        """As the operator has set them."""
        return cls(
            fee_percent=settings.purchase_fee_percent,
            fee_min_nano=_whole_cents(settings.purchase_fee_min_usd),
            crypto_fee_percent=settings.crypto_fee_percent,
            min_nano=_whole_cents(settings.purchase_min_usd),
            max_nano=_whole_cents(settings.purchase_max_usd),
            refund_ms=settings.purchase_refund_hours * 3_600_000,
        )

    def fee_nano(self, credit_nano: int, *, crypto: bool = False) -> int:
        """The fee for some credit, in whole cents; part of a cent counts as one."""
        percent = self.crypto_fee_percent if crypto else self.fee_percent
        cents = credit_nano * percent / (100 * CENT_NANO)
        fee_nano = int(cents.to_integral_value(ROUND_CEILING)) * CENT_NANO
        return fee_nano if crypto else max(fee_nano, self.fee_min_nano)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Credit somebody wants to buy.

    Attributes:
        processor: who takes the money.
        automatic: nobody is there to confirm it: a balance fell below its threshold.
    """

    credit_nano: int
    processor: str
    crypto: bool = False
    automatic: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Credited:
    """What a receipt or a refund led to.

    Attributes:
        payment: as it is now; `unclaimed` means that nobody was credited, for an operator to see.
        budget: the account's balance.
        new: whether anything was changed.
    """

    payment: Payment
    budget: Budget
    new: bool


def open_payment(
    ledger: Ledger, account_id: str, order: Order, terms: PurchaseTerms, now_ms: int
) -> Payment:
    """Write down a payment that is about to be asked for.

    Raises:
        BadRequest: an amount that is too small, too large or not in whole cents.
        NotFound: no such account, or it was closed.
        Conflict: it has `OPEN_MAX` payments that nobody has paid.
        Unavailable: the database is away.
    """
    with ledger.writing() as connection:
        # Locked: what is asked for at once is counted one after the other.
        query = select(accounts.c.closed_ms).where(accounts.c.id == account_id).with_for_update()
        row = connection.execute(query).one_or_none()
        if row is None or row.closed_ms is not None:
            raise NotFound(f"No account {account_id}")
        waiting = select(func.count()).where(
            payments.c.account_id == account_id, payments.c.status == "pending"
        )
        if connection.execute(waiting).scalar_one() >= OPEN_MAX:
            raise Conflict("Too many payments are open. Pay one, or wait until they lapse.")
        return insert_payment(connection, account_id, order, terms, now_ms)


def insert_payment(
    connection: Connection,
    account_id: str,
    order: Order,
    terms: PurchaseTerms,
    now_ms: int,
    note: str = "",
) -> Payment:
    """The same for an account that is known to be open, as a part of something larger."""
    credit_nano = checked_credit(order.credit_nano, terms)
    payment = Payment(
        id=ids.new("pay"),
        account_id=account_id,
        processor=order.processor,
        processor_id=None,
        status="pending",
        automatic=order.automatic,
        crypto=order.crypto,
        credit_nano=credit_nano,
        fee_nano=terms.fee_nano(credit_nano, crypto=order.crypto),
        refunded_nano=0,
        created_ms=now_ms,
        paid_ms=None,
        note=note,
    )
    row = {name: getattr(payment, name) for name in Payment.__dataclass_fields__}
    connection.execute(insert(payments), row)
    return payment


def checked_credit(credit_nano: int, terms: PurchaseTerms) -> int:
    """An amount of credit as it may be sold.

    Raises:
        BadRequest: too small, too large, or not in whole cents.
    """
    if not terms.min_nano <= credit_nano <= terms.max_nano:
        least, most = terms.min_nano // CENT_NANO, terms.max_nano // CENT_NANO
        raise BadRequest(
            f"The amount must be from {least / 100:,.2f} to {most / 100:,.2f} USD", param="amount"
        )
    if credit_nano % CENT_NANO:
        raise BadRequest("The amount must be in whole cents", param="amount")
    return credit_nano


def bind(ledger: Ledger, payment_id: str, processor_id: str) -> None:
    """Note what the processor calls a payment.

    Raises:
        Conflict: it has another name already: money came for the same payment twice.
        Unavailable: the database is away.
    """
    change = (
        update(payments)
        .where(payments.c.id == payment_id, payments.c.processor_id.is_(None))
        .values(processor_id=processor_id)
    )
    query = select(payments.c.processor_id).where(payments.c.id == payment_id)
    with ledger.writing() as connection:
        connection.execute(change)
        known = connection.execute(query).scalar_one_or_none()
    if known not in {None, processor_id}:
        raise Conflict(f"Payment {payment_id} is {known} at its processor, not {processor_id}")


def fail(ledger: Ledger, payment_id: str, why: str) -> bool:
    """Give up a payment that nobody has paid; False when it is not pending (any more).

    Raises:
        Unavailable: the database is away.
    """
    change = (
        update(payments)
        .where(payments.c.id == payment_id, payments.c.status == "pending")
        .values(status="failed", note=why[:256].replace("\x00", ""))
    )
    with ledger.writing() as connection:
        return connection.execute(change).rowcount == 1


def find(ledger: Ledger, payment_id: str, account_id: str | None = None) -> Payment | None:
    """One payment; with an account, only if it is that account's.

    Raises:
        Unavailable: the database is away.
    """
    query = select(payments).where(payments.c.id == payment_id)
    if account_id is not None:
        query = query.where(payments.c.account_id == account_id)
    with ledger.reading() as connection:
        row = connection.execute(query).mappings().one_or_none()
    return None if row is None else payment_of(row)


def list_payments(
    ledger: Ledger, account_id: str, *, before_ms: int | None = None
) -> tuple[Payment, ...]:
    """At most `LIST_MAX` payments of an account, newest first.

    Raises:
        Unavailable: the database is away.
    """
    where = [payments.c.account_id == account_id]
    if before_ms is not None:
        where.append(payments.c.created_ms < before_ms)
    return _listed(ledger, where)


def in_state(
    ledger: Ledger, status: Status, *, before_ms: int, after: str = "", most: int = LIST_MAX
) -> tuple[Payment, ...]:
    """Payments in a state that were opened before a moment, by id, from the one after `after`.

    Raises:
        Unavailable: the database is away.
    """
    where = (
        payments.c.status == status,
        payments.c.created_ms < before_ms,
        payments.c.id > after,
    )
    query = select(payments).where(*where).order_by(payments.c.id).limit(most)
    with ledger.reading() as connection:
        return tuple(payment_of(row) for row in connection.execute(query).mappings())


def every(
    ledger: Ledger, account_id: str | None = None, status: Status | None = None
) -> tuple[Payment, ...]:
    """The newest `LIST_MAX` payments, of all accounts or one, in any state or one.

    Raises:
        Unavailable: the database is away.
    """
    where: list[ColumnElement[bool]] = []
    if account_id is not None:
        where.append(payments.c.account_id == account_id)
    if status is not None:
        where.append(payments.c.status == status)
    return _listed(ledger, where)


def _listed(ledger: Ledger, where: list[ColumnElement[bool]]) -> tuple[Payment, ...]:
    newest = payments.c.created_ms.desc(), payments.c.id
    query = select(payments).where(*where).order_by(*newest).limit(LIST_MAX)
    with ledger.reading() as connection:
        return tuple(payment_of(row) for row in connection.execute(query).mappings())


def credit(ledger: Ledger, receipt: Receipt, event_id: str, now_ms: int) -> Credited:
    """Turn money that was received into credit, once.

    The keys of the account are cached with what it bought: change it through the office. Money for
    an account that was closed meanwhile credits nobody: it is kept apart until an operator gives it
    back, and the payment is `unclaimed`.

    Args:
        ledger: where to.
        receipt: as the processor told us when we asked it, not as a message said.
        event_id: the message that made us ask, or "" for none.
        now_ms: the moment.

    Raises:
        NotFound: no such payment.
        Conflict: it is another processor's or account's, or what was paid is not what was asked
            for. Nothing is credited: that is for an operator to sort out.
        Unavailable: the database is away; trying again cannot credit twice.
    """
    with ledger.writing() as connection:
        payment = locked(connection, receipt.payment_id)
        _check(payment, receipt)
        if event_id:
            _insert_event(connection, receipt.processor, event_id, now_ms)
        closed = _is_closed(connection, payment.account_id)
        new = (_keep_apart if closed else _give)(connection, payment, now_ms)
        if new:
            payment = locked(connection, payment.id)
        return Credited(payment=payment, budget=budget_of(connection, payment.account_id), new=new)


def note_event(ledger: Ledger, payment_id: str, event_id: str, now_ms: int) -> None:
    """Note a message that was acted on; however often it comes, it is kept once.

    Raises:
        Unavailable: the database is away.
    """
    query = select(payments.c.processor).where(payments.c.id == payment_id)
    with ledger.writing() as connection:
        processor = connection.execute(query).scalar_one_or_none()
        if processor is not None:
            _insert_event(connection, processor, event_id, now_ms)


def _check(payment: Payment, receipt: Receipt) -> None:
    if payment.processor != receipt.processor:
        raise Conflict(f"Payment {payment.id} is not one of {receipt.processor}")
    if receipt.account_id not in {None, payment.account_id}:
        raise Conflict(f"Payment {payment.id} is not one of account {receipt.account_id}")
    paid = (receipt.total_nano, receipt.currency)
    if paid != (payment.total_nano, CURRENCY):
        raise Conflict(
            f"Payment {payment.id} was of {receipt.total_nano} nano {receipt.currency}, "
            f"not of {payment.total_nano} nano {CURRENCY}"
        )


def _is_closed(connection: Connection, account_id: str) -> bool:
    """Unchanged until this transaction ends; locks in the order of closing."""
    locked_balance(connection, account_scope(account_id))
    query = select(accounts.c.closed_ms).where(accounts.c.id == account_id).with_for_update()
    return connection.execute(query).scalar_one() is not None


def _give(connection: Connection, payment: Payment, now_ms: int) -> bool:
    fee = ((PURCHASE_FEES, payment.fee_nano),) if payment.fee_nano else ()
    lines = (
        (account_scope(payment.account_id), payment.credit_nano),
        *fee,
        (FUNDING, -payment.total_nano),
    )
    posting = Posting(reference=payment.reference, kind="grant", lines=lines)
    bought_nano = payment.credit_nano
    if not move_credit(connection, payment.account_id, posting, now_ms, purchased_nano=bought_nano):
        return False
    _set(connection, payment, status="paid", paid_ms=now_ms, note="")
    return True


def _keep_apart(connection: Connection, payment: Payment, now_ms: int) -> bool:
    lines = ((SUSPENSE, payment.total_nano), (FUNDING, -payment.total_nano))
    posting = Posting(
        reference=payment.reference, kind="grant", lines=lines, note="its account was closed"
    )
    if not post(connection, [posting], now_ms):
        return False
    _set(connection, payment, status="unclaimed", note="its account was closed")
    return True


def _set(connection: Connection, payment: Payment, **values: object) -> None:
    connection.execute(update(payments).where(payments.c.id == payment.id).values(**values))


def _insert_event(connection: Connection, processor: str, event_id: str, now_ms: int) -> None:
    row = {"processor": processor, "event_id": event_id[:256], "received_ms": now_ms}
    unique = ("processor", "event_id")
    insert_rows(connection, payment_events, [row], unique=unique, returning=("event_id",))


def locked_balance(connection: Connection, scope: str) -> Posted:
    """A balance that nobody else moves before this transaction ends."""
    table = ledger_accounts
    connection.execute(select(table.c.id).where(table.c.id == scope).with_for_update())
    return balances(connection, {scope})[scope]


def locked(connection: Connection, payment_id: str) -> Payment:
    """A payment that nobody else changes before this transaction ends.

    Raises:
        NotFound: no such payment.
    """
    query = select(payments).where(payments.c.id == payment_id).with_for_update()
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFound(f"No payment {payment_id}")
    return payment_of(row)


def move_credit(
    connection: Connection,
    account_id: str,
    posting: Posting,
    now_ms: int,
    *,
    purchased_nano: int = 0,
) -> bool:
    """Post what gives credit to an account or takes it back, and count it; False if it was posted.

    Args:
        connection: a writing transaction that has not locked the account's row: settlers lock
            balances first.
        account_id: whose.
        posting: its entry for the account is what is counted as granted.
        now_ms: the moment.
        purchased_nano: the part that counts as bought, negative for what is taken back.
    """
    if not post(connection, [posting], now_ms):
        return False
    granted_nano = dict(posting.lines)[account_scope(account_id)]
    table = accounts
    connection.execute(
        update(table)
        .where(table.c.id == account_id)
        .values(
            granted_nano=table.c.granted_nano + granted_nano,
            purchased_nano=table.c.purchased_nano + purchased_nano,
        )
    )
    return True


def given_since(connection: Connection, account_id: str, since: ColumnElement[bool]) -> int:
    """Credit of an account from the transactions `since` names, less what was refunded of it.

    With the oldest credit used first, what is left beyond it is older.
    """
    given = (
        select(func.coalesce(func.sum(entries.c.amount_nano), 0))
        .join(transactions, transactions.c.id == entries.c.transaction_id)
        .where(
            MOVES_CREDIT,
            transactions.c.kind == "grant",
            since,
            entries.c.ledger_account_id == account_scope(account_id),
        )
    )
    refunded = (
        select(func.coalesce(func.sum(payments.c.refunded_nano), 0))
        .join(transactions, transactions.c.reference == PAYMENT_REFERENCE + payments.c.id)
        .where(
            MOVES_CREDIT,
            transactions.c.kind == "grant",
            since,
            payments.c.account_id == account_id,
        )
    )
    return int(connection.execute(given).scalar_one()) - int(
        connection.execute(refunded).scalar_one()
    )


def budget_of(connection: Connection, account_id: str) -> Budget:
    """The balance of an account that exists, as it is in this transaction."""
    scope = account_scope(account_id)
    posted = balances(connection, {scope})[scope]
    return Budget(scope=scope, available_nano=posted.posted_nano, version=posted.version)


def payment_of(row: RowMapping) -> Payment:
    """A row of `payments`."""
    known: dict[str, Any] = {name: row[name] for name in Payment.__dataclass_fields__}
    return Payment(**known)


def _whole_cents(amount_usd: Decimal) -> int:
    """An amount an operator has set; less than a cent of it does not count."""
    return int(amount_usd * NANO_PER_USD) // CENT_NANO * CENT_NANO
