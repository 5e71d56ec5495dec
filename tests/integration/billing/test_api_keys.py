from __future__ import annotations

import re

import pytest
from sqlalchemy import select

from billing import accounts, api_keys
from billing.api_keys import KeyTerms, KeyUsage
from billing.db import Ledger
from billing.key_list import list_keys
from billing.ledger import AMOUNT_MAX_NANO
from billing.settlement import settle
from billing.tables import metadata
from routing.budgets import MS_PER_DAY
from routing.errors import BadRequest, NotFound
from tests.fixtures.charges import COST_NANO, NOW_MS
from tests.fixtures.customers import make_customer

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

THURSDAY = NOW_MS


def test_a_key_is_shown_once_and_only_its_hash_is_kept(ledger: Ledger):
    # Given a new key
    customer = make_customer(ledger)
    assert re.fullmatch(r"sk-or-v1-[0-9a-f]{64}", customer.text)
    # Then it is found by its hash
    key_hash = api_keys.hash_key(customer.text)
    assert api_keys.find(ledger, key_hash, NOW_MS) == customer.key
    assert customer.key.label == api_keys.label_of(customer.text)
    # And its secret is in no table
    secret = customer.text.removeprefix(api_keys.PREFIX)
    with ledger.reading() as connection:
        for table in metadata.tables.values():
            assert secret not in repr(connection.execute(select(table)).all())


def test_the_terms_of_a_key_are_kept(ledger: Ledger):
    account = accounts.create_account(ledger, "Ada", NOW_MS)
    terms = KeyTerms(
        name="ops",
        kind="management",
        limit_nano=7,
        limit_reset="weekly",
        include_byok_in_limit=True,
        expires_ms=NOW_MS + 1,
    )
    _, key = api_keys.mint(ledger, account.id, terms, NOW_MS)
    assert (key.account_id, key.kind, key.limit_nano, key.limit_reset) == (
        account.id,
        "management",
        7,
        "weekly",
    )
    assert key.include_byok_in_limit
    assert (key.expires_ms, key.fetched_ms, key.disabled) == (NOW_MS + 1, NOW_MS, False)


def test_a_key_knows_whether_its_account_ever_paid(ledger: Ledger):
    paid = make_customer(ledger, granted_nano=5)
    poor = make_customer(ledger, granted_nano=0)
    assert (paid.key.purchased, paid.key.purchased_nano) == (True, 5)
    assert (poor.key.purchased, poor.key.purchased_nano) == (False, 0)


def test_unknown_keys_and_accounts(ledger: Ledger):
    assert api_keys.find(ledger, "0" * 64, NOW_MS) is None
    assert api_keys.disable(ledger, "0" * 64, NOW_MS) is False
    assert api_keys.usage(ledger, "0" * 64, NOW_MS) == KeyUsage()
    assert api_keys.budget_of(ledger, "0" * 64, NOW_MS) is None
    with pytest.raises(NotFound):
        api_keys.mint(ledger, "user_x", KeyTerms(name="k"), NOW_MS)


@pytest.mark.parametrize("limit_nano", [-1, AMOUNT_MAX_NANO + 1, 2**63])
def test_a_limit_beyond_reason_is_refused(ledger: Ledger, limit_nano: int):
    with pytest.raises(BadRequest) as caught:
        make_customer(ledger, limit_nano=limit_nano)
    assert caught.value.param == "limit"


@pytest.mark.parametrize("expires_ms", [0, -1, 2**60])
def test_an_end_of_life_no_calendar_knows_is_refused(ledger: Ledger, expires_ms: int):
    with pytest.raises(BadRequest) as caught:
        make_customer(ledger, expires_ms=expires_ms)
    assert caught.value.param == "expires_at"


def test_the_keys_of_an_account_are_listed_in_pages(ledger: Ledger):
    # Given an account with three keys, and another account with one
    customer, _other = make_customer(ledger), make_customer(ledger)
    for name in ("second", "third"):
        api_keys.mint(ledger, customer.account_id, KeyTerms(name=name), NOW_MS)
    # Then its own three are listed by hash, and the rest of them after the first
    listed = list_keys(ledger, customer.account_id)
    assert {key.name for key in listed} == {"k", "second", "third"}
    assert [key.hash for key in listed] == sorted(key.hash for key in listed)
    assert list_keys(ledger, customer.account_id, after=listed[0].hash) == listed[1:]


def test_a_disabled_key_stays_known(ledger: Ledger):
    # Given a limited key
    customer = make_customer(ledger, limit_nano=10)
    before = api_keys.budget_of(ledger, customer.key.key_hash, NOW_MS)
    # When it is shut
    assert api_keys.disable(ledger, customer.key.key_hash, NOW_MS + 1) is True
    # Then it is found as disabled, and caches can tell that it changed
    found = api_keys.find(ledger, customer.key.key_hash, NOW_MS)
    after = api_keys.budget_of(ledger, customer.key.key_hash, NOW_MS)
    assert found is not None
    assert found.disabled
    assert before is not None
    assert after is not None
    assert after.version > before.version


def test_spend_is_counted_per_utc_day_week_and_month(ledger: Ledger):
    # Given generations of Thursday 4 December: today, Monday, the Sunday before, and November
    customer = make_customer(ledger)
    days = (0, -3, -4, -10)
    charges = [
        customer.charge(number, created_ms=THURSDAY + day * MS_PER_DAY)
        for number, day in enumerate(days)
    ]
    settle(ledger, charges, THURSDAY)
    # Then each window has its own share: November ended on that Sunday, 30 November
    used = api_keys.usage(ledger, customer.key.key_hash, THURSDAY)
    assert used == KeyUsage(
        total_nano=4 * COST_NANO,
        daily_nano=COST_NANO,
        weekly_nano=2 * COST_NANO,
        monthly_nano=2 * COST_NANO,
    )


def test_a_limit_counts_the_spend_of_its_window_only(ledger: Ledger):
    # Given a daily limit of which yesterday used a part
    customer = make_customer(ledger, limit_nano=COST_NANO * 3, limit_reset="daily")
    yesterday = NOW_MS - 1
    settle(ledger, [customer.charge(1, created_ms=yesterday)], NOW_MS)
    # Then today is untouched, yesterday is not
    today = api_keys.budget_of(ledger, customer.key.key_hash, NOW_MS)
    before = api_keys.budget_of(ledger, customer.key.key_hash, yesterday)
    assert today is not None
    assert before is not None
    assert today.available_nano == COST_NANO * 3
    assert before.available_nano == COST_NANO * 2
    assert today.scope != before.scope
