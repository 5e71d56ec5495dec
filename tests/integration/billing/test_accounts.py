from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from billing import accounts, api_keys, invariants
from billing.accounts import Account, Grant
from billing.api_keys import KeyTerms
from billing.db import Ledger
from billing.ledger import AMOUNT_MAX_NANO
from routing.errors import BadRequest, Conflict, NotFound
from routing.wire.account import Budget, RoutingPolicy
from tests.fixtures.charges import NOW_MS

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]


@pytest.fixture
def account(ledger: Ledger) -> Account:
    return accounts.create_account(ledger, "Ada", NOW_MS)


def test_a_new_account_has_no_credit(ledger: Ledger, account: Account):
    assert account.id.startswith("user_")
    assert accounts.get(ledger, account.id) == account
    assert accounts.budget_of(ledger, account.id) == Budget(
        scope=f"acct:{account.id}", available_nano=0, version=0
    )


def test_an_unknown_account_is_none(ledger: Ledger):
    assert accounts.get(ledger, "user_nobody") is None
    with pytest.raises(NotFound, match="user_nobody"):
        accounts.budget_of(ledger, "user_nobody")


def test_accounts_are_listed_by_id_and_in_pages(ledger: Ledger):
    made = sorted(accounts.create_account(ledger, name, NOW_MS).id for name in "abc")
    assert [one.id for one in accounts.list_accounts(ledger)] == made
    assert [one.id for one in accounts.list_accounts(ledger, after=made[0])] == made[1:]


def test_a_grant_counts_once_per_reference(ledger: Ledger, account: Account):
    # Given a payment that is reported three times
    grant = Grant(amount_nano=5_000, reference="payment 1", note="by card")
    budgets = [accounts.grant(ledger, account.id, grant, NOW_MS) for _ in range(3)]
    # Then each answer is the same balance, of the same version
    assert set(budgets) == {Budget(scope=f"acct:{account.id}", available_nano=5_000, version=1)}
    found = accounts.get(ledger, account.id)
    assert found is not None
    assert (found.granted_nano, found.purchased_nano) == (5_000, 5_000)
    assert invariants.check(ledger, NOW_MS) == ()


def test_a_gift_is_granted_but_not_purchased(ledger: Ledger, account: Account):
    gift = Grant(amount_nano=5_000, reference="welcome", purchased=False)
    accounts.grant(ledger, account.id, gift, NOW_MS)
    found = accounts.get(ledger, account.id)
    assert found is not None
    assert (found.granted_nano, found.purchased_nano) == (5_000, 0)


def test_a_reference_cannot_stand_for_two_grants(ledger: Ledger, account: Account):
    # Given a reference that was used
    other = accounts.create_account(ledger, "Bob", NOW_MS)
    accounts.grant(ledger, account.id, Grant(amount_nano=5_000, reference="p"), NOW_MS)
    # Then neither another amount nor another account may use it
    with pytest.raises(Conflict):
        accounts.grant(ledger, account.id, Grant(amount_nano=6_000, reference="p"), NOW_MS)
    with pytest.raises(Conflict):
        accounts.grant(ledger, other.id, Grant(amount_nano=5_000, reference="p"), NOW_MS)
    assert accounts.budget_of(ledger, other.id).available_nano == 0


def test_nobody_is_granted_to_an_unknown_account(ledger: Ledger):
    with pytest.raises(NotFound):
        accounts.grant(ledger, "user_x", Grant(amount_nano=1, reference="p"), NOW_MS)


@pytest.mark.parametrize("amount_nano", [0, -1, AMOUNT_MAX_NANO + 1, 2**63, 2**100])
def test_an_amount_beyond_reason_is_refused(ledger: Ledger, account: Account, amount_nano: int):
    with pytest.raises(BadRequest) as caught:
        accounts.grant(ledger, account.id, Grant(amount_nano=amount_nano, reference="p"), NOW_MS)
    assert caught.value.param == "amount"


@pytest.mark.parametrize("name", ["", "  ", "x" * 257, "a\x00b"])
def test_names_and_references_are_checked(ledger: Ledger, account: Account, name: str):
    with pytest.raises(BadRequest):
        accounts.create_account(ledger, name, NOW_MS)
    with pytest.raises(BadRequest):
        accounts.grant(ledger, account.id, Grant(amount_nano=1, reference=name), NOW_MS)


def test_a_policy_is_changed_piece_by_piece_and_its_keys_bear_it(ledger: Ledger, account: Account):
    _, key = api_keys.mint(ledger, account.id, KeyTerms(name="k"), NOW_MS)

    def zdr(policy: RoutingPolicy) -> RoutingPolicy:
        return replace(policy, zdr=True)

    policy = accounts.change_policy(ledger, account.id, zdr)
    assert policy == RoutingPolicy(zdr=True)
    assert accounts.change_policy(ledger, account.id, zdr) == policy
    assert api_keys.hashes_of(ledger, account.id) == (key.key_hash,)
    found = api_keys.find(ledger, key.key_hash, NOW_MS)
    assert found is not None
    assert found.policy == policy
    with pytest.raises(NotFound, match="user_nobody"):
        accounts.change_policy(ledger, "user_nobody", zdr)


def test_changes_of_a_policy_made_at_once_are_all_kept(ledger: Ledger, account: Account):
    def ignoring(slug: str) -> None:
        accounts.change_policy(
            ledger, account.id, lambda policy: replace(policy, ignore=(*policy.ignore, slug))
        )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ignoring, "abcdefgh"))

    found = accounts.get(ledger, account.id)
    assert found is not None
    assert sorted(found.policy.ignore) == list("abcdefgh")
