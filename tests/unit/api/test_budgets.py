"""Budgets over HTTP, and what they refuse: Flask's client, a real ledger, Redis in memory."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from openrouter import components, operations
from sqlalchemy import insert

from api import small_body
from api.keys import workspace_of
from billing import api_keys, choices, settlement, tables
from billing.api_keys import KeyTerms
from routing.store.budgets import Budgets, KeyCache
from routing.wire.account import RateLimits
from routing.wire.frames import Kind
from tests.fixtures.charges import COST_NANO, NOW_MS
from tests.fixtures.customers import Customer, make_customer

COST = COST_NANO / 10**9
#: Whatever a front door remembers of a key, and a little for a busy machine.
FOLLOWS_WITHIN_S = 1.5
BOB = "usr_bob"


class Manager:
    """One account's management key and what it asks."""

    def __init__(self, site: Any) -> None:
        self.site = site
        self.account_id = site.customer.account_id
        terms = KeyTerms(name="boss", kind="management")
        self.text, self.key = api_keys.mint(site.ledger, self.account_id, terms, NOW_MS)

    def __call__(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.text}"} | options.pop("headers", {})
        response = self.site.client.open(
            f"/api/v1{path}", method=method, headers=headers, **options
        )
        assert response.status_code == status, response.get_data(as_text=True)
        return response.get_json()

    def puts(self, place: str, interval: str, limit_usd: float, **fields: Any) -> Any:
        """A budget."""
        path = f"{place}/budgets/{interval}"
        return self("PUT", path, json={"limit_usd": limit_usd} | fields)


@pytest.fixture
def manager(site) -> Manager:
    return Manager(site)


@pytest.fixture
def bob(site) -> Customer:
    """A member of the customer's account, with a key of his own."""
    person = {
        "id": BOB, "email": "bob@x.example", "site_admin": False, "disabled": False,
        "created_ms": NOW_MS, "updated_ms": NOW_MS,
    }  # fmt: skip
    account_id = site.customer.account_id
    belongs = {
        "account_id": account_id, "user_id": BOB, "role": "member", "created_ms": NOW_MS,
    }  # fmt: skip
    with site.ledger.writing() as connection:
        connection.execute(insert(tables.users), person)
        connection.execute(insert(tables.members), belongs)
    terms = KeyTerms(name="bob's", creator_user_id=BOB)
    text, key = api_keys.mint(site.ledger, account_id, terms, NOW_MS)
    return Customer(account_id=account_id, text=text, key=key)


def of_key(customer: Customer) -> str:
    return f"/keys/{customer.key.key_hash}"


def places(customer: Customer) -> tuple[str, ...]:
    return of_key(customer), f"/organization/members/{BOB}", "/organization"


def spend(site: Any, customer: Customer, *numbers: int, **changes: Any) -> None:
    """Settle generations of a customer, and tell front doors of it."""
    charges = [customer.charge(number, **changes) for number in numbers]
    member = customer.key.creator_user_id
    charges = [replace(one, caller=replace(one.caller, member=member)) for one in charges]
    Budgets(site.redis).post(settlement.settle(site.ledger, charges, NOW_MS).budgets)


def ask(site: Any, customer: Customer) -> Any:
    """A chat request with a customer's key."""
    site.door.script.clear()
    site.door.plays(Kind.BODY, b'{"object":"chat.completion"}')
    return site.ask(headers={"Authorization": f"Bearer {customer.text}"})


def refused(site: Any, customer: Customer) -> dict[str, Any]:
    """The error that a customer is told, as soon as front doors know of the change."""
    end_s = time.monotonic() + FOLLOWS_WITHIN_S
    while (response := ask(site, customer)).status_code == 200:
        assert time.monotonic() < end_s, "still let in"
        time.sleep(0.05)
    error: dict[str, Any] = response.get_json()["error"]
    assert error["code"] == response.status_code
    return error


# written down


def test_budgets_of_keys_members_and_accounts_are_set_listed_and_taken_away(manager, bob):
    for place in places(bob):
        assert manager("GET", f"{place}/budgets") == {
            "data": [],
            "include_byok_in_budgets": False,
        }
        made = manager.puts(place, "monthly", 500)
        assert made == {
            "data": {
                "id": made["data"]["id"],
                "workspace_id": workspace_of(manager.account_id),
                "limit_usd": 500,
                "reset_interval": "monthly",
                "created_at": "2025-12-04T00:00:00.000Z",
                "updated_at": "2025-12-04T00:00:00.000Z",
            },
            "include_byok_in_budgets": False,
        }
        ever = manager.puts(place, "lifetime", 1000.25, include_byok_in_budgets=True)
        assert ever["data"]["reset_interval"] is None
        assert ever["include_byok_in_budgets"] is True
        listed = manager("GET", f"{place}/budgets")
        assert listed == {
            "data": [made["data"], ever["data"]],
            "include_byok_in_budgets": True,
        }
        assert manager("GET", f"{place}/budgets/monthly")["data"] == made["data"]
        for _ in range(2):
            assert manager("DELETE", f"{place}/budgets/monthly") == {"deleted": True}
        assert manager("GET", f"{place}/budgets")["data"] == [ever["data"]]
        manager("GET", f"{place}/budgets/monthly", status=404)


