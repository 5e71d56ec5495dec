from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from billing import accounts, api_keys, closing, members, people, sessions
from billing.api_keys import KeyTerms
from billing.db import Ledger
from billing.people import NewUser
from routing.errors import BadRequest, Conflict, Forbidden, NotFound
from tests.fixtures.charges import NOW_MS

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]


def _user(ledger: Ledger, name: str) -> str:
    return people.create_user(ledger, NewUser(email=f"{name}@example.com"), NOW_MS).id


@pytest.fixture
def ada(ledger: Ledger) -> str:
    return _user(ledger, "ada")


@pytest.fixture
def org(ledger: Ledger, ada: str) -> str:
    return members.create_organization(ledger, "Engines", ada, NOW_MS).id


def test_who_opens_an_organization_runs_it(ledger: Ledger, ada: str, org: str):
    own, theirs = members.memberships_of(ledger, ada)

    assert (own.account_kind, theirs.account_kind) == ("personal", "organization")
    assert (theirs.account_id, theirs.account_name, theirs.role) == (org, "Engines", "admin")
    assert members.role_of(ledger, org, ada) == "admin"
    with pytest.raises(NotFound):
        members.create_organization(ledger, "Engines", "user_nobody", NOW_MS)
    with pytest.raises(BadRequest):
        members.create_organization(ledger, " ", ada, NOW_MS)


def test_members_are_listed_longest_first_and_counted(ledger: Ledger, ada: str, org: str):
    for place, name in enumerate("cb", start=1):
        members.add_member(ledger, org, _user(ledger, name), "member", NOW_MS + place)

    found, total = members.members_of(ledger, org)
    page, same = members.members_of(ledger, org, offset=1, limit=1)

    assert [(one.user.email[0], one.role) for one in found] == [
        ("a", "admin"),
        ("c", "member"),
        ("b", "member"),
    ]
    assert (total, same) == (3, 3)
    assert page == found[1:2]
    assert found[0].user.id == ada


def test_nobody_joins_twice_or_what_is_no_organization(ledger: Ledger, ada: str, org: str):
    own = members.memberships_of(ledger, ada)[0].account_id
    bob = _user(ledger, "bob")

    with pytest.raises(Conflict, match="already"):
        members.add_member(ledger, org, ada, "member", NOW_MS)
    for account in (own, "user_none"):
        with pytest.raises(NotFound):
            members.add_member(ledger, account, bob, "admin", NOW_MS)
    with pytest.raises(NotFound):
        members.add_member(ledger, org, "user_nobody", "member", NOW_MS)
    assert members.role_of(ledger, own, bob) is None


def test_an_organization_is_never_without_an_admin(ledger: Ledger, ada: str, org: str):
    bob = _user(ledger, "bob")
    members.add_member(ledger, org, bob, "member", NOW_MS)

    with pytest.raises(Conflict, match="admin"):
        members.change_role(ledger, org, ada, "member", NOW_MS)
    with pytest.raises(Conflict, match="admin"):
        members.remove_member(ledger, org, ada, NOW_MS)
    members.change_role(ledger, org, ada, "admin", NOW_MS)
    members.change_role(ledger, org, bob, "admin", NOW_MS)
    members.remove_member(ledger, org, ada, NOW_MS)
    assert members.role_of(ledger, org, ada) is None


def test_two_admins_cannot_remove_each_other(ledger: Ledger, ada: str, org: str):
    bob = _user(ledger, "bob")
    for _ in range(5):
        for one in (ada, bob):
            if members.role_of(ledger, org, one) is None:
                members.add_member(ledger, org, one, "admin", NOW_MS)

        def leave(user_id: str) -> bool:
            try:
                members.remove_member(ledger, org, user_id, NOW_MS)
            except Conflict:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(leave, (ada, bob))) == [False, True]


def test_strangers_have_no_role_to_change(ledger: Ledger, org: str):
    bob = _user(ledger, "bob")

    with pytest.raises(NotFound, match="member"):
        members.change_role(ledger, org, bob, "admin", NOW_MS)
    with pytest.raises(NotFound, match="member"):
        members.remove_member(ledger, org, bob, NOW_MS)


