"""Giving bought credit back: by a customer within its time, or because the processor did so.

A refund is first taken off the balance, then asked of the processor: whatever fails in between,
nobody can spend money that is on its way back.
"""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from billing.db import Ledger
from billing.ledger import FUNDING, SUSPENSE, Posting, post
from billing.payments import (
    Credited,
    PurchaseTerms,
    budget_of,
    given_since,
    locked,
    locked_balance,
    move_credit,
)
from billing.tables import payments, transactions
from routing.budgets import account_scope
from routing.errors import Conflict, NotFound
from routing.payments import CENT_NANO, Payment, Status


def begin(
    ledger: Ledger,
    payment_id: str,
    account_id: str,
    terms: PurchaseTerms,
    now_ms: int,
    free_nano: int | None = None,
) -> Credited:
    """Take what is unused of a payment off the balance; then ask the processor, then `finish`.

    Older credit counts as used first. `payment.refunded_nano` is what to give back; called again
    for a refund under way it tells the same, and `new` is False.

    Args:
        ledger: where to.
        payment_id: which.
        account_id: whose; another account's payment is as unknown as none.
        terms: how long it can be undone.
        now_ms: the moment.
        free_nano: what no request under way may take (`Budgets.reserve`); None for all of it.

    Raises:
        NotFound: no such payment of this account.
        Conflict: it is not paid, was refunded, was made with cryptocurrency, is too old, or
            nothing is left of it.
        Unavailable: the database is away.
    """
    with ledger.writing() as connection:
        payment = locked(connection, payment_id)
        if payment.account_id != account_id:
            raise NotFound(f"No payment {payment_id}")
        if payment.status == "refunding":
            return _result(connection, payment_id, new=False)
        _check(payment, terms, now_ms)
        unused_nano = _unused(connection, payment, free_nano)
        if unused_nano <= 0:
            raise Conflict("All credit of this payment has been used, or is held by requests")
        _take(connection, payment, unused_nano, now_ms, status="refunding")
        return _result(connection, payment_id, new=True)


def give_back(ledger: Ledger, payment_id: str, now_ms: int) -> Credited:
    """Take an unclaimed payment out of what is kept apart; then ask the processor, then `finish`.

    All of it goes back, its fee too: nobody had anything of it.

    Raises:
        NotFound: no such payment.
        Conflict: it is not unclaimed, or was made with cryptocurrency.
        Unavailable: the database is away.
    """
    with ledger.writing() as connection:
        payment = locked(connection, payment_id)
        if payment.status == "refunding" and payment.paid_ms is None:
            return _result(connection, payment_id, new=False)
        if payment.status != "unclaimed":
            raise Conflict(f"A payment that is {payment.status} was claimed by nobody else")
        if payment.crypto:
            raise Conflict("Payments with cryptocurrency cannot be refunded")
        _take_apart(connection, payment, payment.total_nano, now_ms, status="refunding")
        return _result(connection, payment_id, new=True)


def finish(ledger: Ledger, payment_id: str) -> None:
    """The processor has given the money back.

    Raises:
        Unavailable: the database is away; calling again is harmless.
    """
    change = (
        update(payments)
        .where(payments.c.id == payment_id, payments.c.status == "refunding")
        .values(status="refunded")
    )
    with ledger.writing() as connection:
        connection.execute(change)


def undo(ledger: Ledger, payment_id: str, now_ms: int) -> Credited:
    """The processor refused for good: the customer has their credit again.

    Raises:
        NotFound: no such payment.
        Unavailable: the database is away; calling again is harmless.
    """
    with ledger.writing() as connection:
        payment = locked(connection, payment_id)
        if payment.status != "refunding":
            return _result(connection, payment_id, new=False)
        if payment.paid_ms is None:
            _take_apart(connection, payment, -payment.total_nano, now_ms, status="unclaimed")
        else:
            _take(connection, payment, -payment.refunded_nano, now_ms, status="paid")
        return _result(connection, payment_id, new=True)


