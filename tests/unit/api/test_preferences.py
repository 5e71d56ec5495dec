"""What an account prefers, over HTTP: the routes by themselves, on a real ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import CollectorRegistry

from api import closing, errors, preferences, small_body
from api.office import Office
from billing import accounts, api_keys, choices
from billing.db import Ledger, open_ledger
from routing.catalog.live import LiveCatalog
from routing.clock import FixedClock
from routing.errors import Forbidden
from routing.metrics import WebMetrics
from routing.store import redis_keys
from routing.store.budgets import Budgets, KeyCache
from routing.wire.account import AccountSettings, AutoTopUp, KeyRecord, RateLimits, RoutingPolicy
from tests.fixtures.charges import NOW_MS
from tests.fixtures.customers import GRANTED_NANO, Customer, make_customer

NOTHING_CHOSEN = {
    "allowed_providers": None,
    "ignored_providers": None,
    "enforce_zdr": False,
    "enable_paid_model_training": True,
    "enable_free_model_training": True,
    "enable_free_model_publication": True,
    "default_provider_sort": None,
    "default_text_model": None,
    "is_data_discount_logging_enabled": False,
    "auto_top_up": None,
    "default_plugins": [],
    "rate_limits": {"rpm": None, "tpm": None, "parallel": None},
}
ALL_CHOSEN = {
    "allowed_providers": ["openai", "anthropic"],
    "ignored_providers": ["azure"],
    "enforce_zdr": True,
    "enable_paid_model_training": False,
    "enable_free_model_training": False,
    "enable_free_model_publication": False,
    "default_provider_sort": "latency",
    "default_text_model": "openai/gpt-4o-mini",
    "is_data_discount_logging_enabled": True,
    "auto_top_up": {"threshold": 5.5, "amount": 20.0},
    "default_plugins": [
        {"id": "web", "enabled": True, "prevent_overrides": True, "max_results": 3},
        {"id": "response-healing", "enabled": False, "prevent_overrides": False},
    ],
}


@pytest.fixture
def ledger(sqlite_url: str) -> Iterator[Ledger]:
    opened = open_ledger(sqlite_url)
    yield opened
    opened.close()


@pytest.fixture
def customer(ledger: Ledger) -> Customer:
    return make_customer(ledger, kind="management")


@pytest.fixture
def office(ledger: Ledger, fake_redis: Any) -> Office:
    return Office(
        ledger=ledger, keys=KeyCache(fake_redis), budgets=Budgets(fake_redis), clock=FixedClock()
    )


@pytest.fixture
def served(office: Office, live: LiveCatalog) -> Callable[[Callable[[], KeyRecord]], FlaskClient]:
    def serve(who: Callable[[], KeyRecord]) -> FlaskClient:
        app = Flask(__name__)
        errors.install(app, office.clock, WebMetrics(CollectorRegistry()))
        app.register_blueprint(preferences.blueprint(office, live, who), url_prefix="/api/v1")
        app.register_blueprint(closing.blueprint(office, who), url_prefix="/api/v1")
        return app.test_client()

    return serve


@pytest.fixture
def client(served, customer: Customer) -> FlaskClient:
    client: FlaskClient = served(lambda: customer.key)
    return client


def choose(client: FlaskClient, **wanted: Any) -> Any:
    return client.patch("/api/v1/preferences", json=wanted)


def told(response: Any) -> Any:
    assert response.status_code == 200, response.data
    return response.get_json()["data"]


def refused(response: Any, status: int = 400) -> Any:
    assert response.status_code == status, response.data
    return response.get_json()["error"]


# preferences


def test_who_chose_nothing_is_told_the_defaults(client: FlaskClient):
    assert told(client.get("/api/v1/preferences")) == NOTHING_CHOSEN


def test_what_is_chosen_is_told_and_becomes_policy(client: FlaskClient, ledger, customer):
    answer = told(choose(client, **ALL_CHOSEN))

    assert answer == NOTHING_CHOSEN | ALL_CHOSEN == told(client.get("/api/v1/preferences"))
    found = choices.read(ledger, customer.account_id)
    assert found.policy == RoutingPolicy(
        only=("openai", "anthropic"),
        ignore=("azure",),
        zdr=True,
        deny_paid_training=True,
        deny_free_training=True,
        deny_free_publication=True,
        sort="latency",
        default_model="openai/gpt-4o-mini",
    )
    assert found.settings.logs


@pytest.mark.parametrize("name", sorted(ALL_CHOSEN))
def test_only_what_is_named_changes_and_null_takes_it_back(client: FlaskClient, name: str):
    choose(client, **ALL_CHOSEN)

    after = told(choose(client, **{name: None}))

    assert after == NOTHING_CHOSEN | ALL_CHOSEN | {name: NOTHING_CHOSEN[name]}


def test_an_empty_change_changes_nothing(client: FlaskClient):
    choose(client, **ALL_CHOSEN)

    assert told(choose(client)) == NOTHING_CHOSEN | ALL_CHOSEN


def test_slugs_are_lowered_and_named_once(client: FlaskClient):
    after = told(choose(client, allowed_providers=[" OpenAI", "openai"]))

    assert after["allowed_providers"] == ["openai"]


def test_cached_keys_of_the_account_are_dropped(client: FlaskClient, office, customer, ledger):
    other = make_customer(ledger)
    for key in (customer.key, other.key):
        assert office.keys.put(replace(key, fetched_ms=NOW_MS), b"")

    choose(client, enforce_zdr=True)

    assert office.keys.get(customer.key.key_hash).record is None
    assert office.keys.get(other.key.key_hash).record is not None
    found = api_keys.find(ledger, customer.key.key_hash, NOW_MS)
    assert found is not None
    assert found.policy.zdr


def test_what_others_decide_is_kept_and_shown(client: FlaskClient, ledger, customer):
    settings = AccountSettings(
        rates=RateLimits(rpm=5), auto_top_up=AutoTopUp(threshold_nano=1, amount_nano=2)
    )
    choices.change(ledger, customer.account_id, lambda found: replace(found, settings=settings))

    answer = told(choose(client, is_data_discount_logging_enabled=True))

    assert answer["rate_limits"] == {"rpm": 5, "tpm": None, "parallel": None}
    kept = choices.read(ledger, customer.account_id).settings
    assert kept == replace(settings, logs=True)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("enforce_zdr", "yes", "must be true or false, not a string"),
        ("enforce_zdr", 1, "must be true or false, not a number"),
        ("allowed_providers", "openai", "must be an array"),
        ("allowed_providers", [1], "must be a string"),
        ("allowed_providers", [""], "must have 1 or more characters"),
        ("allowed_providers", ["a\x00"], "must not contain NUL"),
        ("allowed_providers", ["openai"] * 201, "must have 200 items or fewer"),
        ("allowed_providers", ["nobody"], "No provider or endpoint is called 'nobody'"),
        ("ignored_providers", ["nobody"], "No provider or endpoint is called 'nobody'"),
        ("default_provider_sort", "cheap", "must be 'price', 'throughput' or 'latency'"),
        ("default_text_model", "no/such", "is not a valid model ID"),
        ("default_text_model", "x" * 257, "must have 256 characters or fewer"),
    ],
)
def test_a_choice_that_cannot_be_is_refused_whole(client: FlaskClient, field, value, words):
    error = refused(choose(client, **{"enforce_zdr": True, field: value}))

    assert words in error["message"]
    assert told(client.get("/api/v1/preferences")) == NOTHING_CHOSEN


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"null", b"\xff", b'{"enforce_zdr": NaN}'])
def test_what_is_no_object_is_refused(client: FlaskClient, body: bytes):
    refused(client.patch("/api/v1/preferences", data=body))


def test_a_body_too_large_is_refused(client: FlaskClient):
    big = b" " * (small_body.BODY_MAX + 1)

    refused(client.patch("/api/v1/preferences", data=big), 413)


def test_nobody_changes_columns_that_are_not_theirs(client: FlaskClient, ledger, customer):
    before = accounts.get(ledger, customer.account_id)

    for name in (
        *RoutingPolicy.__dataclass_fields__,
        *AccountSettings.__dataclass_fields__,
        *accounts.Account.__dataclass_fields__,
        *KeyRecord.__dataclass_fields__,
        "rate_limits",
    ):
        error = refused(choose(client, enforce_zdr=True, **{name: 1}))
        assert name in error["message"]

    assert accounts.get(ledger, customer.account_id) == before


def test_who_may_not_manage_reads_and_changes_nothing(served, ledger: Ledger, customer: Customer):
    def nobody() -> KeyRecord:
        raise Forbidden("Only management keys can perform this operation")

    client = served(nobody)

    refused(client.get("/api/v1/preferences"), 403)
    refused(choose(client, enforce_zdr=True), 403)
    refused(client.delete("/api/v1/account", json={"confirm": customer.account_id}), 403)
    found = accounts.get(ledger, customer.account_id)
    assert found is not None
    assert (found.version, found.closed_ms) == (0, None)


# closing


def end(client: FlaskClient, **body: Any) -> Any:
    return client.delete("/api/v1/account", json=body)


def test_an_account_is_closed_by_whoever_says_its_id(client: FlaskClient, office, customer, ledger):
    office.keys.put(replace(customer.key, fetched_ms=NOW_MS), b"")
    office.post(accounts.budget_of(ledger, customer.account_id))

    response = end(client, confirm=customer.account_id)

    assert response.get_json() == {"deleted": True, "forfeited": GRANTED_NANO / 1e9}
    assert office.keys.get(customer.key.key_hash).record is None
    found = accounts.get(ledger, customer.account_id)
    assert found is not None
    assert found.closed_ms is not None
    refused(client.get("/api/v1/preferences"), 404)


@pytest.mark.parametrize("confirm", [None, "", True, 1, "user_other", ["user_other"]])
def test_a_stray_delete_closes_nothing(client: FlaskClient, ledger, customer, confirm: Any):
    for response in (end(client, confirm=confirm), end(client), client.delete("/api/v1/account")):
        refused(response)

    found = accounts.get(ledger, customer.account_id)
    assert found is not None
    assert found.closed_ms is None


def test_another_accounts_id_closes_neither(client: FlaskClient, ledger, customer):
    other = make_customer(ledger)

    error = refused(end(client, confirm=other.account_id))

    assert error["metadata"]["param"] == "confirm"
    for account_id in (customer.account_id, other.account_id):
        found = accounts.get(ledger, account_id)
        assert found is not None
        assert found.closed_ms is None


def test_what_is_held_is_left_for_what_is_under_way(
    client: FlaskClient, ledger, customer, fake_redis
):
    fake_redis.hset(redis_keys.budget(customer.scope), "held", 1_000)

    response = end(client, confirm=customer.account_id)

    assert response.get_json()["forfeited"] == (GRANTED_NANO - 1_000) / 1e9
    assert accounts.budget_of(ledger, customer.account_id).available_nano == 1_000


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": -1, "amount": 20},
        {"threshold": 1},
        {"threshold": 1, "amount": 0},
        {"threshold": 1, "amount": 25_001},
        {"threshold": "1", "amount": 20},
        {"threshold": 1, "amount": 20, "card": "mine"},
    ],
)
def test_a_top_up_that_cannot_be(client: FlaskClient, wrong: dict[str, Any]):
    assert "auto_top_up" in refused(choose(client, auto_top_up=wrong))["metadata"]["param"]


def test_plugins_that_cannot_be(client: FlaskClient):
    for wrong in ([{"id": "web"}, {"id": "web"}], [{"id": "nothing"}], [{"enabled": True}]):
        told_why = refused(choose(client, default_plugins=wrong))
        assert told_why["metadata"]["param"].startswith("default_plugins")
