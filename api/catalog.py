"""`GET /models` and what belongs to it: the catalog as the contract prints it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from flask import Blueprint, Response, request

from api import rss
from api.model_list import Listings, Row, Visible, joined, kept, row_of
from api.model_query import Figures, ModelQuery, Scene, is_true, read
from api.models import described, endpoint_body, parameters_of, provider_bodies
from routing.catalog.live import LiveCatalog
from routing.catalog.shapes import Catalog, Endpoint, Model
from routing.clock import Clock
from routing.errors import BadRequest, NotFound, Unauthorized, Unavailable
from routing.plan import resolve
from routing.wire.account import KeyRecord

#: How long clients and proxies may show a list; a reload is seen after at most this.
MAX_AGE_S = 60

_JSON = "application/json"
_ETAG_HEX = 16


def blueprint(
    catalog: LiveCatalog,
    clock: Clock,
    figures: Figures,
    authenticate: Callable[[], KeyRecord],
    visible: Visible = lambda _policy, _endpoint: True,
) -> Blueprint:
    """The catalog's routes. Register under each base path with its own name.

    Args:
        catalog: what is listed.
        clock: says which prices are in force.
        figures: of the endpoints' recent past.
        authenticate: the key of the current request; raises Unauthorized for none.
        visible: whether an account may use an endpoint, for `/models/user` and `/parameters`.
    """
    routes = Blueprint("catalog", __name__)
    _Models(catalog, clock, figures, authenticate, visible).add_to(routes)
    _Endpoints(catalog, clock, figures, authenticate).add_to(routes)
    return routes


class _Models:
    """The lists of models."""

    def __init__(
        self,
        catalog: LiveCatalog,
        clock: Clock,
        figures: Figures,
        authenticate: Callable[[], KeyRecord],
        visible: Visible,
    ) -> None:
        self._catalog = catalog
        self._clock = clock
        self._figures = figures
        self._authenticate = authenticate
        self._visible = visible
        self._listings = Listings(catalog, clock, visible)

    def add_to(self, routes: Blueprint) -> None:
        """Add these routes."""
        routes.get("/models")(self.models)
        routes.get("/models/count")(self.count)
        routes.get("/models/user")(self.of_user)
        routes.get("/embeddings/models")(self.embeddings)
        routes.get("/model/<author>/<slug>")(self.model)
        routes.get("/parameters/<author>/<slug>")(self.parameters)

    def models(self) -> Response:
        """All models, or those the query asks for; as a feed with `use_rss`."""
        listing = self._listings.current()
        query = self._read(request.args)
        if is_true(request.args, "use_rss"):
            chat_links = is_true(request.args, "use_rss_chat_links")
            rows = query.cut(query.select(listing.rows))
            body = rss.feed(rows, request.host_url.rstrip("/"), chat_links=chat_links)
            return _answer(body, mimetype=rss.MIMETYPE)
        if query.usual:
            return _answer(listing.usual, listing.digest)
        return _answer(_page(query, query.select(listing.rows)), listing.digest)

    def count(self) -> Response:
        """How many models the same query would list."""
        listing = self._listings.current()
        count = len(self._read(request.args).select(listing.rows))
        return _answer(orjson.dumps({"data": {"count": count}}), listing.digest)

    def of_user(self) -> Response:
        """The models some endpoint of which the key's account may use."""
        rows = self._listings.visible(self._authenticate().policy)
        query = self._read(request.args)
        return _own(_answer(_page(query, query.select(rows))))

    def embeddings(self) -> Response:
        """The models that make vectors."""
        listing = self._listings.current()
        query = self._read(request.args.to_dict() | {"output_modalities": "embeddings"})
        return _answer(_page(query, query.select(listing.rows)), listing.digest)

    def model(self, author: str, slug: str) -> Response:
        """One model by any of its names."""
        row = self._row(author, slug)
        return _answer(b'{"data":' + row.body + b"}")

    def parameters(self, author: str, slug: str) -> Response:
        """What a model supports at the providers the key's account may use, or at one of them."""
        policy = self._authenticate().policy
        row = self._row(author, slug)
        own = kept(row, lambda each: self._visible(policy, each), self._clock.now_ms())
        if own is None:
            raise NotFound(f"This account's settings allow no provider of {row.model.id}.")
        wanted = request.args.get("provider", "").strip()
        names = own.parameters if not wanted else _parameters_at(wanted, own, row)
        told = {"model": row.model.id, "supported_parameters": sorted(names)}
        return _own(_answer(orjson.dumps({"data": told})))

    def _read(self, query: Mapping[str, str]) -> ModelQuery:
        return read(query, Scene(self._figures, self._clock.now_ms()))

    def _row(self, author: str, slug: str) -> Row:
        catalog = self._catalog.current
        row = row_of(_found(catalog, author, slug), catalog, self._clock.now_ms())
        if row is None:
            raise NotFound(f"No provider serves {author}/{slug}")
        return row


