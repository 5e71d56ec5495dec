"""The front door over HTTP, up to the worker: who is let in, what is refused, and how."""

from __future__ import annotations

import io
from typing import Any

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from billing import api_keys
from routing.catalog.shapes import Price
from routing.errors import Unavailable
from routing.store import redis_keys as keys
from routing.store.budgets import Budgets
from routing.store.jobs import Jobs
from routing.wire.frames import Frame, Kind
from routing.wire.job import JobSpec
from tests.fixtures.charges import NOW_MS
from tests.fixtures.customers import make_customer

FREE = "meta-llama/llama-3.3-70b-instruct:free"


def error(response: Any, status: int) -> dict[str, Any]:
    """The contract's envelope, of this status."""
    assert response.status_code == status, response.data
    assert response.mimetype == "application/json"
    found: dict[str, Any] = orjson.loads(response.data)["error"]
    assert found["code"] == status
    assert found["message"]
    return found


def answering(site):
    site.door.plays(Kind.BODY, b'{"object":"chat.completion"}')
    return site


# let in


def test_a_request_that_is_let_in_is_a_job_with_a_hold_and_its_answer_is_passed_on(site):
    answering(site)

    response = site.ask(headers={"HTTP-Referer": "https://app.test", "X-Title": "App"})

    assert (response.status_code, response.data) == (200, b'{"object":"chat.completion"}')
    (job_id,) = site.door.opened
    assert response.headers["X-Generation-Id"] == job_id
    assert response.headers["X-Pointsman-Sandbox"] == "true"
    job = Jobs(site.redis).look(job_id)
    assert job is not None
    spec = JobSpec.from_json(job.spec)
    assert spec.caller.account_id == site.customer.account_id
    assert (spec.caller.app_url, spec.caller.app_title) == ("https://app.test", "App")
    assert spec.entries[0].price != Price()
    assert Budgets(site.redis).held_nano(site.customer.scope) == spec.hold_nano > 0
    assert site.redis.llen(f"pool.{job.pool}") == 1
    assert len(site.door) == 0


@pytest.mark.parametrize("path", ["/api/v1", "/v1"])
def test_both_base_paths_and_both_apis_serve(site, path: str):
    answering(site)
    body = {"model": "openai/gpt-4o-mini", "prompt": "Once", "max_tokens": 5}

    response = site.client.post(f"{path}/completions", json=body, headers=site.headers)

    assert response.status_code == 200


def test_an_earlier_call_with_the_same_key_is_replayed_from_the_store(site):
    answering(site)
    first = site.ask(headers={"Idempotency-Key": "k"})
    job_id = first.headers["X-Generation-Id"]
    jobs = Jobs(site.redis)
    claim: Any = jobs.claim(job_id, "w1", 1_000)
    jobs.finish("", Frame(job_id, claim.epoch, 1, Kind.BODY, 200, b'{"kept":1}'), "done", b"c")

    again = site.ask(headers={"Idempotency-Key": "k"})

    assert (again.status_code, again.data) == (200, b'{"kept":1}')
    assert again.headers["X-Generation-Id"] == job_id
    assert len(site.door) == 0


def test_an_earlier_call_whose_answer_is_gone_says_so_soon(site):
    answering(site)
    first = site.ask(headers={"Idempotency-Key": "k"})
    site.redis.delete(keys.job(first.headers["X-Generation-Id"]))

    told = error(site.ask(headers={"Idempotency-Key": "k"}), 409)

    assert "Idempotency-Key" in told["message"]


def test_the_same_key_with_another_body_is_a_conflict(site):
    answering(site)
    site.ask(headers={"Idempotency-Key": "k"})

    error(site.ask({"max_tokens": 11}, headers={"Idempotency-Key": "k"}), 409)

    beta = {"x-anthropic-beta": "interleaved-thinking-2025-05-14", "Idempotency-Key": "k"}
    error(site.ask(headers=beta), 409)


@pytest.mark.parametrize("key", ["x" * 256, "with space", "zażółć".encode().decode("latin-1")])
def test_an_idempotency_key_has_a_form(site, key: str):
    error(site.ask(headers={"Idempotency-Key": key}), 400)
    assert site.door.opened == []


# refused


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic abc",
        "sk-or-v1-abc",
        "Bearer sk-or-v1-" + "0" * 64,
        "Bearer " + "x" * 10_000,
        "Bearer \xff\xfe",
    ],
)
def test_who_proves_no_key_gets_401(site, authorization: str | None):
    headers = {} if authorization is None else {"Authorization": authorization}

    response = site.client.post("/api/v1/chat/completions", json={}, headers=headers)

    error(response, 401)


def test_disabled_and_expired_keys_get_401(site):
    api_keys.disable(site.ledger, site.customer.key.key_hash, NOW_MS)
    assert "disabled" in error(site.ask(), 401)["message"]

    site.customer = make_customer(site.ledger, expires_ms=NOW_MS + 1)
    site.clock.advance(1)
    assert "expired" in error(site.ask(), 401)["message"]