def test_answers_fit_the_models_of_the_official_client(manager, bob):
    for place in places(bob):
        put = manager.puts(place, "weekly", 5)
        components.UpsertWorkspaceBudgetResponse.model_validate(put)
        listed = manager("GET", f"{place}/budgets")
        components.ListWorkspaceBudgetsResponse.model_validate(listed)
        one = manager("GET", f"{place}/budgets/weekly")
        components.GetWorkspaceBudgetResponse.model_validate(one)
        gone = manager("DELETE", f"{place}/budgets/weekly")
        components.DeleteWorkspaceBudgetResponse.model_validate(gone)


def test_a_shorter_interval_must_allow_less(manager):
    manager.puts("/organization", "weekly", 10)
    for interval, limit_usd in (("daily", 10), ("daily", 11), ("monthly", 10), ("lifetime", 9.99)):
        path = f"/organization/budgets/{interval}"
        told = manager("PUT", path, status=400, json={"limit_usd": limit_usd})["error"]
        assert told["metadata"]["param"] == "limit_usd"
        assert "must be less than" in told["message"]
    assert [one["limit_usd"] for one in manager("GET", "/organization/budgets")["data"]] == [10]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"limit_usd": 0},
        {"limit_usd": -1},
        {"limit_usd": 1e-12},
        {"limit_usd": 9_000_001},
        {"limit_usd": 1e308},
        {"limit_usd": None},
        {"limit_usd": "5"},
        {"limit_usd": True},
        {"limit_usd": 5, "include_byok_in_budgets": "yes"},
        {"limit_usd": 5, "reset_interval": "daily"},
        {"limit_usd": 5, "account_id": "user_x"},
    ],
)
def test_budgets_that_cannot_be_are_refused(manager, fields):
    path = f"{of_key(manager.site.customer)}/budgets/daily"
    manager("PUT", path, status=400, json=fields)
    assert manager("GET", path.removesuffix("/daily"))["data"] == []


def test_bodies_and_intervals_that_are_none(manager):
    path = f"{of_key(manager.site.customer)}/budgets"
    for body in (b"", b"[]", b'{"limit_usd": NaN}', b'{"limit_usd": 1e999}'):
        manager("PUT", f"{path}/daily", status=400, data=body)
    manager("PUT", f"{path}/daily", status=413, data=b" " * (small_body.BODY_MAX + 1))
    for method in ("GET", "PUT", "DELETE"):
        for interval in ("yearly", "DAILY", "null", "%00"):
            manager(method, f"{path}/{interval}", status=400, json={"limit_usd": 1})


@pytest.mark.usefixtures("bob")
def test_keys_and_members_of_others_are_as_unknown_as_none(site, manager):
    other = make_customer(site.ledger)
    told = set()
    for name in (other.key.key_hash, manager.key.key_hash, "0" * 64, "x", "%00"):
        for method, path in (("GET", ""), ("PUT", "/daily"), ("DELETE", "/daily")):
            body = manager(method, f"/keys/{name}/budgets{path}", 404, json={"limit_usd": 1})
            told.add(body["error"]["message"].replace(name, "…").replace("\x00", "…"))
    assert told == {"No key has the hash …."}

    manager.account_id = other.account_id
    terms = KeyTerms(name="boss", kind="management")
    manager.text, _ = api_keys.mint(site.ledger, other.account_id, terms, NOW_MS)
    told = set()
    for name in (BOB, "usr_nobody", "%00", "x" * 65, "a%20b"):
        for method, path in (("GET", ""), ("PUT", "/daily"), ("DELETE", "/daily")):
            where = f"/organization/members/{name}/budgets{path}"
            told.add(manager(method, where, 404, json={"limit_usd": 1})["error"]["message"])
    assert told == {"No such member"}


def test_only_keys_that_manage_may_set_budgets(manager, bob):
    theirs = {"Authorization": f"Bearer {bob.text}"}
    for place in places(bob):
        for method, path in (
            ("GET", ""),
            ("GET", "/daily"),
            ("PUT", "/daily"),
            ("DELETE", "/daily"),
        ):
            where = f"{place}/budgets{path}"
            manager(method, where, status=403, headers=theirs)
            manager(method, where, status=401, headers={"Authorization": ""})


# what they refuse


