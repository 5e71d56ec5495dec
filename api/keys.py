"""`/keys`: what an account's management key does with its other keys."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Annotated, Any, Literal

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import ConfigDict, Field

from api.amounts import iso, moment_ms, nano_of
from api.model_query import is_true
from api.office import Office
from api.small_body import sent_as
from billing import key_changes, key_list
from billing.api_keys import KEYS_MAX, RATE_MAX, KeyTerms, KeyUsage
from billing.key_changes import Changed
from billing.key_list import KeyEntry
from routing.catalog.pricing import usd
from routing.errors import BadRequest
from routing.wire.account import KeyRecord, RateLimits
from routing.wire.validate import NO_NUL, Wire

_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)
_OFFSET = re.compile(r"[0-9]{1,9}", re.ASCII)
#: Clients write an absent number as null.
_ABSENT = frozenset({"", "null"})
#: An account is one workspace, whose id follows from its own.
_WORKSPACES = uuid.UUID("6f3f3c1e-6c0b-4a5e-9a4d-2f1d3f0a7b58")
_RATES = ("rpm", "tpm", "parallel")

#: Longest id of a person; ours are shorter.
_ID_MAX = 64
_Rate = Annotated[int, Field(ge=1, le=RATE_MAX)]


class _KeyFields(Wire):
    """A body; which fields it had is in `model_fields_set`.

    A field nobody knows is an error: it may be a misspelt limit.
    """

    model_config = ConfigDict(extra="forbid")

    name: str | None = None
    disabled: bool | None = None
    limit: Annotated[float, Field(ge=0)] | None = None
    limit_reset: Literal["daily", "weekly", "monthly"] | None = None
    include_byok_in_limit: bool | None = None
    expires_at: str | None = None
    creator_user_id: Annotated[str, Field(max_length=_ID_MAX, pattern=NO_NUL)] | None = None
    workspace_id: str | None = None
    rpm: _Rate | None = None
    tpm: _Rate | None = None
    parallel: _Rate | None = None

    def given(self) -> dict[str, Any]:
        """The fields it had, and what they were."""
        return {
            name: getattr(self, name)
            for name in type(self).model_fields
            if name in self.model_fields_set
        }


def blueprint(office: Office, authenticate: Callable[[], KeyRecord]) -> Blueprint:
    """Routes of `/keys`; the caller adds the base path.

    Args:
        office: where keys are read and changed.
        authenticate: the management key of the current request, or raises.
    """
    routes = Blueprint("keys", __name__)

    @routes.get("/keys", strict_slashes=False)
    def listed() -> ResponseReturnValue:
        manager = authenticate()
        check_workspace(request.args.get("workspace_id"), manager.account_id)
        offset = _offset(request.args.get("offset", ""))
        disabled = is_true(request.args, "include_disabled")
        now_ms = office.clock.now_ms()
        found = office.do(
            lambda ledger: key_list.page_of(
                ledger, manager.account_id, now_ms, offset=offset, include_disabled=disabled
            )
        )
        return jsonify({"data": [key_body(entry) for entry in found]})

    @routes.post("/keys", strict_slashes=False)
    def made() -> ResponseReturnValue:
        manager = authenticate()
        now_ms = office.clock.now_ms()
        terms = _new_terms(_fields(manager), manager, now_ms)
        text, entry = office.do(
            lambda ledger: key_changes.make(ledger, manager.account_id, terms, now_ms)
        )
        return jsonify({"data": key_body(entry), "key": text}), 201

    @routes.get("/keys/<key_hash>", strict_slashes=False)
    def one(key_hash: str) -> ResponseReturnValue:
        manager = authenticate()
        check_hash(key_hash)
        now_ms = office.clock.now_ms()
        entry = office.do(
            lambda ledger: key_list.entry_of(ledger, manager.account_id, key_hash, now_ms)
        )
        if entry is None:
            raise key_changes.not_found(key_hash)
        return jsonify({"data": key_body(entry)})

    @routes.patch("/keys/<key_hash>", strict_slashes=False)
    def changed(key_hash: str) -> ResponseReturnValue:
        manager = authenticate()
        check_hash(key_hash)
        now_ms = office.clock.now_ms()
        changes = _changes(_fields(manager), now_ms)
        done = _change(office, manager, key_hash, changes, now_ms)
        return jsonify({"data": key_body(done.entry)})

    @routes.delete("/keys/<key_hash>", strict_slashes=False)
    def deleted(key_hash: str) -> ResponseReturnValue:
        manager = authenticate()
        check_hash(key_hash)
        now_ms = office.clock.now_ms()
        office.change_keys(
            (key_hash,),
            lambda ledger: key_changes.delete(ledger, manager.account_id, key_hash, now_ms),
        )
        return jsonify({"deleted": True})

    return routes


def key_body(entry: KeyEntry) -> dict[str, Any]:
    """A key as the contract prints it: amounts in USD, absent things null."""
    terms, used, left = entry.terms, entry.used, entry.left_nano
    changed = entry.updated_ms != entry.created_ms
    return {
        "hash": entry.key_hash,
        "name": terms.name,
        "label": entry.label,
        "disabled": terms.disabled,
        "limit": None if terms.limit_nano is None else usd(terms.limit_nano),
        "limit_remaining": None if left is None else usd(left),
        "limit_reset": terms.limit_reset,
        "include_byok_in_limit": terms.include_byok_in_limit,
        **spend_body(used),
        "created_at": iso(entry.created_ms),
        "updated_at": iso(entry.updated_ms) if changed else None,
        "expires_at": None if terms.expires_ms is None else iso(terms.expires_ms),
        "last_used_at": None if entry.last_used_ms is None else iso(entry.last_used_ms),
        "creator_user_id": terms.creator_user_id or None,
        "workspace_id": workspace_of(entry.account_id),
        "external_user": None,
        **asdict(terms.rates),
    }


def workspace_of(account_id: str) -> str:
    """The id of the one workspace of an account."""
    return str(uuid.uuid5(_WORKSPACES, account_id))


def _change(
    office: Office, manager: KeyRecord, key_hash: str, changes: Mapping[str, Any], now_ms: int
) -> Changed:
    done = office.change_keys(
        (key_hash,),
        lambda ledger: key_changes.change(
            ledger,
            manager.account_id,
            key_hash,
            lambda terms: _edited(terms, changes),
            now_ms,
        ),
    )
    if done.budget is not None:
        office.post(done.budget)
    return done


def _fields(manager: KeyRecord) -> dict[str, Any]:
    """The body of this request, checked as far as it can be by itself."""
    given = sent_as(_KeyFields).given()
    for name in ("name", "disabled", "include_byok_in_limit"):
        if name in given and given[name] is None:
            raise BadRequest(f"{name}: must not be null", param=name)
    check_workspace(given.pop("workspace_id", None), manager.account_id)
    return given


def _new_terms(given: dict[str, Any], manager: KeyRecord, now_ms: int) -> KeyTerms:
    if "name" not in given:
        raise BadRequest("name: is required", param="name")
    # Whose budgets it draws on: without this, a key that manages could make keys beyond them.
    maker = given.pop("creator_user_id", None) or manager.creator_user_id
    changes = _changes(given, now_ms)
    return _edited(KeyTerms(name=changes.pop("name"), creator_user_id=maker), changes)


def _edited(terms: KeyTerms, changes: Mapping[str, Any]) -> KeyTerms:
    """Rates that are not named stay."""
    named = {name: value for name, value in changes.items() if name in _RATES}
    others = {name: value for name, value in changes.items() if name not in _RATES}
    return replace(terms, **others, rates=RateLimits(**(asdict(terms.rates) | named)))


def _changes(given: dict[str, Any], now_ms: int) -> dict[str, Any]:
    """Fields of the body as fields of the terms."""
    changes: dict[str, Any] = {
        name: given[name]
        for name in ("name", "disabled", "limit_reset", "include_byok_in_limit", *_RATES)
        if name in given
    }
    if "limit" in given:
        changes["limit_nano"] = None if given["limit"] is None else nano_of(given["limit"])
    if "expires_at" in given:
        changes["expires_ms"] = _moment(given["expires_at"], now_ms)
    return changes


def _moment(text: str | None, now_ms: int) -> int | None:
    if text is None:
        return None
    found_ms = moment_ms(text, "expires_at")
    if found_ms <= now_ms:
        raise BadRequest("expires_at: must be in the future", param="expires_at")
    return found_ms


def check_hash(key_hash: str) -> None:
    """No key has a hash of another form.

    Raises:
        NotFound: so this one has none.
    """
    if not _HASH.fullmatch(key_hash):
        raise key_changes.not_found(key_hash[:64])


def spend_body(used: KeyUsage) -> dict[str, float]:
    """What a key has spent, in USD, as every answer about a key has it."""
    return {
        "usage": usd(used.total_nano),
        "usage_daily": usd(used.daily_nano),
        "usage_weekly": usd(used.weekly_nano),
        "usage_monthly": usd(used.monthly_nano),
        "byok_usage": usd(used.byok_total_nano),
        "byok_usage_daily": usd(used.byok_daily_nano),
        "byok_usage_weekly": usd(used.byok_weekly_nano),
        "byok_usage_monthly": usd(used.byok_monthly_nano),
    }


def check_workspace(wanted: str | None, account_id: str) -> None:
    """An account has one workspace; a call may name it, and no other.

    Raises:
        BadRequest: it names another.
    """
    if wanted and wanted.lower() != workspace_of(account_id):
        raise BadRequest("workspace_id: this account has no such workspace", param="workspace_id")


def _offset(text: str) -> int:
    if text.strip() in _ABSENT:
        return 0
    if not _OFFSET.fullmatch(text.strip()):
        raise BadRequest("offset: must be a whole number of at least 0", param="offset")
    return min(int(text), KEYS_MAX)