def test_a_management_key_does_not_infer(site):
    site.customer = make_customer(site.ledger, kind="management")

    error(site.ask(), 403)


def test_a_cached_key_goes_on_working_without_sql_and_an_unknown_one_is_not_told_401(
    site, monkeypatch
):
    answering(site)
    assert site.ask().status_code == 200

    def away(*_: Any) -> None:
        raise Unavailable("The ledger is away", retry_after_ms=1_000)

    monkeypatch.setattr(api_keys, "find", away)
    site.clock.advance(120_000)

    assert site.ask().status_code == 200
    response = site.ask(headers={"Authorization": "Bearer sk-or-v1-" + "1" * 64})
    error(response, 503)
    assert response.headers["Retry-After"] == "1"


@pytest.mark.parametrize(
    ("granted_nano", "words", "source"),
    [
        (0, "Insufficient credits", "openrouter_credits"),
        (100, "can only afford", "openrouter_credits"),
    ],
)
def test_who_cannot_pay_gets_402(site, granted_nano: int, words: str, source: str):
    site.customer = make_customer(site.ledger, granted_nano=granted_nano)

    told = error(site.ask({"max_tokens": 1_000}), 402)

    assert words in told["message"]
    assert told["metadata"]["limit_source"] == source
    assert len(site.door) == 0


def test_what_is_held_for_others_cannot_be_spent_and_the_client_is_told_to_wait(site):
    answering(site)
    site.ask()
    site.redis.hset(keys.budget(site.customer.scope), "held", 1_000_000_000)

    response = site.ask()

    assert error(response, 402)["metadata"]["reason"] == "in_flight_budget_exhausted"
    assert response.headers["Retry-After"] == "1"


def test_a_spent_key_limit_is_403_and_says_which(site):
    site.customer = make_customer(site.ledger, limit_nano=0, limit_reset="daily")

    assert "daily limit" in error(site.ask(), 403)["message"]


def test_free_models_are_limited_by_the_minute(site):
    answering(site)
    for _ in range(20):
        assert site.ask({"model": FREE}).status_code == 200

    response = site.ask({"model": FREE})

    told = error(response, 429)
    assert "free-models-per-min" in told["message"]
    assert told["metadata"]["headers"]["X-RateLimit-Remaining"] == "0"
    assert response.headers["X-RateLimit-Limit"] == "20"
    assert 0 < int(response.headers["Retry-After"]) <= 60


def test_an_unknown_model_is_refused_before_anything_is_held(site):
    assert site.ask({"model": "nobody/nothing"}).status_code in {400, 404}
    assert site.door.opened == []


def test_redis_away_is_503_with_a_time(site, monkeypatch):
    def away(*_: Any, **__: Any) -> None:
        raise Unavailable("The queue is not available", retry_after_ms=2_000)

    monkeypatch.setattr(Jobs, "admit", away)

    response = site.ask()

    error(response, 503)
    assert response.headers["Retry-After"] == "2"
    assert len(site.door) == 0


def test_a_defect_is_a_500_without_details(site, monkeypatch):
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(Jobs, "admit", broken)

    with capture_logs() as logs:
        told = error(site.ask(), 500)

    assert "secret" not in str(told)
    (entry,) = [entry for entry in logs if entry["action"] == "http.failed"]
    assert str(entry["exc_info"]) == "secret"


BAD_BODIES = {
    "empty": b"",
    "spaces": b"   ",
    "malformed": b'{"model":',
    "a list": b"[]",
    "a string": b'"x"',
    "a number": b"5",
    "null": b"null",
    "not UTF-8": b'{"model":"\xff"}',
    "NaN": b'{"model":"openai/gpt-4o-mini","temperature":NaN}',
    "wrong types": b'{"model":5,"messages":"x"}',
    "no messages": b'{"model":"openai/gpt-4o-mini"}',
    "empty messages": b'{"model":"openai/gpt-4o-mini","messages":[]}',
    "odd message": b'{"model":"openai/gpt-4o-mini","messages":[5]}',
    "lone surrogate": rb'{"model":"openai/gpt-4o-mini","messages":'
    rb'[{"role":"user","content":"\ud800"}]}',
    "NUL in the model": b'{"model":"openai\\u0000","messages":[{"role":"user","content":"x"}]}',
    "NUL in the user": b'{"model":"openai/gpt-4o-mini","user":"a\\u0000","messages":'
    b'[{"role":"user","content":"x"}]}',
    "huge number": b'{"model":"openai/gpt-4o-mini","max_tokens":1e400,"messages":'
    b'[{"role":"user","content":"x"}]}',
    "deep list": b"[" * 4_000 + b"]" * 4_000,
    "deep object": b'{"a":' * 1_500 + b"1" + b"}" * 1_500,
    "deep inside": b'{"model":"openai/gpt-4o-mini","x":' + b"[" * 300 + b"]" * 300 + b"}",
    "duplicate braces": b"{}{}",
}


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES.keys())
@pytest.mark.parametrize("path", ["chat/completions", "completions"])
def test_bad_input_is_the_callers_fault_and_is_said_in_the_envelope(site, path: str, body: bytes):
    response = site.client.post(f"/api/v1/{path}", data=body, headers=site.headers)

    error(response, 400)
    assert site.door.opened == []


