"""What the catalog is made of: providers, models, endpoints, dated prices. Never changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

Quantization = Literal[
    "int4",
    "int8",
    "fp4",
    "fp6",
    "fp8",
    "fp16",
    "bf16",
    "fp32",
    "mxfp4",
    "nvfp4",
    "mxfp8",
    "unknown",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class LongPrice:
    """What replaces the usual rates, for the whole request, once its prompt is long.

    Attributes:
        over: prompt tokens, cached ones included; a prompt of exactly so many is not long.
        cache_read_pico: None leaves the usual one.
        cache_write_pico: None leaves the usual one.
    """

    over: int
    prompt_pico: int
    completion_pico: int
    cache_read_pico: int | None = None
    cache_write_pico: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """List price in integer pico-dollars per unit (1 USD per million tokens is 1,000,000 a token).

    Attributes:
        from_ms: in force from this moment (ms since 1970 UTC) until the next one of the endpoint.
        prompt_pico: per prompt token.
        completion_pico: per completion token, reasoning included unless `reasoning_pico` is set.
        request_pico: per request.
        image_pico: per input image.
        cache_read_pico: per cached prompt token; None bills them as prompt tokens.
        cache_write_pico: per prompt token written to a cache; None bills them as prompt tokens.
        cache_write_1h_pico: per token written for an hour; None bills them as other writes.
        audio_pico: per prompt token of sound; None bills them as prompt tokens.
        audio_output_pico: per completion token of sound; None bills them as completion tokens.
        image_output_pico: per completion token that draws; None bills them as completion tokens.
        reasoning_pico: per reasoning token where it differs from completion.
        long_over: the other `long_` fields apply to prompts of more tokens; None for one price.
        source: where the figures were read.
    """

    from_ms: int = 0
    prompt_pico: int = 0
    completion_pico: int = 0
    request_pico: int = 0
    image_pico: int = 0
    cache_read_pico: int | None = None
    cache_write_pico: int | None = None
    reasoning_pico: int | None = None
    cache_write_1h_pico: int | None = None
    audio_pico: int | None = None
    audio_output_pico: int | None = None
    image_output_pico: int | None = None
    # Flat, so that what is stored of a price stays a list of numbers; `long` is their reading.
    long_over: int | None = None
    long_prompt_pico: int = 0
    long_completion_pico: int = 0
    long_cache_read_pico: int | None = None
    long_cache_write_pico: int | None = None
    source: str = ""

    @property
    def free(self) -> bool:
        """Whether nothing on this list costs anything."""
        return not any(rate for name, rate in self.rates().items() if name != "long_over")

    @property
    def long(self) -> LongPrice | None:
        """What long prompts cost; None when they cost the same."""
        if self.long_over is None:
            return None
        return LongPrice(
            over=self.long_over,
            prompt_pico=self.long_prompt_pico,
            completion_pico=self.long_completion_pico,
            cache_read_pico=self.long_cache_read_pico,
            cache_write_pico=self.long_cache_write_pico,
        )

    def for_prompt(self, tokens: int) -> Price:
        """The rates of a request by the length of its prompt, as a price of its own.

        Writing for an hour has no long rate on any list: it costs its usual rate, and at least
        what other writes cost.
        """
        if self.long_over is None or tokens <= self.long_over:
            return self
        write, hour = self.long_cache_write_pico, self.cache_write_1h_pico
        return replace(
            self,
            prompt_pico=self.long_prompt_pico,
            completion_pico=self.long_completion_pico,
            cache_read_pico=_either(self.long_cache_read_pico, self.cache_read_pico),
            cache_write_pico=_either(write, self.cache_write_pico),
            cache_write_1h_pico=hour if hour is None else max(hour, write or 0),
            long_over=None,
        )

    def rates(self) -> dict[str, int | None]:
        """Every rate by its name, as keyword arguments: what is stored with a charge.

        Long rates are among them only where there are any.
        """
        usual: dict[str, int | None] = {
            "prompt_pico": self.prompt_pico,
            "completion_pico": self.completion_pico,
            "request_pico": self.request_pico,
            "image_pico": self.image_pico,
            "cache_read_pico": self.cache_read_pico,
            "cache_write_pico": self.cache_write_pico,
            "reasoning_pico": self.reasoning_pico,
            "cache_write_1h_pico": self.cache_write_1h_pico,
            "audio_pico": self.audio_pico,
            "audio_output_pico": self.audio_output_pico,
            "image_output_pico": self.image_output_pico,
        }
        if self.long_over is None:
            return usual
        return usual | {
            "long_over": self.long_over,
            "long_prompt_pico": self.long_prompt_pico,
            "long_completion_pico": self.long_completion_pico,
            "long_cache_read_pico": self.long_cache_read_pico,
            "long_cache_write_pico": self.long_cache_write_pico,
        }


def _either(own: int | None, usual: int | None) -> int | None:
    return usual if own is None else own


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """The four bounds on one upstream call. One that passes is an UpstreamTimeout."""

    connect_ms: int = 5_000
    first_byte_ms: int = 120_000
    gap_ms: int = 60_000
    total_ms: int = 600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPolicy:
    """What a provider does with prompts. Unknown counts as training and keeping."""

    training: bool = True
    retains_prompts: bool = True
    retention_days: int | None = None
    can_publish: bool = False

    @property
    def zero_retention(self) -> bool:
        """Whether the provider keeps nothing (ZDR)."""
        return not self.retains_prompts


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a provider allows our account on one endpoint; None where it says nothing.

    Attributes:
        rpm: requests a minute.
        tpm: tokens a minute, prompt and completion.
        concurrency: calls in flight at once.
    """

    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None

    @property
    def rated(self) -> bool:
        """Whether calls must be counted against a rate."""
        return self.rpm is not None or self.tpm is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """Where and how a family of endpoints is called.

    Attributes:
        slug: stable id, as in `provider.order`.
        name: display name, as in the response's `provider`.
        base_url: already the simulator's where `simulated`.
        key_variable: environment variable with the operator's key; "" for none (a local vLLM).
        pool: worker pool whose queue serves it.
        cancellation: whether closing the connection stops generation and its bill.
        simulated: answers come from the bundled simulator (sandbox mode).
        quirks: dialect switches that are data, such as `usage_always`.
        fetches: media kinds it takes inline only: the worker fetches their URLs first.
        video_urls: kinds of video link it takes: `youtube`, `http`.
    """

    slug: str
    name: str
    base_url: str
    key_variable: str
    pool: str
    cancellation: bool = False
    moderated: bool = False
    simulated: bool = False
    timeouts: Timeouts = Timeouts()
    data_policy: DataPolicy = DataPolicy()
    privacy_policy_url: str | None = None
    terms_of_service_url: str | None = None
    status_page_url: str | None = None
    headquarters: str | None = None
    quirks: frozenset[str] = frozenset()
    fetches: frozenset[str] = frozenset()
    video_urls: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """What goes in and comes out of a model."""

    input_modalities: tuple[str, ...] = ("text",)
    output_modalities: tuple[str, ...] = ("text",)
    tokenizer: str = "Other"
    instruct_type: str | None = None

    @property
    def modality(self) -> str:
        """`text+image->text`, as the models API prints it."""
        return f"{'+'.join(self.input_modalities)}->{'+'.join(self.output_modalities)}"


