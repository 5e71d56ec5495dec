"""Money and time: windows that end, clocks that are turned, prices that change meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from billing import api_keys, generations, invariants
from billing.db import Ledger
from routing.budgets import (
    MS_PER_DAY,
    free_byok_scope,
    key_scope,
    organisation,
    owner_scope,
    window_end_day,
    window_start_day,
)
from routing.catalog.shapes import Price
from routing.store.jobs import Admitted, CannotPay
from tests.fixtures.charges import NOW_MS
from tests.money.till import FREE_REQUESTS, Till

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

LIMIT = 100
#: Where a calendar is odd: ends of months, years and weeks, leap days, and the hours at which
#: clocks are turned in Europe and America.
BOUNDARIES = [
    "2025-12-01T00:00",
    "2026-01-01T00:00",
    "2026-03-01T00:00",
    "2028-02-29T00:00",
    "2028-03-01T00:00",
    "2026-03-08T07:00",
    "2026-03-29T01:00",
    "2026-10-25T01:00",
    "2026-11-01T06:00",
    "2026-11-02T00:00",
]
ZONES = ["UTC", "America/New_York", "Europe/Warsaw", "Pacific/Kiritimati"]


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


@pytest.fixture(params=ZONES)
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A machine whose clock is on the wall of that place."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("reset", ["daily", "weekly", "monthly"])
def test_windows_meet_without_a_gap_wherever_the_machine_stands(boundary: str, reset: Any):
    for moment_ms in (ms(boundary) - 1, ms(boundary), ms(boundary) + 1):
        start, end = window_start_day(reset, moment_ms), window_end_day(reset, moment_ms)
        assert start is not None
        assert end is not None
        assert start * MS_PER_DAY <= moment_ms < end * MS_PER_DAY
        # The window before ends where this one starts, and the next starts where it ends
        assert window_end_day(reset, start * MS_PER_DAY - 1) == start
        assert window_start_day(reset, end * MS_PER_DAY) == end
        assert window_start_day(reset, end * MS_PER_DAY - 1) == start


@pytest.mark.parametrize("reset", ["daily", "weekly", "monthly"])
def test_a_limit_starts_anew_once_and_a_late_charge_stays_where_it_was_held(
    ledger: Ledger, fake_redis: Any, reset: Any
):
    # Given a limit used up in the last millisecond of a year that ends with a Thursday
    end = window_end_day(reset, ms("2026-01-01T00:00") - 1)
    assert end is not None
    midnight_ms = end * MS_PER_DAY
    till = Till(ledger, fake_redis)
    account_id = till.account(10**6)
    till.bound(account_id, organisation(account_id), reset, LIMIT * 3)
    key = till.record(till.key(account_id, limit_nano=LIMIT, limit_reset=reset))
    old = till.let(key, LIMIT, midnight_ms - 1)
    assert till.admit(old) == Admitted()
    assert isinstance(till.admit(till.let(key, 1, midnight_ms - 1)), CannotPay)
    # When the new window begins, while the old request still runs
    new = till.let(key, LIMIT, midnight_ms)
    # Then all of the limit is there again, once
    assert till.admit(new) == Admitted()
    assert isinstance(till.admit(till.let(key, 1, midnight_ms)), CannotPay)
    # And whatever is settled in the new window counts where it was held
    till.settle(till.charge(old, LIMIT), till.charge(new, LIMIT - 10))
    for moment_ms, spent in ((midnight_ms - 1, LIMIT), (midnight_ms, LIMIT - 10)):
        left = api_keys.budget_of(ledger, key.key_hash, moment_ms)
        assert left is not None
        assert left.available_nano == LIMIT - spent
        scopes = {
            key_scope(key.key_hash, reset, moment_ms): LIMIT - spent,
            owner_scope(organisation(account_id), reset, moment_ms): LIMIT * 3 - spent,
        }
        for scope, cached in scopes.items():
            assert int(fake_redis.hget(f"bud:{scope}", "avail")) == cached
            assert till.budgets.held_nano(scope) == 0
    assert till.admit(till.let(key, 10, midnight_ms + 1)) == Admitted()
    assert invariants.check(ledger, midnight_ms) == ()


def test_the_free_month_of_own_keys_starts_anew(ledger: Ledger, fake_redis: Any):
    first_ms = ms("2026-01-01T00:00")
    till = Till(ledger, fake_redis)
    account_id = till.account(10**6)
    key = till.record(till.key(account_id))
    december = [till.let(key, 9, first_ms - 1, byok=True) for _ in range(FREE_REQUESTS + 1)]
    told = [till.admit(one) for one in december]
    assert told[:-1] == [Admitted()] * FREE_REQUESTS
    assert told[-1] == CannotPay(
        free_byok_scope(account_id, first_ms - 1), FREE_REQUESTS, FREE_REQUESTS
    )
    # With a fee it is let in
    paid = till.let(key, 9, first_ms - 1, byok=True, fee_ppm=500_000)
    assert till.admit(paid) == Admitted()
    till.settle(*(till.charge(one, 9) for one in (*december[:-1], paid)))
    assert isinstance(till.admit(till.let(key, 9, first_ms - 1, byok=True)), CannotPay)
    # And in January three are free again
    january = [till.admit(till.let(key, 9, first_ms, byok=True)) for _ in range(FREE_REQUESTS + 1)]
    assert january[:-1] == [Admitted()] * FREE_REQUESTS
    assert isinstance(january[-1], CannotPay)
    assert invariants.check(ledger, first_ms) == ()


def test_a_price_that_changes_meanwhile_is_that_of_admission(ledger: Ledger, fake_redis: Any):
    # Given a request let in a millisecond before the price grows tenfold
    till = Till(ledger, fake_redis)
    key = till.record(till.key(till.account(10**6)))
    let = till.let(key, 100, NOW_MS - 1)
    assert till.admit(let) == Admitted()
    old = Price(from_ms=0, prompt_pico=1_000, completion_pico=1_000)
    new = Price(from_ms=NOW_MS, prompt_pico=10_000, completion_pico=10_000)
    later = till.let(key, 1_000, NOW_MS)
    assert till.admit(later) == Admitted()
    # When both end after the change
    ends = {"finished_ms": NOW_MS + 5_000}
    till.settle(
        till.charge(let, 100, price=old, **ends), till.charge(later, 100, price=new, **ends)
    )
    # Then each pays what it was let in for, and its record says which price that was
    costs = []
    for one in (let, later):
        found = generations.find(ledger, one.job_id, key.account_id)
        assert found is not None
        costs.append((found.cost_nano, found.price.from_ms))
    assert costs == [(100, 0), (1_000, NOW_MS)]
    assert invariants.check(ledger, NOW_MS) == ()
