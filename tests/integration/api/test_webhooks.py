"""Messages of the processor: forged, old, replayed, of others, too large; and the true ones."""

from __future__ import annotations

import io
import json
import threading
from typing import Any

import pytest
from sqlalchemy import func, select

from api.counter import Counter
from api.webhooks import BODY_MAX
from billing.payments import PurchaseTerms
from billing.tables import payment_events
from routing.stripe_desk import StripeDesk
from tests.fixtures.stripe_server import KEY, SECRET, signed
from tests.integration.api.conftest import USD, Shop, site

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"secret": "whsec_wrong"}, id="another secret"),
        pytest.param({"secret": ""}, id="an empty secret"),
        pytest.param({"age_s": 301}, id="too old"),
    ],
)
def test_a_forged_or_old_message_does_nothing(shop: Shop, how: dict[str, Any]):
    session = shop.unpaid()[1]
    shop.stripe.pay(session)
    calls = len(shop.stripe.calls)
    assert shop.hear("checkout.session.completed", session, **how).status_code == 400
    assert len(shop.stripe.calls) == calls
    assert shop.balance == 0


@pytest.mark.parametrize("signature", [None, "", "t=1,v1=0", "v1=", "t=,v1=,", "garbage", "t=1"])
def test_a_message_without_a_signature_does_nothing(shop: Shop, signature: str | None):
    raw = shop.stripe.event("checkout.session.completed", "cs_1")
    assert shop.send(raw, signature).status_code == 400


@pytest.mark.parametrize("raw", [b"", b"\xff", b"{}", b"[]", b"null", b'{"type":1,"id":2}'])
def test_a_signed_message_that_is_no_event(shop: Shop, raw: bytes):
    assert shop.send(raw, signed(raw)).status_code in {400, 401}


def test_a_large_message_is_not_read(shop: Shop):
    raw = b" " * (BODY_MAX + 1)
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
    session = shop.unpaid()[1]
    shop.stripe.pay(session)
    shop.stripe.objects[session] |= changes
    assert shop.hear("checkout.session.completed", session).status_code == 409
    assert shop.balance == 0


def test_without_a_secret_no_message_is_heard(shop: Shop):
    for desk in (StripeDesk(KEY, ("", " "), url=shop.stripe.url), None):
        counter = Counter(office=shop.counter.office, desk=desk, terms=PurchaseTerms())
        raw = shop.stripe.event("checkout.session.completed", "cs_1")
        told = site(counter, shop.customer).post(
            "/webhooks/stripe", data=raw, headers={"Stripe-Signature": signed(raw, secret="")}
        )
        assert told.status_code == 404


def test_stripe_away_is_told_and_the_message_comes_again(shop: Shop):
    session = shop.unpaid()[1]
    shop.stripe.pay(session)
    shop.stripe.away = True
    assert shop.hear("checkout.session.completed", session).status_code == 503
    shop.stripe.away = False
    assert shop.hear("checkout.session.completed", session).status_code == 200
    assert shop.balance == 10 * USD


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


class Endless(io.RawIOBase):
    """A body that nobody should read."""

    def __init__(self) -> None:
        self.read_bytes = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        assert size >= 0, "read to its end"
        self.read_bytes += size
        return b" " * size


@pytest.mark.parametrize("declared", [True, False])
def test_a_hundred_megabytes_are_not_read(shop: Shop, declared: bool):
    body = Endless()
    environ: dict[str, Any] = {"wsgi.input": body, "wsgi.input_terminated": True}
    length = {"Content-Length": str(100 * 1024 * 1024)} if declared else {}
    told = shop.client.post("/webhooks/stripe", environ_overrides=environ, headers=length)
    assert told.status_code == 413
    assert body.read_bytes <= BODY_MAX + 1


def test_without_a_secret_not_even_the_body_is_read(shop: Shop):
    counter = Counter(
        office=shop.counter.office,
        desk=StripeDesk(KEY, (), url=shop.stripe.url),
        terms=PurchaseTerms(),
    )
    body = Endless()
    environ: dict[str, Any] = {"wsgi.input": body, "wsgi.input_terminated": True}
    told = site(counter, shop.customer).post("/webhooks/stripe", environ_overrides=environ)
    assert (told.status_code, body.read_bytes) == (404, 0)


