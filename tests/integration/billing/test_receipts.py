"""Receipts: every line, every term, every entry, and whether they agree."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from billing import tables
from billing.db import Ledger
from billing.receipts import lines_of, receipt_of
from billing.settlement import settle
from routing.catalog.pricing import PICO_PER_NANO, cost
from routing.catalog.shapes import Price
from routing.usage import Usage
from tests.fixtures.charges import COST_NANO, NOW_MS, generation_id
from tests.fixtures.customers import make_customer

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

counts = st.integers(0, 10**6)
rates = st.integers(0, 10**8)
maybe = st.one_of(st.none(), rates)
usages = st.builds(
    Usage,
    **dict.fromkeys(
        (
            "prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens",
            "cache_write_1h_tokens", "audio_tokens", "image_output_tokens", "audio_output_tokens",
            "reasoning_tokens", "images",
        ),
        counts,
    ),
)  # fmt: skip
prices = st.builds(
    Price,
    prompt_pico=rates,
    completion_pico=rates,
    request_pico=rates,
    image_pico=rates,
    **dict.fromkeys(
        (
            "cache_read_pico", "cache_write_pico", "reasoning_pico", "cache_write_1h_pico",
            "audio_pico", "audio_output_pico", "image_output_pico",
        ),
        maybe,
    ),
    long_over=st.one_of(st.none(), st.integers(0, 10**6)),
    long_prompt_pico=rates,
    long_completion_pico=rates,
)  # fmt: skip


class Made:
    """Of a generation, what lines are read from."""

    def __init__(self, usage: Usage, price: Price) -> None:
        self.usage = usage
        self.price = price
        self.upstream_cost_nano = cost(usage, price).total_nano


@settings(max_examples=300, deadline=None)
@given(usage=usages, price=prices)
def test_the_lines_are_the_whole_price_but_for_rounding(usage: Usage, price: Price):
    made: Any = Made(usage, price)
    lines = list(lines_of(made))
    total_pico = made.upstream_cost_nano * PICO_PER_NANO
    rounding = total_pico - sum(line.amount_pico for line in lines)
    assert 0 <= rounding < 3 * PICO_PER_NANO
    assert all(line.quantity > 0 and line.rate_pico > 0 for line in lines)
    assert len({line.item for line in lines}) == len(lines)


@pytest.mark.parametrize(
    ("changes", "paid_nano"),
    [
        pytest.param({}, COST_NANO, id="plain"),
        pytest.param({"outcome": "cancelled"}, COST_NANO, id="cancelled"),
        pytest.param({"outcome": "failed"}, 0, id="failed after the provider took it"),
        pytest.param({"outcome": "failed", "usage": Usage()}, 0, id="failed at once"),
        pytest.param(
            {"outcome": "cancelled", "usage": Usage(), "price": Price(request_pico=10**6)},
            0,
            id="left before anything came",
        ),
        pytest.param({"discount_ppm": 10_000}, COST_NANO * 99 // 100, id="kept, so cheaper"),
        pytest.param({"discount_ppm": 1_000_000}, 0, id="all of it taken off"),
        pytest.param({"byok": "b", "fee_ppm": 50_000}, COST_NANO // 20, id="own key, fee"),
        pytest.param({"byok": "b"}, 0, id="own key, no fee"),
        pytest.param(
            {"byok": "b", "fee_ppm": 50_000, "outcome": "failed"}, 0, id="own key, failed"
        ),
        pytest.param({"price": Price()}, 0, id="free"),
        pytest.param(
            {"price": Price(prompt_pico=10**18), "usage": Usage(prompt_tokens=10**9)},
            0,
            id="more than can be",
        ),
    ],
)
def test_every_kind_of_generation_adds_up(ledger: Ledger, changes, paid_nano):
    ada = make_customer(ledger)
    settle(ledger, [ada.charge(**changes)], NOW_MS)
    found = receipt_of(ledger, generation_id(1), ada.account_id)
    assert found is not None
    assert found.adds_up
    assert found.generation.cost_nano == paid_nano
    own = found.entries_of(ada.account_id)
    assert -sum(one.amount_nano for one in own) == paid_nano
    assert sum(one.amount_nano for one in found.entries) == 0


def test_a_charge_in_suspense_adds_up_and_shows_the_customer_nothing(ledger: Ledger):
    ada = make_customer(ledger)
    caller = replace(ada.charge().caller, account_id="user_gone")
    settle(ledger, [ada.charge(caller=caller)], NOW_MS)
    found = receipt_of(ledger, generation_id(1), None)
    assert found is not None
    assert found.adds_up
    assert found.entries_of("user_gone") == ()
    assert "unknown_account" in found.generation.flags


@pytest.mark.parametrize(
    ("table", "values"),
    [
        pytest.param("generations", {"cost_nano": COST_NANO + 1}, id="row"),
        pytest.param("generations", {"upstream_cost_nano": COST_NANO - 1}, id="price"),
        pytest.param("generations", {"prompt_tokens": 99}, id="usage"),
        pytest.param("generations", {"discount_nano": 1}, id="discount"),
        pytest.param("entries", {"amount_nano": 7}, id="books"),
    ],
)
def test_a_receipt_that_was_tampered_with_says_so(ledger: Ledger, table, values):
    ada = make_customer(ledger)
    settle(ledger, [ada.charge()], NOW_MS)
    changed = getattr(tables, table)
    change = update(changed).values(**values)
    if table == "entries":
        change = change.where(changed.c.ledger_account_id == ada.scope)
    with ledger.writing() as connection:
        connection.execute(change)
    found = receipt_of(ledger, generation_id(1), ada.account_id)
    assert found is not None
    assert not found.adds_up


def test_the_receipts_of_others_are_none(ledger: Ledger):
    ada, eve = make_customer(ledger), make_customer(ledger)
    settle(ledger, [ada.charge()], NOW_MS)
    assert receipt_of(ledger, generation_id(1), eve.account_id) is None
    assert receipt_of(ledger, generation_id(2), None) is None
    assert receipt_of(ledger, generation_id(1), None) is not None
