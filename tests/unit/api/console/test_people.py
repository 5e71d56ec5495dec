from __future__ import annotations

import re
from typing import Any

import pytest

from billing import api_keys, members
from billing.api_keys import KeyTerms
from billing.people import user_of
from tests.unit.api.console.conftest import PASSWORD, Browser, Place

NEW = "another horse battery"
SHORT = "x"


@pytest.fixture
def inside(browser: Browser) -> Browser:
    assert browser.log_in().status_code == 303
    return browser


def _org(place: Place, browser: Browser, name: str = "Engines") -> str:
    """Open an organisation in the browser; it acts for it from then on."""
    assert browser.send("/account/organizations", name=name).location == "/account/members"
    browser.get("/account/members")
    return members.memberships_of(place.ledger, place.ada.id)[-1].account_id


def test_a_name_is_changed_and_shown_as_text(inside: Browser):
    answer = inside.send("/account/name", first_name="<script>alert(1)</script>", last_name='"x')

    assert answer.location == "/account"
    page = inside.get("/account").text
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert inside.send("/account/name", first_name="x" * 300).status_code == 400


def test_a_password_is_changed_by_who_knows_it(place: Place, inside: Browser):
    wrong = inside.send("/account/password", password=SHORT, new_password=NEW, again=NEW)
    assert wrong.status_code == 401
    inside.get("/account")
    unlike = inside.send("/account/password", password=PASSWORD, new_password=NEW, again="x")
    assert unlike.status_code == 400
    inside.get("/account")
    short = inside.send("/account/password", password=PASSWORD, new_password=SHORT, again=SHORT)
    assert short.status_code == 400
    other = place.browser()
    other.log_in()
    inside.get("/account")

    done = inside.send("/account/password", password=PASSWORD, new_password=NEW, again=NEW)

    assert done.location == "/account"
    assert inside.get("/account").status_code == 200
    assert other.get("/account").status_code == 303
    assert place.browser().log_in().status_code == 401
    assert place.browser().log_in(password=NEW).status_code == 303


def test_all_browsers_are_logged_out_at_once(place: Place, inside: Browser):
    other = place.browser()
    other.log_in()
    bob = place.add("bob")
    bobs = place.browser()
    bobs.log_in(bob.email)

    assert inside.send("/account/logout-everywhere").location == "/login"

    assert [one.get("/account").status_code for one in (inside, other, bobs)] == [303, 303, 200]


def test_nobody_switches_to_an_account_of_others(place: Place, inside: Browser):
    bob = place.add("bob")
    theirs = members.memberships_of(place.ledger, bob.id)[0].account_id

    for account in (theirs, "user_none", ""):
        assert inside.send("/account/switch", account_id=account).status_code == 404
    strangers = place.browser()
    strangers.get("/login")
    assert strangers.send("/account/switch", account_id=theirs).location.startswith("/login")


def test_an_organization_is_opened_and_filled(place: Place, inside: Browser):
    place.add("bob")
    org = _org(place, inside)

    assert (
        inside.send("/account/members", email="BOB@example.com ", role="member").status_code == 303
    )

    page = inside.get("/account/members").text
    assert re.search(r"<td>bob@example\.com</td>\s*<td>member</td>", page)
    assert "2 in all" in page
    assert members.members_of(place.ledger, org)[1] == 2


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"email": "who@example.com", "role": "member"}, 404),
        ({"email": "ada@example.com", "role": "member"}, 409),
        ({"email": "bob@example.com", "role": "owner"}, 400),
        ({"email": "bob@example.com"}, 400),
        ({}, 400),
    ],
)
def test_who_cannot_be_added_is_told(
    place: Place, inside: Browser, fields: dict[str, str], status: int
):
    place.add("bob")
    org = _org(place, inside)

    assert inside.send("/account/members", **fields).status_code == status
    assert members.members_of(place.ledger, org)[1] == 1


