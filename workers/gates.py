"""Whether endpoints may be called, as one process sees it: breakers, rates, calls at once.

On the hot path a healthy endpoint without limits costs no round trip: its verdict is reused for
250 ms and its successes are counted here and reported together. Where the catalog names a rate or
how many calls may be made at once every call asks Redis, because those are the whole fleet's.

Elsewhere it is learnt from providers that say they have too much to do how many calls may be in
flight at once. The fleet's number is kept in Redis; each process allows itself its share of it.
"""

from __future__ import annotations

import math
import secrets
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

from routing.catalog.shapes import Endpoint
from routing.errors import Failure, Unavailable
from routing.store.health import (
    FULL_WAIT_MS,
    LEASE_MS,
    Asking,
    Gate,
    Health,
    Observation,
    Verdict,
    share_of_rate_us,
)

#: How long a verdict of "go" is believed; an outage is then seen by every worker within this.
VERDICT_TTL_S = 0.25
#: A limited endpoint without a hint is parked for a moment, not hammered.
DEFAULT_PARK_MS = 1_000
#: Besides 429s, what providers answer that are asked for more than they can do.
OVERLOADED = frozenset({503, 529})
#: So that two renewals in a row may fail.
RENEWALS_PER_LEASE = 3
_GO = Verdict("go", 0)
_FULL = Verdict("full", FULL_WAIT_MS)
_LET_THROUGH = frozenset({"go", "probe"})
#: Verdicts of a closed breaker.
_WELL = frozenset({"go", "full"})


@dataclass(frozen=True, slots=True)
class _Believed:
    """The fleet's last answer, and until when it stands for the next."""

    gate: Gate
    until_s: float


@dataclass(frozen=True, slots=True)
class _Debit:
    """What a call in flight took of limits.

    Attributes:
        tpm: the rate of tokens; None where there is none.
        leased: it is one of the calls at once that the catalog allows.
    """

    tokens: int = 0
    tpm: int | None = None
    leased: bool = False


