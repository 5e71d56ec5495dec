"""A settler that dies by SIGKILL at a chosen point, without a hook in the product.

    python -m tests.faults.crashing_settler release|forget COUNT

It takes COUNT charges and commits them to the ledger. At `release` it dies before the holds are
given back, at `forget` after that, but before the charges are forgotten.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Never

from billing.db import open_ledger
from routing.clock import SystemClock
from routing.settings import Settings
from routing.store.budgets import Budgets
from routing.store.connect import connect
from routing.store.outbox import Entry, Outbox
from routing.wire.account import Budget
from workers.settle import Settler

_WAIT_MS = 5_000


def _die() -> Never:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("alive after SIGKILL")


class DyingBudgets(Budgets):
    """Never gets to give back a hold."""

    def post(self, budgets: Sequence[Budget], settled: Sequence[str] = ()) -> int:
        """Die."""
        _die()


class DyingOutbox(Outbox):
    """Never gets to forget a charge."""

    def done(self, entries: Sequence[Entry]) -> None:
        """Die."""
        _die()


def main(point: str, count: int) -> None:
    """Settle one batch, and die on the way."""
    settings = Settings.from_env()
    redis = connect(settings.redis_url, "crashing-settler")
    name = f"crashing-{os.getpid()}"
    settler = Settler(open_ledger(settings.sql_url), redis, name, SystemClock())
    if point == "release":
        settler._budgets = DyingBudgets(redis)
    else:
        settler._outbox = DyingOutbox(redis, name)
    outbox = Outbox(redis, name)
    outbox.prepare()
    settler.settle(outbox.read(count, _WAIT_MS))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
