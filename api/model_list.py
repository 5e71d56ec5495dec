"""The list of models: which somebody can be asked for, rendered once per catalog and prices."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import orjson

from api.models import cheapest, context_of, model_body, parameters_of
from routing.catalog.live import LiveCatalog
from routing.catalog.shapes import Catalog, Endpoint, Model, Price
from routing.clock import Clock
from routing.wire.account import RoutingPolicy

#: What is listed unless something else is asked for; image models that also write are in it.
USUAL_OUTPUTS = frozenset({"text"})
#: So many policies' own lists are kept with a listing; one holds what differs, up to half a MB.
VIEWS_MAX = 32

#: Whether an account with a policy may use an endpoint. The same answer while a listing lasts.
Visible = Callable[[RoutingPolicy, Endpoint], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model of the list.

    Attributes:
        endpoints: what serves it; empty for a router, which only chooses.
        choices: endpoints a router may choose from; empty for a model.
        parameters: what at least one of those supports.
        price: the cheapest one in force; None for a router.
        body: the model as the contract prints it.
    """

    model: Model
    endpoints: tuple[Endpoint, ...]
    choices: tuple[Endpoint, ...]
    parameters: frozenset[str]
    price: Price | None
    context_length: int | None
    body: bytes

    def gives(self, modalities: frozenset[str]) -> bool:
        """Whether its answers hold one of these."""
        return not modalities.isdisjoint(self.model.architecture.output_modalities)


@dataclass(frozen=True, slots=True)
class Listing:
    """The list of one catalog while its prices stay what they are, newest model first.

    Attributes:
        usual: the answer to a plain question.
        seen_under: the rows as accounts with a policy see them; remembers those of the last few.
    """

    catalog: Catalog
    period: int
    rows: tuple[Row, ...]
    usual: bytes
    seen_under: Callable[[RoutingPolicy], tuple[Row, ...]]

    @property
    def digest(self) -> str:
        """Differs when anything in it may."""
        return f"{self.catalog.digest}-{self.period}"


class Listings:
    """The current listing, rendered again only when the catalog or a price in force changes."""

    def __init__(self, catalog: LiveCatalog, clock: Clock, visible: Visible) -> None:
        self._live = catalog
        self._clock = clock
        self._visible = visible
        self._boundaries = _Boundaries(catalog.current)
        self._listing: Listing | None = None

    def current(self) -> Listing:
        """The listing for now. Two greenlets may render the same one; either is right."""
        catalog = self._live.current
        now_ms = self._clock.now_ms()
        boundaries = self._boundaries
        if boundaries.catalog is not catalog:
            boundaries = self._boundaries = _Boundaries(catalog)
        period = boundaries.period(now_ms)
        listing = self._listing
        if listing is None or listing.catalog is not catalog or listing.period != period:
            rows = tuple(_rows(catalog, now_ms))
            usual = joined([row for row in rows if row.gives(USUAL_OUTPUTS)])
            seen_under = _views(rows, self._visible, now_ms)
            listing = self._listing = Listing(catalog, period, rows, usual, seen_under)
        return listing

    def visible(self, policy: RoutingPolicy) -> tuple[Row, ...]:
        """The rows of the listing as an account sees them that may use only some endpoints."""
        return self.current().seen_under(policy)


def kept(row: Row, sees: Callable[[Endpoint], bool], now_ms: int) -> Row | None:
    """A row as somebody sees it who may use only some endpoints; None when it may use none."""
    endpoints = tuple(endpoint for endpoint in row.endpoints if sees(endpoint))
    choices = tuple(endpoint for endpoint in row.choices if sees(endpoint))
    if endpoints == row.endpoints and choices == row.choices:
        return row
    return _row(row.model, endpoints, choices, now_ms)


def row_of(model: Model, catalog: Catalog, now_ms: int) -> Row | None:
    """One model as a row of the list; None when nobody serves it."""
    endpoints = catalog.endpoints_of(model.id)
    return _row(model, endpoints, _choices(model, catalog), now_ms)


def joined(rows: Sequence[Row], *, total: int | None = None, following: str | None = None) -> bytes:
    """A `ModelsListResponse`.

    Args:
        rows: this page's.
        total: of all pages; None when this is the only one.
        following: the next page's address.
    """
    tail = orjson.dumps(
        {"total_count": len(rows) if total is None else total, "links": {"next": following}}
    )
    return b'{"data":[' + b",".join(row.body for row in rows) + b"]," + tail[1:]


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


def _rows(catalog: Catalog, now_ms: int) -> Iterable[Row]:
    models = {model.id: model for model in catalog.models.values()}  # also named by their slugs
    for model in sorted(models.values(), key=lambda each: (-each.created, each.id)):
        row = row_of(model, catalog, now_ms)
        if row is not None:
            yield row


def _choices(model: Model, catalog: Catalog) -> tuple[Endpoint, ...]:
    if model.router is None:
        return ()
    if model.router == "auto":
        names = [entry.model_id for entry in model.pool]
    else:
        names = [name for name in catalog.by_model if catalog.models[name].free]
    return tuple(endpoint for name in names for endpoint in catalog.endpoints_of(name))


def _row(
    model: Model, endpoints: tuple[Endpoint, ...], choices: tuple[Endpoint, ...], now_ms: int
) -> Row | None:
    behind = choices if model.router is not None else endpoints
    if not behind:
        return None
    price = None if model.router is not None else cheapest(behind, now_ms).price_at(now_ms)
    return Row(
        model=model,
        endpoints=endpoints,
        choices=choices,
        parameters=parameters_of(behind),
        price=price,
        context_length=context_of(model, behind, now_ms),
        body=orjson.dumps(model_body(model, behind, now_ms)),
    )


def _views(
    rows: tuple[Row, ...], visible: Visible, now_ms: int
) -> Callable[[RoutingPolicy], tuple[Row, ...]]:
    """What each policy leaves of a listing. Kept by the listing, so that they go together."""

    @lru_cache(maxsize=VIEWS_MAX)
    def view(policy: RoutingPolicy) -> tuple[Row, ...]:
        found = (kept(row, lambda endpoint: visible(policy, endpoint), now_ms) for row in rows)
        return tuple(row for row in found if row is not None)

    return view
