"""The guide on provisioning keys, as written, and what its keys may and may not do.

There are two front doors: what one is told, the other acts on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest
import requests
from openrouter import OpenRouter, errors

from routing.clock import SystemClock
from tests.cluster import Cluster, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket, pytest.mark.timeout(120)]

MODEL = "openai/gpt-4o-mini"
#: What a change may take to reach every front door, and a little for a busy machine.
FOLLOWS_WITHIN_S = 1.5
SETTLED_S = 15.0
OK, UNAUTHORIZED, FORBIDDEN = 200, 401, 403


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two front doors on the shipped catalog."""
    with Cluster(tmp_path_factory.mktemp("keys") / "home", web=2) as started:
        yield started


@pytest.fixture
def manager(cluster: Cluster) -> Iterator[OpenRouter]:
    with OpenRouter(api_key=cluster.management_key, server_url=cluster.base_url) as made:
        yield made


def ask(base_url: str, key: str, **options: Any) -> httpx.Response:
    """A short question with a key."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 10}
    return httpx.post(
        f"{base_url}/chat/completions",
        json=body,
        headers={"Authorization": f"Bearer {key}"},
        timeout=30,
        trust_env=False,
        **options,
    )


def everywhere(cluster: Cluster, key: str) -> set[int]:
    """What each front door says to a question with this key."""
    return {ask(url, key).status_code for url in cluster.base_urls}


def within_a_second(cluster: Cluster, key: str, status: int) -> None:
    """All front doors say this soon, and go on saying it."""
    end_s = time.monotonic() + FOLLOWS_WITHIN_S
    late = set(cluster.base_urls)
    while late:
        began_s = time.monotonic()
        late = {url for url in late if ask(url, key).status_code != status}
        assert not late or began_s < end_s, f"{late} still do not say {status}"
    assert everywhere(cluster, key) == {status}


# the guide: Python


def test_the_python_example_of_the_guide(cluster):
    PROVISIONING_API_KEY = cluster.management_key  # noqa: N806 - as written in the guide
    BASE_URL = f"{cluster.base_url}/keys"  # noqa: N806

    # List the most recent 100 API keys
    response = requests.get(
        BASE_URL,
        headers={
            "Authorization": f"Bearer {PROVISIONING_API_KEY}",
            "Content-Type": "application/json",
        },
        timeout=30,
    )
    assert response.status_code == 200
    before = [key["hash"] for key in response.json()["data"]]

    # You can paginate using the offset parameter
    response = requests.get(
        f"{BASE_URL}?offset=100",
        headers={
            "Authorization": f"Bearer {PROVISIONING_API_KEY}",
            "Content-Type": "application/json",
        },
        timeout=30,
    )
    assert response.json() == {"data": []}

    # Create a new API key
    response = requests.post(
        f"{BASE_URL}/",
        headers={
            "Authorization": f"Bearer {PROVISIONING_API_KEY}",
            "Content-Type": "application/json",
        },
        json={
            "name": "Customer Instance Key",
            "limit": 1000,  # Optional credit limit
        },
        timeout=30,
    )
    assert response.status_code == 201
    made = response.json()
    assert made["key"].startswith("sk-or-v1-")
    assert made["data"]["limit"] == made["data"]["limit_remaining"] == 1000
    assert everywhere(cluster, made["key"]) == {OK}

    # Get a specific key
    key_hash = made["data"]["hash"]
    response = requests.get(
        f"{BASE_URL}/{key_hash}",
        headers={
            "Authorization": f"Bearer {PROVISIONING_API_KEY}",
            "Content-Type": "application/json",
        },
        timeout=30,
    )
    assert response.json()["data"]["name"] == "Customer Instance Key"
    assert made["key"] not in response.text

    # Update a key
    response = requests.patch(
        f"{BASE_URL}/{key_hash}",
        headers={
            "Authorization": f"Bearer {PROVISIONING_API_KEY}",
            "Content-Type": "application/json",
        },
        json={
            "name": "Updated Key Name",
            "disabled": True,  # Optional: Disable the key
            "include_byok_in_limit": False,  # Optional: control BYOK usage in limit
            "limit_reset": "daily",  # Optional: reset limit every day at midnight UTC
        },
        timeout=30,
    )
    data = response.json()["data"]
    assert (data["name"], data["disabled"], data["limit_reset"], data["limit"]) == (
        "Updated Key Name",
        True,
        "daily",
        1000,
    )
    assert data["updated_at"] > data["created_at"]
    within_a_second(cluster, made["key"], UNAUTHORIZED)

    # Delete a key
    response = requests.delete(
        f"{BASE_URL}/{key_hash}",
        headers={
            "Authorization": f"Bearer {PROVISIONING_API_KEY}",
            "Content-Type": "application/json",
        },
        timeout=30,
    )
    assert response.json() == {"deleted": True}
    response = requests.get(
        BASE_URL,
        headers={
            "Authorization": f"Bearer {PROVISIONING_API_KEY}",
            "Content-Type": "application/json",
        },
        params={"include_disabled": "true"},
        timeout=30,
    )
    assert [key["hash"] for key in response.json()["data"]] == before


def test_the_response_format_of_the_guide(cluster):
    headers = {"Authorization": f"Bearer {cluster.management_key}"}
    (key, *_) = requests.get(f"{cluster.base_url}/keys", headers=headers, timeout=30).json()["data"]

    shown = {
        "created_at", "updated_at", "hash", "label", "name", "disabled", "limit",
        "limit_remaining", "limit_reset", "include_byok_in_limit", "usage", "usage_daily",
        "usage_weekly", "usage_monthly", "byok_usage", "byok_usage_daily", "byok_usage_weekly",
        "byok_usage_monthly",
    }  # fmt: skip
    assert key.keys() >= shown
    assert datetime.fromisoformat(key["created_at"]).tzinfo is not None


# the guide: the official client


def test_the_calls_of_the_guide_with_the_official_client(cluster, manager):
    # List the most recent 100 API keys, and those after them
    before = {key.hash for key in manager.api_keys.list().data}
    assert manager.api_keys.list(offset=100).data == []

    # Create a new API key
    new_key = manager.api_keys.create(name="Customer Instance Key", limit=1000)
    key_hash = new_key.data.hash
    assert everywhere(cluster, new_key.key) == {OK}
    assert {key.hash for key in manager.api_keys.list().data} == before | {key_hash}

    # Get a specific key
    key = manager.api_keys.get(hash=key_hash).data
    assert (key.name, key.limit, key.limit_reset) == ("Customer Instance Key", 1000, None)

    # Update a key
    updated = manager.api_keys.update(
        hash=key_hash,
        name="Updated Key Name",
        disabled=True,
        include_byok_in_limit=False,
        limit_reset="daily",
    ).data
    assert (updated.name, updated.disabled, updated.limit_reset) == (
        "Updated Key Name",
        True,
        "daily",
    )
    assert key_hash not in {key.hash for key in manager.api_keys.list().data}
    assert key_hash in {key.hash for key in manager.api_keys.list(include_disabled=True).data}

    # Delete a key
    assert manager.api_keys.delete(hash=key_hash).DELETED is True
    with pytest.raises(errors.NotFoundResponseError):
        manager.api_keys.get(hash=key_hash)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the client's own models
def test_a_key_reads_its_own_terms_with_the_official_client(cluster, manager):
    tomorrow_s = SystemClock().now_ms() // 1000 + 86_400
    expires_at = datetime.fromtimestamp(tomorrow_s, tz=UTC)
    made = manager.api_keys.create(
        name="terms", limit=2.5, limit_reset="weekly", expires_at=expires_at
    )

    with OpenRouter(api_key=made.key, server_url=cluster.base_urls[1]) as client:
        data = client.api_keys.get_current_key_metadata().data

    assert (data.label, data.limit, data.limit_remaining) == (made.data.label, 2.5, 2.5)
    assert data.expires_at == expires_at
    assert data.effective_budget is not None
    assert data.effective_budget.scope == "key_limit"
    assert data.workspace_id == made.data.workspace_id
    assert data.is_management_key is False


# what the keys may do


def test_a_key_that_manages_cannot_infer(cluster):
    bodies = {
        "/chat/completions": {"messages": [{"role": "user", "content": "Hi"}]},
        "/completions": {"prompt": "Hi"},
        "/messages": {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5},
        "/responses": {"input": "Hi"},
        "/embeddings": {"input": "Hi"},
    }
    headers = {"Authorization": f"Bearer {cluster.management_key}"}
    for path, body in bodies.items():
        answer = requests.post(
            cluster.base_url + path, json={"model": MODEL} | body, headers=headers, timeout=30
        )
        assert answer.status_code == FORBIDDEN, (path, answer.text)


def test_a_key_that_infers_cannot_manage(cluster, manager):
    made = manager.api_keys.create(name="infers")
    path = f"/keys/{made.data.hash}"
    headers = {"Authorization": f"Bearer {made.key}"}
    calls = [
        ("GET", "/keys"),
        ("POST", "/keys"),
        ("GET", path),
        ("PATCH", path),
        ("DELETE", path),
        ("PUT", f"{path}/budgets/daily"),
    ]
    for method, where in calls:
        answer = requests.request(
            method, cluster.base_url + where, json={"name": "x"}, headers=headers, timeout=30
        )
        assert answer.status_code == FORBIDDEN, (method, where)
        assert (
            answer.json()["error"]["message"] == "Only management keys can perform this operation"
        )
    with (
        OpenRouter(api_key=made.key, server_url=cluster.base_url) as client,
        pytest.raises(errors.OpenRouterError) as caught,
    ):
        client.api_keys.list()
    assert caught.value.status_code == FORBIDDEN


# every front door, within a second


def test_a_key_that_is_shut_and_opened_again(cluster, manager):
    made = manager.api_keys.create(name="shut")
    assert everywhere(cluster, made.key) == {OK}

    manager.api_keys.update(hash=made.data.hash, disabled=True)
    within_a_second(cluster, made.key, UNAUTHORIZED)

    manager.api_keys.update(hash=made.data.hash, disabled=False)
    within_a_second(cluster, made.key, OK)


def test_a_key_that_is_deleted(cluster, manager):
    made = manager.api_keys.create(name="deleted")
    assert everywhere(cluster, made.key) == {OK}

    manager.api_keys.delete(hash=made.data.hash)

    within_a_second(cluster, made.key, UNAUTHORIZED)


def spent(manager: OpenRouter, key_hash: str) -> float:
    """What a key has spent, once that is settled."""
    wait_until(lambda: manager.api_keys.get(hash=key_hash).data.usage > 0, SETTLED_S, "the spend")
    return float(manager.api_keys.get(hash=key_hash).data.usage)


def test_a_key_whose_limit_is_changed(cluster, manager):
    made = manager.api_keys.create(name="limited", limit=1)
    assert everywhere(cluster, made.key) == {OK}
    used = spent(manager, made.data.hash)

    manager.api_keys.update(hash=made.data.hash, limit=used / 2)
    within_a_second(cluster, made.key, FORBIDDEN)

    told = ask(cluster.base_url, made.key).json()["error"]
    assert told["message"].startswith("Key limit exceeded (total limit).")
    manager.api_keys.update(hash=made.data.hash, limit=None)
    within_a_second(cluster, made.key, OK)


@pytest.mark.parametrize("whose", ["key", "account"])
def test_a_budget_that_is_set_and_taken_away(cluster, whose):
    # Given an account of its own, with a key that was used
    key = cluster.new_key(Decimal(1))
    boss = cluster.new_key(account_id=key.account_id, kind="management")
    assert everywhere(cluster, key.text) == {OK}
    with OpenRouter(api_key=boss.text, server_url=cluster.base_url) as client:
        used = spent(client, key.key_hash)
    place = f"/keys/{key.key_hash}" if whose == "key" else "/organization"
    path = f"{cluster.base_url}{place}/budgets/monthly"

    # When it has a budget below that
    answer = requests.put(path, json={"limit_usd": used / 2}, headers=boss.headers, timeout=30)
    assert answer.status_code == OK, answer.text

    # Then it is refused by every front door, until the budget is gone
    within_a_second(cluster, key.text, FORBIDDEN)
    metadata = ask(cluster.base_urls[1], key.text).json()["error"]["metadata"]
    assert metadata["scope"] == ("api_key" if whose == "key" else "workspace")
    assert metadata["spend_usd"] >= used > metadata["limit_usd"]
    assert requests.delete(path, headers=boss.headers, timeout=30).json() == {"deleted": True}
    within_a_second(cluster, key.text, OK)


def test_a_rate_that_is_set_and_taken_away(cluster, manager):
    made = manager.api_keys.create(name="slow")
    assert everywhere(cluster, made.key) == {OK}
    path = f"{cluster.base_url}/keys/{made.data.hash}"
    headers = {"Authorization": f"Bearer {cluster.management_key}"}

    requests.patch(path, json={"rpm": 1}, headers=headers, timeout=30).raise_for_status()
    within_a_second(cluster, made.key, 429)

    answer = ask(cluster.base_urls[1], made.key)
    assert answer.headers["X-RateLimit-Limit"] == "1"
    assert answer.headers["X-RateLimit-Remaining"] == "0"
    reset_s = int(answer.headers["X-RateLimit-Reset"]) / 1000 - SystemClock().now_ms() / 1000
    assert reset_s == pytest.approx(int(answer.headers["Retry-After"]), abs=2)
    assert answer.json()["error"]["metadata"]["limit_source"] == "key_requests_per_minute"
    requests.patch(path, json={"rpm": None}, headers=headers, timeout=30).raise_for_status()
    within_a_second(cluster, made.key, OK)
