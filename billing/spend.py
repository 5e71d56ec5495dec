"""What keys, members and accounts have spent, per UTC day, and what is left of their limits."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, func, select

from billing.tables import accounts, api_keys, budgets, key_usage_days, spend_days
from routing.budgets import (
    Interval,
    LimitReset,
    free_byok_scope,
    key_owner,
    key_scope,
    member,
    organisation,
    owner_scope,
    reset_of,
    window_end_day,
    window_start_day,
)
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
class Rule:
    """A budget as it is written down, and the version of its account."""

    id: str
    account_id: str
    owner: str
    interval: Interval
    limit_nano: int
    include_byok: bool
    version: int


def owners_of(account_id: str, key_hash: str, user_id: str) -> tuple[str, ...]:
    """Whose budgets a request draws on: its key's, its maker's, its account's."""
    of_member = (member(account_id, user_id),) if user_id else ()
    return (key_owner(key_hash), *of_member, organisation(account_id))


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
            window = _window(limit.limit_reset, moment_ms)
            windows.setdefault(window, {})[limit.key_hash] = (limit, moment_ms)
    left: list[Budget] = []
    for window, keys in windows.items():
        spent = _spent(connection, keys, window)
        for name, (limit, moment_ms) in keys.items():
            usage_nano, byok_nano = spent.get(name, (0, 0))
            counted_nano = usage_nano + (byok_nano if limit.include_byok_in_limit else 0)
            left.append(
                Budget(
                    scope=key_scope(name, limit.limit_reset, moment_ms),
                    available_nano=(limit.limit_nano or 0) - counted_nano,
                    version=limit.version,
                )
            )
    return tuple(left)


def rules_of(connection: Connection, owners: Collection[str]) -> dict[str, tuple[Rule, ...]]:
    """The budgets of some owners, by owner."""
    table = budgets
    rows = connection.execute(
        select(
            table.c.id,
            table.c.account_id,
            table.c.owner,
            table.c.interval,
            table.c.limit_nano,
            table.c.include_byok,
            accounts.c.version,
        )
        .join(accounts, accounts.c.id == table.c.account_id)
        .where(table.c.owner.in_(sorted(owners)))
        .order_by(table.c.owner, table.c.interval)
    )
    found: dict[str, list[Rule]] = {}
    for row in rows.mappings():
        found.setdefault(row["owner"], []).append(Rule(**row))
    return {owner: tuple(rules) for owner, rules in found.items()}


def rule_budgets(connection: Connection, moments: Iterable[tuple[Rule, int]]) -> tuple[Budget, ...]:
    """What is left of each budget in the window of each moment (ms), once per scope.

    As with `window_budgets`, give rules that were read in this transaction and before.
    """
    windows: dict[_Window, dict[str, tuple[Rule, int]]] = {}
    for rule, moment_ms in moments:
        window = _window(reset_of(rule.interval), moment_ms)
        windows.setdefault(window, {})[rule.id] = (rule, moment_ms)
    left: list[Budget] = []
    for window, rules in windows.items():
        spent = _spent_by_owners(connection, {rule.owner for rule, _ in rules.values()}, window)
        for rule, moment_ms in rules.values():
            usage_nano, byok_nano = spent.get(rule.owner, (0, 0))
            counted_nano = usage_nano + (byok_nano if rule.include_byok else 0)
            left.append(
                Budget(
                    scope=owner_scope(rule.owner, rule.interval, moment_ms),
                    available_nano=rule.limit_nano - counted_nano,
                    version=rule.version,
                )
            )
    return tuple(left)


def free_byok_budgets(
    connection: Connection, moments: Iterable[tuple[str, int]], free_requests: int
) -> tuple[Budget, ...]:
    """Requests that accounts may still make with their own provider keys before there is a fee."""
    windows: dict[_Window, dict[str, int]] = {}
    for account_id, moment_ms in moments:
        windows.setdefault(_window("monthly", moment_ms), {})[account_id] = moment_ms
    known = {account_id for ids in windows.values() for account_id in ids}
    # Before the sums, as everywhere: a sum newer than its version is harmless in a cache.
    versions = {
        row.id: row.version
        for row in connection.execute(
            select(accounts.c.id, accounts.c.version).where(accounts.c.id.in_(sorted(known)))
        )
    }
    table = spend_days
    left: list[Budget] = []
    for window, ids in windows.items():
        query = (
            select(table.c.owner, func.sum(table.c.byok_requests))
            .where(
                table.c.owner.in_([organisation(name) for name in sorted(ids)]),
                *_within(table.c.day, window),
            )
            .group_by(table.c.owner)
        )
        used = {owner: int(requests) for owner, requests in connection.execute(query)}
        left += [
            Budget(
                scope=free_byok_scope(name, moment_ms),
                available_nano=free_requests - used.get(organisation(name), 0),
                version=versions.get(name, 0),
            )
            for name, moment_ms in ids.items()
        ]
    return tuple(left)


def spent_by(
    connection: Connection, owners: Collection[str], interval: Interval, moment_ms: int
) -> dict[str, tuple[int, int]]:
    """What owners have spent in the window of a moment: with credit, and with provider keys."""
    return _spent_by_owners(connection, owners, _window(reset_of(interval), moment_ms))


def _window(reset: LimitReset | None, moment_ms: int) -> _Window:
    return _Window(start=window_start_day(reset, moment_ms), end=window_end_day(reset, moment_ms))


def _within(day: ColumnElement[int], window: _Window) -> list[ColumnElement[bool]]:
    bounds = []
    if window.start is not None:
        bounds.append(day >= window.start)
    if window.end is not None:
        bounds.append(day < window.end)
    return bounds


def _spent_by_owners(
    connection: Connection, owners: Collection[str], window: _Window
) -> dict[str, tuple[int, int]]:
    """Keys have days of their own; those of all others are in one table."""
    hashes = {owner: owner.removeprefix(key_owner("")) for owner in owners}
    of_keys = {owner: name for owner, name in hashes.items() if name != owner}
    table = spend_days
    query = (
        select(table.c.owner, func.sum(table.c.usage_nano), func.sum(table.c.byok_usage_nano))
        .where(table.c.owner.in_(sorted(owners)), *_within(table.c.day, window))
        .group_by(table.c.owner)
    )
    rows = connection.execute(query)
    spent = {owner: (int(usage), int(byok)) for owner, usage, byok in rows}
    if of_keys:
        by_hash = _spent(connection, of_keys.values(), window)
        spent |= {owner: by_hash[name] for owner, name in of_keys.items() if name in by_hash}
    return spent


def _spent(
    connection: Connection, hashes: Collection[str], window: _Window
) -> dict[str, tuple[int, int]]:
    table = key_usage_days
    query = (
        select(table.c.key_hash, func.sum(table.c.usage_nano), func.sum(table.c.byok_usage_nano))
        .where(table.c.key_hash.in_(sorted(hashes)), *_within(table.c.day, window))
        .group_by(table.c.key_hash)
    )
    rows = connection.execute(query)
    return {name: (int(usage), int(byok)) for name, usage, byok in rows}
