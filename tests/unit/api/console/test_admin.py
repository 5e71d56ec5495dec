from __future__ import annotations

import re

import pytest

from billing import accounts, members, people
from routing.store import redis_keys
from tests.unit.api.console.conftest import Browser, Place


@pytest.fixture
def operator(place: Place, browser: Browser) -> Browser:
    people.set_site_admin(place.ledger, place.ada.id, place.clock.now_ms(), site_admin=True)
    browser.log_in()
    return browser


def _reference(browser: Browser) -> str:
    found = re.search(r'name="reference" value="([^"]+)"', browser.get("/admin/accounts").text)
    assert found is not None
    return found[1]


def test_those_who_run_the_site_see_all_accounts(place: Place, operator: Browser):
    place.add("bob")
    accounts.create_account(place.ledger, "<i>acme</i>", place.clock.now_ms())

    page = operator.get("/admin/accounts").text

    assert "bob@example.com" in page
    assert "&lt;i&gt;acme" in page
    assert 'href="/admin/accounts"' in operator.get("/account").text


def test_nobody_else_does(place: Place, browser: Browser):
    account = accounts.create_account(place.ledger, "acme", place.clock.now_ms())
    browser.log_in()

    assert browser.get("/admin/accounts").status_code == 403
    fields = {"account_id": account.id, "amount": "5", "reference": "r"}
    assert browser.send("/admin/accounts/grant", **fields).status_code == 403
    assert accounts.budget_of(place.ledger, account.id).available_nano == 0
    assert 'href="/admin/accounts"' not in browser.get("/account").text


def test_credit_is_granted_once_per_form(place: Place, operator: Browser):
    own = members.memberships_of(place.ledger, place.ada.id)[0].account_id
    fields = {
        "account_id": own,
        "amount": "12.34",
        "note": "thanks",
        "reference": _reference(operator),
    }

    for _ in range(2):
        assert operator.send("/admin/accounts/grant", **fields).location == "/admin/accounts"

    assert accounts.budget_of(place.ledger, own).available_nano == 12_340_000_000
    cached = place.redis.hget(redis_keys.budget(f"acct:{own}"), "avail")
    assert int(cached) == 12_340_000_000
    account = accounts.get(place.ledger, own)
    assert account is not None
    assert account.purchased_nano == 0
    other = fields | {"reference": _reference(operator), "bought": "yes", "amount": "1"}
    operator.send("/admin/accounts/grant", **other)
    account = accounts.get(place.ledger, own)
    assert account is not None
    assert account.purchased_nano == 1_000_000_000


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"amount": ""}, 400),
        ({"amount": "0"}, 400),
        ({"amount": "-5"}, 400),
        ({"amount": "9999999.5"}, 400),
        ({"amount": "x"}, 400),
        ({"reference": ""}, 400),
        ({"account_id": ""}, 400),
        ({"account_id": "user_none"}, 404),
    ],
)
def test_a_grant_that_cannot_be_is_refused(
    place: Place, operator: Browser, changes: dict[str, str], status: int
):
    own = members.memberships_of(place.ledger, place.ada.id)[0].account_id
    fields = {"account_id": own, "amount": "5", "reference": _reference(operator)}

    assert operator.send("/admin/accounts/grant", **(fields | changes)).status_code == status
    assert accounts.budget_of(place.ledger, own).available_nano == 0


def test_accounts_are_listed_in_pages(
    place: Place, operator: Browser, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("api.console.admin.SHOWN_MAX", 2)
    ids = sorted(
        [
            *(
                accounts.create_account(place.ledger, name, place.clock.now_ms()).id
                for name in "abc"
            ),
            members.memberships_of(place.ledger, place.ada.id)[0].account_id,
        ]
    )

    first = operator.get("/admin/accounts").text
    assert [one in first for one in ids[:2]] == [True, True]
    assert ids[3] not in first
    last = operator.get(f"/admin/accounts?after={ids[1]}").text
    assert [one in last for one in ids] == [False, False, True, True]
    assert "after=" not in last
