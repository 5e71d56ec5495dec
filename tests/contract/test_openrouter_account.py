"""The official `openrouter` client's calls of accounts, against real processes."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime

import pytest
from openrouter import OpenRouter, errors

from billing.settlement import settle
from routing import ids
from routing.clock import SystemClock
from tests.e2e.catalog import STORY
from tests.fixtures.charges import COST_NANO, charge

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket, pytest.mark.timeout(60)]

CALLBACK = "https://app.example.com/back"
DAY_MS = 86_400_000


def made(system, key: str) -> OpenRouter:
    return OpenRouter(api_key=key, server_url=system.cluster.base_url)


@pytest.fixture
def manager(system):
    with made(system, system.cluster.management_key) as client:
        yield client


def test_activity(system, manager):
    key, now_ms = system.cluster.new_key(), SystemClock().now_ms()
    yesterday_ms = now_ms - now_ms % DAY_MS - DAY_MS
    charges = [
        charge(
            n,
            account_id=key.account_id,
            key_hash=key.key_hash,
            generation_id=ids.generation_id(now_ms),
            created_ms=yesterday_ms + n,
            finished_ms=yesterday_ms + n + 1_000,
        )
        for n in range(3)
    ]
    settle(system.cluster.ledger, charges, now_ms)

    (row,) = manager.analytics.get_user_activity(request={"api_key_hash": key.key_hash}).data

    day = datetime.fromtimestamp(yesterday_ms / 1000, tz=UTC)
    assert row.date_.startswith(day.date().isoformat())
    assert (row.requests, row.prompt_tokens, row.completion_tokens) == (3, 300, 150)
    assert row.usage == pytest.approx(3 * COST_NANO / 10**9)
    assert (row.model, row.provider_name) == ("acme/large", "Acme")


def test_an_application_gets_a_key_with_pkce_and_uses_it(system, manager):
    verifier = "a-verifier-of-the-application-that-is-long-enough-0123"
    digest = hashlib.sha256(verifier.encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    code = manager.o_auth.create_auth_code(
        callback_url=CALLBACK,
        code_challenge=challenge,
        code_challenge_method="S256",
        limit=1,
        expires_at=datetime.fromtimestamp(SystemClock().now_ms() // 1000 + 86_400, tz=UTC),
    ).data.id

    with made(system, "none") as application:
        with pytest.raises(errors.ForbiddenResponseError):
            application.o_auth.exchange_auth_code_for_api_key(
                code=code, code_verifier="w" * 43, code_challenge_method="S256"
            )
        granted = application.o_auth.exchange_auth_code_for_api_key(
            code=code, code_verifier=verifier, code_challenge_method="S256"
        )
        with pytest.raises(errors.ForbiddenResponseError):
            application.o_auth.exchange_auth_code_for_api_key(
                code=code, code_verifier=verifier, code_challenge_method="S256"
            )
    with made(system, granted.key) as client:
        answer = client.chat.send(
            model=STORY, messages=[{"role": "user", "content": "Hello!"}],
            provider={"only": ["good"]}, max_tokens=50,
        )  # fmt: skip

    assert answer.choices[0].message.content
    key_hash = hashlib.sha256(granted.key.encode()).hexdigest()
    kept = manager.api_keys.get(hash=key_hash).data
    assert (kept.limit, kept.disabled) == (1, False)
    manager.api_keys.delete(hash=key_hash)


def test_provider_keys(manager):
    stored = manager.byok.create(provider="groq", key="sk-byok-0123456789abcdef").data
    listed = manager.byok.list()
    shown = manager.byok.get(id=stored.id).data
    manager.byok.delete(id=stored.id)

    assert stored.id in {one.id for one in listed.result.data}
    assert shown.label.endswith("cdef")
    assert "0123456789" not in shown.label
    with pytest.raises(errors.NotFoundResponseError):
        manager.byok.get(id=stored.id)


def test_members_of_an_account_of_nobody(manager):
    with pytest.raises(errors.NotFoundResponseError):
        manager.organization.list_members()
