"""`/account/apps`: applications that have keys of an account; members see those they let in."""

from __future__ import annotations

from flask import Blueprint, Response, request

from api.amounts import iso
from api.apps import revoke
from api.console.session import Sessions, page, see
from api.office import Office
from billing import app_access
from billing.sessions import Visit

APPS = "/account/apps"


def blueprint(office: Office, sessions: Sessions) -> Blueprint:
    """The pages; they belong to the root of the site, not to a base path."""
    routes = sessions.pages("console_apps")

    @routes.get(APPS)
    def listed() -> Response:
        visit = sessions.required()
        found = office.do(
            lambda ledger: app_access.list_apps(ledger, visit.account_id, maker=_maker(visit))
        )
        return page("apps.html", apps=found, iso=iso)

    @routes.post(f"{APPS}/revoke")
    def revoked() -> Response:
        visit = sessions.required()
        revoke(office, visit.account_id, request.form.get("app", ""), _maker(visit))
        return see(APPS)

    return routes


def _maker(visit: Visit) -> str | None:
    """Whose keys may be seen and taken back; None for everybody's."""
    return None if visit.role == "admin" else visit.user.id
