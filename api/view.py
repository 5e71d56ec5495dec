"""The planner's view of the fleet, kept fresh in the background so that planning asks nobody."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import gevent
import structlog

from routing.catalog.live import LiveCatalog
from routing.clock import Clock
from routing.errors import Unavailable
from routing.figures import OUT_OF_ORDER, EndpointFigures, History
from routing.ranking import Health as Outlook
from routing.store import control
from routing.store import redis_keys as keys
from routing.store.connect import RedisClient
from routing.store.figures import Figures, FiguresReader
from routing.store.health import Health
from routing.store.outbox import Outbox

log = structlog.get_logger("pointsman.view")

#: An outage is planned around by every front door within this.
REFRESH_S = 0.5
#: Figures look back on minutes; reading them costs a front door milliseconds.
FIGURES_REFRESH_S = 5.0


class HealthView:
    """Outages and figures of endpoints, and the catalog orders of the command line."""

    def __init__(self, redis: RedisClient, live: LiveCatalog, clock: Clock, name: str) -> None:
        self._redis = redis
        self._health = Health(redis)
        self._outbox = Outbox(redis, name)
        self._live = live
        self._clock = clock
        self._name = name
        self._outlook = Outlook()
        self._backlog = 0
        self._reader = FiguresReader(Figures(redis))
        self._history = History()
        self._down: frozenset[str] = frozenset()

    def start(self, url: str, spawn: Callable[[Callable[[], None]], object]) -> None:
        """Begin to refresh and to listen."""
        spawn(lambda: self._forever(self.refresh, REFRESH_S))
        spawn(lambda: self._forever(self.refresh_figures, FIGURES_REFRESH_S))
        spawn(lambda: control.listen(url, (keys.CONTROL,), self._obey))

    def current(self) -> Outlook:
        """What planning should know now."""
        return self._outlook

    def backlog(self) -> int:
        """Charges that wait for the ledger."""
        return self._backlog

    def figures(self, endpoint_id: str) -> EndpointFigures:
        """What our own attempts say about an endpoint; all empty for one never called."""
        return self._history.figures(endpoint_id, down=endpoint_id in self._down)

    def refresh(self) -> None:
        """Look for outages and at the backlog.

        Raises:
            Unavailable: Redis is away.
        """
        unstable = self._health.unstable(self._clock.now_ms())
        self._outlook = replace(self._outlook, unstable=unstable)
        self._backlog = self._outbox.length()

    def refresh_figures(self) -> None:
        """Read the figures.

        Raises:
            Unavailable: Redis is away.
        """
        history = self._reader.read()
        broken = self._health.breakers(sorted(history.recent))
        latency, throughput = history.latency(), history.throughput()
        self._down = frozenset(name for name, state in broken.items() if state in OUT_OF_ORDER)
        self._history = history
        self._outlook = replace(self._outlook, latency=latency, throughput=throughput)

    def reload(self) -> None:
        """Read the catalog again; on a bad one the running catalog stays."""
        problem = control.reload_and_report(self._live, self._redis, self._name)
        log.info("catalog reload", action="catalog.reloaded", problem=problem)

    def _obey(self, _channel: str, message: bytes) -> None:
        if message == control.RELOAD:
            self.reload()

    @staticmethod
    def _forever(refresh: Callable[[], None], pause_s: float) -> None:
        while True:
            with suppress(Unavailable):  # the last view is better than none
                refresh()
            gevent.sleep(pause_s)
