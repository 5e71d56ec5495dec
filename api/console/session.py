"""Who is looking at a page: log-in cookies, forms that only our own pages can send, page errors.

A module of pages starts with `Sessions.pages(name)` and asks `required()` or `admin()` in its
routes. Its forms hold `<input type="hidden" name="csrf_token" value="{{ csrf_token() }}">`; what
is posted to it without one is refused before its route runs.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, urlsplit

from flask import (
    Blueprint,
    Flask,
    Response,
    after_this_request,
    g,
    redirect,
    render_template,
    request,
    session,
)
from flask_wtf.csrf import generate_csrf, validate_csrf
from werkzeug.exceptions import HTTPException
from wtforms import ValidationError

from api.office import Office
from billing import sessions
from billing.sessions import LIFE_MS, Visit
from routing.errors import BadRequest, Forbidden, RouterError, Unavailable
from routing.sealing import secret_of, subkey
from routing.settings import Settings

#: Largest form: a name, a password and what our pages add.
FORM_MAX_BYTES = 64 * 1024
#: Longest local address that is come back to after log-in: an /auth link with its challenge.
NEXT_MAX = 4_096
#: A form left open for longer has to be loaded again.
FORM_LIFE_S = 12 * 3_600
LOG_IN = "/login"
HOME = "/account"

#: Of an address a page may be left for: no host, no control characters, nothing read as `//`.
_LOCAL = re.compile(r"/(?![/\\])[^\x00-\x20\x7f\\]*")
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_HEADERS = {
    "Cache-Control": "no-store",
    "Vary": "Cookie",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: with it browsers send forms with `Origin: null`.
    "Referrer-Policy": "same-origin",
}
_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)


class LogInNeeded(Exception):
    """Nobody is logged in; the page answers with a way to the log-in and back."""


class Sessions:
    """Log-ins of browsers. One per process.

    Args:
        office: where sessions are read and written.
        settings: its secret signs forms; its public URL says whether cookies need TLS.
    """

    def __init__(self, office: Office, settings: Settings) -> None:
        self._office = office
        self._secret = secret_of(settings)
        self._origin = _origin(settings.public_url)
        self._secure = self._origin.startswith("https://")
        # Browsers take `__Host-` only with TLS, and then from no other host or path.
        self._cookie = "__Host-pointsman" if self._secure else "pointsman"

    def install(self, app: Flask) -> None:
        """What an application needs before any of `pages` is registered with it."""
        app.secret_key = subkey(self._secret, "forms") if self._secret else None
        app.config.update(
            SESSION_COOKIE_NAME=f"{self._cookie}-form",
            SESSION_COOKIE_SECURE=self._secure,
            SESSION_COOKIE_HTTPONLY=True,
            SESSION_COOKIE_SAMESITE="Lax",
            SESSION_COOKIE_PATH="/",
        )

    def pages(self, name: str) -> Blueprint:
        """Routes of pages: safe headers on each, forged forms refused, errors told as pages.

        Templates are those of `api/console/templates`; they extend `base.html`.
        """
        routes = Blueprint(name, __name__, template_folder="templates")
        routes.before_request(self._check)
        routes.after_request(_guarded)
        routes.register_error_handler(LogInNeeded, _to_log_in)
        routes.register_error_handler(RouterError, _told)
        routes.register_error_handler(HTTPException, _told_http)
        return routes

    def visitor(self) -> Visit | None:
        """Who is logged in, and for which account they act; None for a stranger.

        Raises:
            Unavailable: the database is away.
        """
        if "visitor" not in g:
            token = request.cookies.get(self._cookie, "")
            now_ms = self._office.clock.now_ms()
            g.visitor = self._office.do(lambda ledger: sessions.find(ledger, token, now_ms))
        found: Visit | None = g.visitor
        return found

    def required(self) -> Visit:
        """As `visitor`; a stranger is sent to the log-in, and back to this page after it.

        Raises:
            LogInNeeded: handled by `pages`.
            Unavailable: the database is away.
        """
        found = self.visitor()
        if found is None:
            raise LogInNeeded
        return found

    def admin(self) -> Visit:
        """As `required`, for what only those may do who run the account.

        Raises:
            Forbidden: a member of the organisation who is no admin.
        """
        found = self.required()
        if found.role != "admin":
            raise Forbidden("Only admins of this organization can do this.")
        return found

    def site_admin(self) -> Visit:
        """As `required`, for what only those may do who run this installation.

        Raises:
            Forbidden: anybody else.
        """
        found = self.required()
        if not found.user.site_admin:
            raise Forbidden("Only those who run this installation can do this.")
        return found

    def begin(self, user_id: str, account_id: str | None = None) -> None:
        """Log a browser in whose user was proved, in their own account unless another is named.

        Raises:
            NotFound: not a member of that account, or no such user.
            Unavailable: the database is away.
        """
        now_ms = self._office.clock.now_ms()
        before = request.cookies.get(self._cookie, "")
        token = self._office.do(
            lambda ledger: sessions.begin(ledger, user_id, account_id, now_ms, instead_of=before)
        )
        self._forget()
        self._set_cookie(token)

    def switch(self, account_id: str) -> None:
        """Act for another account of the same user, under a new cookie.

        Raises:
            LogInNeeded: a stranger.
            NotFound: not a member of it.
            Unavailable: the database is away.
        """
        self.begin(self.required().user.id, account_id)

    def end(self) -> None:
        """Log the browser out, here and on the server. Harmless for a stranger.

        Raises:
            Unavailable: the database is away.
        """
        token = request.cookies.get(self._cookie, "")
        self._office.do(lambda ledger: sessions.end(ledger, token))
        self._forget()
        self._set_cookie("")

    def end_all(self) -> None:
        """Log this person out in every browser.

        Raises:
            LogInNeeded: a stranger.
            Unavailable: the database is away.
        """
        user_id = self.required().user.id
        self._office.do(lambda ledger: sessions.end_all(ledger, user_id))
        self._forget()
        self._set_cookie("")

    def _forget(self) -> None:
        """Forms of before the change are of somebody else now."""
        session.clear()
        g.pop("csrf_token", None)
        g.pop("visitor", None)

    def _set_cookie(self, token: str) -> None:
        @after_this_request
        def bake(response: Response) -> Response:
            response.set_cookie(
                self._cookie,
                token,
                max_age=LIFE_MS // 1000 if token else 0,
                secure=self._secure,
                httponly=True,
                samesite="Lax",
            )
            return response

    def _check(self) -> None:
        """Before each route: the form is small, and was sent by one of our own pages."""
        if not self._secret:
            raise Unavailable("There are no pages here: the operator has to set POINTSMAN_SECRET.")
        if not self._origin and not _is_loopback(request.host):
            raise Forbidden(
                "Pages are not served unencrypted to other machines: the operator has to set "
                "POINTSMAN_PUBLIC_URL to the https:// address that browsers use."
            )
        request.max_content_length = FORM_MAX_BYTES
        request.max_form_memory_size = FORM_MAX_BYTES
        if request.method in _READS:
            return
        self._check_sender()
        if any("\x00" in text for _, text in request.form.items(multi=True)):
            raise BadRequest("A form cannot have a NUL in it.")  # no database takes one
        try:
            validate_csrf(request.form.get("csrf_token", ""), time_limit=FORM_LIFE_S)
        except ValidationError as error:
            raise BadRequest("This form is too old. Load the page again and repeat it.") from error

    def _check_sender(self) -> None:
        origin = request.headers.get("Origin")
        site = request.headers.get("Sec-Fetch-Site", "same-origin")
        ours = self._origin or request.host_url.rstrip("/")
        if site not in {"same-origin", "none"} or (origin is not None and origin != ours):
            raise Forbidden("Forms of other sites are not taken.")


def page(template: str, status: int = 200, **context: Any) -> Response:
    """A template as an answer; `visitor` is there for it where somebody is logged in.

    In it, `csrf_token()` gives what each form has to hold.
    """
    known: dict[str, Any] = {"csrf_token": generate_csrf, "visitor": g.get("visitor")}
    return Response(render_template(template, **(known | context)), status, mimetype="text/html")


def see(address: str) -> Response:
    """Go there with a GET: the answer to a form that was done."""
    # 303, since a 307 would post the form once more, to wherever it goes.
    answer = redirect(address, 303)
    return Response(status=303, headers={"Location": answer.headers["Location"]})


def let_form_go_to(origin: str) -> None:
    """Let the forms of this page end at one other origin (`https://host:port`), as consent does.

    Browsers hold a form to the page's policy in the redirect that follows it, too.

    Raises:
        ValueError: not an origin.
    """
    if (
        not origin
        or _origin(origin) != origin
        or not re.fullmatch(r"[\w.:/\[\]-]+", origin, re.ASCII)
    ):
        raise ValueError(f"not an origin: {origin!r}")
    g.form_origin = origin


def local_path(text: str | None, otherwise: str = HOME) -> str:
    """An address on this site to go on to; `otherwise` for anything that leads elsewhere."""
    if not text or len(text) > NEXT_MAX or _LOCAL.fullmatch(text) is None:
        return otherwise
    return text


def _origin(url: str) -> str:
    """`scheme://host[:port]`; "" for what is no web address."""
    parts = urlsplit(url)
    known = parts.scheme in {"http", "https"} and parts.netloc and "@" not in parts.netloc
    return f"{parts.scheme}://{parts.netloc}".lower() if known else ""


def _is_loopback(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def _guarded(response: Response) -> Response:
    for name, value in _HEADERS.items():
        response.headers[name] = value
    origin = g.get("form_origin")
    response.headers["Content-Security-Policy"] = f"{_POLICY} {origin}" if origin else _POLICY
    return response


def _to_log_in(_needed: LogInNeeded) -> Response:
    here = request.full_path.rstrip("?") if request.method == "GET" else HOME
    return see(f"{LOG_IN}?next={quote(local_path(here), safe='')}")


def _told(error: RouterError) -> Response:
    answer = page("error.html", error.status, message=error.message, request_id=g.request_id)
    if error.retry_after_ms is not None:
        answer.headers["Retry-After"] = str(-(-error.retry_after_ms // 1000))
    return answer


def _told_http(error: HTTPException) -> Response:
    message = error.description or error.name
    return page("error.html", error.code or 500, message=message, request_id=g.request_id)
