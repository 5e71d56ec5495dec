"""What the sweep does about payments, with a processor on loopback."""

from __future__ import annotations

import threading

import pytest

from billing import expiry, payments, refunds
from billing.settlement import settle
from routing.budgets import MS_PER_DAY
from routing.store.turns import Turns
from tests.fixtures.charges import NOW_MS
from tests.integration.api.conftest import USD, WAYS, Shop
from workers.cashier import GIVEN_UP_MS, HANGING_MS, TURN, TURN_MS, Cashier

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]


def test_a_lost_message_is_made_up_for_by_the_sweep(shop: Shop):
    bought = shop.buy()
    shop.stripe.pay(bought["url"].rpartition("/")[2])
    assert shop.cashier.look_after() == 0  # too early to ask
    shop.clock.now += HANGING_MS + 1
    assert shop.cashier.look_after() == 1
    assert shop.balance == 10 * USD


def test_a_low_balance_is_topped_up_once(shop: Shop):
    shop.paid(10)
    shop.wants(5)
    assert shop.cashier.top_up() == 0
    shop.wants(11)
    assert [shop.cashier.top_up() for _ in range(2)] == [1, 0]
    assert shop.balance == 35 * USD
    assert [(one["amount"], one["customer"], one["off_session"]) for one in shop.charged()] == [
        ("2638", "cus_1", "true")
    ]


def test_a_card_that_is_refused_rests_for_a_day(shop: Shop):
    shop.paid(10)
    shop.wants(11)
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
    shop.wants(11)
    shop.stripe.away = True
    assert shop.cashier.top_up() == 0
    shop.stripe.away = False
    assert shop.cashier.top_up() == 0  # one is under way
    shop.clock.now += HANGING_MS + 1
    assert [shop.cashier.look_after() for _ in range(2)] == [1, 0]
    assert shop.balance == 35 * USD


def test_what_was_never_asked_for_is_given_up(shop: Shop):
    shop.stripe.away = True
    assert shop.client.post("/credits/checkout", json={"amount": 10, **WAYS}).status_code == 503
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


def test_twenty_sweeps_at_once_charge_once(shop: Shop):
    shop.paid(10)
    shop.wants(11)
    start = threading.Barrier(20)

    def run() -> None:
        sweep = Cashier(shop.till)
        start.wait()
        sweep.top_up()

    threads = [threading.Thread(target=run) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert len(shop.charged()) == 1
    assert shop.balance == 35 * USD


def test_one_process_does_a_round_at_a_time(shop: Shop):
    shop.paid(10)
    shop.wants(11)
    turns = Turns(shop.redis)
    token = turns.take(TURN, TURN_MS)
    assert token is not None
    assert shop.cashier.round() is False
    assert shop.charged() == []
    assert turns.give(TURN, token)
    assert not turns.give(TURN, token)
    assert shop.cashier.round() is True
    assert shop.cashier.round() is True
    assert len(shop.charged()) == 1


def test_a_round_has_a_thread_of_its_own(shop: Shop):
    shop.paid(10)
    shop.wants(11)
    shop.cashier.start()
    shop.cashier.start()
    for thread in threading.enumerate():
        if thread.name == "cashier":
            thread.join(timeout=60)
    assert shop.balance == 35 * USD


def test_a_charge_whose_answer_is_lost_is_not_made_twice(shop: Shop):
    shop.paid(10)
    shop.wants(11)
    shop.stripe.mute = True
    assert shop.cashier.top_up() == 0
    shop.stripe.mute = False
    # Although the processor does not know the call any more, and the customer has another card
    shop.stripe.forget()
    shop.paid(5)
    shop.clock.now += HANGING_MS + 1
    assert shop.cashier.look_after() == 1
    charged = [one for one in shop.stripe.objects.values() if one["id"].startswith("pi_")]
    assert len([one for one in charged if one["metadata"].get("automatic")]) == 1
    assert shop.balance == 40 * USD


def test_a_card_whose_payment_was_taken_back_is_not_charged(shop: Shop):
    _, session = shop.paid(10)
    shop.wants(50)
    shop.stripe.away = True
    shop.cashier.top_up()
    shop.stripe.away = False
    lost = shop.stripe.dispute(shop.stripe.charge_of(session), "needs_response")
    assert shop.hear("charge.dispute.funds_withdrawn", lost).status_code == 200
    shop.clock.now += HANGING_MS + 1
    shop.cashier.look_after()
    shop.clock.now += 2 * MS_PER_DAY
    shop.cashier.top_up()
    assert [method for method, path, _ in shop.stripe.calls if path == "/v1/payment_intents"] in (
        [], ["GET"], ["GET", "GET"],
    )  # fmt: skip
    assert shop.balance == 0


def test_who_had_an_automatic_payment_taken_back_buys_by_hand_next(shop: Shop):
    shop.paid(10)
    shop.wants(11)
    assert shop.cashier.top_up() == 1
    (automatic,) = [one for one in payments.every(shop.ledger) if one.automatic]
    refunds.follow(shop.ledger, automatic.id, automatic.total_nano, shop.clock.now)
    shop.clock.now += 3 * MS_PER_DAY
    assert shop.cashier.top_up() == 0
    shop.paid(5)
    shop.wants(50)
    assert shop.cashier.top_up() == 1


def test_a_refund_the_processor_refuses_later_gives_the_credit_back(shop: Shop):
    payment, _ = shop.paid(10)
    shop.stripe.away = True
    assert shop.refund(payment).status_code == 503
    shop.stripe.away, shop.stripe.refuses_refunds = False, True
    shop.clock.now += HANGING_MS + 1
    shop.cashier.look_after()
    assert (shop.status(payment), shop.balance) == ("paid", 10 * USD)


def test_more_hanging_payments_than_a_round_has_time_for(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("workers.cashier.LOOK_MAX", 2)
    for _ in range(5):
        shop.unpaid()
    last, session = shop.unpaid()
    shop.stripe.pay(session)
    shop.clock.now += HANGING_MS + 1
    assert sum(shop.cashier.look_after() for _ in range(4)) == 1
    assert shop.status(last) == "paid"


def test_expiry_leaves_young_credit_and_what_is_held(shop: Shop):
    shop.paid(10)
    shop.clock.now += 300 * MS_PER_DAY
    shop.paid(20)
    settle(shop.ledger, [shop.customer.charge(1)], NOW_MS)
    shop.redis.hset(f"bud:{shop.customer.scope}", "held", 25 * USD)
    shop.clock.now += 66 * MS_PER_DAY
    before_ms = shop.clock.now - 365 * MS_PER_DAY
    old, _ = expiry.preview(shop.ledger, before_ms)
    assert set(old) == {shop.customer.account_id}
    assert shop.cashier.expire() == 1
    assert shop.balance == 25 * USD
    # And a day later, when nothing is held, the rest of it
    shop.redis.hset(f"bud:{shop.customer.scope}", "held", 0)
    shop.clock.now += MS_PER_DAY
    assert [shop.cashier.expire() for _ in range(2)] == [1, 0]
    assert shop.balance == 20 * USD
