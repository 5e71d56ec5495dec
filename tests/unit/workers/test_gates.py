"""Breakers as one process sees them, and the retry budget."""

from __future__ import annotations

from typing import Any

import pytest

from routing.errors import Failure, Unavailable
from routing.store.health import Health, Verdict
from workers.gates import DEFAULT_PARK_MS, VERDICT_TTL_S, Gates, RetryBudget

GO = Verdict("go", 0)


class FakeHealth:
    def __init__(self) -> None:
        self.verdict = GO
        self.asked: list[str] = []
        self.told: list[tuple[Any, ...]] = []
        self.away = False

    def gate(self, endpoint_id: str, token: str) -> Verdict:
        if self.away:
            raise Unavailable("away")
        self.asked.append(endpoint_id)
        return self.verdict

    def outcome(
        self, endpoint_id: str, token: str, what: str, *, count: int = 1, pause_ms: int = 0
    ) -> str:
        if self.away:
            raise Unavailable("away")
        self.told.append((endpoint_id, token, what, count, pause_ms))
        return "closed"


@pytest.fixture
def health() -> FakeHealth:
    return FakeHealth()


@pytest.fixture
def gates(health: FakeHealth) -> Gates:
    fake: Any = health
    return Gates(fake)


def failure(**changes: Any) -> Failure:
    known: dict[str, Any] = {
        "status": 502,
        "message": "x",
        "retryable": True,
        "blame": "provider",
    }
    return Failure(**(known | changes))


def test_a_go_is_believed_for_a_moment(gates: Gates, health: FakeHealth):
    times = [0.0, 0.1, VERDICT_TTL_S - 0.01, VERDICT_TTL_S + 0.01]

    assert [gates.ask("e", "t", now_s) for now_s in times] == [GO] * 4

    assert len(health.asked) == 2


@pytest.mark.parametrize("state", ["open", "parked", "probe"])
def test_anything_else_is_asked_anew(gates: Gates, health: FakeHealth, state: Any):
    health.verdict = Verdict(state, 5)

    assert [gates.ask("e", "t", 0.0).state for _ in range(2)] == [state] * 2

    assert len(health.asked) == 2


def test_without_redis_calls_go_ahead_and_reports_are_dropped(gates: Gates, health: FakeHealth):
    health.away = True

    assert gates.ask("e", "t", 0.0) == GO
    gates.succeeded("e", "t")
    gates.failed("e", "t", failure())
    gates.flush()

    health.away = False
    gates.ask("e", "t", 0.1)
    assert health.asked == ["e"]


def test_successes_are_told_together(gates: Gates, health: FakeHealth):
    for endpoint in ("e", "e", "f", "e"):
        gates.succeeded(endpoint, "t")
    assert health.told == []

    gates.flush()
    gates.flush()

    assert health.told == [("e", "", "ok", 3, 0), ("f", "", "ok", 1, 0)]


def test_a_failure_is_told_at_once_and_ends_the_belief(gates: Gates, health: FakeHealth):
    gates.ask("e", "t", 0.0)

    gates.failed("e", "t", failure(retry_after_ms=700))
    gates.ask("e", "t", 0.0)

    assert health.told == [("e", "t", "err", 1, 700)]
    assert len(health.asked) == 2


@pytest.mark.parametrize(("hint_ms", "pause_ms"), [(None, DEFAULT_PARK_MS), (3_000, 3_000)])
def test_a_429_parks(gates: Gates, health: FakeHealth, hint_ms: int | None, pause_ms: int):
    gates.failed("e", "t", failure(limited=True, retry_after_ms=hint_ms))

    assert health.told == [("e", "t", "limited", 1, pause_ms)]


def test_a_callers_mistake_is_an_answer(gates: Gates, health: FakeHealth):
    gates.failed("e", "t", failure(blame="caller"))
    assert health.told == []

    gates.flush()

    assert health.told == [("e", "", "ok", 1, 0)]


@pytest.mark.parametrize(
    ("blame", "word"), [("provider", "err"), ("caller", "ok")], ids=["it failed", "it answered 400"]
)
def test_a_probe_reports_at_once_under_its_own_name(
    gates: Gates, health: FakeHealth, blame: Any, word: str
):
    health.verdict = Verdict("probe", 0)
    gates.ask("e", "mine", 0.0)

    gates.failed("e", "mine", failure(blame=blame))
    gates.flush()

    assert health.told == [("e", "mine", word, 1, 0)]


def test_a_probe_that_succeeds_is_told_at_once_and_once(gates: Gates, health: FakeHealth):
    health.verdict = Verdict("probe", 0)
    gates.ask("e", "mine", 0.0)

    gates.succeeded("e", "mine")
    gates.succeeded("e", "mine")
    gates.flush()

    assert health.told == [("e", "mine", "ok", 1, 0), ("e", "", "ok", 1, 0)]


def test_a_probe_that_was_broken_off_says_nothing(gates: Gates, health: FakeHealth):
    health.verdict = Verdict("probe", 0)
    gates.ask("e", "mine", 0.0)

    gates.abandoned("mine")
    gates.flush()

    assert health.told == []


def test_it_fits_the_real_thing(fake_redis):
    gates = Gates(Health(fake_redis))
    for number in range(12):
        gates.failed("e", str(number), failure())

    assert gates.ask("e", "t", 0.0).state == "open"


def test_second_tries_are_a_share_of_the_first_ones_and_a_floor():
    budget = RetryBudget()
    floor = int(RetryBudget.FLOOR_PER_S * RetryBudget.WINDOW_S)
    for _ in range(100):
        budget.first("p", 0.0)

    spent = 0
    while budget.left("p", 1.0):
        budget.spend("p", 1.0)
        spent += 1

    assert spent == floor + 20
    assert budget.left("other", 1.0)
    assert budget.left("p", RetryBudget.WINDOW_S)


def test_an_idle_pool_may_still_try_again_now_and_then():
    assert RetryBudget().left("p", 0.0)
