from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import CollectorRegistry

from api import errors, organization
from api.office import Office
from billing import api_keys, members, people
from billing.api_keys import KeyTerms
from billing.db import Ledger, open_ledger
from billing.people import NewUser
from routing.clock import FixedClock
from routing.metrics import WebMetrics
from routing.store.budgets import Budgets, KeyCache
from tests.fixtures.charges import NOW_MS
from tests.fixtures.customers import make_customer

PATH = "/api/v1/organization/members"


@pytest.fixture
def ledger(sqlite_url: str) -> Iterator[Ledger]:
    opened = open_ledger(sqlite_url)
    yield opened
    opened.close()


@pytest.fixture
def ask(ledger: Ledger, fake_redis: Any) -> Any:
    """Asks as an account's management key."""
    key = make_customer(ledger).key

    def client(account_id: str) -> FlaskClient:
        clock = FixedClock()
        office = Office(
            ledger=ledger, keys=KeyCache(fake_redis), budgets=Budgets(fake_redis), clock=clock
        )
        app = Flask("organization", static_folder=None)
        errors.install(app, clock, WebMetrics(CollectorRegistry()))
        record = type(key)(key_hash="h", account_id=account_id, kind="management", label="l")
        app.register_blueprint(organization.blueprint(office, lambda: record), url_prefix="/api/v1")
        return app.test_client()

    return client


def _user(ledger: Ledger, name: str, **names: str) -> str:
    wanted = NewUser(email=f"{name}@example.com", **names)  # type: ignore[arg-type]
    return people.create_user(ledger, wanted, NOW_MS).id


def test_members_are_listed_as_the_contract_has_them(ledger: Ledger, ask: Any):
    ada = _user(ledger, "ada", first_name="Ada", last_name="Lovelace")
    org = members.create_organization(ledger, "Engines", ada, NOW_MS).id
    bob = _user(ledger, "bob")
    members.add_member(ledger, org, bob, "member", NOW_MS + 1)

    answer = ask(org).get(PATH)

    assert answer.json == {
        "data": [
            {
                "id": ada,
                "email": "ada@example.com",
                "first_name": "Ada",
                "last_name": "Lovelace",
                "role": "org:admin",
            },
            {
                "id": bob,
                "email": "bob@example.com",
                "first_name": None,
                "last_name": None,
                "role": "org:member",
            },
        ],
        "total_count": 2,
    }
    page = ask(org).get(f"{PATH}?offset=1&limit=1").json
    assert [one["id"] for one in page["data"]] == [bob]
    assert page["total_count"] == 2
    assert ask(org).get(f"{PATH}?offset=null").json["total_count"] == 2


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "offset=-1", "offset=1.5"])
def test_a_page_that_cannot_be_is_refused(ledger: Ledger, ask: Any, query: str):
    org = members.create_organization(ledger, "Engines", _user(ledger, "ada"), NOW_MS).id

    answer = ask(org).get(f"{PATH}?{query}")

    assert answer.status_code == 400
    assert answer.json["error"]["metadata"]["param"] == query.partition("=")[0]


def test_a_personal_account_is_no_organization(ledger: Ledger, ask: Any):
    own = members.memberships_of(ledger, _user(ledger, "ada"))[0].account_id

    for account in (own, "user_none"):
        assert ask(account).get(PATH).status_code == 404


@pytest.fixture
def org(ledger: Ledger) -> str:
    return members.create_organization(ledger, "Engines", _user(ledger, "ada"), NOW_MS).id


def test_a_member_is_added_changed_and_removed(ledger: Ledger, ask: Any, org: str):
    bob = _user(ledger, "bob")
    client = ask(org)

    added = client.post(PATH, json={"email": "BOB@example.com"})
    assert (added.status_code, added.json["data"]["role"]) == (201, "org:member")
    assert client.post(PATH, json={"email": "bob@example.com"}).status_code == 409
    changed = client.patch(f"{PATH}/{bob}", json={"role": "org:admin"})
    assert changed.json["data"] == added.json["data"] | {"role": "org:admin"}
    assert client.delete(f"{PATH}/{bob}").json == {"deleted": True}
    assert client.delete(f"{PATH}/{bob}").status_code == 404
    assert client.get(PATH).json["total_count"] == 1


def test_the_last_admin_stays(ledger: Ledger, ask: Any, org: str):
    ada = members.members_of(ledger, org)[0][0].user.id

    assert ask(org).delete(f"{PATH}/{ada}").status_code == 409
    assert ask(org).patch(f"{PATH}/{ada}", json={"role": "org:member"}).status_code == 409


def test_people_of_others_are_strangers(ledger: Ledger, ask: Any, org: str):
    bob = _user(ledger, "bob")
    theirs = members.create_organization(ledger, "Other", bob, NOW_MS).id
    client = ask(org)

    unknown = client.delete(f"{PATH}/user_{'x' * 27}")
    for user_id in (bob, "x", "user_%00"):
        answer = client.delete(f"{PATH}/{user_id}")
        assert (answer.status_code, answer.json) == (404, unknown.json)
        answer = client.patch(f"{PATH}/{user_id}", json={"role": "org:admin"})
        assert (answer.status_code, answer.json) == (404, unknown.json)
    assert members.role_of(ledger, theirs, bob) == "admin"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"email": ""},
        {"email": 7},
        {"email": "a\x00@b.c"},
        {"email": "x" * 300},
        {"email": "bob@example.com", "role": "admin"},
        {"email": "bob@example.com", "role": "org:owner"},
        {"email": "bob@example.com", "account_id": "user_x"},
        {"email": "bob@example.com", "site_admin": True},
    ],
)
def test_a_body_that_cannot_be_is_refused(
    ledger: Ledger, ask: Any, org: str, body: dict[str, object]
):
    _user(ledger, "bob")

    assert ask(org).post(PATH, json=body).status_code == 400
    assert members.members_of(ledger, org)[1] == 1


def test_strangers_and_large_bodies_are_refused(ask: Any, org: str):
    assert ask(org).post(PATH, json={"email": "who@example.com"}).status_code == 404
    assert ask(org).post(PATH, data=b" " * 70_000).status_code == 413
    assert ask("user_none").post(PATH, json={"email": "a@b.c"}).status_code == 404


def test_the_keys_that_manage_of_who_is_no_admin_any_more_are_shut(
    ledger: Ledger, ask: Any, org: str
):
    bob = _user(ledger, "bob")
    members.add_member(ledger, org, bob, "admin", NOW_MS)
    terms = KeyTerms(name="k", kind="management", creator_user_id=bob)
    _, record = api_keys.mint(ledger, org, terms, NOW_MS)
    assert ask(org).patch(f"{PATH}/{bob}", json={"role": "org:member"}).status_code == 200
    found = api_keys.find(ledger, record.key_hash, NOW_MS)
    assert found is not None
    assert found.disabled
