"""release.lua and the caches of balances and keys."""

from __future__ import annotations

from dataclasses import replace

import pytest

from routing.store import redis_keys as keys
from routing.store.budgets import KEY_TTL_MS, RESERVE_MS, WINDOW_TTL_MS, Cached, KeyCache
from routing.store.jobs import Admitted, CannotPay, NotLoaded
from routing.wire.account import Budget, KeyRecord
from tests.fixtures.desk import ACCOUNT, KEY, Desk
from tests.fixtures.redis import Store

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]


def available(desk: Desk, scope: str = ACCOUNT) -> int:
    return int(desk.store.redis.hget(keys.budget(scope), "avail"))


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        pytest.param(6, 999, id="newer"),
        pytest.param(5, 500, id="the same"),
        pytest.param(4, 500, id="older"),
    ],
)
def test_a_cached_balance_only_moves_forward(desk: Desk, version: int, expected: int):
    desk.grant(500, version=5)

    desk.grant(999, version=version)

    assert available(desk) == expected


def test_the_first_version_may_be_zero(desk: Desk):
    desk.grant(7, version=0)

    assert available(desk) == 7


def test_settling_gives_the_hold_back_and_takes_the_price_in_one_step(desk: Desk):
    desk.grant(100)
    desk.admit()

    released = desk.budgets.post(
        (Budget(scope=ACCOUNT, available_nano=93, version=2),), settled=["gen-1"]
    )

    assert released == 1
    assert (available(desk), desk.budgets.held_nano(ACCOUNT)) == (93, 0)
    assert desk.store.redis.exists(keys.hold("gen-1")) == 0


def test_settling_twice_gives_back_once(desk: Desk):
    desk.grant(100)
    desk.admit("gen-1")
    desk.admit("gen-2")

    assert desk.budgets.post((), ["gen-1"]) == 1
    assert desk.budgets.post((), ["gen-1"]) == 0

    assert desk.budgets.held_nano(ACCOUNT) == 10


def test_a_lost_cache_neither_goes_below_zero_nor_counts_as_a_balance(desk: Desk):
    desk.grant(100)
    desk.admit()
    desk.store.redis.delete(keys.budget(ACCOUNT))

    assert desk.budgets.post((), ["gen-1"]) == 1

    assert desk.budgets.held_nano(ACCOUNT) == 0
    assert desk.admit("gen-2") == NotLoaded(ACCOUNT)
    desk.grant(100, version=1)
    assert desk.admit("gen-2") == Admitted()


def test_what_is_reserved_nobody_else_spends(desk: Desk):
    # Given a balance of which requests hold a part
    desk.grant(100)
    desk.admit("gen-1", hold_nano=30)
    # When the rest is reserved, twice under one name
    assert [desk.budgets.reserve(ACCOUNT, "refund 1") for _ in range(2)] == [70, 70]
    # Then nobody is let in, until it is given back with the balance that is left
    assert desk.admit("gen-2", hold_nano=1) == CannotPay(ACCOUNT, 100, 100)
    left = Budget(scope=ACCOUNT, available_nano=50, version=2)
    assert desk.budgets.post((left,), ["refund 1"]) == 1
    assert (available(desk), desk.budgets.held_nano(ACCOUNT)) == (50, 30)
    assert desk.admit("gen-2", hold_nano=20) == Admitted()
    # And a reservation that nobody gives back is found
    desk.budgets.reserve(ACCOUNT, "refund 2")
    assert desk.budgets.reserve(ACCOUNT, "refund 3") == 0
    desk.grant(150, version=3)
    assert desk.budgets.reserve(ACCOUNT, "refund 3") == 100
    later_ms = desk.store.now_ms() + RESERVE_MS + 1
    assert desk.budgets.overdue_holds(later_ms, most=10) == ["refund 3"]


def test_what_is_not_cached_cannot_be_reserved(desk: Desk):
    assert desk.budgets.reserve(ACCOUNT, "refund 1") is None
    desk.grant(-5)
    assert desk.budgets.reserve(ACCOUNT, "refund 1") == 0
    assert desk.budgets.open_holds() == 0


def test_limits_of_keys_leave_the_cache_and_accounts_stay(desk: Desk):
    desk.grant()
    desk.grant(scope=KEY)

    redis = desk.store.redis
    assert redis.ttl(keys.budget(ACCOUNT)) == -1
    assert 0 < redis.pttl(keys.budget(KEY)) <= WINDOW_TTL_MS


def test_holds_older_than_their_time_are_found(desk: Desk):
    desk.grant()
    desk.admit("gen-1")
    desk.admit("gen-2", deadline_ms=120_000)
    assert desk.budgets.open_holds() == 2

    overdue = desk.budgets.overdue_holds(desk.store.now_ms() + 700_000, most=10)

    assert overdue == ["gen-1"]
    assert desk.budgets.overdue_holds(desk.store.now_ms(), most=10) == []


def test_a_cached_key_comes_back_whole_and_can_be_dropped(store: Store):
    cache = KeyCache(store.redis)
    record = KeyRecord(
        key_hash="h",
        account_id="ada",
        kind="inference",
        label="sk-or-v1-0e6...c96",
        limit_nano=5,
        limit_reset="daily",
        expires_ms=7,
        fetched_ms=3,
    )
    assert cache.get("h") == Cached(None, b"")

    assert cache.put(record, b"")
    assert cache.get("h") == Cached(record, b"")
    assert 0 < store.redis.pttl(keys.key_record("h")) <= KEY_TTL_MS
    assert cache.put(replace(record, disabled=True), b"")
    assert cache.get("h").record == replace(record, disabled=True)

    cache.drop("h")
    assert cache.get("h") == Cached(None, b"1")


def test_what_was_read_before_a_change_is_not_cached_after_it(store: Store):
    # Given a front door that missed a key in the cache and reads it from SQL
    cache = KeyCache(store.redis)
    record = KeyRecord(key_hash="h", account_id="ada", kind="inference", label="l")
    seen = cache.get("h").mark
    # When the key is changed meanwhile, and another with it
    cache.drop("h", "other")
    # Then what was read is thrown away, and the next reader's is kept
    assert not cache.put(record, seen)
    assert cache.get("h").record is None
    assert cache.put(record, cache.get("h").mark)
    assert cache.get("h").record == record
    # And the mark outlives what it guards
    assert KEY_TTL_MS < store.redis.pttl(keys.key_mark("h")) <= 2 * KEY_TTL_MS
    cache.drop()
