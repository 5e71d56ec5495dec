"""One cell: a kind of traffic from so many clients against one system, and its figures."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from tests.bench import procs
from tests.bench.answers import Kind
from tests.bench.client import Load, drive
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
        provider = procs.tree(self._simulator.pid)
        procs.reset_peaks(own)
        before, provider_before = procs.cpu_s(own), procs.cpu_s(provider)
        load = drive(system.target, kind, clients, self._seconds, first_ticket=ticket)
        time.sleep(SETTLE_S)
        after, provider_after = procs.cpu_s(own), procs.cpu_s(provider)
        load.errors.update({f"warm-up: {name}": n for name, n in warm.errors.items()})
        if {process.pid for process in own} - {p.pid for p in procs.tree(system.pid)}:
            load.errors["a process of the system ended while it was measured"] += 1
        return _cell(
            system,
            (kind, clients),
            load,
            {name: after.get(name, 0.0) - value for name, value in before.items()},
            sum(provider_after.values()) - sum(provider_before.values()),
            (procs.peak_mb(own), procs.proportional_mb(own)),
        )


def idle_ms(system: System, seconds: float) -> float:
    """CPU milliseconds per second of a system nobody calls."""
    own = procs.tree(system.pid)
    before = sum(procs.cpu_s(own).values())
    time.sleep(seconds)
    return (sum(procs.cpu_s(own).values()) - before) * 1000 / seconds


def _cell(
    system: System,
    what: tuple[Kind, int],
    load: Load,
    used_s: dict[str, float],
    provider_s: float,
    memory_mb: tuple[float, float],
) -> Cell:
    kind, clients = what
    answers = load.answers or 1
    return Cell(
        system=system.name,
        kind=kind.name,
        clients=clients,
        first_ms=sorted(value * 1000 for value in load.first_s),
        total_ms=sorted(value * 1000 for value in load.total_s),
        per_second=load.answers / load.elapsed_s,
        cpu_ms={name: value * 1000 / answers for name, value in used_s.items()},
        simulator_ms=provider_s * 1000 / answers,
        peak_mb=memory_mb[0],
        shared_mb=memory_mb[1],
        connections=load.connections,
        errors=dict(load.errors),
    )
