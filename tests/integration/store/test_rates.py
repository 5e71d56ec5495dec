"""Rates and requests at once: what admit.lua counts, and what the end of a job puts right."""

from __future__ import annotations

from typing import Any

import pytest

from routing.store import redis_keys as keys
from routing.store.jobs import (
    Admitted,
    CannotPay,
    Claim,
    FixedWindow,
    LimitReached,
    NotLoaded,
    Pace,
    Slots,
    TooFast,
    TooMany,
)
from tests.fixtures.desk import ACCOUNT, Desk

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

REQUESTS = keys.pace("rpm", "k1")
TOKENS = keys.pace("tpm", "k1")
OF_KEY, OF_ACCOUNT = keys.slots("k1"), keys.slots("ada")


def requests(a_minute: int) -> Pace:
    return Pace(key=REQUESTS, a_minute=a_minute)


def tokens(a_minute: int, units: int) -> Pace:
    return Pace(key=TOKENS, a_minute=a_minute, units=units, tokens=True)


def room_left(desk: Desk, a_minute: int) -> int:
    """How many tokens would be let in right now: the largest request that is not refused."""
    low, high = 0, a_minute
    while low < high:
        middle = (low + high + 1) // 2
        probe = desk.admission("probe", paces=(tokens(a_minute, middle),), scopes=("acct:poor",))
        fits = desk.jobs.admit(probe) == NotLoaded("acct:poor")  # after the rates, before any count
        low, high = (middle, high) if fits else (low, middle - 1)
    return low


@pytest.mark.parametrize("a_minute", [1, 7, 60])
def test_a_minutes_worth_is_let_in_at_once_and_no_more(desk: Desk, a_minute: int):
    desk.grant(1_000_000)
    pace = requests(a_minute)

    told = [desk.admit(f"gen-{n}", paces=(pace,)) for n in range(a_minute + 1)]

    assert told[:-1] == [Admitted()] * a_minute
    refused = told[-1]
    assert isinstance(refused, TooFast)
    assert refused.pace is pace
    # The next one fits as soon as one of them has drained away.
    assert 0 < refused.retry_after_ms <= 60_000 // a_minute + 1


def test_a_rate_refills_evenly(desk: Desk):
    desk.grant(1_000_000)
    pace = requests(60)
    for n in range(60):
        desk.admit(f"gen-{n}", paces=(pace,))
    # Given that five seconds went by: the mark of the rate lies five seconds nearer
    redis = desk.store.redis
    redis.set(REQUESTS, int(redis.get(REQUESTS)) - 5_000_000)

    told = [desk.admit(f"late-{n}", paces=(pace,)) for n in range(6)]

    assert told[:5] == [Admitted()] * 5
    assert isinstance(told[5], TooFast)


def test_a_refused_request_uses_up_no_rate(desk: Desk):
    desk.grant(1)
    pace, big = requests(5), tokens(100, 50)

    assert isinstance(desk.admit(paces=(pace, big)), CannotPay)
    assert desk.store.redis.exists(REQUESTS, TOKENS) == 0

    desk.grant(1_000, version=2)
    full = FixedWindow(key="lim:day", maximum=0, ttl_ms=1_000)
    assert isinstance(desk.admit(paces=(pace,), limits=(full,)), LimitReached)
    assert desk.store.redis.exists(REQUESTS) == 0


def test_of_two_rates_the_one_that_is_used_up_is_named(desk: Desk):
    desk.grant(1_000)
    few = tokens(100, 90)
    assert desk.admit("gen-1", paces=(requests(9), few)) == Admitted()
    mark = desk.store.redis.get(REQUESTS)

    told = desk.admit("gen-2", paces=(requests(9), few))

    assert isinstance(told, TooFast)
    assert told.pace is few
    # 80 of the 90 tokens must drain, of 100 a minute.
    assert 47_000 < told.retry_after_ms <= 48_001
    assert desk.store.redis.get(REQUESTS) == mark


def test_one_that_needs_a_whole_minutes_worth_is_let_in(desk: Desk):
    desk.grant(1_000)

    for a_minute in (7, 1_000, 999_983):
        desk.store.redis.delete(TOKENS)
        assert desk.admit(f"gen-{a_minute}", paces=(tokens(a_minute, a_minute),)) == Admitted()


def test_sent_twice_it_uses_a_rate_and_a_slot_once(desk: Desk):
    desk.grant(1_000)
    asked = {"paces": (tokens(1_000, 400),), "slots": (Slots(OF_KEY, 1),)}

    assert [desk.admit(**asked) for _ in range(3)] == [Admitted()] * 3

    assert room_left(desk, 1_000) in range(600, 620)
    assert desk.store.redis.zcard(OF_KEY) == 1


