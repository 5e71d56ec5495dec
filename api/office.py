"""Where management calls do their work: SQL off the event loop, and every cache told of a change.

SQLite makes a writer wait in C, where no other greenlet runs; so both reads and writes of the
office happen in threads of their own, on a ledger that the hot path never touches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from billing import api_keys, members
from billing.db import Ledger
from routing.clock import Clock
from routing.store.budgets import Budgets, KeyCache
from routing.wire.account import Budget

Result = TypeVar("Result")

#: Cached keys dropped in one go: between two, a front door looks after its streams.
DROPPED_AT_ONCE = 500


class Aside(Protocol):
    """Runs a function where it may block; gives back what it returns, or raises what it raises."""

    def __call__(self, work: Callable[[], Result], /) -> Result:
        """Run it."""
        ...


def at_once(work: Callable[[], Result], /) -> Result:
    """Here and now: for the command line and for tests, where nobody else waits."""
    return work()


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """Reads and changes what front doors cache. One per process.

    Attributes:
        ledger: may be written.
        keys: cached keys of all front doors.
        budgets: cached balances of all front doors.
    """

    ledger: Ledger
    keys: KeyCache
    budgets: Budgets
    clock: Clock
    aside: Aside = at_once

    def do(self, work: Callable[[Ledger], Result]) -> Result:
        """Something that changes nothing a front door caches.

        Raises:
            RouterError: what the work raises.
            Unavailable: the database is away.
        """
        return self.aside(lambda: work(self.ledger))

    def change_keys(self, hashes: Sequence[str], work: Callable[[Ledger], Result]) -> Result:
        """Change what front doors know of some keys; all of them act on it within a second.

        Raises:
            RouterError: what the work raises; nothing was changed.
            Unavailable: the database or Redis is away; if Redis went in between, the change stands
                and front doors follow within a minute of its return.
        """
        self._drop(hashes)
        try:
            return self.do(work)
        finally:
            self._drop(hashes)

    def change_account(self, account_id: str, work: Callable[[Ledger], Result]) -> Result:
        """The same for what all keys of an account are cached with.

        That is its policy, settings, budgets and provider keys.
        """
        return self._change_all(lambda ledger: api_keys.hashes_of(ledger, account_id), work)

    def change_keys_of(
        self, account_id: str, user_id: str, work: Callable[[Ledger], Result]
    ) -> Result:
        """The same for the keys a member made, as when they leave or lose their role."""
        return self._change_all(lambda ledger: members.keys_of(ledger, user_id, account_id), work)

    def _change_all(
        self, named: Callable[[Ledger], tuple[str, ...]], work: Callable[[Ledger], Result]
    ) -> Result:
        before = self.do(named)
        try:
            return self.change_keys(before, work)
        finally:
            # A key made meanwhile may have been read, and cached, with what was there before.
            self._drop(tuple(set(self.do(named)) - set(before)))

    def _drop(self, hashes: Sequence[str]) -> None:
        for start in range(0, len(hashes), DROPPED_AT_ONCE):
            self.keys.drop(*hashes[start : start + DROPPED_AT_ONCE])

    def post(self, *balances: Budget) -> None:
        """Tell front doors of new balances; an older one than they know changes nothing.

        Raises:
            Unavailable: Redis is away; the next settlement will tell them.
        """
        self.budgets.post(balances)
