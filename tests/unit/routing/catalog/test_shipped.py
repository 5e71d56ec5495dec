"""The catalog that comes with the product."""

import json
from collections import defaultdict

import pytest

from routing.catalog.load import SHIPPED, check, load
from routing.catalog.shapes import Catalog
from workers.dialects.claude import claude

SANDBOX = "http://127.0.0.1:8099"


@pytest.fixture(scope="module")
def shipped() -> Catalog:
    """Everything we ship, answered by the simulator."""
    return load((), environ={}, sandbox_url=SANDBOX)


def test_it_has_no_problems():
    assert check((), {}) == ()


@pytest.mark.parametrize(
    ("slug", "base_url", "variable", "cancellation"),
    [
        ("openai", "https://api.openai.com/v1", "OPENAI_API_KEY", True),
        ("together", "https://api.together.xyz/v1", "TOGETHER_API_KEY", True),
        ("deepinfra", "https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY", True),
        ("fireworks", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY", True),
        ("groq", "https://api.groq.com/openai/v1", "GROQ_API_KEY", False),
        ("deepseek", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY", True),
        ("mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY", False),
        ("xai", "https://api.x.ai/v1", "XAI_API_KEY", True),
    ],
)
def test_providers(slug: str, base_url: str, variable: str, cancellation: bool):
    real = load((), environ={variable: "key"}, sandbox_url=SANDBOX).providers[slug]
    assert (real.base_url, real.key_variable) == (base_url, variable)
    assert real.cancellation is cancellation
    assert real.pool == slug
    assert not real.simulated


def test_one_file_per_provider_and_author(shipped: Catalog):
    files = {file.stem for file in (SHIPPED / "providers").glob("*.yml")}
    assert files == set(shipped.providers)
    authors = {file.stem for file in (SHIPPED / "models").glob("*.yml")} - {"variants"}
    assert authors == {model.id.partition("/")[0] for model in shipped.models.values()}


def test_without_a_key_everything_is_simulated(shipped: Catalog):
    assert all(provider.simulated for provider in shipped.providers.values())
    assert shipped.providers["groq"].base_url == f"{SANDBOX}/p/groq/openai/v1"


def test_without_keys_and_sandbox_nothing_can_be_called():
    assert not load((), environ={}, sandbox_url="").by_model


def test_every_model_is_served_by_somebody(shipped: Catalog):
    served = {model.id for model in shipped.models.values() if model.router is None}
    assert served == set(shipped.by_model)


def test_many_models_have_several_providers(shipped: Catalog):
    providers = defaultdict(set)
    for endpoint in shipped.endpoints.values():
        providers[endpoint.model_id].add(endpoint.provider.slug)
    assert sum(len(slugs) > 1 for slugs in providers.values()) >= 8
    assert len(providers["meta-llama/llama-3.3-70b-instruct"]) >= 4


def test_free_rows_are_free_and_only_they(shipped: Catalog):
    free = {name for name in shipped.by_model if name.endswith(":free")}
    assert len(free) >= 2
    free.add("openrouter/bodybuilder")
    for endpoint in shipped.endpoints.values():
        assert all(price.free for price in endpoint.prices) is (endpoint.model_id in free)


def test_every_price_names_a_secure_source(shipped: Catalog):
    for endpoint in shipped.endpoints.values():
        assert all(price.source.startswith("https://") for price in endpoint.prices)


def test_cached_tokens_never_cost_more_than_fresh_ones(shipped: Catalog):
    for endpoint in shipped.endpoints.values():
        for price in endpoint.prices:
            assert (price.cache_read_pico or 0) <= price.prompt_pico, endpoint.id


def test_long_prompts_never_cost_less(shipped: Catalog):
    long = [price for each in shipped.endpoints.values() for price in each.prices if price.long]
    assert len(long) >= 20
    for price in long:
        assert price.long is not None
        assert price.long.prompt_pico >= price.prompt_pico
        assert price.long.completion_pico >= price.completion_pico


def test_claude_continues_an_answer_only_where_it_can(shipped: Catalog):
    places = [each for each in shipped.endpoints.values() if "claude" in each.upstream_id]
    assert any(each.prefill for each in places)
    for each in places:
        assert claude(each).prefill or not each.prefill, each.id


def test_endpoints_fit_their_models(shipped: Catalog):
    for endpoint in shipped.endpoints.values():
        model = shipped.models[endpoint.model_id]
        assert endpoint.prices[0].from_ms // 1_000 >= model.created - 86_400 * 3, endpoint.id
        assert endpoint.context_length <= (model.context_length or 0), endpoint.id
        if "embeddings" not in model.architecture.output_modalities:
            assert "max_tokens" in endpoint.supported_parameters, endpoint.id


def test_an_azure_key_serves_the_models_it_has_deployments_for():
    deployment = {
        "model_slug": "openai/gpt-4o",
        "endpoint_url": "https://a.openai.azure.com/openai/deployments/d/chat/completions"
        "?api-version=2024-10-21",
        "api_key": "k",
        "model_id": "d",
    }
    catalog = load((), environ={"AZURE_KEY": json.dumps(deployment)}, sandbox_url=SANDBOX)
    served = {
        model
        for model, endpoints in catalog.by_model.items()
        if any(endpoint.provider.slug == "azure" for endpoint in endpoints)
    }
    assert served == {"openai/gpt-4o"}
