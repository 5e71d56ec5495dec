"""A small catalog behind the catalog's routes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask, request

from api.catalog import blueprint
from api.model_query import Figures
from routing.catalog.live import LiveCatalog
from routing.catalog.shapes import Endpoint
from routing.clock import Clock
from routing.errors import RouterError, Unauthorized
from routing.figures import EndpointFigures
from routing.wire.account import NO_POLICY, KeyRecord, RoutingPolicy

JAN_2025_MS = 1_735_689_600_000
DAY_MS = 86_400_000

MODELS = """\
models:
  - id: acme/rocket
    canonical_slug: acme/rocket-2025-01-02
    name: 'Acme: Rocket'
    created: 2025-01-02
    description: Goes up.
    context_length: 8192
    architecture: {input_modalities: [text, image], tokenizer: Llama3, instruct_type: llama3}
    hugging_face_id: acme/Rocket
    default_parameters: {temperature: 0.6}
    categories: [science, programming]
  - {id: acme/glider, name: Glider, created: 2025-03-01, categories: [science]}
  - {id: 'acme/glider:free', name: Glider (free), created: 2025-03-01}
  - {id: acme/idle, name: Idle, created: 2025-04-01}
  - id: acme/vectors
    name: Vectors
    created: 2025-02-01
    categories: [science]
    architecture: {output_modalities: [embeddings]}
  - {id: acme/brush, name: Brush, created: 2025-02-02, architecture: {output_modalities: [image]}}
  # Over the shipped router, which would be listed because there is a free model.
  - {id: openrouter/free, name: Overridden, created: 2025-01-01}
"""
LAB = """\
slug: lab
name: Lab
dialect: openai
base_url: http://10.0.0.5:8000/v1
moderated: true
data_policy: {retains_prompts: false}
privacy_policy_url: https://lab.example/privacy
headquarters: CH
supported_parameters: [tools, tool_choice, max_tokens]
endpoints:
  - model: acme/rocket
    upstream_id: rocket-7b
    context_length: 8192
    max_completion_tokens: 4096
    quantization: fp8
    implicit_caching: true
    prices:
      - {from: 2025-01-01, prompt: 1, completion: 2, cache_read: 0.1, source: https://lab.example}
      - {from: 2025-01-03, prompt: 3, completion: 4, source: https://lab.example}
"""
WORKSHOP = """\
slug: workshop
name: Workshop
dialect: openai
base_url: http://10.0.0.6:8000/v1
supported_parameters: [seed, max_tokens]
endpoints:
  - model: acme/rocket
    upstream_id: rocket
    context_length: 4096
    prices: [{from: 2025-01-01, prompt: 2, completion: 2, source: https://shop.example}]
  - model: acme/glider
    upstream_id: glider
    context_length: 4096
    prices: [{from: 2025-01-01, prompt: 2, completion: 2, image: 0.01, source: https://shop.example}]
  - model: acme/glider:free
    upstream_id: glider
    context_length: 4096
    prices: [{from: 2025-01-01, prompt: 0, completion: 0, source: https://shop.example}]
  - model: acme/vectors
    upstream_id: vectors
    context_length: 4096
    prices: [{from: 2025-01-01, prompt: 1, completion: 0, source: https://shop.example}]
  - model: acme/brush
    upstream_id: brush
    context_length: 4096
    prices: [{from: 2025-01-01, prompt: 1, completion: 1, source: https://shop.example}]
"""


KEY = "sk-or-v1-known"


class Health:
    """Figures by endpoint id."""

    def __init__(self) -> None:
        self.known: dict[str, EndpointFigures] = {}

    def figures(self, endpoint_id: str) -> EndpointFigures:
        return self.known.get(endpoint_id, EndpointFigures())


def authenticator(policy: Callable[[], RoutingPolicy]) -> Callable[[], KeyRecord]:
    """Knows one key, whose account has this policy at the moment."""

    def authenticate() -> KeyRecord:
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            raise Unauthorized("No auth credentials found")
        return KeyRecord(key_hash="h", account_id="a", kind="inference", label="l", policy=policy())

    return authenticate


class Ceiling:
    """An account that may use only some providers, and how often endpoints were asked about."""

    def __init__(self, *only: str) -> None:
        self.policy = RoutingPolicy(only=only)
        self.asked = 0

    def visible(self, policy: RoutingPolicy, endpoint: Endpoint) -> bool:
        self.asked += 1
        return not policy.only or endpoint.provider.slug in policy.only


def with_key(key: str = KEY) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def write(directory: Path) -> None:
    """The catalog's files."""
    for folder, name, text in (
        ("models", "acme.yml", MODELS),
        ("providers", "lab.yml", LAB),
        ("providers", "workshop.yml", WORKSHOP),
    ):
        (directory / folder).mkdir(exist_ok=True)
        (directory / folder / name).write_text(text)


def app_of(
    live: LiveCatalog, clock: Clock, health: Figures, ceiling: Ceiling | None = None
) -> Flask:
    app = Flask("test")
    if ceiling is None:
        routes = blueprint(live, clock, health, authenticator(lambda: NO_POLICY))
    else:
        authenticate = authenticator(lambda: ceiling.policy)
        routes = blueprint(live, clock, health, authenticate, ceiling.visible)
    app.register_blueprint(routes, url_prefix="/api/v1", name="catalog_api_v1")
    app.register_blueprint(routes, url_prefix="/v1", name="catalog_v1")

    @app.errorhandler(RouterError)
    def _answer(error: RouterError) -> tuple[dict[str, Any], int]:
        return error.body(), error.status

    return app
