"""Histograms, outcomes, and the figures that follow from what was counted."""

from __future__ import annotations

from collections import Counter
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.errors import (
    AnswerLost,
    UpstreamDenied,
    UpstreamDown,
    UpstreamError,
    UpstreamLimited,
    UpstreamRejected,
    UpstreamTimeout,
)
from routing.figures import (
    DEGRADED,
    DOWN,
    NORMAL,
    Counts,
    EndpointFigures,
    Histogram,
    History,
    Period,
    Seen,
    ToolTally,
    counters,
    outcome_of,
)

E = "acme/eu:a/m"
VALUES = st.lists(
    st.one_of(
        st.integers(min_value=1, max_value=2**28),
        st.floats(min_value=0.01, max_value=2**28),
    ),
    max_size=200,
)


def histogram(values: list[float]) -> Histogram:
    found = Histogram()
    for value in values:
        found.add(value)
    return found


def counted(*calls: Seen) -> Counts:
    found = Counts()
    for call in calls:
        for what, count in counters(call):
            found.count(what, count)
    return found


def outcomes(ok: int, fault: int = 0, **others: int) -> Counts:
    return Counts(plain=Counter({"ok": ok, "fault": fault, **others}))


@given(VALUES.filter(lambda values: len(values) >= 5))
def test_percentiles_are_within_5_percent_of_the_exact_ones(values):
    rising, falling = sorted(values), sorted(values, reverse=True)
    for ranked, higher_is_worse in ((rising, True), (falling, False)):
        found = histogram(values).percentiles(higher_is_worse=higher_is_worse)
        assert found is not None
        for percent in (50, 75, 90, 99):
            exact = ranked[ceil(len(values) * percent / 100) - 1]
            assert found.at(f"p{percent}") == pytest.approx(exact, rel=0.05)


@given(VALUES, VALUES, VALUES)
def test_merged_histograms_are_the_histogram_of_all(one, two, three):
    merged = Histogram.merged([histogram(one), histogram(two), histogram(three)])
    assert merged == histogram([*one, *two, *three])
    assert merged.total == len(one) + len(two) + len(three)


@given(st.floats(min_value=0, allow_infinity=False, allow_nan=False))
def test_any_value_can_be_counted(value):
    assert histogram([value] * 5).percentiles(higher_is_worse=True) is not None


def test_fewer_than_five_values_have_no_percentiles():
    assert histogram([10, 20, 30, 40]).percentiles(higher_is_worse=True) is None


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (UpstreamDown(), "fault"),
        (UpstreamDown(status=404), "fault"),
        (UpstreamDenied(), "fault"),
        (UpstreamTimeout("gap", 100), "fault"),
        (UpstreamLimited(), "limited"),
        (UpstreamLimited(status=529), "limited"),
        (UpstreamRejected(), "refused"),
        (UpstreamRejected(status=413), "refused"),
        (UpstreamRejected(status=403), "refused"),
        (UpstreamDown(status=403), "refused"),
        (AnswerLost(), None),
    ],
)
def test_what_a_failure_counts_as(error: UpstreamError, outcome: str | None):
    assert outcome_of(error.failure("Acme")) == outcome


def test_no_failure_is_a_success_unless_it_finished_as_none():
    assert outcome_of(None) == outcome_of(None, "stop") == outcome_of(None, "length") == "ok"
    assert outcome_of(None, "error") == "fault"
    assert outcome_of(None, "content_filter") == "refused"
    assert outcome_of(UpstreamDown().failure("Acme"), "content_filter") == "fault"


def test_a_stream_counts_latency_and_throughput():
    stream = Seen(
        endpoint_id=E, outcome="ok", first_byte_ms=200, completion_tokens=100, elapsed_ms=2_000
    )
    found = counted(*[stream] * 5)
    latency = found.latency.percentiles(higher_is_worse=True)
    throughput = found.throughput.percentiles(higher_is_worse=False)
    assert latency is not None
    assert latency.p50 == pytest.approx(200, rel=0.05)
    assert throughput is not None
    assert throughput.p99 == pytest.approx(50, rel=0.05)


