"""The `provider` object of a request: where it may be routed, and how to choose (contract 3.3)."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from routing.wire.validate import NO_NUL, TAG, Wire, at_most

#: Slugs in one list; there are about 100 providers.
PROVIDERS_MAX = 256
#: Dearer caps are typing errors, and a bound keeps the arithmetic small.
PRICE_MAX_USD = 1_000_000_000
_DECIMAL = re.compile(r"[0-9]{1,12}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?")

SortBy = Literal["price", "throughput", "latency"]
_Slug = Annotated[str, Field(min_length=1, max_length=128, pattern=NO_NUL)]
_Slugs = Annotated[tuple[_Slug, ...], Field(strict=False, max_length=PROVIDERS_MAX, fail_fast=True)]
_Quantizations = Annotated[
    tuple[
        Literal[
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
        ],
        ...,
    ],
    Field(strict=False, max_length=16, fail_fast=True),
]


def _exact(value: Any) -> Decimal:
    """A number or a numeric string as the decimal that was written, not its binary neighbour."""
    if isinstance(value, Decimal):
        return value
    text = str(value) if isinstance(value, (int, float, str)) else ""
    if isinstance(value, bool) or not _DECIMAL.fullmatch(text):
        raise ValueError("must be a number or a numeric string, 0 or more, in USD")
    exact = Decimal(text)
    if exact > PRICE_MAX_USD:
        raise ValueError(f"must be at most {PRICE_MAX_USD}")
    return exact


_Usd = Annotated[Decimal, BeforeValidator(_exact)]


class MaxPrice(Wire):
    """Dearest acceptable prices in USD: per million tokens (of sound too), per image or request."""

    prompt: _Usd | None = None
    completion: _Usd | None = None
    image: _Usd | None = None
    audio: _Usd | None = None
    request: _Usd | None = None


class Sort(Wire):
    """`sort` as an object."""

    by: SortBy | None = None
    partition: Literal["model", "none"] | None = None


def _sort_tag(value: Any) -> str | None:
    if isinstance(value, str):
        return f"{TAG}word"
    return f"{TAG}object" if isinstance(value, (dict, Sort)) else None


_Sort = Annotated[
    Annotated[SortBy, Tag(f"{TAG}word")] | Annotated[Sort, Tag(f"{TAG}object")],
    Discriminator(
        _sort_tag,
        custom_error_type="sort",
        custom_error_message="must be 'price', 'throughput', 'latency' or {by, partition}",
    ),
]
_Positive = Annotated[float, Field(gt=0, le=1e9)]


class Percentiles(Wire):
    """A threshold per percentile."""

    p50: _Positive | None = None
    p75: _Positive | None = None
    p90: _Positive | None = None
    p99: _Positive | None = None


def _threshold_tag(value: Any) -> str | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{TAG}number"
    return f"{TAG}object" if isinstance(value, (dict, Percentiles)) else None


_Threshold = Annotated[
    Annotated[_Positive, Tag(f"{TAG}number")] | Annotated[Percentiles, Tag(f"{TAG}object")],
    Discriminator(
        _threshold_tag,
        custom_error_type="threshold",
        custom_error_message="must be a number greater than 0 or an object with p50, p75, p90, p99",
    ),
]


class ProviderPreferences(Wire):
    """Filters and order; every field may be null, which is the same as leaving it out."""

    order: _Slugs | None = None
    allow_fallbacks: bool | None = None
    require_parameters: bool | None = None
    data_collection: Literal["allow", "deny"] | None = None
    zdr: bool | None = None
    enforce_distillable_text: bool | None = None
    only: _Slugs | None = None
    ignore: _Slugs | None = None
    quantizations: _Quantizations | None = None
    sort: _Sort | None = None
    max_price: MaxPrice | None = None
    preferred_min_throughput: _Threshold | None = None
    preferred_max_latency: _Threshold | None = None
    min_throughput: _Positive | None = None
    max_latency: _Positive | None = None
    on_unavailable: Literal["fail", "wait"] | None = None
    rescue: bool | None = None
    options: Annotated[dict[str, dict[str, Any]], at_most(PROVIDERS_MAX)] | None = None
