from __future__ import annotations

import pytest

from billing.ledger import AMOUNT_MAX_NANO, Posting, account_kind


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param((("acct:a", -5), ("revenue", 4)), id="does not sum to zero"),
        pytest.param((("acct:a", 0), ("revenue", 0)), id="moves nothing"),
        pytest.param(
            (("acct:a", AMOUNT_MAX_NANO + 1), ("funding", -AMOUNT_MAX_NANO - 1)), id="too much"
        ),
    ],
)
def test_a_posting_that_does_not_add_up_cannot_be_made(lines):
    with pytest.raises(ValueError, match="usage g1"):
        Posting(reference="g1", kind="usage", lines=lines)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("acct:user_1", "customer"), ("payable:Acme", "payable"), ("revenue", "revenue")],
)
def test_the_kind_of_a_ledger_account_is_in_its_id(name, kind):
    assert account_kind(name) == kind
