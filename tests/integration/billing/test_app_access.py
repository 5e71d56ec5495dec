from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import func, insert, select

from billing import api_keys, members
from billing.api_keys import KeyTerms
from billing.app_access import AppEntry, keys_of, list_apps, revoke
from billing.db import Ledger
from billing.oauth import CodeTerms, Exchanged, Proof, exchange, issue
from billing.people import NewUser, create_user
from billing.pkce import Callback
from billing.settlement import settle
from billing.tables import auth_codes, budgets
from routing.budgets import key_owner
from routing.errors import Forbidden, NotFound
from tests.fixtures.charges import NOW_MS
from tests.fixtures.customers import Customer, make_customer

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

NOTES = Callback("https://notes.example/cb", "https://notes.example")
OTHER = Callback("https://other.example/cb", "https://other.example")


def code_for(ledger: Ledger, account_id: str, callback: Callback = NOTES, **terms: Any) -> str:
    wanted = CodeTerms(account_id=account_id, callback=callback, **terms)
    return issue(ledger, wanted, NOW_MS).text


def key_for(ledger: Ledger, account_id: str, *, now_ms: int = NOW_MS, **terms: Any) -> str:
    done = exchange(ledger, code_for(ledger, account_id, **terms), Proof(), now_ms)
    assert isinstance(done, Exchanged)
    return done.key_hash


def app_of(ledger: Ledger, account_id: str, origin: str = NOTES.origin) -> AppEntry:
    (found,) = [app for app in list_apps(ledger, account_id) if app.origin == origin]
    return found


def test_applications_are_listed_with_what_their_keys_did(ledger: Ledger):
    # Given two keys of one application, one of another, and a key of nobody's
    customer = make_customer(ledger)
    first = key_for(ledger, customer.account_id, app_title="Notes")
    key_for(ledger, customer.account_id, now_ms=NOW_MS + 5)
    key_for(ledger, customer.account_id, now_ms=NOW_MS + 9, callback=OTHER)
    key = api_keys.find(ledger, first, NOW_MS)
    assert key is not None
    used = Customer(account_id=customer.account_id, text="", key=key).charge()
    settle(ledger, [used], NOW_MS + 100)
    # Then both are there, the newest key first
    other, notes = list_apps(ledger, customer.account_id)
    assert (other.origin, other.title, other.keys) == (OTHER.origin, OTHER.origin, 1)
    assert other.last_used_ms is None
    assert (notes.origin, notes.title, notes.keys) == (NOTES.origin, "Notes", 2)
    assert notes.last_used_ms is not None
    assert (other.created_ms, notes.created_ms) == (NOW_MS + 9, NOW_MS)
    assert list_apps(ledger, make_customer(ledger).account_id) == ()


def test_revoking_takes_keys_budgets_and_codes_of_one_application_and_one_account(ledger: Ledger):
    mine, theirs = make_customer(ledger).account_id, make_customer(ledger).account_id
    hashes = {key_for(ledger, mine), key_for(ledger, mine)}
    kept = key_for(ledger, mine, callback=OTHER)
    foreign = key_for(ledger, theirs)
    for key_hash in (*hashes, kept):
        row = {
            "id": f"b-{key_hash}",
            "account_id": mine,
            "owner": key_owner(key_hash),
            "interval": "daily",
            "limit_nano": 5,
            "include_byok": False,
            "created_ms": NOW_MS,
            "updated_ms": NOW_MS,
        }
        with ledger.writing() as connection:
            connection.execute(insert(budgets), row)
    waiting, other, not_mine = (
        code_for(ledger, mine),
        code_for(ledger, mine, OTHER),
        code_for(ledger, theirs),
    )
    app_id = app_of(ledger, mine).id

    assert set(keys_of(ledger, mine, app_id)) == hashes
    assert set(revoke(ledger, mine, app_id, NOW_MS)) == hashes

    assert all(api_keys.find(ledger, key_hash, NOW_MS) is None for key_hash in hashes)
    assert api_keys.find(ledger, kept, NOW_MS) is not None
    assert api_keys.find(ledger, foreign, NOW_MS) is not None
    with ledger.reading() as connection:
        assert connection.execute(select(budgets.c.owner)).scalars().all() == [key_owner(kept)]
    with pytest.raises(Forbidden):
        exchange(ledger, waiting, Proof(), NOW_MS)
    for code in (other, not_mine):
        assert isinstance(exchange(ledger, code, Proof(), NOW_MS), Exchanged)
    assert [app.origin for app in list_apps(ledger, mine)] == [OTHER.origin]
    with pytest.raises(NotFound):
        revoke(ledger, mine, app_id, NOW_MS)


