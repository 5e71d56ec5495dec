"""Breakers, rates and capacity of every endpoint for the whole fleet, and what planning reads."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from routing import breaker
from routing.catalog.shapes import Limits
from routing.store import redis_keys as keys
from routing.store.connect import RedisClient
from routing.store.scripts import Scripts, translated

#: A probe that has not reported by then is taken for dead and the next caller probes.
PROBE_LEASE_MS = 20_000
#: A process that did not ask for so long does not use the endpoint.
USER_MS = 5_000
#: A call ends soon; how long until there is room again nobody knows.
FULL_WAIT_MS = 250
#: How long a call counts whose process does not say that it goes on: it crashed. Processes say so
#: three times in this.
LEASE_MS = 30_000
#: How much of a rate may be used at once: a minute's worth would be refused by most providers.
BURST_US = 10_000_000
MINUTE_US = 60_000_000
#: A provider that has too much to do gets a tenth less, at most once a second: the calls refused
#: together are one piece of news.
CUT_TO = 0.9
CUT_EVERY_MS = 1_000
#: A busy answer to so few calls at once says nothing about how many are too many.
LEAST_LIMIT = 4
#: Capacity changes: what was learnt a minute ago is tried again.
FORGET_MS = 60_000
_NO_LIMITS = Limits()
Observation = Literal["ok", "err", "limited"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an endpoint may be called, and if not, when to ask again.

    `go`; `probe`, the only one in the fleet; `open`, out of order; `parked`, it asked us to wait
    or its rate is used up; `full`, as many calls are in flight as it takes.
    """

    state: Literal["go", "probe", "open", "parked", "full"]
    wait_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Who asks to call an endpoint.

    Attributes:
        worker: the process, unique in the fleet.
        in_flight: its calls of this endpoint.
        limits: what the catalog says the provider allows.
        tokens: what this call may take of a rate of tokens.
        forced: call it although it is out of order; limits hold.
    """

    worker: str = ""
    in_flight: int = 0
    limits: Limits = _NO_LIMITS
    tokens: int = 0
    forced: bool = False


_ANYONE = Asking()


@dataclass(frozen=True, slots=True)
class Gate:
    """The fleet's answer.

    Attributes:
        limit: calls at once the whole fleet may make, as learnt; 0 when nothing was.
        users: processes that share the endpoint.
    """

    verdict: Verdict
    limit: float = 0.0
    users: int = 1


class Health:
    """Breaker scripts behind typed calls.

    Raises:
        Unavailable: from every call, when Redis does not answer.
    """

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)

    def gate(self, endpoint_id: str, token: str, asking: Asking = _ANYONE) -> Gate:
        """Ask before a call; a `probe` must report its outcome with the same token.

        Where the catalog allows only so many calls at once, a call let through has a lease: `renew`
        it while the call lasts, and `give_back` in the end.
        """
        state, wait_ms, limit, users = self._scripts.run(
            "gate",
            (
                keys.breaker(endpoint_id),
                keys.learnt_limit(endpoint_id),
                keys.users(endpoint_id),
                keys.rate(endpoint_id),
                keys.calls_at_once(endpoint_id),
            ),
            (
                token,
                PROBE_LEASE_MS,
                asking.worker,
                asking.in_flight,
                asking.limits.concurrency or 0,
                share_of_rate_us(1, asking.limits.rpm),
                share_of_rate_us(asking.tokens, asking.limits.tpm),
                BURST_US,
                USER_MS,
                FULL_WAIT_MS,
                LEASE_MS,
                breaker.PROBE_WAIT_MS,
                int(asking.forced),
            ),
        )
        return Gate(Verdict(state.decode(), int(wait_ms)), float(limit), int(users))

    def renew(self, endpoint_id: str, tokens: Collection[str]) -> None:
        """These calls go on."""
        self._scripts.run("lease", (keys.calls_at_once(endpoint_id),), (LEASE_MS, *tokens))

    def give_back(self, endpoint_id: str, tokens: Collection[str]) -> None:
        """These calls are over; harmless twice, and for calls that had no lease."""
        with translated():
            self._redis.zrem(keys.calls_at_once(endpoint_id), *tokens)

    def outcome(
        self,
        endpoint_id: str,
        token: str,
        observation: Observation,
        *,
        count: int = 1,
        pause_ms: int = 0,
        probed: bool = False,
    ) -> str:
        """Report calls; returns closed, open, reopened, tripped or parked.

        `probed`: the call was let through as a probe, even if its lease is over.
        """
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
                int(probed),
            ),
        )
        return reply.decode()

    def learn(
        self, endpoint_id: str, *, overloaded_at: int = 0, answers: int = 0, late_us: int = 0
    ) -> float:
        """Report on an endpoint's capacity; returns calls at once the fleet may make, 0 for any.

        `overloaded_at`: calls this process had in flight when the endpoint said that it has too
        much to do, 0 when it did not. `answers`: those it gave since the last report; they raise
        a limit that is there. `late_us`: what its rate of tokens was debited too little, negative
        for too much, as `share_of_rate_us` counts it.
        """
        reply: bytes = self._scripts.run(
            "capacity",
            (keys.learnt_limit(endpoint_id), keys.users(endpoint_id), keys.rate(endpoint_id)),
            (
                overloaded_at,
                answers,
                late_us,
                CUT_TO,
                CUT_EVERY_MS,
                FORGET_MS,
                USER_MS,
                LEAST_LIMIT,
            ),
        )
        return float(reply)

    def unstable(self, now_ms: int) -> frozenset[str]:
        """Endpoints to plan around for now; old entries are dropped."""
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            pipe.zremrangebyscore(keys.UNSTABLE, "-inf", now_ms)
            pipe.zrange(keys.UNSTABLE, 0, -1)
            _, rows = pipe.execute()
        return frozenset(row.decode() for row in rows)

    def breakers(self, endpoint_ids: list[str]) -> dict[str, str]:
        """State of each breaker that is not closed, for metrics.

        A breaker stays as it was until somebody calls its endpoint again.
        """
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

    def down(self, endpoint_ids: Sequence[str]) -> frozenset[str]:
        """Those in an outage now: left alone, or being probed after one.

        One whose pause is over without a caller is not known to be; a 429 is no outage.
        """
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            pipe.time()
            for endpoint_id in endpoint_ids:
                pipe.hmget(keys.breaker(endpoint_id), "st", "until", "trips")
            (seconds, micros), *rows = pipe.execute()
        now_ms = int(seconds) * 1000 + int(micros) // 1000
        return frozenset(
            endpoint_id
            for endpoint_id, row in zip(endpoint_ids, rows, strict=True)
            if _is_down(now_ms, *row)
        )


def _is_down(now_ms: int, state: bytes | None, until: bytes | None, trips: bytes | None) -> bool:
    if until is None or int(until) <= now_ms:
        return False
    return state == b"open" or (state == b"half" and int(trips or 0) > 0)


def share_of_rate_us(units: int, per_minute: int | None) -> int:
    """How much of a rate this takes: the microseconds in which it lets so much through."""
    return -(-units * MINUTE_US // per_minute) if per_minute else 0
