"""Breakers and outage memory of the whole fleet, and what the planner reads of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from routing import breaker
from routing.store import redis_keys as keys
from routing.store.connect import RedisClient
from routing.store.scripts import Scripts, translated

#: A probe that has not reported by then is taken for dead and the next caller probes.
PROBE_LEASE_MS = 20_000
Observation = Literal["ok", "err", "limited"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an endpoint may be called.

    `go`; `probe`, the only one in the fleet; `open`, out of order; `parked`, it asked us to wait.
    """

    state: Literal["go", "probe", "open", "parked"]
    wait_ms: int


class Health:
    """Breaker scripts behind typed calls.

    Raises:
        Unavailable: from every call, when Redis does not answer.
    """

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)

    def gate(self, endpoint_id: str, token: str) -> Verdict:
        """Ask before a call; a `probe` must report its outcome with the same token."""
        state, wait_ms = self._scripts.run(
            "gate", (keys.breaker(endpoint_id),), (token, PROBE_LEASE_MS)
        )
        return Verdict(state.decode(), int(wait_ms))

    def outcome(
        self,
        endpoint_id: str,
        token: str,
        observation: Observation,
        *,
        count: int = 1,
        pause_ms: int = 0,
    ) -> str:
        """Report calls; returns closed, open, reopened, tripped or parked."""
        reply: bytes = self._scripts.run(
            "outcome",
            (keys.breaker(endpoint_id), keys.breaker_window(endpoint_id), keys.UNSTABLE),
            (
                token,
                observation,
                count,
                pause_ms,
                breaker.WINDOW_MS,
                breaker.BUCKET_MS,
                breaker.MIN_SAMPLES,
                breaker.ERROR_PERCENT,
                breaker.BASE_OPEN_MS,
                breaker.MAX_OPEN_MS,
                breaker.UNSTABLE_MIN_ERRORS,
                breaker.UNSTABLE_ERROR_PERCENT,
                endpoint_id,
                breaker.PROBE_PARK_MIN_MS,
            ),
        )
        return reply.decode()

    def unstable(self, now_ms: int) -> frozenset[str]:
        """Endpoints with a significant outage within the window; old entries are dropped."""
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            pipe.zremrangebyscore(keys.UNSTABLE, "-inf", now_ms)
            pipe.zrange(keys.UNSTABLE, 0, -1)
            _, rows = pipe.execute()
        return frozenset(row.decode() for row in rows)

    def breakers(self, endpoint_ids: list[str]) -> dict[str, str]:
        """State of each breaker that is not closed, for metrics."""
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            for endpoint_id in endpoint_ids:
                pipe.hget(keys.breaker(endpoint_id), "st")
            rows = pipe.execute()
        return {
            endpoint_id: row.decode()
            for endpoint_id, row in zip(endpoint_ids, rows, strict=True)
            if row
        }
