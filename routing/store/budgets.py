"""Cached balances and keys: what lets the front door admit without SQL. SQL stays the truth."""

from __future__ import annotations

from collections.abc import Sequence

from routing.store import redis_keys as keys
from routing.store.connect import RedisClient, connect
from routing.store.scripts import Arg, Scripts, translated
from routing.wire.account import Budget, KeyRecord

#: Windows of key limits end after a month at most; their caches go some days later.
KEY_SCOPE_TTL_MS = 40 * 86_400_000
#: A cached key outlives an outage of SQL by this; a revoked one is deleted at once.
KEY_TTL_MS = 3_600_000


class Budgets:
    """Cached balances by scope.

    Raises:
        Unavailable: from every call, when Redis does not answer.
    """

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)

    @classmethod
    def at(cls, url: str) -> Budgets:
        """For one-off use, as by the command line."""
        return cls(connect(url, "budgets"))

    def post(self, budgets: Sequence[Budget], settled: Sequence[str] = ()) -> int:
        """Install balances newer than the cached ones and give back the holds of `settled`.

        Both in one step, so that a request between them never sees money twice or not at all.

        Returns:
            How many holds were given back; a second call with the same jobs gives back none.
        """
        args: list[Arg] = [len(settled), *settled]
        for budget in budgets:
            ttl_ms = KEY_SCOPE_TTL_MS if budget.scope.startswith("key:") else 0
            args += (budget.scope, budget.available_nano, budget.version, ttl_ms)
        reply: int = self._scripts.run("release", (keys.HOLDS_DUE,), args)
        return reply

    def window(self, key: str) -> int:
        """How often a fixed window (`redis_keys.limit`) has been counted up."""
        with translated():
            return int(self._redis.get(key) or 0)

    def overdue_holds(self, now_ms: int, most: int) -> list[str]:
        """Jobs whose hold is older than their deadline allows."""
        with translated():
            rows = self._redis.zrangebyscore(keys.HOLDS_DUE, "-inf", now_ms, start=0, num=most)
        return [row.decode() for row in rows]

    def open_holds(self) -> int:
        """How many jobs hold money right now."""
        with translated():
            return int(self._redis.zcard(keys.HOLDS_DUE))

    def held_nano(self, scope: str) -> int:
        """What is held of one scope."""
        with translated():
            value = self._redis.hget(keys.budget(scope), "held")
        return int(value or 0)


class KeyCache:
    """Keys by hash, shared by all front doors.

    Raises:
        Unavailable: from every call, when Redis does not answer.
    """

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    @classmethod
    def at(cls, url: str) -> KeyCache:
        """For one-off use, as by the command line."""
        return cls(connect(url, "keys"))

    def get(self, key_hash: str) -> KeyRecord | None:
        """The cached key, or None."""
        with translated():
            raw = self._redis.get(keys.key_record(key_hash))
        return KeyRecord.from_json(raw) if raw else None

    def put(self, record: KeyRecord) -> None:
        """Cache a key as it was read from SQL."""
        with translated():
            self._redis.set(keys.key_record(record.key_hash), record.to_json(), px=KEY_TTL_MS)

    def drop(self, key_hash: str) -> None:
        """Forget a key that was changed or revoked; front doors notice within a second."""
        with translated():
            self._redis.delete(keys.key_record(key_hash))
