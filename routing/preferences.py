"""What a request demands of an endpoint: one filter per demand, in the order they are applied.

Each filter knows when it applies, which candidates it keeps, and the contract's sentence for when
it keeps none (contract 11.5). A filter never changes the order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from routing.auto import Guess
from routing.catalog.shapes import Endpoint, Model, Price
from routing.errors import BadRequest, CallerError, NotFound
from routing.figures import Percent
from routing.wire.account import NO_POLICY, ByokKey, RoutingPolicy

_LEARN_MORE = (
    "To learn more about provider routing, visit: "
    "https://openrouter.ai/docs/guides/routing/provider-selection"
)
_PRIVACY = "Configure: https://openrouter.ai/settings/privacy"
#: Endpoints sold by urgency: a provider's plain slug does not mean them (contract 3.3).
_SERVICE_TIERS = ("/flex", "/priority", "/ultrafast")
#: A width stands for its microscaling forms too.
_WIDER: Mapping[str, frozenset[str]] = MappingProxyType(
    {"fp4": frozenset({"mxfp4", "nvfp4"}), "fp8": frozenset({"mxfp8"})}
)
#: Filters that an account's own settings can make apply.
_POLICY_STEPS = frozenset({"Filter by Allowed Providers", "Filter by Data Policy"})
#: Used where some endpoint supports them, else ignored (contract 13.1).
_BEST_EFFORT = frozenset({"response_format", "verbosity"})

SortBy = Literal["price", "throughput", "latency"]

#: What an embeddings request asks for; models that make vectors make nothing else.
EMBEDDINGS = frozenset({"embeddings"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceCap:
    """Dearest acceptable prices in pico-dollars per unit; None does not care."""

    prompt_pico: int | None = None
    completion_pico: int | None = None
    request_pico: int | None = None
    image_pico: int | None = None
    audio_pico: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """The `provider` object, read: lower-case slugs, integers, no nulls.

    Attributes:
        partition: `none` ranks the endpoints of all models together.
        min_throughput: tokens per second wanted at percentiles; () for any.
        max_latency_ms: to the first token, likewise.
    """

    order: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    allow_fallbacks: bool = True
    require_parameters: bool = False
    deny_data_collection: bool = False
    zdr: bool = False
    distillable: bool = False
    quantizations: frozenset[str] = frozenset()
    sort: SortBy | None = None
    partition: Literal["model", "none"] = "model"
    max_price: PriceCap | None = None
    min_throughput: tuple[tuple[Percent, float], ...] = ()
    max_latency_ms: tuple[tuple[Percent, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """What planning reads of a request; holds no prompt.

    Attributes:
        models: as named, `model` first, without repeats; suffixes not yet read.
        policy: what the account allows; a request can only narrow it.
        needs_tools: `tools` is not empty.
        forces_tool: `tool_choice` demands a call.
        needs_schema: `response_format` is a JSON schema.
        max_tokens: longest answer the caller wants.
        prompt_tokens_max: upper bound, for money.
        text_tokens: rough size of the messages, for context lengths.
        tool_tokens: rough size of the tool definitions.
        parameters: names used, as the models API lists them.
        output_modalities: as asked for; empty for plain text.
        video_urls: kinds of video link in the prompt: `youtube`, `http`.
        guess: what kind of task this is; None unless a router has to choose.
        byok: provider keys of the caller's account, in the order they are tried.
    """

    models: tuple[str, ...]
    preferences: Preferences = Preferences()
    policy: RoutingPolicy = NO_POLICY
    needs_tools: bool = False
    forces_tool: bool = False
    needs_schema: bool = False
    max_tokens: int | None = None
    prompt_tokens_max: int = 0
    text_tokens: int = 0
    tool_tokens: int = 0
    parameters: frozenset[str] = frozenset()
    input_modalities: frozenset[str] = frozenset({"text"})
    output_modalities: frozenset[str] = frozenset()
    images: int = 0
    video_urls: frozenset[str] = frozenset()
    guess: Guess | None = None
    byok: tuple[ByokKey, ...] = ()

    def own_keys(self, provider: str, model_id: str) -> tuple[ByokKey, ...]:
        """The caller's own keys of a provider that may be used for a model."""
        return tuple(key for key in self.byok if key.provider == provider and key.serves(model_id))

    @property
    def may_fall_back(self) -> bool:
        """Whether a failure may move on: always among the endpoints named in `order`."""
        return self.preferences.allow_fallbacks or bool(self.preferences.order)

    @property
    def prompt_tokens(self) -> int:
        """The rough size of the whole prompt."""
        return self.text_tokens + self.tool_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An endpoint with what the rules ask about it.

    Attributes:
        price: in force now, with all its rates.
        rates: those that apply to a prompt of this length.
    """

    endpoint: Endpoint
    model: Model
    price: Price
    rates: Price


@dataclass(frozen=True, slots=True)
class Filter:
    """One demand.

    Attributes:
        step: its name in `metadata.failed_routing_step`.
        applies: whether the request makes the demand at all.
        keeps: whether a candidate meets it.
        refusal: the error for when it kept none of the given candidates.
    """

    step: str
    applies: Callable[[PlanRequest], bool]
    keeps: Callable[[Candidate, PlanRequest], bool]
    refusal: Callable[[PlanRequest, list[Candidate]], CallerError]


def matches(slug: str, endpoint: Endpoint, *, tiers: bool = False) -> bool:
    """Whether a lower-case slug or display name means an endpoint.

    A full tag (`deepinfra/turbo`) means exactly that endpoint; a provider's slug or display name
    means all its variants and regions, service tiers only with `tiers`.
    """
    tag = endpoint.tag.lower()
    if slug == tag:
        return True
    provider = endpoint.provider
    if slug not in (provider.slug.lower(), provider.name.lower()):
        return False
    return tiers or not tag.endswith(_SERVICE_TIERS)


def widened(quantizations: frozenset[str]) -> frozenset[str]:
    """The quantizations with those their names include."""
    return quantizations.union(*(_WIDER.get(name, frozenset()) for name in quantizations))


def _named(slugs: tuple[str, ...], endpoint: Endpoint, *, tiers: bool = False) -> bool:
    return any(matches(slug, endpoint, tiers=tiers) for slug in slugs)


def _keeps_allowed(candidate: Candidate, request: PlanRequest) -> bool:
    wanted, policy, endpoint = request.preferences, request.policy, candidate.endpoint
    if _named(wanted.ignore, endpoint, tiers=True) or _named(policy.ignore, endpoint, tiers=True):
        return False
    if wanted.only and not _named(wanted.only, endpoint):
        return False
    # The account's list is a ceiling: it means a provider's service tiers too.
    if policy.only and not _named(policy.only, endpoint, tiers=True):
        return False
    return wanted.allow_fallbacks or not wanted.order or _named(wanted.order, candidate.endpoint)


def _keeps_quantization(candidate: Candidate, request: PlanRequest) -> bool:
    return (candidate.endpoint.quantization or "unknown") in request.preferences.quantizations


def _keeps_data_policy(candidate: Candidate, _: PlanRequest) -> bool:
    # "Collects" is read as training on or publishing prompts; keeping them a while is ZDR's matter.
    policy = candidate.endpoint.provider.data_policy
    return not (policy.training or policy.can_publish)


def _keeps_trained(candidate: Candidate, request: PlanRequest) -> bool:
    denied = (
        request.policy.deny_free_training
        if candidate.price.free
        else request.policy.deny_paid_training
    )
    return not (denied and candidate.endpoint.provider.data_policy.training)


def _keeps_unpublished(candidate: Candidate, _: PlanRequest) -> bool:
    return not (candidate.price.free and candidate.endpoint.provider.data_policy.can_publish)


def _keeps_zdr(candidate: Candidate, _: PlanRequest) -> bool:
    return candidate.endpoint.provider.data_policy.zero_retention


def _keeps_distillable(candidate: Candidate, _: PlanRequest) -> bool:
    return candidate.model.distillable


def _keeps_price(candidate: Candidate, request: PlanRequest) -> bool:
    cap = request.preferences.max_price or PriceCap()
    price = candidate.rates
    return (
        (cap.prompt_pico is None or price.prompt_pico <= cap.prompt_pico)
        and (cap.completion_pico is None or price.completion_pico <= cap.completion_pico)
        and (cap.request_pico is None or price.request_pico <= cap.request_pico)
        and (cap.image_pico is None or price.image_pico <= cap.image_pico)
        and (cap.audio_pico is None or _audio_pico(price) <= cap.audio_pico)
    )


def _audio_pico(price: Price) -> int:
    return price.prompt_pico if price.audio_pico is None else price.audio_pico


def _taken(candidate: Candidate) -> frozenset[str]:
    """What the endpoint takes of what its model takes."""
    of_model = frozenset(candidate.model.architecture.input_modalities)
    own = candidate.endpoint.input_modalities
    return of_model if own is None else own & of_model


def _keeps_input(candidate: Candidate, request: PlanRequest) -> bool:
    return request.input_modalities <= _taken(candidate) | {"text"}


def _keeps_video_url(candidate: Candidate, request: PlanRequest) -> bool:
    return request.video_urls <= candidate.endpoint.provider.video_urls


def _keeps_output(candidate: Candidate, request: PlanRequest) -> bool:
    made = candidate.model.architecture.output_modalities
    if ("embeddings" in made) != (request.output_modalities == EMBEDDINGS):
        return False
    return request.output_modalities.issubset(made)


def _refuse_video_url(request: PlanRequest, _: list[Candidate]) -> CallerError:
    if "http" in request.video_urls:
        return NotFound(
            "No endpoints found that support video URLs of this kind. Send the video as a "
            "data:video/…;base64 URL, or a YouTube link to a model on Google AI Studio."
        )
    return NotFound("No endpoints found that support YouTube links. Send the video as base64.")


def _keeps_tools(candidate: Candidate, _: PlanRequest) -> bool:
    return "tools" in candidate.endpoint.supported_parameters


def _keeps_tool_choice(candidate: Candidate, _: PlanRequest) -> bool:
    return "tool_choice" in candidate.endpoint.supported_parameters


def _keeps_schema(candidate: Candidate, _: PlanRequest) -> bool:
    return "structured_outputs" in candidate.endpoint.supported_parameters


def _keeps_parameters(candidate: Candidate, request: PlanRequest) -> bool:
    return request.parameters <= candidate.endpoint.supported_parameters


def _keeps_max_tokens(candidate: Candidate, request: PlanRequest) -> bool:
    return (request.max_tokens or 0) <= candidate.endpoint.completion_cap


def _keeps_context(candidate: Candidate, request: PlanRequest) -> bool:
    endpoint = candidate.endpoint
    longest = endpoint.max_prompt_tokens or endpoint.context_length
    prompt = request.prompt_tokens
    return prompt <= longest and prompt + (request.max_tokens or 1) <= endpoint.context_length


def _refuse_allowed(request: PlanRequest, before: list[Candidate]) -> CallerError:
    wanted = request.preferences
    order = () if wanted.allow_fallbacks else wanted.order
    return NotFound(
        "No allowed providers are available for the selected model.",
        metadata={
            "available_providers": list(dict.fromkeys(c.endpoint.provider.slug for c in before)),
            "requested_providers": list(
                dict.fromkeys((*wanted.only, *order, *request.policy.only))
            ),
        },
    )


def _refuse_collection(_: PlanRequest, before: list[Candidate]) -> CallerError:
    kind = "Free" if all(candidate.price.free for candidate in before) else "Paid"
    return NotFound(
        f"No endpoints found matching your data policy ({kind} model training). {_PRIVACY}"
    )


def _refuse_input(request: PlanRequest, before: list[Candidate]) -> CallerError:
    known = set().union(*(_taken(c) for c in before), {"text"})
    missing = sorted(request.input_modalities - known) or sorted(request.input_modalities)
    return NotFound(f"No endpoints found that support {missing[0]} input")


def _refuse_output(request: PlanRequest, _: list[Candidate]) -> CallerError:
    known = ("text", "image", "audio", "embeddings")
    asked = [kind for kind in known if kind in request.output_modalities] or ["text"]
    return NotFound(
        f"No endpoints found that support the requested output modalities: {', '.join(asked)}"
    )


def _refuse_max_tokens(request: PlanRequest, before: list[Candidate]) -> CallerError:
    longest = max(candidate.endpoint.completion_cap for candidate in before)
    return NotFound(
        f"No endpoints found that support {request.max_tokens} max_tokens; the longest answer"
        f" available is {longest} tokens."
    )


def _refuse_context(request: PlanRequest, before: list[Candidate]) -> CallerError:
    longest = max(candidate.endpoint.context_length for candidate in before)
    output = request.max_tokens or 1
    about = request.prompt_tokens + output
    inputs = f"{request.text_tokens} of text input"
    if request.tool_tokens:
        inputs += f", {request.tool_tokens} of tool input"
    return BadRequest(
        f"This endpoint's maximum context length is {longest} tokens. However, you requested about"
        f" {about} tokens ({inputs}, {output} in the output). Please reduce the length of either"
        ' one, or use the "middle-out" transform to compress your prompt automatically.',
        metadata={"provider_name": None},
    )


def permitted(policy: RoutingPolicy, candidate: Candidate) -> bool:
    """Whether an account's own settings let any of its requests go there."""
    request = PlanRequest(models=(), policy=policy)
    return all(
        rule.keeps(candidate, request)
        for rule in FILTERS
        if rule.step in _POLICY_STEPS and rule.applies(request)
    )


