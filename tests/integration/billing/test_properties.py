"""Whatever happens, in whatever order and however often: the books add up."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing import accounts, generations, invariants
from billing.accounts import Grant
from billing.db import Ledger
from billing.settlement import settle
from routing.budgets import MS_PER_DAY
from routing.usage import Usage
from routing.wire.job import Charge
from tests.fixtures.charges import NOW_MS
from tests.fixtures.customers import GRANTED_NANO, Customer, make_customer
from tests.fixtures.databases import wipe

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

# One ledger serves all examples of a test; each example empties it first.
bounded = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class Crash(Exception):
    """The process dies before the commit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A generation, but for whose it is."""

    number: int
    customer: int
    outcome: str
    finish_reason: str | None
    prompt: int
    completion: int
    day: int
    provider: str
    byok: str
    ppm: int
    member: str

    def charge(self, customers: list[Customer]) -> Charge:
        customer = customers[self.customer]
        return customer.charge(
            self.number,
            caller=replace(customer.charge().caller, member=self.member),
            byok=self.byok,
            fee_ppm=self.ppm,
            discount_ppm=self.ppm,
            outcome=self.outcome,
            finish_reason=self.finish_reason,
            usage=Usage(prompt_tokens=self.prompt, completion_tokens=self.completion),
            created_ms=NOW_MS - self.day * MS_PER_DAY,
            provider=self.provider,
        )


def shapes(number: int) -> st.SearchStrategy[Shape]:
    return st.builds(
        Shape,
        number=st.just(number),
        customer=st.integers(0, 2),
        outcome=st.sampled_from(["done", "cancelled", "failed"]),
        finish_reason=st.sampled_from([None, "stop", "error"]),
        prompt=st.integers(0, 10**6),
        completion=st.sampled_from([0, 1, 500]),
        day=st.integers(0, 40),
        provider=st.sampled_from(["Acme", "Bravo"]),
        byok=st.sampled_from(["", "byok_1"]),
        ppm=st.sampled_from([0, 1, 10_000, 1_000_000]),
        member=st.sampled_from(["", "usr_1", "usr_2"]),
    )


works = st.integers(1, 8).flatmap(lambda count: st.tuples(*(shapes(n) for n in range(count))))
batches = works.flatmap(
    lambda work: st.tuples(
        st.just(work),
        st.lists(
            st.tuples(st.lists(st.sampled_from(work), max_size=10), st.booleans()), max_size=5
        ),
    )
)


def snapshot(ledger: Ledger, customers: list[Customer]) -> list[object]:
    return [
        (
            accounts.budget_of(ledger, customer.account_id).available_nano,
            generations.credits_of(ledger, customer.account_id),
        )
        for customer in customers
    ]


def people(ledger: Ledger) -> list[Customer]:
    return [make_customer(ledger, limit_nano=10**9, limit_reset="weekly") for _ in range(3)]


@bounded
@given(plan=batches)
def test_settling_is_idempotent_under_replays_orders_and_crashes(ledger: Ledger, plan):
    # Given some generations, delivered in any batches, with repetitions, some dying half-way
    work, deliveries = plan
    wipe(ledger)
    customers = people(ledger)
    moved: list[str] = []
    for batch, dies in deliveries:
        charges = [shape.charge(customers) for shape in batch]
        if dies:
            with pytest.raises(Crash):
                die_half_way(ledger, charges)
        else:
            moved.extend(settle(ledger, charges, NOW_MS).new)
    # When the outbox is at last drained whole, twice
    everything = [shape.charge(customers) for shape in work]
    moved.extend(settle(ledger, everything, NOW_MS).new)
    state = snapshot(ledger, customers)
    assert settle(ledger, everything[::-1], NOW_MS).new == frozenset()
    # Then each generation moved money once, and each customer paid exactly for theirs
    assert sorted(moved) == sorted(charge.generation_id for charge in everything)
    assert snapshot(ledger, customers) == state
    for customer in customers:
        owed = sum(
            found.cost_nano
            for charge in everything
            if (found := generations.find(ledger, charge.generation_id, customer.account_id))
        )
        left = accounts.budget_of(ledger, customer.account_id).available_nano
        assert left == GRANTED_NANO - owed
    assert invariants.check(ledger, NOW_MS) == ()
    assert invariants.drift_nano(ledger) == 0


@bounded
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("grant"), st.integers(0, 2), st.integers(1, 10**12)),
            st.tuples(st.just("regrant"), st.integers(0, 2), st.just(777)),
            st.integers(0, 5).flatmap(shapes),
        ),
        max_size=20,
    )
)
def test_any_sequence_of_grants_and_charges_keeps_every_truth(ledger: Ledger, steps):
    # Given an empty ledger and a model of it: what each customer should have
    wipe(ledger)
    customers = people(ledger)
    model = [GRANTED_NANO] * len(customers)
    seen: set[object] = set()
    # When grants, repeated grants, charges and duplicates come in any order
    for index, step in enumerate(steps):
        if isinstance(step, Shape):
            charge = step.charge(customers)
            for new in settle(ledger, [charge, charge], NOW_MS).new:
                owner = customers[step.customer].account_id
                found = generations.find(ledger, new, owner)
                assert found is not None
                model[step.customer] -= found.cost_nano
                assert new not in seen
                seen.add(new)
        else:
            kind, who, amount_nano = step
            reference = f"again {who}" if kind == "regrant" else f"grant {index}"
            grant = Grant(amount_nano=amount_nano, reference=reference)
            accounts.grant(ledger, customers[who].account_id, grant, NOW_MS)
            model[who] += amount_nano if reference not in seen else 0
            seen.add(reference)
    # Then the ledger agrees with the model, and with itself
    for customer, expected_nano in zip(customers, model, strict=True):
        left = accounts.budget_of(ledger, customer.account_id).available_nano
        assert left == expected_nano
    assert invariants.check(ledger, NOW_MS) == ()


def die_half_way(ledger: Ledger, charges: list[Charge]) -> None:
    """Settle, but lose the transaction: by a commit that never comes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("billing.settlement._budgets", _crash)
        settle(ledger, charges, NOW_MS)
    raise Crash  # an empty batch has nothing to lose


def _crash(*_args: object) -> None:
    raise Crash
