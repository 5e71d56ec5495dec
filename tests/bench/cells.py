"""One cell: a kind of traffic from so many clients against one system, and its figures."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Final

from tests.bench import procs
from tests.bench.answers import Kind
from tests.bench.client import drive
from tests.bench.systems import System

#: Requests before the clock starts, for connections, imports and caches; at least one per client.
WARM_UP: Final = 20
#: CPU booked late (settling, logs) belongs to the requests that caused it.
SETTLE_S: Final = 0.5
#: Tickets of one cell; no two cells of a run share one.
TICKETS: Final = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What was measured.

    Attributes:
        first_ms, total_ms: sorted, one value for each answer.
        cpu_ms: per answer, by process name.
        simulator_ms: the simulator's CPU per answer, counted apart.
        others_cores: how many cores everybody else kept busy meanwhile: a figure measured beside
            much of that is worse than it is.
        peak_mb: sum of the processes' peaks of resident memory; shared pages count for each.
        shared_mb: resident memory afterwards, shared pages divided among those who share them.
    """

    system: str
    kind: str
    clients: int
    first_ms: list[float]
    total_ms: list[float]
    per_second: float
    cpu_ms: dict[str, float]
    simulator_ms: float
    others_cores: float
    peak_mb: float
    shared_mb: float
    connections: int
    errors: dict[str, int]

    @property
    def cpu_all_ms(self) -> float:
        """CPU per answer of all its processes."""
        return sum(self.cpu_ms.values())


def percentile(values: list[float], part: float) -> float:
    """Nearest rank in sorted values."""
    if not values:
        return float("nan")
    return values[min(len(values) - 1, max(0, round(part * len(values) + 0.5) - 1))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The clock and the CPU seconds of everything but the system under test, at one moment."""

    clock_s: float
    machine_s: float
    client_s: float
    provider_s: float

    def minus(self, earlier: Reading) -> Reading:
        """What was spent since."""
        return Reading(
            clock_s=self.clock_s - earlier.clock_s,
            machine_s=self.machine_s - earlier.machine_s,
            client_s=self.client_s - earlier.client_s,
            provider_s=self.provider_s - earlier.provider_s,
        )


class Bench:
    """Runs cells; each gets tickets of its own."""

    def __init__(self, simulator: System, seconds: float) -> None:
        self._simulator = simulator
        self._seconds = seconds
        self._cells = 0

    def cell(self, system: System, kind: Kind, clients: int) -> Cell:
        """Warm up, measure, check."""
        self._cells += 1
        ticket = self._cells * TICKETS
        warm = drive(
            system.target,
            kind,
            clients,
            self._seconds,
            first_ticket=ticket + TICKETS // 2,
            requests=clients if kind.span_s else max(clients, WARM_UP),
        )
        time.sleep(SETTLE_S)
        own = procs.tree(system.pid)
        procs.reset_peaks(own)
        before, begun = procs.cpu_s(own), self._reading()
        load = drive(system.target, kind, clients, self._seconds, first_ticket=ticket)
        time.sleep(SETTLE_S)
        after, ended = procs.cpu_s(own), self._reading()
        load.errors.update({f"warm-up: {name}": n for name, n in warm.errors.items()})
        if {process.pid for process in own} - {p.pid for p in procs.tree(system.pid)}:
            load.errors["a process of the system ended while it was measured"] += 1
        used_s = {name: after.get(name, 0.0) - value for name, value in before.items()}
        spent = ended.minus(begun)
        known_s = spent.provider_s + spent.client_s
        known_s += 0.0 if system is self._simulator else sum(used_s.values())
        answers = load.answers or 1
        return Cell(
            system=system.name,
            kind=kind.name,
            clients=clients,
            first_ms=sorted(value * 1000 for value in load.first_s),
            total_ms=sorted(value * 1000 for value in load.total_s),
            per_second=load.answers / load.elapsed_s,
            cpu_ms={name: value * 1000 / answers for name, value in used_s.items()},
            simulator_ms=spent.provider_s * 1000 / answers,
            others_cores=max(0.0, spent.machine_s - known_s) / spent.clock_s,
            peak_mb=procs.peak_mb(own),
            shared_mb=procs.proportional_mb(own),
            connections=load.connections,
            errors=dict(load.errors),
        )

    def _reading(self) -> Reading:
        times = os.times()
        return Reading(
            clock_s=time.monotonic(),
            machine_s=procs.machine_cpu_s(),
            client_s=times.user + times.system,
            provider_s=sum(procs.cpu_s(procs.tree(self._simulator.pid)).values()),
        )


def idle_ms(system: System, seconds: float) -> float:
    """CPU milliseconds per second of a system nobody calls."""
    own = procs.tree(system.pid)
    before = sum(procs.cpu_s(own).values())
    time.sleep(seconds)
    return (sum(procs.cpu_s(own).values()) - before) * 1000 / seconds
