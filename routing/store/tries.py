"""Tries of log-ins, counted for all front doors: what keeps passwords from being guessed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from routing.errors import RateLimited
from routing.store import redis_keys as keys
from routing.store.connect import RedisClient
from routing.store.scripts import translated

#: Tries are counted in windows of this length.
WINDOW_MS = 15 * 60_000


class Tries:
    """Counts tries in Redis.

    Raises:
        Unavailable: when Redis does not answer; then nothing is tried.
    """

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    def count(self, limits: Mapping[str, int], now_ms: int) -> None:
        """Count a try, whatever comes of it.

        Args:
            limits: tries a window allows, by whose they are: an address, a name or both.
            now_ms: the moment.

        Raises:
            RateLimited: one of them has none left until the next window.
        """
        window = now_ms // WINDOW_MS
        # What was typed as a name must neither build keys of Redis nor be kept there.
        named = {keys.limit("tries", _digest(who), window): most for who, most in limits.items()}
        with translated():
            pipe = self._redis.pipeline(transaction=True)
            for key in named:
                pipe.incr(key)
                pipe.pexpire(key, 2 * WINDOW_MS)
            counts = pipe.execute()[::2]
        if any(int(count) > most for count, most in zip(counts, named.values(), strict=True)):
            raise RateLimited(
                "Too many tries. Wait a quarter of an hour.",
                retry_after_ms=(window + 1) * WINDOW_MS - now_ms,
            )


def _digest(who: str) -> str:
    return hashlib.sha256(who.encode(errors="surrogatepass")).hexdigest()[:32]
