from __future__ import annotations

from dataclasses import fields

import pytest

from billing import members, people, sessions
from billing.db import Ledger
from billing.passwords import LENGTH_MAX, hash_password, is_outdated, is_password
from billing.people import Identity, NewUser, User
from routing.errors import BadRequest, Conflict, NotFound, Unauthorized
from tests.fixtures.charges import NOW_MS

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

ISSUER = "https://id.example.com"
PASSWORD = "correct horse battery"  # noqa: S105 - of nobody


def _add(ledger: Ledger, email: str = "ada@example.com", **terms: object) -> User:
    return people.create_user(ledger, NewUser(email=email, **terms), NOW_MS)  # type: ignore[arg-type]


def _says(subject: str = "s1", email: str = "ada@example.com", **more: str) -> Identity:
    return Identity(issuer=ISSUER, subject=subject, email=email, **more)


def test_a_new_user_runs_an_account_of_their_own(ledger: Ledger):
    ada = _add(ledger, " Ada@Example.com ", first_name=" Ada ", last_name="Lovelace")

    assert ada.id.startswith("user_")
    assert (ada.email, ada.name) == ("ada@example.com", "Ada Lovelace")
    assert people.user_of(ledger, ada.id) == ada
    assert people.user_by_email(ledger, "ADA@example.com") == ada
    (own,) = members.memberships_of(ledger, ada.id)
    assert (own.account_kind, own.role, own.account_name) == ("personal", "admin", ada.email)


def test_an_address_is_of_one_person(ledger: Ledger):
    _add(ledger)

    with pytest.raises(Conflict, match=r"ada@example\.com"):
        _add(ledger, "ADA@example.com")
    assert len(people.list_users(ledger)) == 1


@pytest.mark.parametrize(
    "email",
    ["", "ada", "@", "a@", "@b", "a b@c", "a@b@c", "a\x00@b", "a\n@b", "x" * 250 + "@b.cc"],
)
def test_what_is_no_address_is_refused(ledger: Ledger, email: str):
    with pytest.raises(BadRequest, match="no e-mail address"):
        _add(ledger, email)


def test_a_name_is_bounded(ledger: Ledger):
    with pytest.raises(BadRequest, match="name"):
        _add(ledger, first_name="x" * 257)


def test_a_user_holds_no_secret():
    assert {"password_hash", "oidc_subject"}.isdisjoint(one.name for one in fields(User))


def test_users_are_listed_in_pages(ledger: Ledger):
    for name in "cab":
        _add(ledger, f"{name}@example.com")

    assert [one.email[0] for one in people.list_users(ledger)] == ["a", "b", "c"]
    assert [one.email[0] for one in people.list_users(ledger, after="a@example.com")] == ["b", "c"]


def test_a_password_opens_and_another_does_not(ledger: Ledger):
    ada = _add(ledger, password_hash=hash_password(PASSWORD))

    user, kept = people.password_of(ledger, "ADA@example.com")

    assert user == ada
    assert kept is not None
    assert PASSWORD not in kept
    assert is_password(PASSWORD, kept)
    assert not is_password(PASSWORD + "!", kept)
    assert not is_outdated(kept)


def test_nobody_has_a_password_before_it_is_set(ledger: Ledger):
    _add(ledger)

    assert people.password_of(ledger, "ada@example.com")[1] is None
    assert people.password_of(ledger, "who@example.com") == (None, None)
    assert not is_password("nobody has this password", None)
    assert not is_password("x" * (LENGTH_MAX + 1), hash_password(PASSWORD))


@pytest.mark.parametrize("text", ["", "short", " " * 20, "x" * (LENGTH_MAX + 1)])
def test_a_weak_password_is_refused(text: str):
    with pytest.raises(BadRequest, match="12 to 256"):
        hash_password(text)


def test_a_new_password_logs_other_browsers_out(ledger: Ledger):
    ada = _add(ledger)
    mine, other = (sessions.begin(ledger, ada.id, None, NOW_MS) for _ in range(2))

    people.set_password(ledger, ada.id, "h", NOW_MS, keep=sessions.hash_of(mine))

    assert sessions.find(ledger, mine, NOW_MS) is not None
    assert sessions.find(ledger, other, NOW_MS) is None


