"""`/signup`: where the operator lets anybody make an account, and what they are given for it."""

from __future__ import annotations

from flask import Blueprint, Response, request

from api.console.session import Sessions, local_path, page, see
from api.office import Office
from billing import accounts, members, people
from billing.accounts import Grant
from billing.passwords import LENGTH_MAX, LENGTH_MIN, hash_password
from billing.people import EMAIL_MAX, NewUser, User
from routing.errors import BadRequest, CallerError, Conflict, NotFound, RateLimited
from routing.store.tries import Tries

#: Accounts from one address within a window (`routing.store.tries`).
PER_ADDRESS = 20


def blueprint(
    office: Office, sessions: Sessions, tries: Tries, *, is_open: bool, allowance_nano: int
) -> Blueprint:
    """The page; it belongs to the root of the site, not to a base path.

    Args:
        office: where people are added.
        sessions: log-ins of browsers.
        tries: what keeps accounts from being made by the thousand.
        is_open: else the page is not there.
        allowance_nano: credit everybody starts with.
    """
    routes = sessions.pages("sign_up")

    def form(error: CallerError | None = None) -> Response:
        return page(
            "signup.html",
            200 if error is None else error.status,
            message="" if error is None else error.message,
            next=local_path(request.values.get("next")),
            email=request.form.get("email", "")[:EMAIL_MAX],
            length_min=LENGTH_MIN,
            length_max=LENGTH_MAX,
        )

    def made() -> User:
        fields, now_ms = request.form, office.clock.now_ms()
        tries.count({f"sign-up {request.remote_addr}": PER_ADDRESS}, now_ms)
        text = fields.get("password", "")
        if text != fields.get("again", ""):
            raise BadRequest("The password was not typed the same way twice.")
        kept = office.aside(lambda: hash_password(text))
        wanted = NewUser(
            email=fields.get("email", ""),
            first_name=fields.get("first_name", ""),
            last_name=fields.get("last_name", ""),
            password_hash=kept,
        )
        user = office.do(lambda ledger: people.create_user(ledger, wanted, now_ms))
        give_allowance(office, user, allowance_nano)
        return user

    @routes.get("/signup")
    def ask() -> Response:
        _check(is_open=is_open)
        return form()

    @routes.post("/signup")
    def typed() -> Response:
        _check(is_open=is_open)
        try:
            user = made()
        except (BadRequest, Conflict, RateLimited) as error:
            return form(error)
        sessions.begin(user.id)
        return see(local_path(request.form.get("next")))

    return routes


def give_allowance(office: Office, user: User, allowance_nano: int) -> None:
    """Credit for who is new, in their own account; once, however often it is given.

    Raises:
        Unavailable: the database or Redis is away.
    """
    if not allowance_nano:
        return
    wanted = Grant(
        amount_nano=allowance_nano,
        reference=f"allowance:{user.id}",
        note="Credit for signing up",
        purchased=False,
    )
    own = office.do(lambda ledger: members.memberships_of(ledger, user.id))[0].account_id
    now_ms = office.clock.now_ms()
    office.post(office.do(lambda ledger: accounts.grant(ledger, own, wanted, now_ms)))


def _check(*, is_open: bool) -> None:
    if not is_open:
        raise NotFound("Accounts are made by whoever runs this installation. Ask them for one.")
