"""A worker process from start to drain: builds its parts, renews its leases, lets go in order.

The role follows from the queues the process was told to serve: `pool.*` and `batch.*` attempt,
`settle` drains the outbox, `sweep` reaps.
"""

from __future__ import annotations

import itertools
import os
import secrets
import signal
import socket
import time
from typing import Any

import gevent
import gevent.monkey
import structlog
from celery import Celery
from celery.signals import (
    celeryd_after_setup,
    setup_logging,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)
from kombu.utils import functional
from prometheus_client import REGISTRY

from billing.db import open_ledger
from billing.payments import PurchaseTerms
from billing.schema import check as check_schema
from routing import log as logs
from routing import tokens
from routing.catalog.live import LiveCatalog
from routing.clock import SystemClock
from routing.errors import Unavailable
from routing.metrics import WorkerMetrics
from routing.processors import desk_of
from routing.sealing import Sealer
from routing.settings import Settings, environment
from routing.store import control
from routing.store import redis_keys as keys
from routing.store.connect import connect
from routing.store.figures import Figures
from routing.store.health import Health
from routing.store.jobs import Jobs
from routing.store.mux import Mux
from routing.store.sticky import Sticky
from workers.cashier import Cashier, Till
from workers.connections import ConnectionPool
from workers.contents import Keeper
from workers.emitter import Emitter
from workers.fetch import Fetcher, allow_list
from workers.figures import Recorder
from workers.gates import Gates, RetryBudget
from workers.held import HeldJobs
from workers.keyring import Keyring
from workers.pools import SETTLE_QUEUE, SWEEP_QUEUE, batch_queue, interactive_queue
from workers.process import Process
from workers.runtime import Runtime
from workers.settle import Settler
from workers.sweep import Sweeper

log = structlog.get_logger("pointsman.worker")

#: Leases are renewed three times in their life: two may fail before a job is taken away.
RENEWALS_PER_LEASE = 3
#: How often counted successes go to the breakers and the drain clock is looked at.
TICK_S = 0.25
#: Figures of calls go out with every so many ticks: once a second.
FIGURES_TICKS = 4
RECONNECT_PAUSE_S = 0.5


def _refuse_half_patched() -> None:
    """A worker whose kombu sleeps natively stands still, streams and all, while Redis is away."""
    kept = vars(functional)["sleep"]
    if kept is not time.sleep or not gevent.monkey.is_module_patched("socket"):
        raise SystemExit(
            "Attempt workers are started as `python -m gevent.monkey --module celery "
            "-A workers.app worker -P gevent …` (see the Procfile)."
        )


