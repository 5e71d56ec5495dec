"""When a provider says to come back: `Retry-After` and the rate limit reset headers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

#: A hint is never trusted beyond this: absurd values would park an endpoint for ever.
MAX_RETRY_AFTER_MS = 300_000
#: A hint of "now" would make a tight loop.
MIN_RETRY_AFTER_MS = 200

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
#: Of this century.
_EPOCH_MS = re.compile(r"[12]\d{12}", re.ASCII)


def retry_after_ms(headers: Mapping[str, str], now_ms: int) -> int | None:
    """Milliseconds to wait, within bounds; None without a usable hint.

    Reads `Retry-After` as seconds or as an HTTP date (RFC 9110 §10.2.3), `retry-after-ms`,
    OpenAI's `x-ratelimit-reset-requests` / `-tokens` durations such as `6m0s` or Azure's plain
    seconds, and OpenRouter's `x-ratelimit-reset`, a moment in milliseconds.
    """
    wait_ms = _hint_ms(headers, now_ms)
    if wait_ms is None:
        return None
    return int(min(max(wait_ms, MIN_RETRY_AFTER_MS), MAX_RETRY_AFTER_MS))


def _hint_ms(headers: Mapping[str, str], now_ms: int) -> float | None:
    exact = _number(headers.get("retry-after-ms", ""))
    if exact is not None:
        return exact
    value = headers.get("retry-after", "").strip()
    seconds = _number(value)
    if seconds is not None:
        return seconds * 1000
    if value:
        return _date_ms(value, now_ms)
    for name in ("x-ratelimit-reset-requests", "x-ratelimit-reset-tokens"):
        duration = _duration_ms(headers.get(name, ""))
        if duration is not None:
            return duration
    moment = headers.get("x-ratelimit-reset", "")
    return int(moment) - now_ms if _EPOCH_MS.fullmatch(moment) else None


def _number(text: str) -> float | None:
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text):
        return None
    return float(text)


def _date_ms(text: str, now_ms: int) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return (moment - epoch).total_seconds() * 1000 - now_ms


def _duration_ms(text: str) -> float | None:
    seconds = _number(text)
    if seconds is not None:
        return seconds * 1000
    match = _DURATION.fullmatch(text) if text else None
    if match is None or not any(match.groups()):
        return None
    hours, minutes, seconds, millis = (float(part or 0) for part in match.groups())
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + millis
