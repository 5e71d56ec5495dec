"""gate.lua and outcome.lua: the fleet's breakers."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from routing import breaker
from routing.breaker import BreakerState, Observation, Window, admit, observe
from routing.catalog.shapes import Limits
from routing.store import redis_keys as keys
from routing.store.health import (
    CUT_EVERY_MS,
    FORGET_MS,
    FULL_WAIT_MS,
    LEASE_MS,
    LEAST_LIMIT,
    PROBE_LEASE_MS,
    USER_MS,
    Asking,
    Health,
    Verdict,
    share_of_rate_us,
)
from tests.fixtures.redis import FakeTime, Store

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]
ENDPOINT = "acme:a/m"
GO = Verdict("go", 0)
FULL = Verdict("full", FULL_WAIT_MS)


def ask(health: Health, token: str = "", endpoint: str = ENDPOINT, **asking: Any) -> Verdict:
    return health.gate(endpoint, token, Asking(**asking)).verdict


def trip(health: Health, endpoint: str = ENDPOINT) -> None:
    for _ in range(breaker.MIN_SAMPLES):
        told = health.outcome(endpoint, "", "err")
    assert told == "tripped"


# on both Redises, where nothing must wait


def test_ten_failures_trip_and_the_endpoint_is_left_alone(store: Store):
    health = Health(store.redis)

    told = [health.outcome(ENDPOINT, "", "err") for _ in range(breaker.MIN_SAMPLES)]

    assert told == ["closed"] * 9 + ["tripped"]
    verdict = ask(health, "a")
    assert verdict.state == "open"
    assert 0 < verdict.wait_ms <= breaker.BASE_OPEN_MS
    assert ask(health, "a", "other") == GO
    assert health.breakers([ENDPOINT, "other"]) == {ENDPOINT: "open"}


def test_news_of_calls_made_before_the_trip_changes_nothing(store: Store):
    health = Health(store.redis)
    trip(health)

    told = [health.outcome(ENDPOINT, "late", "ok", count=100), health.outcome(ENDPOINT, "", "err")]

    assert told == ["open", "open"]
    assert ask(health, "a").state == "open"


def test_successes_are_counted_in_bulk(store: Store):
    health = Health(store.redis)
    health.outcome(ENDPOINT, "", "ok", count=30)

    told = [health.outcome(ENDPOINT, "", "err") for _ in range(31)]

    assert told.index("tripped") == 29  # 30 of 60 calls


def test_a_429_parks_for_its_hint_and_is_no_outage(store: Store):
    health = Health(store.redis)

    assert health.outcome(ENDPOINT, "", "limited", pause_ms=9_000) == "parked"

    verdict = ask(health, "a")
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
    assert ask(health, "a") == GO
    assert health.unstable(now_ms) == {ENDPOINT}
    assert health.unstable(now_ms + breaker.WINDOW_MS) == frozenset()
    assert health.unstable(now_ms) == frozenset()


def test_nothing_is_kept_for_ever(store: Store):
    health = Health(store.redis)
    trip(health)
    health.outcome("other", "", "ok")

    assert store.redis.ttl(keys.breaker(ENDPOINT)) > 0
    assert store.redis.ttl(keys.breaker_window("other")) > 0


def test_many_callers_at_once_never_exceed_a_rate(store: Store):
    limits = Limits(rpm=120)  # twenty at once, then two a second
    health = Health(store.redis)
    started_ms = store.now_ms()

    def hammer(caller: int) -> list[Verdict]:
        return [ask(health, f"{caller}.{n}", limits=limits) for n in range(25)]

    if store.real:
        with ThreadPoolExecutor(8) as pool:
            verdicts = [one for told in pool.map(hammer, range(8)) for one in told]
    else:
        verdicts = [one for caller in range(8) for one in hammer(caller)]

    passed_s = (store.now_ms() - started_ms) / 1000
    counted = Counter(verdict.state for verdict in verdicts)
    assert 20 <= counted["go"] <= 20 + 2 * passed_s + 1
    assert counted["parked"] == 200 - counted["go"]
    assert all(0 < verdict.wait_ms <= 500 for verdict in verdicts if verdict.state == "parked")


def test_many_processes_never_have_more_calls_in_flight_than_the_catalog_allows(store: Store):
    health, limits = Health(store.redis), Limits(concurrency=3)
    running, most, lock = 0, 0, Lock()

    def hammer(number: int) -> int:
        nonlocal running, most
        made, worker = 0, f"w{number}"  # each sees only its own calls
        for step in range(40):
            token = f"{number}.{step}"
            if ask(health, token, worker=worker, limits=limits) != GO:
                continue
            with lock:
                running, made = running + 1, made + 1
                most = max(most, running)
            time.sleep(0.001)
            with lock:
                running -= 1
            health.give_back(ENDPOINT, [token])
        return made

    if store.real:
        with ThreadPoolExecutor(8) as pool:
            made = sum(pool.map(hammer, range(8)))
    else:
        made = sum(map(hammer, range(8)))

    assert most <= 3
    assert made >= 40
    assert not store.redis.exists(keys.calls_at_once(ENDPOINT))


def test_what_is_learnt_of_capacity_is_kept_no_longer_than_needed(store: Store):
    health = Health(store.redis)
    ask(health, limits=Limits(rpm=60, tpm=600), tokens=5)
    health.learn(ENDPOINT, overloaded_at=4)

    for name in (keys.learnt_limit(ENDPOINT), keys.users(ENDPOINT), keys.rate(ENDPOINT)):
        assert 0 < store.redis.pttl(name) <= 2 * FORGET_MS
    assert not store.redis.exists(keys.breaker(ENDPOINT))


def test_a_limit_is_forgotten_a_minute_after_the_last_refusal(store: Store):
    health, name = Health(store.redis), keys.learnt_limit(ENDPOINT)
    health.learn(ENDPOINT, overloaded_at=1)
    assert FORGET_MS - 20_000 < store.redis.pttl(name) <= FORGET_MS
    store.redis.pexpire(name, 5_000)

    health.learn(ENDPOINT, answers=1)
    assert store.redis.pttl(name) <= 5_000
    health.learn(ENDPOINT, overloaded_at=1)
    assert FORGET_MS - 20_000 < store.redis.pttl(name) <= FORGET_MS


def test_an_endpoint_without_limits_leaves_nothing_but_its_users(store: Store):
    ask(Health(store.redis), worker="w1")

    assert store.redis.keys() == [keys.users(ENDPOINT).encode()]


# in memory, where the clock is ours


@pytest.fixture
def health(fake_redis, fake_time: FakeTime) -> Health:
    assert Store(fake_redis, real=False).now_ms() == fake_time.now_ms
    return Health(fake_redis)


def test_after_the_pause_one_caller_of_the_fleet_probes(health: Health, fake_time: FakeTime):
    trip(health)
    fake_time.advance(breaker.BASE_OPEN_MS)

    verdicts = [ask(health, f"caller {n}") for n in range(5)]

    assert [verdict.state for verdict in verdicts] == ["probe", "open", "open", "open", "open"]
    assert verdicts[1].wait_ms == breaker.PROBE_WAIT_MS


def test_while_a_parked_endpoint_is_probed_it_still_counts_as_parked(
    health: Health, fake_time: FakeTime
):
    health.outcome(ENDPOINT, "", "limited", pause_ms=400)
    fake_time.advance(400)

    assert ask(health, "a").state == "probe"
    assert ask(health, "b") == Verdict("parked", breaker.PROBE_WAIT_MS)
    fake_time.advance(PROBE_LEASE_MS - 300)
    assert ask(health, "b") == Verdict("parked", 300)
    fake_time.advance(300)
    assert ask(health, "b").state == "probe"
    assert ask(health, "c").state == "parked"
    health.outcome(ENDPOINT, "b", "err")
    assert ask(health, "c").state == "open"


def test_a_probe_that_succeeds_closes(health: Health, fake_time: FakeTime):
    trip(health)
    fake_time.advance(breaker.BASE_OPEN_MS)
    health.gate(ENDPOINT, "a")

    assert health.outcome(ENDPOINT, "someone else", "ok") == "open"
    assert health.outcome(ENDPOINT, "a", "ok") == "closed"
    assert ask(health, "b") == GO


def test_a_probe_that_died_is_followed_by_another(health: Health, fake_time: FakeTime):
    trip(health)
    fake_time.advance(breaker.BASE_OPEN_MS)
    health.gate(ENDPOINT, "dead")
    fake_time.advance(PROBE_LEASE_MS)

    assert ask(health, "next").state == "probe"
    assert health.outcome(ENDPOINT, "dead", "err") == "open"
    assert health.outcome(ENDPOINT, "next", "ok") == "closed"


def test_failed_probes_double_the_pause_to_a_bound(health: Health, fake_time: FakeTime):
    trip(health)
    pauses = []
    for number in range(7):
        pauses.append(ask(health, "look").wait_ms)
        fake_time.advance(pauses[-1])
        assert ask(health, f"p{number}").state == "probe"
        assert health.outcome(ENDPOINT, f"p{number}", "err") == "reopened"

    assert pauses == [15_000, *[20_000] * 6]


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
    assert ask(health, "a").wait_ms == 40_000


def test_the_mark_of_an_outage_ends_with_its_pause(health: Health, fake_time: FakeTime):
    trip(health)
    pauses = [breaker.BASE_OPEN_MS, breaker.MAX_OPEN_MS]
    for pause_ms in pauses:
        fake_time.advance(pause_ms - 1)
        assert health.unstable(fake_time.now_ms) == {ENDPOINT}
        fake_time.advance(1)

        assert health.unstable(fake_time.now_ms) == frozenset()
        assert ask(health, "probe").state == "probe"
        health.outcome(ENDPOINT, "probe", "err")


# rates of the catalog


def test_a_rate_lets_ten_seconds_worth_through_at_once_then_its_pace(
    health: Health, fake_time: FakeTime
):
    limits = Limits(rpm=30)

    at_once = [ask(health, limits=limits) for _ in range(6)]
    fake_time.advance(at_once[-1].wait_ms - 1)
    early = ask(health, limits=limits)
    fake_time.advance(1)

    assert [verdict.state for verdict in at_once] == ["go"] * 5 + ["parked"]
    assert (at_once[-1].wait_ms, early.state, early.wait_ms) == (2_000, "parked", 1)
    assert [ask(health, limits=limits).state for _ in range(2)] == ["go", "parked"]


def test_a_slow_rate_lets_one_request_through(health: Health, fake_time: FakeTime):
    limits = Limits(rpm=2)

    first, second = (ask(health, limits=limits) for _ in range(2))
    fake_time.advance(second.wait_ms)

    assert (first, second) == (GO, Verdict("parked", 30_000))
    assert ask(health, limits=limits) == GO


def test_tokens_have_a_rate_of_their_own(health: Health, fake_time: FakeTime):
    limits = Limits(rpm=600, tpm=6_000)  # a thousand tokens at once, then a hundred a second

    assert ask(health, limits=limits, tokens=600) == GO
    assert ask(health, limits=limits, tokens=600) == Verdict("parked", 2_000)
    assert ask(health, limits=limits, tokens=400) == GO
    # A prompt larger than the burst waits until nothing is owed, and then goes.
    assert ask(health, limits=limits, tokens=50_000) == Verdict("parked", 10_000)
    fake_time.advance(10_000)
    assert ask(health, limits=limits, tokens=50_000) == GO


def test_a_call_refused_by_one_rate_takes_nothing_of_the_other(health: Health):
    tight, wide = Limits(rpm=2, tpm=6_000), Limits(tpm=6_000)
    assert ask(health, limits=tight, tokens=500) == GO
    assert ask(health, limits=tight, tokens=500).state == "parked"

    assert ask(health, limits=wide, tokens=500) == GO


@pytest.mark.parametrize(
    ("estimated", "used", "left_after"), [(1_000, 100, 900), (100, 1_000, 0), (0, 300, 700)]
)
def test_tokens_are_corrected_by_what_was_used(
    health: Health, estimated: int, used: int, left_after: int
):
    limits = Limits(tpm=6_000)
    ask(health, limits=limits, tokens=estimated)

    late_us = share_of_rate_us(used, 6_000) - share_of_rate_us(estimated, 6_000)
    health.learn(ENDPOINT, late_us=late_us)

    if left_after:
        assert ask(health, limits=limits, tokens=left_after) == GO
    assert ask(health, limits=limits, tokens=1).state == "parked"


def test_a_correction_never_allows_more_than_the_burst(health: Health):
    limits = Limits(tpm=6_000)
    ask(health, limits=limits, tokens=100)
    health.learn(ENDPOINT, late_us=-share_of_rate_us(90_000, 6_000))

    assert ask(health, limits=limits, tokens=1_000) == GO
    assert ask(health, limits=limits, tokens=1).state == "parked"


def test_a_probe_keeps_to_the_rate(health: Health, fake_time: FakeTime):
    limits = Limits(rpm=2)
    trip(health)
    fake_time.advance(breaker.BASE_OPEN_MS)

    assert ask(health, "a", limits=limits).state == "probe"
    fake_time.advance(PROBE_LEASE_MS)

    assert ask(health, "b", limits=limits) == Verdict("parked", 10_000)
    fake_time.advance(10_000)
    assert ask(health, "b", limits=limits).state == "probe"


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example(rpm=3_000, tpm=100, steps=[(0, 1), (900, 900)])
@example(rpm=1, tpm=100, steps=[(0, 0), (20_000, 0), (20_000, 0), (20_000, 0)])
@given(
    rpm=st.integers(1, 3_000),
    tpm=st.integers(100, 100_000),
    steps=st.lists(st.tuples(st.sampled_from([0, 0, 0, 7, 900, 20_000]), st.integers(0, 900))),
)
def test_no_stretch_of_time_gets_more_than_its_rate_and_the_burst(
    rpm: int, tpm: int, steps: list[tuple[int, int]], fake_redis, fake_time: FakeTime
):
    fake_redis.flushall()
    health, limits = Health(fake_redis), Limits(rpm=rpm, tpm=tpm)
    let_through: list[tuple[int, int]] = []
    for passed_ms, tokens in steps:
        fake_time.advance(passed_ms)
        if ask(health, limits=limits, tokens=tokens) == GO:
            let_through.append((fake_time.now_ms, tokens))

    for number, (from_ms, _) in enumerate(let_through):
        for until, (now_ms, _) in enumerate(let_through[number:], number):
            minutes = (now_ms - from_ms + 10_000) / 60_000
            stretch = let_through[number : until + 1]
            # One goes at once, however slow the rate: it is more than a burst of less than one.
            assert len(stretch) <= max(1, rpm / 6) + rpm * (now_ms - from_ms) / 60_000
            # One larger than the burst goes too, once nothing is owed.
            used = [tokens for _, tokens in stretch]
            assert sum(used) <= tpm * minutes + max(used) + 1


# calls at once


def test_nothing_is_limited_until_a_provider_says_it_has_too_much(health: Health):
    assert ask(health, in_flight=10_000) == GO
    assert health.learn(ENDPOINT, answers=500) == 0


def test_a_limit_begins_a_tenth_below_what_the_fleet_had_in_flight(health: Health):
    for worker in ("w1", "w2", "w3"):
        ask(health, worker=worker)

    assert health.learn(ENDPOINT, overloaded_at=20) == pytest.approx(54)

    gate = health.gate(ENDPOINT, "t", Asking(worker="w1", in_flight=17))
    assert (gate.verdict, gate.limit, gate.users) == (GO, 54.0, 3)
    assert ask(health, worker="w1", in_flight=18) == FULL


def test_the_refusals_of_one_second_are_one_piece_of_news(health: Health, fake_time: FakeTime):
    told = [health.learn(ENDPOINT, overloaded_at=100) for _ in range(20)]
    fake_time.advance(CUT_EVERY_MS)
    told.append(health.learn(ENDPOINT, overloaded_at=100))

    assert told == [pytest.approx(90)] * 20 + [pytest.approx(81)]


def test_a_limit_grows_by_about_one_for_each_round_of_answers(health: Health):
    health.learn(ENDPOINT, overloaded_at=10)

    told = [health.learn(ENDPOINT, answers=9) for _ in range(3)]

    assert told == [pytest.approx(limit, abs=0.01) for limit in (10, 10.9, 11.726)]


def test_a_limit_is_never_below_a_few(health: Health, fake_time: FakeTime):
    for _ in range(50):
        limit = health.learn(ENDPOINT, overloaded_at=1)
        fake_time.advance(CUT_EVERY_MS)

    assert limit == LEAST_LIMIT
    assert ask(health, in_flight=LEAST_LIMIT - 1) == GO
    assert ask(health, in_flight=LEAST_LIMIT) == FULL


def test_a_process_that_does_not_ask_is_no_user(health: Health, fake_time: FakeTime):
    for worker in ("w1", "w2"):
        ask(health, worker=worker)
    assert health.learn(ENDPOINT, overloaded_at=5) == 9
    assert ask(health, worker="w1", in_flight=5) == FULL
    fake_time.advance(USER_MS)

    assert ask(health, worker="w1", in_flight=8) == GO
    assert ask(health, worker="w1", in_flight=9) == FULL


def test_the_catalog_caps_what_was_learnt_and_the_other_way_round(health: Health):
    assert health.learn(ENDPOINT, overloaded_at=10) == 9

    assert ask(health, "a", in_flight=8, limits=Limits(concurrency=1)) == GO
    assert ask(health, "b", in_flight=0, limits=Limits(concurrency=1)) == FULL
    assert ask(health, "b", in_flight=9, limits=Limits(concurrency=40)) == FULL


def test_a_call_that_finds_no_room_takes_nothing_of_a_rate(health: Health):
    limits = Limits(rpm=2, concurrency=1)
    ask(health, "a", limits=Limits(concurrency=1))

    assert ask(health, "b", limits=limits) == FULL
    health.give_back(ENDPOINT, ["a"])
    assert ask(health, "b", limits=limits) == GO


def test_a_call_refused_by_a_rate_takes_no_place(health: Health):
    ask(health, "a", limits=Limits(rpm=2))
    assert ask(health, "b", limits=Limits(rpm=2, concurrency=1)).state == "parked"

    assert ask(health, "c", limits=Limits(concurrency=1)) == GO


def test_a_call_that_asks_twice_has_one_place(health: Health):
    limits = Limits(concurrency=2)

    assert [ask(health, token, limits=limits) for token in "aabb"] == [GO] * 4
    assert ask(health, "c", limits=limits) == FULL


def test_the_place_of_a_crashed_process_is_free_again_after_its_lease(
    health: Health, fake_time: FakeTime
):
    limits = Limits(concurrency=2)
    for token in ("lost", "held"):
        ask(health, token, limits=limits)
    fake_time.advance(LEASE_MS - 1)
    health.renew(ENDPOINT, ["held"])
    assert ask(health, "a", limits=limits) == FULL
    fake_time.advance(1)

    assert ask(health, "a", limits=limits) == GO
    assert ask(health, "b", limits=limits) == FULL


def test_a_probe_is_not_kept_out_by_a_learnt_limit_but_by_the_catalogs(
    health: Health, fake_time: FakeTime
):
    health.learn(ENDPOINT, overloaded_at=1)
    ask(health, "hangs", limits=Limits(concurrency=1))
    trip(health)
    fake_time.advance(breaker.BASE_OPEN_MS)

    assert ask(health, "a", in_flight=50, limits=Limits(concurrency=1)) == FULL
    assert ask(health, "a", in_flight=50, limits=Limits(concurrency=2)).state == "probe"


@pytest.mark.parametrize("probed", [False, True])
def test_a_forced_call_goes_to_an_endpoint_that_is_left_alone(
    health: Health, fake_time: FakeTime, *, probed: bool
):
    trip(health)
    if probed:
        fake_time.advance(breaker.BASE_OPEN_MS)
        assert ask(health, "probe").state == "probe"

    assert ask(health, "a", forced=True, limits=Limits(concurrency=1)) == GO
    assert ask(health, "b", forced=True, limits=Limits(concurrency=1)) == FULL
    assert ask(health, "b").state == "open"


def test_a_forced_call_keeps_to_what_an_endpoint_asked_for(health: Health):
    health.outcome(ENDPOINT, "", "limited", pause_ms=5_000)

    assert ask(health, "a", forced=True).state == "parked"


# what is shown as down


def test_only_an_endpoint_that_is_left_alone_now_is_down(health: Health, fake_time: FakeTime):
    assert health.down([ENDPOINT]) == frozenset()
    trip(health)
    assert health.down([ENDPOINT, "other"]) == {ENDPOINT}
    fake_time.advance(breaker.BASE_OPEN_MS)

    assert health.down([ENDPOINT]) == frozenset()


def test_an_endpoint_is_down_while_it_is_probed_after_an_outage(
    health: Health, fake_time: FakeTime
):
    trip(health)
    fake_time.advance(breaker.BASE_OPEN_MS)
    ask(health, "a")
    assert health.down([ENDPOINT]) == {ENDPOINT}
    fake_time.advance(PROBE_LEASE_MS)

    assert health.down([ENDPOINT]) == frozenset()


def test_an_endpoint_that_asked_us_to_wait_is_never_down(health: Health, fake_time: FakeTime):
    health.outcome(ENDPOINT, "", "limited", pause_ms=5_000)
    assert health.down([ENDPOINT]) == frozenset()
    fake_time.advance(5_000)
    assert ask(health, "a").state == "probe"

    assert health.down([ENDPOINT]) == frozenset()


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
        if step.unstable_ms:
            self.unstable_until_ms = now_ms + step.unstable_ms
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
            st.booleans(),
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
                assert ask(health, token) == expected
            case [kind, token, count, pause_ms, probed]:
                more = {"count": count, "pause_ms": pause_ms, "probed": probed}
                what = Observation(seen=kind, token=token, **more)
                told = health.outcome(ENDPOINT, token, kind, **more)
                assert told == rule.outcome(what, fake_time.now_ms)
        shaky = rule.unstable_until_ms > fake_time.now_ms
        assert health.unstable(fake_time.now_ms) == ({ENDPOINT} if shaky else frozenset())
