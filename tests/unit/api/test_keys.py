"""`/keys` over HTTP: Flask's client, a real ledger in a file, Redis in memory."""

from __future__ import annotations

from typing import Any

import pytest
from openrouter import operations
from sqlalchemy import insert

from api import keys, small_body
from api.auth import Authenticator
from api.keys import blueprint, workspace_of
from api.office import Office
from billing import api_keys, settlement, tables
from billing.api_keys import KeyTerms
from routing.errors import Unauthorized
from routing.store import redis_keys
from routing.store.budgets import Budgets, KeyCache
from routing.wire.account import RateLimits
from tests.fixtures.charges import COST_NANO, NOW_MS
from tests.fixtures.customers import make_customer

FIELDS = {
    "hash", "name", "label", "disabled", "limit", "limit_remaining", "limit_reset",
    "include_byok_in_limit", "usage", "usage_daily", "usage_weekly", "usage_monthly",
    "byok_usage", "byok_usage_daily", "byok_usage_weekly", "byok_usage_monthly", "created_at",
    "updated_at", "expires_at", "last_used_at", "creator_user_id", "workspace_id", "external_user",
    "rpm", "tpm", "parallel",
}  # fmt: skip


class Manager:
    """One account's management key and what it asks."""

    def __init__(self, site: Any) -> None:
        self.site = site
        self.account_id = site.customer.account_id
        terms = KeyTerms(name="boss", kind="management")
        self.text, self.key = api_keys.mint(site.ledger, self.account_id, terms, NOW_MS)

    def __call__(self, method: str, path: str = "", status: int = 200, **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.text}"} | options.pop("headers", {})
        response = self.site.client.open(
            f"/api/v1/keys{path}", method=method, headers=headers, **options
        )
        assert response.status_code == status, response.get_data(as_text=True)
        return response.get_json()

    def makes(self, **fields: Any) -> tuple[str, dict[str, Any]]:
        """A key of these terms: its text, and how it is listed."""
        body = self("POST", status=201, json={"name": "of a customer"} | fields)
        return body["key"], body["data"]


@pytest.fixture
def site(site):
    """The site with the routes of keys, if its application has none yet."""
    if not any(rule.rule == "/api/v1/keys" for rule in site.app.url_map.iter_rules()):
        parts = site.parts
        office = Office(
            ledger=site.ledger,
            keys=KeyCache(site.redis),
            budgets=Budgets(site.redis),
            clock=site.clock,
        )
        guard = Authenticator(parts.ledger, KeyCache(site.redis), site.clock)

        def authenticate():
            return guard.management_key(keys.request.headers.get("Authorization"))

        site.app.register_blueprint(blueprint(office, authenticate), url_prefix="/api/v1")
    return site


@pytest.fixture
def manager(site) -> Manager:
    return Manager(site)


def test_a_key_is_made_shown_once_and_listed_without_its_secret(site, manager):
    text, data = manager.makes(
        limit=12.5,
        limit_reset="monthly",
        include_byok_in_limit=True,
        expires_at="2027-12-31T23:59:59Z",
    )

    assert data.keys() == FIELDS
    assert data["hash"] == api_keys.hash_key(text)
    assert data["label"] == api_keys.label_of(text)
    assert (data["limit"], data["limit_remaining"], data["limit_reset"]) == (12.5, 12.5, "monthly")
    assert data["include_byok_in_limit"] is True
    assert data["expires_at"] == "2027-12-31T23:59:59.000Z"
    assert data["created_at"] == "2025-12-04T00:00:00.000Z"
    assert (data["updated_at"], data["last_used_at"], data["disabled"]) == (None, None, False)
    assert data["workspace_id"] == workspace_of(manager.account_id)
    assert manager("GET", f"/{data['hash']}") == {"data": data}
    assert text not in str(manager("GET"))
    headers = {"Authorization": f"Bearer {text}"}
    assert site.client.get("/api/v1/key", headers=headers).get_json()["data"]["limit"] == 12.5


def test_answers_fit_the_models_of_the_official_client(manager):
    made = manager("POST", status=201, json={"name": "k", "limit": 1, "limit_reset": "weekly"})
    path = f"/{made['data']['hash']}"

    operations.CreateKeysResponse.model_validate(made)
    operations.GetKeyResponse.model_validate(manager("GET", path))
    operations.ListResponse.model_validate(manager("GET"))
    operations.UpdateKeysResponse.model_validate(manager("PATCH", path, json={"limit": None}))
    operations.DeleteKeysResponse.model_validate(manager("DELETE", path))


def test_a_key_with_nothing_but_a_name_is_without_limits(manager):
    _, data = manager.makes()

    assert (data["limit"], data["limit_remaining"], data["limit_reset"]) == (None, None, None)
    assert data["expires_at"] is None
    assert data["include_byok_in_limit"] is False


