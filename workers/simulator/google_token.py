"""Google's token endpoint: a service account's signed claim in, a short-lived access token out.

Whether a token was handed out here is written in the token itself, so nothing has to be
remembered, and a router that restarts or a simulator that does can go on with the tokens it has.
"""

import hmac
import time
from base64 import b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final
from urllib.parse import parse_qs

import orjson

from workers.simulator import own_keys
from workers.simulator.dialect import Answer, Ask, Dialect, Direct, Event, Failure
from workers.simulator.wire import Request

TOKEN: Final = "/token"  # noqa: S105 - a path
GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LIFETIME_SECONDS: Final = 3600
# How far a client's clock may be off.
SKEW_SECONDS: Final = 300
# The signature of a 1,024-bit RSA key, the shortest there is.
SIGNATURE_BYTES_MIN: Final = 128
FORM_FIELDS_MAX: Final = 16

_PREFIX: Final = "ya29.c."
_KEY: Final = b"simulator"
_MAC_BYTES: Final = 32
_EXPIRY_BYTES: Final = 8
_SCOPES: Final = "https://www.googleapis.com/auth/"
_UNTIMELY: Final = (
    "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
    "Check your iat and exp values in the JWT claim."
)


class _Refused(Exception):
    """The endpoint says no.

    Attributes:
        code: The OAuth error.
    """

    def __init__(self, code: str, description: str) -> None:
        super().__init__(description)
        self.code = code


def now_seconds() -> int:
    """Return the time tokens are stamped with."""
    return time.time_ns() // 1_000_000_000


def issue(now: int) -> str:
    """Return an access token that is valid for ``LIFETIME_SECONDS``."""
    expiry = (now + LIFETIME_SECONDS).to_bytes(_EXPIRY_BYTES, "big")
    return _PREFIX + urlsafe_b64encode(expiry + _mac(expiry)).decode().rstrip("=")


def bearer_ok(request: Request, now: Callable[[], int] = now_seconds) -> bool:
    """Whether a request carries an access token that was handed out here and is still valid.

    A key for playing a customer's own stands for one.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme == "Bearer" and token.startswith(own_keys.PREFIX):
        return True
    if scheme != "Bearer" or not token.startswith(_PREFIX):
        return False
    data = _decode(token.removeprefix(_PREFIX))
    if data is None or len(data) != _EXPIRY_BYTES + _MAC_BYTES:
        return False
    expiry, mac = data[:_EXPIRY_BYTES], data[_EXPIRY_BYTES:]
    return hmac.compare_digest(_mac(expiry), mac) and int.from_bytes(expiry, "big") > now()


class TokenDialect(Dialect):
    """The token endpoint; it only ever answers directly, so no fault reaches it."""

    def __init__(self, now: Callable[[], int] = now_seconds) -> None:
        self._now = now

    def claims(self, path: str) -> bool:
        """Whether the path is that of the token endpoint."""
        return path == TOKEN

    def read(self, provider: str, path: str, request: Request) -> Ask | Direct:
        """Check the grant and the claims, and hand out a token."""
        del provider, path
        if request.method != "POST":
            return _refusal(405, "invalid_request", "Method not allowed")
        try:
            _check_claims(_claims(_assertion(request)), self._now())
        except _Refused as refused:
            return _refusal(400, refused.code, str(refused))
        body = {
            "access_token": issue(self._now()),
            "expires_in": LIFETIME_SECONDS - 1,
            "token_type": "Bearer",
        }
        return Direct(status=200, body=orjson.dumps(body), headers={"cache-control": "no-store"})

    def plain(self, provider: str, ask: Ask, answer: Answer) -> bytes:
        """Render nothing: there is no answer but the token."""
        del provider, ask, answer
        return b"{}"

    def events(self, provider: str, ask: Ask, answer: Answer) -> list[Event]:
        """Render nothing: a token is not streamed."""
        del provider, ask, answer
        return []

    def failure(self, provider: str, failure: Failure) -> Direct:
        """Render an error of this endpoint: its own for what it has words for."""
        del provider
        match failure:
            case Failure.RATE_LIMITED:
                return _refusal(429, "rate_limit_exceeded", "Rate limit exceeded.")
            case Failure.BROKEN | Failure.OVERLOADED:
                status = 500 if failure is Failure.BROKEN else 503
                return _refusal(status, "internal_failure", "Backend Error")
            case _:
                return _refusal(401, "invalid_client", "The OAuth client was not found.")

    def failure_event(self, provider: str, failure: Failure) -> Event:
        """Render an error as an event, for form's sake."""
        return Event(data=self.failure(provider, failure).body, kind="error")


