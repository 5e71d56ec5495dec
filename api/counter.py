"""Buying credit, giving it back and hearing of payments: one place for routes, pages and commands.

The processor is called outside of any transaction, off the event loop, a few calls at a time: a
slow one must not keep others from their database.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import BoundedSemaphore

import structlog

from api.office import Office
from billing import accounts, payments, processor, refunds
from billing.payments import Credited, Order, PurchaseTerms
from routing.budgets import account_scope
from routing.errors import NotFound, Unavailable
from routing.payments import Checkout, Declined, Payment, Processor, Ways

log = structlog.get_logger("pointsman.credits")

#: Calls of the processor at once, in one process; half of the office's threads.
CALLS_MAX = 2
BUSY_RETRY_MS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """Where credit is sold. One per process.

    Attributes:
        desk: None where the operator sells nothing.
    """

    office: Office
    desk: Processor | None
    terms: PurchaseTerms
    calls: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(CALLS_MAX))

    def buy(
        self, account_id: str, credit_nano: int, ways: Ways, *, crypto: bool = False
    ) -> tuple[Payment, Checkout]:
        """Open a payment; returns it and where to pay.

        Raises:
            NotFound: nothing is sold here.
            BadRequest: an amount that is not sold.
            Conflict: too many payments are open, or the processor refused.
            Unavailable: the database or the processor is away.
        """
        desk, now_ms = self._open(), self.office.clock.now_ms()
        order = Order(credit_nano=credit_nano, processor=desk.name, crypto=crypto)
        with self._turn():
            payment = self.office.do(
                lambda ledger: payments.open_payment(ledger, account_id, order, self.terms, now_ms)
            )
            try:
                made = self.office.aside(lambda: desk.checkout(payment, ways))
            except Declined as error:
                why = error.message
                self.office.do(lambda ledger: payments.fail(ledger, payment.id, why))
                raise
        self.office.do(lambda ledger: payments.bind(ledger, payment.id, made.processor_id))
        return payment, made

    def refund(self, account_id: str, payment_id: str) -> Payment:
        """Give back what is unused of a payment.

        Raises:
            NotFound: nothing is sold here, or no such payment of this account.
            Conflict: it cannot be refunded, or the processor refused.
            Unavailable: something is away. If the credit was taken off already, the sweep asks the
                processor again.
        """
        desk = self._open()
        with self._turn():
            begun = self._begin(account_id, payment_id)
            return self._give_back(desk, begun.payment)

    def return_unclaimed(self, payment_id: str) -> Payment:
        """Give all of a payment back that came for an account that was closed; for operators.

        Raises:
            NotFound: nothing is sold here, or no such payment.
            Conflict: it is not unclaimed, or the processor refused.
            Unavailable: as with `refund`.
        """
        desk, now_ms = self._open(), self.office.clock.now_ms()
        with self._turn():
            begun = self.office.do(lambda ledger: refunds.give_back(ledger, payment_id, now_ms))
            return self._give_back(desk, begun.payment)

    @property
    def listens(self) -> bool:
        """Whether messages of the processor are taken."""
        return self.desk is not None and self.desk.listens

    def hear(self, raw: bytes, signature: str | None) -> None:
        """Act on a message of the processor.

        Raises:
            NotFound: no messages are taken, or it is about a payment nobody knows.
            BadRequest: it is forged, too old, or makes no sense.
            Conflict: it does not fit its payment.
            Unavailable: something is away; the processor will send it again.
        """
        desk, now_ms = self._open(), self.office.clock.now_ms()
        if not desk.listens:
            raise NotFound("Not Found")
        message = desk.read(raw, signature)
        if message is None:
            return
        with self._turn():
            news = self.office.aside(lambda: desk.ask(message))
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
        if told is not None and told.new and told.payment.status == "unclaimed":
            log.error("money for a closed account", action="payment.unclaimed", id=payment.id)

    def _open(self) -> Processor:
        if self.desk is None:
            raise NotFound("This router sells no credit. Ask its operator.")
        return self.desk

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """For one call of the processor; taken before anything is begun that needs it."""
        if not self.calls.acquire(blocking=False):
            raise Unavailable(
                "Too many payments at once. Try again shortly.", retry_after_ms=BUSY_RETRY_MS
            )
        try:
            yield
        finally:
            self.calls.release()

    def _begin(self, account_id: str, payment_id: str) -> Credited:
        """Take it off the balance, while nobody else can spend it."""
        scope, hold = account_scope(account_id), f"refund:{payment_id}:{secrets.token_hex(8)}"
        now_ms = self.office.clock.now_ms()
        free_nano = self.office.budgets.reserve(scope, hold)
        if free_nano is None:  # not cached
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

    def _give_back(self, desk: Processor, payment: Payment) -> Payment:
        try:
            self.office.aside(lambda: desk.refund(payment))
        except Declined:
            now_ms = self.office.clock.now_ms()
            undone = self.office.change_account(
                payment.account_id, lambda ledger: refunds.undo(ledger, payment.id, now_ms)
            )
            self.office.post(undone.budget)
            raise
        self.office.do(lambda ledger: refunds.finish(ledger, payment.id))
        return self.office.do(lambda ledger: payments.find(ledger, payment.id)) or payment
