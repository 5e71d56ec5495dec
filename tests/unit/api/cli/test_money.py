from __future__ import annotations

from decimal import Decimal

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.cli.money import NANO_PER_USD, dollars, usd


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("25", 25 * NANO_PER_USD),
        ("0.1", 100_000_000),
        ("$12.50", 12_500_000_000),
        ("0.000000001", 1),
        ("1e3", 1_000 * NANO_PER_USD),
        ("1.000000000000", NANO_PER_USD),
        ("-5", -5 * NANO_PER_USD),
        ("0", 0),
    ],
)
def test_an_amount_is_read_exactly(text, nano):
    assert usd(text) == nano


@pytest.mark.parametrize("text", ["", "five", "NaN", "inf", "1e999999999", "1e-999999999", "5 USD"])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(click.BadParameter, match="is no amount of dollars"):
        usd(text)


def test_an_amount_between_two_nano_dollars_is_refused_not_rounded():
    with pytest.raises(click.BadParameter, match="finer than a nano-dollar"):
        usd("0.0000000001")


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "$0.00"),
        (12_500_000_000, "$12.50"),
        (1, "$0.000000001"),
        (-1_234_000_000_000, "-$1,234.00"),
    ],
)
def test_dollars_show_every_digit_that_counts(nano, text):
    assert dollars(nano) == text


@given(st.integers(min_value=-(10**18), max_value=10**18))
def test_what_is_shown_can_be_read_back(nano):
    assert usd(dollars(nano).replace(",", "").replace("$", "")) == nano
    assert Decimal(nano) == usd(str(Decimal(nano).scaleb(-9)))
