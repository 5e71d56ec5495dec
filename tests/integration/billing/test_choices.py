from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from billing import accounts, api_keys, choices, closing
from billing.choices import Choices
from billing.db import Ledger
from routing.errors import NotFound
from routing.wire.account import AccountSettings, AutoTopUp, RateLimits, RoutingPolicy
from tests.fixtures.charges import NOW_MS
from tests.fixtures.customers import make_customer

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]


def test_a_new_account_has_chosen_nothing(ledger: Ledger):
    account = accounts.create_account(ledger, "Ada", NOW_MS)

    assert choices.read(ledger, account.id) == Choices()


def test_a_change_is_read_back_and_known_with_every_key(ledger: Ledger):
    customer = make_customer(ledger)
    chosen = Choices(
        policy=RoutingPolicy(zdr=True, only=("acme",)),
        settings=AccountSettings(logs=True, rates=RateLimits(rpm=5)),
    )

    assert choices.change(ledger, customer.account_id, lambda _: chosen) == chosen

    assert choices.read(ledger, customer.account_id) == chosen
    key = api_keys.find(ledger, customer.key.key_hash, NOW_MS)
    assert key is not None
    assert (key.policy, key.logs, key.account_rates.rpm) == (chosen.policy, True, 5)


def test_only_a_real_change_is_a_new_version(ledger: Ledger):
    account = accounts.create_account(ledger, "Ada", NOW_MS)

    versions = []
    for logs in (False, True, True):
        settings = AccountSettings(logs=logs)
        choices.change(ledger, account.id, lambda found, new=settings: replace(found, settings=new))
        found = accounts.get(ledger, account.id)
        assert found is not None
        versions.append(found.version - account.version)

    assert versions == [0, 1, 1]


def test_changes_at_once_do_not_undo_each_other(ledger: Ledger):
    account = accounts.create_account(ledger, "Ada", NOW_MS)

    def add(slug: str) -> None:
        choices.change(
            ledger,
            account.id,
            lambda found: replace(
                found, policy=replace(found.policy, ignore=(*found.policy.ignore, slug))
            ),
        )

    slugs = [f"p{number}" for number in range(8)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, slugs))

    assert sorted(choices.read(ledger, account.id).policy.ignore) == slugs


def test_what_another_part_chose_is_left_as_it_is(ledger: Ledger):
    account = accounts.create_account(ledger, "Ada", NOW_MS)
    top_up = AutoTopUp(threshold_nano=1, amount_nano=2)
    settings = AccountSettings(auto_top_up=top_up)
    choices.change(ledger, account.id, lambda found: replace(found, settings=settings))

    policy = RoutingPolicy(zdr=True)
    choices.change(ledger, account.id, lambda found: replace(found, policy=policy))

    assert choices.read(ledger, account.id) == Choices(policy=policy, settings=settings)


def test_nobody_and_the_closed_have_no_choice(ledger: Ledger):
    account = accounts.create_account(ledger, "Ada", NOW_MS)
    closing.close(ledger, account.id, NOW_MS)

    for name in (account.id, "user_nobody"):
        with pytest.raises(NotFound):
            choices.read(ledger, name)
        with pytest.raises(NotFound):
            choices.change(ledger, name, lambda found: found)
