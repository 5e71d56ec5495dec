"""Planning: request + catalog + health -> the endpoints to try, best first.

Pure: the clock and the random source are parameters, and the same draw makes the same plan.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Literal, get_args

from routing.auto import CHOICES_MAX, Guess, guess, suited
from routing.catalog.pricing import Cost, Terms, worst_case_nano
from routing.catalog.shapes import Catalog, Endpoint, Model
from routing.errors import BadRequest, CallerError, NotFound
from routing.estimate import tally, tally_inputs
from routing.figures import Percent
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
from routing.wire.account import NO_POLICY, ByokKey, RoutingPolicy
from routing.wire.chat import ChatRequest, ResponseFormat
from routing.wire.embeddings import EmbeddingsRequest
from routing.wire.job import PlanEntry
from routing.wire.messages import NamedTool
from routing.wire.provider import MaxPrice, Percentiles, ProviderPreferences, Sort
from routing.wire.request import InferenceRequest

__all__ = [
    "MAX_PLAN_ENTRIES",
    "Group",
    "Health",
    "Named",
    "Plan",
    "PlanRequest",
    "WorstCase",
    "facts",
    "funnel_of",
    "ordered",
    "plan",
    "resolve",
    "strategy_of",
    "survey",
    "usable",
    "worst_case",
]

#: Entries kept with a job: far more than tries are ever made, few enough for a small record.
MAX_PLAN_ENTRIES = 16
#: A request never has fewer tokens than this share of its rough size.
_ROUGH_TO_LEAST = 2
_MS_PER_S = 1_000
_PICO_PER_USD = 10**12
#: USD per million tokens in pico-dollars per token.
_PICO_PER_USD_A_MILLION = 10**6

_SORTS: Mapping[str, SortBy] = MappingProxyType({"nitro": "throughput", "floor": "price"})
_ONLINE = "online"
_DYNAMIC = frozenset({*_SORTS, _ONLINE})

Strategy = Literal["direct", "fallback", "auto", "free"]

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


def facts(
    request: InferenceRequest,
    default_model: str,
    policy: RoutingPolicy = NO_POLICY,
    routers: frozenset[str] = frozenset(),
    byok: tuple[ByokKey, ...] = (),
) -> PlanRequest:
    """What planning needs of a request.

    Args:
        request: checked already.
        default_model: for requests that name none, unless the account has its own.
        policy: of the account.
        routers: names that stand for a choice, for which the prompt must be read.
        byok: provider keys of the account that may be used.

    Raises:
        BadRequest: the request names no model and there is no default.
    """
    if isinstance(request, EmbeddingsRequest):
        return _embedding_facts(request, policy, byok)
    models = _models(request, policy.default_model or default_model)
    counted = tally(request)
    choice = request.tool_choice
    form = request.response_format
    chooses = bool(routers) and any(name.partition(":")[0] in routers for name in models)
    if chooses and not request.messages:
        raise BadRequest(f"{models[0]} needs 'messages', not 'prompt'", param="prompt")
    return PlanRequest(
        models=models,
        preferences=_preferences(request.provider, request.route, policy.sort),
        policy=policy,
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
        guess=guess(request, counted.text_tokens_rough) if chooses else None,
        byok=byok,
    )


def _models(request: ChatRequest, default: str) -> tuple[str, ...]:
    named = ((request.model,) if request.model else ()) + (request.models or ())
    models = tuple(dict.fromkeys(named)) or ((default,) if default else ())
    if not models:
        raise BadRequest("model: is required, since no default model is set", param="model")
    return models


def _embedding_facts(
    request: EmbeddingsRequest, policy: RoutingPolicy, byok: tuple[ByokKey, ...]
) -> PlanRequest:
    """Vectors have no length of their own: the input is all there is to pay for."""
    counted = tally_inputs(request)
    return PlanRequest(
        models=(request.model,),
        preferences=_preferences(request.provider, None, policy.sort),
        policy=policy,
        prompt_tokens_max=counted.prompt_tokens_max,
        text_tokens=counted.text_tokens_rough,
        max_tokens=None,
        input_modalities=counted.modalities,
        output_modalities=EMBEDDINGS,
        images=counted.images,
        parameters=frozenset({"dimensions"} if request.dimensions else ()),
        byok=byok,
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


def _preferences(
    wanted: ProviderPreferences | None, route: str | None, usual: SortBy | None
) -> Preferences:
    if wanted is None:
        if route == "sort":
            return _SORT_ROUTE
        return _DEFAULTS if usual is None else Preferences(sort=usual)
    sort = wanted.sort
    by, partition = (sort.by, sort.partition) if isinstance(sort, Sort) else (sort, None)
    if partition is None:
        partition = "none" if route == "sort" else "model"
    latency = wanted.preferred_max_latency or wanted.max_latency
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
        sort=by or (None if wanted.order else usual),
        partition=partition,
        max_price=_price_cap(wanted),
        min_throughput=_at(wanted.preferred_min_throughput or wanted.min_throughput, 1),
        max_latency_ms=_at(latency, _MS_PER_S),
    )


_DEFAULTS = Preferences()
_SORT_ROUTE = Preferences(sort="price", partition="none")


def _at(threshold: float | Percentiles | None, factor: int) -> tuple[tuple[Percent, float], ...]:
    """A threshold at its percentiles; a bare number means the median."""
    if threshold is None:
        return ()
    if not isinstance(threshold, Percentiles):
        return (("p50", threshold * factor),)
    return tuple(
        (percent, value * factor)
        for percent in get_args(Percent)
        if (value := getattr(threshold, percent)) is not None
    )


def _slugs(names: tuple[str, ...] | None) -> tuple[str, ...]:
    return tuple(name.lower() for name in names or ())


def _price_cap(wanted: ProviderPreferences) -> PriceCap | None:
    cap = wanted.max_price
    if cap is None or cap == MaxPrice():
        return None
    return PriceCap(
        prompt_pico=_pico(cap.prompt, _PICO_PER_USD_A_MILLION),
        completion_pico=_pico(cap.completion, _PICO_PER_USD_A_MILLION),
        request_pico=_pico(cap.request, _PICO_PER_USD),
        image_pico=_pico(cap.image, _PICO_PER_USD),
        audio_pico=_pico(cap.audio, _PICO_PER_USD_A_MILLION),
    )


def _pico(usd: Decimal | None, factor: int) -> int | None:
    return None if usd is None else int(usd * factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Where a request will be tried, and what its caller may be told of that.

    Attributes:
        entries: best first; at least one, at most MAX_PLAN_ENTRIES.
        requested: the first model as it was named.
        strategy: how the model was found.
        total: endpoints of all named models, before any demand.
    """

    entries: tuple[PlanEntry, ...]
    requested: str
    strategy: Strategy
    total: int


