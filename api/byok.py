"""`/byok`: the provider keys an account brings itself. What is stored is never shown again.

With `always_use`, which newer clients call `is_required`, requests for the models a key serves
never fall back to the operator's key of its provider.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any

from flask import Blueprint, g, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import ConfigDict, Field

from api.amounts import iso
from api.byok_trial import Trial
from api.keys import check_workspace, workspace_of
from api.office import Office
from api.small_body import sent_as
from billing import byok
from billing.byok import ALLOWED_MAX, Change, ProviderKey, UseTerms
from routing.catalog.live import LiveCatalog
from routing.catalog.shapes import Catalog
from routing.credentials import TEXT_MAX
from routing.errors import BadRequest
from routing.own_keys import CheckedKey, check
from routing.sealing import Sealer
from routing.wire.account import KeyRecord
from routing.wire.validate import Identifier, Wire

LIST_DEFAULT = 50
LIST_MAX = 100
_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
_Names = Annotated[tuple[Identifier, ...], Field(max_length=ALLOWED_MAX, strict=False)]
#: Fields of the body as fields of the terms.
_TERMS = {
    "disabled": "disabled",
    "always_use": "always_use",
    "is_required": "always_use",
    "is_fallback": "is_fallback",
    "allowed_models": "allowed_models",
    "allowed_user_ids": "allowed_user_ids",
    "allowed_api_key_hashes": "allowed_key_hashes",
}
#: Of the contract and not acted on, with what asks for nothing. Who asks for more is told: better
#: no promise of privacy than one that is not kept.
_NOT_HERE: Mapping[str, tuple[object, ...]] = {
    "is_byok_only": (None, False),
    "declared_region": (None, "global"),
    "declared_zdr": (None,),
}
_NEVER_NULL = ("provider", "key", "disabled", "always_use", "is_required", "is_fallback")


class _Fields(Wire):
    """A body; which fields it had is in `model_fields_set`. Others are refused."""

    model_config = ConfigDict(extra="forbid")

    provider: Identifier | None = None
    key: Annotated[str, Field(min_length=1, max_length=TEXT_MAX)] | None = None
    name: str | None = None
    disabled: bool | None = None
    always_use: bool | None = None
    is_required: bool | None = None
    is_fallback: bool | None = None
    allowed_models: _Names | None = None
    allowed_user_ids: _Names | None = None
    allowed_api_key_hashes: _Names | None = None
    workspace_id: str | None = None
    is_byok_only: bool | None = None
    declared_region: str | None = None
    declared_zdr: bool | None = None


class _Order(Wire):
    """In which order the keys of a provider are tried; every one is named once."""

    model_config = ConfigDict(extra="forbid")

    provider: Identifier
    ids: _Names
    fallback_ids: _Names = ()


def blueprint(
    office: Office,
    catalog: LiveCatalog,
    sealer: Sealer,
    authenticate: Callable[[], KeyRecord],
    trial: Trial,
) -> Blueprint:
    """Routes of `/byok`; the caller adds the base path.

    Args:
        office: where keys are read and changed.
        catalog: which providers there are, and the form of their keys.
        sealer: seals what is stored; without a secret, storing is told 503.
        authenticate: the management key of the current request, or raises.
        trial: asks a provider whether a key works.
    """
    routes = Blueprint("byok", __name__)

    @routes.get("/byok", strict_slashes=False)
    def listed() -> ResponseReturnValue:
        manager = authenticate()
        check_workspace(request.args.get("workspace_id"), manager.account_id)
        start = _number("offset", 0, 0, byok.KEYS_MAX)
        count = _number("limit", LIST_DEFAULT, 1, LIST_MAX)
        provider = request.args.get("provider") or None
        found = office.do(lambda ledger: byok.list_keys(ledger, manager.account_id, provider))
        page = [key_body(key) for key in found[start : start + count]]
        return jsonify({"data": page, "total_count": len(found)})

    @routes.post("/byok", strict_slashes=False)
    def stored() -> ResponseReturnValue:
        manager = authenticate()
        account_id, now_ms = manager.account_id, office.clock.now_ms()
        given = _sent(manager)
        terms = _terms(UseTerms(), given, catalog.current)
        key = _new_key(given, catalog.current)
        made = office.change_account(
            account_id, lambda ledger: byok.create(ledger, sealer, account_id, key, terms, now_ms)
        )
        return jsonify({"data": key_body(made)}), 201

    @routes.put("/byok/order", strict_slashes=False)
    def arranged() -> ResponseReturnValue:
        account_id, now_ms = authenticate().account_id, office.clock.now_ms()
        asked = sent_as(_Order)
        keys = office.change_account(
            account_id,
            lambda ledger: byok.arrange(
                ledger, account_id, asked.provider, asked.ids, asked.fallback_ids, now_ms
            ),
        )
        return jsonify({"data": [key_body(key) for key in keys], "total_count": len(keys)})

    @routes.get("/byok/<key_id>", strict_slashes=False)
    def one(key_id: str) -> ResponseReturnValue:
        manager = authenticate()
        found = office.do(lambda ledger: byok.get(ledger, manager.account_id, key_id))
        return jsonify({"data": key_body(found)})

    @routes.patch("/byok/<key_id>", strict_slashes=False)
    def changed(key_id: str) -> ResponseReturnValue:
        manager = authenticate()
        account_id, now_ms = manager.account_id, office.clock.now_ms()
        given, known = _sent(manager), catalog.current
        before = office.do(lambda ledger: byok.get(ledger, account_id, key_id))
        if given.provider not in {None, before.provider}:
            raise BadRequest("provider: cannot be changed; store another key", param="provider")
        _terms(UseTerms(), given, known)  # told before anything is locked
        wanted = Change(
            terms=lambda terms: _terms(terms, given, known),
            key=None if given.key is None else check(known, before.provider, given.key),
        )
        after = office.change_account(
            account_id,
            lambda ledger: byok.change(ledger, sealer, account_id, key_id, wanted, now_ms),
        )
        return jsonify({"data": key_body(after)})

    @routes.post("/byok/<key_id>/test", strict_slashes=False)
    def tried(key_id: str) -> ResponseReturnValue:
        manager = authenticate()
        own = office.do(lambda ledger: byok.one_for_use(ledger, manager.account_id, key_id))
        return jsonify({"data": trial.of(own, manager, g.get("request_id", ""))})

    @routes.delete("/byok/<key_id>", strict_slashes=False)
    def removed(key_id: str) -> ResponseReturnValue:
        account_id = authenticate().account_id
        office.change_account(account_id, lambda ledger: byok.remove(ledger, account_id, key_id))
        return jsonify({"deleted": True})

    return routes


def key_body(key: ProviderKey) -> dict[str, Any]:
    """A provider key as the contract prints it: all but the key."""
    terms = key.terms
    return {
        "id": key.id,
        "provider": key.provider,
        "label": key.label,
        "name": terms.name or None,
        "disabled": terms.disabled,
        "always_use": terms.always_use,
        "is_required": terms.always_use,
        "is_byok_only": False,
        "is_fallback": terms.is_fallback,
        "sort_order": key.sort_order,
        "allowed_models": _list(terms.allowed_models),
        "allowed_user_ids": _list(terms.allowed_user_ids),
        "allowed_api_key_hashes": _list(terms.allowed_key_hashes),
        "declared_region": None,
        "declared_zdr": None,
        "workspace_id": workspace_of(key.account_id),
        "created_at": iso(key.created_ms),
    }


def _sent(manager: KeyRecord) -> _Fields:
    """The body of this request, checked as far as it can be by itself."""
    given = sent_as(_Fields)
    for name, nothing in _NOT_HERE.items():
        if getattr(given, name) not in nothing:
            raise BadRequest(f"{name}: is not available here; leave it out", param=name)
    for name in _NEVER_NULL:
        if name in given.model_fields_set and getattr(given, name) is None:
            raise BadRequest(f"{name}: must not be null", param=name)
    check_workspace(given.workspace_id, manager.account_id)
    return given


def _new_key(given: _Fields, catalog: Catalog) -> CheckedKey:
    if given.provider is None:
        raise BadRequest("provider: is required", param="provider")
    if given.key is None:
        raise BadRequest("key: is required", param="key")
    return check(catalog, given.provider, given.key)


def _terms(before: UseTerms, given: _Fields, catalog: Catalog) -> UseTerms:
    """The terms with what the body says of them."""
    changes: dict[str, Any] = {
        term: getattr(given, field)
        for field, term in _TERMS.items()
        if field in given.model_fields_set
    }
    if "name" in given.model_fields_set:
        changes["name"] = given.name or ""
    if given.allowed_models is not None:
        changes["allowed_models"] = tuple(_model_id(name, catalog) for name in given.allowed_models)
    return replace(before, **changes)


def _model_id(name: str, catalog: Catalog) -> str:
    """A name nobody has would keep the key from ever being used."""
    model = catalog.model(name)
    if model is None:
        raise BadRequest(f"allowed_models: no model is called {name!r}", param="allowed_models")
    return model.id


def _number(name: str, default: int, least: int, most: int) -> int:
    text = request.args.get(name, "").strip()
    if text in {"", "null"}:
        return default
    if not _NUMBER.fullmatch(text) or int(text) < least:
        raise BadRequest(f"{name}: must be a whole number of at least {least}", param=name)
    return min(int(text), most)


def _list(names: tuple[str, ...] | None) -> list[str] | None:
    return None if names is None else list(names)
