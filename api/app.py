"""The composition root of the front door: builds its parts and wires them, nothing else."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass

import gevent
from flask import Flask, request
from gevent.threadpool import ThreadPool
from prometheus_client import CollectorRegistry

from api import (
    account,
    apps,
    budgets,
    byok,
    catalog,
    closing,
    errors,
    health,
    inference,
    keys,
    oauth,
    organization,
    preferences,
    usage,
    webhooks,
)
from api.accept import Acceptor
from api.auth import Authenticator
from api.byok_trial import Trial
from api.console import site
from api.counter import Counter
from api.credits import blueprint as credit_routes
from api.letting_go import LettingGo
from api.office import Aside, Office
from api.stream import Drain, Streamer
from api.view import HealthView
from billing.db import Ledger, open_ledger
from billing.payments import PurchaseTerms
from billing.pkce import PkceRules
from billing.schema import check as check_schema
from routing.catalog.live import LiveCatalog
from routing.catalog.shapes import Endpoint
from routing.clock import Clock, SystemClock
from routing.metrics import WebMetrics
from routing.preferences import Candidate, permitted
from routing.processors import desk_of
from routing.sealing import Sealer
from routing.settings import Settings
from routing.store.budgets import Budgets, KeyCache
from routing.store.bus import FrontDoor
from routing.store.connect import RedisClient, connect
from routing.store.jobs import Jobs
from routing.store.mux import Mux
from routing.store.scripts import Commands
from routing.store.sticky import Sticky
from routing.wire.account import KeyRecord, RoutingPolicy

#: Management calls that talk to the database at once; as many as it has connections for us.
OFFICE_THREADS = 4
BASE_PATHS = ("/api/v1", "/v1")
#: Where an application keeps its parts, for the server around it.
EXTENSION = "pointsman"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What an application is wired from; tests hand in their own."""

    settings: Settings
    clock: Clock
    catalog: LiveCatalog
    ledger: Ledger
    office_ledger: Ledger
    aside: Aside
    redis: RedisClient
    commands: Commands
    front_door: FrontDoor
    view: HealthView
    metrics: WebMetrics
    registry: CollectorRegistry
    drain: Drain


def build(settings: Settings, live: LiveCatalog, registry: CollectorRegistry) -> Parts:
    """The real parts of one front door process, started.

    Raises:
        ConfigError: the ledger's schema is of another release.
        Unavailable: Redis or the ledger is away; a supervisor tries again.
    """
    ledger = open_ledger(settings.sql_url, readonly=True)
    check_schema(ledger)
    live.aside = gevent.get_hub().threadpool.apply
    redis = connect(settings.redis_url, "front-door-state")
    metrics = WebMetrics(registry)
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    front_door = FrontDoor(
        settings.redis_url,
        name,
        spawn=gevent.spawn,
        on_reconnect=metrics.reconnected,
        on_change=metrics.waiting,
    )
    front_door.start()
    clock = SystemClock()
    view = HealthView(redis, live, clock, name)
    view.start(settings.redis_url, gevent.spawn)
    return Parts(
        settings=settings,
        clock=clock,
        catalog=live,
        ledger=ledger,
        office_ledger=open_ledger(settings.sql_url),
        aside=ThreadPool(OFFICE_THREADS).apply,
        redis=redis,
        commands=Mux(settings.redis_url, "front-door-scripts"),
        front_door=front_door,
        view=view,
        metrics=metrics,
        registry=registry,
        drain=Drain(),
    )


def create_app(parts: Parts) -> Flask:
    """The application over its parts."""
    app = Flask("pointsman", static_folder=None)
    app.extensions[EXTENSION] = parts
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of the default provider
    errors.install(app, parts.clock, parts.metrics)
    jobs = Jobs(parts.redis, parts.commands)
    authenticator = Authenticator(parts.ledger, KeyCache(parts.redis), parts.clock)
    letting_go = LettingGo(jobs=jobs, clock=parts.clock)
    acceptor = Acceptor(
        settings=parts.settings,
        clock=parts.clock,
        catalog=parts.catalog,
        ledger=parts.ledger,
        jobs=jobs,
        budgets=Budgets(parts.redis),
        front_door=parts.front_door,
        health=parts.view.current,
        backlog=parts.view.backlog,
        recall=Sticky(parts.commands).recall,
        undo=letting_go.undo,
    )
    streamer = Streamer(
        settings=parts.settings,
        clock=parts.clock,
        jobs=jobs,
        front_door=parts.front_door,
        drain=parts.drain,
        let_go=letting_go.let_go,
        on_gap=parts.metrics.gap,
        on_gone=parts.metrics.client_gone,
    )
    office = Office(
        ledger=parts.office_ledger,
        keys=KeyCache(parts.redis),
        budgets=Budgets(parts.redis),
        clock=parts.clock,
        aside=parts.aside,
    )
    authenticate = _authenticate(authenticator)
    manage = _manage(authenticator)
    sealer = Sealer.of(parts.settings)
    trial = Trial(acceptor=acceptor, streamer=streamer)
    counter = Counter(
        office=office,
        desk=desk_of(parts.settings),
        terms=PurchaseTerms.of(parts.settings),
    )
    app.register_blueprint(webhooks.blueprint(counter))
    for place, path in enumerate(BASE_PATHS):
        for blueprint in (
            inference.blueprint(authenticator, acceptor, streamer),
            catalog.blueprint(
                parts.catalog, parts.clock, parts.view, authenticate, _visible(parts)
            ),
            account.blueprint(parts.ledger, authenticate, parts.clock, acceptor.free_today),
            preferences.blueprint(office, parts.catalog, manage),
            closing.blueprint(office, manage),
            byok.blueprint(office, parts.catalog, sealer, manage, trial),
            keys.blueprint(office, manage),
            usage.blueprint(office, parts.catalog, sealer, authenticate, manage),
            budgets.blueprint(office, manage),
            oauth.blueprint(office, authenticate, PkceRules.of(parts.settings)),
            apps.blueprint(office, manage),
            organization.blueprint(office, manage),
            credit_routes(counter, manage, parts.settings.public_url),
        ):
            name = blueprint.name if place == 0 else f"{blueprint.name}-{place}"
            app.register_blueprint(blueprint, url_prefix=path, name=name)
    site.install(app, office, parts.settings, parts.redis)
    shared = health.SharedState(
        parts.redis, parts.ledger, parts.catalog, parts.clock, parts.view.all_figures
    )
    registry = health.make_registry(parts.settings.metrics_dir, parts.registry, shared)
    pings = health.make_pings(parts.redis, parts.front_door, jobs, parts.ledger, parts.clock)
    app.register_blueprint(health.blueprint(pings, registry))
    return app


def _visible(parts: Parts) -> Callable[[RoutingPolicy, Endpoint], bool]:
    """Whether an account's settings let any of its requests go to an endpoint."""

    def visible(policy: RoutingPolicy, endpoint: Endpoint) -> bool:
        model = parts.catalog.current.models[endpoint.model_id]
        price = endpoint.price_at(parts.clock.now_ms())
        seen = Candidate(endpoint=endpoint, model=model, price=price, rates=price)
        return permitted(policy, seen)

    return visible


def _authenticate(authenticator: Authenticator) -> Callable[[], KeyRecord]:
    return lambda: authenticator.key(request.headers.get("Authorization"))


def _manage(authenticator: Authenticator) -> Callable[[], KeyRecord]:
    return lambda: authenticator.management_key(request.headers.get("Authorization"))
