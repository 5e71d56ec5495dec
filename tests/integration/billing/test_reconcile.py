"""A provider's invoice beside the books."""

from __future__ import annotations

import io

import pytest

from billing.db import Ledger
from billing.reconcile import (
    Difference,
    Row,
    columns_of,
    read_invoice,
    reconcile,
    undated,
)
from billing.settlement import settle
from routing.budgets import MS_PER_DAY, day_of
from routing.errors import BadRequest
from routing.usage import Usage
from tests.fixtures.charges import COST_NANO, NOW_MS
from tests.fixtures.customers import make_customer

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

TODAY = day_of(NOW_MS)


def rows_of(text: str, **given: str) -> list[Row]:
    return list(read_invoice(io.StringIO(text, newline=""), given))


def test_an_invoice_by_day_and_model_is_compared_with_what_is_owed(ledger: Ledger):
    # Given what two models cost, some of it of failed calls that the provider took, some of it
    # elsewhere: with an own key, at another provider, on another day
    ada = make_customer(ledger)
    settle(
        ledger,
        [
            ada.charge(1),
            ada.charge(2, outcome="failed"),
            ada.charge(3, model_id="acme/small"),
            ada.charge(4, byok="b", fee_ppm=1),
            ada.charge(5, provider="Bravo"),
            ada.charge(6, created_ms=NOW_MS - MS_PER_DAY),
            ada.charge(7, outcome="failed", usage=Usage(), model_id="acme/none"),
        ],
        NOW_MS,
    )
    # When an invoice of the day comes, with one model too high and one nobody called
    invoice = [
        Row(day=TODAY, model="large-2025-01-31", amount_nano=COST_NANO),
        Row(day=TODAY, model="large", amount_nano=COST_NANO),
        Row(day=TODAY, model="small", amount_nano=COST_NANO + 5),
        Row(day=TODAY, model="huge", amount_nano=9),
    ]
    found = reconcile(ledger, "Acme", invoice, undated)
    # Then each day and model has both sides
    assert found.lines == (
        Difference(what="2025-12-04 huge", invoiced_nano=9, booked_nano=None),
        Difference(what="2025-12-04 large", invoiced_nano=2 * COST_NANO, booked_nano=2 * COST_NANO),
        Difference(what="2025-12-04 small", invoiced_nano=COST_NANO + 5, booked_nano=COST_NANO),
    )
    assert found.invoiced_nano - found.booked_nano == 14
    assert [one.gap_nano for one in found.beyond(0, 0)] == [9, 5]
    assert [one.gap_nano for one in found.beyond(0, 5)] == [9]
    assert [one.gap_nano for one in found.beyond(1_000, 0)] == [9]


def test_what_an_invoice_of_those_days_does_not_mention_is_told(ledger: Ledger):
    ada = make_customer(ledger)
    settle(ledger, [ada.charge(1), ada.charge(2, model_id="acme/small")], NOW_MS)
    found = reconcile(
        ledger, "Acme", [Row(day=TODAY, model="large", amount_nano=COST_NANO)], undated
    )
    assert found.beyond(0, 0) == (
        Difference(what="2025-12-04 small", invoiced_nano=None, booked_nano=COST_NANO),
    )


def test_an_invoice_by_request_is_compared_one_by_one(ledger: Ledger, monkeypatch):
    monkeypatch.setattr("billing.reconcile.LOOK_UP_MAX", 2)
    ada = make_customer(ledger)
    settle(ledger, [ada.charge(n, upstream_id=f"up-{n}") for n in range(5)], NOW_MS)
    text = "generation_id,cost\n" + "".join(f"up-{n},0.0002\n" for n in range(1, 6))
    found = reconcile(ledger, "Acme", rows_of(text), undated)
    assert found.beyond(0, 0) == (
        Difference(what="up-5", invoiced_nano=COST_NANO, booked_nano=None),
    )
    assert len(found.lines) == 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("date,model,cost_usd\n2025-12-04,m,1.5\n", [(TODAY, "m", 1_500_000_000)]),
        (
            "Usage Date (UTC),Model Version,Cost\n2025-12-04,m,$1\n".replace(" (UTC)", ""),
            [(TODAY, "m", 10**9)],
        ),
        (
            'start_time,line_item,amount_value\n1764806400,m,"1,000.000000001"\n',
            [(TODAY, "m", 1_000_000_000_001)],
        ),
        (
            "timestamp,model,cost\n2025-12-04T23:30:00-01:00,m,0.0000000005\n,,\n",
            [(TODAY + 1, "m", 1)],
        ),
        ("id,day,model,amount\n1,2025-12-04,m,-2\n", [(TODAY, "m", -2_000_000_000)]),
    ],
)
def test_the_columns_of_an_invoice_are_guessed(text, expected):
    assert [(row.day, row.model, row.amount_nano) for row in rows_of(text)] == expected


def test_columns_can_be_named():
    given = {"amount": "x", "request": "y"}
    assert rows_of("y,x,model,date\nr,2,m,2025-12-04\n", **given) == [
        Row(amount_nano=2_000_000_000, request="r")
    ]
    with pytest.raises(BadRequest, match="no column 'z'"):
        columns_of(["a"], {"amount": "z"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Tell which columns"),
        ("a,b\n1,2\n", "Tell which columns"),
        ("date,model,cost\n2025-12-04,m,1\nsoon,m,1\n", "Line 3: 'soon' is no date"),
        ("date,model,cost\n2025-12-04,m,free\n", "Line 2: 'free' is no amount"),
        ("date,model,cost\n2025-12-04,m,NaN\n", "no amount"),
        ("date,model,cost\n2025-12-04,m,1e999999999\n", "no amount"),
        ("date,model,cost\n99999999999999999999,m,1\n", "no date"),
        ("date,model,cost\n2025-12-04\n", "no amount"),
        (f"date,model,cost\n2025-12-04,{'m' * 2_000},1\n", "characters"),
        ('date,model,cost\n2025-12-04,"m"x,1\n', "Line 2"),
    ],
)
def test_an_invoice_that_cannot_be_read_is_told_where(text, message):
    with pytest.raises(BadRequest, match=message):
        rows_of(text)


def test_an_empty_invoice_is_no_agreement(ledger: Ledger):
    with pytest.raises(BadRequest, match="no rows"):
        reconcile(ledger, "Acme", rows_of("date,model,cost\n"), undated)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("openai/gpt-4o", "gpt-4o"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("claude-sonnet-4-20250514", "claude-sonnet-4"),
        ("mistral-large-latest", "mistral-large"),
        ("meta-llama/llama-3.3-70b-instruct:free", "llama-3.3-70b-instruct"),
    ],
)
def test_names_are_compared_without_author_and_date(name, plain):
    assert undated(name) == plain
