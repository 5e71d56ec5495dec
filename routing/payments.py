"""Payments in words that the ledger and whoever takes the money share. Nothing here calls anybody.

pending ──▶ paid ──▶ refunding ──▶ refunded
   │          └───────────────────────▲        (a bank or an operator of the processor)
   ├──▶ failed (and still ▶ paid, if the money comes after all)
   └──▶ unclaimed ──▶ refunding …    the money came, but its account was closed
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from routing.errors import Conflict

Status = Literal["pending", "paid", "refunding", "refunded", "failed", "unclaimed"]
#: `received` and `failed` end a payment; `returned` is money that went back, `restored` money that
#: a bank had taken and gave back; `waiting` means ask again later.
NewsKind = Literal["received", "failed", "returned", "restored", "waiting"]

#: Processors take whole cents.
CENT_NANO = 10_000_000
CURRENCY = "usd"
#: How the ledger refers to payments; a grant by hand must not be taken for one.
PAYMENT_REFERENCE = "payment:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """One payment.

    Attributes:
        processor_id: what the processor calls it; None until it was asked.
        credit_nano: credit that was bought.
        fee_nano: paid on top of it, and never given back for credit that was used or could be.
        refunded_nano: credit that was taken back.
        paid_ms: when it became credit.
        note: why it failed; of an automatic one that is under way, the payment whose card is used.
    """

    id: str
    account_id: str
    processor: str
    processor_id: str | None
    status: Status
    automatic: bool
    crypto: bool
    credit_nano: int
    fee_nano: int
    refunded_nano: int
    created_ms: int
    paid_ms: int | None
    note: str

    @property
    def total_nano(self) -> int:
        """What is paid."""
        return self.credit_nano + self.fee_nano

    @property
    def back_nano(self) -> int:
        """What its processor gives back of it: all of what never became credit."""
        return self.total_nano if self.paid_ms is None else self.refunded_nano

    @property
    def reference(self) -> str:
        """Of its grant in the ledger; no grant by hand may begin so."""
        return PAYMENT_REFERENCE + self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a processor says it has received.

    Attributes:
        currency: in lower case.
        account_id: whose payment it is, as the processor was told when it was asked for; None
            where that is not known.
    """

    processor: str
    payment_id: str
    total_nano: int
    currency: str
    account_id: str | None = None


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
class Message:
    """That something happened to an object at the processor; what happened is asked for."""

    event_id: str
    kind: str
    object_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """Where a customer goes to pay."""

    processor_id: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """Where a customer is sent after the page they pay on.

    Attributes:
        success_url: when they have paid.
        cancel_url: when they went away.
    """

    success_url: str
    cancel_url: str


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

    def checkout(self, payment: Payment, ways: Ways) -> Checkout:
        """Where to pay."""
        ...

    def charge_again(self, payment: Payment, like: Payment) -> News:
        """Take a payment off the card of another one, with nobody there."""
        ...

    def look(self, payment: Payment) -> News:
        """How a payment stands that was asked for."""
        ...

    def refund(self, payment: Payment) -> None:
        """Give `payment.back_nano` back."""
        ...

    @property
    def listens(self) -> bool:
        """Whether its messages can be told from forgeries; without that none is read."""
        ...

    def read(self, raw: bytes, signature: str | None) -> Message | None:
        """A message that it really sent; None for one that is about something else.

        Raises:
            BadRequest: it is not of the processor, too old, or makes no sense.
        """
        ...

    def ask(self, message: Message) -> News | None:
        """How the payment of a message stands now; None for what is none of ours."""
        ...
