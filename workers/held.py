"""The jobs this process holds: their leases, and the ways they can be told to let go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from routing.store.jobs import Claim
from workers.connections import Exchange

#: Why an attempt was interrupted: the client left, another worker owns the job, this process is
#: draining and nothing was sent yet, or it must stop now.
Order = Literal["cancel", "lost", "hand_over", "stop"]


@dataclass(slots=True, eq=False)
class Held:
    """One claimed job. Orders arrive from other greenlets; the attempt reads `order`.

    Attributes:
        sent: bytes for the client left this process.
        cancellable: closing the upstream call stops its bill, so a cancel may interrupt it.
    """

    claim: Claim
    sent: bool = False
    cancellable: bool = False
    order: Order | None = None
    exchange: Exchange | None = None

    def tell(self, order: Order) -> None:
        """Give an order and wake the attempt by closing its upstream call.

        A cancel on a call whose provider bills to the end anyway only marks the job: the attempt
        drains it and settles what it really cost.
        """
        if self.order == "lost":
            return
        self.order = order
        if order == "cancel" and not self.cancellable:
            return
        if self.exchange is not None:
            self.exchange.close()


@dataclass(slots=True)
class HeldJobs:
    """All of them, by job id."""

    on_change: Callable[[int], None] = lambda _: None
    _jobs: dict[str, Held] = field(default_factory=dict)

    @contextmanager
    def holding(self, claim: Claim) -> Iterator[Held]:
        """Hold a job for as long as its attempt runs."""
        held = Held(claim)
        self._jobs[claim.job_id] = held
        self.on_change(len(self._jobs))
        try:
            yield held
        finally:
            if self._jobs.get(claim.job_id) is held:
                del self._jobs[claim.job_id]
            self.on_change(len(self._jobs))

    def leases(self) -> list[tuple[str, int]]:
        """What to renew."""
        return [(job_id, held.claim.epoch) for job_id, held in self._jobs.items()]

    def tell(self, job_id: str, order: Order) -> None:
        """Give an order to one job, if it is here."""
        held = self._jobs.get(job_id)
        if held is not None:
            held.tell(order)

    def tell_all(self, order: Order, *, sent: bool | None = None) -> None:
        """Give an order to all jobs, or to those that have (not) sent anything."""
        for held in list(self._jobs.values()):
            if sent is None or held.sent is sent:
                held.tell(order)

    def __len__(self) -> int:
        return len(self._jobs)
