"""How our processes connect to Redis: bounded, and never sending a command twice by themselves."""

from __future__ import annotations

from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.connection import BlockingConnectionPool
from redis.retry import Retry

#: redis-py annotates every reply as a union of all decodings; ours are always bytes.
RedisClient = Any

#: Redis is on the same host or zone: a connect that takes longer means it is away.
CONNECT_TIMEOUT_S = 1.0
#: Inference must answer 503 within 2 s when Redis is away; one silent command may use most of that.
COMMAND_TIMEOUT_S = 1.5
#: More sockets than this from one process means a leak, not load: commands are short.
MAX_CONNECTIONS = 256
#: A crowd waits its turn for one of them rather than being told that Redis is away.
POOL_TIMEOUT_S = 1.5


def connect(url: str, name: str, *, timeout_s: float | None = COMMAND_TIMEOUT_S) -> RedisClient:
    """A client for short commands, safe to share between greenlets and threads.

    redis-py would repeat a timed-out command ten times; scripts that move money must not be
    repeated behind our back, so retries are off and each caller decides.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        name: shown by CLIENT LIST.
        timeout_s: for one command; None for blocking reads.
    """
    # A Unix socket has no keep-alive, and redis-py refuses the option there.
    network: dict[str, Any] = {} if url.startswith("unix:") else {"socket_keepalive": True}
    pool = BlockingConnectionPool.from_url(
        url,
        client_name=name,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=timeout_s,
        health_check_interval=0,
        retry=Retry(NoBackoff(), 0),
        max_connections=MAX_CONNECTIONS,
        timeout=POOL_TIMEOUT_S,
        protocol=2,
        **network,
    )
    return Redis(connection_pool=pool)
