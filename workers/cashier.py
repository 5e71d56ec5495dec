"""What the sweep does about payments: automatic ones, those left half-way, and old credit.

Each step asks the processor outside of any transaction, writes down what it told, then tells the
front doors. Killed anywhere, the next round takes up what is written down. A round has a thread of
its own: a slow processor must not keep the sweep from jobs that wait.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from billing import accounts, api_keys, expiry, payments, processor, refunds, top_up
from billing.db import Ledger
from billing.payments import Credited, PurchaseTerms
from billing.top_up import TopUp
from routing.budgets import MS_PER_DAY
from routing.clock import Clock
from routing.errors import BadRequest, Conflict, RouterError, Unavailable
from routing.payments import Declined, News, Payment, Processor, Status
from routing.store.budgets import Budgets, KeyCache
from routing.store.connect import RedisClient
from routing.store.turns import Turns
from workers.pools import SWEEP_QUEUE

log = structlog.get_logger("pointsman.cashier")

PAYMENTS_TASK = "sweep.payments.v1"
EVERY_S = 60.0
#: A message older than its next one is worthless.
SCHEDULE: dict[str, Any] = {
    PAYMENTS_TASK: {
        "task": PAYMENTS_TASK,
        "schedule": EVERY_S,
        "options": {"queue": SWEEP_QUEUE, "expires": EVERY_S},
    }
}
#: A round ends at the first pause after this; the next one goes on where it stopped.
ROUND_S = 60.0
#: Longer than a round with the slowest last call; then another process takes over.
TURN_MS = 300_000
TURN = "cashier"
#: Payments of one state that are looked at in one round.
LOOK_MAX = 50
#: A payment that hangs for so long is asked about; its webhook comes within seconds.
HANGING_MS = 600_000
#: A page to pay on is open for a day; what was not asked for by then never is.
GIVEN_UP_MS = 2 * MS_PER_DAY
#: Credit expires by the day; more often than this nothing new is found.
EXPIRY_PAUSE_MS = 3_600_000
#: Pages of accounts whose credit is looked at in one round.
EXPIRY_PAGES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Till:
    """What a cashier works with.

    Attributes:
        desk: None where nothing is sold: then only credit expires.
        expire_days: age at which unused credit expires; 0 is never.
    """

    ledger: Ledger
    redis: RedisClient
    desk: Processor | None
    terms: PurchaseTerms
    clock: Clock
    expire_days: int = 0


class Cashier:
    """Rounds of the sweep. One round at a time in the fleet."""

    def __init__(self, till: Till) -> None:
        self._till = till
        self._ledger, self._clock = till.ledger, till.clock
        self._budgets, self._keys = Budgets(till.redis), KeyCache(till.redis)
        self._turns = Turns(till.redis)
        self._thread: threading.Thread | None = None
        self._top_up_after = ""
        self._looked_after: dict[Status, str] = {}
        self._expire_after, self._expired_ms = "", 0

    def start(self) -> None:
        """Begin a round, unless this process has one under way."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="cashier", daemon=True)
            self._thread.start()

    def round(self) -> bool:
        """All there is to do, in its time; False when another process is at it.

        Raises:
            Unavailable: the database or Redis is away; the next round goes on.
        """
        token = self._turns.take(TURN, TURN_MS)
        if token is None:
            return False
        try:
            self.top_up()
            self.look_after()
            if self._clock.now_ms() - self._expired_ms >= EXPIRY_PAUSE_MS:
                self.expire()
        finally:
            self._turns.give(TURN, token)
        return True

    def top_up(self) -> int:
        """Charge the cards of accounts that fell below their threshold; returns how many."""
        if self._till.desk is None:
            return 0
        charged, until_s = 0, time.monotonic() + ROUND_S
        while True:
            found, after = top_up.due(self._ledger, after=self._top_up_after)
            for account_id in found:
                if time.monotonic() > until_s:
                    return charged
                charged += self._topped_up(self._till.desk, account_id)
                self._top_up_after = account_id
            self._top_up_after = after
            if not after or time.monotonic() > until_s:
                return charged

    def look_after(self) -> int:
        """Take up payments and refunds that hang; returns how many were settled."""
        desk = self._till.desk
        if desk is None:
            return 0
        pending = self._settle_all("pending", lambda one: self._asked(desk, one))
        return pending + self._settle_all("refunding", lambda one: self._refunded(desk, one))

    def expire(self) -> int:
        """Take credit that is too old; returns of how many accounts."""
        if not self._till.expire_days:
            return 0
        now_ms, taken = self._clock.now_ms(), 0
        given_before_ms = now_ms - self._till.expire_days * MS_PER_DAY
        for _ in range(EXPIRY_PAGES):
            told, self._expire_after = expiry.expire(
                self._ledger,
                given_before_ms,
                now_ms,
                after=self._expire_after,
                held_nano=self._budgets.held_nano,
            )
            self._budgets.post(told)
            taken += len(told)
            if not self._expire_after:
                self._expired_ms = now_ms
                break
        return taken

    def _run(self) -> None:
        try:
            self.round()
        except Unavailable as error:
            log.warning("payments wait", action="payments.wait", why=str(error))

    def _settle_all(self, status: Status, settle: Callable[[Payment], bool]) -> int:
        """The next of those that hang; behind the last one it begins anew."""
        before_ms, until_s = self._clock.now_ms() - HANGING_MS, time.monotonic() + ROUND_S
        found = payments.in_state(
            self._ledger,
            status,
            before_ms=before_ms,
            after=self._looked_after.get(status, ""),
            most=LOOK_MAX,
        )
        settled = 0
        for payment in found:
            settled += settle(payment)
            self._looked_after[status] = payment.id
            if time.monotonic() > until_s:
                return settled
        if len(found) < LOOK_MAX:
            self._looked_after[status] = ""
        return settled

    def _topped_up(self, desk: Processor, account_id: str) -> bool:
        try:
            wanted = top_up.begin(
                self._ledger, account_id, desk.name, self._till.terms, self._clock.now_ms()
            )
        except BadRequest as error:  # it chose an amount that is not sold any more
            log.warning("no top-up", action="top_up.refused", account=account_id, why=str(error))
            return False
        if wanted is None:
            return False
        return self._charged(desk, wanted)

    def _charged(self, desk: Processor, wanted: TopUp) -> bool:
        return self._settled(wanted.payment, lambda: desk.charge_again(wanted.payment, wanted.like))

    def _asked(self, desk: Processor, payment: Payment) -> bool:
        """A webhook was lost, or the process died before it had an answer."""
        if payment.processor_id is not None:
            return self._settled(payment, lambda: desk.look(payment))
        if self._clock.now_ms() - payment.created_ms > GIVEN_UP_MS:
            return payments.fail(self._ledger, payment.id, "never asked for")
        if not payment.automatic:
            return False
        wanted = top_up.again(self._ledger, payment)
        if wanted is None:
            return payments.fail(self._ledger, payment.id, "its card cannot be used any more")
        return self._charged(desk, wanted)

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
            if told.new and told.payment.status == "unclaimed":
                log.error("money for a closed account", action="payment.unclaimed", id=payment.id)
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
            # Whoever began it may not have come to telling the balance.
            balance = accounts.budget_of(self._ledger, payment.account_id)
            self._budgets.post((balance,))
        return True

    def _tell(self, told: Credited) -> None:
        """Front doors cache the balance, and with each key what its account has bought."""
        self._budgets.post((told.budget,))
        self._keys.drop(*api_keys.hashes_of(self._ledger, told.payment.account_id))
