from collections.abc import Callable
from typing import Any

import pytest

from routing.catalog.shapes import (
    Architecture,
    Catalog,
    DataPolicy,
    Endpoint,
    Model,
    Price,
    Provider,
)

MILLION = 1_000_000
Make = Callable[..., Any]


def _provider(slug: str, **changes: Any) -> Provider:
    known: dict[str, Any] = {
        "slug": slug,
        "name": slug.title(),
        "base_url": f"https://{slug}.test",
        "key_variable": "",
        "pool": slug,
        "data_policy": DataPolicy(training=False, retains_prompts=False),
    }
    return Provider(**(known | changes))


def _endpoint(tag: str, usd: float = 1, model: str = "a/m", **changes: Any) -> Endpoint:
    provider = changes.pop("provider", {})
    pico = int(usd * MILLION)
    known: dict[str, Any] = {
        "id": f"{tag}:{model}",
        "model_id": model,
        "provider": _provider(tag.partition("/")[0], **provider),
        "tag": tag,
        "dialect": "openai",
        "upstream_id": "up",
        "context_length": 128_000,
        "max_completion_tokens": 16_000,
        "prices": (Price(prompt_pico=pico, completion_pico=pico),),
    }
    return Endpoint(**(known | changes))


def _catalog(*endpoints: Endpoint, **models: dict[str, Any]) -> Catalog:
    """A catalog of these endpoints; `models` adds or changes models, `__` standing for `/`."""
    ids = dict.fromkeys([e.model_id for e in endpoints] + [m.replace("__", "/") for m in models])
    details = {name.replace("__", "/"): value for name, value in models.items()}
    built = {i: Model(id=i, canonical_slug=i, name=i, created=1, **details.get(i, {})) for i in ids}
    return Catalog(
        digest="d",
        providers={e.provider.slug: e.provider for e in endpoints},
        models=built,
        endpoints={e.id: e for e in endpoints},
        by_model={i: tuple(e for e in endpoints if e.model_id == i) for i in ids},
    )


@pytest.fixture(scope="session")
def endpoint() -> Make:
    return _endpoint


@pytest.fixture(scope="session")
def catalog() -> Make:
    return _catalog


@pytest.fixture(scope="session")
def vision() -> dict[str, Any]:
    return {"architecture": Architecture(input_modalities=("text", "image"))}
