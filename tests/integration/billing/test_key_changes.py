from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from billing import accounts, api_keys
from billing.api_keys import RATE_MAX, KeyTerms
from billing.db import Ledger
from billing.key_changes import change, delete, make
from billing.key_list import PAGE_MAX, entry_of, list_keys, page_of
from billing.settlement import settle
from routing.budgets import MS_PER_DAY
from routing.errors import BadRequest, NotFound
from routing.wire.account import RateLimits
from tests.fixtures.charges import COST_NANO, NOW_MS
from tests.fixtures.customers import make_customer

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

WANTED = KeyTerms(
    name="after",
    disabled=True,
    limit_nano=7,
    limit_reset="weekly",
    include_byok_in_limit=True,
    expires_ms=NOW_MS + 5,
    rates=RateLimits(rpm=1, tpm=2, parallel=3),
)


def test_all_terms_can_be_changed_and_are_found_by_front_doors(ledger: Ledger):
    customer = make_customer(ledger)
    key = customer.key.key_hash

    changed = change(ledger, customer.account_id, key, lambda _: WANTED, NOW_MS + 1)

    assert changed.entry.terms == WANTED
    assert changed.entry == entry_of(ledger, customer.account_id, key, NOW_MS)
    assert (changed.entry.created_ms, changed.entry.updated_ms) == (NOW_MS, NOW_MS + 1)
    found = api_keys.find(ledger, key, NOW_MS)
    assert found == replace(
        customer.key,
        name="after",
        disabled=True,
        limit_nano=7,
        limit_reset="weekly",
        include_byok_in_limit=True,
        expires_ms=NOW_MS + 5,
        rates=RateLimits(rpm=1, tpm=2, parallel=3),
    )


def test_a_change_cannot_turn_a_key_into_one_that_manages(ledger: Ledger):
    customer = make_customer(ledger)
    key = customer.key.key_hash

    def seize(terms: KeyTerms) -> KeyTerms:
        return replace(terms, kind="management", creator_user_id="user_eve", app_id=7)

    changed = change(ledger, customer.account_id, key, seize, NOW_MS)

    assert changed.entry.terms == KeyTerms(name="k")
    found = api_keys.find(ledger, key, NOW_MS)
    assert found is not None
    assert (found.kind, found.creator_user_id) == ("inference", "")


def test_what_is_left_is_newer_than_what_was_settled(ledger: Ledger):
    customer = make_customer(ledger, limit_nano=COST_NANO * 3, limit_reset="daily")
    key = customer.key.key_hash
    charges = [customer.charge(1), customer.charge(2, created_ms=NOW_MS - MS_PER_DAY)]
    settle(ledger, charges, NOW_MS)
    before = api_keys.budget_of(ledger, key, NOW_MS)

    changed = change(
        ledger, None, key, lambda terms: replace(terms, limit_nano=COST_NANO * 2), NOW_MS
    )

    assert before is not None
    assert changed.budget is not None
    assert changed.budget.scope == before.scope
    assert changed.budget.available_nano == COST_NANO
    assert changed.budget.version > before.version
    assert changed.budget == api_keys.budget_of(ledger, key, NOW_MS)
    assert changed.entry.left_nano == COST_NANO
    unlimited = change(ledger, None, key, lambda terms: replace(terms, limit_nano=None), NOW_MS)
    assert (unlimited.budget, unlimited.entry.left_nano) == (None, None)


def test_changes_made_at_once_all_count(ledger: Ledger):
    customer = make_customer(ledger, limit_nano=0)
    key = customer.key.key_hash

    def more(_: int) -> None:
        change(
            ledger,
            None,
            key,
            lambda terms: replace(terms, limit_nano=(terms.limit_nano or 0) + 1),
            NOW_MS,
        )

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(more, range(20)))

    entry = entry_of(ledger, None, key, NOW_MS)
    assert entry is not None
    assert entry.terms.limit_nano == 20


