"""Figures per hour in the ledger, and the sweep that writes them there."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from sqlalchemy import func, insert, select

from billing.db import Ledger
from billing.figures import KEPT_HOURS, forget_hours, hours_of, store_hour, stored_hours
from billing.tables import accounts, endpoint_hours
from routing.clock import FixedClock
from routing.figures import Counts, Histogram, Seen, ToolTally
from routing.settings import Settings
from routing.store.figures import Figures
from tests.fixtures.redis import FakeTime
from workers.figures import Recorder
from workers.sweep import Sweeper

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]
E = "acme/eu:a/m"


def counts(ok: int) -> Counts:
    return Counts(
        plain=Counter({"ok": ok, "refused": 2, "tr": 5, "tw": 4, "tn": 6, "tv": 3, "tm": 3}),
        latency=Histogram(Counter({-3: 1, 61: ok})),
        throughput=Histogram(Counter({48: ok})),
    )


def rows(ledger: Ledger) -> int:
    with ledger.reading() as connection:
        return connection.execute(select(func.count()).select_from(endpoint_hours)).scalar_one()


def test_an_hour_comes_back_as_it_went_in(ledger: Ledger):
    store_hour(ledger, 490_000, {E: counts(7), "other": counts(1)})
    store_hour(ledger, 490_001, {E: Counts()})
    assert hours_of(ledger, E, 0) == {490_000: counts(7), 490_001: Counts()}
    assert hours_of(ledger, E, 490_001) == {490_001: Counts()}
    assert hours_of(ledger, E, 0)[490_000].tools == ToolTally(
        requests=5, with_calls=4, calls=6, valid=3, mismatched=3
    )
    assert stored_hours(ledger, 490_000) == {490_000, 490_001}
    assert stored_hours(ledger, 490_002) == frozenset()


def test_doing_it_twice_is_harmless_and_the_last_one_counts(ledger: Ledger):
    for ok in (7, 7, 9):
        store_hour(ledger, 490_000, {E: counts(ok)})
    assert hours_of(ledger, E, 0) == {490_000: counts(9)}
    assert rows(ledger) == 1


def test_many_endpoints_and_none(ledger: Ledger):
    store_hour(ledger, 490_000, {f"e{number}": counts(number) for number in range(1_200)})
    store_hour(ledger, 490_001, {})
    assert rows(ledger) == 1_200


def test_old_hours_are_forgotten(ledger: Ledger):
    for hour in (100, 101, 102):
        store_hour(ledger, hour, {E: counts(1)})
    assert forget_hours(ledger, 102) == 2
    assert stored_hours(ledger, 0) == {102}


def test_an_account_has_an_empty_policy_at_first(ledger: Ledger):
    with ledger.writing() as connection:
        connection.execute(insert(accounts).values(id="a", name="A", created_ms=1))
        assert connection.execute(select(accounts.c.policy)).scalar_one() == "{}"


def test_the_sweep_writes_hours_that_are_over(ledger: Ledger, fake_redis: Any, fake_time: FakeTime):
    # Given calls in an hour, and a year-old row
    figures = Figures(fake_redis)
    recorder = Recorder(figures)
    sweeper = Sweeper(ledger, fake_redis, Settings(), FixedClock())
    hour = figures.now_s() // 3_600
    store_hour(ledger, hour - KEPT_HOURS, {E: counts(1)})
    recorder.seen(Seen(endpoint_id=E, outcome="ok", first_byte_ms=100))
    recorder.flush()
    # Then the hour is not written before it is over, and the old row stays until then
    assert sweeper.keep_figures() == 0
    assert stored_hours(ledger, 0) == {hour - KEPT_HOURS}
    # And once it is over it is written once
    fake_time.advance(3_600_000)
    recorder.seen(Seen(endpoint_id=E, outcome="fault"))
    recorder.flush()
    assert sweeper.keep_figures() == 1
    assert sweeper.keep_figures() == 0
    assert stored_hours(ledger, 0) == {hour}
    stored = hours_of(ledger, E, 0)[hour]
    assert stored.plain == {"ok": 1}
    assert stored.latency.total == 1
    # And so is one the sweep missed while it was away
    fake_time.advance(20 * 3_600_000)
    assert sweeper.keep_figures() == 1
    assert hours_of(ledger, E, hour + 1)[hour + 1].plain == {"fault": 1}
