"""Planning: request + catalog + health -> the endpoints to try, best first.

Pure: the clock and the random source are parameters, and the same draw makes the same plan.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from routing.catalog.pricing import worst_case_nano
from routing.catalog.shapes import Catalog, Model
from routing.errors import BadRequest, CallerError, NotFound
from routing.estimate import tally, tally_inputs
from routing.preferences import (
    EMBEDDINGS,
    FILTERS,
    Candidate,
    PlanRequest,
    Preferences,
    PriceCap,
    SortBy,
    preferring,
    widened,
)
from routing.ranking import Health, Ranking
from routing.wire.chat import ChatRequest, ResponseFormat
from routing.wire.embeddings import EmbeddingsRequest
from routing.wire.job import PlanEntry
from routing.wire.messages import NamedTool
from routing.wire.provider import MaxPrice, Percentiles, ProviderPreferences, Sort
from routing.wire.request import InferenceRequest

__all__ = [
    "MAX_PLAN_ENTRIES",
    "Health",
    "PlanRequest",
    "WorstCase",
    "facts",
    "plan",
    "resolve",
    "worst_case",
]

#: Entries kept with a job: far more than tries are ever made, few enough for a small record.
MAX_PLAN_ENTRIES = 16
#: A request never has fewer tokens than this share of its rough size.
_ROUGH_TO_LEAST = 2
_PICO_PER_USD = 10**12
#: USD per million tokens in pico-dollars per token.
_PICO_PER_USD_A_MILLION = 10**6

_SUFFIXES: Mapping[str, SortBy] = MappingProxyType({"nitro": "throughput", "floor": "price"})

#: Request fields by the name the models API lists them under.
_PARAMETERS: Mapping[str, str] = MappingProxyType(
    {
        "max_completion_tokens": "max_tokens",
        "reasoning_effort": "reasoning",
        **{
            name: name
            for name in (
                "temperature",
                "top_p",
                "top_k",
                "min_p",
                "top_a",
                "frequency_penalty",
                "presence_penalty",
                "repetition_penalty",
                "max_tokens",
                "logit_bias",
                "logprobs",
                "top_logprobs",
                "seed",
                "response_format",
                "structured_outputs",
                "stop",
                "tools",
                "tool_choice",
                "parallel_tool_calls",
                "include_reasoning",
                "reasoning",
                "web_search_options",
                "verbosity",
            )
        },
    }
)


def facts(request: InferenceRequest, default_model: str) -> PlanRequest:
    """What planning needs of a request.

    Raises:
        BadRequest: the request names no model and there is no default.
    """
    if isinstance(request, EmbeddingsRequest):
        return _embedding_facts(request)
    named = ((request.model,) if request.model else ()) + (request.models or ())
    models = tuple(dict.fromkeys(named)) or ((default_model,) if default_model else ())
    if not models:
        raise BadRequest("model: is required, since no default model is set", param="model")
    counted = tally(request)
    choice = request.tool_choice
    form = request.response_format
    return PlanRequest(
        models=models,
        preferences=_preferences(request.provider, request.route),
        needs_tools=bool(request.tools),
        forces_tool=isinstance(choice, NamedTool) or choice == "required",
        needs_schema=form is not None and form.type == "json_schema",
        max_tokens=request.completion_limit,
        prompt_tokens_max=counted.prompt_tokens_max,
        text_tokens=counted.text_tokens_rough,
        tool_tokens=counted.tool_tokens_rough,
        parameters=_parameters(request),
        input_modalities=counted.modalities,
        output_modalities=_outputs(request),
        images=counted.images,
        video_urls=counted.video_urls,
    )


def _embedding_facts(request: EmbeddingsRequest) -> PlanRequest:
    """Vectors have no length of their own: the input is all there is to pay for."""
    counted = tally_inputs(request)
    return PlanRequest(
        models=(request.model,),
        preferences=_preferences(request.provider),
        prompt_tokens_max=counted.prompt_tokens_max,
        text_tokens=counted.text_tokens_rough,
        max_tokens=None,
        input_modalities=counted.modalities,
        output_modalities=EMBEDDINGS,
        images=counted.images,
        parameters=frozenset({"dimensions"} if request.dimensions else ()),
    )


def _parameters(request: ChatRequest) -> frozenset[str]:
    return frozenset(
        _PARAMETERS[name]
        for name in request.model_fields_set
        if name in _PARAMETERS and not _says_nothing(name, getattr(request, name))
    )


def _says_nothing(name: str, value: object) -> bool:
    """Whether a value is what an endpoint does anyway without the parameter."""
    if name == "response_format" and isinstance(value, ResponseFormat):
        return value.type == "text"
    return value is None or value == () or (name == "logprobs" and value is False)


def _outputs(request: ChatRequest) -> frozenset[str]:
    asked = frozenset(request.modalities or ())
    return frozenset() if asked == {"text"} else asked


def _preferences(wanted: ProviderPreferences | None, route: str | None = None) -> Preferences:
    if wanted is None:
        return _SORT_ROUTE if route == "sort" else _DEFAULTS
    sort = wanted.sort
    by, partition = (sort.by, sort.partition) if isinstance(sort, Sort) else (sort, None)
    if partition is None:
        partition = "none" if route == "sort" else "model"
    latency_s = _median(wanted.preferred_max_latency) or wanted.max_latency
    return Preferences(
        order=_slugs(wanted.order),
        only=_slugs(wanted.only),
        ignore=_slugs(wanted.ignore),
        allow_fallbacks=wanted.allow_fallbacks is not False,
        require_parameters=bool(wanted.require_parameters),
        deny_data_collection=wanted.data_collection == "deny",
        zdr=bool(wanted.zdr),
        distillable=bool(wanted.enforce_distillable_text),
        quantizations=widened(frozenset(wanted.quantizations or ())),
        sort=by,
        partition=partition,
        max_price=_price_cap(wanted),
        min_throughput=_median(wanted.preferred_min_throughput) or wanted.min_throughput,
        max_latency_ms=None if latency_s is None else latency_s * 1000,
    )


_DEFAULTS = Preferences()
_SORT_ROUTE = Preferences(sort="price", partition="none")


def _slugs(names: tuple[str, ...] | None) -> tuple[str, ...]:
    return tuple(name.lower() for name in names or ())


def _median(threshold: float | Percentiles | None) -> float | None:
    # Health knows medians only; the other percentiles are accepted and have no effect.
    return threshold.p50 if isinstance(threshold, Percentiles) else threshold


def _price_cap(wanted: ProviderPreferences) -> PriceCap | None:
    cap = wanted.max_price
    if cap is None or cap == MaxPrice():
        return None
    return PriceCap(
        prompt_pico=_pico(cap.prompt, _PICO_PER_USD_A_MILLION),
        completion_pico=_pico(cap.completion, _PICO_PER_USD_A_MILLION),
        request_pico=_pico(cap.request, _PICO_PER_USD),
        image_pico=_pico(cap.image, _PICO_PER_USD),
    )


def _pico(usd: Decimal | None, factor: int) -> int | None:
    return None if usd is None else int(usd * factor)


def plan(
    request: PlanRequest, catalog: Catalog, health: Health, rng: random.Random, now_ms: int
) -> tuple[PlanEntry, ...]:
    """Endpoints to try, best first; at least one, at most MAX_PLAN_ENTRIES.

    Raises:
        BadRequest: an unknown model, or a prompt longer than any endpoint takes.
        NotFound: no endpoint meets the demands; says which demand left none.
    """
    groups = _groups(request, catalog, now_ms)
    ranking = Ranking(request.preferences, health, rng, request.images)
    if request.preferences.partition == "none":
        sort = next((sort for sort, _ in groups if sort is not None), None)
        ranked = ranking.rank([c for _, group in groups for c in group], sort)
    else:
        ranked = [c for sort, group in groups for c in ranking.rank(group, sort)]
    chosen = ranking.preferred_first(ranked)
    if not request.may_fall_back:
        chosen = chosen[:1]
    return tuple(
        PlanEntry(
            endpoint_id=c.endpoint.id,
            model_id=c.endpoint.model_id,
            pool=c.endpoint.provider.pool,
            price=c.price,
        )
        for c in chosen[:MAX_PLAN_ENTRIES]
    )


def _groups(
    request: PlanRequest, catalog: Catalog, now_ms: int
) -> list[tuple[SortBy | None, list[Candidate]]]:
    """The candidates of each model that has any, with the sort its suffix asks for."""
    resolved: dict[str, tuple[Model, SortBy | None]] = {}
    for name in request.models:
        model, suffix = resolve(name, catalog)
        resolved.setdefault(model.id, (model, suffix))
    groups: list[tuple[SortBy | None, list[Candidate]]] = []
    refusals: list[CallerError] = []
    for model, suffix in resolved.values():
        survivors, refusal = _survivors(request, catalog, model, now_ms)
        if refusal is None:
            groups.append((suffix or request.preferences.sort, survivors))
        else:
            refusals.append(refusal)
    if not groups:
        raise refusals[0]
    # A real endpoint is never backed up by a simulated one: no invented answer for a failure.
    if any(not c.endpoint.provider.simulated for _, group in groups for c in group):
        groups = [
            (sort, [c for c in group if not c.endpoint.provider.simulated])
            for sort, group in groups
        ]
    return groups


def resolve(name: str, catalog: Catalog) -> tuple[Model, SortBy | None]:
    """The model a name means, and the sort its `:nitro` or `:floor` asks for.

    Raises:
        BadRequest: it means none.
    """
    sort: SortBy | None = None
    stem = name
    while (model := catalog.model(stem)) is None:
        stem, colon, suffix = stem.rpartition(":")
        if not colon or suffix not in _SUFFIXES:
            raise BadRequest(f"{name} is not a valid model ID", param="model")
        sort = sort or _SUFFIXES[suffix]
    return model, sort


def _survivors(
    request: PlanRequest, catalog: Catalog, model: Model, now_ms: int
) -> tuple[list[Candidate], CallerError | None]:
    left = [
        Candidate(endpoint=endpoint, model=model, price=endpoint.price_at(now_ms))
        for endpoint in catalog.endpoints_of(model.id)
    ]
    if not left:
        return [], NotFound(f"No endpoints found for {model.id}.")
    funnel: list[dict[str, Any]] = [{"step": "Initial Endpoints", "endpoint_count": len(left)}]
    for rule in FILTERS:
        if not rule.applies(request):
            continue
        before, left = left, [c for c in left if rule.keeps(c, request)]
        funnel.append({"step": rule.step, "endpoint_count": len(left)})
        if not left:
            refusal = rule.refusal(request, before)
            refusal.metadata = {
                **(refusal.metadata or {}),
                "failed_routing_step": rule.step,
                "routing_funnel": funnel,
            }
            return [], refusal
    return preferring(request, left), None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstCase:
    """The most a request can cost, and the longest answer it can get, over a whole plan."""

    hold_nano: int
    completion_tokens_max: int


def worst_case(entries: tuple[PlanEntry, ...], request: PlanRequest, catalog: Catalog) -> WorstCase:
    """What to hold before a request is let in.

    Prompt and answer share the context: neither alone is ever counted beyond it.
    """
    hold_nano = 0
    longest = 0
    least_prompt = request.prompt_tokens // _ROUGH_TO_LEAST
    for entry in entries:
        endpoint = catalog.endpoints[entry.endpoint_id]
        room = max(1, endpoint.context_length - least_prompt)
        completion = min(request.max_tokens or room, endpoint.completion_cap, room)
        prompt = min(request.prompt_tokens_max, endpoint.context_length)
        if request.output_modalities == EMBEDDINGS:  # each input has the whole context
            prompt, completion = request.prompt_tokens_max, 0
        hold_nano = max(hold_nano, worst_case_nano(entry.price, prompt, completion, request.images))
        longest = max(longest, completion)
    return WorstCase(hold_nano=hold_nano, completion_tokens_max=longest)
