"""What a generation settles besides its list price: fees, discounts, budgets, days, apps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from sqlalchemy import insert, select

from billing import api_keys, generations, invariants
from billing.api_keys import KeyUsage
from billing.db import Ledger
from billing.ledger import balances
from billing.settlement import settle
from billing.tables import activity_days, apps, budgets, spend_days
from billing.tables import api_keys as keys_table
from routing.budgets import (
    MS_PER_DAY,
    day_of,
    free_byok_scope,
    key_owner,
    member,
    organisation,
    owner_scope,
)
from routing.wire.account import Budget, BudgetRule
from routing.wire.job import Charge
from tests.fixtures.charges import COST_NANO, NOW_MS, generation_id
from tests.fixtures.customers import GRANTED_NANO, Customer, make_customer

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

FIVE_PERCENT = 50_000
FEE_NANO = COST_NANO // 20


def posted(ledger: Ledger, *ids: str) -> list[int]:
    with ledger.reading() as connection:
        found = balances(connection, ids)
    return [found[name].posted_nano if name in found else 0 for name in ids]


def by_scope(found: Iterable[Budget]) -> dict[str, int]:
    return {budget.scope: budget.available_nano for budget in found}


def of_member(customer: Customer, number: int, user_id: str, **changes: object) -> Charge:
    caller = replace(customer.charge().caller, member=user_id)
    return customer.charge(number, caller=caller, **changes)


def with_own_key(customer: Customer, number: int = 1, **changes: object) -> Charge:
    return customer.charge(number, **({"byok": "byok_1", "fee_ppm": FIVE_PERCENT} | changes))


def bound(ledger: Ledger, customer: Customer, owner: str, interval: str, **changes: object) -> None:
    row = {
        "id": f"{owner} {interval}",
        "account_id": customer.account_id,
        "owner": owner,
        "interval": interval,
        "limit_nano": COST_NANO * 10,
        "include_byok": False,
        "created_ms": NOW_MS,
        "updated_ms": NOW_MS,
    }
    with ledger.writing() as connection:
        connection.execute(insert(budgets), row | changes)


def test_use_of_an_own_provider_key_costs_the_fee_alone(ledger: Ledger):
    # Given a limited key, and an answer that the customer's own provider key paid for
    customer = make_customer(ledger, limit_nano=COST_NANO)
    # When it is settled
    settled = settle(ledger, [with_own_key(customer)], NOW_MS)
    # Then they pay the fee, and nobody of ours owes the provider
    assert posted(ledger, customer.scope, "byok_fees", "payable:Acme", "revenue") == [
        GRANTED_NANO - FEE_NANO,
        FEE_NANO,
        0,
        0,
    ]
    # And the limit counts the fee, not what the provider took
    limit = api_keys.budget_of(ledger, customer.key.key_hash, NOW_MS)
    assert limit is not None
    assert by_scope(settled.budgets)[limit.scope] == limit.available_nano == COST_NANO - FEE_NANO
    # And the record tells both
    found = generations.find(ledger, generation_id(1), customer.account_id)
    assert found is not None
    assert (found.byok, found.byok_id) == (True, "byok_1")
    assert (found.cost_nano, found.fee_nano, found.upstream_cost_nano) == (
        FEE_NANO,
        FEE_NANO,
        COST_NANO,
    )
    used = api_keys.usage(ledger, customer.key.key_hash, NOW_MS)
    assert (used.daily_nano, used.byok_daily_nano) == (FEE_NANO, COST_NANO)
    assert invariants.check(ledger, NOW_MS) == ()


def test_a_key_may_count_what_own_provider_keys_pay(ledger: Ledger):
    customer = make_customer(ledger, limit_nano=COST_NANO * 3, include_byok_in_limit=True)
    settle(ledger, [with_own_key(customer, fee_ppm=0)], NOW_MS)
    limit = api_keys.budget_of(ledger, customer.key.key_hash, NOW_MS)
    assert limit is not None
    assert limit.available_nano == COST_NANO * 2


def test_a_waived_fee_moves_no_money_and_uses_up_a_free_request(ledger: Ledger):
    customer = make_customer(ledger)
    charges = [with_own_key(customer, n, fee_ppm=0) for n in range(3)]
    settled = settle(ledger, [*charges, customer.charge(9)], NOW_MS, byok_free_requests=10)
    assert posted(ledger, customer.scope, "byok_fees") == [GRANTED_NANO - COST_NANO, 0]
    assert by_scope(settled.budgets)[free_byok_scope(customer.account_id, NOW_MS)] == 7


def test_free_requests_are_counted_by_the_month_and_not_when_insured(ledger: Ledger):
    customer = make_customer(ledger)
    november = NOW_MS - 10 * MS_PER_DAY
    charges = [
        with_own_key(customer, 1),
        with_own_key(customer, 2, created_ms=november),
        with_own_key(customer, 3, outcome="failed"),
    ]
    left = by_scope(settle(ledger, charges, NOW_MS, byok_free_requests=1).budgets)
    assert left[free_byok_scope(customer.account_id, NOW_MS)] == 0
    assert left[free_byok_scope(customer.account_id, november)] == 0
    assert posted(ledger, customer.scope, "insured_loss") == [GRANTED_NANO - 2 * FEE_NANO, 0]
    assert invariants.check(ledger, NOW_MS) == ()


@pytest.mark.parametrize(
    ("ppm", "paid_nano"),
    [
        pytest.param(10_000, COST_NANO * 99 // 100, id="one percent"),
        pytest.param(1_000_000, 0, id="everything"),
    ],
)
def test_a_discount_is_ours_to_bear(ledger: Ledger, ppm: int, paid_nano: int):
    customer = make_customer(ledger)
    settle(ledger, [customer.charge(discount_ppm=ppm)], NOW_MS)
    assert posted(ledger, customer.scope, "revenue", "inference_cost", "payable:Acme") == [
        GRANTED_NANO - paid_nano,
        paid_nano,
        -COST_NANO,
        COST_NANO,
    ]
    found = generations.find(ledger, generation_id(1), customer.account_id)
    assert found is not None
    assert (found.cost_nano, found.discount_nano) == (paid_nano, COST_NANO - paid_nano)
    assert invariants.check(ledger, NOW_MS) == ()


def test_budgets_of_keys_members_and_accounts_are_told_with_the_balance(ledger: Ledger):
    # Given an account with a budget for everything, one for each of two members, one for its key
    customer = make_customer(ledger)
    whole = organisation(customer.account_id)
    ada, bob = (member(customer.account_id, name) for name in ("usr_ada", "usr_bob"))
    own = key_owner(customer.key.key_hash)
    bound(ledger, customer, whole, "monthly")
    bound(ledger, customer, ada, "daily")
    bound(ledger, customer, bob, "lifetime")
    bound(ledger, customer, own, "weekly", include_byok=True)
    # When Ada spends, with credit and with her own provider key, and nobody in particular does
    charges = [
        of_member(customer, 1, "usr_ada"),
        of_member(customer, 2, "usr_ada", byok="byok_1"),
        customer.charge(3),
    ]
    left = by_scope(settle(ledger, charges, NOW_MS).budgets)
    # Then each budget counts what is its own, in its own window; Bob's is not touched
    assert left[owner_scope(whole, "monthly", NOW_MS)] == COST_NANO * 8
    assert left[owner_scope(ada, "daily", NOW_MS)] == COST_NANO * 9
    assert left[owner_scope(own, "weekly", NOW_MS)] == COST_NANO * 7
    assert owner_scope(bob, "lifetime", NOW_MS) not in left
    # And a replay tells the same
    assert by_scope(settle(ledger, charges, NOW_MS).budgets) == left
    assert invariants.check(ledger, NOW_MS) == ()


def test_the_newest_version_of_a_budget_bears_its_newest_figure(ledger: Ledger):
    customer = make_customer(ledger)
    whole = organisation(customer.account_id)
    bound(ledger, customer, whole, "daily")
    told = [
        next(
            one
            for one in settle(ledger, [customer.charge(n)], NOW_MS).budgets
            if whole in one.scope
        )
        for n in range(3)
    ]
    assert [one.available_nano for one in told] == [COST_NANO * left for left in (9, 8, 7)]
    assert sorted({one.version for one in told}) == [one.version for one in told]


def test_a_key_bears_the_budgets_that_bound_it(ledger: Ledger):
    customer = make_customer(ledger)
    whole = organisation(customer.account_id)
    bound(ledger, customer, whole, "monthly", include_byok=True)
    bound(ledger, customer, member(customer.account_id, "usr_ada"), "daily")
    bound(ledger, customer, key_owner("0" * 64), "daily")

    def rules() -> tuple[BudgetRule, ...]:
        found = api_keys.find(ledger, customer.key.key_hash, NOW_MS)
        assert found is not None
        return found.budgets

    of_account = BudgetRule(
        owner=whole, interval="monthly", limit_nano=COST_NANO * 10, include_byok=True
    )
    assert rules() == (of_account,)
    # And one that Ada made bears hers too
    with ledger.writing() as connection:
        connection.execute(keys_table.update().values(creator_user_id="usr_ada"))
    assert {rule.owner for rule in rules()} == {whole, member(customer.account_id, "usr_ada")}


def test_spend_of_members_and_accounts_is_counted_by_the_day(ledger: Ledger):
    customer = make_customer(ledger)
    charges = [
        of_member(customer, 1, "usr_ada"),
        of_member(customer, 2, "usr_ada", byok="byok_1", created_ms=NOW_MS - 1),
        customer.charge(3, outcome="failed"),
    ]
    settle(ledger, charges, NOW_MS)
    with ledger.reading() as connection:
        rows = {
            (row.owner, row.day): tuple(row)[2:] for row in connection.execute(select(spend_days))
        }
    today = day_of(NOW_MS)
    whole, ada = organisation(customer.account_id), member(customer.account_id, "usr_ada")
    assert rows == {
        (whole, today): (COST_NANO, 0, 2, 0),
        (whole, today - 1): (0, COST_NANO, 1, 1),
        (ada, today): (COST_NANO, 0, 1, 0),
        (ada, today - 1): (0, COST_NANO, 1, 1),
    }


def test_activity_has_one_row_per_key_model_and_endpoint_of_a_day(ledger: Ledger):
    customer = make_customer(ledger)
    charges = [
        customer.charge(1),
        customer.charge(2),
        with_own_key(customer, 3),
        customer.charge(4, endpoint_id="bravo:acme/large", provider="Bravo"),
        customer.charge(5, created_ms=NOW_MS - 1),
    ]
    settle(ledger, charges[:2], NOW_MS)
    settle(ledger, charges, NOW_MS)
    with ledger.reading() as connection:
        query = select(activity_days).order_by(activity_days.c.day, activity_days.c.endpoint_id)
        rows = [dict(row) for row in connection.execute(query).mappings()]
    assert [(row["day"], row["provider"], row["requests"]) for row in rows] == [
        (day_of(NOW_MS) - 1, "Acme", 1),
        (day_of(NOW_MS), "Acme", 3),
        (day_of(NOW_MS), "Bravo", 1),
    ]
    busy = rows[1]
    assert (busy["account_id"], busy["key_hash"], busy["model_id"]) == (
        customer.account_id,
        customer.key.key_hash,
        "acme/large",
    )
    assert (busy["usage_nano"], busy["byok_usage_nano"]) == (2 * COST_NANO + FEE_NANO, COST_NANO)
    assert (busy["prompt_tokens"], busy["completion_tokens"]) == (300, 150)


def test_applications_are_known_by_their_origin_and_first_title(ledger: Ledger):
    customer = make_customer(ledger)
    sent = [
        ("https://App.Test/chat?x=1", "Tic Tac"),
        ("https://app.test/other", "Another name"),
        ("http://app.test:8080/", None),
        ("javascript:alert(1)", "Nobody"),
        (None, "Nobody either"),
    ]
    for number, (url, title) in enumerate(sent):
        caller = replace(customer.charge().caller, app_url=url, app_title=title)
        settle(ledger, [customer.charge(number, caller=caller)], NOW_MS)
    with ledger.reading() as connection:
        known = {row.origin: (row.id, row.title) for row in connection.execute(select(apps))}
    assert {origin: title for origin, (_, title) in known.items()} == {
        "https://app.test": "Tic Tac",
        "http://app.test:8080": "http://app.test:8080",
    }
    ids = []
    for number in range(len(sent)):
        found = generations.find(ledger, generation_id(number), customer.account_id)
        assert found is not None
        ids.append(found.app_id)
    first, other = known["https://app.test"][0], known["http://app.test:8080"][0]
    assert ids == [first, first, other, None, None]


def test_the_last_use_of_a_key_is_noted(ledger: Ledger):
    customer = make_customer(ledger)
    settle(ledger, [customer.charge(1), customer.charge(2, created_ms=NOW_MS + 5)], NOW_MS + 9)
    # A straggler of an earlier moment takes nothing back.
    settle(ledger, [customer.charge(3, created_ms=NOW_MS - 5)], NOW_MS + 10)
    with ledger.reading() as connection:
        assert connection.execute(select(keys_table.c.last_used_ms)).scalar_one() == NOW_MS + 5
    assert api_keys.usage(ledger, "0" * 64, NOW_MS) == KeyUsage()
