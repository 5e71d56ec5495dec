"""The charge outbox between workers and the ledger: at least once out, exactly once in effect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from redis.exceptions import ResponseError

from routing.store import redis_keys as keys
from routing.store.connect import RedisClient
from routing.store.scripts import translated
from routing.wire.job import Charge

#: A charge another settler took and did not finish for so long is taken over.
TAKE_OVER_IDLE_MS = 10_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One charge and its place in the outbox; `charge` is None when it cannot be read."""

    entry_id: str
    charge: Charge | None
    raw: bytes


class Outbox:
    """Reads charges as one consumer of the group `settle`.

    Raises:
        Unavailable: from every call, when Redis does not answer.
    """

    def __init__(self, redis: RedisClient, consumer: str) -> None:
        self._redis = redis
        self._consumer = consumer

    def prepare(self) -> None:
        """Make the group, from the beginning of the stream; harmless when it exists."""
        with translated():
            try:
                self._redis.xgroup_create(keys.OUTBOX, keys.OUTBOX_GROUP, id="0", mkstream=True)
            except ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise

    def take_over(self, count: int) -> list[Entry]:
        """Charges that a settler took before it died."""
        with translated():
            reply = self._redis.xautoclaim(
                keys.OUTBOX,
                keys.OUTBOX_GROUP,
                self._consumer,
                min_idle_time=TAKE_OVER_IDLE_MS,
                count=count,
            )
        return [_entry(entry_id, fields) for entry_id, fields in reply[1]]

    def read(self, count: int, block_ms: int) -> list[Entry]:
        """The next charges; waits up to `block_ms` for the first one."""
        with translated():
            try:
                reply = self._redis.xreadgroup(
                    keys.OUTBOX_GROUP,
                    self._consumer,
                    {keys.OUTBOX: ">"},
                    count=count,
                    block=block_ms,
                )
            except ResponseError as error:
                if "NOGROUP" not in str(error):
                    raise
                self.prepare()
                return []
        if not reply:
            return []
        return [_entry(entry_id, fields) for entry_id, fields in reply[0][1]]

    def done(self, entries: Sequence[Entry]) -> None:
        """Forget settled charges."""
        if not entries:
            return
        ids = [entry.entry_id for entry in entries]
        with translated():
            pipe = self._redis.pipeline(transaction=False)
            pipe.xack(keys.OUTBOX, keys.OUTBOX_GROUP, *ids)
            pipe.xdel(keys.OUTBOX, *ids)
            pipe.execute()

    def oldest_ms(self) -> int | None:
        """Since when the oldest charge waits, by Redis's clock; None when none does."""
        with translated():
            found = self._redis.xrange(keys.OUTBOX, count=1)
        return int(found[0][0].partition(b"-")[0]) if found else None

    def length(self) -> int:
        """Charges not yet settled."""
        with translated():
            return int(self._redis.xlen(keys.OUTBOX))


def _entry(entry_id: bytes, fields: dict[bytes, bytes]) -> Entry:
    raw = fields.get(b"c", b"")
    try:
        charge = Charge.from_json(raw)
    except (ValueError, KeyError, TypeError):
        charge = None
    return Entry(entry_id.decode(), charge, raw)