def preferring(request: PlanRequest, candidates: list[Candidate]) -> list[Candidate]:
    """Those that follow the requested form, if there are any; else all, which ignore it."""
    for name in _BEST_EFFORT & request.parameters:
        able = [c for c in candidates if name in c.endpoint.supported_parameters]
        candidates = able or candidates
    return candidates


def _says(message: str) -> Callable[[PlanRequest, list[Candidate]], CallerError]:
    return lambda _request, _before: NotFound(message)


#: In the contract's order (13.1): who may be asked at all, then who is able to answer.
FILTERS: tuple[Filter, ...] = (
    Filter(
        "Filter by Allowed Providers",
        lambda r: bool(
            r.preferences.only
            or r.preferences.ignore
            or r.policy.only
            or r.policy.ignore
            or (r.preferences.order and not r.preferences.allow_fallbacks)
        ),
        _keeps_allowed,
        _refuse_allowed,
    ),
    Filter(
        "Filter by Data Policy",
        lambda r: r.preferences.deny_data_collection,
        _keeps_data_policy,
        _refuse_collection,
    ),
    Filter(
        "Filter by Data Policy",
        lambda r: r.policy.deny_paid_training or r.policy.deny_free_training,
        _keeps_trained,
        _refuse_collection,
    ),
    Filter(
        "Filter by Data Policy",
        lambda r: r.policy.deny_free_publication,
        _keeps_unpublished,
        _says(f"No endpoints found matching your data policy (Free model publication). {_PRIVACY}"),
    ),
    Filter(
        "Filter by Data Policy",
        lambda r: r.preferences.zdr or r.policy.zdr,
        _keeps_zdr,
        _says(f"No endpoints found matching your data policy (Zero data retention). {_PRIVACY}"),
    ),
    Filter(
        "Filter by Distillable Text",
        lambda r: r.preferences.distillable,
        _keeps_distillable,
        _says("No endpoints found for models that allow text distillation"),
    ),
    Filter(
        "Filter by Quantization",
        lambda r: bool(r.preferences.quantizations),
        _keeps_quantization,
        _says("No endpoints found with the requested quantizations"),
    ),
    Filter(
        "Filter by Max Price",
        lambda r: r.preferences.max_price is not None,
        _keeps_price,
        _says("No endpoints found that satisfy the max price for this request"),
    ),
    Filter(
        "Filter by Model Input Modalities",
        lambda r: len(r.input_modalities) > 1,
        _keeps_input,
        _refuse_input,
    ),
    Filter(
        "Filter by Video URL",
        lambda r: bool(r.video_urls),
        _keeps_video_url,
        _refuse_video_url,
    ),
    Filter(
        "Filter by Model Output Modalities",
        lambda _: True,
        _keeps_output,
        _refuse_output,
    ),
    Filter(
        "Filter by Tool Compatibility",
        lambda r: r.needs_tools,
        _keeps_tools,
        _says(f"No endpoints found that support tool use. {_LEARN_MORE}"),
    ),
    Filter(
        "Filter by Tool Choice",
        lambda r: r.forces_tool,
        _keeps_tool_choice,
        _says("No endpoints found that support the provided 'tool_choice' value. " + _LEARN_MORE),
    ),
    Filter(
        "Filter by Parameters",
        lambda r: r.needs_schema,
        _keeps_schema,
        _says(f"No endpoints found that can handle the requested parameters. {_LEARN_MORE}"),
    ),
    Filter(
        "Filter by Parameters",
        lambda r: r.preferences.require_parameters,
        _keeps_parameters,
        _says(f"No endpoints found that can handle the requested parameters. {_LEARN_MORE}"),
    ),
    Filter(
        "Filter by Context Length",
        lambda _: True,
        _keeps_context,
        _refuse_context,
    ),
    Filter(
        "Filter by Max Tokens",
        lambda r: r.max_tokens is not None,
        _keeps_max_tokens,
        _refuse_max_tokens,
    ),
)