@pytest.mark.parametrize(
    "seen",
    [
        Seen(endpoint_id=E, outcome="ok", first_byte_ms=1, completion_tokens=4, elapsed_ms=9),
        Seen(endpoint_id=E, outcome="ok", first_byte_ms=1, completion_tokens=9, elapsed_ms=0),
        Seen(endpoint_id=E, outcome="fault", first_byte_ms=1, completion_tokens=9, elapsed_ms=9),
    ],
)
def test_what_has_no_throughput(seen: Seen):
    assert counted(seen).throughput.total == 0


def test_tool_tallies_are_added_up():
    one = ToolTally(requests=1, with_calls=1, calls=3, valid=1, unparsed=1, unknown=1)
    two = ToolTally(requests=1)
    three = ToolTally(requests=1, with_calls=1, calls=1, mismatched=1)
    found = counted(*(Seen(endpoint_id=E, outcome="ok", tools=t) for t in (one, two, three)))
    assert found.tools == ToolTally(
        requests=3, with_calls=2, calls=4, valid=1, unparsed=1, unknown=1, mismatched=1
    )
    assert found.tools.success_rate == 0.25
    assert two.success_rate is None


def test_an_endpoint_never_called_has_no_figures():
    assert History().figures(E) == EndpointFigures()
    assert History().figures("other", down=True).status == DOWN


def test_windows_of_uptime():
    # Given a bad current minute, a good quarter of an hour and a day that was fair
    minutes: list[Period] = [{E: outcomes(5, 5)}, *[{}] * 9, {E: outcomes(90)}, *[{}] * 40]
    minutes[40] = {E: outcomes(0, 1_000)}  # too long ago
    hours: list[Period] = [{E: outcomes(95, 5, limited=7, refused=3)}, {E: outcomes(50, 50)}]
    found = History(minutes, hours).figures(E)
    assert (found.uptime_5m, found.uptime_30m, found.uptime_1d) == (50.0, 95.0, 72.5)
    assert found.requests_1d == 210
    assert found.tools_1d is None


def test_uptime_needs_ten_attempts_of_the_providers_own():
    history = History([{E: outcomes(9, 0, limited=50, refused=50)}])
    assert history.figures(E).uptime_5m is None
    assert History([{E: outcomes(10)}]).figures(E).uptime_5m == 100.0


@pytest.mark.parametrize(
    ("ok", "fault", "status"),
    [
        (95, 5, NORMAL),
        (94, 6, DEGRADED),
        (80, 20, DEGRADED),
        (79, 21, DOWN),
        (0, 99, NORMAL),
        (0, 100, DOWN),
    ],
)
def test_status(ok: int, fault: int, status: int):
    assert History([{E: outcomes(ok, fault)}]).figures(E).status == status


def test_planning_looks_at_5_minutes_and_at_30_where_those_say_too_little():
    slow, fast = Counts(latency=histogram([1_000] * 5)), Counts(latency=histogram([100] * 5))
    some = Counts(latency=histogram([100] * 4))
    minutes = [{E: fast, "few": some, "less": some}, *[{}] * 5, {E: slow, "few": slow}]
    found = History(minutes).latency()
    assert set(found) == {E, "few"}
    assert found[E].p99 == pytest.approx(100, rel=0.05)
    assert found["few"].p99 == pytest.approx(1_000, rel=0.05)
    assert History(minutes).throughput() == {}


def test_counters_of_another_release_do_no_harm():
    found = Counts()
    for what in ("Lx", "T", "zz", "L-", "T--3", "LL9"):
        found.count(what, 1)
    assert found.attempts == 0
    assert found.latency.total == 0


def test_a_plain_answer_has_a_throughput_and_no_latency():
    counts = counted(Seen(endpoint_id=E, outcome="ok", completion_tokens=100, elapsed_ms=2_000))

    assert (counts.throughput.total, counts.latency.total) == (1, 0)