def test_a_replay_credits_nothing(shop: Shop):
    payment, session = shop.unpaid()
    shop.stripe.pay(session)
    raw = shop.stripe.event("checkout.session.completed", session)
    signature = signed(raw)
    assert {shop.send(raw, signature).status_code for _ in range(100)} == {200}
    assert (shop.balance, shop.status(payment)) == (10 * USD, "paid")
    with shop.ledger.reading() as connection:
        kept = connection.execute(select(func.count()).select_from(payment_events))
        assert kept.scalar_one() == 1


def test_many_at_once_credit_once(shop: Shop):
    payment, session = shop.unpaid()
    shop.stripe.pay(session)
    codes: list[int] = []

    def deliver(number: int) -> None:
        client = site(shop.counter, shop.customer)
        for turn in range(10):
            raw = shop.stripe.event("checkout.session.completed", session, f"e{number}{turn % 2}")
            headers = {"Stripe-Signature": signed(raw)}
            told = client.post("/webhooks/stripe", data=raw, headers=headers)
            codes.append(told.status_code)

    threads = [threading.Thread(target=deliver, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert len(codes) == 100
    assert set(codes) <= {200, 503}
    assert 200 in codes
    assert (shop.balance, shop.status(payment)) == (10 * USD, "paid")


@pytest.mark.parametrize("replaced", ["body", "one byte", "secret", "scheme", "time"])
def test_a_signature_is_of_its_body_its_moment_and_its_secret(shop: Shop, replaced: str):
    _, session = shop.unpaid()
    shop.stripe.pay(session)
    raw = shop.stripe.event("checkout.session.completed", session)
    signature = signed(raw)
    changed = {
        "body": (shop.stripe.event("checkout.session.completed", session, "evt_2"), signature),
        "one byte": (raw + b" ", signature),
        "secret": (raw, signed(raw, SECRET + "x")),
        "scheme": (raw, signature.replace("v1=", "v0=")),
        "time": (raw, signature.replace("t=", "t=9")),
    }
    assert shop.send(*changed[replaced]).status_code == 400
    assert shop.balance == 0


def test_a_message_of_another_account_credits_nobody(shop: Shop):
    """The session bears the payment of one account and the name of another."""
    payment, session = shop.unpaid()
    shop.stripe.pay(session)
    shop.stripe.objects[session]["metadata"] = {
        "pointsman_payment": payment,
        "pointsman_account": "user_x",
    }
    assert shop.hear("checkout.session.completed", session).status_code == 409
    assert (shop.balance, shop.status(payment)) == (0, "pending")


def test_another_session_for_the_same_payment_is_for_an_operator(shop: Shop):
    payment, session = shop.unpaid()
    shop.stripe.pay(session)
    other = dict(shop.stripe.objects[session]) | {"id": "cs_other"}
    shop.stripe.objects["cs_other"] = other
    assert shop.hear("checkout.session.completed", "cs_other").status_code == 409
    assert (shop.balance, shop.status(payment)) == (0, "pending")


def test_a_payment_nobody_knows_credits_nobody(shop: Shop):
    _, session = shop.unpaid()
    shop.stripe.pay(session)
    shop.stripe.objects[session]["metadata"] = {"pointsman_payment": "pay_x"}
    assert shop.hear("checkout.session.completed", session).status_code == 404
    assert shop.balance == 0


def test_what_a_message_says_of_its_object_is_not_believed(shop: Shop):
    payment, session = shop.unpaid()
    subject = dict(shop.stripe.objects[session]) | {"payment_status": "paid", "status": "complete"}
    event = {"id": "evt", "type": "checkout.session.completed", "data": {"object": subject}}
    raw = json.dumps(event).encode()
    assert shop.send(raw, signed(raw)).status_code == 200
    assert (shop.balance, shop.status(payment)) == (0, "pending")
