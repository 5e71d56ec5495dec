"""What the front door hands to a worker, and what a worker hands to billing.

Both are JSON in Redis, versioned by `v`, so that old workers and new front doors can meet in a
deploy. Neither holds a prompt or a key; a customer's own provider key is in a job sealed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Any, Literal

import orjson

from routing.catalog.pricing import Cost, Terms, cost
from routing.catalog.shapes import Price
from routing.usage import Usage

JOB_VERSION = 2
CHARGE_VERSION = 2
#: Of jobs and charges with other terms than the list price: the release before would overcharge.
_WITH_TERMS = 3
#: What the release before wrote is still read: jobs and unsettled charges outlive a deploy.
_READABLE = (1, 2, _WITH_TERMS)

Api = Literal["chat", "completions", "responses", "messages", "embeddings"]
#: How a generation ended, for the ledger: `done` is charged, `cancelled` is charged for what was
#: produced, `failed` is not charged.
Outcome = Literal["done", "cancelled", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanEntry:
    """One endpoint of a plan, with the price that was in force when the request was let in.

    Attributes:
        byok: id of the customer's own provider key it is called with; "" for the operator's.
    """

    endpoint_id: str
    model_id: str
    pool: str
    price: Price
    byok: str = ""

    @property
    def gate(self) -> str:
        """The name its breaker and limits go by: what befalls a customer's key is its own."""
        return f"{self.endpoint_id}~{self.byok}" if self.byok else self.endpoint_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asked, as far as workers and billing need to know; `app_*` come from headers.

    Attributes:
        user: whom the request names as its own user.
        member: id of the person who made the key; "" for the operator.
    """

    account_id: str
    key_hash: str
    request_id: str = ""
    app_url: str | None = None
    app_title: str | None = None
    user: str | None = None
    member: str = ""
    session_id: str | None = None
    user_agent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteNote:
    """What the answer tells of its routing, for a caller who asked (`X-OpenRouter-Metadata`).

    Attributes:
        requested: the model as the request named it.
        strategy: why this model: `direct`, `fallback`, `auto`, `free`.
        total: endpoints of the requested models before any demand was made of them.
    """

    requested: str
    strategy: str
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """The immutable part of a job: written once at admission, read at each claim.

    Attributes:
        generation_id: also the job id.
        api: which inbound API the answer is rendered for.
        stream: whether the client asked for server-sent events.
        created_ms: admission time; `created` in the answer.
        entries: endpoints, best first.
        allow_fallbacks: False means the first failure is the answer.
        prompt_tokens_max: our upper estimate of the prompt, for clamping what a provider reports.
        completion_tokens_max: the most the client may be charged for.
        route: None when the caller did not ask how it was routed.
        rescue: a stream that dies goes on at another endpoint.
        waits: with no endpoint free, the job waits for one instead of failing.
        sticky: under which name the endpoint that cached this conversation is remembered; "" for
            nowhere.
        fee_ppm: fee for an answer that an own provider key paid for; 0 while it is waived.
        discount_ppm: taken off any other answer.
        sealed: the own provider keys of the plan, encrypted, by id.
        logs: prompt and answer are kept for the account.
    """

    generation_id: str
    api: Api
    stream: bool
    created_ms: int
    caller: Caller
    entries: tuple[PlanEntry, ...]
    allow_fallbacks: bool = True
    prompt_tokens_max: int = 0
    completion_tokens_max: int = 0
    hold_nano: int = 0
    route: RouteNote | None = None
    rescue: bool = False
    waits: bool = False
    sticky: str = ""
    fee_ppm: int = 0
    discount_ppm: int = 0
    sealed: Mapping[str, str] = field(default_factory=dict)
    logs: bool = False

    def terms(self, entry: PlanEntry) -> Terms:
        """What the customer pays where this entry answers."""
        if entry.byok:
            return Terms(byok=True, fee_ppm=self.fee_ppm)
        return Terms(discount_ppm=self.discount_ppm)

    def to_json(self) -> bytes:
        """Compact JSON; `from_json` is its inverse."""
        route = self.route
        own = {"byok": [e.byok for e in self.entries], "sealed": dict(self.sealed)}
        special = {"fee": self.fee_ppm, "off": self.discount_ppm, "logs": self.logs}
        with_terms = bool(self.sealed or self.discount_ppm or self.logs)
        return orjson.dumps(
            {
                "v": _WITH_TERMS if with_terms else JOB_VERSION,
                "id": self.generation_id,
                "api": self.api,
                "stream": self.stream,
                "ms": self.created_ms,
                "fb": self.allow_fallbacks,
                "pt": self.prompt_tokens_max,
                "ct": self.completion_tokens_max,
                "hold": self.hold_nano,
                "who": _caller_to_list(self.caller),
                "whom": _whom(self.caller),
                "route": None if route is None else [route.requested, route.strategy, route.total],
                "rescue": self.rescue,
                "wait": self.waits,
                "sticky": self.sticky,
                "plan": [
                    [e.endpoint_id, e.model_id, e.pool, price_to_list(e.price)]
                    for e in self.entries
                ],
                # Beside the plan: the release before reads prices of a fixed length.
                "long": _long_to_lists(self.entries),
                **(own | special if with_terms else {}),
            }
        )

    @classmethod
    def from_json(cls, raw: bytes) -> JobSpec:
        """Read a spec of this release or the one before.

        Raises:
            ValueError: of another release, or not a spec at all.
        """
        data = orjson.loads(raw)
        if data["v"] not in _READABLE:
            raise ValueError(f"job version {data['v']} is not {JOB_VERSION}")
        return cls(
            generation_id=data["id"],
            api=data["api"],
            stream=data["stream"],
            created_ms=data["ms"],
            allow_fallbacks=data["fb"],
            prompt_tokens_max=data["pt"],
            completion_tokens_max=data["ct"],
            hold_nano=data["hold"],
            caller=_caller_from_list(data["who"], data.get("whom")),
            fee_ppm=data.get("fee", 0),
            discount_ppm=data.get("off", 0),
            sealed=data.get("sealed") or {},
            logs=data.get("logs", False),
            route=_route_from_list(data.get("route")),
            rescue=data.get("rescue", False),
            waits=data.get("wait", False),
            sticky=data.get("sticky", ""),
            entries=tuple(
                PlanEntry(
                    endpoint_id=e,
                    model_id=m,
                    pool=p,
                    price=_with_long(price_from_list(price), long),
                    byok=byok or "",
                )
                for (e, m, p, price), long, byok in zip_longest(
                    data["plan"], data.get("long") or (), data.get("byok") or ()
                )
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """One upstream call, kept per generation (`provider_responses`).

    Attributes:
        byok: it was made with a provider key of the customer.
    """

    endpoint_id: str
    provider: str
    status: int
    latency_ms: int
    message: str = ""
    byok: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """Everything billing needs to settle one generation; appended to the outbox with its end.

    Attributes:
        outcome: see `Outcome`.
        endpoint_id: the endpoint that answered; "" when none did.
        price: applied price; the settlement multiplies it with `usage` again by itself. Written
            are the rates that apply to a prompt of this length.
        latency_ms: admission to first byte from the provider.
        generation_ms: first byte to end.
        attempts: in the order they were made.
        byok: id of the customer's own provider key that paid the provider; "" for none.
        fee_ppm: of the list price, for that; 0 while it is waived.
        discount_ppm: taken off the list price otherwise.
        logged: prompt and answer wait in Redis to be kept.
    """

    generation_id: str
    outcome: Outcome
    api: Api
    stream: bool
    created_ms: int
    finished_ms: int
    caller: Caller
    model_id: str
    endpoint_id: str
    provider: str
    upstream_id: str | None
    usage: Usage
    price: Price
    finish_reason: str | None
    native_finish_reason: str | None
    latency_ms: int | None
    generation_ms: int | None
    hold_nano: int = 0
    attempts: tuple[AttemptRecord, ...] = ()
    byok: str = ""
    fee_ppm: int = 0
    discount_ppm: int = 0
    logged: bool = False

    @property
    def cost(self) -> Cost:
        """What it comes to, on the terms it was admitted with."""
        terms = Terms(byok=bool(self.byok), fee_ppm=self.fee_ppm, discount_ppm=self.discount_ppm)
        return cost(self.usage, self.price, terms)

    @classmethod
    def unserved(
        cls,
        spec: JobSpec,
        outcome: Outcome,
        finished_ms: int,
        attempts: tuple[AttemptRecord, ...] = (),
    ) -> Charge:
        """The charge of a job that nobody answered: nothing, but through it its hold goes back."""
        return cls(
            generation_id=spec.generation_id,
            outcome=outcome,
            api=spec.api,
            stream=spec.stream,
            created_ms=spec.created_ms,
            finished_ms=finished_ms,
            caller=spec.caller,
            model_id=spec.entries[0].model_id,
            endpoint_id="",
            provider=attempts[-1].provider if attempts else "",
            upstream_id=None,
            usage=Usage(),
            price=Price(),
            finish_reason="error" if outcome == "failed" else None,
            native_finish_reason=None,
            latency_ms=None,
            generation_ms=None,
            hold_nano=spec.hold_nano,
            attempts=attempts,
        )

    @property
    def insured(self) -> bool:
        """Zero completion insurance: failed, or no completion tokens and a blank finish reason.

        Then nothing is charged for the whole request.
        """
        return (
            self.outcome == "failed"
            or self.finish_reason == "error"
            or (
                self.outcome == "done"
                and self.usage.completion_tokens == 0
                and self.finish_reason is None
            )
        )

    def to_json(self) -> bytes:
        """Compact JSON; `from_json` is its inverse."""
        with_terms = bool(self.byok or self.discount_ppm or self.logged)
        special = {
            "byok": self.byok,
            "fee": self.fee_ppm,
            "off": self.discount_ppm,
            "logged": self.logged,
        }
        return orjson.dumps(
            {
                "v": _WITH_TERMS if with_terms else CHARGE_VERSION,
                "id": self.generation_id,
                "outcome": self.outcome,
                "api": self.api,
                "stream": self.stream,
                "ms": self.created_ms,
                "end": self.finished_ms,
                "who": _caller_to_list(self.caller),
                "whom": _whom(self.caller),
                "model": self.model_id,
                "ep": self.endpoint_id,
                "provider": self.provider,
                "up": self.upstream_id,
                "usage": usage_to_list(self.usage),
                "price": price_to_list(self.price.for_prompt(self.usage.prompt_tokens)),
                "finish": self.finish_reason,
                "native": self.native_finish_reason,
                "lat": self.latency_ms,
                "gen": self.generation_ms,
                "hold": self.hold_nano,
                "att": attempts_to_list(self.attempts),
                **(special if with_terms else {}),
            }
        )

    @classmethod
    def from_json(cls, raw: bytes) -> Charge:
        """Read a charge of this release or the one before.

        Raises:
            ValueError: another version, or not a charge at all.
        """
        data = orjson.loads(raw)
        if data["v"] not in _READABLE:
            raise ValueError(f"charge version {data['v']} is not {CHARGE_VERSION}")
        return cls(
            generation_id=data["id"],
            outcome=data["outcome"],
            api=data["api"],
            stream=data["stream"],
            created_ms=data["ms"],
            finished_ms=data["end"],
            caller=_caller_from_list(data["who"], data.get("whom")),
            byok=data.get("byok", ""),
            fee_ppm=data.get("fee", 0),
            discount_ppm=data.get("off", 0),
            logged=data.get("logged", False),
            model_id=data["model"],
            endpoint_id=data["ep"],
            provider=data["provider"],
            upstream_id=data["up"],
            usage=usage_from_list(data["usage"]),
            price=price_from_list(data["price"]),
            finish_reason=data["finish"],
            native_finish_reason=data["native"],
            latency_ms=data["lat"],
            generation_ms=data["gen"],
            hold_nano=data["hold"],
            attempts=attempts_from_list(data["att"]),
        )


def _route_from_list(data: list[Any] | None) -> RouteNote | None:
    if data is None:
        return None
    requested, strategy, total = data
    return RouteNote(requested=requested, strategy=strategy, total=total)


def attempts_to_list(attempts: Iterable[AttemptRecord]) -> list[list[Any]]:
    """Attempts in the order `attempts_from_list` reads."""
    return [
        [a.endpoint_id, a.provider, a.status, a.latency_ms, a.message, *([True] if a.byok else [])]
        for a in attempts
    ]


def attempts_from_list(data: list[list[Any]]) -> tuple[AttemptRecord, ...]:
    """The inverse of `attempts_to_list`."""
    return tuple(
        AttemptRecord(
            endpoint_id=e, provider=p, status=s, latency_ms=ms, message=text, byok=bool(byok)
        )
        for e, p, s, ms, text, *byok in data
    )


def usage_to_list(usage: Usage) -> list[Any]:
    """A usage in the order `usage_from_list` reads."""
    return [
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.reasoning_tokens,
        usage.images,
        usage.estimated,
        usage.flags,
        usage.cache_write_1h_tokens,
        usage.audio_tokens,
        usage.video_tokens,
        usage.image_output_tokens,
        usage.audio_output_tokens,
    ]


def usage_from_list(data: list[Any]) -> Usage:
    """The inverse of `usage_to_list`."""
    prompt, completion, cached, written, reasoning, images, estimated, flags, *rarer = data
    written_1h, audio, video, image_output, audio_output = rarer or (0, 0, 0, 0, 0)
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=written_1h,
        audio_tokens=audio,
        video_tokens=video,
        image_output_tokens=image_output,
        audio_output_tokens=audio_output,
        reasoning_tokens=reasoning,
        images=images,
        estimated=estimated,
        flags=tuple(flags),
    )


def price_to_list(price: Price) -> list[Any]:
    """The usual rates in the order `price_from_list` reads; the source stays in the catalog."""
    return [
        price.from_ms,
        price.prompt_pico,
        price.completion_pico,
        price.request_pico,
        price.image_pico,
        price.cache_read_pico,
        price.cache_write_pico,
        price.reasoning_pico,
        price.cache_write_1h_pico,
        price.audio_pico,
        price.audio_output_pico,
        price.image_output_pico,
    ]


def price_from_list(data: list[Any]) -> Price:
    """A price of the rates `price_to_list` wrote."""
    start, prompt, completion, request, image, read, write, reasoning, *rarer = data
    write_1h, audio, audio_output, image_output = rarer or (None, None, None, None)
    return Price(
        from_ms=start,
        prompt_pico=prompt,
        completion_pico=completion,
        request_pico=request,
        image_pico=image,
        cache_read_pico=read,
        cache_write_pico=write,
        reasoning_pico=reasoning,
        cache_write_1h_pico=write_1h,
        audio_pico=audio,
        audio_output_pico=audio_output,
        image_output_pico=image_output,
    )


def _long_to_lists(entries: Iterable[PlanEntry]) -> list[list[Any] | None] | None:
    """What long prompts cost at each entry; None when they cost the same everywhere."""
    longs = [
        None
        if (long := entry.price.long) is None
        else [
            long.over,
            long.prompt_pico,
            long.completion_pico,
            long.cache_read_pico,
            long.cache_write_pico,
        ]
        for entry in entries
    ]
    return longs if any(longs) else None


def _with_long(price: Price, data: list[Any] | None) -> Price:
    """The price with its rates for long prompts, if it has any."""
    if data is None:
        return price
    over, prompt, completion, read, write = data
    return replace(
        price,
        long_over=over,
        long_prompt_pico=prompt,
        long_completion_pico=completion,
        long_cache_read_pico=read,
        long_cache_write_pico=write,
    )


def _caller_to_list(caller: Caller) -> list[str | None]:
    return [
        caller.account_id,
        caller.key_hash,
        caller.request_id,
        caller.app_url,
        caller.app_title,
        caller.user,
    ]


def _whom(caller: Caller) -> list[str | None]:
    """What the release before does not know of a caller: beside the list it reads."""
    return [caller.member, caller.session_id, caller.user_agent]


def _caller_from_list(data: list[Any], more: list[Any] | None) -> Caller:
    account, key_hash, request_id, url, title, user = data
    member, session_id, user_agent = more or ("", None, None)
    return Caller(
        account_id=account,
        key_hash=key_hash,
        request_id=request_id,
        app_url=url,
        app_title=title,
        user=user,
        member=member,
        session_id=session_id,
        user_agent=user_agent,
    )
