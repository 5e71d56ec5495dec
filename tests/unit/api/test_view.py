"""What a front door knows of the fleet, and what Prometheus is told of endpoints."""

from __future__ import annotations

from typing import Any

import gevent
import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.view import HealthView
from routing.breaker import BASE_OPEN_MS
from routing.catalog.live import LiveCatalog
from routing.clock import FixedClock
from routing.figures import (
    DOWN,
    NORMAL,
    WORKED_OUT_MAX,
    Counts,
    EndpointFigures,
    History,
    Seen,
    ToolTally,
)
from routing.store.figures import FIELDS_MAX, Figures
from routing.store.health import Health
from tests.fixtures.redis import FakeTime
from workers.figures import Recorder

FAST, SLOW = "acme:a/m", "tardy/eu:a/m"


def stream(endpoint_id: str, first_byte_ms: int) -> Seen:
    return Seen(
        endpoint_id=endpoint_id,
        outcome="ok",
        first_byte_ms=first_byte_ms,
        completion_tokens=100,
        elapsed_ms=10 * first_byte_ms,
        tools=ToolTally(requests=1, with_calls=1, calls=2, valid=1, mismatched=1),
    )


@pytest.fixture
def view(fake_redis: Any, fake_time: FakeTime, live: LiveCatalog) -> HealthView:
    assert fake_time.now_ms
    return HealthView(fake_redis, live, FixedClock(fake_time.now_ms), "web1")


def record(redis: Any, *calls: Seen) -> None:
    recorder = Recorder(Figures(redis))
    for call in calls:
        recorder.seen(call)
    recorder.flush()


def test_an_endpoint_never_called_has_no_figures(view: HealthView):
    view.refresh_figures()
    assert view.figures(FAST) == EndpointFigures()
    assert view.current().latency == {}


def test_figures_of_the_fleet(view: HealthView, fake_redis: Any):
    record(fake_redis, *[stream(FAST, 100)] * 20, *[stream(SLOW, 1_000)] * 5)
    assert view.figures(FAST) == EndpointFigures()

    view.refresh()
    view.refresh_figures()

    found = view.figures(FAST)
    assert (found.uptime_5m, found.requests_1d, found.status) == (100.0, 20, NORMAL)
    outlook = view.current()
    assert set(outlook.latency) == set(outlook.throughput) == {FAST, SLOW}
    assert outlook.latency[SLOW].p90 == pytest.approx(1_000, rel=0.05)
    assert outlook.throughput[FAST].p90 == pytest.approx(100, rel=0.05)
    assert outlook.throughput[SLOW].p50 == pytest.approx(10, rel=0.05)


def test_outages_are_seen_between_two_looks_at_the_figures(view: HealthView, fake_redis: Any):
    record(fake_redis, *[stream(FAST, 100)] * 5)
    view.refresh_figures()
    for _ in range(10):
        Health(fake_redis).outcome(FAST, "", "err")

    view.refresh()

    assert view.current().unstable == {FAST}
    assert set(view.current().latency) == {FAST}


def test_an_endpoint_whose_breaker_is_open_is_down(view: HealthView, fake_redis: Any):
    record(fake_redis, *[stream(FAST, 100)] * 5)
    for _ in range(10):
        Health(fake_redis).outcome(FAST, "", "err")

    view.refresh_figures()

    assert view.figures(FAST).status == DOWN


def test_an_outage_that_nobody_looked_into_again_is_shown_no_longer_than_its_pause(
    view: HealthView, fake_redis: Any, fake_time: FakeTime
):
    record(fake_redis, *[stream(FAST, 100)] * 5)
    for _ in range(10):
        Health(fake_redis).outcome(FAST, "", "err")
    fake_time.advance(BASE_OPEN_MS)

    view.refresh_figures()

    assert Health(fake_redis).breakers([FAST]) == {FAST: "open"}
    assert view.figures(FAST).status == NORMAL


def test_no_figures_are_worked_out_while_somebody_waits_for_them(
    view: HealthView, fake_redis: Any, fake_time: FakeTime, monkeypatch: pytest.MonkeyPatch
):
    record(fake_redis, *[stream(SLOW, 100)] * 20)
    fake_time.advance(40 * 60_000)
    record(fake_redis, *[stream(FAST, 100)] * 20)
    view.refresh_figures()
    monkeypatch.setattr(History, "_worked_out", None)

    found = view.all_figures()

    assert {name: one.requests_1d for name, one in found.items()} == {FAST: 20, SLOW: 20}


@pytest.mark.parametrize(
    ("work", "at_once"),
    [
        ((History, "_worked_out"), WORKED_OUT_MAX),
        ((Counts, "add"), 500),
        ((Counts, "count"), FIELDS_MAX),
    ],
)
def test_others_get_their_turn_while_many_figures_are_read(
    view: HealthView,
    fake_redis: Any,
    fake_time: FakeTime,
    monkeypatch: pytest.MonkeyPatch,
    work: tuple[Any, str],
    at_once: int,
):
    # Given: more of each kind of work than is done at once.
    for _ in range(3):
        record(fake_redis, *[stream(f"acme:a/m{number}", 100) for number in range(200)])
        fake_time.advance(60_000)
    done, most = [0], [0]
    real = getattr(*work)

    def counted(*args: Any, **more: Any) -> Any:
        done[0] += 1
        most[0] = max(most[0], done[0])
        return real(*args, **more)

    def other() -> None:
        while True:
            done[0] = 0
            seen.add(len(view.all_figures()))
            gevent.sleep(0)

    monkeypatch.setattr(*work, counted)
    seen: set[int] = set()
    greenlet = gevent.spawn(other)
    view.refresh_figures()
    gevent.sleep(0)
    greenlet.kill()

    assert 0 < most[0] <= at_once
    assert seen <= {0, 200}  # nobody saw half of them


def test_prometheus_is_told_of_endpoints_with_figures_only(site):
    record(site.redis, *[stream(FAST, 100)] * 12, *[stream(SLOW, 1_000)] * 4)
    site.parts.view.refresh_figures()

    text = site.client.get("/metrics").text

    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("router_endpoint_")
    }
    assert found.pop(("router_endpoint_uptime", FAST)) == 100
    assert found.pop(("router_endpoint_tool_success", FAST)) == 0.5
    assert found.pop(("router_endpoint_tool_success", SLOW)) == 0.5
    for percent in ("p50", "p75", "p90", "p99"):
        latency = found.pop(("router_endpoint_latency_ms", FAST, percent))
        assert latency == pytest.approx(100, rel=0.05)
        throughput = found.pop(("router_endpoint_throughput", FAST, percent))
        assert throughput == pytest.approx(100, rel=0.05)
    assert found == {}
