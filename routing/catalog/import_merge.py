"""What a price list changes in the catalog: new models, new endpoints, new dated prices.

Nothing that is written down is taken away: a changed price becomes another one beside the old
ones, and rates the list does not mention stay as they were.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from routing.catalog.document import EndpointDocument, ModelDocument
from routing.catalog.explain import explain
from routing.catalog.import_files import Shelf
from routing.catalog.import_list import Dated, Offer, Rates, Skip, Unusable, number_text, shown
from routing.catalog.import_litellm import VENDORS
from routing.catalog.import_match import Matched, Pair
from routing.catalog.price_diff import changed, charged, start_ms
from routing.catalog.shapes import Catalog, Endpoint

#: Providers that know models by the names they have here.
ROUTERS = frozenset({"openrouter"})

_LONG = "long_"
#: What vendors add to a name for a version of the same model.
_VERSION = re.compile(r"-(20\d{6}|20\d{2}-\d{2}-\d{2}|\d{4}|latest|0\d{2})$")

Kind = Literal["model", "endpoint", "price", "expires"]


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is new; `text` tells people what."""

    kind: Kind
    model_id: str
    provider: str
    text: str


@dataclass(slots=True)
class Merge:
    """What came of it.

    Attributes:
        touched: names of the shelf's entries that are no longer as they were.
        same: endpoints and lowest prices the list agrees with.
    """

    changes: list[Change] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)
    same: int = 0


def merge(matched: Matched, catalog: Catalog, shelf: Shelf, day: date) -> Merge:
    """Put what is new into the shelf.

    Args:
        matched: the list beside this catalog.
        catalog: the one that is loaded.
        shelf: its files; changed in place.
        day: from when a price is in force whose list does not say so.
    """
    return _Merger(catalog, shelf, day).run(matched)