class Lifecycle:
    """Connects one process to Celery's signals.

    Signal handlers may run inside the event hub, so they only set flags; greenlets do the work.
    """

    def __init__(self, settings: Settings, catalog: LiveCatalog, process: Process) -> None:
        self._settings = settings
        self._catalog = catalog
        self._process = process
        self._name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._settler: Settler | None = None
        self._attempts = False
        self._celery: Celery | None = None
        self._consumer: Any = None

    def connect(self) -> None:
        """Register with the signals; strong references, since nothing else holds this object."""
        setup_logging.connect(self._set_up_logging, weak=False)
        celeryd_after_setup.connect(self._set_up, weak=False)
        worker_ready.connect(self._ready, weak=False)
        worker_shutting_down.connect(self._drain, weak=False)
        worker_shutdown.connect(self._stopped, weak=False)

    def _set_up_logging(self, **_: Any) -> None:
        logs.configure("worker", self._settings.log_level)

    def _set_up(self, sender: str, instance: Any, **_: Any) -> None:
        self._celery = instance.app
        queues = set(instance.app.amqp.queues.consume_from)
        logs.configure(sender, self._settings.log_level)
        batch = any(name.startswith(batch_queue("")) for name in queues)
        if batch or any(name.startswith(interactive_queue("")) for name in queues):
            _refuse_half_patched()
            self._attempts = True
            self._process.runtime = self._runtime(batch=batch)
        if SETTLE_QUEUE in queues:
            ledger = open_ledger(self._settings.sql_url)
            check_schema(ledger)
            self._settler = Settler(
                ledger,
                connect(self._settings.redis_url, "settle"),
                self._name,
                SystemClock(),
                self._settings.byok_free_requests,
            )
        if SWEEP_QUEUE in queues:
            self._process.sweeper = self._make_sweeper()
            self._process.cashier = self._make_cashier()

    def _runtime(self, *, batch: bool) -> Runtime:
        tokens.load()
        redis = connect(self._settings.redis_url, "worker")
        sealer = Sealer.of(self._settings)
        jobs = Jobs(redis, Mux(self._settings.redis_url, "worker-scripts"))
        metrics = WorkerMetrics(REGISTRY)
        return Runtime(
            name=self._name,
            settings=self._settings,
            clock=SystemClock(),
            catalog=self._catalog,
            keyring=Keyring(dict(environment()), sealer=sealer),
            keeper=Keeper(redis, sealer),
            redis=redis,
            jobs=jobs,
            emitter=Emitter(jobs, metrics.frames),
            gates=Gates(Health(redis), self._name),
            figures=Recorder(Figures(redis)),
            sticky=Sticky(redis),
            budget=RetryBudget(),
            connections=ConnectionPool(),
            fetcher=Fetcher(allow_list(self._settings.fetch_allow)),
            metrics=metrics,
            batch=batch,
            held=HeldJobs(metrics.holding),
        )

    def _make_sweeper(self) -> Sweeper:
        ledger = open_ledger(self._settings.sql_url)
        check_schema(ledger)
        redis = connect(self._settings.redis_url, "sweep")
        return Sweeper(ledger, redis, self._settings, SystemClock())

    def _make_cashier(self) -> Cashier:
        return Cashier(
            Till(
                ledger=open_ledger(self._settings.sql_url),
                redis=connect(self._settings.redis_url, "cashier"),
                desk=desk_of(self._settings),
                terms=PurchaseTerms.of(self._settings),
                clock=SystemClock(),
                expire_days=self._settings.credits_expire_days,
            )
        )

    def _ready(self, sender: Any, **_: Any) -> None:
        self._consumer = sender
        signal.signal(signal.SIGHUP, lambda *_: self._reload())
        if self._settler is not None:
            self._settler.start()
        if self._attempts:
            gevent.spawn(self._process.runtime.emitter.run)
            gevent.spawn(self._renew)
            gevent.spawn(self._tick)
            gevent.spawn(self._listen)

    def _drain(self, **_: Any) -> None:
        if self._settler is not None:
            self._settler.stop()
        if self._attempts and self._process.runtime.draining_since is None:
            self._process.runtime.draining_since = time.monotonic()

    def _stopped(self, **_: Any) -> None:
        if self._settler is not None:
            self._settler.join()

    def _renew(self) -> None:
        """Keep the leases; pass on what the job records say."""
        runtime = self._process.runtime
        pause_s = self._settings.lease_ms / 1000 / RENEWALS_PER_LEASE
        suspects: set[str] = set()
        while True:
            leases = runtime.held.leases()
            try:
                news = runtime.jobs.renew(runtime.name, self._settings.lease_ms, leases)
            except Unavailable:
                gevent.sleep(RECONNECT_PAUSE_S)
                continue
            for (job_id, _), word in zip(leases, news, strict=True):
                if word == "lost":
                    runtime.held.tell(job_id, "lost")
                elif word == "cancel" or (word == "orphan" and job_id in suspects):
                    runtime.held.tell(job_id, "cancel")
            # After an absence of Redis every front door looks dead until its next beat, so one
            # look is not enough.
            suspects = {
                job_id for (job_id, _), word in zip(leases, news, strict=True) if word == "orphan"
            }
            gevent.sleep(pause_s)

    def _tick(self) -> None:
        """Report successes; on the way out, let go of what must not hold up the stop."""
        runtime = self._process.runtime
        handed_over = False
        for tick in itertools.count(1):
            gevent.sleep(TICK_S)
            runtime.gates.flush()
            if tick % FIGURES_TICKS == 0:
                runtime.figures.flush()
            if runtime.draining_since is None:
                continue
            drained_ms = (time.monotonic() - runtime.draining_since) * 1000
            if drained_ms > self._settings.drain_hard_ms:
                runtime.held.tell_all("stop")
            elif drained_ms > self._settings.drain_grace_ms and not handed_over:
                handed_over = True
                runtime.held.tell_all("hand_over", sent=False)

    def _listen(self) -> None:
        """Cancellations for this process and orders for all of them."""
        own = keys.worker_channel(self._process.runtime.name)
        control.listen(self._settings.redis_url, (own, keys.CONTROL), self._obey)

    def _obey(self, channel: str, message: bytes) -> None:
        if channel != keys.CONTROL:
            self._process.runtime.held.tell(message.decode(), "cancel")
        elif message == control.RELOAD:
            self._reload()

    def _reload(self) -> None:
        """Read the catalog again; a provider that came with it may bring a pool of its own."""
        redis = connect(self._settings.redis_url, "control")
        problem = control.reload_and_report(self._catalog, redis, self._name)
        log.info("catalog reload", action="catalog.reloaded", problem=problem)
        self._serve_new_pools()

    def _serve_new_pools(self) -> None:
        if self._celery is None or not self._attempts:
            return
        name = batch_queue if self._process.runtime.batch else interactive_queue
        served = set(self._celery.amqp.queues.consume_from)
        for pool in self._catalog.current.pools:
            if name(pool) not in served:
                # Not by remote control: that reaches processes which cannot serve it, and none
                # at all once Redis has been restarted.
                self._consumer.call_soon(
                    self._consumer.add_task_queue, name(pool), exchange="", routing_key=name(pool)
                )