def test_a_nesting_of_a_hundred_thousand_is_refused(site):
    object.__setattr__(site.parts.settings, "body_max_bytes", 1_000_000)
    body = b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}"

    error(site.ask(body), 400)


def test_a_nul_in_a_message_is_passed_on(site):
    answering(site)

    response = site.ask({"messages": [{"role": "user", "content": "a\x00b"}]})

    assert response.status_code == 200


def test_a_body_over_the_cap_is_refused_by_its_length_before_it_is_read(site):
    source = io.BytesIO(b"x" * 100)

    response = site.client.post(
        "/api/v1/chat/completions",
        input_stream=source,
        headers=site.headers,
        environ_overrides={"CONTENT_LENGTH": "10001"},
    )

    error(response, 413)
    assert source.tell() == 0


def test_a_chunked_body_over_the_cap_is_read_only_up_to_it(site):
    source = io.BytesIO(b"x" * 1_000_000)

    response = site.client.post(
        "/api/v1/chat/completions",
        input_stream=source,
        headers=site.headers,
        environ_overrides={"wsgi.input_terminated": True},
    )

    error(response, 413)
    assert source.tell() <= 10_001


def test_a_body_shorter_than_it_says_is_refused(site):
    response = site.client.post(
        "/api/v1/chat/completions",
        input_stream=io.BytesIO(b"{}"),
        headers=site.headers,
        environ_overrides={"CONTENT_LENGTH": "100"},
    )

    assert "shorter than" in error(response, 400)["message"]


def test_a_compressed_body_is_refused(site):
    error(site.ask(b"{}", headers={"Content-Encoding": "gzip"}), 400)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/api/v1/nowhere", 404),
        ("GET", "/api/v1/chat/completions", 405),
        ("DELETE", "/livez", 405),
        ("POST", "/api/v1/models", 405),
    ],
)
def test_what_flask_refuses_is_in_the_envelope_too(site, method: str, path: str, status: int):
    error(site.client.open(path, method=method, headers=site.headers), status)


# what every answer bears


@pytest.mark.parametrize(
    ("given", "echoed"),
    [
        ("abc-123", True),
        ("a" * 128, True),
        ("a" * 129, False),
        ("with space", False),
        ("<script>", False),
        ("\xff", False),
        ("", False),
    ],
)
def test_a_request_id_is_echoed_when_it_is_harmless(site, given: str, echoed: bool):
    answer = site.client.get("/livez", headers={"X-Request-Id": given}).headers["X-Request-Id"]

    assert (answer == given) is echoed
    assert answer.startswith("req-") is not echoed


def test_browsers_may_call(site):
    preflight = site.client.options("/api/v1/chat/completions")
    refused = site.client.post("/api/v1/chat/completions", json={})

    assert (preflight.status_code, preflight.data) == (204, b"")
    assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]
    for response in (preflight, refused):
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert "X-Generation-Id" in response.headers["Access-Control-Expose-Headers"]


# health


def test_livez_asks_nobody(site):
    site.door.connected = False

    assert site.client.get("/livez").json == {"status": "ok"}


def test_readyz_names_what_is_missing(site):
    waiting = site.client.get("/readyz")
    assert waiting.status_code == 503
    assert waiting.json["parts"] == {
        "redis": "ok",
        "channel": "ok",
        "ledger": "ok",
        "workers": "no attempt worker is alive",
    }

    site.redis.zadd(keys.WORKERS, {"w1": NOW_MS + 1})
    assert site.client.get("/readyz").json["status"] == "ready"

    site.door.connected = False
    assert "not subscribed" in site.client.get("/readyz").json["parts"]["channel"]


def test_metrics_can_be_parsed_and_hold_no_tenant(site):
    answering(site)
    site.ask()
    site.client.get("/api/v1/nowhere-" + "x" * 50)

    text = site.client.get("/metrics").text

    found = {family.name: family for family in text_string_to_metric_families(text)}
    requests = {
        (sample.labels["route"], sample.labels["status"]): sample.value
        for sample in found["router_http_requests"].samples
        if sample.name.endswith("_total")
    }
    assert requests["/api/v1/chat/completions", "200"] == 1
    assert requests["unknown", "404"] == 1
    for name in (
        "router_queue_length",
        "router_jobs_unfinished",
        "router_outbox_length",
        "router_holds_open",
        "router_ledger_drift",
        "router_breaker_state",
    ):
        assert name in found, name
    assert found["router_ledger_drift"].samples[0].value == 0
    assert site.customer.account_id not in text
    assert site.customer.key.key_hash not in text
