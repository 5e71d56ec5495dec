from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, jsonify
from flask.testing import FlaskClient

from api.account import FreeToday, blueprint
from api.keys import workspace_of
from billing.db import Ledger
from billing.settlement import settle
from routing.clock import FixedClock
from routing.errors import RouterError
from routing.wire.account import KeyRecord
from routing.wire.job import AttemptRecord, Caller
from tests.fixtures.charges import COST_NANO, NOW_MS, generation_id
from tests.fixtures.customers import Customer, make_customer

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

NULL_OR_MORE = {
    "id", "upstream_id", "total_cost", "cache_discount", "upstream_inference_cost", "created_at",
    "model", "app_id", "streamed", "cancelled", "provider_name", "latency", "moderation_latency",
    "generation_time", "finish_reason", "native_finish_reason", "tokens_prompt",
    "tokens_completion", "native_tokens_prompt", "native_tokens_completion",
    "native_tokens_completion_images", "native_tokens_reasoning", "native_tokens_cached",
    "num_media_prompt", "num_input_audio_prompt", "num_media_completion", "num_search_results",
    "origin", "usage", "is_byok", "external_user", "api_type", "provider_responses", "request_id",
}  # fmt: skip

BUDGET = {
    "scope": "key_limit",
    "budget_id": None,
    "guardrail_id": None,
    "include_byok": False,
    "limit_usd": 0.001,
    "spend_usd": 0.0002,
    "remaining_usd": 0.0008,
    "reset_interval": "daily",
    "resets_at": "2025-12-05T00:00:00.000Z",
}


def client_of(ledger: Ledger, who: Callable[[], KeyRecord]) -> FlaskClient:
    app = Flask(__name__)
    routes = blueprint(ledger, who, FixedClock(NOW_MS), lambda _: FreeToday(limit=50, used=3))
    app.register_blueprint(routes, url_prefix="/api/v1")

    @app.errorhandler(RouterError)
    def render(error: RouterError) -> Any:
        return jsonify(error.body()), error.status

    return app.test_client()


def as_customer(ledger: Ledger, customer: Customer) -> FlaskClient:
    return client_of(ledger, lambda: customer.key)


def test_a_key_reads_its_limit_and_spend(ledger: Ledger):
    customer = make_customer(ledger, limit_nano=1_000_000, limit_reset="daily")
    settle(ledger, [customer.charge(1), customer.charge(2, created_ms=NOW_MS - 1)], NOW_MS)
    response = as_customer(ledger, customer).get("/api/v1/key")
    assert response.status_code == 200
    assert response.get_json() == {
        "data": {
            "label": customer.key.label,
            "limit": 0.001,
            "limit_remaining": 0.0008,
            "limit_reset": "daily",
            "include_byok_in_limit": False,
            "usage": 0.0004,
            "usage_daily": 0.0002,
            "usage_weekly": 0.0004,
            "usage_monthly": 0.0004,
            "byok_usage": 0,
            "byok_usage_daily": 0,
            "byok_usage_weekly": 0,
            "byok_usage_monthly": 0,
            "is_free_tier": False,
            "is_provisioning_key": False,
            "is_management_key": False,
            "expires_at": None,
            "rate_limit": {
                "requests": -1,
                "interval": "10s",
                "note": "This field is deprecated and safe to ignore.",
            },
            "rpm": None,
            "tpm": None,
            "parallel": None,
            "account_rate_limits": {"rpm": None, "tpm": None, "parallel": None},
            "budgets": [BUDGET],
            "effective_budget": BUDGET,
            "free_model_daily_requests": {"limit": 50, "used": 3, "remaining": 47},
            "allowed_data_regions": ["global"],
            "creator_user_id": None,
            "organization_id": None,
            "workspace_id": workspace_of(customer.account_id),
        }
    }


@pytest.mark.parametrize(
    ("reset", "left"), [(None, 0.0001), ("weekly", 0.0003), ("monthly", 0.0003)]
)
def test_what_remains_is_of_the_keys_own_window(ledger: Ledger, reset, left):
    # Given spend in November and on the Monday of this week, and a limit of 0.0005
    customer = make_customer(ledger, limit_nano=500_000, limit_reset=reset)
    days = [customer.charge(n, created_ms=NOW_MS - n * 86_400_000) for n in (3, 10)]
    settle(ledger, days, NOW_MS)
    data = as_customer(ledger, customer).get("/api/v1/auth/key").get_json()["data"]
    assert data["limit_remaining"] == left