@pytest.mark.parametrize(
    ("place", "named"),
    [
        (0, ("Key", "api_key", "openrouter_guardrail_budget")),
        (1, ("Member", "member", "openrouter_guardrail_budget")),
        (2, ("Organization", "workspace", "openrouter_workspace_budget")),
    ],
)
def test_a_budget_that_is_used_up_refuses_within_a_second(site, manager, bob, place, named):
    name, scope, source = named
    # Given a key that front doors know and let in, and what it spent
    assert ask(site, bob).status_code == 200
    spend(site, bob, 1, 2)

    # When less than that is allowed
    manager.puts(places(bob)[place], "daily", COST)

    # Then it is refused, in the contract's words
    told = refused(site, bob)
    assert told["code"] == 403
    assert told["message"] == f"{name} daily budget of $0.00 exceeded. Contact your org admin."
    assert told["metadata"] == {
        "limit_source": source,
        "scope": scope,
        "limit_usd": COST,
        "spend_usd": pytest.approx(2 * COST),
        "resets_at": "2025-12-05T00:00:00.000Z",
    }

    # And let in again when the budget is gone
    manager("DELETE", f"{places(bob)[place]}/budgets/daily")
    end_s = time.monotonic() + FOLLOWS_WITHIN_S
    while ask(site, bob).status_code != 200:
        assert time.monotonic() < end_s, "still refused"
        time.sleep(0.05)


def test_a_budget_bounds_nobody_elses_spend(site, manager, bob):
    spend(site, bob, 1)
    manager.puts(of_key(bob), "lifetime", COST)
    manager.puts(f"/organization/members/{BOB}", "daily", COST)

    assert refused(site, bob)["code"] == 403
    assert ask(site, site.customer).status_code == 200


def test_spend_uses_a_budget_up(site, manager):
    manager.puts("/organization", "weekly", 0.001)
    assert ask(site, site.customer).status_code == 200

    spend(site, site.customer, *range(5))

    assert refused(site, site.customer)["metadata"]["spend_usd"] == pytest.approx(5 * COST)


def test_the_broadest_budget_that_is_used_up_is_named(site, manager):
    spend(site, site.customer, 1, 2, 3, 4)
    place = of_key(site.customer)
    for number, interval in enumerate(("daily", "weekly", "monthly"), start=1):
        manager.puts(place, interval, number * COST)
    manager.puts(place, "lifetime", 1)

    told = refused(site, site.customer)

    assert told["message"].startswith("Key monthly budget of $0.00 exceeded")
    assert told["metadata"]["resets_at"] == "2026-01-01T00:00:00.000Z"


def test_a_request_that_may_cost_more_than_is_left_is_refused_before_it_runs(site, manager):
    manager.puts("/organization", "daily", 0.000000001)

    told = refused(site, site.customer)

    assert told["code"] == 402
    assert told["metadata"]["reason"] == "weight_exceeds_budget"
    assert told["metadata"]["limit_source"] == "openrouter_workspace_budget"


def test_front_doors_that_were_told_late_keep_the_new_balance(site, manager):
    place = of_key(site.customer)
    manager.puts(place, "daily", 10)
    record = api_keys.find(site.ledger, site.customer.key.key_hash, NOW_MS)
    assert record is not None
    cache = KeyCache(site.redis)
    assert cache.put(record, cache.get(record.key_hash).mark)

    manager.puts(place, "daily", 2 * COST)

    assert cache.get(record.key_hash).record is None
    spend(site, site.customer, 1, 2)
    assert refused(site, site.customer)["metadata"]["limit_usd"] == 2 * COST


# GET /key


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the client's own models
def test_a_key_reads_every_budget_it_is_under(site, manager, bob):
    manager("PATCH", of_key(bob), json={"limit": 8 * COST, "limit_reset": "weekly", "rpm": 7})
    manager.puts("/organization", "lifetime", 1)
    manager.puts(f"/organization/members/{BOB}", "daily", 5 * COST)
    manager.puts(of_key(bob), "daily", 3 * COST, include_byok_in_budgets=True)
    spend(site, bob, 1)
    spend(site, bob, 2, byok="byok_1", fee_ppm=0)
    time.sleep(1.05)  # what the front door remembers of the key

    headers = {"Authorization": f"Bearer {bob.text}"}
    body = site.client.get("/api/v1/key", headers=headers).get_json()

    operations.GetCurrentKeyResponse.model_validate(body)
    data = body["data"]
    told = [(one["scope"], one["reset_interval"], one["include_byok"]) for one in data["budgets"]]
    assert told == [
        ("key_limit", "weekly", False),
        ("workspace", None, False),
        ("member", "daily", False),
        ("api_key", "daily", True),
    ]
    assert [one["spend_usd"] for one in data["budgets"]] == pytest.approx(
        [COST, COST, COST, 2 * COST]
    )
    assert data["effective_budget"] == data["budgets"][3]
    assert data["effective_budget"]["remaining_usd"] == pytest.approx(COST)
    assert data["effective_budget"]["resets_at"] == "2025-12-05T00:00:00.000Z"
    assert data["budgets"][1]["resets_at"] is None
    assert [one["guardrail_id"] for one in data["budgets"]] == [None] * 4
    assert [bool(one["budget_id"]) for one in data["budgets"]] == [False, True, True, True]
    assert data["creator_user_id"] == BOB
    assert data["workspace_id"] == workspace_of(bob.account_id)
    assert data["organization_id"] is None
    assert (data["rpm"], data["tpm"], data["parallel"]) == (7, None, None)
    assert data["account_rate_limits"] == {"rpm": None, "tpm": None, "parallel": None}


