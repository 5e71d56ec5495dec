"""Prices times usage, in integers."""

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.catalog.pricing import Cost, cost, usd, usd_per_token, worst_case_nano
from routing.catalog.shapes import Price
from routing.usage import Usage

PICO = st.integers(min_value=0, max_value=10**9)
TOKENS = st.integers(min_value=0, max_value=2_000_000)
PRICES = st.builds(
    Price,
    prompt_pico=PICO,
    completion_pico=PICO,
    request_pico=PICO,
    image_pico=PICO,
    cache_read_pico=st.none() | PICO,
    cache_write_pico=st.none() | PICO,
    reasoning_pico=st.none() | PICO,
)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Usage whose parts fit into their wholes, as the dialects deliver it."""
    prompt = draw(TOKENS)
    completion = draw(TOKENS)
    cached = draw(st.integers(0, prompt))
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=cached,
        cache_write_tokens=draw(st.integers(0, prompt - cached)),
        reasoning_tokens=draw(st.integers(0, completion)),
        images=draw(st.integers(0, 20)),
    )


def test_tokens_times_price_per_million():
    price = Price(prompt_pico=150_000, completion_pico=600_000)  # 0.15 and 0.60 USD per million
    bill = cost(Usage(prompt_tokens=1_000_000, completion_tokens=500_000), price)
    assert bill == Cost(prompt_nano=150_000_000, completion_nano=300_000_000)
    assert usd(bill.total_nano) == 0.45


@pytest.mark.parametrize(
    ("usage", "price", "expected"),
    [
        pytest.param(
            Usage(prompt_tokens=100, cached_tokens=40),
            Price(prompt_pico=10_000, cache_read_pico=1_000),
            Cost(prompt_nano=640),
            id="cached tokens at their own price",
        ),
        pytest.param(
            Usage(prompt_tokens=100, cached_tokens=40),
            Price(prompt_pico=10_000),
            Cost(prompt_nano=1_000),
            id="no cache price: cached tokens are prompt tokens",
        ),
        pytest.param(
            Usage(prompt_tokens=100, cache_write_tokens=100),
            Price(prompt_pico=10_000, cache_write_pico=12_500),
            Cost(prompt_nano=1_250),
            id="cache writes may cost more",
        ),
        pytest.param(
            Usage(completion_tokens=10, reasoning_tokens=4),
            Price(completion_pico=1_000, reasoning_pico=3_000),
            Cost(completion_nano=18),
            id="reasoning at its own price",
        ),
        pytest.param(
            Usage(images=3),
            Price(request_pico=5_000, image_pico=2_000),
            Cost(request_nano=11),
            id="per request and per image",
        ),
        pytest.param(
            Usage(prompt_tokens=1, completion_tokens=1),
            Price(prompt_pico=1, completion_pico=1),
            Cost(prompt_nano=1, completion_nano=1),
            id="each line rounds up once",
        ),
    ],
)
def test_lines_of_a_bill(usage: Usage, price: Price, expected: Cost):
    assert cost(usage, price) == expected


def test_more_cached_than_prompted_never_lowers_the_bill_below_the_cached_part():
    bill = cost(
        Usage(prompt_tokens=10, cached_tokens=25), Price(prompt_pico=1_000, cache_read_pico=1_000)
    )
    assert bill.prompt_nano == 25


@given(usage=usages(), price=PRICES)
def test_a_hold_covers_the_charge(usage: Usage, price: Price):
    hold = worst_case_nano(price, usage.prompt_tokens, usage.completion_tokens, usage.images)
    assert cost(usage, price).total_nano <= hold


@given(usage=usages(), price=PRICES)
def test_a_line_is_never_less_than_its_exact_worth_and_less_than_a_nano_more(
    usage: Usage, price: Price
):
    read = price.prompt_pico if price.cache_read_pico is None else price.cache_read_pico
    write = price.prompt_pico if price.cache_write_pico is None else price.cache_write_pico
    fresh = usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens
    exact = (
        fresh * price.prompt_pico + usage.cached_tokens * read + usage.cache_write_tokens * write
    )
    nano = cost(usage, price).prompt_nano
    assert nano == math.ceil(Decimal(exact) / 1_000)
    assert 0 <= nano * 1_000 - exact < 1_000


@given(usage=usages())
def test_a_free_price_costs_nothing(usage: Usage):
    assert cost(usage, Price()).total_nano == 0
    assert worst_case_nano(Price(), usage.prompt_tokens, usage.completion_tokens, usage.images) == 0


@given(usage=usages(), price=PRICES, more=TOKENS)
def test_more_tokens_never_cost_less(usage: Usage, price: Price, more: int):
    less = worst_case_nano(price, usage.prompt_tokens, usage.completion_tokens, usage.images)
    greater = worst_case_nano(
        price, usage.prompt_tokens + more, usage.completion_tokens + more, usage.images
    )
    assert less <= greater


@given(pico=st.integers(min_value=0, max_value=10**18))
def test_the_printed_price_is_exact(pico: int):
    text = usd_per_token(pico)
    assert Decimal(text) * 10**12 == pico
    assert "e" not in text.lower()
    assert not ("." in text and text.endswith(("0", ".")))


@pytest.mark.parametrize(
    ("pico", "text"),
    [
        (0, "0"),
        (150_000, "0.00000015"),
        (10_000_000, "0.00001"),
        (1_000_000_000_000, "1"),
        (1, "0.000000000001"),
    ],
)
def test_printed_prices(pico: int, text: str):
    assert usd_per_token(pico) == text
