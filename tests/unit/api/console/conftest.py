"""A site of pages without a server, and a browser for it."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from werkzeug.test import TestResponse

from api import errors
from api.console import site as pages
from api.office import Office
from billing.db import Ledger, open_ledger
from billing.passwords import hash_password
from billing.people import NewUser, User, create_user
from routing.clock import FixedClock
from routing.metrics import WebMetrics
from routing.settings import Settings
from routing.store.budgets import Budgets, KeyCache

PASSWORD = "correct horse battery"  # noqa: S105 - of nobody
SECRET = SecretStr(base64.urlsafe_b64encode(bytes(range(32))).decode())
_TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')


@dataclass(slots=True)
class Browser:
    """Keeps cookies, and sends forms as pages have them."""

    client: FlaskClient
    token: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **options: Any) -> TestResponse:
        answer = self.client.get(path, headers=self.headers, **options)
        if found := _TOKEN.search(answer.text):
            self.token = found[1]
        return answer

    def send(self, path: str, **fields: str) -> TestResponse:
        """Post a form with the token of the last page."""
        data = {"csrf_token": self.token} | fields
        answer = self.client.post(path, data=data, headers=self.headers)
        if found := _TOKEN.search(answer.text):
            self.token = found[1]
        return answer

    def log_in(self, email: str = "ada@example.com", **fields: str) -> TestResponse:
        self.get("/login")
        answer = self.send("/login", **({"email": email, "password": PASSWORD} | fields))
        if answer.status_code == 303:
            self.get("/account")
        return answer


@dataclass(slots=True)
class Place:
    """A site with one person, and everything around it."""

    app: Flask
    office: Office
    ledger: Ledger
    clock: FixedClock
    redis: Any
    ada: User

    def browser(self) -> Browser:
        return Browser(self.app.test_client())

    def add(self, name: str) -> User:
        """Another person with the same password as everybody."""
        wanted = NewUser(email=f"{name}@example.com", password_hash=_HASH)
        return create_user(self.ledger, wanted, self.clock.now_ms())


_HASH = hash_password(PASSWORD)


@pytest.fixture
def make_place(fake_redis: Any, sqlite_url: str) -> Iterator[Callable[..., Place]]:
    """Places over one ledger, with settings of the test."""
    clock, ledger = FixedClock(), open_ledger(sqlite_url)

    def make(**settings: Any) -> Place:
        office = Office(
            ledger=ledger, keys=KeyCache(fake_redis), budgets=Budgets(fake_redis), clock=clock
        )
        app = Flask("console", static_folder=None)
        errors.install(app, clock, WebMetrics(CollectorRegistry()))
        pages.install(app, office, Settings(**({"secret": SECRET} | settings)), fake_redis)
        ada = create_user(
            ledger, NewUser(email="ada@example.com", password_hash=_HASH), clock.now_ms()
        )
        return Place(app, office, ledger, clock, fake_redis, ada)

    yield make
    ledger.close()


@pytest.fixture
def place(make_place: Callable[..., Place]) -> Place:
    return make_place()


@pytest.fixture
def browser(place: Place) -> Browser:
    return place.browser()
