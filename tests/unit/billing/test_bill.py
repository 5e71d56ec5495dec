from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.bill import ATTEMPTS_MAX, COUNT_MAX, MS_MAX, TEXT_MAX, bill
from billing.ledger import AMOUNT_MAX_NANO
from billing.tables import generations
from routing.catalog.shapes import Price
from routing.usage import Usage
from routing.wire.job import AttemptRecord, Caller
from tests.fixtures.charges import COST_NANO, NOW_MS, charge

NOTHING = Usage()
PROMPT_ONLY = Usage(prompt_tokens=100)
PER_REQUEST = Price(request_pico=5_000_000, prompt_pico=1_000_000)


def a_bill(*strange: str, **changes):
    return bill(charge(account_id="user_1", key_hash="k1", **changes), strange, NOW_MS + 5_000)


def flags(one) -> list[str]:
    found = orjson.loads(one.row["flags"])
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize(
    ("changes", "cost_nano", "upstream_nano", "kind"),
    [
        pytest.param({}, COST_NANO, COST_NANO, "usage", id="done: charged"),
        pytest.param(
            {"outcome": "cancelled", "finish_reason": None},
            COST_NANO,
            COST_NANO,
            "usage",
            id="cancelled: charged for what was produced",
        ),
        pytest.param(
            {"outcome": "cancelled", "finish_reason": None, "usage": NOTHING, "price": PER_REQUEST},
            0,
            0,
            None,
            id="cancelled before anything was produced: no price per request either",
        ),
        pytest.param(
            {"outcome": "failed"}, 0, COST_NANO, "insured", id="failed half-way: insured loss"
        ),
        pytest.param(
            {"finish_reason": "error"}, 0, COST_NANO, "insured", id="error finish: insured loss"
        ),
        pytest.param(
            {"finish_reason": None, "usage": PROMPT_ONLY},
            0,
            100_000,
            "insured",
            id="no completion, blank finish: insured loss",
        ),
        pytest.param(
            {"finish_reason": "stop", "usage": PROMPT_ONLY},
            100_000,
            100_000,
            "usage",
            id="no completion, but a finish reason: charged",
        ),
        pytest.param(
            {"finish_reason": None}, COST_NANO, COST_NANO, "usage", id="blank finish, with text"
        ),
        pytest.param(
            {"outcome": "failed", "usage": NOTHING, "endpoint_id": "", "price": PER_REQUEST},
            0,
            0,
            None,
            id="no provider answered: nothing is owed",
        ),
        pytest.param({"price": Price()}, 0, 0, None, id="free model: no transaction"),
    ],
)
def test_who_pays_what(changes, cost_nano, upstream_nano, kind):
    one = a_bill(**changes)
    assert one.cost_nano == one.row["cost_nano"] == cost_nano
    assert one.row["upstream_cost_nano"] == upstream_nano
    assert (one.posting.kind if one.posting else None) == kind


def test_a_charge_moves_credit_to_revenue_and_cost_to_the_provider():
    assert a_bill().posting.lines == (
        ("acct:user_1", -COST_NANO),
        ("revenue", COST_NANO),
        ("inference_cost", -COST_NANO),
        ("payable:Acme", COST_NANO),
    )


def test_insurance_leaves_the_customer_out():
    assert a_bill(outcome="failed").posting.lines == (
        ("insured_loss", -COST_NANO),
        ("payable:Acme", COST_NANO),
    )


def test_a_stranger_is_booked_to_suspense_and_flagged():
    one = a_bill("unknown_key")
    assert one.posting.lines[0] == ("suspense", -COST_NANO)
    assert flags(one) == ["unknown_key"]


def test_a_provider_without_a_name_is_still_owed():
    assert ("payable:unknown", COST_NANO) in a_bill(provider="").posting.lines


@pytest.mark.parametrize(
    ("usage", "flag"),
    [
        pytest.param(Usage(prompt_tokens=-5), "tokens_out_of_range", id="negative"),
        pytest.param(Usage(completion_tokens=2**70), "tokens_out_of_range", id="beyond bigint"),
        pytest.param(Usage(prompt_tokens=2**52), "cost_out_of_range", id="dearer than anything"),
    ],
)
def test_what_cannot_be_is_flagged_and_not_billed(usage, flag):
    one = a_bill(usage=usage)
    assert one.cost_nano == 0
    assert one.posting is None
    assert flag in flags(one)


def test_flags_of_the_worker_are_kept():
    usage = Usage(prompt_tokens=1, estimated=True, flags=("usage_missing",))
    one = a_bill(usage=usage)
    assert flags(one) == ["usage_missing"]
    assert one.row["estimated"] is True


def test_text_from_outside_is_cut_and_cannot_block_a_database():
    # Given a caller that sends NUL, which PostgreSQL refuses, and far too much text
    caller = Caller(account_id="user_1", key_hash="k1", user="a\x00b", app_title="x" * 10_000)
    one = a_bill(caller=caller, finish_reason="s" * 10_000)
    assert one.row["external_user"] == "ab"
    assert len(one.row["app_title"]) == TEXT_MAX
    assert len(one.row["finish_reason"]) == TEXT_MAX


def test_attempts_are_bounded():
    attempt = AttemptRecord(
        endpoint_id="e", provider="p", status=502, latency_ms=1, message="m" * 10_000
    )
    kept = orjson.loads(a_bill(attempts=(attempt,) * 100).row["attempts"])
    assert len(kept) == ATTEMPTS_MAX
    assert len(kept[0]["message"]) == TEXT_MAX


def test_the_row_fills_every_column():
    assert set(a_bill().row) == {column.name for column in generations.columns}


anything = st.integers(min_value=-(2**80), max_value=2**80)


@given(
    usage=st.builds(
        Usage,
        prompt_tokens=anything,
        completion_tokens=anything,
        cached_tokens=anything,
        cache_write_tokens=anything,
        reasoning_tokens=anything,
        images=anything,
    ),
    moment=anything,
    hold=anything,
    outcome=st.sampled_from(["done", "cancelled", "failed"]),
    finish=st.sampled_from([None, "stop", "error", ""]),
)
def test_no_report_makes_a_bill_that_the_ledger_refuses(usage, moment, hold, outcome, finish):
    one = a_bill(
        usage=usage, created_ms=moment, hold_nano=hold, outcome=outcome, finish_reason=finish
    )
    assert 0 <= one.cost_nano <= one.row["upstream_cost_nano"] <= AMOUNT_MAX_NANO
    assert 0 <= one.created_ms <= MS_MAX
    assert all(
        0 <= value <= max(COUNT_MAX, MS_MAX, AMOUNT_MAX_NANO)
        for value in one.row.values()
        if isinstance(value, int)
    )
    if one.posting is not None:
        assert sum(amount for _, amount in one.posting.lines) == 0
