"""Breakers as one process sees them: verdicts cached for a moment, successes reported in bulk.

On the hot path a healthy endpoint costs no round trip: its verdict is reused for 250 ms and its
successes are counted here and reported together.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

from routing.errors import Failure, Unavailable
from routing.store.health import Health, Observation, Verdict

#: How long a verdict of "go" is believed; an outage is then seen by every worker within this.
VERDICT_TTL_S = 0.25
#: A limited endpoint without a hint is parked for a moment, not hammered.
DEFAULT_PARK_MS = 1_000
_GO = Verdict("go", 0)


class Gates:
    """Asks and tells the fleet's breakers. When Redis is away, calls go ahead."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._fresh_until: dict[str, float] = {}
        self._successes: Counter[str] = Counter()
        self._probes: set[str] = set()

    def ask(self, endpoint_id: str, token: str, now_s: float) -> Verdict:
        """May this endpoint be called? A `probe` must be reported with the same token."""
        if self._fresh_until.get(endpoint_id, 0.0) > now_s:
            return _GO
        try:
            verdict = self._health.gate(endpoint_id, token)
        except Unavailable:
            return _GO
        if verdict.state == "go":
            self._fresh_until[endpoint_id] = now_s + VERDICT_TTL_S
        elif verdict.state == "probe":
            self._probes.add(token)
        return verdict

    def succeeded(self, endpoint_id: str, token: str) -> None:
        """The first byte came."""
        if token in self._probes:
            self._probes.discard(token)
            self._tell(endpoint_id, token, "ok")
        else:
            self._successes[endpoint_id] += 1

    def failed(self, endpoint_id: str, token: str, failure: Failure) -> None:
        """A call failed; only what the provider is to blame for moves its breaker."""
        if failure.limited:
            pause_ms = failure.retry_after_ms or DEFAULT_PARK_MS
            self.abandoned(token)
            self._fresh_until.pop(endpoint_id, None)
            self._tell(endpoint_id, token, "limited", pause_ms=pause_ms)
        elif failure.blame == "provider":
            self.abandoned(token)
            self._fresh_until.pop(endpoint_id, None)
            self._tell(endpoint_id, token, "err", pause_ms=failure.retry_after_ms or 0)
        else:
            self.succeeded(endpoint_id, token)  # it answered: the request was at fault

    def abandoned(self, token: str) -> None:
        """A call was broken off before it came to anything; a probe's lease just runs out."""
        self._probes.discard(token)

    def flush(self) -> None:
        """Report the successes counted since the last time."""
        counted, self._successes = self._successes, Counter()
        for endpoint_id, count in counted.items():
            self._tell(endpoint_id, "", "ok", count=count)

    def _tell(
        self, endpoint_id: str, token: str, what: Observation, *, count: int = 1, pause_ms: int = 0
    ) -> None:
        # Figures lost with Redis are figures of a fleet that stood still anyway.
        with suppress(Unavailable):
            self._health.outcome(endpoint_id, token, what, count=count, pause_ms=pause_ms)


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
