"""Faults between the processes: Redis restarted, doorbells repeated and lost, channels cut."""

from __future__ import annotations

import signal
import time

from tests.cluster import wait_until
from tests.faults.books import ANSWER_OR_ERROR, Row, close
from tests.faults.calls import Pace
from tests.faults.trial import MANY_POOLS, ONE_POOL, STEP_S, Trial
from workers.pools import doorbell, interactive_queue

_BOTH = (ONE_POOL, MANY_POOLS)
_WORKERS = ("worker.1", "worker.2")
#: Mid-stream before, during and after a restart of one to two seconds.
_STREAM = Pace(pieces=60, gap_ms=100)
#: Twice what a command to Redis may take.
_STALL_S = 3.0
_CUTS = 3
_CUT_EVERY_S = 0.5
_RINGS = 3


def redis_restarted(trial: Trial) -> Row:
    """Restart Redis during streams: each ends whole, or with an error in band."""
    return _restarted(trial, signal.SIGTERM, "Redis restart")


def redis_killed(trial: Trial) -> Row:
    """Kill -9 Redis during streams and start it again: the same."""
    return _restarted(trial, signal.SIGKILL, "kill -9 Redis")


def redis_stalled(trial: Trial) -> Row:
    """Stop Redis for longer than commands wait: calls told 503 meanwhile are not charged."""
    cluster = trial.cluster
    trial.set_pace(_STREAM)
    trial.hit = trial.call(trial.n // 2, stream=True, models=_BOTH)
    trial.wait_pieces(trial.hit, 3)
    trial.damage()
    cluster.kill("redis", signal.SIGSTOP)
    trial.hit += trial.call(trial.n - len(trial.hit), models=_BOTH)
    time.sleep(_STALL_S)
    cluster.kill("redis", signal.SIGCONT)
    return _ended(trial, f"Redis stalls for {_STALL_S:g} s")


def _restarted(trial: Trial, number: signal.Signals, what: str) -> Row:
    cluster = trial.cluster
    trial.set_pace(_STREAM)
    trial.hit = trial.call(trial.n, stream=True, models=_BOTH)
    trial.wait_pieces(trial.hit, 3)
    cluster.kill("redis", number)
    cluster.wait_gone("redis")
    trial.damage()
    cluster.start_process("redis")
    cluster.wait_ready("redis")
    return _ended(trial, f"{what}, mid-stream")


def _ended(trial: Trial, what: str) -> Row:
    """Judge the calls once all have ended, and say how many were whole."""
    trial.wait_ended()
    whole = sum(call.verdict == "complete" for call in trial.hit)
    row = close(trial, f"{what} ({whole} whole)", trial.until_next_piece(), allowed=ANSWER_OR_ERROR)
    trial.cluster.wait_ready()
    return row


def channel_cut(trial: Trial) -> Row:
    """CLIENT KILL TYPE pubsub mid-stream, three times: no chunk is lost."""
    trial.set_pace(_STREAM)
    trial.hit = trial.call(trial.n, stream=True, models=_BOTH)
    trial.wait_pieces(trial.hit, 3)
    recovery_s: list[float] = []
    cut = 0
    for _ in range(_CUTS):
        trial.damage()
        cut += trial.cluster.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        time.sleep(_CUT_EVERY_S)
        recovery_s += trial.until_next_piece()
    trial.wait_ended()
    row = close(trial, "pub/sub connections killed, 3 times", recovery_s)
    if cut < _CUTS * len(trial.cluster.base_urls):
        row.problems.append(f"only {cut} connections were killed")
    return row


def doorbell_repeated(trial: Trial) -> Row:
    """Deliver each doorbell three times: one upstream call, one charge."""
    cluster = trial.cluster
    _stop_workers(trial)
    trial.hit = trial.call(trial.n, models=_BOTH)
    trial.wait_queued()
    for name, pool in trial.jobs(b"queued").items():
        queue = interactive_queue(pool)
        for _ in range(_RINGS - 1):
            cluster.redis.lpush(queue, doorbell(name, queue))
    trial.damage()
    _continue_workers(trial)
    trial.wait_ended()
    made = [len(cluster.calls(call.marker)) for call in trial.hit]
    row = close(trial, "doorbell delivered 3 times", trial.until_ended())
    row.twice += sum(count > 1 for count in made)
    row.problems += [f"{count} upstream calls for one request" for count in made if count != 1]
    return row


def doorbell_lost(trial: Trial) -> Row:
    """Take doorbells away before a worker sees them: the reaper rings again."""
    redis = trial.cluster.redis
    _stop_workers(trial)
    # A stopped worker may have one in its socket already; that one is not lost.
    trial.call(trial.n + 2 * len(_WORKERS), models=_BOTH)
    trial.wait_queued()
    jobs = trial.jobs(b"queued")
    queues = {interactive_queue(pool) for pool in jobs.values()}
    waiting = b"".join(one for queue in queues for one in redis.lrange(queue, 0, -1))
    lost = {name for name in jobs if name.encode() in waiting}
    redis.delete(*queues)
    trial.damage()
    _continue_workers(trial)
    trial.wait_ended()
    trial.hit = [call for call in trial.calls if call.generation_id in lost]
    return close(trial, "doorbell lost", trial.until_ended())


def _stop_workers(trial: Trial) -> None:
    for name in _WORKERS:
        trial.cluster.kill(name, signal.SIGSTOP)
    states = [f"/proc/{trial.cluster.pids(name)[0]}/stat" for name in _WORKERS]
    wait_until(lambda: all(_stopped(path) for path in states), STEP_S, "workers stopped")


def _continue_workers(trial: Trial) -> None:
    for name in _WORKERS:
        trial.cluster.kill(name, signal.SIGCONT)


def _stopped(path: str) -> bool:
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - a line of /proc
        return file.read().rpartition(")")[2].split()[0] == "T"