#: How a router model chooses: by the prompt among its pool, or any free model.
RouterKind = Literal["auto", "free"]
#: How much a model of the pool can do, and costs.
Strength = Literal["light", "standard", "strong"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolEntry:
    """One model an automatic choice may fall on.

    Attributes:
        good_at: kinds of task it is preferred for, as `routing/auto.py` tells them apart.
    """

    model_id: str
    strength: Strength
    good_at: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model as users name it.

    Attributes:
        variant_of: the model whose endpoints this row serves, all or a curated part of them.
        thinking: reasoning is on unless the request says otherwise (`:thinking`).
        router: not a model but a choice among others; it has no endpoints of its own.
        pool: what an `auto` router chooses from, in order of preference.
    """

    id: str
    canonical_slug: str
    name: str
    created: int
    description: str = ""
    context_length: int | None = None
    architecture: Architecture = Architecture()
    hugging_face_id: str | None = None
    default_parameters: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    distillable: bool = False
    expiration_date: str | None = None
    knowledge_cutoff: str | None = None
    categories: frozenset[str] = frozenset()
    variant_of: str | None = None
    thinking: bool = False
    router: RouterKind | None = None
    pool: tuple[PoolEntry, ...] = ()

    @property
    def free(self) -> bool:
        """Whether this is a `:free` row, which the free-tier limits apply to."""
        return self.id.endswith(":free")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One model at one provider: what an attempt calls.

    Attributes:
        id: `<tag>:<model id>`, unique; the key of breaker, health and attempts.
        tag: provider slug, maybe with variant or region (`deepinfra/turbo`).
        dialect: which translator of `workers/dialects` speaks to it.
        upstream_id: the provider's own name of the model.
        region: where it runs, for providers with regional addresses; "" for none.
        context_length: prompt plus completion, tokens.
        max_completion_tokens: the provider's cap; None means the context length.
        supported_parameters: as listed by the models API.
        input_modalities: what it takes of what the model takes; None means all.
        efforts: the reasoning efforts it knows, least first; () for all. Without `none` among
            them its reasoning cannot be switched off.
        limits: our account's at the provider, for this endpoint.
        first_byte_ms: its own bound on silence before the first byte; None means the provider's.
        prefill: continues a last message of the assistant's instead of answering it.
        prices: ascending by `from_ms`; never empty.
    """

    id: str
    model_id: str
    provider: Provider
    tag: str
    dialect: str
    upstream_id: str
    region: str = ""
    context_length: int
    max_completion_tokens: int | None = None
    max_prompt_tokens: int | None = None
    quantization: Quantization | None = None
    supported_parameters: frozenset[str] = frozenset()
    input_modalities: frozenset[str] | None = None
    efforts: tuple[str, ...] = ()
    implicit_caching: bool = False
    limits: Limits = Limits()
    first_byte_ms: int | None = None
    prefill: bool = False
    prices: tuple[Price, ...]

    def price_at(self, now_ms: int) -> Price:
        """The price in force at a moment; the earliest one for any time before it."""
        in_force = self.prices[0]
        for price in self.prices[1:]:
            if price.from_ms > now_ms:
                break
            in_force = price
        return in_force

    @property
    def completion_cap(self) -> int:
        """The longest answer this endpoint can give, in tokens."""
        return self.max_completion_tokens or self.context_length


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Everything that can be asked for, at one moment. Replaced whole, never changed.

    Attributes:
        digest: 12 hex of SHA-256 over the loaded content; equal digests mean equal catalogs.
        models: by id, by canonical slug, and by the slug alone where only one author has it.
        routers: names of the models that are a choice among others.
        keyless: endpoints by model that the operator has no key for: only a customer's own opens
            them.
    """

    digest: str
    providers: Mapping[str, Provider]
    models: Mapping[str, Model]
    endpoints: Mapping[str, Endpoint]
    by_model: Mapping[str, tuple[Endpoint, ...]]
    routers: frozenset[str] = frozenset()
    keyless: Mapping[str, tuple[Endpoint, ...]] = field(default_factory=dict)

    def model(self, name: str) -> Model | None:
        """The model with this id or canonical slug."""
        return self.models.get(name)

    def endpoints_of(self, model_id: str) -> tuple[Endpoint, ...]:
        """All endpoints that serve a model, in catalog order; empty for none."""
        return self.by_model.get(model_id, ())

    @property
    def pools(self) -> tuple[str, ...]:
        """Every worker pool some provider needs, sorted."""
        return tuple(sorted({provider.pool for provider in self.providers.values()}))
