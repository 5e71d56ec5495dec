"""Buying credit over HTTP, with a processor that speaks Stripe's wire format on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import update
from werkzeug.test import TestResponse

from api.credits import WEBHOOK_MAX, Counter, blueprint, webhooks
from api.office import Office
from billing import accounts, invariants, payments
from billing.db import Ledger
from billing.payments import PurchaseTerms
from billing.settlement import settle
from billing.tables import accounts as accounts_table
from routing.budgets import MS_PER_DAY
from routing.clock import FixedClock
from routing.errors import RouterError
from routing.settings import Settings
from routing.store.budgets import Budgets, KeyCache
from routing.wire.account import AccountSettings, AutoTopUp
from tests.fixtures.charges import COST_NANO, NOW_MS
from tests.fixtures.customers import Customer, make_customer
from tests.fixtures.stripe_server import KEY, SECRET, Stripe, signed, stripe_server
from workers.cashier import GIVEN_UP_MS, HANGING_MS, Cashier
from workers.stripe_desk import StripeDesk

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

USD = 1_000_000_000
CENT = 10_000_000


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
    client: FlaskClient
    cashier: Cashier
    clock: Clock

    def buy(self, amount: float = 10, **more: Any) -> dict[str, Any]:
        told = self.client.post("/credits/checkout", json={"amount": amount, **more})
        assert told.status_code == 201, told.text
        data: dict[str, Any] = told.json["data"]
        return data

    def paid(self, amount: float = 10, **more: Any) -> tuple[str, str]:
        """A payment that went through; returns its id and the session's."""
        bought = self.buy(amount, **more)
        session = bought["url"].rpartition("/")[2]
        self.stripe.pay(session)
        assert self.hear("checkout.session.completed", session).status_code == 200
        return bought["id"], session

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

    def status(self, payment_id: str) -> str:
        found = payments.find(self.ledger, payment_id)
        assert found is not None
        return found.status


@pytest.fixture
def stripe() -> Iterator[Stripe]:
    with stripe_server() as server:
        yield server


@pytest.fixture
def shop(ledger: Ledger, fake_redis: Any, stripe: Stripe) -> Shop:
    customer, clock = make_customer(ledger, granted_nano=0), Clock()
    office = Office(
        ledger=ledger, keys=KeyCache(fake_redis), budgets=Budgets(fake_redis), clock=clock
    )
    desk = StripeDesk(KEY, ("whsec_old", SECRET), url=stripe.url)
    client = site(Counter(office=office, desk=desk, terms=PurchaseTerms(), back_url="https://b"),
                  customer)  # fmt: skip
    cashier = Cashier(ledger, fake_redis, desk, PurchaseTerms(), 365, clock)
    return Shop(customer, ledger, fake_redis, stripe, client, cashier, clock)


def site(counter: Counter, customer: Customer) -> FlaskClient:
    app = Flask("shop")
    app.register_blueprint(blueprint(counter, lambda: customer.key))
    app.register_blueprint(webhooks(counter))
    app.register_error_handler(RouterError, lambda error: (error.body(), error.status))
    return app.test_client()


@pytest.fixture(autouse=True)
def sound(ledger: Ledger) -> Iterator[None]:
    """Whatever a test did, the books add up."""
    yield
    assert invariants.check(ledger, NOW_MS + 800 * MS_PER_DAY) == ()


def test_credit_is_bought(shop: Shop):
    bought = shop.buy(20.01)
    assert (bought["status"], bought["amount"], bought["fee"]) == ("pending", 20.01, 1.11)
    session = bought["url"].rpartition("/")[2]
    assert shop.stripe.objects[session]["amount_total"] == 2_112
    # Nothing is credited before the money is there, whatever a message says
    assert shop.hear("checkout.session.completed", session).status_code == 200
    assert shop.balance == 0
    shop.stripe.pay(session)
    for _ in range(5):
        assert shop.hear("checkout.session.completed", session).status_code == 200
    assert shop.hear("payment_intent.succeeded", "pi_3").status_code == 200
    assert shop.balance == 20_010_000_000
    listed = shop.client.get("/credits/payments").json["data"]
    assert [(one["id"], one["status"]) for one in listed] == [(bought["id"], "paid")]
    # And a cached key is dropped, so that it counts as one of an account that bought
    assert KeyCache(shop.redis).get(shop.customer.key.key_hash).mark != b""