def _assertion(request: Request) -> str:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise _Refused("invalid_request", f"Unsupported content with type: {kind}")
    try:
        form = parse_qs(request.body.decode(), max_num_fields=FORM_FIELDS_MAX)
    except ValueError as error:
        raise _Refused("invalid_request", "Could not parse the form.") from error
    if "grant_type" not in form:
        raise _Refused("invalid_request", "Missing required parameter: grant_type")
    grant = form["grant_type"][0]
    if grant != GRANT:
        raise _Refused("unsupported_grant_type", f"Invalid grant_type: {grant}")
    if "assertion" not in form:
        raise _Refused("invalid_request", "Missing required parameter: assertion")
    return form["assertion"][0]


def _claims(assertion: str) -> dict[str, Any]:
    parts = assertion.split(".")
    if len(parts) != 3:  # noqa: PLR2004 - header, claims, signature
        raise _Refused("invalid_grant", "Invalid JWT: a JWT has three parts.")
    header, claims = _object(parts[0]), _object(parts[1])
    if header is None or claims is None:
        raise _Refused("invalid_grant", "Invalid JWT: Failed to parse the token.")
    if header.get("alg") != "RS256" or header.get("typ", "JWT") != "JWT":
        raise _Refused("invalid_grant", "Invalid JWT: only RS256 is supported.")
    if len(_decode(parts[2]) or b"") < SIGNATURE_BYTES_MIN:
        raise _Refused("invalid_grant", "Invalid JWT Signature.")
    return claims


def _check_claims(claims: dict[str, Any], now: int) -> None:
    issuer, audience, scope = claims.get("iss"), claims.get("aud"), claims.get("scope")
    if not isinstance(issuer, str) or not issuer:
        raise _Refused("invalid_grant", "Invalid grant: account not found")
    if not (
        isinstance(audience, str)
        and audience.startswith(("https://", "http://"))
        and audience.endswith("/token")
    ):
        raise _Refused(
            "invalid_grant",
            "Invalid JWT: Failed audience check. The right audience is "
            "https://oauth2.googleapis.com/token",
        )
    issued, expires = claims.get("iat"), claims.get("exp")
    if type(issued) is not int or type(expires) is not int:
        raise _Refused("invalid_grant", _UNTIMELY)
    if not (0 < expires - issued <= LIFETIME_SECONDS) or expires <= now:
        raise _Refused("invalid_grant", _UNTIMELY)
    if issued > now + SKEW_SECONDS:
        raise _Refused("invalid_grant", _UNTIMELY)
    scopes = scope.split() if isinstance(scope, str) else []
    if not scopes or not all(one.startswith(_SCOPES) for one in scopes):
        raise _Refused("invalid_scope", "Invalid OAuth scope or ID token audience provided.")


def _object(part: str) -> dict[str, Any] | None:
    data = _decode(part)
    try:
        value = orjson.loads(data or b"")
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _decode(part: str) -> bytes | None:
    try:
        return b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (NotBase64, ValueError):
        return None


def _mac(expiry: bytes) -> bytes:
    return hmac.digest(_KEY, expiry, sha256)


def _refusal(status: int, code: str, description: str) -> Direct:
    body = {"error": code, "error_description": description}
    return Direct(status=status, body=orjson.dumps(body))