class Gates:
    """Asks and tells the fleet's breakers. When Redis is away, calls go ahead.

    After an `ask` that says `go` or `probe` comes `left` with the same token, however the call
    ends.

    Args:
        name: of this process, unique in the fleet; "" makes one up.
    """

    def __init__(self, health: Health, name: str = "") -> None:
        self._health = health
        self._name = name or secrets.token_hex(8)
        self._believed: dict[str, _Believed] = {}
        self._in_flight: dict[str, dict[str, _Debit]] = {}
        self._successes: Counter[str] = Counter()
        self._late_us: Counter[str] = Counter()
        self._probes: set[str] = set()
        self._over: dict[str, set[str]] = {}
        self._renewed_s = -math.inf

    def ask(
        self,
        endpoint: Endpoint,
        token: str,
        now_s: float,
        *,
        tokens: int = 0,
        forced: bool = False,
    ) -> Verdict:
        """May this endpoint be called? A `probe` must be reported with the same token.

        `tokens` is what the call is expected to take, for endpoints with a rate of tokens.
        `forced`: also if it is out of order, but within its limits.
        """
        gate = self._fresh(endpoint.id, now_s)
        if gate is not None and self._crowded(endpoint.id, gate):
            return _FULL
        limits = endpoint.limits
        if gate is not None and not limits.rated and limits.concurrency is None:
            self._enter(endpoint.id, token, _Debit())
            return _GO
        asking = Asking(
            worker=self._name,
            in_flight=self.in_flight(endpoint.id),
            limits=limits,
            tokens=tokens,
            forced=forced,
        )
        return self._ask_fleet(endpoint, token, now_s, asking)

    def left(self, endpoint_id: str, token: str, *, tokens: int = 0) -> None:
        """The call is over, however it ended; harmless twice. Its report comes before this.

        `tokens` is what it took, prompt and completion; 0 when nobody knows.
        """
        self._probes.discard(token)
        debit = self._leave(endpoint_id, token)
        if debit is None:
            return
        if debit.tpm and tokens:
            late_us = share_of_rate_us(tokens, debit.tpm)
            self._late_us[endpoint_id] += late_us - share_of_rate_us(debit.tokens, debit.tpm)
        if debit.leased:
            self._is_over(endpoint_id, token)
            self._give_back(endpoint_id)

    def in_flight(self, endpoint_id: str) -> int:
        """Calls of this endpoint that this process has under way."""
        return len(self._in_flight.get(endpoint_id, ()))

    def succeeded(self, endpoint_id: str, token: str) -> None:
        """The first byte came."""
        if token in self._probes:
            self._probes.discard(token)
            with suppress(Unavailable):
                self._health.outcome(endpoint_id, token, "ok", probed=True)
        else:
            self._successes[endpoint_id] += 1

    def failed(self, endpoint_id: str, token: str, failure: Failure) -> None:
        """A call failed; only what the provider is to blame for moves its breaker."""
        if failure.limited or failure.upstream_status in OVERLOADED:
            with suppress(Unavailable):
                at_once = max(1, self.in_flight(endpoint_id))
                self._health.learn(endpoint_id, overloaded_at=at_once)
        if failure.limited:
            pause_ms = failure.retry_after_ms or DEFAULT_PARK_MS
            self.abandoned(token)
            self._believed.pop(endpoint_id, None)
            self._tell(endpoint_id, token, "limited", pause_ms=pause_ms)
        elif failure.blame == "provider":
            self.abandoned(token)
            self._believed.pop(endpoint_id, None)
            self._tell(endpoint_id, token, "err", pause_ms=failure.retry_after_ms or 0)
        elif failure.upstream_status is not None:
            self.succeeded(endpoint_id, token)  # it answered: the request was at fault
        else:
            self.abandoned(token)  # it was never asked

    def abandoned(self, token: str) -> None:
        """A call was broken off before it came to anything; a probe's lease just runs out."""
        self._probes.discard(token)

    def flush(self) -> None:
        """Report what was counted since the last time; keep the leases of calls that go on."""
        counted, self._successes = self._successes, Counter()
        late_us, self._late_us = self._late_us, Counter()
        for endpoint_id, count in counted.items():
            self._tell(endpoint_id, "", "ok", count=count)
        limited = {name for name in counted if self._limit(name) > 0}
        for endpoint_id in limited | late_us.keys():
            with suppress(Unavailable):
                self._health.learn(
                    endpoint_id, answers=counted[endpoint_id], late_us=late_us[endpoint_id]
                )
        self._renew()
        for endpoint_id in list(self._over):
            self._give_back(endpoint_id)

    def _renew(self) -> None:
        now_s = time.monotonic()
        if now_s - self._renewed_s < LEASE_MS / 1000 / RENEWALS_PER_LEASE:
            return
        self._renewed_s = now_s
        leased = {
            endpoint_id: [token for token, debit in calls.items() if debit.leased]
            for endpoint_id, calls in self._in_flight.items()
        }
        for endpoint_id, tokens in leased.items():
            if tokens:
                with suppress(Unavailable):
                    self._health.renew(endpoint_id, tokens)
            # Those that left meanwhile may have been given back before they were renewed.
            for token in tokens:
                if token not in self._in_flight.get(endpoint_id, ()):
                    self._is_over(endpoint_id, token)

    def _is_over(self, endpoint_id: str, token: str) -> None:
        self._over.setdefault(endpoint_id, set()).add(token)

    def _give_back(self, endpoint_id: str) -> None:
        """Leases that cannot be given back now are at the next flush, or run out."""
        tokens = self._over.pop(endpoint_id, set())
        try:
            if tokens:
                self._health.give_back(endpoint_id, tokens)
        except Unavailable:
            for token in tokens:
                self._is_over(endpoint_id, token)

    def _ask_fleet(self, endpoint: Endpoint, token: str, now_s: float, asking: Asking) -> Verdict:
        debit = _debit(asking)
        # Counted before the answer is there: whoever asks meanwhile must see this call.
        self._enter(endpoint.id, token, debit)
        self._over.get(endpoint.id, set()).discard(token)
        verdict = None
        try:
            verdict = self._answer(endpoint, token, now_s, asking)
        finally:
            if verdict is None or verdict.state not in _LET_THROUGH:
                self._leave(endpoint.id, token)
            if verdict is None and debit.leased:  # perhaps it was let through, and nobody heard
                self._is_over(endpoint.id, token)
        return verdict

    def _answer(self, endpoint: Endpoint, token: str, now_s: float, asking: Asking) -> Verdict:
        try:
            gate = self._health.gate(endpoint.id, token, asking)
        except Unavailable:
            allowed = endpoint.limits.concurrency
            if allowed is None or asking.in_flight < allowed:
                return _GO
            self._is_over(endpoint.id, token)
            return _FULL
        if gate.verdict.state in _WELL and not asking.forced:
            self._believed[endpoint.id] = _Believed(gate, now_s + VERDICT_TTL_S)
        elif gate.verdict.state == "probe":
            self._probes.add(token)
        return gate.verdict

    def _enter(self, endpoint_id: str, token: str, debit: _Debit) -> None:
        self._in_flight.setdefault(endpoint_id, {})[token] = debit

    def _leave(self, endpoint_id: str, token: str) -> _Debit | None:
        calls = self._in_flight.get(endpoint_id, {})
        debit = calls.pop(token, None)
        if not calls:
            self._in_flight.pop(endpoint_id, None)
        return debit

    def _fresh(self, endpoint_id: str, now_s: float) -> Gate | None:
        believed = self._believed.get(endpoint_id)
        return believed.gate if believed is not None and believed.until_s > now_s else None

    def _limit(self, endpoint_id: str) -> float:
        believed = self._believed.get(endpoint_id)
        return believed.gate.limit if believed is not None else 0.0

    def _crowded(self, endpoint_id: str, gate: Gate) -> bool:
        """As in gate.lua: every process may make one call."""
        return gate.limit > 0 and self.in_flight(endpoint_id) >= math.ceil(gate.limit / gate.users)

    def _tell(
        self, endpoint_id: str, token: str, what: Observation, *, count: int = 1, pause_ms: int = 0
    ) -> None:
        # Figures lost with Redis are figures of a fleet that stood still anyway.
        with suppress(Unavailable):
            self._health.outcome(endpoint_id, token, what, count=count, pause_ms=pause_ms)