class _Merger:
    """One run."""

    def __init__(self, catalog: Catalog, shelf: Shelf, day: date) -> None:
        self._catalog = catalog
        self._shelf = shelf
        self._day = day
        self._names = _Names(catalog)
        self._made = Merge()

    def run(self, matched: Matched) -> Merge:
        self._made.skips += matched.skips
        for pair in matched.pairs:
            self._try(pair.offer, partial(self._update, pair))
        for slug, offer in matched.unmatched:
            self._try(offer, partial(self._add, slug, offer))
        for pair in matched.lowest:
            self._try(pair.offer, partial(self._compare, pair))
        for offer in matched.nameless:
            self._skip(offer, "new here, and the list does not say who serves it; name a provider")
        return self._made

    def _try(self, offer: Offer, step: Callable[[], None]) -> None:
        try:
            step()
        except Unusable as reason:
            self._skip(offer, str(reason))

    def _skip(self, offer: Offer, reason: str) -> None:
        self._made.skips.append(Skip(shown(offer.entry), reason))

    def _compare(self, pair: Pair) -> None:
        """Of an offer without a provider only agreement can be told."""
        dated = pair.offer.at(self._day)
        price = pair.endpoint.price_at(start_ms(self._day))
        if dated is not None and list(changed(price, dated.rates)):
            raise Unusable("not our lowest price, and the list does not say whose; name a provider")
        self._made.same += 1

    def _update(self, pair: Pair) -> None:
        self._expire(pair)
        fresh = list(self._fresh(pair))
        if not fresh:
            self._made.same += 1
            return
        endpoint = pair.endpoint
        document = self._shelf.providers[endpoint.provider.slug]
        place = next(
            place
            for place, entry in enumerate(document["endpoints"])
            if entry["model"] == endpoint.model_id
            and entry.get("tag", document["slug"]) == endpoint.tag
        )
        entry = document["endpoints"][place]
        prices = sorted(
            (*entry["prices"], *(price for price, _ in fresh)), key=lambda price: str(price["from"])
        )
        entry = {**entry, "prices": tuple(prices)}
        _valid(EndpointDocument, entry)
        endpoints = (*document["endpoints"][:place], entry, *document["endpoints"][place + 1 :])
        self._shelf.providers[document["slug"]] = {**document, "endpoints": endpoints}
        self._made.touched.add(f"providers/{document['slug']}")
        for price, told in fresh:
            self._note("price", endpoint.model_id, endpoint.tag, f"{told} from {price['from']}")

    def _fresh(self, pair: Pair) -> Iterator[tuple[dict[str, Any], str]]:
        """Prices the endpoint does not have yet: the one of today, and later ones; what changes."""
        endpoint, offer = pair.endpoint, pair.offer
        begun = {price.from_ms for price in endpoint.prices}
        today = offer.at(self._day)
        later = [each for each in offer.prices if each.since and each.since > self._day]
        for dated in ([today] if today else []) + later:
            since = self._since(dated, endpoint)
            old = endpoint.price_at(start_ms(since))
            news = list(changed(old, dated.rates))
            if not news:
                continue
            if start_ms(since) in begun:
                raise Unusable(
                    f"a price from {since} is in the catalog already; name a later --date"
                )
            kept = {
                name: rate
                for name, rate in charged(old).items()
                if name in _own(endpoint, start_ms(since))
            }
            told = (
                f"{what} {number_text(rate)} -> {number_text(dated.rates[what])}"
                for what, rate in news
            )
            yield _price(since, {**kept, **dated.rates}, offer.source), ", ".join(told)

    def _since(self, dated: Dated, endpoint: Endpoint) -> date:
        """The list's day if it lies after the last price here, else the day of the import."""
        here = [price.from_ms for price in endpoint.prices]
        last = max((begun for begun in here if begun <= start_ms(self._day)), default=-1)
        told = dated.since
        return told if told is not None and start_ms(told) > last else self._day

    def _expire(self, pair: Pair) -> None:
        ends, model_id = pair.offer.expires, pair.endpoint.model_id
        row = self._shelf.models.get(model_id)
        if ends is None or row is None or row.get("expiration_date") == ends.isoformat():
            return
        if model_id.partition("/")[0] != VENDORS.get(pair.endpoint.provider.slug):
            return
        self._shelf.models[model_id] = {**row, "expiration_date": ends.isoformat()}
        self._made.touched.add(f"models/{model_id}")
        self._note("expires", model_id, pair.endpoint.tag, f"goes away on {ends}")

    def _add(self, slug: str, offer: Offer) -> None:
        if offer.reason:
            raise Unusable(offer.reason)
        if offer.upstream_id is None:
            raise Unusable("new here, and the list does not say by which name to call it")
        if len(offer.providers) > 1:
            raise Unusable("new here, and the list does not say at which of its services")
        dated = offer.at(self._day)
        if dated is None or "completion" not in dated.rates:
            raise Unusable("new here, and has no price for completions")
        if "context_length" not in offer.endpoint:
            raise Unusable("new here, and the list does not give a context length")
        model_id = self._names.model_of(slug, offer)
        row = None
        if model_id not in self._shelf.models:
            row = self._row(model_id, offer)
        self._put(slug, model_id, offer, dated)
        if row is not None:
            self._shelf.models[model_id] = row
            self._names.learn(row)
            self._made.touched.add(f"models/{model_id}")
            self._note("model", model_id, slug, str(row["name"]))
        self._note("endpoint", model_id, slug, _told(dated.rates))
        for note in offer.notes:
            self._skip(offer, note)

    def _row(self, model_id: str, offer: Offer) -> dict[str, Any]:
        """A model that is new here; it counts as created on the day it was added, unless told."""
        row: dict[str, Any] = {"id": model_id, "name": model_id, "created": self._day.isoformat()}
        row |= offer.model or {}
        row["id"] = model_id
        slug = row.get("canonical_slug")
        if slug is not None and not self._names.free(slug, model_id):
            del row["canonical_slug"]
        if not self._names.free(model_id.partition(":")[0], model_id):
            raise Unusable("its name is another model's here")
        _valid(ModelDocument, row)
        return row

    def _put(self, slug: str, model_id: str, offer: Offer, dated: Dated) -> None:
        document = self._shelf.providers[slug]
        here = document.get("endpoints") or ()
        if any(e["model"] == model_id and e.get("tag", slug) == slug for e in here):
            raise Unusable(f"{model_id} has an endpoint at {slug} already, by another name")
        since = dated.since if dated.since and dated.since <= self._day else self._day
        prices = [_price(since, dated.rates, offer.source)]
        prices += [
            _price(each.since, each.rates, offer.source)
            for each in offer.prices
            if each.since and each.since > self._day
        ]
        fields = {"model": model_id, "upstream_id": offer.upstream_id, **offer.endpoint}
        entry = {**fields, **self._parameters(document, offer), "prices": tuple(prices)}
        _valid(EndpointDocument, entry)
        self._shelf.providers[slug] = {**document, "endpoints": (*here, entry)}
        self._made.touched.add(f"providers/{slug}")

    @staticmethod
    def _parameters(document: Mapping[str, Any], offer: Offer) -> dict[str, Any]:
        """The provider's parameters, with and without what the list says of this model."""
        usual = tuple(document.get("supported_parameters") or ())
        kept = tuple(word for word in usual if word not in offer.drops)
        more = tuple(word for word in offer.adds if word not in kept)
        if kept != usual:
            return {"supported_parameters": kept + more}
        return {"more_parameters": more} if more else {}

    def _note(self, kind: Kind, model_id: str, provider: str, text: str) -> None:
        self._made.changes.append(Change(kind, model_id, provider, text))


