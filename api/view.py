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
from routing.figures import EndpointFigures, History
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
#: Figures look back on minutes.
FIGURES_REFRESH_S = 5.0
#: Not 0: the hub looks at no socket between up to a thousand greenlets that are ready again.
PAUSE_S = 0.0005
#: Breakers looked at between two pauses.
BREAKERS_MAX = 100


def _pause() -> None:
    """Let streams have their turn: reading the figures of a large catalog takes a while."""
    gevent.sleep(PAUSE_S)


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
        self._reader = FiguresReader(Figures(redis, _pause))
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

    def all_figures(self) -> dict[str, EndpointFigures]:
        """Of every endpoint called within 24 hours."""
        return {name: self.figures(name) for name in sorted(self._history.endpoints)}

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
        history.work_out(_pause)
        latency, throughput = history.latency(), history.throughput()
        self._down = self._in_outage(sorted(history.recent))
        self._history = history
        self._outlook = replace(self._outlook, latency=latency, throughput=throughput)

    def _in_outage(self, names: list[str]) -> frozenset[str]:
        found: set[str] = set()
        for start in range(0, len(names), BREAKERS_MAX):
            found |= self._health.down(names[start : start + BREAKERS_MAX])
            _pause()
        return frozenset(found)

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
