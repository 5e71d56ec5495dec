"""admit.lua: what is let in, and what each refusal leaves behind."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from routing.store import redis_keys as keys
from routing.store.budgets import Budgets
from routing.store.connect import connect
from routing.store.jobs import (
    HOLD_GRACE_MS,
    JOB_GRACE_MS,
    Admission,
    Admitted,
    CannotPay,
    Draw,
    FixedWindow,
    Jobs,
    KeyConflict,
    Late,
    LimitReached,
    NotLoaded,
    Replay,
)
from routing.wire.account import Budget
from tests.fixtures.desk import ACCOUNT, KEY, Desk

pytestmark = [pytest.mark.integration, pytest.mark.enable_socket]

PER_MINUTE = FixedWindow(key="lim:free-min:ada:1", maximum=2, ttl_ms=30_000)
PER_DAY = FixedWindow(key="lim:free-day:ada:1", maximum=50, ttl_ms=80_000)


def untouched(desk: Desk, job_id: str = "gen-1") -> bool:
    """Whether a refusal left nothing of a request behind."""
    redis = desk.store.redis
    return (
        redis.exists(keys.job(job_id), keys.request(job_id), keys.hold(job_id)) == 0
        and redis.zscore(keys.JOBS_DUE, job_id) is None
        and redis.zscore(keys.HOLDS_DUE, job_id) is None
        and desk.bells() == []
    )


def test_an_admitted_request_has_a_job_a_body_a_hold_a_bell_and_a_time(desk: Desk):
    desk.grant(1_000)

    assert desk.admit() == Admitted()

    job = desk.jobs.look("gen-1")
    redis = desk.store.redis
    assert job is not None
    assert (job.state, job.epoch, job.attempt, job.pool) == ("queued", 0, 0, "acme")
    assert (job.front_door, job.spec) == ("web1", b"spec")
    assert redis.get(keys.request("gen-1")) == b"request"
    assert desk.bells() == [b"bell of gen-1"]
    assert desk.budgets.held_nano(ACCOUNT) == 10
    assert redis.hgetall(keys.hold("gen-1")) == {ACCOUNT.encode(): b"10"}
    due_ms = desk.due_in_ms()
    assert due_ms is not None
    assert 2_000 < due_ms <= 3_000
    assert 59_000 < job.deadline_ms - desk.store.now_ms() <= 60_000
    for key in (keys.job("gen-1"), keys.request("gen-1")):
        assert 60_000 < redis.pttl(key) <= 60_000 + JOB_GRACE_MS
    hold_due_ms = redis.zscore(keys.HOLDS_DUE, "gen-1") - desk.store.now_ms()
    assert 60_000 < hold_due_ms <= 60_000 + HOLD_GRACE_MS


def test_sent_twice_it_is_one_admission(desk: Desk):
    desk.grant(1_000)

    assert [desk.admit(limits=(PER_MINUTE,)) for _ in range(3)] == [Admitted()] * 3

    assert desk.bells() == [b"bell of gen-1"]
    assert desk.budgets.held_nano(ACCOUNT) == 10
    assert desk.store.redis.get(PER_MINUTE.key) == b"1"


def test_sent_twice_with_an_idempotency_key_it_is_one_admission_and_no_replay(desk: Desk):
    desk.grant(1_000)

    told = [desk.admit(idempotency_key="k", fingerprint="f") for _ in range(2)]

    assert told == [Admitted()] * 2
    assert len(desk.bells()) == 1


def test_the_same_key_and_body_stands_for_the_first_job(desk: Desk):
    desk.grant(1_000)
    desk.admit("gen-1", idempotency_key="k", fingerprint="f")

    assert desk.admit("gen-2", idempotency_key="k", fingerprint="f") == Replay("gen-1")

    assert desk.state("gen-2") == "gone"
    assert desk.budgets.held_nano(ACCOUNT) == 10
    assert 0 < desk.store.redis.pttl(keys.idempotency("ada", "k")) <= 86_400_000


def test_the_same_key_with_another_body_is_a_conflict(desk: Desk):
    desk.grant(1_000)
    desk.admit("gen-1", idempotency_key="k", fingerprint="f")

    assert desk.admit("gen-2", idempotency_key="k", fingerprint="other") == KeyConflict()

    assert len(desk.bells()) == 1


def test_the_same_key_of_another_account_is_another_request(desk: Desk):
    desk.grant(1_000)
    desk.admit("gen-1", idempotency_key="k", fingerprint="f")

    told = desk.admit("gen-2", account_id="bob", idempotency_key="k", fingerprint="other")

    assert told == Admitted()


def test_a_refused_request_does_not_use_up_its_idempotency_key(desk: Desk):
    desk.grant(1)
    assert isinstance(desk.admit(idempotency_key="k", fingerprint="f"), CannotPay)
    desk.grant(1_000, version=2)

    assert desk.admit("gen-2", idempotency_key="k", fingerprint="changed") == Admitted()


def test_a_balance_that_is_not_cached_is_asked_for_and_never_taken_for_no_limit(desk: Desk):
    assert desk.admit() == NotLoaded(ACCOUNT)
    assert untouched(desk)

    desk.grant(1_000)
    assert desk.admit(scopes=(ACCOUNT, KEY)) == NotLoaded(KEY)
    assert untouched(desk)


@pytest.mark.parametrize(
    ("available", "need", "paid"),
    [
        pytest.param(10, 10, True, id="exactly enough"),
        pytest.param(9, 10, False, id="one short"),
        pytest.param(0, 0, True, id="nothing left and nothing needed"),
        pytest.param(-1, 0, False, id="overdrawn blocks what is free"),
        pytest.param(-1, 10, False, id="overdrawn"),
        pytest.param(9_000_000_000_000_000, 10, True, id="nine million dollars"),
    ],
)
def test_who_can_pay(desk: Desk, available: int, need: int, paid: bool):
    desk.grant(available)

    told = desk.admit(hold_nano=need)

    assert told == (Admitted() if paid else CannotPay(ACCOUNT, available, 0))
    assert untouched(desk) is not paid


def test_what_others_hold_cannot_be_spent(desk: Desk):
    desk.grant(25)
    assert [desk.admit(f"gen-{n}") for n in (1, 2)] == [Admitted()] * 2

    assert desk.admit("gen-3") == CannotPay(ACCOUNT, 25, 20)


@pytest.mark.parametrize(("account", "key"), [(1_000, 5), (5, 1_000)])
def test_of_several_budgets_one_that_is_short_stops_all(desk: Desk, account: int, key: int):
    desk.grant(account)
    desk.grant(key, scope=KEY)

    told = desk.admit(scopes=(ACCOUNT, KEY))

    assert isinstance(told, CannotPay)
    assert told.available_nano == 5
    assert (desk.budgets.held_nano(ACCOUNT), desk.budgets.held_nano(KEY)) == (0, 0)
    assert untouched(desk)


def test_of_several_budgets_each_is_held(desk: Desk):
    desk.grant(100)
    desk.grant(10, scope=KEY)

    assert desk.admit(scopes=(ACCOUNT, KEY)) == Admitted()

    assert (desk.budgets.held_nano(ACCOUNT), desk.budgets.held_nano(KEY)) == (10, 10)
    assert desk.admit("gen-2", scopes=(ACCOUNT, KEY)) == CannotPay(KEY, 10, 10)


def test_a_free_request_holds_nothing(desk: Desk):
    desk.grant(0)

    assert desk.admit(hold_nano=0) == Admitted()

    assert desk.store.redis.exists(keys.hold("gen-1")) == 0
    assert desk.budgets.open_holds() == 0


def test_a_full_window_says_when_it_opens(desk: Desk):
    desk.grant(1_000)
    limits = (PER_MINUTE, PER_DAY)
    assert [desk.admit(f"gen-{n}", limits=limits) for n in (1, 2)] == [Admitted()] * 2

    told = desk.admit("gen-3", limits=limits)

    assert isinstance(told, LimitReached)
    assert told.limit is PER_MINUTE
    assert 0 < told.retry_after_ms <= PER_MINUTE.ttl_ms
    assert desk.store.redis.get(PER_DAY.key) == b"2"


def test_the_second_limit_is_told_by_name(desk: Desk):
    desk.grant(1_000)
    full = FixedWindow(key="lim:day", maximum=0, ttl_ms=1_000)

    told = desk.admit(limits=(PER_MINUTE, full))

    assert told == LimitReached(full, 0)
    assert desk.store.redis.exists(PER_MINUTE.key) == 0


def test_who_cannot_pay_uses_up_no_limit(desk: Desk):
    desk.grant(1)

    assert isinstance(desk.admit(limits=(PER_MINUTE,)), CannotPay)

    assert desk.store.redis.exists(PER_MINUTE.key) == 0


def test_of_a_thousand_at_once_on_a_budget_for_ten_exactly_ten_are_let_in(redis_url: str):
    redis = connect(redis_url, "test")
    Budgets(redis).post((Budget(scope=ACCOUNT, available_nano=100, version=1),))
    jobs = Jobs(redis)
    threads, each = 40, 25
    start = threading.Barrier(threads)

    def ask(thread: int) -> list[Any]:
        start.wait()
        return [jobs.admit(_request(f"gen-{thread}-{n}")) for n in range(each)]

    with ThreadPoolExecutor(threads) as pool:
        told = [result for results in pool.map(ask, range(threads)) for result in results]

    assert len(told) == 1_000
    assert told.count(Admitted()) == 10
    assert told.count(CannotPay(ACCOUNT, 100, 100)) == 990
    assert Budgets(redis).held_nano(ACCOUNT) == 100
    assert redis.llen("pool.acme") == redis.zcard(keys.JOBS_DUE) == 10
    redis.close()


def _request(job_id: str) -> Admission:
    return Admission(
        job_id=job_id,
        pool="acme",
        queue="pool.acme",
        envelope="bell",
        front_door="",
        spec=b"s",
        request=b"r",
        account_id="ada",
        draws=(Draw(ACCOUNT, 10),),
        deadline_ms=60_000,
        queue_timeout_ms=3_000,
    )


def test_a_call_run_after_its_client_gave_up_leaves_nothing_behind(desk: Desk):
    desk.grant(1_000)

    told = desk.admit(latest_ms=1)

    assert isinstance(told, Late)
    assert untouched(desk)
    assert desk.admit(latest_ms=told.now_ms + 60_000) == Admitted()
