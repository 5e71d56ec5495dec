"""What follows a failed attempt. Pure: the worker acts on the value returned here.

The rules, in order; the first that applies decides:

1. A byte has gone out and the answer cannot go on elsewhere, or there is no time left: the failure
   is the answer.
2. The request itself was refused: only another model can help. Where it was too long, also an
   endpoint of the same model with a longer context; where its content was refused, also another
   provider of the same model.
3. The endpoint was not called (out of order, parked, full): the next one. When all were passed
   over as out of order, the one that is so for the shortest time is called all the same; where
   one only has too many of our calls in flight, it is asked again for some seconds.
4. Everything was busy and the caller would rather wait: again from the start, later.
5. No tries or no retry budget left: the failure is the answer. A request with fallback models has
   one try more for each of them.
6. Another endpoint is left: that one; one try is kept back for each model not tried yet.
7. The last endpoint: again after a short Retry-After if it was busy, after a short pause if it
   broke, and never if it kept silent or refused our key.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from routing.errors import Failure
from routing.wire.job import PlanEntry

#: Upstream calls for one request (Google SRE, "Handling Overload": three, then give up).
MAX_ATTEMPTS = 3
#: Upstream calls for one request that waits, where those refused as busy do not count as tries.
MAX_CALLS = 32
#: Less time than this is not enough to connect and to get a first byte.
MIN_REMAINING_MS = 1_000
#: Longest Retry-After waited for on the caller's time; a longer one is the caller's to wait.
RETRY_AFTER_MAX_MS = 5_000
#: Pause before the same endpoint is called again: half of it for sure, the rest by the draw.
BACKOFF_MS = 500
#: A job that waits is looked at no more often, and no less often, than this.
WAIT_MIN_MS, WAIT_MAX_MS = 250, 10_000
#: Kept of the time that is left when a job is laid down: it must be woken, and then served.
WAIT_MARGIN_MS = 3_000

#: How often a full endpoint is asked again, a quarter of a second apart: as long as a short
#: Retry-After is waited for. Calls end all the time, and nobody else is to blame.
ROOM_LOOKS_MAX = 20

#: Why an endpoint was not available: its breaker is open, it asked us to wait, we call it too often
#: or too much at once, it refused this very call as busy, or it cannot serve this (any more).
Busy = Literal["open", "parked", "full", "limited", "unfit"]
#: Reasons that are about load alone.
_LOAD = frozenset({"parked", "full", "limited"})
#: What a wait is told with.
_WAITING_STATUSES = frozenset({429, 503, 529})


@dataclass(frozen=True, slots=True)
class Skipped:
    """An entry that was not available.

    Attributes:
        until_ms: when it may be again (ms since 1970 UTC); None when nobody knows.
    """

    index: int
    why: Busy
    until_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptState:
    """How far one request has come.

    Attributes:
        now_ms: ms since 1970 UTC.
        remaining_ms: until the request's deadline.
        index: the entry that was just tried.
        tries_here: upstream calls made to that entry, this one included.
        tries_total: upstream calls that count as tries, this one included.
        calls: upstream calls made at all, this one included.
        bytes_sent: whether the client has had any byte of an answer.
        rescuing: whether an answer that has begun may go on at another endpoint.
        budget_left: whether the pool's retry budget allows one more call.
        waits: the caller would rather wait than be refused for want of a free endpoint.
        contexts: context length of each entry, 0 where unknown.
        ruled_out: entries that cannot serve this request at all.
        skipped: entries that were not available, in this round of all.
        faulted: an endpoint failed for another reason than being busy; with a customer's own key
            that says nothing about the operator's.
        forced: one was chosen although it was out of order; that happens once.
        last: the last failure of an endpoint that was really called; None before the first.
    """

    entries: tuple[PlanEntry, ...]
    remaining_ms: int
    now_ms: int = 0
    index: int = 0
    tries_here: int = 1
    tries_total: int = 1
    calls: int = 1
    bytes_sent: bool = False
    rescuing: bool = False
    budget_left: bool = True
    allow_fallbacks: bool = True
    max_attempts: int = MAX_ATTEMPTS
    waits: bool = False
    contexts: tuple[int, ...] = ()
    ruled_out: frozenset[int] = frozenset()
    skipped: tuple[Skipped, ...] = ()
    faulted: bool = False
    forced: bool = False
    last: Failure | None = None

    @property
    def tries_max(self) -> int:
        """Tries of the first model, and one for each it may fall back on.

        Those with a customer's own keys come on top: they take nothing from the operator's.
        """
        return self.tries_once_max + len({entry.model_id for entry in self.entries}) - 1

    @property
    def tries_once_max(self) -> int:
        """Tries before what fallback models add."""
        return self.max_attempts + sum(bool(entry.byok) for entry in self.entries)


@dataclass(frozen=True, slots=True)
class Retry:
    """Call the same endpoint again after `delay_ms`."""

    delay_ms: int


@dataclass(frozen=True, slots=True)
class Fallback:
    """Go on with `entries[index]`, maybe in another provider's pool.

    `forced` calls it although it is out of order: everything else is too.
    """

    index: int
    forced: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Lay the job down for `delay_ms`, then begin anew with `entries[index]`."""

    delay_ms: int
    index: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Tell the client `failure`: as a status, or in band when its answer has already begun."""

    failure: Failure
    in_band: bool = False


Decision = Retry | Fallback | Wait | GiveUp


def not_tried(wait_ms: int, why: Busy = "open") -> Failure:
    """The failure of an endpoint that was not called: nobody is to blame."""
    busy = why in _LOAD
    return Failure(
        status=429 if busy else 503,
        message=(
            "Rate limited upstream. Retry shortly." if busy else "Service temporarily unavailable"
        ),
        retryable=True,
        blame="router",
        limited=busy,
        retry_after_ms=wait_ms,
    )


def noted(state: AttemptState, failure: Failure, why: Busy = "open") -> AttemptState:
    """The state with a failure taken into it; comes before `decide`.

    `why` is read of failures made by `not_tried` only.
    """
    tried = failure.blame != "router"
    own = bool(state.entries[state.index].byok)
    skipped = state.skipped
    if not tried or failure.limited:
        wait_ms = failure.retry_after_ms
        until_ms = None if wait_ms is None or why == "unfit" else state.now_ms + wait_ms
        skipped += (Skipped(state.index, "limited" if tried else why, until_ms),)
    return replace(
        state,
        ruled_out=state.ruled_out | _ruled_out(state, failure),
        skipped=skipped,
        faulted=state.faulted or (tried and not failure.limited and not own),
        last=failure if tried else state.last,
    )


def decide(state: AttemptState, failure: Failure, draw: float) -> Decision:
    """Retry, Fallback, Wait or GiveUp.

    Args:
        state: where the request stands, `noted` with the failure.
        failure: what the attempt came to; `not_tried` when no call was made.
        draw: 0 to 1 from the caller's random source, for jitter.
    """
    give_up = GiveUp(_told(state), in_band=state.bytes_sent)
    too_late = state.bytes_sent and not state.rescuing
    if too_late or state.remaining_ms < MIN_REMAINING_MS:
        return give_up
    free = failure.blame == "router" or _costs_nothing(state, failure)
    following = _next(state, state.tries_max - state.tries_total + int(free))
    if free:
        if _looked_at_before(state):
            following = None  # those behind it were, too
        if following is not None and state.allow_fallbacks and state.calls < MAX_CALLS:
            return Fallback(following)
        return _when_all_are_busy(state) or _when_there_is_room(state) or give_up
    spent = state.tries_total >= state.tries_max or not state.budget_left
    if spent or not state.allow_fallbacks:
        return give_up
    if following is not None:
        return Fallback(following)
    return _again(state, failure, draw) or give_up


def after(state: AttemptState, decision: Decision, failure: Failure) -> AttemptState:
    """The state of the next attempt; the caller adds what only it knows (time, budget, bytes)."""
    tried = failure.blame != "router"
    spent = int(tried and not _costs_nothing(state, failure))
    tries, calls = state.tries_total + spent, state.calls + int(tried)
    match decision:
        case Retry():
            here = state.tries_here + 1
            return replace(state, tries_here=here, tries_total=tries, calls=calls)
        case Fallback(index, forced):
            return replace(
                state,
                index=index,
                tries_here=1,
                tries_total=tries,
                calls=calls,
                forced=state.forced or forced,
            )
        case Wait(_, index):
            return replace(
                state, index=index, tries_here=1, tries_total=tries, calls=calls, skipped=()
            )
        case GiveUp():
            return state


def another_may_answer(state: AttemptState, failure: Failure) -> bool:
    """Whether this failure would be followed by a call of another endpoint."""
    return isinstance(decide(noted(state, failure), failure, 0.0), Fallback)


def _costs_nothing(state: AttemptState, failure: Failure) -> bool:
    """A call that was refused as busy is no try of a caller who waits, unless waiting is over."""
    return state.waits and failure.limited and not state.faulted


def _ruled_out(state: AttemptState, failure: Failure) -> frozenset[int]:
    """Entries that would refuse this request as this one did."""
    if failure.blame != "caller":
        return frozenset()
    here = state.entries[state.index]
    same = [i for i, entry in enumerate(state.entries) if entry.model_id == here.model_id]
    match failure.kind:
        case "context":
            longest = _context(state, state.index)
            same = [i for i in same if _context(state, i) <= longest]
        case "moderation" | "refusal":
            same = [i for i in same if _provider(state.entries[i]) == _provider(here)]
        case _:
            pass
    return frozenset((*same, state.index))


def _context(state: AttemptState, index: int) -> int:
    return state.contexts[index] if index < len(state.contexts) else 0


def _provider(entry: PlanEntry) -> str:
    return entry.endpoint_id.partition(":")[0].partition("/")[0]


def _next(state: AttemptState, tries_left: int) -> int | None:
    """The first entry after this one that nothing rules out.

    When no more tries are left than there are models not tried yet, it is one of theirs: a caller
    who names fallback models is not to be refused for the many endpoints of the first.
    """
    seen = {entry.model_id for entry in state.entries[: state.index + 1]}
    left = [i for i in range(state.index + 1, len(state.entries)) if i not in state.ruled_out]
    fresh = [i for i in left if state.entries[i].model_id not in seen]
    untried = len({state.entries[i].model_id for i in fresh})
    if fresh and tries_left <= untried:
        left = fresh
    return left[0] if left else None


def _when_all_are_busy(state: AttemptState) -> Decision | None:
    """Nothing is left to try, and the last one was busy: wait for one, or call one in spite."""
    busy = [one for one in state.skipped if one.why != "unfit"]
    if state.faulted or state.bytes_sent or not busy:
        return None
    if state.waits:
        return _wait(state, busy) if state.calls < MAX_CALLS else None
    if state.last is None and not state.forced and all(one.why == "open" for one in busy):
        # Never none: the breakers may be wrong, and without a call nobody would find out.
        least = min(busy, key=lambda one: one.until_ms or 0)
        return Fallback(least.index, forced=True)
    return None


def _when_there_is_room(state: AttemptState) -> Decision | None:
    """An endpoint was passed over for our own calls alone: they will end.

    Where it turned out to be closed for another reason since, nothing is waited for.
    """
    if state.waits or state.bytes_sent or len(state.skipped) >= _looks_max(state):
        return None
    newest = {one.index: one for one in state.skipped}
    full = [one for one in newest.values() if one.why == "full"]
    if not full:
        return None
    last = newest[state.index] if newest.get(state.index) in full else full[-1]
    if last.index != state.index:
        return Fallback(last.index) if state.allow_fallbacks else None
    delay_ms = max(WAIT_MIN_MS, (last.until_ms or 0) - state.now_ms)
    return Retry(delay_ms) if delay_ms + MIN_REMAINING_MS <= state.remaining_ms else None


def _looked_at_before(state: AttemptState) -> bool:
    """Whether this entry was passed over earlier in this round, too."""
    return sum(one.index == state.index for one in state.skipped) > 1


def _looks_max(state: AttemptState) -> int:
    """One at each entry, and then those for room."""
    return ROOM_LOOKS_MAX + len(state.entries) - 1


def _wait(state: AttemptState, busy: list[Skipped]) -> Wait | None:
    hints = [one.until_ms - state.now_ms for one in busy if one.until_ms is not None]
    wanted_ms = min(max(min(hints, default=WAIT_MIN_MS), WAIT_MIN_MS), WAIT_MAX_MS)
    delay_ms = min(wanted_ms, state.remaining_ms - WAIT_MARGIN_MS)
    if delay_ms < WAIT_MIN_MS:
        return None
    return Wait(delay_ms, min(one.index for one in busy))


def _told(state: AttemptState) -> Failure:
    """The last failure of a call, or that none could be made; with the shortest wait there is."""
    now_ms = state.now_ms
    waits_ms = [one.until_ms - now_ms for one in state.skipped if one.until_ms is not None]
    shortest_ms = max(min(waits_ms), 0) if waits_ms else None
    told = state.last
    if told is None:
        whys = {one.why for one in state.skipped} - {"unfit"}
        load = bool(whys) and whys <= _LOAD
        return not_tried(shortest_ms or 0, "parked" if load else "open")
    if told.status not in _WAITING_STATUSES or shortest_ms is None:
        return told
    return replace(told, retry_after_ms=min(shortest_ms, told.retry_after_ms or shortest_ms))


def _again(state: AttemptState, failure: Failure, draw: float) -> Retry | None:
    """Whether the last endpoint left is worth another call: what fallbacks added is for them."""
    if state.tries_total >= state.tries_once_max:
        return None
    if failure.blame == "caller" or failure.silent or not failure.retryable or state.bytes_sent:
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
