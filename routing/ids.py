"""The ids we hand out: `gen-<unix seconds>-<20 base62>`, `req-…`, `user_<27 base62>` and others."""

from __future__ import annotations

import re
import secrets
import string

_BASE62 = string.digits + string.ascii_letters
_GENERATION = re.compile(r"gen-\d{10}-[0-9A-Za-z]{20}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}")


def _base62(length: int) -> str:
    # One draw for the whole id: a choice per character is 20 system calls on the hot path.
    number = secrets.randbits(6 * length + 8)
    chars = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        chars.append(_BASE62[digit])
    return "".join(chars)


def generation_id(now_ms: int) -> str:
    """A new generation id; the job, its stream and its ledger entries all bear it."""
    return f"gen-{now_ms // 1000}-{_base62(20)}"


def request_id(now_ms: int) -> str:
    """A new id for one HTTP call."""
    return f"req-{now_ms // 1000}-{_base62(20)}"


def account_id() -> str:
    """A new account id, in the form clients know from error bodies."""
    return f"user_{_base62(27)}"


def new(prefix: str) -> str:
    """An id of anything else: `<prefix>_<20 base62>`."""
    return f"{prefix}_{_base62(20)}"


def is_generation_id(text: str) -> bool:
    """Whether `text` has the form of a generation id; cheap guard before any look-up."""
    return _GENERATION.fullmatch(text) is not None


def is_request_id(text: str) -> bool:
    """Whether a caller's `X-Request-Id` may be echoed: short, and safe in logs and headers."""
    return _REQUEST_ID.fullmatch(text) is not None
