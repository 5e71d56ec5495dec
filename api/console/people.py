"""`/account`: who somebody is, and for which account they act."""

from __future__ import annotations

from flask import Blueprint, Response, request

from api.console.log_in import count_try
from api.console.session import HOME, LOG_IN, Sessions, local_path, page, see
from api.office import Office
from billing import members, people
from billing.passwords import LENGTH_MAX, LENGTH_MIN, hash_password, is_password
from routing.errors import BadRequest, Unauthorized
from routing.store.tries import Tries


def blueprint(office: Office, sessions: Sessions, tries: Tries) -> Blueprint:
    """The pages; they belong to the root of the site, not to a base path."""
    routes = sessions.pages("people")

    @routes.get(HOME)
    def account() -> Response:
        visit = sessions.required()
        return page(
            "account.html",
            accounts=office.do(lambda ledger: members.memberships_of(ledger, visit.user.id)),
            length_min=LENGTH_MIN,
            length_max=LENGTH_MAX,
        )

    @routes.post("/account/switch")
    def switch() -> Response:
        sessions.switch(request.form.get("account_id", ""))
        return see(local_path(request.form.get("next")))

    @routes.post("/account/logout-everywhere")
    def out_everywhere() -> Response:
        sessions.end_all()
        return see(LOG_IN)

    @routes.post("/account/name")
    def name() -> Response:
        visit = sessions.required()
        first, last = request.form.get("first_name", ""), request.form.get("last_name", "")
        now_ms = office.clock.now_ms()
        office.do(lambda ledger: people.set_name(ledger, visit.user.id, first, last, now_ms))
        return see(HOME)

    @routes.post("/account/password")
    def password() -> Response:
        visit = sessions.required()
        old, new = request.form.get("password", ""), request.form.get("new_password", "")
        now_ms = office.clock.now_ms()
        count_try(tries, visit.user.email, now_ms)
        _, kept = office.do(lambda ledger: people.password_of(ledger, visit.user.email))
        if not office.aside(lambda: is_password(old, kept)):
            raise Unauthorized("That is not your password.")
        if new != request.form.get("again", ""):
            raise BadRequest("The new password was not typed the same way twice.")
        fresh = office.aside(lambda: hash_password(new))
        office.do(
            lambda ledger: people.set_password(
                ledger, visit.user.id, fresh, now_ms, keep=visit.hash
            )
        )
        return see(HOME)

    return routes
