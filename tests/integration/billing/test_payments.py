"""Buying credit, giving it back, letting it expire: money moves once, however often it is told."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
from sqlalchemy import select, update

from billing import (
    accounts,
    api_keys,
    closing,
    expiry,
    generations,
    invariants,
    payments,
    refunds,
    top_up,
)
from billing.accounts import Grant
from billing.db import Ledger
from billing.ledger import balances
from billing.payments import Order, PurchaseTerms
from billing.settlement import settle
from billing.tables import accounts as accounts_table
from billing.tables import payment_events
from routing.budgets import MS_PER_DAY
from routing.errors import BadRequest, Conflict, NotFound
from routing.payments import CENT_NANO, Payment, Receipt
from routing.wire.account import AccountSettings, AutoTopUp
from tests.fixtures.charges import COST_NANO, NOW_MS
from tests.fixtures.customers import Customer, make_customer

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

USD = 1_000_000_000
TERMS = PurchaseTerms()


@pytest.fixture
def customer(ledger: Ledger) -> Customer:
    """Someone without credit."""
    return make_customer(ledger, granted_nano=0)


def ordered(ledger: Ledger, customer: Customer, usd: int = 10, **changes: object) -> Payment:
    order = Order(**({"credit_nano": usd * USD, "processor": "stripe"} | changes))
    return payments.open_payment(ledger, customer.account_id, order, TERMS, NOW_MS)


def receipt(payment: Payment, **changes: object) -> Receipt:
    known = Receipt(
        processor="stripe",
        payment_id=payment.id,
        total_nano=payment.total_nano,
        currency="usd",
    )
    return replace(known, **changes)


def paid(
    ledger: Ledger, customer: Customer, usd: int = 10, now_ms: int = NOW_MS, **changes: object
) -> Payment:
    payment = ordered(ledger, customer, usd, **changes)
    payments.bind(ledger, payment.id, f"cs_{payment.id}")
    return payments.credit(ledger, receipt(payment), "", now_ms).payment


def posted(ledger: Ledger, *ids: str) -> list[int]:
    with ledger.reading() as connection:
        found = balances(connection, ids)
    return [found[name].posted_nano if name in found else 0 for name in ids]


def sound(ledger: Ledger) -> bool:
    return invariants.check(ledger, NOW_MS) == () and invariants.drift_nano(ledger) == 0


def test_bought_credit_counts_and_its_fee_is_ours(ledger: Ledger, customer: Customer):
    # Given a payment that was opened
    payment = ordered(ledger, customer, 100)
    assert (payment.status, payment.fee_nano) == ("pending", 5_500_000_000)
    assert posted(ledger, customer.scope) == [0]
    # When the processor has the money
    credited = payments.credit(ledger, receipt(payment), "evt_1", NOW_MS + 5)
    # Then the account has its credit, and counts as one that bought
    assert credited.new
    assert (credited.payment.status, credited.payment.paid_ms) == ("paid", NOW_MS + 5)
    assert (credited.budget.scope, credited.budget.available_nano) == (customer.scope, 100 * USD)
    assert posted(ledger, "purchase_fees", "funding") == [5_500_000_000, -105_500_000_000]
    key = api_keys.find(ledger, customer.key.key_hash, NOW_MS)
    assert key is not None
    assert (key.purchased, key.purchased_nano) == (True, 100 * USD)
    assert generations.credits_of(ledger, customer.account_id).total_nano == 100 * USD
    assert sound(ledger)


def test_news_that_comes_again_credits_nothing(ledger: Ledger, customer: Customer):
    payment = ordered(ledger, customer)
    told = [
        payments.credit(ledger, receipt(payment), event, NOW_MS).new
        for event in ("evt_1", "evt_1", "evt_2", "")
    ]
    assert told == [True, False, False, False]
    assert posted(ledger, customer.scope) == [10 * USD]
    with ledger.reading() as connection:
        events = connection.execute(select(payment_events.c.event_id)).scalars()
        assert set(events) == {"evt_1", "evt_2"}


def test_a_hundred_messages_at_once_credit_once(ledger: Ledger, customer: Customer):
    payment = ordered(ledger, customer)
    new: list[bool] = []

    def hear(number: int) -> None:
        for turn in range(10):
            event = f"evt_{(number + turn) % 3}"
            new.append(payments.credit(ledger, receipt(payment), event, NOW_MS).new)

    threads = [threading.Thread(target=hear, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(new) == [False] * 99 + [True]
    assert posted(ledger, customer.scope) == [10 * USD]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"total_nano": CENT_NANO}, id="a cent"),
        pytest.param({"total_nano": 10 * USD}, id="without the fee"),
        pytest.param({"total_nano": 100 * USD}, id="too much"),
        pytest.param({"currency": "jpy"}, id="another currency"),
        pytest.param({"processor": "other"}, id="another processor"),
        pytest.param({"account_id": "user_x"}, id="another account"),
    ],
)
def test_what_does_not_fit_the_payment_credits_nothing(
    ledger: Ledger, customer: Customer, changes: dict[str, object]
):
    payment = ordered(ledger, customer)
    with pytest.raises(Conflict):
        payments.credit(ledger, receipt(payment, **changes), "evt_1", NOW_MS)
    assert posted(ledger, customer.scope, "funding") == [0, 0]
    # And the message may come again, once somebody has looked into it
    assert payments.credit(ledger, receipt(payment), "evt_1", NOW_MS).new


def test_a_payment_nobody_knows_credits_nobody(ledger: Ledger, customer: Customer):
    payment = ordered(ledger, customer)
    with pytest.raises(NotFound):
        payments.credit(ledger, receipt(payment, payment_id="pay_x"), "evt_1", NOW_MS)


def test_money_that_comes_after_all_is_credited(ledger: Ledger, customer: Customer):
    payment = ordered(ledger, customer)
    assert payments.fail(ledger, payment.id, "not paid in time")
    assert not payments.fail(ledger, payment.id, "again")
    assert payments.credit(ledger, receipt(payment), "", NOW_MS).payment.status == "paid"
    # And what is paid does not fail any more
    assert not payments.fail(ledger, payment.id, "late news")
    assert sound(ledger)


@pytest.mark.parametrize(
    "nano",
    [0, -5 * USD, 5 * USD - CENT_NANO, 5 * USD + 1, 10_000 * USD + CENT_NANO, 2**63],
)
def test_amounts_that_are_not_sold(ledger: Ledger, customer: Customer, nano: int):
    with pytest.raises(BadRequest) as caught:
        ordered(ledger, customer, credit_nano=nano)
    assert caught.value.param == "amount"


def test_nobody_buys_for_an_account_that_is_not_there(ledger: Ledger, customer: Customer):
    order = Order(credit_nano=10 * USD, processor="stripe")
    with pytest.raises(NotFound):
        payments.open_payment(ledger, "user_x", order, TERMS, NOW_MS)
    closing.close(ledger, customer.account_id, NOW_MS)
    with pytest.raises(NotFound):
        payments.open_payment(ledger, customer.account_id, order, TERMS, NOW_MS)


def test_payments_are_listed_newest_first_and_are_their_accounts_own(
    ledger: Ledger, customer: Customer
):
    mine = [
        payments.open_payment(
            ledger,
            customer.account_id,
            Order(credit_nano=10 * USD, processor="stripe"),
            TERMS,
            NOW_MS + n,
        )
        for n in range(3)
    ]
    other = ordered(ledger, make_customer(ledger))
    assert payments.list_payments(ledger, customer.account_id) == tuple(reversed(mine))
    before_ms = NOW_MS + 1
    assert payments.list_payments(ledger, customer.account_id, before_ms=before_ms) == (mine[0],)
    assert payments.find(ledger, mine[0].id, customer.account_id) == mine[0]
    assert payments.find(ledger, other.id, customer.account_id) is None
    stale = payments.in_state(ledger, "pending", before_ms=NOW_MS + 2)
    assert {one.id for one in stale} == {other.id, mine[0].id, mine[1].id}


def test_what_is_unused_can_be_refunded_once(ledger: Ledger, customer: Customer):
    # Given ten dollars of which a part was used
    payment = paid(ledger, customer)
    settle(ledger, [customer.charge(1)], NOW_MS)
    # When the customer wants the rest back
    begun = refunds.begin(ledger, payment.id, customer.account_id, TERMS, NOW_MS)
    # Then whole cents of it are off the balance at once; the fee stays with us
    back_nano = (10 * USD - COST_NANO) // CENT_NANO * CENT_NANO
    assert begun.new
    assert (begun.payment.status, begun.payment.refunded_nano) == ("refunding", back_nano)
    assert begun.budget.available_nano == 10 * USD - COST_NANO - back_nano
    assert posted(ledger, "purchase_fees") == [payment.fee_nano]
    # And asking again tells the same
    again = refunds.begin(ledger, payment.id, customer.account_id, TERMS, NOW_MS)
    assert (again.new, again.payment.refunded_nano) == (False, back_nano)
    refunds.finish(ledger, payment.id)
    with pytest.raises(Conflict, match="is refunded"):
        refunds.begin(ledger, payment.id, customer.account_id, TERMS, NOW_MS)
    # And what was used is still what was used
    left = generations.credits_of(ledger, customer.account_id)
    assert (left.used_nano, left.total_nano) == (COST_NANO, 10 * USD - back_nano)
    assert sound(ledger)


def test_what_requests_hold_is_not_refunded(ledger: Ledger, customer: Customer):
    payment = paid(ledger, customer)
    begun = refunds.begin(ledger, payment.id, customer.account_id, TERMS, NOW_MS, free_nano=6 * USD)
    assert begun.payment.refunded_nano == 6 * USD


def test_the_oldest_credit_is_used_first(ledger: Ledger, customer: Customer):
    # Given ten dollars, then twenty as a gift, and fifteen dollars of use
    first = paid(ledger, customer)
    gift = Grant(amount_nano=20 * USD, reference="gift", purchased=False)
    accounts.grant(ledger, customer.account_id, gift, NOW_MS)
    big = customer.charge(1, discount_ppm=0)
    settle(ledger, [replace(big, usage=replace(big.usage, completion_tokens=7_500_000))], NOW_MS)
    assert posted(ledger, customer.scope)[0] < 15 * USD
    # Then nothing is left of the first ten
    with pytest.raises(Conflict, match="has been used"):
        refunds.begin(ledger, first.id, customer.account_id, TERMS, NOW_MS)


def test_a_refund_of_older_credit_does_not_make_newer_credit_more(
    ledger: Ledger, customer: Customer
):
    # Given two payments, of which the older is taken back by a bank
    older, newer = paid(ledger, customer, 10), paid(ledger, customer, 20)
    refunds.follow(ledger, older.id, older.credit_nano, NOW_MS)
    settle(ledger, [customer.charge(1)], NOW_MS)
    # Then of the newer one what is left can be refunded, and no more than the balance
    begun = refunds.begin(ledger, newer.id, customer.account_id, TERMS, NOW_MS)
    assert begun.payment.refunded_nano == 20 * USD - CENT_NANO
    assert begun.budget.available_nano == CENT_NANO - COST_NANO
    assert sound(ledger)


def test_a_refund_of_newer_credit_leaves_older_credit_as_it_was(ledger: Ledger, customer: Customer):
    older, newer = paid(ledger, customer, 10), paid(ledger, customer, 20)
    for payment, usd in ((newer, 20), (older, 10)):
        begun = refunds.begin(ledger, payment.id, customer.account_id, TERMS, NOW_MS)
        assert begun.payment.refunded_nano == usd * USD
    assert posted(ledger, customer.scope) == [0]
    assert sound(ledger)


def test_money_for_a_closed_account_is_kept_apart(ledger: Ledger, customer: Customer):
    payment = ordered(ledger, customer)
    closing.close(ledger, customer.account_id, NOW_MS)
    told = [payments.credit(ledger, receipt(payment), "evt_1", NOW_MS) for _ in range(2)]
    assert [one.new for one in told] == [True, False]
    assert told[1].payment.status == "unclaimed"
    total_nano = payment.total_nano
    assert posted(ledger, customer.scope, "suspense", "funding") == [0, total_nano, -total_nano]
    assert sound(ledger)
    # And it can be given back, once, and is kept apart again if that was refused
    for status in ("unclaimed", "refunding"):
        begun = [refunds.give_back(ledger, payment.id, NOW_MS) for _ in range(2)]
        assert [one.new for one in begun] == [True, False]
        assert begun[0].payment.back_nano == total_nano
        assert posted(ledger, "suspense", "funding") == [0, 0]
        if status == "unclaimed":
            assert refunds.undo(ledger, payment.id, NOW_MS).payment.status == "unclaimed"
            assert posted(ledger, "suspense") == [total_nano]
    refunds.finish(ledger, payment.id)
    assert not refunds.follow(ledger, payment.id, total_nano, NOW_MS).new
    with pytest.raises(Conflict, match="refunded"):
        refunds.give_back(ledger, payment.id, NOW_MS)
    assert sound(ledger)


def test_what_a_bank_takes_back_of_a_closed_account(ledger: Ledger, customer: Customer):
    payment = ordered(ledger, customer)
    closing.close(ledger, customer.account_id, NOW_MS)
    payments.credit(ledger, receipt(payment), "", NOW_MS)
    assert not refunds.follow(ledger, payment.id, CENT_NANO, NOW_MS).new
    told = [refunds.follow(ledger, payment.id, payment.total_nano, NOW_MS).new for _ in range(2)]
    assert told == [True, False]
    assert posted(ledger, "suspense", "funding") == [0, 0]
    assert sound(ledger)


def test_money_that_came_before_an_account_was_closed_is_not_kept_apart(
    ledger: Ledger, customer: Customer
):
    payment = paid(ledger, customer)
    closing.close(ledger, customer.account_id, NOW_MS)
    assert not payments.credit(ledger, receipt(payment), "evt", NOW_MS).new
    with pytest.raises(Conflict, match="paid"):
        refunds.give_back(ledger, payment.id, NOW_MS)
    assert posted(ledger, "suspense") == [0]
    assert sound(ledger)


def test_a_payment_has_one_name_at_its_processor(ledger: Ledger, customer: Customer):
    payment = ordered(ledger, customer)
    for _ in range(2):
        payments.bind(ledger, payment.id, "cs_1")
    with pytest.raises(Conflict, match="cs_1"):
        payments.bind(ledger, payment.id, "cs_2")


def test_no_account_has_too_many_open_payments(ledger: Ledger, customer: Customer):
    for _ in range(payments.OPEN_MAX):
        ordered(ledger, customer)
    with pytest.raises(Conflict, match="open"):
        ordered(ledger, customer)
    ordered(ledger, make_customer(ledger))


def test_a_grant_by_hand_is_never_taken_for_a_payment(ledger: Ledger, customer: Customer):
    payment = ordered(ledger, customer)
    for reference in (payment.id, f"payment:{payment.id}"):
        with contextlib.suppress(BadRequest):
            grant = Grant(amount_nano=1, reference=reference)
            accounts.grant(ledger, customer.account_id, grant, NOW_MS)
    assert payments.credit(ledger, receipt(payment), "", NOW_MS).new
    assert posted(ledger, customer.scope) == [10 * USD + 1]


@pytest.mark.parametrize(
    ("changes", "later_ms", "why"),
    [
        pytest.param({"crypto": True}, 0, "cryptocurrency", id="crypto"),
        pytest.param({}, MS_PER_DAY + 1, "within 24 hours", id="too late"),
    ],
)
def test_payments_that_cannot_be_refunded(
    ledger: Ledger, customer: Customer, changes: dict[str, object], later_ms: int, why: str
):
    payment = paid(ledger, customer, **changes)
    with pytest.raises(Conflict, match=why):
        refunds.begin(ledger, payment.id, customer.account_id, TERMS, NOW_MS + later_ms)


def test_a_refund_of_what_is_not_ones_own_or_not_paid(ledger: Ledger, customer: Customer):
    payment = ordered(ledger, customer)
    with pytest.raises(Conflict, match="is pending"):
        refunds.begin(ledger, payment.id, customer.account_id, TERMS, NOW_MS)
    with pytest.raises(NotFound):
        refunds.begin(ledger, payment.id, "user_x", TERMS, NOW_MS)


def test_a_refund_the_processor_refuses_gives_the_credit_back(ledger: Ledger, customer: Customer):
    payment = paid(ledger, customer)
    refunds.begin(ledger, payment.id, customer.account_id, TERMS, NOW_MS)
    undone = [refunds.undo(ledger, payment.id, NOW_MS).new for _ in range(2)]
    assert undone == [True, False]
    assert posted(ledger, customer.scope) == [10 * USD]
    assert sound(ledger)
    # And it may be tried again, as often as it takes
    assert refunds.begin(ledger, payment.id, customer.account_id, TERMS, NOW_MS).new
    assert posted(ledger, customer.scope) == [0]
    assert sound(ledger)


def test_what_a_bank_takes_back_is_taken_although_it_was_used(ledger: Ledger, customer: Customer):
    payment = paid(ledger, customer)
    settle(ledger, [customer.charge(1)], NOW_MS)
    # Given that the whole payment with its fee was disputed, and told three times
    told = [refunds.follow(ledger, payment.id, payment.total_nano, NOW_MS).new for _ in range(3)]
    assert told == [True, False, False]
    assert posted(ledger, customer.scope) == [-COST_NANO]
    # When older news comes, nothing is given again
    assert not refunds.follow(ledger, payment.id, 0, NOW_MS).new
    # And when the dispute is won, it is
    won = refunds.follow(ledger, payment.id, 0, NOW_MS, restores=True)
    assert (won.new, won.payment.status) == (True, "paid")
    assert posted(ledger, customer.scope) == [10 * USD - COST_NANO]
    assert sound(ledger)


def test_credit_expires_when_it_is_old_and_unused(ledger: Ledger, customer: Customer):
    # Given ten dollars of a year ago, a little use, and five dollars of today
    year_ago = NOW_MS - 366 * MS_PER_DAY
    paid(ledger, customer, now_ms=year_ago)
    settle(ledger, [customer.charge(1)], NOW_MS)
    accounts.grant(ledger, customer.account_id, Grant(amount_nano=5 * USD, reference="g"), NOW_MS)
    cut_ms = NOW_MS - 365 * MS_PER_DAY
    # When what is older than a year expires, twice
    (budget,), after = expiry.expire(ledger, cut_ms, NOW_MS)
    assert expiry.expire(ledger, cut_ms, NOW_MS) == ((), "")
    # Then the five dollars are left, and what was used is still what was used
    assert after == ""
    assert (budget.scope, budget.available_nano) == (customer.scope, 5 * USD)
    assert posted(ledger, "expired") == [10 * USD - COST_NANO]
    assert generations.credits_of(ledger, customer.account_id).used_nano == COST_NANO
    # And an account that bought still counts as one
    key = api_keys.find(ledger, customer.key.key_hash, NOW_MS)
    assert key is not None
    assert key.purchased_nano == 15 * USD
    assert sound(ledger)


def test_young_credit_and_debts_do_not_expire(ledger: Ledger, customer: Customer):
    make_customer(ledger)
    poor = make_customer(ledger, granted_nano=0)
    settle(ledger, [poor.charge(1), customer.charge(2)], NOW_MS)
    assert expiry.expire(ledger, NOW_MS - 1, NOW_MS) == ((), "")


def test_expiry_goes_through_all_accounts_in_pages(ledger: Ledger, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(expiry, "EXPIRE_MAX", 2)
    crowd = [make_customer(ledger) for _ in range(5)]
    seen: list[str] = []
    after, first = "", True
    while first or after:
        first = False
        told, after = expiry.expire(ledger, NOW_MS + 1, NOW_MS + 2, after=after)
        seen += [budget.scope for budget in told]
    assert sorted(seen) == sorted(customer.scope for customer in crowd)


def wants(ledger: Ledger, customer: Customer, threshold: int = 5, amount: int = 20) -> None:
    chosen = AccountSettings(
        auto_top_up=AutoTopUp(threshold_nano=threshold * USD, amount_nano=amount * USD)
    )
    with ledger.writing() as connection:
        connection.execute(
            update(accounts_table)
            .where(accounts_table.c.id == customer.account_id)
            .values(settings=chosen.to_json().decode())
        )


def spend(ledger: Ledger, customer: Customer, usd: int) -> None:
    grant = accounts.grant(
        ledger, customer.account_id, Grant(amount_nano=1, reference="touch"), NOW_MS
    )
    many = customer.charge(grant.version)
    usage = replace(many.usage, prompt_tokens=0, completion_tokens=usd * 500_000)
    settle(ledger, [replace(many, usage=usage)], NOW_MS)


def begin_top_up(ledger: Ledger, customer: Customer, now_ms: int = NOW_MS) -> top_up.TopUp | None:
    return top_up.begin(ledger, customer.account_id, "stripe", TERMS, now_ms)


def test_a_balance_below_its_threshold_is_topped_up_with_the_last_card(
    ledger: Ledger, customer: Customer
):
    # Given an account that wants it, with two payments behind it
    paid(ledger, customer, now_ms=NOW_MS - 9)
    card = paid(ledger, customer, now_ms=NOW_MS - 5)
    paid(ledger, customer, crypto=True)
    wants(ledger, customer, threshold=29)
    assert top_up.due(ledger) == ((), "")
    assert begin_top_up(ledger, customer) is None
    # When it falls below
    spend(ledger, customer, 2)
    assert top_up.due(ledger) == ((customer.account_id,), "")
    assert top_up.due(ledger, after=customer.account_id) == ((), "")
    wanted = begin_top_up(ledger, customer)
    # Then one payment is opened, for that card, and no second one while it is under way
    assert wanted is not None
    assert wanted.like.id == card.id
    assert (wanted.payment.automatic, wanted.payment.credit_nano) == (True, 20 * USD)
    assert begin_top_up(ledger, customer) is None
    payments.credit(ledger, receipt(wanted.payment), "", NOW_MS)
    assert top_up.due(ledger) == ((), "")
    assert sound(ledger)


def test_a_card_that_was_refused_rests_for_a_day(ledger: Ledger, customer: Customer):
    paid(ledger, customer)
    wants(ledger, customer, threshold=11)
    wanted = begin_top_up(ledger, customer)
    assert wanted is not None
    payments.fail(ledger, wanted.payment.id, "Your card was declined.")
    assert begin_top_up(ledger, customer, NOW_MS + MS_PER_DAY - 1) is None
    assert begin_top_up(ledger, customer, NOW_MS + MS_PER_DAY) is not None


def test_no_day_has_more_than_a_few_automatic_payments(ledger: Ledger, customer: Customer):
    paid(ledger, customer)
    wants(ledger, customer, threshold=1_000_000)
    for number in range(top_up.A_DAY_MAX):
        wanted = begin_top_up(ledger, customer, NOW_MS + number)
        assert wanted is not None
        payments.credit(ledger, receipt(wanted.payment), "", NOW_MS)
    assert begin_top_up(ledger, customer, NOW_MS + 999) is None


def without_a_card(ledger: Ledger, customer: Customer) -> None:
    wants(ledger, customer)


def with_a_disputed_card(ledger: Ledger, customer: Customer) -> None:
    payment = paid(ledger, customer)
    refunds.follow(ledger, payment.id, CENT_NANO, NOW_MS)
    wants(ledger, customer, threshold=11)


def without_the_wish(ledger: Ledger, customer: Customer) -> None:
    paid(ledger, customer)


def when_closed(ledger: Ledger, customer: Customer) -> None:
    paid(ledger, customer)
    wants(ledger, customer, threshold=50)
    closing.close(ledger, customer.account_id, NOW_MS)


@pytest.mark.parametrize(
    "given", [without_a_card, with_a_disputed_card, without_the_wish, when_closed]
)
def test_who_is_not_topped_up(
    ledger: Ledger, customer: Customer, given: Callable[[Ledger, Customer], None]
):
    given(ledger, customer)
    assert begin_top_up(ledger, customer) is None


def test_two_rounds_at_once_open_one_payment(ledger: Ledger, customer: Customer):
    paid(ledger, customer)
    wants(ledger, customer, threshold=11)
    opened: list[top_up.TopUp | None] = []
    start = threading.Barrier(4)

    def run() -> None:
        start.wait()
        opened.append(begin_top_up(ledger, customer))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len([one for one in opened if one is not None]) == 1


@pytest.mark.parametrize(
    ("usd", "crypto", "fee"),
    [
        pytest.param("100", False, "5.50", id="a card"),
        pytest.param("5", False, "0.80", id="the least fee"),
        pytest.param("14.54", False, "0.80", id="just below what the least fee covers"),
        pytest.param("20.01", False, "1.11", id="up, to a cent"),
        pytest.param("14.56", False, "0.81", id="part of a cent is one"),
        pytest.param("5", True, "0.25", id="crypto"),
        pytest.param("10.01", True, "0.51", id="part of a cent of crypto"),
    ],
)
def test_fees(usd: str, crypto: bool, fee: str):
    credit_nano = int(Decimal(usd) * USD)
    assert TERMS.fee_nano(credit_nano, crypto=crypto) == int(Decimal(fee) * USD)
