"""Faults at the front: a front door is killed, a client leaves."""

from __future__ import annotations

import signal
import time

from tests.cluster import wait_until
from tests.faults.books import Row, close
from tests.faults.calls import Call, Pace
from tests.faults.trial import STEP_S, Trial

_DOOR = "web.1"
#: A dead front door is noticed by its missing heartbeat (6 s) at the next renewal (2 s).
_LONG = Pace(pieces=300, gap_ms=100)
_SHORT = Pace(pieces=40, gap_ms=50)
_PIECES = 5
#: What the contract promises for a client that leaves.
_CLOSED_WITHIN_S = 2.0


def front_door_killed(trial: Trial) -> Row:
    """Kill -9 a front door: its upstream calls are closed, holds go back, others stream on."""
    cluster = trial.cluster
    trial.set_pace(_LONG)
    trial.hit = trial.call(trial.n, stream=True, doors=cluster.base_urls[:1])
    trial.wait_pieces(trial.hit, _PIECES)
    trial.set_pace(_SHORT)
    others = trial.call(trial.n // 2, stream=True, doors=cluster.base_urls[1:])
    trial.wait_pieces(others, 1)
    trial.damage()
    cluster.kill(_DOOR, signal.SIGKILL)
    cluster.start_process(_DOOR)
    free_s = _freed(trial)
    trial.wait_ended()
    recovery_s = [
        max(free_s[call.marker], _closed_s(trial, call)) - trial.fault_s for call in trial.hit
    ]
    cluster.wait_ready(_DOOR)
    return close(trial, "kill -9 front door, mid-stream", recovery_s, allowed={"cut"})


def client_leaves(trial: Trial) -> Row:
    """Reset the connection mid-stream: closed upstream within 2 s, charged for what came."""
    trial.set_pace(_LONG)
    trial.hit = trial.call(trial.n, stream=True, leave_after=_PIECES)
    trial.wait_ended()
    trial.damage()
    _freed(trial)
    recovery_s = [_closed_s(trial, call) - (call.left_s or 0) for call in trial.hit]
    row = close(trial, "client resets mid-stream", recovery_s, allowed={"left"})
    late = [f"closed {s:.1f} s after its client left" for s in recovery_s if s > _CLOSED_WITHIN_S]
    row.problems += late
    row.lost += len(late)
    return row


def _freed(trial: Trial) -> dict[str, float]:
    """Wait until no call that was hit holds money; when (monotonic) each hold was gone."""
    gone: dict[str, float] = {}

    def look() -> bool:
        for call in trial.hit:
            if call.marker not in gone and not trial.held(call.generation_id):
                gone[call.marker] = time.monotonic()
        return len(gone) == len(trial.hit)

    wait_until(look, STEP_S, "holds given back")
    return gone


def _closed_s(trial: Trial, call: Call) -> float:
    """When the simulator saw its caller leave; it has the same clock."""
    wait_until(lambda: _closings(trial, call), STEP_S, f"{call.marker} closed upstream")
    return max(_closings(trial, call)) / 1000


def _closings(trial: Trial, call: Call) -> list[float]:
    calls = trial.cluster.calls(call.marker)
    return [one["closed_at_ms"] for one in calls if one["outcome"] == "closed_by_client"]
