"""What every attempt of one worker process shares. Built once, in `workers/lifecycle.py`."""

from __future__ import annotations

from dataclasses import dataclass, field

from routing.catalog.live import LiveCatalog
from routing.catalog.shapes import Provider
from routing.clock import Clock
from routing.metrics import WorkerMetrics
from routing.settings import Settings
from routing.store.connect import RedisClient
from routing.store.jobs import Jobs
from workers.connections import ConnectionPool
from workers.emitter import Emitter
from workers.gates import Gates, RetryBudget
from workers.held import HeldJobs

SIMULATOR_KEY = "simulator"


@dataclass(slots=True, kw_only=True)
class Runtime:
    """Shared parts of one process.

    Attributes:
        name: unique to this process and boot; the owner in job records.
        secrets: provider keys by variable name; never logged, never sent anywhere but upstream.
        batch: this process serves the batch queues.
        draining_since: monotonic seconds of the SIGTERM, or None.
    """

    name: str
    settings: Settings
    clock: Clock
    catalog: LiveCatalog
    secrets: dict[str, str]
    redis: RedisClient
    jobs: Jobs
    emitter: Emitter
    gates: Gates
    budget: RetryBudget
    connections: ConnectionPool
    metrics: WorkerMetrics
    batch: bool = False
    held: HeldJobs = field(default_factory=HeldJobs)
    draining_since: float | None = None

    def key(self, provider: Provider) -> str:
        """The operator's key for a provider; "" where it needs none.

        The simulator gets a key of its own: it checks that one is sent, and never sees a real one.
        """
        if provider.simulated:
            return SIMULATOR_KEY
        return self.secrets.get(provider.key_variable, "")
