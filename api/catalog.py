"""`GET /models`, endpoints of a model, `/providers`: the catalog as the contract prints it."""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, get_args

import orjson
from flask import Blueprint, Response, request

from routing.catalog.document import Category, Modality
from routing.catalog.live import LiveCatalog
from routing.catalog.pricing import usd_per_token
from routing.catalog.shapes import Architecture, Catalog, Endpoint, Model, Price
from routing.clock import Clock
from routing.errors import BadRequest, NotFound

#: How long clients and proxies may show a list; a reload is seen after at most this.
MAX_AGE_S = 60

_CATEGORIES: tuple[str, ...] = get_args(Category)
_MODALITIES: tuple[str, ...] = get_args(Modality)
#: What is listed unless something else is asked for; image models that also write are in it.
_USUAL = frozenset({"text"})
_ETAG_HEX = 16
_TOOL_CHOICES = ("none", "auto", "required", "function")


class EndpointHealth(Protocol):
    """What the listing asks about an endpoint's recent past."""

    def uptime_percent(self, endpoint_id: str) -> float | None:
        """Percent of successful attempts in the last 30 minutes; None when too few were made."""
        ...


def blueprint(catalog: LiveCatalog, clock: Clock, health: EndpointHealth) -> Blueprint:
    """The catalog's routes; none needs a key. Register under each base path with its own name."""
    routes = Blueprint("catalog", __name__)
    listings = _Listings(catalog, clock)

    @routes.get("/models")
    def models() -> Response:
        listing = listings.current()
        return _json(listing.body(_wanted(request.args)), listing.etag)

    @routes.get("/models/count")
    def count() -> Response:
        listing = listings.current()
        count = listing.count(_modalities(request.args))
        return _json(orjson.dumps({"data": {"count": count}}), listing.etag)

    @routes.get("/embeddings/models")
    def embedding_models() -> Response:
        listing = listings.current()
        return _json(listing.body(_wanted({"output_modalities": "embeddings"})), listing.etag)

    @routes.get("/models/<author>/<slug>/endpoints")
    def endpoints(author: str, slug: str) -> Response:
        current = catalog.current
        model = current.model(f"{author}/{slug}")
        if model is None:
            raise NotFound(f"Model {author}/{slug} not found")
        found = current.endpoints_of(model.id)
        now_ms = clock.now_ms()
        rows = [_endpoint(model, each, each.price_at(now_ms), health) for each in found]
        body = orjson.dumps({"data": _described(model, rows)})
        return _json(body, hashlib.sha256(body).hexdigest()[:_ETAG_HEX])

    @routes.get("/providers")
    def providers() -> Response:
        current = catalog.current
        return _json(orjson.dumps({"data": _providers(current)}), current.digest)

    return routes


@dataclass(frozen=True, slots=True)
class _Item:
    """One model of the list, rendered."""

    model: Model
    parameters: frozenset[str]
    body: bytes

    def gives(self, modalities: frozenset[str]) -> bool:
        """Whether its answers hold one of these."""
        return not modalities.isdisjoint(self.model.architecture.output_modalities)


@dataclass(frozen=True, slots=True)
class _Listing:
    """The list of one catalog while its prices stay what they are."""

    catalog: Catalog
    period: int
    items: tuple[_Item, ...]
    usual: bytes

    @property
    def etag(self) -> str:
        return f"{self.catalog.digest}-{self.period}"

    def body(self, wanted: Callable[[_Item], bool] | None) -> bytes:
        """The answer's bytes; None wants what is listed by default: all that write text."""
        if wanted is None:
            return self.usual
        return _joined([item for item in self.items if wanted(item)])

    def count(self, modalities: frozenset[str]) -> int:
        """How many models give one of these."""
        return sum(item.gives(modalities) for item in self.items)


class _Listings:
    """The current listing, rendered again only when the catalog or a price in force changes."""

    def __init__(self, catalog: LiveCatalog, clock: Clock) -> None:
        self._live = catalog
        self._clock = clock
        self._boundaries = _Boundaries(catalog.current)
        self._listing: _Listing | None = None

    def current(self) -> _Listing:
        """The listing for now. Two greenlets may render the same one; either is right."""
        catalog = self._live.current
        now_ms = self._clock.now_ms()
        boundaries = self._boundaries
        if boundaries.catalog is not catalog:
            boundaries = self._boundaries = _Boundaries(catalog)
        period = boundaries.period(now_ms)
        listing = self._listing
        if listing is None or listing.catalog is not catalog or listing.period != period:
            items = tuple(_items(catalog, now_ms))
            usual = _joined([item for item in items if item.gives(_USUAL)])
            listing = self._listing = _Listing(catalog, period, items, usual)
        return listing


class _Boundaries:
    """The moments at which some price of a catalog changes."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._moments = sorted(
            {price.from_ms for each in catalog.endpoints.values() for price in each.prices}
        )

    def period(self, now_ms: int) -> int:
        """Which stretch of constant prices a moment lies in."""
        return bisect.bisect_right(self._moments, now_ms)


def _wanted(query: Mapping[str, str]) -> Callable[[_Item], bool] | None:
    category = query.get("category", "")
    if category and category not in _CATEGORIES:
        raise BadRequest(
            f"Unknown category. Use one of: {', '.join(_CATEGORIES)}.", param="category"
        )
    names = query.get("supported_parameters", "").split(",")
    parameters = frozenset(name.strip() for name in names if name.strip())
    modalities = _modalities(query)
    if not category and not parameters and modalities == _USUAL:
        return None
    return lambda item: (
        (not category or category in item.model.categories)
        and parameters <= item.parameters
        and item.gives(modalities)
    )


def _modalities(query: Mapping[str, str]) -> frozenset[str]:
    """What the listed models' answers may hold."""
    names = frozenset(name.strip() for name in query.get("output_modalities", "").split(","))
    names -= {""}
    if not names:
        return _USUAL
    if "all" in names:
        return frozenset(_MODALITIES)
    if not names <= frozenset(_MODALITIES):
        raise BadRequest(
            f"Unknown output modality. Use 'all' or some of: {', '.join(_MODALITIES)}.",
            param="output_modalities",
        )
    return names