def test_an_unlimited_key_that_never_paid(ledger: Ledger):
    customer = make_customer(ledger, granted_nano=0, expires_ms=NOW_MS + 1)
    data = as_customer(ledger, customer).get("/api/v1/key").get_json()["data"]
    assert (data["limit"], data["limit_remaining"], data["limit_reset"]) == (None, None, None)
    assert data["is_free_tier"] is True
    assert data["expires_at"] == "2025-12-04T00:00:00.001Z"


@pytest.mark.parametrize("kind", ["inference", "management"])
def test_a_generation_is_told_in_full(ledger: Ledger, kind):
    # Given a generation whose first attempt failed
    customer = make_customer(ledger, kind=kind)
    attempts = (
        AttemptRecord(endpoint_id="slow/eu:a/m:free", provider="Slow", status=504, latency_ms=90),
        AttemptRecord(endpoint_id="acme:acme/large", provider="Acme", status=200, latency_ms=300),
    )
    caller = Caller(
        account_id=customer.account_id,
        key_hash=customer.key.key_hash,
        request_id="req-1",
        app_url="https://app.example",
        user="u-1",
    )
    settle(ledger, [customer.charge(attempts=attempts, caller=caller)], NOW_MS)
    # When its owner asks
    response = as_customer(ledger, customer).get(f"/api/v1/generation?id={generation_id(1)}")
    data = response.get_json()["data"]
    # Then every field of the contract is there
    assert response.status_code == 200
    assert data.keys() >= NULL_OR_MORE
    told = {name: data[name] for name in data if data[name] is not None}
    assert told.pop("provider_responses") == [
        {
            "id": None,
            "endpoint_id": "slow/eu:a/m:free",
            "provider_name": "Slow",
            "model_permaslug": "a/m:free",
            "status": 504,
            "latency": 90,
            "is_byok": False,
        },
        {
            "id": "chatcmpl-1",
            "endpoint_id": "acme:acme/large",
            "provider_name": "Acme",
            "model_permaslug": "acme/large",
            "status": 200,
            "latency": 300,
            "is_byok": False,
        },
    ]
    assert told == {
        "id": generation_id(1),
        "request_id": "req-1",
        "upstream_id": "chatcmpl-1",
        "total_cost": COST_NANO / 10**9,
        "usage": COST_NANO / 10**9,
        "created_at": "2025-12-04T00:00:00.000Z",
        "model": "acme/large",
        "streamed": True,
        "cancelled": False,
        "provider_name": "Acme",
        "latency": 300,
        "generation_time": 1_700,
        "finish_reason": "stop",
        "native_finish_reason": "end_turn",
        "tokens_prompt": 100,
        "tokens_completion": 50,
        "native_tokens_prompt": 100,
        "native_tokens_completion": 50,
        "native_tokens_reasoning": 0,
        "native_tokens_cached": 0,
        "native_tokens_completion_images": 0,
        "origin": "https://app.example",
        "http_referer": "https://app.example",
        "is_byok": False,
        "external_user": "u-1",
        "app_id": 1,
        "workspace_id": workspace_of(customer.account_id),
        "api_type": "completions",
        "data_region": "global",
    }


def test_a_generation_must_be_named(ledger: Ledger):
    response = as_customer(ledger, make_customer(ledger)).get("/api/v1/generation")
    assert response.status_code == 400
    assert response.get_json()["error"]["metadata"] == {"param": "id"}


def test_the_generations_of_others_are_as_unknown_as_none(ledger: Ledger):
    # Given a generation of Ada, and Bob asking for it, for one nobody made, and for nonsense
    ada, bob = make_customer(ledger), make_customer(ledger)
    settle(ledger, [ada.charge()], NOW_MS)
    client = as_customer(ledger, bob)
    answers = [
        client.get("/api/v1/generation", query_string={"id": wanted})
        for wanted in (generation_id(1), generation_id(2), "gen-x' OR 1=1 --", "\x00" * 3)
    ]
    # Then all four answers are the same
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.get_data() for answer in answers}) == 1
    assert answers[0].get_json() == {"error": {"code": 404, "message": "Generation not found"}}
