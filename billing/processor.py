"""What is asked of a payment processor, and what its answers do to the books."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from billing import payments, refunds
from billing.db import Ledger
from billing.payments import Credited, Payment, Receipt
from routing.errors import Conflict

#: `received` and `failed` end a payment; `returned` is money that went back, `restored` money that
#: a bank had taken and gave back; `waiting` means ask again later.
NewsKind = Literal["received", "failed", "returned", "restored", "waiting"]


class Declined(Conflict):
    """The processor refused for good: asking again would be refused again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """How a payment stands, as its processor told us when we asked.

    Attributes:
        event_id: the message that made us ask; "" for none.
        processor_id: what the processor calls the payment; "" where it is not said.
        receipt: for `received`.
        returned_nano: for `returned` and `restored`: all that is away by now.
        why: for `failed`.
    """

    kind: NewsKind
    payment_id: str
    event_id: str = ""
    processor_id: str = ""
    receipt: Receipt | None = None
    returned_nano: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """Where a customer goes to pay."""

    processor_id: str
    url: str


class Processor(Protocol):
    """Takes money and gives it back. Every call may be repeated: payments have ids of their own.

    Raises, from every call:
        Declined: the processor refused.
        Unavailable: it is away, or did not say clearly what it did.
    """

    @property
    def name(self) -> str:
        """As it is written down with each payment."""
        ...

    def checkout(self, payment: Payment, back_url: str) -> Checkout:
        """Where to pay; afterwards the customer is sent to `back_url`."""
        ...

    def charge_again(self, payment: Payment, like: Payment) -> News:
        """Take a payment off the card of another one, with nobody there."""
        ...

    def look(self, payment: Payment) -> News:
        """How a payment stands that was asked for."""
        ...

    def refund(self, payment: Payment) -> None:
        """Give `payment.refunded_nano` back."""
        ...

    def hear(self, raw: bytes, signature: str | None) -> News | None:
        """What a message is about, after asking; None for what is none of ours.

        Raises:
            Unauthorized: it is not of the processor, or too old.
        """
        ...


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