def test_the_paths_of_the_guide_end_in_a_slash_too(manager):
    body = manager("POST", "/", status=201, json={"name": "slashed"})
    assert body["data"]["name"] == "slashed"
    assert manager("GET", "/")["data"]
    assert manager("GET", f"/{body['data']['hash']}/")["data"]["name"] == "slashed"


def test_the_newest_come_first_a_hundred_at_a_time(site, manager):
    for number in range(101):
        site.clock.advance(1)
        api_keys.mint(
            site.ledger, manager.account_id, KeyTerms(name=str(number)), site.clock.now_ms()
        )

    first = [key["name"] for key in manager("GET")["data"]]
    rest = [key["name"] for key in manager("GET", query_string={"offset": 100})["data"]]

    assert first == [str(number) for number in range(100, 0, -1)]
    assert rest == ["0", "k"]
    assert manager("GET", query_string={"offset": "999999999"}) == {"data": []}
    assert len(manager("GET", query_string={"offset": "null"})["data"]) == 100


def test_shut_keys_are_listed_when_asked_for(manager):
    _, data = manager.makes()
    manager("PATCH", f"/{data['hash']}", json={"disabled": True})

    def listed(**query: str) -> set[str]:
        return {key["hash"] for key in manager("GET", query_string=query)["data"]}

    assert data["hash"] not in listed()
    assert data["hash"] not in listed(include_disabled="false")
    assert data["hash"] in listed(include_disabled="true")


def test_a_change_leaves_alone_what_it_does_not_name(site, manager):
    _, before = manager.makes(limit=10, limit_reset="daily", expires_at="2027-01-01T00:00:00Z")
    site.clock.advance(1_500)

    after = manager(
        "PATCH", f"/{before['hash']}", json={"name": "Updated", "include_byok_in_limit": True}
    )["data"]

    assert after == before | {
        "name": "Updated",
        "include_byok_in_limit": True,
        "updated_at": "2025-12-04T00:00:01.500Z",
    }
    assert manager("GET", f"/{before['hash']}")["data"] == after


def test_null_takes_a_limit_away(manager):
    _, data = manager.makes(limit=10, limit_reset="daily", expires_at="2027-01-01T00:00:00Z")

    changed = {"limit": None, "limit_reset": None, "expires_at": None}
    after = manager("PATCH", f"/{data['hash']}", json=changed)["data"]

    assert {name: after[name] for name in changed} == changed
    assert after["limit_remaining"] is None


def test_spend_counts_against_the_window_of_the_limit(site, manager):
    key = site.customer.key.key_hash
    charges = [site.customer.charge(1), site.customer.charge(2, created_ms=NOW_MS - 1)]
    settlement.settle(site.ledger, charges, NOW_MS)
    spent = COST_NANO / 10**9

    data = manager("PATCH", f"/{key}", json={"limit": 1, "limit_reset": "daily"})["data"]
    assert data["usage"] == pytest.approx(2 * spent)
    assert data["usage_daily"] == spent
    assert data["limit_remaining"] == 1 - spent
    assert data["last_used_at"] == "2025-12-04T00:00:00.000Z"

    data = manager("PATCH", f"/{key}", json={"limit_reset": "weekly"})["data"]
    assert data["limit_remaining"] == pytest.approx(1 - 2 * spent)
    data = manager("PATCH", f"/{key}", json={"limit": spent})["data"]
    assert data["limit_remaining"] == 0


def test_front_doors_act_on_a_change(site, manager):
    # Given a key with a limit that a front door has cached, and its balance with it
    text, data = manager.makes(limit=10)
    headers = {"Authorization": f"Bearer {text}"}
    assert site.client.get("/api/v1/key", headers=headers).status_code == 200
    assert KeyCache(site.redis).get(data["hash"]).record is not None
    late = api_keys.budget_of(site.ledger, data["hash"], NOW_MS)
    Budgets(site.redis).post((late,))

    # When it is given less, and somebody is late to tell of the balance before
    manager("PATCH", f"/{data['hash']}", json={"limit": 2})
    Budgets(site.redis).post((late,))

    # Then the old record is in no cache, and the new balance is
    assert KeyCache(site.redis).get(data["hash"]).record is None
    cached = site.redis.hgetall(redis_keys.budget(late.scope))
    assert b"2000000000" in cached.values()
    assert b"10000000000" not in cached.values()


def test_a_shut_key_is_refused_and_an_opened_one_is_not(site, manager):
    text, data = manager.makes()

    def status() -> int:
        site.clock.advance(1)
        fresh = Authenticator(site.ledger, KeyCache(site.redis), site.clock)
        try:
            fresh.key(f"Bearer {text}")
        except Unauthorized as error:
            return error.status
        return 200

    assert status() == 200
    manager("PATCH", f"/{data['hash']}", json={"disabled": True})
    assert status() == 401
    manager("PATCH", f"/{data['hash']}", json={"disabled": False})
    assert status() == 200
    manager("DELETE", f"/{data['hash']}")
    assert status() == 401


