from __future__ import annotations

import re

import pytest

from billing import api_keys, members
from billing.api_keys import KeyTerms
from routing.errors import Forbidden
from routing.wire.account import KeyRecord
from tests.unit.api.console.conftest import Browser, Place

_KEY = re.compile(r"<code>(sk-or-v1-[0-9a-f]{64})</code>")


@pytest.fixture
def inside(browser: Browser) -> Browser:
    assert browser.log_in().status_code == 303
    return browser


def _own(place: Place) -> str:
    return members.memberships_of(place.ledger, place.ada.id)[0].account_id


def _made(place: Place, account_id: str, maker: str = "", **terms: object) -> str:
    wanted = KeyTerms(name="k", creator_user_id=maker, **terms)  # type: ignore[arg-type]
    return api_keys.mint(place.ledger, account_id, wanted, place.clock.now_ms())[1].key_hash


def _record(place: Place, key_hash: str) -> KeyRecord | None:
    return api_keys.find(place.ledger, key_hash, place.clock.now_ms())


def test_a_key_is_made_and_shown_once(place: Place, inside: Browser):
    assert "No key yet" in inside.get("/account/keys").text

    answer = inside.send(
        "/account/keys", name="<b>ci</b>", limit="$2.50", limit_reset="monthly", days="30"
    )

    found = _KEY.search(answer.text)
    assert found is not None
    assert "<b>" not in answer.text
    record = _record(place, api_keys.hash_key(found[1]))
    assert record is not None
    assert (record.name, record.kind, record.creator_user_id) == (
        "<b>ci</b>",
        "inference",
        place.ada.id,
    )
    assert (record.limit_nano, record.limit_reset) == (2_500_000_000, "monthly")
    assert record.expires_ms == place.clock.now_ms() + 30 * 86_400_000
    assert record.account_id == _own(place)
    again = inside.get("/account/keys").text
    assert found[1] not in again
    assert record.label in again


@pytest.mark.parametrize(
    "fields",
    [{}, {"name": " "}, {"name": "k", "limit": "-1"}, {"name": "k", "limit": "1e9"},
     {"name": "k", "days": "2"}, {"name": "x" * 300}],
)  # fmt: skip
def test_a_key_that_cannot_be_is_refused(place: Place, inside: Browser, fields: dict[str, str]):
    assert inside.send("/account/keys", **fields).status_code == 400
    assert api_keys.hashes_of(place.ledger, _own(place)) == ()


def test_a_key_is_disabled_enabled_and_deleted(place: Place, inside: Browser):
    key = _made(place, _own(place))
    keys = place.office.keys
    before = _record(place, key)
    assert before is not None
    for disabled, word in ((True, "yes"), (False, "no")):
        keys.put(before, keys.get(key).mark)
        answer = inside.send("/account/keys/disabled", key=key, disabled=word)
        assert answer.location == "/account/keys"
        assert keys.get(key).record is None
        found = _record(place, key)
        assert found is not None
        assert found.disabled is disabled

    assert inside.send("/account/keys/delete", key=key).location == "/account/keys"
    assert _record(place, key) is None
    assert inside.send("/account/keys/delete", key=key).status_code == 404


def test_the_keys_of_others_are_not_there(place: Place, inside: Browser):
    bob = place.add("bob")
    theirs = _made(place, members.memberships_of(place.ledger, bob.id)[0].account_id)

    for key in (theirs, "0" * 64, "", "x"):
        assert inside.send("/account/keys/delete", key=key).status_code == 404
        assert inside.send("/account/keys/disabled", key=key, disabled="yes").status_code == 404
    found = _record(place, theirs)
    assert found is not None
    assert not found.disabled


def test_members_have_their_own_keys_and_admins_all(place: Place, inside: Browser):
    bob = place.add("bob")
    now_ms = place.clock.now_ms()
    org = members.create_organization(place.ledger, "Engines", place.ada.id, now_ms).id
    members.add_member(place.ledger, org, bob.id, "member", now_ms)
    of_ada, of_bob = _made(place, org, place.ada.id), _made(place, org, bob.id)
    manager = _made(place, org, kind="management")
    browser = place.browser()
    browser.log_in(bob.email)
    browser.send("/account/switch", account_id=org)

    page = browser.get("/account/keys").text
    assert (of_bob in page, of_ada in page, manager in page) == (True, False, False)
    for key in (of_ada, manager):
        assert browser.send("/account/keys/delete", key=key).status_code == 404
    assert browser.send("/account/keys", name="k", kind="management").status_code == 403
    assert browser.send("/account/keys/delete", key=of_bob).status_code == 303

    inside.send("/account/switch", account_id=org)
    page = inside.get("/account/keys").text
    assert (of_ada in page, manager in page) == (True, True)
    answer = inside.send("/account/keys", name="m", kind="management")
    found = _KEY.search(answer.text)
    assert found is not None
    record = _record(place, api_keys.hash_key(found[1]))
    assert record is not None
    assert record.kind == "management"
    assert inside.send("/account/keys/delete", key=manager).status_code == 303


def test_who_is_no_admin_any_more_has_no_key_that_manages(place: Place, inside: Browser):
    # Given an admin with a key that manages, which front doors know, and one that does not
    bob, now_ms = place.add("bob"), place.clock.now_ms()
    org = members.create_organization(place.ledger, "Engines", place.ada.id, now_ms).id
    members.add_member(place.ledger, org, bob.id, "admin", now_ms)
    manages = _made(place, org, bob.id, kind="management")
    infers, of_ada = _made(place, org, bob.id), _made(place, org, place.ada.id, kind="management")
    known = place.office.keys
    before = _record(place, manages)
    assert before is not None
    known.put(before, known.get(manages).mark)
    # When they are made a member
    inside.send("/account/switch", account_id=org)
    inside.get("/account/keys")
    answer = inside.send("/account/members/role", user_id=bob.id, role="member")
    assert answer.status_code == 303
    # Then it is shut at once, and that one alone
    assert known.get(manages).record is None
    shut = [one for key in (manages, infers, of_ada) if (one := _record(place, key)) is not None]
    assert [one.disabled for one in shut] == [True, False, False]
    # And they can neither see it, open it, nor make another
    browser = place.browser()
    browser.log_in(bob.email)
    browser.send("/account/switch", account_id=org)
    page = browser.get("/account/keys").text
    assert (infers in page, manages in page) == (True, False)
    for path, fields in (("disabled", {"disabled": "no"}), ("delete", {})):
        answer = browser.send(f"/account/keys/{path}", key=manages, **fields)
        assert answer.status_code == 404
    with pytest.raises(Forbidden):
        _made(place, org, bob.id, kind="management")


def test_the_newest_keys_are_on_the_page(place: Place, inside: Browser):
    own, now_ms = _own(place), place.clock.now_ms()
    with place.ledger.writing() as connection:
        for count in range(1_050):
            terms = KeyTerms(name=f"key {count:04}", creator_user_id=place.ada.id)
            api_keys.mint_key(connection, own, terms, now_ms + count)
    page = inside.get("/account/keys").text
    assert all(f"key {count:04}" in page for count in range(950, 1_050))
    assert "key 0949" not in page