@pytest.mark.parametrize("amount", [0, -1, 4.99, 10_000.01, 1e30, 10.001, "10", None, True])
def test_amounts_that_cannot_be_bought(shop: Shop, amount: Any):
    told = shop.client.post("/credits/checkout", json={"amount": amount})
    assert told.status_code == 400
    assert shop.stripe.calls == []


def test_fields_nobody_knows_are_refused(shop: Shop):
    sent = {"amount": 10, "fee": 0}
    assert shop.client.post("/credits/checkout", json=sent).status_code == 400


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"secret": "whsec_wrong"}, id="another secret"),
        pytest.param({"secret": ""}, id="an empty secret"),
        pytest.param({"age_s": 301}, id="too old"),
    ],
)
def test_a_forged_or_old_message_does_nothing(shop: Shop, how: dict[str, Any]):
    session = shop.buy()["url"].rpartition("/")[2]
    shop.stripe.pay(session)
    calls = len(shop.stripe.calls)
    assert shop.hear("checkout.session.completed", session, **how).status_code == 401
    assert len(shop.stripe.calls) == calls
    assert shop.balance == 0


@pytest.mark.parametrize("signature", [None, "", "t=1,v1=0", "v1=", "t=,v1=,", "garbage", "t=1"])
def test_a_message_without_a_signature_does_nothing(shop: Shop, signature: str | None):
    raw = shop.stripe.event("checkout.session.completed", "cs_1")
    assert shop.send(raw, signature).status_code == 401


@pytest.mark.parametrize("raw", [b"", b"\xff", b"{}", b"[]", b"null", b'{"type":1,"id":2}'])
def test_a_signed_message_that_is_no_event(shop: Shop, raw: bytes):
    assert shop.send(raw, signed(raw)).status_code in {400, 401}


def test_a_large_message_is_not_read(shop: Shop):
    raw = b" " * (WEBHOOK_MAX + 1)
    assert shop.send(raw, signed(raw)).status_code == 413


def test_what_others_sell_through_the_same_account_is_none_of_ours(shop: Shop):
    shop.stripe.objects["cs_x"] = {
        "id": "cs_x", "object": "checkout.session", "payment_status": "paid", "metadata": {},
        "amount_total": 1_080, "currency": "usd",
    }  # fmt: skip
    assert shop.hear("checkout.session.completed", "cs_x").status_code == 200
    assert shop.hear("customer.created", "cus_1").status_code == 200
    assert shop.balance == 0


@pytest.mark.parametrize(
    "changes", [{"amount_total": 1_079}, {"amount_total": 999_999}, {"currency": "jpy"}]
)
def test_what_was_paid_must_be_what_was_asked_for(shop: Shop, changes: dict[str, Any]):
    session = shop.buy()["url"].rpartition("/")[2]
    shop.stripe.pay(session)
    shop.stripe.objects[session] |= changes
    assert shop.hear("checkout.session.completed", session).status_code == 409
    assert shop.balance == 0


def test_without_a_secret_no_message_is_heard(shop: Shop):
    office = Office(
        ledger=shop.ledger, keys=KeyCache(shop.redis), budgets=Budgets(shop.redis), clock=shop.clock
    )
    for desk in (StripeDesk(KEY, ("", " "), url=shop.stripe.url), None):
        counter = Counter(office=office, desk=desk, terms=PurchaseTerms(), back_url="")
        raw = shop.stripe.event("checkout.session.completed", "cs_1")
        told = site(counter, shop.customer).post(
            "/webhooks/stripe", data=raw, headers={"Stripe-Signature": signed(raw, secret="")}
        )
        assert told.status_code == 404


