"""Keys that play a customer's own: good, used up, taken back; and nothing remembers them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.unit.workers.simulator.talk import call, simulator
from workers.simulator.google_token import bearer_ok
from workers.simulator.wire import Request

SAID = {"role": "user", "content": "hello marker-own-1"}
CHAT: dict[str, Any] = {"model": "m", "messages": [SAID]}
CLAUDE = CHAT | {"max_tokens": 10}
GEMINI = {"contents": [{"role": "user", "parts": [{"text": "hello marker-own-1"}]}]}
NOVA = {"messages": [{"role": "user", "content": [{"text": "hello marker-own-1"}]}]}
VERTEX = "/p/google-vertex/v1/projects/p/locations/l/publishers"
AZURE = "/p/azure/openai/deployments/d/chat/completions?api-version=2024-10-21"
PROVIDERS: dict[str, tuple[str, Any, str, dict[str, str]]] = {
    "openai": ("/p/openai/v1/chat/completions", CHAT, "authorization", {}),
    "azure": (AZURE, CHAT, "api-key", {}),
    "anthropic": (
        "/p/anthropic/v1/messages",
        CLAUDE,
        "x-api-key",
        {"anthropic-version": "2023-06-01"},
    ),
    "gemini": (
        "/p/google-ai-studio/v1beta/models/gemini-2.5-flash:generateContent",
        GEMINI,
        "x-goog-api-key",
        {},
    ),
    "vertex": (
        f"{VERTEX}/google/models/gemini-2.5-flash:generateContent",
        GEMINI,
        "authorization",
        {},
    ),
    "bedrock": (
        "/p/amazon-bedrock/model/amazon.nova-lite-v1:0/converse",
        NOVA,
        "authorization",
        {},
    ),
    "cohere": ("/p/cohere/v2/chat", CHAT, "authorization", {}),
}


def ask(name: str, key: str, **options: Any) -> Any:
    path, body, header, more = PROVIDERS[name]
    shown = f"Bearer {key}" if header == "authorization" else key
    headers = {header: shown, "content-type": "application/json"} | more
    return call(path, body, headers, **options)


@pytest.mark.parametrize("name", PROVIDERS)
@pytest.mark.parametrize(
    ("key", "status"),
    [
        ("sk-byok-good-1", 200),
        ("sk-byok-", 200),
        ("sk-byok-limited", 429),
        ("sk-byok-limited-2", 429),
        ("sk-byok-denied-3", 401),
    ],
)
def test_every_provider_knows_them(name: str, key: str, status: int):
    expected = 403 if (name, status) == ("bedrock", 401) else status
    if (name, status) == ("gemini", 401):
        expected = ask("gemini", "x", to=_told_401()).status

    assert ask(name, key).status == expected


def _told_401() -> Any:
    """A simulator whose provider refuses every key, in its own words."""
    to = simulator()
    call("/control/faults", {"rules": [{"fault": "401"}]}, {}, to=to, method="PUT")
    return to


@pytest.mark.parametrize("name", PROVIDERS)
def test_nothing_remembers_a_key(name: str):
    to = simulator()
    ask(name, "sk-byok-limited-CANARY", to=to)
    ask(name, "sk-byok-CANARY", to=to)

    for path in ("/control/calls", "/control/requests?marker=marker-own-1"):
        found = call(path, b"", {}, to=to, method="GET")
        assert found.status == 200
        assert found.json
        assert b"CANARY" not in found.body


def test_a_key_says_more_than_a_rule():
    to = simulator()
    call("/control/faults", {"rules": [{"fault": "503"}]}, {}, to=to, method="PUT")

    assert ask("openai", "sk-byok-limited", to=to).status == 429
    assert ask("openai", "sk-byok-good", to=to).status == 503
    (limited, _) = orjson.loads(call("/control/calls", b"", {}, to=to, method="GET").body)["calls"]
    assert (limited["status"], limited["fault"]) == (429, "429")


def test_other_tokens_are_none():
    for token, ok in (("sk-byok-x", True), ("sk-other", False), ("xsk-byok-x", False)):
        headers = {"authorization": f"Bearer {token}"}
        request = Request(method="POST", target="/", headers=headers, body=b"", keep_alive=False)
        assert bearer_ok(request) is ok
