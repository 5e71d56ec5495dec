from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import pytest

from billing import api_keys, budget_rules, closing, members, people
from billing.accounts import Grant, grant
from billing.api_keys import KeyTerms
from billing.budget_rules import INTERVALS, Standing, Wanted, Whose, drop, listed, put, standing
from billing.db import Ledger
from billing.key_changes import delete, make
from billing.ledger import AMOUNT_MAX_NANO
from billing.settlement import settle
from billing.spend import owners_of
from routing.budgets import MS_PER_DAY, owner_scope
from routing.errors import BadRequest, Forbidden, NotFound
from routing.wire.account import Budget, BudgetRule
from tests.fixtures.charges import COST_NANO, NOW_MS
from tests.fixtures.customers import Customer, make_customer

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

USD = 1_000_000_000


def of_key(customer: Customer) -> Whose:
    return Whose(account_id=customer.account_id, key_hash=customer.key.key_hash)


def of_all(customer: Customer) -> Whose:
    return Whose(account_id=customer.account_id)


def daily(limit_nano: int = USD, **changes) -> Wanted:
    return replace(Wanted(interval="daily", limit_nano=limit_nano), **changes)


def limits_of(ledger: Ledger, whose: Whose) -> dict[str, int]:
    return {one.interval: one.limit_nano for one in listed(ledger, whose)}


def rules_in_force(ledger: Ledger, customer: Customer) -> tuple[BudgetRule, ...]:
    found = api_keys.find(ledger, customer.key.key_hash, NOW_MS)
    assert found is not None
    return found.budgets


@pytest.fixture
def customer(ledger: Ledger) -> Customer:
    return make_customer(ledger)


@pytest.fixture
def organisation(ledger: Ledger) -> tuple[Customer, str]:
    """An organisation with a key that a member made, and the member."""
    ada, bob = (
        people.create_user(ledger, people.NewUser(email=f"{name}@x.example"), NOW_MS).id
        for name in ("ada", "bob")
    )
    account = members.create_organization(ledger, "Acme", ada, NOW_MS)
    grant(ledger, account.id, Grant(amount_nano=USD, reference="g"), NOW_MS)
    members.add_member(ledger, account.id, bob, "member", NOW_MS)
    terms = KeyTerms(name="k", creator_user_id=bob)
    text, key = api_keys.mint(ledger, account.id, terms, NOW_MS)
    return Customer(account_id=account.id, text=text, key=key), bob


def test_budgets_are_written_down_and_bound_the_keys_of_their_owner(ledger, organisation):
    customer, bob = organisation
    theirs = Whose(account_id=customer.account_id, user_id=bob)
    for number, whose in enumerate((of_all(customer), theirs, of_key(customer)), start=1):
        put(ledger, whose, daily(number * USD), NOW_MS)

    assert [limits_of(ledger, whose) for whose in (of_all(customer), theirs, of_key(customer))] == [
        {"daily": USD},
        {"daily": 2 * USD},
        {"daily": 3 * USD},
    ]
    assert {(rule.owner, rule.limit_nano) for rule in rules_in_force(ledger, customer)} == {
        (of_all(customer).owner, USD),
        (theirs.owner, 2 * USD),
        (of_key(customer).owner, 3 * USD),
    }
    _, other = make(ledger, customer.account_id, KeyTerms(name="nobody's"), NOW_MS)
    found = api_keys.find(ledger, other.key_hash, NOW_MS)
    assert found is not None
    assert [rule.limit_nano for rule in found.budgets] == [USD]


def test_a_budget_keeps_its_id_when_its_limit_changes(ledger, customer):
    made = put(ledger, of_key(customer), daily(), NOW_MS).budget
    changed = put(ledger, of_key(customer), daily(2 * USD), NOW_MS + 5).budget

    assert changed == replace(made, limit_nano=2 * USD, updated_ms=NOW_MS + 5)
    assert put(ledger, of_key(customer), daily(2 * USD), NOW_MS + 9).budget == changed


def test_what_is_left_counts_what_was_spent_before_and_is_newer(ledger, customer):
    # Given spend today and yesterday
    charges = [customer.charge(1), customer.charge(2, created_ms=NOW_MS - MS_PER_DAY)]
    settle(ledger, charges, NOW_MS)
    whose = of_all(customer)

    (day,) = put(ledger, whose, daily(3 * COST_NANO), NOW_MS).left
    assert day.scope == owner_scope(whose.owner, "daily", NOW_MS)
    assert day.available_nano == 2 * COST_NANO

    # When there is a second budget, both are told, and newer than before
    week = put(ledger, whose, Wanted(interval="weekly", limit_nano=5 * COST_NANO), NOW_MS).left
    assert [budget.available_nano for budget in week] == [2 * COST_NANO, 3 * COST_NANO]
    assert all(budget.version > day.version for budget in week)

    # And what is settled next is newer still
    told = {budget.scope: budget for budget in settle(ledger, [customer.charge(3)], NOW_MS).budgets}
    assert told[day.scope].available_nano == COST_NANO
    assert told[day.scope].version > week[0].version


