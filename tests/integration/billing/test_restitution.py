"""What a generation cost can be given back, once."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from billing import closing, generations, invariants
from billing.db import Ledger
from billing.ledger import balances
from billing.receipts import receipt_of
from billing.restitution import refund_generation
from billing.settlement import settle
from routing.errors import Conflict, NotFound
from tests.fixtures.charges import COST_NANO, NOW_MS
from tests.fixtures.customers import GRANTED_NANO, Customer, make_customer

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]


@pytest.fixture
def customer(ledger: Ledger) -> Customer:
    return make_customer(ledger)


def posted(ledger: Ledger, *names: str) -> list[int]:
    with ledger.reading() as connection:
        found = balances(connection, names)
    return [found[name].posted_nano if name in found else 0 for name in names]


def sound(ledger: Ledger) -> bool:
    return invariants.check(ledger, NOW_MS) == () and invariants.drift_nano(ledger) == 0


def test_a_generation_is_given_back_once(ledger: Ledger, customer: Customer):
    charge = customer.charge(1)
    settle(ledger, [charge, customer.charge(2)], NOW_MS)
    owed = posted(ledger, "inference_cost")
    done = [
        refund_generation(ledger, charge.generation_id, NOW_MS, "the answer was wrong")
        for _ in range(3)
    ]
    assert [one.nano for one in done] == [COST_NANO, 0, 0]
    assert {one.account_id for one in done} == {customer.account_id}
    assert done[0].budget.available_nano == GRANTED_NANO - COST_NANO
    assert posted(ledger, customer.scope, "revenue") == [GRANTED_NANO - COST_NANO, COST_NANO]
    # And the provider is owed what it was owed, and credit is still what was given
    assert posted(ledger, "inference_cost") == owed
    left = generations.credits_of(ledger, customer.account_id)
    assert (left.total_nano, left.used_nano) == (GRANTED_NANO, COST_NANO)
    assert sound(ledger)
    # And its receipt tells of both, and still adds up
    receipt = receipt_of(ledger, charge.generation_id, customer.account_id)
    assert receipt is not None
    assert (receipt.refunded_nano, receipt.adds_up) == (COST_NANO, True)
    moved = [one.amount_nano for one in receipt.entries_of(customer.account_id)]
    assert moved == [-COST_NANO, COST_NANO]


def test_many_at_once_give_back_once(ledger: Ledger, customer: Customer):
    charge = customer.charge(1)
    settle(ledger, [charge], NOW_MS)
    given: list[int] = []

    def run() -> None:
        given.extend(refund_generation(ledger, charge.generation_id, NOW_MS).nano for _ in range(5))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(given) == [0] * 19 + [COST_NANO]
    assert posted(ledger, customer.scope, "revenue") == [GRANTED_NANO, 0]
    assert sound(ledger)


def test_what_cannot_be_given_back(ledger: Ledger, customer: Customer):
    with pytest.raises(NotFound):
        refund_generation(ledger, "gen-1-nothing", NOW_MS)
    failed = customer.charge(1, outcome="failed")
    stranger = replace(
        customer.charge(2), caller=replace(customer.charge(2).caller, account_id="user_x")
    )
    late = customer.charge(3)
    settle(ledger, [failed, stranger, late], NOW_MS)
    for charge, why in ((failed, "nothing"), (stranger, "not known")):
        with pytest.raises(Conflict, match=why):
            refund_generation(ledger, charge.generation_id, NOW_MS)
    closing.close(ledger, customer.account_id, NOW_MS)
    with pytest.raises(Conflict, match="closed"):
        refund_generation(ledger, late.generation_id, NOW_MS)
    assert sound(ledger)