def test_a_deleted_key_is_gone_and_its_spend_is_kept(site, manager):
    key = site.customer.key.key_hash
    settlement.settle(site.ledger, [site.customer.charge(1)], NOW_MS)

    assert manager("DELETE", f"/{key}") == {"deleted": True}

    for method in ("GET", "PATCH", "DELETE"):
        options = {"json": {"name": "x"}} if method == "PATCH" else {}
        assert manager(method, f"/{key}", status=404, **options)["error"]["code"] == 404
    assert key not in str(manager("GET", query_string={"include_disabled": "true"}))
    assert api_keys.find(site.ledger, key, NOW_MS) is None
    assert not api_keys.disable(site.ledger, key, NOW_MS)
    # What was under way is still settled
    settlement.settle(site.ledger, [site.customer.charge(2)], NOW_MS)
    assert api_keys.usage(site.ledger, key, NOW_MS).total_nano == 2 * COST_NANO


def test_keys_of_others_and_keys_that_manage_are_not_there(site, manager):
    other = make_customer(site.ledger).key.key_hash
    for key in (other, manager.key.key_hash, "0" * 64, "..", "%00", "A" * 64):
        manager("GET", f"/{key}", status=404)
        manager("PATCH", f"/{key}", status=404, json={"disabled": True})
        manager("DELETE", f"/{key}", status=404)
    listed = manager("GET", query_string={"include_disabled": "true"})["data"]
    assert [key["hash"] for key in listed] == [site.customer.key.key_hash]


def test_only_keys_that_manage_may_manage(site, manager):
    theirs = {"Authorization": f"Bearer {site.customer.text}"}
    nobodys = {"Authorization": ""}
    path = f"/{site.customer.key.key_hash}"
    calls = (("GET", ""), ("POST", ""), ("GET", path), ("PATCH", path), ("DELETE", path))
    for method, where in calls:
        told = manager(method, where, status=403, headers=theirs)["error"]
        assert told["message"] == "Only management keys can perform this operation"
        manager(method, where, status=401, headers=nobodys)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"name": ""}, "name"),
        ({"name": " "}, "name"),
        ({"name": None}, "name"),
        ({"name": 5}, "name"),
        ({"name": "x" * 257}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"limit": -1}, "limit"),
        ({"limit": -1e-12}, "limit"),
        ({"limit": 9_000_001}, "limit"),
        ({"limit": 1e308}, "limit"),
        ({"limit": "5"}, "limit"),
        ({"limit": True}, "limit"),
        ({"limit_reset": "yearly"}, "limit_reset"),
        ({"include_byok_in_limit": "yes"}, "include_byok_in_limit"),
        ({"include_byok_in_limit": None}, "include_byok_in_limit"),
        ({"disabled": None}, "disabled"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"expires_at": "2027-12-31"}, "expires_at"),
        ({"expires_at": "2027-12-31T23:59Z"}, "expires_at"),
        ({"expires_at": "2027-12-31T23:59:59"}, "expires_at"),
        ({"expires_at": "2027-12-31T23:59:59+02:00"}, "expires_at"),
        ({"expires_at": "2027-02-30T23:59:59Z"}, "expires_at"),
        ({"expires_at": "0000-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2025-12-04T00:00:00Z"}, "expires_at"),
        ({"expires_at": 1_900_000_000}, "expires_at"),
        ({"rpm": 0}, "rpm"),
        ({"rpm": -1}, "rpm"),
        ({"rpm": 1.5}, "rpm"),
        ({"rpm": True}, "rpm"),
        ({"tpm": 6_000_001}, "tpm"),
        ({"tpm": "100"}, "tpm"),
        ({"parallel": 0}, "parallel"),
        ({"parallel": 2**63}, "parallel"),
        ({"workspace_id": "0df9e665-d932-5740-b2c7-b52af166bc11"}, "workspace_id"),
        ({"creator_user_id": "user_\x00"}, "creator_user_id"),
        ({"creator_user_id": "x" * 65}, "creator_user_id"),
    ],
)
def test_terms_that_cannot_be_are_refused_and_change_nothing(site, manager, fields, param):
    before = manager("GET")
    key = site.customer.key.key_hash

    made = manager("POST", status=400, json={"name": "k"} | fields)
    changed = manager("PATCH", f"/{key}", status=400, json=fields)

    assert made["error"]["metadata"]["param"] == param
    assert changed["error"]["metadata"]["param"] == param
    assert manager("GET") == before


