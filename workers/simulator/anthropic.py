"""Anthropic's Messages API, at Anthropic itself."""

import re
from functools import lru_cache
from typing import Any, Final

import orjson

from workers.simulator.anthropic_prompt import measure
from workers.simulator.anthropic_render import events, message
from workers.simulator.anthropic_request import parse, read_betas, read_messages
from workers.simulator.anthropic_shapes import COUNT_TOKENS, MESSAGES, Invalid
from workers.simulator.dialect import Answer, Ask, Dialect, Direct, Event, Failure
from workers.simulator.wire import Request

PATH: Final = "/v1/messages"
COUNT_PATH: Final = "/v1/messages/count_tokens"
VERSION: Final = re.compile(r"20\d\d-\d\d-\d\d")
REMEMBERED_BYTES_MAX: Final = 16 * 1024
BODY_BYTES_MAX: Final = 32 * 1024 * 1024
# Errors carry the id of their request; all share one, so that bodies can be compared.
REQUEST_ID: Final = "req_011CSimulatorSimulator00"

# status, type, message
FAILURES: Final[dict[Failure, tuple[int, str, str]]] = {
    Failure.RATE_LIMITED: (
        429,
        "rate_limit_error",
        (
            "This request would exceed your organization's rate limit of 50,000 input tokens per "
            "minute. For details, refer to: https://docs.claude.com/en/api/rate-limits. You can "
            "see the response headers for current usage."
        ),
    ),
    Failure.BROKEN: (500, "api_error", "Internal server error"),
    Failure.OVERLOADED: (529, "overloaded_error", "Overloaded"),
    Failure.UNAUTHORIZED: (401, "authentication_error", "invalid x-api-key"),
    Failure.UNPAID: (
        402,
        "billing_error",
        (
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & "
            "Billing to upgrade or purchase credits."
        ),
    ),
    Failure.FORBIDDEN: (
        403,
        "permission_error",
        "Your API key does not have permission to use the specified resource.",
    ),
    Failure.CONTEXT: (
        400,
        "invalid_request_error",
        "prompt is too long: 210381 tokens > 200000 maximum",
    ),
    Failure.FILTERED: (
        400,
        "invalid_request_error",
        "Output blocked by content filtering policy",
    ),
}
_LIMITS: Final = {
    "retry-after": "1",
    "anthropic-ratelimit-requests-limit": "50",
    "anthropic-ratelimit-requests-remaining": "49",
    "anthropic-ratelimit-requests-reset": "2026-01-31T12:00:01Z",
    "anthropic-ratelimit-input-tokens-limit": "50000",
    "anthropic-ratelimit-input-tokens-remaining": "0",
    "anthropic-ratelimit-input-tokens-reset": "2026-01-31T12:00:01Z",
}


class AnthropicDialect(Dialect):
    """Messages and the counting of their tokens; see ``Dialect`` for the methods."""

    id_header = "request-id"

    def claims(self, path: str) -> bool:
        """Whether the path is one of the two served here."""
        return path in (PATH, COUNT_PATH)

    def read(self, provider: str, path: str, request: Request) -> Ask | Direct:
        """Check key, version and body, in that order."""
        del provider
        try:
            _check_headers(request)
            betas = request.headers.get("anthropic-beta", "")
            if len(request.body) <= REMEMBERED_BYTES_MAX:
                return _read_remembered(path, request.body, betas)
            return _read(path, request.body, betas)
        except Invalid as invalid:
            return refusal(invalid)

    def plain(self, provider: str, ask: Ask, answer: Answer) -> bytes:
        """Render one message."""
        del provider
        return orjson.dumps(message(ask, answer, "msg_01"))

    def events(self, provider: str, ask: Ask, answer: Answer) -> list[Event]:
        """Render a stream, from ``message_start`` to ``message_stop``."""
        del provider
        return events(ask, answer, "msg_01")

    def failure(self, provider: str, failure: Failure) -> Direct:
        """Render an error, with the limits where one was hit."""
        del provider
        status, kind, words = FAILURES[failure]
        headers = {"request-id": REQUEST_ID}
        if failure is Failure.RATE_LIMITED:
            headers |= _LIMITS
        return Direct(status=status, body=error_body(kind, words), headers=headers)

    def failure_event(self, provider: str, failure: Failure) -> Event:
        """Render an error inside a stream."""
        del provider
        _, kind, words = FAILURES[failure]
        return Event(data=error_body(kind, words), kind="error", name="error")


def _read(path: str, data: bytes, header: str) -> Ask | Direct:
    betas = read_betas(header)
    body = parse(data)
    if path == COUNT_PATH:
        COUNT_TOKENS(body, "")
        return counted(body, betas)
    MESSAGES(body, "")
    return read_messages(body, body["model"], betas)


# A benchmark sends the same body again and again, and it always means the same.
_read_remembered = lru_cache(maxsize=512)(_read)


def counted(body: dict[str, Any], betas: tuple[str, ...]) -> Direct:
    """Answer a request to count tokens.

    Raises:
        Invalid: The request with these messages would be refused.
    """
    read_messages(body, body["model"], betas)
    return Direct(status=200, body=orjson.dumps({"input_tokens": measure(body).tokens}))


def refusal(invalid: Invalid, request_id: str = REQUEST_ID) -> Direct:
    """Render a complaint."""
    body = error_body(invalid.kind, str(invalid), request_id)
    return Direct(status=invalid.status, body=body, headers={"request-id": request_id})


def error_body(kind: str, words: str, request_id: str = REQUEST_ID) -> bytes:
    """Return the body of an error."""
    error = {"type": kind, "message": words}
    return orjson.dumps({"type": "error", "error": error, "request_id": request_id})


def _check_headers(request: Request) -> None:
    headers = request.headers
    bearer = headers.get("authorization", "").startswith("Bearer ")
    if not headers.get("x-api-key") and not bearer:
        raise Invalid("x-api-key header is required", kind="authentication_error", status=401)
    if request.method != "POST":
        raise Invalid("Method Not Allowed", status=405)
    version = headers.get("anthropic-version")
    if version is None:
        raise Invalid("anthropic-version: header is required")
    if not VERSION.fullmatch(version):
        raise Invalid(f'anthropic-version: "{version}" is not a valid version.')
    if not headers.get("content-type", "").startswith("application/json"):
        raise Invalid("Content-Type must be application/json", status=400)
    if len(request.body) > BODY_BYTES_MAX:
        raise Invalid("Request exceeds the maximum size", kind="request_too_large", status=413)
