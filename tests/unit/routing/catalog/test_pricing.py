"""Prices times usage, in integers."""

import json
import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.catalog.pricing import (
    Cost,
    cost,
    dearest_completion_pico,
    dearest_prompt_pico,
    long_pricing,
    usd,
    usd_per_token,
    worst_case_nano,
)
from routing.catalog.shapes import Price
from routing.usage import PROMPT_BOUND_FACTOR, Usage, bounded

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
    cache_write_1h_pico=st.none() | PICO,
    audio_pico=st.none() | PICO,
    audio_output_pico=st.none() | PICO,
    image_output_pico=st.none() | PICO,
    long_over=st.none() | st.integers(1, 2_000_000),
    long_prompt_pico=PICO,
    long_completion_pico=PICO,
    long_cache_read_pico=st.none() | PICO,
    long_cache_write_pico=st.none() | PICO,
)
#: The usual shape of such a list: twice the prompt's rate, half as much again for the answer.
LONG = Price(
    prompt_pico=1_250_000,
    completion_pico=10_000_000,
    cache_read_pico=310_000,
    cache_write_pico=1_625_000,
    cache_write_1h_pico=2_500_000,
    audio_pico=1_000_000,
    long_over=200_000,
    long_prompt_pico=2_500_000,
    long_completion_pico=15_000_000,
    long_cache_read_pico=625_000,
    long_cache_write_pico=3_250_000,
)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Usage whose parts fit into their wholes, as the dialects deliver it."""
    prompt = draw(TOKENS)
    completion = draw(TOKENS)
    cached = draw(st.integers(0, prompt))
    written = draw(st.integers(0, prompt - cached))
    thought = draw(st.integers(0, completion))
    drawn = draw(st.integers(0, completion - thought))
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=draw(st.integers(0, written)),
        audio_tokens=draw(st.integers(0, prompt - cached - written)),
        reasoning_tokens=thought,
        image_output_tokens=drawn,
        audio_output_tokens=draw(st.integers(0, completion - thought - drawn)),
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


@given(usage=usages(), price=PRICES, more=TOKENS)
def test_a_hold_for_a_longer_request_covers_the_charge_too(usage: Usage, price: Price, more: int):
    """The counts held for are upper bounds: the request may end on either side of the step."""
    hold = worst_case_nano(
        price, usage.prompt_tokens + more, usage.completion_tokens + more, usage.images
    )
    assert cost(usage, price).total_nano <= hold


@given(usage=usages(), price=PRICES, estimate=TOKENS, longest=TOKENS)
def test_no_token_of_a_bounded_usage_is_dearer_than_it_was_held_at(
    usage: Usage, price: Price, estimate: int, longest: int
):
    """Also where the prompt turned out longer than estimated, and over the step."""
    used = bounded(usage, estimate * PROMPT_BOUND_FACTOR, longest)
    # The hold, for as many tokens as came at last.
    prompt_pico = dearest_prompt_pico(price, estimate)
    completion_pico = dearest_completion_pico(price, estimate)

    bill = cost(used, price)

    assert bill.prompt_nano <= math.ceil(Decimal(used.prompt_tokens * prompt_pico) / 1_000)
    assert bill.completion_nano <= math.ceil(
        Decimal(used.completion_tokens * completion_pico) / 1_000
    )
    if used.prompt_tokens <= estimate:
        assert bill.total_nano <= worst_case_nano(price, estimate, longest, used.images)


@given(usage=usages(), price=PRICES)
def test_a_line_is_never_less_than_its_exact_worth_and_less_than_a_nano_more(
    usage: Usage, price: Price
):
    long = price.long_over is not None and usage.prompt_tokens > price.long_over
    base = price.long_prompt_pico if long else price.prompt_pico
    reads = (price.long_cache_read_pico if long else None, price.cache_read_pico, base)
    writes = (price.long_cache_write_pico if long else None, price.cache_write_pico, base)
    read, write = (next(rate for rate in rates if rate is not None) for rates in (reads, writes))
    hour = write if price.cache_write_1h_pico is None else price.cache_write_1h_pico
    if long and price.cache_write_1h_pico is not None:
        hour = max(hour, price.long_cache_write_pico or 0)
    heard = base if price.audio_pico is None else price.audio_pico
    kept = usage.cache_write_1h_tokens
    others = usage.cached_tokens + usage.cache_write_tokens + usage.audio_tokens
    exact = (
        (usage.prompt_tokens - others) * base
        + usage.cached_tokens * read
        + (usage.cache_write_tokens - kept) * write
        + kept * hour
        + usage.audio_tokens * heard
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


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        pytest.param(
            Usage(prompt_tokens=200_000, completion_tokens=1_000),
            Cost(prompt_nano=250_000_000, completion_nano=10_000_000),
            id="of exactly the length: the usual rates",
        ),
        pytest.param(
            Usage(prompt_tokens=200_001, completion_tokens=1_000),
            Cost(prompt_nano=500_002_500, completion_nano=15_000_000),
            id="one token more: the long rates for all of it",
        ),
        pytest.param(
            Usage(prompt_tokens=300_000, cached_tokens=290_000),
            Cost(prompt_nano=10_000 * 2_500 + 290_000 * 625),
            id="cached tokens make a prompt long too",
        ),
        pytest.param(
            Usage(prompt_tokens=300_000, cache_write_tokens=300_000, cache_write_1h_tokens=100_000),
            Cost(prompt_nano=200_000 * 3_250 + 100_000 * 3_250),
            id="an hour costs what other writes cost at least",
        ),
        pytest.param(
            Usage(prompt_tokens=300_000, audio_tokens=300_000),
            Cost(prompt_nano=300_000 * 1_000),
            id="what has no long rate keeps its own",
        ),
    ],
)
def test_long_prompts_have_their_own_rates(usage: Usage, expected: Cost):
    assert cost(usage, LONG) == expected


def test_missing_long_rates_of_a_cache_are_the_usual_ones():
    price = Price(
        prompt_pico=2_000,
        cache_read_pico=1_000,
        long_over=10,
        long_prompt_pico=4_000,
    )
    usage = Usage(prompt_tokens=20, cached_tokens=15, cache_write_tokens=2)
    assert cost(usage, price).prompt_nano == 3 * 4 + 15 * 1 + 2 * 4


def test_a_short_prompt_is_not_held_at_long_rates():
    """Where even twice the estimate is a short one."""
    short, long = (worst_case_nano(LONG, tokens, 1_000, 0) for tokens in (100_000, 100_001))
    assert short == 100_000 * 2_500 + 1_000 * 10_000
    assert long == 100_001 * 3_250 + 1_000 * 15_000
    assert dearest_prompt_pico(LONG) == 3_250_000
    assert dearest_completion_pico(LONG) == 15_000_000
    assert dearest_completion_pico(LONG, 100_000) == 10_000_000


def test_a_rate_that_falls_for_long_prompts_lowers_no_hold():
    price = Price(prompt_pico=2_000, completion_pico=2_000, long_over=10, long_prompt_pico=1_000)
    assert worst_case_nano(price, 20, 5, 0) == 50
    assert cost(Usage(prompt_tokens=20, completion_tokens=5), price).total_nano == 20


def test_what_the_models_api_tells_of_long_prompts():
    assert long_pricing(Price(prompt_pico=1)) is None
    assert long_pricing(LONG) == {
        "min_prompt_tokens": 200_000,
        "prompt": "0.0000025",
        "completion": "0.000015",
        "input_cache_read": "0.000000625",
        "input_cache_write": "0.00000325",
        "input_cache_write_1h": "0.00000325",
    }
    assert long_pricing(Price(long_over=5, long_prompt_pico=1, cache_write_1h_pico=1)) == {
        "min_prompt_tokens": 5,
        "prompt": "0.000000000001",
        "completion": "0",
    }


@given(price=PRICES)
def test_a_price_reads_back_from_its_stored_rates(price: Price):
    assert Price(**json.loads(json.dumps(price.rates()))).rates() == price.rates()


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
