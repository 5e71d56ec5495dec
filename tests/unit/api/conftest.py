"""A front door without a server: Flask's client, Redis in memory, a ledger in a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import gevent
import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import CollectorRegistry

from api.app import Parts, create_app
from api.office import at_once
from api.stream import Drain
from api.view import HealthView
from billing.db import Ledger, open_ledger
from routing.catalog.live import LiveCatalog
from routing.clock import FixedClock
from routing.metrics import WebMetrics
from routing.settings import Settings
from routing.store.bus import Mailbox
from routing.store.jobs import Jobs
from routing.wire.frames import Frame, Kind
from tests.fixtures.customers import Customer, make_customer

MODEL = "openai/gpt-4o-mini"


@dataclass(slots=True)
class FakeDoor:
    """Mailboxes of this process, and the worker behind them: it plays `script` for each job."""

    jobs: Jobs
    name: str = "web1"
    connected: bool = True
    script: list[tuple[Kind, int, bytes, int]] = field(default_factory=list)
    boxes: dict[str, Mailbox] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)

    def plays(self, kind: Kind, payload: bytes, status: int = 200, retry_s: int = 0) -> None:
        """Add a frame."""
        self.script.append((kind, status, payload, retry_s))

    def open(self, job_id: str) -> Mailbox:
        box = self.boxes[job_id] = Mailbox(job_id)
        self.opened.append(job_id)
        gevent.spawn(self._play, box)
        return box

    def close(self, box: Mailbox) -> None:
        self.boxes.pop(box.job_id, None)

    def refill(self, box: Mailbox) -> None:
        box.refill(self.jobs.replay(box.job_id, box.cursor))

    def __len__(self) -> int:
        return len(self.boxes)

    def _play(self, box: Mailbox) -> None:
        for place, (kind, status, payload, retry_s) in enumerate(self.script, start=1):
            box.put(Frame(box.job_id, 1, place, kind, status, payload, retry_s))
            gevent.sleep(0)


@dataclass(slots=True)
class Site:
    """One application and everything around it."""

    app: Flask
    parts: Parts
    door: FakeDoor
    ledger: Ledger
    redis: Any
    clock: FixedClock
    customer: Customer

    @property
    def client(self) -> FlaskClient:
        return self.app.test_client()

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.customer.text}"}

    def ask(self, body: Any = None, **options: Any) -> Any:
        """A chat request; a plain one when nothing else is said."""
        if not isinstance(body, bytes):
            options["json"] = {
                "model": MODEL,
                "messages": [{"role": "user", "content": "Hi"}],
                "max_tokens": 10,
            } | (body or {})
        else:
            options["data"] = body
        headers = self.headers | options.pop("headers", {})
        return self.client.post("/api/v1/chat/completions", headers=headers, **options)


@pytest.fixture(scope="session")
def live() -> LiveCatalog:
    """The shipped catalog, all of it simulated."""
    return LiveCatalog((), {}, "http://127.0.0.1:9")


@pytest.fixture
def api_settings() -> Settings:
    return Settings(body_max_bytes=10_000, first_frame_wait_ms=200, deadline_ms=60_000)


@pytest.fixture
def site(
    fake_redis: Any, sqlite_url: str, live: LiveCatalog, api_settings: Settings
) -> Iterator[Site]:
    """An application, a customer with one dollar, and a worker that says nothing yet."""
    clock, ledger, registry = FixedClock(), open_ledger(sqlite_url), CollectorRegistry()
    door: Any = FakeDoor(Jobs(fake_redis))
    parts = Parts(
        settings=api_settings,
        clock=clock,
        catalog=live,
        ledger=ledger,
        office_ledger=ledger,
        aside=at_once,
        redis=fake_redis,
        commands=fake_redis,
        front_door=door,
        view=HealthView(fake_redis, live, clock, "web1"),
        metrics=WebMetrics(registry),
        registry=registry,
        drain=Drain(),
    )
    yield Site(create_app(parts), parts, door, ledger, fake_redis, clock, make_customer(ledger))
    ledger.close()