def test_a_limit_below_what_was_spent_leaves_nothing(ledger, customer):
    settle(ledger, [customer.charge(1)], NOW_MS)
    (left,) = put(ledger, of_key(customer), daily(COST_NANO // 2), NOW_MS).left
    assert left.available_nano == -COST_NANO // 2


def test_own_provider_keys_count_in_all_budgets_of_an_owner_or_in_none(ledger, customer):
    settle(ledger, [customer.charge(1, byok="byok_1", fee_ppm=0)], NOW_MS)
    whose = of_all(customer)
    (left,) = put(ledger, whose, daily(5 * COST_NANO), NOW_MS).left
    assert left.available_nano == 5 * COST_NANO

    weekly = Wanted(interval="weekly", limit_nano=9 * COST_NANO, include_byok=True)
    left = put(ledger, whose, weekly, NOW_MS).left
    assert [budget.available_nano for budget in left] == [4 * COST_NANO, 8 * COST_NANO]
    assert [one.include_byok for one in listed(ledger, whose)] == [True, True]

    # Not said: as it was, for a new interval too
    put(ledger, whose, Wanted(interval="lifetime", limit_nano=USD), NOW_MS)
    assert [one.include_byok for one in listed(ledger, whose)] == [True] * 3
    put(ledger, whose, replace(weekly, include_byok=False), NOW_MS)
    assert [one.include_byok for one in listed(ledger, whose)] == [False] * 3


@pytest.mark.parametrize(("shorter", "longer"), list(itertools.combinations(INTERVALS, 2)))
def test_a_shorter_interval_must_allow_less_than_a_longer_one(ledger, customer, shorter, longer):
    whose = of_key(customer)
    put(ledger, whose, Wanted(interval=shorter, limit_nano=USD), NOW_MS)
    for limit_nano in (USD, USD - 1, 1):
        with pytest.raises(BadRequest) as caught:
            put(ledger, whose, Wanted(interval=longer, limit_nano=limit_nano), NOW_MS)
        assert caught.value.param == "limit_usd"
    put(ledger, whose, Wanted(interval=longer, limit_nano=USD + 1), NOW_MS)
    with pytest.raises(BadRequest):
        put(ledger, whose, Wanted(interval=shorter, limit_nano=USD + 1), NOW_MS)
    assert limits_of(ledger, whose) == {shorter: USD, longer: USD + 1}


def test_one_that_does_not_fit_between_its_neighbours_is_refused(ledger, customer):
    whose = of_all(customer)
    for interval, limit_nano in zip(INTERVALS, (10, 20, 30, 40), strict=True):
        put(ledger, whose, Wanted(interval=interval, limit_nano=limit_nano), NOW_MS)
    for limit_nano in (10, 30, 5, 35):
        with pytest.raises(BadRequest):
            put(ledger, whose, Wanted(interval="weekly", limit_nano=limit_nano), NOW_MS)
    put(ledger, whose, Wanted(interval="weekly", limit_nano=29), NOW_MS)
    # The order binds the budgets of one owner, not those of different ones
    put(ledger, of_key(customer), daily(1_000), NOW_MS)


@pytest.mark.parametrize("limit_nano", [0, -1, AMOUNT_MAX_NANO + 1])
def test_limits_beyond_reason_are_refused(ledger, customer, limit_nano):
    with pytest.raises(BadRequest) as caught:
        put(ledger, of_key(customer), daily(limit_nano), NOW_MS)
    assert caught.value.param == "limit_usd"
    assert listed(ledger, of_key(customer)) == ()


def test_budgets_set_at_once_stay_in_order(ledger, customer):
    whose = of_all(customer)

    def one(number: int) -> None:
        interval = INTERVALS[number % 4]
        with suppress(BadRequest):
            put(ledger, whose, Wanted(interval=interval, limit_nano=number + 1), NOW_MS)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(24)))

    limits = [one.limit_nano for one in listed(ledger, whose)]
    assert limits == sorted(set(limits))


def test_budgets_change_while_spend_is_settled(ledger, customer):
    """Whatever comes last, the newest that caches are told is what is left."""
    whose = of_all(customer)

    def settled(number: int) -> tuple[Budget, ...]:
        found = settle(ledger, [customer.charge(number)], NOW_MS).budgets
        return tuple(budget for budget in found if whose.owner in budget.scope)

    def changed(number: int) -> tuple[Budget, ...]:
        return put(ledger, whose, daily(USD + number), NOW_MS).left

    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(settled if n % 2 else changed, n) for n in range(40)]
        told = [budget for job in jobs for budget in job.result()]

    newest = max(told, key=lambda budget: budget.version)
    (stands,) = standing(ledger, (whose.owner,), NOW_MS)
    assert stands.spent_nano == 20 * COST_NANO
    assert newest.available_nano == stands.budget.limit_nano - stands.spent_nano