def test_an_application_of_others_is_as_one_nobody_knows(ledger: Ledger):
    mine, theirs = make_customer(ledger).account_id, make_customer(ledger).account_id
    key_hash = key_for(ledger, theirs)
    app_id = app_of(ledger, theirs).id
    for number in (app_id, 2**31 - 1, 0):
        assert keys_of(ledger, mine, number) == ()
        with pytest.raises(NotFound):
            revoke(ledger, mine, number, NOW_MS)
    assert api_keys.find(ledger, key_hash, NOW_MS) is not None


def test_a_code_that_waits_can_be_taken_back_too(ledger: Ledger):
    account_id = make_customer(ledger).account_id
    done = issue(ledger, CodeTerms(account_id=account_id, callback=NOTES), NOW_MS)
    assert done.app_id is not None
    assert revoke(ledger, account_id, done.app_id, NOW_MS) == ()
    with ledger.reading() as connection:
        count = select(func.count()).select_from(auth_codes)
        assert connection.execute(count).scalar_one() == 0


def test_a_member_sees_and_takes_back_only_what_they_gave(ledger: Ledger):
    ada, eve = (
        create_user(ledger, NewUser(email=f"{name}@example.org"), NOW_MS) for name in ("ada", "eve")
    )
    team = members.create_organization(ledger, "Team", ada.id, NOW_MS).id
    members.add_member(ledger, team, eve.id, "member", NOW_MS)
    hers, his = (key_for(ledger, team, user_id=user.id) for user in (ada, eve))
    code = code_for(ledger, team, user_id=ada.id)
    (app,) = list_apps(ledger, team, maker=eve.id)
    assert app.keys == 1
    assert app_of(ledger, team).keys == 2
    assert keys_of(ledger, team, app.id, maker=eve.id) == (his,)

    assert revoke(ledger, team, app.id, NOW_MS, maker=eve.id) == (his,)

    assert api_keys.find(ledger, hers, NOW_MS) is not None
    assert isinstance(exchange(ledger, code, Proof(), NOW_MS), Exchanged)
    with pytest.raises(NotFound):
        revoke(ledger, team, app.id, NOW_MS, maker=eve.id)


def test_no_key_outlives_a_revocation_that_came_after_it(ledger: Ledger):
    # Given codes that are exchanged while the application is revoked
    account_id = make_customer(ledger).account_id
    codes = [code_for(ledger, account_id) for _ in range(12)]
    key_for(ledger, account_id)
    app_id = app_of(ledger, account_id).id

    def act(code: str) -> None:
        try:
            if code:
                exchange(ledger, code, Proof(), NOW_MS)
            else:
                revoke(ledger, account_id, app_id, NOW_MS)
        except (Forbidden, NotFound):
            pass

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(act, [*codes[:6], "", *codes[6:], ""]))
    # Then all is gone with the last of them
    assert list_apps(ledger, account_id) == ()


def test_keys_without_an_application_are_not_meant(ledger: Ledger):
    customer = make_customer(ledger)
    terms = KeyTerms(name="own")
    api_keys.mint(ledger, customer.account_id, terms, NOW_MS)
    assert list_apps(ledger, customer.account_id) == ()
