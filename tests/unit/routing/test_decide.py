from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from routing.catalog.shapes import Price
from routing.decide import (
    BACKOFF_MS,
    MAX_CALLS,
    MIN_REMAINING_MS,
    RETRY_AFTER_MAX_MS,
    ROOM_LOOKS_MAX,
    WAIT_MARGIN_MS,
    WAIT_MAX_MS,
    WAIT_MIN_MS,
    AttemptState,
    Busy,
    Decision,
    Fallback,
    GiveUp,
    Retry,
    Wait,
    after,
    another_may_answer,
    decide,
    not_tried,
    noted,
)
from routing.errors import (
    Failure,
    UpstreamDenied,
    UpstreamDown,
    UpstreamLimited,
    UpstreamRefused,
    UpstreamRejected,
    UpstreamTimeout,
)
from routing.wire.job import PlanEntry

DOWN = UpstreamDown().failure("P")
SILENT = UpstreamTimeout("first_byte", 100).failure("P")
BUSY = UpstreamLimited().failure("P")
BUSY_2S = UpstreamLimited(retry_after_ms=2_000).failure("P")
BUSY_LONG = UpstreamLimited(retry_after_ms=RETRY_AFTER_MAX_MS + 1).failure("P")
DOWN_2S = UpstreamDown(retry_after_ms=2_000).failure("P")
REJECTED = UpstreamRejected().failure("P")
TOO_LONG = UpstreamRejected(status=413).failure("P")
DENIED = UpstreamDenied().failure("P")
OPEN = not_tried(7_000)
CONTEXT = UpstreamRejected(kind="context").failure("P")
FLAGGED = UpstreamRejected(status=403, kind="moderation").failure("P")
REFUSED = UpstreamRefused().failure("P")


def entries(models: str) -> tuple[PlanEntry, ...]:
    """One entry per letter, which is its model; a provider each, or one by the digit behind it."""
    made = []
    for index, word in enumerate(models.split() if " " in models else models):
        model, provider = word[0], word[1:] or str(index)
        made.append(
            PlanEntry(
                endpoint_id=f"{provider}/{index}:{model}", model_id=model, pool="p", price=Price()
            )
        )
    return tuple(made)


def state(models: str = "mm", **changes: Any) -> AttemptState:
    known: dict[str, Any] = {"entries": entries(models), "remaining_ms": 60_000}
    return AttemptState(**(known | changes))


def decided(before: AttemptState, failure: Failure, why: Busy = "open") -> Decision:
    return decide(noted(before, failure, why), failure, 0.5)