class _Endpoints:
    """The lists of endpoints and of providers."""

    def __init__(
        self,
        catalog: LiveCatalog,
        clock: Clock,
        figures: Figures,
        authenticate: Callable[[], KeyRecord],
    ) -> None:
        self._catalog = catalog
        self._clock = clock
        self._figures = figures
        self._authenticate = authenticate

    def add_to(self, routes: Blueprint) -> None:
        """Add these routes."""
        routes.get("/models/<author>/<slug>/endpoints")(self.endpoints)
        routes.get("/endpoints/zdr")(self.zero_retention)
        routes.get("/providers")(self.providers)

    def endpoints(self, author: str, slug: str) -> Response:
        """The endpoints of a model."""
        catalog = self._catalog.current
        model = _found(catalog, author, slug)
        known = self._known()
        rows = [self._body(model, each, known=known) for each in catalog.endpoints_of(model.id)]
        return _by_caller(_answer(orjson.dumps({"data": described(model, rows)})), known=known)

    def zero_retention(self) -> Response:
        """Every endpoint that keeps nothing, once: under its own model, not under variants."""
        catalog = self._catalog.current
        known = self._known()
        rows = [
            self._body(catalog.models[name], each, known=known)
            for name in sorted(catalog.by_model)
            for each in catalog.by_model[name]
            if each.model_id == name and each.provider.data_policy.zero_retention
        ]
        return _by_caller(_answer(orjson.dumps({"data": rows})), known=known)

    def providers(self) -> Response:
        """All providers of the catalog."""
        catalog = self._catalog.current
        return _answer(orjson.dumps({"data": provider_bodies(catalog)}), catalog.digest)

    def _known(self) -> bool:
        """Whether the caller proves a key; without one, or with a wrong one, less is shown."""
        if "Authorization" not in request.headers:
            return False
        try:
            self._authenticate()
        except (Unauthorized, Unavailable):
            return False
        return True

    def _body(self, model: Model, endpoint: Endpoint, *, known: bool) -> dict[str, Any]:
        figures = self._figures.figures(endpoint.id)
        return endpoint_body(model, endpoint, figures, self._clock.now_ms(), known=known)


def _found(catalog: Catalog, author: str, slug: str) -> Model:
    """The model a name means, variants and suffixes such as `:nitro` included."""
    name = f"{author}/{slug}"
    try:
        return resolve(name, catalog).model
    except BadRequest:
        raise NotFound(f"Model {name} not found") from None


def _parameters_at(provider: str, own: Row, everyones: Row) -> frozenset[str]:
    """What a model supports at one provider.

    Raises:
        NotFound: the account may not use it, it does not serve the model, or nobody could.
    """
    model = own.model
    if model.router is not None:
        raise NotFound(
            f"{model.id} chooses among other models and has no providers of its own. "
            "Leave 'provider' out, or ask about one of those models."
        )
    if there := _at(provider, own):
        return parameters_of(there)
    usable = ", ".join(sorted({each.provider.name for each in own.endpoints}))
    if _at(provider, everyones):
        raise NotFound(
            f"This account's settings do not allow {provider} for {model.id}. It may use: {usable}."
        )
    raise NotFound(f"{provider} does not serve {model.id}. This account may use: {usable}.")


def _at(provider: str, row: Row) -> list[Endpoint]:
    name = provider.lower()
    return [
        each
        for each in row.endpoints
        if name in {each.provider.name.lower(), each.provider.slug, each.tag}
    ]


def _page(query: ModelQuery, found: Sequence[Row]) -> bytes:
    following = query.following(len(found), request.path, request.args)
    return joined(query.cut(found), total=len(found), following=following)


def _answer(body: bytes, salt: str = "", *, mimetype: str = _JSON) -> Response:
    """A body that may be kept for a while by anybody; 304 where the caller has it already.

    Args:
        body: what is answered.
        salt: another one makes another ETag, though the body be the same.
        mimetype: of the body.
    """
    etag = hashlib.sha256(salt.encode() + body).hexdigest()[:_ETAG_HEX]
    response = Response(body, mimetype=mimetype)
    response.set_etag(etag)
    response.cache_control.public = True
    response.cache_control.max_age = MAX_AGE_S
    response.make_conditional(request)
    return response


def _own(response: Response) -> Response:
    """It is the caller's alone: shared caches leave it."""
    response.cache_control.public = False
    response.cache_control.private = True
    response.vary.add("Authorization")
    return response


def _by_caller(response: Response, *, known: bool) -> Response:
    """It shows more to who proves a key."""
    response.vary.add("Authorization")
    return _own(response) if known else response
