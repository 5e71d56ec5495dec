"""The first account, on a real ledger."""

from __future__ import annotations

import pytest

from api.cli.first_start import account_keys
from api.cli.home import Keys
from billing.accounts import list_accounts
from billing.api_keys import disable, find, hash_key
from billing.db import open_ledger
from billing.schema import migrate

pytestmark = pytest.mark.integration

NOW_MS = 1_764_806_400_000


@pytest.fixture
def url(tmp_path):
    url = f"sqlite:///{tmp_path}/ledger.db"
    migrate(url)
    return url


@pytest.fixture
def ledger(url):
    ledger = open_ledger(url)
    yield ledger
    ledger.close()


def test_a_new_ledger_gets_one_account_with_credit_and_two_working_keys(url, ledger):
    keys = account_keys(url, None, NOW_MS)

    (account,) = list_accounts(ledger)
    assert (account.name, account.granted_nano, account.purchased_nano) == (
        "default",
        25_000_000_000,
        0,
    )
    assert find(ledger, hash_key(keys.inference), NOW_MS).kind == "inference"
    assert find(ledger, hash_key(keys.management), NOW_MS).kind == "management"


def test_keys_the_ledger_knows_are_kept(url, ledger):
    keys = account_keys(url, None, NOW_MS)

    assert account_keys(url, keys, NOW_MS + 1) == keys
    assert len(list_accounts(ledger)) == 1


def test_keys_of_another_ledger_are_replaced_without_more_credit(url, ledger):
    account_keys(url, None, NOW_MS)

    keys = account_keys(url, Keys(inference="sk-or-v1-x", management="sk-or-v1-y"), NOW_MS)

    assert find(ledger, hash_key(keys.inference), NOW_MS) is not None
    (account,) = list_accounts(ledger)
    assert account.granted_nano == 25_000_000_000


def test_a_disabled_key_is_replaced(url, ledger):
    keys = account_keys(url, None, NOW_MS)
    disable(ledger, hash_key(keys.inference), NOW_MS)

    assert account_keys(url, keys, NOW_MS) != keys


def test_swapped_keys_are_replaced(url):
    keys = account_keys(url, None, NOW_MS)
    swapped = Keys(inference=keys.management, management=keys.inference)

    assert account_keys(url, swapped, NOW_MS) not in (keys, swapped)
