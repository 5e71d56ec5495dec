"""`DELETE /account`: the end of an account, for whoever manages it and says its id once more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from api.office import Office
from api.small_body import sent
from billing import closing
from billing.closing import Closed
from routing.budgets import account_scope
from routing.catalog.pricing import usd
from routing.errors import BadRequest
from routing.wire.account import KeyRecord
from routing.wire.validate import load_object


def blueprint(office: Office, authenticate: Callable[[], KeyRecord]) -> Blueprint:
    """Route `/account`; the caller adds the base path.

    Args:
        office: where changes are made.
        authenticate: the management key of the current request, or raises.
    """
    routes = Blueprint("closing", __name__)

    @routes.delete("/account")
    def end() -> ResponseReturnValue:
        account_id = authenticate().account_id
        confirmed(load_object(sent()), account_id)
        closed = close(office, account_id)
        return jsonify({"deleted": True, "forfeited": usd(closed.forfeited_nano)})

    return routes


def close(office: Office, account_id: str) -> Closed:
    """Close an account and tell every front door; also for pages and the command line.

    Raises:
        NotFound: no such account.
        Unavailable: the database or Redis is away. If Redis went in between, the account is closed
            and front doors follow within a minute of its return; closing again is harmless.
    """
    held_nano = office.budgets.held_nano(account_scope(account_id))
    now_ms = office.clock.now_ms()
    closed = office.change_account(
        account_id, lambda ledger: closing.close(ledger, account_id, now_ms, held_nano)
    )
    office.post(closed.budget)
    return closed


def confirmed(body: dict[str, Any], account_id: str) -> None:
    """Credit is lost for good: one stray DELETE must not be enough.

    Raises:
        BadRequest: `confirm` is not the id of the account that is about to be closed.
    """
    if body.get("confirm") != account_id:
        raise BadRequest(
            "Closing forfeits the account's credit for good. Send its id as `confirm`.",
            param="confirm",
        )
