"""Which endpoint of the catalog an offer of a price list means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import get_args

from routing.catalog.import_list import Offer, Reading, Skip, Unusable, shown
from routing.catalog.shapes import Catalog, Endpoint, Quantization

_QUANTIZATIONS: frozenset[str] = frozenset(get_args(Quantization))


@dataclass(frozen=True, slots=True)
class Pair:
    """An offer and the endpoint it is about."""

    offer: Offer
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class Matched:
    """A list beside the catalog.

    Attributes:
        pairs: offers of endpoints the catalog has.
        lowest: offers that name no provider, each with the cheapest endpoint of the model.
        unmatched: offers the catalog has no endpoint for, with the provider.
        nameless: offers that name neither a provider nor a model the catalog knows.
    """

    pairs: tuple[Pair, ...]
    lowest: tuple[Pair, ...]
    unmatched: tuple[tuple[str, Offer], ...]
    nameless: tuple[Offer, ...]
    skips: tuple[Skip, ...]


def match(found: Reading, catalog: Catalog, only: frozenset[str], now_ms: int) -> Matched:
    """Lay a list beside the catalog.

    Args:
        found: the list; earlier offers take their endpoints first.
        catalog: the one that is loaded.
        only: provider slugs to look at; empty for all.
        now_ms: the moment whose lowest price is compared.
    """
    shelf = _by_provider(catalog)
    pairs: dict[str, Pair] = {}
    lowest: list[Pair] = []
    unmatched: list[tuple[str, Offer]] = []
    nameless: list[Offer] = []
    skips: list[Skip] = list(found.skips)
    for offer in found.offers:
        if not offer.providers:
            cheapest = _cheapest(catalog, offer, now_ms)
            if cheapest is None:
                nameless.append(offer)
            else:
                lowest.append(Pair(offer, cheapest))
        for slug in offer.providers:
            if only and slug not in only:
                continue
            try:
                taken = _take(offer, slug, shelf, catalog, pairs)
            except Unusable as reason:
                skips.append(Skip(shown(offer.entry), str(reason)))
                continue
            if not taken:
                unmatched.append((slug, offer))
    for pair in pairs.values():
        skips += [Skip(shown(pair.offer.entry), pair.offer.reason)] if pair.offer.reason else []
    priced = tuple(pair for pair in pairs.values() if not pair.offer.reason)
    return Matched(priced, tuple(lowest), tuple(unmatched), tuple(nameless), tuple(skips))


def _by_provider(catalog: Catalog) -> Mapping[str, list[Endpoint]]:
    shelf: dict[str, list[Endpoint]] = {slug: [] for slug in catalog.providers}
    for endpoint in catalog.endpoints.values():
        shelf[endpoint.provider.slug].append(endpoint)
    return shelf


def _take(
    offer: Offer,
    slug: str,
    shelf: Mapping[str, list[Endpoint]],
    catalog: Catalog,
    pairs: dict[str, Pair],
) -> bool:
    """Pair an offer with its endpoints; False when there is none."""
    if slug not in shelf:
        raise Unusable(f"the provider {shown(slug)!r} is not in the catalog")
    here = shelf[slug]
    if offer.matches is not None:
        found = [each for each in here if offer.matches(each.upstream_id)]
        fresh = [each for each in found if each.id not in pairs]
    else:
        found = fresh = _meant(offer, slug, here, catalog)
    for endpoint in fresh:
        if endpoint.id in pairs:
            raise Unusable(f"another entry is the same endpoint: {pairs[endpoint.id].offer.entry}")
        pairs[endpoint.id] = Pair(offer, endpoint)
    return bool(found)


def _meant(offer: Offer, slug: str, here: list[Endpoint], catalog: Catalog) -> list[Endpoint]:
    model = catalog.model(offer.model_id) if offer.model_id else None
    served = {model.id, model.variant_of} if model else {offer.model_id}
    if offer.tag is not None:
        return _tagged(offer.tag, [each for each in here if each.model_id in served])
    named = [each for each in here if each.upstream_id == offer.upstream_id]
    if not named and model is not None:
        named = [each for each in here if each.model_id in served and each.tag == slug]
    if model is not None and len(named) > 1:
        named = [each for each in named if each.model_id == model.id] or named
    return _one(named, slug)


def _tagged(tag: str, serving: Iterable[Endpoint]) -> list[Endpoint]:
    """The endpoint with the tag; else the only one whose quantization the tag ends with."""
    known = list(serving)
    same = [each for each in known if each.tag == tag]
    slug, _, suffix = tag.partition("/")
    if same or suffix not in _QUANTIZATIONS:
        return same
    alike = [each for each in known if each.tag == slug and each.quantization == suffix]
    return alike if len(alike) == 1 else []


def _one(named: list[Endpoint], slug: str) -> list[Endpoint]:
    """The one that is meant when several go by the same name."""
    for narrower in _narrowed(named, slug):
        if len(narrower) == 1:
            return narrower
    if named:
        raise Unusable("several endpoints here go by this name; which one is meant is not said")
    return []


def _narrowed(named: list[Endpoint], slug: str) -> Iterator[list[Endpoint]]:
    yield named
    paid = [each for each in named if not each.model_id.endswith(":free")]
    yield paid
    yield [each for each in paid if each.tag == slug]


def _cheapest(catalog: Catalog, offer: Offer, now_ms: int) -> Endpoint | None:
    """The endpoint whose price the models API prints as the model's.

    Where no key makes a model callable, nothing is printed for it; then any endpoint counts.
    """
    model = catalog.model(offer.model_id or "")
    if model is None:
        return None
    served = {model.id, model.variant_of}
    offers = catalog.endpoints_of(model.id) or [
        each for each in catalog.endpoints.values() if each.model_id in served
    ]
    return min(offers, key=lambda each: _rank(each, now_ms), default=None)


def _rank(endpoint: Endpoint, now_ms: int) -> tuple[int, int, str]:
    price = endpoint.price_at(now_ms)
    return price.prompt_pico + price.completion_pico, price.request_pico, endpoint.id
