"""figures.lua and its reader: counts by Redis's clock, closed minutes read once."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from routing.errors import Unavailable
from routing.figures import EndpointFigures, Seen, ToolTally, counters
from routing.store import redis_keys as keys
from routing.store.connect import connect
from routing.store.figures import (
    HOUR_LIFE_MS,
    MARK_LIFE_MS,
    MINUTE_LIFE_MS,
    Figures,
    FiguresReader,
)
from tests.fixtures.redis import FakeTime, Store

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]
E, OTHER = "acme/eu:a/m:free", "odd|name:a/m"
STREAM = Seen(
    endpoint_id=E,
    outcome="ok",
    first_byte_ms=200,
    completion_tokens=90,
    elapsed_ms=1_000,
    tools=ToolTally(requests=1, with_calls=1, calls=2, valid=1, unknown=1),
)


def batch(*calls: Seen) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for call in calls:
        for what, count in counters(call):
            found[call.endpoint_id, what] += count
    return found


class Watched(Figures):
    """Remembers which periods were asked for."""

    def __init__(self, redis: Any) -> None:
        super().__init__(redis)
        self.asked: list[tuple[str, int]] = []

    def minutes(self, numbers):
        self.asked += [("m", number) for number in numbers]
        return super().minutes(numbers)

    def totals(self, numbers):
        self.asked += [("h", number) for number in numbers]
        return super().totals(numbers)


def test_counts_come_back_as_they_went_in(store: Store):
    figures = Figures(store.redis)
    figures.add(batch(*[STREAM] * 12, Seen(endpoint_id=OTHER, outcome="fault")))
    figures.add(batch(Seen(endpoint_id=E, outcome="fault"), Seen(endpoint_id=E, outcome="limited")))

    history = FiguresReader(figures).read()

    assert history.recent == history.endpoints == {E, OTHER}
    found = history.figures(E)
    assert found.uptime_5m == found.uptime_30m == found.uptime_1d == 92.31
    assert found.requests_1d == 14
    assert found.tools_1d == ToolTally(requests=12, with_calls=12, calls=24, valid=12, unknown=12)
    assert found.latency_30m is not None
    assert found.latency_30m.p50 == pytest.approx(200, rel=0.05)
    assert found.throughput_30m is not None
    assert found.throughput_30m.p90 == pytest.approx(90, rel=0.05)
    assert history.figures(OTHER).requests_1d == 1


def test_what_is_over_is_forgotten_in_time(store: Store):
    figures = Figures(store.redis)
    figures.add(batch(STREAM))
    names = {name.decode(): store.redis.pttl(name) for name in store.redis.keys("fig:*")}
    lives = {name[:6]: life for name, life in names.items()}
    assert MINUTE_LIFE_MS - 60_000 < lives["fig:m:"] <= MINUTE_LIFE_MS
    assert HOUR_LIFE_MS - 60_000 < lives["fig:h:"] <= HOUR_LIFE_MS


def test_only_the_current_and_the_just_closed_minute_are_read_again(
    fake_redis: Any, fake_time: FakeTime
):
    figures = Watched(fake_redis)
    reader = FiguresReader(figures)
    first = figures.now_s() // 60
    figures.add(batch(*[STREAM] * 10))
    reader.read()
    assert len(figures.asked) == 30 + 24

    # When a minute passes after a late call in the first one
    figures.add(batch(*[STREAM] * 10))
    fake_time.advance(60_000)
    figures.asked.clear()
    assert reader.read().figures(E).requests_1d == 20
    assert figures.asked == [("m", first + 1), ("m", first), ("h", first // 60)]

    # Then the first one is not asked for any more
    figures.asked.clear()
    assert reader.read().figures(E).uptime_5m == 100.0
    assert figures.asked == [("m", first + 1), ("h", first // 60)]


def test_windows_move_on(fake_redis: Any, fake_time: FakeTime):
    figures = Figures(fake_redis)
    reader = FiguresReader(figures)
    figures.add(batch(*[STREAM] * 10))

    fake_time.advance(5 * 60_000)
    found = reader.read()
    assert (found.figures(E).uptime_5m, found.figures(E).uptime_30m) == (None, 100.0)
    assert E in found.latency()

    fake_time.advance(25 * 60_000)
    found = reader.read()
    assert found.figures(E).uptime_30m is None
    assert found.figures(E).uptime_1d == 100.0
    assert found.latency() == {}

    fake_time.advance(24 * 3_600_000)
    assert reader.read().figures(E) == EndpointFigures()


def test_redis_away():
    away = Figures(connect("unix:///nowhere/redis.sock", "test"))
    with pytest.raises(Unavailable):
        FiguresReader(away).read()
    with pytest.raises(Unavailable):
        away.add(batch(STREAM))


def test_names_of_keys_are_those_of_the_script(store: Store):
    figures = Figures(store.redis)
    before = figures.now_s()
    figures.add(batch(STREAM), "b1")
    after = figures.now_s()
    minutes = {keys.figures_of_minute(s // 60).encode() for s in (before, after)}
    hours = {keys.figures_of_hour(s // 3_600).encode() for s in (before, after)}
    values = {keys.values_of_hour(s // 3_600).encode() for s in (before, after)}
    found = set(store.redis.keys("*")) - {keys.figures_batch("b1").encode()}
    assert len(found) == 3
    assert found & minutes
    assert found & hours
    assert found & values


def test_a_batch_that_is_sent_again_is_counted_once(store: Store):
    figures = Figures(store.redis)
    for batch_id in ("b1", "b1", "b2", "b1"):
        figures.add(batch(STREAM), batch_id)

    assert FiguresReader(figures).read().figures(E).requests_1d == 2
    assert MARK_LIFE_MS - 60_000 < store.redis.pttl(keys.figures_batch("b1")) <= MARK_LIFE_MS


def test_histograms_of_hours_are_kept_for_the_ledger_only(store: Store):
    figures = Figures(store.redis)
    figures.add(batch(*[STREAM] * 6, Seen(endpoint_id="acme|L9:a/m", outcome="fault")))
    hours = range(figures.now_s() // 3_600, figures.now_s() // 3_600 - 2, -1)

    totals = figures.totals(hours)

    (known,) = (period[E] for period in totals if E in period)
    assert (known.attempts, known.latency.total, known.throughput.total) == (6, 0, 0)
    (found,) = (period[E] for period in figures.hours(hours) if E in period)
    assert (found.attempts, found.latency.total, found.throughput.total) == (6, 6, 6)
    assert found.tools.calls == 12
    (odd,) = (period["acme|L9:a/m"] for period in totals if "acme|L9:a/m" in period)
    assert odd.plain["fault"] == 1