def test_a_hash_is_refreshed_only_if_it_is_still_the_same(ledger: Ledger):
    ada = _add(ledger, password_hash="old")  # noqa: S106 - of nobody

    people.refresh_hash(ledger, ada.id, "other", "new")
    assert people.password_of(ledger, ada.email)[1] == "old"
    people.refresh_hash(ledger, ada.id, "old", "new")
    assert people.password_of(ledger, ada.email)[1] == "new"


def test_whoever_is_disabled_is_out_at_once(ledger: Ledger):
    ada = _add(ledger, password_hash=hash_password(PASSWORD))
    token = sessions.begin(ledger, ada.id, None, NOW_MS)

    people.set_disabled(ledger, ada.id, NOW_MS, disabled=True)

    assert sessions.find(ledger, token, NOW_MS) is None
    assert people.password_of(ledger, ada.email) == (None, None)
    people.set_disabled(ledger, ada.id, NOW_MS, disabled=False)
    assert sessions.find(ledger, token, NOW_MS) is None
    assert people.password_of(ledger, ada.email)[0] is not None


def test_names_and_rights_change(ledger: Ledger):
    ada = _add(ledger)

    people.set_name(ledger, ada.id, "A", "L", NOW_MS)
    people.set_site_admin(ledger, ada.id, NOW_MS, site_admin=True)

    found = people.user_of(ledger, ada.id)
    assert found is not None
    assert (found.name, found.site_admin) == ("A L", True)
    with pytest.raises(NotFound):
        people.set_name(ledger, "user_nobody", "A", "L", NOW_MS)


def test_an_identity_is_the_same_person_under_another_address(ledger: Ledger):
    first = people.signed_in(ledger, _says(first_name="Ada"), NOW_MS, may_create=True)
    again = people.signed_in(ledger, _says(email="lovelace@example.com"), NOW_MS, may_create=False)

    assert first == again
    assert first.name == "Ada"
    assert len(members.memberships_of(ledger, first.id)) == 1


def test_strangers_are_let_in_only_where_that_is_wanted(ledger: Ledger):
    with pytest.raises(Unauthorized):
        people.signed_in(ledger, _says(), NOW_MS, may_create=False)
    with pytest.raises(Unauthorized):
        people.signed_in(ledger, _says(email=""), NOW_MS, may_create=True)
    assert people.list_users(ledger) == ()


def test_an_address_that_is_taken_over_loses_the_password_set_before(ledger: Ledger):
    ada = _add(ledger, password_hash=hash_password(PASSWORD))
    token = sessions.begin(ledger, ada.id, None, NOW_MS)

    met = people.signed_in(ledger, _says(email="ADA@example.com"), NOW_MS, may_create=False)

    assert met.id == ada.id
    assert people.password_of(ledger, ada.email)[1] is None
    assert sessions.find(ledger, token, NOW_MS) is None


def test_an_address_cannot_be_taken_from_another_identity(ledger: Ledger):
    people.signed_in(ledger, _says("s1"), NOW_MS, may_create=True)

    with pytest.raises(Unauthorized):
        people.signed_in(ledger, _says("s2"), NOW_MS, may_create=True)


def test_a_disabled_person_is_not_let_in_by_the_identity_provider(ledger: Ledger):
    ada = people.signed_in(ledger, _says(), NOW_MS, may_create=True)
    people.set_disabled(ledger, ada.id, NOW_MS, disabled=True)
    with pytest.raises(Unauthorized):
        people.signed_in(ledger, _says(), NOW_MS, may_create=True)

    bob = _add(ledger, "bob@example.com")
    people.set_disabled(ledger, bob.id, NOW_MS, disabled=True)
    with pytest.raises(Unauthorized):
        people.signed_in(ledger, _says("s9", bob.email), NOW_MS, may_create=True)
