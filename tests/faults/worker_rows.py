"""Faults of workers: killed before and after the first byte, and restarted under load."""

from __future__ import annotations

import signal
import threading
import time

from tests.cluster import wait_until
from tests.faults.books import Row, close
from tests.faults.calls import Call, Pace
from tests.faults.trial import MANY_POOLS, ONE_POOL, STEP_S, Trial

_VICTIM = "worker.1"
_BOTH = (ONE_POOL, MANY_POOLS)
#: Longer than it takes to start all calls; the killed ones are answered by others meanwhile.
_SILENT_FOR = "slow_first:8000"
#: Mid-stream for longer than it takes to start all calls.
_STREAM = Pace(pieces=40, gap_ms=100)
#: Calls in flight during the rolling restart, each 1 to 2 s long.
_LOAD = 20
_LOAD_PACE = Pace(pieces=20, gap_ms=50, first_ms=500)
_LOAD_EVERY_S = 0.05
#: A worker under load stops when its last call has ended, plus Celery's own time.
_DRAIN_S = 30.0


def before_first_byte(trial: Trial) -> Row:
    """Kill -9 while calls wait for their first byte: another worker answers, one charge."""
    cluster = trial.cluster
    cluster.set_faults([{"fault": _SILENT_FOR}])
    victims = _spread(trial, stream=None)
    cluster.clear_faults()
    _kill(trial, victims)
    trial.wait_ended()
    trial.hit = [call for call in trial.calls if call.generation_id in victims]
    cluster.wait_ready(_VICTIM)
    return close(trial, "kill -9 worker, before the first byte", trial.until_ended())


def mid_stream(trial: Trial) -> Row:
    """Kill -9 while streams flow: an error in band, [DONE], no charge."""
    trial.set_pace(_STREAM)
    victims = _spread(trial, stream=True)
    trial.wait_pieces(trial.calls, 3)
    _kill(trial, victims)
    trial.wait_ended()
    trial.hit = [call for call in trial.calls if call.generation_id in victims]
    trial.cluster.wait_ready(_VICTIM)
    recovery_s = trial.until_ended()
    return close(trial, "kill -9 worker, mid-stream", recovery_s, allowed={"error"})


def rolling_restart(trial: Trial) -> Row:
    """SIGTERM one worker after the other under load: every call gets its answer."""
    cluster = trial.cluster
    trial.set_pace(_LOAD_PACE)
    load = _Load(trial)
    load.start()
    recovery_s: list[float] = []
    try:
        for name in (_VICTIM, "worker.2"):
            wait_until(lambda: len(load.in_flight()) >= _LOAD, STEP_S, "the load")
            trial.damage()
            hit = load.in_flight()
            cluster.restart(name, _DRAIN_S)
            for call in hit:
                call.wait(trial.fault_s + _DRAIN_S)
            recovery_s += [(call.ended_s or 0) - trial.fault_s for call in hit]
            trial.hit += hit
    finally:
        load.stop()
    trial.wait_ended()
    return close(trial, "SIGTERM worker under load, each in turn", recovery_s)


def _spread(trial: Trial, *, stream: bool | None) -> dict[str, str]:
    """Start calls until the worker to be killed holds `n` of them; which ones it holds."""
    victims: dict[str, str] = {}
    pid = trial.cluster.pids(_VICTIM)[0]
    new = 2 * trial.n
    while len(victims) < trial.n and new:
        trial.call(new, stream=stream, models=_BOTH)
        trial.wait_upstream()
        victims = trial.jobs(worker_pid=pid)
        new = max(0, trial.n - len(victims))
        if len(trial.calls) > 10 * trial.n:
            break
    return victims


def _kill(trial: Trial, victims: dict[str, str]) -> None:
    """The kill, and a supervisor that starts it again at once."""
    held = trial.jobs(worker_pid=trial.cluster.pids(_VICTIM)[0])
    trial.damage()
    trial.cluster.kill(_VICTIM, signal.SIGKILL)
    # What ended in the moment before the kill was not hit by it.
    for name in victims.keys() - held.keys():
        del victims[name]
    trial.cluster.start_process(_VICTIM)


class _Load(threading.Thread):
    """Keeps a number of calls in flight, plain and streamed, to one pool and to many."""

    def __init__(self, trial: Trial) -> None:
        super().__init__(name="load", daemon=True)
        self._trial = trial
        self._over = threading.Event()

    def in_flight(self) -> list[Call]:
        """Calls that are not answered yet."""
        return [call for call in list(self._trial.calls) if call.ended_s is None]

    def run(self) -> None:
        """Until stopped."""
        end_s = time.monotonic() + 4 * _DRAIN_S
        while not self._over.wait(_LOAD_EVERY_S) and time.monotonic() < end_s:
            missing = max(_LOAD, self._trial.n) - len(self.in_flight())
            self._trial.call(missing, models=_BOTH)

    def stop(self) -> None:
        """Start nothing more."""
        self._over.set()
        self.join()