def _debit(asking: Asking) -> _Debit:
    limits = asking.limits
    return _Debit(asking.tokens, limits.tpm, leased=limits.concurrency is not None)


class RetryBudget:
    """Second tries are at most 20 % of first ones plus 2 a second, over 10 s and per pool.

    Retries on top of an outage are what turns it into an avalanche. Counted per process: the
    fleet's budget is the sum, so it grows with the fleet as its traffic does.
    """

    WINDOW_S = 10.0
    SHARE = 0.2
    FLOOR_PER_S = 2.0

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._firsts: Counter[str] = Counter()
        self._spent: Counter[str] = Counter()

    def first(self, pool: str, now_s: float) -> None:
        """Note a first try."""
        self._roll(pool, now_s)
        self._firsts[pool] += 1

    def left(self, pool: str, now_s: float) -> bool:
        """Whether one more second try is allowed."""
        self._roll(pool, now_s)
        return (
            self._spent[pool] < self._firsts[pool] * self.SHARE + self.FLOOR_PER_S * self.WINDOW_S
        )

    def spend(self, pool: str, now_s: float) -> None:
        """Note a second try."""
        self._roll(pool, now_s)
        self._spent[pool] += 1

    def _roll(self, pool: str, now_s: float) -> None:
        if now_s - self._since.get(pool, -self.WINDOW_S) >= self.WINDOW_S:
            self._since[pool] = now_s
            self._firsts[pool] = 0
            self._spent[pool] = 0
