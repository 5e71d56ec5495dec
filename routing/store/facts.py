"""What a Redis server says about itself: for the doctor, never for the hot path."""

from __future__ import annotations

from dataclasses import dataclass

from routing.store import redis_keys as keys
from routing.store.connect import RedisClient, connect
from routing.store.scripts import translated

#: Where kombu keeps unacknowledged messages; ours never are, so the keys must not exist.
#: Keys per step of a scan: a moment each, so that nobody else waits.
SCAN_COUNT = 500
_UNACKED = ("unacked", "unacked_index")


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisFacts:
    """The answer.

    Attributes:
        version: major and minor.
        unacked: whether some worker runs with acknowledgement emulation on.
    """

    version: tuple[int, ...]
    maxmemory_policy: str
    appendonly: bool
    unacked: bool


def hold_drift(url: str) -> dict[str, int]:
    """Scopes whose `held` is not the sum of their holds, with the difference in nano-dollars.

    Looks twice and reports what stood in both, since requests come and go meanwhile.

    Raises:
        Unavailable: the server does not answer.
    """
    with translated(), connect(url, "doctor") as client:
        first, second = _drift(client), _drift(client)
    return {scope: nano for scope, nano in first.items() if second.get(scope) == nano}


def _drift(client: RedisClient) -> dict[str, int]:
    held: dict[str, int] = {}
    for key in client.scan_iter(f"{keys.BUDGET_PREFIX}*", count=SCAN_COUNT):
        scope = key.decode().removeprefix(keys.BUDGET_PREFIX)
        held[scope] = held.get(scope, 0) + int(client.hget(key, "held") or 0)
    for key in client.scan_iter(f"{keys.HOLD_PREFIX}*", count=SCAN_COUNT):
        for scope, nano in client.hgetall(key).items():
            held[scope.decode()] = held.get(scope.decode(), 0) - int(nano)
    return {scope: nano for scope, nano in held.items() if nano}


def redis_facts(url: str) -> RedisFacts:
    """Ask the server. Uses INFO, not CONFIG, which hosted servers often refuse.

    Raises:
        Unavailable: it does not answer.
    """
    with translated(), connect(url, "doctor") as client:
        info = client.info("everything")
        unacked = client.exists(*_UNACKED)
    return RedisFacts(
        version=tuple(int(part) for part in str(info["redis_version"]).split(".")[:2]),
        maxmemory_policy=str(info.get("maxmemory_policy", "unknown")),
        appendonly=bool(info.get("aof_enabled", 0)),
        unacked=bool(unacked),
    )
