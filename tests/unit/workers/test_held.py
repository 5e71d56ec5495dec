from __future__ import annotations

from typing import Any

import pytest

from routing.store.jobs import Claim
from workers.held import Held, HeldJobs, Order


class FakeExchange:
    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def claim(job_id: str = "gen-1", epoch: int = 1) -> Claim:
    return Claim(
        job_id=job_id,
        epoch=epoch,
        front_door="web1",
        spec=b"",
        attempt=0,
        deadline_ms=0,
        history=b"",
        waited_ms=0,
        request=b"",
    )


def calling(**changes: Any) -> tuple[Held, FakeExchange]:
    exchange: Any = FakeExchange()
    return Held(claim(), exchange=exchange, **changes), exchange


@pytest.mark.parametrize(
    ("order", "cancellable", "closed"),
    [
        ("cancel", True, 1),
        ("cancel", False, 0),
        ("lost", False, 1),
        ("hand_over", False, 1),
        ("stop", False, 1),
    ],
)
def test_an_order_closes_the_call_unless_its_bill_runs_on(
    order: Order, cancellable: bool, closed: int
):
    held, exchange = calling(cancellable=cancellable)

    held.tell(order)

    assert (held.order, exchange.closed) == (order, closed)


def test_what_was_lost_stays_lost():
    held, _ = calling()
    for order in ("lost", "cancel", "stop"):
        held.tell(order)

    assert held.order == "lost"


def test_jobs_are_held_for_as_long_as_their_attempt_runs():
    counts: list[int] = []
    jobs = HeldJobs(counts.append)

    with jobs.holding(claim("a", 3)), jobs.holding(claim("b", 5)):
        assert sorted(jobs.leases()) == [("a", 3), ("b", 5)]
        assert len(jobs) == 2

    assert jobs.leases() == []
    assert counts == [1, 2, 1, 0]


def test_a_job_claimed_again_here_is_not_let_go_of_by_its_older_attempt():
    jobs = HeldJobs()
    with jobs.holding(claim(epoch=1)):
        newer = jobs.holding(claim(epoch=3))
        held = newer.__enter__()
    assert jobs.leases() == [("gen-1", 3)]

    jobs.tell("gen-1", "stop")
    assert held.order == "stop"
    newer.__exit__(None, None, None)
    assert len(jobs) == 0


def test_orders_reach_those_they_are_for():
    jobs = HeldJobs()
    with jobs.holding(claim("a")) as sent, jobs.holding(claim("b")) as waiting:
        sent.sent = True
        jobs.tell_all("hand_over", sent=False)
        jobs.tell("unknown", "cancel")
        assert (sent.order, waiting.order) == (None, "hand_over")
        jobs.tell_all("stop")
        assert (sent.order, waiting.order) == ("stop", "stop")
