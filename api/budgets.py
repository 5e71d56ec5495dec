"""Budgets of keys, members and whole accounts, as the contract has those of a workspace."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar, get_args

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic import ConfigDict, Field

from api.amounts import iso, nano_of
from api.keys import check_hash, workspace_of
from api.office import Office
from api.small_body import sent_as
from billing import budget_rules
from billing.budget_rules import INTERVALS, Kept, Wanted, Whose
from billing.db import Ledger
from routing.budgets import Interval, reset_of
from routing.catalog.pricing import usd
from routing.errors import BadRequest, NotFound
from routing.wire.account import KeyRecord
from routing.wire.validate import Wire

#: Where the budgets of a key, of a member and of all that an account spends are found.
PLACES = (
    "/keys/<key_hash>/budgets",
    "/organization/members/<user_id>/budgets",
    "/organization/budgets",
)
_USER = re.compile(r"[!-~]{1,64}", re.ASCII)

Result = TypeVar("Result")


class _Fields(Wire):
    """Body of PUT. A field nobody knows is an error: it may be a misspelt bound."""

    model_config = ConfigDict(extra="forbid")

    limit_usd: Annotated[float, Field(gt=0)]
    include_byok_in_budgets: bool | None = None


def blueprint(office: Office, authenticate: Callable[[], KeyRecord]) -> Blueprint:
    """Routes of budgets; the caller adds the base path.

    Args:
        office: where budgets are read and changed.
        authenticate: the management key of the current request, or raises.
    """
    routes = Blueprint("budgets", __name__)

    def listed(**owner: str) -> ResponseReturnValue:
        whose = _whose(authenticate(), owner)
        found = office.do(lambda ledger: budget_rules.listed(ledger, whose))
        return jsonify({"data": [budget_body(one) for one in found], **_byok(found)})

    def one(interval: str, **owner: str) -> ResponseReturnValue:
        whose, wanted = _whose(authenticate(), owner), _interval(interval)
        found = office.do(lambda ledger: budget_rules.listed(ledger, whose))
        for budget in found:
            if budget.interval == wanted:
                return jsonify({"data": budget_body(budget), **_byok(found)})
        raise NotFound(f"There is no {wanted} budget")

    def put(interval: str, **owner: str) -> ResponseReturnValue:
        whose = _whose(authenticate(), owner)
        wanted = _wanted(_interval(interval))
        now_ms = office.clock.now_ms()
        done = _change(
            office, whose, lambda ledger: budget_rules.put(ledger, whose, wanted, now_ms)
        )
        office.post(*done.left)
        return jsonify({"data": budget_body(done.budget), **_byok([done.budget])})

    def dropped(interval: str, **owner: str) -> ResponseReturnValue:
        whose, wanted = _whose(authenticate(), owner), _interval(interval)
        _change(office, whose, lambda ledger: budget_rules.drop(ledger, whose, wanted))
        return jsonify({"deleted": True})

    for place in PLACES:
        routes.get(place, strict_slashes=False)(listed)
        routes.get(f"{place}/<interval>", strict_slashes=False)(one)
        routes.put(f"{place}/<interval>", strict_slashes=False)(put)
        routes.delete(f"{place}/<interval>", strict_slashes=False)(dropped)
    return routes


def budget_body(budget: Kept) -> dict[str, Any]:
    """A budget as the contract prints it."""
    return {
        "id": budget.id,
        "workspace_id": workspace_of(budget.account_id),
        "limit_usd": usd(budget.limit_nano),
        "reset_interval": reset_of(budget.interval),
        "created_at": iso(budget.created_ms),
        "updated_at": iso(budget.updated_ms),
    }


def _change(office: Office, whose: Whose, work: Callable[[Ledger], Result]) -> Result:
    if whose.key_hash:
        # The account's other keys are not cached with it, and may be very many.
        return office.change_keys((whose.key_hash,), work)
    return office.change_account(whose.account_id, work)


def _whose(manager: KeyRecord, owner: dict[str, str]) -> Whose:
    if "key_hash" in owner:
        check_hash(owner["key_hash"])
    if not _USER.fullmatch(owner.get("user_id", "-")):
        raise budget_rules.no_member()
    return Whose(account_id=manager.account_id, **owner)


def _interval(text: str) -> Interval:
    for interval in INTERVALS:
        if interval == text:
            return interval
    raise BadRequest(f"interval: must be one of {', '.join(get_args(Interval))}", param="interval")


def _wanted(interval: Interval) -> Wanted:
    given = sent_as(_Fields)
    return Wanted(
        interval=interval,
        limit_nano=nano_of(given.limit_usd),
        include_byok=given.include_byok_in_budgets,
    )


def _byok(found: Sequence[Kept]) -> dict[str, bool]:
    """The same for all budgets of an owner."""
    return {"include_byok_in_budgets": any(budget.include_byok for budget in found)}