@pytest.mark.parametrize(
    ("used", "room"),
    [
        pytest.param(100, 900, id="less than estimated"),
        pytest.param(400, 600, id="as estimated"),
        pytest.param(700, 300, id="more than estimated"),
        pytest.param(0, 1_000, id="nothing"),
        pytest.param(5_000, 0, id="more than a minute's worth"),
    ],
)
def test_what_was_estimated_becomes_what_was_used(desk: Desk, used: int, room: int):
    claim = desk.claimed(paces=(requests(9), tokens(1_000, 400)))

    assert desk.finish(claim, tokens=used) == "ok"

    assert room_left(desk, 1_000) in range(room, room + 20)
    # And a request stays a request.
    assert desk.store.redis.exists(REQUESTS) == 1


def test_a_long_answer_is_paid_back_though_its_estimate_has_drained_away(desk: Desk):
    of_a_moment = tokens(6_000_000, 1)
    long = desk.claimed("gen-1", paces=(of_a_moment,))
    short = desk.claimed("gen-2", paces=(of_a_moment,))
    assert desk.finish(short, tokens=1) == "ok"

    assert desk.finish(long, tokens=12_000_000) == "ok"

    assert room_left(desk, 6_000_000) == 0


def test_a_long_answer_is_paid_back_though_nothing_is_known_of_the_rate(desk: Desk):
    claim = desk.claimed(paces=(tokens(1_000, 10),))
    desk.store.redis.delete(TOKENS)  # as after a minute in which nobody asked

    assert desk.finish(claim, tokens=700) == "ok"

    assert room_left(desk, 1_000) in range(300, 320)


def test_tokens_of_a_request_that_never_ran_are_given_back(desk: Desk):
    claim = desk.claimed(paces=(requests(9), tokens(1_000, 400)))
    desk.requeue(claim)

    assert desk.jobs.cancel(claim.job_id, b"charge") == "ended"

    assert room_left(desk, 1_000) == 1_000
    assert desk.store.redis.exists(REQUESTS) == 1


@pytest.mark.parametrize("a_minute", [999_983, 5_400_000, 5_999_999])
def test_a_rate_that_does_not_divide_a_minute_is_kept(desk: Desk, a_minute: int):
    desk.grant(1_000)
    asked = tokens(a_minute, a_minute)
    desk.admit("gen-1", paces=(asked,))

    told = desk.admit("gen-2", paces=(asked,))

    assert isinstance(told, TooFast)
    assert 59_500 < told.retry_after_ms <= 60_001


def test_an_end_told_twice_puts_a_rate_right_once(desk: Desk):
    claim = desk.claimed(paces=(tokens(1_000, 400),))

    assert [desk.finish(claim, tokens=100) for _ in range(2)] == ["ok", "already"]

    assert room_left(desk, 1_000) in range(900, 920)


def test_no_more_at_once_than_allowed(desk: Desk):
    desk.grant(1_000)
    two, nine = Slots(OF_KEY, 2), Slots(OF_ACCOUNT, 9)

    told = [desk.admit(f"gen-{n}", slots=(nine, two)) for n in range(3)]

    assert told == [Admitted(), Admitted(), TooMany(two)]
    assert desk.store.redis.zcard(OF_ACCOUNT) == 2


def finish(desk: Desk, claim: Claim) -> Any:
    return desk.finish(claim)


def cancel_queued(desk: Desk, claim: Claim) -> Any:
    desk.requeue(claim)
    return desk.jobs.cancel(claim.job_id, b"charge")


@pytest.mark.parametrize(("end", "told"), [(finish, "ok"), (cancel_queued, "ended")])
def test_a_slot_is_free_when_its_request_is_over(desk: Desk, end: Any, told: str):
    one = (Slots(OF_KEY, 1), Slots(OF_ACCOUNT, 1))
    claim = desk.claimed(slots=one)
    assert desk.admit("gen-2", slots=one) == TooMany(one[0])

    assert end(desk, claim) == told

    assert desk.admit("gen-2", slots=one) == Admitted()


def test_a_request_that_hands_on_keeps_its_slot(desk: Desk):
    one = (Slots(OF_KEY, 1),)
    desk.requeue(desk.claimed(slots=one))

    assert desk.admit("gen-2", slots=one) == TooMany(one[0])


def test_a_slot_whose_request_never_ended_is_free_after_its_deadline(desk: Desk):
    one = (Slots(OF_KEY, 1),)
    desk.claimed(slots=one)
    until_ms = desk.store.redis.zscore(OF_KEY, "gen-1") - desk.store.now_ms()
    assert 60_000 < until_ms <= 60_000 + 600_000
    assert desk.store.redis.pttl(OF_KEY) <= 60_000 + 600_000

    desk.store.redis.zadd(OF_KEY, {"gen-1": desk.store.now_ms() - 1})

    assert desk.admit("gen-2", slots=one) == Admitted()


def test_who_cannot_pay_takes_no_slot(desk: Desk):
    desk.grant(1)

    assert desk.admit(slots=(Slots(OF_KEY, 1),)) == CannotPay(ACCOUNT, 1, 0)

    assert desk.store.redis.exists(OF_KEY) == 0
