"""What a price list may say, and what it may not."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.catalog.import_list import (
    FINEST_EACH,
    PER_MILLION,
    PER_THOUSAND,
    PER_TOKEN,
    PER_UNIT,
    Reading,
    Unusable,
    day,
    money,
    number_text,
    read_json,
    reading,
    shown,
    text,
    whole,
)
from routing.errors import ConfigError

MILLION = 10**6


@given(pico=st.integers(min_value=0, max_value=10**12))
def test_a_price_per_token_is_taken_to_the_last_digit(pico):
    told = format(Decimal(pico).scaleb(-12), "f")

    assert money(told, "prompt", PER_TOKEN) * MILLION == pico
    assert money(read_json(told.encode(), "file"), "prompt", PER_TOKEN) * MILLION == pico


@given(st.decimals(min_value="0.0001", max_value="1000", places=4))
def test_the_noise_of_binary_fractions_is_no_price(usd):
    printed = json.dumps(float(usd) / MILLION)

    assert money(read_json(printed.encode(), "file"), "prompt", PER_TOKEN) == usd


@pytest.mark.parametrize(
    ("told", "power", "usd"),
    [
        ("1.4999999999999999e-07", PER_TOKEN, "0.15"),
        ("2.5e-06", PER_TOKEN, "2.5"),
        ("0", PER_TOKEN, "0"),
        ("3.75", PER_MILLION, "3.75"),
        ("0.000000000001", PER_TOKEN, "0.000001"),
    ],
)
def test_prices_in_the_units_of_the_lists(told, power, usd):
    assert money(read_json(told.encode(), "file"), "prompt", power) == Decimal(usd)


def test_prices_of_requests_and_images_have_their_own_units():
    assert money("0.004", "image", PER_UNIT, FINEST_EACH) == Decimal("0.004")
    assert money("12", "requests", PER_THOUSAND, FINEST_EACH) == Decimal("0.012")


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ("-1", "p is negative: '-1'"),
        (Decimal("-0.5"), "p is negative"),
        ("1e400", "p is larger than 1000000 US dollars"),
        (Decimal("1e999"), "p is larger than"),
        ("1.5", "p is larger than 1000000 US dollars"),
        ("0.0000000000001", "p is finer than a pico-dollar"),
        ("NaN", "p is not a plain number: 'NaN'"),
        ("Infinity", "p is not a plain number"),
        ("\u0661", "p is not a plain number"),
        ("1_000", "p is not a plain number"),
        ("9" * 5_000, "p is not a plain number"),
        (True, "p is not a plain number: 'True'"),
        (["1"], "p is not a plain number"),
        ("\x1b[2J", "p is not a plain number: '?[2J'"),
    ],
)
def test_what_is_no_price_is_refused_with_a_sentence(told, reason):
    with pytest.raises(Unusable) as refused:
        money(told, "p", PER_TOKEN)

    assert str(refused.value).startswith(reason)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[" * 200_000, "nested too deeply"),
        (b"", "not JSON"),
    ],
)
def test_what_is_no_json_is_refused_with_a_sentence(content, reason):
    with pytest.raises(ConfigError) as refused:
        read_json(content, "prices.json")

    assert reason in str(refused.value)
    assert "prices.json" in str(refused.value)


def test_a_list_has_a_largest_size(monkeypatch):
    monkeypatch.setattr("routing.catalog.import_list.LIST_MAX_BYTES", 10)

    with pytest.raises(ConfigError, match="larger than 10 bytes"):
        read_json(b" " * 11, "prices.json")


def test_numbers_of_any_length_are_no_arithmetic():
    value = read_json(b"[" + b"9" * 100_000 + b", 1e-99999999999999999999999999999999999]", "file")

    assert [type(each) for each in value] == [str, str]
    with pytest.raises(Unusable, match="is not a plain number"):
        money(value[0], "prompt", PER_TOKEN)


@pytest.mark.parametrize("told", [-1, 1.5, "many", True, 10**12, "9" * 30])
def test_a_number_of_tokens_is_whole_and_bounded(told):
    value = Decimal(str(told)) if type(told) in {int, float} else told

    with pytest.raises(Unusable, match="is not a whole number up to"):
        whole(value, "context")


def test_dates_and_texts_are_what_they_say():
    assert str(day("2026-01-31", "ends")) == "2026-01-31"
    assert day(None, "ends") is None
    for wrong in ("2026-02-30", "soon", "20260131"):
        with pytest.raises(Unusable, match="is not a date"):
            day(wrong, "ends")
    with pytest.raises(Unusable, match="holds control characters"):
        text("a\nb", "name")
    with pytest.raises(Unusable, match="is longer than"):
        text("a" * 5_000, "name")
    with pytest.raises(Unusable, match="is not text"):
        text(Decimal(1), "name")
    assert shown("a\x00\u202eb" + "c" * 500) == "a??b" + "c" * 76


def test_of_two_entries_with_one_name_none_is_used():
    def understand(_name, entry):
        return [entry]

    found: Reading = reading([("a", 1), ("b", 2), ("a", 3), ("a", 4)], understand)

    assert found.offers == (2,)
    assert [skip.entry for skip in found.skips] == ["a", "a"]


@pytest.mark.parametrize("usd", ["0", "100", "0.15", "1E+2", "0.10"])
def test_prices_are_shown_without_exponents(usd):
    assert number_text(Decimal(usd)) in {"0", "100", "0.15", "0.1"}
