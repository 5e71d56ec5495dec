"""/livez, /readyz and /metrics: what supervisors and Prometheus ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import orjson
from flask import Blueprint, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from billing.db import Ledger
from billing.invariants import drift_nano
from routing.catalog.live import LiveCatalog
from routing.clock import Clock
from routing.errors import RouterError, Unavailable
from routing.figures import EndpointFigures, Percent, Percentiles
from routing.store import redis_keys as keys
from routing.store.budgets import Budgets
from routing.store.bus import FrontDoor
from routing.store.connect import RedisClient
from routing.store.health import Health
from routing.store.jobs import Jobs
from routing.store.scripts import translated
from workers.pools import interactive_queue

Ping = Callable[[], str]
#: The ledger is summed at most this often however often we are scraped.
DRIFT_EVERY_MS = 60_000
_BREAKER = {"parked": 1, "half": 2, "open": 3}
_PERCENTS: tuple[Percent, ...] = ("p50", "p75", "p90", "p99")


def blueprint(pings: dict[str, Ping], registry: CollectorRegistry) -> Blueprint:
    """Routes at the root, without authentication: they tell no tenant's data.

    `/metrics` shows speed and tool call success of every endpoint, which the API hides from
    strangers: it is for Prometheus on a private network and must not be reachable from outside.

    Args:
        pings: by name, each returns "" when its part is well, or a sentence.
        registry: what `/metrics` prints.
    """
    routes = Blueprint("health", __name__)

    @routes.get("/livez")
    def livez() -> Response:
        return Response(b'{"status":"ok"}', mimetype="application/json")

    @routes.get("/readyz")
    def readyz() -> Response:
        found = {name: _asked(ping) for name, ping in pings.items()}
        ready = not any(found.values())
        body = {
            "status": "ready" if ready else "not ready",
            "parts": {name: problem or "ok" for name, problem in found.items()},
        }
        return Response(
            orjson.dumps(body), status=200 if ready else 503, mimetype="application/json"
        )

    @routes.get("/metrics")
    def metrics() -> Response:
        return Response(
            generate_latest(registry), content_type="text/plain; version=0.0.4; charset=utf-8"
        )

    return routes


def _asked(ping: Ping) -> str:
    try:
        return ping()
    except RouterError as error:
        return error.message


def make_pings(
    redis: RedisClient, front_door: FrontDoor, jobs: Jobs, ledger: Ledger, clock: Clock
) -> dict[str, Ping]:
    """What must be well before traffic is sent here."""

    def ask_redis() -> str:
        with translated():
            redis.ping()
        return ""

    def ask_ledger() -> str:
        with ledger.reading():
            return ""

    return {
        "redis": ask_redis,
        "channel": lambda: "" if front_door.connected else "not subscribed to the answer channel",
        "ledger": ask_ledger,
        "workers": lambda: (
            "" if jobs.workers_alive(clock.now_ms()) else "no attempt worker is alive"
        ),
    }


class SharedState:
    """Gauges of what lives in Redis and SQL, read when scraped. A part that is away is left out.

    Args:
        figures: of endpoints, as the front door has them in memory.
    """

    def __init__(
        self,
        redis: RedisClient,
        ledger: Ledger,
        catalog: LiveCatalog,
        clock: Clock,
        figures: Callable[[], Mapping[str, EndpointFigures]],
    ) -> None:
        self._redis = redis
        self._ledger = ledger
        self._catalog = catalog
        self._clock = clock
        self._drift = 0
        self._drift_at_ms = -DRIFT_EVERY_MS
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """For Prometheus."""
        with suppress(Unavailable):
            yield from self._from_redis()
        yield from figures_metrics(self._figures())
        with suppress(Unavailable):
            yield self._ledger_drift()

    def _from_redis(self) -> Iterator[Metric]:
        budgets, health = Budgets(self._redis), Health(self._redis)
        pools = self._catalog.current.pools
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            for pool in pools:
                pipe.llen(interactive_queue(pool))
            pipe.zcard(keys.JOBS_DUE)
            pipe.xlen(keys.OUTBOX)
            pipe.xlen(keys.DEAD_LETTERS)
            *lengths, unfinished, outbox, dead = pipe.execute()
        queues = GaugeMetricFamily("router_queue_length", "Doorbells waiting.", labels=["pool"])
        for pool, length in zip(pools, lengths, strict=True):
            queues.add_metric([pool], length)
        yield queues
        yield GaugeMetricFamily("router_jobs_unfinished", "Jobs queued or held.", unfinished)
        yield GaugeMetricFamily("router_outbox_length", "Charges not yet settled.", outbox)
        yield GaugeMetricFamily("router_dead_letters", "Jobs that killed their workers.", dead)
        yield GaugeMetricFamily("router_holds_open", "Jobs holding money.", budgets.open_holds())
        breakers = GaugeMetricFamily(
            "router_breaker_state", "0 closed, 1 parked, 2 probing, 3 open.", labels=["endpoint"]
        )
        for endpoint, state in health.breakers(list(self._catalog.current.endpoints)).items():
            breakers.add_metric([endpoint], _BREAKER.get(state, 0))
        yield breakers

    def _ledger_drift(self) -> Metric:
        now_ms = self._clock.now_ms()
        if now_ms - self._drift_at_ms >= DRIFT_EVERY_MS:
            self._drift = drift_nano(self._ledger)
            self._drift_at_ms = now_ms
        return GaugeMetricFamily(
            "router_ledger_drift",
            "Balances minus their entries, nano-dollars; must be 0.",
            self._drift,
        )


def figures_metrics(figures: Mapping[str, EndpointFigures]) -> Iterator[Metric]:
    """Gauges of endpoints, by id; what is not known of one is left out."""
    uptime = GaugeMetricFamily(
        "router_endpoint_uptime", "Percent of attempts, 30 minutes.", labels=["endpoint"]
    )
    latency = GaugeMetricFamily(
        "router_endpoint_latency_ms",
        "To the first piece of streams, 30 minutes.",
        labels=["endpoint", "percentile"],
    )
    throughput = GaugeMetricFamily(
        "router_endpoint_throughput",
        "Tokens a second of streams, 30 minutes; a higher percentile is worse.",
        labels=["endpoint", "percentile"],
    )
    tools = GaugeMetricFamily(
        "router_endpoint_tool_success",
        "Share of sound tool calls, 24 hours.",
        labels=["endpoint"],
    )
    for name, found in figures.items():
        if found.uptime_30m is not None:
            uptime.add_metric([name], found.uptime_30m)
        if found.tools_1d is not None and found.tools_1d.success_rate is not None:
            tools.add_metric([name], found.tools_1d.success_rate)
        _add_percentiles(latency, name, found.latency_30m)
        _add_percentiles(throughput, name, found.throughput_30m)
    yield from (uptime, latency, throughput, tools)


def _add_percentiles(
    family: GaugeMetricFamily, endpoint: str, percentiles: Percentiles | None
) -> None:
    if percentiles is not None:
        for percent in _PERCENTS:
            family.add_metric([endpoint, percent], percentiles.at(percent))


class HostCounters:
    """The counters of all our processes on this host, from the directory they share."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)
        self._collector = MultiProcessCollector(None, path=directory)  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Metric]:
        """For Prometheus. The live gauges of processes that died are dropped first."""
        for file in self._directory.glob("gauge_live*_*.db"):
            pid = file.stem.rpartition("_")[2]
            if not Path(f"/proc/{pid}").exists():
                file.unlink(missing_ok=True)
        metrics: Iterable[Metric] = self._collector.collect()  # type: ignore[no-untyped-call]
        return metrics


def make_registry(
    metrics_dir: str, own: CollectorRegistry, shared: SharedState
) -> CollectorRegistry:
    """What `/metrics` prints: the counters of all processes on this host, and the shared gauges."""
    registry = CollectorRegistry()
    if metrics_dir:
        registry.register(HostCounters(metrics_dir))
    else:
        registry.register(own)
    registry.register(shared)
    return registry
