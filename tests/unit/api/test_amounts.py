from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.amounts import iso, moment_ms, nano_of, typed_nano
from billing.bill import MS_MAX
from routing.errors import BadRequest


@pytest.mark.parametrize(
    ("amount", "nano"),
    [(0, 0), (1, 10**9), (0.1, 10**8), (1e-9, 1), (1e-10, 0), (1 / 3, 333_333_333), (-1.5, -15e8)],
)
def test_dollars_of_json(amount: float, nano: int):
    assert nano_of(amount) == nano


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("", None),
        ("  ", None),
        ("0", 0),
        ("10", 10**10),
        ("$2.50", 2_500_000_000),
        (" 1,000 ", 10**12),
        (".5", 5 * 10**8),
        ("3.", 3 * 10**9),
        ("0.000000001", 1),
    ],
)
def test_dollars_as_people_type_them(text: str, nano: int | None):
    assert typed_nano(text, "limit") == nano


@pytest.mark.parametrize(
    "text", ["-1", "1e3", "ten", "1.2.3", ".", "0.0000000001", "9" * 8, "\u0661"]
)
def test_what_is_no_amount(text: str):
    with pytest.raises(BadRequest) as caught:
        typed_nano(text, "limit")
    assert caught.value.param == "limit"


@given(st.integers(min_value=0, max_value=MS_MAX))
def test_a_moment_is_read_as_it_was_printed(moment: int):
    assert moment_ms(iso(moment), "expires_at") == moment


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2027-12-31",
        "2027-12-31T23:59Z",
        "2027-12-31T23:59:59",
        "2027-12-31T23:59:59+02:00",
        "2027-02-30T00:00:00Z",
        "2027-12-31T23:59:60Z",
        "1764806400",
    ],
)
def test_what_is_no_moment_in_utc(text: str):
    with pytest.raises(BadRequest) as caught:
        moment_ms(text, "expires_at")
    assert caught.value.param == "expires_at"
