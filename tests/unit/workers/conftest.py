from collections.abc import Callable
from typing import Any

import pytest

from routing.catalog.shapes import Endpoint, Price, Provider

Make = Callable[..., Any]
PARAMETERS = frozenset({"temperature", "tools", "tool_choice", "logprobs", "stop", "reasoning"})


def _endpoint(slug: str = "acme", **changes: Any) -> Endpoint:
    provider: dict[str, Any] = {
        "slug": slug,
        "name": slug.title(),
        "base_url": f"https://{slug}.test/v1",
        "key_variable": "ACME_KEY",
        "pool": slug,
    }
    known: dict[str, Any] = {
        "id": f"{slug}:a/m",
        "model_id": "a/m",
        "provider": Provider(**(provider | changes.pop("provider", {}))),
        "tag": slug,
        "dialect": "openai",
        "upstream_id": "m-1",
        "context_length": 8_192,
        "max_completion_tokens": 1_000,
        "supported_parameters": PARAMETERS,
        "prices": (Price(prompt_pico=1_000_000, completion_pico=2_000_000),),
    }
    return Endpoint(**(known | changes))


@pytest.fixture(scope="session")
def endpoint() -> Make:
    """Makes an endpoint; `provider` changes its provider."""
    return _endpoint
