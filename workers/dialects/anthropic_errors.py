"""Anthropic's errors: by type where there is one, by status where there is not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from routing.errors import (
    UpstreamDenied,
    UpstreamDown,
    UpstreamError,
    UpstreamLimited,
)
from workers.dialects.common import (
    by_status,
    cut,
    dict_or_empty,
    dumped,
    loads,
    text_or_empty,
)
from workers.dialects.retry_after import MAX_RETRY_AFTER_MS, MIN_RETRY_AFTER_MS, retry_after_ms

#: Types of error and the status each comes with.
_STATUS: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
#: An account that is empty, at its own limit or closed gets a 400, as if the request were wrong.
_ACCOUNT = (
    "credit balance is too low",
    "reached your specified api usage limits",
    "organization has been disabled",
)
_LIMITS = ("requests", "tokens", "input-tokens", "output-tokens")
#: Headers with hints; the caller of `error` passes these on.
HINTS = tuple(
    f"anthropic-ratelimit-{limit}-{part}" for limit in _LIMITS for part in ("remaining", "reset")
)


def error_of(status: int, headers: Mapping[str, str], body: bytes, now_ms: int) -> UpstreamError:
    """What an answer with a status other than 2xx means."""
    raw = cut(body)
    kind, message = _detail(body)
    if _of_the_account(message):
        return UpstreamDenied(raw=raw)
    found = by_status(_STATUS.get(kind, status), headers, raw, message, now_ms)
    if isinstance(found, UpstreamLimited) and found.retry_after_ms is None:
        found.retry_after_ms = _reset_ms(headers, now_ms)
    return found


def error_in_band(error: object) -> UpstreamError:
    """What an error object means where an answer should be."""
    fields = dict_or_empty(error)
    raw = cut(dumped(error).encode())
    kind, message = text_or_empty(fields.get("type")), text_or_empty(fields.get("message"))
    if _of_the_account(message):
        return UpstreamDenied(raw=raw)
    status = _STATUS.get(kind)
    if status is None:
        return UpstreamDown(raw=raw)
    return by_status(status, {}, raw, message, 0)


def _detail(body: bytes) -> tuple[str, str]:
    """Type and message; Vertex AI's own errors have a message only, sometimes inside a list."""
    try:
        data = loads(body)
    except UpstreamDown:
        return "", ""
    if isinstance(data, list) and data:
        data = data[0]
    error = dict_or_empty(dict_or_empty(data).get("error"))
    return text_or_empty(error.get("type")), text_or_empty(error.get("message"))


def _of_the_account(message: str) -> bool:
    """Whether it is about our account, not about the request."""
    said = message.lower()
    return any(words in said for words in _ACCOUNT)


def _reset_ms(headers: Mapping[str, str], now_ms: int) -> int | None:
    """When the last of the limits that are used up reopens; they are RFC 3339 moments."""
    waits = [
        wait
        for limit in _LIMITS
        if headers.get(f"anthropic-ratelimit-{limit}-remaining") == "0"
        if (wait := _until_ms(headers.get(f"anthropic-ratelimit-{limit}-reset", ""), now_ms))
        is not None
    ]
    if not waits:
        return retry_after_ms(headers, now_ms)
    return min(max(*waits, MIN_RETRY_AFTER_MS), MAX_RETRY_AFTER_MS)


def _until_ms(text: str, now_ms: int) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return int((moment - epoch).total_seconds() * 1000) - now_ms