def test_taking_a_budget_away_is_idempotent(ledger, customer):
    whose = of_key(customer)
    put(ledger, whose, daily(), NOW_MS)
    assert drop(ledger, whose, "daily")
    assert not drop(ledger, whose, "daily")
    assert not drop(ledger, whose, "weekly")
    assert listed(ledger, whose) == rules_in_force(ledger, customer) == ()


def test_a_budget_made_anew_is_newer_than_the_one_before(ledger, customer):
    whose = of_all(customer)
    (before,) = put(ledger, whose, daily(), NOW_MS).left
    drop(ledger, whose, "daily")
    (after,) = put(ledger, whose, daily(), NOW_MS).left
    assert after.version > before.version


def reaches(ledger: Ledger, whose: Whose) -> list[str]:
    """What nobody may do there, told."""
    told = []
    for work in (
        lambda: listed(ledger, whose),
        lambda: put(ledger, whose, daily(), NOW_MS),
        lambda: drop(ledger, whose, "daily"),
    ):
        with pytest.raises(NotFound) as caught:
            work()
        told.append(caught.value.message)
    return told


def test_keys_and_members_of_other_accounts_are_not_there(ledger, customer, organisation):
    theirs, bob = organisation
    key = theirs.key.key_hash
    _, boss = make(ledger, customer.account_id, KeyTerms(name="b", kind="management"), NOW_MS)
    mine = customer.account_id
    put(ledger, of_key(theirs), daily(), NOW_MS)

    unknown = reaches(ledger, Whose(account_id=mine, key_hash="0" * 64))
    other = reaches(ledger, Whose(account_id=mine, key_hash=key))
    assert [text.replace(key, "0" * 64) for text in other] == unknown
    reaches(ledger, Whose(account_id=mine, key_hash=boss.key_hash))
    assert reaches(ledger, Whose(account_id=mine, user_id=bob)) == reaches(
        ledger, Whose(account_id=mine, user_id="usr_nobody")
    )
    reaches(ledger, Whose(account_id="user_nobody"))
    assert limits_of(ledger, of_key(theirs)) == {"daily": USD}


def test_budgets_go_with_their_key_and_with_their_account(ledger, customer):
    put(ledger, of_key(customer), daily(), NOW_MS)
    put(ledger, of_all(customer), daily(), NOW_MS)
    owners = (of_key(customer).owner, of_all(customer).owner)
    delete(ledger, customer.account_id, customer.key.key_hash, NOW_MS)
    assert [one.budget.owner for one in standing(ledger, owners, NOW_MS)] == [owners[1]]
    settle(ledger, [customer.charge(1)], NOW_MS)  # what was under way

    closing.close(ledger, customer.account_id, NOW_MS)
    assert standing(ledger, owners, NOW_MS) == ()
    with pytest.raises(NotFound):
        put(ledger, of_all(customer), daily(), NOW_MS)


def test_an_account_has_a_bounded_number_of_budgets(ledger, customer, monkeypatch):
    monkeypatch.setattr(budget_rules, "BUDGETS_MAX", 1)
    put(ledger, of_all(customer), daily(), NOW_MS)
    with pytest.raises(Forbidden):
        put(ledger, of_key(customer), daily(), NOW_MS)
    put(ledger, of_all(customer), daily(2 * USD), NOW_MS)


def test_how_budgets_stand_is_told_broad_ones_first(ledger, organisation):
    customer, bob = organisation
    theirs = Whose(account_id=customer.account_id, user_id=bob)
    put(ledger, of_all(customer), Wanted(interval="lifetime", limit_nano=9 * COST_NANO), NOW_MS)
    put(ledger, theirs, daily(5 * COST_NANO), NOW_MS)
    put(ledger, of_key(customer), daily(4 * COST_NANO, include_byok=True), NOW_MS)
    put(ledger, of_all(customer), Wanted(interval="weekly", limit_nano=COST_NANO), NOW_MS)
    caller = replace(customer.charge().caller, member=bob)
    charges = [
        customer.charge(1, caller=caller),
        customer.charge(2, caller=caller, byok="byok_1", fee_ppm=0),
        customer.charge(3, caller=caller, created_ms=NOW_MS - MS_PER_DAY),
        customer.charge(4),
    ]
    settle(ledger, charges, NOW_MS)

    owners = owners_of(customer.account_id, customer.key.key_hash, bob)
    found = [
        (one.budget.interval, one.budget.owner.partition(":")[0], one.spent_nano // COST_NANO)
        for one in standing(ledger, owners, NOW_MS)
    ]

    assert found == [
        ("lifetime", "org", 3),
        ("weekly", "org", 3),
        ("daily", "member", 1),
        ("daily", "spend", 3),
    ]


def test_what_is_told_to_caches_is_what_is_left(ledger, customer):
    whose = of_all(customer)
    settle(ledger, [customer.charge(1)], NOW_MS)
    left: tuple[Budget, ...] = put(ledger, whose, daily(), NOW_MS).left
    (stands,) = standing(ledger, (whose.owner,), NOW_MS)
    assert isinstance(stands, Standing)
    assert left[0].available_nano == stands.budget.limit_nano - stands.spent_nano
