"""What a request gives up before it is refused, and on which terms it is let in."""

from __future__ import annotations

from typing import Any

import pytest

from billing.tables import budgets, byok_keys
from routing.budgets import free_byok_scope, key_owner, organisation
from routing.settings import Settings
from routing.wire.job import JobSpec
from tests.fixtures.customers import make_customer
from tests.unit.api.test_front_door import FREE

PAID = "openai/gpt-4o-mini"
#: Requests a minute of the free tier.
FREE_RPM = 2


@pytest.fixture
def api_settings() -> Settings:
    return Settings(first_frame_wait_ms=20, free_rpm=FREE_RPM)


def spec_of(site: Any, answer: Any) -> JobSpec:
    """The job that was made; its worker says nothing."""
    raw = site.redis.hget(f"job:{answer.headers['X-Generation-Id']}", "spec")
    return JobSpec.from_json(raw)


def bring(site: Any, provider: str, **changes: Any) -> None:
    """A provider key of the customer, as it is stored."""
    row = {
        "id": f"own-{provider}",
        "account_id": site.customer.account_id,
        "provider": provider,
        "name": "",
        "label": "sk-...",
        "sealed": "sealed",
        "kek_id": "k",
        "disabled": False,
        "always_use": False,
        "is_fallback": False,
        "sort_order": 0,
        "created_ms": 0,
        "updated_ms": 0,
    }
    with site.ledger.writing() as connection:
        connection.execute(byok_keys.insert(), row | changes)


def impoverish(site: Any) -> None:
    """From now on the customer is somebody who has almost nothing."""
    site.customer = make_customer(site.ledger, granted_nano=1)


def test_a_used_up_free_tier_leaves_the_paid_fallbacks(site: Any):
    body = {"model": FREE, "models": [PAID], "stream": True}
    for _ in range(FREE_RPM):
        assert site.ask({"model": FREE, "stream": True}).status_code == 200

    answer = site.ask(body)

    assert answer.status_code == 200
    assert {entry.model_id for entry in spec_of(site, answer).entries} == {PAID}
    assert site.ask({"model": FREE}).status_code == 429


def test_a_free_fallback_counts_too(site: Any):
    for _ in range(FREE_RPM):
        assert site.ask({"model": PAID, "models": [FREE], "stream": True}).status_code == 200

    assert site.ask({"model": FREE}).status_code == 429


def test_without_credit_only_own_keys_are_planned(site: Any):
    impoverish(site)
    bring(site, "openai")

    answer = site.ask({"model": PAID, "stream": True})

    assert answer.status_code == 200
    spec = spec_of(site, answer)
    assert {entry.byok for entry in spec.entries} == {"own-openai"}
    assert (spec.hold_nano, spec.fee_ppm) == (0, 0)
    assert spec.sealed == {"own-openai": "sealed"}


def test_with_credit_the_operators_keys_follow(site: Any):
    bring(site, "openai")

    spec = spec_of(site, site.ask({"model": PAID, "stream": True}))

    assert [bool(entry.byok) for entry in spec.entries] == [True] + [False] * (
        len(spec.entries) - 1
    )
    assert len(spec.entries) > 1
    assert spec.hold_nano > 0


def test_after_the_free_requests_there_is_a_fee_and_it_is_held(site: Any):
    site.redis.hset(_free_scope(site), mapping={"avail": 1, "held": 0, "ver": 10**9})
    bring(site, "openai", always_use=True)
    body = {"model": PAID, "stream": True, "provider": {"only": ["openai"]}}

    first, second = (spec_of(site, site.ask(body)) for _ in range(2))

    assert (first.fee_ppm, first.hold_nano) == (0, 0)
    assert second.fee_ppm == 50_000
    assert second.hold_nano > 0


def test_a_fee_that_cannot_be_paid_is_402(site: Any):
    impoverish(site)
    site.redis.hset(_free_scope(site), mapping={"avail": 0, "held": 0, "ver": 10**9})
    bring(site, "openai", always_use=True)

    answer = site.ask({"model": PAID, "provider": {"only": ["openai"]}})

    assert answer.status_code == 402


def test_what_is_kept_is_cheaper_only_where_it_can_be_sealed(site: Any):
    with site.ledger.writing() as connection:
        connection.exec_driver_sql("UPDATE accounts SET settings = '{\"logs\": true}'")

    spec = spec_of(site, site.ask({"model": PAID, "stream": True}))

    assert (spec.logs, spec.discount_ppm) == (False, 0)


def test_with_every_budget_there_is_a_first_request_is_let_in(site: Any):
    owners = (organisation(site.customer.account_id), key_owner(site.customer.key.key_hash))
    rows = [
        {
            "id": f"{owner}-{interval}",
            "account_id": site.customer.account_id,
            "owner": owner,
            "interval": interval,
            "limit_nano": 10**12,
            "include_byok": False,
            "created_ms": 0,
            "updated_ms": 0,
        }
        for owner in owners
        for interval in ("daily", "weekly", "monthly", "lifetime")
    ]
    with site.ledger.writing() as connection:
        connection.execute(budgets.insert(), rows)
    bring(site, "openai", always_use=True)

    # Nothing of them is cached, as at a turn of the month or when Redis was emptied.
    answer = site.ask({"model": PAID, "stream": True, "provider": {"only": ["openai"]}})

    assert answer.status_code == 200
    assert len(site.redis.keys("bud:*")) >= len(rows) + 2


def _free_scope(site: Any) -> str:
    return f"bud:{free_byok_scope(site.customer.account_id, site.clock.now_ms())}"
