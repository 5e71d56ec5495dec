"""What may stand in the catalog's YAML files, field by field.

`providers/<slug>.yml` holds one provider with its endpoints, `models/<author>.yml` a list of
models. Prices are written as price pages print them, USD per million tokens, and become
pico-dollars here.

Words in `quirks`, read by the provider's dialect:

| word | the provider |
|---|---|
| `max_completion_tokens` | wants that name for the cap, not `max_tokens` |
| `usage_always` | sends usage unasked and knows no `stream_options` |
| `strict_fields` | refuses fields it does not know |
| `random_seed` | calls the seed that |
| `no_reasoning_effort` | takes `reasoning_effort` only from endpoints that list it |
| `reasoning_object` | takes the whole `reasoning` object (OpenRouter) |
| `reasoning_switch` | takes `reasoning: {enabled: true or false}` where no effort is taken |
| `thinking_switch` | takes `thinking: {type: enabled or disabled}` |
| `enable_thinking` | takes `enable_thinking: true or false` |
| `prompt_mode` | thinks with `prompt_mode: reasoning` |
| `reasoning_parsed` | wants `reasoning_format: parsed`, else thoughts are in the text |
| `replays_reasoning` | wants earlier thoughts back as `reasoning_content` |
| `reasoning_details` | wants `reasoning_details` back as they were |
| `cache_control` | knows `cache_control` on parts |
| `developer_role` | knows the role `developer` |
| `document_url` | takes documents as parts of type `document_url` |
| `no_stop_with_reasoning` | refuses `stop` from its reasoning models |
| `short_call_ids` | takes tool call ids of nine letters and digits only |
| `prefix` | wants `prefix: true` on an assistant message that is to be continued |
| `text_completions` | serves `/completions` for bare prompts; others get a user's message |
| `plain_content` | takes the content of a message as a text only, not as parts |
| `mild_temperature` | takes temperatures up to 1.5 |
| `user_names` | takes a `name` from users only |
| `https_links` | follows https links only; others are fetched for it |
| `alternating` | wants user and assistant to take turns |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from routing.catalog.shapes import (
    Architecture,
    DataPolicy,
    Endpoint,
    Limits,
    Model,
    PoolEntry,
    Price,
    Provider,
    Quantization,
    RouterKind,
    Strength,
    Timeouts,
)

#: Dearer than anything sold; catches a price per token written where one per million belongs.
PRICE_MAX_USD = 1_000_000
#: Tokens; ten times the longest context announced so far.
CONTEXT_MAX = 100_000_000
#: A day: no call is bounded by more.
TIMEOUT_MAX_MS = 86_400_000

_PICO_PER_USD = 10**12
_TOKENS_PER_LISTED_PRICE = 10**6
_TIMEOUTS = Timeouts()
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")

Category = Literal[
    "programming",
    "roleplay",
    "marketing",
    "marketing/seo",
    "technology",
    "science",
    "translation",
    "legal",
    "finance",
    "health",
    "trivia",
    "academia",
]
Parameter = Literal[
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "top_a",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "max_tokens",
    "max_completion_tokens",
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
    "reasoning_effort",
    "web_search_options",
    "verbosity",
    "prediction",
    "dimensions",
]
Quirk = Literal[
    "max_completion_tokens",
    "usage_always",
    "strict_fields",
    "random_seed",
    "no_reasoning_effort",
    "reasoning_object",
    "reasoning_switch",
    "thinking_switch",
    "enable_thinking",
    "prompt_mode",
    "reasoning_parsed",
    "replays_reasoning",
    "reasoning_details",
    "cache_control",
    "developer_role",
    "document_url",
    "no_stop_with_reasoning",
    "short_call_ids",
    "prefix",
    "text_completions",
    "plain_content",
    "mild_temperature",
    "user_names",
    "https_links",
    "alternating",
]
#: Wire formats; `workers/dialects/registry.py` holds one translator for each.
DialectName = Literal[
    "openai",
    "openai-responses",
    "azure",
    "anthropic",
    "vertex-anthropic",
    "gemini",
    "vertex",
    "bedrock",
    "cohere",
]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Region = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,40}$")]
DefaultParameter = Literal[
    "temperature",
    "top_p",
    "top_k",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
]


def _midnight(value: object) -> date:
    if isinstance(value, str) and _DATE.fullmatch(value):
        return date.fromisoformat(value)
    raise ValueError("must be a date such as 2025-06-01")


def _unix_seconds(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def _pico(usd: object, per: int) -> int:
    if isinstance(usd, bool) or not isinstance(usd, int | Decimal):
        raise ValueError("must be a plain number of US dollars, such as 0.15")  # noqa: TRY004 - pydantic reads ValueError
    if not 0 <= usd <= PRICE_MAX_USD:
        raise ValueError(f"must be between 0 and {PRICE_MAX_USD} US dollars")
    numerator, denominator = usd.as_integer_ratio()
    pico, rest = divmod(numerator * _PICO_PER_USD, denominator * per)
    if rest:
        raise ValueError("is finer than a pico-dollar (10^-12 USD) per unit")
    return pico


def _pico_of_million(usd: object) -> int:
    return _pico(usd, _TOKENS_PER_LISTED_PRICE)


def _pico_of_one(usd: object) -> int:
    return _pico(usd, 1)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("must be a number")  # noqa: TRY004 - as above
    return float(value)


def _link(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
        raise ValueError("must be an http or https URL")
    if parts.username is not None:
        raise ValueError("must not hold credentials")
    return value


def _base_url(value: str) -> str:
    parts = urlsplit(_link(value.replace("{region}", "region")))
    if parts.query or parts.fragment:
        raise ValueError("must not hold a query or a fragment")
    return value.rstrip("/")


def _text(pattern: str) -> Any:
    return StringConstraints(pattern=f"^{pattern}$", max_length=200)


Slug = Annotated[str, _text(r"[a-z0-9][a-z0-9._-]*")]
Tag = Annotated[str, _text(r"[a-z0-9][a-z0-9._-]*(/[a-z0-9._-]+)?")]
ModelId = Annotated[str, _text(r"[a-z0-9][a-z0-9._-]*/[a-z0-9][a-z0-9._-]*(:[a-z0-9][a-z0-9-]*)?")]
Words = Annotated[str, StringConstraints(min_length=1, max_length=2_000)]
# Printable without spaces: it goes into a request body and into logs.
UpstreamId = Annotated[str, _text(r"[!-~]+")]
KeyVariable = Annotated[str, _text(r"([A-Z][A-Z0-9_]*)?")]
Country = Annotated[str, _text(r"[A-Z]{2}")]
BaseUrl = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,500}$"), AfterValidator(_base_url)]
Link = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,500}$"), AfterValidator(_link)]
Day = Annotated[date, BeforeValidator(_midnight)]
UsdPerMillion = Annotated[int, BeforeValidator(_pico_of_million)]
UsdEach = Annotated[int, BeforeValidator(_pico_of_one)]
Tokens = Annotated[int, Field(ge=1, le=CONTEXT_MAX)]
Milliseconds = Annotated[int, Field(ge=1, le=TIMEOUT_MAX_MS)]
Modality = Literal["text", "image", "file", "audio", "video", "embeddings"]
#: Calls or tokens a minute, calls at once: nobody sells more.
LIMIT_MAX = 10_000_000_000
Limit = Annotated[int, Field(ge=1, le=LIMIT_MAX)]
#: Kinds of task an automatic choice tells apart (`routing/auto.py`).
Task = Literal["code", "math", "writing", "translation", "extraction", "vision", "general"]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class LongPriceDocument(_Document):
    """The rates of a request whose prompt has more than `over` tokens; missing ones stay."""

    over: Tokens
    prompt: UsdPerMillion
    completion: UsdPerMillion
    cache_read: UsdPerMillion | None = None
    cache_write: UsdPerMillion | None = None


class PriceDocument(_Document):
    """A price list in force from a day on (00:00 UTC)."""

    from_: Day = Field(alias="from")
    prompt: UsdPerMillion
    completion: UsdPerMillion
    request: UsdEach = 0
    image: UsdEach = 0
    cache_read: UsdPerMillion | None = None
    cache_write: UsdPerMillion | None = None
    reasoning: UsdPerMillion | None = None
    cache_write_1h: UsdPerMillion | None = None
    audio: UsdPerMillion | None = None
    audio_output: UsdPerMillion | None = None
    image_output: UsdPerMillion | None = None
    long: LongPriceDocument | None = None
    source: Link

    def price(self) -> Price:
        """The same as the catalog holds it."""
        long = self.long
        return Price(
            from_ms=_unix_seconds(self.from_) * 1_000,
            prompt_pico=self.prompt,
            completion_pico=self.completion,
            request_pico=self.request,
            image_pico=self.image,
            cache_read_pico=self.cache_read,
            cache_write_pico=self.cache_write,
            reasoning_pico=self.reasoning,
            cache_write_1h_pico=self.cache_write_1h,
            audio_pico=self.audio,
            audio_output_pico=self.audio_output,
            image_output_pico=self.image_output,
            long_over=long.over if long else None,
            long_prompt_pico=long.prompt if long else 0,
            long_completion_pico=long.completion if long else 0,
            long_cache_read_pico=long.cache_read if long else None,
            long_cache_write_pico=long.cache_write if long else None,
            source=self.source,
        )


def _ascending(prices: tuple[PriceDocument, ...]) -> tuple[PriceDocument, ...]:
    if not prices:
        raise ValueError("needs at least one price; a free endpoint has prices of 0")
    days = [price.from_ for price in prices]
    if len(set(days)) < len(days):
        raise ValueError("two prices begin on the same day")
    if sorted(days) != days:
        raise ValueError("must be ordered by `from`, the oldest first")
    return prices


class LimitsDocument(_Document):
    """What the provider allows our account on one endpoint."""

    rpm: Limit | None = None
    tpm: Limit | None = None
    concurrency: Limit | None = None

    def limits(self) -> Limits:
        """The same as the catalog holds it."""
        return Limits(rpm=self.rpm, tpm=self.tpm, concurrency=self.concurrency)


class EndpointDocument(_Document):
    """One model at the provider whose file this is in."""

    model: ModelId
    upstream_id: UpstreamId
    tag: Tag | None = None
    dialect: DialectName | None = None
    region: Region | None = None
    context_length: Tokens
    max_completion_tokens: Tokens | None = None
    max_prompt_tokens: Tokens | None = None
    quantization: Quantization | None = None
    supported_parameters: tuple[Parameter, ...] | None = None
    more_parameters: tuple[Parameter, ...] = ()
    input_modalities: tuple[Modality, ...] | None = None
    efforts: tuple[Effort, ...] = ()
    implicit_caching: bool = False
    limits: LimitsDocument | None = None
    first_byte_ms: Milliseconds | None = None
    prefill: bool | None = None
    prices: Annotated[tuple[PriceDocument, ...], AfterValidator(_ascending)]

    @model_validator(mode="after")
    def _consistent(self) -> EndpointDocument:
        if max(self.max_completion_tokens or 0, self.max_prompt_tokens or 0) > self.context_length:
            raise ValueError("a token cap is larger than context_length")
        if self.model.endswith(":free") and not all(price.price().free for price in self.prices):
            raise ValueError("a `:free` model cannot have a price")
        return self


class TimeoutsDocument(_Document):
    """The bounds on one call; what is left out keeps its default."""

    connect_ms: Milliseconds = _TIMEOUTS.connect_ms
    first_byte_ms: Milliseconds = _TIMEOUTS.first_byte_ms
    gap_ms: Milliseconds = _TIMEOUTS.gap_ms
    total_ms: Milliseconds = _TIMEOUTS.total_ms


class DataPolicyDocument(_Document):
    """What the provider does with prompts; what is left out counts as the worst."""

    training: bool = True
    retains_prompts: bool = True
    retention_days: Annotated[int, Field(ge=0, le=36_500)] | None = None
    can_publish: bool = False

    @model_validator(mode="after")
    def _keeps_or_not(self) -> DataPolicyDocument:
        if not self.retains_prompts and self.retention_days:
            raise ValueError("retention_days contradicts retains_prompts: false")
        return self


class ProviderDocument(_Document):
    """One file of `providers/`."""

    slug: Slug
    name: Words
    dialect: DialectName
    base_url: BaseUrl
    region: Region | None = None
    key_variable: KeyVariable = ""
    pool: Slug | None = None
    cancellation: bool = False
    moderated: bool = False
    timeouts: TimeoutsDocument = TimeoutsDocument()
    data_policy: DataPolicyDocument = DataPolicyDocument()
    privacy_policy_url: Link | None = None
    terms_of_service_url: Link | None = None
    status_page_url: Link | None = None
    headquarters: Country | None = None
    quirks: tuple[Quirk, ...] = ()
    fetches: tuple[Literal["image", "file", "video"], ...] = ()
    video_urls: tuple[Literal["youtube", "http"], ...] = ()
    supported_parameters: tuple[Parameter, ...] = ()
    limits: LimitsDocument = LimitsDocument()
    prefill: bool = False
    endpoints: tuple[EndpointDocument, ...] = ()

    def provider(self, base_url: str, *, simulated: bool) -> Provider:
        """The same as the catalog holds it, at the address that is really called."""
        return Provider(
            slug=self.slug,
            name=self.name,
            base_url=base_url,
            key_variable=self.key_variable,
            pool=self.pool or self.slug,
            cancellation=self.cancellation,
            moderated=self.moderated,
            simulated=simulated,
            timeouts=Timeouts(**self.timeouts.model_dump()),
            data_policy=DataPolicy(**self.data_policy.model_dump()),
            privacy_policy_url=self.privacy_policy_url,
            terms_of_service_url=self.terms_of_service_url,
            status_page_url=self.status_page_url,
            headquarters=self.headquarters,
            quirks=frozenset(self.quirks),
            fetches=frozenset(self.fetches),
            video_urls=frozenset(self.video_urls),
        )

    def tag_of(self, entry: EndpointDocument) -> str:
        """The endpoint's tag: its own, else the provider's slug."""
        return entry.tag or self.slug

    def endpoint_id(self, entry: EndpointDocument) -> str:
        """`<tag>:<model id>`."""
        return f"{self.tag_of(entry)}:{entry.model}"

    def endpoint(self, entry: EndpointDocument, provider: Provider) -> Endpoint:
        """One entry of `endpoints` as the catalog holds it."""
        own = entry.supported_parameters
        parameters = self.supported_parameters if own is None else own
        return Endpoint(
            id=self.endpoint_id(entry),
            model_id=entry.model,
            provider=provider,
            tag=self.tag_of(entry),
            dialect=entry.dialect or self.dialect,
            region=entry.region or self.region or "",
            upstream_id=entry.upstream_id,
            context_length=entry.context_length,
            max_completion_tokens=entry.max_completion_tokens,
            max_prompt_tokens=entry.max_prompt_tokens,
            quantization=entry.quantization,
            supported_parameters=frozenset(parameters + entry.more_parameters),
            input_modalities=_set_or_none(entry.input_modalities),
            efforts=entry.efforts,
            implicit_caching=entry.implicit_caching,
            limits=(entry.limits or self.limits).limits(),
            first_byte_ms=entry.first_byte_ms,
            prefill=self.prefill if entry.prefill is None else entry.prefill,
            prices=tuple(price.price() for price in entry.prices),
        )


def _set_or_none(words: tuple[str, ...] | None) -> frozenset[str] | None:
    return None if words is None else frozenset(words)


def _some(modalities: tuple[str, ...]) -> tuple[str, ...]:
    if not modalities:
        raise ValueError("needs at least one modality")
    return modalities


class ArchitectureDocument(_Document):
    """What goes in and comes out."""

    input_modalities: Annotated[tuple[Modality, ...], AfterValidator(_some)] = ("text",)
    output_modalities: Annotated[tuple[Modality, ...], AfterValidator(_some)] = ("text",)
    tokenizer: Words = "Other"
    instruct_type: Words | None = None


class PoolDocument(_Document):
    """One model of an automatic choice."""

    model: ModelId
    strength: Strength
    good_at: tuple[Task, ...] = ()


class ModelDocument(_Document):
    """One entry of `models`. The canonical slug is the id without its variant unless given.

    A row with `variant_of` serves the endpoints of that model (those tagged in `curated`, if it is
    given) beside its own, so that figures and breakers are shared; what it leaves out is that
    model's. A `router` has none.
    """

    id: ModelId
    canonical_slug: ModelId | None = None
    name: Words
    created: Day
    description: Annotated[str, Field(max_length=4_000)] = ""
    context_length: Tokens | None = None
    architecture: ArchitectureDocument = ArchitectureDocument()
    hugging_face_id: Words | None = None
    default_parameters: Mapping[DefaultParameter, Annotated[float, BeforeValidator(_number)]] = {}
    distillable: bool = False
    expiration_date: Day | None = None
    knowledge_cutoff: Day | None = None
    categories: tuple[Category, ...] = ()
    variant_of: ModelId | None = None
    curated: tuple[Tag, ...] | None = None
    thinking: bool = False
    router: RouterKind | None = None
    pool: tuple[PoolDocument, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> ModelDocument:
        if self.curated is not None and not (self.variant_of and self.curated):
            raise ValueError("curated needs variant_of and at least one tag")
        if self.variant_of and self.id.endswith(":free"):
            raise ValueError("a `:free` row needs free endpoints of its own")
        if (self.router == "auto") != bool(self.pool):
            raise ValueError("an auto router, and nothing else, has a pool")
        return self

    @property
    def base_id(self) -> str:
        """The id without a variant such as `:free`."""
        return self.id.partition(":")[0]

    @property
    def slug(self) -> str:
        """The canonical slug."""
        return self.canonical_slug or self.base_id

    def model(self) -> Model:
        """The same as the catalog holds it."""
        expires, cutoff = self.expiration_date, self.knowledge_cutoff
        return Model(
            id=self.id,
            canonical_slug=self.slug,
            name=self.name,
            created=_unix_seconds(self.created),
            description=self.description.strip(),
            context_length=self.context_length,
            architecture=Architecture(**self.architecture.model_dump()),
            hugging_face_id=self.hugging_face_id,
            default_parameters=MappingProxyType(
                {str(name): value for name, value in self.default_parameters.items()}
            ),
            distillable=self.distillable,
            expiration_date=expires.isoformat() if expires else None,
            knowledge_cutoff=cutoff.isoformat() if cutoff else None,
            categories=frozenset(self.categories),
            variant_of=self.variant_of,
            thinking=self.thinking,
            router=self.router,
            pool=tuple(
                PoolEntry(
                    model_id=each.model, strength=each.strength, good_at=frozenset(each.good_at)
                )
                for each in self.pool
            ),
        )


class ModelsDocument(_Document):
    """One file of `models/`."""

    models: tuple[ModelDocument, ...] = ()
