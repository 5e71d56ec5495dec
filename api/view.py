"""The planner's view of the fleet, kept fresh in the background so that planning asks nobody."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import gevent
import structlog

from routing.catalog.live import LiveCatalog
from routing.clock import Clock
from routing.errors import Unavailable
from routing.plan import Health as Outlook
from routing.store import control
from routing.store import redis_keys as keys
from routing.store.connect import RedisClient
from routing.store.health import Health
from routing.store.outbox import Outbox

log = structlog.get_logger("pointsman.view")

#: An outage is planned around by every front door within this.
REFRESH_S = 0.5


class HealthView:
    """Endpoints with recent outages, and the catalog orders of the command line."""

    def __init__(self, redis: RedisClient, live: LiveCatalog, clock: Clock, name: str) -> None:
        self._redis = redis
        self._health = Health(redis)
        self._outbox = Outbox(redis, name)
        self._live = live
        self._clock = clock
        self._name = name
        self._outlook = Outlook()
        self._backlog = 0

    def start(self, url: str, spawn: Callable[[Callable[[], None]], object]) -> None:
        """Begin to refresh and to listen."""
        spawn(self._refresh)
        spawn(lambda: control.listen(url, (keys.CONTROL,), self._obey))

    def current(self) -> Outlook:
        """What planning should know now."""
        return self._outlook

    def backlog(self) -> int:
        """Charges that wait for the ledger."""
        return self._backlog

    def uptime_percent(self, endpoint_id: str) -> float | None:
        """Not measured yet: the contract's null."""
        del endpoint_id
        return None

    def reload(self) -> None:
        """Read the catalog again; on a bad one the running catalog stays."""
        problem = control.reload_and_report(self._live, self._redis, self._name)
        log.info("catalog reload", action="catalog.reloaded", problem=problem)

    def _obey(self, _channel: str, message: bytes) -> None:
        if message == control.RELOAD:
            self.reload()

    def _refresh(self) -> None:
        while True:
            with suppress(Unavailable):  # the last view is better than none
                self._outlook = Outlook(unstable=self._health.unstable(self._clock.now_ms()))
                self._backlog = self._outbox.length()
            gevent.sleep(REFRESH_S)
