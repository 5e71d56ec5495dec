from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest

from api.console.sign_up import PER_ADDRESS, give_allowance
from billing import accounts, members, people
from billing.people import User
from tests.unit.api.console.conftest import PASSWORD, Browser, Place

GIVEN = {"email": "Eve@example.com", "password": PASSWORD, "again": PASSWORD}


@pytest.fixture
def open_place(make_place: Callable[..., Place]) -> Place:
    return make_place(sign_up="open")


@pytest.fixture
def eve(open_place: Place) -> Browser:
    browser = open_place.browser()
    browser.get("/signup")
    return browser


def _found(place: Place, email: str = "eve@example.com") -> User:
    user = people.user_by_email(place.ledger, email)
    assert user is not None
    return user


def _balance(place: Place, user: User) -> int:
    own = members.memberships_of(place.ledger, user.id)[0].account_id
    return accounts.budget_of(place.ledger, own).available_nano


def test_it_is_closed_unless_it_was_opened(place: Place, browser: Browser):
    assert browser.get("/signup").status_code == 404
    page = browser.get("/login")
    assert "/signup" not in page.text
    assert browser.send("/signup", **GIVEN).status_code == 404
    assert people.user_by_email(place.ledger, "eve@example.com") is None


def test_who_signs_up_is_in_and_has_credit_that_was_not_bought(open_place: Place, eve: Browser):
    assert "/signup" in eve.get("/login").text
    eve.get("/signup?next=/auth%3Fx%3D1")

    answer = eve.send("/signup", **GIVEN, first_name="Eve", next="/auth?x=1")

    assert (answer.status_code, answer.location) == (303, "/auth?x=1")
    assert "Eve" in eve.get("/account").text
    user = _found(open_place)
    assert not user.site_admin
    assert _balance(open_place, user) == 100_000_000
    own = members.memberships_of(open_place.ledger, user.id)[0].account_id
    account = accounts.get(open_place.ledger, own)
    assert account is not None
    assert (account.granted_nano, account.purchased_nano) == (100_000_000, 0)


def test_the_allowance_is_given_once(open_place: Place, eve: Browser):
    eve.send("/signup", **GIVEN)
    user = _found(open_place)

    give_allowance(open_place.office, user, 100_000_000)

    assert _balance(open_place, user) == 100_000_000


def test_the_allowance_may_be_nothing(make_place: Callable[..., Place]):
    place = make_place(sign_up="open", allowance_usd=Decimal(0))
    browser = place.browser()
    browser.get("/signup")
    assert browser.send("/signup", **GIVEN).status_code == 303
    assert _balance(place, _found(place)) == 0


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"email": "ada@example.com"}, 409),
        ({"email": "nobody"}, 400),
        ({"email": ""}, 400),
        ({"password": "short", "again": "short"}, 400),
        ({"again": "another"}, 400),
        ({"first_name": "x" * 300}, 400),
    ],
)
def test_what_cannot_be_is_told_on_the_page(
    open_place: Place, eve: Browser, changes: dict[str, str], status: int
):
    answer = eve.send("/signup", **(GIVEN | changes))

    assert answer.status_code == status
    assert 'role="alert"' in answer.text
    assert PASSWORD not in answer.text
    assert len(people.list_users(open_place.ledger)) == 1


def test_nobody_makes_themselves_an_operator(open_place: Place, eve: Browser):
    eve.send("/signup", **GIVEN, site_admin="true", role="admin", granted_nano="9", disabled="x")

    user = _found(open_place)
    assert not user.site_admin
    assert _balance(open_place, user) == 100_000_000


def test_accounts_are_not_made_by_the_thousand(eve: Browser):
    for number in range(PER_ADDRESS):
        eve.send("/signup", **(GIVEN | {"email": f"e{number}@example.com", "password": "x"}))

    assert eve.send("/signup", **GIVEN).status_code == 429
