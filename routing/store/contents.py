"""Contents on their way from workers to the ledger, sealed."""

from __future__ import annotations

from collections.abc import Sequence

from routing.store import redis_keys as keys
from routing.store.connect import RedisClient
from routing.store.scripts import translated

#: A settler that is away for longer finds the charge, but no content any more.
LIFE_MS = 86_400_000


class Contents:
    """Contents of generations that are not settled yet.

    Raises:
        Unavailable: from every call, when Redis does not answer.
    """

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    def put(self, generation_id: str, epoch: int, sealed: str) -> None:
        """Leave a content for the settler, before the generation ends.

        One that a worker leaves whose job another owns by then is outdone by that one's.
        """
        name = keys.content(generation_id)
        with translated():
            pipe = self._redis.pipeline(transaction=True)
            pipe.hset(name, str(epoch), sealed)
            pipe.pexpire(name, LIFE_MS)
            pipe.execute()

    def take(self, ids: Sequence[str]) -> dict[str, str]:
        """The contents that were left for some generations. They stay until they are dropped."""
        if not ids:
            return {}
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            for generation_id in ids:
                pipe.hgetall(keys.content(generation_id))
            found = pipe.execute()
        return {
            generation_id: epochs[max(epochs, key=int)].decode()
            for generation_id, epochs in zip(ids, found, strict=True)
            if epochs
        }

    def drop(self, ids: Sequence[str]) -> None:
        """Forget contents that the ledger has."""
        if ids:
            with translated():
                self._redis.unlink(*(keys.content(generation_id) for generation_id in ids))
