"""Counting in one process: told once a second, bounded while Redis is away."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routing.errors import Unavailable
from routing.figures import Seen
from routing.store.figures import BATCH_MAX, Figures, FiguresReader
from workers.figures import PENDING_MAX, Recorder

E = "acme:a/m"
OK = Seen(endpoint_id=E, outcome="ok")


class Flaky(Figures):
    """Away, or heard by Redis without hearing of it, when told so."""

    away = False
    deaf = False
    trips = 0

    def add(self, batch, batch_id=None):
        self.trips += 1
        if self.away:
            raise Unavailable("away")
        assert len(batch) <= BATCH_MAX
        super().add(batch, batch_id)
        if self.deaf:
            raise Unavailable("too late")


@pytest.fixture
def figures(fake_redis: Any) -> Flaky:
    return Flaky(fake_redis)


def requests(figures: Figures, endpoint_id: str = E) -> int:
    return FiguresReader(figures).read().figures(endpoint_id).requests_1d


def test_calls_are_told_in_bulk(figures: Flaky):
    recorder = Recorder(figures)
    for _ in range(1_000):
        recorder.seen(OK)
    assert figures.trips == 0
    recorder.flush()
    assert (figures.trips, requests(figures)) == (1, 1_000)
    recorder.flush()
    assert (figures.trips, requests(figures)) == (1, 1_000)


def test_counts_of_two_processes_are_added_up(figures: Flaky):
    for count in (3, 4):
        recorder = Recorder(figures)
        for _ in range(count):
            recorder.seen(OK)
        recorder.flush()
    assert requests(figures) == 7


def test_what_could_not_be_told_is_told_later(figures: Flaky):
    recorder = Recorder(figures)
    figures.away = True
    for _ in range(3):
        recorder.seen(OK)
        recorder.flush()
    figures.away = False
    recorder.flush()
    assert requests(figures) == 3


def test_what_arrived_though_nobody_heard_of_it_is_counted_once(figures: Flaky):
    recorder = Recorder(figures)
    recorder.seen(OK)
    figures.deaf = True
    for _ in range(3):
        recorder.flush()
    recorder.seen(OK)
    figures.deaf = False
    recorder.flush()
    assert (figures.trips, requests(figures)) == (5, 2)


def test_a_long_absence_costs_the_oldest_counts_only(figures: Flaky):
    recorder = Recorder(figures)
    figures.away = True
    for number in range(PENDING_MAX + 5):
        recorder.seen(Seen(endpoint_id=f"e{number}", outcome="ok"))
        recorder.flush()
    figures.away = False
    recorder.flush()
    kept = FiguresReader(figures).read().endpoints
    assert kept == {f"e{number}" for number in range(5, PENDING_MAX + 5)}


def test_a_large_batch_is_told_in_parts(figures: Flaky):
    recorder = Recorder(figures)
    for number in range(BATCH_MAX + 1):
        recorder.seen(Seen(endpoint_id=f"e{number}", outcome="ok"))
    recorder.flush()
    assert figures.trips == 2
    assert len(FiguresReader(figures).read().endpoints) == BATCH_MAX + 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.lists(st.sampled_from(["seen", "flush", "away", "deaf", "back"]), max_size=40))
def test_nothing_is_lost_or_counted_twice_in_a_short_absence(fake_redis: Any, steps: list[str]):
    fake_redis.flushall()
    figures = Flaky(fake_redis)
    recorder = Recorder(figures)
    for step in steps:
        if step == "seen":
            recorder.seen(OK)
        elif step == "flush":
            recorder.flush()
        else:
            figures.away, figures.deaf = step == "away", step == "deaf"
    figures.away = figures.deaf = False
    recorder.flush()
    assert requests(figures) == steps.count("seen")
