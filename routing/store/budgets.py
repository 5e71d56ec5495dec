"""Cached balances and keys: what lets the front door admit without SQL. SQL stays the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from routing.store import redis_keys as keys
from routing.store.connect import RedisClient, connect
from routing.store.scripts import Arg, Scripts, translated
from routing.wire.account import Budget, KeyRecord

#: Windows end after a month at most; their caches go some days later.
WINDOW_TTL_MS = 40 * 86_400_000
#: A process that dies between reserving and paying leaves its hold to the sweep for so long.
RESERVE_MS = 60_000
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
            ttl_ms = 0 if budget.scope.startswith("acct:") else WINDOW_TTL_MS
            args += (budget.scope, budget.available_nano, budget.version, ttl_ms)
        reply: int = self._scripts.run("release", (keys.HOLDS_DUE,), args)
        return reply

    def reserve(self, scope: str, hold_id: str) -> int | None:
        """Hold all that is free of a balance, so that no request spends what is about to leave it.

        It is given back by `post(…, [hold_id])`, together with the new balance. Reserving again
        under the same id holds no more.

        Returns:
            How much is held; None where the balance is not cached.
        """
        names = (keys.budget(scope), keys.hold(hold_id), keys.HOLDS_DUE)
        held = int(self._scripts.run("reserve", names, (scope, hold_id, RESERVE_MS)))
        return None if held < 0 else held

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


@dataclass(frozen=True, slots=True)
class Cached:
    """What the cache knows of a key.

    Attributes:
        record: None when it is not there.
        mark: which change of the key this is; a record read from SQL is only put under the mark
            that was seen before it was read.
    """

    record: KeyRecord | None
    mark: bytes


class KeyCache:
    """Keys by hash, shared by all front doors.

    Raises:
        Unavailable: from every call, when Redis does not answer.
    """

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)

    @classmethod
    def at(cls, url: str) -> KeyCache:
        """For one-off use, as by the command line."""
        return cls(connect(url, "keys"))

    def get(self, key_hash: str) -> Cached:
        """The cached key and its mark."""
        with translated():
            raw, mark = self._redis.mget(keys.key_record(key_hash), keys.key_mark(key_hash))
        return Cached(KeyRecord.from_json(raw) if raw else None, mark or b"")

    def put(self, record: KeyRecord, mark: bytes) -> bool:
        """Cache a key as it was read from SQL, unless it was changed since `mark` was seen."""
        names = (keys.key_record(record.key_hash), keys.key_mark(record.key_hash))
        reply: int = self._scripts.run("put_key", names, (mark, record.to_json(), KEY_TTL_MS))
        return reply == 1

    def drop(self, *hashes: str) -> None:
        """Forget keys that are changed or revoked; front doors notice within a second.

        Called before the change is written and after it. Between the two a front door may read the
        old one from SQL; the mark keeps it from caching that.
        """
        if not hashes:
            return
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            for key_hash in hashes:
                mark = keys.key_mark(key_hash)
                pipe.incr(mark)
                pipe.pexpire(mark, 2 * KEY_TTL_MS)
                pipe.delete(keys.key_record(key_hash))
            pipe.execute()