def follow(
    ledger: Ledger,
    payment_id: str,
    returned_nano: int,
    now_ms: int,
    *,
    restores: bool = False,
) -> Credited:
    """Take back the credit of money that the processor has returned, or that a bank has taken.

    The balance may end below zero: what was bought with it was used.

    Args:
        ledger: where to.
        payment_id: which.
        returned_nano: all that went back of this payment so far, as the processor told us when we
            asked it. Fees are not given back, so more than the credit counts as the credit.
        now_ms: the moment.
        restores: a bank has given money back: only then may credit grow again. Otherwise news
            that come late could undo a refund.

    Raises:
        NotFound: no such payment.
        Conflict: it was never paid.
        Unavailable: the database is away; calling again is harmless.
    """
    with ledger.writing() as connection:
        payment = locked(connection, payment_id)
        if payment.paid_ms is None:
            new = _follow_unclaimed(connection, payment, returned_nano, now_ms)
            return _result(connection, payment_id, new=new)
        more_nano = min(max(returned_nano, 0), payment.credit_nano) - payment.refunded_nano
        if more_nano == 0 or (more_nano < 0 and not restores):
            return _result(connection, payment_id, new=False)
        left = payment.refunded_nano + more_nano
        _take(connection, payment, more_nano, now_ms, status="refunded" if left else "paid")
        return _result(connection, payment_id, new=True)


def _follow_unclaimed(
    connection: Connection, payment: Payment, returned_nano: int, now_ms: int
) -> bool:
    """Of a payment that never became credit: it is settled once all of it went back."""
    if payment.status in {"pending", "failed"}:
        raise Conflict(f"Payment {payment.id} was never paid")
    if payment.status != "unclaimed" or returned_nano < payment.total_nano:
        return False
    _take_apart(connection, payment, payment.total_nano, now_ms, status="refunded")
    return True


def _check(payment: Payment, terms: PurchaseTerms, now_ms: int) -> None:
    if payment.status != "paid" or payment.paid_ms is None:
        raise Conflict(f"A payment that is {payment.status} cannot be refunded")
    if payment.crypto:
        raise Conflict("Payments with cryptocurrency cannot be refunded")
    if now_ms - payment.paid_ms > terms.refund_ms:
        hours = terms.refund_ms // 3_600_000
        raise Conflict(f"A payment can be refunded within {hours} hours")


def _unused(connection: Connection, payment: Payment, free_nano: int | None) -> int:
    """What is left of a payment's credit, in whole cents, when the oldest credit is used first."""
    scope = account_scope(payment.account_id)
    own = (
        select(transactions.c.id)
        .where(transactions.c.reference == payment.reference, transactions.c.kind == "grant")
        .scalar_subquery()
    )
    later_nano = given_since(connection, payment.account_id, transactions.c.id > own)
    left_nano = locked_balance(connection, scope).posted_nano
    if free_nano is not None:
        left_nano = min(left_nano, free_nano)
    unused_nano = min(left_nano - max(later_nano, 0), payment.credit_nano - payment.refunded_nano)
    return unused_nano // CENT_NANO * CENT_NANO


def _take(
    connection: Connection, payment: Payment, more_nano: int, now_ms: int, *, status: Status
) -> None:
    """Take credit of a payment back; a negative amount gives it again."""
    posting = _returned(connection, payment, account_scope(payment.account_id), more_nano, status)
    move_credit(connection, payment.account_id, posting, now_ms, purchased_nano=-more_nano)
    connection.execute(
        update(payments)
        .where(payments.c.id == payment.id)
        .values(refunded_nano=payment.refunded_nano + more_nano, status=status)
    )


def _take_apart(
    connection: Connection, payment: Payment, more_nano: int, now_ms: int, *, status: Status
) -> None:
    """The same for what is kept apart because nobody could be credited."""
    post(connection, [_returned(connection, payment, SUSPENSE, more_nano, status)], now_ms)
    connection.execute(update(payments).where(payments.c.id == payment.id).values(status=status))


def _returned(
    connection: Connection, payment: Payment, place: str, nano: int, status: Status
) -> Posting:
    # Each change of a balance has its own version.
    version = locked_balance(connection, place).version
    return Posting(
        reference=f"{payment.reference} {version}",
        kind="purchase_refund",
        lines=((place, -nano), (FUNDING, nano)),
        note=status,
    )


def _result(connection: Connection, payment_id: str, *, new: bool) -> Credited:
    payment = locked(connection, payment_id)
    return Credited(payment=payment, budget=budget_of(connection, payment.account_id), new=new)
