"""`/login` and `/logout`: with a password, or with the organisation's identity provider."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from flask import Blueprint, Response, request, session

from api.console.session import Sessions, local_path, page, see
from api.console.sign_up import give_allowance
from api.office import Office
from billing import people
from billing.passwords import hash_password, is_outdated, is_password
from billing.people import EMAIL_MAX, User
from routing.errors import NotFound, RateLimited, Unauthorized
from routing.store.tries import Tries

if TYPE_CHECKING:  # brings a second HTTP client, which few installations need
    from api.console.oidc import Oidc

log = structlog.get_logger("pointsman.log_in")

#: Tries to log in within a window (`routing.store.tries`): of one name from one address…
TRIES_HERE = 10
#: …of one name from anywhere, so that many addresses do not help…
TRIES_OF_NAME = 100
#: …and from one address, which may be a whole office behind its proxy.
TRIES_FROM_ADDRESS = 300
#: Where the identity provider sends browsers back to.
CALLBACK = "/login/oidc/callback"
_WRONG = "The e-mail address or the password is wrong."
#: Where the form cookie keeps the page to go to after a log-in elsewhere.
_NEXT = "next"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogIn:
    """The routes of log-in.

    Attributes:
        office: where people are read.
        sessions: log-ins of browsers.
        tries: what keeps passwords from being guessed.
        oidc: the identity provider, where there is one.
        public_url: where browsers reach us; "" for wherever they did.
        open_to_all: anybody may sign up, so an address alone proves nothing.
        allowance_nano: credit for whoever comes in by the identity provider and is new.
    """

    office: Office
    sessions: Sessions
    tries: Tries
    oidc: Oidc | None = None
    public_url: str = ""
    open_to_all: bool = False
    allowance_nano: int = 0

    def blueprint(self) -> Blueprint:
        """The pages; they belong to the root of the site, not to a base path."""
        routes = self.sessions.pages("log_in")
        routes.add_url_rule("/login", "ask", self._ask)
        routes.add_url_rule("/login", "typed", self._typed, methods=["POST"])
        routes.add_url_rule("/logout", "out", self._out, methods=["POST"])
        routes.add_url_rule("/login/oidc", "away", self._away)
        routes.add_url_rule(CALLBACK, "back", self._back)
        return routes

    def _ask(self) -> Response:
        if self.sessions.visitor() is not None:
            return see(local_path(request.args.get("next")))
        return self._page()

    def _typed(self) -> Response:
        try:
            user = self._proved()
        except (Unauthorized, RateLimited) as error:
            return self._page(error.message, error.status)
        self.sessions.begin(user.id)
        return see(local_path(request.form.get("next")))

    def _out(self) -> Response:
        self.sessions.end()
        return see("/login")

    def _away(self) -> Response:
        oidc = self._provider()
        session[_NEXT] = local_path(request.args.get("next"))
        return oidc.ask((self.public_url or request.host_url).rstrip("/") + CALLBACK)

    def _back(self) -> Response:
        oidc = self._provider()
        said = oidc.answer()
        now_ms, may_create = self.office.clock.now_ms(), oidc.provider.may_create
        user = self.office.do(
            lambda ledger: people.signed_in(
                ledger, said, now_ms, may_create=may_create, may_meet=not self.open_to_all
            )
        )
        if user.created_ms == now_ms:
            give_allowance(self.office, user, self.allowance_nano)
        wanted = local_path(session.get(_NEXT))
        self.sessions.begin(user.id)
        return see(wanted)

    def _page(self, message: str = "", status: int = 200) -> Response:
        return page(
            "login.html",
            status,
            next=local_path(request.values.get("next")),
            email=request.form.get("email", "")[:EMAIL_MAX],
            provider=None if self.oidc is None else self.oidc.provider.name,
            sign_up=self.open_to_all,
            message=message,
        )

    def _provider(self) -> Oidc:
        if self.oidc is None:
            raise NotFound("There is no identity provider here.")
        return self.oidc

    def _proved(self) -> User:
        """Who typed the right password."""
        email = request.form.get("email", "")[: EMAIL_MAX + 1]
        password = request.form.get("password", "")
        count_try(self.tries, email, self.office.clock.now_ms())
        user, kept = self.office.do(lambda ledger: people.password_of(ledger, email))
        right = self.office.aside(lambda: is_password(password, kept))
        if not right or user is None or kept is None:
            log.info("log-in refused", action="log_in.refused", reason="password")
            raise Unauthorized(_WRONG)
        if is_outdated(kept):
            fresh = self.office.aside(lambda: hash_password(password))
            self.office.do(lambda ledger: people.refresh_hash(ledger, user.id, kept, fresh))
        return user


def count_try(tries: Tries, email: str, now_ms: int) -> None:
    """Count a password that is tried for somebody, from where the current request comes.

    Raises:
        RateLimited: too many lately.
        Unavailable: they cannot be counted.
    """
    name, address = email.strip().lower(), request.remote_addr or ""
    limits = {
        f"{name} {address}": TRIES_HERE,
        f"name {name}": TRIES_OF_NAME,
        f"address {address}": TRIES_FROM_ADDRESS,
    }
    tries.count(limits, now_ms)
