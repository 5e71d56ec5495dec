"""What follows a failed attempt. Pure: the worker acts on the value returned here.

The rules, in order; the first that applies decides:

1. A byte has gone out, or the caller allows no fallback: the failure is the answer.
2. The request itself was refused: only another model can help.
3. The endpoint could not be tried (its breaker is open): the next one.
4. No tries, no time or no retry budget left: the failure is the answer.
5. Another endpoint is left: that one.
6. The last endpoint: again after a short Retry-After if it was busy, after a short pause if it
   broke, and never if it kept silent or refused our key.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from routing.errors import Failure
from routing.wire.job import PlanEntry

#: Upstream calls for one request (Google SRE, "Handling Overload": three, then give up).
MAX_ATTEMPTS = 3
#: Less time than this is not enough to connect and to get a first byte.
MIN_REMAINING_MS = 1_000
#: Longest Retry-After waited for on the caller's time; a longer one is the caller's to wait.
RETRY_AFTER_MAX_MS = 5_000
#: Pause before the same endpoint is called again: half of it for sure, the rest by the draw.
BACKOFF_MS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptState:
    """How far one request has come.

    Attributes:
        index: the entry that was just tried.
        tries_here: upstream calls made to that entry, this one included.
        tries_total: upstream calls made for the request, this one included.
        bytes_sent: whether the client has had any byte of an answer.
        remaining_ms: until the request's deadline.
        budget_left: whether the pool's retry budget allows one more call.
        refused_models: models that refused the request itself.
        last: the last failure of an endpoint that was really called; None before the first.
    """

    entries: tuple[PlanEntry, ...]
    remaining_ms: int
    index: int = 0
    tries_here: int = 1
    tries_total: int = 1
    bytes_sent: bool = False
    budget_left: bool = True
    allow_fallbacks: bool = True
    max_attempts: int = MAX_ATTEMPTS
    refused_models: frozenset[str] = frozenset()
    last: Failure | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """Call the same endpoint again after `delay_ms`."""

    delay_ms: int


@dataclass(frozen=True, slots=True)
class Fallback:
    """Go on with `entries[index]`, maybe in another provider's pool."""

    index: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Tell the client `failure`: as a status, or in band when its answer has already begun."""

    failure: Failure
    in_band: bool = False


Decision = Retry | Fallback | GiveUp


def not_tried(retry_after_ms: int) -> Failure:
    """The failure of an endpoint whose breaker is open: no call was made, nobody is to blame."""
    return Failure(
        status=503,
        message="Service temporarily unavailable",
        retryable=True,
        blame="router",
        retry_after_ms=retry_after_ms,
    )


def decide(state: AttemptState, failure: Failure, draw: float) -> Decision:
    """Retry, Fallback or GiveUp.

    Args:
        state: where the request stands, the failed attempt included.
        failure: what the attempt came to; `not_tried` when the breaker refused it.
        draw: 0 to 1 from the caller's random source, for jitter.
    """
    tried = failure.blame != "router"
    told = failure if tried else state.last or failure
    give_up = GiveUp(told, in_band=state.bytes_sent)
    if state.bytes_sent or not state.allow_fallbacks:
        return give_up
    following = _next(state, failure)
    if state.remaining_ms < MIN_REMAINING_MS:
        return give_up
    if not tried:
        return give_up if following is None else Fallback(following)
    if state.tries_total >= state.max_attempts or not state.budget_left:
        return give_up
    if following is not None:
        return Fallback(following)
    return _again(state, failure, draw) or give_up


def after(state: AttemptState, decision: Decision, failure: Failure) -> AttemptState:
    """The state of the next attempt; the caller adds what only it knows (time, budget, bytes)."""
    tried = failure.blame != "router"
    refused = state.refused_models
    if failure.blame == "caller":
        refused |= {state.entries[state.index].model_id}
    moved = replace(state, refused_models=refused, last=failure if tried else state.last)
    match decision:
        case Retry():
            return replace(
                moved, tries_here=state.tries_here + 1, tries_total=state.tries_total + 1
            )
        case Fallback(index):
            # An endpoint that was not called has cost nothing.
            return replace(
                moved, index=index, tries_here=1, tries_total=state.tries_total + int(tried)
            )
        case GiveUp():
            return moved


def _next(state: AttemptState, failure: Failure) -> int | None:
    """The first entry after this one that the failure does not rule out."""
    refused = state.refused_models
    if failure.blame == "caller":
        refused |= {state.entries[state.index].model_id}
    for index in range(state.index + 1, len(state.entries)):
        if state.entries[index].model_id not in refused:
            return index
    return None


def _again(state: AttemptState, failure: Failure, draw: float) -> Retry | None:
    """Whether the last endpoint left is worth another call."""
    if failure.blame == "caller" or failure.silent or not failure.retryable:
        return None
    if failure.limited:
        wait_ms = failure.retry_after_ms
        if wait_ms is None or wait_ms > RETRY_AFTER_MAX_MS:
            return None
    elif state.tries_here > 1:
        return None
    else:
        wait_ms = max(BACKOFF_MS // 2 + int(draw * BACKOFF_MS / 2), failure.retry_after_ms or 0)
    return Retry(wait_ms) if wait_ms + MIN_REMAINING_MS <= state.remaining_ms else None
