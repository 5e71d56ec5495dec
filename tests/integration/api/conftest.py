"""A shop: a customer, the counter, the cashier, and a processor that talks like Stripe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import update
from werkzeug.test import TestResponse

from api import webhooks
from api.counter import Counter
from api.credits import blueprint
from api.office import Office
from billing import accounts, invariants, payments
from billing.db import Ledger
from billing.payments import PurchaseTerms
from billing.tables import accounts as accounts_table
from routing.budgets import MS_PER_DAY
from routing.clock import FixedClock
from routing.errors import RouterError
from routing.payments import Payment
from routing.store.budgets import Budgets, KeyCache
from routing.stripe_desk import StripeDesk
from routing.wire.account import AccountSettings, AutoTopUp
from tests.fixtures.charges import NOW_MS
from tests.fixtures.customers import Customer, make_customer
from tests.fixtures.stripe_server import KEY, SECRET, Stripe, signed, stripe_server
from workers.cashier import Cashier, Till

USD = 1_000_000_000
WAYS = {"success_url": "https://shop.example/done", "cancel_url": "http://127.0.0.1:8080/back"}


class Clock(FixedClock):
    """Moves when it is told to."""

    now = NOW_MS

    def now_ms(self) -> int:
        return self.now


@dataclass
class Shop:
    """A customer in front of the counter, and all that is behind it."""

    customer: Customer
    ledger: Ledger
    redis: Any
    stripe: Stripe
    counter: Counter
    till: Till
    clock: Clock
    client: FlaskClient
    cashier: Cashier

    def buy(self, amount: float = 10, **more: Any) -> dict[str, Any]:
        told = self.client.post("/credits/checkout", json={"amount": amount, **WAYS, **more})
        assert told.status_code == 201, told.text
        data: dict[str, Any] = told.get_json()["data"]
        return data

    def unpaid(self, amount: float = 10, **more: Any) -> tuple[str, str]:
        """Ids of a payment and its session."""
        bought = self.buy(amount, **more)
        return bought["id"], bought["url"].rpartition("/")[2]

    def paid(self, amount: float = 10, **more: Any) -> tuple[str, str]:
        """The same of one that went through."""
        payment, session = self.unpaid(amount, **more)
        self.stripe.pay(session)
        assert self.hear("checkout.session.completed", session).status_code == 200
        return payment, session

    def hear(self, kind: str, object_id: str, **how: Any) -> TestResponse:
        raw = self.stripe.event(kind, object_id, how.pop("event_id", f"evt {kind} {object_id}"))
        return self.send(raw, signed(raw, **how))

    def send(self, raw: bytes, signature: str | None) -> TestResponse:
        headers = {} if signature is None else {"Stripe-Signature": signature}
        return self.client.post("/webhooks/stripe", data=raw, headers=headers)

    def refund(self, payment_id: str) -> TestResponse:
        return self.client.post("/credits/refund", json={"payment": payment_id})

    @property
    def balance(self) -> int:
        left = accounts.budget_of(self.ledger, self.customer.account_id)
        cached = self.redis.hget(f"bud:{left.scope}", "avail")
        assert cached is None or int(cached) == left.available_nano
        return left.available_nano

    def payment(self, payment_id: str) -> Payment:
        found = payments.find(self.ledger, payment_id)
        assert found is not None
        return found

    def status(self, payment_id: str) -> str:
        return self.payment(payment_id).status

    def wants(self, threshold: int, amount: int = 25) -> None:
        """To be topped up."""
        top_up = AutoTopUp(threshold_nano=threshold * USD, amount_nano=amount * USD)
        chosen = AccountSettings(auto_top_up=top_up).to_json().decode()
        with self.ledger.writing() as connection:
            connection.execute(update(accounts_table).values(settings=chosen))

    def charged(self) -> list[dict[str, str]]:
        """Cards that were charged with nobody there."""
        return self.stripe.posted("/v1/payment_intents")


@pytest.fixture
def stripe() -> Iterator[Stripe]:
    with stripe_server() as server:
        yield server


@pytest.fixture
def shop(ledger: Ledger, fake_redis: Any, stripe: Stripe) -> Iterator[Shop]:
    """Whatever a test does in it, the books add up."""
    customer, clock = make_customer(ledger, granted_nano=0), Clock()
    desk = StripeDesk(KEY, ("whsec_old", SECRET), url=stripe.url)
    office = Office(
        ledger=ledger, keys=KeyCache(fake_redis), budgets=Budgets(fake_redis), clock=clock
    )
    counter = Counter(office=office, desk=desk, terms=PurchaseTerms())
    till = Till(
        ledger=ledger,
        redis=fake_redis,
        desk=desk,
        terms=PurchaseTerms(),
        clock=clock,
        expire_days=365,
    )
    yield Shop(
        customer=customer,
        ledger=ledger,
        redis=fake_redis,
        stripe=stripe,
        counter=counter,
        till=till,
        clock=clock,
        client=site(counter, customer),
        cashier=Cashier(till),
    )
    assert invariants.check(ledger, NOW_MS + 800 * MS_PER_DAY) == ()
    assert invariants.drift_nano(ledger) == 0


def site(counter: Counter, customer: Customer, public_url: str = "") -> FlaskClient:
    """The routes for one customer."""
    app = Flask("shop")
    app.register_blueprint(blueprint(counter, lambda: customer.key, public_url))
    app.register_blueprint(webhooks.blueprint(counter))
    app.register_error_handler(RouterError, lambda error: (error.body(), error.status))
    return app.test_client()
