"""The billing worker's loop: outbox → one SQL transaction → holds given back → outbox forgotten.

Killed anywhere, it starts again from the outbox: the ledger's unique keys make a second booking
impossible, and giving back a hold twice gives back nothing.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence

import structlog

from billing.db import Ledger
from billing.settlement import BYOK_FREE_REQUESTS, settle
from routing.clock import Clock
from routing.errors import Unavailable
from routing.store.budgets import Budgets
from routing.store.connect import RedisClient
from routing.store.outbox import Entry, Outbox
from workers.contents import Mover

log = structlog.get_logger("pointsman.settle")

#: One SQL transaction: large enough that its fsync is shared, small enough to finish in a moment.
BATCH_MAX = 500
#: After the first charge the settler lets more gather: one fsync and one lock for all of them.
GATHER_S = 0.1
#: How long a read waits for the first charge; also how soon a stop is noticed.
BLOCK_MS = 200
#: Charges left behind by a dead settler are looked for this often.
TAKE_OVER_EVERY_MS = 5_000
#: First and longest pause while the ledger or Redis is away.
PAUSE_MIN_S = 0.2
PAUSE_MAX_S = 5.0
#: A settler that does not stop within this is left to the supervisor.
JOIN_S = 30.0


class Settler:
    """Drains the outbox in a thread of its own; the Celery worker around it answers pings.

    Any number may run: the group shares the work.
    """

    def __init__(
        self,
        ledger: Ledger,
        redis: RedisClient,
        name: str,
        clock: Clock,
        byok_free_requests: int = BYOK_FREE_REQUESTS,
    ) -> None:
        self._ledger = ledger
        self._outbox = Outbox(redis, name)
        self._budgets = Budgets(redis)
        self._mover = Mover(ledger, redis)
        self._clock = clock
        self._byok_free_requests = byok_free_requests
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._main, name="settle", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the batch at hand, then end. Safe in a signal handler."""
        self._stop.set()

    def join(self) -> None:
        """Wait for the end."""
        self._thread.join(JOIN_S)

    def _main(self) -> None:
        """A settler that fails must not leave a worker behind that looks alive."""
        try:
            self.run()
        finally:
            if not self._stop.is_set():
                os.kill(os.getpid(), signal.SIGTERM)

    def run(self) -> None:
        """Until stopped; an absent ledger or Redis only makes it wait, nothing is dropped."""
        pause_s = PAUSE_MIN_S
        next_take_over_ms = 0
        prepared = False
        while not self._stop.is_set():
            try:
                if not prepared:
                    self._outbox.prepare()
                    prepared = True
                entries: list[Entry] = []
                if self._clock.now_ms() >= next_take_over_ms:
                    entries = self._outbox.take_over(BATCH_MAX)
                    if not entries:
                        next_take_over_ms = self._clock.now_ms() + TAKE_OVER_EVERY_MS
                self.settle(entries or self._gathered())
                pause_s = PAUSE_MIN_S
            except Unavailable as error:
                log.warning("settlement waits", action="settle.waiting", why=str(error))
                self._stop.wait(pause_s)
                pause_s = min(pause_s * 2, PAUSE_MAX_S)

    def _gathered(self) -> list[Entry]:
        """The charges of the next moment, in one batch."""
        entries = self._outbox.read(BATCH_MAX, BLOCK_MS)
        if entries and len(entries) < BATCH_MAX:
            self._stop.wait(GATHER_S)
            entries += self._outbox.read(BATCH_MAX - len(entries), 1)
        return entries

    def settle(self, entries: Sequence[Entry]) -> int:
        """Settle one batch; returns how many generations were new to the ledger.

        Raises:
            Unavailable: the ledger or Redis is away; the batch will be read again.
        """
        if not entries:
            return 0
        charges = [entry.charge for entry in entries if entry.charge is not None]
        unreadable = [entry for entry in entries if entry.charge is None]
        for entry in unreadable:
            # Kept in the log, not in the queue: one bad record must not stop all others.
            log.error("charge cannot be read", action="settle.unreadable", raw=entry.raw[:500])
        settled = settle(self._ledger, charges, self._clock.now_ms(), self._byok_free_requests)
        self._budgets.post(settled.budgets, [charge.generation_id for charge in charges])
        self._mover.move(charges)
        self._outbox.done(entries)
        return len(settled.new)
