"""What an error in the OpenAI format means: by status, by code, in a body or inside a stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from routing.errors import (
    UpstreamDenied,
    UpstreamDown,
    UpstreamError,
    UpstreamLimited,
    UpstreamRejected,
)
from workers.dialects.common import STATUS_LIMITED, UNKNOWN_ERROR, cut, loads, text_or_none
from workers.dialects.refusals import kind_of
from workers.dialects.retry_after import retry_after_ms

#: 404 is none of them: the provider no longer has the model, and another may.
_STATUS_REJECTED = frozenset({400, 413, 422})
_STATUS_DENIED = frozenset({401, 402, 403, 412})
_FORBIDDEN = 403
#: Our key, account or money, whatever the status beside it.
_CODES_DENIED = frozenset({
    "insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "invalid_api_key",
    "account_deactivated", "organization_spend_limit_exceeded", "project_spend_limit_exceeded",
})  # fmt: skip
_CODES_LIMITED = frozenset({"rate_limit_exceeded", "rate_limit_error", "RateLimitReached"})
_CODES_REJECTED = frozenset({
    "content_filter", "context_length_exceeded", "invalid_prompt", "content_policy_violation",
    "string_above_max_length", "bio_policy",
})  # fmt: skip
#: OpenAI's codes for images it cannot read, all of them.
_IMAGE_CODES = ("invalid_image", "image_", "invalid_base64_image", "unsupported_image",
                "empty_image", "failed_to_download_image")  # fmt: skip
#: About our key or account, in requests that are well formed.
_ACCOUNT_WORDS = ("incorrect api key", "organization must be verified")
#: Said with 403 where it is the prompt that is refused: xAI's filter, OpenRouter's moderation.
_MODERATION_WORDS = ("violates usage guidelines", "was flagged")
#: Said by Together with 403.
_LENGTH_WORDS = ("context length", "max_new_tokens")
#: The model's own failures at Groq, called bad requests there; another try may do better.
_CODES_FAILED = frozenset({"tool_use_failed", "json_validate_failed"})


def by_response(status: int, headers: Mapping[str, str], body: bytes, now_ms: int) -> UpstreamError:
    """By status, and by code where providers put several meanings behind one status."""
    raw = cut(body)
    code, message = _detail(body)
    if code in _CODES_DENIED or (status in _STATUS_REJECTED and _says(message, _ACCOUNT_WORDS)):
        return UpstreamDenied(raw=raw)
    wait_ms = retry_after_ms(headers, now_ms)
    # Groq says 413 of what is longer than our tokens of a minute.
    if status in STATUS_LIMITED or (status in _STATUS_REJECTED and code in _CODES_LIMITED):
        limited = status if status in STATUS_LIMITED else 429
        return UpstreamLimited(raw=raw, status=limited, retry_after_ms=wait_ms)
    refused = _refused(status, code, message)
    if refused is not None:
        return UpstreamRejected(message, raw=raw, status=refused, kind=kind_of(code, message))
    if status in _STATUS_DENIED:
        return UpstreamDenied(raw=raw)
    return UpstreamDown(raw=raw, retry_after_ms=wait_ms)


def in_band(error: object) -> UpstreamError:
    """An error object where an answer should be."""
    raw = _raw(error)
    if not isinstance(error, dict):
        return UpstreamDown(raw=raw)
    code = error.get("code")
    status = _status(code) or _status(error.get("status"))
    message = error.get("message")
    told = message if isinstance(message, str) and message else UNKNOWN_ERROR
    if _one_of(code, _CODES_DENIED):
        return UpstreamDenied(raw=raw)
    if status in STATUS_LIMITED or _one_of(code, _CODES_LIMITED):
        return UpstreamLimited(raw=raw, status=status if status in STATUS_LIMITED else 429)
    refused = _refused(status, code, told)
    if refused is not None:
        return UpstreamRejected(told, raw=raw, status=refused, kind=kind_of(code, told))
    if _is_rejection(code, error.get("type")):
        return UpstreamRejected(told, raw=raw, kind=kind_of(code, told))
    return UpstreamDenied(raw=raw) if status in _STATUS_DENIED else UpstreamDown(raw=raw)


def _refused(status: int | None, code: object, message: str) -> int | None:
    """The status to tell of a request that was refused for what it is; None for any other."""
    if status == _FORBIDDEN:
        if _says(message, _LENGTH_WORDS):
            return 400
        return _FORBIDDEN if _says(message, _MODERATION_WORDS) else None
    return status if status in _STATUS_REJECTED and not _one_of(code, _CODES_FAILED) else None


def _says(message: str, words: tuple[str, ...]) -> bool:
    told = message.lower()
    return any(word in told for word in words)


def _is_rejection(code: object, kind: object) -> bool:
    if _one_of(code, _CODES_FAILED):
        return False
    if kind == "invalid_request_error":
        return True
    return _one_of(code, _CODES_REJECTED) or str(code).startswith(_IMAGE_CODES)


def _one_of(code: object, codes: frozenset[str]) -> bool:
    return isinstance(code, str) and code in codes


def _status(value: object) -> int | None:
    """A status as a number, or as the digits Azure sends."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 3:  # noqa: PLR2004
        return int(value)
    return value if isinstance(value, int) else None


def _raw(error: object) -> str:
    try:
        return cut(orjson.dumps(error))
    except TypeError:  # orjson reads deeper nesting than it writes
        return ""


def _detail(body: bytes) -> tuple[str | None, str]:
    """Code and message, whatever the shape: OpenAI's, Mistral's, FastAPI's, or no JSON."""
    try:
        data = loads(body)
    except UpstreamDown:
        return None, UNKNOWN_ERROR
    if not isinstance(data, dict):
        return None, UNKNOWN_ERROR
    error = data.get("error")
    if isinstance(error, str):
        return text_or_none(data.get("code")), error
    fields = error if isinstance(error, dict) else data
    return text_or_none(fields.get("code")), _message(fields) or UNKNOWN_ERROR


def _message(fields: Mapping[str, Any]) -> str:
    """`message` or `detail`: a text, or the first finding of a list of them."""
    found = fields.get("message") or fields.get("detail")
    if isinstance(found, dict):
        found = found.get("detail")
    if isinstance(found, list) and found and isinstance(found[0], dict):
        return _finding(found[0])
    return found if isinstance(found, str) else ""


def _finding(finding: Mapping[str, Any]) -> str:
    place, message = finding.get("loc"), finding.get("msg")
    if not isinstance(message, str):
        return ""
    if not isinstance(place, list):
        return message
    return ".".join(str(step) for step in place if isinstance(step, str | int)) + f": {message}"
