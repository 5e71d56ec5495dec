"""What the front door makes of routing: headers, the account's settings, conversations."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from billing.accounts import change_policy
from routing.plan import facts
from routing.sticky import sticky_name
from routing.store import redis_keys as keys
from routing.wire.account import RoutingPolicy
from routing.wire.chat import checked
from routing.wire.frames import Kind
from routing.wire.job import JobSpec

LLAMA = "meta-llama/llama-3.3-70b-instruct"
#: At two providers, each with a cheaper price for cached prompts.
CACHED = "openai/gpt-4o"
#: The same at a provider that trains on prompts.
TRAINED = "deepseek/deepseek-v3.2"
TOLD = {"X-OpenRouter-Metadata": "Enabled"}
TALK = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "And?"},
]


def admitted(site: Any, body: dict[str, Any], **options: Any) -> JobSpec:
    """The job of a request that was let in."""
    site.door.plays(Kind.BODY, b"{}")
    answer = site.ask(body, **options)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    job = site.door.jobs.look(answer.headers["X-Generation-Id"])
    assert job is not None
    return JobSpec.from_json(job.spec)


def allow(site: Any, **policy: Any) -> None:
    change_policy(site.ledger, site.customer.account_id, lambda _: RoutingPolicy(**policy))


def slugs(spec: JobSpec) -> set[str]:
    return {entry.endpoint_id.split(":")[0].split("/")[0] for entry in spec.entries}


def test_a_job_tells_its_route_only_to_who_asks(site):
    assert admitted(site, {}).route is None

    route = admitted(site, {"models": [LLAMA]}, headers=TOLD).route

    assert route is not None
    assert (route.requested, route.strategy) == ("openai/gpt-4o-mini", "fallback")
    endpoints = site.parts.catalog.current.by_model
    assert route.total == len(endpoints["openai/gpt-4o-mini"]) + len(endpoints[LLAMA])


@pytest.mark.parametrize("headers", [{}, {"X-OpenRouter-Metadata": "yes"}])
def test_a_refusal_names_the_filter(site, headers: dict[str, str]):
    answer = site.ask({"provider": {"only": ["cohere"]}}, headers=headers)

    assert answer.status_code == 404
    assert answer.json["error"]["metadata"]["failed_routing_step"] == "Filter by Allowed Providers"
    assert "openrouter_metadata" not in answer.json


def test_a_refusal_shows_the_whole_funnel_to_who_asks(site):
    body = {"models": [LLAMA], "provider": {"max_price": {"prompt": 0}}, "tools": []}

    answer = site.ask(body, headers=TOLD)

    told = answer.json["openrouter_metadata"]
    assert told["attempt"] == 0
    assert told["endpoints"]["available"] == []
    assert [row["model"] for row in told["routing_funnel"]] == ["openai/gpt-4o-mini", LLAMA]
    for row in told["routing_funnel"]:
        assert row["steps"][0]["step"] == "Initial Endpoints"
        assert row["steps"][0]["endpoint_count"] > 0
        assert row["steps"][-1] == {"step": "Filter by Max Price", "endpoint_count": 0}


def test_an_unknown_model_has_no_funnel(site):
    answer = site.ask({"model": "a/b"}, headers=TOLD)

    assert answer.status_code == 400
    assert "openrouter_metadata" not in answer.json


def test_an_accounts_list_of_providers_is_a_ceiling(site):
    allow(site, only=("deepinfra", "together"))

    assert slugs(admitted(site, {"model": LLAMA})) == {"deepinfra", "together"}
    only = {"model": LLAMA, "provider": {"only": ["together", "groq"]}}
    assert slugs(admitted(site, only)) == {"together"}
    refused = site.ask({"model": LLAMA, "provider": {"only": ["groq"]}})
    assert refused.status_code == 404
    assert refused.json["error"]["metadata"]["requested_providers"] == [
        "groq",
        "deepinfra",
        "together",
    ]


def test_ignored_providers_of_account_and_request_add_up(site):
    allow(site, ignore=("deepinfra",))

    found = slugs(admitted(site, {"model": LLAMA, "provider": {"ignore": ["together"]}}))

    assert found
    assert not found & {"deepinfra", "together"}


@pytest.mark.parametrize(
    ("policy", "body", "reason"),
    [
        pytest.param({"zdr": True}, {}, "Zero data retention", id="zdr"),
        pytest.param(
            {"deny_paid_training": True},
            {"provider": {"only": ["deepseek"]}, "model": TRAINED},
            "Paid model training",
            id="training",
        ),
    ],
)
def test_an_accounts_data_policy_cannot_be_widened(
    site, policy: dict[str, Any], body: dict[str, Any], reason: str
):
    allow(site, **policy)
    wanted = {"data_collection": "allow", "zdr": False} | body.get("provider", {})
    if "model" not in body:
        wanted["only"] = ["openai"]

    answer = site.ask(body | {"provider": wanted})

    assert answer.status_code == 404
    assert reason in answer.json["error"]["message"]


def test_an_accounts_sort_holds_where_the_request_says_nothing(site):
    allow(site, sort="price")
    model = site.parts.catalog.current

    def prices(spec: JobSpec) -> list[str]:
        return [entry.endpoint_id for entry in spec.entries]

    sorted_ = [prices(admitted(site, {"model": LLAMA})) for _ in range(5)]

    assert all(order == sorted_[0] for order in sorted_)
    ordered = admitted(site, {"model": LLAMA, "provider": {"order": ["together"]}})
    assert ordered.entries[0].endpoint_id.startswith("together")
    assert model.endpoints[sorted_[0][0]].model_id == LLAMA


def test_an_accounts_default_model_serves_who_names_none(site):
    allow(site, default_model=LLAMA)

    assert admitted(site, {"model": None}).entries[0].model_id == LLAMA


def test_waiting_and_rescue_are_asked_for_in_the_provider_object(site):
    spec = admitted(site, {"provider": {"on_unavailable": "wait", "rescue": True}})
    assert (spec.waits, spec.rescue) == (True, True)

    plain = admitted(site, {})
    assert (plain.waits, plain.rescue) == (False, False)


def test_a_conversation_goes_back_to_the_endpoint_that_cached_it(site):
    body = {"model": CACHED, "messages": TALK}
    asked = checked(body | {"max_tokens": 10})
    name = sticky_name(asked, facts(asked, ""), site.customer.account_id)
    known = [e.id for e in site.parts.catalog.current.endpoints_of(CACHED)]
    assert len(known) > 1

    for endpoint_id in known:
        site.redis.set(keys.sticky(name), endpoint_id)
        spec = admitted(site, body)
        assert spec.entries[0].endpoint_id == endpoint_id
        assert spec.sticky == name

    strict = admitted(site, body | {"provider": {"sort": "price"}})
    assert strict.sticky == ""


def test_a_session_may_come_in_a_header_and_the_body_goes_first(site):
    body = {"model": CACHED}
    by_header = admitted(site, body, headers={"x-session-id": "s1"}).sticky

    assert by_header.startswith("s:")
    assert admitted(site, body | {"session_id": "s1"}).sticky == by_header
    both = admitted(site, body | {"session_id": "s2"}, headers={"x-session-id": "s1"})
    assert both.sticky != by_header
    assert site.ask(headers={"x-session-id": "s" * 257}).status_code == 400


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param({}, None, id="nothing"),
        pytest.param({"model": "openai/gpt-4o:online"}, "plugins.web", id=":online"),
        pytest.param({"models": [f"{LLAMA}:floor:online"]}, "plugins.web", id="in models"),
        pytest.param({"plugins": [{"id": "web"}], "preset": "p"}, "plugins.web, preset", id="two"),
    ],
)
def test_what_is_accepted_and_not_done_is_said(site, body: dict[str, Any], expected: str | None):
    site.door.plays(Kind.BODY, b"{}")

    assert site.ask(body).headers.get("X-Pointsman-Not-Applied") == expected


def test_a_router_answers_with_a_model_of_its_pool(site):
    catalog = site.parts.catalog.current
    pool = {each.model_id for each in catalog.models["openrouter/auto"].pool}

    spec = admitted(site, {"model": "openrouter/auto"}, headers=TOLD)

    assert {entry.model_id for entry in spec.entries} <= pool
    assert spec.route is not None
    assert spec.route.strategy == "auto"
    site.door.script.clear()
    refused = site.client.post(
        "/api/v1/completions",
        headers=site.headers,
        json={"model": "openrouter/auto", "prompt": "Hi"},
    )
    assert refused.status_code == 400
    assert "needs 'messages'" in refused.json["error"]["message"]


def test_a_policy_survives_the_cache_of_keys(site):
    allow(site, only=("together",), zdr=True)
    admitted(site, {"model": LLAMA})

    cached = orjson.loads(site.redis.get(keys.key_record(site.customer.key.key_hash)))

    assert cached["policy"]["only"] == ["together"]
    assert slugs(admitted(site, {"model": LLAMA})) == {"together"}
