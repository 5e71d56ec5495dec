"""Letting go of jobs whose client is not there any more, also when Redis is away just now.

A time-out leaves open whether Redis carried out an admission. If it did, the job would run and be
charged although its client was told 503; so it is cancelled as soon as Redis answers again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gevent

from routing.clock import Clock
from routing.errors import Unavailable
from routing.store.jobs import Jobs
from routing.wire.job import Charge, JobSpec

#: An admission can still be under way in a Redis that has just come back: look a few times.
LOOKS = 5
LOOK_EVERY_S = 1.0
#: Then the job's own lease, deadline and missing front door end it.
TRIES_MAX = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class LettingGo:
    """Cancels jobs in the background."""

    jobs: Jobs
    clock: Clock

    def let_go(self, spec: JobSpec) -> None:
        """The client of an admitted job has left. Tries once now; on from here if Redis is away."""
        try:
            self._cancel(spec)
        except Unavailable:
            gevent.spawn(self._insist, spec, bool)

    def undo(self, spec: JobSpec) -> None:
        """Nobody knows whether this job was admitted, and its client was told it was not."""
        looks = iter(range(LOOKS))
        gevent.spawn(self._insist, spec, lambda told: told != "gone" or next(looks, None) is None)

    def _cancel(self, spec: JobSpec) -> str:
        charge = Charge.unserved(spec, "cancelled", self.clock.now_ms())
        return self.jobs.cancel(spec.generation_id, charge.to_json())

    def _insist(self, spec: JobSpec, enough: Callable[[str], bool]) -> None:
        for _ in range(TRIES_MAX):
            gevent.sleep(LOOK_EVERY_S)
            try:
                if enough(self._cancel(spec)):
                    return
            except Unavailable:
                continue
