"""What a Redis server says about itself: for the doctor, never for the hot path."""

from __future__ import annotations

from dataclasses import dataclass

from routing.store.connect import connect
from routing.store.scripts import translated

#: Where kombu keeps unacknowledged messages; ours never are, so the keys must not exist.
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
