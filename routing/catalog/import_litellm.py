"""LiteLLM's `model_prices_and_context_window.json`: an object of models by LiteLLM's own names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from routing.catalog.import_list import (
    Dated,
    JsonObject,
    Offer,
    Rates,
    Reading,
    Skip,
    Unusable,
    bounded,
    day,
    mapping,
    problem,
    rates,
    reading,
    shown,
    text,
    whole,
)

#: The catalog's providers by LiteLLM's names, where they differ.
_PROVIDERS: Mapping[str, str] = {
    "text-completion-openai": "openai",
    "bedrock": "amazon-bedrock",
    "bedrock_converse": "amazon-bedrock",
    "cohere_chat": "cohere",
    "dashscope": "alibaba",
    "featherless_ai": "featherless",
    "fireworks_ai": "fireworks",
    "friendliai": "friendli",
    "gemini": "google-ai-studio",
    "moonshot": "moonshotai",
    "nvidia_nim": "nvidia",
    "together_ai": "together",
    "vertex_ai-anthropic_models": "google-vertex",
    "vertex_ai-language-models": "google-vertex",
    "vertex_ai-vision-models": "google-vertex",
    "zai": "z-ai",
}
#: What may stand before the provider's own name, where it is not LiteLLM's name of the provider.
_PREFIXES: Mapping[str, tuple[str, ...]] = {
    "bedrock_converse": ("bedrock/",),
    "cohere_chat": ("cohere/",),
    "fireworks_ai": ("fireworks_ai/",),
    "vertex_ai-anthropic_models": ("vertex_ai/",),
    "vertex_ai-language-models": ("vertex_ai/",),
    "vertex_ai-vision-models": ("vertex_ai/",),
}
_PRICES: Mapping[str, str] = {
    "prompt": "input_cost_per_token",
    "completion": "output_cost_per_token",
    "request": "input_cost_per_request",
    "image": "input_cost_per_image",
    "cache_read": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
    "cache_write_1h": "cache_creation_input_token_cost_above_1hr",
    "reasoning": "output_cost_per_reasoning_token",
    "audio": "input_cost_per_audio_token",
    "audio_output": "output_cost_per_audio_token",
    "image_output": "output_cost_per_image_token",
}
_LONG_NAMES = ("prompt", "completion", "cache_read", "cache_write")
_LONG = re.compile(r"(?P<name>[a-z_]+)_above_(?P<thousands>[0-9]{1,5})k_tokens")
#: Units the catalog has no price for.
_UNIT = re.compile(r"(in|out)put_cost_per_(second|character|pixel|video_per_second)\w*")
_VARYING = ("tiered_pricing", "off_peak_pricing")
_MODES: Mapping[str, str | None] = {
    "chat": None,
    "completion": None,
    "embedding": None,
    "responses": "openai-responses",
}
#: Who makes the models it serves: there the end of an offer is the end of the model.
VENDORS: Mapping[str, str] = {
    "ai21": "ai21",
    "anthropic": "anthropic",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "google-ai-studio": "google",
    "inception": "inception",
    "minimax": "minimax",
    "mistral": "mistralai",
    "moonshotai": "moonshotai",
    "openai": "openai",
    "perplexity": "perplexity",
    "xai": "x-ai",
    "z-ai": "z-ai",
}
_ABILITIES: Mapping[str, tuple[str, ...]] = {
    "supports_function_calling": ("tools", "tool_choice"),
    "supports_parallel_function_calling": ("parallel_tool_calls",),
    "supports_response_schema": ("response_format", "structured_outputs"),
    "supports_reasoning": ("reasoning", "include_reasoning"),
}
#: Not taken by a model unless its entry says so.
_STATED = frozenset(
    {"tools", "tool_choice", "parallel_tool_calls", "reasoning", "include_reasoning"}
)
_SENSES: Mapping[str, str] = {
    "supports_vision": "image",
    "supports_pdf_input": "file",
    "supports_audio_input": "audio",
    "supports_video_input": "video",
}
_SOURCE = "https://github.com/BerriAI/litellm/blob/main/model_prices_and_context_window.json"
_SAMPLE = "sample_spec"
_LINK = re.compile(r"https?://[a-zA-Z0-9][!-~]{0,400}")


def read(data: Any, where: str, today: date) -> Reading:
    """Offers of the whole list.

    Args:
        data: the JSON.
        where: the file, for messages.
        today: models that went away before it are left out.

    Raises:
        ConfigError: it is something else.
    """
    if not isinstance(data, JsonObject) or isinstance(data.get("data"), list):
        raise problem(where, "not an object of models by name")
    entries = [(name, entry) for name, entry in data.items() if name not in {_SAMPLE, *data.twice}]
    found = reading(bounded(entries, where), lambda name, entry: [_offer(name, entry, today)])
    twice = [Skip(shown(name), "is given twice; none of them is used") for name in data.twice]
    return Reading(found.offers, (*twice, *found.skips))


def _offer(name: str, value: Any, today: date) -> Offer:
    entry = mapping(value, "the entry")
    theirs = text(entry.get("litellm_provider"), "litellm_provider")
    if not theirs:
        raise Unusable("does not say who serves it")
    mode = text(entry.get("mode"), "mode")
    if mode not in _MODES:
        raise Unusable(f"the mode {shown(mode)!r} is not served here")
    slug = _PROVIDERS.get(theirs, theirs.replace("_", "-"))
    upstream_id = _upstream_id(text(name, "the name"), theirs)
    ends = day(entry.get("deprecation_date"), "deprecation_date")
    if ends is not None and ends <= today:
        raise Unusable("went away on its deprecation_date")
    author = VENDORS.get(slug)
    return Offer(
        entry=name,
        providers=(slug,),
        upstream_id=upstream_id,
        prices=(Dated(None, _rates(entry, embeds=mode == "embedding")),),
        endpoint=_fields(entry, mode),
        adds=_abilities(entry),
        drops=_STATED - frozenset(_abilities(entry)),
        model={
            "name": upstream_id,
            "architecture": _architecture(entry, embeds=mode == "embedding"),
            **({"expiration_date": ends.isoformat()} if ends and author else {}),
        },
        expires=ends if author else None,
        source=_source(entry),
    )


def _upstream_id(name: str, theirs: str) -> str:
    for prefix in (f"{theirs}/", *_PREFIXES.get(theirs, ())):
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def _source(entry: JsonObject) -> str:
    said = text(entry.get("source"), "source")
    return said if _LINK.fullmatch(said) and "@" not in said else _SOURCE


def _rates(entry: JsonObject, *, embeds: bool) -> Rates:
    for name in _VARYING:
        if entry.get(name):
            raise Unusable(f"the price varies: {name}")
    if unit := next((name for name in entry if _UNIT.fullmatch(name) and entry[name]), None):
        raise Unusable(f"the unit is not one of the catalog: {unit}")
    found = dict(rates(entry, _PRICES))
    if "prompt" not in found:
        raise Unusable("has no price for prompts")
    if embeds:
        found.setdefault("completion", Decimal(0))
    if "completion" not in found:
        raise Unusable("has no price for completions")
    return {**found, **_long(entry, found)}


def _long(entry: JsonObject, usual: Rates) -> Rates:
    """The rates of long prompts; service tiers (`…_priority`) are other prices and stay out."""
    told = [match for name in entry if (match := _LONG.fullmatch(name)) and entry[name] is not None]
    if not told:
        return {}
    sizes = {match["thousands"] for match in told}
    if len(sizes) > 1:
        raise Unusable("has several tiers")
    size = sizes.pop()
    names = {name: f"{_PRICES[name]}_above_{size}k_tokens" for name in _LONG_NAMES}
    found = {**{name: usual[name] for name in _LONG_NAMES if name in usual}, **rates(entry, names)}
    long = {f"long_{name}": usd for name, usd in found.items()}
    return {"long_over": Decimal(int(size) * 1_000), **long}


def _fields(entry: JsonObject, mode: str) -> dict[str, Any]:
    made: dict[str, Any] = {}
    dialect = _MODES[mode]
    if dialect:
        made["dialect"] = dialect
    context = whole(entry.get("max_input_tokens"), "max_input_tokens")
    if context is not None:
        made["context_length"] = context
        cap = whole(entry.get("max_output_tokens"), "max_output_tokens")
        if cap is not None and cap <= context and mode != "embedding":
            made["max_completion_tokens"] = cap
    if entry.get("supports_prompt_caching") is True and not entry.get(_PRICES["cache_write"]):
        made["implicit_caching"] = True
    return made


def _abilities(entry: JsonObject) -> tuple[str, ...]:
    return tuple(
        word
        for name, parameters in _ABILITIES.items()
        if entry.get(name) is True
        for word in parameters
        if word != "tool_choice" or entry.get("supports_tool_choice") is not False
    )


def _architecture(entry: JsonObject, *, embeds: bool) -> dict[str, Any]:
    senses = tuple(word for name, word in _SENSES.items() if entry.get(name) is True)
    made: dict[str, Any] = {"input_modalities": ("text", *senses)}
    if embeds:
        made["output_modalities"] = ("embeddings",)
    elif entry.get("supports_audio_output") is True:
        made["output_modalities"] = ("text", "audio")
    return made