def test_stripe_away_is_told_and_the_message_comes_again(shop: Shop):
    session = shop.buy()["url"].rpartition("/")[2]
    shop.stripe.pay(session)
    shop.stripe.away = True
    assert shop.hear("checkout.session.completed", session).status_code == 503
    shop.stripe.away = False
    assert shop.hear("checkout.session.completed", session).status_code == 200
    assert shop.balance == 10 * USD


def test_a_page_nobody_paid_on_fails_its_payment(shop: Shop):
    bought = shop.buy()
    session = bought["url"].rpartition("/")[2]
    shop.stripe.objects[session]["status"] = "expired"
    assert shop.hear("checkout.session.expired", session).status_code == 200
    assert shop.status(bought["id"]) == "failed"


def test_what_is_unused_and_not_held_is_refunded(shop: Shop):
    payment, session = shop.paid(10)
    settle(shop.ledger, [shop.customer.charge(1)], NOW_MS)
    left = accounts.budget_of(shop.ledger, shop.customer.account_id)
    Budgets(shop.redis).post((left,))
    shop.redis.hset(f"bud:{left.scope}", "held", 2 * USD)
    told = shop.refund(payment)
    assert told.status_code == 200, told.text
    assert (told.json["data"]["status"], told.json["data"]["refunded"]) == ("refunded", 7.99)
    assert shop.balance == 10 * USD - COST_NANO - 799 * CENT
    assert shop.stripe.objects[shop.stripe.charge_of(session)]["amount_refunded"] == 799
    # And what was reserved meanwhile is free again
    assert Budgets(shop.redis).held_nano(left.scope) == 2 * USD
    # When Stripe tells of it, and when it is asked for again, nothing more goes back
    assert shop.hear("charge.refunded", shop.stripe.charge_of(session)).status_code == 200
    assert shop.refund(payment).status_code == 409
    assert shop.balance == 10 * USD - COST_NANO - 799 * CENT


def test_a_refund_that_stripe_refuses_is_undone(shop: Shop):
    payment, _ = shop.paid(10)
    shop.stripe.refuses_refunds = True
    assert shop.refund(payment).status_code == 409
    assert (shop.balance, shop.status(payment)) == (10 * USD, "paid")


def test_a_refund_that_was_cut_off_is_finished_by_the_sweep(shop: Shop):
    payment, session = shop.paid(10)
    shop.stripe.away = True
    assert shop.refund(payment).status_code == 503
    assert (shop.balance, shop.status(payment)) == (0, "refunding")
    shop.stripe.away = False
    shop.clock.now += HANGING_MS + 1
    assert shop.cashier.look_after() == 1
    assert shop.cashier.look_after() == 0
    assert shop.status(payment) == "refunded"
    assert shop.stripe.objects[shop.stripe.charge_of(session)]["amount_refunded"] == 1_000


def test_refunds_that_are_not_given(shop: Shop):
    crypto, _ = shop.paid(10, crypto=True)
    late, _ = shop.paid(10)
    assert shop.refund(crypto).status_code == 409
    shop.clock.now += MS_PER_DAY + 1
    assert shop.refund(late).status_code == 409
    assert shop.refund("pay_nobody").status_code == 404
    assert shop.balance == 20 * USD


def test_a_dispute_takes_credit_and_a_won_one_gives_it_again(shop: Shop):
    _, session = shop.paid(10)
    charge = shop.stripe.charge_of(session)
    lost = shop.stripe.dispute(charge, "needs_response")
    for _ in range(2):
        assert shop.hear("charge.dispute.funds_withdrawn", lost).status_code == 200
    assert shop.balance == 0
    won = shop.stripe.dispute(charge, "won")
    assert shop.hear("charge.dispute.funds_reinstated", won).status_code == 200
    assert shop.balance == 10 * USD


