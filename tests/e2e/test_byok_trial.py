"""Trying a provider key of one's own: a real question to the provider, with that key alone."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import httpx
import pytest

from tests.fixtures.cluster import PATIENCE_S, System

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket, pytest.mark.timeout(90)]


def tried(system: System, provider: str, key: str, **fields: Any) -> dict[str, Any]:
    account_id = system.cluster.new_key(Decimal(1)).account_id
    manager = system.cluster.new_key(account_id=account_id, kind="management")
    with httpx.Client(
        base_url=system.cluster.base_url,
        headers=manager.headers,
        timeout=PATIENCE_S,
        trust_env=False,
    ) as client:
        stored = client.post("/byok", json={"provider": provider, "key": key, **fields})
        assert stored.status_code == 201, stored.text
        answer = client.post(f"/byok/{stored.json()['data']['id']}/test")
    assert answer.status_code == 200, answer.text
    assert key not in answer.text
    found: dict[str, Any] = answer.json()["data"]
    return found


def test_a_good_key(system: System):
    found = tried(system, "good", "sk-byok-good-trial-1", disabled=True)

    assert (found["ok"], found["status"], found["message"]) == (True, 200, None)
    assert found["simulated"] is False
    assert found["generation_id"].startswith("gen-")


def test_a_key_that_is_used_up(system: System):
    found = tried(system, "good", "sk-byok-limited-trial-1")

    assert (found["ok"], found["status"]) == (False, 429)


def test_a_key_that_was_taken_back(system: System):
    found = tried(system, "spare", "sk-byok-denied-trial-1")

    assert found["ok"] is False
    assert found["status"] in {401, 502}
    assert found["message"]
