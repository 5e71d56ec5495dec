"""gate.lua and outcome.lua: the fleet's breakers."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routing import breaker
from routing.breaker import BreakerState, Observation, Window, admit, observe
from routing.store import redis_keys as keys
from routing.store.health import PROBE_LEASE_MS, Health, Verdict
from tests.fixtures.redis import FakeTime, Store

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]
ENDPOINT = "acme:a/m"
GO = Verdict("go", 0)


def trip(health: Health, endpoint: str = ENDPOINT) -> None:
    for _ in range(breaker.MIN_SAMPLES):
        told = health.outcome(endpoint, "", "err")
    assert told == "tripped"


# on both Redises, where nothing must wait


def test_ten_failures_trip_and_the_endpoint_is_left_alone(store: Store):
    health = Health(store.redis)

    told = [health.outcome(ENDPOINT, "", "err") for _ in range(breaker.MIN_SAMPLES)]

    assert told == ["closed"] * 9 + ["tripped"]
    verdict = health.gate(ENDPOINT, "a")
    assert verdict.state == "open"
    assert 0 < verdict.wait_ms <= breaker.BASE_OPEN_MS
    assert health.gate("other", "a") == GO
    assert health.breakers([ENDPOINT, "other"]) == {ENDPOINT: "open"}


def test_news_of_calls_made_before_the_trip_changes_nothing(store: Store):
    health = Health(store.redis)
    trip(health)

    told = [health.outcome(ENDPOINT, "late", "ok", count=100), health.outcome(ENDPOINT, "", "err")]

    assert told == ["open", "open"]
    assert health.gate(ENDPOINT, "a").state == "open"


def test_successes_are_counted_in_bulk(store: Store):
    health = Health(store.redis)
    health.outcome(ENDPOINT, "", "ok", count=30)

    told = [health.outcome(ENDPOINT, "", "err") for _ in range(31)]

    assert told.index("tripped") == 29  # 30 of 60 calls


def test_a_429_parks_for_its_hint_and_is_no_outage(store: Store):
    health = Health(store.redis)

    assert health.outcome(ENDPOINT, "", "limited", pause_ms=9_000) == "parked"

    verdict = health.gate(ENDPOINT, "a")
    assert verdict.state == "parked"
    assert 8_000 < verdict.wait_ms <= 9_000
    assert health.unstable(store.now_ms()) == frozenset()
    assert not store.redis.exists(keys.breaker_window(ENDPOINT))


def test_three_failures_of_four_calls_are_an_outage_to_plan_around(store: Store):
    health = Health(store.redis)
    health.outcome(ENDPOINT, "", "ok")
    for _ in range(breaker.UNSTABLE_MIN_ERRORS):
        health.outcome(ENDPOINT, "", "err")

    now_ms = store.now_ms()
    assert health.gate(ENDPOINT, "a") == GO
    assert health.unstable(now_ms) == {ENDPOINT}
    assert health.unstable(now_ms + breaker.WINDOW_MS) == frozenset()
    assert health.unstable(now_ms) == frozenset()


def test_nothing_is_kept_for_ever(store: Store):
    health = Health(store.redis)
    trip(health)
    health.outcome("other", "", "ok")

    assert store.redis.ttl(keys.breaker(ENDPOINT)) > 0
    assert store.redis.ttl(keys.breaker_window("other")) > 0


# in memory, where the clock is ours


@pytest.fixture
def health(fake_redis, fake_time: FakeTime) -> Health:
    assert Store(fake_redis, real=False).now_ms() == fake_time.now_ms
    return Health(fake_redis)


def test_after_the_pause_one_caller_of_the_fleet_probes(health: Health, fake_time: FakeTime):
    trip(health)
    fake_time.advance(breaker.BASE_OPEN_MS)

    verdicts = [health.gate(ENDPOINT, f"caller {n}") for n in range(5)]

    assert [verdict.state for verdict in verdicts] == ["probe", "open", "open", "open", "open"]
    assert verdicts[1].wait_ms == PROBE_LEASE_MS


def test_a_probe_that_succeeds_closes(health: Health, fake_time: FakeTime):
    trip(health)
    fake_time.advance(breaker.BASE_OPEN_MS)
    health.gate(ENDPOINT, "a")

    assert health.outcome(ENDPOINT, "someone else", "ok") == "open"
    assert health.outcome(ENDPOINT, "a", "ok") == "closed"
    assert health.gate(ENDPOINT, "b") == GO


def test_a_probe_that_died_is_followed_by_another(health: Health, fake_time: FakeTime):
    trip(health)
    fake_time.advance(breaker.BASE_OPEN_MS)
    health.gate(ENDPOINT, "dead")
    fake_time.advance(PROBE_LEASE_MS)

    assert health.gate(ENDPOINT, "next").state == "probe"
    assert health.outcome(ENDPOINT, "dead", "err") == "open"
    assert health.outcome(ENDPOINT, "next", "ok") == "closed"


def test_failed_probes_double_the_pause_to_a_bound(health: Health, fake_time: FakeTime):
    trip(health)
    pauses = []
    for number in range(7):
        pauses.append(health.gate(ENDPOINT, "look").wait_ms)
        fake_time.advance(pauses[-1])
        assert health.gate(ENDPOINT, f"p{number}").state == "probe"
        assert health.outcome(ENDPOINT, f"p{number}", "err") == "reopened"

    assert pauses == [15_000, 30_000, 60_000, 120_000, 240_000, 300_000, 300_000]


def test_failures_older_than_the_window_do_not_count(health: Health, fake_time: FakeTime):
    for _ in range(9):
        health.outcome(ENDPOINT, "", "err")
    fake_time.advance(breaker.WINDOW_MS)

    assert health.outcome(ENDPOINT, "", "err") == "closed"
    assert health.outcome(ENDPOINT, "", "err") == "closed"


def test_a_long_retry_after_outlasts_the_pause(health: Health):
    for _ in range(9):
        health.outcome(ENDPOINT, "", "err")

    assert health.outcome(ENDPOINT, "", "err", pause_ms=40_000) == "tripped"
    assert health.gate(ENDPOINT, "a").wait_ms == 40_000


# the scripts against the rule written without Redis


@dataclass(slots=True)
class Rule:
    """`routing.breaker` with a memory."""

    state: BreakerState = field(default_factory=BreakerState)
    window: Window = field(default_factory=Window)
    unstable_until_ms: int = 0

    def gate(self, token: str, now_ms: int) -> Verdict:
        told = admit(self.state, token, PROBE_LEASE_MS, now_ms)
        self.state = told.state
        return Verdict(told.verdict, told.wait_ms)

    def outcome(self, what: Observation, now_ms: int) -> str:
        step = observe(self.state, self.window, what, now_ms)
        self.state, self.window = step.state, step.window
        if step.unstable:
            self.unstable_until_ms = now_ms + breaker.WINDOW_MS
        return step.verdict


TOKENS = st.sampled_from(["a", "b"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("gate"), TOKENS),
        st.tuples(st.just("wait"), st.sampled_from([1, 900, 4_999, 5_000, 15_000, 20_000, 30_000])),
        st.tuples(
            st.sampled_from(["ok", "err", "err", "limited"]),
            TOKENS,
            st.sampled_from([1, 1, 4, 10]),
            st.sampled_from([0, 0, 700, 20_000]),
        ),
    ),
    max_size=40,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_the_scripts_and_the_rule_agree(steps, fake_redis, fake_time: FakeTime):
    fake_redis.flushall()
    health, rule = Health(fake_redis), Rule()
    for step in steps:
        match step:
            case ["wait", int(ms)]:
                fake_time.advance(ms)
            case ["gate", str(token)]:
                expected = rule.gate(token, fake_time.now_ms)
                assert health.gate(ENDPOINT, token) == expected
            case [kind, token, count, pause_ms]:
                what = Observation(seen=kind, token=token, count=count, pause_ms=pause_ms)
                told = health.outcome(ENDPOINT, token, kind, count=count, pause_ms=pause_ms)
                assert told == rule.outcome(what, fake_time.now_ms)
        shaky = rule.unstable_until_ms > fake_time.now_ms
        assert health.unstable(fake_time.now_ms) == ({ENDPOINT} if shaky else frozenset())
