"""Accounts that have prompts and answers kept, from the choice to the receipt."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import httpx
import pytest

from billing.contents import sealed_of
from tests.cluster import NewKey
from tests.fixtures.cluster import PATIENCE_S, System, eventually, new_marker, question

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket, pytest.mark.timeout(60)]

SETTLED_S = 10.0
OFF = Decimal("0.99")


def call(system: System, key: NewKey, method: str, path: str, **options: Any) -> httpx.Response:
    url = system.cluster.base_url + path
    headers = key.headers | options.pop("headers", {})
    return httpx.request(
        method, url, headers=headers, timeout=PATIENCE_S, trust_env=False, **options
    )


def content(system: System, key: NewKey, generation_id: str) -> dict[str, Any]:
    """What is kept, asked for until it is there."""

    def look() -> dict[str, Any] | None:
        answer = call(system, key, "GET", f"/generation/content?id={generation_id}")
        return answer.json()["data"] if answer.status_code == 200 else None

    return eventually(look, SETTLED_S, f"content of {generation_id}")


@pytest.mark.parametrize("stream", [False, True])
def test_prompt_and_answer_are_kept_sealed_and_usage_is_cheaper(system: System, stream: bool):
    # Given an account that chose so
    key = system.cluster.new_key(Decimal(1))
    manager = system.cluster.new_key(account_id=key.account_id, kind="management")
    chosen = call(
        system, manager, "PATCH", "/preferences", json={"is_data_discount_logging_enabled": True}
    )
    assert chosen.status_code == 200, chosen.text
    # When it asks
    marker = new_marker()
    answer = call(
        system,
        key,
        "POST",
        "/chat/completions",
        json=question(marker=marker, stream=stream, only=["good"]),
    )
    assert answer.status_code == 200, answer.text
    generation_id = answer.headers["X-Generation-Id"]
    # Then it can read both, the ledger holds neither in the open, and all of it adds up
    kept = content(system, key, generation_id)
    assert marker in kept["input"]["messages"][0]["content"]
    said = kept["output"]["completion"]
    if stream:
        assert all(word in answer.text for word in said.split()[:3])
    else:
        assert said == answer.json()["choices"][0]["message"]["content"]
    assert content(system, manager, generation_id) == kept
    sealed = sealed_of(system.cluster.ledger, generation_id, key.account_id)
    assert sealed is not None
    assert marker not in sealed
    told = call(system, key, "GET", f"/generation/receipt?id={generation_id}").json()["data"]
    assert told["adds_up"] is True
    assert Decimal(told["discount"]) > 0
    assert Decimal(told["total"]) >= Decimal(told["list_price"]) * OFF


def test_nothing_is_kept_without_that_choice(system: System):
    key = system.cluster.new_key(Decimal(1))
    answer = call(system, key, "POST", "/chat/completions", json=question(only=["good"]))
    generation_id = answer.json()["id"]
    system.generation(generation_id, key.text)
    missing = call(system, key, "GET", f"/generation/content?id={generation_id}")
    assert missing.status_code == 404
    assert sealed_of(system.cluster.ledger, generation_id, key.account_id) is None
