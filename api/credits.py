"""`/credits/…` and `/webhooks/stripe`: buying credit, giving it back, hearing of payments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from flask import Blueprint, g, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import ConfigDict, ValidationError

from api.amounts import iso, nano_of
from api.body import hang_up, read_body
from api.office import Office
from billing import accounts, payments, processor, refunds
from billing.payments import Credited, Order, Payment, PurchaseTerms
from billing.processor import Checkout, Declined
from routing.budgets import account_scope
from routing.catalog.pricing import usd
from routing.errors import CallerError, NotFound, PayloadTooLarge, Unavailable
from routing.wire.account import KeyRecord
from routing.wire.validate import Wire, bad_request, load_object
from workers.stripe_desk import StripeDesk

log = structlog.get_logger("pointsman.credits")

#: An amount and an id.
BODY_MAX = 64 * 1024
#: Stripe's events are some tens of KiB.
WEBHOOK_MAX = 256 * 1024


class Gone(CallerError):
    """What the contract has taken away."""

    status = 410


class _Purchase(Wire):
    model_config = ConfigDict(extra="forbid")

    amount: float
    crypto: bool = False


class _Refund(Wire):
    model_config = ConfigDict(extra="forbid")

    payment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """Where credit is bought and given back; also for pages.

    Attributes:
        desk: None where the operator sells nothing.
        back_url: where customers are sent after they paid.
    """

    office: Office
    desk: StripeDesk | None
    terms: PurchaseTerms
    back_url: str

    def buy(self, account_id: str, credit_nano: int, *, crypto: bool) -> tuple[Payment, Checkout]:
        """Open a payment; returns it and where to pay.

        Raises:
            NotFound: nothing is sold here.
            BadRequest: an amount that is not sold.
            Declined: the processor refused.
            Unavailable: the database or the processor is away.
        """
        desk, now_ms = self._open(), self.office.clock.now_ms()
        order = Order(credit_nano=credit_nano, processor=desk.name, crypto=crypto)
        payment = self.office.do(
            lambda ledger: payments.open_payment(ledger, account_id, order, self.terms, now_ms)
        )
        checkout = self.office.aside(lambda: desk.checkout(payment, self.back_url))
        self.office.do(lambda ledger: payments.bind(ledger, payment.id, checkout.processor_id))
        return payment, checkout

    def refund(self, account_id: str, payment_id: str) -> Payment:
        """Give back what is unused of a payment.

        Raises:
            NotFound: nothing is sold here, or no such payment of this account.
            Conflict: it cannot be refunded, or the processor refused.
            Unavailable: something is away. If the credit was taken off already, the sweep asks the
                processor again.
        """
        desk = self._open()
        begun = self._begin(account_id, payment_id)
        try:
            self.office.aside(lambda: desk.refund(begun.payment))
        except Declined:
            now_ms = self.office.clock.now_ms()
            undone = self.office.change_account(
                account_id, lambda ledger: refunds.undo(ledger, payment_id, now_ms)
            )
            self.office.post(undone.budget)
            raise
        self.office.do(lambda ledger: refunds.finish(ledger, payment_id))
        found = self.office.do(lambda ledger: payments.find(ledger, payment_id))
        return found or begun.payment

    def hear(self, raw: bytes, signature: str | None) -> None:
        """Act on a message of the processor.

        Raises:
            NotFound: no messages are taken, or it is about a payment nobody knows.
            Unauthorized: it is forged, or too old.
            Conflict: it does not fit its payment.
            Unavailable: something is away; the processor will send it again.
        """
        desk, now_ms = self._open(), self.office.clock.now_ms()
        if not desk.listens:
            raise NotFound("Not Found")
        news = self.office.aside(lambda: desk.hear(raw, signature))
        if news is None:
            return
        payment = self.office.do(lambda ledger: payments.find(ledger, news.payment_id))
        if payment is None:
            raise NotFound("No such payment")
        told = self.office.change_account(
            payment.account_id, lambda ledger: processor.apply(ledger, news, now_ms)
        )
        if told is not None:
            self.office.post(told.budget)
        log.info("payment", action=f"payment.{news.kind}", id=payment.id, told=news.event_id)

    def _open(self) -> StripeDesk:
        if self.desk is None:
            raise NotFound("This router sells no credit. Ask its operator.")
        return self.desk

    def _begin(self, account_id: str, payment_id: str) -> Credited:
        """Take it off the balance, while nobody else can spend it."""
        scope, hold = account_scope(account_id), f"refund:{payment_id}"
        now_ms = self.office.clock.now_ms()
        free_nano = self.office.budgets.reserve(scope, hold)
        if free_nano is None:
            self.office.post(self.office.do(lambda ledger: accounts.budget_of(ledger, account_id)))
            free_nano = self.office.budgets.reserve(scope, hold)
        if free_nano is None:
            raise Unavailable("The balance cannot be read right now.", retry_after_ms=1_000)
        told = None
        try:
            told = self.office.change_account(
                account_id,
                lambda ledger: refunds.begin(
                    ledger, payment_id, account_id, self.terms, now_ms, free_nano
                ),
            )
        finally:
            self.office.budgets.post(() if told is None else (told.budget,), [hold])
        return told


def blueprint(counter: Counter, authenticate: Callable[[], KeyRecord]) -> Blueprint:
    """Routes under `/credits`; the caller adds the base path.

    Args:
        counter: where it is done.
        authenticate: the management key of the current request, or raises.
    """
    routes = Blueprint("credits", __name__)

    @routes.post("/credits/checkout")
    def checkout() -> ResponseReturnValue:
        account_id = authenticate().account_id
        try:
            wanted = _Purchase.model_validate(load_object(_sent(BODY_MAX)))
        except ValidationError as error:
            raise bad_request(error) from None
        payment, made = counter.buy(account_id, nano_of(wanted.amount), crypto=wanted.crypto)
        return jsonify({"data": payment_body(payment) | {"url": made.url}}), 201

    @routes.get("/credits/payments")
    def listed() -> ResponseReturnValue:
        account_id = authenticate().account_id
        found = counter.office.do(lambda ledger: payments.list_payments(ledger, account_id))
        return jsonify({"data": [payment_body(one) for one in found]})

    @routes.post("/credits/refund")
    def refund() -> ResponseReturnValue:
        account_id = authenticate().account_id
        try:
            wanted = _Refund.model_validate(load_object(_sent(BODY_MAX)))
        except ValidationError as error:
            raise bad_request(error) from None
        return jsonify({"data": payment_body(counter.refund(account_id, wanted.payment))})

    @routes.post("/credits/coinbase")
    def coinbase() -> ResponseReturnValue:
        raise Gone(
            "Charges through Coinbase Commerce have been removed. Buy credits on the web instead."
        )

    return routes


def webhooks(counter: Counter) -> Blueprint:
    """Route `/webhooks/stripe`, at the root."""
    routes = Blueprint("webhooks", __name__)

    @routes.post("/webhooks/stripe")
    def stripe() -> ResponseReturnValue:
        raw = _sent(WEBHOOK_MAX)
        counter.hear(raw, request.headers.get("Stripe-Signature"))
        return jsonify({"received": True})

    return routes


def payment_body(payment: Payment) -> dict[str, Any]:
    """A payment as it is told."""
    return {
        "id": payment.id,
        "status": payment.status,
        "processor": payment.processor,
        "automatic": payment.automatic,
        "crypto": payment.crypto,
        "amount": usd(payment.credit_nano),
        "fee": usd(payment.fee_nano),
        "total": usd(payment.total_nano),
        "refunded": usd(payment.refunded_nano),
        "created_at": iso(payment.created_ms),
        "paid_at": None if payment.paid_ms is None else iso(payment.paid_ms),
    }


def _sent(limit: int) -> bytes:
    try:
        return read_body(request, limit)
    except PayloadTooLarge:
        g.hang_up = hang_up(request)
        raise
