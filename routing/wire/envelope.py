"""Errors before the first byte, in the form of the inbound API they belong to (contract 11)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from routing.errors import error_type
from routing.wire.job import Api
from routing.wire.router_metadata import INTERNAL

#: Anthropic's name for a typed reason (contract 11.9); what is not here is `api_error`.
_ANTHROPIC: Mapping[str, str] = MappingProxyType(
    {
        "authentication": "authentication_error",
        "permission_denied": "permission_error",
        "payment_required": "billing_error",
        "not_found": "not_found_error",
        "image_not_found": "not_found_error",
        "rate_limit_exceeded": "rate_limit_error",
        "provider_overloaded": "overloaded_error",
        "timeout": "timeout_error",
        "payload_too_large": "invalid_request_error",
        "unprocessable": "invalid_request_error",
        "invalid_request": "invalid_request_error",
    }
)


_CHAT_PATH = re.compile(r"^messages\[\d+\][a-z_.\[\]\d]*: ")


def shaped(
    api: Api, status: int, body: Mapping[str, Any], request_id: str | None
) -> Mapping[str, Any]:
    """The common envelope as a client of this API expects it; for most APIs it stays as it is.

    `body` is `{"error": {"code", "message", "metadata"?}, "openrouter_metadata"?}`, `request_id`
    the generation's or the request's id, for Anthropic's form. An internal error tells nothing of
    the routing.
    """
    routed = body.get("openrouter_metadata") if status != INTERNAL else None
    if api == "messages":
        shape = _anthropic(status, body["error"], request_id)
    else:
        shape = {name: value for name, value in body.items() if name != "openrouter_metadata"}
    return shape if routed is None else shape | {"openrouter_metadata": routed}


def told_to(api: Api, message: str) -> str:
    """A worker's message for a client of this API.

    Workers see every request as chat; the path of a chat message means nothing elsewhere.
    """
    return message if api == "chat" else _CHAT_PATH.sub("", message, count=1)


def anthropic_error_type(reason: str) -> str:
    """Anthropic's error type for a typed reason."""
    return _ANTHROPIC.get(reason, "api_error")


def _anthropic(status: int, error: Mapping[str, Any], request_id: str | None) -> dict[str, Any]:
    metadata = error.get("metadata")
    reason = (metadata or {}).get("error_type") or error_type(status)
    shape: dict[str, Any] = {
        "type": "error",
        "error": {
            "type": anthropic_error_type(reason),
            "message": error["message"],
            "error_type": reason,
        },
        "request_id": request_id,
    }
    if metadata:
        shape["metadata"] = metadata
    return shape
