from __future__ import annotations

import pytest

from billing import invariants
from billing.db import Ledger
from billing.ledger import Posted, Posting, balances, post
from tests.fixtures.charges import NOW_MS

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]


def a_posting(reference: str = "r1", amount_nano: int = 5) -> Posting:
    return Posting(
        reference=reference,
        kind="refund",
        lines=(("revenue", -amount_nano), ("payable:New", amount_nano)),
    )


def test_posting_opens_the_accounts_it_needs(ledger: Ledger):
    with ledger.writing() as connection:
        new = post(connection, [a_posting(), a_posting("r2", 7)], NOW_MS)
        found = balances(connection, {"revenue", "payable:New", "payable:Nobody"})
    assert new == {("r1", "refund"), ("r2", "refund")}
    assert found == {
        "revenue": Posted(posted_nano=-12, version=1),
        "payable:New": Posted(posted_nano=12, version=1),
    }


def test_a_reference_is_posted_once_per_kind(ledger: Ledger):
    with ledger.writing() as connection:
        post(connection, [a_posting()], NOW_MS)
    with ledger.writing() as connection:
        assert post(connection, [a_posting(amount_nano=9)], NOW_MS) == frozenset()
        assert post(connection, [], NOW_MS) == frozenset()
        assert balances(connection, {"payable:New"})["payable:New"].posted_nano == 5
    assert invariants.drift_nano(ledger) == 0


def test_one_batch_cannot_hold_a_reference_twice(ledger: Ledger):
    with pytest.raises(ValueError, match="same reference twice"), ledger.writing() as connection:
        post(connection, [a_posting(), a_posting(amount_nano=9)], NOW_MS)
