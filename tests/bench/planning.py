"""What planning one request costs, for small and large catalogs: `python -m tests.bench.planning`.

Each line is the least of several rounds, which is the cost without what else the machine was doing.
"""

from __future__ import annotations

import random
import time
from typing import Any, Final

from routing.catalog.shapes import (
    Catalog,
    DataPolicy,
    Endpoint,
    Model,
    Price,
    Provider,
)
from routing.figures import Percentiles
from routing.plan import Health, facts, plan, worst_case
from routing.wire.chat import ChatRequest, checked

MODELS: Final = (2, 200, 2_000)
ENDPOINTS: Final = 8
ROUNDS: Final = 7
PLANS: Final = 2_000
MILLION: Final = 1_000_000

_PARAMETERS = frozenset({"temperature", "max_tokens", "tools", "tool_choice", "response_format"})
_MESSAGES = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "Explain how a steam locomotive works. " * 10},
]
REQUESTS: Final[dict[str, dict[str, Any]]] = {
    "plain": {},
    "tools and max_tokens": {
        "max_tokens": 500,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
    },
    "sort, filters and thresholds": {
        "provider": {
            "sort": "throughput",
            "ignore": ["p7"],
            "quantizations": ["fp8", "bf16"],
            "data_collection": "deny",
            "max_price": {"prompt": 5, "completion": 10},
            "preferred_max_latency": {"p90": 3},
        }
    },
    "two models": {"models": ["a/m1"]},
}


def main() -> None:
    """Print microseconds per plan."""
    for name, fields in REQUESTS.items():
        for models in MODELS:
            wanted = {"model": "a/m0", "messages": _MESSAGES, **fields}
            spent_us = measure(catalog_of(models), checked(wanted))
            print(f"{name}, {models} models x {ENDPOINTS} endpoints: {spent_us:.1f} us")


def measure(catalog: Catalog, request: ChatRequest) -> float:
    """Microseconds from a checked request to its plan and its hold."""
    rng = random.Random(1)  # noqa: S311 - no secret
    health = _health(catalog)
    best_s = float("inf")
    for _ in range(ROUNDS):
        begun_s = time.perf_counter()
        for _ in range(PLANS):
            wanted = facts(request, "")
            made = plan(wanted, catalog, health, rng, 0)
            worst_case(made.entries, wanted, catalog)
        best_s = min(best_s, time.perf_counter() - begun_s)
    return best_s / PLANS * 1_000_000


def catalog_of(models: int) -> Catalog:
    """Every model at eight providers, each dearer than the one before."""
    providers = [
        Provider(
            slug=f"p{number}",
            name=f"P{number}",
            base_url="https://p.test",
            key_variable="",
            pool=f"p{number}",
            data_policy=DataPolicy(training=False, retains_prompts=False),
        )
        for number in range(ENDPOINTS)
    ]
    endpoints = [
        Endpoint(
            id=f"{provider.slug}:a/m{model}",
            model_id=f"a/m{model}",
            provider=provider,
            tag=provider.slug,
            dialect="openai",
            upstream_id="up",
            context_length=128_000,
            max_completion_tokens=16_000,
            quantization="fp8",
            supported_parameters=_PARAMETERS,
            prices=(Price(prompt_pico=(n + 1) * MILLION, completion_pico=(n + 2) * MILLION),),
        )
        for model in range(models)
        for n, provider in enumerate(providers)
    ]
    by_model: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        by_model.setdefault(endpoint.model_id, []).append(endpoint)
    return Catalog(
        digest="bench",
        providers={each.slug: each for each in providers},
        models={
            name: Model(id=name, canonical_slug=name, name=name, created=1) for name in by_model
        },
        endpoints={each.id: each for each in endpoints},
        by_model={name: tuple(found) for name, found in by_model.items()},
    )


def _health(catalog: Catalog) -> Health:
    """Figures of every endpoint, one of each model shaky."""
    figures = Percentiles(p50=60, p75=50, p90=40, p99=20)
    late = Percentiles(p50=400, p75=600, p90=900, p99=2_000)
    return Health(
        unstable=frozenset(name for name in catalog.endpoints if name.startswith("p2:")),
        throughput=dict.fromkeys(catalog.endpoints, figures),
        latency=dict.fromkeys(catalog.endpoints, late),
    )


if __name__ == "__main__":
    main()
