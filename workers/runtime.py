"""What every attempt of one worker process shares. Built once, in `workers/lifecycle.py`."""

from __future__ import annotations

from dataclasses import dataclass, field

from routing.catalog.live import LiveCatalog
from routing.clock import Clock
from routing.metrics import WorkerMetrics
from routing.settings import Settings
from routing.store.connect import RedisClient
from routing.store.jobs import Jobs
from routing.store.sticky import Sticky
from workers.connections import ConnectionPool
from workers.contents import Keeper
from workers.emitter import Emitter
from workers.fetch import Fetcher
from workers.figures import Recorder
from workers.gates import Gates, RetryBudget
from workers.held import HeldJobs
from workers.keyring import Keyring


@dataclass(slots=True, kw_only=True)
class Runtime:
    """Shared parts of one process.

    Attributes:
        name: unique to this process and boot; the owner in job records.
        keeper: keeps prompts and answers for accounts that want it; None keeps none.
        batch: this process serves the batch queues.
        draining_since: monotonic seconds of the SIGTERM, or None.
    """

    name: str
    settings: Settings
    clock: Clock
    catalog: LiveCatalog
    keyring: Keyring
    redis: RedisClient
    jobs: Jobs
    emitter: Emitter
    gates: Gates
    figures: Recorder
    sticky: Sticky
    budget: RetryBudget
    connections: ConnectionPool
    fetcher: Fetcher
    metrics: WorkerMetrics
    keeper: Keeper | None = None
    batch: bool = False
    held: HeldJobs = field(default_factory=HeldJobs)
    draining_since: float | None = None
