from typing import Any

import pytest

from routing.catalog.shapes import Price
from routing.decide import (
    BACKOFF_MS,
    MIN_REMAINING_MS,
    RETRY_AFTER_MAX_MS,
    AttemptState,
    Decision,
    Fallback,
    GiveUp,
    Retry,
    after,
    decide,
    not_tried,
)
from routing.errors import (
    Failure,
    UpstreamDenied,
    UpstreamDown,
    UpstreamLimited,
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


def entries(models: str) -> tuple[PlanEntry, ...]:
    """One entry per letter, which is its model."""
    return tuple(
        PlanEntry(endpoint_id=f"{index}:{model}", model_id=model, pool="p", price=Price())
        for index, model in enumerate(models)
    )


def state(models: str = "mm", **changes: Any) -> AttemptState:
    known: dict[str, Any] = {"entries": entries(models), "remaining_ms": 60_000}
    return AttemptState(**(known | changes))


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
            state("mnm", index=1, refused_models=frozenset("m")),
            REJECTED,
            GiveUp(REJECTED),
            id="400: every model refused",
        ),
        pytest.param(
            state("mnmn", index=1, refused_models=frozenset("m")),
            DOWN,
            Fallback(3),
            id="5xx: never back to a model that refused",
        ),
        pytest.param(state(), OPEN, Fallback(1), id="breaker open: the next one"),
        pytest.param(state(tries_total=3), OPEN, Fallback(1), id="breaker open: cost no try"),
        pytest.param(
            state(budget_left=False), OPEN, Fallback(1), id="breaker open: costs no budget"
        ),
        pytest.param(state("m"), OPEN, GiveUp(OPEN), id="all breakers open: 503"),
        pytest.param(
            state("mm", index=1, last=BUSY),
            OPEN,
            GiveUp(BUSY),
            id="last breaker open: the provider's own failure",
        ),
    ],
)
def test_decide(before: AttemptState, failure: Failure, expected: Decision):
    assert decide(before, failure, 0.5) == expected


def test_the_status_of_exhaustion_is_the_last_providers_own():
    assert OPEN.status == 503
    assert [f.status for f in (DOWN, SILENT, BUSY, DENIED)] == [502, 504, 429, 502]


@pytest.mark.parametrize("draw", [0.0, 0.5, 1.0])
def test_backoff_stays_within_its_half_and_its_whole(draw: float):
    decision = decide(state("m"), DOWN, draw)

    assert isinstance(decision, Retry)
    assert BACKOFF_MS // 2 <= decision.delay_ms <= BACKOFF_MS


def test_a_request_ends_after_three_calls_however_many_endpoints_there_are():
    now = state("m" * 10)
    calls = 1
    while isinstance(decision := decide(now, DOWN, 0.5), Fallback | Retry):
        now = after(now, decision, DOWN)
        calls += 1

    assert calls == 3
    assert now.last == DOWN


def test_what_a_decision_changes():
    first = state("mn")

    refused = after(first, Fallback(1), REJECTED)
    again = after(refused, Retry(5), DOWN)
    skipped = after(first, Fallback(1), OPEN)
    ended = after(again, GiveUp(DOWN), DOWN)

    assert (refused.index, refused.tries_total, refused.refused_models) == (1, 2, {"m"})
    assert (again.index, again.tries_here, again.tries_total) == (1, 2, 3)
    assert (skipped.index, skipped.tries_total, skipped.last) == (1, 1, None)
    assert ended == again