@pytest.mark.parametrize(
    ("before", "failure", "expected"),
    [
        pytest.param(
            state(bytes_sent=True), DOWN, GiveUp(DOWN, in_band=True), id="a byte went out: too late"
        ),
        pytest.param(
            state(allow_fallbacks=False), DOWN, GiveUp(DOWN), id="no fallbacks: told as is"
        ),
        pytest.param(
            state("m", allow_fallbacks=False),
            BUSY_2S,
            GiveUp(BUSY_2S),
            id="no fallbacks: no retry either",
        ),
        pytest.param(
            state(remaining_ms=MIN_REMAINING_MS - 1), DOWN, GiveUp(DOWN), id="no time left"
        ),
        pytest.param(
            state(remaining_ms=MIN_REMAINING_MS), DOWN, Fallback(1), id="just enough time"
        ),
        pytest.param(state(tries_total=3), DOWN, GiveUp(DOWN), id="three tries made"),
        pytest.param(
            state(tries_total=3, max_attempts=4), DOWN, Fallback(1), id="a fourth one allowed"
        ),
        pytest.param(state(budget_left=False), DOWN, GiveUp(DOWN), id="retry budget spent"),
        pytest.param(
            state("m", budget_left=False), DOWN, GiveUp(DOWN), id="retry budget spent, last one"
        ),
        pytest.param(state(), DOWN, Fallback(1), id="5xx: the next one"),
        pytest.param(state("m"), DOWN, Retry(BACKOFF_MS * 3 // 4), id="5xx, last one: again"),
        pytest.param(
            state("m", tries_here=2, tries_total=2),
            DOWN,
            GiveUp(DOWN),
            id="5xx, last one: once only",
        ),
        pytest.param(
            state("mm", index=1), DOWN, Retry(BACKOFF_MS * 3 // 4), id="5xx, last of two: again"
        ),
        pytest.param(state("m"), DOWN_2S, Retry(2_000), id="5xx with a hint: not before it"),
        pytest.param(
            state("m", remaining_ms=2_500),
            DOWN_2S,
            GiveUp(DOWN_2S),
            id="5xx with a hint that does not fit",
        ),
        pytest.param(state(), SILENT, Fallback(1), id="silent: the next one"),
        pytest.param(state("m"), SILENT, GiveUp(SILENT), id="silent, last one: never the same"),
        pytest.param(state(), BUSY, Fallback(1), id="429: the next one"),
        pytest.param(state("m"), BUSY, GiveUp(BUSY), id="429 without hint, last one"),
        pytest.param(state("m"), BUSY_2S, Retry(2_000), id="429, last one: after Retry-After"),
        pytest.param(
            state("m", tries_here=2, tries_total=2),
            BUSY_2S,
            Retry(2_000),
            id="429 again: until tries end",
        ),
        pytest.param(
            state("m"), BUSY_LONG, GiveUp(BUSY_LONG), id="429, last one: Retry-After too long"
        ),
        pytest.param(
            state("m", remaining_ms=2_500),
            BUSY_2S,
            GiveUp(BUSY_2S),
            id="429, last one: does not fit",
        ),
        pytest.param(state(), DENIED, Fallback(1), id="our key refused: the next one"),
        pytest.param(state("m"), DENIED, GiveUp(DENIED), id="our key refused, last one"),
        pytest.param(
            state("mm"), REJECTED, GiveUp(REJECTED), id="400: other endpoints would say the same"
        ),
        pytest.param(state("mmn"), REJECTED, Fallback(2), id="400: the next model"),
        pytest.param(state("mmn"), TOO_LONG, Fallback(2), id="413: the next model"),
        pytest.param(
            state("mnm", index=1, ruled_out=frozenset({0, 2})),
            REJECTED,
            GiveUp(REJECTED),
            id="400: every model refused",
        ),
        pytest.param(
            state("mnmn", index=1, ruled_out=frozenset({0, 2})),
            DOWN,
            Fallback(3),
            id="5xx: never back to a model that refused",
        ),
        pytest.param(state(), OPEN, Fallback(1), id="breaker open: the next one"),
        pytest.param(state(tries_total=3), OPEN, Fallback(1), id="breaker open: cost no try"),
        pytest.param(
            state(budget_left=False), OPEN, Fallback(1), id="breaker open: costs no budget"
        ),
        pytest.param(
            state("m"), OPEN, Fallback(0, forced=True), id="all breakers open: called all the same"
        ),
        pytest.param(
            state("m", allow_fallbacks=False),
            OPEN,
            Fallback(0, forced=True),
            id="all breakers open, no fallbacks: likewise",
        ),
        pytest.param(
            state("m", bytes_sent=True, rescuing=True),
            DOWN,
            GiveUp(DOWN, in_band=True),
            id="rescue: never the same endpoint again",
        ),
        pytest.param(
            state(bytes_sent=True, rescuing=True), DOWN, Fallback(1), id="rescue: the next one"
        ),
        pytest.param(
            state(bytes_sent=True, rescuing=True, tries_total=3),
            DOWN,
            GiveUp(DOWN, in_band=True),
            id="rescue: tries are bounded",
        ),
        pytest.param(
            state(contexts=(8, 8)), CONTEXT, GiveUp(CONTEXT), id="too long: no longer context left"
        ),
        pytest.param(
            state("mmmn", contexts=(8, 8, 16, 4)),
            CONTEXT,
            Fallback(2),
            id="too long: a longer context of the same model",
        ),
        pytest.param(
            state("mmn", contexts=(8, 8, 4)), CONTEXT, Fallback(2), id="too long: the next model"
        ),
        pytest.param(
            state("m1 m1 m2 n1"), FLAGGED, Fallback(2), id="flagged: another provider of the model"
        ),
        pytest.param(state("m1 m1 n1"), FLAGGED, Fallback(2), id="flagged: the next model"),
        pytest.param(state("m1 m1"), FLAGGED, GiveUp(FLAGGED), id="flagged: by all there are"),
        pytest.param(state("m1 m2"), REFUSED, Fallback(1), id="not answered: another provider"),
        pytest.param(
            state("m", waits=True), BUSY_2S, Wait(2_000, 0), id="waits: 429 of the last one"
        ),
        pytest.param(
            state("m", waits=True), BUSY_LONG, Wait(5_001, 0), id="waits: for a long one too"
        ),
        pytest.param(state("m", waits=True), OPEN, Wait(7_000, 0), id="waits: nobody is forced"),
        pytest.param(
            state("m", waits=True, tries_total=9),
            BUSY_2S,
            Wait(2_000, 0),
            id="waits: 429s cost no tries",
        ),
        pytest.param(
            state("m", waits=True, budget_left=False),
            BUSY_2S,
            Wait(2_000, 0),
            id="waits: nor retry budget",
        ),
        pytest.param(
            state("m", waits=True, calls=MAX_CALLS),
            BUSY_2S,
            GiveUp(BUSY_2S),
            id="waits: calls are bounded",
        ),
        pytest.param(
            state("m", waits=True, allow_fallbacks=False),
            BUSY_2S,
            Wait(2_000, 0),
            id="waits: without fallbacks too",
        ),
        pytest.param(
            state("mm", waits=True, index=1, faulted=True, last=DOWN, tries_total=3),
            OPEN,
            GiveUp(DOWN),
            id="waits: not when one broke",
        ),
        pytest.param(
            state("m", waits=True, remaining_ms=WAIT_MARGIN_MS + 800),
            OPEN,
            Wait(800, 0),
            id="waits: not beyond the deadline",
        ),
        pytest.param(
            state("m", waits=True, remaining_ms=WAIT_MARGIN_MS + WAIT_MIN_MS - 1),
            BUSY_2S,
            GiveUp(BUSY_2S),
            id="waits: until there is no time",
        ),
        pytest.param(
            state("m", waits=True, bytes_sent=True, rescuing=True),
            BUSY_2S,
            GiveUp(BUSY_2S, in_band=True),
            id="waits: never in the middle of an answer",
        ),
        pytest.param(
            state("mm", index=1, last=BUSY),
            OPEN,
            GiveUp(replace(BUSY, retry_after_ms=7_000)),
            id="last breaker open: the provider's own failure, and when another is worth it",
        ),
    ],
)
def test_decide(before: AttemptState, failure: Failure, expected: Decision):
    assert decided(before, failure) == expected


def passed_over(before: AttemptState, *skips: tuple[Busy, int]) -> tuple[AttemptState, Decision]:
    """The state and the decision after each entry was passed over in turn."""
    now = before
    decision: Decision = Fallback(0)
    for why, wait_ms in skips:
        failure = not_tried(wait_ms, why)
        now = noted(now, failure, why)
        decision = decide(now, failure, 0.5)
        now = after(now, decision, failure)
    return now, decision


@pytest.mark.parametrize(
    ("skips", "status", "wait_ms"),
    [
        ((("parked", 9_000), ("parked", 250)), 429, 250),
        ((("parked", 4_000), ("parked", 9_000)), 429, 4_000),
        ((("open", 4_000), ("parked", 9_000)), 503, 4_000),
        ((("parked", 4_000), ("unfit", 0)), 429, 4_000),
        ((("unfit", 0), ("unfit", 0)), 503, 0),
    ],
)
def test_when_none_was_called_the_wait_is_the_shortest_of_all(
    skips: tuple[tuple[Busy, int], ...], status: int, wait_ms: int
):
    _, decision = passed_over(state("mm"), *skips)

    assert isinstance(decision, GiveUp)
    assert (decision.failure.status, decision.failure.retry_after_ms) == (status, wait_ms)


def test_an_endpoint_full_of_our_own_calls_is_asked_again_for_some_seconds():
    before, looks = state("mm"), 0
    before, decision = passed_over(before, ("parked", 9_000), ("full", 250))
    while isinstance(decision, Retry):
        looks += 1
        assert decision.delay_ms == 250
        before = noted(before, not_tried(250, "full"), "full")
        decision = decide(before, not_tried(250, "full"), 0.5)
        before = after(before, decision, not_tried(250, "full"))

    assert looks == ROOM_LOOKS_MAX - 1
    assert isinstance(decision, GiveUp)
    assert decision.failure.status == 429
    assert before.calls == 1, "nobody was called"


def test_room_is_looked_for_where_there_was_some():
    _, decision = passed_over(state("mm"), ("full", 250), ("open", 9_000))

    assert decision == Fallback(0)


def test_room_is_not_looked_for_where_the_endpoint_closed_since():
    now, decision = passed_over(state("m"), ("full", 250))
    assert isinstance(decision, Retry)

    _, decision = passed_over(now, ("parked", 15_000))

    assert isinstance(decision, GiveUp)
    assert decision.failure.status == 429


def test_room_is_looked_for_with_a_pause_even_before_others_that_are_closed():
    now, decision = passed_over(state("mm"), ("full", 250), ("parked", 9_000))
    assert decision == Fallback(0)

    now, decision = passed_over(now, ("full", 250))

    assert decision == Retry(250)


@given(
    plan=st.sampled_from(["m", "mm", "mn", "mnm"]),
    verdicts=st.lists(
        st.sampled_from(["full", "parked", "open", "unfit"]), min_size=1, max_size=60
    ),
)
@example(plan="m", verdicts=["full", "parked"])
@example(plan="mn", verdicts=["full"])
def test_looks_for_room_are_bounded_whatever_is_found(plan: str, verdicts: list[Busy]):
    now, looks = state(plan, remaining_ms=10**9), 0
    decision: Decision = Fallback(0)
    while not isinstance(decision, GiveUp):
        now, decision = passed_over(now, (verdicts[looks % len(verdicts)], 250))
        looks += 1
        assert looks <= ROOM_LOOKS_MAX + len(plan)
        if isinstance(decision, Retry):
            assert now.skipped[-1].why == "full"

    assert now.calls == 1


def test_when_all_are_out_of_order_the_one_that_is_so_for_the_shortest_time_is_called():
    now, decision = passed_over(state("mmm"), ("open", 9_000), ("open", 2_000), ("open", 5_000))

    assert decision == Fallback(1, forced=True)
    assert now.index == 1

    # Its failure is the answer when the rest is still out of order, and nothing is forced again.
    failed = noted(now, DOWN)
    assert decide(failed, DOWN, 0.5) == Fallback(2)
    rest = noted(after(failed, Fallback(2), DOWN), OPEN)
    assert decide(rest, OPEN, 0.5) == GiveUp(DOWN)


def test_a_wait_is_as_long_as_the_shortest_hint_and_begins_anew():
    now, decision = passed_over(
        state("mmm", waits=True), ("unfit", 0), ("parked", 90_000), ("full", 100)
    )

    assert decision == Wait(WAIT_MIN_MS, 1)
    assert (now.index, now.skipped, now.tries_total) == (1, (), 1)
    _, long = passed_over(state("m", waits=True), ("parked", 90_000))
    assert long == Wait(WAIT_MAX_MS, 0)


def test_waiting_never_calls_more_often_than_it_may():
    now, calls = state("mm", waits=True, remaining_ms=10**9), 0
    failure = BUSY_2S
    while True:
        calls += 1
        now = noted(now, failure)
        decision = decide(now, failure, 0.5)
        if isinstance(decision, GiveUp):
            break
        now = after(now, decision, failure)

    assert calls == MAX_CALLS
    assert decision == GiveUp(BUSY_2S)


def test_a_fault_among_waits_brings_the_usual_tries_back():
    before = state("m", waits=True, faulted=True)
    now, tries = before, 1
    while isinstance(decision := decide(noted(now, BUSY_2S), BUSY_2S, 0.5), Retry):
        now = after(now, decision, BUSY_2S)
        tries += 1

    assert tries == 3
    assert isinstance(decision, GiveUp)


def test_a_refusal_moves_on_only_where_somebody_else_may_answer():
    assert another_may_answer(state("mm"), REFUSED)
    assert not another_may_answer(state("m"), REFUSED)
    assert not another_may_answer(state("m1 m1"), REFUSED)
    assert not another_may_answer(state("mm", tries_total=3), REFUSED)
    assert not another_may_answer(state("mm", allow_fallbacks=False), REFUSED)


def test_the_status_of_exhaustion_is_the_last_providers_own():
    assert OPEN.status == 503
    assert [f.status for f in (DOWN, SILENT, BUSY, DENIED)] == [502, 504, 429, 502]


@pytest.mark.parametrize("draw", [0.0, 0.5, 1.0])
def test_backoff_stays_within_its_half_and_its_whole(draw: float):
    decision = decide(noted(state("m"), DOWN), DOWN, draw)

    assert isinstance(decision, Retry)
    assert BACKOFF_MS // 2 <= decision.delay_ms <= BACKOFF_MS


def failing(models: str, failure: Failure, count: int, **changes: Any) -> list[int]:
    """The entries that are tried when each of them fails so."""
    before, tried = state(models, **changes), [0]
    for _ in range(count):
        noted_state = noted(before, failure)
        decision = decide(noted_state, failure, 0.5)
        if not isinstance(decision, Fallback):
            break
        tried.append(decision.index)
        before = after(noted_state, decision, failure)
    return tried


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ("aaaab", [0, 1, 2, 4]),
        ("aaaabc", [0, 1, 2, 4, 5]),
        ("aab", [0, 1, 2]),
        ("aba", [0, 1, 2]),
        ("aaaa", [0, 1, 2]),
    ],
)
def test_a_try_is_kept_back_for_each_model_not_tried_yet(models: str, expected: list[int]):
    assert failing(models, DOWN, 9) == expected


def test_endpoints_passed_over_take_no_try_from_a_models_own():
    before = state("aaab")
    before = after(noted(before, DOWN), Fallback(1), DOWN)

    assert decide(noted(before, OPEN), OPEN, 0.5) == Fallback(2)


def test_a_request_ends_after_three_calls_however_many_endpoints_there_are():
    now = noted(state("m" * 10), DOWN)
    calls = 1
    while isinstance(decision := decide(now, DOWN, 0.5), Fallback | Retry):
        now = noted(after(now, decision, DOWN), DOWN)
        calls += 1

    assert calls == 3
    assert now.last == DOWN


def test_what_a_decision_changes():
    first = state("mn")

    refused = after(noted(first, REJECTED), Fallback(1), REJECTED)
    again = after(noted(refused, DOWN), Retry(5), DOWN)
    skipped = after(noted(first, OPEN), Fallback(1), OPEN)
    ended = after(again, GiveUp(DOWN), DOWN)

    assert (refused.index, refused.tries_total, refused.ruled_out) == (1, 2, {0})
    assert (refused.calls, refused.faulted, refused.last) == (2, True, REJECTED)
    assert (again.index, again.tries_here, again.tries_total) == (1, 2, 3)
    assert (skipped.index, skipped.tries_total, skipped.calls, skipped.last) == (1, 1, 1, None)
    assert ended == again


FAILURES = st.sampled_from(
    [
        (DOWN, "open"),
        (SILENT, "open"),
        (BUSY, "open"),
        (BUSY_2S, "open"),
        (REJECTED, "open"),
        (CONTEXT, "open"),
        (FLAGGED, "open"),
        (REFUSED, "open"),
        (DENIED, "open"),
        (OPEN, "open"),
        (not_tried(300, "parked"), "parked"),
        (not_tried(250, "full"), "full"),
        (not_tried(0, "unfit"), "unfit"),
    ]
)


@given(
    plan=st.lists(st.sampled_from(["m1", "m2", "n1", "n2"]), min_size=1, max_size=6),
    met=st.lists(FAILURES, min_size=1, max_size=12),
    contexts=st.lists(st.integers(1, 3), min_size=6, max_size=6),
    waits=st.booleans(),
    rescuing=st.booleans(),
)
@example(plan=["m1", "m2"], met=[(OPEN, "open")], contexts=[1] * 6, waits=False, rescuing=False)
@example(plan=["m1", "m2"], met=[(BUSY_2S, "open")], contexts=[1] * 6, waits=True, rescuing=False)
def test_whatever_happens_a_request_comes_to_an_end(
    plan: list[str],
    met: list[tuple[Failure, Busy]],
    contexts: list[int],
    *,
    waits: bool,
    rescuing: bool,
):
    now = state(
        " ".join([*plan, ""]) if len(plan) == 1 else " ".join(plan),
        contexts=tuple(contexts),
        waits=waits,
        bytes_sent=rescuing,
        rescuing=rescuing,
        remaining_ms=100_000,
    )
    steps = calls = forced = 0
    decision: Decision = Fallback(0)
    while not isinstance(decision, GiveUp):
        failure, why = met[steps % len(met)]
        steps += 1
        called = failure.blame != "router"
        calls += called
        seen = noted(now, failure, why)
        decision = decide(seen, failure, 0.5)
        now = after(seen, decision, failure)
        match decision:
            case Wait(delay_ms):
                assert waits
                assert not rescuing
                assert WAIT_MIN_MS <= delay_ms <= WAIT_MAX_MS
                now = replace(now, remaining_ms=now.remaining_ms - delay_ms, now_ms=delay_ms)
            case Fallback(index):
                assert index not in now.ruled_out
                forced += decision.forced
                if rescuing:
                    assert index > seen.index
            case Retry():
                assert not rescuing
                assert seen.index not in now.ruled_out

    assert calls <= (MAX_CALLS if waits else now.tries_max)
    assert forced <= 1
    assert steps <= MAX_CALLS + 7 * (1 + 100_000 // WAIT_MIN_MS)
    assert decision.in_band is rescuing
