"""Tokens of Google service accounts: fetched when needed, kept until shortly before they expire."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any, Self

import httpx
import orjson
from google.auth import exceptions
from google.auth.transport import Request, Response
from google.oauth2.service_account import Credentials

from routing.clock import Clock, SystemClock
from routing.credentials import GoogleToken, ServiceAccount
from routing.errors import UpstreamDenied, UpstreamDown, UpstreamError

#: All of one fetch: signing, connecting, asking again, reading.
FETCH_MAX_S = 10.0
#: How long before it expires a token is replaced; a call that starts with it may take that long.
REFRESH_BEFORE_MS = 5 * 60 * 1000
#: A failed fetch is not repeated before this: whoever waited for it learns of it instead.
FAILURE_KEPT_MS = 1_000
#: Service accounts whose tokens are kept; the one used longest ago goes first.
ACCOUNTS_MAX = 1_024
#: A token is some 1,000 bytes.
BODY_MAX_BYTES = 65_536
#: Google's last an hour, twelve at most; a longer one is a misreading.
LIFETIME_MAX_S = 86_400
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_PRINTABLE = re.compile(r"[!-~]+")


@dataclass(slots=True)
class _Entry:
    """What is known of one account; changed by whoever holds its lock."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    token: str = ""
    expires_ms: int = 0
    failure: UpstreamError | None = None
    failed_ms: int = 0


class GoogleTokens:
    """One per process. Each account is asked about by one caller at a time."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock: Clock = clock if clock is not None else SystemClock()
        self._entries: OrderedDict[ServiceAccount, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def token(self, account: ServiceAccount) -> GoogleToken:
        """A token that is valid for minutes to come.

        Raises:
            UpstreamDenied: Google refuses the account.
            UpstreamDown: Google's token service does not answer.
        """
        entry = self._entry(account)
        now_ms = self._clock.now_ms()
        if entry.expires_ms - REFRESH_BEFORE_MS <= now_ms:
            self._renew(account, entry, usable=entry.expires_ms > now_ms)
        return GoogleToken(token=entry.token, project=account.project_id, region=account.region)

    def _entry(self, account: ServiceAccount) -> _Entry:
        with self._lock:
            entry = self._entries.setdefault(account, _Entry())
            self._entries.move_to_end(account)
            if len(self._entries) > ACCOUNTS_MAX:
                self._entries.popitem(last=False)
            return entry

    def _renew(self, account: ServiceAccount, entry: _Entry, *, usable: bool) -> None:
        """Fetch a new token, or let the one do that is at it; `usable`: the old one still does."""
        if usable:
            locked = entry.lock.acquire(blocking=False)
        else:
            locked = entry.lock.acquire(timeout=FETCH_MAX_S)
        if not locked:
            if usable:
                return
            raise UpstreamDown("Google's token service did not answer in time")
        try:
            self._renew_alone(account, entry)
        except UpstreamDown:
            if not usable:
                raise
        finally:
            entry.lock.release()

    def _renew_alone(self, account: ServiceAccount, entry: _Entry) -> None:
        now_ms = self._clock.now_ms()
        if entry.expires_ms - REFRESH_BEFORE_MS > now_ms:
            return  # somebody else was faster
        if entry.failure is not None and now_ms - entry.failed_ms < FAILURE_KEPT_MS:
            raise entry.failure.with_traceback(None)
        try:
            entry.token, entry.expires_ms = fetch(account, self._clock)
        except UpstreamError as error:
            entry.failure, entry.failed_ms = error, self._clock.now_ms()
            raise
        entry.failure = None


def fetch(account: ServiceAccount, clock: Clock) -> tuple[str, int]:
    """A new token and when it expires (ms since 1970 UTC).

    Raises:
        UpstreamDenied, UpstreamDown
    """
    try:
        credentials = Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
            {
                "type": "service_account",
                "project_id": account.project_id,
                "client_email": account.client_email,
                "private_key": account.private_key,
                "private_key_id": account.private_key_id,
                "token_uri": account.token_uri,
            },
            scopes=[SCOPE],
        )
    except (exceptions.GoogleAuthError, ValueError):
        # `from None`, here and below: the cause may quote the key, or what came instead of a token.
        raise UpstreamDenied("The key of the Google service account cannot be used") from None
    try:
        with Transport(clock, FETCH_MAX_S) as transport:
            credentials.refresh(transport)
    except exceptions.RefreshError as error:
        raise _refused(error) from None
    except _Unreachable as error:
        raise UpstreamDown(f"Google's token service is not available: {error}") from None
    except exceptions.GoogleAuthError:
        raise UpstreamDown("Google's token service is not available") from None
    return credentials.token, int(credentials.expiry.replace(tzinfo=UTC).timestamp() * 1000)


def _refused(error: exceptions.RefreshError) -> UpstreamError:
    """By Google's own word; its description may name the account, so it is left out."""
    if error.retryable:
        return UpstreamDown("Google's token service is not available")
    body = error.args[1] if len(error.args) > 1 else None
    code = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(code, str) or not code.isascii() or not code.replace("_", "").isalpha():
        return UpstreamDown("Google's token service sent something that is no token")
    return UpstreamDenied(f"Google refused the service account: {code[:64]}")


class _Unreachable(exceptions.TransportError):
    def __init__(self, why: str) -> None:
        super().__init__(why)  # type: ignore[no-untyped-call]


class _Answer(Response):
    """What came back, in google-auth's form."""

    def __init__(self, status: int, headers: Mapping[str, str], data: bytes) -> None:
        self._status, self._headers, self._data = status, headers, data

    @property
    def status(self) -> int:
        return self._status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._headers

    @property
    def data(self) -> bytes:
        return self._data


class Transport(Request):
    """google-auth's requests over httpx, all of them within one bound of time."""

    def __init__(self, clock: Clock, limit_s: float) -> None:
        self._clock = clock
        self._until_s = clock.monotonic() + limit_s
        self._client = httpx.Client(follow_redirects=False, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> _Answer:
        """Send one request; the time that is left is the time-out.

        Raises:
            google.auth.exceptions.TransportError: no answer, or not in time.
        """
        del timeout
        try:
            with self._client.stream(
                method, url, content=body, headers=dict(headers or {}), timeout=self._left_s()
            ) as response:
                data = bytearray()
                for chunk in response.iter_bytes():
                    data += chunk
                    self._left_s()
                    if len(data) > BODY_MAX_BYTES:
                        raise _Unreachable("its answer is too long")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _Unreachable(type(error).__name__) from None
        # google-auth goes on with whatever came, so it is shown nothing odd.
        fields = _object(bytes(data))
        if fields is None or (response.status_code == httpx.codes.OK and not _is_token(fields)):
            raise _Unreachable("it sent something that is no token")
        return _Answer(response.status_code, dict(response.headers), bytes(data))

    def _left_s(self) -> float:
        left_s = self._until_s - self._clock.monotonic()
        if left_s <= 0:
            raise _Unreachable("no answer in time")
        return left_s


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        fields = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    return fields if isinstance(fields, dict) else None


def _is_token(fields: Mapping[str, Any]) -> bool:
    """Whether google-auth can go on with an answer, and a header carry its token."""
    token, lifetime_s = fields.get("access_token"), fields.get("expires_in")
    known = isinstance(lifetime_s, int) and 0 < lifetime_s <= LIFETIME_MAX_S
    return known and isinstance(token, str) and _PRINTABLE.fullmatch(token) is not None
