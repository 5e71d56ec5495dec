import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing import breaker
from routing.breaker import BreakerState, Observation, Seen, Step, Window, admit, observe

NOW = 1_000_000_000
LEASE_MS = 20_000


def seen(*kinds: Seen, state: BreakerState | None = None, now_ms: int = NOW) -> Step:
    step = Step(verdict="closed", state=state or BreakerState(), window=Window())
    for kind in kinds:
        step = observe(step.state, step.window, Observation(seen=kind), now_ms)
    return step


def report(kind: Seen, caller: str = "", pause_ms: int = 0) -> Observation:
    return Observation(seen=kind, token=caller, pause_ms=pause_ms)


def open_after(trips: int) -> BreakerState:
    return BreakerState(status="open", until_ms=NOW, trips=trips)


def test_nine_failures_are_too_few_to_trip_and_ten_are_not():
    assert seen(*["err"] * 9).state.status == "closed"

    tripped = seen(*["err"] * 10)

    assert (tripped.verdict, tripped.unstable) == ("tripped", True)
    assert tripped.state.until_ms == NOW + breaker.BASE_OPEN_MS
    assert tripped.window == Window()


def test_fewer_than_half_failing_is_unstable_and_no_trip():
    step = seen(*["ok"] * 8, *["err"] * 7)

    assert (step.verdict, step.unstable) == ("closed", True)


@pytest.mark.parametrize(
    ("kinds", "unstable"),
    [
        pytest.param(["err"] * 2, False, id="two errors"),
        pytest.param(["err"] * 3, True, id="three errors of three"),
        pytest.param(["ok"] * 10 + ["err"] * 3, False, id="three of thirteen"),
        pytest.param(["ok"] * 9 + ["err"] * 3, True, id="a quarter"),
    ],
)
def test_unstable(kinds: list[Seen], unstable: bool):
    assert seen(*kinds).unstable is unstable


def test_failures_older_than_the_window_do_not_count():
    old = seen(*["err"] * 9)

    step = observe(old.state, old.window, Observation(seen="err"), NOW + breaker.WINDOW_MS)

    assert (step.verdict, step.window.totals) == ("closed", (0, 1))


def test_successes_are_reported_in_bulk():
    step = observe(BreakerState(), Window(), Observation(seen="ok", count=40), NOW)

    assert step.window.totals == (40, 0)


def test_after_the_pause_exactly_one_caller_probes():
    paused = open_after(1)

    assert admit(paused, "a", LEASE_MS, NOW - 1).verdict == "open"
    first = admit(paused, "a", LEASE_MS, NOW)
    second = admit(first.state, "b", LEASE_MS, NOW)
    late = admit(first.state, "b", LEASE_MS, NOW + LEASE_MS)

    assert (first.verdict, second.verdict, second.wait_ms) == ("probe", "open", LEASE_MS)
    assert (late.verdict, late.state.probe) == ("probe", "b")


def test_a_probe_that_succeeds_closes():
    probing = admit(open_after(3), "a", LEASE_MS, NOW).state

    step = observe(probing, Window(), report("ok", "a"), NOW)

    assert (step.verdict, step.state) == ("closed", BreakerState())


@pytest.mark.parametrize(
    ("trips", "pause_ms"),
    [(0, 15_000), (1, 30_000), (2, 60_000), (4, 240_000), (5, 300_000), (50, 300_000)],
)
def test_a_probe_that_fails_doubles_the_pause_to_a_bound(trips: int, pause_ms: int):
    probing = admit(open_after(trips), "a", LEASE_MS, NOW).state

    step = observe(probing, Window(), report("err", "a"), NOW)

    assert (step.verdict, step.state.until_ms) == ("reopened", NOW + pause_ms)
    assert step.state.trips == trips + 1


def test_news_of_calls_made_before_the_trip_changes_nothing():
    probing = admit(open_after(1), "a", LEASE_MS, NOW).state

    for state in (open_after(1), probing):
        step = observe(state, Window(), report("ok", "other"), NOW)
        assert (step.verdict, step.state) == ("open", state)


def test_a_429_parks_for_its_retry_after_and_is_no_outage():
    step = observe(BreakerState(), Window(), Observation(seen="limited", pause_ms=3_000), NOW)

    assert (step.verdict, step.state.status, step.unstable) == ("parked", "parked", False)
    waiting = admit(step.state, "a", LEASE_MS, NOW + 2_999)
    assert (waiting.verdict, waiting.wait_ms) == ("parked", 1)
    assert admit(step.state, "a", LEASE_MS, NOW + 3_000).verdict == "probe"


def test_a_429_without_hint_leaves_the_breaker_closed():
    step = observe(BreakerState(), Window(), Observation(seen="limited"), NOW)

    assert step.state == BreakerState()


@given(st.lists(st.tuples(st.sampled_from(["ok", "err", "limited"]), st.integers(0, 8_000))))
def test_whatever_happens_the_window_is_bounded_and_a_trip_needs_samples(
    events: list[tuple[Seen, int]],
):
    state, window, now_ms = BreakerState(), Window(), NOW
    for kind, passed_ms in events:
        now_ms += passed_ms
        before = window
        step = observe(state, window, Observation(seen=kind), now_ms)
        state, window = step.state, step.window
        assert len(window.buckets) <= breaker.WINDOW_MS // breaker.BUCKET_MS
        if step.verdict == "tripped":
            assert sum(before.totals) + 1 >= breaker.MIN_SAMPLES
