"""What keys have spent, per UTC day, and what is left of their limits."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from billing.tables import api_keys, key_usage_days
from routing.budgets import LimitReset, key_scope, window_end_day, window_start_day
from routing.wire.account import Budget


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimit:
    """The limit of a key, and the version of its row."""

    key_hash: str
    account_id: str
    limit_nano: int | None
    limit_reset: LimitReset | None
    include_byok_in_limit: bool
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """A stretch of UTC days, `end` not included; None is without bound."""

    start: int | None
    end: int | None


def key_limits(connection: Connection, hashes: Collection[str]) -> dict[str, KeyLimit]:
    """The keys that exist, by hash."""
    table = api_keys
    rows = connection.execute(
        select(
            table.c.hash,
            table.c.account_id,
            table.c.limit_nano,
            table.c.limit_reset,
            table.c.include_byok_in_limit,
            table.c.version,
        ).where(table.c.hash.in_(sorted(hashes)))
    )
    return {
        row.hash: KeyLimit(
            key_hash=row.hash,
            account_id=row.account_id,
            limit_nano=row.limit_nano,
            limit_reset=row.limit_reset,
            include_byok_in_limit=row.include_byok_in_limit,
            version=row.version,
        )
        for row in rows
    }


def window_budgets(
    connection: Connection, moments: Iterable[tuple[KeyLimit, int]]
) -> tuple[Budget, ...]:
    """What is left of each limited key in the window of each moment (ms), once per scope.

    Give limits read in this transaction and before: spend newer than its version is harmless in a
    cache, spend older than its version would be kept as if it were fresh.
    """
    windows: dict[_Window, dict[str, tuple[KeyLimit, int]]] = {}
    for limit, moment_ms in moments:
        if limit.limit_nano is not None:
            window = _Window(
                start=window_start_day(limit.limit_reset, moment_ms),
                end=window_end_day(limit.limit_reset, moment_ms),
            )
            windows.setdefault(window, {})[limit.key_hash] = (limit, moment_ms)
    budgets: list[Budget] = []
    for window, keys in windows.items():
        spent = _spent(connection, keys, window)
        for name, (limit, moment_ms) in keys.items():
            usage_nano, byok_nano = spent.get(name, (0, 0))
            counted_nano = usage_nano + (byok_nano if limit.include_byok_in_limit else 0)
            budgets.append(
                Budget(
                    scope=key_scope(name, limit.limit_reset, moment_ms),
                    available_nano=(limit.limit_nano or 0) - counted_nano,
                    version=limit.version,
                )
            )
    return tuple(budgets)


def _spent(
    connection: Connection, hashes: Collection[str], window: _Window
) -> dict[str, tuple[int, int]]:
    table = key_usage_days
    query = select(
        table.c.key_hash, func.sum(table.c.usage_nano), func.sum(table.c.byok_usage_nano)
    ).where(table.c.key_hash.in_(sorted(hashes)))
    if window.start is not None:
        query = query.where(table.c.day >= window.start)
    if window.end is not None:
        query = query.where(table.c.day < window.end)
    rows = connection.execute(query.group_by(table.c.key_hash))
    return {name: (int(usage), int(byok)) for name, usage, byok in rows}
