"""Faults of the billing worker: killed between the SQL commit and the acknowledgement."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

from api.cli.procfile import root
from routing.store.redis_keys import OUTBOX
from tests.cluster import STOP_S, ClusterError, wait_until
from tests.faults.books import SETTLED_S, Row, close
from tests.faults.trial import STEP_S, Trial

#: Crashes at each of the two points; the charges of a row are shared among them.
_POINTS = ("release", "forget") * 2
_CRASH_S = 30.0


def killed_after_commit(trial: Trial) -> Row:
    """Kill a settler after its commit: another takes over, each charge is booked once."""
    cluster = trial.cluster
    cluster.kill("settle", signal.SIGTERM)
    cluster.wait_gone("settle", STOP_S)
    trial.hit = trial.call(trial.n)
    trial.wait_ended()
    wait_until(lambda: cluster.redis.xlen(OUTBOX) == len(trial.calls), STEP_S, "the charges")
    share = -(-len(trial.calls) // len(_POINTS))
    trial.damage()
    for point in _POINTS:
        _crash(trial, point, share)
    cluster.start_process("settle")
    recovery_s = _forgotten(trial)
    cluster.wait_ready("settle")
    return close(trial, "settle killed between commit and ack", recovery_s)


def _crash(trial: Trial, point: str, count: int) -> None:
    command = [sys.executable, "-m", "tests.faults.crashing_settler", point, str(count)]
    env = dict(trial.cluster.env)
    done = subprocess.run(
        command, cwd=root(), env=env, check=False, timeout=_CRASH_S, capture_output=True
    )
    if done.returncode != -signal.SIGKILL:
        raise ClusterError(f"no crash, but {done.returncode}: {done.stderr.decode()[-2000:]}")


def _forgotten(trial: Trial) -> list[float]:
    """From the first crash to the end of each charge, as the outbox gets shorter."""
    found: list[float] = []

    def look() -> bool:
        gone = len(trial.calls) - int(trial.cluster.redis.xlen(OUTBOX))
        found.extend([time.monotonic() - trial.fault_s] * (gone - len(found)))
        return gone == len(trial.calls)

    wait_until(look, SETTLED_S, "the take-over")
    return found
