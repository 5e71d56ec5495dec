from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from sqlalchemy import func, select

from billing import accounts, api_keys, generations, invariants
from billing.db import Ledger
from billing.ledger import SUSPENSE, balances
from billing.settlement import BATCH_MAX, Settled, settle
from billing.tables import entries
from billing.tables import generations as generations_table
from routing.budgets import key_scope
from routing.wire.account import Budget
from routing.wire.job import Caller
from tests.fixtures.charges import COST_NANO, NOW_MS, generation_id
from tests.fixtures.customers import GRANTED_NANO, make_customer

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]


def posted(ledger: Ledger, *ids: str) -> list[int]:
    with ledger.reading() as connection:
        found = balances(connection, ids)
    return [found[name].posted_nano if name in found else 0 for name in ids]


def test_a_charge_moves_its_cost_once(ledger: Ledger):
    # Given a customer with a dollar and a limited key
    customer = make_customer(ledger, limit_nano=COST_NANO * 10, limit_reset="monthly")
    # When one generation is settled
    settled = settle(ledger, [customer.charge()], NOW_MS)
    # Then the credit and the key's limit are smaller by its cost
    assert settled.new == {generation_id(1)}
    assert set(settled.budgets) == {
        Budget(scope=customer.scope, available_nano=GRANTED_NANO - COST_NANO, version=2),
        Budget(
            scope=key_scope(customer.key.key_hash, "monthly", NOW_MS),
            available_nano=COST_NANO * 9,
            version=2,
        ),
    }
    # And the other side of the books says the same
    assert posted(ledger, "revenue", "inference_cost", "payable:Acme", "insured_loss") == [
        COST_NANO,
        -COST_NANO,
        COST_NANO,
        0,
    ]
    assert invariants.check(ledger, NOW_MS) == ()


def test_a_replay_moves_nothing_but_tells_the_same_budgets(ledger: Ledger):
    # Given a batch that was settled
    customer = make_customer(ledger, limit_nano=COST_NANO * 10)
    batch = [customer.charge(1), customer.charge(2)]
    first = settle(ledger, batch, NOW_MS)
    # When it comes again in another order and with a repetition, after a crash before the ack
    again = settle(ledger, [*reversed(batch), batch[0]], NOW_MS + 60_000)
    # Then nothing moved, and the holds can still be released against fresh budgets
    assert again == Settled(budgets=again.budgets, new=frozenset())
    assert set(again.budgets) == set(first.budgets)
    assert invariants.check(ledger, NOW_MS) == ()


def test_of_two_charges_for_one_generation_the_first_counts(ledger: Ledger):
    customer = make_customer(ledger)
    cheap = customer.charge(1)
    dear = replace(cheap, usage=replace(cheap.usage, completion_tokens=10_000))
    settle(ledger, [cheap, dear], NOW_MS)
    settle(ledger, [dear], NOW_MS)
    assert posted(ledger, customer.scope) == [GRANTED_NANO - COST_NANO]


