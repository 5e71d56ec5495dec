"""Models, endpoints and providers as the contract prints them. Pure: no request, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, get_args

from routing.catalog.document import Effort
from routing.catalog.pricing import long_pricing, usd_per_token
from routing.catalog.shapes import Architecture, Catalog, Endpoint, Model, Price
from routing.figures import EndpointFigures, Percentiles, ToolTally

#: What a router model costs is known once it has chosen.
UNKNOWN_PRICE = "-1"

_TOOL_CHOICES = ("none", "auto", "required", "function")
_REASONING = frozenset({"reasoning", "reasoning_effort"})
#: Least first, as the catalog writes them.
_EFFORTS: tuple[str, ...] = get_args(Effort)
#: Dialects whose providers bound thinking by tokens.
_BUDGETED = frozenset({"anthropic", "vertex-anthropic", "gemini", "vertex"})
_TIERS = frozenset({"flex", "priority", "ultrafast"})
#: Enough to tell 99.99 % from 100 %.
_DIGITS = 2


def price_rank(price: Price) -> int:
    """What a prompt and a completion token cost together: models are compared by it."""
    return price.prompt_pico + price.completion_pico


def cheapest(endpoints: Iterable[Endpoint], now_ms: int) -> Endpoint:
    """The endpoint whose price a model is listed with."""

    def rank(endpoint: Endpoint) -> tuple[int, int, str]:
        price = endpoint.price_at(now_ms)
        return price_rank(price), price.request_pico, endpoint.id

    return min(endpoints, key=rank)


def parameters_of(endpoints: Iterable[Endpoint]) -> frozenset[str]:
    """What at least one of these supports."""
    return frozenset[str]().union(*(each.supported_parameters for each in endpoints))


def context_of(model: Model, endpoints: Sequence[Endpoint], now_ms: int) -> int | None:
    """The context length a model is listed with."""
    if model.context_length is not None:
        return model.context_length
    if model.router is not None:
        return max((each.context_length for each in endpoints), default=None)
    return cheapest(endpoints, now_ms).context_length


def model_body(model: Model, endpoints: Sequence[Endpoint], now_ms: int) -> dict[str, Any]:
    """One `Model`.

    Args:
        model: what is described.
        endpoints: those that serve it, or what a router may choose from; never empty.
        now_ms: the prices of this moment.
    """
    body = {
        "id": model.id,
        "canonical_slug": model.canonical_slug,
        "hugging_face_id": model.hugging_face_id,
        "name": model.name,
        "created": model.created,
        "description": model.description,
        "context_length": context_of(model, endpoints, now_ms),
        "architecture": _architecture(model.architecture),
        "pricing": _model_pricing(model, endpoints, now_ms),
        "top_provider": _top_provider(model, endpoints, now_ms),
        "per_request_limits": None,
        "supported_parameters": sorted(parameters_of(endpoints)),
        "default_parameters": dict(model.default_parameters) or None,
        "expiration_date": model.expiration_date,
        "knowledge_cutoff": model.knowledge_cutoff,
        "supported_voices": None,
        "links": {"details": f"/api/v1/models/{model.id}/endpoints"},
    }
    if (reasoning := _reasoning(model, endpoints)) is not None:
        body["reasoning"] = reasoning
    return body


def described(model: Model, endpoints: list[dict[str, Any]]) -> dict[str, Any]:
    """A model with its endpoints, already printed."""
    return {
        "id": model.id,
        "name": model.name,
        "created": model.created,
        "description": model.description,
        "architecture": _architecture(model.architecture),
        "endpoints": endpoints,
    }


def endpoint_body(
    model: Model, endpoint: Endpoint, figures: EndpointFigures, now_ms: int, *, known: bool
) -> dict[str, Any]:
    """One `PublicEndpoint`.

    Args:
        model: the one asked for; a variant may be served by its base model's endpoint.
        endpoint: what serves it.
        figures: of its recent past.
        now_ms: the price of this moment.
        known: whether the caller is; strangers see no speed and no numbers of calls.
    """
    chooses = "tool_choice" in endpoint.supported_parameters
    tier = endpoint.tag.partition("/")[2]
    return {
        "name": f"{endpoint.provider.name} | {model.id}",
        "model_id": model.id,
        "model_name": model.name,
        "context_length": endpoint.context_length,
        "pricing": _pricing(endpoint.price_at(now_ms)),
        "provider_name": endpoint.provider.name,
        "tag": endpoint.tag,
        "quantization": endpoint.quantization,
        "max_completion_tokens": endpoint.max_completion_tokens,
        "max_prompt_tokens": endpoint.max_prompt_tokens,
        "supported_parameters": sorted(endpoint.supported_parameters),
        "status": figures.status,
        "uptime_last_30m": _percent(figures.uptime_30m),
        "uptime_last_5m": _percent(figures.uptime_5m),
        "uptime_last_1d": _percent(figures.uptime_1d),
        "latency_last_30m": _percentiles(figures.latency_30m) if known else None,
        "throughput_last_30m": _percentiles(figures.throughput_30m) if known else None,
        "tool_calls_last_1d": _tool_calls(figures.tools_1d) if known else None,
        "supports_implicit_caching": endpoint.implicit_caching,
        "supports_tool_choice": dict.fromkeys(_TOOL_CHOICES, chooses),
        "supports_diarization": False,
        "supports_voice_cloning": False,
        "native_tools": {},
        "service_tier": tier if tier in _TIERS else None,
    }


def provider_bodies(catalog: Catalog) -> list[dict[str, Any]]:
    """Every provider of the catalog, by slug."""
    return [
        {
            "name": provider.name,
            "slug": provider.slug,
            "privacy_policy_url": provider.privacy_policy_url,
            "terms_of_service_url": provider.terms_of_service_url,
            "status_page_url": provider.status_page_url,
            "headquarters": provider.headquarters,
            "datacenters": None,
        }
        for provider in catalog.providers.values()
    ]


def _architecture(architecture: Architecture) -> dict[str, Any]:
    return {
        "modality": architecture.modality,
        "input_modalities": architecture.input_modalities,
        "output_modalities": architecture.output_modalities,
        "tokenizer": architecture.tokenizer,
        "instruct_type": architecture.instruct_type,
    }


def _model_pricing(model: Model, endpoints: Sequence[Endpoint], now_ms: int) -> Mapping[str, Any]:
    if model.router is not None:
        return {"prompt": UNKNOWN_PRICE, "completion": UNKNOWN_PRICE}
    return _pricing(cheapest(endpoints, now_ms).price_at(now_ms))


def _pricing(price: Price) -> dict[str, Any]:
    """USD per unit as strings; what is billed like prompt or completion has no line of its own."""
    lines = {
        "prompt": price.prompt_pico,
        "completion": price.completion_pico,
        "request": price.request_pico,
        "image": price.image_pico,
        "input_cache_read": price.cache_read_pico,
        "input_cache_write": price.cache_write_pico,
        "input_cache_write_1h": price.cache_write_1h_pico,
        "internal_reasoning": price.reasoning_pico,
        "audio": price.audio_pico,
        "audio_output": price.audio_output_pico,
        "image_output": price.image_output_pico,
    }
    told: dict[str, Any] = {
        name: usd_per_token(pico) for name, pico in lines.items() if pico is not None
    }
    if (long := long_pricing(price)) is not None:
        told["overrides"] = [long]
    return told


def _top_provider(model: Model, endpoints: Sequence[Endpoint], now_ms: int) -> dict[str, Any]:
    if model.router is not None:
        return {"context_length": None, "max_completion_tokens": None, "is_moderated": False}
    top = cheapest(endpoints, now_ms)
    return {
        "context_length": top.context_length,
        "max_completion_tokens": top.max_completion_tokens,
        "is_moderated": top.provider.moderated,
    }


def _reasoning(model: Model, endpoints: Sequence[Endpoint]) -> dict[str, Any] | None:
    """What may be asked of its reasoning; None for a router and for what does not reason."""
    thinkers = [each for each in endpoints if _REASONING & each.supported_parameters]
    if model.router is not None or not thinkers:
        return None
    mandatory = all(each.efforts and "none" not in each.efforts for each in thinkers)
    told: dict[str, Any] = {"mandatory": mandatory, "supported_efforts": _efforts(thinkers)}
    if mandatory or model.thinking:
        told["default_enabled"] = True
    if any(each.dialect in _BUDGETED for each in thinkers):
        told["supports_max_tokens"] = True
    return told


def _efforts(thinkers: Sequence[Endpoint]) -> list[str] | None:
    """Highest first; None where some endpoint takes them all."""
    if not all(each.efforts for each in thinkers):
        return None
    known = {effort for each in thinkers for effort in each.efforts}
    return [effort for effort in reversed(_EFFORTS) if effort in known]


def _percent(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)


def _percentiles(found: Percentiles | None) -> dict[str, float] | None:
    if found is None:
        return None
    return {name: round(value, _DIGITS) for name, value in asdict(found).items()}


def _tool_calls(tally: ToolTally | None) -> dict[str, int | float | None] | None:
    """Beyond the contract: how many requests had tools, and how many of their calls were valid."""
    if tally is None:
        return None
    share = tally.success_rate
    return {
        "requests": tally.requests,
        "with_calls": tally.with_calls,
        "calls": tally.calls,
        "valid": tally.valid,
        "success_rate": None if share is None else round(share, _DIGITS + 2),
    }
