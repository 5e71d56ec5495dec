from __future__ import annotations

import pytest

from billing import generations
from billing.db import Ledger
from billing.generations import Credits
from billing.settlement import settle
from routing.catalog.shapes import Price
from routing.errors import NotFound
from routing.usage import Usage
from tests.fixtures.charges import COST_NANO, NOW_MS, PRICE, USAGE, generation_id
from tests.fixtures.customers import GRANTED_NANO, make_customer

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]


def test_a_generation_is_read_back_as_it_was_charged(ledger: Ledger):
    # Given a settled charge
    customer = make_customer(ledger)
    charge = customer.charge()
    settle(ledger, [charge], NOW_MS + 5_000)
    # When its owner asks for it
    found = generations.find(ledger, charge.generation_id, customer.account_id)
    # Then everything is there, the applied price included
    assert found is not None
    assert (found.usage, found.price, found.attempts) == (USAGE, PRICE, charge.attempts)
    assert (found.cost_nano, found.upstream_cost_nano) == (COST_NANO, COST_NANO)
    assert (found.created_ms, found.finished_ms, found.settled_ms) == (
        NOW_MS,
        NOW_MS + 2_000,
        NOW_MS + 5_000,
    )
    assert (found.stream, found.insured, found.byok) == (True, False, False)
    assert found.request_id == "req-1"
    assert found.cache_discount_nano is None


def test_a_long_prompt_is_charged_at_its_own_rates_and_read_back_with_them(ledger: Ledger):
    customer = make_customer(ledger)
    price = Price(prompt_pico=1_000, long_over=100, long_prompt_pico=2_000, long_completion_pico=5)
    usage = Usage(prompt_tokens=101, completion_tokens=1)
    settle(ledger, [customer.charge(price=price, usage=usage)], NOW_MS)
    found = generations.find(ledger, generation_id(1), customer.account_id)
    assert found is not None
    assert found.price == price
    assert found.cost_nano == 202 + 1


def test_nobody_reads_the_generations_of_others(ledger: Ledger):
    ada, bob = make_customer(ledger), make_customer(ledger)
    settle(ledger, [ada.charge()], NOW_MS)
    assert generations.find(ledger, generation_id(1), bob.account_id) is None
    assert generations.find(ledger, generation_id(2), ada.account_id) is None
    assert generations.find(ledger, generation_id(1), ada.account_id) is not None


def test_the_sweep_asks_whether_a_generation_is_settled(ledger: Ledger):
    settle(ledger, [make_customer(ledger).charge()], NOW_MS)
    assert generations.exists(ledger, generation_id(1))
    assert not generations.exists(ledger, generation_id(2))


@pytest.mark.parametrize(
    ("usage", "discount_nano"),
    [
        pytest.param(Usage(prompt_tokens=100, cached_tokens=100), 75_000, id="read: saved"),
        pytest.param(Usage(prompt_tokens=100, cache_write_tokens=100), -25_000, id="write: dearer"),
    ],
)
def test_the_cache_discount_is_against_the_plain_price(ledger: Ledger, usage, discount_nano):
    customer = make_customer(ledger)
    price = Price(prompt_pico=1_000_000, cache_read_pico=250_000, cache_write_pico=1_250_000)
    settle(ledger, [customer.charge(usage=usage, price=price)], NOW_MS)
    found = generations.find(ledger, generation_id(1), customer.account_id)
    assert found is not None
    assert found.cache_discount_nano == discount_nano


def test_credits_are_what_was_granted_and_what_was_used(ledger: Ledger):
    customer = make_customer(ledger)
    settle(ledger, [customer.charge(1), customer.charge(2, outcome="failed")], NOW_MS)
    assert generations.credits_of(ledger, customer.account_id) == Credits(
        total_nano=GRANTED_NANO, used_nano=COST_NANO
    )
    with pytest.raises(NotFound):
        generations.credits_of(ledger, "user_x")
