"""What the sweep does about payments: automatic ones, those left half-way, and old credit.

Each step asks the processor outside of any transaction, writes down what it told, then tells the
front doors. Killed anywhere, the next round takes up what is written down.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from billing import api_keys, expiry, payments, processor, refunds, top_up
from billing.db import Ledger
from billing.payments import Credited, Payment, PurchaseTerms
from billing.processor import Declined, News, Processor
from routing.budgets import MS_PER_DAY
from routing.clock import Clock
from routing.errors import BadRequest, Conflict, RouterError, Unavailable
from routing.store.budgets import Budgets, KeyCache
from routing.store.connect import RedisClient
from workers.pools import SWEEP_QUEUE

log = structlog.get_logger("pointsman.cashier")

TOP_UP_TASK = "sweep.top_up.v1"
PAYMENTS_TASK = "sweep.payments.v1"
EXPIRY_TASK = "sweep.expiry.v1"
#: A message older than its next one is worthless.
SCHEDULE: dict[str, Any] = {
    name: {
        "task": name,
        "schedule": every_s,
        "options": {"queue": SWEEP_QUEUE, "expires": every_s},
    }
    for name, every_s in ((TOP_UP_TASK, 60.0), (PAYMENTS_TASK, 120.0), (EXPIRY_TASK, 3_600.0))
}
#: A payment that hangs for so long is asked about; its webhook comes within seconds.
HANGING_MS = 600_000
#: A page to pay on is open for a day, an idempotency key is known for as long.
GIVEN_UP_MS = 2 * MS_PER_DAY


class Cashier:
    """Rounds of the sweep. Without a processor only credit expires."""

    def __init__(
        self,
        ledger: Ledger,
        redis: RedisClient,
        desk: Processor | None,
        terms: PurchaseTerms,
        expire_days: int,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._desk = desk
        self._terms = terms
        self._expire_days = expire_days
        self._clock = clock
        self._budgets = Budgets(redis)
        self._keys = KeyCache(redis)

    def top_up(self) -> int:
        """Charge the cards of accounts that fell below their threshold; returns how many."""
        if self._desk is None:
            return 0
        charged, after = 0, ""
        while found := top_up.due(self._ledger, after=after):
            charged += sum(self._topped_up(self._desk, account_id) for account_id in found)
            after = found[-1]
        return charged

    def look_after(self) -> int:
        """Take up payments and refunds that hang; returns how many were settled."""
        if self._desk is None:
            return 0
        before_ms = self._clock.now_ms() - HANGING_MS
        pending = payments.in_state(self._ledger, "pending", before_ms=before_ms)
        refunding = payments.in_state(self._ledger, "refunding", before_ms=before_ms)
        done = sum(self._asked(self._desk, one) for one in pending)
        return done + sum(self._refunded(self._desk, one) for one in refunding)

    def expire(self) -> int:
        """Take credit that is too old; returns of how many accounts."""
        if not self._expire_days:
            return 0
        now_ms, after, taken = self._clock.now_ms(), "", 0
        given_before_ms = now_ms - self._expire_days * MS_PER_DAY
        while True:
            told, after = expiry.expire(self._ledger, given_before_ms, now_ms, after=after)
            self._budgets.post(told)
            taken += len(told)
            if not after:
                return taken

    def _topped_up(self, desk: Processor, account_id: str) -> bool:
        try:
            wanted = top_up.begin(
                self._ledger, account_id, desk.name, self._terms, self._clock.now_ms()
            )
        except BadRequest as error:  # it chose an amount that is not sold any more
            log.warning("no top-up", action="top_up.refused", account=account_id, why=str(error))
            return False
        if wanted is None:
            return False
        payment, like = wanted.payment, wanted.like
        return self._settled(payment, lambda: desk.charge_again(payment, like))

    def _asked(self, desk: Processor, payment: Payment) -> bool:
        """A webhook was lost, or the process died before it had an answer."""
        if payment.processor_id is not None:
            return self._settled(payment, lambda: desk.look(payment))
        if self._clock.now_ms() - payment.created_ms > GIVEN_UP_MS:
            return payments.fail(self._ledger, payment.id, "never asked for")
        like = top_up.card_of(self._ledger, payment.account_id, desk.name)
        if not payment.automatic or like is None:
            return False
        return self._settled(payment, lambda: desk.charge_again(payment, like))

    def _settled(self, payment: Payment, ask: Callable[[], News]) -> bool:
        """Ask, and write down what was told; what cannot be told now is asked again."""
        try:
            news = ask()
        except Declined as error:
            return payments.fail(self._ledger, payment.id, str(error))
        except Unavailable as error:
            log.warning("payment waits", action="payment.waits", id=payment.id, why=str(error))
            return False
        try:
            told = processor.apply(self._ledger, news, self._clock.now_ms())
        except Conflict as error:
            log.error(str(error), action="payment.odd", id=payment.id)  # noqa: TRY400 - no trace
            return False
        if told is not None:
            self._tell(told)
        return news.kind != "waiting"

    def _refunded(self, desk: Processor, payment: Payment) -> bool:
        try:
            desk.refund(payment)
        except Declined as error:
            log.warning("refund refused", action="refund.refused", id=payment.id, why=str(error))
            self._tell(refunds.undo(self._ledger, payment.id, self._clock.now_ms()))
        except RouterError as error:
            log.warning("refund waits", action="refund.waits", id=payment.id, why=str(error))
            return False
        else:
            refunds.finish(self._ledger, payment.id)
        return True

    def _tell(self, told: Credited) -> None:
        """Front doors cache the balance, and with each key what its account has bought."""
        self._budgets.post((told.budget,))
        self._keys.drop(*api_keys.hashes_of(self._ledger, told.payment.account_id))