def test_a_member_cannot_do_what_admins_do(place: Place, inside: Browser):
    bob, eve = place.add("bob"), place.add("eve")
    org = _org(place, inside)
    inside.send("/account/members", email=bob.email, role="member")
    browser = place.browser()
    browser.log_in(bob.email)
    browser.send("/account/switch", account_id=org)
    page = browser.get("/account/members")

    assert "Add somebody" not in page.text
    assert "Make admin" not in page.text
    # The page has no form but those to leave and to log out; an old token is as good as one.
    for path, fields in {
        "/account/members": {"email": eve.email, "role": "admin"},
        "/account/members/role": {"user_id": bob.id, "role": "admin"},
        "/account/members/remove": {"user_id": place.ada.id},
    }.items():
        assert browser.send(path, **fields).status_code == 403
    assert members.role_of(place.ledger, org, bob.id) == "member"
    assert members.members_of(place.ledger, org)[1] == 2


def test_admins_act_in_their_own_organization_only(place: Place, inside: Browser):
    bob = place.add("bob")
    theirs = members.create_organization(place.ledger, "Other", bob.id, place.clock.now_ms()).id
    _org(place, inside)

    assert inside.send("/account/members/role", user_id=bob.id, role="member").status_code == 404
    assert inside.send("/account/members/remove", user_id=bob.id).status_code == 404
    assert inside.send("/account/members", email=bob.email, role="member", account_id=theirs)
    assert members.role_of(place.ledger, theirs, bob.id) == "admin"
    assert members.role_of(place.ledger, theirs, place.ada.id) is None


def test_a_personal_account_has_no_members(inside: Browser):
    assert inside.get("/account/members").status_code == 404
    assert inside.send("/account/members", email="x@example.com", role="admin").status_code == 404


def test_roles_change_and_the_last_admin_stays(place: Place, inside: Browser):
    bob = place.add("bob")
    org = _org(place, inside)
    inside.send("/account/members", email=bob.email, role="member")

    alone = inside.send("/account/members/remove", user_id=place.ada.id)
    assert alone.status_code == 409
    assert "needs an admin" in alone.text
    inside.send("/account/members/role", user_id=bob.id, role="admin")
    assert members.role_of(place.ledger, org, bob.id) == "admin"
    left = inside.send("/account/members/remove", user_id=place.ada.id)
    assert left.location == "/account"
    page = inside.get("/account").text
    assert "<h1>ada@example.com</h1>" in page
    assert members.role_of(place.ledger, org, place.ada.id) is None


def test_the_keys_of_who_leaves_stop_at_once(place: Place, inside: Browser):
    bob = place.add("bob")
    org = _org(place, inside)
    inside.send("/account/members", email=bob.email, role="member")
    now_ms = place.clock.now_ms()
    terms = KeyTerms(name="k", creator_user_id=bob.id)
    _, record = api_keys.mint(place.ledger, org, terms, now_ms)
    known: Any = place.office.keys
    assert known.put(record, known.get(record.key_hash).mark)

    inside.send("/account/members/remove", user_id=bob.id)

    assert known.get(record.key_hash).record is None
    found = api_keys.find(place.ledger, record.key_hash, now_ms)
    assert found is not None
    assert found.disabled
    assert user_of(place.ledger, bob.id) is not None


def test_names_of_organizations_are_text(place: Place, inside: Browser):
    _org(place, inside, "<img src=x onerror=alert(1)>")

    for path in ("/account/members", "/account"):
        assert "<img" not in inside.get(path).text
    assert inside.send("/account/organizations", name=" ").status_code == 400


def test_every_page_needs_a_log_in(place: Place):
    browser = place.browser()
    browser.get("/login")
    for rule in place.app.url_map.iter_rules():
        path = rule.rule
        if path.startswith(("/login", "/logout", "/signup", "/auth", "/console.css")):
            continue
        posts = "POST" in (rule.methods or set())
        answer = browser.send(path) if posts else browser.get(path)
        assert answer.status_code == 303, path
        assert answer.location.startswith("/login?next="), path


def test_one_person_runs_a_bounded_number_of_organizations(
    place: Place, inside: Browser, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(members, "ORGANIZATIONS_MAX", 2)
    _org(place, inside)
    inside.get("/account")
    assert inside.send("/account/organizations", name="One more").status_code == 409