@pytest.mark.parametrize(
    "fields",
    [
        {"name": " "},
        {"limit_nano": -1},
        {"expires_ms": 0},
        {"rates": RateLimits(rpm=0)},
        {"rates": RateLimits(tpm=RATE_MAX + 1)},
        {"rates": RateLimits(parallel=-1)},
    ],
)
def test_terms_beyond_reason_change_nothing(ledger: Ledger, fields):
    customer = make_customer(ledger)
    key = customer.key.key_hash
    with pytest.raises(BadRequest):
        change(ledger, None, key, lambda terms: replace(terms, **fields), NOW_MS)
    with pytest.raises(BadRequest):
        make(ledger, customer.account_id, KeyTerms(**({"name": "k"} | fields)), NOW_MS)
    assert api_keys.find(ledger, key, NOW_MS) == customer.key
    assert len(list_keys(ledger, customer.account_id)) == 1


def test_a_deleted_key_is_nowhere_and_is_still_settled(ledger: Ledger):
    customer = make_customer(ledger, limit_nano=COST_NANO * 3)
    key, account = customer.key.key_hash, customer.account_id
    delete(ledger, account, key, NOW_MS)
    assert api_keys.find(ledger, key, NOW_MS) is None
    assert entry_of(ledger, None, key, NOW_MS) is None
    assert list_keys(ledger, account) == ()
    assert page_of(ledger, account, NOW_MS, include_disabled=True) == ()
    assert api_keys.hashes_of(ledger, account) == ()
    with pytest.raises(NotFound):
        delete(ledger, account, key, NOW_MS)
    with pytest.raises(NotFound):
        change(ledger, None, key, lambda terms: terms, NOW_MS)
    settle(ledger, [customer.charge(1)], NOW_MS)
    assert api_keys.usage(ledger, key, NOW_MS).total_nano == COST_NANO


def test_an_account_reaches_its_own_keys_for_inference_only(ledger: Ledger):
    customer, other = make_customer(ledger), make_customer(ledger)
    manages = make(ledger, customer.account_id, KeyTerms(name="boss", kind="management"), NOW_MS)[
        1
    ].key_hash
    for key in (other.key.key_hash, manages):
        with pytest.raises(NotFound):
            change(ledger, customer.account_id, key, lambda _: WANTED, NOW_MS)
        with pytest.raises(NotFound):
            delete(ledger, customer.account_id, key, NOW_MS)
        assert entry_of(ledger, customer.account_id, key, NOW_MS) is None
        assert entry_of(ledger, None, key, NOW_MS) is not None
    change(ledger, None, manages, lambda terms: replace(terms, disabled=True), NOW_MS)
    delete(ledger, None, manages, NOW_MS)


def test_a_page_has_the_spend_of_each_key(ledger: Ledger):
    customer = make_customer(ledger, limit_nano=COST_NANO)
    make(ledger, customer.account_id, KeyTerms(name="new", limit_nano=5), NOW_MS + 1)
    settle(ledger, [customer.charge(1)], NOW_MS)
    new, old = page_of(ledger, customer.account_id, NOW_MS)
    assert (new.terms.name, new.used.total_nano, new.left_nano) == ("new", 0, 5)
    assert (old.terms.name, old.used.total_nano, old.left_nano) == ("k", COST_NANO, 0)
    assert (new.last_used_ms, old.last_used_ms) == (None, NOW_MS)
    assert page_of(ledger, customer.account_id, NOW_MS, offset=1) == (old,)
    assert page_of(ledger, customer.account_id, NOW_MS, offset=PAGE_MAX) == ()


def test_a_maker_who_is_no_member_is_refused(ledger: Ledger):
    account = accounts.create_account(ledger, "Ada", NOW_MS)
    with pytest.raises(BadRequest) as caught:
        make(ledger, account.id, KeyTerms(name="k", creator_user_id="user_x"), NOW_MS)
    assert caught.value.param == "creator_user_id"
    with pytest.raises(NotFound):
        make(ledger, "user_nobody", KeyTerms(name="k"), NOW_MS)