class _Names:
    """Models by everything they are known as."""

    def __init__(self, catalog: Catalog) -> None:
        self._models = {model.id: model for model in catalog.models.values()}
        self._owners = {name: _base(model.id) for name, model in catalog.models.items()}
        self._repositories: dict[str, set[str]] = {}
        self._bare: dict[str, str] = {}
        for model in self._models.values():
            self._bare.setdefault(_bare(model.id), model.id)
            if model.hugging_face_id and not self._special(model.id):
                self._know(model.hugging_face_id, model.id)
        for endpoint in catalog.endpoints.values():
            if "/" in endpoint.upstream_id and not self._special(endpoint.model_id):
                self._know(endpoint.upstream_id, endpoint.model_id)

    def _special(self, model_id: str) -> bool:
        """Whether it is a variant: of those a plain name never means one."""
        return ":" in model_id

    def _know(self, repository: str, model_id: str) -> None:
        self._repositories.setdefault(repository.lower(), set()).add(model_id)

    def learn(self, row: Mapping[str, Any]) -> None:
        """A model that was just added."""
        base = _base(row["id"])
        self._owners.setdefault(row["id"], base)
        self._owners.setdefault(row.get("canonical_slug", base), base)
        self._bare.setdefault(_bare(row["id"]), row["id"])

    def free(self, slug: str, model_id: str) -> bool:
        """Whether a canonical slug names no other model."""
        return self._owners.get(slug, _base(model_id)) == _base(model_id)

    def model_of(self, slug: str, offer: Offer) -> str:
        """The model an offer without an endpoint here is about.

        Raises:
            Unusable: it cannot be told.
        """
        upstream_id = offer.upstream_id or ""
        if offer.model_id is not None:
            known = self._models.get(offer.model_id)
            return known.id if known else offer.model_id
        if slug in ROUTERS:
            return upstream_id
        named = self._repositories.get(upstream_id.lower(), set())
        if len(named) == 1:
            return next(iter(named))
        author = VENDORS.get(slug)
        if author is None:
            raise Unusable("no model here is known by that name; describe it in a models file")
        model_id = f"{author}/{upstream_id}"
        other = self._bare.get(_bare(model_id))
        if model_id not in self._models and other is not None:
            raise Unusable(f"perhaps {other} by another name")
        return model_id


def _base(model_id: str) -> str:
    return model_id.partition(":")[0]


def _bare(model_id: str) -> str:
    """The name without versions and punctuation: what two names of one model share."""
    author, _, name = _base(model_id).partition("/")
    name = re.sub(r"[^a-z0-9]+", "-", name.lower())
    while (shorter := _VERSION.sub("", name)) != name:
        name = shorter
    return f"{author}/{name}"


def _own(endpoint: Endpoint, at_ms: int) -> frozenset[str]:
    """The rates an endpoint's price has itself."""
    price = endpoint.price_at(at_ms)
    own = {name.removesuffix("_pico") for name, rate in price.rates().items() if rate is not None}
    return frozenset(own - {name for name in ("request", "image") if not charged(price)[name]})


def _price(since: date | None, rates: Rates, source: str) -> dict[str, Any]:
    """A price as it stands in a catalog file."""
    usual = {name: _plain(rate) for name, rate in rates.items() if not name.startswith(_LONG)}
    long = {
        name.removeprefix(_LONG): _plain(rate)
        for name, rate in rates.items()
        if name.startswith(_LONG)
    }
    made: dict[str, Any] = {"from": since.isoformat() if since else None}
    made |= {name: rate for name, rate in usual.items() if rate or name not in {"request", "image"}}
    if long:
        made["long"] = long
    return {**made, "source": source}


def _plain(rate: Decimal) -> Decimal | int:
    return int(rate) if rate == int(rate) else rate


def _told(rates: Rates) -> str:
    return ", ".join(f"{name} {number_text(rate)}" for name, rate in rates.items())


def _valid(document: type[BaseModel], entry: Mapping[str, Any]) -> None:
    """Raises `Unusable` with the first thing the catalog would find wrong."""
    try:
        document.model_validate(entry)
    except ValidationError as error:
        message, hint = explain(document, error.errors(include_url=False)[0])
        raise Unusable(f"{message} {hint}".strip()) from error


def kinds(changes: Iterable[Change]) -> Mapping[Kind, int]:
    """How many changes of each kind there are."""
    counts: dict[Kind, int] = {"model": 0, "endpoint": 0, "price": 0, "expires": 0}
    for change in changes:
        counts[change.kind] += 1
    return counts