def test_a_lost_message_is_made_up_for_by_the_sweep(shop: Shop):
    bought = shop.buy()
    shop.stripe.pay(bought["url"].rpartition("/")[2])
    assert shop.cashier.look_after() == 0  # too early to ask
    shop.clock.now += HANGING_MS + 1
    assert shop.cashier.look_after() == 1
    assert shop.balance == 10 * USD


def wants(shop: Shop, threshold: int) -> None:
    top_up = AutoTopUp(threshold_nano=threshold * USD, amount_nano=25 * USD)
    with shop.ledger.writing() as connection:
        chosen = AccountSettings(auto_top_up=top_up).to_json().decode()
        connection.execute(update(accounts_table).values(settings=chosen))


def test_a_low_balance_is_topped_up_once(shop: Shop):
    shop.paid(10)
    wants(shop, 5)
    assert shop.cashier.top_up() == 0
    wants(shop, 11)
    assert [shop.cashier.top_up() for _ in range(2)] == [1, 0]
    assert shop.balance == 35 * USD
    charged = [sent for method, path, sent in shop.stripe.calls if path == "/v1/payment_intents"]
    assert [(one["amount"], one["customer"], one["off_session"]) for one in charged] == [
        ("2638", "cus_1", "true")
    ]


def test_a_card_that_is_refused_rests_for_a_day(shop: Shop):
    shop.paid(10)
    wants(shop, 11)
    shop.stripe.decline = True
    shop.cashier.top_up()
    (failed,) = payments.in_state(shop.ledger, "failed", before_ms=shop.clock.now + 1)
    assert failed.note == "Your card was declined."
    calls = len(shop.stripe.calls)
    assert shop.cashier.top_up() == 0
    assert len(shop.stripe.calls) == calls
    shop.stripe.decline = False
    shop.clock.now += MS_PER_DAY
    assert shop.cashier.top_up() == 1


def test_a_top_up_that_was_cut_off_charges_once(shop: Shop):
    shop.paid(10)
    wants(shop, 11)
    shop.stripe.away = True
    assert shop.cashier.top_up() == 0
    shop.stripe.away = False
    assert shop.cashier.top_up() == 0  # one is under way
    shop.clock.now += HANGING_MS + 1
    assert [shop.cashier.look_after() for _ in range(2)] == [1, 0]
    assert shop.balance == 35 * USD


def test_what_was_never_asked_for_is_given_up(shop: Shop):
    shop.stripe.away = True
    assert shop.client.post("/credits/checkout", json={"amount": 10}).status_code == 503
    shop.stripe.away = False
    shop.clock.now += GIVEN_UP_MS + 1
    assert shop.cashier.look_after() == 1
    assert payments.in_state(shop.ledger, "pending", before_ms=shop.clock.now + 1) == ()


def test_old_credit_expires(shop: Shop):
    shop.paid(10)
    assert shop.cashier.expire() == 0
    shop.clock.now += 366 * MS_PER_DAY
    assert shop.cashier.expire() == 1
    assert shop.balance == 0


def test_coinbase_is_gone(shop: Shop):
    told = shop.client.post("/credits/coinbase", json={"amount": 1})
    assert (told.status_code, told.json["error"]["code"]) == (410, 410)


def test_terms_are_those_of_the_settings():
    settings = Settings(
        credits_fee_percent="10", credits_fee_min_usd="1.5", credits_refund_hours=48
    )
    terms = PurchaseTerms.of(settings)
    assert terms.fee_nano(10 * USD) == 1_500_000_000
    assert terms.fee_nano(100 * USD) == 10 * USD
    assert terms.refund_ms == 2 * MS_PER_DAY
    assert StripeDesk.of(settings) is None
    for secrets, listens in ((" whsec_a , whsec_b", True), (" , ", False), ("", False)):
        made = StripeDesk.of(Settings(stripe_key=KEY, stripe_webhook_secret=secrets))
        assert made is not None
        assert made.listens is listens