def test_whoever_leaves_takes_no_key_and_no_session_along(ledger: Ledger, ada: str, org: str):
    bob = _user(ledger, "bob")
    members.add_member(ledger, org, bob, "member", NOW_MS)
    own = members.memberships_of(ledger, bob)[0].account_id
    keys = {
        (account, maker): api_keys.mint(
            ledger, account, KeyTerms(name="k", creator_user_id=maker), NOW_MS
        )[1].key_hash
        for account, maker in ((org, bob), (org, ada), (own, bob))
    }
    there, at_home = (sessions.begin(ledger, bob, account, NOW_MS) for account in (org, own))
    assert members.keys_of(ledger, bob, org) == (keys[org, bob],)
    assert set(members.keys_of(ledger, bob)) == {keys[org, bob], keys[own, bob]}

    members.remove_member(ledger, org, bob, NOW_MS)

    disabled = {}
    for name, key_hash in keys.items():
        record = api_keys.find(ledger, key_hash, NOW_MS)
        assert record is not None
        disabled[name] = record.disabled
    assert disabled == {(org, bob): True, (org, ada): False, (own, bob): False}
    assert sessions.find(ledger, there, NOW_MS) is None
    assert sessions.find(ledger, at_home, NOW_MS) is not None
    assert members.disable_keys(ledger, bob, NOW_MS) == 1
    assert members.disable_keys(ledger, bob, NOW_MS) == 0


def test_a_closed_organization_is_nobodys(ledger: Ledger, ada: str, org: str):
    token = sessions.begin(ledger, ada, org, NOW_MS)

    closing.close(ledger, org, NOW_MS)

    assert sessions.find(ledger, token, NOW_MS) is None
    assert [one.account_kind for one in members.memberships_of(ledger, ada)] == ["personal"]
    with pytest.raises(NotFound):
        members.add_member(ledger, org, ada, "admin", NOW_MS)


def test_an_account_of_nobody_gets_its_first_admin(ledger: Ledger, ada: str, org: str):
    plain = accounts.create_account(ledger, "default", NOW_MS).id
    bob = _user(ledger, "bob")

    assert members.adopt(ledger, plain, ada, NOW_MS)
    assert not members.adopt(ledger, plain, bob, NOW_MS)
    assert not members.adopt(ledger, org, bob, NOW_MS)
    assert not members.adopt(ledger, "user_none", bob, NOW_MS)
    with pytest.raises(NotFound):
        members.adopt(ledger, plain, "user_nobody", NOW_MS)
    members.add_member(ledger, plain, bob, "member", NOW_MS)
    assert members.role_of(ledger, plain, ada) == "admin"


def test_no_key_is_made_while_its_maker_is_removed(ledger: Ledger, org: str):
    # Given a key that is being made by a member
    bob = _user(ledger, "bob")
    members.add_member(ledger, org, bob, "member", NOW_MS)
    terms = KeyTerms(name="k", creator_user_id=bob)
    with ThreadPoolExecutor(1) as pool:
        with ledger.writing() as connection:
            api_keys._check_owner(connection, org, terms)
            # When they are removed before it is there
            leaving = pool.submit(members.remove_member, ledger, org, bob, NOW_MS)
            with pytest.raises(TimeoutError):
                leaving.result(0.3)
            _, record = api_keys.mint_key(connection, org, terms, NOW_MS)
        leaving.result(10)
    # Then the key is shut as their others are
    found = api_keys.find(ledger, record.key_hash, NOW_MS)
    assert found is not None
    assert found.disabled


def test_who_is_no_admin_any_more_has_no_key_that_manages(ledger: Ledger, ada: str, org: str):
    bob = _user(ledger, "bob")
    members.add_member(ledger, org, bob, "admin", NOW_MS)
    made = {}
    for maker, kind in ((bob, "management"), (bob, "inference"), (ada, "management")):
        terms = KeyTerms(name="k", kind=kind, creator_user_id=maker)
        made[maker, kind] = api_keys.mint(ledger, org, terms, NOW_MS)[1].key_hash
    members.change_role(ledger, org, bob, "member", NOW_MS)
    found = {which: api_keys.find(ledger, key, NOW_MS) for which, key in made.items()}
    shut = {which for which, key in found.items() if key is not None and key.disabled}
    assert shut == {(bob, "management")}
    terms = KeyTerms(name="k", kind="management", creator_user_id=bob)
    with pytest.raises(Forbidden):
        api_keys.mint(ledger, org, terms, NOW_MS)
