"""Gates as one process sees them, and the retry budget."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routing.catalog.shapes import Endpoint, Limits
from routing.errors import Failure, Unavailable
from routing.store import redis_keys as keys
from routing.store.health import FULL_WAIT_MS, LEASE_MS, Asking, Gate, Health, Verdict
from tests.fixtures.redis import FakeTime
from workers.gates import DEFAULT_PARK_MS, VERDICT_TTL_S, Gates, RetryBudget

GO = Verdict("go", 0)
FULL = Verdict("full", FULL_WAIT_MS)


class FakeHealth:
    """Answers what it is told to, and keeps what it is asked and told.

    Attributes:
        learnt: reports on capacity: endpoint, calls at overload, answers, microseconds.
        meanwhile: what happens in this process while it waits for an answer.
    """

    def __init__(self) -> None:
        self.verdict = GO
        self.limit = 0.0
        self.users = 1
        self.asked: list[str] = []
        self.asking: list[Asking] = []
        self.told: list[tuple[Any, ...]] = []
        self.learnt: list[tuple[Any, ...]] = []
        self.renewed: list[tuple[str, list[str]]] = []
        self.given_back: list[str] = []
        self.away = False
        self.meanwhile: Callable[[], object] | None = None

    def gate(self, endpoint_id: str, token: str, asking: Asking) -> Gate:
        if self.away:
            raise Unavailable("away")
        self.asked.append(endpoint_id)
        self.asking.append(asking)
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        return Gate(self.verdict, self.limit, self.users)

    def outcome(
        self,
        endpoint_id: str,
        token: str,
        what: str,
        *,
        count: int = 1,
        pause_ms: int = 0,
        probed: bool = False,
    ) -> str:
        if self.away:
            raise Unavailable("away")
        word = "back" if probed else what
        self.told.append((endpoint_id, token, word, count, pause_ms))
        return "closed"

    def learn(
        self, endpoint_id: str, *, overloaded_at: int = 0, answers: int = 0, late_us: int = 0
    ) -> float:
        if self.away:
            raise Unavailable("away")
        self.learnt.append((endpoint_id, overloaded_at, answers, late_us))
        return self.limit

    def renew(self, endpoint_id: str, tokens: list[str]) -> None:
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        self.renewed.append((endpoint_id, tokens))

    def give_back(self, endpoint_id: str, tokens: set[str]) -> None:
        assert endpoint_id
        self.given_back += sorted(tokens)


@pytest.fixture
def health() -> FakeHealth:
    return FakeHealth()


@pytest.fixture
def gates(health: FakeHealth) -> Gates:
    fake: Any = health
    return Gates(fake, "me")


@pytest.fixture(scope="session")
def e(endpoint: Callable[..., Endpoint]) -> Endpoint:
    return endpoint(id="e")


def failure(**changes: Any) -> Failure:
    known: dict[str, Any] = {
        "status": 502,
        "message": "x",
        "retryable": True,
        "blame": "provider",
    }
    return Failure(**(known | changes))


def test_a_go_is_believed_for_a_moment(gates: Gates, health: FakeHealth, e: Endpoint):
    times = [0.0, 0.1, VERDICT_TTL_S - 0.01, VERDICT_TTL_S + 0.01]

    assert [gates.ask(e, "t", now_s) for now_s in times] == [GO] * 4

    assert len(health.asked) == 2


@pytest.mark.parametrize("state", ["open", "parked", "probe"])
def test_anything_else_is_asked_anew(gates: Gates, health: FakeHealth, state: Any, e: Endpoint):
    health.verdict = Verdict(state, 5)

    assert [gates.ask(e, "t", 0.0).state for _ in range(2)] == [state] * 2

    assert len(health.asked) == 2


def test_without_redis_calls_go_ahead_and_reports_are_dropped(
    gates: Gates, health: FakeHealth, e: Endpoint
):
    health.away = True

    assert gates.ask(e, "t", 0.0) == GO
    gates.succeeded("e", "t")
    gates.failed("e", "t", failure())
    gates.flush()

    health.away = False
    gates.ask(e, "t", 0.1)
    assert health.asked == ["e"]


def test_successes_are_told_together(gates: Gates, health: FakeHealth):
    for endpoint in ("e", "e", "f", "e"):
        gates.succeeded(endpoint, "t")
    assert health.told == []

    gates.flush()
    gates.flush()

    assert health.told == [("e", "", "ok", 3, 0), ("f", "", "ok", 1, 0)]


def test_a_failure_is_told_at_once_and_ends_the_belief(
    gates: Gates, health: FakeHealth, e: Endpoint
):
    gates.ask(e, "t", 0.0)

    gates.failed("e", "t", failure(retry_after_ms=700))
    gates.ask(e, "t", 0.0)

    assert health.told == [("e", "t", "err", 1, 700)]
    assert len(health.asked) == 2


@pytest.mark.parametrize(("hint_ms", "pause_ms"), [(None, DEFAULT_PARK_MS), (3_000, 3_000)])
def test_a_429_parks(gates: Gates, health: FakeHealth, hint_ms: int | None, pause_ms: int):
    gates.failed("e", "t", failure(limited=True, retry_after_ms=hint_ms))

    assert health.told == [("e", "t", "limited", 1, pause_ms)]


def test_a_callers_mistake_is_an_answer(gates: Gates, health: FakeHealth):
    gates.failed("e", "t", failure(blame="caller", upstream_status=400))
    assert health.told == []

    gates.flush()

    assert health.told == [("e", "", "ok", 1, 0)]


def test_a_callers_mistake_that_nobody_was_asked_about_says_nothing_of_the_endpoint(
    gates: Gates, health: FakeHealth, e: Endpoint
):
    """Such as a picture that could not be fetched; a probe that made none stays out."""
    health.verdict = Verdict("probe", 0)
    gates.ask(e, "t", 0.0)

    gates.failed("e", "t", failure(blame="caller"))
    gates.flush()

    assert health.told == []


@pytest.mark.parametrize(
    ("blame", "word"),
    [("provider", "err"), ("caller", "back")],
    ids=["it failed", "it answered 400"],
)
def test_a_probe_reports_at_once_under_its_own_name(
    gates: Gates, health: FakeHealth, blame: Any, word: str, e: Endpoint
):
    health.verdict = Verdict("probe", 0)
    gates.ask(e, "mine", 0.0)

    gates.failed("e", "mine", failure(blame=blame, upstream_status=400))
    gates.flush()

    assert health.told == [("e", "mine", word, 1, 0)]


def test_a_probe_that_succeeds_is_told_at_once_and_once(
    gates: Gates, health: FakeHealth, e: Endpoint
):
    health.verdict = Verdict("probe", 0)
    gates.ask(e, "mine", 0.0)

    gates.succeeded("e", "mine")
    gates.succeeded("e", "mine")
    gates.flush()

    assert health.told == [("e", "mine", "back", 1, 0), ("e", "", "ok", 1, 0)]


def test_a_probe_that_was_broken_off_says_nothing(gates: Gates, health: FakeHealth, e: Endpoint):
    health.verdict = Verdict("probe", 0)
    gates.ask(e, "mine", 0.0)

    gates.abandoned("mine")
    gates.flush()

    assert health.told == []


def test_a_probe_that_left_without_a_word_is_forgotten(
    gates: Gates, health: FakeHealth, e: Endpoint
):
    health.verdict = Verdict("probe", 0)
    gates.ask(e, "mine", 0.0)

    gates.left("e", "mine")
    gates.succeeded("e", "mine")

    assert health.told == []


def test_it_fits_the_real_thing(fake_redis, e: Endpoint):
    gates = Gates(Health(fake_redis))
    for number in range(12):
        gates.failed("e", str(number), failure())

    assert gates.ask(e, "t", 0.0).state == "open"


# calls in flight


def test_a_call_counts_until_it_is_over(gates: Gates, e: Endpoint):
    gates.ask(e, "a", 0.0)
    gates.ask(e, "b", 0.0)
    gates.succeeded("e", "a")
    assert gates.in_flight("e") == 2

    for _ in range(2):
        gates.left("e", "a")
        gates.left("e", "unknown")

    assert gates.in_flight("e") == 1


@pytest.mark.parametrize("state", ["open", "parked", "full"])
def test_a_call_that_may_not_be_made_does_not_count(
    gates: Gates, health: FakeHealth, state: Any, e: Endpoint
):
    health.verdict = Verdict(state, 5)
    gates.ask(e, "a", 0.0)
    assert gates.in_flight("e") == 0


def test_a_call_let_through_although_its_endpoint_is_out_of_order_counts_and_is_no_good_news(
    gates: Gates, health: FakeHealth, e: Endpoint
):
    assert gates.ask(e, "a", 0.0, forced=True) == GO
    assert gates.in_flight("e") == 1

    gates.ask(e, "b", 0.0)

    assert [asking.forced for asking in health.asking] == [True, False]


def test_a_caller_that_is_gone_before_its_verdict_does_not_count(
    gates: Gates, health: FakeHealth, e: Endpoint
):
    def killed() -> None:
        raise KeyboardInterrupt

    health.meanwhile = killed
    with pytest.raises(KeyboardInterrupt):
        gates.ask(e, "a", 0.0)

    assert gates.in_flight("e") == 0


def test_callers_that_wait_for_a_verdict_see_each_other(
    gates: Gates, health: FakeHealth, e: Endpoint
):
    health.meanwhile = lambda: gates.ask(e, "b", 0.0)

    gates.ask(e, "a", 0.0)

    assert [(asking.worker, asking.in_flight) for asking in health.asking] == [("me", 0), ("me", 1)]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["ask", "ask", "ask", "force", "succeeded", "failed", "limited", "abandoned", "left"]
        ),
        st.sampled_from(["e", "f"]),
        st.integers(0, 5),
        st.sampled_from(["go", "go", "probe", "open", "parked", "full", "away"]),
    )
)


@given(steps=STEPS)
def test_calls_in_flight_are_those_let_through_and_not_left(
    steps: list[tuple[str, str, int, Any]], endpoint: Callable[..., Endpoint]
):
    health = FakeHealth()
    fake: Any = health
    gates, expected = Gates(fake), {"e": set[str](), "f": set[str]()}
    endpoints = {name: endpoint(id=name) for name in expected}
    for now_s, (step, name, number, state) in enumerate(steps):
        token = f"{name}{number}"
        health.away = state == "away"
        health.verdict = GO if health.away else Verdict(state, 0)
        if step in {"ask", "force"} and token in expected[name]:
            continue  # tokens are never used for two calls at once
        if step in {"ask", "force"}:
            told = gates.ask(endpoints[name], token, float(now_s), forced=step == "force")
            expected[name] |= {token} if told.state in {"go", "probe"} else set()
        elif step == "left":
            gates.left(name, token, tokens=7)
            expected[name].discard(token)
        elif step == "abandoned":
            gates.abandoned(token)
        elif step == "succeeded":
            gates.succeeded(name, token)
        else:
            gates.failed(name, token, failure(limited=step == "limited"))
        assert {one: gates.in_flight(one) for one in expected} == {
            one: len(tokens) for one, tokens in expected.items()
        }


class Deaf(Health):
    """Redis behind a bad line: `away` hears nothing, `deaf` is heard but does not hear back."""

    line = "good"

    @contextmanager
    def _over_the_line(self) -> Iterator[None]:
        if self.line == "away":
            raise Unavailable("away")
        yield
        if self.line == "deaf":
            raise Unavailable("too late")

    def gate(self, endpoint_id: str, token: str, asking: Asking = Asking()) -> Gate:  # noqa: B008 - frozen
        with self._over_the_line():
            return super().gate(endpoint_id, token, asking)

    def renew(self, endpoint_id: str, tokens: Collection[str]) -> None:
        with self._over_the_line():
            super().renew(endpoint_id, tokens)

    def give_back(self, endpoint_id: str, tokens: Collection[str]) -> None:
        with self._over_the_line():
            super().give_back(endpoint_id, tokens)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["ask", "ask", "ask", "left", "left", "flush"]),
            st.integers(0, 5),
            st.sampled_from(["good", "good", "good", "away", "deaf"]),
        ),
        max_size=40,
    )
)
def test_places_taken_are_those_of_calls_in_flight(
    steps: list[tuple[str, int, str]], fake_redis: Any, endpoint: Callable[..., Endpoint]
):
    fake_redis.flushall()
    health, capped = Deaf(fake_redis), endpoint(id="e", limits=Limits(concurrency=2))
    fleet = [Gates(health, "even"), Gates(health, "odd")]
    running: set[int] = set()
    always_good = True
    for now_s, (step, number, line) in enumerate(steps):
        gates, health.line = fleet[number % 2], line
        always_good = always_good and line == "good"
        if step == "ask" and number not in running:
            if gates.ask(capped, str(number), float(now_s)) == GO:
                running.add(number)
        elif step == "left":
            gates.left("e", str(number))
            running.discard(number)
        else:
            gates.flush()
        assert len(running) <= 2 or not always_good

    # When the line is good again, and leases are due to be renewed
    health.line = "good"
    for gates in fleet:
        gates._renewed_s = -LEASE_MS
        gates.flush()

    # Then there is a place for each call that runs, and for nothing else.
    assert _places(fake_redis) == {str(number) for number in running}


def _places(redis: Any) -> set[str]:
    return {token.decode() for token in redis.zrange(keys.calls_at_once("e"), 0, -1)}


# calls at once


def test_where_calls_at_once_are_counted_every_call_is_asked_for(
    gates: Gates, health: FakeHealth, endpoint: Callable[..., Endpoint]
):
    capped = endpoint(id="e", limits=Limits(concurrency=2))

    for token in "abc":
        gates.ask(capped, token, 0.0)
        gates.left("e", token)
        gates.left("e", token)

    assert len(health.asking) == 3
    assert health.given_back == ["a", "b", "c"]


def test_leases_of_calls_that_go_on_are_renewed(
    gates: Gates, health: FakeHealth, e: Endpoint, endpoint: Callable[..., Endpoint]
):
    gates.ask(endpoint(id="f", limits=Limits(concurrency=2)), "a", 0.0)
    gates.ask(e, "b", 0.0)
    for _ in range(3):
        gates.flush()
    assert health.renewed == [("f", ["a"])]


def test_a_call_that_leaves_while_it_is_renewed_keeps_no_place(
    gates: Gates, health: FakeHealth, endpoint: Callable[..., Endpoint]
):
    gates.ask(endpoint(id="e", limits=Limits(concurrency=2)), "a", 0.0)
    health.meanwhile = lambda: gates.left("e", "a")

    gates.flush()

    assert health.renewed == [("e", ["a"])]
    assert health.given_back == ["a", "a"]


def test_each_process_takes_its_share_without_asking(gates: Gates, health: FakeHealth, e: Endpoint):
    health.limit, health.users = 10.0, 4

    verdicts = [gates.ask(e, str(number), 0.0) for number in range(5)]

    assert verdicts == [GO, GO, GO, FULL, FULL]
    assert len(health.asked) == 1
    gates.left("e", "0")
    assert gates.ask(e, "5", 0.0) == GO


def test_the_catalog_caps_calls_at_once(
    gates: Gates, health: FakeHealth, endpoint: Callable[..., Endpoint]
):
    capped = endpoint(id="e", limits=Limits(concurrency=2))
    health.away = True

    assert [gates.ask(capped, str(number), 0.0) for number in range(3)] == [GO, GO, FULL]


def test_room_is_believed_as_long_as_a_go(gates: Gates, health: FakeHealth, e: Endpoint):
    gates.ask(e, "old", -1.0)
    health.asked.clear()
    health.verdict, health.limit = FULL, 1.0
    assert gates.ask(e, "a", 0.0) == FULL
    assert gates.ask(e, "a", 0.1) == FULL
    gates.left("e", "old")

    assert gates.ask(e, "a", VERDICT_TTL_S - 0.01) == GO
    assert len(health.asked) == 1


@pytest.mark.parametrize(
    "changes",
    [{"limited": True, "status": 429}, {"upstream_status": 503}, {"limited": True, "status": 529}],
)
def test_too_much_to_do_is_told_with_the_calls_in_flight(
    gates: Gates, health: FakeHealth, changes: dict[str, Any], e: Endpoint
):
    for token in "abc":
        gates.ask(e, token, 0.0)

    gates.failed("e", "b", failure(**changes))
    gates.failed("f", "x", failure())

    assert health.learnt == [("e", 3, 0, 0)]


def test_answers_are_told_where_there_is_a_limit_to_raise(
    gates: Gates, health: FakeHealth, e: Endpoint
):
    gates.ask(e, "a", 0.0)
    gates.succeeded("e", "a")
    gates.flush()
    assert health.learnt == []
    health.limit = 4.0
    gates.ask(e, "b", 1.0)
    for token in "bcd":
        gates.succeeded("e", token)

    gates.flush()

    assert health.learnt == [("e", 0, 3, 0)]


# rates


def test_where_there_is_a_rate_every_call_is_asked_for(
    gates: Gates, health: FakeHealth, endpoint: Callable[..., Endpoint]
):
    rated = endpoint(id="e", limits=Limits(tpm=6_000))

    for token in "abc":
        gates.ask(rated, token, 0.0, tokens=70)

    assert [(one.limits.tpm, one.tokens) for one in health.asking] == [(6_000, 70)] * 3


def test_tokens_are_corrected_together_by_what_was_used(
    gates: Gates, health: FakeHealth, endpoint: Callable[..., Endpoint]
):
    rated, free = endpoint(id="e", limits=Limits(tpm=6_000)), endpoint(id="f")
    for token, used in (("a", 170), ("b", 50), ("c", 0)):
        gates.ask(rated, token, 0.0, tokens=70)
        gates.left("e", token, tokens=used)
        gates.left("e", token, tokens=used)
    gates.ask(free, "d", 0.0, tokens=70)
    gates.left("f", "d", tokens=500)

    gates.flush()
    gates.flush()

    assert health.learnt == [("e", 0, 0, (100 - 20) * 10_000)]


def test_a_fleet_finds_how_many_calls_a_provider_takes(
    fake_redis: Any, fake_time: FakeTime, e: Endpoint
):
    # Given: two processes that would like to make forty calls a second, and eight are taken.
    gates = [Gates(Health(fake_redis), f"w{number}") for number in range(2)]
    takes, answered, refused = 8, 0, 0
    for step in range(40):
        running: list[tuple[Gates, str]] = []
        for number in range(40):
            gate, token = gates[number % 2], f"{step}.{number}"
            if gate.ask(e, token, float(step)).state not in {"go", "probe"}:
                continue
            if len(running) < takes:
                gate.succeeded("e", token)
                running.append((gate, token))
            else:
                gate.failed("e", token, failure(limited=True, status=429))
                gate.left("e", token)
                refused += 1
        for gate, token in running:
            gate.left("e", token)
        for gate in gates:
            gate.flush()
        answered += len(running)
        fake_time.advance(1_001)

    # Then: nearly all it takes is used, few calls are made in vain, and the number is known.
    assert answered >= 0.9 * 40 * takes
    assert refused <= 0.2 * answered
    assert takes * 0.7 <= Health(fake_redis).gate("e", "look").limit <= takes * 1.3


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
