"""`/apps`: applications that have keys of an account, and how a management key revokes them."""

from __future__ import annotations

import re
from collections.abc import Callable

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from api.amounts import iso
from api.office import Office
from billing import app_access
from billing.app_access import AppEntry
from routing.wire.account import KeyRecord

_ID = re.compile(r"[1-9][0-9]{0,9}", re.ASCII)
#: What databases keep ids of applications in.
_ID_MAX = 2**31 - 1
#: Characters of an id that nobody gave out which are repeated to the client.
_SHOWN = 32


def blueprint(office: Office, authenticate: Callable[[], KeyRecord]) -> Blueprint:
    """Routes of `/apps`; the caller adds the base path.

    Args:
        office: where keys are read and changed.
        authenticate: the management key of the current request, or raises.
    """
    routes = Blueprint("apps", __name__)

    @routes.get("/apps", strict_slashes=False)
    def listed() -> ResponseReturnValue:
        manager = authenticate()
        found = office.do(lambda ledger: app_access.list_apps(ledger, manager.account_id))
        return jsonify({"data": [_body(entry) for entry in found]})

    @routes.delete("/apps/<app_id>", strict_slashes=False)
    def revoked(app_id: str) -> ResponseReturnValue:
        manager = authenticate()
        keys = revoke(office, manager.account_id, app_id)
        return jsonify({"deleted": True, "keys": keys})

    return routes


def revoke(office: Office, account_id: str, app_id: str, maker: str | None = None) -> int:
    """Take back what an application has; front doors act on it within a second.

    Args:
        office: where keys are changed.
        account_id: whose keys.
        app_id: as the client wrote it.
        maker: only the keys that this member gave.

    Returns:
        How many keys it was.

    Raises:
        NotFound: it has nothing of this account.
        Unavailable: as `Office.change_keys`.
    """
    if not _ID.fullmatch(app_id) or int(app_id) > _ID_MAX:
        raise app_access.not_found(app_id[:_SHOWN])
    which, now_ms = int(app_id), office.clock.now_ms()
    known = office.do(lambda ledger: app_access.keys_of(ledger, account_id, which, maker=maker))
    gone = office.change_keys(
        known,
        lambda ledger: app_access.revoke(ledger, account_id, which, now_ms, maker=maker),
    )
    late = tuple(set(gone) - set(known))
    if late:  # made in between, and perhaps used and cached since
        office.change_keys(late, lambda _ledger: None)
    return len(gone)


def _body(entry: AppEntry) -> dict[str, object]:
    return {
        "id": entry.id,
        "origin": entry.origin,
        "title": entry.title,
        "keys": entry.keys,
        "last_used_at": None if entry.last_used_ms is None else iso(entry.last_used_ms),
        "created_at": iso(entry.created_ms),
    }
