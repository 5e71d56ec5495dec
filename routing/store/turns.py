"""What one process of the fleet does at a time. A turn ends by itself, should its holder die."""

from __future__ import annotations

import secrets

from routing.store import redis_keys as keys
from routing.store.connect import RedisClient
from routing.store.scripts import Scripts, translated


class Turns:
    """Turns by name.

    Raises:
        Unavailable: from every call, when Redis does not answer.
    """

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)

    def take(self, what: str, lasts_ms: int) -> str | None:
        """Take a turn; returns what ends it, or None while another has it."""
        token = secrets.token_hex(16)
        with translated():
            taken = self._redis.set(keys.turn(what), token, nx=True, px=lasts_ms)
        return token if taken else None

    def give(self, what: str, token: str) -> bool:
        """End a turn; False when it had ended before."""
        return bool(self._scripts.run("give_turn", (keys.turn(what),), (token,)))
