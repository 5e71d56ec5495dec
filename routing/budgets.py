"""Which pot of money a hold is taken from: the one rule front door and settlement must share.

A request belongs to the window it was admitted in, even when it is settled in the next one. Both
sides therefore compute the scope from the same moment: the job's `created_ms`.
"""

from __future__ import annotations

from datetime import date
from typing import Literal

LimitReset = Literal["daily", "weekly", "monthly"]
#: Of a budget: as a key's limit, with a name for the one that never starts anew.
Interval = Literal["daily", "weekly", "monthly", "lifetime"]

MS_PER_DAY = 86_400_000
#: Proleptic ordinal of 1970-01-01: turns days since the epoch into dates and back.
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
#: 1970-01-01 was a Thursday: three days after the Monday its week began with.
_EPOCH_WEEKDAY = 3


def day_of(now_ms: int) -> int:
    """Days since 1970-01-01 UTC."""
    return now_ms // MS_PER_DAY


def account_scope(account_id: str) -> str:
    """The credit of an account; also the id of its ledger account."""
    return f"acct:{account_id}"


def key_scope(key_hash: str, limit_reset: LimitReset | None, now_ms: int) -> str:
    """The limit of a key in the window that holds `now_ms`; `@ever` when the limit never resets."""
    start = window_start_day(limit_reset, now_ms)
    return f"key:{key_hash}@{'ever' if start is None else start}"


def organisation(account_id: str) -> str:
    """Whose spend is all that an account spends."""
    return f"org:{account_id}"


def member(account_id: str, user_id: str) -> str:
    """Whose spend is that of all keys one member made in an account."""
    return f"member:{account_id}/{user_id}"


def key_owner(key_hash: str) -> str:
    """Whose spend is that of one key; for budgets it has besides its own limit."""
    return f"spend:{key_hash}"


def reset_of(interval: Interval) -> LimitReset | None:
    """The interval as a limit knows it."""
    return None if interval == "lifetime" else interval


def owner_scope(owner: str, interval: Interval, now_ms: int) -> str:
    """A budget of an owner in the window that holds `now_ms`."""
    start = window_start_day(reset_of(interval), now_ms)
    return f"{owner}@{interval}" if start is None else f"{owner}@{interval}-{start}"


def free_byok_scope(account_id: str, now_ms: int) -> str:
    """Requests with provider keys of its own that an account makes without a fee in a month."""
    return f"byok:{account_id}@{window_start_day('monthly', now_ms)}"


def window_start_day(limit_reset: LimitReset | None, now_ms: int) -> int | None:
    """First UTC day of the window; weeks begin on Monday. None for a limit that never resets."""
    day = day_of(now_ms)
    if limit_reset is None:
        return None
    if limit_reset == "daily":
        return day
    if limit_reset == "weekly":
        return day - (day + _EPOCH_WEEKDAY) % 7
    return _first_of_month(day)


def window_end_day(limit_reset: LimitReset | None, now_ms: int) -> int | None:
    """First UTC day after the window: when the limit resets. None for one that never does."""
    start = window_start_day(limit_reset, now_ms)
    if start is None:
        return None
    if limit_reset == "daily":
        return start + 1
    if limit_reset == "weekly":
        return start + 7
    return _first_of_month(start + 31)  # a month has at most 31 days, and the next at least 28


def _first_of_month(day: int) -> int:
    return date.fromordinal(day + _EPOCH_ORDINAL).replace(day=1).toordinal() - _EPOCH_ORDINAL
