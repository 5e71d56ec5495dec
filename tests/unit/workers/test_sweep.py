"""Jobs that wait in the store: rung for, or ended when nobody will serve or hear them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from billing.db import open_ledger
from routing.catalog.shapes import Price
from routing.clock import FixedClock
from routing.decide import AttemptState
from routing.errors import UpstreamLimited
from routing.settings import Settings
from routing.store import redis_keys as keys
from routing.wire.frames import Frame, Kind
from routing.wire.job import AttemptRecord, Caller, Charge, JobSpec, PlanEntry
from tests.fixtures.desk import Desk
from tests.fixtures.redis import FakeTime, Store
from workers.sweep import HIDE_MS, MISSING_MIN_MS, Sweeper
from workers.trail import Trail

JOB = "gen-1"
#: When the hold of a job is overdue.
LONG_MS = 700_000
ENTRY = PlanEntry(endpoint_id="a:m", model_id="m", pool="acme", price=Price())
SPEC = JobSpec(
    generation_id=JOB,
    api="chat",
    stream=True,
    created_ms=1,
    caller=Caller(account_id="ada", key_hash="h"),
    entries=(ENTRY,),
    waits=True,
)
BUSY = UpstreamLimited("Slow down", retry_after_ms=7_000).failure("A")
CALLS = [AttemptRecord(endpoint_id="a:m", provider="A", status=429, latency_ms=5, message="busy")]


@dataclass(slots=True)
class Floor:
    """One job in the store, and the sweeper."""

    desk: Desk
    sweeper: Sweeper
    time: FakeTime
    clock: FixedClock

    def admit(self, **changes: Any) -> None:
        self.desk.grant()
        self.desk.admit(JOB, spec=SPEC.to_json(), **changes)

    def park(self, *, last: Any = None, wait_ms: int = 1_000, queue: str = "pool.acme") -> None:
        claim = self.desk.claim(JOB)
        state = AttemptState(entries=SPEC.entries, remaining_ms=1, last=last)
        trail = Trail.of(CALLS if last else [], state)
        told = self.desk.jobs.park(
            JOB,
            claim.epoch,
            attempt=0,
            pool="acme",
            queue=queue,
            wait_ms=wait_ms,
            history=trail.history,
            trail=trail.rest,
        )
        assert told == "ok"

    def after(self, ms: int) -> int:
        """Look again then; how many jobs were looked at."""
        self.time.advance(ms)
        self.clock.advance(ms)
        return self.sweeper.reap()

    def beats(self, front_door: str = "web1") -> None:
        self.desk.store.redis.set(keys.front_door_heartbeat(front_door), "1")

    @property
    def end(self) -> Frame:
        return self.desk.jobs.replay(JOB, (0, 0))[-1]

    @property
    def charge(self) -> Charge:
        (raw,) = self.desk.charges()
        return Charge.from_json(raw)


@pytest.fixture
def floor(fake_redis: Any, fake_time: FakeTime) -> Floor:
    clock = FixedClock(fake_time.now_ms)
    ledger: Any = None  # jobs need none
    sweeper = Sweeper(ledger, fake_redis, Settings(), clock)
    return Floor(Desk(Store(fake_redis, real=False)), sweeper, fake_time, clock)


def test_a_job_that_slept_is_rung_for_while_somebody_waits(floor: Floor):
    floor.admit()
    floor.park()
    floor.beats()

    assert floor.after(1_000) == 1

    assert len(floor.desk.bells()) == 2
    assert floor.desk.state(JOB) == "queued"


def test_a_job_whose_front_door_is_gone_is_not_rung_for_and_ends_at_the_next_look(floor: Floor):
    floor.admit()
    floor.park()

    floor.after(1_000)
    assert (len(floor.desk.bells()), floor.desk.state(JOB)) == (1, "queued")
    assert floor.after(HIDE_MS) == 1

    assert floor.desk.state(JOB) == "failed"
    assert (floor.end.kind, floor.end.status) == (Kind.ERROR, 499)
    assert floor.charge.outcome == "failed"
    assert floor.after(60_000) == 0


def test_one_look_is_not_enough_and_neither_are_two_in_quick_succession(floor: Floor):
    floor.admit()
    floor.park()
    floor.after(1_000)

    floor.desk.make_due(JOB)
    floor.after(MISSING_MIN_MS - 1)
    assert floor.desk.state(JOB) == "queued"
    floor.beats()
    floor.after(HIDE_MS)

    assert floor.desk.state(JOB) == "queued"
    assert len(floor.desk.bells()) == 2


def test_a_job_that_nobody_was_to_wait_for_is_served_all_the_same(floor: Floor):
    floor.admit(front_door="")
    floor.park()

    for ms in (1_000, 10_000, 10_000):
        floor.after(ms)

    assert floor.desk.state(JOB) == "queued"
    assert len(floor.desk.bells()) > 2


@pytest.mark.parametrize("queue", ["pool.acme", "batch.acme"])
def test_a_job_is_rung_for_on_its_own_queue(floor: Floor, queue: str):
    floor.admit(queue=queue)
    floor.beats()

    floor.after(3_000)
    assert len(floor.desk.bells(queue)) == 2
    floor.park(queue=queue)
    floor.after(1_000)
    assert len(floor.desk.bells(queue)) == 3
    floor.desk.claim(JOB)
    floor.after(10_000)  # its worker died

    assert len(floor.desk.bells(queue)) == 4


def test_a_job_that_sleeps_past_its_deadline_is_told_what_kept_it(floor: Floor):
    floor.admit(deadline_ms=500)
    floor.beats()
    floor.park(last=BUSY)

    floor.after(1_000)

    assert (floor.end.status, floor.end.retry_after_s) == (429, 7)
    error = orjson.loads(floor.end.payload)["error"]
    assert (error["message"], error["metadata"]["provider_name"]) == ("Slow down", "A")
    assert [one.status for one in floor.charge.attempts] == [429]


def test_a_job_nobody_was_called_for_is_told_that_nobody_took_it(floor: Floor):
    floor.admit(deadline_ms=500)
    floor.beats()
    floor.park()

    floor.after(1_000)

    assert floor.end.status == 503
    assert b"No worker took the request" in floor.end.payload


def test_a_job_left_unclaimed_is_told_so_whatever_came_before(floor: Floor):
    floor.admit(deadline_ms=300_000)
    floor.beats()
    floor.park(last=BUSY)

    floor.after(1_000)
    floor.after(61_000)

    error = orjson.loads(floor.end.payload)["error"]
    assert error["code"] == 503
    assert [one["code"] for one in error["metadata"]["previous_errors"]] == [429]


@pytest.fixture
def books(sqlite_url: str, fake_redis: Any, fake_time: FakeTime) -> Iterator[Sweeper]:
    """A sweeper that can look into a ledger, long after everything else."""
    ledger = open_ledger(sqlite_url)
    yield Sweeper(ledger, fake_redis, Settings(), FixedClock(fake_time.now_ms + LONG_MS))
    ledger.close()


def charged(floor: Floor, ms: int) -> None:
    """A charge that waits for the ledger since then."""
    name = f"{floor.time.now_ms + ms}-0"
    floor.desk.store.redis.xadd(keys.OUTBOX, {"c": b"charge"}, id=name)


def test_a_hold_nobody_gave_back_is_found_however_busy_settlement_is(floor: Floor, books: Sweeper):
    floor.admit()
    floor.desk.budgets.reserve("acct:ada", "refund 1")  # by a process that died then
    floor.desk.store.redis.delete(keys.job(JOB))
    charged(floor, LONG_MS - 100)

    assert books.check_holds() == 2

    assert (floor.desk.budgets.open_holds(), floor.desk.budgets.held_nano("acct:ada")) == (0, 0)


def test_a_hold_whose_charge_may_still_wait_is_left_alone(floor: Floor, books: Sweeper):
    floor.admit()
    floor.desk.store.redis.delete(keys.job(JOB))
    charged(floor, 60_000)
    charged(floor, LONG_MS - 100)

    assert books.check_holds() == 1

    assert floor.desk.budgets.held_nano("acct:ada") == 10
