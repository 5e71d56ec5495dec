"""Prometheus counters of every process, shared through one directory and scraped at the front door.

No key, account, user or app is ever a label: their figures belong in the ledger. Gauges of shared
state (queues, breakers, holds, outbox, drift) are read at scrape time by `api/health.py`.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from routing.catalog.pricing import NANO_PER_USD, cost
from routing.wire.job import Charge

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class WebMetrics:
    """What a front door counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "router_http_requests_total",
            "Answers by route and status.",
            ("route", "status"),
            registry=registry,
        )
        self._gaps = Counter(
            "router_stream_gaps_total",
            "Frames missing from the channel and filled from the store.",
            registry=registry,
        )
        self._reconnects = Counter(
            "router_channel_reconnects_total",
            "Answer channel lost and rejoined.",
            registry=registry,
        )
        self._open = Gauge(
            "router_open_requests",
            "Clients waiting for an answer.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._cancelled = Counter(
            "router_clients_gone_total", "Clients that left before the end.", registry=registry
        )

    def answered(self, route: str, status: int) -> None:
        """One answer."""
        self._requests.labels(route, str(status)).inc()

    def gap(self) -> None:
        """A gap was filled."""
        self._gaps.inc()

    def reconnected(self) -> None:
        """The channel was rejoined."""
        self._reconnects.inc()

    def waiting(self, count: int) -> None:
        """How many clients wait here."""
        self._open.set(count)

    def client_gone(self) -> None:
        """A client left early."""
        self._cancelled.inc()


class WorkerMetrics:
    """What a worker counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._generations = Counter(
            "router_generations_total",
            "Finished generations.",
            ("model", "provider", "outcome"),
            registry=registry,
        )
        self._first_byte = Histogram(
            "router_ttft_seconds",
            "Admission to first byte from the provider.",
            ("provider",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._whole = Histogram(
            "router_request_seconds",
            "Admission to end.",
            ("provider",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._queue_wait = Histogram(
            "router_queue_wait_seconds",
            "Doorbell to claim.",
            ("pool",),
            buckets=_SECONDS,
            registry=registry,
        )
        self._unclaimed = Counter(
            "router_doorbells_unclaimed_total",
            "Doorbells that led to nothing, by reason.",
            ("why",),
            registry=registry,
        )
        self._failures = Counter(
            "router_attempt_failures_total",
            "Failed upstream calls.",
            ("provider", "status"),
            registry=registry,
        )
        self._tokens = Counter(
            "router_tokens_total", "Billed tokens.", ("kind",), registry=registry
        )
        self._spend = Counter("router_spend_usd_total", "Charged to accounts.", registry=registry)
        self._in_flight = Gauge(
            "router_inflight",
            "Jobs held by workers.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._frames = Histogram(
            "router_frames_per_trip",
            "Frames sent to Redis in one round trip.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=registry,
        )

    def claimed(self, pool: str, waited_ms: int) -> None:
        """A job was claimed."""
        self._queue_wait.labels(pool).observe(waited_ms / 1000)

    def not_claimed(self, why: str) -> None:
        """A doorbell led to nothing."""
        self._unclaimed.labels(why).inc()

    def attempt_failed(self, provider: str, status: int) -> None:
        """An upstream call failed."""
        self._failures.labels(provider, str(status)).inc()

    def holding(self, count: int) -> None:
        """How many jobs this process holds."""
        self._in_flight.set(count)

    def frames(self, count: int) -> None:
        """One trip of the emitter."""
        self._frames.observe(count)

    def finished(self, charge: Charge, told: str) -> None:
        """A job ended here; a fenced end was somebody else's and is not counted."""
        if told != "ok":
            return
        provider = charge.provider or "none"
        self._generations.labels(charge.model_id, provider, charge.outcome).inc()
        self._whole.labels(provider).observe((charge.finished_ms - charge.created_ms) / 1000)
        if charge.latency_ms is not None:
            self._first_byte.labels(provider).observe(max(0, charge.latency_ms) / 1000)
        self._tokens.labels("prompt").inc(charge.usage.prompt_tokens)
        self._tokens.labels("completion").inc(charge.usage.completion_tokens)
        if not charge.insured:
            self._spend.inc(cost(charge.usage, charge.price).total_nano / NANO_PER_USD)