def _items(catalog: Catalog, now_ms: int) -> Iterable[_Item]:
    """The models somebody can be asked for, newest first."""
    listed = [catalog.models[model_id] for model_id in catalog.by_model]
    for model in sorted(listed, key=lambda each: (-each.created, each.id)):
        offers = catalog.endpoints_of(model.id)
        parameters = frozenset[str]().union(*(each.supported_parameters for each in offers))
        cheapest = min(offers, key=lambda each: _rank(each, now_ms))
        body = orjson.dumps(_model(model, cheapest, cheapest.price_at(now_ms), parameters))
        yield _Item(model, parameters, body)


def _rank(endpoint: Endpoint, now_ms: int) -> tuple[int, int, str]:
    price = endpoint.price_at(now_ms)
    return price.prompt_pico + price.completion_pico, price.request_pico, endpoint.id


def _joined(items: Iterable[_Item]) -> bytes:
    bodies = [item.body for item in items]
    tail = f'],"total_count":{len(bodies)},"links":{{"next":null}}}}'
    return b'{"data":[' + b",".join(bodies) + tail.encode()


def _json(body: bytes, etag: str) -> Response:
    response = Response(body, mimetype="application/json")
    response.set_etag(etag)
    response.cache_control.public = True
    response.cache_control.max_age = MAX_AGE_S
    response.make_conditional(request)
    return response


def _model(model: Model, top: Endpoint, price: Price, parameters: frozenset[str]) -> dict[str, Any]:
    return {
        "id": model.id,
        "canonical_slug": model.canonical_slug,
        "hugging_face_id": model.hugging_face_id,
        "name": model.name,
        "created": model.created,
        "description": model.description,
        "context_length": model.context_length or top.context_length,
        "architecture": _architecture(model.architecture),
        "pricing": _pricing(price),
        "top_provider": {
            "context_length": top.context_length,
            "max_completion_tokens": top.max_completion_tokens,
            "is_moderated": top.provider.moderated,
        },
        "per_request_limits": None,
        "supported_parameters": sorted(parameters),
        "default_parameters": dict(model.default_parameters) or None,
        "expiration_date": model.expiration_date,
        "supported_voices": None,
        "links": {"details": f"/api/v1/models/{model.id}/endpoints"},
    }


def _described(model: Model, endpoints: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": model.id,
        "name": model.name,
        "created": model.created,
        "description": model.description,
        "architecture": _architecture(model.architecture),
        "endpoints": endpoints,
    }


def _endpoint(
    model: Model, endpoint: Endpoint, price: Price, health: EndpointHealth
) -> dict[str, Any]:
    chooses = "tool_choice" in endpoint.supported_parameters
    return {
        "name": f"{endpoint.provider.name} | {model.id}",
        "model_id": model.id,
        "model_name": model.name,
        "context_length": endpoint.context_length,
        "pricing": _pricing(price),
        "provider_name": endpoint.provider.name,
        "tag": endpoint.tag,
        "quantization": endpoint.quantization,
        "max_completion_tokens": endpoint.max_completion_tokens,
        "max_prompt_tokens": endpoint.max_prompt_tokens,
        "supported_parameters": sorted(endpoint.supported_parameters),
        "status": 0,
        "uptime_last_30m": health.uptime_percent(endpoint.id),
        "uptime_last_5m": None,
        "uptime_last_1d": None,
        "latency_last_30m": None,
        "throughput_last_30m": None,
        "supports_implicit_caching": endpoint.implicit_caching,
        "supports_tool_choice": dict.fromkeys(_TOOL_CHOICES, chooses),
        "supports_diarization": False,
        "native_tools": {},
        "service_tier": None,
    }


def _architecture(architecture: Architecture) -> dict[str, Any]:
    return {
        "modality": architecture.modality,
        "input_modalities": architecture.input_modalities,
        "output_modalities": architecture.output_modalities,
        "tokenizer": architecture.tokenizer,
        "instruct_type": architecture.instruct_type,
    }


def _pricing(price: Price) -> dict[str, str]:
    """USD per unit as strings; what is billed like prompt or completion has no line of its own."""
    lines = {
        "prompt": price.prompt_pico,
        "completion": price.completion_pico,
        "request": price.request_pico,
        "image": price.image_pico,
        "input_cache_read": price.cache_read_pico,
        "input_cache_write": price.cache_write_pico,
        "internal_reasoning": price.reasoning_pico,
        "audio": price.audio_pico,
        "audio_output": price.audio_output_pico,
        "image_output": price.image_output_pico,
    }
    return {name: usd_per_token(pico) for name, pico in lines.items() if pico is not None}


def _providers(catalog: Catalog) -> list[dict[str, str | None]]:
    return [
        {
            "name": provider.name,
            "slug": provider.slug,
            "privacy_policy_url": provider.privacy_policy_url,
            "terms_of_service_url": provider.terms_of_service_url,
            "status_page_url": provider.status_page_url,
            "headquarters": provider.headquarters,
        }
        for provider in catalog.providers.values()
    ]