def test_the_budget_in_effect_is_the_one_that_refuses(site, manager, bob):
    manager.puts("/organization", "monthly", COST)
    manager.puts(of_key(bob), "daily", COST / 2)
    spend(site, bob, 1)

    told = refused(site, bob)
    headers = {"Authorization": f"Bearer {bob.text}"}
    data = site.client.get("/api/v1/key", headers=headers).get_json()["data"]

    assert told["metadata"]["scope"] == data["effective_budget"]["scope"] == "workspace"


# rates


def too_many(response: Any) -> tuple[dict[str, Any], Any]:
    """The error of a 429 and the headers that came with it."""
    assert response.status_code == 429, response.get_data(as_text=True)
    error: dict[str, Any] = response.get_json()["error"]
    assert error["code"] == 429
    assert int(response.headers["Retry-After"]) >= 1
    return error, response.headers


def account_rates(site: Any, **rates: int) -> None:
    choices.change(
        site.ledger,
        site.customer.account_id,
        lambda found: replace(found, settings=replace(found.settings, rates=RateLimits(**rates))),
    )


@pytest.mark.parametrize("whose", ["key", "account"])
def test_requests_beyond_a_rate_are_told_when_to_come_again(site, manager, whose):
    if whose == "key":
        manager("PATCH", of_key(site.customer), json={"rpm": 2})
    else:
        account_rates(site, rpm=2)
    assert [ask(site, site.customer).status_code for _ in range(2)] == [200, 200]

    error, headers = too_many(ask(site, site.customer))

    assert error["message"] == f"Rate limit exceeded: 2 requests per minute of this {whose}."
    named = {name: headers[name] for name in error["metadata"]["headers"]}
    assert error["metadata"] == {
        "headers": named,
        "limit_source": f"{whose}_requests_per_minute",
    }
    assert (named["X-RateLimit-Limit"], named["X-RateLimit-Remaining"]) == ("2", "0")
    wait_ms = int(named["X-RateLimit-Reset"]) - NOW_MS
    assert 25_000 < wait_ms <= 30_000
    assert int(headers["Retry-After"]) == -(-wait_ms // 1000)


@pytest.mark.parametrize("whose", ["key", "account"])
def test_tokens_beyond_a_rate_are_refused(site, manager, whose):
    if whose == "key":
        manager("PATCH", of_key(site.customer), json={"tpm": 30})
    else:
        account_rates(site, tpm=30)
    answers = [ask(site, site.customer) for _ in range(4)]
    assert answers[0].status_code == 200

    error, headers = too_many(answers[-1])

    assert error["message"] == f"Rate limit exceeded: 30 tokens per minute of this {whose}."
    assert error["metadata"]["limit_source"] == f"{whose}_tokens_per_minute"
    assert headers["X-RateLimit-Limit"] == "30"


@pytest.mark.parametrize("whose", ["key", "account"])
def test_more_requests_at_once_are_refused(site, manager, whose):
    if whose == "key":
        manager("PATCH", of_key(site.customer), json={"parallel": 1})
    else:
        account_rates(site, parallel=1)
    assert ask(site, site.customer).status_code == 200  # and its job is not over

    error, headers = too_many(ask(site, site.customer))

    assert error["message"] == f"Rate limit exceeded: 1 requests at once of this {whose}."
    assert error["metadata"] == {"limit_source": f"{whose}_parallel_requests", "limit": 1}
    assert "X-RateLimit-Limit" not in headers


def test_a_keys_rate_is_its_own_and_an_accounts_is_shared(site, manager, bob):
    manager("PATCH", of_key(site.customer), json={"rpm": 1})
    account_rates(site, rpm=2)
    assert ask(site, site.customer).status_code == 200
    error, _ = too_many(ask(site, site.customer))
    assert error["metadata"]["limit_source"] == "key_requests_per_minute"

    assert ask(site, bob).status_code == 200
    error, _ = too_many(ask(site, bob))
    assert error["metadata"]["limit_source"] == "account_requests_per_minute"