def test_a_customer_may_end_below_zero(ledger: Ledger):
    # Given less credit than the generation turned out to cost
    customer = make_customer(ledger, granted_nano=COST_NANO // 2)
    settle(ledger, [customer.charge()], NOW_MS)
    assert posted(ledger, customer.scope) == [COST_NANO // 2 - COST_NANO]


def test_an_insured_generation_is_ours_to_pay(ledger: Ledger):
    customer = make_customer(ledger, limit_nano=COST_NANO)
    settled = settle(ledger, [customer.charge(outcome="failed", finish_reason=None)], NOW_MS)
    assert posted(ledger, customer.scope, "insured_loss", "payable:Acme", "revenue") == [
        GRANTED_NANO,
        -COST_NANO,
        COST_NANO,
        0,
    ]
    # And the holds are released against full budgets
    assert {budget.available_nano for budget in settled.budgets} == {GRANTED_NANO, COST_NANO}
    assert invariants.check(ledger, NOW_MS) == ()


def test_a_free_generation_is_kept_without_a_transaction(ledger: Ledger):
    customer = make_customer(ledger)
    free = customer.charge()
    settle(ledger, [replace(free, price=replace(free.price, prompt_pico=0, completion_pico=0))], 0)
    with ledger.reading() as connection:
        assert connection.execute(select(func.count(entries.c.id))).scalar_one() == 2  # the grant
    assert generations.find(ledger, generation_id(1), customer.account_id) is not None
    assert invariants.check(ledger, NOW_MS) == ()


def test_strangers_do_not_block_the_batch(ledger: Ledger):
    # Given charges of an unknown account, an unknown key, another account's key, and a good one
    ada, bob = make_customer(ledger), make_customer(ledger)
    strangers = [
        ada.charge(1, caller=Caller(account_id="user_x", key_hash="0" * 64)),
        ada.charge(2, caller=Caller(account_id=ada.account_id, key_hash="0" * 64)),
        ada.charge(3, caller=Caller(account_id=ada.account_id, key_hash=bob.key.key_hash)),
    ]
    settled = settle(ledger, [*strangers, ada.charge(4)], NOW_MS)
    # Then all are booked, the odd ones to suspense
    assert len(settled.new) == 4
    assert posted(ledger, SUSPENSE, ada.scope, bob.scope) == [
        -3 * COST_NANO,
        GRANTED_NANO - COST_NANO,
        GRANTED_NANO,
    ]
    assert {budget.scope for budget in settled.budgets} == {ada.scope}
    # And flagged
    found = generations.find(ledger, generation_id(3), ada.account_id)
    assert found is not None
    assert found.flags == ("unknown_key",)
    assert invariants.check(ledger, NOW_MS) == ()


def test_spend_belongs_to_the_window_of_admission(ledger: Ledger):
    # Given a request let in a millisecond before a new week, and settled after it began
    customer = make_customer(ledger, limit_nano=COST_NANO * 2, limit_reset="weekly")
    monday_ms = NOW_MS + 4 * 86_400_000
    settled = settle(ledger, [customer.charge(created_ms=monday_ms - 1)], monday_ms + 1_000)
    # Then the old window, which held the money, is the one that is told
    scopes = {budget.scope: budget.available_nano for budget in settled.budgets}
    assert scopes[key_scope(customer.key.key_hash, "weekly", monday_ms - 1)] == COST_NANO
    fresh = api_keys.budget_of(ledger, customer.key.key_hash, monday_ms)
    assert fresh is not None
    assert fresh.available_nano == COST_NANO * 2


def test_one_batch_may_span_two_windows_of_a_key(ledger: Ledger):
    customer = make_customer(ledger, limit_nano=COST_NANO * 5, limit_reset="daily")
    charges = [customer.charge(1, created_ms=NOW_MS - 1), customer.charge(2), customer.charge(3)]
    left = {
        budget.scope: budget.available_nano for budget in settle(ledger, charges, NOW_MS).budgets
    }
    assert left[key_scope(customer.key.key_hash, "daily", NOW_MS - 1)] == COST_NANO * 4
    assert left[key_scope(customer.key.key_hash, "daily", NOW_MS)] == COST_NANO * 3


def test_a_batch_that_fails_half_way_books_nothing(ledger: Ledger, monkeypatch):
    # Given a process that dies after the money moved and before the commit
    customer = make_customer(ledger)

    def crash(*_args):
        raise ConnectionAbortedError

    with monkeypatch.context() as patch:
        patch.setattr("billing.settlement._budgets", crash)
        with pytest.raises(ConnectionAbortedError):
            settle(ledger, [customer.charge()], NOW_MS)
    # Then nothing was booked, and the next delivery books it
    assert posted(ledger, customer.scope) == [GRANTED_NANO]
    assert generations.find(ledger, generation_id(1), customer.account_id) is None
    assert settle(ledger, [customer.charge()], NOW_MS).new == {generation_id(1)}
    assert posted(ledger, customer.scope) == [GRANTED_NANO - COST_NANO]


def test_batches_are_bounded(ledger: Ledger):
    customer = make_customer(ledger)
    assert settle(ledger, [], NOW_MS) == Settled(budgets=(), new=frozenset())
    with pytest.raises(ValueError, match="at most 500"):
        settle(ledger, [customer.charge(n) for n in range(BATCH_MAX + 1)], NOW_MS)


def test_a_full_batch_of_many_customers_and_providers_adds_up(ledger: Ledger):
    customers = [make_customer(ledger, limit_nano=10**9) for _ in range(5)]
    charges = [
        customers[n % 5].charge(n, provider=f"P{n % 7}", outcome=("done", "failed")[n % 3 == 0])
        for n in range(BATCH_MAX)
    ]
    settled = settle(ledger, charges, NOW_MS)
    assert len(settled.new) == BATCH_MAX
    assert len(settled.budgets) == 10
    assert invariants.check(ledger, NOW_MS) == ()
    assert invariants.drift_nano(ledger) == 0


def test_settlers_at_once_charge_each_generation_once(ledger: Ledger):
    # Given three settlers with the same work in different orders, over the same customers
    customers = [make_customer(ledger, limit_nano=10**9) for _ in range(4)]
    work = [customers[n % 4].charge(n, provider=f"P{n % 3}") for n in range(120)]
    orders = [work, work[::-1], work[60:] + work[:60]]
    new: list[frozenset[str]] = []
    versions: dict[str, list[tuple[int, int]]] = {}
    lock = threading.Lock()

    def run(order):
        for start in range(0, len(order), 20):
            settled = settle(ledger, order[start : start + 20], NOW_MS)
            with lock:
                new.append(settled.new)
                for budget in settled.budgets:
                    versions.setdefault(budget.scope, []).append(
                        (budget.version, budget.available_nano)
                    )

    # When they run at once
    threads = [threading.Thread(target=run, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    # Then each generation moved money exactly once
    assert sum(len(one) for one in new) == 120
    assert (
        posted(ledger, *(customer.scope for customer in customers))
        == [GRANTED_NANO - 30 * COST_NANO] * 4
    )
    # And what a cache keeps, the figure of the highest version, is the truth
    for customer in customers:
        assert max(versions[customer.scope])[1] == GRANTED_NANO - 30 * COST_NANO
        key = api_keys.budget_of(ledger, customer.key.key_hash, NOW_MS)
        assert key is not None
        newest = max(version for version, _ in versions[key.scope])
        assert newest == key.version
        assert min(left for version, left in versions[key.scope] if version == newest) == (
            key.available_nano
        )
    assert invariants.check(ledger, NOW_MS) == ()


def test_settling_and_granting_at_once_lose_nothing(ledger: Ledger):
    customer = make_customer(ledger)

    def grant_all():
        for n in range(20):
            grant = accounts.Grant(amount_nano=1_000, reference=f"p{n}")
            accounts.grant(ledger, customer.account_id, grant, NOW_MS)

    thread = threading.Thread(target=grant_all)
    thread.start()
    for n in range(20):
        settle(ledger, [customer.charge(n)], NOW_MS)
    thread.join(timeout=60)
    assert posted(ledger, customer.scope) == [GRANTED_NANO + 20_000 - 20 * COST_NANO]
    assert invariants.check(ledger, NOW_MS) == ()


def test_text_a_database_would_refuse_is_settled_all_the_same(ledger: Ledger):
    customer = make_customer(ledger)
    caller = replace(customer.charge().caller, user="nul \x00 quote ' \" emoji \U0001f600 \\u0000")
    settle(ledger, [customer.charge(caller=caller)], NOW_MS)
    with ledger.reading() as connection:
        kept = connection.execute(select(generations_table.c.external_user)).scalar_one()
    assert kept == "nul  quote ' \" emoji \U0001f600 \\u0000"
