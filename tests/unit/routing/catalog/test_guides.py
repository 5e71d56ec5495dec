"""What the guides to the API name is in the shipped catalog, so that their examples run."""

import pytest

from routing.catalog.load import load
from routing.catalog.shapes import Catalog, Endpoint
from routing.plan import resolve

#: Every model that an example or a table of the guides names, with its variants and suffixes.
NAMED = (
    "anthropic/claude-3.5-sonnet",
    "anthropic/claude-3.5-sonnet:extended",
    "anthropic/claude-opus-4.5",
    "anthropic/claude-sonnet-4",
    "anthropic/claude-sonnet-4.5",
    "black-forest-labs/flux.2-flex",
    "black-forest-labs/flux.2-pro",
    "deepseek/deepseek-r1",
    "deepseek/deepseek-r1:thinking",
    "deepseek/deepseek-v3.1-terminus:exacto",
    "deepseek/deepseek-v3.2",
    "google/gemini-2.0-flash-001",
    "google/gemini-2.5-flash",
    "google/gemini-2.5-flash-image-preview",
    "google/gemini-2.5-pro-preview",
    "google/gemini-3-pro-preview",
    "google/gemma-3-27b-it",
    "gryphe/mythomax-l2-13b",
    "meta-llama/llama-3.1-70b-instruct",
    "meta-llama/llama-3.1-70b-instruct:floor",
    "meta-llama/llama-3.1-70b-instruct:nitro",
    "meta-llama/llama-3.1-8b-instruct",
    "meta-llama/llama-3.2-3b-instruct:free",
    "meta-llama/llama-3.3-70b-instruct",
    "mistralai/mistral-large",
    "mistralai/mixtral-8x7b-instruct",
    "moonshotai/kimi-k2-0905:exacto",
    "openai/gpt-4",
    "openai/gpt-4.1",
    "openai/gpt-4o",
    "openai/gpt-4o:nitro",
    "openai/gpt-4o:online",
    "openai/gpt-5.1",
    "openai/gpt-oss-120b:exacto",
    "openai/gpt-oss-20b:free",
    "openrouter/auto",
    "openrouter/bodybuilder",
    "qwen/qwen3-coder:exacto",
    "sourceful/riverflow-v2-standard-preview",
    "z-ai/glm-4.6:exacto",
)
#: Providers that the guides order, allow, ignore or take keys for.
PROVIDERS = (
    "amazon-bedrock",
    "anthropic",
    "azure",
    "deepinfra",
    "google-vertex",
    "openai",
    "together",
)
ROUTERS = {"openrouter/auto": "auto", "openrouter/free": "free"}
IMAGES = (
    "black-forest-labs/flux.2-flex",
    "black-forest-labs/flux.2-pro",
    "google/gemini-2.5-flash-image-preview",
    "sourceful/riverflow-v2-standard-preview",
)
#: The models the guide to the automatic choice lists.
CHOICES = (
    "anthropic/claude-sonnet-4.5",
    "anthropic/claude-opus-4.5",
    "openai/gpt-5.1",
    "google/gemini-3-pro-preview",
    "deepseek/deepseek-v3.2",
)
STRENGTHS = {"light", "standard", "strong"}
TASKS = {"code", "math", "writing", "translation", "extraction", "vision", "general"}


@pytest.fixture(scope="module")
def shipped() -> Catalog:
    return load((), environ={}, sandbox_url="http://127.0.0.1:8099")


def _variants(catalog: Catalog, suffix: str) -> list[str]:
    return sorted(name for name in catalog.by_model if name.endswith(suffix))


@pytest.mark.parametrize("name", NAMED)
def test_what_is_named_can_be_asked(shipped: Catalog, name: str):
    model = resolve(name, shipped).model
    assert model.router or shipped.endpoints_of(model.id)


@pytest.mark.parametrize("slug", PROVIDERS)
def test_providers_are_there_and_serve_something(shipped: Catalog, slug: str):
    assert any(each.provider.slug == slug for each in shipped.endpoints.values())


def test_one_edition_of_a_model_can_be_named(shipped: Catalog):
    tags = {each.tag for each in shipped.endpoints_of("deepseek/deepseek-r1")}
    assert {"deepinfra", "deepinfra/turbo"} <= tags


@pytest.mark.parametrize("name", sorted(ROUTERS))
def test_routers_serve_nothing_themselves(shipped: Catalog, name: str):
    assert shipped.models[name].router == ROUTERS[name]
    assert not shipped.endpoints_of(name)


def test_the_automatic_choice_is_the_guides_and_more(shipped: Catalog):
    pool = {each.model_id: each for each in shipped.models["openrouter/auto"].pool}
    assert pool.keys() > set(CHOICES)
    assert {each.strength for each in pool.values()} == STRENGTHS
    assert frozenset[str]().union(*(each.good_at for each in pool.values())) == TASKS
    assert all(shipped.endpoints_of(name) for name in pool)


def test_each_strength_has_models_of_several_authors(shipped: Catalog):
    pool = shipped.models["openrouter/auto"].pool
    for strength in STRENGTHS:
        authors = {each.model_id.partition("/")[0] for each in pool if each.strength == strength}
        assert len(authors) >= 3, strength


def test_something_free_can_be_chosen(shipped: Catalog):
    free = [shipped.models[name] for name in shipped.by_model if shipped.models[name].free]
    assert len(free) >= 5
    assert any("image" in model.architecture.input_modalities for model in free)


@pytest.mark.parametrize("name", IMAGES)
def test_image_models_draw(shipped: Catalog, name: str):
    assert "image" in shipped.models[name].architecture.output_modalities


def test_exacto_keeps_to_a_part_of_the_endpoints_with_tools(shipped: Catalog):
    names = _variants(shipped, ":exacto")
    assert len(names) == 5
    for name in names:
        base = set(_ids(shipped.endpoints_of(name.partition(":")[0])))
        chosen = shipped.endpoints_of(name)
        assert set(_ids(chosen)) < base, name
        assert len({each.provider.slug for each in chosen}) >= 2, name
        for each in chosen:
            assert {"tools", "tool_choice"} <= each.supported_parameters, each.id
            assert each.quantization not in {"int4", "fp4", "nvfp4"}, each.id


def test_thinking_variants_think_and_can_be_told_how(shipped: Catalog):
    names = _variants(shipped, ":thinking")
    assert names == ["anthropic/claude-3.7-sonnet:thinking", "deepseek/deepseek-r1:thinking"]
    for name in names:
        assert shipped.models[name].thinking
        assert any("reasoning" in each.supported_parameters for each in shipped.endpoints_of(name))


def test_a_variant_has_the_context_of_its_model(shipped: Catalog):
    for model in shipped.models.values():
        if model.variant_of is not None:
            assert model.context_length == shipped.models[model.variant_of].context_length, model.id


def _ids(endpoints: tuple[Endpoint, ...]) -> list[str]:
    return [each.id for each in endpoints]
