"""Buying credit over HTTP and giving it back, with a processor on loopback."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from billing import accounts, closing
from billing.payments import OPEN_MAX, PurchaseTerms
from billing.settlement import settle
from routing.budgets import MS_PER_DAY
from routing.processors import desk_of
from routing.settings import Settings
from routing.store.budgets import Budgets, KeyCache
from tests.fixtures.charges import COST_NANO, NOW_MS
from tests.fixtures.customers import make_customer
from tests.fixtures.stripe_server import KEY
from tests.integration.api.conftest import USD, WAYS, Shop, site
from workers.cashier import HANGING_MS

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

CENT = 10_000_000


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
    told = shop.client.post("/credits/checkout", json={"amount": amount, **WAYS})
    assert told.status_code == 400
    assert shop.stripe.calls == []


def test_fields_nobody_knows_are_refused(shop: Shop):
    sent = {"amount": 10, "fee": 0, **WAYS}
    assert shop.client.post("/credits/checkout", json=sent).status_code == 400


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


def test_coinbase_is_gone(shop: Shop):
    told = shop.client.post("/credits/coinbase", json={"amount": 1})
    assert (told.status_code, told.json["error"]["code"]) == (410, 410)


def test_terms_are_those_of_the_settings():
    settings = Settings(
        purchase_fee_percent="10",
        purchase_fee_min_usd="1.5",
        purchase_refund_hours=48,
        purchase_max_usd=100,
    )
    terms = PurchaseTerms.of(settings)
    assert terms.fee_nano(10 * USD) == 1_500_000_000
    assert terms.fee_nano(100 * USD) == 10 * USD
    assert terms.refund_ms == 2 * MS_PER_DAY
    assert (terms.min_nano, terms.max_nano) == (5 * USD, 100 * USD)
    assert desk_of(settings) is None
    for secrets, listens in ((" whsec_a , whsec_b", True), (" , ", False), ("", False)):
        made = desk_of(Settings(stripe_secret_key=KEY, stripe_webhook_secret=secrets))
        assert made is not None
        assert made.listens is listens


def test_the_balance_is_credits_less_usage(shop: Shop):
    payment, _ = shop.paid(10)
    settle(shop.ledger, [shop.customer.charge(1)], NOW_MS)
    shop.refund(payment)
    told = shop.client.get("/credits").get_json()["data"]
    left = accounts.budget_of(shop.ledger, shop.customer.account_id).available_nano
    assert round((told["total_credits"] - told["total_usage"]) * USD) == left
    assert told["total_usage"] == COST_NANO / USD


@pytest.mark.parametrize(
    "url",
    [
        "", "/done", "javascript:alert(1)", "data:text/html,x", "ftp://a.example/", "http://a.example/",
        "https://", "https:///x", "https://a:b@c.example/", "https://a.example\\@b/", "//a.example",
        "https://a.example/\n", "https://a.example:99999/", "http://127.0.0.1.example/",
        "http://10.0.0.1/", "https://a.example/" + "x" * 2_000, "https://é.example/", 5,
    ],
)  # fmt: skip
@pytest.mark.parametrize("field", ["success_url", "cancel_url"])
def test_customers_are_sent_to_no_odd_place(shop: Shop, field: str, url: Any):
    if (field, url) == ("cancel_url", ""):
        return  # as none: then it is the other one
    sent = {"amount": 10} | WAYS | {field: url}
    told = shop.client.post("/credits/checkout", json=sent)
    assert told.status_code == 400, told.text
    assert shop.stripe.calls == []


@pytest.mark.parametrize(
    "url", ["https://a.example/x?y={CHECKOUT_SESSION_ID}", "http://localhost:1/", "http://[::1]/"]
)
def test_customers_are_sent_where_they_asked_to_be(shop: Shop, url: str):
    shop.buy(success_url=url, cancel_url=None)
    (sent,) = shop.stripe.posted("/v1/checkout/sessions")
    assert (sent["success_url"], sent["cancel_url"]) == (url, url)


def test_without_an_address_it_is_the_page_of_the_account(shop: Shop):
    client = site(shop.counter, shop.customer, "https://router.example/")
    assert client.post("/credits/checkout", json={"amount": 10}).status_code == 201
    (sent,) = shop.stripe.posted("/v1/checkout/sessions")
    assert sent["success_url"] == sent["cancel_url"] == "https://router.example/account"
    assert shop.client.post("/credits/checkout", json={"amount": 10}).status_code == 400


def test_pages_to_pay_on_are_bounded(shop: Shop):
    for _ in range(OPEN_MAX):
        shop.buy()
    told = shop.client.post("/credits/checkout", json={"amount": 10, **WAYS})
    assert told.status_code == 409
    assert len(shop.stripe.posted("/v1/checkout/sessions")) == OPEN_MAX


def test_payments_of_others_do_not_exist(shop: Shop):
    payment, _ = shop.paid(10)
    stranger = site(shop.counter, make_customer(shop.ledger))
    told = stranger.post("/credits/refund", json={"payment": payment})
    unknown = stranger.post("/credits/refund", json={"payment": "pay_x"})
    assert told.status_code == unknown.status_code == 404
    assert told.text.replace(payment, "pay_x") == unknown.text
    assert stranger.get("/credits/payments").get_json() == {"data": []}


def test_a_hundred_refunds_at_once_give_back_once(shop: Shop):
    payment, session = shop.paid(10)
    codes: list[int] = []

    def ask() -> None:
        client = site(shop.counter, shop.customer)
        codes.extend(
            client.post("/credits/refund", json={"payment": payment}).status_code for _ in range(10)
        )

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert len(codes) == 100
    assert set(codes) <= {200, 409, 503}
    shop.refund(payment)
    assert shop.status(payment) == "refunded"
    assert shop.balance == 0
    assert shop.stripe.objects[shop.stripe.charge_of(session)]["amount_refunded"] == 1_000
    assert Budgets(shop.redis).held_nano(shop.customer.scope) == 0


def test_what_requests_hold_stays_theirs(shop: Shop):
    """A hold that begins before the refund is left alone; one that comes after finds nothing."""
    payment, _ = shop.paid(10)
    shop.redis.hset(f"bud:{shop.customer.scope}", "held", 10 * USD)
    assert shop.refund(payment).status_code == 409
    assert shop.balance == 10 * USD
    shop.redis.hset(f"bud:{shop.customer.scope}", "held", 10 * USD - 5 * CENT)
    assert shop.refund(payment).get_json()["data"]["refunded"] == 0.05
    assert shop.balance == Budgets(shop.redis).held_nano(shop.customer.scope)


def test_a_refund_whose_answer_is_lost_is_not_given_twice(shop: Shop):
    payment, session = shop.paid(10)
    shop.stripe.mute = True
    assert shop.refund(payment).status_code == 503
    shop.stripe.mute = False
    # Although a day later the processor does not know the call any more
    shop.stripe.forget()
    shop.clock.now += 2 * MS_PER_DAY
    assert shop.cashier.look_after() == 1
    assert shop.status(payment) == "refunded"
    assert shop.stripe.objects[shop.stripe.charge_of(session)]["amount_refunded"] == 1_000


def test_a_refund_that_failed_can_be_asked_for_again(shop: Shop):
    payment, session = shop.paid(10)
    shop.stripe.refuses_refunds = True
    assert [shop.refund(payment).status_code for _ in range(2)] == [409, 409]
    shop.stripe.refuses_refunds = False
    assert shop.refund(payment).status_code == 200
    assert shop.stripe.objects[shop.stripe.charge_of(session)]["amount_refunded"] == 1_000


def test_money_for_a_closed_account_is_kept_apart_and_goes_back(shop: Shop):
    payment, session = shop.unpaid(10)
    closing.close(shop.ledger, shop.customer.account_id, NOW_MS)
    shop.stripe.pay(session)
    for _ in range(2):
        assert shop.hear("checkout.session.completed", session).status_code == 200
    assert (shop.status(payment), shop.balance) == ("unclaimed", 0)
    assert shop.payment(payment).paid_ms is None
    # When an operator gives it back, all of it goes, the fee too, once
    shop.stripe.refuses_refunds = True
    with pytest.raises(Exception, match="already been refunded"):
        shop.counter.return_unclaimed(payment)
    assert shop.status(payment) == "unclaimed"
    shop.stripe.refuses_refunds = False
    assert shop.counter.return_unclaimed(payment).status == "refunded"
    charge = shop.stripe.charge_of(session)
    assert shop.stripe.objects[charge]["amount_refunded"] == 1_080
    assert shop.hear("charge.refunded", charge).status_code == 200
    with pytest.raises(Exception, match="refunded"):
        shop.counter.return_unclaimed(payment)


def test_the_processor_is_called_by_a_few_at_a_time(shop: Shop):
    while shop.counter.calls.acquire(blocking=False):
        pass
    told = shop.client.post("/credits/checkout", json={"amount": 10, **WAYS})
    assert told.status_code == 503
    assert shop.client.get("/credits/payments").get_json() == {"data": []}
