"""What Google's errors mean, whether by status or inside a stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from routing.errors import UpstreamDenied, UpstreamDown, UpstreamError
from workers.dialects.common import (
    STATUS_REJECTED,
    UNKNOWN_ERROR,
    by_status,
    cut,
    dict_or_empty,
    dicts,
    dumped,
    loads,
    text_or_empty,
)

_NOT_FOUND = 404
_GONE = 500
#: Reasons in `ErrorInfo` that are about our key or account, whatever the status.
_DENIED = frozenset(
    {
        "API_KEY_INVALID", "API_KEY_EXPIRED", "API_KEY_SERVICE_BLOCKED", "BILLING_DISABLED",
        "CONSUMER_SUSPENDED", "CONSUMER_INVALID", "SERVICE_DISABLED", "ACCESS_TOKEN_EXPIRED",
        "IAM_PERMISSION_DENIED", "USER_PROJECT_DENIED",
    }
)  # fmt: skip
#: Google's name for what must be put right in the account first: country, billing.
_PRECONDITION = "FAILED_PRECONDITION"


def by_body(status: int, headers: Mapping[str, str], body: bytes, now_ms: int) -> UpstreamError:
    """What a status other than 2xx means."""
    try:
        data = loads(body)
    except UpstreamDown:
        data = None
    if isinstance(data, list) and data:
        data = data[0]  # how a stream that is no event stream says it
    return _meaning(status, headers, dict_or_empty(data).get("error"), cut(body), now_ms)


def in_band(error: object) -> UpstreamError:
    """An error object where an answer should be; there is no hint but its own."""
    code = dict_or_empty(error).get("code")
    status = code if isinstance(code, int) else _GONE
    return _meaning(status, {}, error, cut(dumped(error).encode()), 0)


def _meaning(
    status: int, headers: Mapping[str, str], error: object, raw: str, now_ms: int
) -> UpstreamError:
    fields = dict_or_empty(error)
    details = list(dicts(fields.get("details")))
    denied = any(item.get("reason") in _DENIED for item in details if _is_text(item.get("reason")))
    if denied or (status in STATUS_REJECTED and fields.get("status") == _PRECONDITION):
        return UpstreamDenied(raw=raw)
    if status == _NOT_FOUND:
        return UpstreamDown(raw=raw)  # the model is gone there, which is not the caller's doing
    message = text_or_empty(error if isinstance(error, str) else fields.get("message"))
    hints = dict(headers)
    delay = _retry_delay(details)
    if delay and not hints.get("retry-after"):
        hints["retry-after"] = delay
    return by_status(status, hints, raw, message or UNKNOWN_ERROR, now_ms)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _retry_delay(details: list[dict[str, Any]]) -> str:
    """`RetryInfo`, as seconds: "17s" or "1.5s"."""
    for item in details:
        if text_or_empty(item.get("@type")).endswith("google.rpc.RetryInfo"):
            return text_or_empty(item.get("retryDelay")).removesuffix("s")
    return ""