@pytest.mark.parametrize(
    "moment", ["2027-12-31T23:59:59Z", "2027-12-31T23:59:59+00:00", "2027-12-31T23:59:59.000000Z"]
)
def test_moments_as_clients_write_them(manager, moment):
    _, data = manager.makes(expires_at=moment)
    assert data["expires_at"] == "2027-12-31T23:59:59.000Z"


@pytest.mark.parametrize(
    ("limit", "nano"),
    [(0, 0), (0.1, 100_000_000), (1 / 3, 333_333_333), (1e-12, 0), (9_000_000, 9 * 10**15)],
)
def test_a_limit_is_exact_and_never_more_than_was_said(site, manager, limit, nano):
    text, _ = manager.makes(limit=limit)
    found = api_keys.find(site.ledger, api_keys.hash_key(text), NOW_MS)
    assert found is not None
    assert found.limit_nano == nano


def test_how_fast_a_key_may_ask_is_set_changed_and_taken_back(site, manager):
    text, data = manager.makes(rpm=60, tpm=6_000_000)
    assert (data["rpm"], data["tpm"], data["parallel"]) == (60, 6_000_000, None)

    after = manager("PATCH", f"/{data['hash']}", json={"rpm": None, "parallel": 5})["data"]

    assert (after["rpm"], after["tpm"], after["parallel"]) == (None, 6_000_000, 5)
    found = api_keys.find(site.ledger, api_keys.hash_key(text), NOW_MS)
    assert found is not None
    assert found.rates == RateLimits(tpm=6_000_000, parallel=5)


@pytest.mark.parametrize("field", ["limit_usd", "limt", "kind", "account_id", "app_id", "hash"])
def test_a_field_that_nobody_knows_is_an_error(manager, field):
    manager("POST", status=400, json={"name": "k", field: 5})
    key = manager.site.customer.key.key_hash
    manager("PATCH", f"/{key}", status=400, json={field: 5})


def test_bodies_that_are_no_terms(manager):
    manager("POST", status=400, data=b"")
    manager("POST", status=400, data=b"[]")
    manager("POST", status=400, json={})
    manager("POST", status=413, data=b" " * (small_body.BODY_MAX + 1))


@pytest.mark.parametrize(
    "query",
    [{"offset": "-1"}, {"offset": "x"}, {"include_disabled": "maybe"}, {"workspace_id": "other"}],
)
def test_queries_that_cannot_be(manager, query):
    manager("GET", status=400, query_string=query)


def test_the_accounts_own_workspace_may_be_named(manager):
    workspace = workspace_of(manager.account_id)
    _, data = manager.makes(workspace_id=workspace)
    listed = manager("GET", query_string={"workspace_id": workspace})["data"]
    assert data["hash"] in {key["hash"] for key in listed}


def test_the_maker_of_a_key_is_a_member_of_the_account(site, manager):
    # Given a member, whom the management key was made by
    with site.ledger.writing() as connection:
        for user, email in (("user_ada", "ada@x.example"), ("user_bob", "bob@x.example")):
            connection.execute(
                insert(tables.users),
                {
                    "id": user,
                    "email": email,
                    "site_admin": False,
                    "disabled": False,
                    "created_ms": NOW_MS,
                    "updated_ms": NOW_MS,
                },
            )
        for user, role in (("user_ada", "admin"), ("user_bob", "member")):
            connection.execute(
                insert(tables.members),
                {
                    "account_id": manager.account_id,
                    "user_id": user,
                    "role": role,
                    "created_ms": NOW_MS,
                },
            )
    terms = KeyTerms(name="boss", kind="management", creator_user_id="user_ada")
    manager.text, manager.key = api_keys.mint(site.ledger, manager.account_id, terms, NOW_MS)

    # Then the keys it makes are hers unless another member is named
    text, data = manager.makes()
    assert data["creator_user_id"] == "user_ada"
    record = api_keys.find(site.ledger, api_keys.hash_key(text), NOW_MS)
    assert record is not None
    assert record.creator_user_id == "user_ada"
    assert manager.makes(creator_user_id=None)[1]["creator_user_id"] == "user_ada"
    _, data = manager.makes(creator_user_id="user_bob")
    assert data["creator_user_id"] == "user_bob"
    # And a change cannot give a key to somebody else
    after = manager("PATCH", f"/{data['hash']}", json={"creator_user_id": "user_ada"})["data"]
    assert after["creator_user_id"] == "user_bob"

    told = manager("POST", status=400, json={"name": "k", "creator_user_id": "user_eve"})
    assert told["error"]["metadata"]["param"] == "creator_user_id"


def test_an_account_has_a_bounded_number_of_keys(manager, monkeypatch):
    monkeypatch.setattr(api_keys, "KEYS_MAX", 3)
    _, data = manager.makes()

    told = manager("POST", status=403, json={"name": "one too many"})

    assert told["error"]["message"] == "An account may have 3 keys; delete some first."
    manager("DELETE", f"/{data['hash']}")
    manager.makes()
