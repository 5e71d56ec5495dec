"""What the answers of a payment processor do to the books."""

from __future__ import annotations

from billing import payments, refunds
from billing.db import Ledger
from billing.payments import Credited
from routing.payments import Checkout, Declined, News, NewsKind, Processor

__all__ = ["Checkout", "Declined", "News", "NewsKind", "Processor", "apply"]


def apply(ledger: Ledger, news: News, now_ms: int) -> Credited | None:
    """Write down what happened to a payment; None when no credit is concerned.

    The keys of the account are cached with what it bought: drop them, and post the balance.

    Raises:
        NotFound: no such payment.
        Conflict: it does not fit the payment; for an operator to sort out.
        Unavailable: the database is away; doing it again is harmless.
    """
    if news.processor_id:
        payments.bind(ledger, news.payment_id, news.processor_id)
    told = _applied(ledger, news, now_ms)
    if news.event_id and news.kind != "waiting":
        payments.note_event(ledger, news.payment_id, news.event_id, now_ms)
    return told


def _applied(ledger: Ledger, news: News, now_ms: int) -> Credited | None:
    match news.kind:
        case "received":
            if news.receipt is None:
                raise ValueError("money came without a receipt")
            return payments.credit(ledger, news.receipt, news.event_id, now_ms)
        case "returned" | "restored":
            restores = news.kind == "restored"
            return refunds.follow(
                ledger, news.payment_id, news.returned_nano, now_ms, restores=restores
            )
        case "failed":
            payments.fail(ledger, news.payment_id, news.why)
            return None
        case "waiting":
            return None
