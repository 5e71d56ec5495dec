"""Orders to every running process, and what each of them answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from routing.catalog.live import LiveCatalog
from routing.errors import ConfigError, Unavailable
from routing.store import redis_keys as keys
from routing.store.connect import RedisClient, connect
from routing.store.scripts import translated

RELOAD = b"catalog.reload"
#: Answers of processes that left are dropped when the hash has not been written for so long.
SEEN_TTL_S = 3_600
#: After so much silence the connection is asked for a sign of life, which may take so long.
IDLE_S = 30.0
PONG_TIMEOUT_S = 5.0
#: Above both: a read itself is not to end before they do.
READ_TIMEOUT_S = 60.0
RECONNECT_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Seen:
    """What one process said after a reload: the digest it runs, or why it kept the old one."""

    process: str
    digest: str
    problem: str


def request_reload(url: str) -> int:
    """Ask every process to reload its catalog; returns how many heard it.

    Raises:
        Unavailable: Redis does not answer.
    """
    with translated(), connect(url, "control") as redis:
        # Counted first: who joins between the two sees the count, who is there hears the order.
        redis.incr(keys.CONTROL_ORDERS)
        return int(redis.publish(keys.CONTROL, RELOAD))


def seen(url: str) -> list[Seen]:
    """The last answer of each process.

    Raises:
        Unavailable: Redis does not answer.
    """
    with translated():
        rows = connect(url, "control").hgetall(keys.CONTROL_SEEN)
    answers = []
    for process, value in sorted(rows.items()):
        digest, _, problem = value.decode().partition(" ")
        answers.append(Seen(process.decode(), digest, problem))
    return answers


def report(redis: RedisClient, process: str, digest: str, problem: str = "") -> None:
    """Say which catalog this process runs now."""
    with translated():
        pipe = redis.pipeline(transaction=False)
        pipe.hset(keys.CONTROL_SEEN, process, f"{digest} {problem}".strip())
        pipe.expire(keys.CONTROL_SEEN, SEEN_TTL_S)
        pipe.execute()


def listen(url: str, channels: tuple[str, ...], handle: Callable[[str, bytes], None]) -> None:
    """Hand `(channel, message)` to a function, for ever; a lost connection is joined again.

    An order to reload is heard once, also when it was given while the connection was gone.
    """
    redis = connect(url, "control", timeout_s=READ_TIMEOUT_S)
    orders: bytes | None = None
    joined = False
    while True:
        pubsub = redis.pubsub()
        try:
            if not joined:  # before: an order given while we join is a new one
                orders, joined = redis.get(keys.CONTROL_ORDERS), True
            pubsub.subscribe(*channels)
            for kind, channel, message in _replies(pubsub):
                if kind == b"message" and message != RELOAD:
                    handle(channel, message)
                elif kind in {b"message", b"subscribe"}:
                    # The client joins again by itself: then too something may have been missed.
                    given = redis.get(keys.CONTROL_ORDERS)
                    if given != orders:
                        handle(keys.CONTROL, RELOAD)
                    orders = given
        except RedisError:
            time.sleep(RECONNECT_PAUSE_S)
        finally:
            pubsub.close()


def _replies(pubsub: Any) -> Iterator[tuple[bytes, str, Any]]:
    """What comes, until the connection is lost; a silent one has to prove itself."""
    asked = False
    while True:
        reply = pubsub.parse_response(block=False, timeout=PONG_TIMEOUT_S if asked else IDLE_S)
        if reply is None and asked:
            return
        asked = reply is None
        if asked:
            pubsub.ping()
        elif reply[0] in {b"message", b"subscribe"}:
            yield reply[0], reply[1].decode(), reply[2]


def reload_and_report(live: LiveCatalog, redis: RedisClient, process: str) -> str:
    """Reload a process's catalog and say what came of it; returns the problem, "" for none.

    On a bad catalog the running one stays.
    """
    before = live.current.digest
    try:
        digest, problem = live.reload().digest, ""
    except ConfigError as error:
        digest, problem = before, str(error)
    with suppress(Unavailable):  # the log has it too
        report(redis, process, digest, problem)
    return problem