def plan(
    request: PlanRequest,
    catalog: Catalog,
    health: Health,
    rng: random.Random,
    now_ms: int,
    *,
    sticky: str = "",
) -> Plan:
    """Which endpoints to try, best first.

    Args:
        request: what it demands.
        catalog: all there is.
        health: what the fleet has lately seen.
        rng: makes the draw; the same one makes the same plan.
        now_ms: which prices are in force.
        sticky: the endpoint that cached this conversation; "" for none.

    Raises:
        BadRequest: an unknown model, or a prompt longer than any endpoint takes.
        NotFound: no endpoint meets the demands; says which demand left none.
    """
    groups = survey(request, catalog, rng, now_ms)
    ranking = Ranking(request.preferences, health, rng, request.images, sticky)
    chosen = ordered(usable(groups), ranking)
    if not request.may_fall_back:  # which is about providers: models named as fallbacks stay
        chosen = list({c.model.id: c for c in reversed(chosen)}.values())[::-1]
    return Plan(
        entries=tuple(
            PlanEntry(
                endpoint_id=c.endpoint.id,
                model_id=c.model.id,
                pool=c.endpoint.provider.pool,
                price=c.price,
                byok=byok,
            )
            for c, byok in _bounded(_with_own_keys(chosen, request, catalog))
        ),
        requested=request.models[0],
        strategy=strategy_of(request, catalog),
        total=sum(group.total for group in groups),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One model of a request and what the demands left of its endpoints.

    Attributes:
        sort: what its suffix or the request asks for.
        left: candidates that meet every demand, in catalog order.
        funnel: after each demand that was made, its name and who was left.
        refusal: why none is left.
    """

    model: Model
    sort: SortBy | None
    left: list[Candidate]
    funnel: list[tuple[str, list[Candidate]]]
    refusal: CallerError | None = None

    @property
    def total(self) -> int:
        """Its endpoints before any demand."""
        return len(self.funnel[0][1])


def survey(request: PlanRequest, catalog: Catalog, rng: random.Random, now_ms: int) -> list[Group]:
    """Every model of a request with the demands applied, in the order they are to be tried.

    Raises:
        BadRequest: an unknown model.
    """
    groups: dict[str, Group] = {}
    for name in request.models:
        found = resolve(name, catalog)
        sort = found.sort or request.preferences.sort
        if found.model.router is None:
            members = [_surveyed(request, catalog, found.model, sort, now_ms)]
        else:
            choice = _choice(found.model, request, catalog, rng)
            surveyed = (_surveyed(request, catalog, model, sort, now_ms) for model in choice)
            members = _chosen(surveyed)
        for group in members:
            groups.setdefault(group.model.id, group)
    return list(groups.values())


def usable(groups: list[Group]) -> list[Group]:
    """The groups with anybody left.

    A real endpoint is never backed up by a simulated one: no invented answer for a failure.

    Raises:
        CallerError: nobody is left at all; the first model's reason.
    """
    found = [group for group in groups if group.left]
    if not found:
        raise next(
            (group.refusal for group in groups if group.refusal is not None),
            NotFound("No endpoints found for any free model."),
        )
    if any(not c.endpoint.provider.simulated for group in found for c in group.left):
        found = [
            replace(group, left=[c for c in group.left if not c.endpoint.provider.simulated])
            for group in found
        ]
    return found


def ordered(groups: list[Group], ranking: Ranking) -> list[Candidate]:
    """The candidates of all groups, best first."""
    if ranking.preferences.partition == "none":
        sort = next((group.sort for group in groups if group.sort is not None), None)
        ranked = ranking.rank([c for group in groups for c in group.left], sort)
    else:
        ranked = [c for group in groups for c in ranking.rank(group.left, group.sort)]
    balanced = all(group.sort is None for group in groups)
    return ranking.preferred_first(ranked, balanced=balanced)


#: A candidate, and the id of the own key it is called with; "" for the operator's.
_Choice = tuple[Candidate, str]


def _with_own_keys(
    chosen: list[Candidate], request: PlanRequest, catalog: Catalog
) -> list[_Choice]:
    """Own keys first, whatever the order among providers; then the operator's.

    Unless a key of the provider says "always". Where models are tried one after the other, each in
    its own turn.
    """
    if not request.byok:
        return [(c, "") for c in chosen]
    keyless = {e.id for c in chosen for e in catalog.keyless.get(c.model.id, ())}
    turns: dict[str, tuple[list[_Choice], list[_Choice]]] = {}
    for c in chosen:
        turn = "" if request.preferences.partition == "none" else c.model.id
        own, shared = turns.setdefault(turn, ([], []))
        keys = request.own_keys(c.endpoint.provider.slug, c.model.id)
        own += ((c, key.id) for key in keys)
        if c.endpoint.id not in keyless and not any(key.always_use for key in keys):
            shared.append((c, ""))
    return [choice for own, shared in turns.values() for choice in (*own, *shared)]


def _bounded(chosen: list[_Choice]) -> list[_Choice]:
    """As many as a plan may have; no model is crowded out by the endpoints of another."""
    if len(chosen) <= MAX_PLAN_ENTRIES:
        return chosen
    share = MAX_PLAN_ENTRIES // len({c.model.id for c, _ in chosen})
    taken: Counter[str] = Counter()
    kept: list[int] = []
    rest: list[int] = []
    for place, (candidate, _) in enumerate(chosen):
        taken[candidate.model.id] += 1
        (kept if taken[candidate.model.id] <= share else rest).append(place)
    kept += rest[: MAX_PLAN_ENTRIES - len(kept)]
    return [chosen[place] for place in sorted(kept)]


def strategy_of(request: PlanRequest, catalog: Catalog) -> Strategy:
    """How the model of a request is found.

    Raises:
        BadRequest: an unknown model.
    """
    router = resolve(request.models[0], catalog).model.router
    if router is not None:
        return router
    return "fallback" if len(request.models) > 1 else "direct"


def _choice(
    router: Model, request: PlanRequest, catalog: Catalog, rng: random.Random
) -> Iterator[Model]:
    """The models a router may choose, best first."""
    if router.router == "auto":
        looks = request.guess or Guess("general", "standard")
        return (catalog.models[each.model_id] for each in suited(router.pool, looks))
    free = [each for name in catalog.by_model if (each := catalog.models[name]).free]
    return iter(rng.sample(free, len(free)))


def _chosen(surveyed: Iterator[Group]) -> list[Group]:
    """The first few that can serve the request; looks no further than it must."""
    able: list[Group] = []
    first: Group | None = None
    for group in surveyed:
        first = first or group
        if group.left:
            able.append(group)
        if len(able) == CHOICES_MAX:
            break
    if able or first is None:
        return able
    refusal = NotFound(
        "No models match your request and model restrictions",
        metadata=first.refusal.metadata if first.refusal is not None else None,
    )
    return [replace(first, refusal=refusal)]


@dataclass(frozen=True, slots=True)
class Named:
    """What a model name means.

    Attributes:
        sort: what its `:nitro` or `:floor` asks for.
        online: whether its `:online` asks for the web plugin.
    """

    model: Model
    sort: SortBy | None = None
    online: bool = False


def resolve(name: str, catalog: Catalog) -> Named:
    """Read a model name: a row of the catalog, maybe with dynamic suffixes in any order.

    Raises:
        BadRequest: there is no such model.
    """
    model = catalog.model(name)
    if model is not None:
        return Named(model)
    base, *suffixes = name.split(":")
    stem = ":".join([base, *(word for word in suffixes if word not in _DYNAMIC)])
    model = catalog.model(stem)
    if model is None or stem == name:
        raise BadRequest(f"{name} is not a valid model ID", param="model")
    sorts = [_SORTS[word] for word in suffixes if word in _SORTS]
    return Named(model, sorts[-1] if sorts else None, _ONLINE in suffixes)


def _open_to(request: PlanRequest, catalog: Catalog, model_id: str) -> Iterator[Endpoint]:
    """Endpoints of a model that the operator, or else the caller, has a key for."""
    yield from catalog.endpoints_of(model_id)
    if request.byok:
        for endpoint in catalog.keyless.get(model_id, ()):
            if request.own_keys(endpoint.provider.slug, model_id):
                yield endpoint


def _surveyed(
    request: PlanRequest, catalog: Catalog, model: Model, sort: SortBy | None, now_ms: int
) -> Group:
    tokens = request.prompt_tokens
    left = [
        Candidate(
            endpoint=endpoint,
            model=model,
            price=(price := endpoint.price_at(now_ms)),
            rates=price.for_prompt(tokens),
        )
        for endpoint in _open_to(request, catalog, model.id)
    ]
    group = Group(model=model, sort=sort, left=left, funnel=[("Initial Endpoints", left)])
    if not left:
        return replace(group, refusal=NotFound(f"No endpoints found for {model.id}."))
    for rule in FILTERS:
        if not rule.applies(request):
            continue
        before, left = left, [c for c in left if rule.keeps(c, request)]
        group.funnel.append((rule.step, left))
        if not left:
            refusal = rule.refusal(request, before)
            refusal.metadata = {
                **(refusal.metadata or {}),
                "failed_routing_step": rule.step,
                "routing_funnel": funnel_of(group),
            }
            return replace(group, left=[], refusal=refusal)
    return replace(group, left=preferring(request, left))


def funnel_of(group: Group) -> list[dict[str, Any]]:
    """How many endpoints each demand left, as the contract prints it."""
    return [{"step": step, "endpoint_count": len(left)} for step, left in group.funnel]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstCase:
    """The most a request can cost, and the longest answer it can get, over a whole plan.

    Attributes:
        shared_nano: at the endpoints called with the operator's key.
        own_nano: list price at those called with the caller's own.
    """

    shared_nano: int
    own_nano: int
    completion_tokens_max: int

    def hold_nano(self, fee_ppm: int, *, include_byok: bool) -> int:
        """What a budget has to have for it; own keys cost it their fee, unless it counts all."""
        fee_nano = Cost(
            request_nano=self.own_nano, terms=Terms(byok=True, fee_ppm=fee_ppm)
        ).fee_nano
        own_nano = fee_nano + (self.own_nano if include_byok else 0)
        return max(self.shared_nano, own_nano)


def worst_case(
    entries: tuple[PlanEntry, ...],
    request: PlanRequest,
    catalog: Catalog,
    *,
    joined: bool = False,
) -> WorstCase:
    """What to hold before a request is let in.

    Prompt and answer share the context: neither alone is ever counted beyond it. An answer may be
    `joined` from those of several endpoints: then the longest of all is billed by any of them.
    """
    shared_nano = own_nano = longest = 0
    lengths: list[tuple[PlanEntry, int, int]] = []
    least_prompt = request.prompt_tokens // _ROUGH_TO_LEAST
    for entry in entries:
        endpoint = catalog.endpoints[entry.endpoint_id]
        room = max(1, endpoint.context_length - least_prompt)
        completion = min(request.max_tokens or room, endpoint.completion_cap, room)
        prompt = min(request.prompt_tokens_max, endpoint.context_length)
        if request.output_modalities == EMBEDDINGS:  # each input has the whole context
            prompt, completion = request.prompt_tokens_max, 0
        lengths.append((entry, prompt, completion))
        longest = max(longest, completion)
    for entry, prompt, alone in lengths:
        completion = longest if joined else alone
        worst_nano = worst_case_nano(entry.price, prompt, completion, request.images)
        if entry.byok:
            own_nano = max(own_nano, worst_nano)
        else:
            shared_nano = max(shared_nano, worst_nano)
    return WorstCase(shared_nano=shared_nano, own_nano=own_nano, completion_tokens_max=longest)
